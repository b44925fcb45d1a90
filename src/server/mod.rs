//! The HTTP server: assembly, limits, TLS, graceful stop, health.

pub mod export;
mod follower;
pub mod metrics;
mod tls;
pub mod traces;
mod turns;

use crate::{
    api::{TABLES, audit_log::Retention},
    config::Settings,
    domain::{Error, ErrorKind, Timestamp, session::RequestOrigin, trace},
    gateway::{
        Gateway, scim,
        wire::{MAX_BODY, WireRequest, dispatch},
    },
    pages::{self, Pages},
};
use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, RawPathParams, Request, State},
    http::{HeaderValue, Method, StatusCode, Uri, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
    routing::{MethodFilter, any, get, on},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
};
use std::{
    cell::RefCell,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;
use tower_http::limit::RequestBodyLimitLayer;
use tower_sessions::{Expiry, SessionManagerLayer, cookie::SameSite};
use tracing::{Instrument as _, Span};

/// How long a client may take to send its headers.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long a request may take in all.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// How long requests may finish after a stop was asked for.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// How long a look at what this node needs may take.
const READY_TIME: Duration = Duration::from_secs(2);
const REQUEST_ID: &str = "x-amzn-requestid";
/// Most bytes of request line and headers.
const MAX_HEADERS: usize = 64 * 1024;

/// Headers of every answer that has no others of these names.
const EVERYWHERE: [(header::HeaderName, HeaderValue); 3] = [
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'")),
    (header::HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
];

/// Everything behind the listener.
struct Front {
    gateway: Gateway,
    /// Pages and operations with a path of their own.
    router: Router,
    proxies: Box<[std::net::IpAddr]>,
    secure_listener: bool,
    https: bool,
}

impl Front {
    fn new(settings: &Settings, gateway: Gateway, stopping: Stopping) -> Self {
        Self {
            router: router(settings, gateway.clone(), stopping),
            gateway,
            proxies: settings.trusted_proxies.clone().into(),
            secure_listener: settings.tls.is_some(),
            https: settings.public_url.scheme() == "https",
        }
    }

    /// Gives a request its id, time and origin, and an answer in time, whatever happens. Answers carry id and time back.
    async fn answer(&self, peer: SocketAddr, request: Request) -> Response {
        let origin = Arc::new(self.origin(peer, &request));
        let method = request.method().clone();
        let path = loggable(request.uri().path()).to_owned();
        let span = traces::request(&request, &origin.request_id);
        if self.proxies.contains(&peer.ip().to_canonical()) {
            traces::follow(&span, request.headers());
        }
        // Boxed, so that a pointer is moved about and not all that any route may need.
        let route = Box::pin(self.route(origin.clone(), request)).instrument(span.clone());
        let answer = tokio::time::timeout(REQUEST_TIME, without_panic(route)).await;
        let mut response = answer.unwrap_or_else(|_| StatusCode::SERVICE_UNAVAILABLE.into_response());
        let headers = response.headers_mut();
        if !headers.contains_key(REQUEST_ID)
            && let Ok(value) = HeaderValue::from_str(&origin.request_id)
        {
            headers.insert(REQUEST_ID, value);
        }
        // What is no page is not to be rendered, framed, or loaded by other sites (OWASP ASVS 5.0, 3.2.1, 3.4.4, 3.4.6, 3.5.8).
        for (name, value) in EVERYWHERE {
            headers.entry(name).or_insert(value);
        }
        if response.status() == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
        }
        let headers = response.headers_mut();
        if self.https {
            let year = HeaderValue::from_static("max-age=31536000; includeSubDomains");
            headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
        }
        // Clients correct their clocks by this.
        if let Some(date) = http_date(origin.time) {
            headers.insert(header::DATE, date);
        }
        trace::answered(&span, response.status().as_u16());
        tracing::info!(request = origin.request_id, %method, path, status = response.status().as_u16(), "request");
        response
    }

    /// Calls of the query and JSON protocols go straight to their operation; the rest has a path.
    async fn route(&self, origin: Arc<RequestOrigin>, mut request: Request) -> Response {
        let rpc = is_rpc(&request);
        request.extensions_mut().insert(origin);
        if !rpc {
            return Box::pin(self.router.clone().oneshot(request)).await.into_response();
        }
        match wire(request).await {
            Ok(request) => dispatch(self.gateway.clone(), TABLES, request).await,
            Err(refused) => refused,
        }
    }

    fn origin(&self, peer: SocketAddr, request: &Request) -> RequestOrigin {
        let peer = peer.ip().to_canonical();
        let header =
            |name: header::HeaderName| request.headers().get_all(name).iter().next_back().and_then(|value| value.to_str().ok());
        let trusted = self.proxies.contains(&peer);
        // The last line and the last address in it are what our own proxy saw.
        let forwarded = header(header::HeaderName::from_static("x-forwarded-for")).filter(|_| trusted);
        let forwarded = forwarded
            .and_then(|list| list.rsplit(',').next())
            .and_then(|address| address.trim().parse::<std::net::IpAddr>().ok())
            .map(|address| address.to_canonical());
        let forwarded_proto = header(header::HeaderName::from_static("x-forwarded-proto")).filter(|_| trusted);
        RequestOrigin {
            request_id: self.gateway.broker.random.uuid(),
            source_ip: forwarded.unwrap_or(peer),
            user_agent: header(header::USER_AGENT).unwrap_or_default().chars().take(256).collect(),
            secure: self.secure_listener || forwarded_proto == Some("https"),
            time: self.gateway.broker.clock.now(),
        }
    }
}

/// A path as others may see it. Never the query: `/federation` and presigned URLs carry secrets there. Nor the handle of a
/// sign-in, or the token of a setup link, in a path.
fn loggable(path: &str) -> &str {
    ["/saml/continue/", "/saml/arrived/", "/setup/", "/second-factor/reset/", "/set-password/"]
        .into_iter()
        .find(|place| path.starts_with(place))
        .unwrap_or(path)
}

/// Tells the span of a request which route it took.
async fn named(request: Request, next: Next) -> Response {
    if let Some(route) = request.extensions().get::<MatchedPath>() {
        traces::name(&Span::current(), request.method(), route.as_str());
    }
    next.run(request).await
}

/// Whether a request names its operation by `X-Amz-Target` or `Action` instead of a path.
fn is_rpc(request: &Request) -> bool {
    let presigned = || request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")));
    let method = request.method();
    request.uri().path() == "/" && (method == Method::POST || (method == Method::GET && presigned()))
}

/// A panic costs one answer.
async fn without_panic(answer: impl Future<Output = Response>) -> Response {
    let mut answer = std::pin::pin!(answer);
    std::future::poll_fn(|context| {
        let polled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| answer.as_mut().poll(context)));
        polled.unwrap_or_else(|_| {
            ::metrics::counter!("daypass_panics_total").increment(1);
            std::task::Poll::Ready(StatusCode::INTERNAL_SERVER_ERROR.into_response())
        })
    })
    .await
}

