//! Signature Version 4, written a second time from AWS's description, so that the broker's reading of it is not checked
//! against itself.

use aws_lc_rs::hmac;
use aws_sdk_sts::config::Credentials;
use daypass::{crypto::sha256_hex, domain::Timestamp};
use std::collections::BTreeMap;

fn mac(key: &[u8], data: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes()).as_ref().to_vec()
}

/// The headers of a signed `POST /`.
pub fn headers(credentials: &Credentials, url: &str, body: &str, now: Timestamp) -> BTreeMap<String, String> {
    headers_for("sts", credentials, url, body, now)
}

/// The same for another service.
pub fn headers_for(service: &str, credentials: &Credentials, url: &str, body: &str, now: Timestamp) -> BTreeMap<String, String> {
    let time: String = now.to_string().chars().filter(|c| !matches!(c, '-' | ':')).collect();
    let mut headers: BTreeMap<String, String> = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("host", url.trim_start_matches("http://")),
        ("x-amz-date", time.as_str()),
    ]
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .into();
    if let Some(token) = credentials.session_token() {
        headers.insert("x-amz-security-token".to_owned(), token.to_owned());
    }
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    let names = headers.keys().cloned().collect::<Vec<_>>().join(";");
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{}", sha256_hex(body));
    let (date, scope) = (&time[..8], format!("{}/eu-west-1/{service}/aws4_request", &time[..8]));
    let mut key = format!("AWS4{}", credentials.secret_access_key()).into_bytes();
    for part in [date, "eu-west-1", service, "aws4_request"] {
        key = mac(&key, part);
    }
    let signature = hex::encode(mac(&key, &format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", sha256_hex(canonical))));
    let id = credentials.access_key_id();
    let authorization = format!("AWS4-HMAC-SHA256 Credential={id}/{scope}, SignedHeaders={names}, Signature={signature}");
    headers.insert("authorization".to_owned(), authorization);
    headers
}
