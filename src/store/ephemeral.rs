//! What may be forgotten after its time: browser sessions, sign-in steps, one-time marks, device codes, bearer tokens.
//!
//! Kept across a restart, sealed, and in a file of its own, so that it never waits for a change of the organization.
//! Keys are hashed before they are stored: a copy of the file is not a bag of live sessions.

use super::{pool, unavailable};
use crate::{
    crypto::{
        seal::{KeyRing, Purpose},
        sha256_hex,
    },
    domain::{Clock, Error, Timestamp},
};
use async_trait::async_trait;
use serde::{Serialize, de::DeserializeOwned};
use sqlx::{Row as _, SqlitePool};
use std::{collections::HashMap, path::Path, sync::Arc};
use tower_sessions::{
    SessionStore,
    session::{Id, Record},
    session_store,
};

/// Ephemeral state. A kind (`"step"`, `"token"` …) keeps each use's keys apart.
#[derive(Clone)]
pub struct Ephemeral {
    pool: SqlitePool,
    ring: Arc<KeyRing>,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Ephemeral {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Ephemeral")
    }
}

impl Ephemeral {
    pub(super) async fn open(file: &Path, ring: Arc<KeyRing>, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let pool = pool(file, 1).await?;
        sqlx::migrate!("src/store/migrations/ephemeral").run(&pool).await.map_err(unavailable)?;
        Ok(Self { pool, ring, clock })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }

    /// Writes a value, over any old one.
    ///
    /// # Errors
    /// `Unavailable`, as for everything here.
    pub async fn put(&self, kind: &str, key: &str, value: &impl Serialize, expires: Timestamp) -> Result<(), Error> {
        let key = hashed(kind, key);
        let sql = "INSERT INTO ephemeral (key, value, expires) VALUES ($1, $2, $3)
                   ON CONFLICT (key) DO UPDATE SET value = $2, expires = $3";
        let value = self.sealed(&key, value)?;
        sqlx::query(sql).bind(key).bind(value).bind(expires.0).execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
    }

    /// Writes a value only where there is none (an expired one counts as none). Returns whether it did: the one-time mark.
    ///
    /// # Errors
    /// `Unavailable`: then the caller must refuse.
    pub async fn put_new(&self, kind: &str, key: &str, value: &impl Serialize, expires: Timestamp) -> Result<bool, Error> {
        let key = hashed(kind, key);
        let sql = "INSERT INTO ephemeral (key, value, expires) VALUES ($1, $2, $3)
                   ON CONFLICT (key) DO UPDATE SET value = $2, expires = $3 WHERE expires <= $4";
        let value = self.sealed(&key, value)?;
        let query = sqlx::query(sql).bind(key).bind(value).bind(expires.0).bind(self.clock.now().0);
        Ok(query.execute(&self.pool).await.map_err(unavailable)?.rows_affected() == 1)
    }

