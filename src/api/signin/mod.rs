//! Sign-in, consent and console: what pages do on behalf of a browser. Not on the wire, but through the same door.

mod answer;
mod approval;
mod console;
pub mod enrolment;
pub mod factor;
mod oauth;
pub mod own_sessions;
pub mod password;

pub use answer::{
    Answer, ArriveUnsolicited, ArrivedPerson, CompleteSignIn, CompletedSignIn, LookUpArrival, ParkSamlResponse, SignInOutcome,
};
pub use approval::{
    AskingClient, AuthorizationRequest, Authorize, Authorized, DecideDevice, DeviceRequest, LookUpClient, LookUpDevice,
};
pub use console::{ConsoleLogin, ConsoleSession, GetSigninToken, OpenConsole, SigninTokenAnswer};
pub use oauth::{
    CONFIRMATION, CROSS_DEVICE, CreateOAuth2Token, IssueLoginCredentials, LoginCredentials, OAuth2Token, SAME_DEVICE,
};

use crate::{
    crypto::sha256_hex,
    domain::{Error, ErrorKind, Secret},
    federation::Departure,
    gateway::{Access, Call, Entry, Fault, Operation, Protocol, Read, Scope, Service},
    policy::evaluate::Check,
    signin::{
        passkey::Passkeys,
        step::{self, Continuation, Step},
    },
};
use serde::{Deserialize, Serialize};

/// The service.
#[derive(Debug)]
pub struct Signin;

impl Service for Signin {
    const EVENT_SOURCE: &'static str = "signin.amazonaws.com";
    const SIGNING_NAME: &'static str = "signin";
    const PROTOCOL: Protocol = Protocol::Rest;
    fn fault(error: &Error) -> Fault {
        let (status, code, reason) = match error.kind {
            ErrorKind::ExpiredCode => (401, "AccessDeniedException", "AUTHCODE_EXPIRED"),
            ErrorKind::InvalidGrant
            | ErrorKind::InvalidBearer
            | ErrorKind::ExpiredCredentials
            | ErrorKind::UnknownKey
            | ErrorKind::BadSignature
            | ErrorKind::MissingCredentials
            | ErrorKind::StaleStep
            | ErrorKind::ExpiredIdentityToken => (401, "AccessDeniedException", "TOKEN_EXPIRED"),
            ErrorKind::AccessDenied
            | ErrorKind::StepUpRequired
            | ErrorKind::RejectedIdentity
            | ErrorKind::InvalidIdentityToken => (403, "AccessDeniedException", "INSUFFICIENT_PERMISSIONS"),
            ErrorKind::SlowDown | ErrorKind::AuthorizationPending | ErrorKind::LimitExceeded => {
                (429, "TooManyRequestsError", "INVALID_REQUEST")
            }
            ErrorKind::IdentityProviderUnreachable | ErrorKind::Unavailable => (503, "InternalServerException", "server_error"),
            ErrorKind::Internal => (500, "InternalServerException", "server_error"),
            ErrorKind::InvalidInput
            | ErrorKind::InvalidSyntax
            | ErrorKind::InvalidFilter
            | ErrorKind::InvalidPath
            | ErrorKind::NoTarget
            | ErrorKind::ReadOnlyAttribute
            | ErrorKind::PreconditionFailed
            | ErrorKind::InvalidParameterValue
            | ErrorKind::UnknownOperation
            | ErrorKind::MalformedPolicy
            | ErrorKind::PolicyTooLarge
            | ErrorKind::NoSuchEntity
            | ErrorKind::AlreadyExists
            | ErrorKind::DeleteConflict
            | ErrorKind::IncompleteSignature
            | ErrorKind::InvalidAuthorizationMessage
            | ErrorKind::InvalidAuthenticationCode
            | ErrorKind::FeatureDisabled
            | ErrorKind::SessionDurationEscalation
            | ErrorKind::TokenTooLarge
            | ErrorKind::ExpiredTradeInToken
            | ErrorKind::InvalidClient
            | ErrorKind::UnsupportedGrant
            | ErrorKind::InvalidRedirect => (400, "ValidationException", "INVALID_REQUEST"),
        };
        Fault::new(status, code, error).reason(reason)
    }
}

