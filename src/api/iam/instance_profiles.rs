//! Instance profiles: the name under which a machine finds its role (`daypass agent --instance-profile`).

use super::{
    Iam, no_such,
    roles::{self, RoleDetail},
};
use crate::{
    domain::{
        Arn, Error, ErrorKind, Timestamp,
        iam::InstanceProfile,
        name::{InstanceProfileName, RoleName},
    },
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::evaluate::Check,
    store::{Snapshot, WriteTx},
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// An instance profile on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceProfileDetail {
    /// `/` or `/a/b/`.
    pub path: String,
    /// Its name.
    pub instance_profile_name: String,
    /// `AIPA…`.
    pub instance_profile_id: String,
    /// Its ARN.
    pub arn: Arn,
    /// When it was made.
    pub create_date: Timestamp,
    /// One at most.
    pub roles: Vec<RoleDetail>,
}

fn detail(snapshot: &Snapshot, profile: &InstanceProfile) -> InstanceProfileDetail {
    let role = profile.role_id.as_deref().and_then(|id| snapshot.role_by_id(id));
    InstanceProfileDetail {
        path: profile.path.clone(),
        instance_profile_name: profile.name.to_string(),
        instance_profile_id: profile.id.clone(),
        arn: profile.arn(),
        create_date: profile.created,
        roles: role.map(|role| RoleDetail::new(&role.role, snapshot)).into_iter().collect(),
    }
}

/// An answer that holds one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceProfileAnswer {
    /// The profile.
    pub instance_profile: InstanceProfileDetail,
}

fn arn(scope: &Scope, name: &InstanceProfileName) -> Result<Arn, Error> {
    let account = scope.account()?;
    let known = scope.snapshot.instance_profiles.get(&(account.clone(), name.as_str().to_lowercase()));
    Ok(known.map_or_else(|| Arn::iam(account, &format!("instance-profile/{name}")), |profile| profile.arn()))
}

fn on(action: &str, scope: &Scope, name: &InstanceProfileName) -> Result<Access, Error> {
    Ok(Access::Signed(vec![Check::new(action, arn(scope, name)?)]))
}

fn find(snapshot: &Snapshot, scope: &Scope, name: &InstanceProfileName) -> Result<InstanceProfile, Error> {
    let found = snapshot.instance_profiles.get(&(scope.account()?.clone(), name.as_str().to_lowercase()));
    let missing = || Error::new(ErrorKind::NoSuchEntity, format!("Instance Profile {name} cannot be found."));
    found.map(|profile| (**profile).clone()).ok_or_else(missing)
}

/// Creates an instance profile.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateInstanceProfile {
    /// Unique in the account, without regard to case.
    pub instance_profile_name: InstanceProfileName,
    /// Default `/`.
    pub path: Option<String>,
}

impl Operation for CreateInstanceProfile {
    type Service = Iam;
    type Mode = Write;
    type Output = InstanceProfileAnswer;
    const NAME: &'static str = "CreateInstanceProfile";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let path = roles::check_path(self.path.as_deref().unwrap_or("/"))?;
        let arn = Arn::iam(scope.account()?, &format!("instance-profile{path}{}", self.instance_profile_name));
        Ok(Access::Signed(vec![Check::new("iam:CreateInstanceProfile", arn)]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<InstanceProfileAnswer, Error> {
        if find(&call.tx.snapshot, call.scope, &self.instance_profile_name).is_ok() {
            let message = format!("Instance Profile {} already exists.", self.instance_profile_name);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let profile = InstanceProfile {
            account: call.account()?.clone(),
            path: roles::check_path(self.path.as_deref().unwrap_or("/"))?.to_owned(),
            name: self.instance_profile_name,
            id: call.broker.random.unique_id("AIPA"),
            role_id: None,
            created: call.caller.origin.time,
        };
        call.tx.note("instanceProfileArn", profile.arn());
        call.tx.put_instance_profile(&profile).await?;
        Ok(InstanceProfileAnswer { instance_profile: detail(&call.tx.snapshot, &profile) })
    }
}

/// Reads an instance profile.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetInstanceProfile {
    /// The profile.
    pub instance_profile_name: InstanceProfileName,
}

impl Operation for GetInstanceProfile {
    type Service = Iam;
    type Mode = Read;
    type Output = InstanceProfileAnswer;
    const NAME: &'static str = "GetInstanceProfile";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on("iam:GetInstanceProfile", scope, &self.instance_profile_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<InstanceProfileAnswer, Error> {
        let snapshot = &call.tx.snapshot;
        let profile = find(snapshot, call.scope, &self.instance_profile_name)?;
        Ok(InstanceProfileAnswer { instance_profile: detail(snapshot, &profile) })
    }
}

/// A page of instance profiles.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceProfiles {
    /// A page of them.
    pub instance_profiles: Vec<InstanceProfileDetail>,
    /// Whether there are more.
    pub is_truncated: bool,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
}

