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

/// The form. Its button says whether to look, or to connect.
#[derive(Default, Deserialize)]
struct Answer {
    text: String,
    #[serde(default)]
    client_id: String,
    client_secret: Option<Secret<String>>,
    connect: Option<String>,
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
    let look = PreviewInvitedSource { token: token.clone(), text: form.text.clone() };
    let mut outcome = pages.gateway.call(&caller, look).await.map(|preview| page.preview = Some(preview));
    if let Some(preview) = page.preview.as_ref().filter(|_| form.connect.is_some()) {
        let client = ClientRegistration { id: form.client_id.clone(), secret: form.client_secret.take() };
        let accept = AcceptInvitation { token, published: preview.published.clone(), client: Some(client) };
        outcome = pages.gateway.call(&caller, accept).await.map(|()| page.done = true);
    }
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
