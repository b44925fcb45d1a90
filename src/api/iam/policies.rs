//! Managed policies.

use super::{Iam, MAX_MANAGED_POLICY, check_document};
use crate::{
    domain::{Arn, Error, ErrorKind, Timestamp, iam::ManagedPolicy, name::PolicyName},
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::{DocumentKind, evaluate::Check},
    store::Snapshot,
};
use serde::{Deserialize, Serialize};

/// A managed policy on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyDetail {
    /// Its name.
    pub policy_name: String,
    /// `ANPA…`.
    pub policy_id: String,
    /// Its ARN.
    pub arn: Arn,
    /// `/`.
    pub path: &'static str,
    /// Policies have one version.
    pub default_version_id: &'static str,
    /// Roles and users it is attached to.
    pub attachment_count: usize,
    /// True.
    pub is_attachable: bool,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// When it was made.
    pub create_date: Timestamp,
}

fn detail(snapshot: &Snapshot, policy: &ManagedPolicy) -> PolicyDetail {
    let arn = policy.arn();
    PolicyDetail {
        policy_name: policy.name.to_string(),
        policy_id: policy.id.clone(),
        path: "/",
        default_version_id: "v1",
        attachment_count: attachments(snapshot, &arn),
        is_attachable: true,
        description: policy.description.clone(),
        create_date: policy.created,
        arn,
    }
}

fn attachments(snapshot: &Snapshot, arn: &Arn) -> usize {
    let roles = snapshot.roles.values().filter(|role| role.role.attached_policies.contains(arn)).count();
    let users = snapshot.users.values().filter(|user| user.user.attached_policies.contains(arn)).count();
    roles + users
}

/// An answer that holds one policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyAnswer {
    /// The policy.
    pub policy: PolicyDetail,
}

/// Creates a managed policy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreatePolicy {
    /// Unique in the account, without regard to case.
    pub policy_name: PolicyName,
    /// JSON.
    pub policy_document: String,
    /// Up to 1000 characters.
    pub description: Option<String>,
}

impl Operation for CreatePolicy {
    type Service = Iam;
    type Mode = Write;
    type Output = PolicyAnswer;
    const NAME: &'static str = "CreatePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let arn = Arn::iam(scope.account()?, &format!("policy/{}", self.policy_name));
        Ok(Access::Signed(vec![Check::new("iam:CreatePolicy", arn)]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PolicyAnswer, Error> {
        check_document(&self.policy_document, DocumentKind::Identity, MAX_MANAGED_POLICY)?;
        let account = call.account()?.clone();
        let folded = self.policy_name.as_str().to_lowercase();
        let same = |policy: &ManagedPolicy| policy.account == account && policy.name.as_str().to_lowercase() == folded;
        if call.tx.snapshot.policies.values().any(|(policy, _)| same(policy)) {
            let message = format!("A policy called {} already exists. Duplicate names are not allowed.", self.policy_name);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let policy = ManagedPolicy {
            account,
            name: self.policy_name,
            id: call.broker.random.unique_id("ANPA"),
            description: self.description.unwrap_or_default().chars().take(1000).collect(),
            document: self.policy_document,
            created: call.caller.origin.time,
        };
        call.tx.note("policyArn", policy.arn());
        call.tx.note("policyDocument", &policy.document);
        call.tx.put_policy(&policy).await?;
        Ok(PolicyAnswer { policy: detail(&call.tx.snapshot, &policy) })
    }
}

/// Reads a managed policy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetPolicy {
    /// The policy.
    pub policy_arn: Arn,
}

fn on_policy(action: &str, scope: &Scope, arn: &Arn) -> Result<Access, Error> {
    let check = Check::new(action, arn);
    let owner = arn.account().unwrap_or(scope.account()?.clone());
    Ok(Access::Signed(vec![check.owned_by(owner)]))
}

fn find_policy<'s>(snapshot: &'s Snapshot, arn: &Arn) -> Result<&'s ManagedPolicy, Error> {
    let found = snapshot.policies.get(arn).map(|(policy, _)| policy);
    found.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, format!("Policy {arn} was not found.")))
}

impl Operation for GetPolicy {
    type Service = Iam;
    type Mode = Read;
    type Output = PolicyAnswer;
    const NAME: &'static str = "GetPolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_policy("iam:GetPolicy", scope, &self.policy_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PolicyAnswer, Error> {
        let snapshot = &call.tx.snapshot;
        Ok(PolicyAnswer { policy: detail(snapshot, find_policy(snapshot, &self.policy_arn)?) })
    }
}

/// Lists the account's managed policies, by ARN.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListPolicies {
    /// `Local` or `All`: customer-managed ones are what there is.
    pub scope: Option<String>,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyList {
    /// A page of policies.
    pub policies: Vec<PolicyDetail>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

impl Operation for ListPolicies {
    type Service = Iam;
    type Mode = Read;
    type Output = PolicyList;
    const NAME: &'static str = "ListPolicies";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:ListPolicies", Arn::iam(scope.account()?, "policy/"))]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PolicyList, Error> {
        if !matches!(self.scope.as_deref(), None | Some("Local" | "All")) {
            return Err(Error::invalid("the Scope is Local or All: there are no other policies to list"));
        }
        let account = call.account()?;
        let snapshot = &call.tx.snapshot;
        let own = snapshot.policies.values().map(|(policy, _)| policy).filter(|policy| policy.account == *account);
        let (page, marker) = crate::api::page(own, |policy| policy.arn().to_string(), self.marker.as_deref(), self.max_items)?;
        let policies = page.into_iter().map(|policy| detail(snapshot, policy)).collect();
        Ok(PolicyList { policies, is_truncated: marker.is_some(), marker })
    }
}

/// Deletes a managed policy that is attached nowhere.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeletePolicy {
    /// The policy.
    pub policy_arn: Arn,
}

impl Operation for DeletePolicy {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeletePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_policy("iam:DeletePolicy", scope, &self.policy_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let policy = find_policy(&call.tx.snapshot, &self.policy_arn)?.clone();
        if attachments(&call.tx.snapshot, &self.policy_arn) > 0 {
            return Err(Error::new(ErrorKind::DeleteConflict, "Cannot delete a policy attached to entities."));
        }
        call.tx.note("policyArn", &self.policy_arn);
        call.tx.delete_policy(&policy.id).await
    }
}
