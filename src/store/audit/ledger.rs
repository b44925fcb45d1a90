//! Group commit of audit records: those that come together are written together, so that one wait for the disk serves them
//! all. Nothing is acknowledged before its record is on disk.

use super::{AuditRecord, write_all};
use crate::{
    domain::{Error, trace},
    store::{sql::Database, unavailable},
};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument as _;

/// Most records in one commit.
const MAX_TOGETHER: usize = 256;
/// Most records that wait; more callers wait before they may.
const MAX_WAITING: usize = 4096;

type Entry = (AuditRecord, oneshot::Sender<Result<(), Error>>);

/// The way to the writer's task.
pub(in crate::store) struct Ledger(mpsc::Sender<Entry>);

impl Ledger {
    /// Starts the task. It ends with the ledger.
    pub(in crate::store) fn open(writer: Database) -> Self {
        let (sender, receiver) = mpsc::channel(MAX_WAITING);
        tokio::spawn(write(writer, receiver));
        Self(sender)
    }

    /// Returns when the record is on disk.
    pub(in crate::store) async fn write(&self, record: AuditRecord) -> Result<(), Error> {
        let (acknowledge, acknowledged) = oneshot::channel();
        let gone = || unavailable("the audit writer is gone");
        self.0.send((record, acknowledge)).await.map_err(|_| gone())?;
        acknowledged.instrument(trace::step("audit", "daypass")).await.map_err(|_| gone())?
    }
}

async fn write(writer: Database, mut waiting: mpsc::Receiver<Entry>) {
    let mut entries = Vec::with_capacity(MAX_TOGETHER);
    while waiting.recv_many(&mut entries, MAX_TOGETHER).await > 0 {
        let (mut records, callers): (Vec<_>, Vec<_>) = entries.drain(..).unzip();
        let outcome = async {
            let mut tx = writer.begin_write().await?;
            write_all(&mut records, &mut tx).await?;
            tx.commit().await
        };
        let outcome = outcome.await;
        for caller in callers {
            // Who asked may have gone; the record is there all the same.
            let _ = caller.send(outcome.clone());
        }
    }
}
