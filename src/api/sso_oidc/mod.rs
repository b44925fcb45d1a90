//! AWS SSO OIDC: how command lines get a person's access token (RFC 8628 device code, RFC 7636 PKCE).

mod iam;
mod token;

pub use iam::{CreateTokenWithIAM, TokenWithIAM};
pub use token::{CreateToken, Token};
pub(super) use token::{DECISION, keep_spent, lent, redeem_code};

use crate::store::EphemeralKind;
use crate::{
    crypto::{same, seal::Purpose, sha256_hex},
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        name::deceives,
        sso::{DeviceAuthorization, OAuthClient},
    },
    gateway::{Access, Broker, Call, Entry, Fault, Operation, Protocol, Read, Scope, Service},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use url::Url;

/// Life of a client registration, in seconds (AWS: 90 days).
pub const REGISTRATION_SECONDS: i64 = 90 * 86_400;
/// Most bytes of all redirect addresses of a client together: the client id carries them.
const MAX_REDIRECT_BYTES: usize = 1024;
/// Most characters of a client's name that are shown.
const MAX_SHOWN_NAME: usize = 64;
/// Life of a device code, in seconds.
pub const DEVICE_CODE_SECONDS: i64 = 600;
/// Least time between polls, in seconds.
pub const POLL_SECONDS: i64 = 1;
/// Life of an authorization code, in seconds.
pub const AUTHORIZATION_CODE_SECONDS: i64 = 60;
/// What a client asks for that wants its tokens renewed (IAM Identity Center user guide, "AWS CLI").
const ACCOUNT_ACCESS: &str = "sso:account:access";

pub(super) const DEVICE: EphemeralKind = EphemeralKind::passing("device-code");
pub(super) const USER_CODE: EphemeralKind = EphemeralKind::passing("user-code");
pub(super) const CODE: EphemeralKind = EphemeralKind::passing("authorization-code");

/// The service.
#[derive(Debug)]
pub struct SsoOidc;

impl Service for SsoOidc {
    const EVENT_SOURCE: &'static str = "sso-oidc.amazonaws.com";
    const SIGNING_NAME: &'static str = "sso-oauth";
    const PROTOCOL: Protocol = Protocol::Rest;
    fn fault(error: &Error) -> Fault {
        let (status, code, oauth) = match error.kind {
            ErrorKind::AuthorizationPending => (400, "AuthorizationPendingException", "authorization_pending"),
            ErrorKind::SlowDown => (400, "SlowDownException", "slow_down"),
            ErrorKind::ExpiredCode => (400, "ExpiredTokenException", "expired_token"),
            ErrorKind::InvalidGrant | ErrorKind::StaleStep => (400, "InvalidGrantException", "invalid_grant"),
            ErrorKind::InvalidClient => (401, "InvalidClientException", "invalid_client"),
            ErrorKind::UnsupportedGrant => (400, "UnsupportedGrantTypeException", "unsupported_grant_type"),
            ErrorKind::InvalidRedirect => (400, "InvalidRedirectUriException", "invalid_redirect_uri"),
            ErrorKind::AccessDenied
            | ErrorKind::StepUpRequired
            | ErrorKind::MissingCredentials
            | ErrorKind::UnknownKey
            | ErrorKind::BadSignature
            | ErrorKind::ExpiredCredentials
            | ErrorKind::InvalidBearer
            | ErrorKind::InvalidIdentityToken
            | ErrorKind::ExpiredIdentityToken
            | ErrorKind::RejectedIdentity => (400, "AccessDeniedException", "access_denied"),
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
            | ErrorKind::NoSuchEntity
            | ErrorKind::AlreadyExists
            | ErrorKind::DeleteConflict
            | ErrorKind::LimitExceeded
            | ErrorKind::IncompleteSignature => (400, "InvalidRequestException", "invalid_request"),
            ErrorKind::IdentityProviderUnreachable | ErrorKind::Unavailable => {
                (503, "InternalServerException", "temporarily_unavailable")
            }
            ErrorKind::Internal => (500, "InternalServerException", "server_error"),
        };
        Fault::new(status, code, error).oauth(oauth)
    }
}

