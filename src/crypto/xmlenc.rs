//! Encrypted assertions and names (XML Encryption 1.1): RSA-OAEP around an AES key, AES-GCM or AES-CBC around the assertion.
//!
//! Anybody can encrypt to our public key, so decrypting proves nothing: the plaintext goes through the whole gate again. RSA
//! PKCS #1 v1.5 is not accepted (Bleichenbacher), and every failure of the mathematics has one code, so that there is no
//! oracle (Jager and Somorovsky, "How to break XML encryption").

use super::{
    Refusal, refusal,
    xml::{self, DS, MAX_MESSAGE, SAML, SAMLP, XENC, is, text},
};
use crate::domain::Secret;
use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{self, DecryptingKey, DecryptionContext, UnboundCipherKey},
    iv::FixedLength,
    rsa::{
        OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OAEP_SHA384_MGF1SHA384, OAEP_SHA512_MGF1SHA512, OaepAlgorithm,
        OaepPrivateDecryptingKey, PrivateDecryptingKey,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use roxmltree::Node;
use std::{collections::BTreeMap, fmt::Write as _};

/// Most `EncryptedKey`s tried: a provider may encrypt for several recipients.
const MAX_KEYS: usize = 4;
const SHA1: &str = "http://www.w3.org/2000/09/xmldsig#sha1";

/// Our key for encrypted assertions.
#[derive(Debug)]
pub struct DecryptionKey(Vec<OaepPrivateDecryptingKey>);

impl DecryptionKey {
    /// Reads private keys, PKCS #8, DER, of which any may be the one. None when one is none.
    #[must_use]
    pub fn from_pkcs8<'k>(ders: impl IntoIterator<Item = &'k [u8]>) -> Option<Self> {
        let read = |der| OaepPrivateDecryptingKey::new(PrivateDecryptingKey::from_pkcs8(der).ok()?).ok();
        ders.into_iter().map(read).collect::<Option<_>>().map(Self)
    }
}

/// A decrypted assertion.
pub(super) struct Plain {
    /// A `samlp:Response` that holds nothing but the assertion, in the namespaces it stood in.
    pub(super) message: Secret<String>,
    /// Whether the ciphertext could not have been changed without the key (AES-GCM).
    pub(super) authenticated: bool,
}

/// The one refusal for everything that depends on a key.
pub(super) fn failed() -> Refusal {
    refusal("decryption_failed", "what is encrypted can't be decrypted with our key")
}

fn shape(detail: impl Into<String>) -> Refusal {
    refusal("encryption_shape", detail)
}

/// Decrypts the one `EncryptedAssertion` of a response that passed the gate.
pub(super) fn decrypt_assertion(source: &str, key: &DecryptionKey) -> Result<Plain, Refusal> {
    let document = xml::parse(source, MAX_MESSAGE * 2)?;
    let encrypted = document.root_element().children().find(|node| is(*node, SAML, "EncryptedAssertion"));
    let encrypted = encrypted.ok_or_else(|| shape("what is signed holds no EncryptedAssertion"))?;
    let (plain, authenticated) = decrypt(encrypted, key)?;
    Ok(Plain { message: Secret::new(enveloped(encrypted, &plain)), authenticated })
}

/// Puts the `NameID` of a verified message where its `EncryptedID` stands (SAML core 2.2.4): that of the assertion's subject,
/// or of a `LogoutRequest`. A message without one comes back as it is.
///
/// The ciphertext is part of what was signed, so every content cipher is as good as the other here.
///
/// # Errors
/// `encryption_shape`, `encryption_algorithm`, `decryption_failed`; `assertion_encrypted` when there is no key.
pub fn reveal_name_id(verified: String, key: Option<&DecryptionKey>) -> Result<String, Refusal> {
    let document = xml::parse(&verified, MAX_MESSAGE * 2)?;
    let of_subject = |node: &Node<'_, '_>| {
        is(*node, SAML, "EncryptedID")
            && node.parent().is_some_and(|parent| is(parent, SAML, "Subject") || is(parent, SAMLP, "LogoutRequest"))
    };
    let mut found = document.descendants().filter(of_subject);
    let Some(encrypted) = found.next() else { return Ok(verified) };
    if found.next().is_some() {
        return Err(shape("there is more than one EncryptedID"));
    }
    let key = key.ok_or_else(|| refusal("assertion_encrypted", "there is no key to decrypt a name with"))?;
    let (plain, _) = decrypt(encrypted, key)?;
    // One element and nothing beside it, in the namespaces that it will stand in.
    let envelope = enveloped(encrypted, &plain);
    let alone = xml::parse(&envelope, MAX_MESSAGE * 2)?;
    let mut content = alone.root_element().children();
    if !(content.next().is_some_and(|node| is(node, SAML, "NameID")) && content.next().is_none()) {
        return Err(shape("the EncryptedID holds something else than a NameID"));
    }
    let (before, after) = (verified.get(..encrypted.range().start), verified.get(encrypted.range().end..));
    Ok(format!("{}{plain}{}", before.unwrap_or_default(), after.unwrap_or_default()))
}

