//! Logout with OpenID providers: ours told to them (RP-Initiated Logout 1.0), theirs told to us (Back-Channel Logout 1.0).

use super::SKEW_SECONDS;
use crate::store::EphemeralKind;
use crate::{
    crypto::{jose::Unverified, refusal},
    domain::{
        Error, ErrorKind, Timestamp,
        iam::{IdentityProvider, OidcProvider, ProviderKind},
        session::{PortalSession, ProviderSession},
    },
    federation::{Departure, Federation, Unidentified, recorder::Recording},
};
use serde_json::Value;

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old a logout token may be, in seconds.
const MAX_AGE_SECONDS: i64 = 120;

/// Whose sessions a logout token ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedSessions {
    /// `sub`.
    pub subject: Option<String>,
    /// `sid`: that one session alone.
    pub sid: Option<String>,
}

/// Where the browser ends its session at the provider.
pub(in crate::federation) async fn end_session(
    federation: &Federation,
    oidc: &OidcProvider,
    session: &PortalSession,
) -> Result<Option<Departure>, Error> {
    let Some(ProviderSession::Oidc { id_token, .. }) = &session.at_provider else { return Ok(None) };
    if oidc.oauth2.is_some() {
        return Ok(None);
    }
    let discovery = federation.discover(oidc, false).await?;
    let Some(mut endpoint) = discovery.additional_metadata().end_session_endpoint.clone() else { return Ok(None) };
    // In the address, since few providers take the form that the specification also allows: it is the person's own browser,
    // and the token is good for nothing but this.
    endpoint
        .query_pairs_mut()
        .append_pair("id_token_hint", id_token.expose())
        .append_pair("post_logout_redirect_uri", &federation.addresses.signed_out())
        .append_pair("client_id", oidc.sign_in_client_id.as_deref().unwrap_or_default());
    Ok(Some(Departure::Redirect(endpoint)))
}

impl Federation {
    /// Reads a logout token that came for a source.
    ///
    /// # Errors
    /// `InvalidIdentityToken`, privately with the refusal; `IdentityProviderUnreachable`.
    pub async fn read_logout_token(
        &self,
        source: &IdentityProvider,
        token: &str,
        recording: &mut Recording,
    ) -> Result<EndedSessions, Error> {
        let outcome = match &source.kind {
            ProviderKind::Oidc(oidc) => self.verify_logout_token(oidc, token, recording).await,
            ProviderKind::Saml(_) | ProviderKind::Directory => {
                Err(refusal("logout_token_unexpected", "the source is no OpenID provider").into())
            }
        };
        outcome.map_err(|unidentified| match unidentified {
            Unidentified::Failed(error) => error,
            Unidentified::Refused(refusal) => {
                Error::new(ErrorKind::InvalidIdentityToken, "The logout token could not be accepted.").with_private(refusal)
            }
        })
    }

    async fn verify_logout_token(
        &self,
        oidc: &OidcProvider,
        token: &str,
        recording: &mut Recording,
    ) -> Result<EndedSessions, Unidentified> {
        let now = self.clock.now();
        let (_, verified) = self.verify_token(oidc, token, &["iss", "aud", "exp"], now).await?;
        let verified = verified.map_err(|unverified| match unverified {
            Unverified::UnknownKey => refusal("signature_key_unknown", "signed with a key the provider does not publish"),
            Unverified::Refused(error) => refusal("logout_token_invalid", error.private.unwrap_or(error.public)),
        });
        recording.note("signature", &verified);
        let claims = verified?.0;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        let client = oidc.sign_in_client_id.as_deref().unwrap_or_default();
        let audiences: Vec<&str> = match claims.get("aud") {
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            other => other.and_then(Value::as_str).into_iter().collect(),
        };
        recording.require("audience", "audience_wrong", client, audiences.join(", "), audiences.contains(&client))?;
        let event = claims.get("events").and_then(|events| events.get(EVENT)).is_some_and(Value::is_object);
        recording.require("events", "logout_token_invalid", EVENT, if event { EVENT } else { "another" }, event)?;
        // What has a nonce is an ID token: it must not pass for this.
        let nonce = claims.contains_key("nonce");
        recording.require("nonce", "logout_token_invalid", "nothing", if nonce { "a nonce" } else { "nothing" }, !nonce)?;
        let issued = claims.get("iat").and_then(Value::as_i64).map(Timestamp::from_seconds).unwrap_or_default();
        let fresh = (-SKEW_SECONDS..=MAX_AGE_SECONDS + SKEW_SECONDS).contains(&now.seconds_since(issued));
        recording.require("iat", "message_too_old", format!("about {now}"), issued, fresh)?;
        let id = text("jti").ok_or_else(|| refusal("logout_token_invalid", "jti is missing"))?;
        let (subject, sid) = (text("sub").map(str::to_owned), text("sid").map(str::to_owned));
        let named = subject.is_some() || sid.is_some();
        recording.require("subject", "logout_token_invalid", "sub or sid", if named { "one" } else { "neither" }, named)?;
        let until = now.plus_seconds(MAX_AGE_SECONDS + 2 * SKEW_SECONDS + 1);
        let mark = format!("{} {id}", oidc.issuer);
        let first = self.store.ephemeral().put_new(EphemeralKind::lasting("logout-token"), &mark, &(), until).await?;
        recording.require_first("message_replayed", first)?;
        Ok(EndedSessions { subject, sid })
    }
}
