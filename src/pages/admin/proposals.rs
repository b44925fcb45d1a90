//! Changes of trust policies that wait for a second person.

use super::{Frame, May, beside, frame, rules::PreviewLines};
use crate::{
    api::iam::trust::proposals::{DecideTrustProposal, ListTrustProposals, WaitingProposal},
    domain::{ErrorKind, session::Caller},
    pages::{Browser, Page, PageError, Pages, render},
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
    overtaken: bool,
    document: String,
    preview: Option<PreviewLines>,
    preview_refused: String,
    may_approve: May,
    may_reject: May,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser) -> Page {
    page(&pages, &browser, "", String::new()).await
}

async fn page(pages: &Pages, browser: &Browser, said: &'static str, problem: String) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let mut page =
        ProposalsPage { frame: frame(pages, &console, "proposals"), waiting: Vec::new(), said, problem, refused: String::new() };
    match pages.gateway.call(&caller, ListTrustProposals {}).await {
        Ok(found) => {
            for proposal in found.proposals {
                page.waiting.push(line(pages, &caller, proposal).await?);
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

async fn line(pages: &Pages, caller: &Caller, proposal: WaitingProposal) -> Result<Line, PageError> {
    let decide = |approve| DecideTrustProposal { id: proposal.id.clone(), role_name: proposal.role_name.clone(), approve };
    let mut may_approve = May::call(pages, caller, &decide(true)).await?;
    if proposal.own {
        may_approve = May { allowed: false, reason: "approve what you proposed yourself. Somebody else has to.".to_owned() };
    }
    let (preview, preview_refused) = match PreviewLines::of(pages, caller, &proposal.role_name, &proposal.document).await {
        Ok(preview) => (Some(preview), String::new()),
        Err(error) => (None, error.public),
    };
    Ok(Line {
        may_approve,
        may_reject: May::call(pages, caller, &decide(false)).await?,
        id: proposal.id,
        role: proposal.role_name.to_string(),
        proposer: proposal.proposer,
        reason: proposal.reason,
        created: proposal.created,
        overtaken: proposal.overtaken,
        document: proposal.document,
        preview,
        preview_refused,
    })
}

/// What a decision sends.
#[derive(Deserialize)]
pub(super) struct Decision {
    role: String,
    #[serde(rename = "do")]
    wanted: String,
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
    match pages.gateway.call(&caller, DecideTrustProposal { id, role_name, approve }).await {
        Ok(()) if approve => page(&pages, &browser, "Approved. The new trust policy decides from now on.", String::new()).await,
        Ok(()) => page(&pages, &browser, "It is off the list. Nothing was changed.", String::new()).await,
        Err(error) if matches!(error.kind, ErrorKind::PreconditionFailed | ErrorKind::MalformedPolicy) => {
            page(&pages, &browser, "", error.public).await
        }
        Err(error) => page(&pages, &browser, "", beside(error)?).await,
    }
}