/// People are the organization's: the management account's policies decide.
pub(super) fn administered(scope: &Scope, actions: &[&'static str]) -> Result<Access, Error> {
    let owner = scope.snapshot.management_account().cloned().unwrap_or(scope.account()?.clone());
    let checks = actions.iter().copied().map(|action| Check::new(action, "*").owned_by(owner.clone()));
    Ok(Access::Signed(checks.collect()))
}

/// What pages call, and what `aws login` does.
pub const TABLE: &[Entry] = &[
    Entry::rest::<CreateOAuth2Token>("POST", "/v1/token"),
    Entry::inner::<IssueLoginCredentials>(),
    Entry::inner::<BeginSignIn>(),
    Entry::inner::<ListIdentitySources>(),
    Entry::inner::<ParkSamlResponse>(),
    Entry::inner::<ArriveUnsolicited>(),
    Entry::inner::<LookUpArrival>(),
    Entry::inner::<CompleteSignIn>(),
    Entry::inner::<LookUpDevice>(),
    Entry::inner::<DecideDevice>(),
    Entry::inner::<LookUpClient>(),
    Entry::inner::<Authorize>(),
    Entry::inner::<GetSigninToken>(),
    Entry::inner::<ConsoleLogin>(),
    Entry::inner::<OpenConsole>(),
    Entry::inner::<factor::LookUpFactors>(),
    Entry::inner::<factor::GiveFactor>(),
    Entry::inner::<factor::BeginPasskeySignIn>(),
    Entry::inner::<factor::SignInWithPasskey>(),
    Entry::inner::<enrolment::BeginEnrolment>(),
    Entry::inner::<enrolment::CompleteEnrolment>(),
    Entry::inner::<enrolment::ListFactors>(),
    Entry::inner::<enrolment::RemoveFactor>(),
    Entry::inner::<enrolment::RenewRecoveryCodes>(),
    Entry::inner::<enrolment::ListFactorsOf>(),
    Entry::inner::<enrolment::ResetFactors>(),
    Entry::inner::<password::MakePasswordLink>(),
    Entry::inner::<password::LookUpPasswordLink>(),
    Entry::inner::<password::BeginSetPassword>(),
    Entry::inner::<password::SetPassword>(),
    Entry::inner::<password::BeginPasswordChange>(),
    Entry::inner::<password::ChangePassword>(),
    Entry::inner::<own_sessions::ListOwnSessions>(),
    Entry::inner::<own_sessions::EndOwnSession>(),
];

/// The ways to sign in, for the sign-in page.
#[derive(Debug, Serialize, Deserialize)]
pub struct ListIdentitySources {}

/// The answer.
#[derive(Debug, Serialize)]
pub struct IdentitySources {
    /// Name of the organization; none before the first `daypass apply`.
    pub organization: Option<String>,
    /// In order of name.
    pub sources: Vec<IdentitySourceInfo>,
    /// Whether people of the directory can sign in with a passkey alone.
    pub passkeys: bool,
}

/// A way to sign in.
#[derive(Clone, Debug, Serialize)]
pub struct IdentitySourceInfo {
    /// In addresses.
    pub name: String,
    /// On the button.
    pub label: String,
    /// E-mail domains of its people.
    pub domains: Vec<String>,
    /// Whether it asks for a password of ours.
    pub directory: bool,
}

impl Operation for ListIdentitySources {
    type Service = Signin;
    type Mode = Read;
    type Output = IdentitySources;
    const NAME: &'static str = "ListIdentitySources";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the sign-in page shows which ways there are" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<IdentitySources, Error> {
        let snapshot = &call.tx.snapshot;
        let info = |source: &std::sync::Arc<crate::domain::iam::IdentityProvider>| IdentitySourceInfo {
            name: source.name.to_string(),
            label: source.label.clone(),
            domains: source.domains.clone(),
            directory: source.kind == crate::domain::iam::ProviderKind::Directory,
        };
        Ok(IdentitySources {
            organization: snapshot.organization.as_ref().map(|organization| organization.name.clone()),
            passkeys: Passkeys::at(&call.broker.federation.addresses.public_url).is_some()
                && snapshot.identity_sources().any(|source| source.kind == crate::domain::iam::ProviderKind::Directory),
            sources: snapshot.identity_sources().map(info).collect(),
        })
    }
}

/// Begins a sign-in at a source.
#[derive(Debug, Serialize, Deserialize)]
pub struct BeginSignIn {
    /// Name of the identity source.
    pub source: String,
    /// What follows.
    pub continuation: Continuation,
    /// The browser's binding.
    pub binding: Secret<String>,
}

/// Where to go.
#[derive(Debug, Serialize)]
pub struct BegunSignIn {
    /// To the provider, or to our own password form.
    #[serde(skip)]
    pub departure: Departure,
    /// Names the step.
    pub handle: String,
}

impl Operation for BeginSignIn {
    type Service = Signin;
    type Mode = Read;
    type Output = BegunSignIn;
    const NAME: &'static str = "BeginSignIn";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "nobody has signed in yet; the step grants nothing" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<BegunSignIn, Error> {
        let broker = call.broker;
        let source = call.tx.snapshot.identity_source(&self.source).cloned();
        let source = source.ok_or_else(|| Error::new(ErrorKind::NoSuchEntity, "There is no such way to sign in."))?;
        let source = self.continuation.demands(source);
        let handle = broker.random.token();
        let (departure, pending) = broker.federation.begin(&source, &handle).await?;
        let step =
            Step { source: self.source, pending, continuation: self.continuation, browser: sha256_hex(self.binding.expose()) };
        step::keep(broker.store.ephemeral(), &handle, &step, call.caller.origin.time).await?;
        Ok(BegunSignIn { departure, handle })
    }
}
