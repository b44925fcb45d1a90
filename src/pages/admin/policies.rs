//! An inline policy of a role, as JSON with findings; and the words that policies are made of, for completion.

use super::{
    Frame, May, beside, frame,
    roles::{pretty, role_name},
    rules::{FindingLine, claim_keys, findings, providers_of},
};
use crate::{
    api::{
        access_analyzer::{CompletePolicy, PolicyType},
        iam::role_policies::{DeleteRolePolicy, GetRolePolicy, PutRolePolicy},
    },
    domain::{Error, ErrorKind, name::PolicyName},
    pages::{Browser, Page, Pages, render},
};
use askama::Template;
use axum::{
    Form, Json,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/policy.html")]
struct PolicyPage {
    frame: Frame,
    role: String,
    /// Empty for a new one.
    name: String,
    text: String,
    findings: Vec<FindingLine>,
    may_save: May,
    may_delete: May,
    said: &'static str,
    problem: String,
}

const EMPTY: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Effect": "Allow",
      "Action": "",
      "Resource": "*"
    }
  ]
}"#;

/// As in addresses: nothing has the name yet.
const NEW: &str = "new";

#[derive(Deserialize)]
pub(super) struct Saved {
    #[serde(default)]
    saved: bool,
}

pub(super) async fn show(
    State(pages): State<Pages>,
    browser: Browser,
    Path((role, policy)): Path<(String, String)>,
    Query(saved): Query<Saved>,
) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let (name, text) = if policy == NEW {
        (String::new(), EMPTY.to_owned())
    } else {
        let wish = GetRolePolicy { role_name: role_name(&role)?, policy_name: PolicyName::parse(&policy)? };
        (policy, pretty(&pages.gateway.call(&caller, wish).await?.policy_document.0))
    };
    let said = if saved.saved { "Saved. It decides from now on." } else { "" };
    page(&pages, &browser, &role, Shown { name, text, said, problem: String::new() }).await
}

/// What the page shows.
struct Shown {
    name: String,
    text: String,
    said: &'static str,
    problem: String,
}

async fn page(pages: &Pages, browser: &Browser, role: &str, shown: Shown) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let Shown { name, text, said, problem } = shown;
    let named = || PolicyName::parse(if name.is_empty() { NEW } else { &name });
    let put = PutRolePolicy { role_name: role_name(role)?, policy_name: named()?, policy_document: text.clone() };
    let delete = DeleteRolePolicy { role_name: role_name(role)?, policy_name: named()? };
    Ok(render(&PolicyPage {
        frame: frame(pages, &console, "roles"),
        role: role.to_owned(),
        findings: if text == EMPTY { Vec::new() } else { findings(pages, &caller, PolicyType::IdentityPolicy, &text).await? },
        may_save: May::call(pages, &caller, &put).await?,
        may_delete: May::call(pages, &caller, &delete).await?,
        name,
        text,
        said,
        problem,
    }))
}

#[derive(Deserialize)]
pub(super) struct PolicyForm {
    #[serde(default)]
    name: String,
    #[serde(default)]
    policy_document: String,
    #[serde(rename = "do", default)]
    wanted: String,
}

pub(super) async fn save(
    State(pages): State<Pages>,
    browser: Browser,
    Path((role, policy)): Path<(String, String)>,
    Form(form): Form<PolicyForm>,
) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let name = if policy == NEW { form.name.trim() } else { policy.as_str() };
    let named = PolicyName::parse(name)
        .map_err(|_| Error::invalid("A policy's name has 1 to 128 letters, digits, and characters of `+=,.@_-`."));
    let outcome = match (form.wanted.as_str(), named) {
        (_, Err(error)) => Err(error),
        ("check", _) => Ok(None),
        ("delete", Ok(policy_name)) => {
            let wish = DeleteRolePolicy { role_name: role_name(&role)?, policy_name };
            pages.gateway.call(&caller, wish).await.map(|()| Some(format!("/admin/roles/{role}")))
        }
        (_, Ok(policy_name)) => {
            let to = format!("/admin/roles/{role}/policies/{policy_name}?saved=true");
            let wish = PutRolePolicy { role_name: role_name(&role)?, policy_name, policy_document: form.policy_document.clone() };
            pages.gateway.call(&caller, wish).await.map(|()| Some(to))
        }
    };
    let problem = match outcome {
        Ok(Some(to)) => return Ok(Redirect::to(&to).into_response()),
        Ok(None) => String::new(),
        Err(error) if matches!(error.kind, ErrorKind::MalformedPolicy | ErrorKind::PolicyTooLarge) => error.public,
        Err(error) => beside(error)?,
    };
    let failed = !problem.is_empty();
    let name = if policy == NEW { form.name.trim().to_owned() } else { policy };
    let shown = page(&pages, &browser, &role, Shown { name, text: form.policy_document, said: "", problem }).await?;
    Ok(if failed { (StatusCode::BAD_REQUEST, shown).into_response() } else { shown })
}

/// What the editor asks for.
#[derive(Deserialize)]
pub(super) struct Asked {
    kind: String,
    #[serde(default)]
    start: String,
}

/// Words that could go on from what is typed.
pub(super) async fn completions(State(pages): State<Pages>, browser: Browser, Query(asked): Query<Asked>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let snapshot = pages.gateway.snapshot();
    let account = &console.session.account;
    let begins = |words: Vec<String>| {
        let start = asked.start.to_lowercase();
        words.into_iter().filter(|word| word.to_lowercase().starts_with(&start)).collect::<Vec<_>>()
    };
    let complete = CompletePolicy { kind: asked.kind.clone(), start: asked.start.clone() };
    let mut words = pages.gateway.call(&caller, complete).await?.words;
    match asked.kind.as_str() {
        "key" => words.splice(0..0, begins(claim_keys(&snapshot, account))).for_each(drop),
        "federated" => words = begins(providers_of(&snapshot, account).into_iter().map(|(arn, _)| arn).collect()),
        _ => {}
    }
    words.dedup();
    Ok(Json(words).into_response())
}
