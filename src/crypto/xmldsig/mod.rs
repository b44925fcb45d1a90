//! XML signatures: bytes in, only the signed bytes out.
//!
//! The classic failure is that the bytes which were verified are not the bytes which are read. So nothing of a document
//! survives this module but the octets that entered the digest ([`SignedXml::xml`]), and some facts of the envelope that may
//! refuse a sign-in but never grant one ([`Envelope`]).
//!
//! 1. [`gate`] refuses everything but one shape before any signature work: DTDs, foreign transforms, external references,
//!    duplicate ids, wrapped assertions.
//! 2. Two verifiers that share no code give their opinion: libxmlsec1 through `samael` (C, libxml2, OpenSSL; in its cage),
//!    and `bergshamra` (memory-safe, its own parser, canonicalization and aws-lc).
//! 3. They must agree: both accept, and what libxmlsec1 digested hashes to the very digest value that the other verified.
//!
//! XML Signature 1.1, SAML core section 5.4, XML Encryption 1.1.

pub mod gate;
mod memory_safe;
pub mod sign;
pub mod xmlsec;

use super::{Refusal, refusal, xml, xmlenc};
use aws_lc_rs::digest;
pub use gate::Shape;
use gate::{Candidate, KeyType};
use x509_parser::{prelude::FromDer as _, public_key::PublicKey};

/// The octets that were signed, canonical, rooted at the message or the assertion that was signed.
#[derive(Clone, Debug)]
pub struct SignedXml {
    /// Parse this, and nothing else.
    pub xml: String,
    /// What the envelope says.
    pub envelope: Envelope,
    /// Whether the assertion came encrypted.
    pub encrypted: bool,
}

/// Facts of the message's root element. When only the assertion is signed they are not verified: a mismatch refuses, a match
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
    /// Whether the root itself is signed.
    pub response_signed: bool,
}

/// A certificate whose key may sign for a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningCertificate {
    /// X.509, DER.
    pub der: Vec<u8>,
    pub(crate) key: KeyType,
}

impl SigningCertificate {
    /// Reads a certificate.
    ///
    /// # Errors
    /// `certificate_malformed`, or `certificate_weak_key`: RSA of at least 2048 bits and ECDSA on P-256, P-384 and P-521 are
    /// accepted.
    pub fn read(der: &[u8]) -> Result<Self, Refusal> {
        let malformed = || refusal("certificate_malformed", "a signing certificate is no X.509 certificate");
        let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(der).map_err(|_| malformed())?;
        let weak = |what: String| refusal("certificate_weak_key", what);
        let key = match certificate.public_key().parsed().map_err(|_| malformed())? {
            PublicKey::RSA(key) if key.key_size() >= 2048 => KeyType::Rsa,
            PublicKey::RSA(key) => {
                return Err(weak(format!("an RSA key has {} bits, at least 2048 are needed", key.key_size())));
            }
            PublicKey::EC(_) if on_known_curve(&certificate) => KeyType::Ecdsa,
            _ => return Err(weak("a key is neither RSA nor on P-256, P-384 or P-521".to_owned())),
        };
        Ok(Self { der: der.to_vec(), key })
    }
}

/// P-256, P-384 or P-521, by name.
fn on_known_curve(certificate: &x509_parser::certificate::X509Certificate<'_>) -> bool {
    const CURVES: [&str; 3] = ["1.2.840.10045.3.1.7", "1.3.132.0.34", "1.3.132.0.35"];
    let parameters = certificate.public_key().algorithm.parameters.as_ref();
    parameters.and_then(|any| any.as_oid().ok()).is_some_and(|oid| CURVES.contains(&oid.to_id_string().as_str()))
}

/// What a provider's signatures are checked against. Never without a key: then nothing could be verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    certificates: Vec<SigningCertificate>,
    sha1: bool,
}

impl Trust {
    /// Trusts these certificates. `sha1` also lets SHA-1 pass, which anyone with some money can forge collisions of.
    ///
    /// # Errors
    /// `provider_has_no_key`.
    pub fn new(certificates: Vec<SigningCertificate>, sha1: bool) -> Result<Self, Refusal> {
        if certificates.is_empty() {
            return Err(refusal("provider_has_no_key", "the provider's metadata holds no signing certificate"));
        }
        Ok(Self { certificates, sha1 })
    }

    /// The certificates.
    #[must_use]
    pub fn certificates(&self) -> &[SigningCertificate] {
        &self.certificates
    }

    fn ders(&self, key: KeyType) -> Vec<Vec<u8>> {
        self.certificates.iter().filter(|one| one.key == key).map(|one| one.der.clone()).collect()
    }
}

