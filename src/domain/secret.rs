//! Values that must not be seen: not in a log, a `Debug`, a URL or an error.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use zeroize::Zeroize;

/// A secret. It prints as `…`, is wiped when dropped, and is only read through [`Secret::expose`].
///
/// Serialized, it says that something was hidden, in CloudTrail's words. Handing it out is deliberate and explicit at the field:
/// `#[serde(serialize_with = "Secret::reveal")]`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret<T: Zeroize>(T);

/// What stands for a secret where something is written down (CloudTrail record contents).
pub const HIDDEN: &str = "HIDDEN_DUE_TO_SECURITY_REASONS";

impl<T: Zeroize> Secret<T> {
    /// Takes a value into hiding.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// Reads the secret. Every call is a place to look at in review.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize + Serialize> Secret<T> {
    /// A serde `serialize_with` function that writes the secret in the clear: for wire answers that exist to
    /// hand it out, and for bytes that are sealed before they go anywhere.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn reveal<S: Serializer>(secret: &Self, serializer: S) -> Result<S::Ok, S::Error> {
        secret.0.serialize(serializer)
    }

    /// The same for one that may be absent.
    ///
    /// # Errors
    /// Those of the serializer.
    #[allow(clippy::ref_option, reason = "serde's signature")]
    pub fn reveal_any<S: Serializer>(secret: &Option<Self>, serializer: S) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Self::expose).serialize(serializer)
    }
}

/// A serde `serialize_with` function for what is no [`Secret`] in the code and yet must not be written down.
///
/// # Errors
/// Those of the serializer.
pub fn hidden<T, S: Serializer>(_: &T, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(HIDDEN)
}

impl<T: Zeroize> Serialize for Secret<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

impl<'de, T: Zeroize + Deserialize<'de>> Deserialize<'de> for Secret<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self)
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl From<String> for Secret<String> {
    fn from(value: String) -> Self {
        Self(value)
    }
}
