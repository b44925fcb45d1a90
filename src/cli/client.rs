//! A broker as the command line sees it, and what the command line keeps: one session file, readable by its owner alone.

use super::Failure;
use crate::{
    config::{variable, write_private},
    domain::{Secret, Timestamp},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Who is signed in where.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SavedSession {
    pub(super) url: String,
    #[serde(serialize_with = "Secret::reveal")]
    pub(super) access_token: Secret<String>,
    pub(super) expires: Timestamp,
}

/// `$DAYPASS_HOME`, else `$XDG_STATE_HOME/daypass`, else `~/.local/state/daypass`.
pub(super) fn home() -> Result<PathBuf, Failure> {
    let state = variable("XDG_STATE_HOME").map(PathBuf::from);
    let default = || variable("HOME").map(|home| Path::new(&home).join(".local/state"));
    let folder =
        variable("DAYPASS_HOME").map(PathBuf::from).or_else(|| state.or_else(default).map(|state| state.join("daypass")));
    folder.ok_or_else(|| Failure::new("there is no place to keep the session").hint("set HOME or DAYPASS_HOME"))
}

impl SavedSession {
    fn file() -> Result<PathBuf, Failure> {
        Ok(home()?.join("session.json"))
    }

    pub(super) fn save(&self) -> Result<(), Failure> {
        let file = Self::file()?;
        keep(&file, self)
    }

    /// The saved session, if it still lives.
    pub(super) fn load(now: Timestamp) -> Result<Self, Failure> {
        let text = fs::read_to_string(Self::file()?).map_err(|_| Failure::signed_out("you are not signed in"))?;
        let session: Self = serde_json::from_str(&text).map_err(|_| Failure::signed_out("the saved session can't be read"))?;
        if session.expires <= now {
            return Err(Failure::signed_out("your session has expired"));
        }
        Ok(session)
    }
}

/// Writes JSON that only its owner can read.
pub(super) fn keep(file: &Path, value: &impl Serialize) -> Result<(), Failure> {
    if let Some(folder) = file.parent() {
        use std::os::unix::fs::DirBuilderExt as _;
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
        made.map_err(|error| Failure::new(format!("{}: {error}", folder.display())))?;
    }
    let text = serde_json::to_string(value).map_err(|error| Failure::new(error.to_string()))?;
    write_private(file, &text).map_err(Failure::from)
}

/// HTTP to a broker.
pub(super) struct BrokerClient {
    http: reqwest::Client,
    url: String,
}

/// A refusal by the broker: its name on the wire, and its sentence.
pub(super) struct Refused {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) status: u16,
}

impl BrokerClient {
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        let http =
            reqwest::Client::builder().timeout(Duration::from_secs(30)).redirect(reqwest::redirect::Policy::none()).build();
        let http = http.map_err(|error| Failure::new(error.to_string()))?;
        let parsed = url::Url::parse(url).map_err(|_| {
            Failure::new(format!("`{url}` is not an address")).hint("an address looks like https://daypass.example.com")
        })?;
        if !crate::federation::metadata::is_safe(&parsed) {
            return Err(Failure::new(format!("`{url}` is not https")).hint("plain http works for brokers on this machine only"));
        }
        Ok(Self { http, url: url.trim_end_matches('/').to_owned() })
    }

    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &serde_json::Value,
    ) -> Result<Result<T, Refused>, Failure> {
        let request =
            self.http.post(format!("{}{path}", self.url)).header("content-type", "application/json").body(body.to_string());
        self.send(request).await
    }

    pub(super) async fn form<T: DeserializeOwned>(
        &self,
        path: &str,
        form: &[(&str, &str)],
    ) -> Result<Result<T, Refused>, Failure> {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
        let request = self.http.post(format!("{}{path}", self.url)).header("accept", "application/json");
        self.send(request.header("content-type", "application/x-www-form-urlencoded").body(body)).await
    }

    /// The value of the `Host` header.
    pub(super) fn host(&self) -> Result<String, Failure> {
        let strange = || Failure::new(format!("`{}` is not an address", self.url));
        let url = url::Url::parse(&self.url).map_err(|_| strange())?;
        let host = url.host_str().ok_or_else(strange)?;
        Ok(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
    }

    /// A request whose headers were signed.
    pub(super) async fn signed_post<T: DeserializeOwned>(
        &self,
        path: &str,
        headers: &[(&str, String)],
        body: String,
    ) -> Result<Result<T, Refused>, Failure> {
        let request = self.http.post(format!("{}{path}", self.url)).body(body);
        let headers = headers.iter().filter(|(name, _)| *name != "host");
        self.send(headers.fold(request, |request, (name, value)| request.header(*name, value))).await
    }

    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        query: &[(&str, &str)],
        token: &Secret<String>,
    ) -> Result<T, Failure> {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let request = self.http.get(format!("{}{path}?{query}", self.url)).header("x-amz-sso_bearer_token", token.expose());
        self.send(request).await?.map_err(|refused| match refused.status {
            401 => Failure::signed_out("your session has ended"),
            403 => Failure::refused("you may not take this role, or there is no such role").hint("run: daypass whoami"),
            _ => Failure::new(refused.message),
        })
    }

    async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<Result<T, Refused>, Failure> {
        let unreachable = |error: reqwest::Error| {
            Failure::new(format!("{} can't be reached: {}", self.url, cause(&error)))
                .hint("is the address right, and the broker running?")
        };
        let response = request.send().await.map_err(unreachable)?;
        let status = response.status().as_u16();
        let code =
            response.headers().get("x-amzn-errortype").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        let body = response.bytes().await.map_err(unreachable)?;
        if (200..300).contains(&status) {
            let strange = |_| Failure::new(format!("{} does not answer like a Daypass broker", self.url));
            return Ok(Ok(serde_json::from_slice(&body).map_err(strange)?));
        }
        let fields: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = ["error_description", "message"].iter().find_map(|key| fields.get(key)?.as_str());
        let text = text.or_else(|| fields.pointer("/Error/Message")?.as_str());
        Ok(Err(Refused { code, status, message: text.map_or_else(|| format!("status {status}"), str::to_owned) }))
    }
}

/// The last cause says most.
fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}

/// Credentials of a role, from the portal API.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct RoleCredentials {
    pub(super) access_key_id: String,
    #[serde(serialize_with = "Secret::reveal")]
    pub(super) secret_access_key: Secret<String>,
    #[serde(serialize_with = "Secret::reveal")]
    pub(super) session_token: Secret<String>,
    /// Epoch milliseconds.
    pub(super) expiration: i64,
}

impl SavedSession {
    pub(super) async fn role_credentials(&self, account: &str, role: &str) -> Result<RoleCredentials, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            role_credentials: RoleCredentials,
        }
        let client = BrokerClient::new(&self.url)?;
        let query = [("account_id", account), ("role_name", role)];
        Ok(client.get::<Answer>("/federation/credentials", &query, &self.access_token).await?.role_credentials)
    }
}
