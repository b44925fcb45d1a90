//! What a broker costs: requests per second and CPU per request beside a bare axum handler, start-up time, idle memory.
//!
//! `cargo bench --bench broker`. Everything is measured in one run on one machine, so read the ratios. The servers are
//! processes of their own; CPU is what the kernel accounts to them.
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

use base64::{Engine as _, engine::general_purpose::STANDARD};
use std::{
    sync::Arc,
    time::{Duration, Instant},
};
use support::*;

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--bare") {
        let listener = tokio::net::TcpListener::bind(format!("127.0.0.1:{}", arguments[at + 1])).await.unwrap();
        let routes = axum::Router::new().route("/", axum::routing::post(|| async { "ok" }));
        axum::serve(listener, routes).await.unwrap();
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let idp = idp::Idp::new();
    let (issuer, token, _) = issuer().await;
    apply(&data, &organization(&issuer, &idp.metadata()));

    let start = |launch: &dyn Fn(u16) -> Server| {
        let took = (0..15).map(|_| {
            let port = free_port();
            let began = Instant::now();
            let server = launch(port);
            let took = began.elapsed().as_secs_f64() * 1000.0;
            drop(server);
            took
        });
        median(took.collect())
    };
    let (ours, theirs) = (start(&|port| broker(&data, port)), start(&bare));
    println!("start-up until it accepts: broker {ours:.1} ms, bare axum {theirs:.1} ms: {:.1} x", ours / theirs);

    let (server, plain) = (broker(&data, free_port()), bare(free_port()));
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "idle memory: broker {:.1} MiB, bare axum {:.1} MiB: {:.1} x",
        server.memory(),
        plain.memory(),
        server.memory() / plain.memory()
    );

    let port = server.port;
    let web = post(
        port,
        "",
        &[
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", "arn:aws:iam::111122223333:role/Ci"),
            ("RoleSessionName", "bench"),
            ("WebIdentityToken", &token),
        ],
    );
    let credentials = once(port, &web).await;
    let identity = signed(port, &credentials);
    let assertions: Vec<Vec<u8>> = (0..1500)
        .map(|number| {
            let xml = idp.sign(&idp::response(&format!("http://127.0.0.1:{port}"), &format!("_{number}"), None, now())).unwrap();
            post(
                port,
                "",
                &[
                    ("Action", "AssumeRoleWithSAML"),
                    ("Version", "2011-06-15"),
                    ("RoleArn", "arn:aws:iam::111122223333:role/Saml"),
                    ("PrincipalArn", "arn:aws:iam::111122223333:saml-provider/corp"),
                    ("SAMLAssertion", &STANDARD.encode(xml)),
                ],
            )
        })
        .collect();
    let hello = post(plain.port, "", &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]);

    println!("\n{:<28} {:>12} {:>16} {:>14}", "", "requests/s", "CPU µs/request", "CPU x bare");
    let (rate, base) = load(&plain, Arc::new(vec![hello]), 60_000).await;
    println!("{:<28} {rate:>12.0} {base:>16.1} {:>14.1}", "bare axum handler", 1.0);
    for (name, requests, total) in [
        ("GetCallerIdentity", vec![identity], 60_000),
        ("AssumeRoleWithWebIdentity", vec![web], 4_000),
        ("AssumeRoleWithSAML", assertions, 1_500),
    ] {
        let (rate, cpu) = load(&server, Arc::new(requests), total).await;
        println!("{name:<28} {rate:>12.0} {cpu:>16.1} {:>14.1}", cpu / base);
    }
    println!("\nmemory after the load: {:.1} MiB", server.memory());
}
