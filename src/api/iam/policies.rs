//! Inline and managed policies of roles.

use super::{
    EncodedDocument, Iam, MAX_ATTACHED_POLICIES, MAX_INLINE_POLICIES, MAX_MANAGED_POLICY, check_document, no_such,
    roles::{change, find, on_role},
    weight,
};
use crate::{
    domain::{
        Arn, Error, ErrorKind, Timestamp,
        iam::{ManagedPolicy, Role},
        name::{PolicyName, RoleName},
    },
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::{DocumentKind, evaluate::Check},
    store::{Snapshot, snapshot::ADMINISTRATOR_ACCESS},
};
use serde::{Deserialize, Serialize};

/// Writes an inline policy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutRolePolicy {
    /// The role.
    pub role_name: RoleName,
    /// Unique on the role.
    pub policy_name: PolicyName,
    /// JSON.
    pub policy_document: String,
}

impl Operation for PutRolePolicy {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "PutRolePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_role("iam:PutRolePolicy", scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        check_document(&self.policy_document, DocumentKind::Identity, MAX_INLINE_POLICIES)?;
        call.tx.note("policyName", &self.policy_name);
        call.tx.note("policyDocument", &self.policy_document);
        let scope = call.scope;
        let edit = |role: &mut Role| {
            role.inline_policies.insert(self.policy_name, self.policy_document.into());
            if role.inline_policies.values().map(|text| weight(text)).sum::<usize>() > MAX_INLINE_POLICIES {
                let message = format!("Maximum policy size of {MAX_INLINE_POLICIES} bytes exceeded for role {}", role.name);
                return Err(Error::new(ErrorKind::LimitExceeded, message));
            }
            Ok(())
        };
        change(&mut call.tx, scope, &self.role_name, edit).await?;
        Ok(())
    }
}

/// Reads an inline policy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetRolePolicy {
    /// The role.
    pub role_name: RoleName,
    /// The policy.
    pub policy_name: PolicyName,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RolePolicy {
    /// The role.
    pub role_name: RoleName,
    /// The policy.
    pub policy_name: PolicyName,
    /// Its document.
    pub policy_document: EncodedDocument,
}

impl Operation for GetRolePolicy {
    type Service = Iam;
    type Mode = Read;
    type Output = RolePolicy;
    const NAME: &'static str = "GetRolePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_role("iam:GetRolePolicy", scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RolePolicy, Error> {
        let role = find(&call.tx.snapshot, call.scope, &self.role_name)?;
        let document = role.role.inline_policies.get(&self.policy_name);
        let document = document.ok_or_else(|| no_such("role policy", self.policy_name.as_str()))?;
        Ok(RolePolicy {
            policy_document: EncodedDocument(document.to_string()),
            role_name: self.role_name,
            policy_name: self.policy_name,
        })
    }
}

/// Lists names of inline policies.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListRolePolicies {
    /// The role.
    pub role_name: RoleName,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyNames {
    /// A page of names.
    pub policy_names: Vec<PolicyName>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

impl Operation for ListRolePolicies {
    type Service = Iam;
    type Mode = Read;
    type Output = PolicyNames;
    const NAME: &'static str = "ListRolePolicies";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_role("iam:ListRolePolicies", scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PolicyNames, Error> {
        let role = find(&call.tx.snapshot, call.scope, &self.role_name)?;
        let names = role.role.inline_policies.keys().cloned();
        let (policy_names, marker) = crate::api::page(names, ToString::to_string, self.marker.as_deref(), self.max_items)?;
        Ok(PolicyNames { policy_names, is_truncated: marker.is_some(), marker })
    }
}

/// Deletes an inline policy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteRolePolicy {
    /// The role.
    pub role_name: RoleName,
    /// The policy.
    pub policy_name: PolicyName,
}

impl Operation for DeleteRolePolicy {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteRolePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_role("iam:DeleteRolePolicy", scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        call.tx.note("policyName", &self.policy_name);
        let scope = call.scope;
        let edit = |role: &mut Role| {
            let found = role.inline_policies.remove(&self.policy_name);
            found.map(drop).ok_or_else(|| no_such("role policy", self.policy_name.as_str()))
        };
        change(&mut call.tx, scope, &self.role_name, edit).await?;
        Ok(())
    }
}

