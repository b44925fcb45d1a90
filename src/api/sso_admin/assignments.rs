//! Who is assigned a permission set, and where: an account, everything below a unit, every account with a tag.

use super::{SsoAdmin, find, instance_arn, on, permission_set_arn};
use crate::{
    api::{epoch_seconds, organizations::Node},
    domain::{
        Error, ErrorKind, Timestamp,
        iam::IdentityProvider,
        name::AccountId,
        permission_set::{AccountAssignment, AssignmentPrincipal, AssignmentTarget},
    },
    gateway::{Access, Call, Operation, Read, Scope, Write},
    policy::{
        Document, DocumentKind, catalogue::SECOND_PERSON_APPROVAL, evaluate::Check, validate::trust::shared_issuer_left_open,
    },
    store::Snapshot,
};
use serde::{Deserialize, Serialize};
use std::{collections::BTreeSet, sync::Arc};

/// Who is assigned, as the API writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PrincipalType {
    /// Somebody of the directory.
    User,
    /// A group of the directory.
    Group,
}

/// What a permission set is assigned on.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub enum TargetType {
    /// An account.
    #[serde(rename = "AWS_ACCOUNT")]
    AwsAccount,
}

impl PrincipalType {
    const fn principal(self, id: String) -> AssignmentPrincipal {
        match self {
            Self::User => AssignmentPrincipal::User(id),
            Self::Group => AssignmentPrincipal::Group(id),
        }
    }
}

/// What became of an assignment.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssignmentStatus {
    /// `SUCCEEDED`: it holds at once.
    pub status: &'static str,
    /// Unique.
    pub request_id: String,
    /// The account.
    pub target_id: String,
    /// `AWS_ACCOUNT`.
    pub target_type: TargetType,
    /// The permission set.
    pub permission_set_arn: String,
    /// Who.
    pub principal_type: PrincipalType,
    /// Who.
    pub principal_id: String,
    /// When.
    #[serde(serialize_with = "epoch_seconds")]
    pub created_date: Timestamp,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssignmentCreated {
    /// What became of it.
    pub account_assignment_creation_status: AssignmentStatus,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssignmentDeleted {
    /// What became of it.
    pub account_assignment_deletion_status: AssignmentStatus,
}

/// Assignments on the wire.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssignmentList {
    /// A page of them.
    pub account_assignments: Vec<AssignmentDetail>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// One of them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct AssignmentDetail {
    /// The account.
    pub account_id: String,
    /// The permission set.
    pub permission_set_arn: String,
    /// Who.
    pub principal_type: PrincipalType,
    /// Who.
    pub principal_id: String,
}

/// The permission set and the account must be allowed; a unit or a tag may be any account. Assigning writes a trust policy: a
/// policy may ask that two people do that, and one alone does it here.
fn assigning(scope: &Scope, action: &str, set: &str, account: Option<&AccountId>) -> Result<Access, Error> {
    let owner = scope.snapshot.management_account().cloned().unwrap_or(scope.account()?.clone());
    let account = format!("arn:aws:sso:::account/{}", account.map_or("*", AccountId::as_str));
    let check = |resource: &str| {
        let check = Check::new(&format!("sso:{action}"), resource).owned_by(owner.clone());
        check.with_key(SECOND_PERSON_APPROVAL, vec!["false".to_owned()])
    };
    Ok(Access::Signed(vec![check(set), check(&account)]))
}

/// Most people, groups and claims that one permission set is assigned to.
pub const MAX_PRINCIPALS: usize = 1_000;

/// Checks a claim, and that it does not let every tenant of a shared provider in.
///
/// # Errors
/// `InvalidInput`.
pub(in crate::api) fn check_claim(principal: &AssignmentPrincipal, source: &Arc<IdentityProvider>) -> Result<(), Error> {
    let AssignmentPrincipal::Claim { key, value, .. } = principal else { return Ok(()) };
    let text = |text: &str, most| !text.trim().is_empty() && text.chars().count() <= most && !text.contains("${");
    if !text(key, 256) || !key.contains(':') || !text(value, 512) {
        return Err(Error::invalid("a claim is a condition key such as saml:groups, and one of its values"));
    }
    let account = AccountId::parse("000000000000")?;
    let trust = crate::store::assigned_trust(&account, &[principal], &[source]).unwrap_or_default();
    let document = Document::parse(&trust, DocumentKind::Trust).map_err(|error| Error::invalid(error.to_string()))?;
    if shared_issuer_left_open(&document).is_some() {
        return Err(Error::invalid("This provider is shared by many companies: the claim has to name your tenant."));
    }
    Ok(())
}

