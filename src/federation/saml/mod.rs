//! SAML 2.0 web SSO as a service provider: requests out, answers in, and logout both ways.

pub mod logout;
pub mod message;
mod profile;
mod published;

pub use profile::{Expect, MAX_AGE_SECONDS, OneTimeMark, check, mark};

use super::{Departure, Federation, Pending, metadata};
use crate::{
    crypto::{
        Refusal, refusal,
        xml::{self, SAML, SAMLP, escape},
        xmldsig::sign,
    },
    domain::{
        Error,
        iam::{IdentityProvider, SamlProvider},
    },
};
use message::Outgoing;
use roxmltree::Node;
use std::{fmt::Write as _, sync::Arc};

/// A fresh name for a message: 160 bits.
fn message_id(federation: &Federation) -> String {
    format!("_{}", hex::encode(federation.random.bytes::<20>()))
}

/// Makes an AuthnRequest (SAML core 3.4.1).
pub(super) fn begin(federation: &Federation, saml: &SamlProvider, handle: &str) -> Result<(Departure, Pending), Error> {
    let idp = metadata::parse(&saml.metadata).map_err(|refusal| super::refused(&refusal))?;
    let wish = saml.post_requests.then_some(metadata::Binding::Post);
    let endpoint = idp.sign_in.choose(wish).or_else(|| idp.sign_in.choose(None));
    let (binding, target) = endpoint.ok_or_else(|| Error::internal("a provider without an endpoint"))?;
    let (id, now) = (message_id(federation), federation.clock.now());
    let mut context = String::new();
    for class in &saml.authn_context {
        // Writing into a String can't fail.
        let _ = write!(context, "<saml:AuthnContextClassRef xmlns:saml=\"{SAML}\">{}</saml:AuthnContextClassRef>", escape(class));
    }
    if !context.is_empty() {
        context = format!("<samlp:RequestedAuthnContext Comparison=\"exact\">{context}</samlp:RequestedAuthnContext>");
    }
    let outgoing = Outgoing {
        element: "AuthnRequest",
        id: &id,
        attributes: format!(
            " AssertionConsumerServiceURL=\"{acs}\"{force} ProtocolBinding=\"{post}\"",
            acs = escape(&federation.addresses.saml_acs()),
            force = if saml.force_authn { " ForceAuthn=\"true\"" } else { "" },
            post = metadata::Binding::Post.uri(),
        ),
        body: context,
    };
    let departure = outgoing.depart(federation, binding, target, handle)?;
    Ok((departure, Pending { request_id: Some(id), asked: Some(now), ..Pending::default() }))
}

/// The identity source that a response says it is from. It proves nothing: it says whose keys to verify it with.
pub(super) fn claimed_source(federation: &Federation, response: &[u8]) -> Result<(Arc<IdentityProvider>, SamlProvider), Refusal> {
    let text = xml::message(response)?;
    let document = xml::parse(text, xml::MAX_MESSAGE)?;
    let root = document.root_element();
    let issuer = |parent: Node<'_, '_>| parent.children().find(|node| xml::is(*node, SAML, "Issuer")).map(xml::text);
    let assertion = root.children().find(|node| xml::is(*node, SAML, "Assertion"));
    let claimed = issuer(root).or_else(|| assertion.and_then(issuer)).unwrap_or_default();
    let found = logout::by_entity_id(federation, &claimed).map(|(source, saml, _)| (source, saml));
    found.ok_or_else(|| refusal("issuer_unknown", "no identity source has that entity ID"))
}

/// Our metadata, signed.
///
/// # Errors
/// `Unavailable`, `Internal`.
pub async fn metadata_document(federation: &Federation) -> Result<String, Error> {
    let (keys, encryption) = (federation.store.saml_keys(), federation.store.encryption_keys().await?);
    let signing = keys.current()?;
    // Providers may encrypt to the newest alone; they verify with any.
    let newest: Vec<&[u8]> = encryption.all().last().map(|key| key.certificate.as_slice()).into_iter().collect();
    let published: Vec<&[u8]> = keys.all().iter().map(|key| key.certificate.as_slice()).collect();
    let document = metadata::ours(&federation.addresses, &published, &newest);
    let template = sign::template("_metadata");
    let document = document.replacen("<md:SPSSODescriptor", &format!("{template}<md:SPSSODescriptor"), 1);
    let signed = sign::enveloped(&document, signing.private_key.expose()).map_err(Error::internal)?;
    Ok(format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{signed}\n"))
}

/// The names a message of ours is made of.
const NAMESPACES: [(&str, &str); 2] = [("samlp", SAMLP), ("saml", SAML)];