/// The plaintext of an `EncryptedElementType`, well-formed by its first look, and whether the cipher authenticates.
fn decrypt(encrypted: Node<'_, '_>, key: &DecryptionKey) -> Result<(String, bool), Refusal> {
    let mut data = encrypted.children().filter(|node| is(*node, XENC, "EncryptedData"));
    let (Some(data), None) = (data.next(), data.next()) else { return Err(shape("there is not exactly one EncryptedData")) };
    let algorithm = algorithm(data)?;
    let content = Content::named(algorithm)
        .ok_or_else(|| refusal("encryption_algorithm", format!("the algorithm `{algorithm}` is not accepted")))?;
    let keys: Vec<Node<'_, '_>> = encrypted.descendants().filter(|node| is(*node, XENC, "EncryptedKey")).collect();
    if keys.is_empty() || keys.len() > MAX_KEYS {
        return Err(shape(format!("{} encrypted keys, 1 to {MAX_KEYS} are accepted", keys.len())));
    }
    let transports = keys.iter().map(|node| transport(*node)).collect::<Result<Vec<_>, _>>()?;
    let ciphertext = cipher_value(data)?;
    let plain = transports
        .iter()
        .filter_map(|(oaep, wrapped)| unwrap_key(key, oaep, wrapped))
        .find_map(|session_key| content.decrypt(&session_key, ciphertext.clone()));
    let plain = plain.ok_or_else(failed)?;
    let plain = String::from_utf8(plain).map_err(|_| failed())?;
    Ok((xml::message(plain.as_bytes())?.to_owned(), content.gcm))
}

fn algorithm<'a>(node: Node<'a, '_>) -> Result<&'a str, Refusal> {
    let method = node.children().find(|child| is(*child, XENC, "EncryptionMethod"));
    method.and_then(|method| method.attribute("Algorithm")).ok_or_else(|| shape("an EncryptionMethod is missing"))
}

fn cipher_value(node: Node<'_, '_>) -> Result<Vec<u8>, Refusal> {
    let data = node.children().find(|child| is(*child, XENC, "CipherData"));
    // CipherReference would have us fetch something.
    let value = data.and_then(|data| data.children().find(|child| is(*child, XENC, "CipherValue")));
    let value = value.ok_or_else(|| shape("a CipherValue is missing"))?;
    let compact: String = text(value).split_ascii_whitespace().collect();
    STANDARD.decode(compact).map_err(|_| shape("a CipherValue is not base64"))
}

/// How a session key is wrapped, and the wrapped key.
fn transport(node: Node<'_, '_>) -> Result<(&'static OaepAlgorithm, Vec<u8>), Refusal> {
    let refused = |what: &str| refusal("encryption_algorithm", format!("the key transport `{what}` is not accepted"));
    let named = algorithm(node)?;
    let inside = |name: &str| node.descendants().find(|child| child.is_element() && child.tag_name().name() == name);
    let digest = inside("DigestMethod").filter(|method| is(*method, DS, "DigestMethod"));
    let digest = digest.and_then(|method| method.attribute("Algorithm")).unwrap_or(SHA1);
    let mask = inside("MGF").and_then(|mgf| mgf.attribute("Algorithm")).unwrap_or("http://www.w3.org/2009/xmlenc11#mgf1sha1");
    if inside("OAEPparams").is_some() {
        return Err(refused("RSA-OAEP with a label"));
    }
    let pair = match (named, digest, mask.rsplit('#').next().unwrap_or_default()) {
        ("http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p", SHA1, _) => &OAEP_SHA1_MGF1SHA1,
        ("http://www.w3.org/2009/xmlenc11#rsa-oaep", SHA1, "mgf1sha1") => &OAEP_SHA1_MGF1SHA1,
        ("http://www.w3.org/2009/xmlenc11#rsa-oaep", "http://www.w3.org/2001/04/xmlenc#sha256", "mgf1sha256") => {
            &OAEP_SHA256_MGF1SHA256
        }
        ("http://www.w3.org/2009/xmlenc11#rsa-oaep", "http://www.w3.org/2001/04/xmldsig-more#sha384", "mgf1sha384") => {
            &OAEP_SHA384_MGF1SHA384
        }
        ("http://www.w3.org/2009/xmlenc11#rsa-oaep", "http://www.w3.org/2001/04/xmlenc#sha512", "mgf1sha512") => {
            &OAEP_SHA512_MGF1SHA512
        }
        _ => return Err(refused(&format!("{named} with {digest} and {mask}"))),
    };
    Ok((pair, cipher_value(node)?))
}

