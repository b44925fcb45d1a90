//! A SAML identity provider in a few lines: keys, metadata, and responses that it signs and encrypts. For the suite and the
//! benches.

use aws_lc_rs::{
    aead::{self, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{self, EncryptingKey, EncryptionContext, UnboundCipherKey},
    iv::FixedLength,
    rsa::{OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bergshamra_dsig::DsigContext;
use bergshamra_keys::{
    KeysManager,
    loader::{load_ec_p256_private_pem, load_ec_p384_private_pem, load_ec_p521_private_pem, load_rsa_private_pem},
};
use daypass::domain::Timestamp;
use samael::crypto::{Crypto, CryptoProvider as _};

pub const ENTITY_ID: &str = "https://idp.example/metadata";
pub const RSA_SHA256: &str = "http://www.w3.org/2001/04/xmldsig-more#rsa-sha256";

/// What a provider signs with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rsa,
    WeakRsa,
    P256,
    P384,
    P521,
}

pub struct Idp {
    kind: Kind,
    pem: String,
    certificate: Vec<u8>,
    pub private_key: Vec<u8>,
    public_key: Vec<u8>,
}

/// 1024 bits, which nobody should use and rcgen will not make: generated once with OpenSSL for this test alone.
const WEAK: &str = include_str!("../data/saml/weak-rsa.pem");

impl Idp {
    pub fn new() -> Self {
        Self::of(Kind::Rsa)
    }

    pub fn of(kind: Kind) -> Self {
        let key = match kind {
            Kind::Rsa => rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap(),
            Kind::WeakRsa => {
                let (key, certificate) = WEAK.split_once("-----BEGIN CERTIFICATE-----").unwrap();
                let body: String = certificate.lines().take_while(|line| !line.starts_with("-----END")).collect();
                return Self {
                    kind,
                    pem: key.to_owned(),
                    certificate: STANDARD.decode(body).unwrap(),
                    private_key: Vec::new(),
                    public_key: Vec::new(),
                };
            }
            Kind::P256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap(),
            Kind::P384 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap(),
            Kind::P521 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P521_SHA512).unwrap(),
        };
        let certificate = rcgen::CertificateParams::new(vec!["idp".to_owned()]).unwrap().self_signed(&key).unwrap();
        Self {
            kind,
            pem: pem(&key.serialize_der()),
            certificate: certificate.der().to_vec(),
            private_key: key.serialize_der(),
            public_key: rcgen::PublicKeyData::subject_public_key_info(&key),
        }
    }

    pub fn certificate(&self) -> String {
        STANDARD.encode(&self.certificate)
    }

    pub fn metadata(&self) -> String {
        metadata(&[self])
    }

    /// Fills in digest and signature of the first template in the document; none when it is unfit.
    pub fn sign(&self, xml: &str) -> Option<String> {
        if xml.contains("xmldsig#rsa-sha1") || xml.contains("xmldsig#sha1") {
            // Only OpenSSL still signs with SHA-1. It wants the traditional form of the key: PKCS #8 wraps it in 26 bytes of
            // header for a key of this size.
            let signed = Crypto::sign_xml(xml, &self.private_key[26..]).ok()?;
            return Some(signed.replace("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n", ""));
        }
        let pem = self.pem.as_bytes();
        let key = match self.kind {
            Kind::Rsa | Kind::WeakRsa => load_rsa_private_pem(pem),
            Kind::P256 => load_ec_p256_private_pem(pem),
            Kind::P384 => load_ec_p384_private_pem(pem),
            Kind::P521 => load_ec_p521_private_pem(pem),
        };
        let mut keys = KeysManager::new();
        keys.add_key(key.unwrap());
        bergshamra_dsig::sign::sign(&DsigContext::new(keys), xml).ok()
    }

    /// Encrypts an element to this key, as `EncryptedAssertion`.
    pub fn encrypt(&self, element: &str, content: &str, oaep: &str) -> String {
        let public = PublicEncryptingKey::from_der(&self.public_key).unwrap();
        let public = OaepPublicEncryptingKey::new(public).unwrap();
        let key = vec![7; if content.contains("256") { 32 } else { 16 }];
        let data = if content.ends_with("gcm") { gcm(&key, element) } else { cbc(&key, element) };
        let (algorithm, method) = match oaep {
            "sha256" => (
                &OAEP_SHA256_MGF1SHA256,
                r#"<xenc:EncryptionMethod Algorithm="http://www.w3.org/2009/xmlenc11#rsa-oaep"><ds:DigestMethod xmlns:ds="http://www.w3.org/2000/09/xmldsig#" Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><xenc11:MGF xmlns:xenc11="http://www.w3.org/2009/xmlenc11#" Algorithm="http://www.w3.org/2009/xmlenc11#mgf1sha256"/></xenc:EncryptionMethod>"#,
            ),
            _ => (&OAEP_SHA1_MGF1SHA1, r#"<xenc:EncryptionMethod Algorithm="http://www.w3.org/2001/04/xmlenc#rsa-oaep-mgf1p"/>"#),
        };
        let mut wrapped = vec![0; public.ciphertext_size()];
        let wrapped = public.encrypt(algorithm, &key, &mut wrapped, None).unwrap();
        format!(
            r#"<saml:EncryptedAssertion><xenc:EncryptedData xmlns:xenc="http://www.w3.org/2001/04/xmlenc#" Type="http://www.w3.org/2001/04/xmlenc#Element"><xenc:EncryptionMethod Algorithm="{content}"/><ds:KeyInfo xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><xenc:EncryptedKey>{method}<xenc:CipherData><xenc:CipherValue>{key}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedKey></ds:KeyInfo><xenc:CipherData><xenc:CipherValue>{data}</xenc:CipherValue></xenc:CipherData></xenc:EncryptedData></saml:EncryptedAssertion>"#,
            key = STANDARD.encode(wrapped),
            data = STANDARD.encode(data),
        )
    }
}

/// RFC 7468: lines of 64 letters.
pub fn pem(der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<&str> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"))
}

fn gcm(key: &[u8], plain: &str) -> Vec<u8> {
    let algorithm = if key.len() == 32 { &aead::AES_256_GCM } else { &aead::AES_128_GCM };
    let cipher = LessSafeKey::new(UnboundKey::new(algorithm, key).unwrap());
    let (vector, mut data) = ([3; 12], plain.as_bytes().to_vec());
    cipher.seal_in_place_append_tag(Nonce::assume_unique_for_key(vector), Aad::empty(), &mut data).unwrap();
    [vector.as_slice(), &data].concat()
}

fn cbc(key: &[u8], plain: &str) -> Vec<u8> {
    let algorithm = if key.len() == 32 { &cipher::AES_256 } else { &cipher::AES_128 };
    let (vector, mut data) = ([3; 16], plain.as_bytes().to_vec());
    let padding = 16 - data.len() % 16;
    data.resize(data.len() + padding, 0x20);
    *data.last_mut().unwrap() = u8::try_from(padding).unwrap();
    let key = EncryptingKey::cbc(UnboundCipherKey::new(algorithm, key).unwrap()).unwrap();
    key.less_safe_encrypt(&mut data, EncryptionContext::Iv128(FixedLength::from(vector))).unwrap();
    [vector.as_slice(), &data].concat()
}

/// Metadata that publishes these keys.
pub fn metadata(keys: &[&Idp]) -> String {
    let keys: String = keys
        .iter()
        .map(|key| {
            format!(
                r#"<md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data><ds:X509Certificate>{}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>"#,
                key.certificate()
            )
        })
        .collect();
    format!(
        r#"<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" xmlns:ds="http://www.w3.org/2000/09/xmldsig#" entityID="{ENTITY_ID}"><md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">{keys}<md:SingleLogoutService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example/slo"/><md:SingleSignOnService Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect" Location="https://idp.example/sso"/></md:IDPSSODescriptor></md:EntityDescriptor>"#
    )
}

/// A signature template for the element with this id.
pub fn signature(id: &str, signature_method: &str) -> String {
    format!(
        r##"<ds:Signature xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><ds:SignedInfo><ds:CanonicalizationMethod Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/><ds:SignatureMethod Algorithm="{signature_method}"/><ds:Reference URI="#{id}"><ds:Transforms><ds:Transform Algorithm="http://www.w3.org/2000/09/xmldsig#enveloped-signature"/><ds:Transform Algorithm="http://www.w3.org/2001/10/xml-exc-c14n#"/></ds:Transforms><ds:DigestMethod Algorithm="http://www.w3.org/2001/04/xmlenc#sha256"/><ds:DigestValue></ds:DigestValue></ds:Reference></ds:SignedInfo><ds:SignatureValue></ds:SignatureValue></ds:Signature>"##
    )
}

/// A genuine response with a template in its assertion: for the service provider at `sp`, as an answer to a request, or
/// unsolicited.
pub fn response(sp: &str, id: &str, in_response_to: Option<&str>, now: Timestamp) -> String {
    let at = |seconds: i64| now.plus_seconds(seconds).to_string();
    let answer = in_response_to.map(|request| format!(" InResponseTo=\"{request}\"")).unwrap_or_default();
    format!(
        r#"<samlp:Response xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol" xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion" ID="_r" Version="2.0" IssueInstant="{now}" Destination="{sp}/saml/acs"{answer}><saml:Issuer>{ENTITY_ID}</saml:Issuer><samlp:Status><samlp:StatusCode Value="urn:oasis:names:tc:SAML:2.0:status:Success"/></samlp:Status><saml:Assertion ID="{id}" Version="2.0" IssueInstant="{now}"><saml:Issuer>{ENTITY_ID}</saml:Issuer>{signature}<saml:Subject><saml:NameID Format="urn:oasis:names:tc:SAML:1.1:nameid-format:emailAddress">jane@corp.test</saml:NameID><saml:SubjectConfirmation Method="urn:oasis:names:tc:SAML:2.0:cm:bearer"><saml:SubjectConfirmationData NotOnOrAfter="{later}" Recipient="{sp}/saml/acs"{answer}/></saml:SubjectConfirmation></saml:Subject><saml:Conditions NotBefore="{before}" NotOnOrAfter="{later}"><saml:AudienceRestriction><saml:Audience>{sp}/saml/metadata</saml:Audience></saml:AudienceRestriction></saml:Conditions><saml:AuthnStatement AuthnInstant="{now}" SessionIndex="_s" SessionNotOnOrAfter="{session}"><saml:AuthnContext><saml:AuthnContextClassRef>urn:oasis:names:tc:SAML:2.0:ac:classes:Password</saml:AuthnContextClassRef></saml:AuthnContext></saml:AuthnStatement><saml:AttributeStatement><saml:Attribute Name="groups"><saml:AttributeValue>admins</saml:AttributeValue><saml:AttributeValue>staff</saml:AttributeValue></saml:Attribute><saml:Attribute Name="https://aws.amazon.com/SAML/Attributes/PrincipalTag:Team"><saml:AttributeValue>blue</saml:AttributeValue></saml:Attribute></saml:AttributeStatement></saml:Assertion></samlp:Response>"#,
        now = at(0),
        before = at(-30),
        later = at(300),
        session = at(3600),
        signature = signature(id, RSA_SHA256),
    )
}
