//! XML signatures: bytes in, only the signed bytes out.
//!
//! The classic failure is that the bytes which were verified are not the bytes which are read. So nothing of the
//! document survives this module but the octets that entered the digest ([`SignedXml::xml`]), and three facts of the
//! envelope that may refuse a sign-in but never grant one ([`Envelope`]).
//!
//! Before the C library sees a document, a strict gate (well-formed, bounded, exactly one accepted shape) has refused
//! everything that library is known to be too generous with: DTDs, entities, external references, foreign transforms,
//! duplicate ids, wrapped assertions. See XML Signature 1.1 and SAML core section 5.4.

use base64::Engine as _;
use roxmltree::{Document, Node, ParsingOptions};
use samael::crypto::{AllowedSignatureAlgorithm, CertificateDer, Crypto, CryptoProvider as _, ReduceMode};
use std::{collections::HashSet, fmt};

/// Largest document read, in bytes.
pub const MAX_DOCUMENT: usize = 256 * 1024;
const MAX_DEPTH: usize = 64;
const MAX_NODES: u32 = 20_000;
const MAX_ATTRIBUTES: usize = 64;
const MAX_TEXT: usize = 32 * 1024;

/// `urn:oasis:names:tc:SAML:2.0:protocol`
pub const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
/// `urn:oasis:names:tc:SAML:2.0:assertion`
pub const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
/// `http://www.w3.org/2000/09/xmldsig#`
pub const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
const EXC_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

const ALGORITHMS: [AllowedSignatureAlgorithm; 6] = [
    AllowedSignatureAlgorithm::RsaSha256,
    AllowedSignatureAlgorithm::RsaSha384,
    AllowedSignatureAlgorithm::RsaSha512,
    AllowedSignatureAlgorithm::EcdsaSha256,
    AllowedSignatureAlgorithm::EcdsaSha384,
    AllowedSignatureAlgorithm::EcdsaSha512,
];

/// The octets that were signed, canonical, rooted at a `samlp:Response` or a `saml:Assertion`.
#[derive(Clone, Debug)]
pub struct SignedXml {
    /// Parse this, and nothing else.
    pub xml: String,
    /// What the unsigned envelope says.
    pub envelope: Envelope,
}

/// Facts of the `Response` element. When only the assertion is signed they are not verified: a mismatch refuses, a match
/// grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Envelope {
    /// `Destination`.
    pub destination: Option<String>,
    /// `InResponseTo`.
    pub in_response_to: Option<String>,
    /// `Issuer`, where present.
    pub issuer: Option<String>,
    /// The top status code.
    pub status: String,
    /// Whether the response itself is signed.
    pub response_signed: bool,
}

/// Why a document was refused. The code is stable; the detail is for the audit record, never for the browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For example `signature_key_unknown`.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}

/// Makes a refusal.
pub fn refusal(code: &'static str, detail: impl Into<String>) -> Refusal {
    Refusal { code, detail: detail.into() }
}

/// Parses XML the strict way: no DTD, bounded nodes and depth. For metadata, and for re-reading signed octets.
///
/// # Errors
/// `document_malformed` and its relatives.
pub fn parse(xml: &str) -> Result<Document<'_>, Refusal> {
    if xml.len() > MAX_DOCUMENT * 4 {
        return Err(refusal("document_too_large", format!("{} bytes", xml.len())));
    }
    if xml.contains("<!DOCTYPE") || xml.contains("<!ENTITY") {
        return Err(refusal("document_has_dtd", "a DTD is never accepted"));
    }
    check_depth(xml)?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES * 5, ..ParsingOptions::default() };
    Document::parse_with_options(xml, options).map_err(|error| refusal("document_malformed", error.to_string()))
}

