//! `daypass login`

use super::{
    Failure,
    client::{BrokerClient, Refused, SavedSession},
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
#[derive(Debug, Args)]
pub struct Login {
    /// Address of the broker.
    #[arg(long, env = "DAYPASS_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Token {
    access_token: Secret<String>,
    expires_in: i64,
}

const CALLBACK: &str = "/oauth/callback";
/// How long the person may take, in seconds.
const PATIENCE: u64 = 600;

impl Login {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let client = BrokerClient::new(&self.url)?;
        let remote = variable("SSH_CONNECTION").is_some() && variable("DISPLAY").is_none();
        let registration = json!({
            "clientName": "daypass command line", "clientType": "public", "scopes": ["sso:account:access"],
            "redirectUris": [format!("http://127.0.0.1{CALLBACK}")],
        });
        let registered: Registered = client.post("/client/register", &registration).await?.map_err(told)?;
        let token = if self.device || remote {
            self.with_device_code(&client, &registered).await?
        } else {
            self.with_browser(&client, &registered).await?
        };
        let expires = SystemClock.now().plus_seconds(token.expires_in);
        SavedSession { url: self.url.trim_end_matches('/').to_owned(), access_token: token.access_token, expires }.save()?;
        eprintln!("Signed in until {expires}.");
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
        self.show(&format!("{}?{query}", registered.authorization_endpoint));
        let answer = tokio::time::timeout(Duration::from_secs(PATIENCE), callback(&listener, &state)).await;
        let code = answer.map_err(|_| Failure::new("nobody approved the sign-in in time"))??;
        let body = json!({
            "clientId": registered.client_id, "clientSecret": registered.client_secret.expose(), "grantType": "authorization_code",
            "code": code.expose(), "redirectUri": redirect, "codeVerifier": verifier,
        });
        client.post("/token", &body).await?.map_err(told)
    }

    async fn with_device_code(&self, client: &BrokerClient, registered: &Registered) -> Result<Token, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Started {
            device_code: Secret<String>,
            user_code: String,
            verification_uri: String,
            interval: u64,
        }
        let secret = registered.client_secret.expose();
        let start = json!({ "clientId": registered.client_id, "clientSecret": secret, "startUrl": self.url });
        let started: Started = client.post("/device_authorization", &start).await?.map_err(told)?;
        eprintln!(
            "Open {} in a browser on any device and enter the code:\n\n    {}\n",
            started.verification_uri, started.user_code
        );
        let body = json!({
            "clientId": registered.client_id, "clientSecret": secret, "deviceCode": started.device_code.expose(),
            "grantType": "urn:ietf:params:oauth:grant-type:device_code",
        });
        let mut interval = started.interval.max(1);
        loop {
            tokio::time::sleep(Duration::from_secs(interval)).await;
            match client.post("/token", &body).await? {
                Ok(token) => return Ok(token),
                Err(refused) if refused.code == "AuthorizationPendingException" => {}
                Err(refused) if refused.code == "SlowDownException" => interval += 1,
                Err(refused) => return Err(told(refused)),
            }
        }
    }

    fn show(&self, address: &str) {
        let opened = !self.no_browser && open_browser(address);
        let lead = if opened { "Your browser opens. If it does not, go to:" } else { "To sign in, open:" };
        eprintln!("{lead}\n\n    {address}\n");
    }
}

/// Opens an address with the system's own opener. Returns whether there was one.
pub(super) fn open_browser(address: &str) -> bool {
    let opener = if cfg!(target_os = "macos") { "open" } else { "xdg-open" };
    let null = std::process::Stdio::null;
    std::process::Command::new(opener).arg(address).stdin(null()).stdout(null()).stderr(null()).spawn().is_ok()
}

fn told(refused: Refused) -> Failure {
    match refused.code.as_str() {
        "AccessDeniedException" => Failure::refused("the sign-in was refused in the browser"),
        "ExpiredTokenException" => Failure::new("the code has expired").hint("run: daypass login"),
        _ => Failure::new(refused.message),
    }
}

/// Waits for the browser to come back with a code. Anything else that connects is answered and ignored.
async fn callback(listener: &TcpListener, state: &str) -> Result<Secret<String>, Failure> {
    loop {
        let (mut stream, _) = listener.accept().await.map_err(|error| Failure::new(error.to_string()))?;
        let Some(parameters) = read_callback(&mut stream).await else {
            answer(&mut stream, "404 Not Found", "Nothing is here.").await;
            continue;
        };
        let one = |name: &str| parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        if one("state").as_deref() != Some(state) {
            answer(&mut stream, "400 Bad Request", "This answer belongs to another sign-in.").await;
            continue;
        }
        if let Some(code) = one("code") {
            answer(&mut stream, "200 OK", "You're signed in. Go back to your terminal; you can close this page.").await;
            return Ok(Secret::new(code));
        }
        answer(&mut stream, "200 OK", "The sign-in was refused. You can close this page.").await;
        return Err(Failure::refused("the sign-in was refused in the browser"));
    }
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
