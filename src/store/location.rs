//! Where a store is: a folder, or PostgreSQL with or without Redis beside it.

use super::{sql::Database, unavailable};
use crate::domain::{Error, Secret};
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use std::{path::PathBuf, str::FromStr as _};

/// Where a store is.
#[derive(Clone, Debug)]
pub struct Location {
    /// The organization and the audit log.
    pub system: SystemLocation,
    /// What may be forgotten after its time; none: beside the organization.
    pub redis: Option<RedisLocation>,
}

impl Location {
    /// One folder, and nothing else.
    #[must_use]
    pub fn folder(folder: impl Into<PathBuf>) -> Self {
        Self { system: SystemLocation::Folder(folder.into()), redis: None }
    }
}

/// Where the organization is.
#[derive(Clone, Debug)]
pub enum SystemLocation {
    /// Files of the embedded store.
    Folder(PathBuf),
    /// A PostgreSQL database, which other nodes may use as well.
    Postgres(PostgresLocation),
}

/// A PostgreSQL database.
#[derive(Clone, Debug)]
pub struct PostgresLocation {
    /// `postgres://user@host/database`, with the parameters of libpq that sqlx knows.
    pub url: Secret<String>,
    /// Where the URL holds none.
    pub password: Option<Secret<String>>,
    /// Most connections that read. Four more write and follow.
    pub connections: u32,
}

/// Connections that write: one holds the pen, one writes the audit log, and one does the housekeeping.
const WRITERS: u32 = 3;

impl PostgresLocation {
    /// Pools that write and that read. A server that is reached over a network must prove who it is, unless the URL's `sslmode`
    /// says otherwise.
    ///
    /// # Errors
    /// `Unavailable` when the URL can't be read.
    pub(super) fn pools(&self) -> Result<(Database, Database), Error> {
        // The error of a URL may repeat it.
        let read = PgConnectOptions::from_str(self.url.expose());
        let mut options = read.map_err(|_| unavailable("the URL of the PostgreSQL database can't be read"))?;
        let host = options.get_host().to_owned();
        let near = host.starts_with('/') || matches!(host.as_str(), "127.0.0.1" | "::1" | "localhost");
        if !near && !self.url.expose().contains("sslmode=") {
            options = options.ssl_mode(PgSslMode::VerifyFull);
        }
        if let Some(password) = &self.password {
            options = options.password(password.expose());
        }
        // A node that vanished holds its locks no longer than this, and nobody waits for it without end.
        options = options.application_name("daypass").options([
            ("idle_in_transaction_session_timeout", "15s"),
            ("statement_timeout", "12s"),
            ("lock_timeout", "10s"),
            ("tcp_keepalives_idle", "10"),
            ("tcp_keepalives_interval", "5"),
            ("tcp_keepalives_count", "3"),
        ]);
        Ok((Database::server(options.clone(), WRITERS), Database::server(options, self.connections + 1)))
    }
}

/// Redis, or what speaks its protocol.
#[derive(Clone, Debug)]
pub struct RedisLocation {
    /// How many there are, and who knows them.
    pub topology: RedisTopology,
    /// Whether connections are TLS, also those to Sentinels.
    pub tls: bool,
    /// The authorities that certificates are checked with, PEM; none: those of the machine.
    pub ca: Option<Vec<u8>>,
    /// An ACL user; none: the default one.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret<String>>,
}

/// Hosts and ports.
#[derive(Clone, Debug)]
pub enum RedisTopology {
    /// One server.
    Single(String, u16),
    /// Sentinels that know which server is the primary of this name.
    Sentinel {
        /// The Sentinels.
        sentinels: Vec<(String, u16)>,
        /// What they call it.
        primary: String,
    },
    /// Some nodes of a cluster.
    Cluster(Vec<(String, u16)>),
}
