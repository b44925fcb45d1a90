//! The second factor: giving one, setting one up, and starting anew with an administrator's link.

use super::{
    AFTER_FACTOR, BINDING, Browser, CONTINUATION, FACTOR_STEP, Page, PageError, Pages, RESET, portal::Wish, render,
    sign_in::begin_session,
};
use crate::{
    api::signin::{
        enrolment::{BeginEnrolment, CompleteEnrolment, Enrolment, EnrolmentAnswer, ListFactors},
        factor::{BoundStep, FactorGiven, GiveFactor, LookUpFactors, PasskeyChallenge},
    },
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        session::{Caller, PortalSession},
    },
    federation::SIGN_IN_SECONDS,
    signin::{factor::FactorAnswer, step::Continuation},
};
use askama::Template;
use axum::{
    Form, Router,
    extract::{Path, State},
    response::{IntoResponse, Redirect},
    routing::{get, post},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/second-factor", get(show).post(give))
        .route("/second-factor/enrol", get(enrol).post(enrolled))
        .route("/second-factor/continue", post(after_codes))
        .route("/second-factor/reset/{token}", get(open_reset))
}

/// Who is here: somebody between identity and session, or somebody who has one.
async fn subject(pages: &Pages, browser: &Browser) -> Result<(Caller, Option<BoundStep>), PageError> {
    if let Some(handle) = browser.session.get::<String>(FACTOR_STEP).await? {
        let binding = browser.session.get::<String>(BINDING).await?.map(Secret::new);
        return Ok((browser.anonymous(), Some(BoundStep { handle, binding })));
    }
    Ok((browser.person_or_sign_in(pages, Continuation::Portal).await?, None))
}

/// A step that is over is forgotten: the person begins anew.
async fn over(browser: &Browser, error: Error) -> PageError {
    if error.kind == ErrorKind::StaleStep {
        let _ = browser.session.remove::<String>(FACTOR_STEP).await;
    }
    error.into()
}

#[derive(Template)]
#[template(path = "second_factor.html")]
struct FactorPage {
    person: String,
    passkey: Option<PasskeyChallenge>,
    totp: bool,
    recovery: bool,
    problem: String,
}

async fn show(State(pages): State<Pages>, browser: Browser) -> Page {
    ask(&pages, &browser, String::new()).await
}

async fn ask(pages: &Pages, browser: &Browser, problem: String) -> Page {
    let (caller, step) = subject(pages, browser).await?;
    let choice = match pages.gateway.call(&caller, LookUpFactors { step }).await {
        Ok(choice) => choice,
        Err(error) => return Err(over(browser, error).await),
    };
    if choice.enrolment {
        return Ok(Redirect::to("/second-factor/enrol").into_response());
    }
    let (person, passkey, totp, recovery) = (choice.person, choice.passkey, choice.totp, choice.recovery);
    Ok(render(&FactorPage { person, passkey, totp, recovery, problem }))
}

#[derive(Deserialize)]
struct GivenForm {
    code: Option<Secret<String>>,
    handle: Option<String>,
    credential: Option<Secret<String>>,
}

async fn give(State(pages): State<Pages>, browser: Browser, Form(form): Form<GivenForm>) -> Page {
    let (caller, step) = subject(&pages, &browser).await?;
    let answer = match form {
        GivenForm { code: Some(code), .. } => FactorAnswer::Code(code),
        GivenForm { handle: Some(handle), credential: Some(credential), .. } => FactorAnswer::Passkey { handle, credential },
        GivenForm { .. } => return Err(Error::invalid("Give a code, or use your passkey.").into()),
    };
    match pages.gateway.call(&caller, GiveFactor { step, answer }).await {
        Ok(FactorGiven { session, continuation, .. }) => go_on(&pages, &browser, session.as_ref(), &continuation).await,
        Err(error) if error.kind == ErrorKind::InvalidAuthenticationCode => ask(&pages, &browser, error.public).await,
        Err(error) => Err(over(&browser, error).await),
    }
}

/// Where the person was: a sign-in goes on, or the role or page that asked for the factor.
async fn go_on(pages: &Pages, browser: &Browser, session: Option<&PortalSession>, continuation: &Continuation) -> Page {
    if let Some(session) = session {
        begin_session(pages, browser, session).await?;
        return Ok(Redirect::to(&continuation.path()).into_response());
    }
    match After::take(browser).await? {
        Some(Waiting::Role(wish)) => {
            let caller = browser.person_or_sign_in(pages, Continuation::Portal).await?;
            Box::pin(wish.grant(pages, browser, &caller)).await
        }
        Some(Waiting::Page(path)) => Ok(Redirect::to(&path).into_response()),
        None => Ok(Redirect::to("/portal").into_response()),
    }
}

/// What waits for a second factor. It is not carried out when the person comes back for something else much later.
#[derive(Serialize, Deserialize)]
pub(super) struct After {
    until: Timestamp,
    what: Waiting,
}

/// The role or the page.
#[derive(Serialize, Deserialize)]
pub(super) enum Waiting {
    /// What was asked for in the portal.
    Role(Wish),
    /// A path of ours.
    Page(String),
}

