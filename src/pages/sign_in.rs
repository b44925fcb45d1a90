//! Signing in: the choice of sources, the password form, and the doors that providers answer at.

use super::{BINDING, Browser, CONSOLE, CONTINUATION, Console, PERSON, Page, PageError, Pages, render};
use crate::{
    api::{
        signin::{Answer, BeginSignIn, CompleteSignIn, IdentitySourceInfo, ListIdentitySources, ParkSamlResponse},
        sso::Logout,
    },
    domain::{Error, ErrorKind, Secret},
    federation::{Arrival, metadata, oidc::Callback},
    signin::step::Continuation,
};
use askama::Template;
use axum::{
    Form, Router,
    extract::{Path, Query, RawQuery, State},
    http::header,
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::Engine as _;
use serde::Deserialize;

pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/sign-in", get(choose))
        .route("/sign-in/{source}", get(begin).post(password))
        .route("/sign-out", post(sign_out))
        .route("/saml/metadata", get(saml_metadata))
        .route("/saml/acs", post(saml_acs))
        .route("/saml/continue/{handle}", get(saml_continue))
        .route("/oidc/{source}/callback", get(oidc_callback))
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct ChoosePage {
    organization: String,
    sources: Vec<IdentitySourceInfo>,
    by_email: bool,
    email: String,
    problem: &'static str,
}

#[derive(Template)]
#[template(path = "password.html")]
struct PasswordPage {
    organization: String,
    source: String,
    label: String,
    handle: String,
    user_name: String,
    problem: String,
    others: bool,
}

/// Leaves our site without a form's redirect chain, which browsers bind to `form-action`.
#[derive(Template)]
#[template(path = "onward.html")]
pub(super) struct OnwardPage {
    pub(super) title: &'static str,
    pub(super) message: &'static str,
    pub(super) target: String,
}

#[derive(Deserialize)]
struct Chosen {
    email: Option<String>,
}

async fn choose(State(pages): State<Pages>, browser: Browser, Query(chosen): Query<Chosen>) -> Page {
    if browser.person(&pages).await?.is_some() {
        return Ok(Redirect::to("/portal").into_response());
    }
    let answer = pages.gateway.call(&browser.anonymous(), ListIdentitySources {}).await?;
    if let [only] = answer.sources.as_slice() {
        return Ok(Redirect::to(&format!("/sign-in/{}", only.name)).into_response());
    }
    let email = chosen.email.unwrap_or_default().trim().to_lowercase();
    let domain = email.rsplit_once('@').map(|(_, domain)| domain.to_owned()).unwrap_or_default();
    let by_domain = answer.sources.iter().find(|source| source.domains.contains(&domain));
    let by_password = answer.sources.iter().find(|source| source.directory && !email.is_empty());
    if let Some(source) = by_domain.or(by_password) {
        let hint = if source.directory { format!("?user_name={}", query(&email)) } else { String::new() };
        let target = format!("/sign-in/{}{hint}", source.name);
        return Ok(render(&OnwardPage { title: "Signing in", message: "Taking you to your sign-in page…", target }));
    }
    Ok(render(&ChoosePage {
        organization: answer.organization.unwrap_or_default(),
        by_email: answer.sources.iter().any(|source| !source.domains.is_empty()),
        problem: if email.is_empty() { "" } else { "We don't know that e-mail address. Choose how you sign in." },
        sources: answer.sources,
        email,
    }))
}

fn query(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Ties the steps of this browser to its session: made once, before anything is known about the person.
async fn binding(browser: &Browser, pages: &Pages) -> Result<Secret<String>, PageError> {
    if let Some(binding) = browser.session.get::<String>(BINDING).await? {
        return Ok(Secret::new(binding));
    }
    let fresh = pages.gateway.broker.random.token();
    browser.session.insert(BINDING, &fresh).await?;
    Ok(Secret::new(fresh))
}

#[derive(Deserialize)]
struct Hint {
    user_name: Option<String>,
}

async fn begin(State(pages): State<Pages>, browser: Browser, Path(source): Path<String>, Query(hint): Query<Hint>) -> Page {
    begin_with(&pages, &browser, source, hint.user_name.unwrap_or_default(), String::new()).await
}

async fn begin_with(pages: &Pages, browser: &Browser, source: String, user_name: String, problem: String) -> Page {
    let continuation: Continuation = browser.session.get(CONTINUATION).await?.unwrap_or_default();
    let begin = BeginSignIn { source: source.clone(), continuation, binding: binding(browser, pages).await? };
    let begun = pages.gateway.call(&browser.anonymous(), begin).await?;
    if let Some(target) = begun.redirect {
        return Ok(Redirect::to(&target).into_response());
    }
    let answer = pages.gateway.call(&browser.anonymous(), ListIdentitySources {}).await?;
    let label = answer.sources.iter().find(|known| known.name == source).map(|known| known.label.clone());
    Ok(render(&PasswordPage {
        organization: answer.organization.unwrap_or_default(),
        label: label.unwrap_or_default(),
        others: answer.sources.len() > 1,
        handle: begun.handle,
        source,
        user_name,
        problem,
    }))
}

#[derive(Deserialize)]
struct PasswordForm {
    handle: String,
    user_name: String,
    password: Secret<String>,
}

async fn password(
    State(pages): State<Pages>,
    browser: Browser,
    Path(source): Path<String>,
    Form(form): Form<PasswordForm>,
) -> Page {
    let user_name = form.user_name.clone();
    let arrival = Arrival::Password { user_name: form.user_name, password: form.password };
    match complete(&pages, &browser, Some(source.clone()), Answer::Direct { handle: form.handle, arrival }).await {
        Err(PageError(error)) if error.kind == ErrorKind::RejectedIdentity => {
            begin_with(&pages, &browser, source, user_name, error.public).await
        }
        outcome => outcome,
    }
}

/// Completes a sign-in; the session gets a new id, since its privilege changes.
async fn complete(pages: &Pages, browser: &Browser, source: Option<String>, answer: Answer) -> Page {
    let binding = browser.session.get::<String>(BINDING).await?.map(Secret::new);
    let completed = pages.gateway.call(&browser.anonymous(), CompleteSignIn { source, binding, answer }).await?;
    browser.session.cycle_id().await?;
    browser.session.remove::<String>(BINDING).await?;
    browser.session.remove::<Continuation>(CONTINUATION).await?;
    // A console that somebody else left open is not this person's.
    browser.session.remove::<Console>(CONSOLE).await?;
    browser.session.insert(PERSON, &completed.session).await?;
    Ok(Redirect::to(&completed.continuation.path()).into_response())
}

async fn sign_out(State(pages): State<Pages>, browser: Browser) -> Page {
    if let Some(caller) = browser.person(&pages).await? {
        pages.gateway.call(&caller, Logout {}).await?;
    }
    browser.session.flush().await?;
    let mut response = Redirect::to("/sign-in").into_response();
    if let Ok(value) = "\"cache\", \"storage\"".parse() {
        response.headers_mut().insert("clear-site-data", value);
    }
    Ok(response)
}

async fn saml_metadata(State(pages): State<Pages>) -> Response {
    let broker = &pages.gateway.broker;
    let xml = metadata::ours(&broker.federation.addresses, broker.federation.certificate());
    ([(header::CONTENT_TYPE, "application/samlmetadata+xml")], xml).into_response()
}

#[derive(Deserialize)]
struct SamlForm {
    #[serde(rename = "SAMLResponse")]
    response: String,
    #[serde(rename = "RelayState", default)]
    relay_state: String,
}

async fn saml_acs(State(pages): State<Pages>, browser: Browser, Form(form): Form<SamlForm>) -> Page {
    let compact: String = form.response.split_whitespace().collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(compact);
    let response = decoded
        .map_err(|_| Error::new(ErrorKind::InvalidIdentityToken, "The identity provider's answer could not be accepted."))?;
    let handle = pages.gateway.call(&browser.anonymous(), ParkSamlResponse { handle: form.relay_state, response }).await?;
    Ok(Redirect::to(&format!("/saml/continue/{handle}")).into_response())
}

async fn saml_continue(State(pages): State<Pages>, browser: Browser, Path(handle): Path<String>) -> Page {
    complete(&pages, &browser, None, Answer::Parked { handle }).await
}

async fn oidc_callback(
    State(pages): State<Pages>,
    browser: Browser,
    Path(source): Path<String>,
    RawQuery(raw): RawQuery,
) -> Page {
    let parameters: Vec<(String, String)> =
        url::form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect();
    // Exactly one of each: two parsers must never see two different values.
    let one = |name: &str| {
        let mut found = parameters.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone());
        match (found.next(), found.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(Error::invalid(format!("`{name}` appears twice in the provider's answer"))),
        }
    };
    let handle = one("state")?.unwrap_or_default();
    let callback = Callback { code: one("code")?.map(Secret::new), error: one("error")?, iss: one("iss")? };
    complete(&pages, &browser, Some(source), Answer::Direct { handle, arrival: Arrival::Oidc(callback) }).await
}
