//! Roles of the account; one role with its trust policy, as a form or as JSON; a new role.

use super::{
    Frame, May, beside, frame,
    rules::{FindingLine, PreviewLines, claim_keys, findings, providers_of},
    trust_form::{Draft, Wanted},
};
use crate::{
    api::{
        access_analyzer::PolicyType,
        iam::{
            role_policies::{ListAttachedRolePolicies, ListRolePolicies, PutRolePolicy},
            roles::{CreateRole, GetRole, ListRoles, RoleDetail, UpdateAssumeRolePolicy, UpdateRole},
            trust::proposals::ProposeTrustPolicy,
        },
    },
    crypto::sha256_hex,
    domain::{
        Error, ErrorKind,
        name::{PolicyName, RoleName},
        session::Caller,
    },
    pages::{Browser, Page, PageError, Pages, render},
    policy::rule::{self, FactorRule, FederatedRule, OPERATORS, Rule},
};
use askama::Template;
use axum::{
    Form,
    extract::{Path, Query, State},
    http::StatusCode,
    response::{IntoResponse, Redirect},
};
use serde::Deserialize;
use std::collections::HashMap;

#[derive(Template)]
#[template(path = "admin/roles.html")]
struct RolesPage {
    frame: Frame,
    may_create: May,
    roles: Vec<RoleDetail>,
    next: Option<String>,
    refused: String,
}

#[derive(Deserialize)]
pub(super) struct Paging {
    marker: Option<String>,
}

