//! What may be forgotten after its time: browser sessions, sign-in steps, one-time marks, device codes, bearer tokens.
//!
//! Kept across a restart and sealed. Keys are hashed before they are stored: a copy is not a bag of live sessions. Without Redis
//! all of it is in a table: of a file of its own, so that it never waits for a change of the organization, or of PostgreSQL.
//!
//! With Redis, what may be lost is there ([`EphemeralKind::passing`]): it may be flushed, evict, or fail over to a replica that never heard
//! of the newest writes. What must not be forgotten before its time ([`EphemeralKind::lasting`]: that an assertion was used, that a session
//! was ended) stays in the table; and that something passing was taken is marked there, so that a replica that still has it
//! can't hand it out again.

mod redis;
mod table;

pub(super) use redis::Redis;
pub(super) use table::Table;

use super::unavailable;
use crate::{
    crypto::{
        seal::{KeyRing, Purpose},
        sha256_hex,
    },
    domain::{Clock, Error, Timestamp},
};
use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::HashMap, sync::Arc};
use tower_sessions::{
    SessionStore,
    session::{Id, Record},
    session_store,
};

/// A use of the ephemeral store; each has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EphemeralKind {
    name: &'static str,
    lasts: bool,
}

impl EphemeralKind {
    /// Somebody may have to begin anew when it is lost, and nothing worse happens.
    #[must_use]
    pub const fn passing(name: &'static str) -> Self {
        Self { name, lasts: false }
    }

    /// Nobody may do twice, or do again, what it forbids.
    #[must_use]
    pub const fn lasting(name: &'static str) -> Self {
        Self { name, lasts: true }
    }

    /// The key's hash is what is stored.
    fn hashed(self, key: &str) -> String {
        format!("{}/{}", self.name, sha256_hex(key))
    }
}

/// A sealed value and its name.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub key: String,
    pub sealed: Vec<u8>,
    pub expires: Timestamp,
}

/// Where values are. A trait of its own because three places hold them: a file, PostgreSQL and Redis.
#[async_trait]
pub(super) trait Backend: Send + Sync {
    /// Writes over any old one.
    async fn put(&self, kept: Kept, owner: Option<&str>, now: Timestamp) -> Result<(), Error>;
    /// Writes where there is none that counts. Says whether it did.
    async fn put_new(&self, kept: Kept, now: Timestamp) -> Result<bool, Error>;
    /// Writes where there is one that counts. Says whether it did.
    async fn replace(&self, kept: Kept, now: Timestamp) -> Result<bool, Error>;
    /// Those that are there and count, in no order.
    async fn get(&self, keys: &[String], now: Timestamp) -> Result<Vec<Kept>, Error>;
    /// Reads and deletes in one step.
    async fn take(&self, key: &str, now: Timestamp) -> Result<Option<Kept>, Error>;
    async fn delete(&self, key: &str) -> Result<(), Error>;
    /// Those of an owner, the last to end first.
    async fn owned(&self, owner: &str, most: u32, now: Timestamp) -> Result<Vec<Kept>, Error>;
    /// Deletes what has expired. Says how much.
    async fn sweep(&self, now: Timestamp) -> Result<u64, Error>;
    /// Whether it answers.
    async fn reach(&self) -> Result<(), Error>;
    /// Closes its connections in order.
    async fn close(&self) {}
}

/// Ephemeral state.
#[derive(Clone)]
pub struct Ephemeral {
    lasting: Arc<dyn Backend>,
    /// Another place for what may be lost, where there is one.
    passing: Option<Arc<dyn Backend>>,
    ring: Arc<KeyRing>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ephemeral")
    }
}

/// That something was taken, by what it was.
const TAKEN: EphemeralKind = EphemeralKind::lasting("taken");
/// For how long after its end, in seconds: an older version may have ended later.
const TAKEN_SECONDS: i64 = 86_400;

impl Ephemeral {
    pub(super) fn new(table: Table, redis: Option<Redis>, ring: Arc<KeyRing>, clock: Arc<dyn Clock>) -> Self {
        let passing = redis.map(|redis| Arc::new(redis) as Arc<dyn Backend>);
        Self { lasting: Arc::new(table), passing, ring, clock }
    }

