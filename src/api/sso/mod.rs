//! The AWS access portal's API: which roles a person may take, and their credentials.

pub mod portal;

use super::{signin::own_sessions, sts};
use crate::{
    credentials::SessionRequest,
    domain::{Arn, Error, ErrorKind, Secret, iam::Role, name::AccountId, session::PortalSession},
    federation::mapping::{takeable_roles, takeable_roles_in},
    gateway::{
        Access, Call, Entry, Fault, Issue, Operation, Proof, Protocol, Read, Scope, Service, TrustedAccess, person_context,
    },
    policy::{Context, decision::GrantBasis},
};
use serde::{Deserialize, Serialize};

/// The service.
#[derive(Debug)]
pub struct Sso;

impl Service for Sso {
    const EVENT_SOURCE: &'static str = "sso.amazonaws.com";
    const SIGNING_NAME: &'static str = "awsssoportal";
    const PROTOCOL: Protocol = Protocol::Rest;
    fn fault(error: &Error) -> Fault {
        match error.kind {
            ErrorKind::InvalidBearer
            | ErrorKind::MissingCredentials
            | ErrorKind::IncompleteSignature
            | ErrorKind::UnknownKey
            | ErrorKind::BadSignature
            | ErrorKind::ExpiredCredentials
            | ErrorKind::StaleStep => Fault::new(401, "UnauthorizedException", error),
            // The message says where to give the factor: to somebody whose session it is, and whom the role trusts otherwise.
            ErrorKind::StepUpRequired => Fault::new(403, "ForbiddenException", error),
            // AWS does not say which of account, role or assignment is missing.
            ErrorKind::AccessDenied
            | ErrorKind::RejectedIdentity
            | ErrorKind::InvalidIdentityToken
            | ErrorKind::ExpiredIdentityToken => {
                Fault { message: "No access".to_owned(), ..Fault::new(403, "ForbiddenException", error) }
            }
            ErrorKind::NoSuchEntity => Fault::new(404, "ResourceNotFoundException", error),
            ErrorKind::SlowDown | ErrorKind::AuthorizationPending | ErrorKind::LimitExceeded => {
                Fault::new(429, "TooManyRequestsException", error)
            }
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
            | ErrorKind::UnknownOperation
            | ErrorKind::MalformedPolicy
            | ErrorKind::PolicyTooLarge
            | ErrorKind::AlreadyExists
            | ErrorKind::DeleteConflict
            | ErrorKind::ExpiredCode
            | ErrorKind::InvalidGrant
            | ErrorKind::InvalidClient
            | ErrorKind::UnsupportedGrant
            | ErrorKind::InvalidRedirect => Fault::new(400, "InvalidRequestException", error),
            ErrorKind::IdentityProviderUnreachable | ErrorKind::Unavailable => {
                Fault::new(503, "ServiceUnavailableException", error)
            }
            ErrorKind::Internal => Fault::new(500, "InternalServerException", error),
        }
    }
}

/// What is served.
pub const TABLE: &[Entry] = &[
    Entry::rest::<ListAccounts>("GET", "/assignment/accounts"),
    Entry::rest::<ListAccountRoles>("GET", "/assignment/roles"),
    Entry::rest::<GetRoleCredentials>("GET", "/federation/credentials"),
    Entry::rest::<Logout>("POST", "/logout"),
    Entry::rest::<WhoAmI>("GET", "/token/whoAmI"),
    Entry::inner::<portal::ListRoleOffers>(),
    Entry::inner::<portal::SetFavouriteRole>(),
];

const OWN_SCOPE: &str = "a person sees their own roles: each one is decided by its trust policy";

fn person<'c, O: Operation>(call: &Call<'c, O>) -> Result<&'c PortalSession, Error> {
    call.caller.portal_session()
}

