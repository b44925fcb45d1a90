//! IAM Identity Center's administration: permission sets, and who is assigned them where.

pub mod assignments;

use crate::{
    api::{epoch_seconds, iam::check_document},
    domain::{
        Arn, Error, ErrorKind, Timestamp, name::PermissionSetName, organization::Organization, permission_set::PermissionSet,
    },
    gateway::{Access, Call, Entry, Fault, Operation, Protocol, Read, Scope, Service, Write, fault::json_code},
    policy::{DocumentKind, evaluate::Check},
    store::Snapshot,
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// The service.
#[derive(Debug)]
pub struct SsoAdmin;

impl Service for SsoAdmin {
    const EVENT_SOURCE: &'static str = "sso-admin.amazonaws.com";
    const SIGNING_NAME: &'static str = "sso";
    const PROTOCOL: Protocol = Protocol::Json { target: "SWBExternalService" };
    fn fault(error: &Error) -> Fault {
        let (status, code) = match error.kind {
            ErrorKind::InvalidInput | ErrorKind::MalformedPolicy => (400, "ValidationException"),
            ErrorKind::PolicyTooLarge | ErrorKind::LimitExceeded => (400, "ServiceQuotaExceededException"),
            kind => json_code(kind),
        };
        Fault::new(status, code, error)
    }
}

/// What is served.
pub const TABLE: &[Entry] = &[
    Entry::rpc::<ListInstances>(),
    Entry::rpc::<ListPermissionSets>(),
    Entry::rpc::<DescribePermissionSet>(),
    Entry::rpc::<CreatePermissionSet>(),
    Entry::rpc::<UpdatePermissionSet>(),
    Entry::rpc::<DeletePermissionSet>(),
    Entry::rpc::<PutInlinePolicyToPermissionSet>(),
    Entry::rpc::<GetInlinePolicyForPermissionSet>(),
    Entry::rpc::<DeleteInlinePolicyFromPermissionSet>(),
    Entry::rpc::<AttachManagedPolicyToPermissionSet>(),
    Entry::rpc::<DetachManagedPolicyFromPermissionSet>(),
    Entry::rpc::<ListManagedPoliciesInPermissionSet>(),
    Entry::rpc::<assignments::CreateAccountAssignment>(),
    Entry::rpc::<assignments::DeleteAccountAssignment>(),
    Entry::rpc::<assignments::ListAccountAssignments>(),
    Entry::inner::<assignments::SetAssignment>(),
    Entry::inner::<assignments::ListAssignments>(),
];

/// Longest inline policy of a permission set, in characters without white space (IAM Identity Center user guide, "Quotas").
pub const MAX_INLINE_POLICY: usize = 10_240;
/// Most managed policies on a permission set.
pub const MAX_MANAGED_POLICIES: usize = 20;

/// The organization's only instance: `ssoins-` and 16 letters or digits.
fn instance_id(organization: &Organization) -> String {
    let digest = crate::crypto::sha256_hex(&organization.id);
    format!("ssoins-{}", digest.get(..16).unwrap_or_default())
}

/// The ARN of the instance.
///
/// # Errors
/// `Internal` before there is an organization.
pub fn instance_arn(snapshot: &Snapshot) -> Result<String, Error> {
    let organization = snapshot.organization.as_ref().ok_or_else(|| Error::internal("no organization"))?;
    Ok(format!("arn:aws:sso:::instance/{}", instance_id(organization)))
}

/// The ARN of a permission set.
///
/// # Errors
/// `Internal` before there is an organization.
pub fn permission_set_arn(snapshot: &Snapshot, id: &str) -> Result<String, Error> {
    let organization = snapshot.organization.as_ref().ok_or_else(|| Error::internal("no organization"))?;
    Ok(format!("arn:aws:sso:::permissionSet/{}/{id}", instance_id(organization)))
}

/// Checks an action on the instance or on one of its permission sets: the management account's.
fn on(scope: &Scope, action: &str, resource: &str) -> Result<Access, Error> {
    let owner = scope.snapshot.management_account().cloned().unwrap_or(scope.account()?.clone());
    Ok(Access::Signed(vec![Check::new(&format!("sso:{action}"), resource).owned_by(owner)]))
}

/// The permission set with this ARN, at this instance.
fn find<'s>(snapshot: &'s Snapshot, instance: &str, arn: &str) -> Result<&'s Arc<PermissionSet>, Error> {
    let no_instance = || Error::new(ErrorKind::NoSuchEntity, "There is no such instance.");
    Some(()).filter(|()| instance_arn(snapshot).is_ok_and(|own| own == instance)).ok_or_else(no_instance)?;
    let id = arn.rsplit('/').next().unwrap_or_default();
    let found = snapshot.permission_sets.get(id).filter(|set| permission_set_arn(snapshot, &set.id).is_ok_and(|own| own == arn));
    found.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "There is no such permission set."))
}

