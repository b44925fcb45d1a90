//! Spans of calls that leave the process (OpenTelemetry semantic conventions for databases and HTTP).
//!
//! They exist only within a span of somebody's request: what runs by itself every second begins no traces. Nothing in them
//! is about a person: no statement's values, no address with a query.

use tracing::{Span, field::Empty, info_span};

/// A statement or command, to be entered while a database (`sqlite`, `postgresql`, `redis`) is waited for.
#[must_use]
pub fn database(system: &'static str) -> Span {
    if Span::current().is_none() {
        return Span::none();
    }
    info_span!("database", otel.name = system, otel.kind = "client", db.system.name = system)
}

/// A request to an identity provider. The status is recorded by [`answered`].
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

/// What came back.
pub fn answered(span: &Span, status: u16) {
    span.record("http.response.status_code", status);
    if status >= 500 {
        span.record("otel.status_code", "ERROR");
    }
}
