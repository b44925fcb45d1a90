//! Claims that stay fresh: with a refresh token the provider is asked again from time to time, so that somebody who left a
//! group loses its roles, and somebody who was let go loses the session (OpenID Connect Core 12).

use super::{assertion, client, client::Client, discovery::allowed_algorithms, id_token};
use crate::{
    crypto::{refusal, unique_json},
    domain::{
        Error, Secret, Timestamp,
        iam::{IdentityProvider, OidcProvider, ProviderKind},
        session::IdentityAssertion,
    },
    federation::{Federation, Unidentified},
};
use openidconnect::{OAuth2TokenResponse as _, RefreshToken, TokenResponse as _};
use serde::{Deserialize, Serialize};
use serde_json::Value;

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
}

/// What became of asking.
#[derive(Debug)]
pub enum Refreshed {
    /// New claims.
    Fresh(Box<Refreshable>),
    /// The provider can't be reached: what it said last holds on.
    Unchanged,
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
        match self.ask_again(source, oidc, known).await {
            Ok(fresh) => Refreshed::Fresh(Box::new(fresh)),
            Err(Unidentified::Refused(refusal)) => {
                tracing::info!(source = %source.name, %refusal, "a provider does not vouch for somebody any more");
                Refreshed::Over
            }
            Err(Unidentified::Failed(error)) => {
                tracing::warn!(source = %source.name, error = error.private.as_deref(), "claims could not be refreshed");
                Refreshed::Unchanged
            }
        }
    }

    async fn ask_again(
        &self,
        source: &IdentityProvider,
        oidc: &OidcProvider,
        known: &Refreshable,
    ) -> Result<Refreshable, Unidentified> {
        let now = self.clock.now();
        let discovery = self.discover(oidc, false).await?;
        let client = Client::new(self, source, oidc, &discovery).await?;
        let refresh_token = RefreshToken::new(known.refresh_token.expose().clone());
        let mut request = client.core.exchange_refresh_token(&refresh_token).map_err(Error::internal)?;
        for (name, value) in client.assertion().await? {
            request = request.add_extra_param(name, value);
        }
        let tokens = request.request_async(&self.http).await.map_err(|error| client::refresh_failure(&error))?;
        let subject = match &known.identity.claims.get(&format!("{}:sub", oidc.issuer_path())).map(Vec::as_slice) {
            Some([subject]) => subject.clone(),
            _ => known.identity.subject.clone(),
        };
        let same = |claims: &serde_json::Map<String, Value>| {
            let fits = claims.get("sub").and_then(Value::as_str) == Some(subject.as_str());
            fits.then_some(()).ok_or_else(|| refusal("refreshed_other_person", "the provider speaks of somebody else"))
        };
        let mut claims = serde_json::Map::new();
        if let Some(token) = tokens.id_token() {
            claims = id_token::verify_refreshed(self, oidc, &allowed_algorithms(oidc), &token.to_string(), now).await?;
            same(&claims)?;
        }
        if let Some(endpoint) = discovery.userinfo_endpoint() {
            let body = self.http.get(endpoint.as_str(), Some(tokens.access_token().secret())).await?;
            let more = unique_json::object(&body).map_err(|why| refusal("userinfo_malformed", why))?;
            same(&more)?;
            for (name, value) in more {
                claims.entry(name).or_insert(value);
            }
        }
        let identity = if claims.is_empty() {
            known.identity.clone()
        } else {
            let identity = assertion(source, oidc, claims, client.id(), now)?;
            // It is the same authentication, however fresh its claims.
            IdentityAssertion { authenticated: known.identity.authenticated, ..identity }
        };
        let rotated = tokens.refresh_token().map(|token| Secret::new(token.secret().clone()));
        Ok(Refreshable { refresh_token: rotated.unwrap_or_else(|| known.refresh_token.clone()), asked: now, identity })
    }
}