fn router(settings: &Settings, gateway: Gateway, stopping: Stopping) -> Router {
    let secure = settings.public_url.scheme() == "https";
    // `__Host-` needs Secure, which plain http on a loopback address can't have.
    let name = if secure { "__Host-daypass" } else { "daypass" };
    let idle = tower_sessions::cookie::time::Duration::seconds(settings.sessions.portal_seconds);
    let sessions = SessionManagerLayer::new(gateway.broker.store.ephemeral().clone())
        .with_name(name)
        .with_secure(secure)
        .with_http_only(true)
        .with_same_site(SameSite::Lax)
        .with_path("/")
        .with_expiry(Expiry::OnInactivity(idle));
    let origin = settings.public_url.origin().ascii_serialization();
    let pages = pages::router(Pages { gateway: gateway.clone(), origin: origin.into() }).layer(sessions);
    let pages = turns::line(pages.layer(axum::middleware::map_response(pages::saved)));

    let mut api = Router::new().route("/", get(|| async { Redirect::to("/portal") }));
    let routed = || TABLES.iter().flat_map(|table| table.iter()).filter_map(|entry| Some((entry.route?, entry.serve?)));
    for ((method, path), serve) in routed() {
        // Two operations may share a path: a pair of the query string tells one of them (`?aws_iam=t`).
        if path.contains('?') {
            continue;
        }
        let of_path = |other: &'static str| other.strip_prefix(path)?.strip_prefix('?');
        let special = routed().find_map(|((_, other), serve)| Some((of_path(other)?, serve)));
        let filter = match method {
            "GET" => MethodFilter::GET,
            "DELETE" => MethodFilter::DELETE,
            "PUT" => MethodFilter::PUT,
            "PATCH" => MethodFilter::PATCH,
            _ => MethodFilter::POST,
        };
        let handler = move |State(gateway): State<Gateway>, labels: RawPathParams, request: Request| async move {
            let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            let query = request.uri().query().unwrap_or_default();
            let serve =
                special.filter(|(pair, _)| query.split('&').any(|given| given == *pair)).map_or(serve, |(_, serve)| serve);
            match wire(request).await {
                Ok(request) => serve(gateway, request.with_labels(labels)).await,
                Err(refused) => refused,
            }
        };
        api = api.route(path, on(filter, handler));
    }
    let router = api
        .with_state(gateway.clone())
        .merge(pages)
        .route("/scim/{*rest}", any(|uri: Uri| async move { scim::elsewhere(uri.path()) }))
        .fallback(pages::not_found)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state((gateway, stopping)))
        .layer(RequestBodyLimitLayer::new(MAX_BODY));
    if settings.traces.is_some() { router.layer(axum::middleware::from_fn(named)) } else { router }
}

