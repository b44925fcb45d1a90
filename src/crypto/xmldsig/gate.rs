//! The gate: exactly one accepted shape of a message and of its signatures, before any signature work.
//!
//! Everything the verifiers are known to be generous with ends here: wrapped and hidden assertions, duplicate ids, foreign
//! transforms, external references, `ds:Object`, second digests (SAML core 5.4, profiles 4.1.4.2).

use super::Envelope;
use crate::crypto::{
    Refusal, refusal,
    xml::{self, DS, MAX_MESSAGE, SAML, SAMLP, is, text},
};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use roxmltree::{Document, Node};
use std::collections::HashSet;

const MAX_VALUE: usize = 32 * 1024;

const EXC_C14N: &str = "http://www.w3.org/2001/10/xml-exc-c14n#";
const C14N: [&str; 3] = [EXC_C14N, "http://www.w3.org/TR/2001/REC-xml-c14n-20010315", "http://www.w3.org/2006/12/xml-c14n11"];
const ENVELOPED: &str = "http://www.w3.org/2000/09/xmldsig#enveloped-signature";

/// The type of a signing key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// RSA.
    Rsa,
    /// ECDSA.
    Ecdsa,
}

/// Signature algorithms: name, key, whether it stands on SHA-1.
const METHODS: [(&str, KeyType, bool); 8] = [
    ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha256", KeyType::Rsa, false),
    ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha384", KeyType::Rsa, false),
    ("http://www.w3.org/2001/04/xmldsig-more#rsa-sha512", KeyType::Rsa, false),
    ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256", KeyType::Ecdsa, false),
    ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384", KeyType::Ecdsa, false),
    ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512", KeyType::Ecdsa, false),
    ("http://www.w3.org/2000/09/xmldsig#rsa-sha1", KeyType::Rsa, true),
    ("http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha1", KeyType::Ecdsa, true),
];

/// Digest algorithms: name, function, whether it is SHA-1.
static DIGESTS: [(&str, &digest::Algorithm, bool); 4] = [
    ("http://www.w3.org/2001/04/xmlenc#sha256", &digest::SHA256, false),
    ("http://www.w3.org/2001/04/xmldsig-more#sha384", &digest::SHA384, false),
    ("http://www.w3.org/2001/04/xmlenc#sha512", &digest::SHA512, false),
    ("http://www.w3.org/2000/09/xmldsig#sha1", &digest::SHA1_FOR_LEGACY_USE_ONLY, true),
];

/// Which message is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// `samlp:Response` with one assertion, plain or encrypted, or with a status that says why there is none.
    Response,
    /// The envelope that an assertion is put into after it was decrypted: a `samlp:Response` without status.
    Decrypted,
    /// `samlp:LogoutRequest`, signed itself.
    LogoutRequest,
    /// `samlp:LogoutResponse`, signed itself.
    LogoutResponse,
    /// Metadata, signed itself.
    Metadata,
}

/// What a signature says it covers.
#[derive(Debug)]
pub(super) struct ClaimedSignature {
    /// The ID of its parent, which is what it signs.
    pub(super) covers: String,
    pub(super) key: KeyType,
    pub(super) digest: &'static digest::Algorithm,
    pub(super) digest_value: Vec<u8>,
}

/// A document that passed the gate. Nothing in it is verified.
#[derive(Debug)]
pub(super) struct Candidate<'x> {
    pub(super) xml: &'x str,
    document: Document<'x>,
    /// The root's signature before the assertion's.
    pub(super) signatures: Vec<ClaimedSignature>,
    pub(super) encrypted: bool,
    root_signed: bool,
}

