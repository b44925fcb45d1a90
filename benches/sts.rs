//! What STS costs beside its cryptography: each operation against a bare axum handler that does the same signature and sealing
//! work and nothing else, and memory over a million sessions.
//!
//! `cargo bench --bench sts`. Everything is measured in one run on one machine, so read the ratios. The servers are
//! processes of their own; CPU is what the kernel accounts to them. `SESSIONS=100000` makes it shorter.
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
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    digest, hmac,
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use axum::{body::Bytes, http::HeaderMap, routing::post as post_route};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use std::{process::Command, sync::Arc, time::Duration};
use support::*;

/// About as long as the answer to GetCallerIdentity.
const IDENTITY_ANSWER: usize = 430;
/// About as long as the answer to AssumeRoleWithWebIdentity.
const WEB_ANSWER: usize = 1400;

/// What the broker's verification of a signed call can't do without: the token opened, the body and the canonical request
/// hashed, the signing key derived, the signature made and compared.
fn check_identity(headers: &HeaderMap, body: &[u8], key: &LessSafeKey) -> bool {
    let token = URL_SAFE_NO_PAD.decode(headers["x-amz-security-token"].as_bytes()).unwrap();
    let mut sealed = token[17..].to_vec();
    // It is under another key: refused after the same work.
    let opened = key.open_in_place(Nonce::try_assume_unique_for_key(&token[5..17]).unwrap(), Aad::empty(), &mut sealed).is_ok();
    let body_hash = hex::encode(digest::digest(&digest::SHA256, body));
    let mut canonical = String::from("POST\n/\n\n");
    for name in ["host", "x-amz-date", "x-amz-security-token"] {
        canonical.push_str(name);
        canonical.push(':');
        canonical.push_str(headers[name].to_str().unwrap());
        canonical.push('\n');
    }
    canonical.push_str("\nhost;x-amz-date;x-amz-security-token\n");
    canonical.push_str(&body_hash);
    let hash = hex::encode(digest::digest(&digest::SHA256, canonical.as_bytes()));
    let mut mac = b"AWS4wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_vec();
    for part in ["20261124", "us-east-1", "sts", "aws4_request", hash.as_str()] {
        mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &mac), part.as_bytes()).as_ref().to_vec();
    }
    opened || headers["authorization"].as_bytes().ends_with(hex::encode(mac).as_bytes())
}

async fn floor(port: &str, point: Vec<u8>) {
    let key = Arc::new(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[7; 32]).unwrap()));
    let identity = {
        let answer = "x".repeat(IDENTITY_ANSWER);
        move |headers: HeaderMap, body: Bytes| {
            let (key, answer) = (key.clone(), answer.clone());
            async move {
                std::hint::black_box(check_identity(&headers, &body, &key));
                answer
            }
        }
    };
    let web = {
        let answer = "x".repeat(WEB_ANSWER);
        move |body: Bytes| {
            let (point, answer) = (point.clone(), answer.clone());
            async move {
                let token =
                    url::form_urlencoded::parse(&body).find(|(name, _)| name == "WebIdentityToken").unwrap().1.into_owned();
                let (signed, signature) = token.rsplit_once('.').unwrap();
                let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).verify(signed.as_bytes(), &signature).unwrap();
                answer
            }
        }
    };
    let routes = axum::Router::new().route("/identity", post_route(identity)).route("/web", post_route(web));
    let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{port}")).await.unwrap();
    axum::serve(listener, routes).await.unwrap();
}

fn floor_server(point: &[u8]) -> Server {
    let port = free_port();
    let child =
        Command::new(std::env::current_exe().unwrap()).args(["--floor", &port.to_string(), &hex::encode(point)]).spawn().unwrap();
    wait(port);
    Server { child, port }
}

/// The same request to another path.
fn to(path: &str, request: &[u8]) -> Vec<u8> {
    [format!("POST {path} HTTP/1.1").as_bytes(), &request["POST / HTTP/1.1".len()..]].concat()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--floor") {
        return floor(&arguments[at + 1], hex::decode(&arguments[at + 2]).unwrap()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let idp = idp::Idp::new();
    let (issuer, token, point) = issuer().await;
    apply(&data, &organization(&issuer, &idp.metadata()));
    let (server, floor) = (broker(&data, free_port()), floor_server(&point));
    let web = post(
        server.port,
        "",
        &[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", "arn:aws:iam::111122223333:role/Ci"),
            ("RoleSessionName", "bench"),
            ("WebIdentityToken", &token),
        ],
    );
    let identity = signed(server.port, &once(server.port, &web).await);

    println!("{:<28} {:>12} {:>16} {:>10}", "", "requests/s", "CPU µs/request", "x floor");
    for (name, request, path, total) in
        [("GetCallerIdentity", &identity, "/identity", 100_000), ("AssumeRoleWithWebIdentity", &web, "/web", 20_000)]
    {
        // Alternating, and the median of five: the machine is not ours alone.
        let (mut bare, mut ours, mut rates) = (Vec::new(), Vec::new(), (Vec::new(), Vec::new()));
        for _ in 0..5 {
            let (rate, cpu) = load(&floor, Arc::new(vec![to(path, request)]), total).await;
            bare.push(cpu);
            rates.0.push(rate);
            let (rate, cpu) = load(&server, Arc::new(vec![request.clone()]), total).await;
            ours.push(cpu);
            rates.1.push(rate);
        }
        let (bare, ours) = (median(bare), median(ours));
        println!("{:<28} {:>12.0} {bare:>16.1} {:>10.2}", format!("  floor of {path}"), median(rates.0), 1.0);
        println!("{name:<28} {:>12.0} {ours:>16.1} {:>10.2}", median(rates.1), ours / bare);
    }

    let sessions: usize = std::env::var("SESSIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let request = Arc::new(vec![web]);
    load(&server, request.clone(), 20_000).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = server.memory();
    println!("\nmemory after 20,000 sessions more: {before:.1} MiB");
    let mut issued = 0;
    while issued < sessions {
        let step = (sessions / 4).max(1).min(sessions - issued);
        let (rate, _) = load(&server, request.clone(), step).await;
        issued += step;
        println!("after {issued:>9}: {:.1} MiB ({:.2} x), {rate:.0} sessions/s", server.memory(), server.memory() / before);
    }
}
