//! XML read the strict way: no DTD, bounded in bytes, depth and nodes, names always with their namespace.

use super::{Refusal, refusal};
use roxmltree::{Document, Node, ParsingOptions};

/// Largest message read (a response, a logout request), in bytes.
pub const MAX_MESSAGE: usize = 256 * 1024;
/// Largest metadata document read, in bytes.
pub const MAX_METADATA: usize = 1024 * 1024;
const MAX_DEPTH: usize = 64;
const MAX_NODES: u32 = 20_000;
/// Most attributes of an element, namespaces included.
const MAX_ATTRIBUTES: usize = 64;
/// Most namespaces declared on an element and those around it.
const MAX_NAMESPACES: usize = 64;

/// `urn:oasis:names:tc:SAML:2.0:protocol`
pub const SAMLP: &str = "urn:oasis:names:tc:SAML:2.0:protocol";
/// `urn:oasis:names:tc:SAML:2.0:assertion`
pub const SAML: &str = "urn:oasis:names:tc:SAML:2.0:assertion";
/// `http://www.w3.org/2000/09/xmldsig#`
pub const DS: &str = "http://www.w3.org/2000/09/xmldsig#";
/// `http://www.w3.org/2001/04/xmlenc#`
pub const XENC: &str = "http://www.w3.org/2001/04/xmlenc#";

/// Parses a document of at most so many bytes. For metadata, and for re-reading octets that were signed.
///
/// # Errors
/// `document_too_large`, `document_has_dtd`, `document_too_deep`, `document_malformed`.
pub fn parse(xml: &str, limit: usize) -> Result<Document<'_>, Refusal> {
    if xml.len() > limit {
        return Err(refusal("document_too_large", format!("{} bytes, at most {limit}", xml.len())));
    }
    if xml.contains("<!DOCTYPE") || xml.contains("<!ENTITY") {
        return Err(refusal("document_has_dtd", "a DTD is never accepted"));
    }
    check_depth(xml)?;
    let scale = u32::try_from(limit.div_ceil(MAX_MESSAGE)).unwrap_or(1);
    let options = ParsingOptions { allow_dtd: false, nodes_limit: MAX_NODES * scale, ..ParsingOptions::default() };
    Document::parse_with_options(xml, options).map_err(|error| refusal("document_malformed", error.to_string()))
}

/// A message as text: UTF-8, without its declaration, and without any markup but elements and text.
///
/// The C library would honour a declared encoding that our parser ignores, and so read another document: it never sees the
/// declaration, and one that declares anything but UTF-8 is refused.
///
/// # Errors
/// `document_too_large`, `document_not_utf8`, `document_has_markup`.
pub fn message(bytes: &[u8]) -> Result<&str, Refusal> {
    text_within(bytes, MAX_MESSAGE)
}

/// The same, of at most so many bytes.
///
/// # Errors
/// See [`message`].
pub fn text_within(bytes: &[u8], limit: usize) -> Result<&str, Refusal> {
    if bytes.len() > limit {
        return Err(refusal("document_too_large", format!("{} bytes, at most {limit}", bytes.len())));
    }
    let xml = std::str::from_utf8(bytes).map_err(|_| refusal("document_not_utf8", "the message is not UTF-8"))?;
    let xml = without_declaration(xml)?;
    if xml.contains("<?") || xml.contains("<!") {
        return Err(refusal("document_has_markup", "comments, CDATA, DTDs and processing instructions are not accepted"));
    }
    Ok(xml)
}

fn without_declaration(xml: &str) -> Result<&str, Refusal> {
    let xml = xml.trim_start_matches('\u{feff}').trim_start();
    let Some(rest) = xml.strip_prefix("<?xml ") else { return Ok(xml) };
    let malformed = || refusal("document_malformed", "the XML declaration is not closed");
    let (declaration, body) = rest.split_once("?>").ok_or_else(malformed)?;
    let folded = declaration.to_ascii_lowercase();
    let plain = !folded.contains("encoding") || folded.contains("encoding=\"utf-8\"") || folded.contains("encoding='utf-8'");
    if plain { Ok(body) } else { Err(refusal("document_not_utf8", "the message declares another encoding than UTF-8")) }
}

/// Bounds what parsers take more than their share of time for, before any of them sees the document: open elements,
/// attributes of one, and namespaces in scope (which are compared with each other at every element that declares one).
fn check_depth(xml: &str) -> Result<(), Refusal> {
    let bytes = xml.as_bytes();
    let mut at = 0_usize;
    // Namespaces that each open element declares, and their sum.
    let (mut open, mut in_scope) = (Vec::<usize>::new(), 0_usize);
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|byte| *byte == b'<')) {
        let start = at + found + 1;
        let (mut quote, mut attributes, mut declared) = (None, 0_usize, 0_usize);
        let mut end = start;
        while let Some(byte) = bytes.get(end) {
            match (quote, byte) {
                (None, b'>') => break,
                (None, b'"' | b'\'') => {
                    quote = Some(*byte);
                    attributes += 1;
                }
                (None, byte) if byte.is_ascii_whitespace() => {
                    declared += usize::from(bytes.get(end + 1..).is_some_and(|rest| rest.starts_with(b"xmlns")));
                }
                (Some(open), byte) if open == *byte => quote = None,
                _ => {}
            }
            end += 1;
        }
        if attributes > MAX_ATTRIBUTES || in_scope + declared > MAX_NAMESPACES {
            return Err(refusal("document_shape", "an element has too many attributes or namespaces"));
        }
        match (bytes.get(start), bytes.get(end.saturating_sub(1))) {
            (Some(b'/'), _) => in_scope -= open.pop().unwrap_or_default(),
            (Some(b'?' | b'!'), _) | (_, Some(b'/')) => {}
            _ => {
                open.push(declared);
                in_scope += declared;
            }
        }
        if open.len() > MAX_DEPTH {
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
