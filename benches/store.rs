//! What it costs to grow: PostgreSQL and Redis beside the broker against the embedded store, one node and two, in one run.
//!
//!     cargo bench --bench store
//!
//! PostgreSQL and Redis are started on free ports (`tests/testbed`), with fsync, and stopped. Everything shares this machine's cores.

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

use daypass::{
    config::{SystemClock, SystemRandom},
    domain::session::{Caller, Principal, RequestOrigin},
    store::{AuditRecord, Location, Notes, Store},
};
use sqlx::{Connection as _, SqliteConnection};
use std::{
    collections::BTreeMap,
    path::Path,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};
use support::*;

const CALLS: usize = 20_000;
const PAGES: usize = 4_000;
const RECORDS: usize = 20_000;
const SESSIONS: usize = 10_000;

#[tokio::main]
async fn main() {
    if let Some(port) = std::env::args().skip_while(|argument| argument != "--bare").nth(1) {
        return bare_server(port.parse().unwrap()).await;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let key = folder.path().join("master.key");
    daypass::config::write_private(&key, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
    let key = ("DAYPASS_MASTER_KEY_FILE".to_owned(), key.display().to_string());

    start_and_rest(folder.path(), &key).await;

    let postgres = Testbed::start("pg.sh", folder.path().join("pg"), &["--durable"]);
    let redis = Testbed::start("redis.sh", folder.path().join("redis"), &[]);
    let shared = vec![
        key.clone(),
        ("DAYPASS_POSTGRES_URL".to_owned(), postgres.of("PG_URL")),
        ("DAYPASS_REDIS_ADDRESSES".to_owned(), format!("127.0.0.1:{}", redis.of("REDIS_PORT"))),
    ];
    println!("\n{:<34} {:>14} {:>16} {:>14}", "", "median ms", "CPU us/request", "requests/s");
    let (alone, _) = measure("embedded", &folder.path().join("embedded"), std::slice::from_ref(&key)).await;
    let (beside, first) = measure("PostgreSQL + Redis", &folder.path().join("shared"), &shared).await;
    println!("\n{:<34} {:>14} {:>16} {:>14}", "PostgreSQL + Redis / embedded", "latency", "CPU", "throughput");
    for ((name, a), (_, b)) in alone.iter().zip(&beside) {
        println!("  {name:<32} {:>13.2}x {:>15.2}x {:>13.2}x", b.0 / a.0, b.1 / a.1, b.2 / a.2);
    }
    two_nodes(&folder.path().join("shared"), &shared, first, &beside).await;
    chained(folder.path()).await;
}

async fn bare_server(port: u16) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    axum::serve(listener, axum::Router::new()).await.unwrap();
}

/// Cold start and memory at rest, and with many browsers.
async fn start_and_rest(folder: &Path, key: &(String, String)) {
    let data = folder.join("rest");
    setup(&data, std::slice::from_ref(key));
    let mut starts = Vec::new();
    for _ in 0..7 {
        let began = Instant::now();
        let server = broker_with(&data, free_port(), std::slice::from_ref(key));
        starts.push(began.elapsed().as_secs_f64() * 1000.0);
        drop(server);
    }
    let server = broker_with(&data, free_port(), std::slice::from_ref(key));
    tokio::time::sleep(Duration::from_secs(2)).await;
    println!(
        "cold start on the embedded store: {:.0} ms (median of 7); memory at rest {:.1} MiB",
        median(starts),
        server.memory()
    );
    for _ in 0..SESSIONS {
        let mut browser = Browser { port: server.port, cookies: BTreeMap::new() };
        let (status, _, _) = browser.ask("GET", "/sign-in/people", "").await;
        assert!(status == 200 && !browser.cookies.is_empty());
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id())).unwrap();
    let parts: Vec<&str> = status.lines().filter(|line| line.starts_with("Rss")).collect();
    println!("of which: {}", parts.join(", ").replace(char::is_whitespace, ""));
    println!("memory with {SESSIONS} live browser sessions (before they sign in): {:.1} MiB", server.memory());
}

/// The demo organization; the administrator's password.
fn setup(data: &Path, variables: &[(String, String)]) -> String {
    let out = Command::new(env!("CARGO_BIN_EXE_daypass"))
        .args(["apply", "config/demo.toml", "--yes", "--new-passwords"])
        .env("DAYPASS_DATA", data)
        .envs(variables.iter().cloned())
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    let line = text.lines().find(|line| line.contains("jane@example.com") && line.split_whitespace().count() == 2);
    line.unwrap_or_else(|| panic!("no password in {text}")).split_whitespace().last().unwrap().to_owned()
}

