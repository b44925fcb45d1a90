//! Any text as an ID token: nothing panics, and nothing but the genuine claims verify.
#![no_main]

use daypass::{
    crypto::{jose, unique_json},
    domain::Timestamp,
};
use jsonwebtoken::jwk::JwkSet;
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static KEYS: LazyLock<JwkSet> =
    LazyLock::new(|| serde_json::from_str(include_str!("../seeds/jwks.json")).expect("a JWK set"));
/// When the seeds were valid.
const THEN: i64 = 1_795_521_600_000;

fuzz_target!(|text: &str| {
    let _ = jose::claimed_issuer(text);
    let _ = unique_json::object(text.as_bytes());
    let required = ["exp", "iss", "sub", "aud"];
    let allowed = ["RS256", "PS256", "ES256", "EdDSA"];
    if let Ok(verified) = jose::verify_allowed(text, &KEYS, "https://login.example", &allowed, &required, Timestamp(THEN)) {
        assert_eq!(verified.0.get("sub").and_then(|sub| sub.as_str()), Some("jane"));
    }
});
