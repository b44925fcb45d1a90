//! SAML metadata: reading a provider's, writing ours (SAML metadata 2.0).

use super::Addresses;
use crate::crypto::xmldsig::{self, DS, Refusal, is, refusal, text};
use base64::Engine as _;
use roxmltree::Node;
use url::Url;

const MD: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
const REDIRECT: &str = "urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect";

/// What we use of a provider's metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdpMetadata {
    /// The provider's name in every message.
    pub entity_id: String,
    /// Where requests go, HTTP-Redirect binding.
    pub sso_redirect: Url,
    /// Signing certificates, DER. Never empty.
    pub certificates: Vec<Vec<u8>>,
}

/// Reads a provider's metadata: one `EntityDescriptor` with an `IDPSSODescriptor`.
///
/// # Errors
/// `metadata_…` when it does not parse, has no usable signing certificate, or no HTTP-Redirect endpoint on https
/// (plain http is taken for loopback addresses alone).
pub fn parse(xml: &str) -> Result<IdpMetadata, Refusal> {
    let document = xmldsig::parse(xml).map_err(|error| refusal("metadata_malformed", error.detail))?;
    let root = document.root_element();
    let mut entities = document.descendants().filter(|node| is(*node, MD, "EntityDescriptor"));
    let (entity, more) = (entities.next(), entities.next());
    let entity = match (entity, more) {
        (Some(entity), None) if entity == root || is(root, MD, "EntitiesDescriptor") => entity,
        (Some(_), _) => return Err(refusal("metadata_ambiguous", "the document describes several entities")),
        (None, _) => return Err(refusal("metadata_malformed", "there is no EntityDescriptor")),
    };
    let entity_id = entity.attribute("entityID").filter(|id| !id.is_empty() && id.len() <= 1024);
    let entity_id = entity_id.ok_or_else(|| refusal("metadata_malformed", "the entityID is missing"))?.to_owned();
    let idp = entity.children().find(|node| is(*node, MD, "IDPSSODescriptor"));
    let idp = idp.ok_or_else(|| refusal("metadata_not_idp", "the entity is not an identity provider"))?;
    let signing =
        |node: &Node<'_, '_>| is(*node, MD, "KeyDescriptor") && node.attribute("use").is_none_or(|usage| usage == "signing");
    let mut certificates = Vec::new();
    for key in idp.children().filter(signing) {
        for node in key.descendants().filter(|node| is(*node, DS, "X509Certificate")) {
            let encoded: String = text(node).split_whitespace().collect();
            let der = base64::engine::general_purpose::STANDARD.decode(encoded);
            let der = der.map_err(|_| refusal("metadata_certificate", "a signing certificate is not base64"))?;
            if !certificates.contains(&der) {
                certificates.push(der);
            }
        }
    }
    if certificates.is_empty() {
        return Err(refusal("metadata_no_key", "there is no signing certificate, so nothing could ever be verified"));
    }
    let endpoint = idp
        .children()
        .filter(|node| is(*node, MD, "SingleSignOnService") && node.attribute("Binding") == Some(REDIRECT))
        .find_map(|node| node.attribute("Location"))
        .ok_or_else(|| refusal("metadata_no_endpoint", "there is no SingleSignOnService with HTTP-Redirect binding"))?;
    let sso_redirect = Url::parse(endpoint).ok().filter(is_safe);
    let sso_redirect =
        sso_redirect.ok_or_else(|| refusal("metadata_endpoint", format!("`{endpoint}` is not an https address")))?;
    Ok(IdpMetadata { entity_id, sso_redirect, certificates })
}

/// https anywhere; plain http on this machine alone.
#[must_use]
pub fn is_safe(url: &Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
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

/// Our own metadata, to be given to providers.
#[must_use]
pub fn ours(addresses: &Addresses, certificate: &[u8]) -> String {
    let certificate = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<md:EntityDescriptor xmlns:md="{MD}" xmlns:ds="{DS}" entityID="{entity}">
  <md:SPSSODescriptor AuthnRequestsSigned="false" WantAssertionsSigned="true" protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
    <md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
    <md:NameIDFormat>urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress</md:NameIDFormat>
    <md:NameIDFormat>urn:oasis:names:tc:SAML:2.0:nameid-format:persistent</md:NameIDFormat>
    <md:AssertionConsumerService index="0" isDefault="true" Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST" Location="{acs}"/>
  </md:SPSSODescriptor>
</md:EntityDescriptor>
"#,
        entity = escape(&addresses.saml_entity_id()),
        acs = escape(&addresses.saml_acs()),
    )
}

/// XML text and attribute escaping.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['&', '<', '>', '"', '\'']) {
        let (plain, special) = rest.split_at(at);
        escaped.push_str(plain);
        let mut letters = special.chars();
        escaped.push_str(match letters.next() {
            Some('&') => "&amp;",
            Some('<') => "&lt;",
            Some('>') => "&gt;",
            Some('"') => "&quot;",
            _ => "&apos;",
        });
        rest = letters.as_str();
    }
    escaped.push_str(rest);
    escaped
}