    fn backend(&self, kind: EphemeralKind) -> &dyn Backend {
        match &self.passing {
            Some(passing) if !kind.lasts => &**passing,
            _ => &*self.lasting,
        }
    }

    /// Whether Redis answers, where there is one.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn reach(&self) -> Result<(), Error> {
        match &self.passing {
            Some(passing) => passing.reach().await,
            None => Ok(()),
        }
    }

    /// Writes a value, over any old one.
    ///
    /// # Errors
    /// `Unavailable`, as for everything here.
    pub async fn put(&self, kind: EphemeralKind, key: &str, value: &impl Serialize, expires: Timestamp) -> Result<(), Error> {
        let kept = self.sealed(kind.hashed(key), value, expires)?;
        self.backend(kind).put(kept, None, self.clock.now()).await
    }

    /// Writes a value only where there is none (an expired one counts as none). Returns whether it did: the one-time mark.
    ///
    /// # Errors
    /// `Unavailable`: then the caller must refuse.
    pub async fn put_new(
        &self,
        kind: EphemeralKind,
        key: &str,
        value: &impl Serialize,
        expires: Timestamp,
    ) -> Result<bool, Error> {
        let kept = self.sealed(kind.hashed(key), value, expires)?;
        self.backend(kind).put_new(kept, self.clock.now()).await
    }

    /// Changes a value only where there is one: a slow request can't bring back what was deleted.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn replace(
        &self,
        kind: EphemeralKind,
        key: &str,
        value: &impl Serialize,
        expires: Timestamp,
    ) -> Result<bool, Error> {
        let kept = self.sealed(kind.hashed(key), value, expires)?;
        self.backend(kind).replace(kept, self.clock.now()).await
    }

    /// Reads a value that has not expired.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn get<T: DeserializeOwned>(&self, kind: EphemeralKind, key: &str) -> Result<Option<T>, Error> {
        let found = self.backend(kind).get(&[kind.hashed(key)], self.clock.now()).await?;
        let Some(kept) = found.first() else { return Ok(None) };
        match self.opened(kept) {
            // What forbids something forbids it also when it can't be read.
            None if kind.lasts => Err(unavailable(format!("what is kept of {} can't be read", kind.name))),
            opened => Ok(opened),
        }
    }

    /// Reads several values of whatever kinds in one step, each as JSON; none where there is none, or it has expired.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn get_each(&self, wanted: &[(EphemeralKind, &str)]) -> Result<Vec<Option<serde_json::Value>>, Error> {
        let now = self.clock.now();
        let keys: Vec<(bool, String)> = wanted.iter().map(|(kind, key)| (kind.lasts, kind.hashed(key))).collect();
        let mut found: HashMap<String, serde_json::Value> = HashMap::new();
        let part = |lasts: Option<bool>| {
            let of = keys.iter().filter(|(lasting, _)| lasts.is_none_or(|lasts| *lasting == lasts));
            of.map(|(_, key)| key.clone()).collect::<Vec<String>>()
        };
        let parts: Vec<(&dyn Backend, Vec<String>)> = match &self.passing {
            None => vec![(&*self.lasting, part(None))],
            Some(passing) => vec![(&*self.lasting, part(Some(true))), (&**passing, part(Some(false)))],
        };
        for (backend, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
            for one in backend.get(&part, now).await? {
                // What forbids something forbids it also when it can't be read.
                let forbids = keys.iter().any(|(lasts, key)| *lasts && *key == one.key);
                let value = self.opened(&one).or(forbids.then_some(serde_json::Value::Null));
                found.extend(value.map(|value| (one.key, value)));
            }
        }
        Ok(keys.iter().map(|(_, key)| found.remove(key)).collect())
    }

    /// Reads and deletes in one step: of two that ask, one gets it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn take<T: DeserializeOwned>(&self, kind: EphemeralKind, key: &str) -> Result<Option<T>, Error> {
        let now = self.clock.now();
        let Some(kept) = self.backend(kind).take(&kind.hashed(key), now).await? else { return Ok(None) };
        if self.passing.is_some() && !kind.lasts {
            // By its key: a replica may have an older version of it. What is taken has a key that is used once.
            let mark = self.sealed(TAKEN.hashed(&kept.key), &(), kept.expires.plus_seconds(TAKEN_SECONDS))?;
            if !self.lasting.put_new(mark, now).await? {
                return Ok(None);
            }
        }
        Ok(self.opened(&kept))
    }

    /// Deletes a value.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete(&self, kind: EphemeralKind, key: &str) -> Result<(), Error> {
        self.backend(kind).delete(&kind.hashed(key)).await
    }

    /// Writes a value that is found by its owner, too.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_owned(
        &self,
        kind: EphemeralKind,
        owner: &str,
        key: &str,
        value: &impl Serialize,
        expires: Timestamp,
    ) -> Result<(), Error> {
        let kept = self.sealed(kind.hashed(key), value, expires)?;
        self.backend(kind).put(kept, Some(&kind.hashed(owner)), self.clock.now()).await
    }

    /// The values of an owner, those that end last first, at most so many.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn owned<T: DeserializeOwned>(&self, kind: EphemeralKind, owner: &str, most: u32) -> Result<Vec<T>, Error> {
        let kept = self.backend(kind).owned(&kind.hashed(owner), most, self.clock.now()).await?;
        Ok(kept.iter().filter_map(|kept| self.opened(kept)).collect())
    }

    /// Deletes everything that has expired.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn sweep(&self) -> Result<u64, Error> {
        self.lasting.sweep(self.clock.now()).await
    }

    pub(super) async fn close(&self) {
        self.lasting.close().await;
    }

    /// Whoever can write where it is kept can't make it live longer either.
    fn context(key: &str, expires: Timestamp) -> String {
        format!("{key} {}", expires.0)
    }

    fn sealed(&self, key: String, value: &impl Serialize, expires: Timestamp) -> Result<Kept, Error> {
        let plain = serde_json::to_vec(value).map_err(Error::internal)?;
        let sealed = self.ring.seal(Purpose::Ephemeral, &Self::context(&key, expires), &plain).map_err(Error::internal)?;
        Ok(Kept { key, sealed, expires })
    }

    fn opened<T: DeserializeOwned>(&self, kept: &Kept) -> Option<T> {
        let context = Self::context(&kept.key, kept.expires);
        serde_json::from_slice(&self.ring.open(Purpose::Ephemeral, &context, &kept.sealed)?).ok()
    }
}

