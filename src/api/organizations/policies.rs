//! Guardrails: service and resource control policies, and where they are.

use super::{Node, Organizations, on, on_each, organization, place};
use crate::{
    domain::{
        Error, ErrorKind,
        organization::{FULL_ACCESS, Guardrail, GuardrailKind},
    },
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::{DocumentKind, Policy},
    store::Snapshot,
};
use serde::{Deserialize, Serialize};

/// Longest guardrail, in characters without white space (AWS Organizations user guide, "Quotas").
pub const MAX_GUARDRAIL: usize = 5_120;
/// Most guardrails of one kind on one target.
pub const MAX_ATTACHED: usize = 5;

/// A guardrail.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicySummary {
    /// `p-…`.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// Name.
    pub name: String,
    /// For people.
    pub description: String,
    /// `SERVICE_CONTROL_POLICY` or `RESOURCE_CONTROL_POLICY`.
    pub r#type: &'static str,
    /// Whether it is built in.
    pub aws_managed: bool,
}

/// A page of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyList {
    /// By id.
    pub policies: Vec<PolicySummary>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// One with its text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyAnswer {
    /// It.
    pub policy: PolicyDetail,
}

/// Its parts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyDetail {
    /// What it is called.
    pub policy_summary: PolicySummary,
    /// JSON text.
    pub content: String,
}

/// Where it is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetList {
    /// All of them.
    pub targets: Vec<TargetSummary>,
}

/// The root, a unit or an account.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct TargetSummary {
    /// Its id.
    pub target_id: String,
    /// Its name.
    pub name: String,
    /// `ROOT`, `ORGANIZATIONAL_UNIT` or `ACCOUNT`.
    pub r#type: &'static str,
}

fn summary(snapshot: &Snapshot, guardrail: &Guardrail) -> Result<PolicySummary, Error> {
    let organization = organization(snapshot)?;
    let (owner, word) = (&organization.management_account, guardrail.kind.word());
    Ok(PolicySummary {
        arn: format!("arn:aws:organizations::{owner}:policy/{}/{word}_policy/{}", organization.id, guardrail.id),
        id: guardrail.id.clone(),
        name: guardrail.name.clone(),
        description: guardrail.description.clone(),
        r#type: guardrail.kind.name(),
        aws_managed: guardrail.id == FULL_ACCESS,
    })
}

/// The one that allows everything.
fn full_access() -> Guardrail {
    Guardrail {
        id: FULL_ACCESS.to_owned(),
        kind: GuardrailKind::ServiceControl,
        name: "FullAWSAccess".to_owned(),
        description: "Allows access to every operation".to_owned(),
        document: r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#.to_owned(),
    }
}

fn find(snapshot: &Snapshot, id: &str) -> Result<Guardrail, Error> {
    if id == FULL_ACCESS {
        return Ok(full_access());
    }
    let gone = || Error::new(ErrorKind::NoSuchEntity, "You specified a policy that doesn't exist.");
    snapshot.guardrails.get(id).cloned().ok_or_else(gone)
}

/// A policy as checks name it: its ARN after `policy/<organization>/`.
fn resource(snapshot: &Snapshot, id: &str) -> String {
    let kind = snapshot.guardrails.get(id).map_or(GuardrailKind::ServiceControl, |guardrail| guardrail.kind);
    format!("policy/{}_policy/{id}", kind.word())
}

/// One that can be changed.
fn own(snapshot: &Snapshot, id: &str) -> Result<Guardrail, Error> {
    let fixed = || Error::new(ErrorKind::AccessDenied, "This policy is built in: it can't be changed.");
    find(snapshot, id).and_then(|found| if found.id == FULL_ACCESS { Err(fixed()) } else { Ok(found) })
}

fn check(kind: GuardrailKind, text: &str) -> Result<(), Error> {
    if crate::api::iam::weight(text) > MAX_GUARDRAIL {
        return Err(Error::new(ErrorKind::PolicyTooLarge, format!("a policy has at most {MAX_GUARDRAIL} characters")));
    }
    let kind = match kind {
        GuardrailKind::ServiceControl => DocumentKind::ServiceControl,
        GuardrailKind::ResourceControl => DocumentKind::ResourceControl,
    };
    Policy::parse(text, kind).map(drop).map_err(|error| Error::new(ErrorKind::MalformedPolicy, error.to_string()))
}

fn check_name(snapshot: &Snapshot, kind: GuardrailKind, name: &str, own: &str) -> Result<String, Error> {
    let name = name.trim();
    if name.is_empty() || name.chars().count() > 128 || name.chars().any(char::is_control) {
        return Err(Error::invalid("a name has 1 to 128 characters"));
    }
    let same = |other: &&Guardrail| other.id != own && other.kind == kind && other.name == name;
    if snapshot.guardrails.values().find(same).is_some() {
        return Err(Error::new(ErrorKind::AlreadyExists, "A policy with the same name exists already."));
    }
    Ok(name.to_owned())
}

