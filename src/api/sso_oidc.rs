//! AWS SSO OIDC: how command lines get a person's access token (RFC 8628 device code, RFC 7636 PKCE).

use super::signin::own_sessions;
use crate::{
    crypto::{same, seal::Purpose, sha256_hex},
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        session::PortalSession,
        sso::{AuthorizationCode, DeviceAuthorization, DeviceDecision, OAuthClient},
    },
    gateway::{Access, BEARER, Broker, Call, Entry, Fault, Issue, Operation, Protocol, Read, Scope, Service},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use url::Url;

/// Life of a client registration, in seconds (AWS: 90 days).
pub const REGISTRATION_SECONDS: i64 = 90 * 86_400;
/// Most bytes of all redirect addresses of a client together: the client id carries them.
const MAX_REDIRECT_BYTES: usize = 1024;
/// Life of a device code, in seconds.
pub const DEVICE_CODE_SECONDS: i64 = 600;
/// Least time between polls, in seconds.
pub const POLL_SECONDS: i64 = 1;
/// Life of an authorization code, in seconds.
pub const AUTHORIZATION_CODE_SECONDS: i64 = 60;

pub(super) const DEVICE: &str = "device-code";
pub(super) const USER_CODE: &str = "user-code";
pub(super) const CODE: &str = "authorization-code";

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
];

/// Registers a public client.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegisterClient {
    /// Shown on the approval page, up to 255 characters.
    pub client_name: String,
    /// `public`.
    pub client_type: String,
    /// Any; tokens open the portal API, nothing else.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Where codes may go: loopback addresses.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Informative: the grants a client means to use.
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
        if self.client_name.is_empty()
            || self.client_name.chars().count() > 255
            || self.redirect_uris.iter().map(String::len).sum::<usize>() > MAX_REDIRECT_BYTES
        {
            return Err(Error::invalid(
                "a client name has 1 to 255 characters, and the redirect addresses together at most 1024",
            ));
        }
        if let Some(bad) = self.redirect_uris.iter().find(|uri| loopback(uri).is_none()) {
            let bad: String = bad.chars().take(128).collect();
            return Err(Error::new(ErrorKind::InvalidRedirect, format!("`{bad}` is not a loopback address")));
        }
        let (broker, now) = (call.broker, call.caller.origin.time);
        let secret = broker.random.token();
        let expires = now.plus_seconds(REGISTRATION_SECONDS);
        let client =
            OAuthClient { name: self.client_name, secret_hash: sha256_hex(&secret), redirect_uris: self.redirect_uris, expires };
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
#[derive(Debug, Deserialize)]
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
        let (broker, now) = (call.broker, call.caller.origin.time);
        let client = client(broker, &self.client_id, &self.client_secret, now)?;
        let expires = now.plus_seconds(DEVICE_CODE_SECONDS);
        let device_code = broker.random.token();
        // 20 letters that can't be misread or spell words, eight of them: 34 bits, for ten minutes, approved by hand.
        let letters = broker.random.text(b"BCDFGHJKLMNPQRSTVWXZ", 8);
        let (front, back) = letters.split_at(4);
        let user_code = format!("{front}-{back}");
        let device = DeviceAuthorization {
            client_id: self.client_id,
            client_name: client.name,
            user_code: user_code.clone(),
            source_ip: call.caller.origin.source_ip.to_string(),
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

/// Exchanges a device code or an authorization code for an access token.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateToken {
    /// From the registration.
    pub client_id: String,
    /// From the registration.
    pub client_secret: Secret<String>,
    /// `authorization_code` or `urn:ietf:params:oauth:grant-type:device_code`.
    pub grant_type: String,
    /// Of the device grant.
    pub device_code: Option<Secret<String>>,
    /// Of the code grant.
    pub code: Option<Secret<String>>,
    /// Of the code grant.
    pub redirect_uri: Option<String>,
    /// Of the code grant.
    pub code_verifier: Option<Secret<String>>,
    /// Of the refresh grant, which is refused: no refresh tokens are given out.
    pub refresh_token: Option<Secret<String>>,
    /// Not used: tokens open the portal API, nothing else.
    #[serde(default)]
    pub scope: Vec<String>,
}

/// The token.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Token {
    /// Opaque.
    #[serde(serialize_with = "Secret::reveal")]
    pub access_token: Secret<String>,
    /// `Bearer`.
    pub token_type: &'static str,
    /// Seconds.
    pub expires_in: i64,
}

