//! The system of record, the snapshot decisions are made on, and what may be forgotten.
//!
//! [`Store::begin`] takes a [`Permit`]: without a yes of the policy engine there is no transaction. A transaction opens its
//! audit record first and closes it with the commit, so nothing is changed without a trace and nothing is acknowledged
//! before both are on disk.

pub mod audit;
mod backup;
mod compute;
mod copy;
mod directory;
mod entities;
pub mod ephemeral;
mod factors;
mod favourites;
mod follow;
pub mod keys;
mod location;
mod proposals;
pub mod recordings;
mod revocations;
pub mod snapshot;
mod sql;
mod structure;
mod tokens;
mod users;

pub use audit::{AuditEvent, AuditFilter, AuditRecord, ChainReport, Head, Notes, REQUEST_PARAMETERS, USER_IDENTITY};
pub use backup::{Restored, restore};
pub use copy::{CopiedTable, move_store};
pub use directory::{Narrow, PASSWORD_LINK, Slice};
pub use ephemeral::{Ephemeral, EphemeralKind};
pub use follow::{Retention, STALE_SECONDS};
pub use location::{Location, PostgresLocation, RedisLocation, RedisTopology, SystemLocation};
pub use proposals::TrustProposal;
pub use recordings::{RecordedAttempt, RecordingFilter};
pub use snapshot::{Snapshot, State};
pub(crate) use structure::assigned_trust;

use crate::{
    crypto::seal::KeyRing,
    domain::{Clock, Error, ErrorKind, Random, revocation::Revocations},
    policy::Permit,
};
use arc_swap::ArcSwap;
use ephemeral::{Redis, Table};
use sql::Database;
use std::{sync::Arc, time::Duration};
use tokio::sync::{Mutex, OwnedMutexGuard};

/// How long a change may wait for its turn behind others of this node, in seconds.
const PEN_SECONDS: u64 = 10;

/// The store: the embedded one (SQLite, one writer, write-ahead log, full sync), or PostgreSQL with or without Redis.
pub struct Store {
    /// One change at a time; those of other nodes wait at the database.
    pen: Arc<Mutex<()>>,
    writer: Database,
    ledger: audit::Ledger,
    readers: Database,
    snapshot: ArcSwap<Snapshot>,
    revocations: Arc<Revocations>,
    freshness: follow::Freshness,
    ring: Arc<KeyRing>,
    master: KeyRing,
    random: Arc<dyn Random>,
    clock: Arc<dyn Clock>,
    ephemeral: Ephemeral,
    keys: keys::signing::LoadedKeys,
    refusals: audit::RefusalBudget,
    last_uses: users::LastUses,
    /// The newest record that this node knows to follow from all before it.
    sealed: Mutex<Option<audit::Head>>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens (or makes) a store. `master_key` seals the ring's keys.
    ///
    /// # Errors
    /// `Unavailable` when a file can't be opened or is damaged, the database can't be reached, or the master key is not the one it
    /// was made with.
    pub async fn open(
        location: &Location,
        master_key: &[u8; 32],
        random: Arc<dyn Random>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let (writer, readers, table) = match &location.system {
            SystemLocation::Folder(folder) => {
                let file = folder.join("daypass.sqlite");
                let (writer, ephemeral) =
                    (Database::file(&file, 1).await?, Database::file(&folder.join("ephemeral.sqlite"), 1).await?);
                migrate(&writer, &ephemeral).await?;
                directory::renew_keys(&writer).await?;
                (writer, Database::file(&file, 4).await?, Table(ephemeral))
            }
            SystemLocation::Postgres(postgres) => {
                let (writer, readers) = postgres.pools()?;
                migrate(&writer, &writer).await?;
                (writer, readers.clone(), Table(readers))
            }
        };
        if sql::query("SELECT closed FROM revision").fetch_one(&readers).await?.get::<bool>("closed") {
            return Err(Error::new(ErrorKind::Unavailable, "this organization was moved to another database: use that one"));
        }
        audit::begin_chain(&writer).await?;
        let master = keys::master_ring(master_key, random.clone())?;
        let (ring_keys, _) = keys::read_ring(&writer, &master, &*random, clock.now()).await?;
        let ring = Arc::new(KeyRing::new(&ring_keys, random.clone()).map_err(Error::internal)?);
        let keys = keys::signing::LoadedKeys::open(&writer, &ring, clock.now()).await?;
        let redis = location.redis.clone().map(Redis::new);
        let ephemeral = Ephemeral::new(table, redis, ring.clone(), clock.clone());
        let revocations = Arc::default();
        let snapshot = entities::load(&readers, &ring, &revocations, None).await?;
        Ok(Arc::new(Self {
            pen: Arc::default(),
            ledger: audit::Ledger::open(writer.clone()),
            writer,
            readers,
            snapshot: ArcSwap::from_pointee(snapshot),
            revocations,
            freshness: follow::Freshness::default(),
            ring,
            master,
            random,
            clock,
            ephemeral,
            keys,
            refusals: audit::RefusalBudget::default(),
            last_uses: users::LastUses::default(),
            sealed: Mutex::default(),
        }))
    }