/// The id under which a target is stored; it must exist.
fn target(snapshot: &Snapshot, id: &str) -> Result<TargetSummary, Error> {
    let kind = match Node::find(snapshot, id) {
        Some(Node::Root) => "ROOT",
        Some(Node::Unit(_)) => "ORGANIZATIONAL_UNIT",
        Some(Node::Account(_)) => "ACCOUNT",
        None => return Err(Error::new(ErrorKind::NoSuchEntity, "You specified a target that doesn't exist.")),
    };
    Ok(TargetSummary { target_id: id.to_owned(), name: snapshot.name_of_target(id), r#type: kind })
}

/// The guardrails on a target, the built-in one first where it is there.
fn on_target(snapshot: &Snapshot, target: &str, kind: GuardrailKind) -> Vec<Guardrail> {
    let full = kind == GuardrailKind::ServiceControl && !snapshot.without_full_access.contains(target);
    let attached = snapshot.guardrail_targets.get(target).into_iter().flatten().filter_map(|id| snapshot.guardrails.get(id));
    let own = attached.filter(|guardrail| guardrail.kind == kind).cloned();
    full.then(full_access).into_iter().chain(own).collect()
}

/// Lists guardrails of a kind.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListPolicies {
    /// The kind.
    pub filter: GuardrailKind,
    /// At most so many.
    pub max_results: Option<u32>,
    /// From the last page.
    pub next_token: Option<String>,
}

impl Operation for ListPolicies {
    type Service = Organizations;
    type Mode = Read;
    type Output = PolicyList;
    const NAME: &'static str = "ListPolicies";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListPolicies", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PolicyList, Error> {
        let snapshot = &call.tx.snapshot;
        let built_in = (self.filter == GuardrailKind::ServiceControl).then(full_access);
        let own = snapshot.guardrails.values().filter(|guardrail| guardrail.kind == self.filter).cloned();
        let mut all: Vec<Guardrail> = built_in.into_iter().chain(own).collect();
        all.sort_by(|a, b| a.id.cmp(&b.id));
        let key = |guardrail: &Guardrail| guardrail.id.clone();
        let (page, next_token) = crate::api::page(all.into_iter(), key, self.next_token.as_deref(), self.max_results)?;
        let policies = page.iter().map(|guardrail| summary(snapshot, guardrail)).collect::<Result<_, _>>()?;
        Ok(PolicyList { policies, next_token })
    }
}

/// Describes a guardrail.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribePolicy {
    /// The policy.
    pub policy_id: String,
}

impl Operation for DescribePolicy {
    type Service = Organizations;
    type Mode = Read;
    type Output = PolicyAnswer;
    const NAME: &'static str = "DescribePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "DescribePolicy", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PolicyAnswer, Error> {
        let snapshot = &call.tx.snapshot;
        let found = find(snapshot, &self.policy_id)?;
        Ok(PolicyAnswer { policy: PolicyDetail { policy_summary: summary(snapshot, &found)?, content: found.document } })
    }
}

/// Creates a guardrail, which caps nothing until it is attached.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreatePolicy {
    /// JSON text.
    pub content: String,
    /// At most 512 characters.
    #[serde(default)]
    pub description: String,
    /// Unique for its kind.
    pub name: String,
    /// The kind.
    pub r#type: GuardrailKind,
}

impl Operation for CreatePolicy {
    type Service = Organizations;
    type Mode = Write;
    type Output = PolicyAnswer;
    const NAME: &'static str = "CreatePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "CreatePolicy", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PolicyAnswer, Error> {
        check(self.r#type, &self.content)?;
        let snapshot = call.tx.snapshot.clone();
        let guardrail = Guardrail {
            id: format!("p-{}", call.broker.random.text(b"abcdefghijklmnopqrstuvwxyz0123456789", 8)),
            name: check_name(&snapshot, self.r#type, &self.name, "")?,
            kind: self.r#type,
            description: self.description.chars().take(512).collect(),
            document: self.content,
        };
        call.tx.note("policyId", &guardrail.id);
        call.tx.note("content", &guardrail.document);
        call.tx.put_guardrail(&guardrail).await?;
        Ok(PolicyAnswer { policy: PolicyDetail { policy_summary: summary(&snapshot, &guardrail)?, content: guardrail.document } })
    }
}

/// Changes a guardrail, wherever it is attached.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdatePolicy {
    /// The policy.
    pub policy_id: String,
    /// Another name.
    pub name: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Another text.
    pub content: Option<String>,
}

impl Operation for UpdatePolicy {
    type Service = Organizations;
    type Mode = Write;
    type Output = PolicyAnswer;
    const NAME: &'static str = "UpdatePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "UpdatePolicy", &resource(&scope.snapshot, &self.policy_id))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PolicyAnswer, Error> {
        let snapshot = call.tx.snapshot.clone();
        let mut guardrail = own(&snapshot, &self.policy_id)?;
        if let Some(content) = self.content {
            check(guardrail.kind, &content)?;
            guardrail.document = content;
        }
        if let Some(name) = self.name {
            guardrail.name = check_name(&snapshot, guardrail.kind, &name, &guardrail.id)?;
        }
        if let Some(description) = self.description {
            guardrail.description = description.chars().take(512).collect();
        }
        call.tx.note("policyId", &guardrail.id);
        call.tx.note("content", &guardrail.document);
        call.tx.put_guardrail(&guardrail).await?;
        Ok(PolicyAnswer { policy: PolicyDetail { policy_summary: summary(&snapshot, &guardrail)?, content: guardrail.document } })
    }
}

