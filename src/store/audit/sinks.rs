//! How far the audit log was exported, sink by sink. The log itself is the queue: a sink that is away misses nothing and holds
//! nobody up.

use super::{AuditEvent, event};
use crate::{
    domain::Error,
    store::{Store, sql},
};

/// Records handed to a sink at once, and bytes of their details: receivers have limits.
const BATCH: u32 = 200;
const BATCH_BYTES: usize = 256 * 1024;
/// For how long one node exports to a sink before another may, in milliseconds.
const TURN: i64 = 30_000;

impl Store {
    /// The records that a sink has not got, the oldest first, at most so many; none when there are none, or another
    /// node exports to it.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn unexported(&self, sink: &str, node: &str, most: u32) -> Result<Vec<AuditEvent>, Error> {
        let now = self.clock.now().0;
        let known =
            sql::query("INSERT INTO audit_sink (name, sequence, node, until) VALUES ($1, 0, '', 0) ON CONFLICT DO NOTHING");
        known.bind(sink).execute(&self.writer).await?;
        let turn = "UPDATE audit_sink SET node = $2, until = $3 WHERE name = $1 AND (node = $2 OR until < $4) RETURNING sequence";
        let row = sql::query(turn).bind(sink).bind(node).bind(now + TURN).bind(now).fetch_optional(&self.writer).await?;
        let Some(row) = row else { return Ok(Vec::new()) };
        let query = sql::query("SELECT * FROM audit WHERE sequence > $1 ORDER BY sequence LIMIT $2");
        let rows = query.bind(row.get::<i64>("sequence")).bind(most.min(BATCH)).fetch_all(&self.readers).await?;
        let mut bytes = 0;
        let fits = |row: &&sql::Row| {
            let before = bytes;
            bytes += row.get::<&str>("detail").len();
            // One is always taken, however large.
            before == 0 || bytes <= BATCH_BYTES
        };
        Ok(rows.iter().take_while(fits).map(event).collect())
    }

    /// A sink has got everything up to a record.
    ///
    /// # Errors
    /// `Unavailable`: then it will get some of it once more.
    pub async fn exported(&self, sink: &str, node: &str, to: i64) -> Result<(), Error> {
        let query = sql::query("UPDATE audit_sink SET sequence = $3 WHERE name = $1 AND node = $2 AND sequence < $3");
        query.bind(sink).bind(node).bind(to).execute(&self.writer).await.map(drop)
    }

    /// Up to where every one of these sinks has got everything.
    pub(super) async fn exported_to(&self, sinks: &[&str]) -> Result<i64, Error> {
        let mut least = i64::MAX;
        for sink in sinks {
            let query = sql::query("SELECT coalesce(max(sequence), 0) AS sequence FROM audit_sink WHERE name = $1").bind(*sink);
            least = least.min(query.fetch_one(&self.readers).await?.get("sequence"));
        }
        Ok(least)
    }

    /// How many records a sink has not got.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn export_lag(&self, sink: &str) -> Result<i64, Error> {
        let query = sql::query(
            "SELECT audit_head.sequence - coalesce((SELECT sequence FROM audit_sink WHERE name = $1), 0) AS lag FROM audit_head",
        );
        Ok(query.bind(sink).fetch_one(&self.readers).await?.get("lag"))
    }
}
