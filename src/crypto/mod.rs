//! Cryptography at the edges: signatures in, sealed bytes out. Pure, like `domain` and `policy`.

pub mod cage;
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

use aws_lc_rs::digest;
pub use refusal::{Refusal, refusal};

/// SHA-256 in lower-case hex: how bearer tokens and client secrets are kept.
#[must_use]
pub fn sha256_hex(data: impl AsRef<[u8]>) -> String {
    lower_hex(digest::digest(&digest::SHA256, data.as_ref()).as_ref())
}

/// Lower-case hexadecimal: 64 digits of a SHA-256 value.
pub(crate) fn lower_hex(value: &[u8]) -> String {
    let mut digits = vec![0; value.len() * 2];
    // It has the length that is asked for, and is ASCII.
    let _ = hex::encode_to_slice(value, &mut digits);
    String::from_utf8(digits).unwrap_or_default()
}

/// Compares without telling, by its time, where two texts differ.
#[must_use]
pub fn same(a: &str, b: &str) -> bool {
    use subtle::ConstantTimeEq as _;
    a.len() == b.len() && bool::from(a.as_bytes().ct_eq(b.as_bytes()))
}
