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
    line_of(router, AT_ONCE)
}

fn line_of(router: Router, at_once: usize) -> Router {
    router.layer(from_fn_with_state(Arc::new(Semaphore::new(at_once)), in_turn))
}

/// Where programs ask, and what the page is made of that tells somebody to come again.
const NO_LINE: [&str; 6] = ["/static/", "/issuer/", "/federation", "/oidc/jwks", "/saml/metadata", "/saml/logout"];

fn waits(path: &str) -> bool {
    !NO_LINE.iter().any(|start| path.starts_with(start)) && !path.ends_with("/backchannel-logout")
}

async fn in_turn(State(turns): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    if !waits(request.uri().path()) {
        return next.run(request).await;
    }
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't go on should stop")]
mod tests {
    use super::*;
    use axum::{body::Body, routing::get};
    use tower::ServiceExt as _;

    #[tokio::test]
    async fn who_would_wait_too_long_is_told_when_to_come_again_and_programs_wait_for_nobody() {
        let router = line_of(Router::new().route("/portal", get(|| async {})).route("/oidc/jwks", get(|| async {})), 0);
        for (path, status) in [("/portal", StatusCode::SERVICE_UNAVAILABLE), ("/oidc/jwks", StatusCode::OK)] {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let answer = router.clone().oneshot(request).await.unwrap();
            assert_eq!(answer.status(), status, "{path}");
            assert_eq!(answer.headers().get(header::RETRY_AFTER), (path == "/portal").then_some(&COME_AGAIN));
        }
    }
}
