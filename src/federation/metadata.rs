//! SAML metadata: reading a provider's, writing ours (SAML metadata 2.0).

use super::{Addresses, http::is_local_name};
use crate::{
    crypto::{
        Refusal, refusal,
        xml::{self, DS, MAX_METADATA, escape, is, text},
        xmldsig::{SigningCertificate, Trust},
    },
    domain::Timestamp,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use roxmltree::Node;
use serde::{Deserialize, Serialize};
use url::Url;

const MD: &str = "urn:oasis:names:tc:SAML:2.0:metadata";

/// How a message travels (SAML bindings).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Binding {
    /// HTTP-Redirect: in the address.
    Redirect,
    /// HTTP-POST: in a form.
    Post,
}

impl Binding {
    /// Its name in metadata.
    #[must_use]
    pub const fn uri(self) -> &'static str {
        match self {
            Self::Redirect => "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect",
            Self::Post => "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST",
        }
    }
}

/// Where a provider takes messages, by binding.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// Takes messages in the address.
    pub redirect: Option<Url>,
    /// Takes messages in a form.
    pub post: Option<Url>,
}

impl Endpoints {
    /// The address for a binding, or, without a wish, the first there is.
    #[must_use]
    pub fn choose(&self, wish: Option<Binding>) -> Option<(Binding, &Url)> {
        let redirect = self.redirect.as_ref().map(|url| (Binding::Redirect, url));
        let post = self.post.as_ref().map(|url| (Binding::Post, url));
        match wish {
            Some(Binding::Redirect) => redirect,
            Some(Binding::Post) => post,
            None => redirect.or(post),
        }
    }
}

/// What we use of a provider's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdpMetadata {
    /// The provider's name in every message.
    pub entity_id: String,
    /// Where sign-in requests go. Never empty.
    pub sign_in: Endpoints,
    /// Where logout requests go.
    pub logout: Endpoints,
    /// Where logout responses go, where that is elsewhere.
    pub logout_response: Endpoints,
    /// Signing certificates with usable keys. Never empty.
    pub certificates: Vec<SigningCertificate>,
    /// Why other signing certificates are not used.
    pub unusable: Vec<String>,
    /// When the document ends.
    pub valid_until: Option<Timestamp>,
}

impl IdpMetadata {
    /// What the provider's signatures are checked against, now.
    ///
    /// # Errors
    /// `metadata_expired`, `provider_has_no_key`.
    pub fn trust(&self, sha1: bool, now: Timestamp) -> Result<Trust, Refusal> {
        if self.valid_until.is_some_and(|until| until <= now) {
            return Err(refusal("metadata_expired", "the provider's metadata has expired: fetch it anew"));
        }
        Trust::new(self.certificates.clone(), sha1)
    }
}

/// Reads a provider's metadata: one `EntityDescriptor` with an `IDPSSODescriptor`.
///
/// # Errors
/// `metadata_…` when it does not parse, has no usable signing certificate, or no HTTP-Redirect or HTTP-POST endpoint on
/// https (plain http is taken for loopback addresses alone).
pub fn parse(document: &str) -> Result<IdpMetadata, Refusal> {
    let document = xml::parse(document.trim_start_matches('\u{feff}').trim_start(), MAX_METADATA);
    let document = document.map_err(|error| refusal("metadata_malformed", error.detail))?;
    let root = document.root_element();
    let is_provider =
        |node: &Node<'_, '_>| is(*node, MD, "EntityDescriptor") && node.children().any(|child| is(child, MD, "IDPSSODescriptor"));
    let mut entities = document.descendants().filter(is_provider);
    let entity = match (entities.next(), entities.next()) {
        (Some(entity), None) if entity == root || is(root, MD, "EntitiesDescriptor") => entity,
        (Some(_), _) => return Err(refusal("metadata_ambiguous", "the document describes several identity providers")),
        (None, _) => return Err(refusal("metadata_not_idp", "the document describes no identity provider")),
    };
    let entity_id = entity.attribute("entityID").filter(|id| !id.is_empty() && id.len() <= 1024);
    let entity_id = entity_id.ok_or_else(|| refusal("metadata_malformed", "the entityID is missing"))?.to_owned();
    let idp = entity.children().find(|node| is(*node, MD, "IDPSSODescriptor"));
    let idp = idp.ok_or_else(|| refusal("metadata_not_idp", "the entity is not an identity provider"))?;
    let (certificates, unusable) = certificates(idp)?;
    let sign_in = endpoints(idp, "SingleSignOnService", "Location")?;
    if sign_in == Endpoints::default() {
        return Err(refusal("metadata_no_endpoint", "there is no SingleSignOnService with HTTP-Redirect or HTTP-POST binding"));
    }
    let ends = [root, entity, idp].into_iter().filter_map(|node| node.attribute("validUntil"));
    let ends = ends.map(|text| {
        Timestamp::parse(text).ok_or_else(|| refusal("metadata_malformed", format!("validUntil `{text}` is not a time")))
    });
    let ends = ends.collect::<Result<Vec<_>, _>>()?;
    Ok(IdpMetadata {
        entity_id,
        sign_in,
        logout: endpoints(idp, "SingleLogoutService", "Location")?,
        logout_response: endpoints(idp, "SingleLogoutService", "ResponseLocation")?,
        certificates,
        unusable,
        valid_until: ends.into_iter().min(),
    })
}

