//! Revocations in the store. They are read one by one, and not with the rest of the snapshot: many may come at once, when
//! a company lets many people go.

use super::{
    Store, WriteTx,
    entities::damaged,
    sql::{self, Tx},
};
use crate::domain::{
    Error, Timestamp,
    revocation::{RevocationScope, Revocations},
};

/// No session lives longer, in **milliseconds**: a revocation that is older says nothing any more.
const LONGEST_SESSION: i64 = 48 * 3600 * 1000;

/// Takes in those that came after the last one that is known.
pub(super) async fn follow(tx: &mut Tx, revocations: &Revocations) -> Result<(), Error> {
    let number = sql::query("SELECT revocations FROM revision").fetch_one(&mut *tx).await?;
    let (known, last) = (revocations.sequence(), number.get::<i64>("revocations"));
    if known >= last {
        return Ok(());
    }
    let query = sql::query("SELECT * FROM revocation WHERE sequence > $1").bind(known);
    for row in query.fetch_all(&mut *tx).await? {
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
        let query = sql::query("DELETE FROM revocation WHERE before < $1").bind(oldest.0);
        query.execute(&self.writer).await?;
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
        let next = sql::query("UPDATE revision SET revocations = revocations + 1 RETURNING revocations");
        let sequence: i64 = next.fetch_one(&mut self.tx).await?.get("revocations");
        let query = sql::query(
            "INSERT INTO revocation (scope, value, before, sequence) VALUES ($1, $2, $3, $4)
             ON CONFLICT (scope, value) DO UPDATE SET before = CASE WHEN revocation.before > $3 THEN revocation.before ELSE $3 END, sequence = $4",
        );
        self.aside(query.bind(scope.word()).bind(scope.value().to_owned()).bind(before.0).bind(sequence)).await?;
        self.revoked.push((scope.clone(), before, sequence));
        Ok(())
    }
}
