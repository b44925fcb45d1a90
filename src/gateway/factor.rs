//! The second factor of a call: `SerialNumber` and `TokenCode` (STS API reference, `AssumeRole`).

use super::{Broker, Scope};
use crate::store::EphemeralKind;
use crate::{
    crypto::totp,
    domain::{Arn, Error, ErrorKind, Secret, session::Caller, user::UserCredentials},
};

/// Marks steps whose code was used.
const USED: EphemeralKind = EphemeralKind::lasting("mfa-step");
/// How long a used step is remembered, in seconds: longer than its code is accepted.
const REMEMBERED_SECONDS: i64 = 300;

/// A one-time code, and the device it is of.
#[derive(Clone, Debug)]
pub struct OneTimeCode {
    /// The device.
    pub serial_number: Arn,
    /// Six digits.
    pub code: Secret<String>,
}

impl OneTimeCode {
    /// From the two parameters of a call, which come together or not at all.
    ///
    /// # Errors
    /// `AccessDenied`, `InvalidInput`.
    pub fn of(serial_number: Option<&str>, code: Option<&Secret<String>>) -> Result<Option<Self>, Error> {
        match (serial_number, code) {
            (None, None) => Ok(None),
            (Some(serial_number), Some(code)) => {
                if code.expose().len() != 6 || !code.expose().bytes().all(|byte| byte.is_ascii_digit()) {
                    return Err(Error::invalid(
                        "1 validation error detected: Value at 'tokenCode' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\d]{6}",
                    ));
                }
                let serial_number = Arn::parse(serial_number).map_err(|_| refused("the serial number is no ARN"))?;
                Ok(Some(Self { serial_number, code: code.clone() }))
            }
            _ => Err(Error::new(
                ErrorKind::AccessDenied,
                "MultiFactorAuthentication failed, must provide both MFA serial number and one time pass code.",
            )),
        }
    }
}

fn refused(why: &str) -> Error {
    Error::new(ErrorKind::AccessDenied, "MultiFactorAuthentication failed with invalid MFA one time pass code.").with_private(why)
}

/// Checks a code of the calling user's own device and uses it up. Guessing is slowed down as with passwords.
///
/// # Errors
/// `AccessDenied`; `Unavailable` when the code can't be marked as used.
pub(super) async fn verify(broker: &Broker, caller: &Caller, scope: &Scope, given: &OneTimeCode) -> Result<(), Error> {
    let now = caller.origin.time;
    let device = scope.snapshot.mfa_devices.get(&given.serial_number);
    let own = device.zip(caller.user()).filter(|(device, user)| {
        device.account == user.account
            && user.user_id.is_some()
            && !matches!(user.credentials, UserCredentials::Federation(_))
            && device.enabled.as_ref().map(|(id, _)| id) == user.user_id.as_ref()
    });
    let Some((device, _)) = own else { return Err(refused("the device is not the caller's")) };
    let serial = given.serial_number.as_str();
    let attempts = &broker.federation.attempts;
    if attempts.pause(serial, caller.origin.source_ip, now).is_some() {
        return Err(refused("too many wrong codes from this address"));
    }
    attempts.attempted(serial, caller.origin.source_ip, now);
    // Whoever gets here holds the user's own credentials: their guesses count together, wherever they come from.
    attempts.attempted_anywhere(serial, now);
    let step = totp::step(&device.seed, given.code.expose(), now).ok_or_else(|| refused("the code is wrong"))?;
    let until = now.plus_seconds(REMEMBERED_SECONDS);
    if !broker.store.ephemeral().put_new(USED, &format!("{serial}/{step}"), &(), until).await? {
        return Err(refused("the code was used before"));
    }
    attempts.succeeded(serial, caller.origin.source_ip);
    Ok(())
}
