//! `[postgres]` and `[redis]`: where the store is, when it is not embedded.

use super::{Settings, SystemClock, SystemRandom, bad, key::make_private_folder, read_private};
use crate::{
    domain::{Clock as _, Error, Secret},
    store::{self, CopiedTable, Location, PostgresLocation, RedisLocation, RedisTopology, Restored, SystemLocation},
};
use serde::{Deserialize, Deserializer, Serialize};
use std::{fs, path::PathBuf, sync::Arc};

/// `[postgres]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresSettings {
    /// `postgres://user@host/database`.
    pub url: Secret<String>,
    /// A file with the password, where the URL holds none.
    pub password_file: Option<PathBuf>,
    /// Most connections that read.
    #[serde(default = "connections")]
    pub connections: u32,
}

const fn connections() -> u32 {
    8
}

/// `[redis]`
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RedisSettings {
    /// Hosts and ports: of the server, of the Sentinels, or of some nodes of the Cluster.
    #[serde(deserialize_with = "list")]
    pub addresses: Vec<String>,
    /// What is behind them.
    #[serde(default)]
    pub mode: RedisMode,
    /// What Sentinels call the primary.
    pub primary: Option<String>,
    /// An ACL user.
    pub username: Option<String>,
    /// A file with the password.
    pub password_file: Option<PathBuf>,
    /// Whether connections are TLS.
    #[serde(default)]
    pub tls: bool,
    /// The authorities that certificates are checked with, PEM; default: those of the machine.
    pub ca_file: Option<PathBuf>,
}

/// What is behind Redis addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RedisMode {
    /// One server.
    #[default]
    Single,
    /// Sentinels that know the primary.
    Sentinel,
    /// A Cluster.
    Cluster,
}

/// A list, or one text with commas: environment variables hold no lists.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        List(Vec<String>),
    }
    Ok(match Either::deserialize(deserializer)? {
        Either::Text(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
        Either::List(list) => list,
    })
}

fn password(file: Option<&PathBuf>) -> Result<Option<Secret<String>>, Error> {
    file.map(|file| read_private(file)).transpose()
}

fn address(text: &str) -> Result<(String, u16), Error> {
    let read = || {
        let (host, port) = text.rsplit_once(':')?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        Some((host.to_owned(), port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
    };
    read().ok_or_else(|| bad(format!("redis.addresses: `{text}`: expected host:port")))
}

impl RedisSettings {
    pub(super) fn location(&self) -> Result<RedisLocation, Error> {
        let addresses = self.addresses.iter().map(|text| address(text)).collect::<Result<Vec<_>, _>>()?;
        let topology = match (self.mode, addresses.as_slice(), &self.primary) {
            (RedisMode::Single, [(host, port)], None) => RedisTopology::Single(host.clone(), *port),
            (RedisMode::Sentinel, [_, ..], Some(primary)) => {
                RedisTopology::Sentinel { sentinels: addresses, primary: primary.clone() }
            }
            (RedisMode::Cluster, [_, ..], None) => RedisTopology::Cluster(addresses),
            (RedisMode::Single, ..) => return Err(bad("redis: `single` has one address, and no `primary`")),
            (RedisMode::Sentinel, ..) => return Err(bad("redis: `sentinel` has addresses of Sentinels, and a `primary`")),
            (RedisMode::Cluster, ..) => return Err(bad("redis: `cluster` has addresses of some nodes, and no `primary`")),
        };
        let read = |file: &PathBuf| fs::read(file).map_err(|error| bad(format!("{}: {error}", file.display())));
        Ok(RedisLocation {
            topology,
            tls: self.tls,
            ca: self.ca_file.as_ref().map(read).transpose()?,
            username: self.username.clone(),
            password: password(self.password_file.as_ref())?,
        })
    }
}

impl Settings {
    /// Where the store is.
    ///
    /// # Errors
    /// `InvalidInput` with the key that is wrong, or the file that can't be read.
    pub fn location(&self) -> Result<Location, Error> {
        let system = match &self.postgres {
            None => SystemLocation::Folder(self.data.clone()),
            Some(postgres) => SystemLocation::Postgres(PostgresLocation {
                url: postgres.url.clone(),
                password: password(postgres.password_file.as_ref())?,
                connections: postgres.connections,
            }),
        };
        Ok(Location { system, redis: self.redis.as_ref().map(RedisSettings::location).transpose()? })
    }

    /// Moves the organization from the embedded store to `[postgres]`, or back.
    ///
    /// # Errors
    /// Those of [`store::move_store`].
    pub async fn move_store(&self, to_postgres: bool) -> Result<Vec<CopiedTable>, Error> {
        make_private_folder(&self.data)?;
        let (embedded, server) = (Location::folder(&self.data), self.location()?);
        let (from, to) = if to_postgres { (embedded, server) } else { (server, embedded) };
        store::move_store(&from, &to, SystemClock.now()).await
    }

    /// Restores a backup into the store, which has to be empty, and puts its master key into its place.
    ///
    /// # Errors
    /// Those of [`store::restore`], and of a master key that is another one.
    pub async fn restore(&self, from: fs::File, passphrase: &Secret<String>) -> Result<Restored, Error> {
        make_private_folder(&self.data)?;
        let keep = |key: &Secret<[u8; 32]>| self.keep_master_key(key);
        store::restore(&self.location()?, from, passphrase, Arc::new(SystemRandom), SystemClock.now(), keep).await
    }
}
