//! AWS Identity and Access Management (API version 2010-05-08): roles, users, policies, providers.

pub mod access_keys;
mod holder;
pub mod instance_profiles;
pub mod invitation;
pub mod mapping;
pub mod mfa;
pub mod outbound;
pub mod policies;
pub mod providers;
pub mod role_policies;
pub mod roles;
pub mod setup;
pub mod sign_ins;
pub mod simulate_policy;
pub mod sources;
pub mod trust;
pub mod user_policies;
pub mod users;

use crate::{
    domain::{Error, ErrorKind},
    gateway::{Entry, Fault, Protocol, Service, fault::query_code},
    policy::{DocumentKind, Policy},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Serialize, Serializer};

/// The service.
#[derive(Debug)]
pub struct Iam;

impl Service for Iam {
    const EVENT_SOURCE: &'static str = "iam.amazonaws.com";
    const SIGNING_NAME: &'static str = "iam";
    const PROTOCOL: Protocol = Protocol::Query { version: "2010-05-08" };
    fn fault(error: &Error) -> Fault {
        let (status, code) = match error.kind {
            ErrorKind::PolicyTooLarge => (409, "LimitExceeded"),
            kind => query_code(kind),
        };
        Fault::new(status, code, error)
    }
}

/// What is served; `tests/golden/operations.txt` lists the rest of the model.
pub const TABLE: &[Entry] = &[
    Entry::rpc::<roles::CreateRole>(),
    Entry::rpc::<roles::GetRole>(),
    Entry::rpc::<roles::ListRoles>(),
    Entry::rpc::<roles::UpdateRole>(),
    Entry::rpc::<roles::UpdateAssumeRolePolicy>(),
    Entry::rpc::<roles::DeleteRole>(),
    Entry::rpc::<role_policies::PutRolePolicy>(),
    Entry::rpc::<role_policies::GetRolePolicy>(),
    Entry::rpc::<role_policies::ListRolePolicies>(),
    Entry::rpc::<role_policies::DeleteRolePolicy>(),
    Entry::rpc::<role_policies::AttachRolePolicy>(),
    Entry::rpc::<role_policies::DetachRolePolicy>(),
    Entry::rpc::<role_policies::ListAttachedRolePolicies>(),
    Entry::rpc::<users::CreateUser>(),
    Entry::rpc::<users::GetUser>(),
    Entry::rpc::<users::ListUsers>(),
    Entry::rpc::<users::UpdateUser>(),
    Entry::rpc::<users::DeleteUser>(),
    Entry::rpc::<user_policies::PutUserPolicy>(),
    Entry::rpc::<user_policies::GetUserPolicy>(),
    Entry::rpc::<user_policies::ListUserPolicies>(),
    Entry::rpc::<user_policies::DeleteUserPolicy>(),
    Entry::rpc::<user_policies::AttachUserPolicy>(),
    Entry::rpc::<user_policies::DetachUserPolicy>(),
    Entry::rpc::<user_policies::ListAttachedUserPolicies>(),
    Entry::rpc::<access_keys::CreateAccessKey>(),
    Entry::rpc::<access_keys::ListAccessKeys>(),
    Entry::rpc::<access_keys::UpdateAccessKey>(),
    Entry::rpc::<access_keys::DeleteAccessKey>(),
    Entry::rpc::<access_keys::GetAccessKeyLastUsed>(),
    Entry::rpc::<mfa::CreateVirtualMFADevice>(),
    Entry::rpc::<mfa::EnableMFADevice>(),
    Entry::rpc::<mfa::DeactivateMFADevice>(),
    Entry::rpc::<mfa::DeleteVirtualMFADevice>(),
    Entry::rpc::<mfa::ListMFADevices>(),
    Entry::rpc::<mfa::ListVirtualMFADevices>(),
    Entry::rpc::<instance_profiles::CreateInstanceProfile>(),
    Entry::rpc::<instance_profiles::GetInstanceProfile>(),
    Entry::rpc::<instance_profiles::ListInstanceProfiles>(),
    Entry::rpc::<instance_profiles::ListInstanceProfilesForRole>(),
    Entry::rpc::<instance_profiles::AddRoleToInstanceProfile>(),
    Entry::rpc::<instance_profiles::RemoveRoleFromInstanceProfile>(),
    Entry::rpc::<instance_profiles::DeleteInstanceProfile>(),
    Entry::rpc::<outbound::EnableOutboundWebIdentityFederation>(),
    Entry::rpc::<outbound::DisableOutboundWebIdentityFederation>(),
    Entry::rpc::<outbound::GetOutboundWebIdentityFederationInfo>(),
    Entry::rpc::<policies::CreatePolicy>(),
    Entry::rpc::<policies::GetPolicy>(),
    Entry::rpc::<policies::ListPolicies>(),
    Entry::rpc::<policies::DeletePolicy>(),
    Entry::rpc::<providers::ListSAMLProviders>(),
    Entry::rpc::<providers::ListOpenIDConnectProviders>(),
    Entry::rpc::<simulate_policy::SimulateCustomPolicy>(),
    Entry::rpc::<simulate_policy::SimulatePrincipalPolicy>(),
    Entry::inner::<access_keys::CreateRootAccessKey>(),
    Entry::inner::<trust::simulate::SimulateTrust>(),
    Entry::inner::<trust::simulate::SimulateAccess>(),
    Entry::inner::<trust::mappings::ListRoleMappings>(),
    Entry::inner::<trust::preview::PreviewTrustPolicy>(),
    Entry::inner::<trust::proposals::ProposeTrustPolicy>(),
    Entry::inner::<trust::proposals::ListTrustProposals>(),
    Entry::inner::<trust::proposals::DecideTrustProposal>(),
    Entry::inner::<trust::proposals::WithdrawTrustProposal>(),
    Entry::inner::<sign_ins::GetSignIn>(),
    Entry::inner::<sign_ins::ListSignIns>(),
    Entry::inner::<sources::ListSources>(),
    Entry::inner::<sources::PreviewSource>(),
    Entry::inner::<mapping::PreviewMapping>(),
    Entry::inner::<setup::CreateSource>(),
    Entry::inner::<setup::UpdateSourceMapping>(),
    Entry::inner::<setup::DeleteSource>(),
    Entry::inner::<invitation::InviteSource>(),
    Entry::inner::<invitation::LookUpInvitation>(),
    Entry::inner::<invitation::PreviewInvitedSource>(),
    Entry::inner::<invitation::AcceptInvitation>(),
];