pub(super) async fn list(State(pages): State<Pages>, browser: Browser, Query(paging): Query<Paging>) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let frame = frame(&pages, &console, "roles");
    let may_create = May::call(&pages, &caller, &CreateRole::sample()?).await?;
    match pages.gateway.call(&caller, ListRoles { marker: paging.marker, ..ListRoles::default() }).await {
        Ok(list) => Ok(render(&RolesPage { frame, may_create, roles: list.roles, next: list.marker, refused: String::new() })),
        Err(error) if error.kind == ErrorKind::AccessDenied => {
            let page = RolesPage { frame, may_create, roles: Vec::new(), next: None, refused: error.public };
            Ok((StatusCode::FORBIDDEN, render(&page)).into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// A path segment as a role name.
pub(super) fn role_name(text: &str) -> Result<RoleName, PageError> {
    RoleName::parse(text).map_err(PageError)
}

/// JSON with indentation, for reading and editing.
pub(super) fn pretty(text: &str) -> String {
    let parsed: Option<serde_json::Value> = serde_json::from_str(text).ok();
    parsed.and_then(|value| serde_json::to_string_pretty(&value).ok()).unwrap_or_else(|| text.to_owned())
}

#[derive(Template)]
#[template(path = "admin/role.html")]
struct RolePage {
    frame: Frame,
    role: RoleDetail,
    /// What the policy was when it was opened: whoever changed it since is not overwritten.
    base: String,
    draft: Draft,
    /// ARN and label.
    providers: Vec<(String, String)>,
    claim_keys: Vec<String>,
    findings: Vec<FindingLine>,
    preview: Option<Shown>,
    may_save: May,
    may_propose: May,
    inline: Vec<String>,
    attached: Vec<String>,
    said: &'static str,
    problem: String,
}

impl RolePage {
    fn knows(&self, provider: &str) -> bool {
        self.providers.iter().any(|(arn, _)| arn == provider)
    }
}

/// A preview, and the text that would be saved.
struct Shown {
    preview: PreviewLines,
    text: String,
    /// Whether a finding keeps it from being stored.
    error: bool,
}

impl Shown {
    const fn is_error(&self) -> bool {
        self.error
    }
}

/// Lines of a field with these values.
fn height(values: &[String]) -> usize {
    values.len().clamp(1, 8)
}

fn is_offered(operator: &str) -> bool {
    OPERATORS.iter().any(|(name, _)| *name == operator)
}

#[derive(Deserialize)]
pub(super) struct Opened {
    #[serde(default)]
    saved: bool,
    #[serde(default)]
    proposed: bool,
    #[serde(default)]
    view: String,
}

pub(super) async fn show(
    State(pages): State<Pages>,
    browser: Browser,
    Path(name): Path<String>,
    Query(opened): Query<Opened>,
) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    let role = pages.gateway.call(&caller, GetRole { role_name: role_name(&name)? }).await?.role;
    let text = pretty(&role.assume_role_policy_document.0);
    let edit = Edit {
        base: sha256_hex(&role.assume_role_policy_document.0),
        draft: Draft::stored(text, role.max_session_duration, opened.view == "json"),
        preview: None,
        said: match (opened.saved, opened.proposed) {
            (true, _) => "Saved. The new trust policy decides from now on.",
            (_, true) => "Somebody else finds it under Approvals now.",
            _ => "",
        },
        problem: String::new(),
    };
    page(&pages, &browser, &name, edit).await
}

/// What the page shows of an edit.
struct Edit {
    base: String,
    draft: Draft,
    preview: Option<(PreviewLines, String)>,
    said: &'static str,
    problem: String,
}

async fn page(pages: &Pages, browser: &Browser, name: &str, edit: Edit) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let role_name = role_name(name)?;
    let role = pages.gateway.call(&caller, GetRole { role_name: role_name.clone() }).await?.role;
    let inline = ListRolePolicies { role_name: role_name.clone(), marker: None, max_items: None };
    let inline = pages.gateway.call(&caller, inline).await.map(|list| list.policy_names).unwrap_or_default();
    let attached = ListAttachedRolePolicies { role_name: role_name.clone(), marker: None, max_items: None };
    let attached = pages.gateway.call(&caller, attached).await.map(|list| list.attached_policies).unwrap_or_default();
    let Edit { base, draft, preview, said, problem } = edit;
    let text = draft.document().unwrap_or_else(|_| draft.text.clone());
    let findings = findings(pages, &caller, PolicyType::ResourcePolicy, &text).await?;
    let error = findings.iter().any(|finding| finding.kind == "error");
    let save = UpdateAssumeRolePolicy { role_name: role_name.clone(), policy_document: text.clone() };
    let propose = ProposeTrustPolicy { role_name, policy_document: text, reason: String::new() };
    let snapshot = pages.gateway.snapshot();
    let account = &console.session.account;
    Ok(render(&RolePage {
        frame: frame(pages, &console, "roles"),
        base,
        providers: providers_of(&snapshot, account),
        claim_keys: claim_keys(&snapshot, account),
        preview: preview.map(|(preview, text)| Shown { preview, text, error }),
        findings,
        draft,
        may_save: May::call(pages, &caller, &save).await?,
        may_propose: May::call(pages, &caller, &propose).await?,
        inline: inline.iter().map(ToString::to_string).collect(),
        attached: attached.into_iter().map(|policy| policy.policy_name).collect(),
        role,
        said,
        problem,
    }))
}

/// Whatever a button of the editor asks for. What was typed is never lost.
pub(super) async fn edit(
    State(pages): State<Pages>,
    browser: Browser,
    Path(name): Path<String>,
    Form(fields): Form<HashMap<String, String>>,
) -> Page {
    let (caller, console) = browser.console(&pages).await?;
    let (mut draft, wanted) = Draft::read(&fields)?;
    let base = fields.get("base").cloned().unwrap_or_default();
    let mut problem = String::new();
    let mut preview = None;
    match wanted {
        Wanted::Form | Wanted::Json => match draft.turned(wanted == Wanted::Form) {
            Ok(turned) => draft = turned,
            Err((same, why)) => (draft, problem) = (same, why),
        },
        Wanted::Preview => match previewed(&pages, &caller, &name, &draft).await {
            Ok(shown) => preview = Some(shown),
            Err(error) => problem = refused(error)?,
        },
        Wanted::Save | Wanted::Propose => {
            let reason = fields.get("reason").cloned().unwrap_or_default();
            let done = match wanted {
                Wanted::Save => save(&pages, &caller, &name, &draft, &base).await.map(|()| "saved"),
                _ => propose(&pages, &caller, &name, &draft, reason).await.map(|()| "proposed"),
            };
            match done {
                Ok(done) => return Ok(Redirect::to(&format!("/admin/roles/{name}?{done}=true")).into_response()),
                Err(error) => problem = refused(error)?,
            }
        }
        _ => {
            let providers = providers_of(&pages.gateway.snapshot(), &console.session.account);
            draft.change(&wanted, providers.first().map(|(arn, _)| arn.as_str()).unwrap_or_default());
        }
    }
    let failed = !problem.is_empty();
    let shown = page(&pages, &browser, &name, Edit { base, draft, preview, said: "", problem }).await?;
    Ok(if failed { (StatusCode::BAD_REQUEST, shown).into_response() } else { shown })
}

/// What is shown beside the form.
fn refused(error: Error) -> Result<String, Error> {
    let kinds = [ErrorKind::MalformedPolicy, ErrorKind::PolicyTooLarge, ErrorKind::LimitExceeded, ErrorKind::PreconditionFailed];
    if kinds.contains(&error.kind) { Ok(error.public) } else { beside(error) }
}

async fn previewed(pages: &Pages, caller: &Caller, name: &str, draft: &Draft) -> Result<(PreviewLines, String), Error> {
    draft.seconds().map_err(Error::invalid)?;
    let text = draft.document().map_err(Error::invalid)?;
    let preview = PreviewLines::of(pages, caller, &RoleName::parse(name)?, &text, true).await?;
    Ok((preview, text))
}

async fn save(pages: &Pages, caller: &Caller, name: &str, draft: &Draft, base: &str) -> Result<(), Error> {
    let seconds = draft.seconds().map_err(Error::invalid)?;
    let policy_document = draft.document().map_err(Error::invalid)?;
    let role_name = RoleName::parse(name)?;
    let now = pages.gateway.call(caller, GetRole { role_name: role_name.clone() }).await?.role;
    if sha256_hex(&now.assume_role_policy_document.0) != base {
        let message = "Somebody changed this trust policy in the meantime. Open the page again to see how.";
        return Err(Error::new(ErrorKind::PreconditionFailed, message));
    }
    if pretty(&now.assume_role_policy_document.0) != policy_document {
        pages.gateway.call(caller, UpdateAssumeRolePolicy { role_name: role_name.clone(), policy_document }).await?;
    }
    if now.max_session_duration != seconds {
        let update = UpdateRole { role_name, description: None, max_session_duration: Some(seconds) };
        pages.gateway.call(caller, update).await?;
    }
    Ok(())
}

async fn propose(pages: &Pages, caller: &Caller, name: &str, draft: &Draft, reason: String) -> Result<(), Error> {
    let policy_document = draft.document().map_err(Error::invalid)?;
    pages.gateway.call(caller, ProposeTrustPolicy { role_name: RoleName::parse(name)?, policy_document, reason }).await
}

#[derive(Template)]
#[template(path = "admin/role_new.html")]
struct NewRolePage {
    frame: Frame,
    form: NewRole,
    providers: Vec<(String, String)>,
    claim_keys: Vec<String>,
    may_create: May,
    problem: String,
}

/// A role that begins with one rule; the rest is for its page.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct NewRole {
    name: String,
    description: String,
    provider: String,
    key: String,
    values: String,
    permissions: String,
}