impl Operation for CreateToken {
    type Service = SsoOidc;
    type Mode = Issue;
    type Output = Token;
    const NAME: &'static str = "CreateToken";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Public { because: "the code that a signed-in person approved is the proof" })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Token, Error> {
        let (broker, now) = (call.broker, call.caller.origin.time);
        let client = client(broker, &self.client_id, &self.client_secret, now)?;
        call.tx.note("clientName", &client.name);
        let approved = match self.grant_type.as_str() {
            "urn:ietf:params:oauth:grant-type:device_code" => {
                let code = self.device_code.as_ref().ok_or_else(|| Error::invalid("deviceCode is missing"))?;
                redeem_device(broker, &self.client_id, code, now).await?
            }
            "authorization_code" => self.redeem_code(broker).await?,
            _ => return Err(Error::new(ErrorKind::UnsupportedGrant, "the grant type is authorization_code or device_code")),
        };
        // Meanwhile the person may have signed out, or their provider may have ended it.
        let approved = broker.person(approved).await?;
        if call.tx.snapshot.revocations.end_portal(&approved) {
            return Err(Error::new(ErrorKind::InvalidGrant, "The session of the person who approved has ended"));
        }
        let expires = approved.expires.min(now.plus_seconds(broker.limits.token_seconds));
        let session = PortalSession {
            id: broker.random.uuid(),
            vouched: Some(approved.vouched()),
            factor_given: approved.factor_given,
            lent_by: Some(approved.id),
            at_provider: approved.at_provider,
            started: now,
            expires,
            identity: approved.identity,
        };
        call.tx.note("session", &session.id);
        call.tx.note("subject", &session.identity.subject);
        let token = broker.random.token();
        broker.store.ephemeral().put(BEARER, &token, &session, expires).await?;
        own_sessions::remember(broker.store.ephemeral(), &session, &call.caller.origin, Some(client.name)).await?;
        Ok(Token { access_token: Secret::new(token), token_type: "Bearer", expires_in: expires.seconds_since(now) })
    }
}

async fn redeem_device(broker: &Broker, client_id: &str, code: &Secret<String>, now: Timestamp) -> Result<PortalSession, Error> {
    let ephemeral = broker.store.ephemeral();
    let expired = || Error::new(ErrorKind::ExpiredCode, "The device code has expired or was used");
    let mut device: DeviceAuthorization = ephemeral.get(DEVICE, code.expose()).await?.ok_or_else(expired)?;
    if device.client_id != client_id {
        return Err(Error::new(ErrorKind::InvalidGrant, "The device code belongs to another client"));
    }
    // The person's decision is kept under a key of its own, so that a poll can't undo it.
    if let Some(decision) = ephemeral.take::<DeviceDecision>(DECISION, code.expose()).await? {
        ephemeral.delete(DEVICE, code.expose()).await?;
        return match decision {
            DeviceDecision::Approved(session) => Ok(*session),
            DeviceDecision::Denied => Err(Error::new(ErrorKind::AccessDenied, "The person refused this device")),
        };
    }
    if now < device.next_poll {
        return Err(Error::new(ErrorKind::SlowDown, "Slow down"));
    }
    // Half a second of grace: clients poll on the tick.
    device.next_poll = now.plus_seconds(POLL_SECONDS);
    device.next_poll.0 -= 500;
    ephemeral.replace(DEVICE, code.expose(), &device, device.expires).await?;
    Err(Error::new(ErrorKind::AuthorizationPending, "The person has not decided yet"))
}

/// Where a person's decision waits for the client's next poll.
pub(super) const DECISION: &str = "device-decision";

impl CreateToken {
    async fn redeem_code(&self, broker: &Broker) -> Result<PortalSession, Error> {
        let wrong = || Error::new(ErrorKind::InvalidGrant, "The authorization code is not valid");
        let (Some(code), Some(redirect), Some(verifier)) = (&self.code, &self.redirect_uri, &self.code_verifier) else {
            return Err(Error::invalid("code, redirectUri and codeVerifier are needed"));
        };
        let grant: AuthorizationCode = broker.store.ephemeral().take(CODE, code.expose()).await?.ok_or_else(wrong)?;
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.expose().as_bytes());
        let challenge = URL_SAFE_NO_PAD.encode(digest);
        let length = (43..=128).contains(&verifier.expose().len());
        if grant.client_id != self.client_id
            || grant.redirect_uri != *redirect
            || !length
            || !same(&challenge, &grant.code_challenge)
        {
            return Err(wrong());
        }
        Ok(grant.session)
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