/// Makes or takes back an assignment in the transaction.
async fn set(call: &mut Call<'_, impl Operation<Mode = Write>>, assignment: &AccountAssignment, on: bool) -> Result<(), Error> {
    let snapshot = call.tx.snapshot.clone();
    call.tx.note("permissionSet", &assignment.permission_set);
    call.tx.note("principal", &assignment.principal);
    call.tx.note("target", &assignment.target);
    if on {
        check(call, &snapshot, assignment).await?;
    } else if !snapshot.assignments.contains(assignment) {
        return Err(Error::new(ErrorKind::NoSuchEntity, "There is no such assignment."));
    }
    call.tx.put_assignment(assignment, on).await
}

/// Whom and where must exist, and what is written for them must be what an administrator could store.
async fn check(
    call: &mut Call<'_, impl Operation<Mode = Write>>,
    snapshot: &Snapshot,
    assignment: &AccountAssignment,
) -> Result<(), Error> {
    let missing = |what: &str| Error::new(ErrorKind::NoSuchEntity, format!("There is no such {what}."));
    match &assignment.principal {
        AssignmentPrincipal::User(id) => drop(call.tx.read().user_by_id(id).await?.ok_or_else(|| missing("person"))?),
        AssignmentPrincipal::Group(id) => drop(call.tx.read().group_by_id(id).await?.ok_or_else(|| missing("group"))?),
        AssignmentPrincipal::Claim { source, .. } => {
            let source = snapshot.identity_source(source.as_str()).ok_or_else(|| missing("identity source"))?;
            check_claim(&assignment.principal, source)?;
        }
    }
    let of_set = snapshot.assignments.iter().filter(|one| one.permission_set == assignment.permission_set);
    let principals: BTreeSet<&AssignmentPrincipal> = of_set.map(|one| &one.principal).collect();
    if principals.len() >= MAX_PRINCIPALS && !principals.contains(&assignment.principal) {
        let message = format!("a permission set is assigned to at most {MAX_PRINCIPALS} people, groups and claims: use a group");
        return Err(Error::new(ErrorKind::LimitExceeded, message));
    }
    match &assignment.target {
        AssignmentTarget::Account(account) => drop(snapshot.accounts.get(account).ok_or_else(|| missing("account"))?),
        AssignmentTarget::Unit(id) => match Node::find(snapshot, id) {
            Some(Node::Root | Node::Unit(_)) => {}
            Some(Node::Account(_)) | None => return Err(missing("organizational unit")),
        },
        AssignmentTarget::Tag { key, value } => {
            if key.trim().is_empty() || key.chars().count() > 128 || value.chars().count() > 256 {
                return Err(Error::invalid("a tag has a key and a value"));
            }
        }
    }
    Ok(())
}

impl CreateAccountAssignment {
    fn assignment(&self, snapshot: &Snapshot) -> Result<AccountAssignment, Error> {
        Ok(AccountAssignment {
            permission_set: find(snapshot, &self.instance_arn, &self.permission_set_arn)?.id.clone(),
            principal: self.principal_type.principal(self.principal_id.clone()),
            target: AssignmentTarget::Account(self.target_id.clone()),
        })
    }

    fn status(self, request_id: String, now: Timestamp) -> AssignmentStatus {
        AssignmentStatus {
            status: "SUCCEEDED",
            request_id,
            target_id: self.target_id.to_string(),
            target_type: self.target_type,
            permission_set_arn: self.permission_set_arn,
            principal_type: self.principal_type,
            principal_id: self.principal_id,
            created_date: now,
        }
    }
}

/// Assigns a permission set on an account.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct CreateAccountAssignment {
    /// The instance.
    pub instance_arn: String,
    /// The account.
    pub target_id: AccountId,
    /// `AWS_ACCOUNT`.
    pub target_type: TargetType,
    /// The permission set.
    pub permission_set_arn: String,
    /// `USER` or `GROUP`.
    pub principal_type: PrincipalType,
    /// Their id in the directory.
    pub principal_id: String,
}

impl Operation for CreateAccountAssignment {
    type Service = SsoAdmin;
    type Mode = Write;
    type Output = AssignmentCreated;
    const NAME: &'static str = "CreateAccountAssignment";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        assigning(scope, "CreateAccountAssignment", &self.permission_set_arn, Some(&self.target_id))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AssignmentCreated, Error> {
        let assignment = self.assignment(&call.tx.snapshot)?;
        set(call, &assignment, true).await?;
        let status = self.status(call.broker.random.uuid(), call.caller.origin.time);
        Ok(AssignmentCreated { account_assignment_creation_status: status })
    }
}

/// Takes an assignment on an account back.
#[derive(Debug, Serialize, Deserialize)]
pub struct DeleteAccountAssignment(CreateAccountAssignment);

impl Operation for DeleteAccountAssignment {
    type Service = SsoAdmin;
    type Mode = Write;
    type Output = AssignmentDeleted;
    const NAME: &'static str = "DeleteAccountAssignment";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        assigning(scope, "DeleteAccountAssignment", &self.0.permission_set_arn, Some(&self.0.target_id))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AssignmentDeleted, Error> {
        let assignment = self.0.assignment(&call.tx.snapshot)?;
        set(call, &assignment, false).await?;
        let status = self.0.status(call.broker.random.uuid(), call.caller.origin.time);
        Ok(AssignmentDeleted { account_assignment_deletion_status: status })
    }
}

