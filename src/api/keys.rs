//! Keys: looking at them, and adding new ones to the ring that seals and to those that sign.

use super::apply::{OPERATOR, Operator};
pub use crate::store::keys::{KeyInfo, KeyPurpose, RingKeyInfo};
use crate::{
    domain::{Error, Secret, Timestamp},
    gateway::{Access, Call, Gateway, Operation, Read, Scope, Write},
    store::keys::RING_KEY_SETTLES_SECONDS,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A new key of the ring seals after so many seconds.
pub const SETTLES_SECONDS: i64 = RING_KEY_SETTLES_SECONDS;

/// Lists the keys of the ring.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListRingKeys {}

/// The keys, without themselves.
#[derive(Debug, Serialize)]
pub struct RingKeys {
    /// By id.
    pub keys: Vec<RingKeyInfo>,
}

impl Operation for ListRingKeys {
    type Service = Operator;
    type Mode = Read;
    type Output = RingKeys;
    const NAME: &'static str = "ListRingKeys";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: OPERATOR })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RingKeys, Error> {
        Ok(RingKeys { keys: call.broker.store.renew_ring().await? })
    }
}

/// Adds a key. Every node opens with it at once, and seals with it some seconds later; what older ones sealed stays good.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateRingKey {}

/// The new key.
#[derive(Debug, Serialize)]
pub struct RotatedRingKey {
    /// Its id.
    pub id: u32,
}

impl Operation for RotateRingKey {
    type Service = Operator;
    type Mode = Write;
    type Output = RotatedRingKey;
    const NAME: &'static str = "RotateRingKey";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: OPERATOR })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RotatedRingKey, Error> {
        let key = Secret::new(call.broker.random.bytes::<32>());
        let id = call.tx.add_ring_key(&key, call.caller.origin.time).await?;
        call.tx.note("ringKey", id);
        Ok(RotatedRingKey { id })
    }
}

/// Lists the keys that sign and decrypt.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSigningKeys {}

/// The keys, without themselves.
#[derive(Debug, Serialize)]
pub struct SigningKeys {
    /// By purpose, the oldest first.
    pub keys: Vec<KeyInfo>,
}

impl Operation for ListSigningKeys {
    type Service = Operator;
    type Mode = Read;
    type Output = SigningKeys;
    const NAME: &'static str = "ListSigningKeys";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: OPERATOR })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SigningKeys, Error> {
        Ok(SigningKeys { keys: call.broker.store.renew_signing_keys().await? })
    }
}

/// Adds a key that signs or decrypts. It is published at once and signs once others have had time to read it; the one before stays
/// for what it signed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RotateSigningKey {
    /// What for.
    pub purpose: KeyPurpose,
    /// It signs now, and those before it are no longer published: for when one of them is known to somebody else.
    #[serde(default)]
    pub at_once: bool,
}

/// The new key.
#[derive(Debug, Serialize)]
pub struct RotatedSigningKey {
    /// Its name.
    pub name: String,
    /// When it begins to sign.
    pub signs: Timestamp,
}

impl Operation for RotateSigningKey {
    type Service = Operator;
    type Mode = Write;
    type Output = RotatedSigningKey;
    const NAME: &'static str = "RotateSigningKey";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: OPERATOR })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RotatedSigningKey, Error> {
        let now = call.caller.origin.time;
        let name = call.tx.add_signing_key(self.purpose, now, self.at_once).await?;
        call.tx.note("key", &name);
        let settles = if self.at_once { 0 } else { self.purpose.settles_seconds() };
        Ok(RotatedSigningKey { name, signs: now.plus_seconds(settles) })
    }
}

/// Removes keys that sign no more, and of which nothing that they signed is about any more.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetireSigningKeys {}

/// What went.
#[derive(Debug, Serialize)]
pub struct RetiredSigningKeys {
    /// Their names.
    pub names: Vec<String>,
}

impl Operation for RetireSigningKeys {
    type Service = Operator;
    type Mode = Write;
    type Output = RetiredSigningKeys;
    const NAME: &'static str = "RetireSigningKeys";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Operator { because: OPERATOR })
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<RetiredSigningKeys, Error> {
        let names = call.tx.retire_signing_keys(call.caller.origin.time).await?;
        call.tx.note("keys", &names);
        Ok(RetiredSigningKeys { names })
    }
}

/// After how many days keys are followed by new ones; 0: never.
#[derive(Clone, Copy, Debug)]
pub struct KeySchedule {
    /// The ring.
    pub ring_days: u32,
    /// Web identity tokens, and what our clients authenticate with.
    pub token_days: u32,
    /// SAML. Providers that don't fetch our metadata have to be given it anew.
    pub saml_days: u32,
    /// The audit log.
    pub audit_days: u32,
}

impl KeySchedule {
    const fn days(&self, purpose: KeyPurpose) -> u32 {
        match purpose {
            KeyPurpose::Saml | KeyPurpose::SamlEncryption => self.saml_days,
            KeyPurpose::OidcClient | KeyPurpose::TokenRs256 | KeyPurpose::TokenEs384 => self.token_days,
            KeyPurpose::Audit => self.audit_days,
        }
    }
}

/// How often it is looked whether a key is due, in seconds.
const LOOK_SECONDS: u64 = 3600;

/// Rotates keys by schedule and removes old ones, until it is dropped. Of several nodes each looks at another time.
pub async fn keep_rotated(gateway: Gateway, schedule: KeySchedule) {
    let [spread, _] = gateway.broker.random.bytes::<2>();
    loop {
        tokio::time::sleep(Duration::from_secs(LOOK_SECONDS + 10 * u64::from(spread))).await;
        if let Err(error) = rotate_due(&gateway, schedule).await {
            tracing::warn!(error = error.private.as_deref(), "keys could not be rotated");
        }
    }
}

/// Rotates what is due now, and removes old keys; what was done.
///
/// # Errors
/// `Unavailable`.
pub async fn rotate_due(gateway: &Gateway, schedule: KeySchedule) -> Result<Vec<String>, Error> {
    let (operator, now) = (gateway.operator(), gateway.broker.clock.now());
    let due = |created: Timestamp, days: u32| days > 0 && now.seconds_since(created) >= i64::from(days) * 86_400;
    let mut done = Vec::new();
    let ring = gateway.call(&operator, ListRingKeys {}).await?.keys;
    if ring.last().is_some_and(|newest| due(newest.created, schedule.ring_days)) {
        let made = gateway.call(&operator, RotateRingKey {}).await?;
        done.push(format!("ring/{}", made.id));
    }
    let keys = gateway.call(&operator, ListSigningKeys {}).await?.keys;
    for purpose in KeyPurpose::ALL {
        let newest = keys.iter().rfind(|key| key.purpose == purpose);
        if newest.is_some_and(|newest| due(newest.created, schedule.days(purpose))) {
            done.push(gateway.call(&operator, RotateSigningKey { purpose, at_once: false }).await?.name);
        }
    }
    let old = |purpose: KeyPurpose| keys.iter().filter(|key| key.purpose == purpose).count() > 1;
    if KeyPurpose::ALL.into_iter().any(|purpose| purpose.lingers_seconds().is_some() && old(purpose)) {
        gateway.call(&operator, RetireSigningKeys {}).await?;
    }
    Ok(done)
}
