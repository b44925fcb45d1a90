//! Identity sources as an administrator sets them up: what is configured, what is near its end, and what a provider's own
//! words would come to. For pages.

use super::Iam;
use crate::{
    crypto::{sha256_hex, x509},
    domain::{
        Arn, Error, ErrorKind, Timestamp,
        iam::{IdentityProvider, OidcProvider, ProviderKind, SamlProvider},
        name::ProviderName,
    },
    federation::{Addresses, Federation, Isolation, metadata},
    gateway::{Access, Call, Operation, Read, Scope},
    policy::evaluate::Check,
};
use serde::{Deserialize, Serialize};

/// A certificate is near its end so many days before it.
const SOON_DAYS: i64 = 30;

/// The identity sources, with their health.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListSources {}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Sources {
    /// By name.
    pub sources: Vec<Source>,
}

/// One source.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// In addresses.
    pub name: String,
    /// On its button.
    pub label: String,
    /// `SAML`, `OpenID Connect`, `OAuth 2.0` or `Directory`.
    pub kind: &'static str,
    /// What is configured: name and value.
    pub facts: Vec<(String, String)>,
    /// What the provider's administrator needs of us: name and value.
    pub ours: Vec<(String, String)>,
    /// What deserves a look.
    pub warnings: Vec<String>,
}

impl Operation for ListSources {
    type Service = Iam;
    type Mode = Read;
    type Output = Sources;
    const NAME: &'static str = "ListSources";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("iam:ListSAMLProviders", "*"), Check::new("iam:ListOpenIDConnectProviders", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Sources, Error> {
        let federation = &call.broker.federation;
        let now = call.caller.origin.time;
        let describe =
            |source: &std::sync::Arc<IdentityProvider>| describe(source, &federation.addresses, federation.isolation(), now);
        Ok(Sources { sources: call.tx.snapshot.identity_sources().map(describe).collect() })
    }
}