/// Whether this node should be sent requests. Without Redis nobody can begin to sign in, and signed calls are answered as ever:
/// it stays ready, and says so.
async fn ready(State((gateway, stopping)): State<(Gateway, Stopping)>) -> Response {
    let unready = |why: &'static str| (StatusCode::SERVICE_UNAVAILABLE, why).into_response();
    if stopping.load(Ordering::Relaxed) {
        return unready("stopping\n");
    }
    let store = &gateway.broker.store;
    let looked = tokio::time::timeout(READY_TIME, async { tokio::join!(store.refresh(), store.ephemeral().reach()) }).await;
    match looked {
        Ok((Ok(()), _)) if store.fresh().is_err() => unready("the snapshot is too old\n"),
        Ok((Ok(()), Ok(()))) => "ready\n".into_response(),
        Ok((Ok(()), Err(_))) => "ready, but nobody can sign in: Redis can't be reached\n".into_response(),
        Ok((Err(_), _)) | Err(_) => unready("the store can't be read\n"),
    }
}

/// Set once the broker was asked to stop.
type Stopping = Arc<AtomicBool>;

/// The whole request, its body read.
async fn wire(request: Request) -> Result<WireRequest, Response> {
    let (mut parts, body) = request.into_parts();
    let origin = parts.extensions.remove::<Arc<RequestOrigin>>();
    let origin = origin.ok_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
    let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE.into_response())?;
    Ok(WireRequest::new(origin, parts.method, parts.uri, parts.headers, body))
}

/// `Tue, 24 Nov 2026 06:01:35 GMT` (RFC 9110 section 5.6.7). Written once a second.
fn http_date(time: Timestamp) -> Option<HeaderValue> {
    thread_local! {
        static WRITTEN: RefCell<(i64, Option<HeaderValue>)> = const { RefCell::new((0, None)) };
    }
    WRITTEN.with_borrow_mut(|(second, value)| {
        if *second != time.seconds() || value.is_none() {
            (*second, *value) = (time.seconds(), written_date(time));
        }
        value.clone()
    })
}

fn written_date(time: Timestamp) -> Option<HeaderValue> {
    let instant = jiff::Timestamp::from_second(time.seconds()).ok()?;
    let text = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&instant).ok()?;
    HeaderValue::from_str(&text).ok()
}

