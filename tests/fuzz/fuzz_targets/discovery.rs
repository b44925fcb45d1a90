//! Any bytes as a discovery document or a key set: nothing panics.
#![no_main]

use daypass::federation::oidc;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let _ = oidc::is_discovery(bytes);
    let _ = serde_json::from_slice::<jsonwebtoken::jwk::JwkSet>(bytes);
});
