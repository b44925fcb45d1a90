//! Settings in force; and help.

use super::{Frame, frame};
use crate::{
    api::settings::ListSettings,
    domain::ErrorKind,
    gateway::Setting,
    pages::{Browser, Page, Pages, render},
};
use askama::Template;
use axum::{extract::State, http::StatusCode, response::IntoResponse};

#[derive(Template)]
#[template(path = "admin/settings.html")]
struct SettingsPage {
    frame: Frame,
    settings: Vec<Setting>,
    refused: String,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let mut page = SettingsPage { frame: frame(&pages, &console, "settings"), settings: Vec::new(), refused: String::new() };
    match pages.gateway.call(&caller, ListSettings {}).await {
        Ok(found) => {
            page.settings = found.settings;
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "admin/help.html")]
struct HelpPage {
    frame: Frame,
}

pub(super) async fn help(State(pages): State<Pages>, browser: Browser) -> Page {
    let (_, console) = browser.console(&pages).await?;
    Ok(render(&HelpPage { frame: frame(&pages, &console, "help") }))
}
