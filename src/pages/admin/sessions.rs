//! Live sessions, and ending them before their time.

use super::{Frame, May, frame};
use crate::{
    api::signin::enrolment::{FactorInfo, ListFactorsOf, ResetFactors, ResetLink},
    api::sts::sessions::{ListSessions, LiveSession, RevokeSessions, Revoked},
    domain::{Arn, Error, ErrorKind},
    pages::{Browser, Page, Pages, render},
};
use askama::Template;
use axum::{
    Form,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/sessions.html")]
struct SessionsPage {
    frame: Frame,
    sessions: Vec<Line>,
    person: String,
    /// Second factors of that person; none where the role may not see them.
    factors: Option<Vec<FactorInfo>>,
    /// A link to start anew, just made.
    reset: Option<ResetLink>,
    may_end: May,
    done: String,
    refused: String,
}

struct Line {
    name: String,
    access_key_id: String,
    person: String,
    source_ip: String,
    user_agent: String,
    issued: String,
    expires: String,
}

impl Line {
    fn new(session: LiveSession) -> Self {
        let name = Arn::parse(&session.arn).map(|arn| arn.resource().to_owned()).unwrap_or(session.arn);
        Self {
            name: name.trim_start_matches("assumed-role/").to_owned(),
            access_key_id: session.access_key_id,
            person: session.person,
            source_ip: session.source_ip,
            user_agent: session.user_agent,
            issued: session.issued.to_string(),
            expires: session.expires,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Filter {
    #[serde(default)]
    person: String,
    #[serde(default)]
    ended: String,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(filter): Query<Filter>) -> Page {
    page(&pages, &browser, filter, None).await
}

async fn page(pages: &Pages, browser: &Browser, filter: Filter, reset: Option<ResetLink>) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let person = Some(filter.person.trim().to_owned()).filter(|person| !person.is_empty());
    let outcome = pages.gateway.call(&caller, ListSessions { role_arn: None, person: person.clone() }).await;
    let factors = match &person {
        Some(person) => pages.gateway.call(&caller, ListFactorsOf { person: person.clone() }).await.ok(),
        None => None,
    };
    let mut page = SessionsPage {
        frame: frame(pages, &console, "sessions"),
        sessions: Vec::new(),
        factors: factors.map(|held| held.factors),
        reset,
        may_end: May::call(pages, &caller, &RevokeSessions { who: Revoked::Session(String::new()), before: None }).await?,
        person: person.unwrap_or_default(),
        done: match filter.ended.as_str() {
            "" => String::new(),
            _ => "Ended. Calls with these credentials are refused from now on.".to_owned(),
        },
        refused: String::new(),
    };
    match outcome {
        Ok(found) => {
            // What was ended before its time is in the log still.
            let revocations = &pages.gateway.snapshot().revocations;
            let live = found.sessions.into_iter().filter(|session| !revocations.end_listed(session_facts(session)));
            page.sessions = live.map(Line::new).collect();
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

fn session_facts(session: &LiveSession) -> (&str, &str, crate::domain::Timestamp) {
    (&session.access_key_id, &session.person, session.issued)
}

#[derive(Deserialize)]
pub(super) struct Whose {
    person: String,
}

/// A link for somebody who lost every second factor.
pub(super) async fn reset_factors(State(pages): State<Pages>, browser: Browser, Form(whose): Form<Whose>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let link = pages.gateway.call(&caller, ResetFactors { person: whose.person.clone() }).await?;
    page(&pages, &browser, Filter { person: whose.person, ended: String::new() }, Some(link)).await
}

#[derive(Deserialize)]
pub(super) struct Ending {
    session: Option<String>,
    person: Option<String>,
}

pub(super) async fn end(State(pages): State<Pages>, browser: Browser, Form(ending): Form<Ending>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let who = match (ending.session, ending.person) {
        (Some(session), None) => Revoked::Session(session),
        (None, Some(person)) => Revoked::Person(person),
        _ => return Err(Error::invalid("Say which session to end.").into()),
    };
    pages.gateway.call(&caller, RevokeSessions { who, before: None }).await?;
    Ok(Redirect::to("/admin/sessions?ended=1").into_response())
}
