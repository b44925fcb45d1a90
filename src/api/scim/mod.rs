//! SCIM 2.0 (RFC 7643, RFC 7644): a company's identity provider keeps the people and groups of the directory. Events are
//! named as AWS IAM Identity Center names its own.
//!
//! A token may change only what a SCIM client made, unless an administrator let it take over the rest: people and groups
//! that were made here, for the day the provider fails, stay out of its reach.

mod discovery;
mod document;
mod filter;
mod groups;
mod list;
mod patch;
mod schema;
mod users;

pub use discovery::{GetResourceType, GetSchema, GetServiceProviderConfig, ListResourceTypes, ListSchemas};
pub use groups::{CreateGroup, DeleteGroup, GetGroup, ListGroups, PatchGroup, PutGroup, SearchGroups};
pub use users::{CreateUser, DeleteUser, GetUser, ListUsers, PatchUser, PutUser, SearchUsers};

use crate::{
    domain::{
        Error, ErrorKind,
        directory::{Stamp, TokenScope},
        session::{Caller, Principal},
    },
    gateway::{
        Access, Call, Entry, Fault, Operation, Protocol, Service, Write,
        scim::{Outcome, ScimAnswer},
    },
};
use document::Document;
use serde_json::{Value, json};

/// The service.
#[derive(Debug)]
pub struct Scim;

impl Service for Scim {
    const EVENT_SOURCE: &'static str = "identitystore-scim.amazonaws.com";
    const SIGNING_NAME: &'static str = "identitystore-scim";
    const PROTOCOL: Protocol = Protocol::Scim;
    /// The code is the `scimType` (RFC 7644, section 3.12).
    fn fault(error: &Error) -> Fault {
        let (status, code) = match error.kind {
            ErrorKind::InvalidSyntax | ErrorKind::UnknownOperation => (400, "invalidSyntax"),
            ErrorKind::InvalidFilter => (400, "invalidFilter"),
            ErrorKind::InvalidPath => (400, "invalidPath"),
            ErrorKind::NoTarget => (400, "noTarget"),
            ErrorKind::ReadOnlyAttribute => (400, "mutability"),
            ErrorKind::LimitExceeded => (400, "tooMany"),
            ErrorKind::AlreadyExists | ErrorKind::DeleteConflict => (409, "uniqueness"),
            ErrorKind::PreconditionFailed => (412, ""),
            ErrorKind::NoSuchEntity => (404, ""),
            ErrorKind::MissingCredentials
            | ErrorKind::InvalidBearer
            | ErrorKind::ExpiredCredentials
            | ErrorKind::ExpiredCode
            | ErrorKind::UnknownKey => (401, ""),
            ErrorKind::AccessDenied
            | ErrorKind::StepUpRequired
            | ErrorKind::StaleStep
            | ErrorKind::InvalidGrant
            | ErrorKind::InvalidClient
            | ErrorKind::RejectedIdentity
            | ErrorKind::InvalidAuthenticationCode
            | ErrorKind::BadSignature
            | ErrorKind::IncompleteSignature => (403, ""),
            ErrorKind::InvalidInput
            | ErrorKind::InvalidParameterValue
            | ErrorKind::MalformedPolicy
            | ErrorKind::PolicyTooLarge
            | ErrorKind::InvalidIdentityToken
            | ErrorKind::ExpiredIdentityToken
            | ErrorKind::InvalidAuthorizationMessage
            | ErrorKind::FeatureDisabled
            | ErrorKind::SessionDurationEscalation
            | ErrorKind::TokenTooLarge
            | ErrorKind::ExpiredTradeInToken
            | ErrorKind::UnsupportedGrant
            | ErrorKind::InvalidRedirect => (400, "invalidValue"),
            ErrorKind::AuthorizationPending | ErrorKind::SlowDown => (429, ""),
            ErrorKind::IdentityProviderUnreachable | ErrorKind::Unavailable => (503, ""),
            ErrorKind::Internal => (500, ""),
        };
        Fault::new(status, code, error)
    }
}