    /// Changes a value only where there is one: a slow request can't bring back what was deleted.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn replace(&self, kind: &str, key: &str, value: &impl Serialize, expires: Timestamp) -> Result<bool, Error> {
        let key = hashed(kind, key);
        let value = self.sealed(&key, value)?;
        let sql = "UPDATE ephemeral SET value = $2, expires = $3 WHERE key = $1 AND expires > $4";
        let query = sqlx::query(sql).bind(key).bind(value).bind(expires.0).bind(self.clock.now().0);
        Ok(query.execute(&self.pool).await.map_err(unavailable)?.rows_affected() == 1)
    }

    /// Reads a value that has not expired.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn get<T: DeserializeOwned>(&self, kind: &str, key: &str) -> Result<Option<T>, Error> {
        let key = hashed(kind, key);
        let sql = "SELECT value FROM ephemeral WHERE key = $1 AND expires > $2";
        let query = sqlx::query(sql).bind(&key).bind(self.clock.now().0);
        let row = query.fetch_optional(&self.pool).await.map_err(unavailable)?;
        Ok(row.and_then(|row| self.opened(&key, row.get("value"))))
    }

    /// Reads several values of whatever kinds in one step, each as JSON; none where there is none, or it has expired.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn get_each(&self, wanted: &[(&str, &str)]) -> Result<Vec<Option<serde_json::Value>>, Error> {
        let keys: Vec<String> = wanted.iter().map(|(kind, key)| hashed(kind, key)).collect();
        let mut found: HashMap<String, serde_json::Value> = HashMap::new();
        for some in keys.chunks(AT_ONCE) {
            let sql = "SELECT key, value FROM ephemeral WHERE key IN ($1, $2, $3, $4, $5, $6) AND expires > $7";
            let query = (0..AT_ONCE).fold(sqlx::query(sql), |query, number| query.bind(some.get(number)));
            let rows = query.bind(self.clock.now().0).fetch_all(&self.pool).await.map_err(unavailable)?;
            for row in rows {
                let key: String = row.get("key");
                if let Some(value) = self.opened(&key, row.get("value")) {
                    found.insert(key, value);
                }
            }
        }
        Ok(keys.iter().map(|key| found.remove(key)).collect())
    }

    /// Reads and deletes in one step: of two that ask, one gets it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn take<T: DeserializeOwned>(&self, kind: &str, key: &str) -> Result<Option<T>, Error> {
        let key = hashed(kind, key);
        let sql = "DELETE FROM ephemeral WHERE key = $1 AND expires > $2 RETURNING value";
        let query = sqlx::query(sql).bind(&key).bind(self.clock.now().0);
        let row = query.fetch_optional(&self.pool).await.map_err(unavailable)?;
        Ok(row.and_then(|row| self.opened(&key, row.get("value"))))
    }

    /// Deletes a value.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn delete(&self, kind: &str, key: &str) -> Result<(), Error> {
        let query = sqlx::query("DELETE FROM ephemeral WHERE key = $1").bind(hashed(kind, key));
        query.execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
    }

    /// Writes a value that is found by its owner, too.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_owned(
        &self,
        kind: &str,
        owner: &str,
        key: &str,
        value: &impl Serialize,
        expires: Timestamp,
    ) -> Result<(), Error> {
        let (owner, key) = (hashed(kind, owner), hashed(kind, key));
        let sql = "INSERT INTO ephemeral (key, value, expires, owner) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (key) DO UPDATE SET value = $2, expires = $3, owner = $4";
        let value = self.sealed(&key, value)?;
        let query = sqlx::query(sql).bind(key).bind(value).bind(expires.0).bind(owner);
        query.execute(&self.pool).await.map_err(unavailable)?;
        Ok(())
    }

    /// The values of an owner, those that end last first, at most so many.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn owned<T: DeserializeOwned>(&self, kind: &str, owner: &str, most: u32) -> Result<Vec<T>, Error> {
        let sql = "SELECT key, value FROM ephemeral WHERE owner = $1 AND expires > $2 ORDER BY expires DESC LIMIT $3";
        let query = sqlx::query(sql).bind(hashed(kind, owner)).bind(self.clock.now().0).bind(most);
        let rows = query.fetch_all(&self.pool).await.map_err(unavailable)?;
        Ok(rows.iter().filter_map(|row| self.opened(row.get("key"), row.get("value"))).collect())
    }

    /// Deletes everything that has expired.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn sweep(&self) -> Result<u64, Error> {
        let query = sqlx::query("DELETE FROM ephemeral WHERE expires <= $1").bind(self.clock.now().0);
        Ok(query.execute(&self.pool).await.map_err(unavailable)?.rows_affected())
    }

    fn sealed(&self, key: &str, value: &impl Serialize) -> Result<Vec<u8>, Error> {
        let plain = serde_json::to_vec(value).map_err(Error::internal)?;
        self.ring.seal(Purpose::Ephemeral, key, &plain).map_err(Error::internal)
    }

    fn opened<T: DeserializeOwned>(&self, key: &str, sealed: &[u8]) -> Option<T> {
        serde_json::from_slice(&self.ring.open(Purpose::Ephemeral, key, sealed)?).ok()
    }
}

/// How many values [`Ephemeral::get_each`] asks for at once.
const AT_ONCE: usize = 6;

fn hashed(kind: &str, key: &str) -> String {
    format!("{kind}/{}", sha256_hex(key))
}

const BROWSER: &str = "browser";

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
        let key = hashed(BROWSER, &id.to_string());
        let sql = "SELECT value, expires FROM ephemeral WHERE key = $1 AND expires > $2";
        let query = sqlx::query(sql).bind(&key).bind(self.clock.now().0);
        let row = query.fetch_optional(&self.pool).await.map_err(|error| backend(unavailable(error)))?;
        let Some(row) = row else { return Ok(None) };
        let seconds = Timestamp(row.get("expires")).seconds();
        let expiry_date = tower_sessions::cookie::time::OffsetDateTime::from_unix_timestamp(seconds)
            .map_err(|error| session_store::Error::Decode(error.to_string()))?;
        Ok(self.opened(&key, row.get("value")).map(|data| Record { id: *id, data, expiry_date }))
    }

    async fn delete(&self, id: &Id) -> session_store::Result<()> {
        Self::delete(self, BROWSER, &id.to_string()).await.map_err(backend)
    }
}
