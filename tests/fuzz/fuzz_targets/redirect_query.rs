//! Any query of the HTTP-Redirect binding: nothing panics or inflates without bound, and nothing but the genuine message
//! verifies.
#![no_main]

use daypass::{
    crypto::{
        xml::MAX_MESSAGE,
        xmldsig::{
            Trust,
            sign::{read_query, verify_query},
        },
    },
    domain::Timestamp,
    federation::metadata,
};
use libfuzzer_sys::fuzz_target;
use std::sync::LazyLock;

static TRUST: LazyLock<Trust> = LazyLock::new(|| {
    let idp = metadata::parse(include_str!("../seeds/idp.xml")).expect("metadata");
    idp.trust(false, Timestamp(0)).expect("keys")
});

fuzz_target!(|query: &str| {
    if let Ok(message) = read_query(query) {
        assert!(message.xml.len() <= MAX_MESSAGE);
    }
    if let Ok(message) = verify_query(query, &TRUST) {
        assert!(message.request && message.xml.contains(">jane@corp.test<"), "{message:?}");
    }
});
