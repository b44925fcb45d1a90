//! The two endpoints: container credentials (AWS SDKs and tools reference guide, "Container credential provider") and the
//! instance metadata service, version 2 alone (EC2 user guide, "Use the Instance Metadata Service").

use super::super::{client::RoleCredentials, login::now};
use super::source::Keeper;
use crate::{
    config::SystemRandom,
    crypto::same,
    domain::{Random, Secret, Timestamp},
};
use axum::{
    Json, Router,
    body::Body,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, put},
};
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpListener;

const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";
/// Longest life of a metadata token, in seconds.
const MAX_TTL: i64 = 21_600;
/// Most metadata tokens at once; beyond it the ones that end first go.
const MAX_TOKENS: usize = 1000;

#[derive(Clone)]
struct Shared {
    keeper: Arc<Keeper>,
    token: Secret<String>,
    role: Option<Arc<str>>,
    tokens: Arc<Mutex<HashMap<String, Timestamp>>>,
    hosts: Arc<[String]>,
}

pub(super) async fn serve(
    listener: TcpListener,
    keeper: Arc<Keeper>,
    token: Secret<String>,
    role: Option<String>,
    until: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let address = listener.local_addr()?;
    let names = [SocketAddr::new(address.ip(), 0).to_string().trim_end_matches(":0").to_owned(), "localhost".to_owned()];
    let mut hosts: Vec<String> = names.iter().map(|host| format!("{host}:{}", address.port())).collect();
    if address.port() == 80 {
        hosts.extend(names);
    }
    let shared = Shared { keeper, token, role: role.map(Into::into), tokens: Arc::default(), hosts: hosts.into() };
    let mut router = Router::new().route("/credentials", get(credentials));
    if shared.role.is_some() {
        // Some clients put a second slash behind the address that ends with one, and others need that one.
        for begin in ["", "/"] {
            let names = format!("{begin}/latest/meta-data/iam/security-credentials");
            router = router
                .route(&format!("{begin}/latest/api/token"), put(metadata_token))
                .route(&names, get(role_name))
                .route(&format!("{names}/"), get(role_name))
                .route(&format!("{names}/{{role}}"), get(role_credentials));
        }
    }
    let router = router.layer(axum::middleware::from_fn_with_state(shared.clone(), guard)).with_state(shared);
    axum::serve(listener, router).with_graceful_shutdown(until).await
}

/// Only programs on this machine that mean this agent: no forwarded request, and no page of a browser whose name was pointed
/// here.
async fn guard(State(shared): State<Shared>, request: Request, next: Next) -> Response {
    let headers = request.headers();
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let known = shared.hosts.iter().any(|known| known == host);
    if !known || headers.contains_key("x-forwarded-for") || headers.contains_key(header::ORIGIN) {
        return StatusCode::FORBIDDEN.into_response();
    }
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn fault(status: StatusCode, code: &str, message: &str) -> Response {
    (status, Json(json!({ "code": code, "message": message }))).into_response()
}

async fn fresh(shared: &Shared) -> Result<RoleCredentials, Response> {
    shared.keeper.credentials().await.map_err(|failure| {
        super::super::terminal::note!("{failure}");
        fault(StatusCode::SERVICE_UNAVAILABLE, "CredentialsUnavailable", "the broker gave no credentials; see the agent's output")
    })
}

fn keys(credentials: &RoleCredentials, account: &str) -> Value {
    json!({
        "AccessKeyId": credentials.access_key_id,
        "SecretAccessKey": credentials.secret_access_key.expose(),
        "Token": credentials.session_token.expose(),
        "Expiration": Timestamp(credentials.expiration).to_string(),
        "AccountId": account,
    })
}

async fn credentials(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !same(given, shared.token.expose()) {
        return fault(StatusCode::UNAUTHORIZED, "Unauthorized", "the Authorization header is not this agent's token");
    }
    match fresh(&shared).await {
        Ok(credentials) => Json(keys(&credentials, shared.keeper.account())).into_response(),
        Err(response) => response,
    }
}

async fn metadata_token(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    let asked = headers.get(TTL).and_then(|value| value.to_str().ok()).and_then(|text| text.parse::<i64>().ok());
    let Some(seconds) = asked.filter(|seconds| (1..=MAX_TTL).contains(seconds)) else {
        return StatusCode::BAD_REQUEST.into_response();
    };
    let random: &dyn Random = &SystemRandom;
    let (token, now) = (random.token(), now());
    let mut tokens = shared.tokens.lock().unwrap_or_else(PoisonError::into_inner);
    tokens.retain(|_, end| *end > now);
    while tokens.len() >= MAX_TOKENS {
        let Some(first) = tokens.iter().min_by_key(|(_, end)| **end).map(|(token, _)| token.clone()) else { break };
        tokens.remove(&first);
    }
    tokens.insert(token.clone(), now.plus_seconds(seconds));
    let mut response = Response::new(Body::from(token));
    response.headers_mut().insert(TTL, HeaderValue::from(seconds));
    response
}

/// The role's name, for who has a metadata token.
fn admitted(shared: &Shared, headers: &HeaderMap) -> Result<Arc<str>, StatusCode> {
    let token = headers.get(TOKEN).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let tokens = shared.tokens.lock().unwrap_or_else(PoisonError::into_inner);
    match (&shared.role, tokens.get(token)) {
        (Some(role), Some(end)) if *end > now() => Ok(role.clone()),
        _ => Err(StatusCode::UNAUTHORIZED),
    }
}

async fn role_name(State(shared): State<Shared>, headers: HeaderMap) -> Response {
    match admitted(&shared, &headers) {
        Ok(role) => role.to_string().into_response(),
        Err(status) => status.into_response(),
    }
}

async fn role_credentials(State(shared): State<Shared>, Path(asked): Path<String>, headers: HeaderMap) -> Response {
    match admitted(&shared, &headers) {
        Err(status) => status.into_response(),
        Ok(role) if *role != asked => StatusCode::NOT_FOUND.into_response(),
        Ok(_) => match fresh(&shared).await {
            Ok(credentials) => {
                let mut answer = keys(&credentials, shared.keeper.account());
                if let Some(members) = answer.as_object_mut() {
                    members.insert("Code".to_owned(), "Success".into());
                    members.insert("Type".to_owned(), "AWS-HMAC".into());
                    members.insert("LastUpdated".to_owned(), now().to_string().into());
                }
                Json(answer).into_response()
            }
            Err(response) => response,
        },
    }
}
