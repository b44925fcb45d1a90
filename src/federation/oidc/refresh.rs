//! Claims that stay fresh: with a refresh token the provider is asked again from time to time, so that somebody who left a
//! group loses its roles, and somebody who was let go loses the session (OpenID Connect Core 12).

use super::{assertion, client, client::Client, id_token};
use crate::{
    crypto::{refusal, unique_json},
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        iam::{IdentityProvider, OidcProvider, ProviderKind},
        session::IdentityAssertion,
    },
    federation::{Federation, Unidentified, http::unreachable},
};
use openidconnect::{OAuth2TokenResponse as _, RefreshToken, TokenResponse as _};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// How old claims may be before the provider is asked again, in seconds, where the settings don't say.
pub const REFRESH_SECONDS: u32 = 900;
/// Least of it.
pub const MIN_REFRESH_SECONDS: u32 = 60;

/// What is kept beside a session, sealed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Refreshable {
    /// Good for the next claims.
    #[serde(serialize_with = "Secret::reveal")]
    pub refresh_token: Secret<String>,
    /// When the claims were asked for.
    pub asked: Timestamp,
    /// What was said then.
    pub identity: IdentityAssertion,
    /// The claims of the last ID token: a refresh may come without one.
    pub id_claims: Map<String, Value>,
}

/// What a sign-in leaves for later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RefreshGrant {
    /// Good for the next claims.
    #[serde(serialize_with = "Secret::reveal")]
    pub refresh_token: Secret<String>,
    /// The claims of the ID token.
    pub id_claims: Map<String, Value>,
}

/// What became of asking.
#[derive(Debug)]
pub enum Refreshed {
    /// New claims.
    Fresh(Box<Refreshable>),
    /// The provider can't say now: what it said last holds on, perhaps with another refresh token.
    Unchanged(Option<Box<Refreshable>>),
    /// The provider does not vouch for the person any more.
    Over,
}

impl Refreshable {
    /// Whether the provider should be asked again.
    #[must_use]
    pub fn is_due(&self, source: &IdentityProvider, now: Timestamp) -> bool {
        let ProviderKind::Oidc(oidc) = &source.kind else { return false };
        now.seconds_since(self.asked) >= i64::from(oidc.refresh_seconds.unwrap_or(REFRESH_SECONDS).max(MIN_REFRESH_SECONDS))
    }
}

impl Federation {
    /// Asks a provider anew about somebody it vouched for.
    pub async fn refresh(&self, source: &IdentityProvider, known: &Refreshable) -> Refreshed {
        let ProviderKind::Oidc(oidc) = &source.kind else { return Refreshed::Over };
        let mut rotated = None;
        match self.ask_again(source, oidc, known, &mut rotated).await {
            Ok(fresh) => Refreshed::Fresh(Box::new(fresh)),
            Err(Unidentified::Refused(refusal)) => {
                tracing::info!(source = %source.name, %refusal, "a provider does not vouch for somebody any more");
                Refreshed::Over
            }
            Err(Unidentified::Failed(error)) => {
                tracing::warn!(source = %source.name, error = error.private.as_deref(), "claims could not be refreshed");
                // The old token may be used up already: the new one must not be lost.
                let renewed = |refresh_token| Box::new(Refreshable { refresh_token, ..known.clone() });
                Refreshed::Unchanged(rotated.map(renewed))
            }
        }
    }

    /// A refusal ends the session: the provider, or what it says, speaks against it. Everything else is a failure, that passes.
    async fn ask_again(
        &self,
        source: &IdentityProvider,
        oidc: &OidcProvider,
        known: &Refreshable,
        rotated: &mut Option<Secret<String>>,
    ) -> Result<Refreshable, Unidentified> {
        let now = self.clock.now();
        if oidc.sign_in_client_id.as_deref() != Some(known.identity.audience.as_str()) {
            return Err(
                refusal("refreshed_other_client", "the source has another client than the one that was vouched to").into()
            );
        }
        let discovery = self.discover(oidc, false).await?;
        let client = Client::new(self, source, oidc, &discovery).await?;
        let refresh_token = RefreshToken::new(known.refresh_token.expose().clone());
        let mut request = client.core.exchange_refresh_token(&refresh_token).map_err(Error::internal)?;
        for (name, value) in client.assertion().await? {
            request = request.add_extra_param(name, value);
        }
        let tokens = request.request_async(&self.http).await.map_err(|error| client::refresh_failure(&error))?;
        *rotated = tokens.refresh_token().map(|token| Secret::new(token.secret().clone()));
        let subject = known.id_claims.get("sub").and_then(Value::as_str).unwrap_or_default().to_owned();
        let same = |claims: &Map<String, Value>| {
            let fits = claims.get("sub").and_then(Value::as_str) == Some(subject.as_str());
            fits.then_some(()).ok_or_else(|| refusal("refreshed_other_person", "the provider speaks of somebody else"))
        };
        let mut id_claims = known.id_claims.clone();
        if let Some(token) = tokens.id_token() {
            id_claims = id_token::verify_refreshed(self, oidc, &token.to_string(), now).await?;
            same(&id_claims)?;
        }
        let mut claims = id_claims.clone();
        if let Some(endpoint) = discovery.userinfo_endpoint() {
            let body = self.http.get(endpoint.as_str(), Some(tokens.access_token().secret())).await;
            let body = body.map_err(|error| match error.kind {
                ErrorKind::RejectedIdentity => refusal("userinfo_refused", "the provider refuses its own fresh token").into(),
                _ => Unidentified::Failed(error),
            })?;
            let more = unique_json::object(&body).map_err(unreachable)?;
            same(&more)?;
            for (name, value) in more {
                claims.entry(name).or_insert(value);
            }
        }
        let identity = assertion(&mut crate::federation::Recording::default(), source, oidc, claims, client.id(), now)?;
        if identity.subject != known.identity.subject {
            return Err(refusal("refreshed_other_person", "the claim that names the person has another value").into());
        }
        // It is the same authentication, however fresh its claims.
        let identity = IdentityAssertion {
            authenticated: known.identity.authenticated,
            asserted_authentication: known.identity.asserted_authentication,
            methods: known.identity.methods.clone(),
            ..identity
        };
        let refresh_token = rotated.clone().unwrap_or_else(|| known.refresh_token.clone());
        Ok(Refreshable { refresh_token, asked: now, identity, id_claims })
    }
}
