//! CreateToken: what a person approved, for an access token; and a refresh token, for the next ones.

use super::{CODE, DEVICE, POLL_SECONDS, SsoOidc, client};
use crate::store::{EphemeralKind, audit::REUSED};
use crate::{
    api::{refresh, signin::own_sessions},
    crypto::{same, sha256_hex},
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        session::PortalSession,
        sso::{AuthorizationCode, DeviceAuthorization, DeviceDecision, RefreshGrant},
    },
    gateway::{Access, Bearer, Broker, Call, ENDED, Issue, Operation, Scope},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

/// Exchanges a device code, an authorization code or a refresh token for an access token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CreateToken {
    /// From the registration.
    pub client_id: String,
    /// From the registration.
    pub client_secret: Secret<String>,
    /// `authorization_code`, `refresh_token` or `urn:ietf:params:oauth:grant-type:device_code`.
    pub grant_type: String,
    /// Of the device grant.
    pub device_code: Option<Secret<String>>,
    /// Of the code grant.
    pub code: Option<Secret<String>>,
    /// Of the code grant.
    pub redirect_uri: Option<String>,
    /// Of the code grant.
    pub code_verifier: Option<Secret<String>>,
    /// Of the refresh grant.
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
    /// For the next token; none for clients that did not ask for one. Good once.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "Secret::reveal_any")]
    pub refresh_token: Option<Secret<String>>,
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
        call.tx.note("grantType", &self.grant_type);
        let mut redeemed = None;
        let approved = match self.grant_type.as_str() {
            "urn:ietf:params:oauth:grant-type:device_code" => {
                let code = self.device_code.as_ref().ok_or_else(|| Error::invalid("deviceCode is missing"))?;
                redeem_device(broker, &self.client_id, code, now).await?
            }
            "authorization_code" => {
                let (Some(code), Some(redirect), Some(verifier)) = (&self.code, &self.redirect_uri, &self.code_verifier) else {
                    return Err(Error::invalid("code, redirectUri and codeVerifier are needed"));
                };
                let code = redeemed.insert(redeem_code(call, &self.client_id, code, redirect, verifier).await?);
                code.grant.session.clone()
            }
            "refresh_token" => {
                let token = self.refresh_token.as_ref().ok_or_else(|| Error::invalid("refreshToken is missing"))?;
                let belongs = |grant: &RefreshGrant| grant.client_id == self.client_id && grant.bound.is_none();
                let found = refresh::find(call, token, belongs).await?;
                let next = found.renew(call).await?;
                return access_token(call, &found.session, Some(next)).await;
            }
            _ => {
                let message =
                    "the grant type is authorization_code, refresh_token or urn:ietf:params:oauth:grant-type:device_code";
                return Err(Error::new(ErrorKind::UnsupportedGrant, message));
            }
        };
        let session = lent(call, approved).await?;
        if let Some(code) = &redeemed {
            keep_spent(broker, code, &session).await?;
        }
        own_sessions::remember(broker.store.ephemeral(), &session, &call.caller.origin, Some(client.name)).await?;
        let refresh_token = match client.refreshes {
            true => Some(
                refresh::give(broker, &RefreshGrant { client_id: self.client_id, session: session.clone(), bound: None }).await?,
            ),
            false => None,
        };
        access_token(call, &session, refresh_token).await
    }
}

/// The command line's own session, lent by the person's who approved it: it ends with that one, and can be ended alone.
pub(in crate::api) async fn lent<O: Operation<Mode = Issue>>(
    call: &Call<'_, O>,
    approved: PortalSession,
) -> Result<PortalSession, Error> {
    let (broker, now) = (call.broker, call.caller.origin.time);
    let over = || Error::new(ErrorKind::InvalidGrant, "The session of the person who approved has ended");
    if approved.expires <= now {
        return Err(over());
    }
    // Meanwhile the person may have signed out, or their provider may have ended it.
    let approved = match broker.person(approved).await {
        Err(error) if error.kind == ErrorKind::InvalidBearer => return Err(over()),
        approved => approved?,
    };
    Ok(PortalSession {
        id: broker.random.uuid(),
        vouched: Some(approved.vouched()),
        factor_given: approved.factor_given,
        expires: approved.expires,
        lent_by: Some(approved.id),
        at_provider: approved.at_provider,
        started: now,
        identity: approved.identity,
    })
}