    /// The current snapshot: immutable, complete, swapped after each commit.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// The ring that seals session tokens and stored secrets.
    #[must_use]
    pub const fn ring(&self) -> &Arc<KeyRing> {
        &self.ring
    }

    /// What may be forgotten after its time.
    #[must_use]
    pub const fn ephemeral(&self) -> &Ephemeral {
        &self.ephemeral
    }

    /// Opens a transaction and its audit record, against a permit; none where the store has moved on since that was decided.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn begin(&self, permit: &Permit, decided_on: State, mut record: AuditRecord) -> Result<Option<WriteTx<'_>>, Error> {
        record.basis(permit.actions());
        let turn = tokio::time::timeout(Duration::from_secs(PEN_SECONDS), self.pen.clone().lock_owned());
        let pen = turn.await.map_err(|_| unavailable("other changes take too long"))?;
        let mut tx = self.writer.begin_write().await?;
        let sql = self.writer.pick("SELECT number FROM revision", "SELECT number FROM revision FOR UPDATE");
        let revision: i64 = sql::query(sql).fetch_one(&mut tx).await?.get("number");
        if revision != self.snapshot.load().revision {
            self.renew_ring().await?;
            let known = self.snapshot.load().revision;
            self.load_snapshot((revision < known).then_some(known)).await?;
        }
        revocations::follow(&mut tx, &self.revocations).await?;
        let snapshot = self.snapshot();
        if snapshot.state() != decided_on {
            tx.rollback().await?;
            return Ok(None);
        }
        Ok(Some(WriteTx { store: self, tx, snapshot, record, changed: false, revoked: Vec::new(), _pen: pen }))
    }

    /// Opens the record of something that changes no entity, against a permit.
    #[must_use]
    pub fn begin_record(&self, permit: &Permit, mut record: AuditRecord) -> RecordTx<'_> {
        record.basis(permit.actions());
        RecordTx { store: self, snapshot: self.snapshot(), record }
    }

    /// Writes an audit record that belongs to no change: a refusal, or a look at something sensitive.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn record(&self, record: AuditRecord) -> Result<(), Error> {
        if !self.refusals.allows(&record) {
            tracing::warn!("too many refusals of anonymous callers in this minute: this one is in the log alone");
            return Ok(());
        }
        self.ledger.write(record).await
    }

    /// Reads outside of any change.
    #[must_use]
    pub fn read(&self) -> ReadTx<'_> {
        ReadTx { store: self, snapshot: self.snapshot() }
    }

    /// Connections: of which pool, how many, and how many of them do nothing.
    #[must_use]
    pub fn connections(&self) -> [(&'static str, u32, usize); 2] {
        let (writers, idle_writers) = self.writer.connections();
        let (readers, idle_readers) = self.readers.connections();
        [("writers", writers, idle_writers), ("readers", readers, idle_readers)]
    }

    /// Reads the ring's keys anew: one may have been added, or have become old enough to seal.
    ///
    /// # Errors
    /// `Unavailable`: the keys so far stay.
    pub async fn renew_ring(&self) -> Result<Vec<keys::RingKeyInfo>, Error> {
        let (keys, infos) = keys::read_ring(&self.readers, &self.master, &*self.random, self.clock.now()).await?;
        self.ring.replace(&keys).map_err(Error::internal)?;
        Ok(infos)
    }

    /// Closes everything in order.
    pub async fn close(&self) {
        if let Err(error) = self.seal_audit().await {
            tracing::warn!(error = error.private.as_deref(), "the audit log could not be signed");
        }
        if let Err(error) = self.write_last_uses().await {
            tracing::warn!(error = error.private.as_deref(), "last uses of access keys could not be written");
        }
        self.readers.close().await;
        self.writer.close().await;
        self.ephemeral.close().await;
    }
}

