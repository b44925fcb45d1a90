//! A second factor: the step that waits for one, and the check of what is given.

use super::{
    Authenticated, FactorDue, SignIn,
    passkey::{Ceremony, Passkeys},
    step::Continuation,
};
use crate::{
    crypto::{sha256_hex, totp},
    domain::{
        Error, ErrorKind, Secret, Timestamp,
        factor::{Factor, FactorKind},
    },
    federation::{Federation, SIGN_IN_SECONDS},
    store::{Ephemeral, EphemeralKind},
};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

const STEP: EphemeralKind = EphemeralKind::passing("factor-step");
const CEREMONY: EphemeralKind = EphemeralKind::passing("passkey-ceremony");
/// Marks one-time codes that were used.
const USED: EphemeralKind = EphemeralKind::lasting("used-code");
/// How long a used code is remembered, in seconds: longer than it is accepted.
const REMEMBERED_SECONDS: i64 = 300;
/// Wrong codes since the last right answer, by person.
const FAILURES: EphemeralKind = EphemeralKind::lasting("wrong-codes");
/// Most of them in a row.
pub const MAX_FAILURES: u32 = 100;
/// How long they are remembered, in seconds: a year.
const FAILURES_SECONDS: i64 = 365 * 86_400;
/// How long an authenticator may take, in seconds.
pub const CEREMONY_SECONDS: i64 = 300;

/// What a step waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Wanted {
    /// One of the person's factors.
    Factor,
    /// The person's first factor.
    Enrolment,
}

/// Somebody whom their source vouched for, and who has no session yet. One browser, one use.
#[derive(Debug, Serialize, Deserialize)]
pub struct FactorStep {
    /// The sign-in.
    pub sign_in: SignIn<FactorDue>,
    /// What it waits for.
    pub wanted: Wanted,
    /// What follows.
    pub continuation: Continuation,
    /// SHA-256 of the reset link that the person came with: what is enrolled takes the place of everything there was.
    pub reset: Option<String>,
    /// SHA-256 of the browser's binding.
    pub browser: String,
    /// When it is over.
    pub expires: Timestamp,
}

impl FactorStep {
    /// A step for this browser.
    #[must_use]
    pub fn new(sign_in: SignIn<FactorDue>, wanted: Wanted, continuation: Continuation, binding: &str, now: Timestamp) -> Self {
        let (browser, expires) = (sha256_hex(binding), now.plus_seconds(SIGN_IN_SECONDS));
        Self { sign_in, wanted, continuation, reset: None, browser, expires }
    }

    /// Keeps it under its handle.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn keep(&self, ephemeral: &Ephemeral, handle: &str) -> Result<(), Error> {
        ephemeral.put(STEP, handle, self, self.expires).await
    }

    /// The step, if it belongs to this browser. A wrong code does not use it up.
    ///
    /// # Errors
    /// `StaleStep`.
    pub async fn find(ephemeral: &Ephemeral, handle: &str, binding: Option<&Secret<String>>) -> Result<Self, Error> {
        let step: Option<Self> = ephemeral.get(STEP, handle).await?;
        let browser = binding.map(|binding| sha256_hex(binding.expose()));
        step.filter(|step| browser.as_ref() == Some(&step.browser)).ok_or_else(stale)
    }

    /// Uses the step up: of two who answer, one goes on.
    ///
    /// # Errors
    /// `StaleStep`.
    pub async fn given(self, ephemeral: &Ephemeral, handle: &str, now: Timestamp) -> Result<SignIn<Authenticated>, Error> {
        let burned: Option<Self> = ephemeral.take(STEP, handle).await?;
        burned.map(|step| step.sign_in.given(now)).ok_or_else(stale)
    }
}

fn stale() -> Error {
    let public = "This sign-in has expired or was begun in another browser. Please sign in again.";
    Error::new(ErrorKind::StaleStep, public).with_private("factor_step_unknown: used, expired, or another browser's")
}

/// Keeps a ceremony for `owner`: a person, or a browser where nobody is named yet.
///
/// # Errors
/// `Unavailable`.
pub async fn keep_ceremony(
    ephemeral: &Ephemeral,
    handle: &str,
    owner: &str,
    ceremony: &Ceremony,
    now: Timestamp,
) -> Result<(), Error> {
    ephemeral.put(CEREMONY, handle, &(owner, ceremony), now.plus_seconds(CEREMONY_SECONDS)).await
}

/// Uses a ceremony of `owner` up.
///
/// # Errors
/// `InvalidAuthenticationCode` when there is none.
pub async fn take_ceremony(ephemeral: &Ephemeral, handle: &str, owner: &str) -> Result<Ceremony, Error> {
    let found: Option<(String, Ceremony)> = ephemeral.take(CEREMONY, handle).await?;
    let own = found.filter(|(of, _)| of == owner).map(|(_, ceremony)| ceremony);
    own.ok_or_else(|| wrong("This took too long. Please try again.", "ceremony_unknown: used, expired, or somebody else's"))
}

fn wrong(public: &str, private: &str) -> Error {
    Error::new(ErrorKind::InvalidAuthenticationCode, public).with_private(private)
}

