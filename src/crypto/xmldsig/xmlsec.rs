//! The opinion of libxmlsec1, through `samael`. C code: the broker asks it in a [cage](crate::crypto::cage).

use crate::crypto::{Refusal, refusal};
use samael::crypto::{CertificateDer, Crypto, CryptoProvider as _, ReduceMode};

/// The code of a refusal by libxmlsec1 itself; any other means that it could not be asked.
pub const REFUSED: &str = "xmlsec_refused";

/// Verifies every signature of the document with one of the certificates, and returns what was digested: the message where
/// it is signed, else the assertion. The document must have passed the gate.
///
/// # Errors
/// [`REFUSED`].
pub fn octets(xml: &str, certificates: &[Vec<u8>]) -> Result<String, Refusal> {
    // One at a time: with several, a certificate of another type would end the search.
    let verified = certificates.iter().find_map(|certificate| {
        let certificate = CertificateDer::from(certificate.clone());
        Crypto::reduce_xml_to_signed_with_allowed_algorithms(xml, &[certificate], ReduceMode::PreDigest, None).ok()
    });
    verified.ok_or_else(|| refusal(REFUSED, "libxmlsec1 does not accept the signature"))
}