/// Changes a permission set in the transaction, and the roles that it is with it.
async fn change(
    call: &mut Call<'_, impl Operation<Mode = Write>>,
    instance: &str,
    arn: &str,
    edit: impl FnOnce(&mut PermissionSet) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut set = PermissionSet::clone(find(&call.tx.snapshot, instance, arn)?);
    edit(&mut set)?;
    call.tx.note("permissionSetArn", arn);
    call.tx.put_permission_set(&set).await
}

/// A session's length as the API writes it: `PT8H` (ISO 8601).
fn duration(seconds: u32) -> String {
    match (seconds / 3600, seconds % 3600 / 60) {
        (hours, 0) => format!("PT{hours}H"),
        (hours, minutes) => format!("PT{hours}H{minutes}M"),
    }
}

/// Seconds of `PT8H`, `PT1H30M` or `PT90M`.
fn seconds(text: &str) -> Result<u32, Error> {
    let wrong = || Error::invalid("a session's duration is PT1H to PT12H (ISO 8601)");
    let mut left = text.strip_prefix("PT").ok_or_else(wrong)?;
    let mut all = 0_u32;
    for (unit, length) in [('H', 3600), ('M', 60), ('S', 1)] {
        if let Some((number, rest)) = left.split_once(unit) {
            let number: u32 = number.parse().map_err(|_| wrong())?;
            all = number.checked_mul(length).and_then(|part| all.checked_add(part)).ok_or_else(wrong)?;
            left = rest;
        }
    }
    if left.is_empty() && (3600..=43_200).contains(&all) { Ok(all) } else { Err(wrong()) }
}

/// Instances: there is one.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Instances {
    /// It.
    pub instances: Vec<InstanceMetadata>,
}

/// Its facts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceMetadata {
    /// ARN.
    pub instance_arn: String,
    /// `d-…`: the directory.
    pub identity_store_id: String,
    /// The management account.
    pub owner_account_id: String,
    /// `ACTIVE`.
    pub status: &'static str,
}

/// ARNs of permission sets.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PermissionSetArns {
    /// A page of them, by id.
    pub permission_sets: Vec<String>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// One permission set.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PermissionSetAnswer {
    /// It.
    pub permission_set: PermissionSetDetail,
}

/// Its facts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct PermissionSetDetail {
    /// Name.
    pub name: String,
    /// ARN.
    pub permission_set_arn: String,
    /// For people.
    pub description: String,
    /// When it was made.
    #[serde(serialize_with = "epoch_seconds")]
    pub created_date: Timestamp,
    /// `PT1H` to `PT12H`.
    pub session_duration: String,
}

fn detail(snapshot: &Snapshot, set: &PermissionSet) -> Result<PermissionSetAnswer, Error> {
    Ok(PermissionSetAnswer {
        permission_set: PermissionSetDetail {
            name: set.name.to_string(),
            permission_set_arn: permission_set_arn(snapshot, &set.id)?,
            description: set.description.clone(),
            created_date: set.created,
            session_duration: duration(set.session_seconds),
        },
    })
}