/// Listens until `stop` resolves, then lets requests finish.
///
/// # Errors
/// When the address can't be bound, or certificate and key can't be read.
pub async fn serve(
    settings: &Settings,
    gateway: Gateway,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), Error> {
    let tls = settings.tls.clone().map(tls::Certificate::read).transpose()?;
    let stopping = Stopping::default();
    let front = Arc::new(Front::new(settings, gateway.clone(), stopping.clone()));
    let sinks = export::sinks(&settings.audit)?;
    let retention = Retention {
        recordings_days: settings.sign_ins.kept_days,
        audit_days: settings.audit.kept_days,
        sinks: sinks.iter().map(export::Sink::name).collect(),
    };
    let follower = follower::Follower::start(&gateway, retention)?;
    let exports: Vec<_> = sinks.iter().map(|sink| tokio::spawn(export::follow(gateway.clone(), sink.clone()))).collect();
    let renewal = tokio::spawn(crate::api::metadata::keep_fresh(gateway.clone()));
    let reload = tls.clone().map(|tls| tokio::spawn(tls.follow()));
    let rotation = tokio::spawn(crate::api::keys::keep_rotated(gateway.clone(), settings.keys.schedule()));
    let watched = match settings.metrics_listen {
        Some(address) => Some(watched(address, gateway.clone(), sinks).await?),
        None => None,
    };
    let turns = Arc::new(Semaphore::new(settings.max_connections));
    let graceful = GracefulShutdown::new();
    // A proxy learns from `/readyz` that this node is going, and has time to look elsewhere while it still answers.
    let (told, drain) = (stopping.clone(), Duration::from_secs(settings.drain_seconds));
    let stop = async move {
        stop.await;
        told.store(true, Ordering::Relaxed);
        tokio::time::sleep(drain).await;
    };
    tokio::pin!(stop);
    loop {
        let turn = tokio::select! {
            turn = turns.clone().acquire_owned() => turn,
            () = &mut stop => break,
        };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut stop => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, or a peer that left: neither ends the server.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let acceptor = tls.as_ref().map(|tls| tls.acceptor());
        let connection = connection(stream, peer, acceptor, front.clone(), graceful.watcher());
        tokio::spawn(async move {
            ::metrics::gauge!("daypass_http_connections").increment(1.0);
            connection.await;
            ::metrics::gauge!("daypass_http_connections").decrement(1.0);
            drop(turn);
        });
    }
    tracing::info!("stopping: no new connections, requests may finish");
    drop(listener);
    if tokio::time::timeout(DRAIN_TIME, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
    renewal.abort();
    rotation.abort();
    for task in watched.into_iter().chain(reload).chain(exports) {
        task.abort();
    }
    let connections = follower.end();
    gateway.broker.store.close().await;
    drop(connections);
    Ok(())
}

/// Serves metrics on an address of their own.
async fn watched(address: SocketAddr, gateway: Gateway, sinks: Vec<export::Sink>) -> Result<tokio::task::JoinHandle<()>, Error> {
    let failed = |error| Error::new(ErrorKind::InvalidInput, format!("metrics_listen: {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let handle = metrics::install()?;
    let kept = handle.clone();
    let show = move || async move {
        metrics::look(&gateway).await;
        export::look(&gateway, &sinks).await;
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], handle.render())
    };
    let router = Router::new().route("/metrics", get(show));
    let upkeep = async move {
        // Also when nobody reads them: what was counted is summed up.
        let mut tick = tokio::time::interval(Duration::from_secs(5));
        loop {
            tick.tick().await;
            kept.run_upkeep();
        }
    };
    Ok(tokio::spawn(async move {
        tokio::select! {
            served = axum::serve(listener, router) => {
                if let Err(error) = served {
                    tracing::warn!(%error, "metrics are not served any more");
                }
            }
            () = upkeep => {}
        }
    }))
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    front: Arc<Front>,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let _ = stream.set_nodelay(true);
    let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let front = front.clone();
        async move { Ok::<_, Infallible>(front.answer(peer, request.map(Body::new)).await) }
    });
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEADER_TIME).max_buf_size(MAX_HEADERS);
    let outcome = match tls {
        None => watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await,
        Some(acceptor) => match tokio::time::timeout(HEADER_TIME, acceptor.accept(stream)).await {
            Ok(Ok(stream)) => watcher.watch(http.serve_connection(TokioIo::new(stream), service)).await,
            Ok(Err(error)) => {
                tracing::debug!(%error, "no TLS");
                return;
            }
            Err(_) => return,
        },
    };
    if let Err(error) = outcome {
        tracing::debug!(%error, "a connection ended early");
    }
}
