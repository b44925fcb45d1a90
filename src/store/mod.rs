//! The system of record, the snapshot decisions are made on, and what may be forgotten.
//!
//! [`Store::begin`] takes a [`Permit`]: without a yes of the policy engine there is no transaction. A transaction opens its
//! audit record first and closes it with the commit, so nothing is changed without a trace and nothing is acknowledged
//! before both are on disk.

pub mod audit;
mod compute;
mod directory;
pub mod ephemeral;
mod factors;
mod favourites;
pub mod keys;
mod ledger;
mod proposals;
pub mod recordings;
mod revocations;
pub mod snapshot;
mod sqlite;
mod structure;
mod tokens;
mod users;

pub use audit::{AuditEvent, AuditFilter, AuditRecord, Notes};
pub use directory::{Narrow, PASSWORD_LINK, Slice};
pub use ephemeral::Ephemeral;
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
use sqlx::{
    Row as _, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use std::{path::Path, sync::Arc, time::Duration};

/// How stale another process's changes may be seen here, at most, in milliseconds.
pub const SNAPSHOT_POLL_MILLISECONDS: u64 = 1000;

/// The embedded store: SQLite, one writer, write-ahead log, full sync.
pub struct Store {
    writer: SqlitePool,
    ledger: ledger::Ledger,
    readers: SqlitePool,
    snapshot: ArcSwap<Snapshot>,
    revocations: Arc<Revocations>,
    ring: Arc<KeyRing>,
    master: KeyRing,
    random: Arc<dyn Random>,
    clock: Arc<dyn Clock>,
    ephemeral: Ephemeral,
    signing: keys::CertifiedKey,
    encryption: tokio::sync::OnceCell<keys::CertifiedKey>,
    client: tokio::sync::OnceCell<keys::ClientKey>,
    token_keys: keys::TokenKeys,
    refusals: audit::RefusalBudget,
    last_uses: users::LastUses,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Store")
    }
}

