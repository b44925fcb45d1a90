//! Identity sources: what is configured, what is near its end, our values to copy, and trying a sign-in.

use super::{Frame, frame};
use crate::{
    api::iam::sources::{ListSources, PreviewSource, Source, SourcePreview},
    domain::{ErrorKind, name::ProviderName},
    pages::{Browser, Page, Pages, render, sign_in},
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/sources.html")]
struct SourcesPage {
    frame: Frame,
    sources: Vec<Source>,
    pasted: String,
    preview: Option<SourcePreview>,
    problem: String,
    refused: String,
}

#[derive(Default, Deserialize)]
pub(super) struct Pasted {
    text: String,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser) -> Page {
    page(&pages, &browser, String::new(), None, String::new()).await
}

pub(super) async fn preview(State(pages): State<Pages>, browser: Browser, Form(pasted): Form<Pasted>) -> Page {
    let (caller, _) = browser.console().await?;
    match pages.gateway.call(&caller, PreviewSource { text: pasted.text.clone() }).await {
        Ok(preview) => page(&pages, &browser, pasted.text, Some(preview), String::new()).await,
        Err(error)
            if matches!(
                error.kind,
                ErrorKind::InvalidInput | ErrorKind::IdentityProviderUnreachable | ErrorKind::AccessDenied
            ) =>
        {
            page(&pages, &browser, pasted.text, None, error.public).await
        }
        Err(error) => Err(error.into()),
    }
}

async fn page(pages: &Pages, browser: &Browser, pasted: String, preview: Option<SourcePreview>, problem: String) -> Page {
    let (caller, console) = browser.console().await?;
    let outcome = pages.gateway.call(&caller, ListSources {}).await;
    let frame = frame(pages, &console, "sources");
    let mut page = SourcesPage { frame, sources: Vec::new(), pasted, preview, problem, refused: String::new() };
    match outcome {
        Ok(found) => {
            page.sources = found.sources;
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// The whole way to the provider and back, without a session at its end. Its checks are shown afterwards.
pub(super) async fn test(State(pages): State<Pages>, browser: Browser, Path(name): Path<ProviderName>) -> Page {
    let (caller, _) = browser.console().await?;
    // Who may not see the sources has no business trying them.
    pages.gateway.call(&caller, ListSources {}).await?;
    sign_in::test(&pages, &browser, name.to_string()).await
}