/// What a person gives.
#[derive(Debug, Serialize, Deserialize)]
pub enum FactorAnswer {
    /// Six digits of an authenticator app, or a recovery code.
    Code(Secret<String>),
    /// What the authenticator signed.
    Passkey {
        /// Names the ceremony.
        handle: String,
        /// JSON of the browser's `PublicKeyCredential`.
        credential: Secret<String>,
    },
}

/// Checks an answer against a person's factors. Returns the factor it was, as it is to be kept from now on. Guessing is slowed
/// down for the person wherever it comes from: only who passed the first factor can guess; after [`MAX_FAILURES`] wrong codes
/// in a row there are no codes any more (NIST SP 800-63B-4, section 3.2.2). Callers hold the store's pen: the count is exact.
///
/// # Errors
/// `InvalidAuthenticationCode`; `Unavailable` when a code can't be marked as used.
pub async fn check(
    federation: &Federation,
    person: &str,
    factors: Vec<Factor>,
    answer: FactorAnswer,
    from: IpAddr,
    now: Timestamp,
) -> Result<Factor, Error> {
    let ephemeral = federation.store.ephemeral();
    let mut factor = match answer {
        FactorAnswer::Code(code) => {
            // Codes alone can be guessed: whoever does that keeps nobody from their passkey.
            let (account, attempts) = (format!("factor of {person}"), &federation.attempts);
            if let Some(seconds) = attempts.pause(&account, from, now) {
                let public = format!("Too many attempts. Try again in {seconds} seconds.");
                return Err(wrong(&public, "attempts_paused: too many wrong answers"));
            }
            let failures: u32 = ephemeral.get(FAILURES, person).await?.unwrap_or_default();
            if failures >= MAX_FAILURES {
                let public = "Too many wrong codes. Use your passkey, or ask an administrator for a link to start anew.";
                return Err(wrong(public, "codes_off: too many wrong codes since the last right one"));
            }
            attempts.attempted_anywhere(&account, now);
            ephemeral.put(FAILURES, person, &(failures + 1), now.plus_seconds(FAILURES_SECONDS)).await?;
            let factor = by_code(ephemeral, factors, &code, now).await?;
            attempts.succeeded(&account, from);
            factor
        }
        FactorAnswer::Passkey { handle, credential } => {
            let ceremony = take_ceremony(ephemeral, &handle, person).await?;
            let id = Passkeys::credential_id(&credential)?;
            by_passkey(federation, factors.into_iter().find(|factor| is_passkey(factor, &id)), ceremony, &credential)?
        }
    };
    factor.used = Some(now);
    forgive(ephemeral, person).await?;
    Ok(factor)
}

/// The person is here: wrong codes of before are forgotten.
///
/// # Errors
/// `Unavailable`.
pub async fn forgive(ephemeral: &Ephemeral, person: &str) -> Result<(), Error> {
    ephemeral.delete(FAILURES, person).await
}

fn is_passkey(factor: &Factor, id: &str) -> bool {
    matches!(&factor.kind, FactorKind::Passkey { credential_id, .. } if credential_id == id)
}

/// Checks an answer against the passkey it says it is of.
///
/// # Errors
/// `InvalidAuthenticationCode`.
pub fn by_passkey(
    federation: &Federation,
    factor: Option<Factor>,
    ceremony: Ceremony,
    credential: &Secret<String>,
) -> Result<Factor, Error> {
    let unknown = || wrong("This passkey is not known here.", "passkey_unknown");
    let (factor, passkeys) = factor.zip(Passkeys::at(&federation.addresses.public_url)).ok_or_else(unknown)?;
    let FactorKind::Passkey { state, .. } = &factor.kind else { return Err(unknown()) };
    let kind = passkeys.verify(ceremony, credential, &factor.person, state)?;
    Ok(Factor { kind, ..factor })
}

async fn by_code(ephemeral: &Ephemeral, factors: Vec<Factor>, code: &Secret<String>, now: Timestamp) -> Result<Factor, Error> {
    // As people type codes: in groups, and with letters of either size.
    let plain: String = code.expose().chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
    let digest = recovery_digest(&plain);
    for mut factor in factors {
        match &mut factor.kind {
            FactorKind::Totp { seed } => {
                let Some(step) = totp::step(seed, &plain, now) else { continue };
                mark_used(ephemeral, &factor.id, step, now).await?;
                return Ok(factor);
            }
            FactorKind::RecoveryCodes { hashes } => {
                let before = hashes.len();
                hashes.retain(|hash| *hash != digest);
                if hashes.len() < before {
                    return Ok(factor);
                }
            }
            FactorKind::Passkey { .. } => {}
        }
    }
    Err(wrong("That code is not right.", "code_wrong"))
}

/// Uses a code up: each is good once, the one of the enrolment too.
///
/// # Errors
/// `InvalidAuthenticationCode` when it was used.
pub async fn mark_used(ephemeral: &Ephemeral, factor: &str, step: u64, now: Timestamp) -> Result<(), Error> {
    match ephemeral.put_new(USED, &format!("{factor}/{step}"), &(), now.plus_seconds(REMEMBERED_SECONDS)).await? {
        true => Ok(()),
        false => Err(wrong("That code was used before. Wait for the next one.", "code_used")),
    }
}

/// How a recovery code is kept: it has 80 random bits, which no guessing of hashes finds.
#[must_use]
pub fn recovery_digest(plain: &str) -> String {
    sha256_hex(format!("recovery code {plain}"))
}
