//! The flight recorder: sign-ins as timelines of named checks.

use super::{Frame, frame};
use crate::{
    api::iam::{
        mapping::{MappingPreview, PreviewMapping},
        setup::UpdateSourceMapping,
        sign_ins::{GetSignIn, ListSignIns, SignInAttempt},
    },
    domain::{ErrorKind, name::ProviderName, session::IdentityAssertion},
    federation::mapping::RoleOffer,
    pages::{Browser, Page, Pages, render},
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
#[template(path = "admin/sign_ins.html")]
struct SignInsPage {
    frame: Frame,
    filter: Filter,
    attempts: Vec<SignInAttempt>,
    refused: String,
}

#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    person: String,
    source: String,
    reference: String,
    failed: Option<String>,
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.person.is_empty() && self.source.is_empty() && self.reference.is_empty() && self.failed.is_none()
    }
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(filter): Query<Filter>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let wish = ListSignIns {
        person: filter.person.trim().to_owned(),
        source: filter.source.trim().to_owned(),
        reference: filter.reference.trim().to_owned(),
        failed: filter.failed.is_some(),
    };
    let outcome = pages.gateway.call(&caller, wish).await;
    let frame = frame(&pages, &console, "sign-ins");
    match outcome {
        Ok(found) => Ok(render(&SignInsPage { frame, filter, attempts: found.sign_ins, refused: String::new() })),
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            let page = SignInsPage { frame, filter, attempts: Vec::new(), refused: error.public };
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

#[derive(Template)]
#[template(path = "admin/sign_in.html")]
struct SignInPage {
    frame: Frame,
    attempt: SignInAttempt,
    /// Claims by key, for people to read.
    claims: Vec<(String, String)>,
    tags: Vec<(String, String)>,
    offers: Vec<RoleOffer>,
    /// The mapping to try, as it was sent, or as it is; empty where the source has none.
    mapping: String,
    tried: Tried,
}

/// What became of a mapping that was tried.
#[derive(Default)]
struct Tried {
    preview: Option<MappingPreview>,
    /// The source has it now.
    used: bool,
    problem: String,
}

/// The form, kept as it was sent.
#[derive(Deserialize)]
pub(super) struct MappingForm {
    lines: String,
    /// The source that is to have it, from now on.
    source: Option<ProviderName>,
}

pub(super) async fn show(State(pages): State<Pages>, browser: Browser, Path(event_id): Path<String>) -> Page {
    page(&pages, &browser, event_id, None, Tried::default()).await
}

/// Another mapping, tried on this sign-in; or what was tried, for sign-ins from now on.
pub(super) async fn try_mapping(
    State(pages): State<Pages>,
    browser: Browser,
    Path(event_id): Path<String>,
    Form(form): Form<MappingForm>,
) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let mut tried = Tried::default();
    let outcome = match form.source {
        Some(name) => {
            let wish = UpdateSourceMapping { name, lines: form.lines.clone() };
            pages.gateway.call(&caller, wish).await.map(|()| tried.used = true)
        }
        None => {
            let wish = PreviewMapping { event_id: event_id.clone(), lines: form.lines.clone() };
            pages.gateway.call(&caller, wish).await.map(|preview| tried.preview = Some(preview))
        }
    };
    match outcome {
        Ok(()) => {}
        Err(error) if matches!(error.kind, ErrorKind::InvalidInput | ErrorKind::AccessDenied) => tried.problem = error.public,
        Err(error) => return Err(error.into()),
    }
    page(&pages, &browser, event_id, Some(form.lines), tried).await
}

async fn page(pages: &Pages, browser: &Browser, event_id: String, lines: Option<String>, tried: Tried) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let found = pages.gateway.call(&caller, GetSignIn { event_id }).await?;
    let identity = found.attempt.identity.as_ref();
    let claims = |identity: &IdentityAssertion| {
        identity.claims.iter().map(|(key, values)| (key.clone(), values.join(", "))).collect::<Vec<_>>()
    };
    let tags = |identity: &IdentityAssertion| {
        identity.tags.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect::<Vec<_>>()
    };
    Ok(render(&SignInPage {
        frame: frame(pages, &console, "sign-ins"),
        claims: identity.map(claims).unwrap_or_default(),
        tags: identity.map(tags).unwrap_or_default(),
        mapping: lines.or(found.mapping).unwrap_or_default(),
        offers: found.offers,
        attempt: found.attempt,
        tried,
    }))
}

/// A check in words: what it asks.
fn meaning(check: &str) -> &'static str {
    match check {
        "received" => "An answer came",
        "metadata" => "The provider's metadata is valid",
        "signature" => "Signed by the provider, and two verifiers agree",
        "encryption" => "How the assertion came",
        "one_time" => "Not used before",
        "status" => "The provider says it succeeded",
        "destination" => "Sent to us",
        "issuer" | "response.issuer" | "response.iss" => "From the provider that was asked",
        "in_response_to" | "response.in_response_to" => "Answers our request",
        "version" => "SAML 2.0",
        "issue_instant" | "iat" => "Issued just now",
        "conditions.window" | "conditions.not_before" | "conditions.not_on_or_after" => "Valid now",
        "audience" | "audience_and_nonce" | "azp" => "Meant for us",
        "subject" | "user" => "Says who it is",
        "recipient" => "For our address",
        "confirmation.not_on_or_after" | "confirmation.not_before" => "May still be presented",
        "authn_instant" | "auth_time" => "Authenticated recently enough",
        "authn_context" | "acr" => "Authenticated strongly enough",
        "session_not_on_or_after" => "The session at the provider goes on",
        "code" => "The code was exchanged",
        "token_type" | "id_token" => "Tokens came",
        "at_hash" => "The tokens belong together",
        "factors" => "How the provider authenticated the person",
        "mapping" => "What became of the claims",
        "roles" => "Roles that the claims lead to",
        "userinfo" | "userinfo.sub" => "More about the same person",
        _ => "",
    }
}
