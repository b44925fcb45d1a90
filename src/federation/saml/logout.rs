//! Single logout (SAML profiles 4.4): ours told to the provider, and the provider's told to us.
//!
//! Our own session has ended before the provider hears of it, so its answer changes nothing. A request of the provider must
//! be signed, for us, fresh and not seen before; then it ends the sessions it names, whatever browser brought it.

use super::{message::Outgoing, message_id};
use crate::store::EphemeralKind;
use crate::{
    crypto::{
        Refusal, refusal,
        xml::{self, MAX_MESSAGE, SAML, SAMLP, escape, is, text},
        xmldsig::{self, Shape, sign},
        xmlenc,
    },
    domain::{
        Error, ErrorKind, Timestamp,
        iam::{IdentityProvider, ProviderKind, SamlProvider},
        secret::hidden,
        session::{PortalSession, ProviderSession},
    },
    federation::{
        Departure, Federation,
        metadata::{self, IdpMetadata},
        recorder::Recording,
    },
};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// A logout message as the browser brought it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Inbound {
    /// In the address: the raw query.
    #[serde(serialize_with = "hidden")]
    Redirect(String),
    /// In a form, decoded from base64.
    Post {
        /// Whether it came as `SAMLRequest`.
        request: bool,
        /// The message.
        #[serde(serialize_with = "hidden")]
        xml: Vec<u8>,
        /// As it came.
        #[serde(serialize_with = "hidden")]
        relay_state: String,
    },
}

/// A logout message, verified.
#[derive(Debug)]
pub enum LogoutMessage {
    /// The provider ends sessions.
    Request(LogoutRequest),
    /// The provider answered ours; whether it succeeded.
    Response(bool),
}

/// The provider's request to end sessions.
#[derive(Debug)]
pub struct LogoutRequest {
    /// The source.
    pub source: Arc<IdentityProvider>,
    /// Whose: the NameID.
    pub subject: String,
    /// Which of theirs; empty: all.
    pub indexes: Vec<String>,
    id: String,
    relay_state: String,
}

/// Asks the provider to end the person's session there. None when it has no logout address, or vouched with nothing that
/// names a session.
///
/// # Errors
/// `Internal`.
pub fn request(federation: &Federation, saml: &SamlProvider, session: &PortalSession) -> Result<Option<Departure>, Error> {
    let Some(ProviderSession::Saml { name_id, index }) = &session.at_provider else { return Ok(None) };
    let Ok(idp) = metadata::parse(&saml.metadata) else { return Ok(None) };
    let Some((binding, target)) = idp.logout.choose(None) else { return Ok(None) };
    let mut body = "<saml:NameID".to_owned();
    let qualifiers = [
        ("Format", &name_id.format),
        ("NameQualifier", &name_id.name_qualifier),
        ("SPNameQualifier", &name_id.sp_name_qualifier),
    ];
    for (name, value) in qualifiers {
        if let Some(value) = value {
            body.push_str(&format!(" {name}=\"{}\"", escape(value)));
        }
    }
    body.push_str(&format!(">{}</saml:NameID>", escape(&name_id.value)));
    if let Some(index) = index {
        body.push_str(&format!("<samlp:SessionIndex>{}</samlp:SessionIndex>", escape(index)));
    }
    let id = message_id(federation);
    let outgoing = Outgoing { element: "LogoutRequest", id: &id, attributes: String::new(), body };
    outgoing.depart(federation, binding, target, "").map(Some)
}

/// Answers the provider's request.
///
/// # Errors
/// `Internal`.
pub fn respond(federation: &Federation, request: &LogoutRequest) -> Result<Option<Departure>, Error> {
    let ProviderKind::Saml(saml) = &request.source.kind else { return Ok(None) };
    let Ok(idp) = metadata::parse(&saml.metadata) else { return Ok(None) };
    let endpoint = idp.logout_response.choose(None).or_else(|| idp.logout.choose(None));
    let Some((binding, target)) = endpoint else { return Ok(None) };
    let id = message_id(federation);
    let outgoing = Outgoing {
        element: "LogoutResponse",
        id: &id,
        attributes: format!(" InResponseTo=\"{}\"", escape(&request.id)),
        body: "<samlp:Status><samlp:StatusCode Value=\"urn:oasis:names:tc:SAML:2.0:status:Success\"></samlp:StatusCode></samlp:Status>"
            .to_owned(),
    };
    outgoing.depart(federation, binding, target, &request.relay_state).map(Some)
}

/// Reads and verifies a message.
///
/// # Errors
/// One public sentence; privately the refusal.
pub async fn read(federation: &Federation, inbound: Inbound, recording: &mut Recording) -> Result<LogoutMessage, Error> {
    let outcome = verify(federation, inbound, recording).await;
    outcome.map_err(|refusal| {
        Error::new(ErrorKind::InvalidIdentityToken, "The sign-out message could not be accepted.").with_private(refusal)
    })
}

