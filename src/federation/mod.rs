//! Identity sources: who is it, in whose word, until when.
//!
//! Each protocol begins with a [`Departure`] (where to send the browser) and ends with an [`IdentityAssertion`], or with a
//! [`Failure`] that carries the recording of every check. What a failure says in its public message is the same for all
//! of them; the recording goes into the audit record, for the admin.

mod attempts;
mod cache;
pub mod directory;
pub mod http;
pub mod mapping;
pub mod metadata;
pub mod oidc;
pub mod recorder;
pub mod saml;
pub mod web_identity;

pub use recorder::Recording;

use crate::{
    crypto::xmldsig::Refusal,
    domain::{
        Arn, Clock, Error, ErrorKind, Random,
        iam::{IdentityProvider, ProviderKind},
        name::AccountId,
        session::IdentityAssertion,
    },
    store::Store,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};
use tokio::sync::Semaphore;
use url::Url;

/// How long a sign-in may take at the provider, in seconds.
pub const SIGN_IN_SECONDS: i64 = 600;
/// How long one document may be worked on, in seconds.
const VERIFY_SECONDS: u64 = 5;

/// Addresses under which the world knows this broker.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// For example `https://daypass.example.com`, without a slash at the end.
    pub public_url: Url,
}

impl Addresses {
    /// An absolute address of ours.
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.public_url.as_str().trim_end_matches('/'))
    }
    /// Where SAML responses go (assertion consumer service).
    #[must_use]
    pub fn saml_acs(&self) -> String {
        self.at("/saml/acs")
    }
    /// Our SAML entity ID, which is also where our metadata is.
    #[must_use]
    pub fn saml_entity_id(&self) -> String {
        self.at("/saml/metadata")
    }
    /// The issuer of the web identity tokens that an account's principals get: each account has its own, so that who trusts
    /// one account does not trust the others.
    #[must_use]
    pub fn token_issuer(&self, account: &AccountId) -> String {
        self.at(&format!("/issuer/{account}"))
    }
    /// Where an OIDC provider sends the browser back to; one per source, so that answers can't be mixed up.
    #[must_use]
    pub fn oidc_callback(&self, source: &str) -> String {
        self.at(&format!("/oidc/{source}/callback"))
    }
}

/// What the browser brought to begin with, kept until the provider answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// SAML: the ID of the request.
    pub request_id: Option<String>,
    /// OIDC: the nonce.
    pub nonce: Option<String>,
    /// OIDC: the PKCE verifier.
    pub pkce_verifier: Option<String>,
}

/// Where to send the browser.
#[derive(Clone, Debug)]
pub enum Departure {
    /// To the provider.
    Redirect(Url),
    /// To our own password form.
    PasswordForm,
}

/// What came back.
#[derive(Deserialize)]
pub enum Arrival {
    /// `SAMLResponse`, decoded from base64.
    Saml(Vec<u8>),
    /// The callback's parameters.
    Oidc(oidc::Callback),
    /// The password form.
    Password {
        /// As typed.
        user_name: String,
        /// As typed.
        password: crate::domain::Secret<String>,
    },
}

/// Why nobody was identified.
#[derive(Debug)]
pub struct Failure {
    /// For the one who asked, and privately the refusal's code.
    pub error: Error,
    /// Every check up to the one that failed.
    pub recording: Recording,
}

/// Someone identified, with the checks that were made.
#[derive(Debug)]
pub struct Identified {
    /// Who.
    pub assertion: IdentityAssertion,
    /// How that was established.
    pub recording: Recording,
}

/// Everything that federation needs.
pub struct Federation {
    /// Ours.
    pub addresses: Addresses,
    /// The store, for people and keys.
    pub store: Arc<Store>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    http: http::Client,
    discoveries: cache::Published<openidconnect::core::CoreProviderMetadata>,
    keys: cache::Published<jsonwebtoken::jwk::JwkSet>,
    verifications: Arc<Semaphore>,
    passwords: directory::Passwords,
    pub(crate) attempts: attempts::Attempts,
}

impl std::fmt::Debug for Federation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Federation({})", self.addresses.public_url)
    }
}

