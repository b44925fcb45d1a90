//! A table of the embedded store, or of PostgreSQL.

use super::{Backend, Kept};
use crate::{
    domain::{Error, Timestamp},
    store::sql::{self, Database, Row},
};
use async_trait::async_trait;

pub(in crate::store) struct Table(pub(in crate::store) Database);

fn kept(row: &Row) -> Kept {
    Kept { key: row.get("key"), sealed: row.get("value"), expires: Timestamp(row.get("expires")) }
}

/// How long after its end a value is removed, in milliseconds.
const SWEPT_AFTER: i64 = 3_600_000;

/// How many values are asked for at once.
const AT_ONCE: usize = 6;

#[async_trait]
impl Backend for Table {
    async fn put(&self, kept: Kept, owner: Option<&str>, _now: Timestamp) -> Result<(), Error> {
        let sql = "INSERT INTO ephemeral (key, value, expires, owner) VALUES ($1, $2, $3, $4)
                   ON CONFLICT (key) DO UPDATE SET value = $2, expires = $3, owner = $4";
        let query = sql::query(sql).bind(kept.key).bind(kept.sealed).bind(kept.expires.0).bind(owner.map(str::to_owned));
        query.execute(&self.0).await.map(drop)
    }

    async fn put_new(&self, kept: Kept, now: Timestamp) -> Result<bool, Error> {
        let sql = "INSERT INTO ephemeral (key, value, expires) VALUES ($1, $2, $3)
                   ON CONFLICT (key) DO UPDATE SET value = $2, expires = $3 WHERE ephemeral.expires <= $4";
        let query = sql::query(sql).bind(kept.key).bind(kept.sealed).bind(kept.expires.0).bind(now.0);
        Ok(query.execute(&self.0).await? == 1)
    }

    async fn replace(&self, kept: Kept, now: Timestamp) -> Result<bool, Error> {
        let sql = "UPDATE ephemeral SET value = $2, expires = $3 WHERE key = $1 AND expires > $4";
        let query = sql::query(sql).bind(kept.key).bind(kept.sealed).bind(kept.expires.0).bind(now.0);
        Ok(query.execute(&self.0).await? == 1)
    }

    async fn get(&self, keys: &[String], now: Timestamp) -> Result<Vec<Kept>, Error> {
        let mut found = Vec::with_capacity(keys.len());
        for some in keys.chunks(AT_ONCE) {
            // One text whatever the number: it is prepared once.
            let sql = match some.len() {
                1 => "SELECT key, value, expires FROM ephemeral WHERE key = $1 AND expires > $2",
                _ => "SELECT key, value, expires FROM ephemeral WHERE key IN ($1, $2, $3, $4, $5, $6) AND expires > $7",
            };
            let places = if some.len() == 1 { 1 } else { AT_ONCE };
            let query = (0..places).fold(sql::query(sql), |query, number| query.bind(some.get(number)));
            found.extend(query.bind(now.0).fetch_all(&self.0).await?.iter().map(kept));
        }
        Ok(found)
    }

    async fn take(&self, key: &str, now: Timestamp) -> Result<Option<Kept>, Error> {
        let sql = "DELETE FROM ephemeral WHERE key = $1 AND expires > $2 RETURNING key, value, expires";
        let row = sql::query(sql).bind(key).bind(now.0).fetch_optional(&self.0).await?;
        Ok(row.as_ref().map(kept))
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        sql::query("DELETE FROM ephemeral WHERE key = $1").bind(key).execute(&self.0).await.map(drop)
    }

    async fn owned(&self, owner: &str, most: u32, now: Timestamp) -> Result<Vec<Kept>, Error> {
        let sql = "SELECT key, value, expires FROM ephemeral WHERE owner = $1 AND expires > $2 ORDER BY expires DESC LIMIT $3";
        let rows = sql::query(sql).bind(owner).bind(now.0).bind(most).fetch_all(&self.0).await?;
        Ok(rows.iter().map(kept).collect())
    }

    async fn sweep(&self, now: Timestamp) -> Result<u64, Error> {
        // Not by the clock of one node alone, and not at once: a clock that is ahead must not make others forget.
        let sql = self.0.pick(
            "DELETE FROM ephemeral WHERE expires <= $1",
            "DELETE FROM ephemeral WHERE expires <= LEAST($1, CAST(extract(epoch FROM clock_timestamp()) * 1000 AS BIGINT) - 3600000)",
        );
        sql::query(sql).bind(now.0 - SWEPT_AFTER).execute(&self.0).await
    }

    async fn reach(&self) -> Result<(), Error> {
        sql::query("SELECT 1 AS one FROM ephemeral LIMIT 1").fetch_optional(&self.0).await.map(drop)
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
