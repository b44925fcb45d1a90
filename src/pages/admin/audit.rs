//! The audit log: what happened, who did it, and why something was refused.

use super::{Frame, frame};
use crate::{
    api::cloudtrail::LookupEvents,
    domain::ErrorKind,
    pages::{Browser, Page, Pages, render},
};
use askama::Template;
use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/audit.html")]
struct AuditPage {
    frame: Frame,
    events: Vec<Line>,
    next: Option<String>,
    refused: String,
}

struct Line {
    time: String,
    name: String,
    principal: String,
    source_ip: String,
    error: String,
    /// The audit record's id, where the flight recorder has more.
    recording: Option<String>,
    detail: String,
}

#[derive(Deserialize)]
pub(super) struct Paging {
    before: Option<String>,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(paging): Query<Paging>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let frame = frame(&pages, &console, "audit");
    match pages.gateway.call(&caller, LookupEvents { next_token: paging.before, ..LookupEvents::default() }).await {
        Ok(found) => {
            let line = |event: crate::api::cloudtrail::Event| {
                let record = event.record;
                let recorded = record.detail.get("recorded").is_some();
                // A sign-in begins as nobody and ends as somebody.
                let identified = |key: &str| record.detail.get("identity").and_then(|identity| identity.get(key)?.as_str());
                let person = identified("name").or_else(|| identified("subject")).map(str::to_owned);
                Line {
                    time: record.time.to_string(),
                    name: record.event_name,
                    principal: person.unwrap_or(record.principal),
                    source_ip: record.source_ip,
                    error: record.error_message.unwrap_or_default(),
                    recording: recorded.then_some(record.event_id),
                    detail: super::roles::pretty(&record.detail.to_string()),
                }
            };
            let events = found.events.into_iter().map(line).collect();
            Ok(render(&AuditPage { frame, events, next: found.next_token, refused: String::new() }))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            let page = AuditPage { frame, events: Vec::new(), next: None, refused: error.public };
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}
