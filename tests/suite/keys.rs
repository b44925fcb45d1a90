//! Keys that follow each other, with overlap.

use crate::world::{SeededRandom, World, open};
use daypass::{
    api::keys::{KeyPurpose, KeySchedule, ListSigningKeys, RetireSigningKeys, RotateSigningKey, rotate_due},
    federation::saml::metadata_document,
    store::keys::TokenAlgorithm,
};
use serde_json::json;

const NEVER: KeySchedule = KeySchedule { ring_days: 0, token_days: 0, saml_days: 0, audit_days: 0 };

/// The `kid` of a token that is signed now, and the published ones.
fn kids(world: &World) -> (String, Vec<String>) {
    let keys = world.gateway.broker.store.token_keys();
    let token = keys.sign(TokenAlgorithm::ES384, &json!({ "sub": "x" })).unwrap();
    let signed = jsonwebtoken::decode_header(token.expose()).unwrap().kid.unwrap();
    (signed, keys.public().keys.iter().map(|key| key.common.key_id.clone().unwrap()).collect())
}

async fn rotate(world: &World, purpose: KeyPurpose, at_once: bool) {
    world.operator().call(RotateSigningKey { purpose, at_once }).await.unwrap();
}

#[tokio::test]
async fn a_new_token_key_is_published_first_signs_later_and_the_old_one_goes_last() {
    let world = World::empty().await;
    let store = world.gateway.broker.store.clone();
    let (first, published) = kids(&world);
    assert_eq!(published.len(), 2, "one of each algorithm");
    rotate(&world, KeyPurpose::TokenEs384, false).await;
    let (signed, published) = kids(&world);
    assert_eq!((signed == first, published.len()), (true, 3), "published at once, signs later");
    // Another node sees the same.
    let other = open(&world.place.location, world.clock.clone(), SeededRandom::new(5)).await.unwrap();
    assert_eq!(other.broker.store.token_keys().public().keys.len(), 3);
    world.clock.advance(3600);
    store.renew_signing_keys().await.unwrap();
    let (second, published) = kids(&world);
    assert!(second != first && published.contains(&first), "what the old one signed is still verified");
    assert_eq!(world.operator().call(RetireSigningKeys {}).await.unwrap().names, [""; 0], "not yet");
    world.clock.advance(86_400);
    assert_eq!(world.operator().call(RetireSigningKeys {}).await.unwrap().names, ["token-es384"]);
    store.renew_signing_keys().await.unwrap();
    let (signed, published) = kids(&world);
    assert!(signed == second && !published.contains(&first));
    // When somebody else knows a key, it is gone at once.
    rotate(&world, KeyPurpose::TokenEs384, true).await;
    store.renew_signing_keys().await.unwrap();
    let (third, published) = kids(&world);
    assert!(third != second && !published.contains(&second));
}

#[tokio::test]
async fn metadata_names_both_signing_certificates_while_one_follows_the_other() {
    let world = World::demo().await;
    let store = &world.gateway.broker.store;
    let certificates = async || {
        let document = metadata_document(&world.gateway.broker.federation).await.unwrap();
        let of = |usage: &str| document.matches(&format!("use=\"{usage}\"")).count();
        (of("signing"), of("encryption"))
    };
    let first = store.saml_keys().current().unwrap().certificate.clone();
    let encrypted_to = store.encryption_keys().await.unwrap().current().unwrap().certificate.clone();
    assert_eq!(certificates().await, (1, 1));
    rotate(&world, KeyPurpose::Saml, false).await;
    rotate(&world, KeyPurpose::SamlEncryption, false).await;
    store.renew_signing_keys().await.unwrap();
    assert_eq!(certificates().await, (2, 1), "providers verify with any and encrypt to the newest");
    assert_eq!(store.saml_keys().current().unwrap().certificate, first, "for a week the old one signs");
    let encryption = store.encryption_keys().await.unwrap();
    assert!(encryption.all().len() == 2 && encryption.current().unwrap().certificate != encrypted_to, "both still decrypt");
    world.clock.advance(7 * 86_400);
    store.renew_signing_keys().await.unwrap();
    assert_ne!(store.saml_keys().current().unwrap().certificate, first);
}

#[tokio::test]
async fn keys_rotate_by_schedule_and_are_on_record() {
    let world = World::demo().await;
    let gateway = &world.gateway;
    gateway.broker.store.seal_audit().await.unwrap();
    let schedule = KeySchedule { ring_days: 30, token_days: 90, saml_days: 0, audit_days: 365 };
    assert_eq!(rotate_due(gateway, schedule).await.unwrap(), [""; 0], "all of them are new");
    world.clock.advance(31 * 86_400);
    assert_eq!(rotate_due(gateway, schedule).await.unwrap(), ["ring/2"]);
    assert_eq!(rotate_due(gateway, schedule).await.unwrap(), [""; 0], "once");
    world.clock.advance(400 * 86_400);
    let done = rotate_due(gateway, schedule).await.unwrap();
    assert_eq!(done.len(), 4, "the ring, two for tokens, and the audit log's: {done:?}");
    assert_eq!(rotate_due(gateway, NEVER).await.unwrap(), [""; 0]);
    let keys = world.operator().call(ListSigningKeys {}).await.unwrap().keys;
    assert_eq!(keys.iter().filter(|key| key.purpose == KeyPurpose::Saml).count(), 1);
    // What the old key of the audit log signed is still proved.
    gateway.broker.store.renew_signing_keys().await.unwrap();
    gateway.broker.store.seal_audit().await.unwrap();
    let report = gateway.broker.store.read().verify_audit(None).await.unwrap();
    assert_eq!((report.broken, report.seals), (None, 2));
    let read = gateway.broker.store.read();
    let (records, _) = read.audit_events(None, &crate::world::events("RotateSigningKey"), None, 10).await.unwrap();
    assert_eq!(records.len(), 3);
}
