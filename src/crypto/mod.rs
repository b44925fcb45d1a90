//! Cryptography at the edges: signatures in, sealed bytes out. Pure, like `domain` and `policy`.

pub mod cage;
pub mod dpop;
pub mod jose;
mod refusal;
pub mod seal;
pub mod sigv4;
pub mod totp;
pub mod unique_json;
pub mod x509;
pub mod xml;
pub mod xmldsig;
pub mod xmlenc;

use crate::domain::Secret;
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
pub use refusal::{Refusal, refusal};

/// SHA-256 in lower-case hex: how bearer tokens and client secrets are kept.
#[must_use]
pub fn sha256_hex(data: impl AsRef<[u8]>) -> String {
    lower_hex(&sha256(data))
}

/// SHA-256: 32 bytes.
#[must_use]
pub fn sha256(data: impl AsRef<[u8]>) -> Vec<u8> {
    digest::digest(&digest::SHA256, data.as_ref()).as_ref().to_vec()
}

/// Lower-case hexadecimal: 64 digits of a SHA-256 value.
pub(crate) fn lower_hex(value: &[u8]) -> String {
    let mut digits = vec![0; value.len() * 2];
    // It has the length that is asked for, and is ASCII.
    let _ = hex::encode_to_slice(value, &mut digits);
    String::from_utf8(digits).unwrap_or_default()
}

/// A private key (PKCS #8, DER) as PEM, for libraries that read no other form (RFC 7468, lines of 64 letters).
pub(crate) fn private_key_pem(der: &[u8]) -> Secret<String> {
    let body = Secret::new(STANDARD.encode(der));
    // As long as it becomes: a string that grows would leave copies behind.
    let mut pem = String::with_capacity(body.expose().len() + body.expose().len() / 64 + 64);
    pem.push_str("-----BEGIN PRIVATE KEY-----\n");
    for line in body.expose().as_bytes().chunks(64) {
        pem.push_str(std::str::from_utf8(line).unwrap_or_default());
        pem.push('\n');
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    Secret::new(pem)
}

/// Compares without telling, by its time, where two texts differ.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    a.len() == b.len() && bool::from(a.as_bytes().ct_eq(b.as_bytes()))
}
