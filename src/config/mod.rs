//! Settings: a TOML file and the environment. `config/daypass.toml` is the manual; a test reads it.

mod key;
mod manual;
mod store;

use key::make_private_folder;
pub use key::{read_private, write_private, write_private_stream};
pub use store::{PostgresSettings, RedisMode, RedisSettings};

use crate::{
    api::keys::KeySchedule,
    domain::{
        Clock, Error, ErrorKind, Random, Secret, Timestamp,
        iam::{MAX_CHAINED_SESSION_SECONDS, MAX_SESSION_SECONDS, MIN_SESSION_SECONDS},
    },
    federation::{Addresses, Federation, Surroundings, passwords::PasswordRules},
    gateway::{Broker, Gateway, SessionLimits},
    store::Store,
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
};
use url::Url;

/// Settings of a broker.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Where the world reaches this broker. https, or http on a loopback address.
    pub public_url: Url,
    /// Where it listens.
    pub listen: SocketAddr,
    /// Where the embedded store is, and what this machine keeps for itself.
    pub data: PathBuf,
    /// The database, instead of the embedded store.
    pub postgres: Option<PostgresSettings>,
    /// Where what may be forgotten is, when several brokers share it.
    pub redis: Option<RedisSettings>,
    /// Where the master key is; default is `master.key` in the data folder, made on first start.
    pub master_key_file: Option<PathBuf>,
    /// Certificate and key, for TLS without a proxy.
    pub tls: Option<TlsSettings>,
    /// Proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are believed.
    pub trusted_proxies: Vec<IpAddr>,
    /// Most connections at once.
    pub max_connections: usize,
    /// Where metrics are read, in Prometheus's format; none: nowhere.
    pub metrics_listen: Option<SocketAddr>,
    /// Where traces go; none: nowhere.
    pub traces: Option<TraceSettings>,
    /// How long a broker that was asked to stop still takes connections while it says that it is not ready, in seconds.
    pub drain_seconds: u64,
    /// How long sessions last.
    pub sessions: SessionSettings,
    /// What is remembered of sign-ins.
    pub sign_ins: SignInSettings,
    /// What is asked of new passwords.
    pub passwords: PasswordSettings,
    /// What the broker itself connects to.
    pub outbound: OutboundSettings,
    /// How long audit records are kept, and where else they go.
    pub audit: AuditSettings,
    /// After how many days keys are followed by new ones.
    pub keys: KeySettings,
    /// What is logged.
    pub log: LogSettings,
    /// The program that cages the XML library. Not a setting: it is this one, unless another program embeds the broker.
    #[serde(skip)]
    pub cage: Option<PathBuf>,
}

/// `[tls]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TlsSettings {
    /// PEM, leaf first.
    pub certificate: PathBuf,
    /// PEM, PKCS #8, PKCS #1 or SEC 1.
    pub private_key: PathBuf,
}

/// `[sessions]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SessionSettings {
    /// Longest portal session, in seconds.
    pub portal_seconds: i64,
    /// A browser that is not used for so long is signed out, in seconds.
    pub idle_seconds: i64,
    /// How long a command line stays signed in, in seconds.
    pub token_seconds: i64,
    /// Life of one access token of a command line that renews it, in seconds.
    pub access_token_seconds: i64,
    /// Longest session of a role taken from another role's session, in seconds: 900 to 43200.
    pub chained_seconds: u32,
}

/// `[sign_ins]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SignInSettings {
    /// How long the checks and claims of sign-ins are kept, in days.
    pub kept_days: i64,
}

impl Default for SignInSettings {
    fn default() -> Self {
        Self { kept_days: 90 }
    }
}

/// `[passwords]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordSettings {
    /// Words that make no password.
    pub words: Vec<String>,
    /// A service that knows passwords of breaches.
    pub breached_url: Option<Url>,
}

impl PasswordSettings {
    fn rules(&self) -> PasswordRules {
        PasswordRules { words: self.words.clone(), breached_url: self.breached_url.clone() }
    }
}

/// `[outbound]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutboundSettings {
    /// Hosts of identity providers that have private addresses.
    pub private_hosts: std::collections::BTreeSet<String>,
}

/// `[audit]`
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditSettings {
    /// How long records are kept, in days; none: for ever.
    pub kept_days: Option<i64>,
    /// A file that gets them as lines of JSON.
    pub file: Option<PathBuf>,
    /// `tls://host:port`, `tcp://host:port` or `udp://host:port`.
    pub syslog: Option<String>,
    /// Certificates of authorities that the syslog server proves itself by, PEM; none: those of the machine.
    pub syslog_ca_file: Option<PathBuf>,
    /// An address that gets them by POST. It may hold a key.
    pub webhook: Option<Secret<String>>,
    /// A file with the bearer token for it.
    pub webhook_token_file: Option<PathBuf>,
}

