//! Sealing: AES-256-GCM under a ring of keys, for session tokens, stored secrets and everything ephemeral.
//!
//! A sealed value is `version (1 byte) ‖ key id (4 bytes) ‖ nonce (12 bytes) ‖ ciphertext ‖ tag (16 bytes)`. Version and key
//! id are in the clear and authenticated, together with the purpose and a context (table, row), so that a value can't be
//! moved to another place. Each purpose has its own key, derived from the ring's by HMAC-SHA-256.

use crate::domain::{Random, Secret};
use arc_swap::ArcSwap;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hmac,
};
use std::{collections::BTreeMap, sync::Arc};

const VERSION: u8 = 1;
const HEADER: usize = 1 + 4;

/// What a sealed value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// `X-Amz-Security-Token`.
    SessionToken,
    /// The `SigninToken` of console links.
    SigninToken,
    /// Secrets in the store: client secrets, private keys.
    StoredSecret,
    /// Browser sessions, steps, codes.
    Ephemeral,
    /// Client ids of registered OAuth clients, which carry their registration.
    OAuthClient,
    /// Encoded authorization messages of refusals.
    AuthorizationMessage,
    /// What the command line keeps for its person.
    CommandLine,
    /// The ring's own keys, under the master key.
    RingKey,
    /// Parts of a backup, under a key of its own.
    Backup,
}

impl Purpose {
    const ALL: [Self; 9] = [
        Self::SessionToken,
        Self::SigninToken,
        Self::StoredSecret,
        Self::Ephemeral,
        Self::OAuthClient,
        Self::AuthorizationMessage,
        Self::CommandLine,
        Self::RingKey,
        Self::Backup,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::SessionToken => "daypass/session-token",
            Self::SigninToken => "daypass/signin-token",
            Self::StoredSecret => "daypass/stored-secret",
            Self::Ephemeral => "daypass/ephemeral",
            Self::OAuthClient => "daypass/oauth-client",
            Self::AuthorizationMessage => "daypass/authorization-message",
            Self::CommandLine => "daypass/command-line",
            Self::RingKey => "daypass/ring-key",
            Self::Backup => "daypass/backup",
        }
    }
}

/// The keys that seal and open. The newest that is in use seals; the older ones still open, and so does one that is too new
/// to seal: every node knows a key before the first token under it is about.
pub struct KeyRing {
    keys: ArcSwap<Keys>,
    random: Arc<dyn Random>,
}

struct Keys {
    derived: BTreeMap<(u32, Purpose), LessSafeKey>,
    sealing: u32,
}

/// A key from a passphrase: Argon2id (RFC 9106), 64 MiB, three passes.
///
/// # Errors
/// When there is no memory for it.
pub fn key_of_passphrase(passphrase: &Secret<String>, salt: &[u8]) -> Result<Secret<[u8; 32]>, SealError> {
    let parameters = argon2::Params::new(64 * 1024, 3, 1, Some(32)).map_err(|_| SealError)?;
    let hasher = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, parameters);
    let mut key = [0; 32];
    hasher.hash_password_into(passphrase.expose().as_bytes(), salt, &mut key).map_err(|_| SealError)?;
    Ok(Secret::new(key))
}

/// A key of a ring.
#[derive(Clone)]
pub struct RingKey {
    /// Stands in the clear in everything it seals.
    pub id: u32,
    /// 256 bits.
    pub key: Secret<[u8; 32]>,
    /// Whether it seals already, or only opens.
    pub seals: bool,
}

impl std::fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeyRing(sealing with {})", self.keys.load().sealing)
    }
}

/// Sealing failed: only when the library refuses a key, which tests rule out.
#[derive(Debug, thiserror::Error)]
#[error("a value could not be sealed")]
pub struct SealError;

impl KeyRing {
    /// A ring of keys.
    ///
    /// # Errors
    /// When none of them seals, or the library refuses one.
    pub fn new(keys: &[RingKey], random: Arc<dyn Random>) -> Result<Self, SealError> {
        Ok(Self { keys: ArcSwap::from_pointee(Keys::derive(keys)?), random })
    }

    /// Takes the place of the keys so far, without a moment in between.
    ///
    /// # Errors
    /// As for [`KeyRing::new`]; the keys so far stay.
    pub fn replace(&self, keys: &[RingKey]) -> Result<(), SealError> {
        self.keys.store(Arc::new(Keys::derive(keys)?));
        Ok(())
    }

    /// Seals a value for one purpose and context.
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, purpose: Purpose, context: &str, plain: &[u8]) -> Result<Vec<u8>, SealError> {
        let keys = self.keys.load();
        let key = keys.derived.get(&(keys.sealing, purpose)).ok_or(SealError)?;
        let nonce: [u8; NONCE_LEN] = self.random.bytes();
        let mut sealed = Vec::with_capacity(HEADER + NONCE_LEN + plain.len() + 16);
        sealed.push(VERSION);
        sealed.extend_from_slice(&keys.sealing.to_be_bytes());
        let aad = aad(&sealed, purpose, context);
        sealed.extend_from_slice(&nonce);
        let mut body = plain.to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(aad), &mut body).map_err(|_| SealError)?;
        sealed.append(&mut body);
        Ok(sealed)
    }

    /// Opens a sealed value; none when it was not sealed here, for this, or was changed.
    #[must_use]
    pub fn open(&self, purpose: Purpose, context: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        let (header, rest) = sealed.split_at_checked(HEADER)?;
        let (version, id) = header.split_first()?;
        let keys = self.keys.load();
        let key = keys.derived.get(&(u32::from_be_bytes(id.try_into().ok()?), purpose))?;
        let (nonce, body) = rest.split_at_checked(NONCE_LEN)?;
        if *version != VERSION {
            return None;
        }
        let mut body = body.to_vec();
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let plain = key.open_in_place(nonce, Aad::from(aad(header, purpose, context)), &mut body).ok()?.len();
        body.truncate(plain);
        Some(body)
    }
}

impl Keys {
    fn derive(keys: &[RingKey]) -> Result<Self, SealError> {
        let sealing = keys.iter().filter(|key| key.seals).map(|key| key.id).max().ok_or(SealError)?;
        let mut derived = BTreeMap::new();
        for RingKey { id, key, .. } in keys {
            let root = hmac::Key::new(hmac::HMAC_SHA256, key.expose());
            for purpose in Purpose::ALL {
                let own = hmac::sign(&root, purpose.label().as_bytes());
                let key = UnboundKey::new(&AES_256_GCM, own.as_ref()).map_err(|_| SealError)?;
                derived.insert((*id, purpose), LessSafeKey::new(key));
            }
        }
        Ok(Self { derived, sealing })
    }
}

fn aad(header: &[u8], purpose: Purpose, context: &str) -> Vec<u8> {
    [header, purpose.label().as_bytes(), b"\0", context.as_bytes()].concat()
}
