//! Brokers as processes, with a browser and a signed client that know nothing of the inside.

use crate::{
    signer,
    stores::{Postgres, Service},
    world::DEMO,
};
use aws_sdk_sts::config::Credentials;
use daypass::{
    config::SystemClock,
    domain::{Clock as _, Timestamp},
};
use std::{
    collections::BTreeMap,
    io::Write as _,
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

pub const ORIGIN: &str = "http://127.0.0.1:1";
/// The program of this build, or another one (`make test-long`: what is released).
fn binary() -> String {
    std::env::var("DAYPASS_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_daypass").to_owned())
}
/// Whatever is waited for is there by then, or the drill failed.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// An organization that several brokers serve.
pub struct Site {
    pub folder: TempDir,
    pub settings: String,
    pub password: String,
    pub root: Credentials,
}

impl Site {
    /// With its store where the settings say; the data folder where none do.
    pub fn new(settings: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let key = folder.path().join("master.key");
        daypass::config::write_private(&key, "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=").unwrap();
        let mut site = Self {
            settings: format!("public_url = \"{ORIGIN}\"\nmaster_key_file = \"{}\"\n{settings}", key.display()),
            folder,
            password: String::new(),
            root: Credentials::new("", "", None, None, "drill"),
        };
        std::fs::write(site.folder.path().join("demo.toml"), DEMO).unwrap();
        let demo = site.folder.path().join("demo.toml");
        let applied = site.run("0", &["apply", demo.to_str().unwrap(), "--yes", "--new-passwords"]);
        site.password = applied["passwords"]["jane@example.com"].as_str().unwrap().to_owned();
        let key = site.run("0", &["root-key", "111122223333"]);
        let of = |name: &str| key[name].as_str().unwrap_or_else(|| panic!("{key}")).to_owned();
        site.root = Credentials::new(of("AccessKeyId"), of("SecretAccessKey"), None, None, "drill");
        site
    }

    pub fn postgres(postgres: &Postgres) -> String {
        format!("[postgres]\nurl = \"{}\"\nconnections = 4\n", postgres.url)
    }

    pub fn redis(redis: &Service) -> String {
        format!("[redis]\naddresses = [\"127.0.0.1:{}\"]\n", redis.of("REDIS_PORT"))
    }

    /// The settings file and the data folder of a node.
    fn files(&self, node: &str) -> (PathBuf, PathBuf) {
        // Without a database of their own they share the folder.
        let data = self.folder.path().join(if self.settings.contains("[postgres]") { node } else { "data" });
        let file = self.folder.path().join(format!("{node}.toml"));
        std::fs::write(&file, &self.settings).unwrap();
        (file, data)
    }

    /// A command on the machine of a node; what it answers.
    pub fn run(&self, node: &str, arguments: &[&str]) -> serde_json::Value {
        let (file, data) = self.files(node);
        let mut command = Command::new(binary());
        command.args(arguments).arg("--json").arg("--config").arg(file).arg("--data").arg(data);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{arguments:?}: {said}"))
    }

    /// Starts a node and waits until it is ready.
    pub async fn node(&self, name: &str) -> Node {
        let node = self.start(name, &[]).await;
        node.until_ready().await;
        node
    }

    /// Starts a node where one was before.
    pub async fn node_at(&self, name: &str, port: u16) -> Node {
        let node = self.started(name, &[], port);
        node.until_ready().await;
        node
    }

    /// Starts a node, perhaps by way of another program.
    pub async fn start(&self, name: &str, through: &[&str]) -> Node {
        self.started(name, through, free_port())
    }

