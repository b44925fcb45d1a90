//! Where the agent's credentials come from, and keeping them fresh.

use super::super::{
    Failure,
    client::{BrokerClient, Refused, RoleCredentials},
    home::Home,
    login::now,
    session::{SavedSession, new_role_credentials},
    signature::Draft,
};
use crate::domain::{Arn, Secret, Timestamp};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::{
    SignatureScheme,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};
use serde::{Deserialize, de::DeserializeOwned};
use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// Credentials are renewed when they have less than this left, in seconds: SDKs ask again five minutes before the end.
const RENEW_SECONDS: i64 = 600;
/// After a failure the next attempt waits this long, in seconds: programs are served what is left meanwhile.
const RETRY_SECONDS: i64 = 10;
/// How long a program waits for a renewal while something is left: SDKs give up after a second or two.
const PATIENCE: Duration = Duration::from_millis(500);

/// How the role is taken.
#[derive(Debug)]
pub(super) enum Source {
    /// With the session of `daypass login`.
    Person { home: Home, person: String, account: String, role: String },
    /// With a workload's ID token.
    WebIdentity(WebIdentity),
    /// With a workload's certificate.
    Certificate(Certificate),
}

#[derive(Debug)]
pub(super) struct WebIdentity {
    pub(super) url: String,
    pub(super) role_arn: Arn,
    pub(super) session_name: Option<String>,
    pub(super) token_file: PathBuf,
}

#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) url: String,
    pub(super) role_arn: Arn,
    pub(super) session_name: Option<String>,
    pub(super) certificate: PathBuf,
    pub(super) private_key: PathBuf,
    pub(super) trust_anchor_arn: Arn,
    pub(super) profile_arn: Arn,
}

impl Source {
    pub(super) fn role_name(&self) -> String {
        match self {
            Self::Person { role, .. } => role.clone(),
            Self::WebIdentity(WebIdentity { role_arn, .. }) | Self::Certificate(Certificate { role_arn, .. }) => {
                role_arn.resource_name().to_owned()
            }
        }
    }

    /// Twelve digits.
    fn account(&self) -> String {
        match self {
            Self::Person { account, .. } => account.clone(),
            Self::WebIdentity(WebIdentity { role_arn, .. }) | Self::Certificate(Certificate { role_arn, .. }) => {
                role_arn.account().map(|account| account.to_string()).unwrap_or_default()
            }
        }
    }

    async fn fetch(&self) -> Result<RoleCredentials, Failure> {
        match self {
            Self::Person { home, person, account, role } => {
                let session = SavedSession::fresh(home).await?;
                if session.person != *person {
                    return Err(Failure::refused("somebody else has signed in since: what they may is not for this agent"));
                }
                new_role_credentials(&session, account, role).await
            }
            Self::WebIdentity(web_identity) => web_identity.fetch().await,
            Self::Certificate(certificate) => certificate.fetch().await,
        }
    }
}

fn refused(refused: Refused) -> Failure {
    Failure::from(Refused { message: format!("{} ({})", refused.message, refused.code), ..refused })
}

fn unreadable(file: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(format!("{}: {error}", file.display()))
}

