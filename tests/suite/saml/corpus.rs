//! The corpus: `tests/data/saml/valid.json` and `attacks.json`, and the generator that makes documents of them.
//!
//! A variant begins with a genuine response of a base form (what is signed, what is encrypted), is changed as text `before` or
//! `after` it is signed, and says what must come of it. In `from` and `to` these words are replaced:
//!
//! | word | by |
//! | --- | --- |
//! | `{assertion}` | the assertion as it stands in the signed document |
//! | `{evil}` | the same with another person and another ID, without its signature |
//! | `{evil-signed}` | the same with the genuine signature left in it |
//! | `{signature}` | the first signature element |
//! | `{response}`, `{reference}`, `{transforms}`, `{digest-value}`, … | those parts of the genuine document, see `words` |
//! | `{certificate}`, `{stranger}` | base64 of the provider's certificate, of a stranger's |
//! | `{now+60}` | the instant in so many seconds |
//! | `{1000*<a>}` | `<a>` a thousand times |

use crate::{
    idp::{ENTITY_ID, Idp, Kind, RSA_SHA256, metadata, signature},
    world::NOON,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bergshamra_dsig::DsigContext;
use bergshamra_keys::{KeysManager, loader::load_x509_cert_der};
use daypass::{
    crypto::{
        Refusal,
        xmldsig::{self, Shape, xmlsec},
        xmlenc::{DecryptionKey, reveal_name_id},
    },
    domain::{
        Timestamp,
        iam::{AttributeMapping, IdentityProvider, ProviderKind, ProviderOwner, SamlProvider, SecondFactor},
        name::ProviderName,
        session::IdentityAssertion,
    },
    federation::{Addresses, Recording, metadata::parse, saml},
};
use serde::Deserialize;
use std::{fs, sync::LazyLock};

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct Variant {
    pub name: String,
    /// Which forms: `assertion`, `response` or `both` signed; `encrypted` (the assertion signed inside), `encrypted-response`
    /// (the response signed outside), `encrypted-both`.
    pub bases: Vec<String>,
    /// `rsa`, `p256`, `p384`, `p521`, `weak`, or `stranger`: RSA, but not in the metadata.
    pub key: String,
    /// Keys in the metadata; default is the one that signs.
    pub published: Vec<String>,
    pub signature_method: Option<String>,
    pub digest_method: Option<String>,
    pub canonicalization: Option<String>,
    /// Content encryption, and the hash of OAEP.
    pub content: String,
    pub oaep: String,
    pub before: Vec<(String, String)>,
    pub after: Vec<(String, String)>,
    /// What is encrypted in the place of the NameID, in `EncryptedID`; `{name-id}` is the NameID.
    pub name_id: Option<String>,
    /// Changes to the assertion between its signature and its encryption.
    pub inside: Vec<(String, String)>,
    pub allow_sha1: bool,
    /// The refusal's code; empty for what must be accepted.
    pub refused: String,
    /// Two or more codes are right where the bases differ.
    pub refused_by_base: std::collections::BTreeMap<String, String>,
}

impl Default for Variant {
    fn default() -> Self {
        Self {
            name: String::new(),
            bases: vec!["assertion".to_owned(), "response".to_owned(), "both".to_owned()],
            key: "rsa".to_owned(),
            published: Vec::new(),
            signature_method: None,
            digest_method: None,
            canonicalization: None,
            content: "http://www.w3.org/2009/xmlenc11#aes256-gcm".to_owned(),
            oaep: "sha1".to_owned(),
            before: Vec::new(),
            after: Vec::new(),
            name_id: None,
            inside: Vec::new(),
            allow_sha1: false,
            refused: String::new(),
            refused_by_base: std::collections::BTreeMap::new(),
        }
    }
}

/// Keys are slow to make: one set for all variants.
pub struct Keys {
    rsa: Idp,
    stranger: Idp,
    p256: Idp,
    p384: Idp,
    p521: Idp,
    weak: Idp,
    /// Ours, that assertions are encrypted to.
    pub ours: Idp,
}

pub static KEYS: LazyLock<Keys> = LazyLock::new(|| Keys {
    rsa: Idp::new(),
    stranger: Idp::new(),
    p256: Idp::of(Kind::P256),
    p384: Idp::of(Kind::P384),
    p521: Idp::of(Kind::P521),
    weak: Idp::of(Kind::WeakRsa),
    ours: Idp::new(),
});

impl Keys {
    pub fn named(&self, name: &str) -> &Idp {
        match name {
            "rsa" => &self.rsa,
            "stranger" => &self.stranger,
            "p256" => &self.p256,
            "p384" => &self.p384,
            "p521" => &self.p521,
            "weak" => &self.weak,
            other => panic!("there is no key `{other}`"),
        }
    }
}

/// A variant of one base, made.
pub struct Case {
    pub name: String,
    pub xml: String,
    pub provider: SamlProvider,
    pub refused: String,
    certificates: Vec<Vec<u8>>,
}

pub fn cases(file: &str) -> Vec<Case> {
    let text = fs::read_to_string(format!("tests/data/saml/{file}")).unwrap();
    let variants: Vec<Variant> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
    variants.iter().flat_map(|variant| variant.bases.iter().map(|base| make(variant, base))).collect()
}

fn make(variant: &Variant, base: &str) -> Case {
    let name = format!("{} [{base}]", variant.name);
    let keys = &*KEYS;
    let signer = keys.named(&variant.key);
    let method = variant.signature_method.as_deref().unwrap_or(match variant.key.as_str() {
        "p256" => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha256",
        "p384" => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha384",
        "p521" => "http://www.w3.org/2001/04/xmldsig-more#ecdsa-sha512",
        _ => RSA_SHA256,
    });
    let template = |id: &str| {
        let mut template = signature(id, method);
        if let Some(digest) = &variant.digest_method {
            template = template.replace("http://www.w3.org/2001/04/xmlenc#sha256", digest);
        }
        if let Some(c14n) = &variant.canonicalization {
            template = template.replace("http://www.w3.org/2001/10/xml-exc-c14n#", c14n);
        }
        template
    };
    let plain = crate::idp::response("https://sp.example", "_a", Some("_q"), Timestamp(NOON));
    let mut xml = plain.replace(&signature("_a", RSA_SHA256), "{A}");
    let change = |xml: &str, changes: &[(String, String)], genuine: &str| {
        changes.iter().fold(xml.to_owned(), |xml, (from, to)| {
            let (from, to) = (words(from, genuine), words(to, genuine));
            assert!(xml.contains(&from), "{name}: the document does not hold `{from}`:\n{xml}");
            xml.replacen(&from, &to, 1)
        })
    };
    if let Some(plain) = &variant.name_id {
        let start = xml.find("<saml:NameID").unwrap();
        let end = xml.find("</saml:NameID>").unwrap() + "</saml:NameID>".len();
        let plain = plain.replace("{name-id}", &xml[start..end]);
        let encrypted = keys.ours.encrypt(&plain, &variant.content, &variant.oaep).replace("EncryptedAssertion", "EncryptedID");
        xml = format!("{}{encrypted}{}", &xml[..start], &xml[end..]);
    }
    xml = change(&xml, &variant.before, "");
    let (assertion_signed, response_signed, encrypted) = match base {
        "assertion" => (true, false, false),
        "response" => (false, true, false),
        "both" => (true, true, false),
        "encrypted" => (true, false, true),
        "encrypted-response" => (false, true, true),
        "encrypted-both" => (true, true, true),
        "unsigned" => (false, false, false),
        other => panic!("there is no base `{other}`"),
    };
    let sign = |xml: &str| signer.sign(xml).unwrap_or_else(|| panic!("{name}: it can't be signed:\n{xml}"));
    // What can't be signed is left with an empty template: the gate must refuse it before any signature work.
    xml = if assertion_signed { sign(&xml.replace("{A}", &template("_a"))) } else { xml.replace("{A}", "") };
    if encrypted {
        let start = xml.find("<saml:Assertion").unwrap();
        let end = xml.find("</saml:Assertion>").unwrap() + "</saml:Assertion>".len();
        let inside = change(&xml[start..end], &variant.inside, &xml);
        xml = format!("{}{}{}", &xml[..start], keys.ours.encrypt(&inside, &variant.content, &variant.oaep), &xml[end..]);
    }
    if response_signed {
        xml = sign(&xml.replacen("</saml:Issuer>", &format!("</saml:Issuer>{}", template("_r")), 1));
    }
    let genuine = xml.clone();
    xml = change(&xml, &variant.after, &genuine);
    if !variant.after.is_empty() {
        assert_ne!(xml, genuine, "{name}: nothing was changed");
    }
    let published: Vec<&Idp> = match variant.published.as_slice() {
        [] if variant.key == "stranger" => vec![&keys.rsa],
        [] => vec![signer],
        names => names.iter().map(|name| keys.named(name)).collect(),
    };
    Case {
        name,
        xml,
        provider: SamlProvider {
            metadata: metadata(&published),
            mapping: groups(),
            allow_sha1: variant.allow_sha1,
            ..SamlProvider::default()
        },
        refused: variant.refused_by_base.get(base).unwrap_or(&variant.refused).clone(),
        certificates: published.iter().map(|key| STANDARD.decode(key.certificate()).unwrap()).collect(),
    }
}

fn words(text: &str, genuine: &str) -> String {
    let between = |from: &str, to: &str| -> String {
        let Some(start) = genuine.find(from) else { return String::new() };
        let end = genuine[start..].find(to).unwrap() + start + to.len();
        genuine[start..end].to_owned()
    };
    let inside = |from: &str, to: &str| between(from, to).replace(from, "").replace(to, "");
    let assertion = || between("<saml:Assertion", "</saml:Assertion>");
    let evil = || assertion().replace("jane@corp.test", "root@corp.test").replace("\"_a\"", "\"_evil\"");
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        out.push_str(&rest[..start]);
        let end = rest[start..].find('}').expect("a closed word") + start;
        let word = &rest[start + 1..end];
        if word == "A" {
            // Where the assertion's signature will stand.
            out.push_str("{A}");
            rest = &rest[end + 1..];
            continue;
        }
        rest = &rest[end + 1..];
        match word {
            "assertion" => out.push_str(&assertion()),
            "evil-signed" => out.push_str(&evil()),
            "evil" => {
                let (evil, signature) = (evil(), between("<ds:Signature", "</ds:Signature>"));
                out.push_str(&evil.replace(&signature, ""));
            }
            "signature" => out.push_str(&between("<ds:Signature", "</ds:Signature>")),
            "response" => out.push_str(genuine),
            "evil-response" => {
                let evil = genuine.replace("jane@corp.test", "root@corp.test");
                out.push_str(&evil.replace("ID=\"_a\"", "ID=\"_evil\"").replace("ID=\"_r\"", "ID=\"_evil_r\""));
            }
            "assertion-renamed" => {
                let renamed = assertion().replacen("<saml:Assertion ", "<saml:Assertion xmlns:saml=\"urn:x\" ", 1);
                out.push_str(&renamed);
            }
            "signature-renamed" => {
                let signature = between("<ds:Signature", "</ds:Signature>");
                out.push_str(&signature.replace("http://www.w3.org/2000/09/xmldsig#\">", "urn:x\">"));
            }
            "response-signature" => out.push_str(&between("<ds:Signature", "</ds:Signature>")),
            "signature-value" => out.push_str(&inside("<ds:SignatureValue>", "</ds:SignatureValue>")),
            "digest-value" => out.push_str(&inside("<ds:DigestValue>", "</ds:DigestValue>")),
            "reference" => out.push_str(&between("<ds:Reference", "</ds:Reference>")),
            "transforms" => out.push_str(&between("<ds:Transforms", "</ds:Transforms>")),
            "signature-method" => out.push_str(&between("<ds:SignatureMethod", ">")),
            "encrypted" => out.push_str(&between("<saml:EncryptedAssertion", "</saml:EncryptedAssertion>")),
            "encrypted-key" => out.push_str(&between("<xenc:EncryptedKey", "</xenc:EncryptedKey>")),
            "key-info" => {
                let data = &genuine[genuine.find("<xenc:EncryptedData").unwrap_or_default()..];
                let start = data.find("<ds:KeyInfo").unwrap();
                let end = data.find("</ds:KeyInfo>").unwrap() + "</ds:KeyInfo>".len();
                out.push_str(&data[start..end]);
            }
            "encrypted-key-alone" => {
                let key = between("<xenc:EncryptedKey", "</xenc:EncryptedKey>");
                let alone = "<xenc:EncryptedKey xmlns:xenc=\"http://www.w3.org/2001/04/xmlenc#\"";
                out.push_str(&key.replacen("<xenc:EncryptedKey", alone, 1));
            }
            "cipher-value" => {
                let value = genuine.rsplit_once("<xenc:CipherValue>").unwrap().1;
                out.push_str(value.split_once("</xenc:CipherValue>").unwrap().0);
            }
            "attributes" => (0..70).for_each(|number| out.push_str(&format!("a{number}=\"\" "))),
            "namespaces" => (0..70).for_each(|number| out.push_str(&format!("xmlns:n{number}=\"urn:{number}\" "))),
            "certificate" => out.push_str(&KEYS.rsa.certificate()),
            "stranger" => out.push_str(&KEYS.stranger.certificate()),
            _ => {
                if let Some(seconds) = word.strip_prefix("now") {
                    let seconds: i64 = if seconds.is_empty() { 0 } else { seconds.parse().unwrap() };
                    out.push_str(&Timestamp(NOON).plus_seconds(seconds).to_string());
                } else if let Some((count, text)) = word.split_once('*') {
                    out.push_str(&text.repeat(count.parse().unwrap()));
                } else {
                    panic!("there is no word `{word}`");
                }
            }
        }
    }
    out + rest
}

