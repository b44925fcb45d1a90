//! `daypass store`

use super::{Failure, SettingsArguments, terminal};
use clap::{Args, Subcommand, ValueEnum};

/// Move the organization to another database.
#[derive(Debug, Args)]
pub struct StoreCommand {
    #[command(subcommand)]
    command: Move,
}

#[derive(Debug, Subcommand)]
enum Move {
    /// Copy everything from one database to the other that the settings name, compare, and close the first.
    ///
    /// Brokers may run on the first meanwhile: they wait with changes, and refuse everything once it is closed. Point them at the other,
    /// with the same master key, and start them again: nobody has to sign in anew.
    Migrate(Migrate),
}

/// A database of the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Place {
    /// The embedded store in the data folder.
    Sqlite,
    /// The database of `[postgres]`.
    Postgres,
}

#[derive(Debug, Args)]
struct Migrate {
    /// Where the organization is.
    #[arg(long, value_enum)]
    from: Place,
    /// Where it is to be; there must be none yet.
    #[arg(long, value_enum)]
    to: Place,
    #[command(flatten)]
    settings: SettingsArguments,
}

impl StoreCommand {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Move::Migrate(Migrate { from, to, settings }) = self.command;
        if from == to {
            return Err(Failure::new("--from and --to are the same database"));
        }
        let settings = settings.load()?;
        if settings.postgres.is_none() {
            return Err(
                Failure::new("the settings name no PostgreSQL database").hint("set [postgres] url, or DAYPASS_POSTGRES_URL")
            );
        }
        let moving = settings.move_store(to == Place::Postgres);
        let tables = terminal::waiting("moving", moving).await?;
        let rows: u64 = tables.iter().map(|table| table.rows).sum();
        if terminal::json() {
            return terminal::print_json(&serde_json::json!({ "rows": rows, "tables": tables }));
        }
        for table in tables.iter().filter(|table| table.rows > 0) {
            terminal::line!("{:>9}  {}  {}", table.rows, table.digest.get(..12).unwrap_or_default(), table.table);
        }
        terminal::line!("{rows} rows have arrived and are the same. The old store is closed.");
        Ok(())
    }
}
