//! `daypass backup` and `daypass restore`

use super::{Failure, SettingsArguments, terminal};
use crate::{
    api::{
        audit_log::BeginBackup,
        sts::sessions::{RevokeSessions, Revoked},
    },
    config::{read_private, write_private_stream},
    domain::Secret,
};
use clap::Args;
use std::{fs::File, path::PathBuf};

/// Write a backup of the broker on this machine, sealed under a passphrase.
///
/// It is one state of the store, taken while brokers run, with the master key in it: the passphrase is all that keeps it. Sessions
/// are not in it.
#[derive(Debug, Args)]
pub struct Backup {
    /// Where to write it; there must be no such file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A file with the passphrase, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    #[command(flatten)]
    settings: SettingsArguments,
}

/// Restore a backup into an empty store: on a new machine, or into another database.
///
/// Everybody has to sign in anew, and credentials from before are over: what ended after the backup was made must not come back.
#[derive(Debug, Args)]
pub struct Restore {
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A file with the passphrase, readable by its owner alone.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    #[command(flatten)]
    settings: SettingsArguments,
}

fn passphrase(file: &std::path::Path) -> Result<Secret<String>, Failure> {
    let passphrase = read_private(file).map_err(Failure::from)?;
    if passphrase.expose().chars().count() < 12 {
        return Err(Failure::new(format!("{}: a passphrase of twelve characters or more is expected", file.display())));
    }
    Ok(passphrase)
}

impl Backup {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let passphrase = passphrase(&self.passphrase_file)?;
        let settings = self.settings.load()?;
        let gateway = settings.open().await?;
        gateway.call(&gateway.operator(), BeginBackup {}).await?;
        let master_key = settings.master_key_in_use()?;
        let store = &gateway.broker.store;
        let written = write_private_stream(&self.file, async |to| store.back_up(to, &passphrase, &master_key).await);
        let tables = terminal::waiting("writing the backup", written).await;
        store.close().await;
        let tables = tables?;
        let rows: u64 = tables.iter().map(|table| table.rows).sum();
        if terminal::json() {
            return terminal::print_json(&serde_json::json!({ "file": self.file, "rows": rows, "tables": tables }));
        }
        terminal::line!("{} holds {rows} rows of {} tables.", self.file.display(), tables.len());
        Ok(())
    }
}

impl Restore {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let passphrase = passphrase(&self.passphrase_file)?;
        let settings = self.settings.load()?;
        let file = File::open(&self.file).map_err(|error| Failure::new(format!("{}: {error}", self.file.display())))?;
        let restored = terminal::waiting("restoring", settings.restore(file, &passphrase)).await?;
        let gateway = settings.open().await?;
        let everything = RevokeSessions { who: Revoked::Everything, before: None };
        let revoked = gateway.call(&gateway.operator(), everything).await;
        gateway.broker.store.close().await;
        revoked?;
        let rows: u64 = restored.tables.iter().map(|table| table.rows).sum();
        if terminal::json() {
            let report = serde_json::json!({ "created": restored.created, "rows": rows, "tables": restored.tables });
            return terminal::print_json(&report);
        }
        terminal::line!("Restored: the organization as it was on {}, {rows} rows.", restored.created);
        terminal::line!("Sessions and credentials from before are over.");
        Ok(())
    }
}
