//! `daypass login`

use super::{
    Failure,
    client::{BrokerClient, Refused},
    home::{BrokerChoice, Home},
    session::{SavedSession, SavedToken, Token},
    terminal::{self, Paint},
};
use crate::{
    config::{SystemClock, SystemRandom, variable},
    domain::{Clock as _, Random, Secret, Timestamp},
};
use base64::Engine as _;
use clap::Args;
use serde::Deserialize;
use serde_json::json;
use std::time::Duration;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Sign in to a broker with the browser, or, where there is none (over SSH), with a code typed elsewhere.
///
/// You can be signed in to several brokers: --url, or DAYPASS_URL, says which one a command is for.
#[derive(Debug, Args)]
pub struct Login {
    /// Address of the broker, as --url.
    #[arg(value_name = "ADDRESS")]
    address: Option<String>,
    #[command(flatten)]
    broker: BrokerChoice,
    /// Show a code to be typed into a browser on any device.
    #[arg(long)]
    device: bool,
    /// Print the address instead of opening the browser.
    #[arg(long)]
    no_browser: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Registered {
    client_id: String,
    client_secret: Secret<String>,
    authorization_endpoint: String,
}

/// Of a broker that somebody tries on their own machine.
const DEFAULT: &str = "http://127.0.0.1:8080";
const CALLBACK: &str = "/oauth/callback";
/// How long the person may take, in seconds.
const PATIENCE: u64 = 600;

impl Login {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let url = self.address.clone().or_else(|| self.broker.url.clone());
        let mut home = Home::open(&BrokerChoice { url })?;
        let unknown = home.broker().is_none();
        let client = BrokerClient::new(home.broker().unwrap_or(DEFAULT))?;
        let url = client.url().to_owned();
        let registration = json!({
            "clientName": "daypass command line", "clientType": "public", "scopes": ["sso:account:access"],
            "redirectUris": [format!("http://127.0.0.1{CALLBACK}")],
        });
        let registered = client.post("/client/register", &registration).await;
        let registered: Registered = match registered {
            Err(failure) if unknown => return Err(failure.hint("no broker is known here yet: daypass login ADDRESS")),
            registered => registered?.map_err(told)?,
        };
        let token = if self.device || (!self.no_browser && !has_browser()) {
            with_device_code(&client, &registered, &url).await?
        } else {
            self.with_browser(&client, &registered).await?
        };
        let (random, token): (&dyn Random, SavedToken) = (&SystemRandom, token.into());
        let person = client.who_am_i(&token.access_token).await?;
        let session = SavedSession {
            id: random.token(),
            url: url.clone(),
            person: format!("{}:{}", person.identity_source, person.subject),
            client_id: registered.client_id,
            client_secret: registered.client_secret,
            token,
        };
        home.remember_broker(&url)?;
        // One that can be renewed may have a token that has ended.
        let before = match SavedSession::load(&home) {
            Ok(before) => Some(SavedSession::fresh(&home).await.unwrap_or(before)),
            Err(_) => None,
        };
        session.begin(&home).await?;
        if let Some(before) = before {
            // Nobody can end it from here any more. A broker that is away is not waited for.
            let ended = async { BrokerClient::new(&before.url)?.log_out(&before.token.access_token).await };
            let _ = tokio::time::timeout(Duration::from_secs(3), ended).await;
        }
        let until = match session.token.refresh_token {
            Some(_) => Timestamp(person.session_expiration),
            None => session.token.expires,
        };
        if terminal::json() {
            let answer = json!({ "url": url, "name": person.name, "email": person.email, "expires": until.to_string() });
            return terminal::print_json(&answer);
        }
        let paint = Paint::error();
        terminal::tell(&format!("{} to {url} as {} until {until}.", paint.green("Signed in"), person.shown()));
        terminal::tell(&paint.dim("Next: daypass roles, daypass exec ROLE -- COMMAND, daypass configure"));
        Ok(())
    }

