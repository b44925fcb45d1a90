//! The SAML profile, check by check, on documents signed here: genuine, tampered, misdirected, stale.

use crate::world::NOON;
use daypass::{
    crypto::xmldsig::{Refusal, verify_response},
    domain::{
        Timestamp,
        iam::{IdentityProvider, ProviderKind, ProviderOwner, SamlProvider},
        name::ProviderName,
        session::IdentityAssertion,
    },
    federation::{Addresses, Recording, metadata, saml},
};

use crate::idp::{ENTITY_ID as IDP, Idp as Signer, RSA_SHA256, signature};

fn response() -> String {
    crate::idp::response("https://sp.example", "_a", Some("_q"), Timestamp(NOON))
}

fn sign(signer: &Signer, xml: &str) -> String {
    signer.sign(xml).unwrap()
}

fn provider(signer: &Signer) -> (IdentityProvider, SamlProvider) {
    let attributes = [("groups".to_owned(), "groups".to_owned())].into();
    let saml = SamlProvider { metadata: signer.metadata(), sign_requests: false, attributes };
    let provider = IdentityProvider {
        owner: ProviderOwner::Organization,
        name: ProviderName::parse("corp").unwrap(),
        label: "Corp".to_owned(),
        domains: Vec::new(),
        kind: ProviderKind::Saml(saml.clone()),
    };
    (provider, saml)
}

fn sign_in(signer: &Signer, xml: &str) -> Result<IdentityAssertion, Refusal> {
    let (provider, saml) = provider(signer);
    let idp = metadata::parse(&saml.metadata)?;
    let signed = verify_response(xml.as_bytes(), &idp.certificates)?;
    let addresses = Addresses { public_url: "https://sp.example".parse().unwrap() };
    let expect = saml::Expect::answer_to(&addresses, Some("_q".to_owned()));
    saml::check(&mut Recording::default(), &provider, &saml, &idp, &signed, &expect, Timestamp(NOON))
        .map(|(assertion, _)| assertion)
}

#[test]
fn a_genuine_response_signs_in_and_carries_its_claims() {
    let signer = Signer::new();
    let assertion = sign_in(&signer, &sign(&signer, &response())).unwrap();
    assert_eq!(assertion.subject, "jane@corp.test");
    assert_eq!(assertion.email.as_deref(), Some("jane@corp.test"));
    assert_eq!(assertion.claims["saml:groups"], ["admins", "staff"]);
    assert_eq!(assertion.claims["saml:aud"], ["https://sp.example/saml/acs"], "AWS's saml:aud is the Recipient");
    assert_eq!(assertion.tags.get("team"), Some("blue"));
    assert_eq!(assertion.not_after, Some(Timestamp(NOON).plus_seconds(3600)));
}

#[test]
fn a_signed_response_around_an_unsigned_assertion_is_as_good() {
    let signer = Signer::new();
    let moved = response().replace(&signature("_a", RSA_SHA256), "");
    let moved = moved.replacen("</saml:Issuer>", &format!("</saml:Issuer>{}", signature("_r", RSA_SHA256)), 1);
    assert_eq!(sign_in(&signer, &sign(&signer, &moved)).unwrap().subject, "jane@corp.test");
}