/// What SCIM clients call.
pub const TABLE: &[Entry] = &[
    Entry::scim::<ListUsers>("GET", "/scim/v2/Users"),
    Entry::scim::<CreateUser>("POST", "/scim/v2/Users"),
    Entry::scim::<SearchUsers>("POST", "/scim/v2/Users/.search"),
    Entry::scim::<GetUser>("GET", "/scim/v2/Users/{id}"),
    Entry::scim::<PutUser>("PUT", "/scim/v2/Users/{id}"),
    Entry::scim::<PatchUser>("PATCH", "/scim/v2/Users/{id}"),
    Entry::scim::<DeleteUser>("DELETE", "/scim/v2/Users/{id}"),
    Entry::scim::<ListGroups>("GET", "/scim/v2/Groups"),
    Entry::scim::<CreateGroup>("POST", "/scim/v2/Groups"),
    Entry::scim::<SearchGroups>("POST", "/scim/v2/Groups/.search"),
    Entry::scim::<GetGroup>("GET", "/scim/v2/Groups/{id}"),
    Entry::scim::<PutGroup>("PUT", "/scim/v2/Groups/{id}"),
    Entry::scim::<PatchGroup>("PATCH", "/scim/v2/Groups/{id}"),
    Entry::scim::<DeleteGroup>("DELETE", "/scim/v2/Groups/{id}"),
    Entry::scim::<GetServiceProviderConfig>("GET", "/scim/v2/ServiceProviderConfig"),
    Entry::scim::<ListResourceTypes>("GET", "/scim/v2/ResourceTypes"),
    Entry::scim::<GetResourceType>("GET", "/scim/v2/ResourceTypes/{id}"),
    Entry::scim::<ListSchemas>("GET", "/scim/v2/Schemas"),
    Entry::scim::<GetSchema>("GET", "/scim/v2/Schemas/{id}"),
];

/// The kind of resource with this name.
fn kind_of(resource_type: &str) -> Result<&'static schema::ResourceType, Error> {
    schema::RESOURCE_TYPES.iter().copied().find(|kind| kind.name == resource_type).ok_or_else(not_found)
}

/// Whether a document of a kind of resource fits a filter: what lists do with each.
///
/// # Errors
/// `InvalidFilter`.
pub fn fits(resource_type: &str, filter: &str, document: &Document) -> Result<bool, Error> {
    let kind = kind_of(resource_type)?;
    Ok(filter::fits(kind, &filter::parse(kind, filter)?, document))
}

/// A document of a kind of resource after the operations of a request. Members of a group are not among what it changes.
///
/// # Errors
/// `InvalidSyntax`, `InvalidPath`, `NoTarget`, `ReadOnlyAttribute`, `InvalidInput`.
pub fn patched(resource_type: &str, mut document: Document, request: &Document) -> Result<Document, Error> {
    let kind = kind_of(resource_type)?;
    for operation in patch::operations(request)? {
        for part in patch::with_paths(kind, operation)? {
            patch::apply(kind, &mut document, &part)?;
        }
    }
    document::read(kind, &document)
}

fn provisioner(needs: TokenScope) -> Result<Access, Error> {
    Ok(Access::Provisioner { needs, because: "the token of the company's SCIM client, within its scope" })
}

fn not_found() -> Error {
    Error::new(ErrorKind::NoSuchEntity, "There is no such resource.")
}

/// Our own base address.
fn base<O: Operation>(call: &Call<'_, O>) -> String {
    call.broker.federation.addresses.at("/scim/v2")
}

/// Refuses a change to what was made here, where the token may not take it over.
fn within_reach(caller: &Caller, provisioned: bool) -> Result<(), Error> {
    match &caller.principal {
        Principal::Provisioner(token) if provisioned || token.takeover => Ok(()),
        _ => Err(Error::new(ErrorKind::AccessDenied, "This was not made by a SCIM client, and this token may not take it over.")),
    }
}

/// What every change has on record: which token, and whether it took something over that was made here.
fn note_client<O: Operation<Mode = Write>>(call: &mut Call<'_, O>, taken_over: bool) {
    if let Principal::Provisioner(token) = &call.caller.principal {
        call.tx.note("token", &token.id);
    }
    if taken_over {
        call.tx.note("takenOver", true);
    }
}

/// Weak, as what is answered depends on what is asked for (RFC 7644, section 3.14).
fn tag(stamp: &Stamp) -> String {
    format!("W/\"{}\"", stamp.version)
}

fn names(tags: &str, own: &str) -> bool {
    let strong = own.trim_start_matches("W/");
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.trim_start_matches("W/") == strong)
}

/// Refuses a change of something that is not what the client thinks.
fn check_match(if_match: Option<&str>, stamp: &Stamp) -> Result<(), Error> {
    match if_match {
        Some(tags) if !names(tags, &tag(stamp)) => {
            Err(Error::new(ErrorKind::PreconditionFailed, "It has been changed meanwhile: the version is another one."))
        }
        _ => Ok(()),
    }
}

fn meta(kind: &schema::ResourceType, stamp: &Stamp, location: &str) -> Value {
    json!({
        "resourceType": kind.name,
        "created": stamp.created.to_string(),
        "lastModified": stamp.modified.to_string(),
        "location": location,
        "version": tag(stamp),
    })
}

/// A resource as an answer.
fn answer(outcome: Outcome, document: Document, stamp: &Stamp, location: String) -> ScimAnswer {
    ScimAnswer { outcome, location: Some(location), tag: Some(tag(stamp)), document: Some(document) }
}
