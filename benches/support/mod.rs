//! Servers as processes of their own, and load on them. CPU is what the kernel accounts to them.
#![allow(dead_code, unreachable_pub, reason = "each bench uses its part")]

#[path = "../../tests/suite/idp.rs"]
pub mod idp;

use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use daypass::domain::Timestamp;
use std::{
    collections::BTreeMap,
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

pub const CONNECTIONS: usize = 16;

pub struct Server {
    pub child: Child,
    pub port: u16,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// CPU time in microseconds, user and system.
    pub fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
        ticks * 10_000.0
    }
    /// Resident memory in MiB.
    pub fn memory(&self) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
    }
}

pub fn free_port() -> u16 {
    StdListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

pub fn wait(port: u16) {
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::sleep(Duration::from_micros(200));
    }
}

pub fn bare(port: u16) -> Server {
    let child = Command::new(std::env::current_exe().unwrap()).arg("--bare").arg(port.to_string()).spawn().unwrap();
    wait(port);
    Server { child, port }
}

pub fn broker(data: &Path, port: u16) -> Server {
    broker_with(data, port, &[])
}

/// With more settings.
pub fn broker_with(data: &Path, port: u16, variables: &[(String, String)]) -> Server {
    let child = Command::new(env!("CARGO_BIN_EXE_daypass"))
        .arg("serve")
        .env("DAYPASS_DATA", data)
        .env("DAYPASS_LISTEN", format!("127.0.0.1:{port}"))
        .env("DAYPASS_PUBLIC_URL", format!("http://127.0.0.1:{port}"))
        .env("DAYPASS_LOG_LEVEL", "warn")
        .envs(variables.iter().cloned())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait(port);
    Server { child, port }
}

/// Sends `total` requests over kept connections; returns requests per second and server CPU microseconds per request.
pub async fn load(server: &Server, requests: Arc<Vec<Vec<u8>>>, total: usize) -> (f64, f64) {
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

pub async fn answer(stream: &mut BufReader<TcpStream>) -> (u16, Vec<u8>) {
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

pub async fn once(port: u16, request: &[u8]) -> String {
    let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
    stream.get_mut().write_all(request).await.unwrap();
    let (status, body) = answer(&mut stream).await;
    let body = String::from_utf8(body).unwrap();
    assert_eq!(status, 200, "{body}");
    body
}

pub fn post(port: u16, headers: &str, form: &[(&str, &str)]) -> Vec<u8> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/x-www-form-urlencoded\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub fn now() -> Timestamp {
    Timestamp(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap())
}

pub fn element<'x>(xml: &'x str, name: &str) -> &'x str {
    xml.split(&format!("<{name}>")).nth(1).unwrap().split("</").next().unwrap()
}

/// GetCallerIdentity, signed with the credentials of an answer.
pub fn signed(port: u16, credentials: &str) -> Vec<u8> {
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

/// An issuer on loopback, a token of it, and the point that verifies it.
pub async fn issuer() -> (String, String, Vec<u8>) {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref()).unwrap();
    let point = key.public_key().as_ref().to_vec();
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
    (issuer, format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode(signature)), point)
}

pub fn organization(issuer: &str, metadata: &str) -> String {
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

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Sets the store in that folder up with a document.
pub fn apply(data: &Path, document: &str) {
    let file = data.with_extension("toml");
    fs::write(&file, document).unwrap();
    let applied = Command::new(env!("CARGO_BIN_EXE_daypass"))
        .args(["apply", "--yes"])
        .arg(&file)
        .env("DAYPASS_DATA", data)
        .output()
        .unwrap();
    assert!(applied.status.success(), "{}", String::from_utf8_lossy(&applied.stderr));
}

/// A browser that keeps cookies.
pub struct Browser {
    pub port: u16,
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    pub async fn ask(&mut self, method: &str, place: &str, body: &str) -> (u16, String, String) {
        let mut stream = BufReader::new(TcpStream::connect(("127.0.0.1", self.port)).await.unwrap());
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = format!(
            "{method} {place} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\nCookie: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            self.port,
            cookies.join("; "),
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut text).await.unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let mut location = String::new();
        for line in head.lines() {
            let Some((name, value)) = line.split_once(": ") else { continue };
            match name.to_lowercase().as_str() {
                "set-cookie" => {
                    let (name, value) = value.split(';').next().unwrap().split_once('=').unwrap();
                    self.cookies.insert(name.to_owned(), value.to_owned());
                }
                "location" => value.clone_into(&mut location),
                _ => {}
            }
        }
        (head[9..12].parse().unwrap(), location, body.to_owned())
    }

    /// Posts a form of a page with the token that the page carries.
    pub async fn post(&mut self, place: &str, fields: &[(&str, &str)], from: &str) -> String {
        let (_, _, page) = self.ask("GET", from, "").await;
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for field in ["form_token", "handle"] {
            if let Some(value) = page.split(&format!("name=\"{field}\" value=\"")).nth(1) {
                form.append_pair(field, value.split('"').next().unwrap());
            }
        }
        form.extend_pairs(fields);
        let (status, location, body) = self.ask("POST", place, &form.finish()).await;
        assert_eq!(status, 303, "{place}: {body}");
        location
    }

    pub async fn sign_in(&mut self, password: &str) {
        let fields = [("user_name", "jane@example.com"), ("password", password)];
        let to = self.post("/sign-in/people", &fields, "/sign-in/people").await;
        assert_eq!(to, "/portal");
    }

    /// Milliseconds.
    pub async fn median(&mut self, place: &str) -> f64 {
        let mut took = Vec::new();
        for _ in 0..15 {
            let began = Instant::now();
            let (status, _, body) = self.ask("GET", place, "").await;
            took.push(began.elapsed().as_secs_f64() * 1000.0);
            assert_eq!(status, 200, "{place}: {body}");
        }
        median(took)
    }

    pub async fn report(&mut self, place: &str, health: f64) {
        let took = self.median(place).await;
        let (_, _, body) = self.ask("GET", place, "").await;
        println!("{place:<58} {took:>8.1} {:>8.0} {:>12.1}", body.len() as f64 / 1000.0, took / health);
    }
}
