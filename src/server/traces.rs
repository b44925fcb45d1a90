//! Traces for operators: what a request waited for, over OTLP (HTTP, protobuf) to an OpenTelemetry collector.
//!
//! A span is a request, an operation, or something waited for: a database, Redis, an identity provider. There are no names of
//! people in them, and nothing that anybody sent: a request is called by its
//! route, and its id leads to its line in the log. A sign-in is one trace, whichever brokers answer its requests:
//! see [`crate::pages::trace`].

use crate::{
    config::{SystemRandom, TraceSettings},
    domain::{Error, ErrorKind, Random, trace},
    pages,
};
use async_trait::async_trait;
use http::{HeaderMap, Method, Request, Response};
use opentelemetry::{
    KeyValue,
    trace::{TraceContextExt as _, TracerProvider as _},
};
use opentelemetry_http::{Bytes, HttpClient, HttpError};
use opentelemetry_otlp::{Protocol, RetryPolicy, SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::{
    Resource,
    trace::{Sampler, SdkTracerProvider},
};
use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};
use tokio::runtime::Handle;
use tracing::{Metadata, Span, Subscriber, field::Empty, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::{
    Layer,
    filter::{LevelFilter, filter_fn},
    registry::LookupSpan,
};

/// How long the collector may take.
const EXPORT_TIME: Duration = Duration::from_secs(5);

/// Where spans go. [`Traces::close`] sends what waits.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to send spans, from within a Tokio runtime. More headers come from `OTEL_EXPORTER_OTLP_HEADERS`.
    ///
    /// # Errors
    /// `InvalidInput` when the address can't be one of a collector.
    pub fn open(settings: &TraceSettings) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| Error::new(ErrorKind::InvalidInput, format!("traces: {error}"));
        let TraceSettings { endpoint, ratio } = settings;
        let base = ["http", "https"].contains(&endpoint.scheme()) && endpoint.query().is_none();
        if !base || !(0.0..=1.0).contains(ratio) {
            return Err(failed(&"expected an http or https endpoint without a query, and a ratio from 0 to 1"));
        }
        let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).timeout(EXPORT_TIME).build();
        let collector = Collector {
            client: client.map_err(|error| failed(&error))?,
            runtime: Handle::current(),
            takes: AtomicBool::new(true),
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(collector)
            .with_protocol(Protocol::HttpBinary)
            .with_timeout(EXPORT_TIME)
            .with_retry_policy(RetryPolicy::disabled())
            .with_endpoint(format!("{}/v1/traces", endpoint.as_str().trim_end_matches('/')))
            .build();
        let resource = Resource::builder()
            .with_service_name("daypass")
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .with_attribute(KeyValue::new("service.instance.id", (&SystemRandom as &dyn Random).uuid()));
        let provider = SdkTracerProvider::builder()
            .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(*ratio))))
            .with_resource(resource.build())
            .with_batch_exporter(exporter.map_err(|error| failed(&error))?);
        Ok(Self(provider.build()))
    }

    /// What listens for spans.
    pub fn layer<S: Subscriber + for<'span> LookupSpan<'span>>(&self) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer("daypass"))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_traced).with_max_level_hint(LevelFilter::INFO))
    }

    /// Sends what waits, for at most five seconds.
    pub async fn close(self) {
        let closed = tokio::task::spawn_blocking(move || self.0.shutdown_with_timeout(EXPORT_TIME)).await;
        if !matches!(closed, Ok(Ok(()))) {
            tracing::warn!("the last traces could not be sent in time");
        }
    }
}

/// Our own spans. Lines of the log stay where they are: they may say what is nobody else's to know.
fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("daypass")
}

/// The span of a request; none for those that only ask whether somebody is there.
pub(super) fn request(request: &axum::extract::Request, request_id: &str) -> Span {
    if ["/healthz", "/readyz"].contains(&request.uri().path()) {
        return Span::none();
    }
    let method = trace::method(request.method().as_str());
    info_span!(
        "request",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = Empty,
        aws.request_id = request_id,
        http.response.status_code = Empty,
    )
}

/// Makes a request part of the trace that a proxy of ours has begun (W3C Trace Context, `traceparent` alone). Without one, or with
/// nobody who listens, the span begins a trace of its own.
pub(super) fn follow(span: &Span, headers: &HeaderMap) {
    if span.is_disabled() {
        return;
    }
    if let Some(parent) = headers.get("traceparent").and_then(|value| value.to_str().ok()) {
        let _ = span.set_parent(pages::trace::context(parent));
    }
}

/// Names a request after its route: a path is one of too many.
pub(super) fn name(span: &Span, method: &Method, route: &str) {
    span.record("http.route", route);
    span.context().span().update_name(format!("{} {route}", trace::method(method.as_str())));
}

/// How the exporter, which has a thread of its own, reaches the network.
#[derive(Debug)]
struct Collector {
    client: reqwest::Client,
    runtime: Handle,
    /// Whether it took the spans of the last time.
    takes: AtomicBool,
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let request = reqwest::Request::try_from(request)?;
        // What it says of the spans it refused nobody reads.
        let client = self.client.clone();
        let sent = self.runtime.spawn(async move { client.execute(request).await });
        let refused = match sent.await? {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("status {}", answer.status().as_u16())),
            Err(error) => Some(error.without_url().to_string()),
        };
        let took = self.takes.swap(refused.is_none(), Ordering::Relaxed);
        let Some(why) = refused else {
            if !took {
                tracing::info!("the collector takes traces again");
            }
            return Ok(Response::new(Bytes::new()));
        };
        metrics::counter!("daypass_trace_export_failures_total").increment(1);
        if took {
            tracing::warn!(why, "the collector takes no traces; those of this while are lost");
        }
        Err(why.into())
    }
}
