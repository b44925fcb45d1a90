//! Signatures of ours: enveloped ones of metadata and posted messages, and the detached one of the HTTP-Redirect binding
//! (SAML bindings 3.4.4.1).

use super::{Trust, gate::KeyType};
use crate::crypto::{Refusal, private_key_pem, refusal, xml};
use aws_lc_rs::{
    rand::SystemRandom,
    signature::{self, RSA_PKCS1_SHA256, RsaKeyPair, UnparsedPublicKey, VerificationAlgorithm},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bergshamra_dsig::DsigContext;
use bergshamra_keys::{
    Key, KeysManager,
    loader::{load_ec_p256_private_pem, load_rsa_private_pem},
};
use percent_encoding::percent_decode_str;
use std::io::Read as _;
use x509_parser::prelude::FromDer as _;

const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";

/// A signature to be filled in, for the element with this ID: it belongs right after its `Issuer`.
#[must_use]
pub fn template(id: &str) -> String {
    format!(
        r##"<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/><ds:SignatureMethod Algorithm="{RSA_SHA256}"/><ds:Reference URI="#{id}"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue></ds:DigestValue></ds:Reference></ds:SignedInfo><ds:SignatureValue></ds:SignatureValue></ds:Signature>"##
    )
}

/// Fills in the [`template`] of a document with an RSA key (PKCS #8, DER).
///
/// # Errors
/// A sentence; none for documents of ours.
pub fn enveloped(xml: &str, key: &[u8]) -> Result<String, String> {
    fill_in(xml, key, load_rsa_private_pem)
}

/// The same with a key on P-256, for a template that says so.
pub(crate) fn enveloped_p256(xml: &str, key: &[u8]) -> Result<String, String> {
    fill_in(xml, key, load_ec_p256_private_pem)
}

fn fill_in<E: std::fmt::Display>(xml: &str, key: &[u8], load: fn(&[u8]) -> Result<Key, E>) -> Result<String, String> {
    let pem = private_key_pem(key);
    let mut keys = KeysManager::new();
    keys.add_key(load(pem.expose().as_bytes()).map_err(|error| error.to_string())?);
    bergshamra_dsig::sign::sign(&DsigContext::new(keys), xml).map_err(|error| error.to_string())
}

/// Appends algorithm and signature to a query: the signature is over these very octets.
///
/// # Errors
/// A sentence; none for keys of ours.
pub fn query(query: &str, key: &[u8]) -> Result<String, String> {
    let pair = |name: &str, value: &str| url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
    let signed = format!("{query}&{}", pair("SigAlg", RSA_SHA256));
    let key = RsaKeyPair::from_pkcs8(key).map_err(|error| error.to_string())?;
    let mut value = vec![0; key.public_modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut value).map_err(|error| error.to_string())?;
    Ok(format!("{signed}&{}", pair("Signature", &STANDARD.encode(value))))
}

/// A message that came in an address, and was signed there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedirectMessage {
    /// Whether it is a request (`SAMLRequest`), or an answer.
    pub request: bool,
    /// The message, inflated.
    pub xml: String,
    /// `RelayState`, decoded.
    pub relay_state: String,
}

/// Reads the message of a redirect without verifying it: to learn whose it claims to be.
///
/// # Errors
/// `redirect_malformed` for a missing or repeated parameter, or what does not inflate.
pub fn read_query(raw: &str) -> Result<RedirectMessage, Refusal> {
    let parts = QueryParts::read(raw)?;
    let xml = inflate(&decode_base64(parts.message)?)?;
    let relay_state = parts.relay_state.map(decode).transpose()?.unwrap_or_default();
    Ok(RedirectMessage { request: parts.request, xml, relay_state })
}

/// Verifies the signature of a redirect, over the octets as they came.
///
/// # Errors
/// `signature_missing`, `signature_algorithm`, `signature_invalid`, and those of [`read_query`].
pub fn verify_query(raw: &str, trust: &Trust) -> Result<RedirectMessage, Refusal> {
    let parts = QueryParts::read(raw)?;
    let (Some(algorithm), Some(value)) = (parts.algorithm, parts.signature) else {
        return Err(refusal("signature_missing", "the message in the address is not signed"));
    };
    let named = decode(algorithm)?;
    let value = decode_base64(value)?;
    let name = if parts.request { "SAMLRequest" } else { "SAMLResponse" };
    let mut signed = format!("{name}={}", parts.message);
    if let Some(relay_state) = parts.relay_state {
        signed.push_str("&RelayState=");
        signed.push_str(relay_state);
    }
    signed.push_str("&SigAlg=");
    signed.push_str(algorithm);
    let candidates = algorithms(&named, trust.sha1);
    if candidates.is_empty() {
        return Err(refusal("signature_algorithm", format!("the signature algorithm `{named}` is not accepted")));
    }
    let genuine = trust.certificates().iter().any(|certificate| {
        let fitting = candidates.iter().filter(|(key, _)| *key == certificate.key);
        let Ok((_, parsed)) = x509_parser::certificate::X509Certificate::from_der(&certificate.der) else { return false };
        let key = &parsed.public_key().subject_public_key.data;
        fitting
            .into_iter()
            .any(|(_, algorithm)| UnparsedPublicKey::new(*algorithm, key.as_ref()).verify(signed.as_bytes(), &value).is_ok())
    });
    if genuine { read_query(raw) } else { Err(refusal("signature_invalid", "the signature of the address does not match")) }
}

