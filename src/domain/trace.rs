//! Spans of calls that leave the process (OpenTelemetry semantic conventions for databases and HTTP).
//!
//! They exist only within a span of somebody's request: what runs by itself begins no traces. Nothing in them is about a person:
//! no statement's values, no address with a query.

use tracing::{Span, field::Empty, info_span};

/// Something that is done for a request, to be entered while it is waited for: an operation, the audit log.
#[must_use]
pub fn step(name: &'static str, service: &'static str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    info_span!("step", otel.name = name, rpc.service = service, error.type = Empty)
}

/// A statement or command, to be entered while a database (`sqlite`, `postgresql`, `redis`) is waited for.
#[must_use]
pub fn database(system: &'static str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    info_span!("database", otel.name = system, otel.kind = "client", db.system.name = system, otel.status_code = Empty)
}

/// The methods that there are; others are inventions of whoever sent them.
#[must_use]
pub fn method(given: &str) -> &'static str {
    const KNOWN: [&str; 9] = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "CONNECT", "TRACE"];
    KNOWN.into_iter().find(|known| *known == given).unwrap_or("_OTHER")
}

/// A request to an identity provider.
#[must_use]
pub fn http(method: &str, host: &str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    info_span!(
        "http",
        otel.name = method,
        otel.kind = "client",
        http.request.method = method,
        server.address = host,
        http.response.status_code = Empty,
        otel.status_code = Empty,
    )
}

/// The status of an answer.
pub fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", i64::from(status));
    if status >= 500 {
        failed(span);
    }
}

/// It did not work.
pub fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}