/// What is served.
pub const TABLE: &[Entry] = &[
    Entry::rest::<RegisterClient>("POST", "/client/register"),
    Entry::rest::<StartDeviceAuthorization>("POST", "/device_authorization"),
    Entry::rest::<CreateToken>("POST", "/token"),
    Entry::rest::<CreateTokenWithIAM>("POST", "/token?aws_iam=t"),
];

/// Registers a public client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegisterClient {
    /// Shown on the approval page, up to 255 characters.
    pub client_name: String,
    /// `public`.
    pub client_type: String,
    /// Tokens open the portal API, nothing else, whatever is asked for; `sso:account:access` asks for refresh tokens.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Where codes may go: loopback addresses.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// The grants a client means to use. One that lists some and not `refresh_token` gets none of those.
    #[serde(default)]
    pub grant_types: Vec<String>,
    /// The start URL, an opaque name of this broker to the client.
    pub issuer_url: Option<String>,
    /// For clients that may be managed by an application; not used here.
    pub entitled_application_arn: Option<String>,
}

/// The registration.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RegisteredClient {
    /// The client's name from now on.
    pub client_id: String,
    /// Its secret (public clients can't keep one; it binds later calls to this registration).
    #[serde(serialize_with = "Secret::reveal")]
    pub client_secret: Secret<String>,
    /// Epoch seconds.
    pub client_id_issued_at: i64,
    /// Epoch seconds.
    pub client_secret_expires_at: i64,
    /// Where codes come from.
    pub authorization_endpoint: String,
    /// Where tokens come from.
    pub token_endpoint: String,
}

impl Operation for RegisterClient {
    type Service = SsoOidc;
    type Mode = Read;
    type Output = RegisteredClient;
    const NAME: &'static str = "RegisterClient";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public {
            because: "a public client registers before anybody has signed in; it can do nothing until a person approves",
        })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RegisteredClient, Error> {
        if self.client_type != "public" {
            return Err(Error::invalid("the client type is `public`"));
        }
        if self.client_name.trim().is_empty()
            || self.client_name.chars().count() > 255
            || self.client_name.chars().any(deceives)
            || self.redirect_uris.iter().map(String::len).sum::<usize>() > MAX_REDIRECT_BYTES
        {
            return Err(Error::invalid(
                "a client name has 1 to 255 characters that can be seen, and the redirect addresses together at most 1024",
            ));
        }
        if let Some(bad) = self.redirect_uris.iter().find(|uri| loopback(uri).is_none()) {
            let bad: String = bad.chars().take(128).collect();
            return Err(Error::new(ErrorKind::InvalidRedirect, format!("`{bad}` is not a loopback address")));
        }
        let (broker, now) = (call.broker, call.caller.origin.time);
        let secret = broker.random.token();
        let expires = now.plus_seconds(REGISTRATION_SECONDS);
        let can_refresh = self.grant_types.is_empty() || self.grant_types.iter().any(|grant| grant == "refresh_token");
        let client = OAuthClient {
            name: shortened(&self.client_name),
            secret_hash: sha256_hex(&secret),
            redirect_uris: self.redirect_uris,
            refreshes: can_refresh && self.scopes.iter().any(|scope| scope == ACCOUNT_ACCESS),
            expires,
        };
        // The id is the registration, sealed: strangers may register as often as they like, and nothing is kept.
        let plain = serde_json::to_vec(&client).map_err(Error::internal)?;
        let sealed = broker.store.ring().seal(Purpose::OAuthClient, "", &plain).map_err(Error::internal)?;
        let client_id = URL_SAFE_NO_PAD.encode(sealed);
        Ok(RegisteredClient {
            client_id,
            client_secret: Secret::new(secret),
            client_id_issued_at: now.seconds(),
            client_secret_expires_at: expires.seconds(),
            authorization_endpoint: broker.federation.addresses.at("/authorize"),
            token_endpoint: broker.federation.addresses.at("/token"),
        })
    }
}

