//! Faults: errors in the words of a wire.

use crate::domain::{Error, ErrorKind};

/// What a client is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// HTTP status.
    pub status: u16,
    /// The error's name on this wire, for example `SignatureDoesNotMatch`.
    pub code: &'static str,
    /// The error of an OAuth endpoint, where the service has one (`authorization_pending`).
    pub oauth: Option<&'static str>,
    /// The member of the body that the message stands in; OAuth has its own.
    pub message_member: &'static str,
    /// A sentence; always the public one.
    pub message: String,
}

impl Fault {
    /// A fault with the error's public message.
    #[must_use]
    pub fn new(status: u16, code: &'static str, error: &Error) -> Self {
        Self { status, code, oauth: None, message_member: "message", message: error.public.clone() }
    }
    /// Adds the OAuth error, and puts the message where OAuth has it (RFC 6749 section 5.2).
    #[must_use]
    pub const fn oauth(mut self, error: &'static str) -> Self {
        self.oauth = Some(error);
        self.message_member = "error_description";
        self
    }
    /// Adds the error of AWS Sign-In, which keeps `message`.
    #[must_use]
    pub const fn reason(mut self, error: &'static str) -> Self {
        self.oauth = Some(error);
        self
    }
}

/// Names of the query services (STS and IAM share them: both API references, "Common errors").
#[must_use]
pub fn query_code(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::InvalidInput
        | ErrorKind::InvalidSyntax
        | ErrorKind::InvalidFilter
        | ErrorKind::InvalidPath
        | ErrorKind::NoTarget
        | ErrorKind::ReadOnlyAttribute
        | ErrorKind::PreconditionFailed
        | ErrorKind::InvalidRedirect
        | ErrorKind::UnsupportedGrant => (400, "ValidationError"),
        ErrorKind::InvalidParameterValue => (400, "InvalidParameterValue"),
        ErrorKind::UnknownOperation => (400, "InvalidAction"),
        ErrorKind::MalformedPolicy => (400, "MalformedPolicyDocument"),
        ErrorKind::PolicyTooLarge => (400, "PackedPolicyTooLarge"),
        ErrorKind::NoSuchEntity => (404, "NoSuchEntity"),
        ErrorKind::AlreadyExists => (409, "EntityAlreadyExists"),
        ErrorKind::DeleteConflict => (409, "DeleteConflict"),
        ErrorKind::LimitExceeded => (409, "LimitExceeded"),
        ErrorKind::AccessDenied
        | ErrorKind::StepUpRequired
        | ErrorKind::StaleStep
        | ErrorKind::InvalidGrant
        | ErrorKind::InvalidClient => (403, "AccessDenied"),
        ErrorKind::MissingCredentials => (403, "MissingAuthenticationToken"),
        ErrorKind::IncompleteSignature => (400, "IncompleteSignature"),
        ErrorKind::UnknownKey | ErrorKind::InvalidBearer => (403, "InvalidClientTokenId"),
        ErrorKind::BadSignature => (403, "SignatureDoesNotMatch"),
        ErrorKind::ExpiredCredentials | ErrorKind::ExpiredCode => (403, "ExpiredToken"),
        ErrorKind::InvalidIdentityToken => (400, "InvalidIdentityToken"),
        ErrorKind::ExpiredIdentityToken => (400, "ExpiredTokenException"),
        ErrorKind::RejectedIdentity => (403, "IDPRejectedClaim"),
        ErrorKind::InvalidAuthorizationMessage => (400, "InvalidAuthorizationMessageException"),
        ErrorKind::InvalidAuthenticationCode => (403, "InvalidAuthenticationCode"),
        ErrorKind::FeatureDisabled => (404, "FeatureDisabled"),
        ErrorKind::SessionDurationEscalation => (403, "SessionDurationEscalationException"),
        ErrorKind::TokenTooLarge => (400, "JWTPayloadSizeExceededException"),
        ErrorKind::ExpiredTradeInToken => (400, "ExpiredTradeInTokenException"),
        ErrorKind::IdentityProviderUnreachable => (400, "IDPCommunicationError"),
        ErrorKind::AuthorizationPending | ErrorKind::SlowDown => (400, "Throttling"),
        ErrorKind::Unavailable => (503, "ServiceUnavailable"),
        ErrorKind::Internal => (500, "InternalFailure"),
    }
}

/// Names of the awsJson1.1 services.
#[must_use]
pub fn json_code(kind: ErrorKind) -> (u16, &'static str) {
    match kind {
        ErrorKind::InvalidInput
        | ErrorKind::InvalidSyntax
        | ErrorKind::InvalidFilter
        | ErrorKind::InvalidPath
        | ErrorKind::NoTarget
        | ErrorKind::ReadOnlyAttribute
        | ErrorKind::PreconditionFailed
        | ErrorKind::InvalidParameterValue
        | ErrorKind::InvalidAuthorizationMessage
        | ErrorKind::InvalidAuthenticationCode
        | ErrorKind::FeatureDisabled
        | ErrorKind::SessionDurationEscalation
        | ErrorKind::TokenTooLarge
        | ErrorKind::ExpiredTradeInToken
        | ErrorKind::InvalidRedirect
        | ErrorKind::UnsupportedGrant
        | ErrorKind::MalformedPolicy
        | ErrorKind::PolicyTooLarge => (400, "InvalidInputException"),
        ErrorKind::UnknownOperation => (400, "UnknownOperationException"),
        ErrorKind::NoSuchEntity => (400, "ResourceNotFoundException"),
        ErrorKind::AlreadyExists | ErrorKind::DeleteConflict => (400, "ConflictException"),
        ErrorKind::LimitExceeded => (400, "LimitExceededException"),
        ErrorKind::AccessDenied
        | ErrorKind::StepUpRequired
        | ErrorKind::StaleStep
        | ErrorKind::InvalidGrant
        | ErrorKind::InvalidClient
        | ErrorKind::RejectedIdentity
        | ErrorKind::InvalidIdentityToken
        | ErrorKind::ExpiredIdentityToken => (400, "AccessDeniedException"),
        ErrorKind::MissingCredentials => (403, "MissingAuthenticationTokenException"),
        ErrorKind::IncompleteSignature => (400, "IncompleteSignatureException"),
        ErrorKind::UnknownKey | ErrorKind::InvalidBearer => (400, "UnrecognizedClientException"),
        ErrorKind::BadSignature => (400, "InvalidSignatureException"),
        ErrorKind::ExpiredCredentials | ErrorKind::ExpiredCode => (400, "ExpiredTokenException"),
        ErrorKind::IdentityProviderUnreachable | ErrorKind::Unavailable => (503, "ServiceUnavailableException"),
        ErrorKind::AuthorizationPending | ErrorKind::SlowDown => (400, "ThrottlingException"),
        ErrorKind::Internal => (500, "InternalFailure"),
    }
}
