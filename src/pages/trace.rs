//! A sign-in is one trace (OpenTelemetry), from the choice of a source to the session, whichever brokers answer the browser.
//!
//! The browser's session carries where the trace began. A request of a browser that is signing in gets a span in that
//! trace; the span of the request itself, which began before anybody knew the browser, is linked to it.

use super::{Failed, PageError};
use crate::{
    domain::{Timestamp, session::RequestOrigin, trace},
    federation::SIGN_IN_SECONDS,
};
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
const TRACEPARENT: &str = "traceparent";

/// Where routes begin that are part of a sign-in. They look at the browser's session in any case.
const SIGN_IN: [&str; 5] = ["/sign-in", "/second-factor", "/oidc/{source}/callback", "/saml/continue/", "/saml/arrived/"];

/// Where a sign-in's trace began.
#[derive(Debug, Serialize, Deserialize)]
struct Begun {
    traceparent: String,
    at: Timestamp,
}

/// The place in a trace that a `traceparent` names (W3C Trace Context); what is none names none.
#[must_use]
pub fn context(traceparent: &str) -> Context {
    let carried = HashMap::from([(TRACEPARENT.to_owned(), traceparent.to_owned())]);
    TraceContextPropagator::new().extract_with_context(&Context::new(), &carried)
}

/// The trace of a sign-in that is under way.
async fn under_way(session: &Session, now: Timestamp) -> Result<Option<Context>, PageError> {
    let kept: Option<serde_json::Value> = session.get(KEY).await?;
    let begun = kept.and_then(|kept| serde_json::from_value::<Begun>(kept).ok());
    let fresh = begun.filter(|begun| now.seconds_since(begun.at) < SIGN_IN_SECONDS);
    Ok(fresh.map(|begun| context(&begun.traceparent)))
}

/// Remembers that a sign-in begins with this request, unless it goes on with one. Nothing where nobody traces.
pub(super) async fn begin(session: &Session, now: Timestamp) -> Result<(), PageError> {
    let own = Span::current().context();
    if !own.span().span_context().is_valid() || under_way(session, now).await?.is_some() {
        return Ok(());
    }
    let mut carried = HashMap::new();
    TraceContextPropagator::new().inject_context(&own, &mut carried);
    let Some(traceparent) = carried.remove(TRACEPARENT) else { return Ok(()) };
    Ok(session.insert(KEY, Begun { traceparent, at: now }).await?)
}

/// Puts the request of a browser that is signing in into the trace of that.
pub(super) async fn join(session: Session, request: Request, next: Next) -> Response {
    let (own, now) = (Span::current(), request.extensions().get::<Arc<RequestOrigin>>().map(|origin| origin.time));
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let (false, Some(now)) = (own.is_none() || !SIGN_IN.iter().any(|start| route.starts_with(start)), now) else {
        return next.run(request).await;
    };
    let sign_in = match under_way(&session, now).await {
        Ok(Some(sign_in)) => sign_in,
        Ok(None) => return next.run(request).await,
        // Sessions can't be read: nothing behind this could go on either.
        Err(PageError(error)) => return Failed(error).page(None),
    };
    let name = format!("{} {route}", trace::method(request.method().as_str()));
    let span = info_span!(parent: None, "sign-in", otel.name = name, otel.kind = "server", http.route = route);
    // Nobody listens any more: then there is no trace to be in.
    let _ = span.set_parent(sign_in);
    span.add_link(own.context().span().span_context().clone());
    next.run(request).instrument(span).await
}
