//! Redis: one server, a primary that Sentinels know, or a Cluster.
//!
//! A value is its expiry (sixteen digits, milliseconds) and the sealed bytes: whether it counts is decided by our clock, and
//! Redis only cleans up. The user needs `PING`, `GET`, `GETDEL`, `SET`, `DEL`, `EVAL`, `ZADD`, `ZREVRANGEBYSCORE`,
//! `ZREMRANGEBYSCORE`, `PTTL` and `PEXPIRE` on keys that begin with `daypass:` (`ACL SETUSER`, Redis 7).

use super::{Backend, Kept};
use crate::{
    domain::{Error, Timestamp, time::Stopwatch, trace},
    store::{
        location::{RedisLocation, RedisTopology},
        unavailable,
    },
};
use arc_swap::ArcSwapOption;
use async_trait::async_trait;
use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, FromRedisValue, IntoConnectionInfo as _, RedisConnectionInfo, RedisError,
    RedisResult, TlsCertificates, TlsMode,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Mutex;
use tracing::Instrument as _;

/// How long Redis may take to answer, in milliseconds. After it the caller is refused.
const ANSWER_MILLISECONDS: u64 = 1000;
/// Where keys begin.
const PREFIX: &str = "daypass:";
/// How many digits of a value are its expiry.
const DIGITS: usize = 16;

const PUT_NEW: &str = "local v = redis.call('GET', KEYS[1])
if v and tonumber(string.sub(v, 1, 16)) > tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";
const REPLACE: &str = "local v = redis.call('GET', KEYS[1])
if not v or tonumber(string.sub(v, 1, 16)) <= tonumber(ARGV[3]) then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1";
/// The owner's list lives as long as what lives longest in it.
const OWN: &str = "redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[4])
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1";

pub(in crate::store) struct Redis {
    location: RedisLocation,
    link: ArcSwapOption<Link>,
    connecting: Mutex<()>,
}

enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Link {
    async fn send(&self, command: &Cmd) -> RedisResult<redis::Value> {
        match self {
            Self::One(connection) => connection.clone().req_packed_command(command).await,
            Self::Cluster(connection) => connection.clone().req_packed_command(command).await,
        }
    }
}

impl Redis {
    /// No connection is made before one is needed.
    pub(in crate::store) fn new(location: RedisLocation) -> Self {
        Self { location, link: ArcSwapOption::empty(), connecting: Mutex::default() }
    }

    /// Sends a command; once more when the connection is gone, or the server is a primary no more. Everything that is sent
    /// here may be sent twice: at worst the second says that it was done already, and the caller is refused.
    async fn send<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, Error> {
        let limit = Duration::from_millis(ANSWER_MILLISECONDS);
        let attempts = async {
            let mut tries = 0;
            loop {
                let link = self.link().await?;
                match link.send(command).await {
                    Err(error) if is_elsewhere(&error) => {
                        self.forget(&link);
                        tries += 1;
                        if tries > 1 {
                            return Err(error);
                        }
                    }
                    outcome => return outcome,
                }
            }
        };
        let refused = |error: RedisError| unavailable(format!("Redis: {error}"));
        let watch = Stopwatch::start();
        let span = trace::database("redis");
        let outcome = tokio::time::timeout(limit, attempts).instrument(span.clone()).await;
        let word = if matches!(outcome, Ok(Ok(_))) { "ok" } else { "failed" };
        if word == "failed" {
            trace::failed(&span);
        }
        metrics::histogram!("daypass_redis_seconds", "outcome" => word).record(watch.seconds());
        let value = match outcome {
            Ok(outcome) => outcome.map_err(refused)?,
            Err(_) => {
                // A connection on which nothing comes back is none.
                self.link.store(None);
                return Err(unavailable("Redis does not answer"));
            }
        };
        T::from_redis_value(value).map_err(|error| unavailable(format!("Redis: {error}")))
    }

