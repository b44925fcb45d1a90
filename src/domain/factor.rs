//! Second factors of people (NIST SP 800-63B-4, section 3.1): passkeys, one-time codes, recovery codes.

use super::{Secret, Timestamp};
use serde::{Deserialize, Serialize};

/// Most factors of one person, recovery codes not counted.
pub const MAX_FACTORS: usize = 20;

/// A factor that a person has enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factor {
    /// Random; never reused.
    pub id: String,
    /// Whose: see `IdentityAssertion::factor_owner`.
    pub person: String,
    /// What the person calls it.
    pub name: String,
    /// What it is.
    pub kind: FactorKind,
    /// When it was enrolled.
    pub created: Timestamp,
    /// When it was last given.
    pub used: Option<Timestamp>,
}

/// The kinds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FactorKind {
    /// A passkey (WebAuthn level 3): the public key and what the library keeps of it, as JSON.
    Passkey {
        /// The credential id, base64url.
        credential_id: String,
        /// As the library serializes it.
        #[serde(serialize_with = "Secret::reveal")]
        state: Secret<String>,
    },
    /// An authenticator app (RFC 6238).
    Totp {
        /// The shared secret.
        #[serde(serialize_with = "Secret::reveal")]
        seed: Secret<Vec<u8>>,
    },
    /// Codes for the day everything else is lost: SHA-256 of those that are left.
    RecoveryCodes {
        /// In hexadecimal.
        hashes: Vec<String>,
    },
}

impl FactorKind {
    /// For lists and records.
    #[must_use]
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Passkey { .. } => "passkey",
            Self::Totp { .. } => "authenticator app",
            Self::RecoveryCodes { .. } => "recovery codes",
        }
    }
}

impl Factor {
    /// Whether it is one that a person enrols by themselves; recovery codes come along.
    #[must_use]
    pub const fn is_primary(&self) -> bool {
        !matches!(self.kind, FactorKind::RecoveryCodes { .. })
    }
}