/// An inline policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InlinePolicyAnswer {
    /// JSON text; empty for none.
    pub inline_policy: String,
}

/// Managed policies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct ManagedPolicies {
    /// All of them.
    pub attached_managed_policies: Vec<AttachedManagedPolicy>,
}

/// One of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AttachedManagedPolicy {
    /// Name.
    pub name: String,
    /// ARN.
    pub arn: String,
}

/// Lists the instance.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListInstances {
    /// There is one.
    pub max_results: Option<u32>,
    /// There is one.
    pub next_token: Option<String>,
}

impl Operation for ListInstances {
    type Service = SsoAdmin;
    type Mode = Read;
    type Output = Instances;
    const NAME: &'static str = "ListInstances";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListInstances", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Instances, Error> {
        let snapshot = &call.tx.snapshot;
        let organization = snapshot.organization.as_ref().ok_or_else(|| Error::internal("no organization"))?;
        let directory: String = instance_id(organization).chars().skip(7).take(10).collect();
        Ok(Instances {
            instances: vec![InstanceMetadata {
                instance_arn: instance_arn(snapshot)?,
                identity_store_id: format!("d-{directory}"),
                owner_account_id: organization.management_account.to_string(),
                status: "ACTIVE",
            }],
        })
    }
}

/// Lists permission sets.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListPermissionSets {
    /// The instance.
    pub instance_arn: String,
    /// At most so many.
    pub max_results: Option<u32>,
    /// From the last page.
    pub next_token: Option<String>,
}

impl Operation for ListPermissionSets {
    type Service = SsoAdmin;
    type Mode = Read;
    type Output = PermissionSetArns;
    const NAME: &'static str = "ListPermissionSets";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListPermissionSets", &self.instance_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PermissionSetArns, Error> {
        let snapshot = &call.tx.snapshot;
        let sets = snapshot.permission_sets.values();
        let (page, next_token) = crate::api::page(sets, |set| set.id.clone(), self.next_token.as_deref(), self.max_results)?;
        let arns = page.into_iter().map(|set| permission_set_arn(snapshot, &set.id)).collect::<Result<_, _>>()?;
        Ok(PermissionSetArns { permission_sets: arns, next_token })
    }
}

/// Describes a permission set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DescribePermissionSet {
    /// The instance.
    pub instance_arn: String,
    /// The permission set.
    pub permission_set_arn: String,
}

impl Operation for DescribePermissionSet {
    type Service = SsoAdmin;
    type Mode = Read;
    type Output = PermissionSetAnswer;
    const NAME: &'static str = "DescribePermissionSet";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "DescribePermissionSet", &self.permission_set_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PermissionSetAnswer, Error> {
        let snapshot = &call.tx.snapshot;
        detail(snapshot, find(snapshot, &self.instance_arn, &self.permission_set_arn)?)
    }
}

/// Creates a permission set, which nobody is assigned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreatePermissionSet {
    /// The instance.
    pub instance_arn: String,
    /// Unique.
    pub name: PermissionSetName,
    /// At most 700 characters.
    pub description: Option<String>,
    /// `PT1H` to `PT12H`, default `PT1H`.
    pub session_duration: Option<String>,
}