impl After {
    /// Keeps it, instead of anything before.
    pub(super) async fn keep(browser: &Browser, what: Waiting) -> Result<(), PageError> {
        let until = browser.origin.time.plus_seconds(SIGN_IN_SECONDS);
        Ok(browser.session.insert(AFTER_FACTOR, Self { until, what }).await?)
    }

    async fn take(browser: &Browser) -> Result<Option<Waiting>, PageError> {
        let kept: Option<Self> = browser.session.remove(AFTER_FACTOR).await?;
        Ok(kept.filter(|kept| kept.until > browser.origin.time).map(|kept| kept.what))
    }
}

#[derive(Template)]
#[template(path = "enrol.html")]
struct EnrolPage {
    enrolment: Enrolment,
    /// Base64.
    picture: String,
    /// Whether what is enrolled takes the place of everything there was.
    anew: bool,
    problem: String,
}

async fn enrol(State(pages): State<Pages>, browser: Browser) -> Page {
    begin_enrolment(&pages, &browser, None, String::new()).await
}

async fn begin_enrolment(pages: &Pages, browser: &Browser, totp_handle: Option<String>, problem: String) -> Page {
    let (caller, step) = subject(pages, browser).await?;
    match pages.gateway.call(&caller, BeginEnrolment { step, totp_handle }).await {
        Ok(enrolment) => {
            let picture = STANDARD.encode(enrolment.picture.expose());
            let anew = browser.session.get::<String>(RESET).await?.is_some();
            Ok(render(&EnrolPage { enrolment, picture, anew, problem }))
        }
        Err(error) => factor_first(pages, browser, error, "/second-factor/enrol").await,
    }
}

/// Has the factor asked for that a change of factors wants, and comes back. Who has none authenticates anew.
pub(super) async fn factor_first(pages: &Pages, browser: &Browser, error: Error, back: &str) -> Page {
    if error.kind != ErrorKind::StepUpRequired {
        return Err(over(browser, error).await);
    }
    let caller = browser.person_or_sign_in(pages, Continuation::Portal).await?;
    if !pages.gateway.call(&caller, ListFactors {}).await?.factors.is_empty() {
        After::keep(browser, Waiting::Page(back.to_owned())).await?;
        return Ok(Redirect::to("/second-factor").into_response());
    }
    browser.session.insert(CONTINUATION, Continuation::Enrolment).await?;
    let source = caller.person().map(|session| session.identity.provider.name.clone()).unwrap_or_default();
    // A page, not a redirect: a provider that does not do as asked must not send the browser round and round.
    Ok(render(&AgainPage { source }))
}

#[derive(Template)]
#[template(path = "again.html")]
struct AgainPage {
    source: String,
}

#[derive(Deserialize)]
struct EnrolledForm {
    name: String,
    handle: String,
    code: Option<Secret<String>>,
    credential: Option<Secret<String>>,
}

#[derive(Template)]
#[template(path = "recovery_codes.html")]
pub(super) struct CodesPage {
    pub(super) codes: Vec<Secret<String>>,
}

async fn enrolled(State(pages): State<Pages>, browser: Browser, Form(form): Form<EnrolledForm>) -> Page {
    let (caller, step) = subject(&pages, &browser).await?;
    let EnrolledForm { name, handle, code, credential } = form;
    let again = handle.clone();
    let answer = match (code, credential) {
        (Some(code), None) => EnrolmentAnswer::Totp { handle, code },
        (None, Some(credential)) => EnrolmentAnswer::Passkey { handle, credential },
        _ => return Err(Error::invalid("Give the code of the app, or make a passkey.").into()),
    };
    let done = match pages.gateway.call(&caller, CompleteEnrolment { step, name, answer }).await {
        Ok(done) => done,
        Err(error) if matches!(error.kind, ErrorKind::InvalidAuthenticationCode | ErrorKind::InvalidInput) => {
            return begin_enrolment(&pages, &browser, Some(again), error.public).await;
        }
        Err(error) => return factor_first(&pages, &browser, error, "/second-factor/enrol").await,
    };
    if done.recovery_codes.is_empty() {
        return match &done.session {
            None => Ok(Redirect::to("/security").into_response()),
            Some(_) => go_on(&pages, &browser, done.session.as_ref(), &done.continuation).await,
        };
    }
    // The codes come first; then the person goes on.
    if let Some(session) = &done.session {
        begin_session(&pages, &browser, session).await?;
        // Who came to set one up has.
        let next = if done.continuation == Continuation::Enrolment { "/security".to_owned() } else { done.continuation.path() };
        After::keep(&browser, Waiting::Page(next)).await?;
    }
    Ok(render(&CodesPage { codes: done.recovery_codes }))
}

async fn after_codes(State(pages): State<Pages>, browser: Browser) -> Page {
    go_on(&pages, &browser, None, &Continuation::Portal).await
}

/// A link to start anew: it counts at the next sign-in of the person it was made for.
async fn open_reset(State(pages): State<Pages>, browser: Browser, Path(token): Path<String>) -> Page {
    if browser.person(&pages).await?.is_some() {
        return Err(Error::invalid("You are signed in: sign out first, then open the link again.").into());
    }
    browser.session.remove::<String>(FACTOR_STEP).await?;
    browser.session.insert(RESET, token).await?;
    Ok(Redirect::to("/sign-in").into_response())
}
