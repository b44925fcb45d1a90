//! The one outbound HTTP client of the broker: no redirects, bounded in time and size, https (plain http on loopback alone),
//! and no private address but of hosts that the settings name.
//!
//! Every address it is given comes from configuration, or from what a configured provider published over TLS. A name is
//! resolved once, and the connection goes to an address that was looked at: a name that changes meanwhile gains nothing.

use super::metadata::is_safe;
use crate::domain::{Error, ErrorKind, trace};
use std::{
    collections::{BTreeSet, HashMap},
    future::Future,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::sync::Semaphore;
use tracing::{Instrument as _, Span};
use url::{Host, Url};

/// Largest answer read, in bytes.
pub const MAX_ANSWER: usize = 1024 * 1024;

/// Most requests that wait for one host, or for what it publishes: one that hangs holds nobody else up.
pub(super) const MOST_WAITING: usize = 128;
const CROWDED: &str = "too many wait for it already";

/// So many wait for a provider that nobody else should.
pub(super) fn crowded(of: &str) -> Error {
    unreachable(format!("{of}: {CROWDED}"))
}

/// Outbound HTTP.
#[derive(Clone, Debug)]
pub struct Client {
    client: reqwest::Client,
    reach: Arc<Reach>,
    /// Requests under way, by host. Hosts come from configuration, so there are not many.
    waiting: Arc<Mutex<HashMap<String, Arc<Semaphore>>>>,
}

/// Which addresses that are not the internet's may be used.
#[derive(Debug)]
struct Reach {
    private_hosts: BTreeSet<String>,
    /// This machine: for a broker that itself is known by a loopback address alone, to try things out.
    own_machine: bool,
}

impl Reach {
    fn allows(&self, host: &str, address: IpAddr) -> bool {
        is_public(address) || (address.is_loopback() && self.own_machine) || self.private_hosts.contains(host)
    }
}

/// Resolves names, and leaves out addresses that a name has no business with.
struct Resolver(Arc<Reach>);

impl reqwest::dns::Resolve for Resolver {
    fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
        let reach = self.0.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = if is_local_name(name.as_str()) {
                // Nobody is asked for these (RFC 6761 6.3): they are this machine.
                let own = [IpAddr::from([127, 0, 0, 1]), IpAddr::V6(Ipv6Addr::LOCALHOST)];
                own.into_iter().map(|address| SocketAddr::new(address, 0)).collect()
            } else {
                tokio::net::lookup_host((name.as_str(), 0)).await?.collect()
            };
            let allowed = |address: &SocketAddr| reach.allows(name.as_str(), address.ip());
            let fit: Vec<SocketAddr> = found.into_iter().filter(allowed).collect();
            if fit.is_empty() {
                let why =
                    format!("`{}` has no public address; `outbound.private_hosts` lets private ones be used", name.as_str());
                return Err(why.into());
            }
            let addresses: reqwest::dns::Addrs = Box::new(fit.into_iter());
            Ok(addresses)
        })
    }
}

/// Whether a name is this machine's by definition.
pub(super) fn is_local_name(name: &str) -> bool {
    name == "localhost" || name.ends_with(".localhost")
}

/// Whether an address is one of the internet's (RFC 6890 and its registries).
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, ..] = v4.octets();
            !(v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || v4.is_broadcast()
                || v4.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(v6) => {
            let translated = v6.to_ipv4_mapped().or_else(|| embedded(v6));
            let public = v6.segments().first().is_some_and(|first| first & 0xe000 == 0x2000);
            translated.map_or(public, |v4| is_public(v4.into()))
        }
    }
}

/// The IPv4 address in a NAT64 or 6to4 one.
fn embedded(v6: Ipv6Addr) -> Option<std::net::Ipv4Addr> {
    let octets = v6.octets();
    let four = |at: usize| octets.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok()).map(Into::into);
    match v6.segments() {
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => four(12),
        [0x2002, ..] => four(2),
        _ => None,
    }
}

/// An answer: status and body.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// At most [`MAX_ANSWER`] bytes.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct HttpError(String);

