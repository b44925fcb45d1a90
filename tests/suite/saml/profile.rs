//! What a genuine response becomes, what settings ask for, and which metadata is taken.

use crate::{
    idp::{Idp, response},
    saml::corpus::{KEYS, groups, sign_in, source},
    world::NOON,
};
use daypass::{
    crypto::xmldsig::{Shape, verify, xmlsec},
    domain::{Timestamp, iam::SamlProvider, session::ProviderSession},
    federation::{Addresses, Recording, metadata, saml},
};

fn provider(signer: &Idp) -> SamlProvider {
    SamlProvider { metadata: signer.metadata(), mapping: groups(), ..SamlProvider::default() }
}

fn genuine(signer: &Idp) -> String {
    signer.sign(&response("https://sp.example", "_a", Some("_q"), Timestamp(NOON))).unwrap()
}

#[test]
fn a_genuine_response_signs_in_and_carries_its_claims() {
    let signer = Idp::new();
    let assertion = sign_in(&provider(&signer), &genuine(&signer)).unwrap();
    assert_eq!(assertion.subject, "jane@corp.test");
    assert_eq!(assertion.email.as_deref(), Some("jane@corp.test"));
    assert_eq!(assertion.claims["saml:groups"], ["admins", "staff"]);
    assert_eq!(assertion.claims["saml:aud"], ["https://sp.example/saml/acs"], "AWS's saml:aud is the Recipient");
    assert_eq!(assertion.tags.get("team"), Some("blue"));
    assert_eq!(assertion.not_after, Some(Timestamp(NOON).plus_seconds(3600)));
}

/// What a provider's settings ask for is checked on what comes back.
#[test]
fn authentication_that_was_asked_for_is_required() {
    let signer = Idp::new();
    let at = |seconds: i64| Timestamp(NOON).plus_seconds(seconds);
    let check = |settings: &SamlProvider, xml: &str, asked: Timestamp| {
        let idp = metadata::parse(&settings.metadata).unwrap();
        let trust = idp.trust(false, at(0)).unwrap();
        let signed = verify(xml.as_bytes(), Shape::Response, &trust, None, &mut xmlsec::octets).unwrap();
        let addresses = Addresses { public_url: "https://sp.example".parse().unwrap() };
        let expect = saml::Expect::answer_to(&addresses, settings, Some("_q".to_owned()), Some(asked));
        let source = source(settings.clone());
        saml::check(&mut Recording::default(), &source, settings, &idp, &signed, &expect, at(0))
            .map(|(_, session)| session)
            .map_err(|refusal| refusal.code)
    };
    let xml = genuine(&signer);
    let force = SamlProvider { force_authn: true, ..provider(&signer) };
    let Ok(ProviderSession::Saml { name_id, index }) = check(&force, &xml, at(-30)) else { panic!("not signed in") };
    assert_eq!((name_id.value.as_str(), index.as_deref()), ("jane@corp.test", Some("_s")));
    assert!(check(&force, &xml, at(59)).is_ok(), "within the skew of its clock");
    assert_eq!(check(&force, &xml, at(61)), Err("authentication_stale"));
    assert!(check(&provider(&signer), &xml, at(61)).is_ok(), "not asked for");
    let context = |class: &str| SamlProvider { authn_context: vec!["urn:x".to_owned(), class.to_owned()], ..provider(&signer) };
    assert!(check(&context("urn:oasis:names:tc:SAML:2.0:ac:classes:Password"), &xml, at(0)).is_ok());
    assert_eq!(check(&context("urn:oasis:names:tc:SAML:2.0:ac:classes:X509"), &xml, at(0)), Err("authn_context_wrong"));
    let strict = SamlProvider { clock_skew_seconds: Some(0), ..provider(&signer) };
    let ahead = signer.sign(
        &response("https://sp.example", "_a", Some("_q"), Timestamp(NOON))
            .replace(&format!("NotBefore=\"{}\"", at(-30)), &format!("NotBefore=\"{}\"", at(20))),
    );
    assert_eq!(check(&strict, &ahead.clone().unwrap(), at(0)), Err("assertion_not_yet_valid"));
    assert!(check(&provider(&signer), &ahead.unwrap(), at(0)).is_ok());
}

#[test]
fn metadata_ends_and_skips_what_it_cannot_use() {
    let signer = &KEYS.named("rsa");
    let at = |seconds: i64| Timestamp(NOON).plus_seconds(seconds);
    let until = signer.metadata().replace("entityID=", &format!("validUntil=\"{}\" entityID=", at(60)));
    let idp = metadata::parse(&until).unwrap();
    assert!(idp.trust(false, at(59)).is_ok());
    assert_eq!(idp.trust(false, at(60)).unwrap_err().code, "metadata_expired");
    let both = metadata::parse(&crate::idp::metadata(&[KEYS.named("weak"), signer])).unwrap();
    assert_eq!((both.certificates.len(), both.unusable.len()), (1, 1));
    let post = signer
        .metadata()
        .replace("HTTP-Redirect\" Location=\"https://idp.example/sso", "HTTP-POST\" Location=\"https://idp.example/sso");
    let post = metadata::parse(&post).unwrap();
    assert_eq!(post.sign_in.choose(None).unwrap().0, metadata::Binding::Post);
}

#[test]
fn metadata_without_a_key_or_with_an_odd_address_is_refused() {
    let saml = provider(&Idp::new());
    let code = |text: &str| metadata::parse(text).unwrap_err().code;
    assert_eq!(code(&saml.metadata.replace("use=\"signing\"", "use=\"encryption\"")), "metadata_no_key");
    assert_eq!(code(&saml.metadata.replace("https://idp.example/sso", "http://idp.example/sso")), "metadata_endpoint");
    assert_eq!(code(&saml.metadata.replace("https://idp.example/sso", "javascript:alert(1)")), "metadata_endpoint");
    assert_eq!(code(&saml.metadata.replace("HTTP-Redirect", "SOAP")), "metadata_no_endpoint");
    assert_eq!(
        code(&saml.metadata.replace("<md:IDPSSODescriptor", "<md:X").replace("</md:IDPSSO", "</md:X")),
        "metadata_malformed"
    );
    assert_eq!(code("<x/>"), "metadata_not_idp");
    assert_eq!(code(&format!("<!DOCTYPE x>{}", saml.metadata)), "metadata_malformed");
}
