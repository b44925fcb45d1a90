//! Revocations in the store. They are read one by one, and not with the rest of the snapshot: many may come at once, when
//! a company lets many people go.

use super::{Store, WriteTx, sqlite::damaged, unavailable};
use crate::domain::{
    Error, Timestamp,
    revocation::{RevocationScope, Revocations},
};
use sqlx::{Row as _, SqliteConnection};

/// No session lives longer, in **milliseconds**: a revocation that is older says nothing any more.
const LONGEST_SESSION: i64 = 48 * 3600 * 1000;

/// Takes in those that came after the last one that is known.
pub(super) async fn follow(connection: &mut SqliteConnection, revocations: &Revocations) -> Result<(), Error> {
    let number = sqlx::query("SELECT revocations FROM revision").fetch_one(&mut *connection).await.map_err(unavailable)?;
    let (known, last) = (revocations.sequence(), number.get::<i64, _>("revocations"));
    if known >= last {
        return Ok(());
    }
    let query = sqlx::query("SELECT * FROM revocation WHERE sequence > $1").bind(known);
    for row in query.fetch_all(&mut *connection).await.map_err(unavailable)? {
        let scope = RevocationScope::read(row.get("scope"), row.get("value"));
        revocations.add(scope.ok_or_else(|| damaged("revocation", "unknown scope"))?, Timestamp(row.get("before")));
    }
    revocations.reached(last);
    Ok(())
}

impl Store {
    /// Forgets revocations that say nothing any more.
    pub(super) async fn forget_revocations(&self) -> Result<(), Error> {
        let oldest = Timestamp(self.clock.now().0 - LONGEST_SESSION);
        let query = sqlx::query("DELETE FROM revocation WHERE before < $1").bind(oldest.0);
        query.execute(&self.writer).await.map_err(unavailable)?;
        self.revocations.forget(oldest);
        Ok(())
    }
}

impl Store {
    /// What was committed holds from now on.
    pub(super) fn revoke(&self, revoked: Vec<Revoked>) {
        for (scope, before, sequence) in revoked {
            self.revocations.add(scope, before);
            self.revocations.reached(sequence);
        }
    }
}

/// A revocation, and its number.
pub(super) type Revoked = (RevocationScope, Timestamp, i64);

impl WriteTx<'_> {
    /// Ends sessions issued at or before an instant.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn put_revocation(&mut self, scope: &RevocationScope, before: Timestamp) -> Result<(), Error> {
        let next = sqlx::query("UPDATE revision SET revocations = revocations + 1 RETURNING revocations");
        let sequence: i64 = next.fetch_one(&mut *self.tx).await.map_err(unavailable)?.get("revocations");
        let query = sqlx::query(
            "INSERT INTO revocation (scope, value, before, sequence) VALUES ($1, $2, $3, $4)
             ON CONFLICT (scope, value) DO UPDATE SET before = max(before, $3), sequence = $4",
        );
        self.aside(query.bind(scope.word()).bind(scope.value().to_owned()).bind(before.0).bind(sequence)).await?;
        self.revoked.push((scope.clone(), before, sequence));
        Ok(())
    }
}