/// Reads a document of a shape.
pub(super) fn read(xml: &str, shape: Shape, sha1: bool) -> Result<Candidate<'_>, Refusal> {
    let limit = match shape {
        Shape::Metadata => xml::MAX_METADATA,
        // The envelope comes on top.
        Shape::Decrypted => MAX_MESSAGE * 2,
        Shape::Response | Shape::LogoutRequest | Shape::LogoutResponse => MAX_MESSAGE,
    };
    let document = xml::parse(xml, limit)?;
    let root = document.root_element();
    check_root(root, shape)?;
    check_nodes(&document, root)?;
    let assertion = match shape {
        Shape::Response | Shape::Decrypted => Some(check_response(root, shape)?),
        Shape::LogoutRequest | Shape::LogoutResponse | Shape::Metadata => None,
    };
    let mut found: Vec<Node<'_, '_>> = document.descendants().filter(|node| is(*node, DS, "Signature")).collect();
    found.sort_by_key(|signature| signature.parent() != Some(root));
    let mut signatures = Vec::new();
    let mut signed: Vec<Node<'_, '_>> = Vec::new();
    for signature in found {
        let parent = signature.parent().filter(|parent| *parent == root || Some(*parent) == assertion);
        let parent = parent.ok_or_else(|| refusal("signature_shape", "a signature stands elsewhere than in what it signs"))?;
        if signed.contains(&parent) {
            return Err(refusal("signature_shape", "an element has two signatures"));
        }
        signed.push(parent);
        signatures.push(check_signature(signature, parent, sha1)?);
    }
    let root_signed = signed.contains(&root);
    let encrypted = assertion.is_some_and(|node| is(node, SAML, "EncryptedAssertion"));
    if signatures.is_empty() && !encrypted && shape != Shape::Decrypted {
        return Err(super::unsigned());
    }
    Ok(Candidate { xml, signatures, encrypted, root_signed, document })
}

fn shape_refusal(detail: impl Into<String>) -> Refusal {
    refusal("document_shape", detail)
}

fn check_root(root: Node<'_, '_>, shape: Shape) -> Result<(), Refusal> {
    const MD: &str = "urn:oasis:names:tc:SAML:2.0:metadata";
    let fits = match shape {
        Shape::Response | Shape::Decrypted => is(root, SAMLP, "Response"),
        Shape::LogoutRequest => is(root, SAMLP, "LogoutRequest"),
        Shape::LogoutResponse => is(root, SAMLP, "LogoutResponse"),
        Shape::Metadata => {
            return if is(root, MD, "EntityDescriptor") || is(root, MD, "EntitiesDescriptor") {
                Ok(())
            } else {
                Err(shape_refusal("the root is no metadata"))
            };
        }
    };
    if fits && root.attribute("Version") == Some("2.0") {
        Ok(())
    } else {
        Err(shape_refusal(format!("the root `{}` is not a SAML 2.0 {shape:?}", root.tag_name().name())))
    }
}

/// Bounds of every element, and ids that are unique under every spelling a parser may honour.
fn check_nodes(document: &Document<'_>, root: Node<'_, '_>) -> Result<(), Refusal> {
    let mut ids = HashSet::new();
    for node in document.descendants() {
        if node.text().is_some_and(|text| text.len() > MAX_VALUE) && node.is_text() {
            // A ciphertext is as long as what it hides.
            let cipher = node.parent().is_some_and(|parent| is(parent, xml::XENC, "CipherValue"));
            if !cipher {
                return Err(shape_refusal("a text is too long"));
            }
        }
        if !node.is_element() {
            continue;
        }
        // C14N of a relative one is an error to some and a fact to others.
        if node.namespaces().any(|namespace| !namespace.uri().is_empty() && !namespace.uri().contains(':')) {
            return Err(refusal("namespace_relative", "a namespace is no absolute URI"));
        }
        for attribute in node.attributes() {
            if attribute.value().len() > MAX_VALUE {
                return Err(shape_refusal("an attribute is too long"));
            }
            if attribute.name().eq_ignore_ascii_case("id") && !ids.insert(attribute.value()) {
                return Err(refusal("document_duplicate_id", format!("two elements have the id `{}`", attribute.value())));
            }
        }
        let misplaced = (is(node, SAML, "Assertion") || is(node, SAML, "EncryptedAssertion")) && node.parent() != Some(root);
        let nested = is(node, SAMLP, "Response") && node != root;
        if misplaced || nested {
            return Err(refusal("assertion_misplaced", format!("a {} stands where none belongs", node.tag_name().name())));
        }
    }
    Ok(())
}

