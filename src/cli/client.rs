//! A broker as the command line sees it.

use super::{
    Failure,
    terminal::{harmless, waiting},
};
use crate::domain::Secret;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::time::Duration;

/// HTTP to a broker.
#[derive(Clone)]
pub(super) struct BrokerClient {
    http: reqwest::Client,
    url: String,
}

/// A broker's address, as it was understood and not as it was written: it ends up in files. Without a scheme it is https, or
/// for this machine itself http.
pub(super) fn address(text: &str) -> Result<String, Failure> {
    let like = "an address looks like https://daypass.example.com";
    let wrong = |what: &str| Failure::typed(format!("`{}` {what}", harmless(text)));
    let here = ["localhost", "127.0.0.1", "[::1]"].iter().any(|host| text.starts_with(host));
    let whole = match text.contains("://") {
        true => text.to_owned(),
        false => format!("{}://{text}", if here { "http" } else { "https" }),
    };
    let parsed = url::Url::parse(&whole).map_err(|_| wrong("is not an address").hint(like))?;
    if !crate::federation::metadata::is_safe(&parsed) {
        return Err(wrong("is not https").hint("plain http works for brokers on this machine only"));
    }
    let more = parsed.path() != "/" || parsed.query().is_some() || parsed.fragment().is_some() || !parsed.username().is_empty();
    if more {
        return Err(wrong("is more than an address")
            .hint(format!("a broker has one of its own: {}", parsed.origin().ascii_serialization())));
    }
    Ok(parsed.as_str().trim_end_matches('/').to_owned())
}

/// What AWS says of a role that one has not got.
const NO_ACCESS: &str = "No access";

impl From<Refused> for Failure {
    /// A broker that has trouble has not refused.
    fn from(refused: Refused) -> Self {
        if refused.status >= 500 { Self::new(refused.message) } else { Self::refused(refused.message) }
    }
}

/// A refusal by the broker: its name on the wire, and its sentence.
pub(super) struct Refused {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) status: u16,
}

impl BrokerClient {
    pub(super) fn new(url: &str) -> Result<Self, Failure> {
        let url = address(url)?;
        let mut http = reqwest::Client::builder().timeout(Duration::from_secs(30)).redirect(reqwest::redirect::Policy::none());
        if url.starts_with("http:") {
            // What is not encrypted stays on this machine, whatever proxy there is.
            http = http.no_proxy();
        }
        let http = http.build().map_err(|error| Failure::new(error.to_string()))?;
        Ok(Self { http, url })
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

    /// The broker's address, without a slash at its end.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// An address that the broker gives, if it is one of its own: it will be opened, or shown to be opened.
    pub(super) fn own(&self, address: &str) -> Result<String, Failure> {
        let (own, given) = (url::Url::parse(&self.url), url::Url::parse(address));
        match (own, given) {
            (Ok(own), Ok(given)) if own.origin() == given.origin() => Ok(given.to_string()),
            (_, Ok(given)) => Err(Failure::new("the broker leads to an address that is not its own")
                .hint(format!("it calls itself {}: use that, if it is right", given.origin().ascii_serialization()))),
            _ => Err(Failure::new("the broker leads to what is no address")),
        }
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
            401 => Failure::signed_out_of(&self.url, "your session has ended"),
            // Where a second factor is missing, the broker says where to give it.
            403 if refused.message != NO_ACCESS => Failure::refused(refused.message),
            403 => Failure::refused("you may not take this role, or there is no such role").hint("run: daypass roles"),
            _ => Failure::new(refused.message),
        })
    }

    /// Whose session a token stands for. What is shown of it is harmless to a terminal.
    pub(super) async fn who_am_i(&self, token: &Secret<String>) -> Result<Person, Failure> {
        let Person { name, email, identity_source, subject, session_expiration } = self.get("/token/whoAmI", &[], token).await?;
        Ok(Person {
            name: harmless(&name),
            email: email.as_deref().map(harmless),
            identity_source: harmless(&identity_source),
            subject: harmless(&subject),
            session_expiration,
        })
    }

    /// Ends the session of a token.
    pub(super) async fn log_out(&self, token: &Secret<String>) -> Result<Result<(), Refused>, Failure> {
        let request = self.http.post(format!("{}/logout", self.url)).header("x-amz-sso_bearer_token", token.expose());
        Ok(self.send::<serde_json::Value>(request).await?.map(drop))
    }

    /// What a plain look at an address brings: the status, the `Date` header, the body.
    pub(super) async fn look(&self, path: &str) -> Result<(u16, Option<String>, String), reqwest::Error> {
        let response = self.http.get(format!("{}{path}", self.url)).send().await?;
        let date = response.headers().get("date").and_then(|date| date.to_str().ok()).map(str::to_owned);
        Ok((response.status().as_u16(), date, response.text().await?))
    }

    async fn send<T: DeserializeOwned>(&self, request: reqwest::RequestBuilder) -> Result<Result<T, Refused>, Failure> {
        let unreachable = |error: reqwest::Error| {
            Failure::new(format!("{} can't be reached: {}", self.url, cause(&error)))
                .hint("is the address right, and the broker running?")
        };
        let answer = async {
            let response = request.send().await?;
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Ok((status, headers, response.bytes().await?))
        };
        let (status, headers, body) = waiting("Asking the broker", answer).await.map_err(unreachable)?;
        let code = headers.get("x-amzn-errortype").and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
        if (200..300).contains(&status) {
            let strange = |_| Failure::new(format!("{} does not answer like a Daypass broker", self.url));
            let body: &[u8] = if body.is_empty() { b"null" } else { &body };
            return Ok(Ok(serde_json::from_slice(body).map_err(strange)?));
        }
        let fields: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
        let text = ["error_description", "message"].iter().find_map(|key| fields.get(key)?.as_str());
        let text = text.or_else(|| fields.pointer("/Error/Message")?.as_str());
        let message = text.map_or_else(|| format!("status {status}"), harmless);
        Ok(Err(Refused { code, status, message }))
    }
}

/// The last cause says most.
pub(super) fn cause(error: &dyn std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), cause)
}

/// Who is signed in.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Person {
    pub(super) name: String,
    pub(super) email: Option<String>,
    pub(super) identity_source: String,
    /// What the source knows the person by.
    pub(super) subject: String,
    /// When the session ends, however often its token is renewed: epoch milliseconds.
    pub(super) session_expiration: i64,
}

impl Person {
    /// `Jane Doe (jane@example.com)`.
    pub(super) fn shown(&self) -> String {
        let known = self.email.as_ref().unwrap_or(&self.subject);
        if self.name == *known { known.clone() } else { format!("{} ({known})", self.name) }
    }
}

/// Credentials of a role, from the portal API.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
