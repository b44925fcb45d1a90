//! AWS Organizations: the tree of accounts, and guardrails. The management account alone changes and reads it; from another
//! account these are cross-account requests, which are refused.

pub mod accounts;
pub mod policies;
pub mod units;

use crate::{
    domain::{Error, ErrorKind, name::AccountId, organization::Organization},
    gateway::{Access, Call, Entry, Fault, Operation, Protocol, Read, Scope, Service, fault::json_code},
    policy::evaluate::Check,
    store::Snapshot,
};
use serde::{Deserialize, Serialize};

/// The service.
#[derive(Debug)]
pub struct Organizations;

impl Service for Organizations {
    const EVENT_SOURCE: &'static str = "organizations.amazonaws.com";
    const SIGNING_NAME: &'static str = "organizations";
    const PROTOCOL: Protocol = Protocol::Json { target: "AWSOrganizationsV20161128" };
    fn fault(error: &Error) -> Fault {
        let (status, code) = json_code(error.kind);
        let about = |word: &str| error.public.contains(word);
        // What is missing or in the way has its own error; the sentences of this service name it.
        let code = match error.kind {
            ErrorKind::NoSuchEntity if about("account") => "AccountNotFoundException",
            ErrorKind::NoSuchEntity if about("policy") => "PolicyNotFoundException",
            ErrorKind::NoSuchEntity if about("parent") => "ParentNotFoundException",
            ErrorKind::NoSuchEntity if about("organizational unit") => "OrganizationalUnitNotFoundException",
            ErrorKind::NoSuchEntity => "TargetNotFoundException",
            ErrorKind::AlreadyExists if about("attached") => "DuplicatePolicyAttachmentException",
            ErrorKind::AlreadyExists if about("policy") => "DuplicatePolicyException",
            ErrorKind::AlreadyExists => "DuplicateOrganizationalUnitException",
            ErrorKind::DeleteConflict if about("policy") => "PolicyInUseException",
            ErrorKind::DeleteConflict => "OrganizationalUnitNotEmptyException",
            ErrorKind::MalformedPolicy => "MalformedPolicyDocumentException",
            ErrorKind::LimitExceeded => "ConstraintViolationException",
            _ => code,
        };
        Fault::new(status, code, error)
    }
}

/// What is served.
pub const TABLE: &[Entry] = &[
    Entry::rpc::<DescribeOrganization>(),
    Entry::rpc::<accounts::ListAccounts>(),
    Entry::rpc::<accounts::ListAccountsForParent>(),
    Entry::rpc::<accounts::DescribeAccount>(),
    Entry::rpc::<accounts::CreateAccount>(),
    Entry::rpc::<accounts::MoveAccount>(),
    Entry::rpc::<accounts::ListTagsForResource>(),
    Entry::rpc::<accounts::TagResource>(),
    Entry::rpc::<accounts::UntagResource>(),
    Entry::rpc::<units::ListRoots>(),
    Entry::rpc::<units::ListParents>(),
    Entry::rpc::<units::ListOrganizationalUnitsForParent>(),
    Entry::rpc::<units::DescribeOrganizationalUnit>(),
    Entry::rpc::<units::CreateOrganizationalUnit>(),
    Entry::rpc::<units::UpdateOrganizationalUnit>(),
    Entry::rpc::<units::DeleteOrganizationalUnit>(),
    Entry::rpc::<policies::ListPolicies>(),
    Entry::rpc::<policies::DescribePolicy>(),
    Entry::rpc::<policies::CreatePolicy>(),
    Entry::rpc::<policies::UpdatePolicy>(),
    Entry::rpc::<policies::DeletePolicy>(),
    Entry::rpc::<policies::AttachPolicy>(),
    Entry::rpc::<policies::DetachPolicy>(),
    Entry::rpc::<policies::ListPoliciesForTarget>(),
    Entry::rpc::<policies::ListTargetsForPolicy>(),
    Entry::inner::<accounts::SearchAccounts>(),
    Entry::inner::<accounts::UpdateAccount>(),
];