/// Decided with a second factor given now: clients that list are not told what they can't have yet, but
/// [`GetRoleCredentials`] says where to give it.
fn with_factor_now<O: Operation>(call: &Call<'_, O>) -> Result<Context, Error> {
    let origin = &call.caller.origin;
    Ok(person_context(&call.scope.snapshot, &person(call)?.identity, Some(origin.time), origin))
}

/// Accounts in which the person may take a role.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListAccounts {
    /// From the last page.
    pub next_token: Option<String>,
    /// At most so many.
    pub max_result: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountList {
    /// For the next page.
    pub next_token: Option<String>,
    /// A page of accounts.
    pub account_list: Vec<AccountInfo>,
}

/// An account.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AccountInfo {
    /// Twelve digits.
    pub account_id: AccountId,
    /// Its name.
    pub account_name: String,
    /// Contact.
    pub email_address: String,
}

impl Operation for ListAccounts {
    type Service = Sso;
    type Mode = Read;
    type Output = AccountList;
    const NAME: &'static str = "ListAccounts";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: OWN_SCOPE })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<AccountList, Error> {
        let takeable = takeable_roles(&call.tx.snapshot, &person(call)?.identity, &with_factor_now(call)?);
        let mut accounts: Vec<AccountId> = takeable.into_iter().map(|role| role.role.account.clone()).collect();
        accounts.dedup();
        let known = accounts.iter().filter_map(|id| call.tx.snapshot.accounts.get(id));
        let (page, next_token) =
            super::page(known, |account| account.id.to_string(), self.next_token.as_deref(), self.max_result)?;
        let info = |account: &crate::domain::organization::Account| AccountInfo {
            account_id: account.id.clone(),
            account_name: account.name.clone(),
            email_address: account.email.clone(),
        };
        Ok(AccountList { next_token, account_list: page.into_iter().map(info).collect() })
    }
}

/// Roles the person may take in an account.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListAccountRoles {
    /// The account.
    pub account_id: AccountId,
    /// From the last page.
    pub next_token: Option<String>,
    /// At most so many.
    pub max_result: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleList {
    /// For the next page.
    pub next_token: Option<String>,
    /// A page of roles.
    pub role_list: Vec<RoleInfo>,
}

/// A role.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleInfo {
    /// Its name.
    pub role_name: String,
    /// Its account.
    pub account_id: AccountId,
}

impl Operation for ListAccountRoles {
    type Service = Sso;
    type Mode = Read;
    type Output = RoleList;
    const NAME: &'static str = "ListAccountRoles";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: OWN_SCOPE })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RoleList, Error> {
        let context = with_factor_now(call)?;
        let takeable = takeable_roles_in(&call.tx.snapshot, &person(call)?.identity, &self.account_id, &context);
        let own = takeable.iter().map(|role| &role.role);
        let key = |role: &&Role| role.name.as_str().to_lowercase();
        let (page, next_token) = super::page(own, key, self.next_token.as_deref(), self.max_result)?;
        let snapshot = &call.tx.snapshot;
        let info = |role: &Role| RoleInfo { role_name: snapshot.known_name(role).to_owned(), account_id: role.account.clone() };
        Ok(RoleList { next_token, role_list: page.into_iter().map(info).collect() })
    }
}

/// Credentials for one of the person's roles.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetRoleCredentials {
    /// The role's name, without regard to case.
    pub role_name: String,
    /// Its account.
    pub account_id: AccountId,
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleCredentialsAnswer {
    /// The credentials.
    pub role_credentials: RoleCredentials,
}

/// Session credentials, in the portal's spelling.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RoleCredentials {
    /// `ASIA…`.
    pub access_key_id: String,
    /// In the clear: this answer exists to hand it out.
    #[serde(serialize_with = "Secret::reveal")]
    pub secret_access_key: Secret<String>,
    /// Sealed.
    #[serde(serialize_with = "Secret::reveal")]
    pub session_token: Secret<String>,
    /// Epoch **milliseconds**.
    pub expiration: i64,
}

