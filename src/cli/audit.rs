//! `daypass audit`

use super::{Failure, SettingsArguments, terminal};
use crate::api::audit_log::{Head, VerifyAuditLog};
use clap::{Args, Subcommand};

/// Check the audit log of the broker on this machine.
#[derive(Debug, Args)]
pub struct Audit {
    #[command(subcommand)]
    command: AuditCommand,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// Prove that no record was removed or altered, or name the first that was.
    ///
    /// Each record holds a hash of itself and of the one before it, and the newest is signed every minute. The head that this prints is
    /// worth noting elsewhere: with it, a later check also finds that the newest records were removed, signatures and all.
    Verify(Verify),
}

#[derive(Debug, Args)]
struct Verify {
    /// A head that was noted before, as NUMBER:HASH.
    #[arg(long, value_name = "HEAD")]
    noted: Option<Head>,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl Audit {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let AuditCommand::Verify(command) = self.command;
        let gateway = command.settings.open().await?;
        let operator = gateway.operator();
        let verifying = gateway.call(&operator, VerifyAuditLog { noted: command.noted });
        let verified = terminal::waiting("reading the audit log", verifying).await;
        gateway.broker.store.close().await;
        let report = verified?;
        if terminal::json() {
            terminal::print_json(&report)?;
            return if report.broken.is_none() { Ok(()) } else { Err(Failure::silent(1)) };
        }
        if let Some(broken) = report.broken {
            let named = broken.event_id.map(|id| format!(" ({id})")).unwrap_or_default();
            return Err(Failure::new(format!("the audit log is broken at record {}{named}: {}", broken.sequence, broken.reason))
                .hint(format!("{} records before it are as they were written", report.records)));
        }
        terminal::line!("The audit log is unbroken: {} records, {} signatures.", report.records, report.seals);
        if report.begins_after > 0 {
            terminal::line!("Records up to {} were removed by retention.", report.begins_after);
        }
        if report.sealed_to < report.head.sequence {
            terminal::line!("Records after {} are not signed yet; a running broker signs every minute.", report.sealed_to);
        }
        terminal::line!("head {}", report.head);
        Ok(())
    }
}