/// Begins a device authorization.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StartDeviceAuthorization {
    /// From the registration.
    pub client_id: String,
    /// From the registration.
    pub client_secret: Secret<String>,
    /// An opaque name of this broker to the client.
    pub start_url: String,
}

/// What the client shows.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StartedDeviceAuthorization {
    /// For polling.
    #[serde(serialize_with = "Secret::reveal")]
    pub device_code: Secret<String>,
    /// For the person.
    pub user_code: String,
    /// Where the person goes.
    pub verification_uri: String,
    /// The same with the code.
    pub verification_uri_complete: String,
    /// Seconds.
    pub expires_in: i64,
    /// Seconds between polls.
    pub interval: i64,
}

impl Operation for StartDeviceAuthorization {
    type Service = SsoOidc;
    type Mode = Read;
    type Output = StartedDeviceAuthorization;
    const NAME: &'static str = "StartDeviceAuthorization";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the device has no person yet; a code grants nothing until someone signed in approves it" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<StartedDeviceAuthorization, Error> {
        let (broker, now, source) = (call.broker, call.caller.origin.time, call.caller.origin.source_ip);
        let client = client(broker, &self.client_id, &self.client_secret, now)?;
        if !broker.device_starts.allows(source, now) {
            return Err(Error::new(ErrorKind::SlowDown, "Too many devices ask for a code right now. Try again in a minute."));
        }
        let expires = now.plus_seconds(DEVICE_CODE_SECONDS);
        let device_code = broker.random.token();
        // 20 letters that can't be misread or spell words, eight of them: 34 bits, for ten minutes, approved by hand.
        let letters = broker.random.text(b"BCDFGHJKLMNPQRSTVWXZ", 8);
        let (front, back) = letters.split_at(4);
        let user_code = format!("{front}-{back}");
        let device = DeviceAuthorization {
            client_hash: sha256_hex(&self.client_id),
            client_name: client.name,
            user_code: user_code.clone(),
            source_ip: source.to_string(),
            expires,
            next_poll: now,
        };
        let ephemeral = broker.store.ephemeral();
        ephemeral.put(DEVICE, &device_code, &device, expires).await?;
        ephemeral.put(USER_CODE, &user_code, &device_code, expires).await?;
        Ok(StartedDeviceAuthorization {
            device_code: Secret::new(device_code),
            verification_uri: broker.federation.addresses.at("/device"),
            verification_uri_complete: broker.federation.addresses.at(&format!("/device?user_code={user_code}")),
            user_code,
            expires_in: DEVICE_CODE_SECONDS,
            interval: POLL_SECONDS,
        })
    }
}

/// As it is shown to who approves: a name may not be longer than the sentence around it.
fn shortened(name: &str) -> String {
    match name.char_indices().nth(MAX_SHOWN_NAME) {
        Some((end, _)) => format!("{}…", name.get(..end).unwrap_or_default()),
        None => name.to_owned(),
    }
}

/// The registration that a client id carries; none when it is not ours or has ended.
pub(super) fn registration(broker: &Broker, id: &str, now: Timestamp) -> Option<OAuthClient> {
    let plain = broker.store.ring().open(Purpose::OAuthClient, "", &URL_SAFE_NO_PAD.decode(id).ok()?)?;
    serde_json::from_slice::<OAuthClient>(&plain).ok().filter(|client| client.expires > now)
}

fn client(broker: &Broker, id: &str, secret: &Secret<String>, now: Timestamp) -> Result<OAuthClient, Error> {
    let wrong = || Error::new(ErrorKind::InvalidClient, "The client is not registered, or its registration has expired");
    let client = registration(broker, id, now);
    client.filter(|client| same(&client.secret_hash, &sha256_hex(secret.expose()))).ok_or_else(wrong)
}

/// A loopback redirect address, without its port (RFC 8252 section 7.3).
pub(super) fn loopback(uri: &str) -> Option<Url> {
    let mut url = Url::parse(uri).ok()?;
    let here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    let plain = url.scheme() == "http" && url.username().is_empty() && url.password().is_none() && url.fragment().is_none();
    url.set_port(None).ok()?;
    (here && plain).then_some(url)
}