const BROWSER: EphemeralKind = EphemeralKind::passing("browser");

fn backend(error: Error) -> session_store::Error {
    session_store::Error::Backend(error.private.unwrap_or(error.public))
}

fn expires(record: &Record) -> Timestamp {
    Timestamp::from_seconds(record.expiry_date.unix_timestamp())
}

/// Browser sessions. The cookie's value is never stored, only its hash.
#[async_trait]
impl SessionStore for Ephemeral {
    async fn create(&self, record: &mut Record) -> session_store::Result<()> {
        while !self.put_new(BROWSER, &record.id.to_string(), &record.data, expires(record)).await.map_err(backend)? {
            record.id = Id::default();
        }
        Ok(())
    }

    async fn save(&self, record: &Record) -> session_store::Result<()> {
        self.replace(BROWSER, &record.id.to_string(), &record.data, expires(record)).await.map_err(backend)?;
        Ok(())
    }

    async fn load(&self, id: &Id) -> session_store::Result<Option<Record>> {
        let key = BROWSER.hashed(&id.to_string());
        let found = self.backend(BROWSER).get(&[key], self.clock.now()).await.map_err(backend)?;
        let Some(kept) = found.first() else { return Ok(None) };
        let expiry_date = tower_sessions::cookie::time::OffsetDateTime::from_unix_timestamp(kept.expires.seconds())
            .map_err(|error| session_store::Error::Decode(error.to_string()))?;
        Ok(self.opened(kept).map(|data| Record { id: *id, data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        Self::delete(self, BROWSER, &id.to_string()).await.map_err(backend)
    }
}
