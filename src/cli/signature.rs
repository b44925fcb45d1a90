//! Requests that the command line signs (AWS General Reference, "Signing AWS API requests"): by a secret, or by the key of a
//! certificate.

use super::{
    Failure,
    client::{BrokerClient, Refused, RoleCredentials},
};
use crate::{
    crypto::{sha256_hex, sigv4::SigningKey},
    domain::Timestamp,
};
use serde::de::DeserializeOwned;

/// The broker takes any.
const REGION: &str = "us-east-1";

/// A `POST` that is about to be signed.
pub(super) struct Draft<'r> {
    pub(super) path: &'r str,
    pub(super) service: &'r str,
    /// Besides `host` and `x-amz-date`, in lower case.
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: String,
    pub(super) time: Timestamp,
}

impl Draft<'_> {
    /// Sends it. `sign` is given the day, the string to sign, and makes the signature, in hex.
    pub(super) async fn send<T: DeserializeOwned>(
        mut self,
        client: &BrokerClient,
        algorithm: &str,
        credential: &str,
        sign: impl FnOnce(&str, &str) -> Result<String, Failure>,
    ) -> Result<Result<T, Refused>, Failure> {
        let time: String = self.time.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
        let date = time.get(..8).unwrap_or_default();
        self.headers.extend([("host", client.host()?), ("x-amz-date", time.clone())]);
        self.headers.sort_unstable_by_key(|(name, _)| *name);
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| *name).collect();
        let names = names.join(";");
        let lines: String = self.headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let canonical = format!("POST\n{}\n\n{lines}\n{names}\n{}", self.path, sha256_hex(&self.body));
        let scope = format!("{date}/{REGION}/{}/aws4_request", self.service);
        let signature = sign(date, &format!("{algorithm}\n{time}\n{scope}\n{}", sha256_hex(canonical)))?;
        let authorization = format!("{algorithm} Credential={credential}/{scope}, SignedHeaders={names}, Signature={signature}");
        self.headers.push(("authorization", authorization));
        client.signed_post(self.path, &self.headers, self.body).await
    }

    /// Sends it, signed with a role's credentials.
    pub(super) async fn send_as<T: DeserializeOwned>(
        mut self,
        client: &BrokerClient,
        credentials: &RoleCredentials,
    ) -> Result<Result<T, Refused>, Failure> {
        self.headers.push(("x-amz-security-token", credentials.session_token.expose().clone()));
        let (service, secret) = (self.service, credentials.secret_access_key.expose());
        let sign = |date: &str, text: &str| Ok(SigningKey::new(secret, date, REGION, service).sign(text));
        self.send(client, "AWS4-HMAC-SHA256", &credentials.access_key_id, sign).await
    }
}
