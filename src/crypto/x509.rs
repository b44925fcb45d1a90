//! X.509 certificates of workloads: possession first (the request is signed with the certificate's key), then whether a
//! trust anchor vouches for it (RFC 5280; IAM Roles Anywhere user guide, "Signature verification" and "Trust model").

use super::sigv4::{CertificateAlgorithm, CertifiedRequest, HttpRequest};
use crate::domain::{
    Error, ErrorKind, Timestamp,
    anywhere::{CertifiedIdentity, PresentedCertificate, RevocationList, TrustAnchor},
    name::SourceIdentity,
    session::SessionTags,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime, pem::PemObject as _};
use std::time::Duration;
use webpki::{
    BorrowedCertRevocationList, CertRevocationList, EndEntityCert, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder,
    UnknownStatusPolicy, anchor_from_trusted_cert, aws_lc_rs as algorithms,
};
use x509_parser::{
    certificate::X509Certificate, extensions::GeneralName, oid_registry::OidRegistry, prelude::FromDer as _, x509::X509Name,
};

/// Most bytes of a certificate.
const MAX_CERTIFICATE: usize = 16 * 1024;
/// Most certificates between a workload's and its authority's.
const MAX_CHAIN: usize = 5;

/// What authorities sign with.
static SIGNATURES: &[&dyn SignatureVerificationAlgorithm] = &[
    algorithms::RSA_PKCS1_2048_8192_SHA256,
    algorithms::RSA_PKCS1_2048_8192_SHA384,
    algorithms::RSA_PKCS1_2048_8192_SHA512,
    algorithms::RSA_PSS_2048_8192_SHA256_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA384_LEGACY_KEY,
    algorithms::RSA_PSS_2048_8192_SHA512_LEGACY_KEY,
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P256_SHA384,
    algorithms::ECDSA_P384_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ECDSA_P521_SHA512,
    algorithms::ED25519,
];

fn refused(why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::AccessDenied, "Untrusted certificate").with_private(why)
}

fn unreadable(why: &str) -> Error {
    Error::new(ErrorKind::IncompleteSignature, format!("X-Amz-X509: {why}"))
}

/// Verifies that the request was signed with the key of the certificate it carries.
///
/// # Errors
/// `IncompleteSignature`, `BadSignature`.
pub fn possession(
    signed: &CertifiedRequest<'_>,
    request: HttpRequest<'_>,
    service: &str,
    now: Timestamp,
) -> Result<PresentedCertificate, Error> {
    let decode = |text: &str| {
        let der = STANDARD.decode(text.trim()).map_err(|_| unreadable("it is not base64"))?;
        if der.len() <= MAX_CERTIFICATE { Ok(der) } else { Err(unreadable("the certificate is too long")) }
    };
    let leaf = decode(request.header("x-amz-x509").ok_or_else(|| unreadable("the header is missing"))?)?;
    let chain = match request.header("x-amz-x509-chain") {
        None => Vec::new(),
        Some(list) => list.split(',').map(decode).collect::<Result<Vec<_>, _>>()?,
    };
    if chain.len() > MAX_CHAIN {
        return Err(unreadable("the chain is too long"));
    }
    let parsed = parse(&leaf)?;
    if parsed.tbs_certificate.serial.to_string() != signed.serial {
        return Err(unreadable("the serial number is not the one in Credential"));
    }
    let text = signed.string_to_sign(request, service, now)?;
    let der = CertificateDer::from(leaf.as_slice());
    let certificate = EndEntityCert::try_from(&der).map_err(|_| unreadable("it is no certificate"))?;
    let candidates: &[&dyn SignatureVerificationAlgorithm] = match signed.algorithm {
        CertificateAlgorithm::RsaSha256 => &[algorithms::RSA_PKCS1_2048_8192_SHA256],
        CertificateAlgorithm::EcdsaSha256 => &[algorithms::ECDSA_P256_SHA256, algorithms::ECDSA_P384_SHA256],
    };
    let genuine = |algorithm: &&dyn SignatureVerificationAlgorithm| {
        certificate.verify_signature(*algorithm, text.as_bytes(), &signed.signature).is_ok()
    };
    if !candidates.iter().any(genuine) {
        return Err(super::sigv4::mismatch());
    }
    let serial = hex::encode(parsed.tbs_certificate.raw_serial());
    Ok(PresentedCertificate { leaf, chain, serial })
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, Error> {
    match X509Certificate::from_der(der) {
        Ok(([], certificate)) => Ok(certificate),
        Ok(_) | Err(_) => Err(unreadable("it is no certificate")),
    }
}

/// Checks that these are certificates of authorities, PEM.
///
/// # Errors
/// `InvalidInput`.
pub fn check_anchor(pem: &str) -> Result<(), Error> {
    let bad = |why: &str| Error::invalid(format!("Incorrect basic constraints for CA certificate: {why}"));
    let certificates = read_anchor(pem);
    if certificates.is_empty() {
        return Err(Error::invalid("x509CertificateData holds no certificate in PEM"));
    }
    for certificate in &certificates {
        let parsed =
            parse(certificate).map_err(|_| Error::invalid("x509CertificateData holds something that is no certificate"))?;
        if !parsed.is_ca() {
            return Err(bad("it is not an authority's"));
        }
        anchor_from_trusted_cert(certificate).map_err(|error| bad(&error.to_string()))?;
    }
    Ok(())
}

fn read_anchor(pem: &str) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).filter_map(Result::ok).collect()
}