fn unwrap_key(key: &DecryptionKey, oaep: &'static OaepAlgorithm, wrapped: &[u8]) -> Option<Secret<Vec<u8>>> {
    let with = |key: &OaepPrivateDecryptingKey| {
        let mut buffer = vec![0; key.min_output_size()];
        let plain = key.decrypt(oaep, wrapped, &mut buffer, None).ok()?;
        Some(Secret::new(plain.to_vec()))
    };
    key.0.iter().find_map(with)
}

/// A content cipher.
struct Content {
    gcm: bool,
    /// Of the key, in bytes.
    length: usize,
}

impl Content {
    fn named(algorithm: &str) -> Option<Self> {
        let (gcm, length) = match algorithm {
            "http://www.w3.org/2009/xmlenc11#aes128-gcm" => (true, 16),
            "http://www.w3.org/2009/xmlenc11#aes192-gcm" => (true, 24),
            "http://www.w3.org/2009/xmlenc11#aes256-gcm" => (true, 32),
            "http://www.w3.org/2001/04/xmlenc#aes128-cbc" => (false, 16),
            "http://www.w3.org/2001/04/xmlenc#aes192-cbc" => (false, 24),
            "http://www.w3.org/2001/04/xmlenc#aes256-cbc" => (false, 32),
            _ => return None,
        };
        Some(Self { gcm, length })
    }

    /// The vector comes first (XML Encryption 1.1, sections 5.2.4 and 5.2.5).
    fn decrypt(&self, key: &Secret<Vec<u8>>, mut data: Vec<u8>) -> Option<Vec<u8>> {
        let key = key.expose();
        if key.len() != self.length {
            return None;
        }
        if self.gcm {
            let algorithm = match self.length {
                16 => &aead::AES_128_GCM,
                24 => &aead::AES_192_GCM,
                _ => &aead::AES_256_GCM,
            };
            let (vector, sealed) = data.split_at_mut_checked(12)?;
            let nonce = Nonce::try_assume_unique_for_key(vector).ok()?;
            let key = LessSafeKey::new(UnboundKey::new(algorithm, key).ok()?);
            return key.open_in_place(nonce, Aad::empty(), sealed).ok().map(|plain| plain.to_vec());
        }
        let algorithm = match self.length {
            16 => &cipher::AES_128,
            24 => &cipher::AES_192,
            _ => &cipher::AES_256,
        };
        let (vector, sealed) = data.split_at_mut_checked(16)?;
        let vector = DecryptionContext::Iv128(FixedLength::<16>::try_from(&*vector).ok()?);
        let key = DecryptingKey::cbc(UnboundCipherKey::new(algorithm, key).ok()?).ok()?;
        let plain = key.decrypt(sealed, vector).ok()?;
        // The last byte says how long the padding is; its other bytes may be anything.
        let padding = usize::from(*plain.last()?);
        let length = plain.len().checked_sub(padding).filter(|_| (1..=16).contains(&padding))?;
        plain.get(..length).map(<[u8]>::to_vec)
    }
}

/// The plaintext may use prefixes that were declared around the ciphertext: the envelope declares the same, and no others.
fn enveloped(around: Node<'_, '_>, assertion: &str) -> String {
    let mut declared: BTreeMap<&str, &str> =
        around.namespaces().map(|namespace| (namespace.name().unwrap_or_default(), namespace.uri())).collect();
    declared.remove("xml");
    let bound = declared.iter().find(|(prefix, uri)| **uri == SAMLP && !prefix.is_empty()).map(|(prefix, _)| *prefix);
    let prefix = bound.unwrap_or("samlp");
    declared.insert(prefix, SAMLP);
    let mut message = format!("<{prefix}:Response ID=\"_decrypted\" Version=\"2.0\"");
    for (prefix, uri) in &declared {
        let name = if prefix.is_empty() { "xmlns".to_owned() } else { format!("xmlns:{prefix}") };
        // Writing into a String can't fail.
        let _ = write!(message, " {name}=\"{}\"", xml::escape(uri));
    }
    message.push('>');
    message.push_str(assertion);
    let _ = write!(message, "</{prefix}:Response>");
    message
}
