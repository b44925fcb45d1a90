//! One-time codes of virtual MFA devices (RFC 6238: SHA-1, six digits, 30 seconds), as authenticator apps make them.

use crate::domain::{Error, Secret, Timestamp};
use totp_rs::{Builder, Totp};

/// Length of a device's secret, in bytes.
pub const SEED_BYTES: usize = 32;
/// Steps before and after the present one that are accepted: clocks and fingers take their time.
const DRIFT: u16 = 1;
const STEP_SECONDS: u64 = 30;

fn device(seed: &Secret<Vec<u8>>) -> Totp {
    let secret = totp_rs::Secret::new(seed.expose().clone().into_boxed_slice());
    Builder::new().with_secret(secret).with_skew(DRIFT).with_step_duration(STEP_SECONDS).build_noncompliant()
}

fn seconds(now: Timestamp) -> u64 {
    u64::try_from(now.seconds()).unwrap_or_default()
}

/// The step a code is of, when it is one of those around now. Each step is to be accepted once.
#[must_use]
pub fn step(seed: &Secret<Vec<u8>>, code: &str, now: Timestamp) -> Option<u64> {
    device(seed).check(code, seconds(now))
}

/// Whether these are the codes of two steps in a row, around now.
#[must_use]
pub fn in_a_row(seed: &Secret<Vec<u8>>, code: &str, next: &str, now: Timestamp) -> bool {
    let later = now.plus_seconds(i64::try_from(STEP_SECONDS).unwrap_or_default());
    let earlier = now.plus_seconds(-i64::try_from(STEP_SECONDS).unwrap_or_default());
    let steps = |first: Option<u64>, second: Option<u64>| first.zip(second).is_some_and(|(first, second)| second == first + 1);
    [now, earlier, later].into_iter().any(|at| steps(step(seed, code, at), step(seed, next, at)))
}

/// The secret as people type it, and as a picture (SVG of a QR code) of the `otpauth` address that apps read.
///
/// # Errors
/// `Internal`.
pub fn shown(seed: &Secret<Vec<u8>>, issuer: &str, account: &str) -> Result<(Secret<String>, Secret<String>), Error> {
    let text = base32(seed);
    let (issuer, account) = (encoded(issuer), encoded(account));
    let secret = text.expose().trim_end_matches('=');
    let address = Secret::new(format!("otpauth://totp/{issuer}:{account}?secret={secret}&issuer={issuer}"));
    let code = qrcode::QrCode::new(address.expose().as_bytes()).map_err(Error::internal)?;
    let picture = code.render::<qrcode::render::svg::Color<'_>>().min_dimensions(200, 200).build();
    Ok((Secret::new(secret.to_owned()), Secret::new(picture)))
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// The secret as apps read it.
#[must_use]
pub fn base32(seed: &Secret<Vec<u8>>) -> Secret<String> {
    Secret::new(device(seed).secret().to_base32())
}