/// A check on the organization, which is the management account's.
fn on(scope: &Scope, action: &str, resource: &str) -> Result<Access, Error> {
    let owner = scope.snapshot.management_account().cloned().unwrap_or(scope.account()?.clone());
    let organization = scope.snapshot.organization.as_ref().map(|one| one.id.clone()).unwrap_or_default();
    let arn = match resource {
        "*" => "*".to_owned(),
        resource => match resource.split_once('/') {
            Some((kind, id)) => format!("arn:aws:organizations::{owner}:{kind}/{organization}/{id}"),
            None => "*".to_owned(),
        },
    };
    Ok(Access::Signed(vec![Check::new(&format!("organizations:{action}"), arn).owned_by(owner)]))
}

/// The same on several resources: each must be allowed.
fn on_each(scope: &Scope, action: &str, resources: &[String]) -> Result<Access, Error> {
    let mut checks = Vec::new();
    for resource in resources {
        if let Access::Signed(one) = on(scope, action, resource)? {
            checks.extend(one);
        }
    }
    Ok(Access::Signed(checks))
}

/// A target as [`on`] takes it: `root/…`, `ou/…` or `account/…`.
fn place(id: &str) -> String {
    let kind = match id {
        id if id.starts_with("r-") => "root",
        id if id.starts_with("ou-") => "ou",
        _ => "account",
    };
    format!("{kind}/{id}")
}

fn organization(snapshot: &Snapshot) -> Result<&Organization, Error> {
    snapshot.organization.as_ref().ok_or_else(|| Error::internal("no organization"))
}

/// A part of the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    /// Above everything.
    Root,
    /// A unit, by id.
    Unit(String),
    /// An account.
    Account(AccountId),
}

impl Node {
    /// What an id names; none where there is no such thing.
    pub(super) fn find(snapshot: &Snapshot, id: &str) -> Option<Self> {
        if snapshot.organization.as_ref().is_some_and(|organization| organization.root_id() == id) {
            return Some(Self::Root);
        }
        if snapshot.units.contains_key(id) {
            return Some(Self::Unit(id.to_owned()));
        }
        let account = AccountId::parse(id).ok().filter(|account| snapshot.accounts.contains_key(account));
        account.map(Self::Account)
    }

    /// The root or a unit, as accounts and units are below: none is the root.
    fn parent(snapshot: &Snapshot, id: &str) -> Result<Option<String>, Error> {
        match Self::find(snapshot, id) {
            Some(Self::Root) => Ok(None),
            Some(Self::Unit(unit)) => Ok(Some(unit)),
            Some(Self::Account(_)) | None => {
                Err(Error::new(ErrorKind::NoSuchEntity, "You specified a root or parent that doesn't exist."))
            }
        }
    }
}

fn no_account() -> Error {
    Error::new(ErrorKind::NoSuchEntity, "You specified an account that doesn't exist.")
}

/// Describes the organization.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescribeOrganization {}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrganizationDescription {
    /// The organization.
    pub organization: OrganizationDetail,
}

/// Its facts.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct OrganizationDetail {
    /// `o-…`.
    pub id: String,
    /// ARN.
    pub arn: String,
    /// `ALL`: every feature is there.
    pub feature_set: &'static str,
    /// The account that owns it.
    pub master_account_id: String,
}

impl Operation for DescribeOrganization {
    type Service = Organizations;
    type Mode = Read;
    type Output = OrganizationDescription;
    const NAME: &'static str = "DescribeOrganization";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        // Every account may know which organization it is of.
        Ok(Access::Signed(vec![Check::new("organizations:DescribeOrganization", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<OrganizationDescription, Error> {
        let organization = organization(&call.tx.snapshot)?.clone();
        let owner = &organization.management_account;
        Ok(OrganizationDescription {
            organization: OrganizationDetail {
                arn: format!("arn:aws:organizations::{owner}:organization/{}", organization.id),
                id: organization.id,
                feature_set: "ALL",
                master_account_id: owner.to_string(),
            },
        })
    }
}
