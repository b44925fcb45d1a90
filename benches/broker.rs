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

#[path = "../tests/suite/idp.rs"]
mod idp;

use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use daypass::domain::Timestamp;
use std::{
    fs,
    net::TcpListener as StdListener,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpStream,
};

const CONNECTIONS: usize = 16;

struct Server {
    child: Child,
    port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// CPU time in microseconds, user and system.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks * 10_000.0
    }
    /// Resident memory in MiB.
    fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn wait(port: u16) {
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn bare(port: u16) -> Server {
    let child = Command::new(std::env::current_exe().unwrap()).arg("--bare").arg(port.to_string()).spawn().unwrap();
    wait(port);
    Server { child, port }
}

fn broker(data: &Path, port: u16) -> Server {
    let child = Command::new(env!("CARGO_BIN_EXE_daypass"))
        .arg("serve")
        .env("DAYPASS_DATA", data)
        .env("DAYPASS_LISTEN", format!("127.0.0.1:{port}"))
        .env("DAYPASS_PUBLIC_URL", format!("http://127.0.0.1:{port}"))
        .env("DAYPASS_LOG_LEVEL", "warn")
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait(port);
    Server { child, port }
}

/// Sends `total` requests over kept connections; returns requests per second and server CPU microseconds per request.
async fn load(server: &Server, requests: Arc<Vec<Vec<u8>>>, total: usize) -> (f64, f64) {
    let next = Arc::new(AtomicUsize::new(0));
    let (cpu, began) = (server.cpu(), Instant::now());
    let workers = (0..CONNECTIONS).map(|_| {
        let (next, requests, port) = (next.clone(), requests.clone(), server.port);
        tokio::spawn(async move {
            let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
            stream.get_ref().set_nodelay(true).unwrap();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= total {
                    break;
                }
                stream.get_mut().write_all(&requests[number % requests.len()]).await.unwrap();
                let (status, body) = answer(&mut stream).await;
                assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
            }
        })
    });
    for worker in workers.collect::<Vec<_>>() {
        worker.await.unwrap();
    }
    let seconds = began.elapsed().as_secs_f64();
    (total as f64 / seconds, (server.cpu() - cpu) / total as f64)
}

async fn answer(stream: &mut BufReader<TcpStream>) -> (u16, Vec<u8>) {
    let (mut status, mut length) = (0, 0);
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).await.unwrap();
        let line = line.trim_end();
        if line.is_empty() {
            break;
        }
        if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
            status = rest[..3].parse().unwrap();
        } else if let Some(rest) = line.to_lowercase().strip_prefix("content-length: ") {
            length = rest.parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    (status, body)
}

async fn once(port: u16, request: &[u8]) -> String {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    stream.get_mut().write_all(request).await.unwrap();
    let (status, body) = answer(&mut stream).await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

fn post(port: u16, headers: &str, form: &[(&str, &str)]) -> Vec<u8> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

fn now() -> Timestamp {
    Timestamp(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}

fn element<'x>(xml: &'x str, name: &str) -> &'x str {
    xml.split(&format!("<{name}>")).nth(1).unwrap().split("</").next().unwrap()
}

/// GetCallerIdentity, signed with the credentials of an answer.
fn signed(port: u16, credentials: &str) -> Vec<u8> {
    let (key, secret, token) =
        (element(credentials, "AccessKeyId"), element(credentials, "SecretAccessKey"), element(credentials, "SessionToken"));
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let stamp: String = now().to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let date = &stamp[..8];
    let sha = |data: &str| hex::encode(digest::digest(&digest::SHA256, data.as_bytes()));
    let names = "host;x-amz-date;x-amz-security-token";
    let canonical =
        format!("POST\n/\n\nhost:127.0.0.1:{port}\nx-amz-date:{stamp}\nx-amz-security-token:{token}\n\n{names}\n{}", sha(body));
    let scope = format!("{date}/us-east-1/sts/aws4_request");
    let mut mac = format!("AWS4{secret}").into_bytes();
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha(&canonical));
    for part in [date, "us-east-1", "sts", "aws4_request", &to_sign] {
        mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &mac), part.as_bytes()).as_ref().to_vec();
    }
    let headers = format!(
        "X-Amz-Date: {stamp}\r\nX-Amz-Security-Token: {token}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={key}/{scope}, SignedHeaders={names}, Signature={}\r\n",
        hex::encode(mac)
    );
    post(port, &headers, &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")])
}

/// An issuer on loopback, and a token of it.
async fn issuer() -> (String, String) {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let point = key.public_key().as_ref();
    let jwk = serde_json::json!({ "keys": [{ "kty": "EC", "crv": "P-256", "kid": "k", "alg": "ES256", "use": "sig",
        "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]) }] });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = format!("http://{}", listener.local_addr().unwrap());
    let discovery = serde_json::json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/keys") });
    let routes = axum::Router::new()
        .route("/.well-known/openid-configuration", axum::routing::get(move || async move { discovery.to_string() }))
        .route("/keys", axum::routing::get(move || async move { jwk.to_string() }));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let time = now().seconds();
    let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(serde_json::json!({ "alg": "ES256", "kid": "k" }));
    let claims = part(serde_json::json!({ "iss": issuer, "sub": "ci", "aud": "bench", "iat": time, "exp": time + 3600 }));
    let signature = key.sign(&SystemRandom::new(), format!("{header}.{claims}").as_bytes()).unwrap();
    (issuer, format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

fn organization(issuer: &str, metadata: &str) -> String {
    let host = issuer.trim_start_matches("http://");
    let trust = |provider: &str, action: &str, extra: &str| {
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Federated":"arn:aws:iam::111122223333:{provider}"}},"Action":[{action}]{extra}}}]}}"#
        )
    };
    format!(
        "[organization]\nname = \"Bench\"\nmanagement_account = \"111122223333\"\n[[accounts]]\nid = \"111122223333\"\nname = \"Bench\"\n\
         [[identity_sources]]\nname = \"corp\"\ntype = \"saml\"\nmetadata = '''{metadata}'''\n[identity_sources.attributes]\ngroups = \"groups\"\n\
         [[identity_providers]]\naccount = \"111122223333\"\nname = \"ci\"\ntype = \"oidc\"\nissuer = \"{issuer}\"\naudiences = [\"bench\"]\n\
         [[roles]]\naccount = \"111122223333\"\nname = \"Ci\"\ntrust_policy = '''{}'''\n\
         [[roles]]\naccount = \"111122223333\"\nname = \"Saml\"\ntrust_policy = '''{}'''\n",
        trust(
            &format!("oidc-provider/{host}"),
            "\"sts:AssumeRoleWithWebIdentity\"",
            &format!(r#","Condition":{{"StringEquals":{{"{host}:sub":"ci"}}}}"#)
        ),
        trust(
            "saml-provider/corp",
            "\"sts:AssumeRoleWithSAML\",\"sts:TagSession\"",
            r#","Condition":{"ForAnyValue:StringEquals":{"saml:groups":"admins"}}"#
        ),
    )
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

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
    let (issuer, token) = issuer().await;
    let file = folder.path().join("organization.toml");
    fs::write(&file, organization(&issuer, &idp.metadata())).unwrap();
    let applied = Command::new(env!("CARGO_BIN_EXE_daypass"))
        .args(["apply", "--yes"])
        .arg(&file)
        .env("DAYPASS_DATA", &data)
        .output()
        .unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));

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
