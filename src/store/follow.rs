//! Following what other nodes commit, and the housekeeping of a store.
//!
//! PostgreSQL notifies every node of a commit; behind that stands a look every [`POLL_MILLISECONDS`], which also finds what
//! other processes did to the embedded store. A node that could not look for [`STALE_SECONDS`] decides nothing any more: it may
//! not know of a revocation.

use super::{
    Store, entities, revocations,
    sql::{self, Database, Dialect, Tx},
    unavailable,
};
use crate::domain::Error;
use sqlx::postgres::PgListener;
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// How often other nodes' changes are looked for, in milliseconds, when nobody tells of them.
const POLL_MILLISECONDS: u64 = 500;
/// A node that could not look for so long decides nothing any more, in seconds.
pub const STALE_SECONDS: u64 = 5;
/// Before the first look.
const UNKNOWN: i64 = i64::MIN;
/// Where commits are told.
const CHANNEL: &str = "daypass";

/// How long things are kept.
#[derive(Clone, Debug)]
pub struct Retention {
    /// Recordings of sign-ins, in days.
    pub recordings_days: i64,
    /// Audit records, in days; none: for ever.
    pub audit_days: Option<i64>,
    /// Where audit records have to be before they go.
    pub sinks: Vec<&'static str>,
}

/// When the store was last looked at, by this node's own clock that never jumps.
#[derive(Debug)]
pub(super) struct Freshness {
    opened: Instant,
    /// Milliseconds from then.
    seen: AtomicU64,
    /// When the organization was changed last, as the database says it.
    changed: AtomicI64,
    /// Whether somebody looks again and again.
    followed: AtomicBool,
}

impl Default for Freshness {
    fn default() -> Self {
        Self {
            opened: Instant::now(),
            seen: AtomicU64::new(0),
            changed: AtomicI64::new(UNKNOWN),
            followed: AtomicBool::new(false),
        }
    }
}

