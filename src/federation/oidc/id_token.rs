//! ID tokens: verified twice, by our own verifier (algorithm, key, signature, times) and by the library (audience, nonce), and
//! then what neither looks at (OpenID Connect Core 3.1.3.7).

use super::{
    MAX_AGE_SECONDS, SKEW_SECONDS,
    discovery::{Discovery, allowed_algorithms},
};
use crate::{
    crypto::{Refusal, jose::Unverified, refusal},
    domain::{ErrorKind, Timestamp, iam::OidcProvider},
    federation::{Federation, Unidentified, http::unreachable, recorder::Recording},
};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use openidconnect::{
    ClientId, IssuerUrl, Nonce,
    core::{CoreIdToken, CoreIdTokenVerifier, CoreJwsSigningAlgorithm},
};
use serde_json::{Map, Value};

/// What every ID token has.
const REQUIRED: [&str; 4] = ["exp", "iss", "sub", "aud"];

/// The claims of an ID token, verified.
pub(super) async fn verify(
    federation: &Federation,
    recording: &mut Recording,
    oidc: &OidcProvider,
    token: &CoreIdToken,
    nonce: &str,
    now: Timestamp,
) -> Result<Map<String, Value>, Unidentified> {
    let (discovery, verified) = federation.verify_token(oidc, &token.to_string(), &REQUIRED, now).await?;
    let verified = verified.map_err(|unverified| match unverified {
        Unverified::UnknownKey => {
            refusal("signature_key_unknown", "the token is signed with a key the provider does not publish")
        }
        Unverified::Refused(error) if error.kind == ErrorKind::ExpiredIdentityToken => refusal("assertion_expired", error.public),
        Unverified::Refused(error) => refusal("id_token_invalid", error.private.unwrap_or(error.public)),
    });
    recording.note("signature", &verified);
    let claims = verified?.0;
    let library = by_library(oidc, &discovery, token, nonce, now);
    recording.note("audience_and_nonce", &library);
    library?;
    Ok(claims)
}

/// The claims of an ID token that came with a refresh: it has no nonce (OpenID Connect Core 12.2).
pub(super) async fn verify_refreshed(
    federation: &Federation,
    oidc: &OidcProvider,
    token: &str,
    now: Timestamp,
) -> Result<Map<String, Value>, Unidentified> {
    let claims = match federation.verify_token(oidc, token, &REQUIRED, now).await?.1 {
        Ok(verified) => verified.0,
        // The next look at its keys is not due yet: this passes.
        Err(Unverified::UnknownKey) => return Err(unreachable("signature_key_unknown: the refreshed token").into()),
        Err(Unverified::Refused(_)) => return Err(refusal("id_token_invalid", "the refreshed token is not valid").into()),
    };
    let client = oidc.sign_in_client_id.as_deref().unwrap_or_default();
    let ours = match claims.get("aud") {
        Some(Value::Array(list)) => list.iter().all(|one| one.as_str() == Some(client)) && !list.is_empty(),
        other => other.and_then(Value::as_str) == Some(client),
    };
    if ours { Ok(claims) } else { Err(refusal("audience_wrong", "the refreshed token is for another client").into()) }
}

fn by_library(
    oidc: &OidcProvider,
    discovery: &Discovery,
    token: &CoreIdToken,
    nonce: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    let wrong = |why: String| refusal("id_token_invalid", why);
    let client = ClientId::new(oidc.sign_in_client_id.clone().unwrap_or_default());
    let issuer = IssuerUrl::new(oidc.issuer.clone()).map_err(|error| wrong(error.to_string()))?;
    let algorithms = allowed_algorithms(oidc)
        .into_iter()
        .filter_map(|name| serde_json::from_value::<CoreJwsSigningAlgorithm>(Value::String(name.to_owned())).ok());
    // The same leeway that our own verifier gives.
    let at = jiff::Timestamp::from_second(now.seconds() - SKEW_SECONDS).unwrap_or_default().to_string();
    let verifier = CoreIdTokenVerifier::new_public_client(client, issuer, discovery.jwks().clone())
        .set_allowed_algs(algorithms)
        .set_time_fn(move || at.parse().unwrap_or_default());
    token.claims(&verifier, &Nonce::new(nonce.to_owned())).map(drop).map_err(|error| wrong(format!("{error:?}")))
}

/// `azp`, the age of `iat`, `at_hash`, and what was asked of the authentication.
pub(super) fn check(
    recording: &mut Recording,
    oidc: &OidcProvider,
    claims: &Map<String, Value>,
    client: &str,
    access_token: &str,
    now: Timestamp,
) -> Result<(), Refusal> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    recording.require("azp", "azp_wrong", client, text("azp").unwrap_or(client), text("azp").is_none_or(|azp| azp == client))?;
    let seconds = |name: &str| claims.get(name).and_then(Value::as_i64).map(Timestamp::from_seconds);
    let issued = seconds("iat").ok_or_else(|| refusal("id_token_malformed", "iat is missing"))?;
    let age = now.seconds_since(issued);
    recording.require(
        "iat",
        "assertion_too_old",
        format!("within {MAX_AGE_SECONDS} s of {now}"),
        issued,
        (-SKEW_SECONDS..=MAX_AGE_SECONDS).contains(&age),
    )?;
    if claims.contains_key("at_hash") {
        let fits = text("at_hash").is_some_and(|expected| is_hash_of(access_token, expected));
        let whose = if fits { "it" } else { "another" };
        recording.require("at_hash", "at_hash_wrong", "the hash of the access token", whose, fits)?;
    }
    if let Some(limit) = oidc.max_age_seconds {
        let authenticated = seconds("auth_time").unwrap_or_default();
        let fresh = now.seconds_since(authenticated) <= i64::from(limit) + SKEW_SECONDS;
        recording.require("auth_time", "authentication_stale", format!("within {limit} s of {now}"), authenticated, fresh)?;
    }
    if !oidc.acr_values.is_empty() {
        let acr = text("acr").unwrap_or("nothing");
        let wanted = oidc.acr_values.iter().any(|wanted| wanted == acr);
        recording.require("acr", "authn_context_wrong", oidc.acr_values.join(" or "), acr, wanted)?;
    }
    Ok(())
}

/// Half of the hash that belongs to the token's algorithm.
fn is_hash_of(access_token: &str, expected: &str) -> bool {
    [&digest::SHA256, &digest::SHA384, &digest::SHA512].iter().any(|algorithm| {
        let hash = digest::digest(algorithm, access_token.as_bytes());
        let half = hash.as_ref().get(..algorithm.output_len() / 2).unwrap_or_default();
        URL_SAFE_NO_PAD.encode(half) == expected
    })
}
