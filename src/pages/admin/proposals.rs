//! Changes of trust policies that wait for a second person.

use super::{Frame, May, beside, frame, rules::PreviewLines};
use crate::{
    api::iam::trust::proposals::{DecideTrustProposal, ListTrustProposals, WaitingProposal, WithdrawTrustProposal},
    domain::{ErrorKind, session::Caller},
    pages::{Browser, Page, PageError, Pages, render},
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    http::StatusCode,
    response::IntoResponse,
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/proposals.html")]
struct ProposalsPage {
    frame: Frame,
    waiting: Vec<Line>,
    said: &'static str,
    problem: String,
    refused: String,
}

struct Line {
    id: String,
    role: String,
    proposer: String,
    reason: String,
    created: String,
    own: bool,
    overtaken: bool,
    document: String,
    preview: Option<PreviewLines>,
    preview_refused: String,
    /// Whether people were tried.
    people: bool,
    may_approve: May,
    may_reject: May,
}

/// Trying people takes a moment: for one proposal at a time.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Looked {
    people: String,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(looked): Query<Looked>) -> Page {
    page(&pages, &browser, &looked.people, "", String::new()).await
}

async fn page(pages: &Pages, browser: &Browser, people: &str, said: &'static str, problem: String) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let mut page =
        ProposalsPage { frame: frame(pages, &console, "proposals"), waiting: Vec::new(), said, problem, refused: String::new() };
    match pages.gateway.call(&caller, ListTrustProposals {}).await {
        Ok(found) => {
            for proposal in found.proposals {
                let people = proposal.id == people;
                page.waiting.push(line(pages, &caller, proposal, people).await?);
            }
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn line(pages: &Pages, caller: &Caller, proposal: WaitingProposal, people: bool) -> Result<Line, PageError> {
    let decide = |approve| DecideTrustProposal { id: proposal.id.clone(), role_name: proposal.role_name.clone(), approve };
    let withdraw = WithdrawTrustProposal { id: proposal.id.clone(), role_name: proposal.role_name.clone() };
    let mut may_approve = May::call(pages, caller, &decide(true)).await?;
    if proposal.own {
        may_approve = May { allowed: false, reason: "approve what you proposed yourself. Somebody else has to.".to_owned() };
    }
    let (preview, preview_refused) = match PreviewLines::of(pages, caller, &proposal.role_name, &proposal.document, people).await
    {
        Ok(preview) => (Some(preview), String::new()),
        Err(error) => (None, error.public),
    };
    Ok(Line {
        may_approve,
        may_reject: match proposal.own {
            true => May::call(pages, caller, &withdraw).await?,
            false => May::call(pages, caller, &decide(false)).await?,
        },
        id: proposal.id,
        role: proposal.role_name.to_string(),
        proposer: proposal.proposer,
        reason: proposal.reason,
        created: proposal.created,
        own: proposal.own,
        overtaken: proposal.overtaken,
        document: proposal.document,
        preview,
        preview_refused,
        people,
    })
}

/// What a decision sends.
#[derive(Deserialize)]
pub(super) struct Decision {
    role: String,
    #[serde(rename = "do")]
    wanted: String,
}

impl Line {
    /// Whoever proposed it takes it back; others refuse it.
    const fn off(&self) -> &'static str {
        if self.own { "withdraw" } else { "reject" }
    }
}

pub(super) async fn decide(
    State(pages): State<Pages>,
    browser: Browser,
    Path(id): Path<String>,
    Form(decision): Form<Decision>,
) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let approve = decision.wanted == "approve";
    let role_name = super::roles::role_name(&decision.role)?;
    let outcome = if decision.wanted == "withdraw" {
        pages.gateway.call(&caller, WithdrawTrustProposal { id, role_name }).await
    } else {
        pages.gateway.call(&caller, DecideTrustProposal { id, role_name, approve }).await
    };
    match outcome {
        Ok(()) if approve => {
            page(&pages, &browser, "", "Approved. The new trust policy decides from now on.", String::new()).await
        }
        Ok(()) => page(&pages, &browser, "", "It is off the list. Nothing was changed.", String::new()).await,
        Err(error) if matches!(error.kind, ErrorKind::PreconditionFailed | ErrorKind::MalformedPolicy) => {
            page(&pages, &browser, "", "", error.public).await
        }
        Err(error) => page(&pages, &browser, "", "", beside(error)?).await,
    }
}
