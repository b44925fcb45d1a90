//! Guardrails: service and resource control policies, and where they bite.

use super::{
    Frame, May, beside, frame,
    roles::pretty,
    rules::{FindingLine, findings},
};
use crate::{
    api::{
        access_analyzer::PolicyType,
        organizations::policies::{
            AttachPolicy, CreatePolicy, DeletePolicy, DescribePolicy, DetachPolicy, ListPolicies, ListTargetsForPolicy,
            PolicySummary, TargetSummary, UpdatePolicy,
        },
    },
    domain::{
        Error, ErrorKind,
        organization::{FULL_ACCESS, GuardrailKind},
        session::Caller,
    },
    pages::{Browser, Page, Pages, render},
    store::Snapshot,
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;

#[derive(Template)]
#[template(path = "admin/guardrails.html")]
struct GuardrailsPage {
    frame: Frame,
    /// With where they are, and how many accounts that reaches.
    guardrails: Vec<(PolicySummary, Vec<TargetSummary>, usize)>,
    may_create: May,
    refused: String,
}

fn sample_create() -> CreatePolicy {
    CreatePolicy {
        content: String::new(),
        description: String::new(),
        name: String::new(),
        r#type: GuardrailKind::ServiceControl,
    }
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let mut page = GuardrailsPage {
        frame: frame(&pages, &console, "guardrails"),
        guardrails: Vec::new(),
        may_create: May::call(&pages, &caller, &sample_create()).await?,
        refused: String::new(),
    };
    match all(&pages, &caller).await {
        Ok(found) => {
            page.guardrails = found;
            Ok(render(&page))
        }
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            page.refused = error.public;
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

async fn all(pages: &Pages, caller: &Caller) -> Result<Vec<(PolicySummary, Vec<TargetSummary>, usize)>, Error> {
    let snapshot = pages.gateway.snapshot();
    let mut found = Vec::new();
    for filter in [GuardrailKind::ServiceControl, GuardrailKind::ResourceControl] {
        let wish = ListPolicies { filter, max_results: Some(1000), next_token: None };
        for policy in pages.gateway.call(caller, wish).await?.policies.into_iter().filter(|policy| !policy.aws_managed) {
            let targets = pages.gateway.call(caller, ListTargetsForPolicy { policy_id: policy.id.clone() }).await?.targets;
            let reached = reached(&snapshot, &targets);
            found.push((policy, targets, reached));
        }
    }
    Ok(found)
}

/// How many accounts are below these targets; the management account is bound by nothing.
fn reached(snapshot: &Snapshot, targets: &[TargetSummary]) -> usize {
    let is_target = |id: &str| targets.iter().any(|target| target.target_id == id);
    let everywhere = targets.iter().any(|target| target.r#type == "ROOT");
    let bound = snapshot.accounts.values().filter(|account| Some(&account.id) != snapshot.management_account());
    let below = |parent: Option<&str>| snapshot.units_above(parent).any(|unit| is_target(&unit.id));
    bound.filter(|account| everywhere || is_target(account.id.as_str()) || below(account.parent.as_deref())).count()
}

#[derive(Template)]
#[template(path = "admin/guardrail.html")]
struct GuardrailPage {
    frame: Frame,
    /// `new`, or the policy.
    id: String,
    form: GuardrailForm,
    resource_control: bool,
    targets: Vec<TargetSummary>,
    reached: usize,
    /// Where else it could be: id and name.
    places: Vec<(String, String)>,
    findings: Vec<FindingLine>,
    may_save: May,
    may_attach: May,
    may_detach: May,
    may_delete: May,
    said: &'static str,
    problem: String,
}

const EMPTY: &str = r#"{
  "Version": "2012-10-17",
  "Statement": [
    {
      "Sid": "Never",
      "Effect": "Deny",
      "Action": "cloudtrail:StopLogging",
      "Resource": "*"
    }
  ]
}"#;

/// The forms of the page, kept as they were sent.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct GuardrailForm {
    name: String,
    description: String,
    kind: String,
    policy_document: String,
    target: String,
    #[serde(rename = "do")]
    wanted: String,
}

#[derive(Deserialize)]
pub(super) struct Saved {
    #[serde(default)]
    saved: bool,
}

const NEW: &str = "new";

pub(super) async fn show(
    State(pages): State<Pages>,
    browser: Browser,
    Path(id): Path<String>,
    Query(saved): Query<Saved>,
) -> Page {
    let said = if saved.saved { "Saved. It binds from now on, wherever it is attached." } else { "" };
    page(&pages, &browser, id, None, said, String::new()).await
}

async fn page(
    pages: &Pages,
    browser: &Browser,
    id: String,
    form: Option<GuardrailForm>,
    said: &'static str,
    problem: String,
) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let snapshot = pages.gateway.snapshot();
    let (mut stored, mut targets) = (GuardrailForm { policy_document: EMPTY.to_owned(), ..GuardrailForm::default() }, Vec::new());
    if id != NEW {
        let policy = pages.gateway.call(&caller, DescribePolicy { policy_id: id.clone() }).await?.policy;
        let PolicySummary { name, description, r#type, .. } = policy.policy_summary;
        let policy_document = pretty(&policy.content);
        stored = GuardrailForm { name, description, kind: r#type.to_owned(), policy_document, ..GuardrailForm::default() };
        targets = pages.gateway.call(&caller, ListTargetsForPolicy { policy_id: id.clone() }).await?.targets;
    }
    let kind = stored.kind.clone();
    let mut form = form.unwrap_or(stored);
    if id != NEW {
        form.kind = kind;
    }
    let resource_control = form.kind == GuardrailKind::ResourceControl.name();
    let policy_type = if resource_control { PolicyType::ResourceControlPolicy } else { PolicyType::ServiceControlPolicy };
    let findings = findings(pages, &caller, policy_type, &form.policy_document).await?;
    let root = snapshot.root_id();
    let mut places = vec![(root.clone(), "Root: every account".to_owned())];
    places.extend(snapshot.units.values().map(|unit| (unit.id.clone(), format!("Unit {}", unit.name))));
    places.extend(
        snapshot.accounts.values().take(500).map(|account| (account.id.to_string(), format!("Account {}", account.name))),
    );
    places.retain(|(place, _)| !targets.iter().any(|target| target.target_id == *place));
    let update = UpdatePolicy { policy_id: id.clone(), name: None, description: None, content: None };
    let may_save = match id == NEW {
        true => May::call(pages, &caller, &sample_create()).await?,
        false => May::call(pages, &caller, &update).await?,
    };
    let attach = AttachPolicy { policy_id: id.clone(), target_id: root.clone() };
    let detach = DetachPolicy { policy_id: id.clone(), target_id: root };
    Ok(render(&GuardrailPage {
        frame: frame(pages, &console, "guardrails"),
        form,
        resource_control,
        reached: reached(&snapshot, &targets),
        targets,
        places,
        findings,
        may_save,
        may_attach: May::call(pages, &caller, &attach).await?,
        may_detach: May::call(pages, &caller, &detach).await?,
        may_delete: May::call(pages, &caller, &DeletePolicy { policy_id: id.clone() }).await?,
        id,
        said,
        problem,
    }))
}

pub(super) async fn change(
    State(pages): State<Pages>,
    browser: Browser,
    Path(id): Path<String>,
    Form(form): Form<GuardrailForm>,
) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let saved = |id: &str| format!("/admin/guardrails/{id}?saved=true");
    let (policy_id, target_id) = (id.clone(), form.target.clone());
    let outcome = match form.wanted.as_str() {
        "attach" => pages.gateway.call(&caller, AttachPolicy { policy_id, target_id }).await.map(|()| Some(saved(&id))),
        "detach" => pages.gateway.call(&caller, DetachPolicy { policy_id, target_id }).await.map(|()| Some(saved(&id))),
        "delete" => pages.gateway.call(&caller, DeletePolicy { policy_id }).await.map(|()| Some("/admin/guardrails".to_owned())),
        "check" => Ok(None),
        _ if id == NEW => {
            let r#type = match form.kind == GuardrailKind::ResourceControl.name() {
                true => GuardrailKind::ResourceControl,
                false => GuardrailKind::ServiceControl,
            };
            let (name, description, content) = (form.name.clone(), form.description.clone(), form.policy_document.clone());
            let created = pages.gateway.call(&caller, CreatePolicy { content, description, name, r#type }).await;
            created.map(|created| Some(saved(&created.policy.policy_summary.id)))
        }
        _ => {
            let wish = UpdatePolicy {
                policy_id,
                name: Some(form.name.clone()),
                description: Some(form.description.clone()),
                content: Some(form.policy_document.clone()),
            };
            pages.gateway.call(&caller, wish).await.map(|_| Some(saved(&id)))
        }
    };
    let problem = match outcome {
        Ok(Some(to)) => return Ok(Redirect::to(&to).into_response()),
        Ok(None) => String::new(),
        Err(error) => match error.kind {
            ErrorKind::MalformedPolicy | ErrorKind::PolicyTooLarge | ErrorKind::DeleteConflict | ErrorKind::LimitExceeded => {
                error.public
            }
            _ => beside(error)?,
        },
    };
    // Forms about places send no text.
    let edited = Some(form).filter(|form| !form.policy_document.is_empty());
    page(&pages, &browser, id, edited, "", problem).await
}

/// Whether it can be changed.
impl GuardrailPage {
    fn is_built_in(&self) -> bool {
        self.id == FULL_ACCESS
    }
}
