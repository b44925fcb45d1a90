//! Tokens presented to `AssumeRoleWithWebIdentity`: verified against the issuer's published keys.

use super::{Failure, Federation, Identified, http::unreachable, oidc, recorder::Recording};
use crate::{
    crypto::{
        Refusal,
        jose::{self, Unverified},
        refusal,
    },
    domain::{
        Error, ErrorKind, Timestamp,
        iam::{IdentityProvider, OidcProvider, ProviderKind, ProviderOwner},
        name::AccountId,
    },
};
use jsonwebtoken::jwk::JwkSet;
use serde_json::Value;
use std::sync::Arc;

impl Federation {
    async fn keys(&self, issuer: &str, outdated: bool) -> Result<Arc<JwkSet>, Error> {
        self.keys.get(issuer, outdated, self.clock.now(), || self.fetch_keys(issuer)).await
    }

    async fn fetch_keys(&self, issuer: &str) -> Result<JwkSet, Error> {
        let malformed = |what: &str| unreachable(format!("{issuer}: {what}"));
        let discovery =
            self.http.get(&format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/')), None).await?;
        let discovery: Value = serde_json::from_slice(&discovery).map_err(|_| malformed("discovery is not JSON"))?;
        if discovery.get("issuer").and_then(Value::as_str) != Some(issuer) {
            return Err(malformed("discovery names another issuer"));
        }
        let jwks_uri = discovery.get("jwks_uri").and_then(Value::as_str).ok_or_else(|| malformed("discovery has no jwks_uri"))?;
        let keys: Value =
            serde_json::from_slice(&self.http.get(jwks_uri, None).await?).map_err(|_| malformed("the keys are not JSON"))?;
        // A key of a type we don't know must not hide the others.
        let list = keys.get("keys").and_then(Value::as_array).ok_or_else(|| malformed("the keys are not a JWK set"))?;
        let keys: Vec<_> = list.iter().filter_map(|key| serde_json::from_value(key.clone()).ok()).collect();
        if keys.is_empty() {
            return Err(malformed("there is no usable key"));
        }
        Ok(JwkSet { keys })
    }
}

pub(super) async fn verify(federation: &Federation, account: &AccountId, token: &str) -> Result<Identified, Failure> {
    let mut recording = Recording::default();
    match identify(federation, &mut recording, account, token).await {
        Ok(identity) => Ok(Identified { assertion: identity, at_provider: None, refresh: None, recording }),
        Err(error) => Err(Failure { error, recording }),
    }
}

async fn identify(
    federation: &Federation,
    recording: &mut Recording,
    account: &AccountId,
    token: &str,
) -> Result<crate::domain::session::IdentityAssertion, Error> {
    let refused = |refusal: &Refusal| {
        Error::new(ErrorKind::InvalidIdentityToken, "The web identity token could not be verified").with_private(refusal)
    };
    let claimed = jose::claimed_issuer(token).unwrap_or_default();
    let snapshot = federation.store.snapshot();
    let standing = snapshot.providers.iter().filter(|provider| provider.is_in(account));
    let own = standing.filter_map(|provider| match &provider.kind {
        ProviderKind::Oidc(oidc) if oidc.issuer == claimed && oidc.oauth2.is_none() => Some((provider.clone(), oidc.clone())),
        _ => None,
    });
    let found: Option<(Arc<IdentityProvider>, Box<OidcProvider>)> =
        own.max_by_key(|(provider, _)| provider.owner != ProviderOwner::Organization);
    let Some((provider, oidc)) = found else {
        return Err(Error::new(
            ErrorKind::InvalidIdentityToken,
            "No OpenIDConnect provider found in your account for the token's issuer",
        )
        .with_private(format!("issuer_unknown: {}", claimed.chars().take(200).collect::<String>())));
    };
    recording.require("issuer", "issuer_wrong", &oidc.issuer, &claimed, true).map_err(|r| refused(&r))?;
    let now = federation.clock.now();
    let allowed: Vec<&str> = oidc.algorithms.iter().map(String::as_str).collect();
    let verify = |keys: &JwkSet| match allowed.as_slice() {
        [] => jose::verify(token, keys, &oidc.issuer, now),
        allowed => jose::verify_allowed(token, keys, &oidc.issuer, allowed, &["exp", "iss", "sub", "aud"], now),
    };
    let mut outcome = verify(&*federation.keys(&oidc.issuer, false).await?);
    if matches!(outcome, Err(Unverified::UnknownKey)) {
        outcome = verify(&*federation.keys(&oidc.issuer, true).await?);
    }
    let verified = outcome.map_err(|unverified| match unverified {
        Unverified::UnknownKey => refusal("signature_key_unknown", "the token is signed with a key the issuer does not publish"),
        Unverified::Refused(error) => refusal(
            if error.kind == ErrorKind::ExpiredIdentityToken { "token_expired" } else { "token_invalid" },
            error.private.unwrap_or(error.public),
        ),
    });
    recording.note("signature", &verified);
    let claims = match verified {
        Ok(verified) => verified.0,
        Err(refusal) if refusal.code == "token_expired" => {
            return Err(Error::new(ErrorKind::ExpiredIdentityToken, "Token expired: the web identity token has expired")
                .with_private(refusal));
        }
        Err(refusal) => return Err(refused(&refusal)),
    };
    let audiences: Vec<String> = match claims.get("aud") {
        Some(Value::String(one)) => vec![one.clone()],
        Some(Value::Array(list)) => list.iter().filter_map(|value| value.as_str().map(str::to_owned)).collect(),
        _ => Vec::new(),
    };
    let matched = audiences.iter().find(|audience| oidc.client_ids.contains(audience)).cloned();
    let azp = claims.get("azp").and_then(Value::as_str);
    let azp_fits = audiences.len() < 2 || azp.is_none_or(|azp| oidc.client_ids.iter().any(|id| id == azp));
    recording
        .require("audience", "audience_wrong", oidc.client_ids.join(" or "), audiences.join(", "), matched.is_some() && azp_fits)
        .map_err(|refusal| Error::new(ErrorKind::InvalidIdentityToken, "Incorrect token audience").with_private(refusal))?;
    // A token of our own carries a session that has an end: what is made from it does not outlive that.
    let ours = oidc.issuer.starts_with(&federation.addresses.at("/issuer/"));
    let session = claims.get("https://sts.amazonaws.com/").and_then(|about| about.get("original_session_exp")?.as_str());
    let end = session.filter(|_| ours).and_then(Timestamp::parse);
    let assertion = oidc::assertion(recording, &provider, &oidc, claims, &matched.unwrap_or_default(), now);
    let assertion = assertion.map_err(|refusal| refused(&refusal))?;
    Ok(crate::domain::session::IdentityAssertion { not_after: end.or(assertion.not_after), ..assertion })
}