/// Whether a role of this account may have the policy attached.
fn attachable(snapshot: &Snapshot, arn: &Arn) -> bool {
    arn.as_str() == ADMINISTRATOR_ACCESS || snapshot.policies.contains_key(arn)
}

/// A check on a role, with the policy as a condition key.
fn on_attachment(action: &str, scope: &Scope, role: &RoleName, policy: &Arn) -> Result<Access, Error> {
    let check = Check::new(action, scope.role_arn(role.as_str())?).with_key("iam:PolicyARN", vec![policy.to_string()]);
    Ok(Access::Signed(vec![check]))
}

/// Attaches a managed policy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AttachRolePolicy {
    /// The role.
    pub role_name: RoleName,
    /// The policy, of the same account or of AWS.
    pub policy_arn: Arn,
}

impl Operation for AttachRolePolicy {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "AttachRolePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_attachment("iam:AttachRolePolicy", scope, &self.role_name, &self.policy_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let account = call.account()?.clone();
        let own = self.policy_arn.account().is_none_or(|owner| owner == account);
        if !own || !attachable(&call.tx.snapshot, &self.policy_arn) {
            let message = format!("Policy {} does not exist or is not attachable.", self.policy_arn);
            return Err(Error::new(ErrorKind::NoSuchEntity, message));
        }
        call.tx.note("policyArn", &self.policy_arn);
        let scope = call.scope;
        let edit = |role: &mut Role| {
            if !role.attached_policies.contains(&self.policy_arn) {
                role.attached_policies.push(self.policy_arn);
            }
            if role.attached_policies.len() > MAX_ATTACHED_POLICIES {
                let message = format!("Cannot exceed quota for PoliciesPerRole: {MAX_ATTACHED_POLICIES}");
                return Err(Error::new(ErrorKind::LimitExceeded, message));
            }
            Ok(())
        };
        change(&mut call.tx, scope, &self.role_name, edit).await?;
        Ok(())
    }
}

/// Detaches a managed policy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DetachRolePolicy {
    /// The role.
    pub role_name: RoleName,
    /// The policy.
    pub policy_arn: Arn,
}

impl Operation for DetachRolePolicy {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DetachRolePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_attachment("iam:DetachRolePolicy", scope, &self.role_name, &self.policy_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        call.tx.note("policyArn", &self.policy_arn);
        let scope = call.scope;
        let edit = |role: &mut Role| {
            let before = role.attached_policies.len();
            role.attached_policies.retain(|arn| *arn != self.policy_arn);
            if role.attached_policies.len() == before {
                return Err(Error::new(ErrorKind::NoSuchEntity, format!("Policy {} was not found.", self.policy_arn)));
            }
            Ok(())
        };
        change(&mut call.tx, scope, &self.role_name, edit).await?;
        Ok(())
    }
}

/// Lists attached managed policies.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListAttachedRolePolicies {
    /// The role.
    pub role_name: RoleName,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttachedPolicies {
    /// A page of policies.
    pub attached_policies: Vec<AttachedPolicy>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

/// An attached policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttachedPolicy {
    /// Its name.
    pub policy_name: String,
    /// Its ARN.
    pub policy_arn: Arn,
}

impl Operation for ListAttachedRolePolicies {
    type Service = Iam;
    type Mode = Read;
    type Output = AttachedPolicies;
    const NAME: &'static str = "ListAttachedRolePolicies";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_role("iam:ListAttachedRolePolicies", scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AttachedPolicies, Error> {
        let role = find(&call.tx.snapshot, call.scope, &self.role_name)?;
        let arns = role.role.attached_policies.iter();
        let (page, marker) = crate::api::page(arns, |arn| arn.to_string(), self.marker.as_deref(), self.max_items)?;
        let detail = |arn: &Arn| AttachedPolicy { policy_name: arn.resource_name().to_owned(), policy_arn: arn.clone() };
        Ok(AttachedPolicies { attached_policies: page.into_iter().map(detail).collect(), is_truncated: marker.is_some(), marker })
    }
}

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
    /// Roles it is attached to.
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
    snapshot.roles.values().filter(|role| role.role.attached_policies.contains(arn)).count()
}

/// An answer that holds one policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PolicyAnswer {
    /// The policy.
    pub policy: PolicyDetail,
}

/// Creates a managed policy.
#[derive(Debug, Deserialize)]
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
#[derive(Debug, Deserialize)]
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
#[derive(Debug, Default, Deserialize)]
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
#[derive(Debug, Deserialize)]
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
