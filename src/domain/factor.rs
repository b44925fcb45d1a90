//! Second factors of people (NIST SP 800-63B-4, section 3.1): passkeys, one-time codes, recovery codes.

use super::{Secret, Timestamp};
use serde::{Deserialize, Serialize};

/// Names the person that factors are of: by the provider's own name (the resource of its ARN), so that a source that comes
/// under the name of another has none of its people's.
#[must_use]
pub fn owner(resource: &str, subject: &str) -> String {
    format!("{resource}|{subject}")
}

/// The provider's resource and the subject of an [`owner`].
#[must_use]
pub fn split_owner(owner: &str) -> Option<(&str, &str)> {
    owner.split_once('|')
}

/// Most factors of one person, recovery codes not counted.
pub const MAX_FACTORS: usize = 20;

/// A factor that a person has enrolled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Factor {
    /// Random; never reused.
    pub id: String,
    /// Whose: see [`owner`].
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
    /// What the library keeps of a passkey.
    #[must_use]
    pub const fn passkey_state(&self) -> Option<&Secret<String>> {
        match self {
            Self::Passkey { state, .. } => Some(state),
            Self::Totp { .. } | Self::RecoveryCodes { .. } => None,
        }
    }

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
