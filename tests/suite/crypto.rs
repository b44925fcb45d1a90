//! Signatures and seals.

use crate::{
    saml::corpus::KEYS,
    world::{NOON, SeededRandom},
};
use daypass::{
    crypto::{
        jose::{self, Unverified},
        seal::{KeyRing, Purpose, RingKey},
        sigv4::{Authorization, HttpRequest},
        xmldsig::{self, Shape},
    },
    domain::{ErrorKind, Secret, Timestamp},
};
use proptest::prelude::*;

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
/// AWS's published test suite, case `get-vanilla` (AWS General Reference, "Signature Version 4 test suite").
const VANILLA: &str = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, SignedHeaders=host;x-amz-date, Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";

fn headers(authorization: &str) -> Vec<(String, String)> {
    [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z"), ("authorization", authorization)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
}

fn key(id: u32, fill: u8) -> RingKey {
    RingKey { id, key: Secret::new([fill; 32]), seals: true }
}

fn then() -> Timestamp {
    Timestamp::parse("2015-08-30T12:36:00Z").unwrap()
}

fn views(headers: &[(String, String)]) -> Vec<(&str, &str)> {
    headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
}

fn verify(headers: &[(String, String)], query: &str, body: &[u8], service: &str, now: Timestamp) -> Result<(), ErrorKind> {
    let headers = views(headers);
    let request = HttpRequest { method: "GET", path: "/", query, headers: &headers, body };
    let authorization = Authorization::read(request).map_err(|error| error.kind)?.expect("a signature");
    authorization.verify(request, SECRET, service, now).map_err(|error| error.kind)
}

#[test]
fn sigv4_verifies_the_published_vector_and_nothing_else() {
    let good = headers(VANILLA);
    assert_eq!(verify(&good, "", b"", "service", then()), Ok(()));
    assert_eq!(verify(&good, "", b"x", "service", then()), Err(ErrorKind::BadSignature), "body");
    assert_eq!(verify(&good, "a=b", b"", "service", then()), Err(ErrorKind::BadSignature), "query");
    assert_eq!(verify(&good, "", b"", "other", then()), Err(ErrorKind::BadSignature), "service");
    assert_eq!(verify(&good, "", b"", "service", then().plus_seconds(301)), Err(ErrorKind::BadSignature), "too old");
    assert_eq!(verify(&good, "", b"", "service", then().plus_seconds(-301)), Err(ErrorKind::BadSignature), "too new");
    let mut extra = good.clone();
    extra.push(("x-amz-target".to_owned(), "Evil.Operation".to_owned()));
    assert_eq!(verify(&extra, "", b"", "service", then()), Err(ErrorKind::IncompleteSignature), "an unsigned header that steers");
    let unsigned_host = headers(&VANILLA.replace("host;x-amz-date", "x-amz-date"));
    assert_eq!(verify(&unsigned_host, "", b"", "service", then()), Err(ErrorKind::IncompleteSignature));
    for broken in ["AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=x", "Bearer x", &VANILLA.replace("aws4_request", "x")] {
        let request_headers = headers(broken);
        let request_headers = views(&request_headers);
        let request = HttpRequest { method: "GET", path: "/", query: "", headers: &request_headers, body: b"" };
        assert_eq!(Authorization::read(request).unwrap_err().kind, ErrorKind::IncompleteSignature, "{broken}");
    }
}

#[test]
fn seals_open_only_where_they_were_made() {
    let random = SeededRandom::new(3);
    let old = KeyRing::new(&[key(1, 1)], random.clone()).unwrap();
    let both = KeyRing::new(&[key(1, 1), key(2, 2)], random.clone()).unwrap();
    let other = KeyRing::new(&[key(1, 9)], random).unwrap();
    let sealed = old.seal(Purpose::SessionToken, "c", b"secret").unwrap();
    assert_eq!(both.open(Purpose::SessionToken, "c", &sealed).as_deref(), Some(b"secret".as_slice()), "old keys still open");
    assert_eq!(both.open(Purpose::SigninToken, "c", &sealed), None, "another purpose");
    assert_eq!(both.open(Purpose::SessionToken, "d", &sealed), None, "another context");
    assert_eq!(other.open(Purpose::SessionToken, "c", &sealed), None, "another ring");
    assert_eq!(old.open(Purpose::SessionToken, "c", &both.seal(Purpose::SessionToken, "c", b"x").unwrap()), None, "a newer key");
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 1;
        assert_eq!(both.open(Purpose::SessionToken, "c", &changed), None, "byte {at} changed");
        assert_eq!(both.open(Purpose::SessionToken, "c", &sealed[..at]), None, "cut at {at}");
    }
}

/// RFC 7515 appendix A.3: ES256. Its claims have no `sub` or `aud`, so a right signature ends with that complaint.
#[test]
fn jws_of_rfc_7515_and_its_forgeries() {
    let keys = serde_json::from_value(serde_json::json!({ "keys": [
        { "kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0" }
    ]})).unwrap();
    let claims = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";
    let why = |token: &str| match jose::verify(token, &keys, "joe", Timestamp(NOON)) {
        Err(Unverified::Refused(error)) => error.private.unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    assert!(
        why(&format!("eyJhbGciOiJFUzI1NiJ9.{claims}.{signature}")).contains("Missing required claim"),
        "{}",
        why(&format!("eyJhbGciOiJFUzI1NiJ9.{claims}.{signature}"))
    );
    let changed = format!("E{}", &signature[1..]);
    assert!(why(&format!("eyJhbGciOiJFUzI1NiJ9.{claims}.{changed}")).contains("InvalidSignature"));
    // {"alg":"none"}, {"alg":"HS256"}
    for header in ["eyJhbGciOiJub25lIn0", "eyJhbGciOiJIUzI1NiJ9"] {
        let reason = why(&format!("{header}.{claims}.{signature}"));
        assert!(reason.contains("algorithm"), "{reason}");
    }
    assert!(matches!(jose::verify("a.b", &keys, "joe", Timestamp(NOON)), Err(Unverified::Refused(_))));
}

fn saml_response(bytes: &[u8]) -> Result<xmldsig::SignedXml, daypass::crypto::Refusal> {
    let metadata = daypass::federation::metadata::parse(&KEYS.named("rsa").metadata())?;
    let trust = metadata.trust(false, Timestamp(NOON))?;
    xmldsig::verify(bytes, Shape::Response, &trust, None, &mut xmldsig::xmlsec::octets)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn no_input_panics_the_readers(text in "\\PC{0,300}", bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let headers = [("authorization".to_owned(), format!("AWS4-HMAC-SHA256 {text}")), ("x-amz-date".to_owned(), text.clone())];
        let headers = views(&headers);
        let request = HttpRequest { method: "GET", path: &text, query: &text, headers: &headers, body: &bytes };
        let _ = Authorization::read(request);
        let _ = jose::claimed_issuer(&text);
        let _ = saml_response(&bytes);
        let _ = saml_response(format!("<a>{text}</a>").as_bytes());
        let _ = xmldsig::sign::read_query(&format!("SAMLRequest={text}"));
        let _ = daypass::federation::metadata::parse(&text);
        let _ = Timestamp::parse_basic(&text);
        let pairs: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
        let _ = daypass::gateway::query::from_parameters::<serde_json::Value>(pairs.iter());
        let _ = daypass::gateway::query::from_parameters::<daypass::api::sts::AssumeRole>(pairs.iter());
        let _ = daypass::cli::apply::parse(&text, "toml");
    }
}
