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
            get(|| asset($kind, include_bytes!(concat!("../../templates/static/", $name)))),
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
    .merge(pictures())
}

/// Pictures of the pages, for the help: `make pictures` takes them.
fn pictures<S: Clone + Send + Sync + 'static>() -> Router<S> {
    macro_rules! picture {
        ($name:literal) => {
            get(|| asset("image/png", include_bytes!(concat!("../../templates/static/help/", $name))))
        };
    }
    Router::new()
        .route("/static/help/mapping.png", picture!("mapping.png"))
        .route("/static/help/preview.png", picture!("preview.png"))
        .route("/static/help/try.png", picture!("try.png"))
}

async fn asset(content_type: &'static str, body: &'static [u8]) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "public, max-age=300")], body).into_response()
}
