//! The opinion of `bergshamra`: memory-safe, and independent of libxmlsec1 in parser, canonicalization and cryptography.

use super::gate::Candidate;
use bergshamra_dsig::{DsigContext, VerifyResult};
use bergshamra_keys::{KeysManager, loader::load_x509_cert_der};

/// Whether every signature of the document is valid under one of the certificates, and covers what the gate said it covers.
pub(super) fn opinion(candidate: &Candidate<'_>, certificates: &[Vec<u8>]) -> Result<(), String> {
    let mut keys = KeysManager::new();
    for certificate in certificates {
        keys.add_key(load_x509_cert_der(certificate).map_err(|error| error.to_string())?);
    }
    // Its defaults: keys of the document are never used, references must be local and around the signature.
    let context = DsigContext::new(keys);
    let results = bergshamra_dsig::verify::verify_all(&context, candidate.xml).map_err(|error| error.to_string())?;
    if results.len() != candidate.signatures.len() {
        return Err(format!("{} signatures where the gate saw {}", results.len(), candidate.signatures.len()));
    }
    for result in &results {
        match result {
            VerifyResult::Invalid { reason } => return Err(reason.clone()),
            VerifyResult::Valid { references, .. } => {
                let [reference] = references.as_slice() else { return Err(format!("{} references", references.len())) };
                let named = candidate.signatures.iter().any(|signature| reference.uri == format!("#{}", signature.covers));
                if !named || !reference.digest_verified {
                    return Err(format!("the reference `{}` is not one the gate saw", reference.uri));
                }
            }
        }
    }
    Ok(())
}