/// How libxmlsec1 is asked: the document, and the certificates to try. It answers with the octets that were digested.
pub type Xmlsec<'a> = &'a mut dyn FnMut(&str, &[Vec<u8>]) -> Result<String, Refusal>;

/// Checks shape and signatures of a message and returns the signed octets; decrypts an encrypted assertion on the way.
///
/// Keys in the document are never used.
///
/// # Errors
/// A [`Refusal`] with its own code for each way to fail.
pub fn verify(
    bytes: &[u8],
    shape: Shape,
    trust: &Trust,
    decryption: Option<&xmlenc::DecryptionKey>,
    xmlsec: Xmlsec<'_>,
) -> Result<SignedXml, Refusal> {
    let text = xml::text_within(bytes, if shape == Shape::Metadata { xml::MAX_METADATA } else { xml::MAX_MESSAGE })?;
    let candidate = gate::read(text, shape, trust.sha1)?;
    let envelope = candidate.envelope();
    let signed = if candidate.signatures.is_empty() { None } else { Some(agree(&candidate, trust, xmlsec)?) };
    if !candidate.encrypted {
        let xml = signed.ok_or_else(unsigned)?;
        return Ok(SignedXml { xml, envelope, encrypted: false });
    }
    // What is decrypted is either inside of what was signed, or it must bring its own signature through the whole gate.
    let source = signed.as_deref().unwrap_or(text);
    let key = decryption.ok_or_else(|| refusal("assertion_encrypted", "there is no key to decrypt an assertion with"))?;
    let plain = xmlenc::decrypt_assertion(source, key)?;
    let opened = open_envelope(&plain, signed.is_some(), trust, xmlsec);
    let xml = match opened {
        // Whoever can change a ciphertext must not learn from our answer what it decrypts to.
        Err(_) if !plain.authenticated && signed.is_none() => return Err(xmlenc::failed()),
        opened => opened?,
    };
    Ok(SignedXml { xml, envelope, encrypted: true })
}

/// What stands in the decrypted envelope: signed itself, or inside of what was signed.
fn open_envelope(plain: &xmlenc::Plain, signed_outside: bool, trust: &Trust, xmlsec: Xmlsec<'_>) -> Result<String, Refusal> {
    let inner_text = xml::message(plain.message.expose().as_bytes())?;
    let inner = gate::read(inner_text, Shape::Decrypted, trust.sha1)?;
    if !inner.signatures.is_empty() {
        return agree(&inner, trust, xmlsec);
    }
    match (signed_outside, plain.authenticated) {
        (true, true) => Ok(inner_text.to_owned()),
        // CBC can be changed without the key; the signature around it covers the ciphertext, but a provider that signs what
        // it encrypts is asked to sign what it says, too.
        (true, false) => Err(refusal("encryption_unauthenticated", "AES-CBC is accepted only around a signed assertion")),
        (false, _) => Err(unsigned()),
    }
}

fn unsigned() -> Refusal {
    refusal("signature_missing", "neither the message nor the assertion is signed")
}

/// Asks both verifiers. Only when both accept, and mean the same octets, are the octets returned.
fn agree(candidate: &Candidate<'_>, trust: &Trust, xmlsec: Xmlsec<'_>) -> Result<String, Refusal> {
    let Some(signature) = candidate.signatures.first() else { return Err(unsigned()) };
    let certificates = trust.ders(signature.key);
    if certificates.is_empty() {
        return Err(refusal("signature_key_unknown", "the provider's metadata holds no key of the signature's type"));
    }
    let first = match xmlsec(candidate.xml, &certificates) {
        // The cage itself failed: there is no opinion to compare.
        Err(failed) if failed.code != xmlsec::REFUSED => return Err(failed),
        opinion => opinion,
    };
    let second = memory_safe::opinion(candidate, &certificates);
    let disagree = |which: String| Err(refusal("verifiers_disagree", which));
    match (first, second) {
        (Err(_), Err(_)) => Err(candidate.diagnose(&certificates)),
        (Ok(_), Err(why)) => disagree(format!("libxmlsec1 accepts, the second verifier does not: {why}")),
        (Err(_), Ok(())) => disagree("the second verifier accepts, libxmlsec1 does not".to_owned()),
        (Ok(octets), Ok(())) if octets.trim().is_empty() => {
            Err(refusal("signature_covers_nothing", "the signature covers no bytes"))
        }
        (Ok(octets), Ok(())) => {
            // The octets must be what the outermost signature speaks about. A collision aside, they are then the very
            // octets that the second verifier digested.
            let digest = digest::digest(signature.digest, octets.as_bytes());
            if digest.as_ref() != signature.digest_value {
                return disagree("they accept the signature but digest other octets".to_owned());
            }
            Ok(octets)
        }
    }
}
