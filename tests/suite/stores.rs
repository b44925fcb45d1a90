//! Real PostgreSQL and Redis for tests: scripts of `tests/testbed`, stopped when the test ends.
//!
//! PostgreSQL is there once for all tests when `tests/with-postgres.sh` runs them; otherwise each test that needs it starts its
//! own. Every test has a database of its own.

#![allow(clippy::disallowed_methods, reason = "the environment says whether a server is there already")]

use daypass::{
    domain::Secret,
    store::{Location, PostgresLocation, RedisLocation, RedisTopology, SystemLocation},
};
use sqlx::{Connection as _, PgConnection};
use std::{
    collections::HashMap,
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// A script of `tests/testbed`, started; it is stopped when this is dropped.
pub struct Service {
    /// What it told: `PG_URL` and the like.
    pub told: HashMap<String, String>,
    pub folder: TempDir,
    script: &'static str,
}

impl Service {
    pub fn start(script: &'static str, arguments: &[&str]) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().unwrap();
        // PostgreSQL runs as another user than root.
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let mut service = Self { told: HashMap::new(), folder, script };
        let told = service.command("start", arguments);
        service.told =
            told.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        service
    }

    /// A command of the script, such as `kill-primary`; what it says.
    pub fn command(&self, name: &str, arguments: &[&str]) -> String {
        // Its background processes keep what they inherit: a file, so that nobody waits for them.
        let (said, log) = (self.folder.path().join("said"), self.folder.path().join("log"));
        let mut command = Command::new("bash");
        command.arg(format!("tests/testbed/{}", self.script)).arg(name).arg("--dir").arg(self.folder.path());
        command.args(["--max-seconds", "3600"]).args(arguments).stdin(Stdio::null());
        command.stdout(std::fs::File::create(&said).unwrap()).stderr(std::fs::File::create(&log).unwrap());
        let status = command.status().unwrap();
        assert!(status.success(), "{} {name}: {}", self.script, std::fs::read_to_string(&log).unwrap());
        std::fs::read_to_string(&said).unwrap().trim().to_owned()
    }

    pub fn of(&self, key: &str) -> &str {
        self.told.get(key).unwrap_or_else(|| panic!("{} told no {key}: {:?}", self.script, self.told))
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.command("stop", &[]);
    }
}

/// A database.
pub struct Postgres {
    pub url: String,
    pub server: Option<Service>,
}

impl Postgres {
    /// A new database on the server that there is, or on one of its own.
    pub async fn new() -> Self {
        match std::env::var("DAYPASS_TEST_POSTGRES") {
            Ok(server) => {
                let name = format!("test_{}_{:?}", std::process::id(), std::time::Instant::now());
                let name: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_lowercase();
                let mut admin = PgConnection::connect(&server).await.unwrap();
                let sql = format!("CREATE DATABASE {name}");
                sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut admin).await.unwrap();
                admin.close().await.unwrap();
                let (server, _) = server.rsplit_once('/').unwrap();
                Self { url: format!("{server}/{name}"), server: None }
            }
            Err(_) => Self::own(&[]),
        }
    }

    /// On a server of its own, which the test may stop.
    pub fn own(arguments: &[&str]) -> Self {
        let server = Service::start("pg.sh", arguments);
        Self { url: server.of("PG_URL").to_owned(), server: Some(server) }
    }

    pub fn location(&self) -> Location {
        let url = Secret::new(self.url.clone());
        Location { system: SystemLocation::Postgres(PostgresLocation { url, password: None, connections: 4 }), redis: None }
    }
}

/// One Redis server.
pub fn redis_location(redis: &Service) -> RedisLocation {
    let port = redis.of("REDIS_PORT").parse().unwrap();
    RedisLocation {
        topology: RedisTopology::Single("127.0.0.1".to_owned(), port),
        tls: false,
        ca: None,
        username: None,
        password: redis.told.get("REDIS_PASSWORD").cloned().map(Secret::new),
    }
}