    fn started(&self, name: &str, through: &[&str], port: u16) -> Node {
        let (file, data) = self.files(name);
        let mut line: Vec<String> = through.iter().map(|word| (*word).to_owned()).collect();
        line.push(binary());
        let (program, arguments) = line.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg("serve").arg("--config").arg(file).arg("--data").arg(data);
        command.env("DAYPASS_LISTEN", format!("127.0.0.1:{port}")).env("DAYPASS_LOG_FORMAT", "json");
        let log = self.folder.path().join(format!("{name}.log"));
        let log_file = std::fs::OpenOptions::new().create(true).append(true).open(&log).unwrap();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log_file).spawn().unwrap();
        Node { child, port, log }
    }

    /// The audit log is unbroken; how many records it has.
    pub fn verify(&self) -> u64 {
        let report = self.run("0", &["audit", "verify"]);
        assert!(report["broken"].is_null(), "{report}");
        report["records"].as_u64().unwrap()
    }

    pub fn browser(&self, node: &Node) -> Browser {
        Browser { port: node.port, from: None, cookies: BTreeMap::new() }
    }

    /// A call of the root user.
    pub async fn call(&self, node: &Node, service: &str, form: &[(&str, &str)]) -> Result<String, String> {
        signed_call(node.port, service, &self.root, form).await
    }

    pub async fn identity(&self, node: &Node) -> Result<String, String> {
        self.call(node, "sts", &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]).await
    }

    pub async fn create_role(&self, node: &Node, name: &str) -> Result<String, String> {
        let trust = r#"{"Version":"2012-10-17","Statement":[]}"#;
        let trust = trust.replace("[]", r#"[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}]"#);
        let form = [
            ("Action", "CreateRole"),
            ("Version", "2010-05-08"),
            ("RoleName", name),
            ("AssumeRolePolicyDocument", trust.as_str()),
        ];
        self.call(node, "iam", &form).await
    }

    pub async fn has_role(&self, node: &Node, name: &str) -> Result<bool, String> {
        match self.call(node, "iam", &[("Action", "GetRole"), ("Version", "2010-05-08"), ("RoleName", name)]).await {
            Ok(_) => Ok(true),
            Err(error) if error.starts_with("404") => Ok(false),
            Err(error) => Err(error),
        }
    }
}

pub fn now() -> Timestamp {
    SystemClock.now()
}

