//! Roles and their trust policies.

use super::{
    EncodedDocument, Iam,
    holder::change,
    no_such,
    trust::{self, Known},
};
use crate::{
    domain::{Arn, Error, ErrorKind, Timestamp, iam::Role, name::RoleName},
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::{CompiledRole, catalogue::SECOND_PERSON_APPROVAL, evaluate::Check},
    store::Snapshot,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, sync::Arc};

/// A role on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RoleDetail {
    /// `/` or `/a/b/`.
    pub path: String,
    /// Its name.
    pub role_name: String,
    /// `AROA…`.
    pub role_id: String,
    /// Its ARN.
    pub arn: Arn,
    /// When it was made.
    pub create_date: Timestamp,
    /// The trust policy.
    pub assume_role_policy_document: EncodedDocument,
    /// For people.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Seconds.
    pub max_session_duration: u32,
}

impl RoleDetail {
    pub(super) fn new(role: &Role, snapshot: &Snapshot) -> Self {
        Self {
            path: role.path.clone(),
            role_name: role.name.to_string(),
            role_id: role.id.clone(),
            arn: role.arn(),
            create_date: role.created,
            assume_role_policy_document: EncodedDocument(trust::shown(&role.trust_policy, snapshot)),
            description: role.description.clone(),
            max_session_duration: role.max_session_seconds,
        }
    }
}

/// An answer that holds one role.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RoleAnswer {
    /// The role.
    pub role: RoleDetail,
}

/// The role of the caller's account with this name.
pub(super) fn find<'s>(snapshot: &'s Snapshot, scope: &Scope, name: &RoleName) -> Result<&'s Arc<CompiledRole>, Error> {
    snapshot.role(scope.account()?, name.as_str()).ok_or_else(|| no_such("role", name.as_str()))
}

/// A check on a role of the caller's account.
pub(super) fn on_role(action: &str, scope: &Scope, name: &RoleName) -> Result<Access, Error> {
    Ok(Access::Signed(vec![Check::new(action, scope.role_arn(name.as_str())?)]))
}

/// A check on making or changing a trust policy. A policy may ask that a second person approves (`iam:SecondPersonApproval`).
pub(super) fn changes_trust(action: &str, role: Arn, approved: bool) -> Result<Access, Error> {
    let approved = vec![approved.to_string()];
    Ok(Access::Signed(vec![Check::new(action, role).with_key(SECOND_PERSON_APPROVAL, approved)]))
}

fn check_seconds(seconds: u32) -> Result<u32, Error> {
    if (3600..=43_200).contains(&seconds) {
        Ok(seconds)
    } else {
        Err(Error::invalid("MaxSessionDuration must be 3600 to 43200 seconds"))
    }
}

pub(super) fn check_path(path: &str) -> Result<&str, Error> {
    let well_formed = path == "/" || (path.starts_with('/') && path.ends_with('/') && path.len() <= 512);
    let plain = path.chars().all(|c| c.is_ascii_graphic());
    // Roles under these are exempt from guardrails, and are not for anybody to make.
    if ["/aws-service-role/", "/aws-reserved/"].iter().any(|reserved| path.to_ascii_lowercase().starts_with(reserved)) {
        return Err(Error::invalid(format!("The path {path} is reserved")));
    }
    if well_formed && plain { Ok(path) } else { Err(Error::invalid("a Path begins and ends with /")) }
}

/// Creates a role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateRole {
    /// Unique in the account, without regard to case.
    pub role_name: RoleName,
    /// The trust policy, JSON.
    pub assume_role_policy_document: String,
    /// Default `/`.
    pub path: Option<String>,
    /// Up to 1000 characters.
    pub description: Option<String>,
    /// 3600 to 43200 seconds, default 3600.
    pub max_session_duration: Option<u32>,
}

impl CreateRole {
    /// One that asks whether roles may be made at all.
    ///
    /// # Errors
    /// Never.
    pub fn sample() -> Result<Self, Error> {
        Ok(Self {
            role_name: RoleName::parse("new-role")?,
            assume_role_policy_document: String::new(),
            path: None,
            description: None,
            max_session_duration: None,
        })
    }
}

impl Operation for CreateRole {
    type Service = Iam;
    type Mode = Write;
    type Output = RoleAnswer;
    const NAME: &'static str = "CreateRole";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let path = check_path(self.path.as_deref().unwrap_or("/"))?;
        let arn = Arn::iam(scope.account()?, &format!("role{path}{}", self.role_name));
        changes_trust("iam:CreateRole", arn, false)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RoleAnswer, Error> {
        let trust_policy = trust::stored(&self.assume_role_policy_document, &Known::of(&call.tx.snapshot))?;
        let account = call.account()?.clone();
        if call.tx.snapshot.role(&account, self.role_name.as_str()).is_some() {
            let message = format!("Role with name {} already exists.", self.role_name);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let description = self.description.unwrap_or_default();
        if description.chars().count() > 1000 {
            return Err(Error::invalid("a description has at most 1000 characters"));
        }
        let role = Role {
            account,
            path: check_path(self.path.as_deref().unwrap_or("/"))?.to_owned(),
            name: self.role_name,
            id: call.broker.random.unique_id("AROA"),
            description,
            trust_policy: trust_policy.into(),
            max_session_seconds: check_seconds(self.max_session_duration.unwrap_or(3600))?,
            created: call.caller.origin.time,
            inline_policies: BTreeMap::new(),
            attached_policies: Vec::new(),
        };
        call.tx.note("roleArn", role.arn());
        call.tx.put_role(&role).await?;
        Ok(RoleAnswer { role: RoleDetail::new(&role, &call.tx.snapshot) })
    }
}

/// Reads a role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetRole {
    /// The role.
    pub role_name: RoleName,
}

