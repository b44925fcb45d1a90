//! A sign-in is one trace (OpenTelemetry), from the choice of a source to the session, whichever brokers answer the browser.
//!
//! The browser's session carries where the trace began. A request of a browser that is signing in gets a span in that
//! trace; the span of the request itself, which began before anybody knew the browser, is linked to it.

use super::PageError;
use crate::{domain::Timestamp, domain::session::RequestOrigin, federation::SIGN_IN_SECONDS};
use axum::{
    extract::{MatchedPath, Request},
    middleware::Next,
    response::Response,
};
use opentelemetry::{Context, propagation::TextMapPropagator as _, trace::TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, sync::Arc};
use tower_sessions::Session;
use tracing::{Instrument as _, Span, info_span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Where the session keeps it.
pub(super) const KEY: &str = "trace";

/// Where a sign-in's trace began.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    /// `traceparent` (W3C Trace Context).
    context: HashMap<String, String>,
    at: Timestamp,
}

/// The trace of a sign-in that is under way.
async fn under_way(session: &Session, now: Timestamp) -> Result<Option<Context>, PageError> {
    let begun: Option<Begun> = session.get(KEY).await?;
    let fresh = begun.filter(|begun| now.seconds_since(begun.at) < SIGN_IN_SECONDS);
    Ok(fresh.map(|begun| TraceContextPropagator::new().extract(&begun.context)))
}

/// Remembers that a sign-in begins with this request, unless it goes on with one. Nothing where nobody traces.
pub(super) async fn begin(session: &Session, now: Timestamp) -> Result<(), PageError> {
    let own = Span::current().context();
    if !own.span().span_context().is_valid() || under_way(session, now).await?.is_some() {
        return Ok(());
    }
    let mut context = HashMap::new();
    TraceContextPropagator::new().inject_context(&own, &mut context);
    Ok(session.insert(KEY, Begun { context, at: now }).await?)
}

/// Puts the request of a browser that is signing in into the trace of that.
pub(super) async fn join(session: Session, request: Request, next: Next) -> Response {
    let (own, now) = (Span::current(), request.extensions().get::<Arc<RequestOrigin>>().map(|origin| origin.time));
    let (false, Some(now)) = (own.is_none(), now) else { return next.run(request).await };
    let Ok(Some(sign_in)) = under_way(&session, now).await else { return next.run(request).await };
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let name = format!("{} {route}", request.method());
    let span = info_span!(parent: None, "sign-in", otel.name = name, otel.kind = "server", http.route = route);
    // Nobody listens any more: then there is no trace to be in.
    let _ = span.set_parent(sign_in);
    span.add_link(own.context().span().span_context().clone());
    next.run(request).instrument(span).await
}
