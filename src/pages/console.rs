//! `/federation`: console sign-in links, as AWS's endpoint of that name takes them.

use super::{Browser, CONSOLE, Console, OFFERED, Page, PageError, Pages, portal::BookmarkPage, render};
use crate::{
    api::signin::{ConsoleLogin, GetSigninToken, Signin},
    credentials::console::ConsoleCredentials,
    domain::{Error, ErrorKind, Secret, name::AccountId, session::RoleSession},
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
use serde::{Deserialize, Serialize};

pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/federation", get(federation).post(federation))
        .route("/federation/open", get(offered).post(open_offered))
}

/// A console, and the page of it to begin with.
#[derive(Serialize, Deserialize)]
struct Offered {
    console: Console,
    destination: String,
}

impl Offered {
    async fn open(self, pages: &Pages, browser: &Browser) -> Page {
        browser.rotate(pages).await?;
        browser.session.insert(CONSOLE, self.console).await?;
        Ok(Redirect::to(&self.destination).into_response())
    }
}

/// Whether nobody else than the console's own person uses this browser.
async fn is_free_for(pages: &Pages, browser: &Browser, console: &Console) -> Result<bool, PageError> {
    let person = console.session.person.as_deref();
    let signed_in = browser.person(pages).await?.and_then(|caller| Some(caller.person()?.identity.person()));
    let open = browser.console(pages).await.ok().map(|(caller, _)| caller.principal.person_behind());
    Ok(signed_in.is_none_or(|other| Some(other.as_str()) == person)
        && open.is_none_or(|other| other.is_some() && other.as_deref() == person))
}

async fn offered(State(pages): State<Pages>, browser: Browser) -> Page {
    let Some(offered) = browser.session.get::<Offered>(OFFERED).await? else { return Err(over()) };
    let RoleSession { account, role_name, .. } = &offered.console.session;
    Ok(render(&BookmarkPage {
        action: "federation/open",
        id: String::new(),
        role: role_name.to_string(),
        account: account_name(&pages, account),
        foreign: true,
        destination: String::new(),
    }))
}

fn over() -> PageError {
    Error::new(ErrorKind::StaleStep, "This page was used before. Open the console again from the portal.").into()
}

async fn open_offered(State(pages): State<Pages>, browser: Browser) -> Page {
    match browser.session.remove::<Offered>(OFFERED).await? {
        Some(offered) => offered.open(&pages, &browser).await,
        None => {
            Err(Error::new(ErrorKind::StaleStep, "This page was used before. Open the console again from the portal.").into())
        }
    }
}

/// An account as pages call it.
pub(super) fn account_name(pages: &Pages, account: &AccountId) -> String {
    let snapshot = pages.gateway.snapshot();
    snapshot.accounts.get(account).map_or_else(|| account.to_string(), |known| format!("{} ({account})", known.name))
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
            let offered = Offered { console: Console { session: opened.session, until: opened.until }, destination };
            if is_free_for(&pages, &browser, &offered.console).await? {
                return offered.open(&pages, &browser).await;
            }
            // A link of somebody else's takes nobody's place by itself.
            browser.session.insert(OFFERED, &offered).await?;
            Ok(Redirect::to("/federation/open").into_response())
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