fn certificates(idp: Node<'_, '_>) -> Result<(Vec<SigningCertificate>, Vec<String>), Refusal> {
    let signing =
        |node: &Node<'_, '_>| is(*node, MD, "KeyDescriptor") && node.attribute("use").is_none_or(|usage| usage == "signing");
    let (mut usable, mut unusable, mut last) = (Vec::new(), Vec::new(), None);
    for key in idp.children().filter(signing) {
        for node in key.descendants().filter(|node| is(*node, DS, "X509Certificate")) {
            let encoded: String = text(node).split_whitespace().collect();
            let der = STANDARD.decode(encoded);
            let der = der.map_err(|_| refusal("metadata_certificate", "a signing certificate is not base64"))?;
            match SigningCertificate::read(&der) {
                Ok(certificate) if usable.contains(&certificate) => {}
                Ok(certificate) => usable.push(certificate),
                Err(why) => {
                    unusable.push(why.detail.clone());
                    last = Some(why);
                }
            }
        }
    }
    match (usable.is_empty(), last) {
        (false, _) => Ok((usable, unusable)),
        (true, Some(why)) => Err(refusal("metadata_weak_key", format!("no signing certificate can be used: {}", why.detail))),
        (true, None) => Err(refusal("metadata_no_key", "there is no signing certificate, so nothing could ever be verified")),
    }
}

fn endpoints(idp: Node<'_, '_>, service: &str, attribute: &str) -> Result<Endpoints, Refusal> {
    let find = |binding: Binding| {
        let services = idp.children().filter(|node| is(*node, MD, service));
        let mut ours = services.filter(|node| node.attribute("Binding") == Some(binding.uri()));
        let address = ours.find_map(|node| node.attribute(attribute));
        let safe = |address: &str| {
            let url = Url::parse(address).ok().filter(is_safe);
            url.ok_or_else(|| refusal("metadata_endpoint", format!("`{address}` is not an https address")))
        };
        address.map(safe).transpose()
    };
    Ok(Endpoints { redirect: find(Binding::Redirect)?, post: find(Binding::Post)? })
}

/// https anywhere; plain http on this machine alone.
#[must_use]
pub fn is_safe(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => is_local_name(name),
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => url.has_host(),
        "http" => loopback,
        _ => false,
    }
}

/// Our own metadata, to be given to providers: unsigned; [`super::saml::signed`] signs it.
#[must_use]
pub fn ours(addresses: &Addresses, signing: &[&[u8]], encryption: &[&[u8]]) -> String {
    let key = |usage: &str, certificates: &[&[u8]]| {
        let descriptor = |certificate: &&[u8]| {
            format!(
                "<md:KeyDescriptor use=\"{usage}\"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>{}</md:KeyDescriptor>",
                STANDARD.encode(certificate),
                if usage == "encryption" { ENCRYPTION_METHODS } else { "" },
            )
        };
        certificates.iter().map(descriptor).collect::<String>()
    };
    let logout = [Binding::Redirect, Binding::Post].map(|binding| {
        let (binding, location) = (binding.uri(), escape(&addresses.saml_logout()));
        format!("<md:SingleLogoutService Binding=\"{binding}\" Location=\"{location}\"/>")
    });
    format!(
        r#"<md:EntityDescriptor xmlns:md="{MD}" xmlns:ds="{DS}" ID="_metadata" entityID="{entity}"><md:SPSSODescriptor AuthnRequestsSigned="true" WantAssertionsSigned="true" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">{signing}{encryption}{logout}<md:NameIDFormat>urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress</md:NameIDFormat><md:NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:persistent</md:NameIDFormat><md:AssertionConsumerService index="0" isDefault="true" Binding="{post}" Location="{acs}"/></md:SPSSODescriptor></md:EntityDescriptor>"#,
        entity = escape(&addresses.saml_entity_id()),
        signing = key("signing", signing),
        encryption = key("encryption", encryption),
        logout = logout.concat(),
        post = Binding::Post.uri(),
        acs = escape(&addresses.saml_acs()),
    )
}

/// What we decrypt, best first (XML Encryption 1.1).
const ENCRYPTION_METHODS: &str = r#"<md:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#aes256-gcm"/><md:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#aes128-gcm"/><md:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes256-cbc"/><md:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#aes128-cbc"/><md:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"/>"#;