impl Freshness {
    fn now(&self) -> u64 {
        u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// Tells every node that something was committed, once it is.
pub(super) async fn notify(tx: &mut Tx) -> Result<(), Error> {
    if tx.dialect() == Dialect::Sqlite {
        return Ok(());
    }
    let query = sql::query("SELECT CAST(pg_notify($1, '') AS TEXT) AS told").bind(CHANNEL);
    query.fetch_optional(tx).await.map(drop)
}

/// Waits for notifications, and wakes who follows.
async fn listen(database: Database, told: Arc<Notify>) {
    let Database::Postgres(pool) = database else { return std::future::pending().await };
    loop {
        let listening = async {
            let mut listener = PgListener::connect_with(&pool).await?;
            listener.listen(CHANNEL).await?;
            // What came before it listened.
            told.notify_one();
            // None: the connection was lost, and is there again.
            while let Ok(told_of) = listener.try_recv().await {
                tracing::trace!(again = told_of.is_none(), "the store has changed");
                told.notify_one();
            }
            Ok::<(), sqlx::Error>(())
        };
        if let Err(error) = listening.await {
            tracing::debug!(%error, "nobody tells of changes: they are looked for");
        }
        tokio::time::sleep(Duration::from_millis(POLL_MILLISECONDS)).await;
    }
}

impl Store {
    /// How long ago this node last knew everything, in milliseconds.
    #[must_use]
    pub fn staleness(&self) -> u64 {
        self.freshness.now().saturating_sub(self.freshness.seen.load(Ordering::Relaxed))
    }

    /// That decisions may be made on the snapshot: it is not too old.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn fresh(&self) -> Result<(), Error> {
        let followed = self.freshness.followed.load(Ordering::Relaxed);
        if followed && self.staleness() > STALE_SECONDS * 1000 {
            return Err(unavailable("the snapshot is too old: the store can't be read"));
        }
        Ok(())
    }

    /// Follows changes that other nodes and processes commit, and keeps house, until it is dropped.
    pub async fn follow(self: Arc<Self>, retention: Retention) {
        let told = Arc::new(Notify::new());
        let mut keeping = tokio::spawn(self.clone().keep_house(retention));
        let mut listening = tokio::spawn(listen(self.readers.clone(), told.clone()));
        let _abort = AbortOnDrop([keeping.abort_handle(), listening.abort_handle()]);
        self.freshness.followed.store(true, Ordering::Relaxed);
        let mut tick = tokio::time::interval(Duration::from_millis(POLL_MILLISECONDS));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = told.notified() => {}
                _ = &mut keeping => return,
                _ = &mut listening => return,
            }
            if let Err(error) = self.refresh().await {
                tracing::warn!(error = error.private.as_deref(), "the store can't be read");
            }
        }
    }

    async fn keep_house(self: Arc<Self>, retention: Retention) {
        let mut tick = tokio::time::interval(Duration::from_secs(1));
        let mut second = 0_u64;
        let said = |what: &str, outcome: Result<(), Error>| {
            if let Err(error) = outcome {
                tracing::warn!(error = error.private.as_deref(), "{what}");
            }
        };
        loop {
            tick.tick().await;
            second += 1;
            if second.is_multiple_of(5) {
                said("the ring's keys can't be read", self.renew_ring().await.map(drop));
                said("the keys that sign can't be read", self.renew_signing_keys().await.map(drop));
            }
            if second.is_multiple_of(15) {
                said("last uses of access keys could not be written", self.write_last_uses().await);
            }
            if second.is_multiple_of(super::audit::SEAL_SECONDS) {
                said("the audit log could not be signed", self.seal_audit().await);
                said("expired sessions could not be removed", self.ephemeral.sweep().await.map(drop));
            }
            if second.is_multiple_of(3600) {
                let before = self.clock.now().plus_seconds(-86_400 * retention.recordings_days);
                said("old recordings of sign-ins could not be removed", self.forget_recordings(before).await);
                said("old revocations could not be removed", self.forget_revocations().await);
                if let Some(days) = retention.audit_days {
                    let before = self.clock.now().plus_seconds(-86_400 * days);
                    loop {
                        let gone = self.forget_audit(before, &retention.sinks).await;
                        let over = !matches!(gone, Ok(1..));
                        said("old audit records could not be removed", gone.map(drop));
                        if over {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Swaps the snapshot when the store has moved on. Also the readiness probe.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn refresh(&self) -> Result<(), Error> {
        // Before the look: what is less than this went back.
        let (began, known) = (self.freshness.now(), self.snapshot.load().revision);
        let taken_in = self.revocations.sequence();
        let sql = self.readers.pick(
            "SELECT number, revocations, changed, closed, 0 AS standby FROM revision",
            "SELECT number, revocations, changed, closed, CAST(CAST(pg_is_in_recovery() AS INT) AS BIGINT) AS standby FROM revision",
        );
        let row = sql::query(sql).fetch_one(&self.readers).await?;
        if row.get::<bool>("standby") {
            return Err(unavailable("the database is a standby, which may be behind"));
        }
        if row.get::<bool>("closed") {
            return Err(unavailable("this organization was moved to another database"));
        }
        let (number, changed) = (row.get::<i64>("number"), row.get::<i64>("changed"));
        // The same number of another change: the database went back to an earlier state, and on from there.
        let before = self.freshness.changed.load(Ordering::Relaxed);
        let other = number == known && before != UNKNOWN && before != changed;
        if number != known || other {
            self.renew_ring().await?;
            self.renew_signing_keys().await?;
            self.load_snapshot((number <= known).then_some(known)).await?;
            let late = (self.clock.now().0 - changed).max(0);
            #[allow(clippy::cast_precision_loss, reason = "milliseconds of a delay")]
            metrics::histogram!("daypass_snapshot_delay_seconds").record(late as f64 / 1000.0);
        }
        self.freshness.changed.store(changed, Ordering::Relaxed);
        if number < known || row.get::<i64>("revocations") < taken_in {
            self.revocations.rewind();
        }
        if row.get::<i64>("revocations") > self.revocations.sequence() {
            let mut tx = self.readers.begin_read().await?;
            revocations::follow(&mut tx, &self.revocations).await?;
            tx.rollback().await?;
        }
        self.freshness.seen.fetch_max(began, Ordering::Relaxed);
        Ok(())
    }

    /// Loads a snapshot, and swaps it in where it is newer; or for this one, from which the database went back.
    pub(super) async fn load_snapshot(&self, back_from: Option<i64>) -> Result<(), Error> {
        let next = entities::load(&self.readers, &self.ring, &self.revocations, Some(&self.snapshot())).await?;
        let next = Arc::new(next);
        self.snapshot
            .rcu(|now| if next.revision > now.revision || back_from == Some(now.revision) { next.clone() } else { now.clone() });
        Ok(())
    }
}

struct AbortOnDrop([tokio::task::AbortHandle; 2]);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.iter().for_each(tokio::task::AbortHandle::abort);
    }
}
