//! What can go wrong, in words that know no wire.
//!
//! An [`Error`] has two messages: the public one may reach a response, the private one only
//! the log and the audit record. Each service maps the [`ErrorKind`] to its own fault.

use std::fmt;

/// Why an operation did not happen.
#[derive(Clone, Debug)]
pub struct Error {
    /// The class; services map it to their own codes in one exhaustive match.
    pub kind: ErrorKind,
    /// May be shown to anybody who made the request.
    pub public: String,
    /// For operators only: log and audit record.
    pub private: Option<String>,
}

/// The classes of failure. Adding one makes every service's error table stop compiling until it is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ErrorKind {
    /// A value is missing, malformed or out of range.
    InvalidInput,
    /// The request is no document of the kind that is wanted.
    InvalidSyntax,
    /// A filter can't be understood.
    InvalidFilter,
    /// The path of a change leads nowhere.
    InvalidPath,
    /// The path of a change selects nothing.
    NoTarget,
    /// The attribute is not for clients to change.
    ReadOnlyAttribute,
    /// The entity is not in the state that the client thinks.
    PreconditionFailed,
    /// Values that are well formed each by itself do not go together.
    InvalidParameterValue,
    /// The operation name or its version is unknown.
    UnknownOperation,
    /// A policy document does not parse.
    MalformedPolicy,
    /// A policy is longer than allowed.
    PolicyTooLarge,
    /// The named entity does not exist.
    NoSuchEntity,
    /// The named entity exists already.
    AlreadyExists,
    /// The entity still has things attached.
    DeleteConflict,
    /// A quota would be passed.
    LimitExceeded,
    /// The policies do not allow it.
    AccessDenied,
    /// The role wants a second factor, or a fresher one, and would then be given (RFC 9470).
    StepUpRequired,
    /// No credentials in the request.
    MissingCredentials,
    /// The request's signature header cannot be read, or is not for this service.
    IncompleteSignature,
    /// The access key or session token is not ours, or its role is gone.
    UnknownKey,
    /// The signature does not match the request.
    BadSignature,
    /// The credentials have expired.
    ExpiredCredentials,
    /// The bearer token is unknown or expired.
    InvalidBearer,
    /// The identity provider's assertion or token is not valid.
    InvalidIdentityToken,
    /// The assertion or token was valid and is not any more.
    ExpiredIdentityToken,
    /// The assertion or token is genuine, but the person or role in it is refused.
    RejectedIdentity,
    /// The encoded authorization message is not ours, or not for this account.
    InvalidAuthorizationMessage,
    /// The one-time code is wrong.
    InvalidAuthenticationCode,
    /// The account has not allowed it.
    FeatureDisabled,
    /// What is asked for would outlive what asks for it.
    SessionDurationEscalation,
    /// The token would have more than its limit.
    TokenTooLarge,
    /// The trade-in token is unknown or has expired.
    ExpiredTradeInToken,
    /// The identity provider could not be reached.
    IdentityProviderUnreachable,
    /// The person has not decided about the device code yet.
    AuthorizationPending,
    /// The client polls too often.
    SlowDown,
    /// The device code has expired.
    ExpiredCode,
    /// The code or refresh token is wrong, used up or not this client's.
    InvalidGrant,
    /// The client id or secret is wrong.
    InvalidClient,
    /// The grant type is not served.
    UnsupportedGrant,
    /// The redirect address is not one that was registered.
    InvalidRedirect,
    /// The sign-in step is unknown, used up or belongs to another browser.
    StaleStep,
    /// A dependency is not available now.
    Unavailable,
    /// A fault of ours.
    Internal,
}

impl ErrorKind {
    /// Every kind, for the tables in tests.
    pub const ALL: &'static [Self] = &[
        Self::InvalidInput,
        Self::InvalidSyntax,
        Self::InvalidFilter,
        Self::InvalidPath,
        Self::NoTarget,
        Self::ReadOnlyAttribute,
        Self::PreconditionFailed,
        Self::InvalidParameterValue,
        Self::UnknownOperation,
        Self::MalformedPolicy,
        Self::PolicyTooLarge,
        Self::NoSuchEntity,
        Self::AlreadyExists,
        Self::DeleteConflict,
        Self::LimitExceeded,
        Self::AccessDenied,
        Self::StepUpRequired,
        Self::MissingCredentials,
        Self::IncompleteSignature,
        Self::UnknownKey,
        Self::BadSignature,
        Self::ExpiredCredentials,
        Self::InvalidBearer,
        Self::InvalidIdentityToken,
        Self::ExpiredIdentityToken,
        Self::RejectedIdentity,
        Self::InvalidAuthorizationMessage,
        Self::InvalidAuthenticationCode,
        Self::FeatureDisabled,
        Self::SessionDurationEscalation,
        Self::TokenTooLarge,
        Self::ExpiredTradeInToken,
        Self::IdentityProviderUnreachable,
        Self::AuthorizationPending,
        Self::SlowDown,
        Self::ExpiredCode,
        Self::InvalidGrant,
        Self::InvalidClient,
        Self::UnsupportedGrant,
        Self::InvalidRedirect,
        Self::StaleStep,
        Self::Unavailable,
        Self::Internal,
    ];
}

impl Error {
    /// An error with a public message.
    pub fn new(kind: ErrorKind, public: impl Into<String>) -> Self {
        Self { kind, public: public.into(), private: None }
    }

    /// A bad value in a request.
    pub fn invalid(public: impl Into<String>) -> Self {
        Self::new(ErrorKind::InvalidInput, public)
    }

    /// Something of ours failed: the caller learns nothing, the log everything.
    pub fn internal(private: impl fmt::Display) -> Self {
        Self::new(ErrorKind::Internal, "the service could not complete the request").with_private(private)
    }

    /// Adds what only operators may read.
    #[must_use]
    pub fn with_private(mut self, private: impl fmt::Display) -> Self {
        self.private = Some(private.to_string());
        self
    }
}

impl fmt::Display for Error {
    /// The public message alone: what a person may see is what is printed by default.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.public)
    }
}

impl std::error::Error for Error {}