impl GetRoleCredentials {
    /// What a person's wish for a role is decided on; shared with the console button.
    #[must_use]
    pub fn access_to(scope: &Scope, account: &AccountId, role_name: &str) -> Access {
        let unknown = || Arn::iam(account, &format!("role/{}", role_name.chars().take(64).collect::<String>()));
        let role = scope.snapshot.role_known_as(account, role_name).map_or_else(unknown, |role| role.role.arn());
        Access::Trusted(Box::new(TrustedAccess { role, proof: Proof::Person, session_name: None }))
    }

    /// The session request of a person: what the identity provider asked for, bounded by the role.
    pub(super) fn request<O: Operation>(call: &Call<'_, O>) -> Result<SessionRequest, Error> {
        let Some((GrantBasis::Federated(assertion), role)) = call.permit.grant().map(|grant| (&grant.basis, &grant.role.role))
        else {
            return Err(Error::internal("a person's call without an assertion"));
        };
        // A provider that asks for more than the role allows gets what the role allows.
        let asked = assertion.session_seconds.map(|seconds| seconds.clamp(900, role.max_session_seconds));
        // Of a permission set, the length is what every session has.
        let seconds = asked.or_else(|| role.permission_set().map(|_| role.max_session_seconds));
        Ok(SessionRequest { seconds, tags: assertion.tags.clone(), ..SessionRequest::named(assertion.session_name()) })
    }
}

impl Operation for GetRoleCredentials {
    type Service = Sso;
    type Mode = Issue;
    type Output = RoleCredentialsAnswer;
    const NAME: &'static str = "GetRoleCredentials";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        Ok(Self::access_to(scope, &self.account_id, &self.role_name))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RoleCredentialsAnswer, Error> {
        let request = Self::request(call)?;
        let issued = sts::issue(call, request)?;
        portal::remember(call).await?;
        let credentials = issued.credentials;
        Ok(RoleCredentialsAnswer {
            role_credentials: RoleCredentials {
                access_key_id: credentials.access_key_id,
                secret_access_key: credentials.secret_access_key,
                session_token: credentials.session_token,
                expiration: credentials.expiration.0,
            },
        })
    }
}

/// Whose session a token stands for. AWS's own portal asks it, and its model does not publish it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhoAmI {}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PersonInfo {
    /// What pages call the person.
    pub name: String,
    /// As the source gave it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The identity source, by name.
    pub identity_source: String,
    /// What the source knows the person by.
    pub subject: String,
    /// When the session ends, however often its token is renewed: epoch **milliseconds**.
    pub session_expiration: i64,
}

impl Operation for WhoAmI {
    type Service = Sso;
    type Mode = Read;
    type Output = PersonInfo;
    const NAME: &'static str = "WhoAmI";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "a person may know who they are" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<PersonInfo, Error> {
        let session = person(call)?;
        let identity = &session.identity;
        Ok(PersonInfo {
            name: identity.display_name().to_owned(),
            email: identity.email.clone(),
            identity_source: identity.provider.name.clone(),
            subject: identity.subject.clone(),
            session_expiration: session.expires.0,
        })
    }
}

/// Ends the person's session.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logout {}

impl Operation for Logout {
    type Service = Sso;
    type Mode = Issue;
    type Output = ();
    const NAME: &'static str = "Logout";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Person { because: "a person may end their own session" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<(), Error> {
        end_session(call).await.map(drop)
    }
}

/// Ends the person's session, everywhere it is known.
pub(super) async fn end_session<O: Operation<Mode = Issue>>(call: &mut Call<'_, O>) -> Result<PortalSession, Error> {
    let session = person(call)?.clone();
    call.tx.note("session", &session.id);
    let ephemeral = call.broker.store.ephemeral();
    ephemeral.put(crate::gateway::ENDED, &session.id, &(), session.expires).await?;
    ephemeral.delete(crate::gateway::FRESH, &session.id).await?;
    own_sessions::forget(ephemeral, &session.id).await?;
    Ok(session)
}