impl Operation for CreatePermissionSet {
    type Service = SsoAdmin;
    type Mode = Write;
    type Output = PermissionSetAnswer;
    const NAME: &'static str = "CreatePermissionSet";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "CreatePermissionSet", &self.instance_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PermissionSetAnswer, Error> {
        let snapshot = call.tx.snapshot.clone();
        if instance_arn(&snapshot)? != self.instance_arn {
            return Err(Error::new(ErrorKind::NoSuchEntity, "There is no such instance."));
        }
        if snapshot.permission_sets.values().any(|set| set.name.as_str().eq_ignore_ascii_case(self.name.as_str())) {
            let message = format!("A permission set with the name {} exists already.", self.name);
            return Err(Error::new(ErrorKind::AlreadyExists, message));
        }
        let set = PermissionSet {
            id: format!("ps-{}", call.broker.random.text(b"abcdefghijklmnopqrstuvwxyz0123456789", 16)),
            name: self.name,
            description: self.description.unwrap_or_default().chars().take(700).collect(),
            session_seconds: self.session_duration.as_deref().map_or(Ok(3600), seconds)?,
            inline_policy: None,
            managed_policies: Vec::new(),
            created: call.caller.origin.time,
        };
        let answer = detail(&snapshot, &set)?;
        call.tx.note("permissionSetArn", &answer.permission_set.permission_set_arn);
        call.tx.put_permission_set(&set).await?;
        Ok(answer)
    }
}

/// Changes a permission set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct UpdatePermissionSet {
    /// The instance.
    pub instance_arn: String,
    /// The permission set.
    pub permission_set_arn: String,
    /// At most 700 characters.
    pub description: Option<String>,
    /// `PT1H` to `PT12H`.
    pub session_duration: Option<String>,
}

impl Operation for UpdatePermissionSet {
    type Service = SsoAdmin;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "UpdatePermissionSet";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "UpdatePermissionSet", &self.permission_set_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let length = self.session_duration.as_deref().map(seconds).transpose()?;
        let edit = |set: &mut PermissionSet| {
            if let Some(description) = self.description {
                set.description = description.chars().take(700).collect();
            }
            set.session_seconds = length.unwrap_or(set.session_seconds);
            Ok(())
        };
        change(call, &self.instance_arn, &self.permission_set_arn, edit).await
    }
}

/// Deletes a permission set that nobody is assigned.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeletePermissionSet {
    /// The instance.
    pub instance_arn: String,
    /// The permission set.
    pub permission_set_arn: String,
}

impl Operation for DeletePermissionSet {
    type Service = SsoAdmin;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeletePermissionSet";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "DeletePermissionSet", &self.permission_set_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let set = find(&call.tx.snapshot, &self.instance_arn, &self.permission_set_arn)?.clone();
        if call.tx.snapshot.assignments.iter().any(|one| one.permission_set == set.id) {
            return Err(Error::new(ErrorKind::DeleteConflict, "Somebody is assigned it: take that back first."));
        }
        call.tx.note("permissionSetArn", &self.permission_set_arn);
        call.tx.delete_permission_set(&set.id).await
    }
}

/// Sets the inline policy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PutInlinePolicyToPermissionSet {
    /// The instance.
    pub instance_arn: String,
    /// The permission set.
    pub permission_set_arn: String,
    /// JSON text.
    pub inline_policy: String,
}

impl Operation for PutInlinePolicyToPermissionSet {
    type Service = SsoAdmin;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "PutInlinePolicyToPermissionSet";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "PutInlinePolicyToPermissionSet", &self.permission_set_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        check_document(&self.inline_policy, DocumentKind::Identity, MAX_INLINE_POLICY)?;
        call.tx.note("inlinePolicy", &self.inline_policy);
        let edit = |set: &mut PermissionSet| {
            set.inline_policy = Some(self.inline_policy.into());
            Ok(())
        };
        change(call, &self.instance_arn, &self.permission_set_arn, edit).await
    }
}

/// Reads the inline policy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct GetInlinePolicyForPermissionSet {
    /// The instance.
    pub instance_arn: String,
    /// The permission set.
    pub permission_set_arn: String,
}

impl Operation for GetInlinePolicyForPermissionSet {
    type Service = SsoAdmin;
    type Mode = Read;
    type Output = InlinePolicyAnswer;
    const NAME: &'static str = "GetInlinePolicyForPermissionSet";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "GetInlinePolicyForPermissionSet", &self.permission_set_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<InlinePolicyAnswer, Error> {
        let set = find(&call.tx.snapshot, &self.instance_arn, &self.permission_set_arn)?;
        Ok(InlinePolicyAnswer { inline_policy: set.inline_policy.as_ref().map(ToString::to_string).unwrap_or_default() })
    }
}

