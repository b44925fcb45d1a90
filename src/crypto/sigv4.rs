//! AWS Signature Version 4 (AWS General Reference, "Signing AWS API requests"): reading and verifying.

use super::{lower_hex, same, sha256_hex};
use crate::domain::{Error, ErrorKind, Timestamp};
use aws_lc_rs::hmac;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use std::borrow::Cow;

/// How far a client's clock may be from ours, in seconds (AWS: five minutes for STS and IAM).
pub const MAX_SKEW_SECONDS: i64 = 300;
/// Longest life of a presigned URL, in seconds.
pub const MAX_PRESIGNED_SECONDS: i64 = 604_800;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A request as it came over the wire.
#[derive(Clone, Copy, Debug)]
pub struct HttpRequest<'a> {
    /// `GET`, `POST` …
    pub method: &'a str,
    /// The raw path.
    pub path: &'a str,
    /// The raw query, without `?`.
    pub query: &'a str,
    /// Header names in lower case, and values.
    pub headers: &'a [(&'a str, &'a str)],
    /// The body.
    pub body: &'a [u8],
}

impl<'a> HttpRequest<'a> {
    /// The first value of a header.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.iter().find(|(header, _)| *header == name).map(|(_, value)| *value)
    }
}

/// What a request says about its signature. Nothing of it is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authorization<'a> {
    /// `<access key id>/<date>/<region>/<service>/aws4_request`.
    credential: Cow<'a, str>,
    /// Lower case, sorted, with `;` between them.
    signed_headers: Cow<'a, str>,
    /// Hex.
    pub signature: Cow<'a, str>,
    /// When it was signed.
    pub signed_at: Timestamp,
    /// The raw `X-Amz-Date`.
    timestamp: Cow<'a, str>,
    /// The session token, from header or query.
    pub session_token: Option<Cow<'a, str>>,
    /// Seconds a presigned URL lives; none for a signed header.
    pub expires: Option<i64>,
}

impl<'a> Authorization<'a> {
    /// Reads the `Authorization` header or the presigned query; none when the request carries no signature.
    ///
    /// # Errors
    /// `IncompleteSignature` when there is one that can't be read.
    pub fn read(request: HttpRequest<'a>) -> Result<Option<Self>, Error> {
        if let Some(header) = request.header("authorization") {
            return Self::from_fields(request, header, ALGORITHM).map(Some);
        }
        let query = decoded_query(request.query);
        if query.iter().any(|(name, _)| name == "X-Amz-Signature" || name == "X-Amz-Algorithm") {
            return Self::from_query(&query).map(Some);
        }
        Ok(None)
    }