pub fn groups() -> AttributeMapping {
    AttributeMapping { attributes: [("groups".to_owned(), "groups".to_owned())].into(), ..AttributeMapping::default() }
}

pub fn source(provider: SamlProvider) -> IdentityProvider {
    IdentityProvider {
        owner: ProviderOwner::Organization,
        name: ProviderName::parse("corp").unwrap(),
        label: "Corp".to_owned(),
        directory_user: None,
        second_factor: SecondFactor::default(),
        domains: Vec::new(),
        kind: ProviderKind::Saml(provider),
    }
}

/// The broker's whole way from bytes to a person, without one-time marks.
pub fn sign_in(provider: &SamlProvider, xml: &str) -> Result<IdentityAssertion, Refusal> {
    let now = Timestamp(NOON);
    let idp = parse(&provider.metadata)?;
    let trust = idp.trust(provider.allow_sha1, now)?;
    let key = DecryptionKey::from_pkcs8([KEYS.ours.private_key.as_slice()]);
    let mut signed = xmldsig::verify(xml.as_bytes(), Shape::Response, &trust, key.as_ref(), &mut xmlsec::octets)?;
    signed.xml = reveal_name_id(signed.xml, key.as_ref())?;
    let addresses = Addresses { public_url: "https://sp.example".parse().unwrap() };
    let expect = saml::Expect::answer_to(&addresses, provider, Some("_q".to_owned()), Some(now));
    let source = source(provider.clone());
    saml::check(&mut Recording::default(), &source, provider, &idp, &signed, &expect, now).map(|(assertion, _)| assertion)
}

