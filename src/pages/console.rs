//! `/federation`: console sign-in links, as AWS's endpoint of that name takes them.

use super::{Browser, CONSOLE, Console, Page, Pages};
use crate::{
    api::signin::{ConsoleLogin, GetSigninToken, Signin},
    credentials::console::ConsoleCredentials,
    domain::{Error, Secret},
    gateway::{Protocol, Service as _, wire::refuse},
};
use axum::{
    Json, Router,
    body::Bytes,
    extract::{RawQuery, State},
    http::Method,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};

pub(super) fn router() -> Router<Pages> {
    Router::new().route("/federation", get(federation).post(federation))
}

/// Parameters come in the query, as at AWS, or (better: addresses are logged) in a form body.
async fn federation(
    State(pages): State<Pages>,
    browser: Browser,
    method: Method,
    RawQuery(query): RawQuery,
    body: Bytes,
) -> Page {
    let raw = [query.unwrap_or_default().as_bytes(), b"&", &body].concat();
    let parameters: Vec<(String, String)> = url::form_urlencoded::parse(&raw).into_owned().collect();
    let one = |name: &str| {
        let mut found = parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone());
        found.next().filter(|_| found.next().is_none())
    };
    match one("Action").as_deref() {
        Some("getSigninToken") => Ok(match signin_token(&pages, &browser, one("Session"), one("SessionDuration")).await {
            Ok(answer) => answer,
            Err(error) => refuse(Protocol::Rest, &Signin::fault(&error), &browser.origin.request_id),
        }),
        // A link is a GET; a form from elsewhere, which comes without the cookie, would replace the browser's session.
        Some("login") if method == Method::GET => {
            let token = Secret::new(one("SigninToken").unwrap_or_default());
            let opened = pages.gateway.call(&browser.anonymous(), ConsoleLogin { signin_token: token }).await?;
            let destination = destination(&pages.origin, one("Destination").as_deref());
            browser.rotate(&pages).await?;
            browser.session.insert(CONSOLE, Console { session: opened.session, until: opened.until }).await?;
            Ok(Redirect::to(&destination).into_response())
        }
        _ => Err(Error::invalid("The Action is getSigninToken or login.").into()),
    }
}

async fn signin_token(
    pages: &Pages,
    browser: &Browser,
    session: Option<String>,
    duration: Option<String>,
) -> Result<Response, Error> {
    let malformed = || Error::invalid("Session must be a JSON object with sessionId, sessionKey and sessionToken");
    let credentials: ConsoleCredentials = serde_json::from_str(&session.unwrap_or_default()).map_err(|_| malformed())?;
    let duration = duration.map(|text| text.parse().map_err(|_| Error::invalid("SessionDuration must be a number of seconds")));
    let call = GetSigninToken { credentials, session_duration: duration.transpose()? };
    let answer = pages.gateway.call(&browser.anonymous(), call).await?;
    Ok(Json(answer).into_response())
}

/// Only our own pages: a link that leaves the site is a link to the console's front page.
pub(super) fn destination(origin: &str, wanted: Option<&str>) -> String {
    let front = "/admin".to_owned();
    let Ok(base) = url::Url::parse(origin) else { return front };
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else { return front };
    match base.join(wanted) {
        Ok(url) if url.origin() == base.origin() && url.path().starts_with("/admin") => {
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()))
        }
        _ => front,
    }
}