/// The children that the schema lets a response have, in its order; returns the assertion, plain or encrypted.
fn check_response<'a, 'x>(root: Node<'a, 'x>, shape: Shape) -> Result<Node<'a, 'x>, Refusal> {
    let children: Vec<Node<'_, '_>> = root.children().filter(Node::is_element).collect();
    let assertions: Vec<Node<'_, '_>> =
        children.iter().copied().filter(|node| is(*node, SAML, "Assertion") || is(*node, SAML, "EncryptedAssertion")).collect();
    let status = status(root);
    if shape == Shape::Response && assertions.is_empty() && !status.is_empty() && !status.ends_with(":Success") {
        let message = root.descendants().find(|node| is(*node, SAMLP, "StatusMessage")).map(text).unwrap_or_default();
        return Err(refusal("status_not_success", format!("the provider answered {status} {message}")));
    }
    let [assertion] = assertions.as_slice() else {
        return Err(refusal("assertion_count", format!("{} assertions, exactly one is accepted", assertions.len())));
    };
    let order = [(SAML, "Issuer"), (DS, "Signature"), (SAMLP, "Extensions"), (SAMLP, "Status")];
    let mut at = 0;
    for child in children.iter().filter(|child| *child != assertion) {
        let place = order.iter().position(|(namespace, name)| is(*child, namespace, name));
        let Some(place) = place.filter(|place| *place >= at && !(shape == Shape::Decrypted)) else {
            return Err(shape_refusal(format!("`{}` does not belong there in a Response", child.tag_name().name())));
        };
        at = place + 1;
    }
    if children.last() != Some(assertion) {
        return Err(shape_refusal("something follows the assertion"));
    }
    Ok(*assertion)
}

fn status(root: Node<'_, '_>) -> String {
    let status = root.children().find(|node| is(*node, SAMLP, "Status"));
    let code = status.and_then(|status| status.children().find(|node| is(*node, SAMLP, "StatusCode")));
    code.and_then(|code| code.attribute("Value")).unwrap_or_default().to_owned()
}

impl Candidate<'_> {
    pub(super) fn envelope(&self) -> Envelope {
        let root = self.document.root_element();
        Envelope {
            destination: root.attribute("Destination").map(str::to_owned),
            in_response_to: root.attribute("InResponseTo").map(str::to_owned),
            issuer: root.children().find(|node| is(*node, SAML, "Issuer")).map(|node| text(node)),
            status: status(root),
            response_signed: self.root_signed,
        }
    }

    /// A failed verification tells an admin whether to look at the certificate or at the wire.
    pub(super) fn diagnose(&self, certificates: &[Vec<u8>]) -> Refusal {
        let used: Vec<Vec<u8>> = self
            .document
            .descendants()
            .filter(|node| is(*node, DS, "X509Certificate"))
            .filter_map(|node| STANDARD.decode(compact(&text(node))).ok())
            .collect();
        if !used.is_empty() && used.iter().all(|certificate| !certificates.contains(certificate)) {
            return refusal("signature_key_unknown", "it is signed with a key that is not in the provider's metadata");
        }
        refusal("signature_invalid", "the signature does not match: the signed content was changed, or signed with another key")
    }
}

fn compact(text: &str) -> String {
    text.split_ascii_whitespace().collect()
}