/// Checks shape and signatures of a SAML response and returns the signed octets.
///
/// `certificates` are the DER certificates of the provider's configured metadata; keys in the document are never used.
///
/// # Errors
/// A [`Refusal`] with its own code for each way to fail.
pub fn verify_response(xml: &[u8], certificates: &[Vec<u8>]) -> Result<SignedXml, Refusal> {
    if xml.len() > MAX_DOCUMENT {
        return Err(refusal("document_too_large", format!("{} bytes, at most {MAX_DOCUMENT}", xml.len())));
    }
    let xml = std::str::from_utf8(xml).map_err(|_| refusal("document_not_utf8", "the response is not UTF-8"))?;
    // The C library would honour a declared encoding that our parser ignores, and so read another document. It never sees
    // the declaration; and one that declares anything but UTF-8 is refused.
    let xml = without_declaration(xml)?;
    if xml.contains("<?") || xml.contains("<!") {
        return Err(refusal("document_has_markup", "comments, CDATA, DTDs and processing instructions are not accepted"));
    }
    check_depth(xml)?;
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES, ..ParsingOptions::default() };
    let document =
        Document::parse_with_options(xml, options).map_err(|error| refusal("document_malformed", error.to_string()))?;
    let envelope = gate(&document)?;
    if certificates.is_empty() {
        return Err(refusal("provider_has_no_key", "the provider's metadata holds no signing certificate"));
    }
    let reduced = certificates.iter().find_map(|certificate| {
        let certificate = CertificateDer::from(certificate.clone());
        Crypto::reduce_xml_to_signed_with_allowed_algorithms(xml, &[certificate], ReduceMode::PreDigest, Some(&ALGORITHMS)).ok()
    });
    match reduced {
        Some(signed) if !signed.trim().is_empty() => Ok(SignedXml { xml: signed, envelope }),
        Some(_) => Err(refusal("signature_covers_nothing", "the signature covers no bytes")),
        None => Err(diagnose(&document, certificates)),
    }
}

/// The document without its XML declaration.
fn without_declaration(xml: &str) -> Result<&str, Refusal> {
    let Some(rest) = xml.trim_start().strip_prefix("<?xml ") else { return Ok(xml) };
    let malformed = || refusal("document_malformed", "the XML declaration is not closed");
    let (declaration, body) = rest.split_once("?>").ok_or_else(malformed)?;
    let folded = declaration.to_ascii_lowercase();
    let plain = !folded.contains("encoding") || folded.contains("encoding=\"utf-8\"") || folded.contains("encoding='utf-8'");
    if plain { Ok(body) } else { Err(refusal("document_not_utf8", "the response declares another encoding than UTF-8")) }
}

/// A failed verification tells an admin whether to look at the certificate or at the wire.
fn diagnose(document: &Document<'_>, certificates: &[Vec<u8>]) -> Refusal {
    let used: Vec<Vec<u8>> = document
        .descendants()
        .filter(|node| is(*node, DS, "X509Certificate"))
        .filter_map(|node| {
            let text: String = node.text().unwrap_or_default().split_whitespace().collect();
            base64::engine::general_purpose::STANDARD.decode(text).ok()
        })
        .collect();
    if !used.is_empty() && used.iter().all(|certificate| !certificates.contains(certificate)) {
        return refusal("signature_key_unknown", "the response is signed with a key that is not in the provider's metadata");
    }
    refusal("signature_invalid", "the signature does not match: the signed content was changed, or signed with another key")
}