#[test]
fn every_valid_form_signs_in() {
    let cases = cases("valid.json");
    assert!(cases.len() >= 60, "{} valid forms", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        match sign_in(&case.provider, &case.xml) {
            Ok(assertion) if assertion.subject == "jane@corp.test" && assertion.issuer == ENTITY_ID => {}
            Ok(assertion) => failures.push(format!("{}: signed in as {}", case.name, assertion.subject)),
            Err(refusal) => failures.push(format!("{}: {refusal}", case.name)),
        }
    }
    assert!(failures.is_empty(), "{} of {} valid forms:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

#[test]
fn every_attack_is_refused_with_its_own_reason() {
    let cases = cases("attacks.json");
    assert!(cases.len() >= 150, "{} attacks", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        match sign_in(&case.provider, &case.xml) {
            Ok(assertion) => failures.push(format!("{}: signed in as {}", case.name, assertion.subject)),
            Err(refusal) if refusal.code != case.refused => {
                failures.push(format!("{}: expected {}, got {refusal}", case.name, case.refused));
            }
            Err(_) => {}
        }
    }
    assert!(failures.is_empty(), "{} of {} attacks:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// The two verifiers side by side, without the gate before them: what each alone would say. The golden shows why there are
/// two, and why there is a gate.
#[test]
fn golden_verifiers_side_by_side() {
    let mut text = String::from(
        "# What each verifier says of each document of tests/data/saml, asked alone and without the gate.\n\
         # y: accepts every signature, n: refuses. Then what the broker says.\n\n# gate and broker, libxmlsec1, bergshamra\n",
    );
    let mut disagreements = Vec::new();
    for (file, valid) in [("valid.json", true), ("attacks.json", false)] {
        for case in cases(file) {
            // Ciphertexts are nothing that a verifier could speak about.
            if case.name.contains("encrypted") || case.xml.len() > 200_000 {
                continue;
            }
            let first = xmlsec::octets(&case.xml, &case.certificates).is_ok();
            let second = alone(&case.xml, &case.certificates);
            let broker = if valid { "accepted" } else { &case.refused };
            if valid && !(first && second) {
                disagreements.push(case.name.clone());
            }
            let word = |yes: bool| if yes { 'y' } else { 'n' };
            text.push_str(&format!("{} {} {broker}: {}\n", word(first), word(second), case.name));
        }
    }
    assert!(disagreements.is_empty(), "valid, but not for both: {disagreements:?}");
    crate::golden::check("saml-verifiers.txt", &text);
}

fn alone(xml: &str, certificates: &[Vec<u8>]) -> bool {
    let mut keys = KeysManager::new();
    for certificate in certificates {
        if let Ok(key) = load_x509_cert_der(certificate) {
            keys.add_key(key);
        }
    }
    bergshamra_dsig::verify::verify_all(&DsigContext::new(keys), xml)
        .is_ok_and(|results| !results.is_empty() && results.iter().all(bergshamra_dsig::VerifyResult::is_valid))
}