fn listed(
    snapshot: &Snapshot,
    scope: &Scope,
    wanted: impl Fn(&InstanceProfile) -> bool,
    marker: Option<&str>,
    limit: Option<u32>,
) -> Result<InstanceProfiles, Error> {
    let account = scope.account()?;
    let own = snapshot.instance_profiles.values().filter(|profile| profile.account == *account && wanted(profile));
    let key = |profile: &&Arc<InstanceProfile>| profile.name.as_str().to_lowercase();
    let (page, marker) = crate::api::page(own, key, marker, limit)?;
    let instance_profiles = page.into_iter().map(|profile| detail(snapshot, profile)).collect();
    Ok(InstanceProfiles { instance_profiles, is_truncated: marker.is_some(), marker })
}

/// Lists the account's instance profiles, by name.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListInstanceProfiles {
    /// Only those whose path begins so.
    pub path_prefix: Option<String>,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

impl Operation for ListInstanceProfiles {
    type Service = Iam;
    type Mode = Read;
    type Output = InstanceProfiles;
    const NAME: &'static str = "ListInstanceProfiles";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let prefix = self.path_prefix.as_deref().unwrap_or("/");
        let arn = Arn::iam(scope.account()?, &format!("instance-profile{prefix}"));
        Ok(Access::Signed(vec![Check::new("iam:ListInstanceProfiles", arn)]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<InstanceProfiles, Error> {
        let prefix = self.path_prefix.as_deref().unwrap_or("/");
        let wanted = |profile: &InstanceProfile| profile.path.starts_with(prefix);
        listed(&call.tx.snapshot, call.scope, wanted, self.marker.as_deref(), self.max_items)
    }
}

/// Lists the instance profiles of a role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListInstanceProfilesForRole {
    /// The role.
    pub role_name: RoleName,
    /// From the last page.
    pub marker: Option<String>,
    /// 1 to 1000, default 100.
    pub max_items: Option<u32>,
}

impl Operation for ListInstanceProfilesForRole {
    type Service = Iam;
    type Mode = Read;
    type Output = InstanceProfiles;
    const NAME: &'static str = "ListInstanceProfilesForRole";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        roles::on_role("iam:ListInstanceProfilesForRole", scope, &self.role_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<InstanceProfiles, Error> {
        let role = roles::find(&call.tx.snapshot, call.scope, &self.role_name)?;
        let wanted = |profile: &InstanceProfile| profile.role_id.as_deref() == Some(role.role.id.as_str());
        listed(&call.tx.snapshot, call.scope, wanted, self.marker.as_deref(), self.max_items)
    }
}

async fn set_role(tx: &mut WriteTx<'_>, profile: InstanceProfile, role_id: Option<String>) -> Result<(), Error> {
    tx.note("instanceProfileArn", profile.arn());
    tx.put_instance_profile(&InstanceProfile { role_id, ..profile }).await
}

/// Puts a role into an instance profile. Whoever does hands the role to machines, and needs `iam:PassRole` for it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AddRoleToInstanceProfile {
    /// The profile.
    pub instance_profile_name: InstanceProfileName,
    /// The role.
    pub role_name: RoleName,
}

impl Operation for AddRoleToInstanceProfile {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "AddRoleToInstanceProfile";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let service = vec!["ec2.amazonaws.com".to_owned()];
        let pass = Check::new("iam:PassRole", scope.role_arn(self.role_name.as_str())?).with_key("iam:PassedToService", service);
        let add = Check::new("iam:AddRoleToInstanceProfile", arn(scope, &self.instance_profile_name)?);
        Ok(Access::Signed(vec![add, pass]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let role = roles::find(&call.tx.snapshot, call.scope, &self.role_name)?.role.id.clone();
        let profile = find(&call.tx.snapshot, call.scope, &self.instance_profile_name)?;
        if profile.role_id.is_some() {
            return Err(Error::new(ErrorKind::LimitExceeded, "Cannot exceed quota for InstanceSessionsPerInstanceProfile: 1"));
        }
        set_role(&mut call.tx, profile, Some(role)).await
    }
}

/// Takes the role out of an instance profile.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RemoveRoleFromInstanceProfile {
    /// The profile.
    pub instance_profile_name: InstanceProfileName,
    /// The role.
    pub role_name: RoleName,
}

impl Operation for RemoveRoleFromInstanceProfile {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "RemoveRoleFromInstanceProfile";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on("iam:RemoveRoleFromInstanceProfile", scope, &self.instance_profile_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let role = roles::find(&call.tx.snapshot, call.scope, &self.role_name)?.role.id.clone();
        let profile = find(&call.tx.snapshot, call.scope, &self.instance_profile_name)?;
        if profile.role_id != Some(role) {
            return Err(no_such("role in the instance profile", self.role_name.as_str()));
        }
        set_role(&mut call.tx, profile, None).await
    }
}

/// Deletes an instance profile without a role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteInstanceProfile {
    /// The profile.
    pub instance_profile_name: InstanceProfileName,
}

impl Operation for DeleteInstanceProfile {
    type Service = Iam;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteInstanceProfile";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on("iam:DeleteInstanceProfile", scope, &self.instance_profile_name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let profile = find(&call.tx.snapshot, call.scope, &self.instance_profile_name)?;
        if profile.role_id.is_some() {
            return Err(Error::new(
                ErrorKind::DeleteConflict,
                "Cannot delete entity, must remove roles from instance profile first.",
            ));
        }
        call.tx.note("instanceProfileArn", profile.arn());
        call.tx.delete_instance_profile(&profile.id).await
    }
}
