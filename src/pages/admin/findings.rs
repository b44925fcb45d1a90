//! Findings: what an administrator should look at.

use super::{Frame, frame, rules::FindingLine};
use crate::{
    api::access_analyzer::review::{ReviewPeople, ReviewRoles, RoleReview},
    domain::ErrorKind,
    pages::{Browser, Page, Pages, portal::AccountLook, render},
};
use askama::Template;
use axum::{
    extract::{Query, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/review.html")]
struct ReviewPage {
    frame: Frame,
    roles: Vec<Line>,
    looked_at: usize,
    next: Option<String>,
    people: Vec<(String, String, String)>,
    more_people: bool,
    /// Why people are not shown.
    people_refused: String,
    refused: String,
}

struct Line {
    name: String,
    account: AccountLook,
    own: bool,
    unused: bool,
    last_used: String,
    findings: Vec<(String, FindingLine)>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Paging {
    marker: Option<String>,
    after: String,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(paging): Query<Paging>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let wish = |organization| ReviewRoles { organization, marker: paging.marker.clone() };
    let mut outcome = pages.gateway.call(&caller, wish(true)).await;
    if outcome.as_ref().is_err_and(|error| error.kind == ErrorKind::AccessDenied) {
        outcome = pages.gateway.call(&caller, wish(false)).await;
    }
    let mut page = ReviewPage {
        frame: frame(&pages, &console, "findings"),
        roles: Vec::new(),
        looked_at: 0,
        next: None,
        people: Vec::new(),
        more_people: false,
        people_refused: String::new(),
        refused: String::new(),
    };
    match outcome {
        Ok(found) => {
            let snapshot = pages.gateway.snapshot();
            let line = |review: RoleReview| Line {
                name: review.role.name.to_string(),
                account: AccountLook::new(&review.role.account, snapshot.accounts.get(&review.role.account)),
                own: review.role.account == console.session.account,
                unused: review.unused,
                last_used: review.last_used.map(|time| time.to_string()).unwrap_or_default(),
                findings: review.findings.into_iter().map(|(policy, finding)| (policy, FindingLine::of(finding))).collect(),
            };
            page.roles = found.reviews.into_iter().map(line).collect();
            (page.looked_at, page.next) = (found.looked_at, found.marker);
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            return Ok((StatusCode::FORBIDDEN, render(&page)).into_response());
        }
        Err(error) => return Err(error.into()),
    }
    match pages.gateway.call(&caller, ReviewPeople { after: paging.after }).await {
        Ok(found) => (page.people, page.more_people) = (found.people, found.more),
        Err(error) if error.kind == ErrorKind::AccessDenied => page.people_refused = error.public,
        Err(error) => return Err(error.into()),
    }
    Ok(render(&page))
}
