//! What verifies the web identity tokens of ours: discovery and keys, for each account that has allowed them (OpenID Connect
//! Discovery 1.0, section 4).

use super::{Pages, not_found};
use crate::domain::name::AccountId;
use axum::{
    Json, Router,
    extract::{Path, State},
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

pub(super) fn router() -> Router<Pages> {
    Router::new()
        .route("/issuer/{account}/.well-known/openid-configuration", get(discovery))
        .route("/issuer/{account}/jwks", get(keys))
}

/// The issuer of an account that has one.
fn issuer(pages: &Pages, account: &str) -> Option<String> {
    let account = AccountId::parse(account).ok()?;
    let enabled = pages.gateway.snapshot().outbound_federation.contains(&account);
    enabled.then(|| pages.gateway.broker.federation.addresses.token_issuer(&account))
}

fn published(value: impl serde::Serialize) -> Response {
    ([(header::CACHE_CONTROL, "public, max-age=300")], Json(value)).into_response()
}

async fn discovery(State(pages): State<Pages>, Path(account): Path<String>) -> Response {
    let Some(issuer) = issuer(&pages, &account) else { return not_found().await };
    published(json!({
        "issuer": issuer,
        "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "ES384"],
        "claims_supported": ["sub", "aud", "exp", "iat", "iss", "jti", "https://sts.amazonaws.com/"],
    }))
}

async fn keys(State(pages): State<Pages>, Path(account): Path<String>) -> Response {
    match issuer(&pages, &account) {
        Some(_) => published(pages.gateway.broker.store.token_keys().public()),
        None => not_found().await,
    }
}
