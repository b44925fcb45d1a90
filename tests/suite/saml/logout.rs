//! Single logout both ways, and sign-ins that begin at the provider: through the operations that pages call.

use crate::{
    idp::{ENTITY_ID, Idp, signature},
    world::World,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use daypass::{
    api::{
        sign_out::{ProviderLogout, SignOut},
        signin::{
            Answer, ArriveUnsolicited, BeginSignIn, CompleteSignIn, CompletedSignIn, LookUpArrival, ParkSamlResponse,
            SignInOutcome,
        },
    },
    cli::apply::parse,
    crypto::xmldsig::sign,
    domain::{
        Error, ErrorKind,
        session::{PortalSession, Principal},
    },
    federation::{Arrival, Departure, saml::logout::Inbound},
    signin::step::Continuation,
};
use flate2::{Compression, write::DeflateEncoder};
use std::{io::Write as _, sync::Arc};

const SP: &str = "http://127.0.0.1:8080";

/// A role for those that the provider calls admins.
const ADMIN: &str = r#"[[roles]]
account = "111122223333"
name = "Admin"
trust_policy = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::111122223333:saml-provider/corp"}, "Action": ["sts:AssumeRoleWithSAML", "sts:TagSession"], "Condition": {"ForAnyValue:StringEquals": {"saml:groups": "admins"}}}}'
"#;

pub async fn world(idp: &Idp, settings: &str) -> World {
    let world = World::empty().await;
    let file = format!(
        "[organization]\nname = \"Corp\"\nmanagement_account = \"111122223333\"\n[[accounts]]\nid = \"111122223333\"\nname = \"m\"\n\
         [[identity_sources]]\nname = \"corp\"\ntype = \"saml\"\nlabel = \"Corp SSO\"\n{settings}\nmetadata = \'\'\'{}\'\'\'\n\
         attributes = {{ groups = \"groups\" }}\n{ADMIN}",
        idp.metadata()
    );
    world.apply(parse(&file, "toml").unwrap(), false).await.unwrap();
    world
}

pub fn response(idp: &Idp, world: &World, id: &str, request: Option<&str>) -> String {
    use daypass::domain::Clock as _;
    idp.sign(&crate::idp::response(SP, id, request, world.clock.now())).unwrap()
}

/// Signs jane in, as a browser would.
pub async fn sign_in(idp: &Idp, world: &World, id: &str) -> PortalSession {
    let SignInOutcome::Session(session) = outcome(idp, world, id).await else { panic!("no session") };
    *session
}

/// What comes of jane's signing in.
pub async fn outcome(idp: &Idp, world: &World, id: &str) -> SignInOutcome {
    let begin = BeginSignIn { source: "corp".to_owned(), continuation: Continuation::Portal, binding: "b".to_owned().into() };
    let begun = world.nobody().call(begin).await.unwrap();
    let Departure::Redirect(url) = &begun.departure else { panic!("{:?}", begun.departure) };
    let request = sign::read_query(url.query().unwrap()).unwrap();
    assert_eq!(request.relay_state, begun.handle);
    let document = roxmltree::Document::parse(&request.xml).unwrap();
    let request_id = document.root_element().attribute("ID").unwrap();
    let arrival = Arrival::Saml(response(idp, world, id, Some(request_id)).into_bytes());
    let answer = Answer::Direct { handle: begun.handle, arrival };
    let complete = CompleteSignIn { source: None, binding: Some("b".to_owned().into()), answer, reset: None };
    world.nobody().call(complete).await.unwrap().outcome
}

async fn stands(world: &World, session: &PortalSession) -> bool {
    world.gateway.person(session.clone()).await.is_ok()
}

fn logout_request(world: &World, id: &str, index: &str, change: (&str, &str)) -> String {
    use daypass::domain::Clock as _;
    format!(
        "<samlp:LogoutRequest xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\" \
         ID=\"{id}\" Version=\"2.0\" IssueInstant=\"{}\" Destination=\"{SP}/saml/logout\"><saml:Issuer>{ENTITY_ID}</saml:Issuer>\
         <saml:NameID>jane@corp.test</saml:NameID>{index}</samlp:LogoutRequest>",
        world.clock.now()
    )
    .replace(change.0, change.1)
}

fn in_address(idp: &Idp, xml: &str) -> String {
    let mut deflate = DeflateEncoder::new(Vec::new(), Compression::default());
    deflate.write_all(xml.as_bytes()).unwrap();
    let message = STANDARD.encode(deflate.finish().unwrap());
    let pair = |name: &str, value: &str| url::form_urlencoded::Serializer::new(String::new()).append_pair(name, value).finish();
    let query = format!("{}&{}", pair("SAMLRequest", &message), pair("RelayState", "a&b c"));
    sign::query(&query, &idp.private_key).unwrap()
}

fn posted(idp: &Idp, xml: &str) -> Inbound {
    let template = signature("_l", crate::idp::RSA_SHA256);
    let xml = idp.sign(&xml.replacen("</saml:Issuer>", &format!("</saml:Issuer>{template}"), 1)).unwrap();
    Inbound::Post { request: true, xml: xml.into_bytes(), relay_state: "state".to_owned() }
}

fn code<T>(outcome: Result<T, Error>) -> String {
    let private = outcome.err().expect("a refusal").private.unwrap_or_default();
    private.split(':').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_provider_ends_the_session_it_names_and_gets_an_answer() {
    let idp = Idp::new();
    let world = world(&idp, "").await;
    let (first, second) = (sign_in(&idp, &world, "_1").await, sign_in(&idp, &world, "_2").await);
    assert!(stands(&world, &first).await && stands(&world, &second).await);

    let other = logout_request(&world, "_l0", "<samlp:SessionIndex>_other</samlp:SessionIndex>", ("", ""));
    let message = Inbound::Redirect(in_address(&idp, &other));
    world.nobody().call(ProviderLogout { message }).await.unwrap();
    assert!(stands(&world, &first).await, "another session was named");

    let request = logout_request(&world, "_l1", "", ("", ""));
    let message = Inbound::Redirect(in_address(&idp, &request));
    let done = world.nobody().call(ProviderLogout { message: message.clone() }).await.unwrap();
    assert!(!stands(&world, &first).await && !stands(&world, &second).await);
    let Some(Departure::Redirect(answer)) = done.departure else { panic!("no answer") };
    assert!(answer.as_str().starts_with("https://idp.example/slo?SAMLResponse="));
    let answer = sign::read_query(answer.query().unwrap()).unwrap();
    assert_eq!(answer.relay_state, "a&b c", "the provider gets its own state back");
    assert!(answer.xml.contains("InResponseTo=\"_l1\""), "{}", answer.xml);

    assert_eq!(code(world.nobody().call(ProviderLogout { message }).await), "message_replayed");
    world.clock.advance(1);
    assert!(stands(&world, &sign_in(&idp, &world, "_3").await).await, "signing in again is possible");
    let post = logout_request(&world, "_l", "<samlp:SessionIndex>_s</samlp:SessionIndex>", ("", ""));
    let third = sign_in(&idp, &world, "_4").await;
    world.nobody().call(ProviderLogout { message: posted(&idp, &post) }).await.unwrap();
    assert!(!stands(&world, &third).await);
}

#[tokio::test]
async fn a_forged_logout_ends_nothing() {
    let (idp, stranger) = (Idp::new(), Idp::new());
    let world = world(&idp, "").await;
    let session = sign_in(&idp, &world, "_1").await;
    let plain = logout_request(&world, "_l", "", ("", ""));
    let genuine = in_address(&idp, &plain);
    let unsigned = genuine.split("&SigAlg").next().unwrap().to_owned();
    let at = |change: (&str, &str)| in_address(&idp, &logout_request(&world, "_l", "", change));
    let twice = format!("{genuine}&RelayState=x");
    let spelled = genuine.replace("RelayState=", "Relay%53tate=");
    let swapped = genuine.replace("RelayState=a", "RelayState=b");
    let bomb = {
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::best());
        deflate.write_all(&vec![b' '; 50_000_000]).unwrap();
        format!(
            "SAMLRequest={}",
            url::form_urlencoded::byte_serialize(STANDARD.encode(deflate.finish().unwrap()).as_bytes()).collect::<String>()
        )
    };
    let cases = [
        (unsigned, "signature_missing"),
        (in_address(&stranger, &plain), "signature_invalid"),
        (swapped, "signature_invalid"),
        (twice, "redirect_malformed"),
        (spelled, "redirect_malformed"),
        (genuine.replace("rsa-sha256", "rsa-sha1"), "signature_algorithm"),
        (genuine.replace("SAMLRequest", "SAMLResponse"), "signature_invalid"),
        (at((ENTITY_ID, "https://evil")), "issuer_unknown"),
        (at(("/saml/logout", "/saml/acs")), "destination_wrong"),
        (at(("2026", "2025")), "message_too_old"),
        (at(("LogoutRequest", "AuthnRequest")), "document_shape"),
        (at(("jane@corp.test", "")), "subject_blank"),
        (at(("<saml:NameID>", "<!---->")), "document_has_markup"),
        (bomb, "document_too_large"),
        ("SAMLRequest=AAAA".to_owned(), "redirect_malformed"),
        (String::new(), "redirect_malformed"),
    ];
    for (query, expected) in cases {
        let message = Inbound::Redirect(query.clone());
        let got = code(world.nobody().call(ProviderLogout { message }).await);
        assert_eq!(got, expected, "{}", query.chars().take(200).collect::<String>());
    }
    let Inbound::Post { xml, .. } = posted(&idp, &plain) else { panic!() };
    let changed = String::from_utf8(xml).unwrap().replace("jane@corp.test", "root@corp.test").into_bytes();
    let message = Inbound::Post { request: true, xml: changed, relay_state: String::new() };
    assert_eq!(code(world.nobody().call(ProviderLogout { message }).await), "signature_invalid");
    let message = Inbound::Post { request: true, xml: plain.into_bytes(), relay_state: String::new() };
    assert_eq!(code(world.nobody().call(ProviderLogout { message }).await), "signature_missing");
    assert!(stands(&world, &session).await);
}

#[tokio::test]
async fn signing_out_tells_the_provider() {
    let idp = Idp::new();
    let world = world(&idp, "").await;
    let session = sign_in(&idp, &world, "_1").await;
    let person = world.caller(Principal::Person(Arc::new(session.clone())));
    let Some(Departure::Redirect(url)) = person.call(SignOut {}).await.unwrap().departure else { panic!("nothing to tell") };
    let request = sign::read_query(url.query().unwrap()).unwrap();
    assert!(request.request && url.query().unwrap().contains("&Signature="));
    assert!(request.xml.contains(">jane@corp.test</saml:NameID>") && request.xml.contains(">_s</samlp:SessionIndex>"));
    assert!(!stands(&world, &session).await, "whatever the provider says");
}

/// A sign-in that begins at the provider is off, and where it is on the person confirms it.
#[tokio::test]
async fn unsolicited_responses_need_a_setting_and_a_person() {
    let idp = Idp::new();
    let arrive = async |world: &World, request: Option<&str>, id: &str| -> Result<String, Error> {
        let response = response(&idp, world, id, request).into_bytes();
        let park = ParkSamlResponse { handle: "https://evil.example".to_owned(), response: response.clone() };
        assert!(!world.nobody().call(park).await.unwrap(), "no step of ours waits");
        world.nobody().call(ArriveUnsolicited { response }).await
    };
    let complete = async |world: &World, handle: &str| -> Result<CompletedSignIn, Error> {
        let answer = Answer::Unsolicited { handle: handle.to_owned() };
        world.nobody().call(CompleteSignIn { source: None, binding: Some("b".to_owned().into()), answer, reset: None }).await
    };
    let look = async |world: &World, handle: &str, browser: &str| {
        world.nobody().call(LookUpArrival { handle: handle.to_owned(), binding: browser.to_owned().into() }).await
    };
    let off = world(&idp, "").await;
    assert_eq!(code(arrive(&off, None, "_1").await), "unsolicited_refused");
    let on = world(&idp, "allow_idp_initiated = true").await;
    let handle = arrive(&on, None, "_1").await.unwrap();
    let who = look(&on, &handle, "b").await.unwrap();
    assert_eq!(code(look(&on, &handle, "another").await), "arrival_other_browser", "the first browser keeps it");
    assert_eq!((who.source.as_str(), who.person.as_str()), ("Corp SSO", "jane@corp.test"));
    let completed = complete(&on, &handle).await.unwrap();
    assert_eq!(completed.continuation, Continuation::Portal, "RelayState is never an address");
    assert_eq!(completed.session().unwrap().identity.subject, "jane@corp.test");
    assert_eq!(complete(&on, &handle).await.unwrap_err().kind, ErrorKind::StaleStep, "good once");
    assert_eq!(code(arrive(&on, None, "_1").await), "assertion_replayed");
    // An answer to somebody's request is not unsolicited: it can't be replayed into another browser.
    assert_eq!(code(arrive(&on, Some("_q"), "_2").await), "in_response_to_wrong");
    let forged = response(&idp, &on, "_3", None).replace("jane@corp.test", "root@corp.test").into_bytes();
    assert_eq!(code(on.nobody().call(ArriveUnsolicited { response: forged }).await), "signature_invalid");
}

/// What our metadata and our posted messages say is signed, and verifies.
#[tokio::test]
async fn our_own_metadata_and_posts_are_signed() {
    let idp = Idp::new();
    let world = world(&idp, "").await;
    let federation = &world.gateway.broker.federation;
    let document = daypass::federation::saml::metadata_document(federation).await.unwrap();
    let own = STANDARD.encode(&world.gateway.broker.store.saml_keys().current().unwrap().certificate);
    let encryption = STANDARD.encode(&world.gateway.broker.store.encryption_keys().await.unwrap().current().unwrap().certificate);
    assert!(document.contains(&own) && document.contains(&encryption) && own != encryption, "one key, one purpose");
    let certificate = world.gateway.broker.store.saml_keys().current().unwrap().certificate.clone();
    let body = document.split_once("?>").unwrap().1;
    assert!(daypass::crypto::xmldsig::xmlsec::octets(body, &[certificate]).is_ok());
}