/// Checks that this is a revocation list, DER.
///
/// # Errors
/// `InvalidInput`.
pub fn check_revocations(der: &[u8]) -> Result<(), Error> {
    BorrowedCertRevocationList::from_der(der)
        .map(drop)
        .map_err(|error| Error::invalid(format!("crlData is no revocation list that can be used: {error}")))
}

/// The workload a certificate names, if the trust anchor vouches for it at this instant.
///
/// # Errors
/// `AccessDenied`, with the reason in private.
pub fn certify(
    presented: &PresentedCertificate,
    anchor: &TrustAnchor,
    revocations: &[&RevocationList],
    now: Timestamp,
) -> Result<CertifiedIdentity, Error> {
    let parsed = parse(&presented.leaf).map_err(|error| refused(error.public))?;
    if parsed.is_ca() {
        return Err(refused("the certificate is an authority's"));
    }
    let signs = parsed.key_usage().ok().flatten().is_some_and(|usage| usage.value.digital_signature());
    if !signs {
        return Err(refused("the certificate's key is not for digital signatures"));
    }
    let standing = |der: &CertificateDer<'_>| {
        let times =
            parse(der).map(|authority| (authority.validity().not_before.timestamp(), authority.validity().not_after.timestamp()));
        times.is_ok_and(|(first, last)| (first..=last).contains(&now.seconds()))
    };
    let authorities = read_anchor(&anchor.certificates);
    let anchors: Vec<_> =
        authorities.iter().filter(|der| standing(der)).filter_map(|der| anchor_from_trusted_cert(der).ok()).collect();
    let between: Vec<_> = presented.chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let der = CertificateDer::from(presented.leaf.as_slice());
    let certificate = EndEntityCert::try_from(&der).map_err(refused)?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(now.seconds()).unwrap_or_default()));
    let verify = |lists: &[&CertRevocationList<'_>]| {
        let revocation = RevocationOptionsBuilder::new(lists).ok().map(|builder| {
            builder.with_depth(RevocationCheckDepth::Chain).with_status_policy(UnknownStatusPolicy::Allow).build()
        });
        certificate.verify_for_usage(SIGNATURES, &anchors, &between, time, KeyUsage::client_auth(), revocation, None).map(drop)
    };
    verify(&[]).map_err(refused)?;
    // One by one: of several lists of an authority the library would ask the first alone.
    for list in revocations {
        let read = BorrowedCertRevocationList::from_der(&list.list).map_err(refused)?;
        verify(&[&CertRevocationList::from(read)]).map_err(refused)?;
    }
    let mut tags = named("x509Subject", parsed.subject());
    tags.extend(named("x509Issuer", parsed.issuer()));
    tags.extend(alternative(&parsed));
    let common_name = tags.iter().find(|(key, _)| key == "x509Subject/CN").map(|(_, value)| format!("CN={value}"));
    Ok(CertifiedIdentity {
        anchor: anchor.arn(),
        anchor_name: anchor.name.clone(),
        serial: presented.serial.clone(),
        tags: SessionTags::new(tags, &[]).map_err(|error| refused(error.public))?,
        source_identity: common_name.and_then(|name| SourceIdentity::parse(&name).ok()),
        not_after: Timestamp::from_seconds(parsed.validity().not_after.timestamp()),
    })
}

/// `<prefix>/<attribute>` for the first value of each attribute of a name.
fn named(prefix: &str, name: &X509Name<'_>) -> Vec<(String, String)> {
    let registry = OidRegistry::default().with_x509();
    let mut found: Vec<(String, String)> = Vec::new();
    for attribute in name.iter_attributes() {
        let short = match attribute.attr_type().to_id_string().as_str() {
            "2.5.4.3" => "CN".to_owned(),
            "2.5.4.5" => "SerialNumber".to_owned(),
            "2.5.4.6" => "C".to_owned(),
            "2.5.4.7" => "L".to_owned(),
            "2.5.4.8" => "ST".to_owned(),
            "2.5.4.10" => "O".to_owned(),
            "2.5.4.11" => "OU".to_owned(),
            other => registry.get(attribute.attr_type()).map_or_else(|| other.to_owned(), |known| known.sn().to_owned()),
        };
        let key = format!("{prefix}/{short}");
        if let Ok(value) = attribute.as_str()
            && !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(&key))
        {
            found.push((key, value.to_owned()));
        }
    }
    found
}

fn alternative(certificate: &X509Certificate<'_>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    let Ok(Some(names)) = certificate.subject_alternative_name() else { return found };
    for name in &names.value.general_names {
        let (kind, value) = match name {
            GeneralName::DNSName(name) => ("DNS", name),
            GeneralName::URI(uri) => ("URI", uri),
            GeneralName::RFC822Name(address) => ("RFC822", address),
            _ => continue,
        };
        let key = format!("x509SAN/{kind}");
        if !found.iter().any(|(known, _)| *known == key) {
            found.push((key, (*value).to_owned()));
        }
    }
    found
}

/// When a certificate (DER) ends; none when it can't be read.
#[must_use]
pub fn ends(der: &[u8]) -> Option<Timestamp> {
    parse(der).ok().map(|certificate| Timestamp::from_seconds(certificate.validity().not_after.timestamp()))
}
