//! Any text as a DPoP proof: nothing panics, and what verifies was made for this address, now, by the key that it names.
#![no_main]

use daypass::{
    crypto::dpop::{DpopProof, MAX_SKEW_SECONDS},
    domain::Timestamp,
};
use libfuzzer_sys::fuzz_target;

const THEN: i64 = 1_795_521_600_000;

fuzz_target!(|text: &str| {
    if let Ok(proof) = DpopProof::verify(text, "POST", "http://127.0.0.1:8080/v1/token", Timestamp(THEN)) {
        assert_eq!(proof.thumbprint.len(), 43);
        assert!(Timestamp(THEN).seconds_since(proof.made).abs() <= MAX_SKEW_SECONDS);
    }
});
