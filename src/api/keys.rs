//! The ring that seals session tokens and stored secrets: looking at it, and adding a key to it.

use super::apply::{OPERATOR, Operator};
use crate::{
    domain::{Error, Secret},
    gateway::{Access, Call, Operation, Read, Scope, Write},
    store::keys::{RING_KEY_SETTLES_SECONDS, RingKeyInfo},
};
use serde::{Deserialize, Serialize};

/// A new key seals after so many seconds.
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
