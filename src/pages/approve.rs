//! Lending one's session to a command line: device codes and authorization requests.

use super::{Browser, Page, Pages, render, sign_in::OnwardPage};
use crate::{
    api::signin::{AuthorizationRequest, Authorize, DecideDevice, DeviceRequest, LookUpClient, LookUpDevice},
    domain::{Error, ErrorKind},
    signin::step::Continuation,
};
use askama::Template;
use axum::{
    Form, Router,
    extract::{Query, RawQuery, State},
    routing::get,
};
use serde::Deserialize;

pub(super) fn router() -> Router<Pages> {
    Router::new().route("/device", get(device).post(decide_device)).route("/authorize", get(authorize).post(decide_authorize))
}

#[derive(Template)]
#[template(path = "device.html")]
struct DevicePage {
    person: String,
    user_code: String,
    request: Option<DeviceRequest>,
    problem: String,
    done: &'static str,
}

#[derive(Template)]
#[template(path = "authorize.html")]
struct AuthorizePage {
    person: String,
    client_name: String,
    query: String,
}

#[derive(Deserialize)]
struct Code {
    #[serde(default)]
    user_code: String,
}

async fn device(State(pages): State<Pages>, browser: Browser, Query(code): Query<Code>) -> Page {
    let back = Continuation::Device { user_code: code.user_code.clone() };
    let caller = browser.person_or_sign_in(&pages, back).await?;
    let person = caller.person().map(|session| session.identity.display_name().to_owned()).unwrap_or_default();
    let mut page = DevicePage { person, user_code: code.user_code.clone(), request: None, problem: String::new(), done: "" };
    if !code.user_code.is_empty() {
        match pages.gateway.call(&caller, LookUpDevice { user_code: code.user_code }).await {
            Ok(request) => page.request = Some(request),
            Err(error) if error.kind == ErrorKind::NoSuchEntity => page.problem = error.public,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(render(&page))
}

#[derive(Deserialize)]
struct DeviceDecisionForm {
    user_code: String,
    decision: String,
}

async fn decide_device(State(pages): State<Pages>, browser: Browser, Form(form): Form<DeviceDecisionForm>) -> Page {
    let back = Continuation::Device { user_code: form.user_code.clone() };
    let caller = browser.person_or_sign_in(&pages, back).await?;
    let approve = form.decision == "approve";
    pages.gateway.call(&caller, DecideDevice { user_code: form.user_code, approve }).await?;
    let person = caller.person().map(|session| session.identity.display_name().to_owned()).unwrap_or_default();
    let done = if approve { "approved" } else { "refused" };
    Ok(render(&DevicePage { person, user_code: String::new(), request: None, problem: String::new(), done }))
}

/// Exactly one of each parameter; unknown ones (`scopes`) are left alone (RFC 6749 section 3.1).
fn request(query: &str) -> Result<AuthorizationRequest, Error> {
    let mut request = AuthorizationRequest::default();
    let mut seen = std::collections::HashSet::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()).into_owned() {
        let field = match name.as_str() {
            "response_type" => &mut request.response_type,
            "client_id" => &mut request.client_id,
            "redirect_uri" => &mut request.redirect_uri,
            "state" => &mut request.state,
            "code_challenge" => &mut request.code_challenge,
            "code_challenge_method" => &mut request.code_challenge_method,
            _ => continue,
        };
        *field = value;
        if !seen.insert(name) {
            return Err(Error::invalid("The request of the command line says something twice."));
        }
    }
    Ok(request)
}

async fn authorize(State(pages): State<Pages>, browser: Browser, RawQuery(query): RawQuery) -> Page {
    let query = query.unwrap_or_default();
    let caller = browser.person_or_sign_in(&pages, Continuation::Authorize { query: query.clone() }).await?;
    let client_name = pages.gateway.call(&caller, LookUpClient { request: request(&query)? }).await?;
    let person = caller.person().map(|session| session.identity.display_name().to_owned()).unwrap_or_default();
    Ok(render(&AuthorizePage { person, client_name, query }))
}

#[derive(Deserialize)]
struct AuthorizeForm {
    query: String,
    decision: String,
}

async fn decide_authorize(State(pages): State<Pages>, browser: Browser, Form(form): Form<AuthorizeForm>) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Authorize { query: form.query.clone() }).await?;
    let approve = form.decision == "approve";
    let target = pages.gateway.call(&caller, Authorize { request: request(&form.query)?, approve }).await?;
    let message =
        if approve { "Signed in. Returning to your command line…" } else { "Refused. Returning to your command line…" };
    Ok(render(&OnwardPage { title: "Returning to your command line", message, target }))
}