/// Exactly one accepted shape; see the module's words.
fn gate(document: &Document<'_>) -> Result<Envelope, Refusal> {
    let response = document.root_element();
    let shape = |detail: String| refusal("document_shape", detail);
    if !is(response, SAMLP, "Response") || response.attribute("Version") != Some("2.0") {
        return Err(shape("the root is not a SAML 2.0 Response".to_owned()));
    }
    let mut ids = HashSet::new();
    for node in document.descendants().filter(Node::is_element) {
        if node.attributes().len() > MAX_ATTRIBUTES {
            return Err(shape("an element has too many attributes".to_owned()));
        }
        if node.text().is_some_and(|text| text.len() > MAX_TEXT) {
            return Err(shape("a text is too long".to_owned()));
        }
        for attribute in node.attributes().filter(|attribute| attribute.name().eq_ignore_ascii_case("id")) {
            if !ids.insert(attribute.value().to_owned()) {
                return Err(refusal("document_duplicate_id", format!("two elements have the id `{}`", attribute.value())));
            }
        }
        if is(node, SAML, "EncryptedAssertion") {
            return Err(refusal(
                "assertion_encrypted",
                "encrypted assertions are not accepted: send the assertion signed, over TLS",
            ));
        }
        if is(node, SAML, "Assertion") && node.parent() != Some(response) {
            return Err(shape("an Assertion stands where none belongs".to_owned()));
        }
    }
    let assertions: Vec<Node<'_, '_>> = response.children().filter(|node| is(*node, SAML, "Assertion")).collect();
    let status = response
        .children()
        .find(|node| is(*node, SAMLP, "Status"))
        .and_then(|status| status.children().find(|node| is(*node, SAMLP, "StatusCode")))
        .and_then(|code| code.attribute("Value"))
        .unwrap_or_default()
        .to_owned();
    if assertions.is_empty() && !status.is_empty() && !status.ends_with(":Success") {
        return Err(refusal("status_not_success", format!("the provider answered {status}")));
    }
    let [assertion] = assertions.as_slice() else {
        return Err(shape(format!("{} assertions, exactly one is accepted", assertions.len())));
    };
    let signatures: Vec<Node<'_, '_>> = document.descendants().filter(|node| is(*node, DS, "Signature")).collect();
    if signatures.is_empty() {
        return Err(refusal("signature_missing", "neither the response nor the assertion is signed"));
    }
    let mut parents = HashSet::new();
    for signature in &signatures {
        let parent = signature.parent().filter(|parent| *parent == response || parent == assertion);
        let parent = parent.ok_or_else(|| refusal("signature_shape", "a signature stands elsewhere than in what it signs"))?;
        if !parents.insert(parent.id()) {
            return Err(refusal("signature_shape", "an element has two signatures"));
        }
        check_signature(*signature, parent)?;
    }
    Ok(Envelope {
        destination: response.attribute("Destination").map(str::to_owned),
        in_response_to: response.attribute("InResponseTo").map(str::to_owned),
        issuer: response.children().find(|node| is(*node, SAML, "Issuer")).map(|node| text(node)),
        status,
        response_signed: parents.contains(&response.id()),
    })
}

