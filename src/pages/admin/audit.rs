//! The audit log: what happened, who did it, and why something was refused; one event; and the log as a file.

use super::{Frame, frame, roles::pretty};
use crate::{
    api::cloudtrail::{Event, LookupAttribute, LookupEvents, Narrowed},
    domain::{Error, ErrorKind, Timestamp, session::Caller},
    pages::{Browser, Page, Pages, render},
};
use askama::Template;
use axum::{
    extract::{Path, Query, State},
    http::{StatusCode, header},
    response::IntoResponse,
};
use serde::Deserialize;
use serde_json::Value;

/// Most events of a file.
const MOST_EXPORTED: usize = 5_000;
/// Most looks into the log for a file.
const MOST_CALLS: usize = 100;

#[derive(Template)]
#[template(path = "admin/audit.html")]
struct AuditPage {
    frame: Frame,
    filter: Filter,
    events: Vec<Line>,
    next: Option<String>,
    problem: String,
    refused: String,
}

/// One event, as people read it.
struct Line {
    id: String,
    time: String,
    name: String,
    service: String,
    principal: String,
    source_ip: String,
    user_agent: String,
    account: String,
    error: String,
    /// Whether the flight recorder has more.
    recorded: bool,
    /// What was allowed, or why it was open.
    allowed: Vec<String>,
    /// The role that was taken or tried, and the person: for trying it again.
    role: String,
    person: String,
    detail: String,
}

impl Line {
    fn new(event: Event) -> Self {
        let record = event.record;
        let text = |key: &str| record.detail.get(key).and_then(Value::as_str).map(str::to_owned).unwrap_or_default();
        // A sign-in begins as nobody and ends as somebody.
        let identified = |key: &str| record.detail.get("identity").and_then(|identity| identity.get(key)?.as_str());
        let person = identified("name").or_else(|| identified("subject")).map(str::to_owned);
        let allowed = record.detail.get("allowed").and_then(Value::as_array).into_iter().flatten();
        Self {
            allowed: allowed.filter_map(Value::as_str).map(str::to_owned).collect(),
            role: text("roleArn"),
            person: text("subject"),
            recorded: record.detail.get("recorded").is_some(),
            id: record.event_id,
            time: record.time.to_string(),
            name: record.event_name,
            service: record.event_source,
            principal: person.unwrap_or(record.principal),
            source_ip: record.source_ip,
            user_agent: record.user_agent,
            account: record.account,
            error: record.error_message.unwrap_or_default(),
            detail: pretty(&record.detail.to_string()),
        }
    }
}

/// What is looked for, kept as it was sent.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    event: String,
    text: String,
    from: String,
    to: String,
    failed: Option<String>,
    before: Option<String>,
    format: String,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.event.is_empty() && self.text.is_empty() && self.from.is_empty() && self.to.is_empty() && self.failed.is_none()
    }

    /// The rest of an address that asks for the same.
    fn query(&self, also: &str, value: &str) -> String {
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        let fields = [("event", &self.event), ("text", &self.text), ("from", &self.from), ("to", &self.to)];
        for (name, value) in fields.into_iter().filter(|(_, value)| !value.is_empty()) {
            query.append_pair(name, value);
        }
        if self.failed.is_some() {
            query.append_pair("failed", "1");
        }
        query.append_pair(also, value).finish()
    }

    fn wish(&self, next_token: Option<String>) -> Result<LookupEvents, Error> {
        let day = |text: &str, end: &str| {
            let wrong = || Error::invalid("Write a day as 2026-11-24.");
            let full = if text.len() == 10 { format!("{text}T{end}Z") } else { text.to_owned() };
            Some(text).filter(|text| !text.is_empty()).map(|_| Timestamp::parse(&full).ok_or_else(wrong)).transpose()
        };
        let attribute =
            |value: &str| LookupAttribute { attribute_key: "EventName".to_owned(), attribute_value: value.to_owned() };
        Ok(LookupEvents {
            lookup_attributes: Some(self.event.trim()).filter(|event| !event.is_empty()).map(attribute).into_iter().collect(),
            start_time: day(self.from.trim(), "00:00:00")?,
            end_time: day(self.to.trim(), "23:59:59")?,
            max_results: None,
            next_token,
            narrowed: Narrowed { text: self.text.trim().to_owned(), failed: self.failed.is_some() },
        })
    }
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(filter): Query<Filter>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let mut page = AuditPage {
        frame: frame(&pages, &console, "audit"),
        filter: filter.clone(),
        events: Vec::new(),
        next: None,
        problem: String::new(),
        refused: String::new(),
    };
    let outcome = match filter.wish(filter.before.clone()) {
        Ok(wish) => pages.gateway.call(&caller, wish).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(found) => {
            page.events = found.events.into_iter().map(Line::new).collect();
            page.next = found.next_token;
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) if error.kind == ErrorKind::InvalidInput => {
            page.problem = error.public;
            Ok((StatusCode::BAD_REQUEST, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "admin/event.html")]
struct EventPage {
    frame: Frame,
    event: Line,
}

pub(super) async fn show(State(pages): State<Pages>, browser: Browser, Path(id): Path<String>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let attribute = LookupAttribute { attribute_key: "EventId".to_owned(), attribute_value: id };
    let wish = LookupEvents { lookup_attributes: vec![attribute], ..LookupEvents::default() };
    let found = pages.gateway.call(&caller, wish).await?.events.into_iter().next();
    let event = found.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "There is no such event in the log."))?;
    Ok(render(&EventPage { frame: frame(&pages, &console, "audit"), event: Line::new(event) }))
}

/// What fits, as a file: CSV or JSON.
pub(super) async fn export(State(pages): State<Pages>, browser: Browser, Query(filter): Query<Filter>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let events = all(&pages, &caller, &filter).await?;
    let (kind, name, text) = if filter.format == "json" {
        let records = events.iter().filter_map(|event| serde_json::from_str::<Value>(&event.cloud_trail_event).ok());
        let text = serde_json::to_string_pretty(&serde_json::json!({ "Records": records.collect::<Vec<_>>() }));
        ("application/json", "audit.json", text.map_err(Error::internal)?)
    } else {
        let mut text =
            "eventTime,eventName,eventSource,account,principal,sourceIPAddress,userAgent,errorCode,errorMessage,eventID\r\n"
                .to_owned();
        for Event { record, .. } in &events {
            let time = record.time.to_string();
            let fields = [
                &time,
                &record.event_name,
                &record.event_source,
                &record.account,
                &record.principal,
                &record.source_ip,
                &record.user_agent,
                record.error_code.as_ref().unwrap_or(&String::new()),
                record.error_message.as_ref().unwrap_or(&String::new()),
                &record.event_id,
            ]
            .map(|field| csv_field(field));
            text.push_str(&fields.join(","));
            text.push_str("\r\n");
        }
        ("text/csv; charset=utf-8", "audit.csv", text)
    };
    let disposition = format!("attachment; filename=\"{name}\"");
    Ok(([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], text).into_response())
}

async fn all(pages: &Pages, caller: &Caller, filter: &Filter) -> Result<Vec<Event>, Error> {
    let (mut events, mut next) = (Vec::new(), None);
    for _ in 0..MOST_CALLS {
        let found = pages.gateway.call(caller, filter.wish(next)?).await?;
        events.extend(found.events);
        next = found.next_token;
        if next.is_none() || events.len() >= MOST_EXPORTED {
            break;
        }
    }
    Ok(events)
}

/// RFC 4180; and nothing that a spreadsheet would run as a formula (OWASP, "CSV injection").
fn csv_field(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}