    fn from_fields(request: HttpRequest<'a>, header: &'a str, algorithm: &str) -> Result<Self, Error> {
        let fields = header
            .strip_prefix(algorithm)
            .filter(|rest| rest.starts_with(' '))
            .ok_or_else(|| incomplete(format!("the Authorization header must begin with {algorithm}")))?;
        let field = |name: &str| {
            let mut found = fields.split(',').filter_map(|field| field.trim().split_once('=')).filter(|(key, _)| *key == name);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => Ok(Cow::Borrowed(value)),
                _ => Err(incomplete(format!("the Authorization header needs one {name}"))),
            }
        };
        let timestamp = request.header("x-amz-date").ok_or_else(|| incomplete("the header X-Amz-Date is missing"))?;
        let token = request.header("x-amz-security-token").map(Cow::Borrowed);
        Self::assemble(field("Credential")?, field("SignedHeaders")?, field("Signature")?, Cow::Borrowed(timestamp), token, None)
    }

    fn from_query(query: &[(String, String)]) -> Result<Self, Error> {
        let optional = |name: &str| {
            let mut found = query.iter().filter(|(key, _)| key == name);
            match (found.next(), found.next()) {
                (Some((_, value)), None) => Ok(Some(value.clone())),
                (None, _) => Ok(None),
                _ => Err(incomplete(format!("{name} appears twice"))),
            }
        };
        let required = |name: &str| optional(name)?.ok_or_else(|| incomplete(format!("the presigned URL needs {name}")));
        if required("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete(format!("X-Amz-Algorithm must be {ALGORITHM}")));
        }
        let expires = match optional("X-Amz-Expires")? {
            Some(text) => text.parse().ok().filter(|seconds| (1..=MAX_PRESIGNED_SECONDS).contains(seconds)),
            None => Some(900),
        };
        Self::assemble(
            required("X-Amz-Credential")?.into(),
            required("X-Amz-SignedHeaders")?.into(),
            required("X-Amz-Signature")?.into(),
            required("X-Amz-Date")?.into(),
            optional("X-Amz-Security-Token")?.map(Cow::Owned),
            Some(expires.ok_or_else(|| incomplete("X-Amz-Expires must be 1 to 604800 seconds"))?),
        )
    }

    fn assemble(
        credential: Cow<'a, str>,
        signed_headers: Cow<'a, str>,
        signature: Cow<'a, str>,
        timestamp: Cow<'a, str>,
        session_token: Option<Cow<'a, str>>,
        expires: Option<i64>,
    ) -> Result<Self, Error> {
        if credential.split('/').count() != 5 || !credential.ends_with("/aws4_request") {
            return Err(incomplete("Credential must look like <key>/<date>/<region>/<service>/aws4_request"));
        }
        let signed_at =
            Timestamp::parse_basic(&timestamp).ok_or_else(|| incomplete("X-Amz-Date must look like 20261124T060135Z"))?;
        let read = Self { credential, signed_headers, signature, signed_at, timestamp, session_token, expires };
        if !read.timestamp.starts_with(read.date()) {
            return Err(incomplete("the date of the Credential scope is not the day of X-Amz-Date"));
        }
        Ok(read)
    }

    fn part(&self, number: usize) -> &str {
        self.credential.split('/').nth(number).unwrap_or_default()
    }

    /// Who signed, allegedly.
    #[must_use]
    pub fn access_key_id(&self) -> &str {
        self.part(0)
    }

    /// `20261124` of the credential scope.
    #[must_use]
    pub fn date(&self) -> &str {
        self.part(1)
    }

    /// Any region is accepted: clients sign with the one they are configured for.
    #[must_use]
    pub fn region(&self) -> &str {
        self.part(2)
    }

    /// Must be the service that answers.
    #[must_use]
    pub fn service(&self) -> &str {
        self.part(3)
    }

    /// The credential scope, for which a signing key is made.
    fn scope(&self) -> &str {
        self.credential.split_once('/').map(|(_, scope)| scope).unwrap_or_default()
    }

    /// The signing key of a secret for this request's day, region and service. It can be kept as long as that holds.
    #[must_use]
    pub fn signing_key(&self, secret: &str) -> SigningKey {
        SigningKey::new(secret, self.date(), self.region(), self.service())
    }

    /// Verifies the signature over the whole request, its time, and that everything that steers the request is signed.
    ///
    /// # Errors
    /// `BadSignature`, `ExpiredCredentials` or `IncompleteSignature`.
    pub fn verify(&self, request: HttpRequest<'_>, secret: &str, service: &str, now: Timestamp) -> Result<(), Error> {
        self.verify_with(request, &self.signing_key(secret), service, now)
    }

    /// The same with a signing key that was made before.
    ///
    /// # Errors
    /// As for [`Authorization::verify`].
    pub fn verify_with(&self, request: HttpRequest<'_>, key: &SigningKey, service: &str, now: Timestamp) -> Result<(), Error> {
        let canonical = self.checked(request, service, now)?;
        let signed = key.sign(&self.string_to_sign(ALGORITHM, &canonical));
        if key.scope == self.scope() && same(&signed, &self.signature) { Ok(()) } else { Err(mismatch()) }
    }

    /// Whether the key is for this request's day, region and service.
    #[must_use]
    pub fn is_for(&self, key: &SigningKey) -> bool {
        key.scope == self.scope()
    }

    /// The canonical request, after everything but the signature itself was checked.
    fn checked(&self, request: HttpRequest<'_>, service: &str, now: Timestamp) -> Result<String, Error> {
        self.check_scope(request, service)?;
        self.check_time(now)?;
        let body_hash = sha256_hex(request.body);
        if let Some(sent) = request.header("x-amz-content-sha256")
            && sent != body_hash
        {
            return Err(mismatch());
        }
        // A presigned GET signs the empty body; so does everything else here, since the body is always at hand.
        Ok(self.canonical_request(request, &body_hash))
    }

    fn check_scope(&self, request: HttpRequest<'_>, service: &str) -> Result<(), Error> {
        if self.service() != service {
            return Err(Error::new(
                ErrorKind::BadSignature,
                format!("Credential should be scoped to correct service: '{service}'."),
            ));
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.region().is_empty() || self.region().len() > 64 || !self.region().chars().all(plain) {
            return Err(Error::new(ErrorKind::BadSignature, "Credential should be scoped to a valid region."));
        }
        let must_be_signed = |name: &str| {
            name == "host"
                || (self.expires.is_none()
                    && matches!(
                        name,
                        "x-amz-date"
                            | "x-amz-target"
                            | "x-amz-security-token"
                            | "x-amz-content-sha256"
                            | "x-amz-x509"
                            | "x-amz-x509-chain"
                    ))
        };
        let missing = std::iter::once("host")
            .chain(request.headers.iter().map(|(name, _)| *name))
            .find(|name| must_be_signed(name) && !self.signed_headers.split(';').any(|signed| signed == *name));
        match missing {
            Some(name) => Err(incomplete(format!("'{name}' must be a 'SignedHeader' in the AWS Authorization."))),
            None => Ok(()),
        }
    }

    fn check_time(&self, now: Timestamp) -> Result<(), Error> {
        let age = now.seconds_since(self.signed_at);
        let longest = self.expires.unwrap_or(MAX_SKEW_SECONDS);
        if age > longest {
            let kind = if self.expires.is_some() { ErrorKind::ExpiredCredentials } else { ErrorKind::BadSignature };
            return Err(Error::new(kind, format!("Signature expired: {} is now earlier than {}", self.timestamp, now)));
        }
        if age < -MAX_SKEW_SECONDS {
            let message = format!("Signature not yet current: {} is still later than {}", self.timestamp, now);
            return Err(Error::new(ErrorKind::BadSignature, message));
        }
        Ok(())
    }

    fn canonical_request(&self, request: HttpRequest<'_>, body_hash: &str) -> String {
        let mut canonical = String::with_capacity(1024 + request.query.len());
        canonical.push_str(request.method);
        canonical.push('\n');
        let path = if request.path.is_empty() { "/" } else { request.path };
        for (number, part) in path.split('/').enumerate() {
            if number > 0 {
                canonical.push('/');
            }
            canonical.extend(utf8_percent_encode(part, UNRESERVED));
        }
        canonical.push('\n');
        let mut query: Vec<(String, String)> = decoded_query(request.query)
            .into_iter()
            .filter(|(name, _)| name != "X-Amz-Signature")
            .map(|(name, value)| (encode(&name), encode(&value)))
            .collect();
        query.sort_unstable();
        for (number, (name, value)) in query.iter().enumerate() {
            if number > 0 {
                canonical.push('&');
            }
            canonical.extend([name.as_str(), "=", value.as_str()]);
        }
        canonical.push('\n');
        for signed in self.signed_headers.split(';') {
            canonical.extend([signed, ":"]);
            let values = request.headers.iter().filter(|(name, _)| *name == signed);
            for (number, (_, value)) in values.enumerate() {
                if number > 0 {
                    canonical.push(',');
                }
                if value.is_ascii() && !value.contains([' ', '\t']) {
                    canonical.push_str(value);
                    continue;
                }
                for (number, word) in value.split_whitespace().enumerate() {
                    if number > 0 {
                        canonical.push(' ');
                    }
                    canonical.push_str(word);
                }
            }
            canonical.push('\n');
        }
        canonical.push('\n');
        canonical.push_str(&self.signed_headers);
        canonical.extend(["\n", body_hash]);
        canonical
    }

    fn string_to_sign(&self, algorithm: &str, canonical: &str) -> String {
        let hash = sha256_hex(canonical);
        format!("{algorithm}\n{}\n{}\n{hash}", self.timestamp, self.scope())
    }
}