/// Latency in ms of one at a time, CPU in microseconds and requests per second of many.
type Costs = (f64, f64, f64);

async fn measure(name: &str, data: &Path, variables: &[(String, String)]) -> (Vec<(&'static str, Costs)>, Server) {
    let password = setup(data, variables);
    let port = free_port();
    let server = broker_with(data, port, variables);
    let mut browser = Browser { port, cookies: BTreeMap::new() };
    browser.sign_in(&password).await;
    let role = session(data, variables, port).await;
    let mut found = Vec::new();
    println!("{name}");
    for (what, request, total) in [
        ("a signed read", signed(port, &role), CALLS),
        ("a page of a signed-in browser", page(&browser), PAGES),
        ("credentials (with their record)", assume(data, variables, port).await, PAGES),
    ] {
        let mut took = Vec::new();
        for _ in 0..300 {
            let began = Instant::now();
            once(port, &request).await;
            took.push(began.elapsed().as_secs_f64() * 1000.0);
        }
        let (throughput, cpu) = load(&server, Arc::new(vec![request]), total).await;
        let costs = (median(took), cpu, throughput);
        println!("  {what:<32} {:>14.2} {:>16.0} {:>14.0}", costs.0, costs.1, costs.2);
        found.push((what, costs));
    }
    (found, server)
}

fn page(browser: &Browser) -> Vec<u8> {
    let cookies: Vec<String> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    format!("GET /portal HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nCookie: {}\r\n\r\n", browser.port, cookies.join("; ")).into_bytes()
}

/// An access key of the root user of the management account, and a user with everything.
fn root_key(account: &str, data: &Path, variables: &[(String, String)]) -> (String, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_daypass"))
        .args(["root-key", account, "--json"])
        .env("DAYPASS_DATA", data)
        .envs(variables.iter().cloned())
        .output()
        .unwrap();
    let key: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
    // Brokers that run look for it every half second.
    std::thread::sleep(Duration::from_secs(2));
    (key["AccessKeyId"].as_str().unwrap().to_owned(), key["SecretAccessKey"].as_str().unwrap().to_owned())
}

/// A signed GetSessionToken: credentials, and one audit record on disk.
async fn assume(data: &Path, variables: &[(String, String)], port: u16) -> Vec<u8> {
    let (id, secret) = root_key("111122223333", data, variables);
    sign(port, &id, &secret, &[("Action", "GetSessionToken"), ("Version", "2011-06-15")])
}

async fn session(data: &Path, variables: &[(String, String)], port: u16) -> String {
    let request = assume(data, variables, port).await;
    once(port, &request).await
}

fn sign(port: u16, id: &str, secret: &str, form: &[(&str, &str)]) -> Vec<u8> {
    use aws_lc_rs::{digest, hmac};
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let stamp: String = now().to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let sha = |data: &str| hex::encode(digest::digest(&digest::SHA256, data.as_bytes()));
    let scope = format!("{}/us-east-1/sts/aws4_request", &stamp[..8]);
    let canonical = format!("POST\n/\n\nhost:127.0.0.1:{port}\nx-amz-date:{stamp}\n\nhost;x-amz-date\n{}", sha(&body));
    let to_sign = format!("AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{}", sha(&canonical));
    let mut mac = format!("AWS4{secret}").into_bytes();
    for part in [&stamp[..8], "us-east-1", "sts", "aws4_request", &to_sign] {
        mac = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &mac), part.as_bytes()).as_ref().to_vec();
    }
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders=host;x-amz-date, Signature={}", hex::encode(mac));
    post(port, &format!("X-Amz-Date: {stamp}\r\nAuthorization: {authorization}\r\n"), form)
}

