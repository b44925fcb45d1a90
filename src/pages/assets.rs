//! Style, scripts and icons: small files that a person can read, as they are.

use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};

macro_rules! assets {
    ($($name:literal: $kind:literal),+ $(,)?) => {
        Router::new()$(.route(
            concat!("/static/", $name),
            get(|| asset($kind, include_str!(concat!("../../templates/static/", $name)))),
        ))+
    };
}

pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    assets! {
        "app.css": "text/css; charset=utf-8",
        "app.js": "text/javascript; charset=utf-8",
        "roles.js": "text/javascript; charset=utf-8",
        "policy.js": "text/javascript; charset=utf-8",
        "passkey.js": "text/javascript; charset=utf-8",
        "icon.svg": "image/svg+xml",
        "icons.svg": "image/svg+xml",
    }
}

async fn asset(content_type: &'static str, body: &'static str) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "public, max-age=300")], body).into_response()
}
