//! Why somebody was refused: the sealed reasons of a refusal, laid out.

use super::{Frame, frame};
use crate::{
    api::sts::DecodeAuthorizationMessage,
    domain::ErrorKind,
    gateway::receipt::Receipt,
    pages::{Browser, Page, Pages, render},
};
use askama::Template;
use axum::{Form, extract::State};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/refusals.html")]
struct RefusalsPage {
    frame: Frame,
    message: String,
    explained: Option<Receipt>,
    problem: String,
}

#[derive(Default, Deserialize)]
pub(super) struct Pasted {
    message: String,
}

pub(super) async fn form(State(pages): State<Pages>, browser: Browser) -> Page {
    let (_, console) = browser.console(&pages).await?;
    let frame = frame(&pages, &console, "refusals");
    Ok(render(&RefusalsPage { frame, message: String::new(), explained: None, problem: String::new() }))
}

pub(super) async fn explain(State(pages): State<Pages>, browser: Browser, Form(pasted): Form<Pasted>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    // People paste the whole error: the message is the last word of it.
    let encoded_message = pasted.message.split_whitespace().next_back().unwrap_or_default().to_owned();
    let outcome = pages.gateway.call(&caller, DecodeAuthorizationMessage { encoded_message }).await;
    let (explained, problem) = match outcome {
        Ok(decoded) => (Some(decoded.receipt), String::new()),
        Err(error) if error.kind == ErrorKind::InvalidAuthorizationMessage => {
            (None, "This is no message of this broker for this account. Copy all of it, to the end.".to_owned())
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => (None, error.public),
        Err(error) => return Err(error.into()),
    };
    let frame = frame(&pages, &console, "refusals");
    Ok(render(&RefusalsPage { frame, message: pasted.message, explained, problem }))
}