    fn forget(&self, link: &Arc<Link>) {
        if self.link.load().as_ref().is_some_and(|now| Arc::ptr_eq(now, link)) {
            self.link.store(None);
        }
    }

    async fn link(&self) -> RedisResult<Arc<Link>> {
        if let Some(link) = self.link.load_full() {
            return Ok(link);
        }
        let _one = self.connecting.lock().await;
        if let Some(link) = self.link.load_full() {
            return Ok(link);
        }
        let link = Arc::new(self.connect().await?);
        self.link.store(Some(link.clone()));
        Ok(link)
    }

    fn certificates(&self) -> TlsCertificates {
        TlsCertificates { client_tls: None, root_cert: self.location.ca.clone() }
    }

    fn address(&self, (host, port): &(String, u16)) -> ConnectionAddr {
        match self.location.tls {
            true => ConnectionAddr::TcpTls { host: host.clone(), port: *port, insecure: false, tls_params: None },
            false => ConnectionAddr::Tcp(host.clone(), *port),
        }
    }

    fn credentials(&self) -> RedisConnectionInfo {
        let mut info = RedisConnectionInfo::default();
        if let Some(name) = &self.location.username {
            info = info.set_username(name);
        }
        if let Some(password) = &self.location.password {
            info = info.set_password(password.expose());
        }
        info
    }

    fn client(&self, place: &(String, u16)) -> RedisResult<Client> {
        let info = self.address(place).into_connection_info()?.set_redis_settings(self.credentials());
        match self.location.tls {
            true => Client::build_with_tls(info, self.certificates()),
            false => Client::open(info),
        }
    }

    async fn connect(&self) -> RedisResult<Link> {
        let limit = Some(Duration::from_millis(ANSWER_MILLISECONDS));
        let limits = AsyncConnectionConfig::new().set_connection_timeout(limit).set_response_timeout(limit);
        match &self.location.topology {
            RedisTopology::Single(host, port) => {
                let client = self.client(&(host.clone(), *port))?;
                client.get_multiplexed_async_connection_with_config(&limits).await.map(Link::One)
            }
            RedisTopology::Sentinel { sentinels, primary } => {
                let mut client = self.sentinels(sentinels, primary)?;
                client.get_async_connection_with_config(&limits).await.map(Link::One)
            }
            RedisTopology::Cluster(nodes) => {
                let nodes = nodes.iter().map(|place| self.address(place).into_connection_info());
                let nodes: Vec<_> =
                    nodes.map(|info| Ok(info?.set_redis_settings(self.credentials()))).collect::<RedisResult<_>>()?;
                let mut builder = ClusterClient::builder(nodes)
                    .connection_timeout(Duration::from_millis(ANSWER_MILLISECONDS))
                    .response_timeout(Duration::from_millis(ANSWER_MILLISECONDS))
                    .retries(3);
                if self.location.tls {
                    builder = builder.tls(TlsMode::Secure).certs(self.certificates());
                }
                builder.build()?.get_async_connection().await.map(Link::Cluster)
            }
        }
    }

    fn sentinels(&self, sentinels: &[(String, u16)], primary: &str) -> RedisResult<SentinelClient> {
        let addresses: Vec<ConnectionAddr> = sentinels.iter().map(|place| self.address(place)).collect();
        let mut builder = SentinelClientBuilder::new(addresses, primary, SentinelServerType::Master)?;
        if self.location.tls {
            builder = builder.set_client_to_redis_tls_mode(TlsMode::Secure).set_client_to_sentinel_tls_mode(TlsMode::Secure);
            builder = builder.set_client_to_redis_certificates(self.certificates());
            builder = builder.set_client_to_sentinel_certificates(self.certificates());
        }
        if let Some(name) = &self.location.username {
            builder = builder.set_client_to_redis_username(name);
        }
        if let Some(password) = &self.location.password {
            builder = builder.set_client_to_redis_password(password.expose());
        }
        builder.build()
    }
}