impl Federation {
    /// Sets up caches and the HTTP client.
    ///
    /// # Errors
    /// `Internal` when the TLS library can't be set up.
    pub fn new(addresses: Addresses, store: Arc<Store>, clock: Arc<dyn Clock>, random: Arc<dyn Random>) -> Result<Self, Error> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            addresses,
            store,
            clock,
            random,
            http: http::Client::new()?,
            discoveries: cache::Published::default(),
            keys: cache::Published::default(),
            verifications: Arc::new(Semaphore::new(cores)),
            passwords: directory::Passwords::new(cores)?,
            attempts: attempts::Attempts::default(),
        })
    }

    /// The certificate of the key that signs our SAML requests, DER.
    #[must_use]
    pub fn certificate(&self) -> &[u8] {
        &self.store.signing_key().certificate
    }

    /// A person's assertion as it is now: none when the source that vouched is gone, or the directory does not know them
    /// any more. Of the directory, groups and names are read anew; other sources speak again at the next sign-in.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn current(&self, assertion: IdentityAssertion) -> Result<Option<IdentityAssertion>, Error> {
        let snapshot = self.store.snapshot();
        let source = snapshot.identity_source(&assertion.provider.name);
        let Some(source) = source.filter(|source| source.resource() == assertion.provider.resource) else { return Ok(None) };
        if source.kind != ProviderKind::Directory {
            return Ok(Some(assertion));
        }
        let user = self.store.read().user_by_id(&assertion.subject).await?.filter(|user| !user.disabled);
        Ok(user.map(|user| IdentityAssertion {
            authenticated: assertion.authenticated,
            ..directory::assertion(self, source, &user)
        }))
    }

    /// Makes the request to a source. `handle` names the step and comes back with the answer.
    ///
    /// # Errors
    /// `IdentityProviderUnreachable`, when discovery fails.
    pub async fn begin(&self, source: &IdentityProvider, handle: &str) -> Result<(Departure, Pending), Error> {
        match &source.kind {
            ProviderKind::Saml(saml) => saml::begin(self, saml, handle),
            ProviderKind::Oidc(oidc) => oidc::begin(self, source, oidc, handle).await,
            ProviderKind::Directory => Ok((Departure::PasswordForm, Pending::default())),
        }
    }

    /// Checks an answer to [`Federation::begin`], which came from that address.
    ///
    /// # Errors
    /// A [`Failure`] with the recording.
    pub async fn complete(
        &self,
        source: &IdentityProvider,
        pending: &Pending,
        arrival: Arrival,
        from: std::net::IpAddr,
    ) -> Result<Identified, Failure> {
        match (&source.kind, arrival) {
            (ProviderKind::Saml(saml), Arrival::Saml(xml)) => {
                let expect = saml::Expect::answer_to(&self.addresses, pending.request_id.clone());
                self.verify_saml(source, saml, xml, expect).await
            }
            (ProviderKind::Oidc(oidc), Arrival::Oidc(callback)) => oidc::complete(self, source, oidc, pending, callback).await,
            (ProviderKind::Directory, Arrival::Password { user_name, password }) => {
                directory::complete(self, source, &user_name, password, from).await
            }
            _ => Err(Failure {
                error: Error::new(ErrorKind::StaleStep, "This sign-in does not fit the step it answers."),
                recording: Recording::default(),
            }),
        }
    }

    /// Checks a SAML response presented to `AssumeRoleWithSAML`: unsolicited, for us or for AWS.
    ///
    /// # Errors
    /// A [`Failure`] with the recording.
    pub async fn verify_presented_saml(&self, provider_arn: &Arn, xml: Vec<u8>) -> Result<Identified, Failure> {
        let snapshot = self.store.snapshot();
        let provider = snapshot.provider(provider_arn).cloned();
        let Some((provider, ProviderKind::Saml(saml))) = provider.as_ref().map(|provider| (provider, &provider.kind)) else {
            let error = Error::new(ErrorKind::InvalidIdentityToken, "No such SAML provider")
                .with_private(format!("provider_unknown: {provider_arn}"));
            return Err(Failure { error, recording: Recording::default() });
        };
        self.verify_saml(provider, saml, xml, saml::Expect::presented(&self.addresses)).await
    }

    async fn verify_saml(
        &self,
        source: &IdentityProvider,
        saml: &crate::domain::iam::SamlProvider,
        xml: Vec<u8>,
        expect: saml::Expect,
    ) -> Result<Identified, Failure> {
        let mut recording = Recording::default();
        let outcome = async {
            let idp = metadata::parse(&saml.metadata)?;
            let certificates = idp.certificates.clone();
            let signed = self.off_thread(move || crate::crypto::xmldsig::verify_response(&xml, &certificates)).await;
            recording.note("signature", &signed);
            saml::check(&mut recording, source, saml, &idp, &signed?, &expect, self.clock.now())
        };
        let checked = outcome.await;
        let burned = match &checked {
            // One-time use is burned before anything else is done with the assertion, and fails closed.
            Ok((_, mark)) => self.store.ephemeral().put_new("saml-assertion", &mark.id, &(), mark.until).await,
            Err(_) => Ok(true),
        };
        let outcome = match (checked, burned) {
            (Ok((assertion, _)), Ok(first)) => recording
                .require("one_time", "assertion_replayed", "an assertion not seen before", "one seen before", first)
                .map(|()| assertion)
                .map_err(|refusal| refused(&refusal)),
            (Ok(_), Err(error)) => Err(error),
            (Err(refusal), _) => Err(refused(&refusal)),
        };
        match outcome {
            Ok(assertion) => Ok(Identified { assertion, recording }),
            Err(error) => Err(Failure { error, recording }),
        }
    }

    /// Runs XML verification where it can't block the server: bounded in number, with a deadline.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let busy = || crate::crypto::xmldsig::refusal("verifier_busy", "the verification did not finish in time");
        let task = async {
            let turn = self.verifications.clone().acquire_owned().await.map_err(|_| busy())?;
            let crashed = |_| crate::crypto::xmldsig::refusal("verifier_crashed", "the verification ended abnormally");
            // The turn goes with the work: a document that outlives its deadline still counts against the bound.
            let work = move || {
                let _turn = turn;
                work()
            };
            tokio::task::spawn_blocking(work).await.map_err(crashed)?
        };
        tokio::time::timeout(Duration::from_secs(VERIFY_SECONDS), task).await.map_err(|_| busy())?
    }

    /// Verifies a token presented to `AssumeRoleWithWebIdentity` for a role of this account.
    ///
    /// # Errors
    /// A [`Failure`]; unknown issuers cost no outbound request.
    pub async fn verify_web_identity(
        &self,
        account: &crate::domain::name::AccountId,
        token: &str,
    ) -> Result<Identified, Failure> {
        web_identity::verify(self, account, token).await
    }
}

/// One public sentence for every refusal: an attacker learns nothing from the difference.
fn refused(refusal: &Refusal) -> Error {
    let kind = match refusal.code {
        "assertion_expired" | "assertion_too_old" => ErrorKind::ExpiredIdentityToken,
        "status_not_success" => ErrorKind::RejectedIdentity,
        _ => ErrorKind::InvalidIdentityToken,
    };
    Error::new(kind, "The identity provider's answer could not be accepted.").with_private(refusal)
}