/// ECDSA comes as r and s side by side; the curve is the key's, so each is tried.
fn algorithms(name: &str, sha1: bool) -> Vec<(KeyType, &'static dyn VerificationAlgorithm)> {
    let rsa = |algorithm: &'static dyn VerificationAlgorithm| vec![(KeyType::Rsa, algorithm)];
    match name.rsplit_once('#') {
        Some(("http://www.w3.org/2001/04/xmldsig-more", "rsa-sha256")) => rsa(&signature::RSA_PKCS1_2048_8192_SHA256),
        Some(("http://www.w3.org/2001/04/xmldsig-more", "rsa-sha384")) => rsa(&signature::RSA_PKCS1_2048_8192_SHA384),
        Some(("http://www.w3.org/2001/04/xmldsig-more", "rsa-sha512")) => rsa(&signature::RSA_PKCS1_2048_8192_SHA512),
        Some(("http://www.w3.org/2001/04/xmldsig-more", "ecdsa-sha256")) => {
            vec![(KeyType::Ecdsa, &signature::ECDSA_P256_SHA256_FIXED)]
        }
        Some(("http://www.w3.org/2001/04/xmldsig-more", "ecdsa-sha384")) => {
            vec![(KeyType::Ecdsa, &signature::ECDSA_P384_SHA384_FIXED)]
        }
        Some(("http://www.w3.org/2001/04/xmldsig-more", "ecdsa-sha512")) => {
            vec![(KeyType::Ecdsa, &signature::ECDSA_P521_SHA512_FIXED)]
        }
        Some(("http://www.w3.org/2000/09/xmldsig", "rsa-sha1")) if sha1 => {
            rsa(&signature::RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY)
        }
        _ => Vec::new(),
    }
}

fn malformed(detail: &str) -> Refusal {
    refusal("redirect_malformed", detail)
}

/// The parameters of a redirect as they came, still encoded.
struct QueryParts<'q> {
    request: bool,
    message: &'q str,
    relay_state: Option<&'q str>,
    algorithm: Option<&'q str>,
    signature: Option<&'q str>,
}

impl<'q> QueryParts<'q> {
    /// Exactly one of each: two readers must never see two different values.
    fn read(raw: &'q str) -> Result<Self, Refusal> {
        if raw.len() > xml::MAX_MESSAGE {
            return Err(malformed("the address is too long"));
        }
        let one = |name: &str| {
            let mut values = raw.split('&').filter_map(|pair| {
                let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
                // A name in another spelling is another name to some readers.
                (percent_decode_str(key).decode_utf8_lossy() == name).then_some((key, value))
            });
            match (values.next(), values.next()) {
                (Some((key, value)), None) if key == name => Ok(Some(value)),
                (None, _) => Ok(None),
                _ => Err(malformed(&format!("`{name}` appears twice or in another spelling"))),
            }
        };
        let (request, message) = match (one("SAMLRequest")?, one("SAMLResponse")?) {
            (Some(message), None) => (true, message),
            (None, Some(message)) => (false, message),
            _ => return Err(malformed("there is not exactly one message")),
        };
        if one("SAMLEncoding")?.is_some_and(|encoding| decode(encoding).as_deref() != Ok(DEFLATE)) {
            return Err(malformed("the message has another encoding than DEFLATE"));
        }
        Ok(Self { request, message, relay_state: one("RelayState")?, algorithm: one("SigAlg")?, signature: one("Signature")? })
    }
}

const DEFLATE: &str = "urn:oasis:names:tc:SAML:2.0:bindings:URL-Encoding:DEFLATE";

fn decode(value: &str) -> Result<String, Refusal> {
    let spaced = value.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8().map_err(|_| malformed("a parameter is not UTF-8"))?;
    Ok(decoded.into_owned())
}

/// Some senders leave a plus of base64 as it is.
fn decode_base64(value: &str) -> Result<Vec<u8>, Refusal> {
    let text = percent_decode_str(value).decode_utf8().map_err(|_| malformed("a parameter is not UTF-8"))?;
    let compact: String = text.split_ascii_whitespace().collect();
    STANDARD.decode(compact).map_err(|_| malformed("a parameter is not base64"))
}

/// Inflates a message (RFC 1951), which may not grow beyond its bound.
fn inflate(deflated: &[u8]) -> Result<String, Refusal> {
    let mut xml = String::new();
    let limit = u64::try_from(xml::MAX_MESSAGE).unwrap_or(u64::MAX);
    let read = flate2::read::DeflateDecoder::new(deflated).take(limit + 1).read_to_string(&mut xml);
    read.map_err(|_| malformed("the message does not inflate to text"))?;
    if xml.len() > xml::MAX_MESSAGE {
        return Err(refusal("document_too_large", format!("it inflates to more than {} bytes", xml::MAX_MESSAGE)));
    }
    Ok(xml)
}