async fn verify(federation: &Federation, inbound: Inbound, recording: &mut Recording) -> Result<LogoutMessage, Refusal> {
    let (request, claimed, relay_state) = match &inbound {
        Inbound::Redirect(raw) => {
            let message = sign::read_query(raw)?;
            (message.request, message.xml, message.relay_state)
        }
        Inbound::Post { request, xml, relay_state } => (*request, xml::message(xml)?.to_owned(), relay_state.clone()),
    };
    if relay_state.len() > 1024 {
        return Err(refusal("relay_state_too_long", "RelayState is longer than a provider may make it"));
    }
    let (source, saml, idp) = claimed_provider(federation, xml::message(claimed.as_bytes())?)?;
    recording.state("received", format!("from {} by its own word", idp.entity_id));
    let now = federation.clock.now();
    let trust = idp.trust(saml.allow_sha1, now)?;
    let shape = if request { Shape::LogoutRequest } else { Shape::LogoutResponse };
    let verified = match inbound {
        Inbound::Redirect(raw) => {
            sign::verify_query(&raw, &trust).and_then(|message| Ok(xml::message(message.xml.as_bytes())?.to_owned()))
        }
        Inbound::Post { xml, .. } => {
            let work = move |xmlsec: xmldsig::Xmlsec<'_>| xmldsig::verify(&xml, shape, &trust, None, xmlsec);
            federation.verifier.run(work).await.map(|signed| signed.xml)
        }
    };
    recording.note("signature", &verified);
    let verified = match verified {
        // Some providers sign requests alone: then nothing is confirmed, and nothing depends on it.
        Err(unsigned) if !request && unsigned.code == "signature_missing" => return Ok(LogoutMessage::Response(false)),
        verified => verified?,
    };
    let key = federation.decryption_key(verified.as_bytes()).await;
    let key = key.map_err(|_| refusal("decryption_unavailable", "our key could not be read"))?;
    let verified = xmlenc::reveal_name_id(verified, key.as_ref())?;
    let document = xml::parse(&verified, MAX_MESSAGE * 2)?;
    let root = document.root_element();
    let element = if request { "LogoutRequest" } else { "LogoutResponse" };
    recording.require("message", "document_shape", element, root.tag_name().name(), is(root, SAMLP, element))?;
    let issuer = root.children().find(|node| is(*node, SAML, "Issuer")).map(text).unwrap_or_default();
    recording.require("issuer", "issuer_wrong", &idp.entity_id, &issuer, issuer == idp.entity_id)?;
    let own = federation.addresses.saml_logout();
    let destination = root.attribute("Destination").unwrap_or_default();
    recording.require("destination", "destination_wrong", &own, destination, destination == own)?;
    let time = |name: &str| root.attribute(name).and_then(Timestamp::parse);
    let issued = time("IssueInstant").ok_or_else(|| refusal("message_malformed", "IssueInstant is missing"))?;
    let age = now.seconds_since(issued);
    let fresh = (-saml.skew()..=super::MAX_AGE_SECONDS + saml.skew()).contains(&age);
    recording.require("issue_instant", "message_too_old", format!("about {now}"), issued, fresh)?;
    let id = root.attribute("ID").filter(|id| !id.is_empty()).unwrap_or_default().to_owned();
    let until = now.plus_seconds(super::MAX_AGE_SECONDS + 2 * saml.skew() + 1);
    let mark = format!("{} {id}", idp.entity_id);
    let first = federation.store.ephemeral().put_new(EphemeralKind::lasting("saml-logout"), &mark, &(), until).await;
    let first = first.map_err(|_| refusal("one_time_unavailable", "the message could not be marked as used"))?;
    recording.require_first("message_replayed", first)?;
    if !request {
        let code = root.descendants().find(|node| is(*node, SAMLP, "StatusCode")).and_then(|node| node.attribute("Value"));
        return Ok(LogoutMessage::Response(code.is_some_and(|code| code.ends_with(":Success"))));
    }
    if let Some(end) = time("NotOnOrAfter") {
        recording.require(
            "not_on_or_after",
            "message_too_old",
            format!("after {now}"),
            end,
            now < end.plus_seconds(saml.skew()),
        )?;
    }
    let subject = root.children().find(|node| is(*node, SAML, "NameID")).map(text).unwrap_or_default();
    recording.require("subject", "subject_blank", "a NameID", &subject, !subject.is_empty())?;
    let indexes = root.children().filter(|node| is(*node, SAMLP, "SessionIndex")).map(text).collect();
    Ok(LogoutMessage::Request(LogoutRequest { subject, source, indexes, id, relay_state }))
}

/// The identity source that a message says it is from: who it really is from, the signature tells.
fn claimed_provider(
    federation: &Federation,
    message: &str,
) -> Result<(Arc<IdentityProvider>, SamlProvider, IdpMetadata), Refusal> {
    let document = xml::parse(message, MAX_MESSAGE)?;
    let issuer = document.root_element().children().find(|node| is(*node, SAML, "Issuer")).map(text).unwrap_or_default();
    by_entity_id(federation, &issuer).ok_or_else(|| refusal("issuer_unknown", "no identity source has that entity ID"))
}

/// The SAML identity source with that entity ID.
pub(in crate::federation) fn by_entity_id(
    federation: &Federation,
    entity_id: &str,
) -> Option<(Arc<IdentityProvider>, SamlProvider, IdpMetadata)> {
    let snapshot = federation.store.snapshot();
    snapshot.identity_sources().find_map(|source| {
        let ProviderKind::Saml(saml) = &source.kind else { return None };
        let idp = metadata::parse(&saml.metadata).ok().filter(|idp| idp.entity_id == entity_id)?;
        Some((source.clone(), saml.clone(), idp))
    })
}