/// `[keys]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct KeySettings {
    /// The ring that seals; 0: never.
    pub ring_days: u32,
    /// What signs web identity tokens and authenticates us at OpenID providers; 0: never.
    pub token_days: u32,
    /// What signs and decrypts SAML; 0: never.
    pub saml_days: u32,
    /// What signs the audit log; 0: never.
    pub audit_days: u32,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self { ring_days: 30, token_days: 90, saml_days: 0, audit_days: 365 }
    }
}

impl KeySettings {
    /// The same, for who rotates.
    #[must_use]
    pub const fn schedule(&self) -> KeySchedule {
        let Self { ring_days, token_days, saml_days, audit_days } = *self;
        KeySchedule { ring_days, token_days, saml_days, audit_days }
    }
}

/// `[traces]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TraceSettings {
    /// Base address of the collector; `v1/traces` comes after it.
    pub endpoint: Url,
    /// Which part of the traces that begin here is kept: 0 to 1.
    #[serde(default = "all")]
    pub ratio: f64,
}

const fn all() -> f64 {
    1.0
}

/// `[log]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettings {
    /// A filter, such as `info` or `daypass=debug`.
    pub level: String,
    /// `text` or `json`.
    pub format: LogFormat,
}

/// How lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], 8080));
        Self {
            public_url: Url::parse("http://127.0.0.1:8080").unwrap_or_else(|_| unreachable!("a constant")),
            listen,
            data: PathBuf::from("data"),
            postgres: None,
            redis: None,
            master_key_file: None,
            tls: None,
            trusted_proxies: Vec::new(),
            max_connections: 10_000,
            metrics_listen: None,
            traces: None,
            drain_seconds: 0,
            sessions: SessionSettings::default(),
            sign_ins: SignInSettings::default(),
            passwords: PasswordSettings::default(),
            outbound: OutboundSettings::default(),
            audit: AuditSettings::default(),
            keys: KeySettings::default(),
            log: LogSettings::default(),
            cage: None,
        }
    }
}

impl Default for SessionSettings {
    fn default() -> Self {
        Self {
            portal_seconds: 8 * 3600,
            idle_seconds: 2 * 3600,
            token_seconds: 8 * 3600,
            access_token_seconds: 3600,
            chained_seconds: MAX_CHAINED_SESSION_SECONDS,
        }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Text }
    }
}

/// Environment variables and the keys they stand for. They win over the file.
pub const ENVIRONMENT: &[(&str, &[&str])] = &[
    ("DAYPASS_PUBLIC_URL", &["public_url"]),
    ("DAYPASS_LISTEN", &["listen"]),
    ("DAYPASS_METRICS_LISTEN", &["metrics_listen"]),
    ("DAYPASS_TRACES_ENDPOINT", &["traces", "endpoint"]),
    ("DAYPASS_DATA", &["data"]),
    ("DAYPASS_POSTGRES_URL", &["postgres", "url"]),
    ("DAYPASS_POSTGRES_PASSWORD_FILE", &["postgres", "password_file"]),
    ("DAYPASS_REDIS_ADDRESSES", &["redis", "addresses"]),
    ("DAYPASS_REDIS_PASSWORD_FILE", &["redis", "password_file"]),
    ("DAYPASS_MASTER_KEY_FILE", &["master_key_file"]),
    ("DAYPASS_LOG_LEVEL", &["log", "level"]),
    ("DAYPASS_LOG_FORMAT", &["log", "format"]),
];

fn bad(message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::InvalidInput, message.to_string())
}

impl Settings {
    /// Reads settings: the file, then the environment over it.
    ///
    /// # Errors
    /// `InvalidInput` with file, line, key and what was expected.
    pub fn load(file: Option<&Path>, environment: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        let mut table = match file {
            Some(file) => {
                let text = fs::read_to_string(file).map_err(|error| bad(format!("{}: {error}", file.display())))?;
                // Read once for errors with a line, once for the environment to be laid over.
                let _: Self = toml::from_str(&text).map_err(|error| bad(format!("{}: {error}", file.display())))?;
                text.parse::<toml::Table>().map_err(|error| bad(format!("{}: {error}", file.display())))?
            }
            None => toml::Table::new(),
        };
        for (variable, path) in ENVIRONMENT {
            let Some(value) = environment(variable) else { continue };
            let (last, parents) = path.split_last().ok_or_else(|| bad("an empty key"))?;
            let mut place = &mut table;
            for parent in parents {
                let inner = place.entry(*parent).or_insert_with(|| toml::Value::Table(toml::Table::new()));
                place = inner.as_table_mut().ok_or_else(|| bad(format!("{variable}: `{parent}` is not a table")))?;
            }
            place.insert((*last).to_owned(), toml::Value::String(value));
        }
        let settings: Self = table.try_into().map_err(|error| bad(format!("settings: {error}")))?;
        settings.check()
    }