    async fn with_browser(&self, client: &BrokerClient, registered: &Registered) -> Result<Token, Failure> {
        let random: &dyn Random = &SystemRandom;
        let (state, verifier) = (random.token(), random.token());
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, verifier.as_bytes());
        let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest);
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.map_err(|error| Failure::new(error.to_string()))?;
        let port = listener.local_addr().map_err(|error| Failure::new(error.to_string()))?.port();
        let redirect = format!("http://127.0.0.1:{port}{CALLBACK}");
        let query = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("response_type", "code")
            .append_pair("client_id", &registered.client_id)
            .append_pair("redirect_uri", &redirect)
            .append_pair("state", &state)
            .append_pair("code_challenge_method", "S256")
            .append_pair("code_challenge", &challenge)
            .finish();
        self.show(&format!("{}?{query}", client.own(&registered.authorization_endpoint)?));
        let expected = Expected { state, issuer: client.url().to_owned() };
        let answer = tokio::time::timeout(Duration::from_secs(PATIENCE), callback(&listener, &expected));
        let answer = terminal::waiting("Waiting for you to approve", answer).await;
        let code = answer.map_err(|_| Failure::new("nobody approved the sign-in in time"))??;
        let body = json!({
            "clientId": registered.client_id, "clientSecret": registered.client_secret.expose(), "grantType": "authorization_code",
            "code": code.expose(), "redirectUri": redirect, "codeVerifier": verifier,
        });
        client.post("/token", &body).await?.map_err(told)
    }

    fn show(&self, address: &str) {
        let opened = !self.no_browser && open_browser(address);
        let lead = if opened { "Your browser opens. If it does not, go to:" } else { "To sign in, open:" };
        terminal::note!("{lead}\n\n    {address}\n");
    }
}

async fn with_device_code(client: &BrokerClient, registered: &Registered, url: &str) -> Result<Token, Failure> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Started {
        device_code: Secret<String>,
        user_code: String,
        verification_uri: String,
        interval: u64,
    }
    let secret = registered.client_secret.expose();
    let start = json!({ "clientId": registered.client_id, "clientSecret": secret, "startUrl": url });
    let started: Started = client.post("/device_authorization", &start).await?.map_err(told)?;
    let code = Paint::error().bold(&terminal::harmless(&started.user_code));
    let address = client.own(&started.verification_uri)?;
    terminal::tell(&format!("Open {address} in a browser on any device and enter the code:"));
    terminal::note!("\n    {code}\n");
    let body = json!({
        "clientId": registered.client_id, "clientSecret": secret, "deviceCode": started.device_code.expose(),
        "grantType": "urn:ietf:params:oauth:grant-type:device_code",
    });
    let mut interval = started.interval.max(1);
    let polling = async {
        loop {
            tokio::time::sleep(Duration::from_secs(interval)).await;
            match client.post("/token", &body).await? {
                Ok(token) => return Ok(token),
                Err(refused) if refused.code == "AuthorizationPendingException" => {}
                Err(refused) if refused.code == "SlowDownException" => interval += 1,
                Err(refused) => return Err(told(refused)),
            }
        }
    };
    terminal::waiting("Waiting for you to approve", polling).await
}

/// Whether there is a browser to open here: over SSH, or without a screen, there is none.
pub(super) fn has_browser() -> bool {
    let set = |names: &[&str]| names.iter().any(|name| variable(name).is_some());
    let screen = cfg!(target_os = "macos") || set(&["DISPLAY", "WAYLAND_DISPLAY", "BROWSER"]);
    screen && !set(&["SSH_CONNECTION", "SSH_TTY", "SSH_CLIENT"])
}

/// Opens an address with the system's own opener. Returns whether there was one.
pub(super) fn open_browser(address: &str) -> bool {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    // As other programs read it: several commands, the first that can be started.
    let chosen = variable("BROWSER").unwrap_or_default();
    let commands = chosen.split(':').filter(|command| !command.is_empty() && !command.contains('%'));
    commands.chain([opener]).any(|command| {
        let mut words = command.split_whitespace();
        let Some(program) = words.next() else { return false };
        started(std::process::Command::new(program).args(words).arg(address))
    })
}

/// How long a browser has to say that it can't start, in milliseconds.
const FALSE_START: u64 = 300;

