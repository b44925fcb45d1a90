//! Whose turn it is. Browsers wait in line, so that of a crowd some are served at any moment, instead of everybody too late;
//! who would wait for long is told to come again. Signed calls wait for no browser.

use crate::{gateway::wire::MAX_BODY, pages};
use axum::{
    Router,
    body::to_bytes,
    extract::{Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse as _, Response},
};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;

/// How many requests of browsers are worked on at once.
const AT_ONCE: usize = 512;
/// How long one waits for its turn.
const PATIENCE: Duration = Duration::from_secs(5);
/// When who was turned away should come again, in seconds.
const COME_AGAIN: HeaderValue = HeaderValue::from_static("30");

/// Puts the requests of a router into a line.
pub(super) fn line(router: Router) -> Router {
    router.layer(from_fn_with_state(Arc::new(Semaphore::new(AT_ONCE)), in_turn))
}

async fn in_turn(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    // Whoever sends slowly has no turn meanwhile.
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY).await else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    let request = Request::from_parts(parts, body.into());
    if let Ok(Ok(_turn)) = tokio::time::timeout(PATIENCE, turns.acquire()).await {
        return next.run(request).await;
    }
    metrics::counter!("daypass_turned_away_total").increment(1);
    let mut response = pages::crowded().await;
    response.headers_mut().insert(header::RETRY_AFTER, COME_AGAIN);
    response
}