    fn check(self) -> Result<Self, Error> {
        if !crate::federation::metadata::is_safe(&self.public_url) {
            return Err(bad(format!("public_url: `{}` must be https, or http on a loopback address", self.public_url)));
        }
        if self.public_url.path() != "/" || self.public_url.query().is_some() {
            return Err(bad("public_url: expected an origin without a path, such as https://daypass.example.com"));
        }
        let SessionSettings { portal_seconds, token_seconds, access_token_seconds, .. } = self.sessions;
        if [portal_seconds, token_seconds, access_token_seconds].iter().any(|seconds| !(900..=86_400).contains(seconds)) {
            return Err(bad("sessions: expected 900 to 86400 seconds"));
        }
        if self.audit.kept_days.is_some_and(|days| days < 1) {
            return Err(bad("audit.kept_days: expected 1 day or more"));
        }
        if !(1..=3650).contains(&self.sign_ins.kept_days) {
            return Err(bad("sign_ins.kept_days: expected 1 to 3650 days"));
        }
        if !(MIN_SESSION_SECONDS..=MAX_SESSION_SECONDS).contains(&self.sessions.chained_seconds) {
            return Err(bad("sessions.chained_seconds: expected 900 to 43200 seconds"));
        }
        if !(300..=86_400).contains(&self.sessions.idle_seconds) {
            return Err(bad("sessions.idle_seconds: expected 300 to 86400 seconds"));
        }
        if let Some(url) = &self.passwords.breached_url
            && !(crate::federation::metadata::is_safe(url) && url.path().ends_with('/'))
        {
            return Err(bad("passwords.breached_url: expected an https address that ends with a slash"));
        }
        Ok(self)
    }

    /// Whether there is a store already.
    #[must_use]
    pub fn has_store(&self) -> bool {
        self.postgres.is_some() || self.data.join("daypass.sqlite").is_file()
    }

    /// Opens the store and puts everything together.
    ///
    /// # Errors
    /// `Unavailable` or `InvalidInput`, with the file that is in the way.
    pub async fn open(&self) -> Result<Gateway, Error> {
        let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) = (Arc::new(SystemClock), Arc::new(SystemRandom));
        make_private_folder(&self.data)?;
        let master_key = self.master_key(&*random)?;
        let store = Store::open(&self.location()?, &master_key, random.clone(), clock.clone()).await?;
        let addresses = Addresses { public_url: self.public_url.clone() };
        let surroundings = Surroundings {
            password_rules: self.passwords.rules(),
            cage: self.cage.clone().or_else(cage),
            private_hosts: self.outbound.private_hosts.clone(),
        };
        let federation = Arc::new(Federation::new(addresses, store.clone(), clock.clone(), random.clone(), surroundings)?);
        let SessionSettings { portal_seconds, idle_seconds, token_seconds, access_token_seconds, chained_seconds } =
            self.sessions;
        let limits = SessionLimits { portal_seconds, idle_seconds, token_seconds, access_token_seconds, chained_seconds };
        Ok(Gateway {
            broker: Broker {
                store,
                federation,
                clock,
                random,
                limits,
                known_sessions: Arc::default(),
                known_bearers: Arc::default(),
                device_starts: Arc::default(),
                settings: Arc::new(manual::settings(self)),
                session_policies: Arc::default(),
            },
        })
    }
}

/// The program that cages the XML library: this very one, also when its file was replaced meanwhile.
fn cage() -> Option<PathBuf> {
    let running = PathBuf::from("/proc/self/exe");
    if running.exists() { Some(running) } else { std::env::current_exe().ok() }
}

/// An environment variable that is set and not empty.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the one place that reads the environment")]
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The machine's clock.
#[derive(Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    fn now(&self) -> Timestamp {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// The operating system's randomness, through aws-lc.
#[derive(Debug)]
pub struct SystemRandom;

impl Random for SystemRandom {
    #[allow(clippy::disallowed_methods, reason = "this is the one place that makes randomness")]
    fn fill(&self, buffer: &mut [u8]) {
        // aws-lc fails only when the system has no randomness at all; going on without would be worse than stopping.
        if aws_lc_rs::rand::fill(buffer).is_err() {
            std::process::abort();
        }
    }
}