impl Client {
    pub(super) fn new(private_hosts: BTreeSet<String>, own_machine: bool) -> Result<Self, Error> {
        let reach = Arc::new(Reach { private_hosts, own_machine });
        let client = reqwest::Client::builder()
            .dns_resolver(Arc::new(Resolver(reach.clone())))
            // A proxy would resolve names out of our sight.
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(3))
            .timeout(Duration::from_secs(10))
            .user_agent(concat!("daypass/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::internal)?;
        Ok(Self { client, reach, waiting: Arc::default() })
    }

    /// POST of a form, with more headers. The answer may have any status.
    ///
    /// # Errors
    /// `IdentityProviderUnreachable`, when there is no answer.
    pub async fn post_form(&self, url: &str, form: &[(String, String)], headers: &[(&str, &str)]) -> Result<Answer, Error> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let mut request = http::Request::post(url)
            .header("accept", "application/json")
            .header("content-type", "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into_bytes()).map_err(|error| unreachable(error.to_string()))?;
        self.send(request).await.map_err(|error| unreachable(format!("{url}: {error}")))
    }

    /// Posts JSON. Errors name the origin alone: the rest of the address may be a key.
    ///
    /// # Errors
    /// `IdentityProviderUnreachable` when there is no answer of class 2xx.
    pub(super) async fn post_json(&self, url: &Url, body: String, bearer: Option<&str>) -> Result<(), Error> {
        let mut request = http::Request::post(url.as_str()).header("content-type", "application/json");
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(body.into_bytes()).map_err(|error| unreachable(error.to_string()))?;
        let answer =
            self.send(request).await.map_err(|error| unreachable(format!("{}: {error}", url.origin().ascii_serialization())))?;
        if (200..300).contains(&answer.status) {
            Ok(())
        } else {
            Err(unreachable(format!("{}: status {}", url.origin().ascii_serialization(), answer.status)))
        }
    }

    /// GET, optionally with a bearer token.
    ///
    /// # Errors
    /// `IdentityProviderUnreachable`, also for any status but 200.
    pub async fn get(&self, url: &str, bearer: Option<&str>) -> Result<Vec<u8>, Error> {
        let mut request = http::Request::get(url).header("accept", "application/json, */*;q=0.5");
        if let Some(token) = bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Vec::new()).map_err(|error| unreachable(error.to_string()))?;
        let answer = self.send(request).await.map_err(|error| unreachable(format!("{url}: {error}")))?;
        if bearer.is_some() && matches!(answer.status, 401 | 403) {
            let public = "The identity provider's answer could not be accepted.";
            return Err(Error::new(ErrorKind::RejectedIdentity, public).with_private(format!("{url}: status {}", answer.status)));
        }
        if answer.status == 200 { Ok(answer.body) } else { Err(unreachable(format!("{url}: status {}", answer.status))) }
    }

    async fn send(&self, request: http::Request<Vec<u8>>) -> Result<Answer, HttpError> {
        let url = Url::parse(&request.uri().to_string()).map_err(|error| HttpError(error.to_string()))?;
        if !is_safe(&url) {
            return Err(HttpError(format!("`{url}` is not an https address")));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        // Names are looked at when they are resolved.
        if literal.is_some_and(|address| !self.reach.allows(url.host_str().unwrap_or_default(), address)) {
            return Err(HttpError(format!("`{url}` is a private address; `outbound.private_hosts` lets it be used")));
        }
        let waits = self.waits(url.host_str().unwrap_or_default());
        let _waits = waits.try_acquire().map_err(|_| HttpError(format!("{url}: {CROWDED}")))?;
        let span = trace::http(request.method().as_str(), url.host_str().unwrap_or_default());
        let request = reqwest::Request::try_from(request).map_err(|error| HttpError(error.to_string()))?;
        let answer = self.exchange(request).instrument(span.clone()).await;
        if answer.is_err() {
            trace::failed(&span);
        }
        answer
    }

    fn waits(&self, host: &str) -> Arc<Semaphore> {
        let mut hosts = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(MOST_WAITING))).clone()
    }

    async fn exchange(&self, request: reqwest::Request) -> Result<Answer, HttpError> {
        let mut response = self.client.execute(request).await.map_err(|error| HttpError(causes(&error.without_url())))?;
        let status = response.status().as_u16();
        trace::answered(&Span::current(), status);
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| HttpError(error.without_url().to_string()))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(HttpError("the answer is too large".to_owned()));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, body })
    }
}

/// The provider gave no answer that could be used; privately why.
pub(super) fn unreachable(why: impl Into<String>) -> Error {
    Error::new(ErrorKind::IdentityProviderUnreachable, "The identity provider could not be reached.").with_private(why.into())
}

/// An error with everything under it: the last cause says most.
fn causes(error: &dyn std::error::Error) -> String {
    let own = error.to_string();
    error.source().map_or_else(|| own.clone(), |source| format!("{own}: {}", causes(source)))
}

/// How `openidconnect` reaches the network: through the same limits.
impl<'c> openidconnect::AsyncHttpClient<'c> for Client {
    type Error = HttpError;
    type Future = Pin<Box<dyn Future<Output = Result<openidconnect::HttpResponse, HttpError>> + Send + 'c>>;

    fn call(&'c self, request: openidconnect::HttpRequest) -> Self::Future {
        Box::pin(async move {
            let answer = self.send(request).await?;
            http::Response::builder()
                .status(answer.status)
                .header("content-type", "application/json")
                .body(answer.body)
                .map_err(|error| HttpError(error.to_string()))
        })
    }
}
