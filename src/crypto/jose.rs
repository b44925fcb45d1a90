//! JSON Web Tokens of other issuers: verified against their published keys, or refused (RFC 7515, 7519, 8725).

use crate::domain::{Error, ErrorKind, Timestamp};
use base64::Engine as _;
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation,
    jwk::{AlgorithmParameters, Jwk, JwkSet, PublicKeyUse},
};
use serde_json::{Map, Value};

/// Longest token read, in bytes (STS API reference, `WebIdentityToken`).
pub const MAX_TOKEN_LENGTH: usize = 20_000;
/// How far the issuer's clock may be from ours, in seconds.
pub const LEEWAY_SECONDS: i64 = 60;

/// Only asymmetric signatures; never `none`, never a shared secret.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// The claims of a token whose signature, issuer and times were verified. The audience is the caller's to judge.
#[derive(Clone, Debug)]
pub struct VerifiedClaims(pub Map<String, Value>);

/// Why a token can't be verified now.
#[derive(Debug)]
pub enum Unverified {
    /// Its key is not in the set: the set may be old.
    UnknownKey,
    /// It is not valid.
    Refused(Error),
}

/// The issuer a token claims, unverified: good for choosing the provider, for nothing else.
#[must_use]
pub fn claimed_issuer(token: &str) -> Option<String> {
    if token.len() > MAX_TOKEN_LENGTH {
        return None;
    }
    let payload = token.split('.').nth(1)?;
    let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    let claims: Value = serde_json::from_slice(&bytes).ok()?;
    claims.get("iss")?.as_str().map(str::to_owned)
}

/// Verifies a compact JWS: algorithm, key, signature, `iss`, `exp`, `nbf`, `iat`, and that `sub` and `aud` are there.
///
/// # Errors
/// [`Unverified::UnknownKey`] when the key set may be out of date, else [`Unverified::Refused`].
pub fn verify(token: &str, keys: &JwkSet, issuer: &str, now: Timestamp) -> Result<VerifiedClaims, Unverified> {
    verify_with(token, keys, issuer, &ALGORITHMS, &["exp", "iss", "sub", "aud"], now)
}

/// The same with an allow-list of algorithms by name, and other claims that must be there.
///
/// # Errors
/// See [`verify`].
pub fn verify_allowed(
    token: &str,
    keys: &JwkSet,
    issuer: &str,
    allowed: &[&str],
    required: &[&str],
    now: Timestamp,
) -> Result<VerifiedClaims, Unverified> {
    let allowed: Vec<Algorithm> =
        ALGORITHMS.into_iter().filter(|algorithm| allowed.contains(&format!("{algorithm:?}").as_str())).collect();
    verify_with(token, keys, issuer, &allowed, required, now)
}

/// Whether a signature algorithm can be allowed at all.
#[must_use]
pub fn is_known_algorithm(name: &str) -> bool {
    ALGORITHMS.iter().any(|algorithm| format!("{algorithm:?}") == name)
}

/// Header and payload must be objects in which nothing appears twice.
fn check_members(token: &str) -> Result<(), String> {
    let mut parts = token.split('.');
    for what in ["header", "payload"] {
        let part = parts.next().unwrap_or_default();
        let bytes = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part);
        super::unique_json::object(&bytes.map_err(|_| format!("the {what} is not base64url"))?)
            .map_err(|why| format!("the {what}: {why}"))?;
    }
    Ok(())
}

fn verify_with(
    token: &str,
    keys: &JwkSet,
    issuer: &str,
    allowed: &[Algorithm],
    required: &[&str],
    now: Timestamp,
) -> Result<VerifiedClaims, Unverified> {
    if token.len() > MAX_TOKEN_LENGTH {
        return refuse("the token is too long");
    }
    if let Err(why) = check_members(token) {
        return refuse(&format!("the token is malformed: {why}"));
    }
    let Ok(header) = jsonwebtoken::decode_header(token) else {
        return refuse("the token is not a signed JWT with a supported algorithm");
    };
    if !allowed.contains(&header.alg) {
        return refuse("the token's algorithm is not allowed");
    }
    if header.crit.is_some() {
        return refuse("the token has critical extensions");
    }
    let jwk = match &header.kid {
        Some(kid) => keys.find(kid),
        None if keys.keys.len() == 1 => keys.keys.first(),
        None => return refuse("the token names no key, and the issuer has several"),
    };
    let Some(jwk) = jwk else { return Err(Unverified::UnknownKey) };
    if !fit(jwk, header.alg) {
        return refuse("the issuer's key does not fit the token's algorithm");
    }
    let Ok(key) = DecodingKey::from_jwk(jwk) else { return refuse("the issuer's key can't be read") };
    // Times are checked below against the clock that was passed in; the library would ask the system's.
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = false;
    validation.set_issuer(&[issuer]);
    validation.set_required_spec_claims(required);
    match jsonwebtoken::decode::<Map<String, Value>>(token, &key, &validation) {
        Ok(data) => check_times(data.claims, now),
        Err(error) => refuse(&format!("the token is not valid: {error}")),
    }
}

fn check_times(claims: Map<String, Value>, now: Timestamp) -> Result<VerifiedClaims, Unverified> {
    let time = |name: &str| claims.get(name).map(|value| value.as_f64().filter(|seconds| seconds.is_finite()));
    #[allow(clippy::cast_precision_loss, reason = "seconds of this era fit a double exactly")]
    let (now, leeway) = (now.seconds() as f64, LEEWAY_SECONDS as f64);
    match time("exp") {
        Some(Some(exp)) if exp + leeway > now => {}
        Some(Some(_)) => {
            return Err(Unverified::Refused(Error::new(
                ErrorKind::ExpiredIdentityToken,
                "Token expired: the web identity token has expired",
            )));
        }
        _ => return refuse("`exp` is missing or not a number"),
    }
    for name in ["nbf", "iat"] {
        match time(name) {
            Some(Some(at)) if at - leeway <= now => {}
            None => {}
            Some(Some(_)) => return refuse(&format!("`{name}` lies in the future")),
            Some(None) => return refuse(&format!("`{name}` is not a number")),
        }
    }
    Ok(VerifiedClaims(claims))
}

/// The key's own parameters decide, not the token's header: type, curve, size and declared use must all fit.
fn fit(jwk: &Jwk, algorithm: Algorithm) -> bool {
    use jsonwebtoken::jwk::EllipticCurve::{Ed25519, P256, P384};
    if jwk.common.public_key_use.as_ref().is_some_and(|usage| *usage != PublicKeyUse::Signature) {
        return false;
    }
    if jwk.common.key_algorithm.is_some_and(|declared| declared.to_string() != format!("{algorithm:?}")) {
        return false;
    }
    match (&jwk.algorithm, algorithm) {
        (
            AlgorithmParameters::RSA(rsa),
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 | Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512,
        ) => {
            let modulus =
                base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(rsa.n.trim_end_matches('=')).unwrap_or_default();
            modulus.iter().skip_while(|byte| **byte == 0).count() >= 256
        }
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES256) => ec.curve == P256,
        (AlgorithmParameters::EllipticCurve(ec), Algorithm::ES384) => ec.curve == P384,
        (AlgorithmParameters::OctetKeyPair(okp), Algorithm::EdDSA) => okp.curve == Ed25519,
        _ => false,
    }
}

fn refuse<T>(why: &str) -> Result<T, Unverified> {
    Err(Unverified::Refused(
        Error::new(ErrorKind::InvalidIdentityToken, "The web identity token could not be verified").with_private(why),
    ))
}
