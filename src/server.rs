//! The HTTP server: assembly, limits, TLS, graceful stop, health.

use crate::{
    api::TABLES,
    config::Settings,
    domain::{Error, ErrorKind, Secret, Timestamp, session::RequestOrigin},
    gateway::{
        Gateway,
        wire::{MAX_BODY, WireRequest, dispatch},
    },
    pages::{self, Pages},
};
use axum::{
    Extension, Router,
    extract::{RawPathParams, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Redirect, Response},
    routing::{MethodFilter, get, on},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use std::{cell::RefCell, future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};
use tokio_rustls::TlsAcceptor;
use tower_http::{catch_panic::CatchPanicLayer, limit::RequestBodyLimitLayer, timeout::TimeoutLayer};
use tower_sessions::{Expiry, SessionManagerLayer, cookie::SameSite};

/// How long a client may take to send its headers.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long a request may take in all.
const REQUEST_TIME: Duration = Duration::from_secs(30);
/// How long requests may finish after a stop was asked for.
const DRAIN_TIME: Duration = Duration::from_secs(30);
/// Most bytes of request line and headers.
const MAX_HEADERS: usize = 64 * 1024;

/// The application without its listener, as tests and benches use it. Expects the peer's [`SocketAddr`] as an extension.
pub fn application(settings: &Settings, gateway: Gateway) -> Router {
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

    let mut api = Router::new().route("/", get(root).post(call));
    for entry in TABLES.iter().flat_map(|table| table.iter()) {
        let (Some((method, path)), Some(serve)) = (entry.route, entry.serve) else { continue };
        let filter = match method {
            "GET" => MethodFilter::GET,
            "DELETE" => MethodFilter::DELETE,
            _ => MethodFilter::POST,
        };
        let handler = move |State(gateway): State<Gateway>, labels: RawPathParams, request: Request| async move {
            let labels = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            match wire(request).await {
                Ok(request) => serve(gateway, request.with_labels(labels)).await,
                Err(refused) => refused,
            }
        };
        api = api.route(path, on(filter, handler));
    }
    let proxies: Arc<[std::net::IpAddr]> = settings.trusted_proxies.clone().into();
    let stamp = Stamp { gateway: gateway.clone(), proxies, secure_listener: settings.tls.is_some(), https: secure };
    api.with_state(gateway.clone())
        .merge(pages)
        .fallback(pages::not_found)
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready).with_state(gateway))
        .layer(RequestBodyLimitLayer::new(MAX_BODY))
        .layer(TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, REQUEST_TIME))
        .layer(CatchPanicLayer::new())
        .layer(axum::middleware::from_fn_with_state(stamp, stamp_request))
}

async fn ready(State(gateway): State<Gateway>) -> Response {
    match gateway.broker.store.refresh().await {
        Ok(()) => "ready\n".into_response(),
        Err(_) => (StatusCode::SERVICE_UNAVAILABLE, "the store can't be read\n").into_response(),
    }
}

/// The whole request, its body read.
async fn wire(request: Request) -> Result<WireRequest, Response> {
    let (mut parts, body) = request.into_parts();
    let origin = parts.extensions.remove::<Arc<RequestOrigin>>();
    let origin = origin.ok_or_else(|| StatusCode::INTERNAL_SERVER_ERROR.into_response())?;
    let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| StatusCode::PAYLOAD_TOO_LARGE.into_response())?;
    Ok(WireRequest::new(origin, parts.method, parts.uri, parts.headers, body))
}

async fn root(State(gateway): State<Gateway>, request: Request) -> Response {
    let presigned = request.uri().query().is_some_and(|query| query.split('&').any(|pair| pair.starts_with("Action=")));
    if presigned { call(State(gateway), request).await } else { Redirect::to("/portal").into_response() }
}

async fn call(State(gateway): State<Gateway>, request: Request) -> Response {
    match wire(request).await {
        Ok(request) => dispatch(gateway, TABLES, request).await,
        Err(refused) => refused,
    }
}

#[derive(Clone)]
struct Stamp {
    gateway: Gateway,
    proxies: Arc<[std::net::IpAddr]>,
    secure_listener: bool,
    https: bool,
}

impl Stamp {
    fn origin(&self, request: &Request) -> RequestOrigin {
        let peer = request
            .extensions()
            .get::<SocketAddr>()
            .map_or(std::net::IpAddr::from([0, 0, 0, 0]), |peer| peer.ip().to_canonical());
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

/// Gives each request its id, time and origin; answers carry id and time back.
async fn stamp_request(State(stamp): State<Stamp>, mut request: Request, next: Next) -> Response {
    let origin = Arc::new(stamp.origin(&request));
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (id, time) = (origin.request_id.clone(), origin.time);
    request.extensions_mut().insert(origin);
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&id) {
        headers.entry("x-amzn-requestid").or_insert(value);
    }
    if stamp.https {
        let year = HeaderValue::from_static("max-age=31536000; includeSubDomains");
        headers.insert(header::STRICT_TRANSPORT_SECURITY, year);
    }
    // Clients correct their clocks by this.
    if let Some(date) = http_date(time) {
        headers.insert(header::DATE, date);
    }
    // Never the query: `/federation` and presigned URLs carry secrets there. Nor the handle of a sign-in in a path.
    let path = if path.starts_with("/saml/continue/") { "/saml/continue/…" } else { path.as_str() };
    tracing::info!(request = id, %method, path, status = response.status().as_u16(), "request");
    response
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
    let tls = settings.tls.as_ref().map(acceptor).transpose()?;
    let application = application(settings, gateway.clone());
    let follower = tokio::spawn(gateway.broker.store.clone().follow());
    let turns = Arc::new(Semaphore::new(settings.max_connections));
    let graceful = GracefulShutdown::new();
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
        let connection = connection(stream, peer, tls.clone(), application.clone(), graceful.watcher());
        tokio::spawn(async move {
            connection.await;
            drop(turn);
        });
    }
    tracing::info!("stopping: no new connections, requests may finish");
    drop(listener);
    if tokio::time::timeout(DRAIN_TIME, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests did not finish in time");
    }
    follower.abort();
    gateway.broker.store.close().await;
    Ok(())
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Option<TlsAcceptor>,
    application: Router,
    watcher: hyper_util::server::graceful::Watcher,
) {
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(application.layer(Extension(peer)));
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

fn acceptor(tls: &crate::config::TlsSettings) -> Result<TlsAcceptor, Error> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
    let bad = |file: &std::path::Path, error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::InvalidInput, format!("{}: {error}", file.display()))
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&tls.certificate).and_then(Iterator::collect);
    let chain = chain.map_err(|error| bad(&tls.certificate, &error))?;
    let pem = std::fs::read(&tls.private_key).map(Secret::new).map_err(|error| bad(&tls.private_key, &error))?;
    let key = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|error| bad(&tls.private_key, &error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::internal)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| bad(&tls.certificate, &error))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