/// Longest trust policy, in characters (IAM quotas: 2048, raised to 4096 on request).
pub const MAX_TRUST_POLICY: usize = 4096;
/// All inline policies of a role together, in characters without white space.
pub const MAX_INLINE_POLICIES: usize = 10_240;
/// All inline policies of a user together, in characters without white space.
pub const MAX_USER_INLINE_POLICIES: usize = 2048;
/// Longest managed policy, in characters without white space.
pub const MAX_MANAGED_POLICY: usize = 6144;
/// Most managed policies on a role.
pub const MAX_ATTACHED_POLICIES: usize = 20;

/// A policy document on the wire: percent-encoded (RFC 3986) inside the XML.
#[derive(Debug)]
pub struct EncodedDocument(pub String);

impl Serialize for EncodedDocument {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
        serializer.serialize_str(&utf8_percent_encode(&self.0, UNRESERVED).to_string())
    }
}

/// Checks a document and its size, not counting white space.
pub(super) fn check_document(text: &str, kind: DocumentKind, limit: usize) -> Result<(), Error> {
    if weight(text) > limit {
        return Err(Error::new(ErrorKind::PolicyTooLarge, format!("Cannot exceed quota for PolicySize: {limit}")));
    }
    Policy::parse(text, kind).map_err(|error| Error::new(ErrorKind::MalformedPolicy, error.to_string()))?;
    Ok(())
}

pub(super) fn weight(text: &str) -> usize {
    text.chars().filter(|c| !c.is_whitespace()).count()
}

pub(super) fn no_such(what: &str, name: &str) -> Error {
    Error::new(ErrorKind::NoSuchEntity, format!("The {what} with name {name} cannot be found."))
}