impl WebIdentity {
    async fn fetch(&self) -> Result<RoleCredentials, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Answer {
            assume_role_with_web_identity_response: Response,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Response {
            assume_role_with_web_identity_result: Outcome,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Outcome {
            credentials: Credentials,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Credentials {
            access_key_id: String,
            secret_access_key: Secret<String>,
            session_token: Secret<String>,
            /// Epoch seconds.
            expiration: f64,
        }
        let token = fs::read_to_string(&self.token_file).map(Secret::new).map_err(|error| unreadable(&self.token_file, error))?;
        let form = [
            ("Action", "AssumeRoleWithWebIdentity"),
            ("Version", "2011-06-15"),
            ("RoleArn", self.role_arn.as_str()),
            ("RoleSessionName", self.session_name.as_deref().unwrap_or("daypass-agent")),
            ("WebIdentityToken", token.expose().trim()),
        ];
        let answer: Answer = BrokerClient::new(&self.url)?.form("/", &form).await?.map_err(refused)?;
        let credentials = answer.assume_role_with_web_identity_response.assume_role_with_web_identity_result.credentials;
        #[allow(clippy::cast_possible_truncation, reason = "seconds of this era fit")]
        let expiration = Timestamp::from_seconds(credentials.expiration as i64).0;
        Ok(RoleCredentials {
            access_key_id: credentials.access_key_id,
            secret_access_key: credentials.secret_access_key,
            session_token: credentials.session_token,
            expiration,
        })
    }
}

impl Certificate {
    /// Signs `POST /sessions` with the certificate's key (IAM Roles Anywhere user guide, "Authentication signing process").
    async fn fetch(&self) -> Result<RoleCredentials, Failure> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Answer {
            credential_set: Vec<Set>,
        }
        #[derive(Deserialize)]
        struct Set {
            credentials: Credentials,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Credentials {
            access_key_id: String,
            secret_access_key: Secret<String>,
            session_token: Secret<String>,
            expiration: String,
        }
        let body = serde_json::json!({
            "roleArn": self.role_arn, "profileArn": self.profile_arn, "trustAnchorArn": self.trust_anchor_arn,
            "roleSessionName": self.session_name,
        })
        .to_string();
        let answer: Answer = self.send(body).await?.map_err(refused)?;
        let strange = || Failure::new(format!("{} does not answer like a Daypass broker", self.url));
        let credentials = answer.credential_set.into_iter().next().ok_or_else(strange)?.credentials;
        let expiration = Timestamp::parse(&credentials.expiration).ok_or_else(strange)?.0;
        Ok(RoleCredentials {
            access_key_id: credentials.access_key_id,
            secret_access_key: credentials.secret_access_key,
            session_token: credentials.session_token,
            expiration,
        })
    }

    async fn send<T: DeserializeOwned>(&self, body: String) -> Result<Result<T, Refused>, Failure> {
        let certificates: Result<Vec<CertificateDer<'static>>, _> =
            CertificateDer::pem_file_iter(&self.certificate).and_then(Iterator::collect);
        let certificates = certificates.map_err(|error| unreadable(&self.certificate, error))?;
        let (leaf, chain) = certificates.split_first().ok_or_else(|| unreadable(&self.certificate, "it holds no certificate"))?;
        let (_, parsed) = <x509_parser::certificate::X509Certificate<'_> as x509_parser::prelude::FromDer<'_, _>>::from_der(leaf)
            .map_err(|error| unreadable(&self.certificate, error))?;
        let pem = fs::read(&self.private_key).map(Secret::new).map_err(|error| unreadable(&self.private_key, error))?;
        let key = PrivateKeyDer::from_pem_slice(pem.expose()).map_err(|error| unreadable(&self.private_key, error))?;
        let key =
            rustls::crypto::aws_lc_rs::sign::any_supported_type(&key).map_err(|error| unreadable(&self.private_key, error))?;
        let schemes = [
            (SignatureScheme::RSA_PKCS1_SHA256, "AWS4-X509-RSA-SHA256"),
            (SignatureScheme::ECDSA_NISTP256_SHA256, "AWS4-X509-ECDSA-SHA256"),
        ];
        let chosen = schemes.iter().find_map(|(scheme, name)| Some((key.choose_scheme(&[*scheme])?, *name)));
        let (signer, algorithm) = chosen.ok_or_else(|| unreadable(&self.private_key, "the key must be RSA or P-256"))?;
        let mut headers = vec![("content-type", "application/json".to_owned()), ("x-amz-x509", STANDARD.encode(leaf))];
        if !chain.is_empty() {
            headers.push(("x-amz-x509-chain", chain.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>().join(",")));
        }
        let sign = |_: &str, text: &str| {
            signer.sign(text.as_bytes()).map(hex::encode).map_err(|error| unreadable(&self.private_key, error))
        };
        let draft = Draft { path: "/sessions", service: "rolesanywhere", headers, body, time: now() };
        let serial = parsed.tbs_certificate.serial.to_string();
        draft.send(&BrokerClient::new(&self.url)?, algorithm, &serial, sign).await
    }
}

/// Credentials, renewed before they end. Of many who ask at once one renews.
pub(super) struct Keeper {
    source: Source,
    account: String,
    kept: Mutex<Kept>,
    /// Whose turn it is to renew.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Kept {
    credentials: Option<RoleCredentials>,
    /// The last attempt, if it did not go well.
    failed: Option<(Timestamp, Failure)>,
}

impl Kept {
    fn left(&self, seconds: i64) -> Option<RoleCredentials> {
        let lives = |credentials: &RoleCredentials| Timestamp(credentials.expiration) > now().plus_seconds(seconds);
        self.credentials.clone().filter(lives)
    }

    /// What there is to give without an attempt: fresh ones, or, shortly after a failure, what is left.
    fn at_hand(&self) -> Option<RoleCredentials> {
        let lately = self.failed.as_ref().is_some_and(|(when, _)| now() < when.plus_seconds(RETRY_SECONDS));
        self.left(RENEW_SECONDS).or_else(|| self.left(0).filter(|_| lately))
    }
}

impl Keeper {
    pub(super) fn new(source: Source) -> Self {
        Self { account: source.account(), source, kept: Mutex::default(), turn: tokio::sync::Mutex::default() }
    }

    /// The role's account, twelve digits.
    pub(super) fn account(&self) -> &str {
        &self.account
    }

    /// Fresh ones; when they can't be renewed, or not soon, those that are left while they are good.
    pub(super) async fn credentials(self: &Arc<Self>) -> Result<RoleCredentials, Failure> {
        let (at_hand, left) = {
            let kept = self.kept();
            (kept.at_hand(), kept.left(0))
        };
        if let Some(credentials) = at_hand {
            return Ok(credentials);
        }
        // It goes on when nobody waits for it any more.
        let keeper = Arc::clone(self);
        let renewal = tokio::spawn(async move { keeper.renewed(now()).await });
        let gone = |error: tokio::task::JoinError| Failure::new(error.to_string());
        match left {
            Some(left) => Ok(tokio::time::timeout(PATIENCE, renewal).await.ok().and_then(|done| done.ok()?.ok()).unwrap_or(left)),
            None => renewal.await.map_err(gone)?,
        }
    }

    async fn renewed(&self, asked: Timestamp) -> Result<RoleCredentials, Failure> {
        let _turn = self.turn.lock().await;
        {
            let kept = self.kept();
            if let Some(credentials) = kept.at_hand() {
                return Ok(credentials);
            }
            // What failed for the one before fails for who waited behind it.
            if let Some((when, failure)) = &kept.failed
                && *when >= asked
            {
                return Err(failure.clone());
            }
        }
        let fetched = self.source.fetch().await;
        let mut kept = self.kept();
        match &fetched {
            Ok(credentials) => *kept = Kept { credentials: Some(credentials.clone()), failed: None },
            Err(failure) => {
                if kept.left(0).is_some() {
                    super::super::terminal::note!("{failure}");
                }
                kept.failed = Some((now(), failure.clone()));
            }
        }
        fetched
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