pub(super) async fn new(State(pages): State<Pages>, browser: Browser) -> Page {
    new_page(&pages, &browser, NewRole::default(), String::new()).await
}

async fn new_page(pages: &Pages, browser: &Browser, form: NewRole, problem: String) -> Page {
    let (caller, console) = browser.console(pages).await?;
    let snapshot = pages.gateway.snapshot();
    let account = &console.session.account;
    Ok(render(&NewRolePage {
        frame: frame(pages, &console, "roles"),
        form,
        providers: providers_of(&snapshot, account),
        claim_keys: claim_keys(&snapshot, account),
        may_create: May::call(pages, &caller, &CreateRole::sample()?).await?,
        problem,
    }))
}

/// What a new role may do, to begin with.
const PERMISSIONS: &[(&str, &str)] = &[
    (
        "read",
        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[\"iam:Get*\",\"iam:List*\"],\"Resource\":\"*\"}]}",
    ),
    ("everything", "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}]}"),
];

pub(super) async fn create(State(pages): State<Pages>, browser: Browser, Form(form): Form<NewRole>) -> Page {
    let (caller, _) = browser.console(&pages).await?;
    match create_role(&pages, &caller, &form).await {
        Ok(name) => Ok(Redirect::to(&format!("/admin/roles/{name}?saved=true")).into_response()),
        Err(error) => new_page(&pages, &browser, form, refused(error)?).await,
    }
}

async fn create_role(pages: &Pages, caller: &Caller, form: &NewRole) -> Result<RoleName, Error> {
    let role_name = RoleName::parse(form.name.trim())
        .map_err(|_| Error::invalid("A role's name has 1 to 64 letters, digits, and characters of `+=,.@_-`."))?;
    let values: Vec<String> = form.values.lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
    if form.key.trim().is_empty() || values.is_empty() {
        return Err(Error::invalid("Say which claim people must have, and one of its values."));
    }
    let condition =
        rule::RuleCondition { operator: "ForAnyValue:StringEquals".to_owned(), key: form.key.trim().to_owned(), values };
    let rule = FederatedRule { provider: form.provider.clone(), conditions: vec![condition], ..FederatedRule::default() };
    let document = rule::document(&[Rule::Federated(rule)], None).map_err(Error::invalid)?;
    let wish = CreateRole {
        role_name: role_name.clone(),
        assume_role_policy_document: document,
        path: None,
        description: Some(form.description.clone()).filter(|text| !text.is_empty()),
        max_session_duration: None,
    };
    pages.gateway.call(caller, wish).await?;
    if let Some((name, policy)) = PERMISSIONS.iter().find(|(name, _)| *name == form.permissions) {
        let (policy_name, policy_document) = (PolicyName::parse(name)?, (*policy).to_owned());
        pages.gateway.call(caller, PutRolePolicy { role_name: role_name.clone(), policy_name, policy_document }).await?;
    }
    Ok(role_name)
}