/// Brings the schema up to date: of the organization, and of ephemeral state where that is elsewhere.
async fn migrate(system: &Database, ephemeral: &Database) -> Result<(), Error> {
    match (system, ephemeral) {
        (Database::Sqlite(system), Database::Sqlite(ephemeral)) => {
            sqlx::migrate!("src/store/migrations/system").run(system).await.map_err(unavailable)?;
            sqlx::migrate!("src/store/migrations/ephemeral").run(ephemeral).await.map_err(unavailable)
        }
        (Database::Postgres(system), _) => sqlx::migrate!("src/store/migrations/postgres").run(system).await.map_err(unavailable),
        (Database::Sqlite(_), Database::Postgres(_)) => Err(unavailable("a store has one database")),
    }
}

/// The store can't do it now; details are for the log.
fn unavailable(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Unavailable, "the service is not available right now, please try again").with_private(error)
}

/// A read: the snapshot, and what is read on demand.
#[derive(Clone, Debug)]
pub struct ReadTx<'s> {
    store: &'s Store,
    /// Everything authorization needs.
    pub snapshot: Arc<Snapshot>,
}

/// Something done that changes no entity (a credential issued, a person signed in): it holds no lock while it works, and its
/// audit record is on disk before it is acknowledged.
#[derive(Debug)]
pub struct RecordTx<'s> {
    store: &'s Store,
    /// Everything authorization needs.
    pub snapshot: Arc<Snapshot>,
    record: AuditRecord,
}

impl RecordTx<'_> {
    /// Adds to the audit record. Never a secret.
    pub fn note(&mut self, key: &str, value: impl serde::Serialize) {
        self.record.note(key, value);
    }

    /// Writes the record.
    ///
    /// # Errors
    /// `Unavailable`: then nothing may be handed out.
    pub async fn finish(mut self, outcome: Result<(), &Error>) -> Result<(), Error> {
        match outcome {
            // A client that waits for its person is no event.
            Err(error) if matches!(error.kind, ErrorKind::AuthorizationPending | ErrorKind::SlowDown) => return Ok(()),
            Err(error) => self.record.fail(error),
            Ok(()) => {}
        }
        self.store.record(self.record).await
    }
}

/// A change: commits together with its audit record, or not at all.
#[derive(Debug)]
pub struct WriteTx<'s> {
    store: &'s Store,
    tx: sql::Tx,
    /// As of the beginning of the transaction; no other change can come between.
    pub snapshot: Arc<Snapshot>,
    record: AuditRecord,
    changed: bool,
    /// What holds once it is committed.
    revoked: Vec<revocations::Revoked>,
    /// Given back last.
    _pen: OwnedMutexGuard<()>,
}

impl WriteTx<'_> {
    /// Adds to the audit record of this change. Never a secret.
    pub fn note(&mut self, key: &str, value: impl serde::Serialize) {
        self.record.note(key, value);
    }

    /// Commits, or rolls back and keeps the record of the failure.
    ///
    /// # Errors
    /// `Unavailable`: then nothing was acknowledged, and nothing was changed.
    pub async fn finish(mut self, outcome: Result<(), &Error>) -> Result<(), Error> {
        match outcome {
            Ok(()) => {
                audit::write_all(std::slice::from_mut(&mut self.record), &mut self.tx).await?;
                if self.changed {
                    let query = sql::query("UPDATE revision SET number = number + 1, changed = $1");
                    query.bind(self.store.clock.now().0).execute(&mut self.tx).await?;
                }
                if self.changed || !self.revoked.is_empty() {
                    follow::notify(&mut self.tx).await?;
                }
                let (store, revoked) = (self.store, std::mem::take(&mut self.revoked));
                self.tx.commit().await?;
                store.revoke(revoked);
                if self.changed
                    && let Err(error) = store.refresh().await
                {
                    // The change is on disk and acknowledged; the follower tries again within a second.
                    tracing::error!(error = error.private.as_deref(), "the snapshot could not be renewed");
                }
                Ok(())
            }
            Err(error) => {
                self.tx.rollback().await?;
                self.record.fail(error);
                self.store.record(self.record).await
            }
        }
    }
}