/// Tries again and again; how long it took, in seconds.
pub async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> (T, f64) {
    let began = Instant::now();
    loop {
        if let Some(done) = attempt().await {
            return (done, began.elapsed().as_secs_f64());
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// What a drill measured: to be read with `--no-capture`, and in `target/drills`.
pub fn measured(drill: &str, what: &str, value: impl std::fmt::Display) {
    println!("{drill}: {what}: {value}");
    std::fs::create_dir_all("target/drills").unwrap();
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(format!("target/drills/{drill}.txt")).unwrap();
    writeln!(file, "{what}: {value}").unwrap();
}

/// A broker.
pub struct Node {
    pub child: Child,
    pub port: u16,
    pub log: PathBuf,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Node {
    pub async fn get(&self, place: &str) -> Result<(u16, String), String> {
        self.get_with(place, &[]).await
    }

    pub async fn get_with(&self, place: &str, headers: &[(&str, &str)]) -> Result<(u16, String), String> {
        get(self.port, place, headers).await
    }

    pub async fn is_ready(&self) -> bool {
        matches!(self.get("/readyz").await, Ok((200, _)))
    }

    /// Seconds until it is.
    pub async fn until_ready(&self) -> f64 {
        until("ready", async || self.is_ready().await.then_some(())).await.1
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(status.success());
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        until("stopped", async || self.child.try_wait().unwrap()).await;
    }

    pub fn said(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }
}

pub async fn get(port: u16, place: &str, headers: &[(&str, &str)]) -> Result<(u16, String), String> {
    let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("GET {place} HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\n{headers}\r\n");
    exchange(port, &request).await.map(|(status, _, body)| (status, body))
}

/// A signed call of the query protocol.
pub async fn signed_call(port: u16, service: &str, credentials: &Credentials, form: &[(&str, &str)]) -> Result<String, String> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    let headers = signer::headers_for(service, credentials, ORIGIN, &body, now());
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let request = format!("POST / HTTP/1.1\r\n{lines}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    let (status, _, answer) = exchange(port, &request).await?;
    if status == 200 { Ok(answer) } else { Err(format!("{status} {answer}")) }
}

async fn exchange(port: u16, request: &str) -> Result<(u16, Vec<(String, String)>, String), String> {
    let work = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.map_err(|error| error.to_string())?;
        stream.write_all(request.as_bytes()).await.map_err(|error| error.to_string())?;
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&text).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").ok_or("no answer")?;
        let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or("no status")?;
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        Ok((status, headers.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect(), body.to_owned()))
    };
    tokio::time::timeout(Duration::from_secs(40), work).await.map_err(|_| "no answer in 40 s".to_owned())?
}

/// Somebody's browser: it keeps cookies, and may be sent to another node.
pub struct Browser {
    pub port: u16,
    /// What a proxy says of where it is.
    pub from: Option<std::net::Ipv4Addr>,
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    pub async fn ask(&mut self, method: &str, place: &str, body: &str) -> Result<(u16, String, String), String> {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let request = format!(
            "{method} {place} HTTP/1.1\r\nHost: 127.0.0.1:1\r\nConnection: close\r\nSec-Fetch-Site: same-origin\r\nCookie: {}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n{}\r\n{body}",
            cookies.join("; "),
            body.len(),
            self.from.map(|from| format!("X-Forwarded-For: {from}\r\n")).unwrap_or_default()
        );
        let (status, headers, body) = exchange(self.port, &request).await?;
        let mut location = String::new();
        for (name, value) in headers {
            if name == "set-cookie" {
                let (name, value) = value.split(';').next().unwrap().split_once('=').unwrap();
                self.cookies.insert(name.to_owned(), value.to_owned());
            } else if name == "location" {
                location = value;
            }
        }
        Ok((status, location, body))
    }

    /// The form of the sign-in page, as it would be sent.
    pub async fn begin(&mut self, password: &str) -> Result<String, String> {
        let (status, _, page) = self.ask("GET", "/sign-in/people", "").await?;
        if status != 200 {
            return Err(format!("{status} {page}"));
        }
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        for field in ["form_token", "handle"] {
            if let Some(value) = page.split(&format!("name=\"{field}\" value=\"")).nth(1) {
                form.append_pair(field, value.split('"').next().unwrap());
            }
        }
        form.append_pair("user_name", "jane@example.com").append_pair("password", password);
        Ok(form.finish())
    }

    pub async fn finish(&mut self, form: &str) -> Result<(), String> {
        match self.ask("POST", "/sign-in/people", form).await? {
            (303, to, _) if to == "/portal" => Ok(()),
            (status, to, body) => Err(format!("{status} {to} {body}")),
        }
    }

    pub async fn sign_in(&mut self, password: &str) -> Result<(), String> {
        let form = self.begin(password).await?;
        self.finish(&form).await
    }

    pub async fn is_signed_in(&mut self) -> Result<bool, String> {
        match self.ask("GET", "/portal", "").await? {
            (200, _, _) => Ok(true),
            (303, ..) => Ok(false),
            (status, _, body) => Err(format!("{status} {body}")),
        }
    }
}

/// A connection point whose other end can be changed: what a name in the DNS or a proxy is to a database.
pub struct Forward {
    pub port: u16,
    target: std::sync::Arc<std::sync::Mutex<SocketAddr>>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Forward {
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let own = listener.local_addr().unwrap().port();
        let target = std::sync::Arc::new(std::sync::Mutex::new(SocketAddr::from(([127, 0, 0, 1], port))));
        let now = target.clone();
        let task = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let to = *now.lock().unwrap();
                tokio::spawn(async move {
                    if let Ok(mut far) = TcpStream::connect(to).await {
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
        });
        Self { port: own, target, task }
    }

    pub fn lead_to(&self, port: u16) {
        *self.target.lock().unwrap() = SocketAddr::from(([127, 0, 0, 1], port));
    }
}