fn pair(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// What a SAML provider's administrator needs of us.
pub(super) fn ours_for_saml(addresses: &Addresses) -> Vec<(String, String)> {
    vec![
        pair("Metadata", addresses.saml_entity_id()),
        pair("Entity ID (audience)", addresses.saml_entity_id()),
        pair("Assertion consumer service (POST)", addresses.saml_acs()),
        pair("Single logout service", addresses.saml_logout()),
    ]
}

/// What an OpenID provider's administrator needs of us; the redirect address first.
pub(super) fn ours_for_oidc(addresses: &Addresses, name: &ProviderName) -> Vec<(String, String)> {
    vec![
        pair("Redirect address", addresses.oidc_callback(name.as_str())),
        pair("Address after a sign-out", addresses.signed_out()),
        pair("Back-channel logout", addresses.at(&format!("/oidc/{name}/backchannel-logout"))),
        pair("Keys of our client", addresses.at("/oidc/jwks")),
    ]
}

fn describe(source: &IdentityProvider, addresses: &Addresses, isolation: Isolation, now: Timestamp) -> Source {
    let mut described = Source {
        name: source.name.to_string(),
        label: source.label.clone(),
        kind: "Directory",
        facts: Vec::new(),
        ours: Vec::new(),
        warnings: Vec::new(),
    };
    match &source.kind {
        ProviderKind::Saml(saml) => {
            described.kind = "SAML";
            described.ours = ours_for_saml(addresses);
            describe_saml(&mut described, saml, now);
            match isolation {
                Isolation::Untried | Isolation::Caged => {}
                Isolation::Process => described.warnings.push(
                    "The XML library runs in a process of its own, but this kernel has no seccomp to lock it in.".to_owned(),
                ),
                Isolation::Thread => described.warnings.push(
                    "The XML library runs inside of the broker: no process of its own could be started. See the log.".to_owned(),
                ),
            }
        }
        ProviderKind::Oidc(oidc) => {
            described.kind = if oidc.oauth2.is_some() { "OAuth 2.0" } else { "OpenID Connect" };
            describe_oidc(&mut described, source, oidc, addresses);
        }
        ProviderKind::Directory => {}
    }
    if !source.domains.is_empty() {
        described.facts.push(pair("E-mail domains", source.domains.join(", ")));
    }
    described
}

fn describe_saml(described: &mut Source, saml: &SamlProvider, now: Timestamp) {
    match metadata::parse(&saml.metadata) {
        Ok(idp) => {
            let (facts, warnings) = understood(&idp, now);
            described.facts.extend(facts);
            described.warnings.extend(warnings);
        }
        Err(refusal) => described.warnings.push(format!("The metadata can't be used: {}", refusal.detail)),
    }
    described.facts.push(match &saml.metadata_url {
        Some(url) => pair("Metadata is renewed from", url),
        None => pair("Metadata", "given once; it is not renewed"),
    });
    if saml.allow_sha1 {
        described.warnings.push("Signatures over SHA-1 are accepted: whoever can make collisions can forge them.".to_owned());
    }
    if saml.allow_idp_initiated {
        described.facts.push(pair("Sign-ins may begin at the provider", "yes; people confirm them"));
    }
    describe_mapping(described, &saml.mapping, "saml");
}

fn describe_mapping(described: &mut Source, mapping: &crate::domain::iam::AttributeMapping, prefix: &str) {
    for (short, name) in &mapping.attributes {
        described.facts.push(pair(&format!("{prefix}:{short}"), format!("from {name}")));
    }
    for (tag, name) in &mapping.tags {
        described.facts.push(pair(&format!("Session tag {tag}"), format!("from {name}")));
    }
    if let Some(name) = &mapping.subject {
        described.facts.push(pair("The person is named by", name));
    }
}

fn describe_oidc(described: &mut Source, source: &IdentityProvider, oidc: &OidcProvider, addresses: &Addresses) {
    described.facts.push(pair("Issuer", &oidc.issuer));
    described.facts.extend(oidc.sign_in_client_id.iter().map(|id| pair("Client", id)));
    described.facts.push(pair("Scopes", oidc.scopes.join(" ")));
    if !oidc.acr_values.is_empty() {
        described.facts.push(pair("Required authentication context", oidc.acr_values.join(" or ")));
    }
    described.ours = ours_for_oidc(addresses, &source.name);
    if oidc.oauth2.is_some() {
        described.ours.truncate(1);
    }
    describe_mapping(described, &oidc.mapping, oidc.issuer_path());
}

/// What metadata says, and what in it is near its end.
fn understood(idp: &metadata::IdpMetadata, now: Timestamp) -> (Vec<(String, String)>, Vec<String>) {
    let mut facts = vec![pair("Entity ID", &idp.entity_id)];
    let mut warnings = idp.unusable.clone();
    for (name, endpoints) in [("Sign-in", &idp.sign_in), ("Logout", &idp.logout)] {
        for (binding, url) in [("redirect", &endpoints.redirect), ("form", &endpoints.post)] {
            facts.extend(url.iter().map(|url| pair(&format!("{name} by {binding}"), url.as_str())));
        }
    }
    for certificate in &idp.certificates {
        let fingerprint = sha256_hex(&certificate.der).get(..16).unwrap_or_default().to_owned();
        match x509::ends(&certificate.der) {
            Some(end) => {
                let days = end.seconds_since(now).div_euclid(86_400);
                facts.push(pair("Signing certificate", format!("SHA-256 {fingerprint}…, until {end} ({days} days)")));
                if days < 0 {
                    warnings.push(format!("The signing certificate {fingerprint}… has expired; its key is still accepted."));
                } else if days < SOON_DAYS {
                    warnings.push(format!("The signing certificate {fingerprint}… ends in {days} days: ask for the next one."));
                }
            }
            None => facts.push(pair("Signing certificate", format!("SHA-256 {fingerprint}…"))),
        }
    }
    if let Some(until) = idp.valid_until {
        let days = until.seconds_since(now).div_euclid(86_400);
        facts.push(pair("Metadata is valid until", format!("{until} ({days} days)")));
        if days < SOON_DAYS {
            warnings.push(format!("The metadata ends in {days} days; after that nobody can sign in with it."));
        }
    }
    (facts, warnings)
}

/// Sources are the organization's: the management account's policies decide, from another account it is a cross-account
/// request.
pub(super) fn may(scope: &Scope, action: &'static str, name: &str) -> Result<Access, Error> {
    let owner = scope.snapshot.management_account().cloned().unwrap_or(scope.account()?.clone());
    let source = Arn::iam(&owner, &format!("identity-source/{name}"));
    Ok(Access::Signed(vec![Check::new(action, source).owned_by(owner)]))
}

/// What the address of a discovery document ends in (OpenID Connect Discovery 1.0, section 4).
const DISCOVERY: &str = "/.well-known/openid-configuration";

/// What a provider's own words would come to: pasted metadata, or the address where metadata or discovery is published.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PreviewSource {
    /// Of the source to be, where that is decided.
    pub name: Option<ProviderName>,
    /// XML, or an https address.
    pub text: String,
}