/// Whether another connection may do better: this one is gone, or leads to a server that only follows.
fn is_elsewhere(error: &RedisError) -> bool {
    error.is_io_error()
        || error.is_connection_dropped()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("READONLY" | "MASTERDOWN" | "LOADING"))
}

fn key(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// For how long Redis keeps it, in milliseconds.
fn life(expires: Timestamp, now: Timestamp) -> i64 {
    (expires.0 - now.0).max(1)
}

fn value(kept: &Kept) -> Vec<u8> {
    let mut value = format!("{:0width$}", kept.expires.0.max(0), width = DIGITS).into_bytes();
    value.extend(&kept.sealed);
    value
}

fn read(name: &str, value: Option<Vec<u8>>, now: Timestamp) -> Option<Kept> {
    let value = value?;
    let (digits, sealed) = value.split_at_checked(DIGITS)?;
    let expires = Timestamp(std::str::from_utf8(digits).ok()?.parse().ok()?);
    (expires > now).then(|| Kept { key: name.to_owned(), sealed: sealed.to_vec(), expires })
}

fn script(text: &str, name: &str) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(1).arg(key(name));
    command
}

#[async_trait]
impl Backend for Redis {
    async fn put(&self, kept: Kept, owner: Option<&str>, now: Timestamp) -> Result<(), Error> {
        let life = life(kept.expires, now);
        if let Some(owner) = owner {
            let mut command = script(OWN, owner);
            command.arg(kept.expires.0).arg(&kept.key).arg(life).arg(now.0);
            self.send::<i64>(&command).await?;
        }
        let mut command = redis::cmd("SET");
        command.arg(key(&kept.key)).arg(value(&kept)).arg("PX").arg(life);
        self.send(&command).await
    }

    async fn put_new(&self, kept: Kept, now: Timestamp) -> Result<bool, Error> {
        let mut command = script(PUT_NEW, &kept.key);
        command.arg(value(&kept)).arg(life(kept.expires, now)).arg(now.0);
        self.send(&command).await
    }

    async fn replace(&self, kept: Kept, now: Timestamp) -> Result<bool, Error> {
        let mut command = script(REPLACE, &kept.key);
        command.arg(value(&kept)).arg(life(kept.expires, now)).arg(now.0);
        self.send(&command).await
    }

    async fn get(&self, keys: &[String], now: Timestamp) -> Result<Vec<Kept>, Error> {
        let mut found = Vec::with_capacity(keys.len());
        // One by one: in a Cluster each may be elsewhere.
        for name in keys {
            let mut command = redis::cmd("GET");
            command.arg(key(name));
            found.extend(read(name, self.send(&command).await?, now));
        }
        Ok(found)
    }

    async fn take(&self, name: &str, now: Timestamp) -> Result<Option<Kept>, Error> {
        let mut command = redis::cmd("GETDEL");
        command.arg(key(name));
        Ok(read(name, self.send(&command).await?, now))
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        let mut command = redis::cmd("DEL");
        command.arg(key(name));
        self.send::<i64>(&command).await.map(drop)
    }

    async fn owned(&self, owner: &str, most: u32, now: Timestamp) -> Result<Vec<Kept>, Error> {
        let (mut all, mut from) = (Vec::new(), 0);
        // What was taken or deleted before its time has left its name here.
        while all.len() < most as usize {
            let mut command = redis::cmd("ZREVRANGEBYSCORE");
            command.arg(key(owner)).arg("+inf").arg(format!("({}", now.0)).arg("LIMIT").arg(from).arg(most);
            let names: Vec<String> = self.send(&command).await?;
            if names.is_empty() {
                break;
            }
            from += names.len();
            all.extend(self.get(&names, now).await?);
        }
        all.truncate(most as usize);
        Ok(all)
    }

    async fn sweep(&self, _now: Timestamp) -> Result<u64, Error> {
        Ok(0)
    }

    async fn reach(&self) -> Result<(), Error> {
        let mut command = redis::cmd("GET");
        command.arg(key("reach"));
        self.send::<Option<Vec<u8>>>(&command).await.map(drop)
    }
}