/// A secret made ready to sign for one day, region and service.
pub struct SigningKey {
    scope: String,
    key: hmac::Key,
}

impl SigningKey {
    /// For a day (`20261128`), a region and a service.
    #[must_use]
    pub fn new(secret: &str, date: &str, region: &str, service: &str) -> Self {
        let mut key = mac(format!("AWS4{secret}").as_bytes(), date);
        for part in [region, service, "aws4_request"] {
            key = mac(key.as_ref(), part);
        }
        Self { scope: format!("{date}/{region}/{service}/aws4_request"), key: hmac::Key::new(hmac::HMAC_SHA256, key.as_ref()) }
    }

    /// The signature of a string to sign, in hex.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        lower_hex(hmac::sign(&self.key, text.as_bytes()).as_ref())
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.scope)
    }
}

/// How a certificate's key signs a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateAlgorithm {
    /// RSA, PKCS #1 v1.5, SHA-256.
    RsaSha256,
    /// ECDSA, SHA-256.
    EcdsaSha256,
}

impl CertificateAlgorithm {
    const ALL: [(Self, &'static str); 2] =
        [(Self::RsaSha256, "AWS4-X509-RSA-SHA256"), (Self::EcdsaSha256, "AWS4-X509-ECDSA-SHA256")];
}

/// What a request says about its signature by a certificate's key (IAM Roles Anywhere user guide, "Authentication signing
/// process"). Nothing of it is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertifiedRequest<'a> {
    /// Which algorithm.
    pub algorithm: CertificateAlgorithm,
    /// Serial number of the certificate, decimal.
    pub serial: String,
    /// The signature.
    pub signature: Vec<u8>,
    authorization: Authorization<'a>,
    name: &'static str,
}

impl<'a> CertifiedRequest<'a> {
    /// Reads the `Authorization` header; none when it is not of this kind.
    ///
    /// # Errors
    /// `IncompleteSignature` when it is, and can't be read.
    pub fn read(request: HttpRequest<'a>) -> Result<Option<Self>, Error> {
        let Some(header) = request.header("authorization") else { return Ok(None) };
        let known = CertificateAlgorithm::ALL.into_iter().find(|(_, name)| header.split(' ').next() == Some(*name));
        let Some((algorithm, name)) = known else { return Ok(None) };
        let authorization = Authorization::from_fields(request, header, name)?;
        let signature =
            hex::decode(authorization.signature.as_bytes()).map_err(|_| incomplete("the Signature must be hexadecimal"))?;
        Ok(Some(Self { algorithm, serial: authorization.access_key_id().to_owned(), signature, authorization, name }))
    }

    /// What was signed, after service, time and signed headers were checked.
    ///
    /// # Errors
    /// `BadSignature`, `IncompleteSignature`.
    pub(super) fn string_to_sign(&self, request: HttpRequest<'_>, service: &str, now: Timestamp) -> Result<String, Error> {
        let canonical = self.authorization.checked(request, service, now)?;
        Ok(self.authorization.string_to_sign(self.name, &canonical))
    }
}

fn mac(key: &[u8], data: &str) -> hmac::Tag {
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), data.as_bytes())
}

fn encode(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

fn decoded_query(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

fn incomplete(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::IncompleteSignature, message)
}

pub(super) fn mismatch() -> Error {
    Error::new(
        ErrorKind::BadSignature,
        "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and signing method. Consult the service documentation for details.",
    )
}