/// The same load on two nodes at once.
async fn two_nodes(data: &Path, variables: &[(String, String)], first: Server, alone: &[(&'static str, Costs)]) {
    let second = broker_with(&data.with_extension("second"), free_port(), variables);
    println!("\ntwo nodes, requests/s together");
    // An account of its own: each has two keys at most.
    let (id, secret) = root_key("222233334444", data, variables);
    for (what, form, total) in [
        ("a signed read", [("Action", "GetCallerIdentity"), ("Version", "2011-06-15")], CALLS),
        ("credentials (with their record)", [("Action", "GetSessionToken"), ("Version", "2011-06-15")], PAGES),
    ] {
        let request = |server: &Server| Arc::new(vec![sign(server.port, &id, &secret, &form)]);
        let began = Instant::now();
        tokio::join!(load(&first, request(&first), total / 2), load(&second, request(&second), total / 2));
        let together = total as f64 / began.elapsed().as_secs_f64();
        let one = alone.iter().find(|(name, _)| *name == what).unwrap().1.2;
        println!("  {what:<32} {together:>14.0}   {:.2}x one node", together / one);
    }
}

/// Audit records with their chain, against the same rows without it.
async fn chained(folder: &Path) {
    let place = folder.join("chain");
    std::fs::create_dir_all(&place).unwrap();
    let store = Store::open(&Location::folder(&place), &[7; 32], Arc::new(SystemRandom), Arc::new(SystemClock)).await.unwrap();
    let origin = RequestOrigin {
        request_id: "bench".to_owned(),
        source_ip: [127, 0, 0, 1].into(),
        user_agent: "bench".to_owned(),
        secure: false,
        time: now(),
    };
    let caller = Caller { principal: Principal::Operator, origin: Arc::new(origin) };
    let began = Instant::now();
    let writers = (0..64).map(|_| {
        let (store, caller) = (store.clone(), caller.clone());
        tokio::spawn(async move {
            for number in 0..RECORDS / 64 {
                let mut notes = Notes::default();
                notes.note(
                    "requestParameters",
                    serde_json::json!({ "roleName": format!("Role{number}"), "durationSeconds": 3600 }),
                );
                let id = format!("{number:036}");
                store
                    .record(AuditRecord::open(id, "sts.amazonaws.com", "AssumeRole", "111122223333".to_owned(), &caller, notes))
                    .await
                    .unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let with = (RECORDS / 64 * 64) as f64 / began.elapsed().as_secs_f64();
    store.close().await;
    // The same table and indexes, the same groups, no chain.
    let file = format!("sqlite://{}", place.join("daypass.sqlite").display());
    let mut plain = SqliteConnection::connect(&file).await.unwrap();
    for statement in ["PRAGMA journal_mode = WAL", "PRAGMA synchronous = FULL", "DELETE FROM audit"] {
        sqlx::query(statement).execute(&mut plain).await.unwrap();
    }
    let began = Instant::now();
    for group in 0..RECORDS / 64 {
        let mut sql = String::from(
            "INSERT INTO audit (sequence, event_id, time, event_source, event_name, account, principal, source_ip, user_agent, request_id, detail) VALUES ",
        );
        for number in 0..64 {
            let comma = if number == 0 { "" } else { ", " };
            sql.push_str(&format!("{comma}({}, '{number:036}', 1795521600000, 'sts.amazonaws.com', 'AssumeRole', '111122223333', 'operator', '127.0.0.1', 'bench', 'bench', '{{\"userIdentity\":{{\"type\":\"Operator\"}},\"requestParameters\":{{\"roleName\":\"Role{number}\",\"durationSeconds\":3600}}}}')", group * 64 + number + 1));
        }
        sqlx::query(sqlx::AssertSqlSafe(sql)).execute(&mut plain).await.unwrap();
    }
    let without = (RECORDS / 64 * 64) as f64 / began.elapsed().as_secs_f64();
    println!(
        "\naudit records/s on the embedded store, 64 writers: {with:.0} chained; {without:.0} as bare rows in groups of 64: {:.2}x",
        with / without
    );
}

/// A script of the testbed.
struct Testbed {
    script: &'static str,
    folder: std::path::PathBuf,
    told: String,
}

impl Testbed {
    fn start(script: &'static str, folder: std::path::PathBuf, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(&folder).unwrap();
        let said = folder.with_extension("said");
        let mut command = Command::new("bash");
        command.arg(format!("tests/testbed/{script}")).arg("start").arg("--dir").arg(&folder).args(arguments);
        let status = command.stdout(std::fs::File::create(&said).unwrap()).status().unwrap();
        assert!(status.success());
        Self { script, told: std::fs::read_to_string(said).unwrap(), folder }
    }

    fn of(&self, key: &str) -> String {
        let line = self.told.lines().find_map(|line| line.strip_prefix(&format!("{key}=")));
        line.unwrap_or_else(|| panic!("{}", self.told)).to_owned()
    }
}

impl Drop for Testbed {
    fn drop(&mut self) {
        let _ = Command::new("bash")
            .arg(format!("tests/testbed/{}", self.script))
            .arg("stop")
            .arg("--dir")
            .arg(&self.folder)
            .status();
    }
}
