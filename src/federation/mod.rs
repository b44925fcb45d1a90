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
pub mod passwords;
pub mod recorder;
pub mod saml;
mod verifier;
pub mod web_identity;

pub use recorder::Recording;
pub use verifier::Isolation;

use crate::{
    crypto::{
        Refusal,
        xmldsig::{self, Shape, Xmlsec},
        xmlenc::{self, DecryptionKey},
    },
    domain::{
        Arn, Clock, Error, ErrorKind, Random, factor,
        iam::{IdentityProvider, ProviderKind},
        name::AccountId,
        secret::hidden,
        session::{IdentityAssertion, ProviderSession},
    },
    store::{EphemeralKind, Store},
};
use serde::{Deserialize, Serialize};
use std::{path::PathBuf, sync::Arc};
use url::Url;

/// How long a sign-in may take at the provider, in seconds.
pub const SIGN_IN_SECONDS: i64 = 600;

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
    /// Where SAML logout messages go (single logout service).
    #[must_use]
    pub fn saml_logout(&self) -> String {
        self.at("/saml/logout")
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
    /// Where an OIDC provider sends the browser back to after a sign-out.
    #[must_use]
    pub fn signed_out(&self) -> String {
        self.at("/signed-out")
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
    /// When the request was made.
    #[serde(default)]
    pub asked: Option<crate::domain::Timestamp>,
    /// OIDC: the nonce.
    pub nonce: Option<String>,
    /// OIDC: the PKCE verifier.
    pub pkce_verifier: Option<String>,
}

/// Where to send the browser.
#[derive(Clone, Debug)]
pub enum Departure {
    /// To the provider, with everything in the address.
    Redirect(Url),
    /// To the provider, with a form that the browser posts there.
    Post {
        /// Where to.
        target: Url,
        /// Names and values.
        fields: Vec<(String, String)>,
    },
    /// To our own password form.
    PasswordForm,
}

/// What came back.
#[derive(Serialize, Deserialize)]
pub enum Arrival {
    /// `SAMLResponse`, decoded from base64.
    #[serde(serialize_with = "hidden")]
    Saml(Vec<u8>),
    /// The callback's parameters.
    #[serde(serialize_with = "hidden")]
    Oidc(oidc::Callback),
    /// The password form.
    Password {
        /// As typed: people type their password here, too.
        #[serde(serialize_with = "hidden")]
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
    /// Their session at the provider.
    pub at_provider: Option<ProviderSession>,
    /// What fresh claims can be had with.
    pub refresh: Option<oidc::refresh::RefreshGrant>,
    /// How that was established.
    pub recording: Recording,
}

/// What of the machine federation may use.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The program that runs the XML library apart (this one, called with `xml-verifier`); without one the library runs in a
    /// thread.
    pub cage: Option<PathBuf>,
    /// Hosts that may have private addresses.
    pub private_hosts: std::collections::BTreeSet<String>,
    /// What is asked of new passwords.
    pub password_rules: passwords::PasswordRules,
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
    discoveries: cache::Published<oidc::Discovery>,
    keys: cache::Published<jsonwebtoken::jwk::JwkSet>,
    verifier: Arc<verifier::Verifier>,
    passwords: passwords::Passwords,
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
    pub fn new(
        addresses: Addresses,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        random: Arc<dyn Random>,
        surroundings: Surroundings,
    ) -> Result<Self, Error> {
        // Known by a loopback address alone, it serves nobody but this machine.
        let own_machine = addresses.public_url.scheme() == "http";
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        Ok(Self {
            addresses,
            store,
            clock,
            random,
            http: http::Client::new(surroundings.private_hosts, own_machine)?,
            discoveries: cache::Published::default(),
            keys: cache::Published::default(),
            verifier: Arc::new(verifier::Verifier::new(surroundings.cage, cores)),
            passwords: passwords::Passwords::new(cores, surroundings.password_rules)?,
            attempts: attempts::Attempts::default(),
        })
    }

    /// How far the XML library is caged.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.verifier.isolation()
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
            return directory::admitted(self, source, assertion).await;
        }
        let user = self.store.read().user_by_id(&assertion.subject).await?.filter(|user| !user.disabled);
        Ok(user.map(|user| IdentityAssertion {
            authenticated: assertion.authenticated,
            asserted_authentication: assertion.asserted_authentication,
            methods: assertion.methods,
            ..directory::assertion(self, source, &user)
        }))
    }

    /// Lets somebody in whom the directory has to know, where their source says so.
    async fn admitted(&self, outcome: Result<Identified, Failure>) -> Result<Identified, Failure> {
        let mut identified = outcome?;
        let snapshot = self.store.snapshot();
        let Some(source) = snapshot.source_of(&identified.assertion).filter(|source| source.directory_user.is_some()) else {
            return Ok(identified);
        };
        let outcome = directory::admitted(self, source, identified.assertion.clone()).await;
        let (known, recording) = match outcome {
            Ok(known) => (known, &mut identified.recording),
            Err(error) => return Err(Failure { error, recording: identified.recording }),
        };
        let named = source.directory_user.as_deref().unwrap_or_default();
        let found = if known.is_some() { "somebody" } else { "nobody" };
        let check = recording.require(
            "directory",
            "directory_unknown",
            format!("somebody active whose userName is its {named}"),
            found,
            known.is_some(),
        );
        match (check, known) {
            (Ok(()), Some(assertion)) => Ok(Identified { assertion, ..identified }),
            (outcome, _) => {
                let why = outcome.err().map(|refusal| refusal.to_string()).unwrap_or_default();
                let error = Error::new(ErrorKind::RejectedIdentity, "Your account is not known here, or not active any more.");
                Err(Failure { error: error.with_private(why), recording: identified.recording })
            }
        }
    }

    /// The person of the directory who owns these factors, as of now. None for people of other sources, and for those who
    /// can't sign in.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn person_of_directory(&self, factor_owner: &str) -> Result<Option<IdentityAssertion>, Error> {
        let snapshot = self.store.snapshot();
        let mut sources = snapshot.identity_sources();
        let source = sources.find(|source| source.kind == ProviderKind::Directory).cloned();
        let owner = factor::split_owner(factor_owner);
        let own = source.as_ref().zip(owner).filter(|(source, (resource, _))| source.resource() == *resource);
        let Some((source, (_, subject))) = own else { return Ok(None) };
        let user = self.store.read().user_by_id(subject).await?.filter(|user| !user.disabled);
        Ok(user.map(|user| IdentityAssertion { methods: vec!["hwk".to_owned()], ..directory::assertion(self, source, &user) }))
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

    /// Where the browser goes to end the person's session at their provider, too. None where there is nothing to tell.
    pub async fn sign_out(&self, session: &crate::domain::session::PortalSession) -> Option<Departure> {
        let snapshot = self.store.snapshot();
        let source = snapshot.identity_source(&session.identity.provider.name)?;
        if source.resource() != session.identity.provider.resource {
            return None;
        }
        let departure = match &source.kind {
            ProviderKind::Saml(saml) => saml::logout::request(self, saml, session),
            ProviderKind::Oidc(oidc) => oidc::logout::end_session(self, oidc, session).await,
            ProviderKind::Directory => Ok(None),
        };
        // The session has ended here; that the provider can't be told must not look as if it had not.
        departure.unwrap_or_else(|error| {
            tracing::warn!(error = error.private.as_deref(), "a provider could not be told of a sign-out");
            None
        })
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
                let expect = saml::Expect::answer_to(&self.addresses, saml, pending.request_id.clone(), pending.asked);
                self.verify_saml(source, saml, xml, expect).await
            }
            (ProviderKind::Oidc(oidc), Arrival::Oidc(callback)) => {
                self.admitted(oidc::complete(self, source, oidc, pending, callback).await).await
            }
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
        self.verify_saml(provider, saml, xml, saml::Expect::presented(&self.addresses, saml, self.clock.now())).await
    }

    /// The identity source that an unsolicited response says it is from, where it may send such.
    ///
    /// # Errors
    /// The refusal: `unsolicited_refused` and those of the gate.
    pub fn unsolicited_source(&self, response: &[u8]) -> Result<Arc<IdentityProvider>, Refusal> {
        let (source, saml) = saml::claimed_source(self, response)?;
        if saml.allow_idp_initiated {
            return Ok(source);
        }
        Err(crate::crypto::refusal("unsolicited_refused", "the provider may not begin sign-ins, and no step of ours waits"))
    }

    /// Checks an unsolicited response for a source of [`Federation::unsolicited_source`].
    ///
    /// # Errors
    /// A [`Failure`] with the recording.
    pub async fn complete_unsolicited(&self, source: &IdentityProvider, xml: Vec<u8>) -> Result<Identified, Failure> {
        match &source.kind {
            ProviderKind::Saml(saml) if saml.allow_idp_initiated => {
                self.verify_saml(source, saml, xml, saml::Expect::unsolicited(&self.addresses, saml, self.clock.now())).await
            }
            _ => Err(Failure {
                error: Error::new(ErrorKind::StaleStep, "This sign-in was not begun here. Please sign in again."),
                recording: Recording::default(),
            }),
        }
    }

    async fn verify_saml(
        &self,
        source: &IdentityProvider,
        saml: &crate::domain::iam::SamlProvider,
        xml: Vec<u8>,
        expect: saml::Expect,
    ) -> Result<Identified, Failure> {
        let mut recording = Recording::default();
        match self.identify_by_saml(&mut recording, source, saml, xml, &expect).await {
            Ok((assertion, at_provider)) => {
                let identified = Identified { assertion, at_provider: Some(at_provider), refresh: None, recording };
                self.admitted(Ok(identified)).await
            }
            Err(Unidentified::Refused(refusal)) => Err(Failure { error: refused(&refusal), recording }),
            Err(Unidentified::Failed(error)) => Err(Failure { error, recording }),
        }
    }

    async fn identify_by_saml(
        &self,
        recording: &mut Recording,
        source: &IdentityProvider,
        saml: &crate::domain::iam::SamlProvider,
        xml: Vec<u8>,
        expect: &saml::Expect,
    ) -> Result<(IdentityAssertion, ProviderSession), Unidentified> {
        let now = self.clock.now();
        recording.state("received", format!("{} bytes", xml.len()));
        let idp = metadata::parse(&saml.metadata)?;
        let trust = idp.trust(saml.allow_sha1, now);
        recording.note("metadata", &trust);
        let (trust, key) = (trust?, self.decryption_key(&xml).await?);
        let verify = move |xmlsec: Xmlsec<'_>| {
            let signed = xmldsig::verify(&xml, Shape::Response, &trust, key.as_ref(), xmlsec)?;
            Ok((signed, key))
        };
        let signed = self.verifier.run(verify).await;
        recording.note("signature", &signed);
        let (mut signed, key) = signed?;
        recording.state("encryption", if signed.encrypted { "encrypted" } else { "not encrypted" });
        // One-time use is burned before anything else is done with the assertion, and fails closed.
        let mark = saml::mark(&idp, &signed, now)?;
        let first = self.store.ephemeral().put_new(EphemeralKind::lasting("saml-assertion"), &mark.id, &(), mark.until).await?;
        recording.require_first("assertion_replayed", first)?;
        // Marks from before a restore are gone with everything else from then, and so is what they forbid.
        if let (Some(ended), Some(issued)) = (self.store.snapshot().revocations.everything(), mark.issued) {
            recording.require(
                "issue_instant",
                "assertion_before_revocation",
                format!("after {ended}"),
                issued,
                issued > ended,
            )?;
        }
        signed.xml = xmlenc::reveal_name_id(signed.xml, key.as_ref())?;
        Ok(saml::check(recording, source, saml, &idp, &signed, expect, now)?)
    }

    /// Our key, for a message that may hold something encrypted.
    async fn decryption_key(&self, message: &[u8]) -> Result<Option<DecryptionKey>, Error> {
        let holds = |mark: &[u8]| message.windows(mark.len()).any(|window| window == mark);
        if !holds(b"EncryptedAssertion") && !holds(b"EncryptedID") {
            return Ok(None);
        }
        let keys = self.store.encryption_keys().await?;
        let key = DecryptionKey::from_pkcs8(keys.all().iter().rev().map(|key| key.private_key.expose().as_slice()));
        key.ok_or_else(|| Error::internal("the decryption key can't be read")).map(Some)
    }

    /// Posts JSON to an address of the settings: federation's client is the only one that goes out.
    ///
    /// # Errors
    /// `IdentityProviderUnreachable`, when there is no answer of class 2xx.
    pub async fn post_json(&self, url: &Url, body: String, bearer: Option<&str>) -> Result<(), Error> {
        self.http.post_json(url, body, bearer).await
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
        self.admitted(web_identity::verify(self, account, token).await).await
    }
}

/// Why nobody was identified: a proof was refused, or something did not work.
enum Unidentified {
    Refused(Refusal),
    Failed(Error),
}

impl From<Refusal> for Unidentified {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Error> for Unidentified {
    fn from(error: Error) -> Self {
        Self::Failed(error)
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
