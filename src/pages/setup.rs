//! Setup links: an administrator of an identity provider connects it, with no account here.

use super::{Browser, Page, Pages, render};
use crate::{
    api::iam::{
        invitation::{AcceptInvitation, InvitedSource, LookUpInvitation, PreviewInvitedSource, SourceProtocol},
        setup::ClientRegistration,
        sources::SourcePreview,
    },
    domain::{ErrorKind, Secret},
};
use askama::Template;
use axum::{
    Form, Router,
    extract::{Path, State},
    routing::get,
};
use serde::Deserialize;

pub(super) fn router() -> Router<Pages> {
    // Looking at the page uses nothing up: mail scanners do.
    Router::new().route("/setup/{token}", get(show).post(answer))
}

#[derive(Template)]
#[template(path = "setup.html")]
struct SetupPage {
    token: Secret<String>,
    invited: InvitedSource,
    form: Answer,
    preview: Option<SourcePreview>,
    problem: String,
    done: bool,
}

/// Both forms of the page.
#[derive(Default, Deserialize)]
struct Answer {
    text: String,
    #[serde(default)]
    client_id: String,
    client_secret: Option<Secret<String>>,
    /// What was checked, where that is to be connected.
    digest: Option<String>,
}

async fn show(State(pages): State<Pages>, browser: Browser, Path(token): Path<Secret<String>>) -> Page {
    let invited = pages.gateway.call(&browser.anonymous(), LookUpInvitation { token: token.clone() }).await?;
    Ok(render(&SetupPage { token, invited, form: Answer::default(), preview: None, problem: String::new(), done: false }))
}

async fn answer(
    State(pages): State<Pages>,
    browser: Browser,
    Path(token): Path<Secret<String>>,
    Form(mut form): Form<Answer>,
) -> Page {
    let caller = browser.anonymous();
    let invited = pages.gateway.call(&caller, LookUpInvitation { token: token.clone() }).await?;
    let mut page =
        SetupPage { token: token.clone(), invited, form: Answer::default(), preview: None, problem: String::new(), done: false };
    let outcome = match form.digest.take() {
        Some(digest) => {
            let client = ClientRegistration { id: form.client_id.clone(), secret: form.client_secret.take() };
            pages.gateway.call(&caller, AcceptInvitation { token, digest, client: Some(client) }).await.map(|()| page.done = true)
        }
        None => {
            let look = PreviewInvitedSource { token, text: form.text.clone() };
            pages.gateway.call(&caller, look).await.map(|preview| page.preview = Some(preview))
        }
    };
    match outcome {
        Ok(()) => {}
        Err(error) if matches!(error.kind, ErrorKind::InvalidInput | ErrorKind::IdentityProviderUnreachable) => {
            page.problem = error.public;
        }
        Err(error) => return Err(error.into()),
    }
    page.form = form;
    Ok(render(&page))
}