/// Lists who is assigned a permission set right on an account.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct ListAccountAssignments {
    /// The instance.
    pub instance_arn: String,
    /// The account.
    pub account_id: AccountId,
    /// The permission set.
    pub permission_set_arn: String,
    /// At most so many.
    pub max_results: Option<u32>,
    /// From the last page.
    pub next_token: Option<String>,
}

impl Operation for ListAccountAssignments {
    type Service = SsoAdmin;
    type Mode = Read;
    type Output = AssignmentList;
    const NAME: &'static str = "ListAccountAssignments";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListAccountAssignments", &self.permission_set_arn)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AssignmentList, Error> {
        let snapshot = &call.tx.snapshot;
        let set = find(snapshot, &self.instance_arn, &self.permission_set_arn)?;
        let arn = permission_set_arn(snapshot, &set.id)?;
        let here = |one: &&AccountAssignment| {
            one.permission_set == set.id && one.target == AssignmentTarget::Account(self.account_id.clone())
        };
        let detail = |one: &AccountAssignment| {
            let (principal_type, id) = match &one.principal {
                AssignmentPrincipal::User(id) => (PrincipalType::User, id),
                AssignmentPrincipal::Group(id) => (PrincipalType::Group, id),
                // The wire has no word for it.
                AssignmentPrincipal::Claim { .. } => return None,
            };
            let account_id = self.account_id.to_string();
            Some(AssignmentDetail { account_id, permission_set_arn: arn.clone(), principal_type, principal_id: id.clone() })
        };
        let all = snapshot.assignments.iter().filter(here).filter_map(detail);
        let key = |one: &AssignmentDetail| format!("{:?}/{}", one.principal_type, one.principal_id);
        let mut sorted: Vec<AssignmentDetail> = all.collect();
        sorted.sort_by_key(key);
        let (page, next_token) = crate::api::page(sorted.into_iter(), key, self.next_token.as_deref(), self.max_results)?;
        Ok(AssignmentList { account_assignments: page, next_token })
    }
}

/// Makes or takes back an assignment of any kind. For pages.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct SetAssignment {
    /// The permission set.
    pub permission_set_arn: String,
    /// Who.
    pub principal: AssignmentPrincipal,
    /// Where.
    pub target: AssignmentTarget,
    /// Whether it holds from now on.
    pub assigned: bool,
}

impl Operation for SetAssignment {
    type Service = SsoAdmin;
    type Mode = Write;
    type Output = ();
    const NAME: &'static str = "SetAssignment";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        let action = if self.assigned { "CreateAccountAssignment" } else { "DeleteAccountAssignment" };
        let account = match &self.target {
            AssignmentTarget::Account(account) => Some(account),
            AssignmentTarget::Unit(_) | AssignmentTarget::Tag { .. } => None,
        };
        assigning(scope, action, &self.permission_set_arn, account)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        let permission_set = find(&call.tx.snapshot, &instance_arn(&call.tx.snapshot)?, &self.permission_set_arn)?.id.clone();
        let assignment = AccountAssignment { permission_set, principal: self.principal, target: self.target };
        set(call, &assignment, self.assigned).await
    }
}

/// Assignments, for pages.
#[derive(Debug, Serialize)]
pub struct Assignments {
    /// A page of them.
    #[serde(skip)]
    pub assignments: Vec<AccountAssignment>,
    /// For the next page.
    pub marker: Option<String>,
    /// How many there are.
    pub count: usize,
}

/// Assignments on one page.
const PAGE: usize = 50;

/// Lists assignments of every kind. For pages.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub struct ListAssignments {
    /// Of one permission set, by id.
    #[serde(default)]
    pub permission_set: Option<String>,
    /// From the last page.
    #[serde(default)]
    pub marker: Option<String>,
}

impl Operation for ListAssignments {
    type Service = SsoAdmin;
    type Mode = Read;
    type Output = Assignments;
    const NAME: &'static str = "ListAssignments";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        on(scope, "ListAccountAssignments", "*")
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Assignments, Error> {
        let after: usize =
            self.marker.as_deref().map_or(Ok(0), str::parse).map_err(|_| Error::invalid("the marker is not ours"))?;
        let all = call.tx.snapshot.assignments.iter();
        let fitting = all.filter(|one| self.permission_set.as_ref().is_none_or(|set| *set == one.permission_set));
        let count = fitting.clone().count();
        let page: Vec<AccountAssignment> = fitting.skip(after).take(PAGE).cloned().collect();
        let marker = (after + page.len() < count).then(|| (after + page.len()).to_string());
        Ok(Assignments { assignments: page, marker, count })
    }
}
