//! The flight recorder: what an administrator finds of a sign-in, and what the audit log keeps of it.

use crate::{
    idp::Idp,
    saml::logout::{response, sign_in, world},
    world::{MANAGEMENT, World},
};
use daypass::{
    api::{
        cloudtrail::LookupEvents,
        iam::{
            mapping::PreviewMapping,
            sign_ins::{GetSignIn, ListSignIns, SignInAttempt},
        },
        signin::{Answer, BeginSignIn, CompleteSignIn, CompletedSignIn},
    },
    domain::{Error, ErrorKind},
    federation::{Arrival, Departure},
    signin::step::Continuation,
};

async fn attempt(world: &World, continuation: Continuation, document: impl Fn(&str) -> String) -> Result<CompletedSignIn, Error> {
    let begin = BeginSignIn { source: "corp".to_owned(), continuation, binding: "b".to_owned().into() };
    let begun = world.nobody().call(begin).await.unwrap();
    let Departure::Redirect(url) = &begun.departure else { panic!("{:?}", begun.departure) };
    let request = daypass::crypto::xmldsig::sign::read_query(url.query().unwrap()).unwrap();
    let id = request.xml.split("ID=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    let answer = Answer::Direct { handle: begun.handle, arrival: Arrival::Saml(document(&id).into_bytes()) };
    world.nobody().call(CompleteSignIn { source: None, binding: Some("b".to_owned().into()), answer, reset: None }).await
}

async fn look(world: &World, wish: ListSignIns) -> Vec<SignInAttempt> {
    world.root(MANAGEMENT).call(wish).await.unwrap().sign_ins
}

#[tokio::test]
async fn every_check_of_a_sign_in_is_found_by_person_source_and_reference() {
    let idp = Idp::new();
    let world = world(&idp, "").await;
    sign_in(&idp, &world, "_1").await;
    let wrong = |request: &str| response(&idp, &world, "_2", Some(request)).replace("jane@corp.test", "root@corp.test");
    attempt(&world, Continuation::Portal, wrong).await.unwrap_err();

    let failed = look(&world, ListSignIns { failed: true, ..ListSignIns::default() }).await;
    let [failed] = failed.as_slice() else { panic!("{failed:?}") };
    assert!(failed.error.as_deref().is_some_and(|error| error.starts_with("signature_invalid")));
    let names: Vec<(&str, bool)> = failed.checks.iter().map(|check| (check.check.as_str(), check.passed)).collect();
    assert_eq!(names, [("received", true), ("metadata", true), ("signature", false)]);
    assert!(failed.identity.is_none(), "nobody was identified");
    // The suite's requests are all called `request`.
    for (reference, found) in [("REQUEST", 2), ("req", 2), ("x", 0)] {
        let wish = ListSignIns { reference: reference.to_owned(), ..ListSignIns::default() };
        assert_eq!(look(&world, wish).await.len(), found, "{reference}");
    }
    for (person, source, found) in [("JANE@", "", 1), ("jane", "corp", 1), ("jane", "cloud", 0), ("root", "", 0), ("%", "", 0)] {
        let wish = ListSignIns { person: person.to_owned(), source: source.to_owned(), ..ListSignIns::default() };
        assert_eq!(look(&world, wish).await.len(), found, "{person} {source}");
    }
    let jane = look(&world, ListSignIns { person: "jane".to_owned(), ..ListSignIns::default() }).await;
    let jane = world.root(MANAGEMENT).call(GetSignIn { event_id: jane[0].event_id.clone() }).await.unwrap();
    let checks: Vec<&str> = jane.attempt.checks.iter().map(|check| check.check.as_str()).collect();
    for expected in
        ["signature", "one_time", "issuer", "audience", "recipient", "in_response_to", "subject", "factors", "mapping", "roles"]
    {
        assert!(checks.contains(&expected), "{expected} in {checks:?}");
    }
    assert!(jane.attempt.identity.is_some_and(|identity| identity.claims.contains_key("saml:attribute/groups")));

    // The audit log keeps who it was, and no claim.
    let events = world.root(MANAGEMENT).call(LookupEvents::default()).await.unwrap().events;
    let kept = events.iter().find(|event| event.event_name == "CompleteSignIn" && event.record.error_code.is_none()).unwrap();
    assert!(kept.cloud_trail_event.contains("jane@corp.test"));
    assert!(!kept.cloud_trail_event.contains("saml:attribute") && !kept.cloud_trail_event.contains("in_response_to"));

    // After some days the recorder forgets, and the log does not.
    world.clock.advance(86_400);
    world.gateway.broker.store.forget_recordings(world.gateway.broker.clock.now()).await.unwrap();
    assert!(look(&world, ListSignIns::default()).await.is_empty());
    assert_eq!(world.root(MANAGEMENT).call(LookupEvents::default()).await.unwrap().events.len(), events.len());
}

/// What another mapping would have made of a sign-in, and of its roles.
#[tokio::test]
async fn a_mapping_is_tried_on_a_recorded_sign_in() {
    let idp = Idp::new();
    let world = world(&idp, "").await;
    sign_in(&idp, &world, "_1").await;
    let event_id = look(&world, ListSignIns::default()).await[0].event_id.clone();
    let root = world.root(MANAGEMENT);
    let now = root.call(GetSignIn { event_id: event_id.clone() }).await.unwrap();
    let preview = async |lines: &str| root.call(PreviewMapping { event_id: event_id.clone(), lines: lines.to_owned() }).await;
    let gained: Vec<String> = now.offers.iter().map(|offer| offer.role.role.name.to_string()).collect();
    assert!(!gained.is_empty(), "the mapping in force leads to a role");

    let same = preview(&now.mapping.unwrap()).await.unwrap();
    assert!(same.roles.iter().all(|(_, change)| change.is_none()) && same.roles.len() == gained.len(), "{:?}", same.roles);
    let other = "subject = \"groups\"";
    let several = preview(other).await.unwrap_err();
    assert!(several.public.contains("`groups` names the person, and has 2 values"), "{}", several.public);
    let other = "[identity_sources.attributes]\nteam = \"groups\"\nmanager = \"boss\"\n[identity_sources.tags]\nUnit = \"boss\"";
    let other = preview(other).await.unwrap();
    assert_eq!(other.attributes, [("saml:team".to_owned(), "admins, staff".to_owned())]);
    assert_eq!(other.absent, ["boss"]);
    assert_eq!(other.tags, [("Team".to_owned(), "blue".to_owned())]);
    assert!(
        other.roles.iter().all(|(_, change)| *change == Some(false)),
        "without `saml:groups` they are lost: {:?}",
        other.roles
    );
    for (bad, why) in [
        ("[identity_sources.attributes]\nsub = \"groups\"", "can't be a short name"),
        ("[identity_sources.atributes]", "unknown field"),
        ("groups = ", "The mapping:"),
    ] {
        let error = preview(bad).await.unwrap_err();
        assert!(error.kind == ErrorKind::InvalidInput && error.public.contains(why), "{bad}: {}", error.public);
    }
}

#[tokio::test]
async fn a_test_sign_in_is_recorded_and_gives_no_session() {
    let idp = Idp::new();
    let world = world(&idp, "").await;
    let document = |request: &str| response(&idp, &world, "_1", Some(request));
    let completed = attempt(&world, Continuation::Test, document).await.unwrap();
    assert!(completed.session().is_none());
    let found = look(&world, ListSignIns::default()).await;
    assert!(found.len() == 1 && found[0].identity.is_some());
}

/// Sign-ins are the organization's: another account's administrator does not see them.
#[tokio::test]
async fn only_the_management_account_reads_the_recorder() {
    let world = World::demo().await;
    let error = world.root("222233334444").call(ListSignIns::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::AccessDenied);
}
