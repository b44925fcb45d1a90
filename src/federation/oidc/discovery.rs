//! What an OpenID provider publishes about itself (OpenID Connect Discovery 1.0, RFC 8414).

use crate::{
    crypto::jose::{self, Unverified, VerifiedClaims},
    domain::{Error, Timestamp, iam::OidcProvider},
    federation::{Federation, http::unreachable, metadata::is_safe},
};
use jsonwebtoken::jwk::JwkSet;
use openidconnect::{
    AdditionalProviderMetadata, IssuerUrl, ProviderMetadata,
    core::{
        CoreAuthDisplay, CoreClaimName, CoreClaimType, CoreClientAuthMethod, CoreGrantType, CoreJsonWebKey,
        CoreJweContentEncryptionAlgorithm, CoreJweKeyManagementAlgorithm, CoreResponseMode, CoreResponseType,
        CoreSubjectIdentifierType,
    },
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use url::Url;

/// Discovery, with the members of the later specifications that we use.
pub(in crate::federation) type Discovery = ProviderMetadata<
    Later,
    CoreAuthDisplay,
    CoreClientAuthMethod,
    CoreClaimName,
    CoreClaimType,
    CoreGrantType,
    CoreJweContentEncryptionAlgorithm,
    CoreJweKeyManagementAlgorithm,
    CoreJsonWebKey,
    CoreResponseMode,
    CoreResponseType,
    CoreSubjectIdentifierType,
>;

/// Members of later specifications.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::federation) struct Later {
    /// RFC 9207.
    pub(super) authorization_response_iss_parameter_supported: Option<bool>,
    /// RFC 9126.
    pub(super) pushed_authorization_request_endpoint: Option<Url>,
    /// RP-Initiated Logout 1.0.
    pub(super) end_session_endpoint: Option<Url>,
}

impl AdditionalProviderMetadata for Later {}

impl Federation {
    /// The provider's discovery document and keys. `outdated` says that something was missing in the last ones.
    pub(super) async fn discover(&self, oidc: &OidcProvider, outdated: bool) -> Result<Arc<Discovery>, Error> {
        self.discoveries.get(&oidc.issuer, outdated, self.clock.now(), || self.fetch_discovery(&oidc.issuer)).await
    }

    async fn fetch_discovery(&self, issuer: &str) -> Result<Discovery, Error> {
        let named = IssuerUrl::new(issuer.to_owned()).map_err(Error::internal)?;
        // The library demands the very issuer it was asked for.
        let discovery = Discovery::discover_async(named, &self.http).await;
        let discovery = discovery.map_err(|error| unreachable(format!("discovery of {issuer}: {error}")))?;
        let later = discovery.additional_metadata();
        let endpoints = [
            Some(discovery.authorization_endpoint().url()),
            discovery.token_endpoint().map(|endpoint| endpoint.url()),
            discovery.userinfo_endpoint().map(|endpoint| endpoint.url()),
            later.pushed_authorization_request_endpoint.as_ref(),
            later.end_session_endpoint.as_ref(),
        ];
        if let Some(odd) = endpoints.into_iter().flatten().find(|endpoint| !is_safe(endpoint)) {
            return Err(unreachable(format!("discovery of {issuer}: `{odd}` is not an https address")));
        }
        Ok(discovery)
    }

    /// What our own verifier says of a token of the provider. When the token's key is not known, the keys are looked at anew:
    /// they may have been rotated. Returns the document that was used in the end, too.
    pub(super) async fn verify_token(
        &self,
        oidc: &OidcProvider,
        token: &str,
        required: &[&str],
        now: Timestamp,
    ) -> Result<(Arc<Discovery>, Result<VerifiedClaims, Unverified>), Error> {
        let allowed = allowed_algorithms(oidc);
        let by = |found: &Discovery| jose::verify_allowed(token, &keys(found), &oidc.issuer, &allowed, required, now);
        let mut discovery = self.discover(oidc, false).await?;
        let mut verified = by(&discovery);
        if matches!(verified, Err(Unverified::UnknownKey)) {
            discovery = self.discover(oidc, true).await?;
            verified = by(&discovery);
        }
        Ok((discovery, verified))
    }

    /// What an OpenID provider publishes about itself, for an administrator to read: the issuer, and facts by name. Issuers
    /// differ in whether they end in a slash, which the address of their document does not tell.
    ///
    /// # Errors
    /// `IdentityProviderUnreachable`.
    pub async fn preview_discovery(&self, issuer: &str) -> Result<(String, Vec<(String, String)>), Error> {
        let found = match self.fetch_discovery(issuer).await {
            Ok(found) => Ok(found),
            Err(_) => self.fetch_discovery(&format!("{issuer}/")).await,
        };
        let discovery = found.map_err(|error| {
            let public = "The discovery document could not be read, names another issuer, or an address without https.";
            Error { public: public.to_owned(), ..error }
        })?;
        let fact = |name: &str, value: Option<String>| value.map(|value| (name.to_owned(), value));
        let later = discovery.additional_metadata();
        let keys = format!("{} usable", keys(&discovery).keys.len());
        let facts = [
            fact("Issuer", Some(discovery.issuer().to_string())),
            fact("Authorization", Some(discovery.authorization_endpoint().to_string())),
            fact("Tokens", discovery.token_endpoint().map(|endpoint| endpoint.to_string())),
            fact("Pushed requests", later.pushed_authorization_request_endpoint.as_ref().map(Url::to_string)),
            fact("Logout", later.end_session_endpoint.as_ref().map(Url::to_string)),
            fact("Keys", Some(keys)),
        ];
        Ok((discovery.issuer().to_string(), facts.into_iter().flatten().collect()))
    }
}

/// The provider's keys as our own verifier reads them: those of a kind it does not know are left out.
fn keys(discovery: &Discovery) -> JwkSet {
    let keys = discovery.jwks().keys().iter().filter_map(|key| serde_json::from_value(serde_json::to_value(key).ok()?).ok());
    JwkSet { keys: keys.collect() }
}

/// The algorithms accepted in a provider's tokens: an administrator's list, never the provider's own word.
pub(super) fn allowed_algorithms(oidc: &OidcProvider) -> Vec<&str> {
    let listed: Vec<&str> = oidc.algorithms.iter().map(String::as_str).filter(|name| jose::is_known_algorithm(name)).collect();
    if listed.is_empty() { vec!["RS256", "PS256", "ES256", "EdDSA"] } else { listed }
}