/// The answer.
#[derive(Clone, Debug, Serialize)]
pub struct SourcePreview {
    /// What was understood.
    pub facts: Vec<(String, String)>,
    /// What deserves a look.
    pub warnings: Vec<String>,
    /// Lines for the organization's document.
    pub lines: String,
    /// What a source is made of.
    #[serde(skip)]
    pub published: Published,
}

/// What a provider publishes about itself, checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Published {
    /// SAML metadata.
    Saml {
        /// The document.
        metadata: String,
        /// Where it was fetched, and will be fetched anew.
        url: Option<String>,
    },
    /// An OpenID provider.
    Oidc {
        /// Whose discovery document was read.
        issuer: String,
    },
}

impl Published {
    /// Names what was seen: what is created is what somebody looked at, though it was fetched anew since.
    #[must_use]
    pub fn digest(&self) -> String {
        match self {
            Self::Saml { metadata, .. } => sha256_hex(metadata),
            Self::Oidc { issuer } => sha256_hex(issuer),
        }
    }
}

impl Operation for PreviewSource {
    type Service = Iam;
    type Mode = Read;
    type Output = SourcePreview;
    const NAME: &'static str = "PreviewSource";

    fn access(&self, scope: &Scope) -> Result<Access, Error> {
        // The broker connects to where it is told: that is for those who administer the organization.
        let oidc = self.text.trim().ends_with(DISCOVERY);
        let name = self.name.as_ref().map_or("*", ProviderName::as_str);
        may(scope, if oidc { "iam:CreateOpenIDConnectProvider" } else { "iam:CreateSAMLProvider" }, name)
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<SourcePreview, Error> {
        understand(&call.broker.federation, call.caller.origin.time, &self.text).await
    }
}

/// What metadata, or the address of metadata or discovery, comes to.
///
/// # Errors
/// `InvalidInput` with what is wrong in it; `IdentityProviderUnreachable`.
pub(super) async fn understand(federation: &Federation, now: Timestamp, text: &str) -> Result<SourcePreview, Error> {
    let text = text.trim();
    let saml = |document: String, origin: String, url: Option<String>| {
        let idp = metadata::parse(&document)
            .map_err(|refusal| Error::invalid(format!("This metadata can't be used: {}.", refusal.detail)))?;
        let (facts, warnings) = understood(&idp, now);
        let lines = format!(
            "[[identity_sources]]\nname = \"corp\"\ntype = \"saml\"\nlabel = \"Corp SSO\"\n{origin}\n[identity_sources.attributes]\ngroups = \"groups\"\n"
        );
        Ok(SourcePreview { facts, warnings, lines, published: Published::Saml { metadata: document, url } })
    };
    if text.starts_with('<') {
        let origin = "metadata_file = \"corp-metadata.xml\"   # save what you pasted there".to_owned();
        return saml(text.to_owned(), origin, None);
    }
    let url = url::Url::parse(text).ok().filter(metadata::is_safe);
    let url = url.ok_or_else(|| Error::invalid("Paste metadata (XML), or an https address of metadata or discovery."))?;
    let address = url.as_str();
    if let Some(issuer) = address.strip_suffix(DISCOVERY).filter(|_| url.query().is_none()) {
        let (issuer, facts) = federation.preview_discovery(issuer).await?;
        let lines = format!(
            "[[identity_sources]]\nname = \"cloud\"\ntype = \"oidc\"\nlabel = \"Cloud login\"\nissuer = \"{issuer}\"\nclient_id = \"\"             # from the provider\nclient_secret_file = \"cloud.secret\"\n"
        );
        let published = Published::Oidc { issuer };
        return Ok(SourcePreview { facts, warnings: Vec::new(), lines, published });
    }
    match federation.fetch_metadata(address, None).await {
        Ok(document) => saml(document, format!("metadata_url = \"{address}\""), Some(address.to_owned())),
        Err(error) if error.kind == ErrorKind::InvalidInput => {
            let public =
                format!("{} For an OpenID provider, the address ends in /.well-known/openid-configuration.", error.public);
            Err(Error { public, ..error })
        }
        Err(error) => Err(error),
    }
}