/// Starts a program that goes on without us. One that ends at once with a failure did not start.
pub(super) fn started(command: &mut std::process::Command) -> bool {
    let null = std::process::Stdio::null;
    let Ok(mut child) = command.stdin(null()).stdout(null()).stderr(null()).spawn() else { return false };
    for _ in 0..FALSE_START / 10 {
        match child.try_wait() {
            Ok(Some(status)) => return status.success(),
            Ok(None) => std::thread::sleep(Duration::from_millis(10)),
            Err(_) => return false,
        }
    }
    true
}

fn told(refused: Refused) -> Failure {
    match refused.code.as_str() {
        "AccessDeniedException" => Failure::refused("the sign-in was refused in the browser"),
        "ExpiredTokenException" => Failure::new("the code has expired").hint("run: daypass login"),
        _ => Failure::new(refused.message),
    }
}

/// What the browser has to bring back.
#[derive(Clone)]
struct Expected {
    state: String,
    /// `iss` (RFC 9207).
    issuer: String,
}

type Outcome = Result<Secret<String>, Failure>;

/// Waits for the browser to come back with a code. Anything else that connects is answered and ignored, and holds up nobody.
async fn callback(listener: &TcpListener, expected: &Expected) -> Outcome {
    let (sender, mut outcomes) = tokio::sync::mpsc::channel(1);
    loop {
        let (mut stream, _) = tokio::select! {
            accepted = listener.accept() => accepted.map_err(|error| Failure::new(error.to_string()))?,
            Some(outcome) = outcomes.recv() => return outcome,
        };
        let (expected, sender) = (expected.clone(), sender.clone());
        tokio::spawn(async move {
            if let Some(outcome) = arrival(&mut stream, &expected).await {
                let _ = sender.send(outcome).await;
            }
        });
    }
}

async fn arrival(stream: &mut TcpStream, expected: &Expected) -> Option<Outcome> {
    let Some(parameters) = read_callback(stream).await else {
        answer(stream, "404 Not Found", "Nothing is here.").await;
        return None;
    };
    let one = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    // Every Daypass broker says who it is: what does not, is none.
    let from = one("iss").and_then(|issuer| url::Url::parse(&issuer).ok());
    let from = from.is_some_and(|issuer| issuer.as_str().trim_end_matches('/') == expected.issuer);
    if one("state").as_ref() != Some(&expected.state) || !from {
        answer(stream, "400 Bad Request", "This answer belongs to another sign-in.").await;
        return None;
    }
    if let Some(code) = one("code") {
        answer(stream, "200 OK", "Approved. Go back to your terminal; you can close this page.").await;
        return Some(Ok(Secret::new(code)));
    }
    answer(stream, "200 OK", "The sign-in was refused. You can close this page.").await;
    Some(Err(Failure::refused("the sign-in was refused in the browser")))
}

async fn read_callback(stream: &mut TcpStream) -> Option<Vec<(String, String)>> {
    let mut head = Vec::new();
    let mut buffer = [0; 2048];
    let reading = async {
        while !head.windows(4).any(|window| window == b"\r\n\r\n") && head.len() < 16 * 1024 {
            let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
            head.extend_from_slice(buffer.get(..read)?);
        }
        Some(())
    };
    tokio::time::timeout(Duration::from_secs(5), reading).await.ok()??;
    let text = String::from_utf8(head).ok()?;
    let target = text.strip_prefix("GET ")?.split(' ').next()?;
    let query = target.strip_prefix(CALLBACK)?.strip_prefix('?')?;
    Some(url::form_urlencoded::parse(query.as_bytes()).into_owned().collect())
}

async fn answer(stream: &mut TcpStream, status: &str, message: &str) {
    let page = format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Daypass</title><p>{message}</p></html>");
    let text = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/html; charset=utf-8\r\ncontent-length: {}\r\ncontent-security-policy: default-src 'none'\r\nconnection: close\r\n\r\n{page}",
        page.len()
    );
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.shutdown().await;
}

/// The instant this machine believes it is.
pub(super) fn now() -> Timestamp {
    SystemClock.now()
}