impl Store {
    /// Opens (or makes) the store in a folder. `master_key` seals the ring's keys.
    ///
    /// # Errors
    /// `Unavailable` when a file can't be opened, is damaged, or the master key is not the one it was made with.
    pub async fn open(
        folder: &Path,
        master_key: &[u8; 32],
        random: Arc<dyn Random>,
        clock: Arc<dyn Clock>,
    ) -> Result<Arc<Self>, Error> {
        let file = folder.join("daypass.sqlite");
        let writer = pool(&file, 1).await?;
        sqlx::migrate!("src/store/migrations/system").run(&writer).await.map_err(unavailable)?;
        directory::renew_keys(&writer).await?;
        let readers = pool(&file, 4).await?;
        let master = keys::master_ring(master_key, random.clone())?;
        let (ring_keys, _) = keys::read_ring(&writer, &master, &*random, clock.now()).await?;
        let ring = Arc::new(KeyRing::new(&ring_keys, random.clone()).map_err(Error::internal)?);
        let signing = keys::open_certified_key(&writer, &ring, keys::SamlPurpose::Signing).await?;
        let token_keys = keys::open_token_keys(&writer, &ring).await?;
        let ephemeral = Ephemeral::open(&folder.join("ephemeral.sqlite"), ring.clone(), clock.clone()).await?;
        let revocations = Arc::default();
        let snapshot = sqlite::load(&readers, &ring, &revocations, None).await?;
        Ok(Arc::new(Self {
            ledger: ledger::Ledger::open(writer.clone()),
            writer,
            readers,
            snapshot: ArcSwap::from_pointee(snapshot),
            revocations,
            ring,
            master,
            random,
            clock,
            ephemeral,
            signing,
            encryption: tokio::sync::OnceCell::new(),
            client: tokio::sync::OnceCell::new(),
            token_keys,
            refusals: audit::RefusalBudget::default(),
            last_uses: users::LastUses::default(),
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

    /// The key that signs our SAML requests and metadata.
    #[must_use]
    pub const fn signing_key(&self) -> &keys::CertifiedKey {
        &self.signing
    }

    /// The key that assertions are encrypted to. Made when it is first asked for.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn encryption_key(&self) -> Result<&keys::CertifiedKey, Error> {
        let open = || keys::open_certified_key(&self.writer, &self.ring, keys::SamlPurpose::Encryption);
        self.encryption.get_or_try_init(open).await
    }

    /// The key that a client of ours authenticates with. Made when it is first asked for.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn client_key(&self) -> Result<&keys::ClientKey, Error> {
        self.client.get_or_try_init(|| keys::open_client_key(&self.writer, &self.ring)).await
    }

    /// The keys that sign web identity tokens of ours.
    #[must_use]
    pub const fn token_keys(&self) -> &keys::TokenKeys {
        &self.token_keys
    }

    /// What may be forgotten after its time.
    #[must_use]
    pub const fn ephemeral(&self) -> &Ephemeral {
        &self.ephemeral
    }

    /// Opens a transaction and its audit record, against a permit.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn begin(&self, permit: &Permit, mut record: AuditRecord) -> Result<WriteTx<'_>, Error> {
        record.basis(permit.actions());
        let mut tx = self.writer.begin_with("BEGIN IMMEDIATE").await.map_err(unavailable)?;
        let revision: i64 =
            sqlx::query("SELECT number FROM revision").fetch_one(&mut *tx).await.map_err(unavailable)?.get("number");
        if revision != self.snapshot.load().revision {
            self.renew_ring().await?;
            self.snapshot
                .store(Arc::new(sqlite::load(&self.readers, &self.ring, &self.revocations, Some(&self.snapshot())).await?));
        }
        revocations::follow(&mut tx, &self.revocations).await?;
        Ok(WriteTx { store: self, tx, snapshot: self.snapshot(), record, changed: false, revoked: Vec::new() })
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

    /// Follows changes that other processes commit, until it is dropped. See [`SNAPSHOT_POLL_MILLISECONDS`]. Recordings of
    /// sign-ins are kept for so many days.
    pub async fn follow(self: Arc<Self>, recordings_days: i64) {
        let mut tick = tokio::time::interval(Duration::from_millis(SNAPSHOT_POLL_MILLISECONDS));
        let mut ticks = 0_u64;
        loop {
            tick.tick().await;
            if let Err(error) = self.refresh().await {
                tracing::warn!(error = error.private.as_deref(), "the store can't be read");
            }
            ticks += 1;
            if ticks.is_multiple_of(10)
                && let Err(error) = self.renew_ring().await
            {
                tracing::warn!(error = error.private.as_deref(), "the ring's keys can't be read");
            }
            if ticks.is_multiple_of(3600)
                && let Err(error) = self.forget_recordings(self.clock.now().plus_seconds(-86_400 * recordings_days)).await
            {
                tracing::warn!(error = error.private.as_deref(), "old recordings of sign-ins could not be removed");
            }
            if ticks.is_multiple_of(15)
                && let Err(error) = self.write_last_uses().await
            {
                tracing::warn!(error = error.private.as_deref(), "last uses of access keys could not be written");
            }
            if ticks.is_multiple_of(3600)
                && let Err(error) = self.forget_revocations().await
            {
                tracing::warn!(error = error.private.as_deref(), "old revocations could not be removed");
            }
            if ticks.is_multiple_of(60)
                && let Err(error) = self.ephemeral.sweep().await
            {
                tracing::warn!(error = error.private.as_deref(), "expired sessions could not be removed");
            }
        }
    }

    /// Swaps the snapshot when the store has moved on. Also the readiness probe.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn refresh(&self) -> Result<(), Error> {
        let row = sqlx::query("SELECT * FROM revision").fetch_one(&self.readers).await.map_err(unavailable)?;
        if row.get::<i64, _>("number") != self.snapshot.load().revision {
            self.renew_ring().await?;
            let next = sqlite::load(&self.readers, &self.ring, &self.revocations, Some(&self.snapshot())).await?;
            if next.revision > self.snapshot.load().revision {
                self.snapshot.store(Arc::new(next));
            }
        }
        if row.get::<i64, _>("revocations") > self.revocations.sequence() {
            let mut connection = self.readers.acquire().await.map_err(unavailable)?;
            revocations::follow(&mut connection, &self.revocations).await?;
        }
        Ok(())
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

    /// Closes the files in order.
    pub async fn close(&self) {
        if let Err(error) = self.write_last_uses().await {
            tracing::warn!(error = error.private.as_deref(), "last uses of access keys could not be written");
        }
        self.readers.close().await;
        self.writer.close().await;
        self.ephemeral.close().await;
    }
}

async fn pool(file: &Path, connections: u32) -> Result<SqlitePool, Error> {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(10));
    SqlitePoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(Duration::from_secs(10))
        // A file has no connection that could be gone: asking first would double what a read costs.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(|error| unavailable(format!("{}: {error}", file.display())))
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
    tx: sqlx::Transaction<'static, sqlx::Sqlite>,
    /// As of the beginning of the transaction; no other change can come between.
    pub snapshot: Arc<Snapshot>,
    record: AuditRecord,
    changed: bool,
    /// What holds once it is committed.
    revoked: Vec<revocations::Revoked>,
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
                    sqlx::query("UPDATE revision SET number = number + 1").execute(&mut *self.tx).await.map_err(unavailable)?;
                }
                let (store, revoked) = (self.store, std::mem::take(&mut self.revoked));
                self.tx.commit().await.map_err(unavailable)?;
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
                self.tx.rollback().await.map_err(unavailable)?;
                self.record.fail(error);
                self.store.record(self.record).await
            }
        }
    }
}
