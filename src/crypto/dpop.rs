//! DPoP proofs: a request shows that its sender holds a key (RFC 9449 section 4). The key is the sender's own; what it may do
//! is for others to know.

use super::{sha256, unique_json};
use crate::domain::{Error, ErrorKind, Timestamp};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Map, Value};

/// How far the sender's clock may be from ours, in seconds.
pub const MAX_SKEW_SECONDS: i64 = 300;
/// Longest proof read, in bytes.
const MAX_PROOF_LENGTH: usize = 4096;

/// A proof whose signature, address, method and time were verified. Whether it was shown before is the caller's to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DpopProof {
    /// Of the key (RFC 7638, SHA-256, base64url).
    pub thumbprint: String,
    /// Names the proof.
    pub id: String,
    /// When it was made.
    pub made: Timestamp,
}

impl DpopProof {
    /// Verifies a proof for a request. Keys are on P-256, signatures ES256.
    ///
    /// # Errors
    /// `InvalidInput`, with the reason in public: the sender alone made the proof.
    pub fn verify(proof: &str, method: &str, address: &str, now: Timestamp) -> Result<Self, Error> {
        let header = part(proof, 0)?;
        if header.get("typ").and_then(Value::as_str) != Some("dpop+jwt") || header.contains_key("crit") {
            return Err(wrong("its type is not `dpop+jwt`"));
        }
        if header.get("alg").and_then(Value::as_str) != Some("ES256") {
            return Err(wrong("its algorithm is not ES256"));
        }
        let jwk = header.get("jwk").and_then(Value::as_object).ok_or_else(|| wrong("it carries no key"))?;
        if jwk.contains_key("d") {
            return Err(wrong("it carries a private key"));
        }
        let member = |name: &str| jwk.get(name).and_then(Value::as_str).unwrap_or_default();
        if member("kty") != "EC" || member("crv") != "P-256" {
            return Err(wrong("its key is not on P-256"));
        }
        let (x, y) = (coordinate(member("x"))?, coordinate(member("y"))?);
        let key = DecodingKey::from_ec_components(&x, &y).map_err(|_| wrong("its key can't be read"))?;
        // What it claims is checked below, against the clock that was passed in.
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        jsonwebtoken::decode::<Map<String, Value>>(proof, &key, &validation).map_err(|_| wrong("its signature is not right"))?;
        let claims = part(proof, 1)?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str).unwrap_or_default();
        if text("htm") != method {
            return Err(wrong("it is for another method"));
        }
        if text("htu").split(['?', '#']).next() != Some(address) {
            return Err(wrong(&format!("it is not for {address}")));
        }
        let made =
            claims.get("iat").and_then(Value::as_i64).map(Timestamp::from_seconds).ok_or_else(|| wrong("it has no `iat`"))?;
        if now.seconds_since(made).abs() > MAX_SKEW_SECONDS {
            return Err(wrong("it was not made now; is the clock right?"));
        }
        let id = text("jti");
        if !(8..=256).contains(&id.len()) {
            return Err(wrong("its `jti` has not 8 to 256 characters"));
        }
        // The members that make the key, in lexical order (RFC 7638 section 3.2).
        let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
        Ok(Self { thumbprint: URL_SAFE_NO_PAD.encode(sha256(canonical)), id: id.to_owned(), made })
    }
}

fn wrong(why: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, format!("The DPoP proof is not valid: {why}"))
}

/// Header or payload: an object in which nothing appears twice.
fn part(proof: &str, number: usize) -> Result<Map<String, Value>, Error> {
    let malformed = || wrong("it is no compact JWT");
    if proof.len() > MAX_PROOF_LENGTH || proof.split('.').count() != 3 {
        return Err(malformed());
    }
    let bytes = URL_SAFE_NO_PAD.decode(proof.split('.').nth(number).unwrap_or_default()).map_err(|_| malformed())?;
    unique_json::object(&bytes).map_err(|_| malformed())
}

/// A coordinate of a point, in its one spelling: 32 bytes, base64url (RFC 7518 section 6.2.1.2). The AWS CLI leaves zeros at
/// the beginning out, so that one key in 128 has a shorter one.
fn coordinate(text: &str) -> Result<String, Error> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).unwrap_or_default();
    let zeros = 32_usize.checked_sub(bytes.len()).filter(|_| !bytes.is_empty()).ok_or_else(|| wrong("its key can't be read"))?;
    Ok(URL_SAFE_NO_PAD.encode([vec![0; zeros], bytes].concat()))
}