fn check_signature(signature: Node<'_, '_>, parent: Node<'_, '_>) -> Result<(), Refusal> {
    let shape = |detail: &str| Err(refusal("signature_shape", detail));
    let elements: Vec<Node<'_, '_>> = signature.children().filter(Node::is_element).collect();
    let (info, value) = match elements.as_slice() {
        [info, value] => (*info, *value),
        [info, value, key_info] if is(*key_info, DS, "KeyInfo") => {
            let known = |node: Node<'_, '_>| is(node, DS, "KeyName") || is(node, DS, "X509Data");
            if !key_info.children().filter(Node::is_element).all(known) {
                return shape("KeyInfo may hold KeyName and X509Data only");
            }
            (*info, *value)
        }
        _ => return shape("a signature holds SignedInfo, SignatureValue and at most one KeyInfo"),
    };
    if !is(info, DS, "SignedInfo") || !is(value, DS, "SignatureValue") || value.children().any(|node| node.is_element()) {
        return shape("a signature begins with SignedInfo and SignatureValue");
    }
    let parts: Vec<Node<'_, '_>> = info.children().filter(Node::is_element).collect();
    let [c14n, method, reference] = parts.as_slice() else {
        return shape("SignedInfo holds one canonicalization, one method and one reference");
    };
    if !is(*c14n, DS, "CanonicalizationMethod") || c14n.attribute("Algorithm") != Some(EXC_C14N) || !only_prefix_list(*c14n) {
        return shape("the canonicalization is not exclusive C14N");
    }
    let allowed = |algorithm: Option<&str>| ALGORITHMS.iter().any(|allowed| Some(allowed.signature_uri()) == algorithm);
    if !is(*method, DS, "SignatureMethod") || method.children().any(|node| node.is_element()) {
        return shape("the signature method has parameters");
    }
    if !allowed(method.attribute("Algorithm")) {
        let named = method.attribute("Algorithm").unwrap_or_default();
        return Err(refusal("signature_algorithm", format!("the signature algorithm `{named}` is not accepted")));
    }
    let own_id = parent.attribute("ID").filter(|id| !id.is_empty()).map(|id| format!("#{id}"));
    if !is(*reference, DS, "Reference") || own_id.is_none() || reference.attribute("URI") != own_id.as_deref() {
        return shape("the reference does not name the element the signature stands in");
    }
    let parts: Vec<Node<'_, '_>> = reference.children().filter(Node::is_element).collect();
    let [transforms, digest, digest_value] = parts.as_slice() else {
        return shape("a reference holds transforms, a digest method and a digest value");
    };
    let steps: Vec<Node<'_, '_>> = transforms.children().filter(Node::is_element).collect();
    let named: Vec<Option<&str>> = steps.iter().map(|step| step.attribute("Algorithm")).collect();
    if !is(*transforms, DS, "Transforms")
        || !(named == [Some(ENVELOPED), Some(EXC_C14N)] || named == [Some(ENVELOPED)])
        || !steps.iter().all(|step| is(*step, DS, "Transform") && only_prefix_list(*step))
    {
        return shape("the transforms are not enveloped-signature and exclusive C14N");
    }
    if !is(*digest, DS, "DigestMethod") || digest.children().any(|node| node.is_element()) {
        return shape("the digest method is malformed");
    }
    if !ALGORITHMS.iter().any(|allowed| Some(allowed.digest_uri()) == digest.attribute("Algorithm")) {
        let named = digest.attribute("Algorithm").unwrap_or_default();
        return Err(refusal("signature_algorithm", format!("the digest algorithm `{named}` is not accepted")));
    }
    if !is(*digest_value, DS, "DigestValue") || digest_value.children().any(|node| node.is_element()) {
        return shape("the digest value is malformed");
    }
    Ok(())
}

/// Exclusive C14N may carry one `InclusiveNamespaces` and nothing else.
fn only_prefix_list(node: Node<'_, '_>) -> bool {
    let mut children = node.children().filter(Node::is_element);
    children.next().is_none_or(|child| is(child, EXC_C14N, "InclusiveNamespaces") && !child.has_children())
        && children.next().is_none()
}

/// Counts open elements before any parser recurses or allocates.
fn check_depth(xml: &str) -> Result<(), Refusal> {
    let bytes = xml.as_bytes();
    let (mut depth, mut at) = (0_usize, 0_usize);
    while let Some(open) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'<')) {
        let start = at + open + 1;
        let mut quote = None;
        let mut end = start;
        while let Some(byte) = bytes.get(end) {
            match (quote, byte) {
                (None, b'>') => break,
                (None, b'"' | b'\'') => quote = Some(*byte),
                (Some(open), byte) if open == *byte => quote = None,
                _ => {}
            }
            end += 1;
        }
        match (bytes.get(start), bytes.get(end.saturating_sub(1))) {
            (Some(b'/'), _) => depth = depth.saturating_sub(1),
            (Some(b'?' | b'!'), _) | (_, Some(b'/')) => {}
            _ => depth += 1,
        }
        if depth > MAX_DEPTH {
            return Err(refusal("document_too_deep", format!("more than {MAX_DEPTH} levels")));
        }
        at = end + 1;
    }
    Ok(())
}

/// Whether a node is the element with this expanded name.
#[must_use]
pub fn is(node: Node<'_, '_>, namespace: &str, name: &str) -> bool {
    node.is_element() && node.tag_name().name() == name && node.tag_name().namespace() == Some(namespace)
}

/// All text of an element, joined and trimmed.
#[must_use]
pub fn text(node: Node<'_, '_>) -> String {
    node.descendants().filter(Node::is_text).filter_map(|node| node.text()).collect::<String>().trim().to_owned()
}
