//! Any bytes as a SAML response: nothing panics, and nobody but the person of the genuine documents ever comes out. The seeds
//! are genuine documents of a key that was thrown away.
#![no_main]

use daypass::{
    crypto::{
        xml::{self, SAML, is},
        xmldsig::{Shape, Trust, verify, xmlsec},
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

fuzz_target!(|bytes: &[u8]| {
    if let Ok(signed) = verify(bytes, Shape::Response, &TRUST, None, &mut xmlsec::octets) {
        let document = xml::parse(&signed.xml, xml::MAX_MESSAGE * 2).expect("what was signed parses");
        let mut names = document.descendants().filter(|node| is(*node, SAML, "NameID")).map(xml::text);
        assert_eq!(names.next().as_deref(), Some("jane@corp.test"));
        assert_eq!(names.next(), None);
    }
});
