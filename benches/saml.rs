//! What verifying a SAML response costs: both verifiers, the cage around the C library, encryption, many groups; beside a bare
//! RSA-2048 verification of aws-lc.
//!
//! `cargo bench --bench saml`. One thread, everything in one run: read the ratios.
#![allow(missing_docs, unreachable_pub, reason = "a program")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench measures with the real clock, and stops when something is wrong"
)]

mod support;

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey},
};
use daypass::{
    crypto::{
        Refusal, cage, refusal,
        xmldsig::{Shape, Trust, Xmlsec, verify, xmlsec},
        xmlenc::DecryptionKey,
    },
    domain::Timestamp,
    federation::metadata,
};
use std::{
    process::{Command, Stdio},
    time::Instant,
};
use support::idp::{Idp, RSA_SHA256, response, signature};

const ROUNDS: u32 = 2000;

/// Microseconds of one call: the median of five series.
fn microseconds(mut call: impl FnMut()) -> f64 {
    let mut series: Vec<f64> = (0..5)
        .map(|_| {
            let began = Instant::now();
            (0..ROUNDS / 5).for_each(|_| call());
            began.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS / 5)
        })
        .collect();
    series.sort_by(f64::total_cmp);
    series[2]
}

fn main() {
    let (idp, ours) = (Idp::new(), Idp::new());
    let trust: Trust = metadata::parse(&idp.metadata()).unwrap().trust(false, Timestamp(0)).unwrap();
    let key = DecryptionKey::from_pkcs8([ours.private_key.as_slice()]).unwrap();
    let plain = response("https://sp.example", "_a", Some("_q"), Timestamp(0));
    let assertion = idp.sign(&plain).unwrap();
    let template = signature("_r", RSA_SHA256);
    let around = |xml: &str| idp.sign(&xml.replacen("</saml:Issuer>", &format!("</saml:Issuer>{template}"), 1)).unwrap();
    let groups: String = (0..150).map(|n| format!("<saml:AttributeValue>group-{n}</saml:AttributeValue>")).collect();
    let many = idp.sign(&plain.replace("<saml:AttributeValue>admins</saml:AttributeValue>", &groups)).unwrap();
    let (start, end) = (assertion.find("<saml:Assertion").unwrap(), assertion.find("</samlp:Response>").unwrap());
    let sealed = ours.encrypt(&assertion[start..end], "http://www.w3.org/2009/xmlenc11#aes256-gcm", "sha1");
    let encrypted = format!("{}{sealed}</samlp:Response>", &assertion[..start]);
    let changed = assertion.replace("jane@corp.test", "root@corp.test");

    let pair = RsaKeyPair::from_pkcs8(&idp.private_key).unwrap();
    let mut value = vec![0; pair.public_modulus_len()];
    pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), assertion.as_bytes(), &mut value).unwrap();
    let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, pair.public_key().as_ref());
    let bare = microseconds(|| public.verify(assertion.as_bytes(), &value).unwrap());

    let mut child = Command::new(env!("CARGO_BIN_EXE_daypass"))
        .arg("xml-verifier")
        .env_clear()
        .env(cage::ALLOCATOR.0, cage::ALLOCATOR.1)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (mut to, mut from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let caged = cage::Caged::read(&mut from).unwrap();
    let mut in_cage = |xml: &str, certificates: &[Vec<u8>]| -> Result<String, Refusal> {
        cage::ask(&mut to, &mut from, xml, certificates).unwrap().ok_or_else(|| refusal(xmlsec::REFUSED, "no"))
    };

    println!("cage: {caged:?}; {} bytes of response\n", assertion.len());
    println!("{:<58} {:>10} {:>8}", "", "us", "x bare");
    let line = |what: &str, took: f64| println!("{what:<58} {took:>10.1} {:>8.1}", took / bare);
    line("RSA-2048 verification, aws-lc", bare);
    let check = |xml: &str, accepted: bool, ask: Xmlsec<'_>| {
        assert_eq!(verify(xml.as_bytes(), Shape::Response, &trust, Some(&key), ask).is_ok(), accepted);
    };
    line("libxmlsec1 alone, in this process", {
        let certificates = [trust.certificates()[0].der.clone()];
        microseconds(|| drop(xmlsec::octets(&assertion, &certificates).unwrap()))
    });
    line("gate, both verifiers, agreement; in this process", microseconds(|| check(&assertion, true, &mut xmlsec::octets)));
    line("the same, libxmlsec1 in its cage", microseconds(|| check(&assertion, true, &mut in_cage)));
    let both = around(&assertion);
    line("response and assertion signed", microseconds(|| check(&both, true, &mut in_cage)));
    line("150 groups", microseconds(|| check(&many, true, &mut in_cage)));
    line("encrypted (AES-256-GCM, RSA-OAEP)", microseconds(|| check(&encrypted, true, &mut in_cage)));
    line("changed after it was signed: refused", microseconds(|| check(&changed, false, &mut in_cage)));
    line("refused by the gate", microseconds(|| check("<!DOCTYPE x>", false, &mut in_cage)));
    drop(to);
    child.wait().unwrap();
}