impl Operation for GetRole {
    type Service = Iam;
    type Mode = Read;
    type Output = RoleAnswer;
    const NAME: &'static str = "GetRole";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_role("iam:GetRole", scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RoleAnswer, Error> {
        let role = find(&call.tx.snapshot, call.scope, &self.role_name)?;
        Ok(RoleAnswer { role: RoleDetail::new(&role.role, &call.tx.snapshot) })
    }
}

/// Lists the account's roles, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListRoles {
    /// Only roles whose path begins so.
    pub path_prefix: Option<String>,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct RoleList {
    /// A page of roles.
    pub roles: Vec<RoleDetail>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

impl Operation for ListRoles {
    type Service = Iam;
    type Mode = Read;
    type Output = RoleList;
    const NAME: &'static str = "ListRoles";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let prefix = self.path_prefix.as_deref().unwrap_or("/");
        Ok(Access::Signed(vec![Check::new("iam:ListRoles", Arn::iam(scope.account()?, &format!("role{prefix}")))]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RoleList, Error> {
        let account = call.account()?;
        let prefix = self.path_prefix.as_deref().unwrap_or("/");
        let roles = call.tx.snapshot.roles_of(account, self.marker.as_deref().unwrap_or_default());
        let own = roles.map(|role| &role.role).filter(|role| role.path.starts_with(prefix));
        let (page, marker) =
            crate::api::page(own, |role| role.name.as_str().to_lowercase(), self.marker.as_deref(), self.max_items)?;
        let detail = |role| RoleDetail::new(role, &call.tx.snapshot);
        Ok(RoleList { roles: page.into_iter().map(detail).collect(), is_truncated: marker.is_some(), marker })
    }
}

/// Changes a role's description and longest session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateRole {
    /// The role.
    pub role_name: RoleName,
    /// Up to 1000 characters.
    pub description: Option<String>,
    /// 3600 to 43200 seconds.
    pub max_session_duration: Option<u32>,
}

impl Operation for UpdateRole {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "UpdateRole";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_role("iam:UpdateRole", scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let scope = call.scope;
        let edit = |role: &mut Role| {
            if let Some(description) = self.description {
                role.description = description.chars().take(1000).collect();
            }
            if let Some(seconds) = self.max_session_duration {
                role.max_session_seconds = check_seconds(seconds)?;
            }
            Ok(())
        };
        change(&mut call.tx, scope, &self.role_name, edit).await?;
        Ok(())
    }
}

/// Replaces a role's trust policy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdateAssumeRolePolicy {
    /// The role.
    pub role_name: RoleName,
    /// The trust policy, JSON.
    pub policy_document: String,
}

impl Operation for UpdateAssumeRolePolicy {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "UpdateAssumeRolePolicy";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        changes_trust("iam:UpdateAssumeRolePolicy", scope.role_arn(self.role_name.as_str())?, false)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let trust_policy = trust::stored(&self.policy_document, &Known::of(&call.tx.snapshot))?;
        call.tx.note("policyDocument", &self.policy_document);
        let scope = call.scope;
        let edit = |role: &mut Role| {
            role.trust_policy = trust_policy.into();
            Ok(())
        };
        change(&mut call.tx, scope, &self.role_name, edit).await?;
        Ok(())
    }
}

/// Deletes a role that has no policies left.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteRole {
    /// The role.
    pub role_name: RoleName,
}

impl Operation for DeleteRole {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteRole";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on_role("iam:DeleteRole", scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let role = find(&call.tx.snapshot, call.scope, &self.role_name)?.role.clone();
        if call.tx.snapshot.instance_profiles.values().any(|profile| profile.role_id.as_ref() == Some(&role.id)) {
            let message = "Cannot delete entity, must remove roles from instance profile first.";
            return Err(Error::new(ErrorKind::DeleteConflict, message));
        }
        if !role.inline_policies.is_empty() || !role.attached_policies.is_empty() {
            let message = "Cannot delete entity, must detach all policies first.";
            return Err(Error::new(ErrorKind::DeleteConflict, message));
        }
        call.tx.note("roleArn", role.arn());
        call.tx.delete_role(&role.id).await
    }
}