/// Deletes a guardrail that is nowhere attached.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeletePolicy {
    /// The policy.
    pub policy_id: String,
}

impl Operation for DeletePolicy {
    type Service = Organizations;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeletePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "DeletePolicy", &resource(&scope.snapshot, &self.policy_id))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let guardrail = own(&call.tx.snapshot, &self.policy_id)?;
        if call.tx.snapshot.guardrail_targets.values().any(|ids| ids.contains(&guardrail.id)) {
            return Err(Error::new(ErrorKind::DeleteConflict, "The policy is attached: take it off first."));
        }
        call.tx.note("policyId", &guardrail.id);
        call.tx.delete_guardrail(&guardrail.id).await
    }
}

/// Attaches a guardrail to the root, a unit or an account.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AttachPolicy {
    /// The policy.
    pub policy_id: String,
    /// The target.
    pub target_id: String,
}

impl Operation for AttachPolicy {
    type Service = Organizations;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "AttachPolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_each(scope, "AttachPolicy", &[resource(&scope.snapshot, &self.policy_id), place(&self.target_id)])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let snapshot = call.tx.snapshot.clone();
        let (guardrail, target) = (find(&snapshot, &self.policy_id)?, target(&snapshot, &self.target_id)?);
        let there = on_target(&snapshot, &target.target_id, guardrail.kind);
        if there.iter().any(|other| other.id == guardrail.id) {
            return Err(Error::new(ErrorKind::AlreadyExists, "The policy is attached there already."));
        }
        if there.len() >= MAX_ATTACHED {
            let message = format!("at most {MAX_ATTACHED} policies of a kind are attached to one target");
            return Err(Error::new(ErrorKind::LimitExceeded, message));
        }
        call.tx.note("policyId", &guardrail.id);
        call.tx.note("targetId", &target.target_id);
        call.tx.put_guardrail_target(&guardrail.id, &target.target_id, true).await
    }
}

/// Takes a guardrail off a target.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DetachPolicy {
    /// The policy.
    pub policy_id: String,
    /// The target.
    pub target_id: String,
}

impl Operation for DetachPolicy {
    type Service = Organizations;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DetachPolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_each(scope, "DetachPolicy", &[resource(&scope.snapshot, &self.policy_id), place(&self.target_id)])
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let snapshot = call.tx.snapshot.clone();
        let (guardrail, target) = (find(&snapshot, &self.policy_id)?, target(&snapshot, &self.target_id)?);
        let there = on_target(&snapshot, &target.target_id, guardrail.kind);
        if !there.iter().any(|other| other.id == guardrail.id) {
            return Err(Error::new(ErrorKind::NoSuchEntity, "The policy is not on this target."));
        }
        if guardrail.kind == GuardrailKind::ServiceControl && there.len() == 1 {
            return Err(Error::new(ErrorKind::LimitExceeded, "one service control policy has to stay on each target"));
        }
        call.tx.note("policyId", &guardrail.id);
        call.tx.note("targetId", &target.target_id);
        call.tx.put_guardrail_target(&guardrail.id, &target.target_id, false).await
    }
}

/// Lists the guardrails that are right on a target.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListPoliciesForTarget {
    /// The target.
    pub target_id: String,
    /// The kind.
    pub filter: GuardrailKind,
}

impl Operation for ListPoliciesForTarget {
    type Service = Organizations;
    type Mode = Read;
    type Output = PolicyList;
    const NAME: &'static str = "ListPoliciesForTarget";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListPoliciesForTarget", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PolicyList, Error> {
        let snapshot = &call.tx.snapshot;
        let target = target(snapshot, &self.target_id)?;
        let policies = on_target(snapshot, &target.target_id, self.filter);
        let policies = policies.iter().map(|guardrail| summary(snapshot, guardrail)).collect::<Result<_, _>>()?;
        Ok(PolicyList { policies, next_token: None })
    }
}

/// Lists where a guardrail is; not for the built-in one, which is everywhere else.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListTargetsForPolicy {
    /// The policy.
    pub policy_id: String,
}

impl Operation for ListTargetsForPolicy {
    type Service = Organizations;
    type Mode = Read;
    type Output = TargetList;
    const NAME: &'static str = "ListTargetsForPolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListTargetsForPolicy", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<TargetList, Error> {
        let snapshot = &call.tx.snapshot;
        let guardrail = find(snapshot, &self.policy_id)?;
        let attached = snapshot.guardrail_targets.iter().filter(|(_, ids)| ids.contains(&guardrail.id));
        let targets = attached.filter_map(|(id, _)| target(snapshot, id).ok()).collect();
        Ok(TargetList { targets })
    }
}