/// Changed before it is signed: a genuine signature on something we must not accept.
#[test]
fn signed_but_wrong_is_refused_each_with_its_own_code() {
    let signer = Signer::new();
    let at = |seconds: i64| Timestamp(NOON).plus_seconds(seconds).to_string();
    let later = at(300);
    let cases: &[(&str, String, String, &str)] = &[
        ("status", ":status:Success".into(), ":status:Responder".into(), "status_not_success"),
        ("destination", "Destination=\"https://sp.example/saml/acs\"".into(), "Destination=\"https://other/acs\"".into(), "destination_wrong"),
        ("response answers another request", "Destination=\"https://sp.example/saml/acs\" InResponseTo=\"_q\"".into(), "Destination=\"https://sp.example/saml/acs\" InResponseTo=\"_x\"".into(), "in_response_to_wrong"),
        ("assertion answers another request", "Recipient=\"https://sp.example/saml/acs\" InResponseTo=\"_q\"".into(), "Recipient=\"https://sp.example/saml/acs\" InResponseTo=\"_x\"".into(), "in_response_to_wrong"),
        ("unsolicited", "Recipient=\"https://sp.example/saml/acs\" InResponseTo=\"_q\"".into(), "Recipient=\"https://sp.example/saml/acs\"".into(), "in_response_to_wrong"),
        ("issuer", format!("IssueInstant=\"{}\"><saml:Issuer>{IDP}", at(0)), format!("IssueInstant=\"{}\"><saml:Issuer>https://evil", at(0)), "issuer_wrong"),
        ("recipient", "Recipient=\"https://sp.example/saml/acs\"".into(), "Recipient=\"https://other/acs\"".into(), "recipient_wrong"),
        ("audience", "https://sp.example/saml/metadata".into(), "https://other/metadata".into(), "audience_wrong"),
        ("no audience", "<saml:AudienceRestriction><saml:Audience>https://sp.example/saml/metadata</saml:Audience></saml:AudienceRestriction>".into(), String::new(), "audience_missing"),
        ("a second audience restriction without us", "</saml:AudienceRestriction>".into(), "</saml:AudienceRestriction><saml:AudienceRestriction><saml:Audience>https://other</saml:Audience></saml:AudienceRestriction>".into(), "audience_wrong"),
        ("unknown condition", "</saml:AudienceRestriction>".into(), "</saml:AudienceRestriction><saml:Condition/>".into(), "condition_unknown"),
        ("conditions are over", format!("NotOnOrAfter=\"{later}\"><saml:Aud"), format!("NotOnOrAfter=\"{}\"><saml:Aud", at(-61)), "conditions_inverted"),
        ("conditions not yet", format!("NotBefore=\"{}\"", at(-30)), format!("NotBefore=\"{}\"", at(61)), "assertion_not_yet_valid"),
        ("confirmation is over", format!("NotOnOrAfter=\"{later}\" Recipient"), format!("NotOnOrAfter=\"{}\" Recipient", at(-61)), "assertion_expired"),
        ("confirmation without end", format!("NotOnOrAfter=\"{later}\" Recipient"), "Recipient".into(), "confirmation_unbounded"),
        ("confirmation with a beginning", format!("NotOnOrAfter=\"{later}\" Recipient"), format!("NotBefore=\"{later}\" NotOnOrAfter=\"{later}\" Recipient"), "confirmation_not_before"),
        ("another confirmation", "cm:bearer".into(), "cm:sender-vouches".into(), "confirmation_not_bearer"),
        ("session is over", format!("SessionNotOnOrAfter=\"{}\"", at(3600)), format!("SessionNotOnOrAfter=\"{}\"", at(-1)), "assertion_expired"),
        ("old", format!("Version=\"2.0\" IssueInstant=\"{}\"><saml:Issuer>{IDP}</saml:Issuer><ds", at(0)), format!("Version=\"2.0\" IssueInstant=\"{}\"><saml:Issuer>{IDP}</saml:Issuer><ds", at(-400)), "assertion_too_old"),
        ("from the future", format!("Version=\"2.0\" IssueInstant=\"{}\"><saml:Issuer>{IDP}</saml:Issuer><ds", at(0)), format!("Version=\"2.0\" IssueInstant=\"{}\"><saml:Issuer>{IDP}</saml:Issuer><ds", at(90)), "assertion_from_future"),
        ("blank subject", ">jane@corp.test<".into(), "> <".into(), "subject_blank"),
        ("no statement", "saml:AuthnStatement".into(), "saml:OtherStatement".into(), "assertion_malformed"),
        ("no conditions", "saml:Conditions".into(), "saml:Advice".into(), "assertion_malformed"),
        ("weak algorithm", RSA_SHA256.into(), "http://www.w3.org/2000/09/xmldsig#rsa-sha1".into(), "signature_algorithm"),
        ("foreign transform", "http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/><ds:Transform".into(), "http://www.w3.org/2000/09/xmldsig#enveloped-signature\"/><ds:Transform Algorithm=\"http://www.w3.org/2001/10/xml-exc-c14n#\"/><ds:Transform".into(), "signature_shape"),
    ];
    let genuine = response();
    let mut failures = Vec::new();
    for (name, from, to, code) in cases {
        if !genuine.contains(from.as_str()) {
            failures.push(format!("{name}: the template does not hold `{from}`"));
            continue;
        }
        let changed = genuine.replace(from.as_str(), to);
        // Some changes can't even be signed by xmlsec; unsigned, the gate must still name them.
        let xml = signer.sign(&changed).unwrap_or(changed);
        match sign_in(&signer, &xml) {
            Ok(_) => failures.push(format!("{name}: signed in")),
            Err(refusal) if refusal.code != *code => failures.push(format!("{name}: expected {code}, got {refusal}")),
            Err(_) => {}
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Changed after it was signed.
#[test]
fn tampering_and_wrapping_sign_nobody_in() {
    let (signer, stranger) = (Signer::new(), Signer::new());
    let genuine = sign(&signer, &response());
    let assertion = &genuine[genuine.find("<saml:Assertion").unwrap()..genuine.find("</samlp:Response>").unwrap()];
    let evil = assertion.replace("jane@corp.test", "root@corp.test").replace("ID=\"_a\"", "ID=\"_evil\"");
    let evil_unsigned = {
        let (start, end) = (evil.find("<ds:Signature").unwrap(), evil.find("</ds:Signature>").unwrap() + "</ds:Signature>".len());
        format!("{}{}", &evil[..start], &evil[end..])
    };
    let signature_element =
        &genuine[genuine.find("<ds:Signature").unwrap()..genuine.find("</ds:Signature>").unwrap() + "</ds:Signature>".len()];
    let cases: &[(&str, String)] = &[
        ("changed byte", genuine.replace("jane@corp.test", "root@corp.test")),
        ("changed attribute", genuine.replace(">admins<", ">owners<")),
        ("no signature", genuine.replace(signature_element, "")),
        ("another key", sign(&stranger, &response())),
        ("two assertions, evil first", genuine.replace(assertion, &format!("{evil_unsigned}{assertion}"))),
        ("two assertions, evil last", genuine.replace(assertion, &format!("{assertion}{evil_unsigned}"))),
        (
            "genuine hidden in Extensions",
            genuine.replace(assertion, &evil_unsigned).replacen(
                "</saml:Issuer>",
                &format!("</saml:Issuer><samlp:Extensions>{assertion}</samlp:Extensions>"),
                1,
            ),
        ),
        (
            "genuine hidden in the evil one",
            genuine.replace(
                assertion,
                &evil_unsigned.replace("<saml:Subject>", &format!("<saml:Advice>{assertion}</saml:Advice><saml:Subject>")),
            ),
        ),
        (
            "genuine hidden in ds:Object",
            genuine.replace(
                assertion,
                &evil.replace("</ds:SignatureValue>", &format!("</ds:SignatureValue><ds:Object>{assertion}</ds:Object>")),
            ),
        ),
        ("signature of the genuine one on the evil one", genuine.replace(assertion, &evil)),
        ("duplicate id", genuine.replace(assertion, &format!("{}{assertion}", evil_unsigned.replace("_evil", "_a")))),
        ("id in other case", genuine.replace("<saml:Subject>", "<saml:Subject id=\"_a\">")),
        ("comment in the subject", genuine.replace("jane@corp.test", "jane@corp.test<!-- -->.evil")),
        ("CDATA", genuine.replace("jane@corp.test", "<![CDATA[jane@corp.test]]>")),
        ("processing instruction", genuine.replace("jane@corp.test", "<?x?>jane@corp.test")),
        ("DTD", format!("<!DOCTYPE r [<!ENTITY e \"x\">]>{genuine}")),
        ("another encoding", format!("<?xml version=\"1.0\" encoding=\"UTF-7\"?>{genuine}+ADw-x/+AD4-")),
        ("a stylesheet", format!("<?xml-stylesheet href=\"x\"?>{genuine}")),
        ("external reference", genuine.replace("URI=\"#_a\"", "URI=\"http://127.0.0.1:1/\"")),
        ("file reference", genuine.replace("URI=\"#_a\"", "URI=\"file:///etc/passwd\"")),
        ("empty reference", genuine.replace("URI=\"#_a\"", "URI=\"\"")),
        (
            "XPath transform",
            genuine.replace(
                "http://www.w3.org/2001/10/xml-exc-c14n#\"/></ds:Transforms>",
                "http://www.w3.org/TR/1999/REC-xpath-19991116\"><ds:XPath>//*</ds:XPath></ds:Transform></ds:Transforms>",
            ),
        ),
        ("HMAC with the public key", genuine.replace(RSA_SHA256, "http://www.w3.org/2001/04/xmldsig-more#hmac-sha256")),
        ("encrypted", genuine.replace(assertion, "<saml:EncryptedAssertion/>")),
        ("truncated", genuine[..genuine.len() - 5].to_owned()),
        ("trailing garbage", format!("{genuine}<x/>")),
        ("too deep", format!("{}{}", "<a>".repeat(70_000), "</a>".repeat(70_000))),
        ("too large", genuine.replace("jane@corp.test", &"j".repeat(300_000))),
        ("empty", String::new()),
        ("two signatures", genuine.replace(signature_element, &format!("{signature_element}{signature_element}"))),
        (
            "retrieval method",
            genuine.replace(
                "</ds:SignatureValue>",
                "</ds:SignatureValue><ds:KeyInfo><ds:RetrievalMethod URI=\"http://127.0.0.1:1/\"/></ds:KeyInfo>",
            ),
        ),
    ];
    for (name, xml) in cases {
        assert_ne!(*xml, genuine, "{name}: nothing was changed");
        if let Ok(assertion) = sign_in(&signer, xml) {
            panic!("{name}: signed in as {}", assertion.subject);
        }
    }
    assert_eq!(sign_in(&signer, &sign(&stranger, &response())).unwrap_err().code, "signature_invalid");
}

#[test]
fn metadata_without_a_key_or_with_an_odd_address_is_refused() {
    let signer = Signer::new();
    let (_, saml) = provider(&signer);
    let code = |text: &str| metadata::parse(text).unwrap_err().code;
    assert_eq!(code(&saml.metadata.replace("use=\"signing\"", "use=\"encryption\"")), "metadata_no_key");
    assert_eq!(code(&saml.metadata.replace("https://idp.example/sso", "http://idp.example/sso")), "metadata_endpoint");
    assert_eq!(code(&saml.metadata.replace("https://idp.example/sso", "javascript:alert(1)")), "metadata_endpoint");
    assert_eq!(code(&saml.metadata.replace("HTTP-Redirect", "HTTP-POST")), "metadata_no_endpoint");
    assert_eq!(code("<x/>"), "metadata_malformed");
    assert_eq!(code(&format!("<!DOCTYPE x>{}", saml.metadata)), "metadata_malformed");
}