/// A token for a session. One that can be renewed is short.
pub(super) async fn access_token<O: Operation<Mode = Issue>>(
    call: &mut Call<'_, O>,
    session: &PortalSession,
    refresh_token: Option<Secret<String>>,
) -> Result<Token, Error> {
    let (broker, now) = (call.broker, call.caller.origin.time);
    call.tx.note("session", &session.id);
    call.tx.note("subject", &session.identity.subject);
    let renewed = now.plus_seconds(broker.limits.access_token_seconds);
    let expires = if refresh_token.is_some() { session.expires.min(renewed) } else { session.expires };
    let token = broker.random.token();
    broker.keep_bearer(&token, &Bearer { session: session.clone(), ends: expires }).await?;
    let access_token = Secret::new(token);
    Ok(Token { access_token, token_type: "Bearer", expires_in: expires.seconds_since(now), refresh_token })
}

async fn redeem_device(broker: &Broker, client_id: &str, code: &Secret<String>, now: Timestamp) -> Result<PortalSession, Error> {
    let ephemeral = broker.store.ephemeral();
    let expired = || Error::new(ErrorKind::ExpiredCode, "The device code has expired or was used");
    let mut device: DeviceAuthorization = ephemeral.get(DEVICE, code.expose()).await?.ok_or_else(expired)?;
    if device.client_hash != sha256_hex(client_id) {
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
pub(in crate::api) const DECISION: EphemeralKind = EphemeralKind::passing("device-decision");

/// What an authorization code led to, for when it comes again.
#[derive(Serialize, Deserialize)]
struct Spent {
    session: String,
    expires: Timestamp,
    code_challenge: String,
}

const SPENT: EphemeralKind = EphemeralKind::lasting("spent-code");

/// Remembers which session a code led to.
pub(in crate::api) async fn keep_spent(broker: &Broker, code: &Redeemed, session: &PortalSession) -> Result<(), Error> {
    let spent =
        Spent { session: session.id.clone(), expires: session.expires, code_challenge: code.grant.code_challenge.clone() };
    broker.store.ephemeral().put(SPENT, code.code.expose(), &spent, session.expires).await
}

/// A code that was used up.
pub(in crate::api) struct Redeemed {
    pub(in crate::api) grant: AuthorizationCode,
    code: Secret<String>,
}

/// Uses an authorization code up: for the client and address it was made for, and whoever began it (RFC 7636). One that comes
/// again from whoever began it ends what it led to: one of two is not its owner (RFC 6749 section 4.1.2).
pub(in crate::api) async fn redeem_code<O: Operation<Mode = Issue>>(
    call: &mut Call<'_, O>,
    client_id: &str,
    code: &Secret<String>,
    redirect_uri: &str,
    verifier: &Secret<String>,
) -> Result<Redeemed, Error> {
    let wrong = || Error::new(ErrorKind::InvalidGrant, "The authorization code is not valid");
    let ephemeral = call.broker.store.ephemeral();
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.expose().as_bytes());
    let challenge = URL_SAFE_NO_PAD.encode(digest);
    let began = |expected: &str| (43..=128).contains(&verifier.expose().len()) && same(&challenge, expected);
    let Some(grant) = ephemeral.take::<AuthorizationCode>(CODE, code.expose()).await? else {
        let spent: Option<Spent> = ephemeral.get(SPENT, code.expose()).await?;
        let Some(spent) = spent.filter(|spent| began(&spent.code_challenge)) else { return Err(wrong()) };
        call.tx.note("session", &spent.session);
        if ephemeral.put_new(ENDED, &spent.session, &(), spent.expires).await? {
            // Once: it can be brought again without end.
            call.tx.note(REUSED, "authorization code");
        }
        return Err(wrong().with_private("code_reused: it was used before; what it led to is ended"));
    };
    if grant.client_id != client_id || grant.redirect_uri != redirect_uri || !began(&grant.code_challenge) {
        return Err(wrong());
    }
    Ok(Redeemed { grant, code: code.clone() })
}
