//! Any text as metadata: nothing panics, and what is taken has a key and a safe address.
#![no_main]

use daypass::federation::metadata::{is_safe, parse};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(idp) = parse(text) {
        assert!(!idp.entity_id.is_empty() && !idp.certificates.is_empty());
        let endpoints = [&idp.sign_in, &idp.logout, &idp.logout_response];
        assert!(endpoints.iter().flat_map(|at| [&at.redirect, &at.post]).flatten().all(is_safe));
        assert!(idp.sign_in.choose(None).is_some());
    }
});
