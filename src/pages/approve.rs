//! Lending one's session, or one role, to a command line: device codes and authorization requests.

use super::{
    Browser, Page, PageError, Pages,
    portal::{AccountCard, PersonBar, RoleCards, clock_time},
    render,
    second_factor::{After, Waiting},
    sign_in::OnwardPage,
};
use crate::{
    api::signin::{AuthorizationRequest, Authorize, Authorized, DecideDevice, DeviceRequest, LookUpClient, LookUpDevice},
    domain::{
        Error, ErrorKind, Secret,
        name::{AccountId, RoleName},
        session::{Caller, network},
        sso::LentRole,
    },
    signin::step::Continuation,
};
use askama::Template;
use axum::{
    Form, Router,
    extract::{Query, RawQuery, State},
    http::Method,
    response::{IntoResponse as _, Redirect, Response},
    routing::get,
};
use serde::Deserialize;

pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/device", get(device).post(decide_device))
        .route("/authorize", get(authorize).post(decide_authorize))
        .route("/v1/authorize", get(login).post(decide_login))
        .route("/start", get(start))
}

/// The start URL of profiles. The AWS CLI asks it with HEAD whether it leads to a host that AWS would use (WIRE, start URLs);
/// it goes there no further.
async fn start(method: Method, State(pages): State<Pages>) -> Response {
    if method != Method::HEAD {
        return Redirect::to("/portal").into_response();
    }
    let host = pages.gateway.broker.federation.addresses.public_url.host_str().unwrap_or_default();
    let name: String = host.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    Redirect::to(&format!("https://{}.awsapps.com/start", name.trim_matches('-'))).into_response()
}

#[derive(Template, Default)]
#[template(path = "device.html")]
struct DevicePage {
    person: String,
    until: String,
    user_code: String,
    request: Option<DeviceRequest>,
    /// Whether the request came from another network than the browser.
    elsewhere: bool,
    problem: String,
    done: &'static str,
}

#[derive(Template)]
#[template(path = "authorize.html")]
struct AuthorizePage {
    person: String,
    until: String,
    client_name: String,
    query: String,
}

/// Choosing the one role that `aws login` gets.
#[derive(Template)]
#[template(path = "login.html")]
struct LoginPage {
    bar: PersonBar,
    until: String,
    carried: bool,
    query: String,
    accounts: Vec<AccountCard>,
    role_count: usize,
}

/// A code to carry over, or the end of it.
#[derive(Template)]
#[template(path = "carried.html")]
struct CarriedPage {
    code: Option<Secret<String>>,
}

/// What the approval says of the person: their name, and until when what they approve will last at most.
fn lender(pages: &Pages, caller: &Caller) -> Result<(String, String), PageError> {
    let session = caller.person().ok_or_else(|| Error::internal("a person's page without a person"))?;
    let longest = caller.origin.time.plus_seconds(pages.gateway.broker.limits.token_seconds);
    Ok((session.identity.display_name().to_owned(), clock_time(session.expires.min(longest))))
}

#[derive(Deserialize)]
struct Code {
    #[serde(default)]
    user_code: String,
}

async fn device(State(pages): State<Pages>, browser: Browser, Query(code): Query<Code>) -> Page {
    let back = Continuation::Device { user_code: code.user_code.clone() };
    let caller = browser.person_or_sign_in(&pages, back).await?;
    let (person, until) = lender(&pages, &caller)?;
    let mut page = DevicePage { person, until, user_code: code.user_code.clone(), ..DevicePage::default() };
    if !code.user_code.is_empty() {
        match pages.gateway.call(&caller, LookUpDevice { user_code: code.user_code }).await {
            Ok(request) => {
                page.elsewhere = request.source_ip.parse().ok().map(network) != Some(network(caller.origin.source_ip));
                page.request = Some(request);
            }
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
    let (person, until) = lender(&pages, &caller)?;
    let done = if approve { "approved" } else { "refused" };
    Ok(render(&DevicePage { person, until, done, ..DevicePage::default() }))
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
    let client = pages.gateway.call(&caller, LookUpClient { request: request(&query)? }).await?;
    if client.one_role {
        return Err(Error::new(ErrorKind::InvalidClient, "This command line asks at another address.").into());
    }
    let (person, until) = lender(&pages, &caller)?;
    Ok(render(&AuthorizePage { person, until, client_name: client.name, query }))
}

#[derive(Deserialize)]
struct AuthorizeForm {
    query: String,
    decision: String,
}

async fn decide_authorize(State(pages): State<Pages>, browser: Browser, Form(form): Form<AuthorizeForm>) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Authorize { query: form.query.clone() }).await?;
    let approve = form.decision == "approve";
    let authorized = pages.gateway.call(&caller, Authorize { request: request(&form.query)?, approve, role: None }).await?;
    Ok(onward(authorized, approve))
}

fn onward(authorized: Authorized, approve: bool) -> Response {
    match authorized {
        Authorized::Carried(code) => render(&CarriedPage { code: Some(code) }),
        Authorized::Refused => render(&CarriedPage { code: None }),
        Authorized::Redirect(target) => {
            let message = if approve {
                "Signed in. Returning to your command line…"
            } else {
                "Refused. Returning to your command line…"
            };
            render(&OnwardPage { title: "Returning to your command line", message, target })
        }
    }
}

async fn login(State(pages): State<Pages>, browser: Browser, RawQuery(query): RawQuery) -> Page {
    let query = query.unwrap_or_default();
    let caller = browser.person_or_sign_in(&pages, Continuation::Login { query: query.clone() }).await?;
    let client = pages.gateway.call(&caller, LookUpClient { request: request(&query)? }).await?;
    if !client.one_role {
        return Err(Error::new(ErrorKind::InvalidClient, "This command line asks at another address.").into());
    }
    let (_, until) = lender(&pages, &caller)?;
    let RoleCards { accounts, role_count, .. } = RoleCards::of(&pages, &caller).await?;
    let bar = PersonBar::new(&pages, &caller, "login")?;
    Ok(render(&LoginPage { bar, until, carried: client.carried, query, accounts, role_count }))
}

#[derive(Deserialize)]
struct LoginForm {
    query: String,
    /// `<account>/<role>`; none refuses.
    role: Option<String>,
}

async fn decide_login(State(pages): State<Pages>, browser: Browser, Form(form): Form<LoginForm>) -> Page {
    let back = Continuation::Login { query: form.query.clone() };
    let caller = browser.person_or_sign_in(&pages, back.clone()).await?;
    let role = form.role.as_deref().map(lent_role).transpose()?;
    let approve = role.is_some();
    match pages.gateway.call(&caller, Authorize { request: request(&form.query)?, approve, role }).await {
        Ok(authorized) => Ok(onward(authorized, approve)),
        Err(error) if error.kind == ErrorKind::StepUpRequired => {
            After::keep(&browser, Waiting::Page(back.path())).await?;
            Ok(Redirect::to("/second-factor").into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn lent_role(text: &str) -> Result<LentRole, Error> {
    let (account, name) = text.split_once('/').ok_or_else(|| Error::invalid("Choose a role."))?;
    Ok(LentRole { account: AccountId::parse(account)?, name: RoleName::parse(name)? })
}
