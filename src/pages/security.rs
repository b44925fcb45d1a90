//! A person's own security page: second factors, recovery codes, and where they are signed in.

use super::{
    Browser, Page, Pages,
    portal::PersonBar,
    render,
    second_factor::{After, CodesPage, Waiting, factor_first},
};
use crate::{
    api::signin::{
        enrolment::{FactorInfo, ListFactors, RemoveFactor, RenewRecoveryCodes},
        own_sessions::{EndOwnSession, ListOwnSessions, OwnSession},
        password::{BeginPasswordChange, BeginSetPassword, ChangePassword, LookUpPasswordLink, PasswordOwner, SetPassword},
    },
    domain::{ErrorKind, Secret, iam::DIRECTORY_ISSUER},
    signin::step::Continuation,
};
use askama::Template;
use axum::{
    Form, Router,
    extract::{Path, State},
    response::{IntoResponse, Redirect},
    routing::{get, post},
};
use serde::Deserialize;

pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/security", get(show))
        .route("/security/remove", post(remove))
        .route("/security/codes", post(codes))
        .route("/security/end", post(end))
        .route("/security/password", post(change_password))
        .route("/set-password/{token}", get(link).post(set_password))
}

#[derive(Template)]
#[template(path = "security.html")]
struct SecurityPage {
    bar: PersonBar,
    factors: Vec<FactorInfo>,
    recovery_codes: Option<usize>,
    sessions: Vec<OwnSession>,
    current: String,
    /// Whether the person has a password here.
    password: bool,
    problem: String,
}

async fn show(State(pages): State<Pages>, browser: Browser) -> Page {
    page(&pages, &browser, String::new()).await
}

async fn page(pages: &Pages, browser: &Browser, problem: String) -> Page {
    let caller = browser.person_or_sign_in(pages, Continuation::Portal).await?;
    let held = pages.gateway.call(&caller, ListFactors {}).await?;
    let own = pages.gateway.call(&caller, ListOwnSessions {}).await?;
    Ok(render(&SecurityPage {
        bar: PersonBar::new(pages, &caller, "security")?,
        factors: held.factors,
        recovery_codes: held.recovery_codes,
        sessions: own.sessions,
        current: own.current,
        password: caller.person().is_some_and(|session| session.identity.issuer == DIRECTORY_ISSUER),
        problem,
    }))
}

#[derive(Template)]
#[template(path = "set_password.html")]
struct SetPasswordPage {
    token: Secret<String>,
    owner: PasswordOwner,
    problem: String,
    done: bool,
}

async fn link(State(pages): State<Pages>, browser: Browser, Path(token): Path<Secret<String>>) -> Page {
    let owner = pages.gateway.call(&browser.anonymous(), LookUpPasswordLink { token: token.clone() }).await?;
    Ok(render(&SetPasswordPage { token, owner, problem: String::new(), done: false }))
}

#[derive(Deserialize)]
struct NewPassword {
    password: Secret<String>,
    current: Option<Secret<String>>,
}

async fn set_password(
    State(pages): State<Pages>,
    browser: Browser,
    Path(token): Path<Secret<String>>,
    Form(form): Form<NewPassword>,
) -> Page {
    let caller = browser.anonymous();
    let owner = pages.gateway.call(&caller, LookUpPasswordLink { token: token.clone() }).await?;
    let begin = BeginSetPassword { token: token.clone(), password: form.password };
    let outcome = match pages.gateway.call(&caller, begin).await {
        Ok(handle) => pages.gateway.call(&caller, SetPassword { token: token.clone(), handle }).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => Ok(render(&SetPasswordPage { token, owner, problem: String::new(), done: true })),
        Err(error) if error.kind == ErrorKind::InvalidInput => {
            Ok(render(&SetPasswordPage { token, owner, problem: error.public, done: false }))
        }
        Err(error) => Err(error.into()),
    }
}

async fn change_password(State(pages): State<Pages>, browser: Browser, Form(form): Form<NewPassword>) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Portal).await?;
    let begin = BeginPasswordChange { current: form.current.unwrap_or_default(), password: form.password };
    let outcome = match pages.gateway.call(&caller, begin).await {
        Ok(handle) => pages.gateway.call(&caller, ChangePassword { handle }).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => {
            browser.session.flush().await?;
            Ok(Redirect::to("/sign-in").into_response())
        }
        Err(error) if matches!(error.kind, ErrorKind::InvalidInput | ErrorKind::RejectedIdentity) => {
            page(&pages, &browser, error.public).await
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Deserialize)]
struct Named {
    id: Option<String>,
}

async fn remove(State(pages): State<Pages>, browser: Browser, Form(named): Form<Named>) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Portal).await?;
    match pages.gateway.call(&caller, RemoveFactor { id: named.id.unwrap_or_default() }).await {
        Ok(()) => Ok(Redirect::to("/security").into_response()),
        Err(error) if error.kind == ErrorKind::NoSuchEntity => page(&pages, &browser, error.public).await,
        Err(error) => factor_first(&pages, &browser, error, "/security").await,
    }
}

async fn codes(State(pages): State<Pages>, browser: Browser) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Portal).await?;
    match pages.gateway.call(&caller, RenewRecoveryCodes {}).await {
        Ok(made) => {
            After::keep(&browser, Waiting::Page("/security".to_owned())).await?;
            Ok(render(&CodesPage { codes: made.codes }))
        }
        Err(error) => factor_first(&pages, &browser, error, "/security").await,
    }
}

async fn end(State(pages): State<Pages>, browser: Browser, Form(named): Form<Named>) -> Page {
    let caller = browser.person_or_sign_in(&pages, Continuation::Portal).await?;
    match pages.gateway.call(&caller, EndOwnSession { id: named.id }).await {
        Ok(()) => Ok(Redirect::to("/security").into_response()),
        Err(error) if error.kind == ErrorKind::NoSuchEntity => page(&pages, &browser, error.public).await,
        Err(error) => Err(error.into()),
    }
}

/// What people call the browser that a `User-Agent` stands for: a hint, no more.
fn browser_name(user_agent: &str) -> String {
    let known = |table: &[(&str, &'static str)]| table.iter().find(|(mark, _)| user_agent.contains(mark)).map(|(_, name)| *name);
    let browser =
        known(&[("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari")]);
    let system = known(&[
        ("Android", "Android"),
        ("iPhone", "iPhone"),
        ("iPad", "iPad"),
        ("Windows", "Windows"),
        ("Mac OS", "macOS"),
        ("Linux", "Linux"),
    ]);
    match (browser, system) {
        (Some(browser), Some(system)) => format!("{browser} on {system}"),
        (Some(name), None) | (None, Some(name)) => name.to_owned(),
        (None, None) => "Another program".to_owned(),
    }
}
