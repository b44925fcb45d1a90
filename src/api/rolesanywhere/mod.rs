//! AWS IAM Roles Anywhere (API version 2018-05-10): workloads take roles by certificate, without keys kept anywhere.

pub mod anchors;
pub mod profiles;
pub mod revocation_lists;
pub mod session;

use crate::{
    domain::{Arn, Error, ErrorKind, Timestamp, name::AccountId},
    gateway::{Access, Entry, Fault, Protocol, Scope, Service},
    policy::evaluate::Check,
};
use serde::Serializer;

/// The service.
#[derive(Debug)]
pub struct RolesAnywhere;

impl Service for RolesAnywhere {
    const EVENT_SOURCE: &'static str = "rolesanywhere.amazonaws.com";
    const SIGNING_NAME: &'static str = "rolesanywhere";
    const PROTOCOL: Protocol = Protocol::Rest;
    fn fault(error: &Error) -> Fault {
        let (status, code) = match error.kind {
            ErrorKind::NoSuchEntity => (404, "ResourceNotFoundException"),
            ErrorKind::Unavailable | ErrorKind::IdentityProviderUnreachable => (503, "ServiceUnavailableException"),
            ErrorKind::Internal => (500, "InternalFailure"),
            ErrorKind::AccessDenied
            | ErrorKind::StepUpRequired
            | ErrorKind::MissingCredentials
            | ErrorKind::IncompleteSignature
            | ErrorKind::UnknownKey
            | ErrorKind::BadSignature
            | ErrorKind::ExpiredCredentials
            | ErrorKind::InvalidBearer
            | ErrorKind::InvalidIdentityToken
            | ErrorKind::ExpiredIdentityToken
            | ErrorKind::RejectedIdentity
            | ErrorKind::FeatureDisabled
            | ErrorKind::InvalidAuthenticationCode
            | ErrorKind::SessionDurationEscalation
            | ErrorKind::StaleStep => (403, "AccessDeniedException"),
            ErrorKind::InvalidInput
            | ErrorKind::InvalidSyntax
            | ErrorKind::InvalidFilter
            | ErrorKind::InvalidPath
            | ErrorKind::NoTarget
            | ErrorKind::ReadOnlyAttribute
            | ErrorKind::PreconditionFailed
            | ErrorKind::InvalidParameterValue
            | ErrorKind::InvalidAuthorizationMessage
            | ErrorKind::UnknownOperation
            | ErrorKind::MalformedPolicy
            | ErrorKind::PolicyTooLarge
            | ErrorKind::AlreadyExists
            | ErrorKind::DeleteConflict
            | ErrorKind::LimitExceeded
            | ErrorKind::TokenTooLarge
            | ErrorKind::ExpiredTradeInToken
            | ErrorKind::AuthorizationPending
            | ErrorKind::SlowDown
            | ErrorKind::ExpiredCode
            | ErrorKind::InvalidGrant
            | ErrorKind::InvalidClient
            | ErrorKind::UnsupportedGrant
            | ErrorKind::InvalidRedirect => (400, "ValidationException"),
        };
        Fault::new(status, code, error)
    }
}

/// What is served; `tests/golden/operations.txt` lists the rest of the model. `CreateSession` is not in it.
pub const TABLE: &[Entry] = &[
    Entry::created::<session::CreateSession>("POST", "/sessions"),
    Entry::created::<anchors::CreateTrustAnchor>("POST", "/trustanchors"),
    Entry::rest::<anchors::ListTrustAnchors>("GET", "/trustanchors"),
    Entry::rest::<anchors::GetTrustAnchor>("GET", "/trustanchor/{trustAnchorId}"),
    Entry::rest::<anchors::DeleteTrustAnchor>("DELETE", "/trustanchor/{trustAnchorId}"),
    Entry::rest::<anchors::EnableTrustAnchor>("POST", "/trustanchor/{trustAnchorId}/enable"),
    Entry::rest::<anchors::DisableTrustAnchor>("POST", "/trustanchor/{trustAnchorId}/disable"),
    Entry::created::<profiles::CreateProfile>("POST", "/profiles"),
    Entry::rest::<profiles::ListProfiles>("GET", "/profiles"),
    Entry::rest::<profiles::GetProfile>("GET", "/profile/{profileId}"),
    Entry::rest::<profiles::DeleteProfile>("DELETE", "/profile/{profileId}"),
    Entry::rest::<profiles::EnableProfile>("POST", "/profile/{profileId}/enable"),
    Entry::rest::<profiles::DisableProfile>("POST", "/profile/{profileId}/disable"),
    Entry::created::<revocation_lists::ImportCrl>("POST", "/crls"),
    Entry::rest::<revocation_lists::ListCrls>("GET", "/crls"),
    Entry::rest::<revocation_lists::DeleteCrl>("DELETE", "/crl/{crlId}"),
];

/// This service writes times as ISO 8601.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde's signature")]
fn iso8601<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(time)
}

/// A check on a resource of this service in the caller's account.
fn on(action: &str, scope: &Scope, kind: &str, id: &str) -> Result<Access, Error> {
    let arn = Arn::rolesanywhere(scope.account()?, kind, id);
    Ok(Access::Signed(vec![Check::new(&format!("rolesanywhere:{action}"), arn)]))
}

/// A name as the model has it: 1 to 255 of `[ a-zA-Z0-9-_]`.
fn check_name(name: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, ' ' | '-' | '_');
    if (1..=255).contains(&name.len()) && name.chars().all(allowed) {
        return Ok(());
    }
    Err(Error::invalid("a name has 1 to 255 letters, digits, spaces, hyphens and underscores"))
}

/// An ARN of the caller's own account.
fn own(arn: &Arn, account: &AccountId) -> Result<(), Error> {
    if arn.account().as_ref() == Some(account) {
        return Ok(());
    }
    Err(Error::invalid(format!("{arn} is not of account {account}")))
}

fn missing(what: &str, id: &str) -> Error {
    Error::new(ErrorKind::NoSuchEntity, format!("{what} with id {id} not found"))
}
