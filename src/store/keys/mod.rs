//! The ring that seals, under the master key; and the keys that sign, sealed by the ring: see [`signing`].

pub mod signing;

pub use signing::{CertifiedKey, KeyInfo, KeyPurpose, SamlKeys, SigningKey, TokenAlgorithm, TokenKeys};

use super::{
    WriteTx,
    sql::{self, Database},
};
use crate::{
    crypto::seal::{KeyRing, Purpose, RingKey},
    domain::{Error, ErrorKind, Random, Secret, Timestamp},
};
use serde::Serialize;
use std::sync::Arc;

/// A new ring key opens at once and seals after so many seconds: until then every node has read it.
pub const RING_KEY_SETTLES_SECONDS: i64 = 10;

/// A key of the ring, without itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RingKeyInfo {
    /// Stands in the clear in everything it seals.
    pub id: u32,
    /// When it was made.
    pub created: Timestamp,
    /// Whether new things are sealed with it.
    pub sealing: bool,
}

/// What seals the ring's own keys.
pub(super) fn master_ring(master_key: &[u8; 32], random: Arc<dyn Random>) -> Result<KeyRing, Error> {
    let key = RingKey { id: 0, key: Secret::new(*master_key), seals: true };
    KeyRing::new(&[key], random).map_err(Error::internal)
}

/// The ring's keys; the first one is made when there is none.
pub(super) async fn read_ring(
    pool: &Database,
    master: &KeyRing,
    random: &dyn Random,
    now: Timestamp,
) -> Result<(Vec<RingKey>, Vec<RingKeyInfo>), Error> {
    let rows = sql::query("SELECT id, sealed, created FROM ring_key ORDER BY id").fetch_all(pool).await?;
    let (mut keys, mut infos) = (Vec::new(), Vec::new());
    for row in rows {
        let id: u32 = row.get("id");
        let sealed: Vec<u8> = row.get("sealed");
        let opened = master.open(Purpose::RingKey, &id.to_string(), &sealed).and_then(|key| key.try_into().ok());
        let wrong = || Error::new(ErrorKind::Unavailable, "the master key is not the one this store was made with");
        let created = Timestamp(row.get("created"));
        // The first has no other before it.
        let seals = keys.is_empty() || created.plus_seconds(RING_KEY_SETTLES_SECONDS) <= now;
        keys.push(RingKey { id, key: Secret::new(opened.ok_or_else(wrong)?), seals });
        infos.push(RingKeyInfo { id, created, sealing: false });
    }
    if keys.is_empty() {
        let key: [u8; 32] = random.bytes();
        let sealed = master.seal(Purpose::RingKey, "1", &key).map_err(Error::internal)?;
        let insert = sql::query("INSERT INTO ring_key (id, sealed, created) VALUES (1, $1, $2) ON CONFLICT DO NOTHING");
        if insert.bind(sealed).bind(now.0).execute(pool).await? == 0 {
            // Another node was faster: its key counts.
            return Box::pin(read_ring(pool, master, random, now)).await;
        }
        keys.push(RingKey { id: 1, key: Secret::new(key), seals: true });
        infos.push(RingKeyInfo { id: 1, created: now, sealing: false });
    }
    let sealing = keys.iter().filter(|key| key.seals).map(|key| key.id).max();
    for info in &mut infos {
        info.sealing = Some(info.id) == sealing;
    }
    Ok((keys, infos))
}

impl WriteTx<'_> {
    /// Adds a key to the ring.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn add_ring_key(&mut self, key: &Secret<[u8; 32]>, now: Timestamp) -> Result<u32, Error> {
        let row = sql::query("SELECT max(id) AS newest FROM ring_key").fetch_one(&mut self.tx).await?;
        let id = row.get::<u32>("newest") + 1;
        let sealed = self.store.master.seal(Purpose::RingKey, &id.to_string(), key.expose()).map_err(Error::internal)?;
        let insert = sql::query("INSERT INTO ring_key (id, sealed, created) VALUES ($1, $2, $3)");
        self.execute(insert.bind(id).bind(sealed).bind(now.0)).await?;
        Ok(id)
    }
}
