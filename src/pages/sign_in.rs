//! Signing in: the choice of sources, the password form, and the doors that providers answer at.

use super::{
    AFTER_FACTOR, BINDING, Browser, CONSOLE, CONTINUATION, FACTOR_STEP, OFFERED, PERSON, Page, PageError, Pages, RESET, TESTING,
    departure::depart, render, trace,
};
use crate::{
    api::{
        sign_out::{BackChannelLogout, ProviderLogout, SignOut},
        signin::{
            Answer, ArriveUnsolicited, BeginSignIn, CompleteSignIn, IdentitySourceInfo, ListIdentitySources, LookUpArrival,
            ParkSamlResponse, SignInOutcome,
            factor::{BeginPasskeySignIn, SignInWithPasskey},
        },
        sso::Logout,
    },
    domain::{Error, ErrorKind, Secret, session::PortalSession},
    federation::{
        Arrival, Departure,
        oidc::Callback,
        saml::{self, logout::Inbound},
    },
    signin::step::Continuation,
    store::recordings,
};
use askama::Template;
use axum::{
    Form, Router,
    extract::{Path, Query, RawQuery, State},
    http::{StatusCode, header},
    response::{IntoResponse, Redirect, Response},
    routing::{get, post},
};
use base64::Engine as _;
use serde::Deserialize;

pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/sign-in", get(choose))
        .route("/sign-in/{source}", get(begin).post(password))
        .route("/sign-in-with-passkey", get(passkey).post(passkey_given))
        .route("/sign-out", post(sign_out))
        .route("/saml/metadata", get(saml_metadata))
        .route("/saml/acs", post(saml_acs))
        .route("/saml/continue/{handle}", get(saml_continue))
        .route("/saml/arrived/{handle}", get(saml_arrived).post(saml_confirmed))
        .route("/saml/logout", get(saml_logout).post(saml_logout_post))
        .route("/oidc/{source}/callback", get(oidc_callback))
        .route("/oidc/{source}/backchannel-logout", post(backchannel_logout))
        .route("/oidc/jwks", get(oidc_keys))
        .route("/signed-out", get(signed_out))
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct ChoosePage {
    organization: String,
    sources: Vec<IdentitySourceInfo>,
    by_email: bool,
    email: String,
    passkeys: bool,
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
    passkeys: bool,
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
        passkeys: answer.passkeys,
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

/// Tries a source: the whole way there and back, without a session at its end.
pub(super) async fn test(pages: &Pages, browser: &Browser, source: String) -> Page {
    browser.session.insert(TESTING, true).await?;
    trace::begin(&browser.session, browser.origin.time).await?;
    let begun = begin_with(pages, browser, source, String::new(), String::new()).await?;
    // A form's redirects are bound to `form-action`: the browser leaves from a page of its own.
    let target = begun.headers().get(header::LOCATION).and_then(|target| target.to_str().ok()).map(str::to_owned);
    Ok(match target {
        Some(target) => render(&OnwardPage { title: "Test sign-in", message: "Taking you to the provider…", target }),
        None => begun,
    })
}

async fn begin(State(pages): State<Pages>, browser: Browser, Path(source): Path<String>, Query(hint): Query<Hint>) -> Page {
    browser.session.remove::<bool>(TESTING).await?;
    trace::begin(&browser.session, browser.origin.time).await?;
    begin_with(&pages, &browser, source, hint.user_name.unwrap_or_default(), String::new()).await
}

async fn begin_with(pages: &Pages, browser: &Browser, source: String, user_name: String, problem: String) -> Page {
    let testing = browser.session.get::<bool>(TESTING).await?.unwrap_or_default();
    let continuation: Continuation = match testing {
        true => Continuation::Test,
        false => browser.session.get(CONTINUATION).await?.unwrap_or_default(),
    };
    let begin = BeginSignIn { source: source.clone(), continuation, binding: binding(browser, pages).await? };
    let begun = pages.gateway.call(&browser.anonymous(), begin).await?;
    if let Some(response) = depart(&begun.departure, "Signing in") {
        return Ok(response);
    }
    let answer = pages.gateway.call(&browser.anonymous(), ListIdentitySources {}).await?;
    let label = answer.sources.iter().find(|known| known.name == source).map(|known| known.label.clone());
    Ok(render(&PasswordPage {
        organization: answer.organization.unwrap_or_default(),
        label: label.unwrap_or_default(),
        others: answer.sources.len() > 1,
        passkeys: answer.passkeys,
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
    let reset = browser.session.get::<String>(RESET).await?.map(Secret::new);
    let bound = binding.clone();
    let outcome = pages.gateway.call(&browser.anonymous(), CompleteSignIn { source, binding, answer, reset }).await;
    if browser.session.remove::<bool>(TESTING).await?.unwrap_or_default() {
        // Whatever came of it: the administrator sees every check.
        browser.session.remove::<String>(BINDING).await?;
        browser.session.remove_value(trace::KEY).await?;
        let reference = recordings::reference(&browser.origin.request_id);
        return Ok(Redirect::to(&format!("/admin/sign-ins?reference={reference}")).into_response());
    }
    if outcome.is_err() && browser.session.get::<Continuation>(CONTINUATION).await? == Some(Continuation::Enrolment) {
        // The stricter way did not work: the usual one is still there.
        browser.session.remove::<Continuation>(CONTINUATION).await?;
    }
    let completed = outcome?;
    match completed.outcome {
        SignInOutcome::Session(session) => begin_session(pages, browser, &session).await?,
        SignInOutcome::Factor { handle } => {
            // Half signed in is another privilege than not at all.
            browser.rotate(pages).await?;
            if let Some(binding) = bound {
                // It may have gone with somebody who was here before.
                browser.session.insert(BINDING, binding.expose()).await?;
            }
            browser.session.insert(FACTOR_STEP, handle).await?;
            return Ok(Redirect::to("/second-factor").into_response());
        }
        SignInOutcome::Test => {
            return Err(Error::new(ErrorKind::StaleStep, "This was a test of another browser.").into());
        }
    }
    Ok(Redirect::to(&completed.continuation.path()).into_response())
}

/// The browser is somebody's from now on: a new id, and nothing of whoever was there before. Their session ends, with the
/// command lines that it lent itself to: from this browser nobody could sign those out any more, or give them a second factor.
pub(super) async fn begin_session(pages: &Pages, browser: &Browser, session: &PortalSession) -> Result<(), PageError> {
    if let Some(before) = browser.person(pages).await? {
        // Whoever signed in is in, whatever becomes of it.
        if let Err(error) = pages.gateway.call(&before, Logout {}).await {
            tracing::warn!(%error, "the session before could not be ended");
        }
    }
    browser.rotate(pages).await?;
    for key in [BINDING, CONTINUATION, FACTOR_STEP, AFTER_FACTOR, RESET, CONSOLE, OFFERED, trace::KEY] {
        browser.session.remove_value(key).await?;
    }
    browser.session.insert(PERSON, session).await?;
    Ok(())
}

#[derive(Template)]
#[template(path = "passkey.html")]
struct PasskeyPage {
    handle: String,
    options: String,
    problem: String,
}

async fn passkey(State(pages): State<Pages>, browser: Browser) -> Page {
    trace::begin(&browser.session, browser.origin.time).await?;
    ask_passkey(&pages, &browser, String::new()).await
}

async fn ask_passkey(pages: &Pages, browser: &Browser, problem: String) -> Page {
    let binding = binding(browser, pages).await?;
    let asked = pages.gateway.call(&browser.anonymous(), BeginPasskeySignIn { binding }).await?;
    let asked = asked.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "Passkeys can't be used at this address."))?;
    Ok(render(&PasskeyPage { handle: asked.handle, options: asked.options, problem }))
}

#[derive(Deserialize)]
struct PasskeyForm {
    handle: String,
    credential: Secret<String>,
}

async fn passkey_given(State(pages): State<Pages>, browser: Browser, Form(form): Form<PasskeyForm>) -> Page {
    let binding = browser.session.get::<String>(BINDING).await?.map(Secret::new);
    let continuation: Continuation = browser.session.get(CONTINUATION).await?.unwrap_or_default();
    let PasskeyForm { handle, credential } = form;
    let wish = SignInWithPasskey { binding, handle, credential, continuation };
    match pages.gateway.call(&browser.anonymous(), wish).await {
        Ok(given) => {
            let session = given.session.ok_or_else(|| Error::internal("a passkey without a session"))?;
            begin_session(&pages, &browser, &session).await?;
            Ok(Redirect::to(&given.continuation.path()).into_response())
        }
        Err(error) if matches!(error.kind, ErrorKind::InvalidAuthenticationCode | ErrorKind::RejectedIdentity) => {
            ask_passkey(&pages, &browser, error.public).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn sign_out(State(pages): State<Pages>, browser: Browser) -> Page {
    let departure = match browser.person(&pages).await? {
        Some(caller) => pages.gateway.call(&caller, SignOut {}).await?.departure,
        None => None,
    };
    browser.session.flush().await?;
    let mut response = match departure {
        // A form's redirects are bound to `form-action`: the browser leaves from a page of its own.
        Some(Departure::Redirect(target)) => {
            render(&OnwardPage { title: "Signing out", message: "Telling your identity provider…", target: target.to_string() })
        }
        Some(departure) => depart(&departure, "Signing out").unwrap_or_else(|| Redirect::to("/sign-in").into_response()),
        None => Redirect::to("/sign-in").into_response(),
    };
    if let Ok(value) = "\"cache\", \"storage\"".parse() {
        response.headers_mut().insert("clear-site-data", value);
    }
    Ok(response)
}

async fn saml_metadata(State(pages): State<Pages>) -> Page {
    let xml = saml::metadata_document(&pages.gateway.broker.federation).await?;
    Ok(([(header::CONTENT_TYPE, "application/samlmetadata+xml")], xml).into_response())
}

/// A SAML message in a form (SAML bindings 3.5.4).
#[derive(Deserialize)]
struct SamlForm {
    #[serde(rename = "SAMLResponse")]
    response: Option<String>,
    #[serde(rename = "SAMLRequest")]
    request: Option<String>,
    #[serde(rename = "RelayState", default)]
    relay_state: String,
}

fn decode(field: &str) -> Result<Vec<u8>, Error> {
    let compact: String = field.split_whitespace().collect();
    let decoded = base64::engine::general_purpose::STANDARD.decode(compact);
    decoded.map_err(|_| Error::new(ErrorKind::InvalidIdentityToken, "The identity provider's answer could not be accepted."))
}

async fn saml_acs(State(pages): State<Pages>, browser: Browser, Form(form): Form<SamlForm>) -> Page {
    let response = decode(&form.response.unwrap_or_default())?;
    let park = ParkSamlResponse { handle: form.relay_state.clone(), response: response.clone() };
    let (place, handle) = match pages.gateway.call(&browser.anonymous(), park).await? {
        true => ("continue", form.relay_state),
        false => ("arrived", pages.gateway.call(&browser.anonymous(), ArriveUnsolicited { response }).await?),
    };
    Ok(Redirect::to(&format!("/saml/{place}/{handle}")).into_response())
}

async fn saml_continue(State(pages): State<Pages>, browser: Browser, Path(handle): Path<String>) -> Page {
    complete(&pages, &browser, None, Answer::Parked { handle }).await
}

/// A sign-in that began at the provider is confirmed by the person: anybody could have sent this browser here.
#[derive(Template)]
#[template(path = "arrived.html")]
struct ArrivedPage {
    source: String,
    person: String,
    handle: String,
}

async fn saml_arrived(State(pages): State<Pages>, browser: Browser, Path(handle): Path<String>) -> Page {
    let binding = binding(&browser, &pages).await?;
    let arrived = pages.gateway.call(&browser.anonymous(), LookUpArrival { handle: handle.clone(), binding }).await?;
    Ok(render(&ArrivedPage { source: arrived.source, person: arrived.person, handle }))
}

async fn saml_confirmed(State(pages): State<Pages>, browser: Browser, Path(handle): Path<String>) -> Page {
    complete(&pages, &browser, None, Answer::Unsolicited { handle }).await
}

#[derive(Template)]
#[template(path = "signed_out.html")]
struct SignedOutPage {
    confirmed: bool,
}

async fn saml_logout(State(pages): State<Pages>, browser: Browser, RawQuery(raw): RawQuery) -> Page {
    logout(&pages, &browser, Inbound::Redirect(raw.unwrap_or_default())).await
}

async fn saml_logout_post(State(pages): State<Pages>, browser: Browser, Form(form): Form<SamlForm>) -> Page {
    let (request, field) = match (form.request, form.response) {
        (Some(field), None) => (true, field),
        (None, Some(field)) => (false, field),
        _ => return Err(Error::invalid("There is not exactly one SAML message in the form.").into()),
    };
    let message = Inbound::Post { request, xml: decode(&field)?, relay_state: form.relay_state };
    logout(&pages, &browser, message).await
}

async fn logout(pages: &Pages, browser: &Browser, message: Inbound) -> Page {
    let done = pages.gateway.call(&browser.anonymous(), ProviderLogout { message }).await?;
    let answer = done.departure.and_then(|departure| depart(&departure, "Signing out"));
    Ok(answer.unwrap_or_else(|| render(&SignedOutPage { confirmed: done.confirmed })))
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

/// The keys that our clients authenticate with at OpenID providers.
async fn oidc_keys(State(pages): State<Pages>) -> Page {
    let key = pages.gateway.broker.store.client_key().await?;
    let body = serde_json::to_string(key.public()).map_err(Error::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/jwk-set+json")], body).into_response())
}

/// Where an OpenID provider sends the browser after a sign-out that began here.
async fn signed_out() -> Response {
    render(&SignedOutPage { confirmed: true })
}

#[derive(Deserialize)]
struct LogoutTokenForm {
    logout_token: Secret<String>,
}

/// For the provider's server: no browser, no page.
async fn backchannel_logout(
    State(pages): State<Pages>,
    browser: Browser,
    Path(source): Path<String>,
    Form(form): Form<LogoutTokenForm>,
) -> Response {
    let wish = BackChannelLogout { source, logout_token: form.logout_token };
    match pages.gateway.call(&browser.anonymous(), wish).await {
        Ok(()) => StatusCode::OK.into_response(),
        Err(error) if error.kind == ErrorKind::Unavailable || error.kind == ErrorKind::IdentityProviderUnreachable => {
            StatusCode::SERVICE_UNAVAILABLE.into_response()
        }
        Err(_) => (StatusCode::BAD_REQUEST, r#"{"error":"invalid_request"}"#).into_response(),
    }
}