/// One signature: enveloped, one reference to its parent, the two standard transforms at most.
fn check_signature(signature: Node<'_, '_>, parent: Node<'_, '_>, sha1: bool) -> Result<ClaimedSignature, Refusal> {
    let shape = |detail: &str| refusal("signature_shape", detail);
    let elder: Vec<Node<'_, '_>> = parent.children().filter(Node::is_element).take_while(|node| *node != signature).collect();
    let follows_issuer = match elder.as_slice() {
        [] => true,
        [issuer] => is(*issuer, SAML, "Issuer"),
        _ => false,
    };
    if !follows_issuer {
        return Err(shape("the signature does not follow the Issuer"));
    }
    let elements: Vec<Node<'_, '_>> = signature.children().filter(Node::is_element).collect();
    let (info, value) = match elements.as_slice() {
        [info, value] => (*info, *value),
        [info, value, key_info] if is(*key_info, DS, "KeyInfo") => {
            let known = |node: Node<'_, '_>| ["KeyName", "X509Data", "KeyValue"].iter().any(|name| is(node, DS, name));
            let foreign = |node: Node<'_, '_>| node.is_element() && node.has_attribute("URI");
            if !key_info.children().filter(Node::is_element).all(known) || key_info.descendants().any(foreign) {
                return Err(shape("KeyInfo may hold KeyName, X509Data and KeyValue only"));
            }
            (*info, *value)
        }
        _ => return Err(shape("a signature holds SignedInfo, SignatureValue and at most one KeyInfo")),
    };
    if !is(info, DS, "SignedInfo") || !is(value, DS, "SignatureValue") || has_elements(value) {
        return Err(shape("a signature begins with SignedInfo and SignatureValue"));
    }
    let parts: Vec<Node<'_, '_>> = info.children().filter(Node::is_element).collect();
    let [c14n, method, reference] = parts.as_slice() else {
        return Err(shape("SignedInfo holds one canonicalization, one method and one reference"));
    };
    if !is(*c14n, DS, "CanonicalizationMethod") || !is_c14n(*c14n) {
        return Err(refusal("signature_transform", "the canonicalization is neither exclusive nor inclusive C14N"));
    }
    if !is(*method, DS, "SignatureMethod") || has_elements(*method) {
        return Err(shape("the signature method has parameters"));
    }
    let named = method.attribute("Algorithm").unwrap_or_default();
    let known = METHODS.iter().find(|(name, _, weak)| *name == named && (sha1 || !weak));
    let (_, key, _) =
        known.ok_or_else(|| refusal("signature_algorithm", format!("the signature algorithm `{named}` is not accepted")))?;
    let id = parent.attribute("ID").filter(|id| !id.is_empty());
    let covers = id.filter(|id| reference.attribute("URI").and_then(|uri| uri.strip_prefix('#')) == Some(id));
    let covers = covers.filter(|_| is(*reference, DS, "Reference"));
    let covers = covers
        .ok_or_else(|| refusal("signature_reference", "the reference does not name the element the signature stands in"))?;
    let (digest, digest_value) = check_reference(*reference, sha1)?;
    Ok(ClaimedSignature { covers: covers.to_owned(), key: *key, digest, digest_value })
}

fn check_reference(reference: Node<'_, '_>, sha1: bool) -> Result<(&'static digest::Algorithm, Vec<u8>), Refusal> {
    let shape = |detail: &str| refusal("signature_shape", detail);
    let parts: Vec<Node<'_, '_>> = reference.children().filter(Node::is_element).collect();
    let [transforms, method, value] = parts.as_slice() else {
        return Err(shape("a reference holds transforms, a digest method and a digest value"));
    };
    let steps: Vec<Node<'_, '_>> = transforms.children().filter(Node::is_element).collect();
    let enveloped = |step: Node<'_, '_>| step.attribute("Algorithm") == Some(ENVELOPED) && !has_elements(step);
    let standard = match steps.as_slice() {
        [first] => enveloped(*first),
        [first, second] => enveloped(*first) && is_c14n(*second),
        _ => false,
    };
    if !is(*transforms, DS, "Transforms") || !standard || !steps.iter().all(|step| is(*step, DS, "Transform")) {
        return Err(refusal("signature_transform", "the transforms are not enveloped-signature and C14N"));
    }
    if !is(*method, DS, "DigestMethod") || has_elements(*method) {
        return Err(shape("the digest method is malformed"));
    }
    let named = method.attribute("Algorithm").unwrap_or_default();
    let known = DIGESTS.iter().find(|(name, _, weak)| *name == named && (sha1 || !weak));
    let (_, algorithm, _) =
        known.ok_or_else(|| refusal("signature_algorithm", format!("the digest algorithm `{named}` is not accepted")))?;
    if !is(*value, DS, "DigestValue") || has_elements(*value) {
        return Err(shape("the digest value is malformed"));
    }
    let decoded = STANDARD.decode(compact(&text(*value))).map_err(|_| shape("the digest value is not base64"))?;
    if decoded.len() != algorithm.output_len() {
        return Err(shape("the digest value has the wrong length"));
    }
    Ok((algorithm, decoded))
}

/// C14N without comments; the exclusive one may carry one `InclusiveNamespaces` and nothing else.
fn is_c14n(node: Node<'_, '_>) -> bool {
    let algorithm = node.attribute("Algorithm").unwrap_or_default();
    let mut children = node.children().filter(Node::is_element);
    let prefixes =
        |child: Node<'_, '_>| algorithm == EXC_C14N && is(child, EXC_C14N, "InclusiveNamespaces") && !child.has_children();
    C14N.contains(&algorithm) && children.next().is_none_or(prefixes) && children.next().is_none()
}

/// Whether an element has elements under it, where text alone belongs.
fn has_elements(node: Node<'_, '_>) -> bool {
    node.children().any(|node| node.is_element())
}