/// Removes the inline policy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DeleteInlinePolicyFromPermissionSet {
    /// The instance.
    pub instance_arn: String,
    /// The permission set.
    pub permission_set_arn: String,
}

impl Operation for DeleteInlinePolicyFromPermissionSet {
    type Service = SsoAdmin;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DeleteInlinePolicyFromPermissionSet";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "DeleteInlinePolicyFromPermissionSet", &self.permission_set_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let edit = |set: &mut PermissionSet| {
            set.inline_policy = None;
            Ok(())
        };
        change(call, &self.instance_arn, &self.permission_set_arn, edit).await
    }
}

/// Attaches a managed policy.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct AttachManagedPolicyToPermissionSet {
    /// The instance.
    pub instance_arn: String,
    /// The permission set.
    pub permission_set_arn: String,
    /// An AWS-managed policy.
    pub managed_policy_arn: Arn,
}

impl Operation for AttachManagedPolicyToPermissionSet {
    type Service = SsoAdmin;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "AttachManagedPolicyToPermissionSet";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "AttachManagedPolicyToPermissionSet", &self.permission_set_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        // Those of one account are not in the others.
        let known = self.managed_policy_arn.account().is_none() && call.tx.snapshot.policy(&self.managed_policy_arn).is_some();
        if !known {
            return Err(Error::new(ErrorKind::NoSuchEntity, "There is no such AWS-managed policy."));
        }
        let arn = self.managed_policy_arn;
        let edit = |set: &mut PermissionSet| {
            if set.managed_policies.contains(&arn) {
                return Err(Error::new(ErrorKind::AlreadyExists, "The policy is attached already."));
            }
            if set.managed_policies.len() >= MAX_MANAGED_POLICIES {
                let message = format!("at most {MAX_MANAGED_POLICIES} managed policies are on a permission set");
                return Err(Error::new(ErrorKind::LimitExceeded, message));
            }
            set.managed_policies.push(arn);
            set.managed_policies.sort();
            Ok(())
        };
        change(call, &self.instance_arn, &self.permission_set_arn, edit).await
    }
}

/// Takes a managed policy off.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct DetachManagedPolicyFromPermissionSet {
    /// The instance.
    pub instance_arn: String,
    /// The permission set.
    pub permission_set_arn: String,
    /// An AWS-managed policy.
    pub managed_policy_arn: Arn,
}

impl Operation for DetachManagedPolicyFromPermissionSet {
    type Service = SsoAdmin;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "DetachManagedPolicyFromPermissionSet";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "DetachManagedPolicyFromPermissionSet", &self.permission_set_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let arn = self.managed_policy_arn;
        let edit = |set: &mut PermissionSet| {
            set.managed_policies.retain(|known| *known != arn);
            Ok(())
        };
        change(call, &self.instance_arn, &self.permission_set_arn, edit).await
    }
}

/// Lists managed policies.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListManagedPoliciesInPermissionSet {
    /// The instance.
    pub instance_arn: String,
    /// The permission set.
    pub permission_set_arn: String,
    /// At most so many.
    pub max_results: Option<u32>,
    /// From the last page.
    pub next_token: Option<String>,
}

impl Operation for ListManagedPoliciesInPermissionSet {
    type Service = SsoAdmin;
    type Mode = Read;
    type Output = ManagedPolicies;
    const NAME: &'static str = "ListManagedPoliciesInPermissionSet";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListManagedPoliciesInPermissionSet", &self.permission_set_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<ManagedPolicies, Error> {
        let set = find(&call.tx.snapshot, &self.instance_arn, &self.permission_set_arn)?;
        let attached = |arn: &Arn| AttachedManagedPolicy { name: arn.resource_name().to_owned(), arn: arn.to_string() };
        Ok(ManagedPolicies { attached_managed_policies: set.managed_policies.iter().map(attached).collect() })
    }
}
