//! Moving a store from one database to another, and into a backup and back.

use crate::world::{DEMO, FrozenClock, NOON, Place, SeededRandom, World, open};
use daypass::{
    api::sts::GetCallerIdentity,
    cli::apply::parse,
    domain::{Clock as _, ErrorKind, Secret, Timestamp},
    gateway::Gateway,
    store::{EphemeralKind, Location, move_store, restore},
};
use tempfile::TempDir;

const MARK: EphemeralKind = EphemeralKind::lasting("mark");
const SESSION: EphemeralKind = EphemeralKind::passing("session");

fn folder() -> Place {
    Place { location: Location::folder(tempfile::tempdir().unwrap().keep()), servers: Vec::new() }
}

/// The demo organization with what a live one has: sessions, marks, records, signatures.
async fn live(place: Place) -> World {
    let world = World::at(place).await;
    world.apply(parse(DEMO, "toml").unwrap(), false).await.unwrap();
    let (store, expires) = (&world.gateway.broker.store, world.clock.now().plus_seconds(3600));
    store.ephemeral().put_new(MARK, "used", &(), expires).await.unwrap();
    store.ephemeral().put_owned(SESSION, "owner", "id", &"somebody", expires).await.unwrap();
    store.seal_audit().await.unwrap();
    world
}

/// What a copy must have.
async fn is_the_same(copy: &Gateway, world: &World) {
    let (was, is) = (world.gateway.snapshot(), copy.snapshot());
    assert_eq!(is.organization, was.organization);
    assert!(is.roles.len() > 3 && is.roles.keys().eq(was.roles.keys()), "roles");
    assert!(is.accounts.keys().eq(was.accounts.keys()), "accounts");
    let store = &copy.broker.store;
    assert!(store.read().count_users().await.unwrap() > 1);
    let report = store.read().verify_audit(None).await.unwrap();
    assert_eq!(report.broken, None);
    assert!(report.records > 0 && report.seals > 0, "{report:?}");
}

async fn moves(from: Place, to: Place) {
    let world = live(from).await;
    let signed = world.session("333344445555", "Developer", &["developers"]);
    let tables = move_store(&world.place.location, &to.location, world.clock.now()).await.unwrap();
    assert!(tables.iter().any(|table| table.table == "audit" && table.rows > 0), "{tables:?}");
    let copy = open(&to.location, world.clock.clone(), SeededRandom::new(3)).await.unwrap();
    is_the_same(&copy, &world).await;
    // Nobody has to sign in anew, and nothing can be used again.
    let ephemeral = copy.broker.store.ephemeral();
    let expires = world.clock.now().plus_seconds(3600);
    assert!(!ephemeral.put_new(MARK, "used", &(), expires).await.unwrap());
    assert_eq!(ephemeral.owned::<String>(SESSION, "owner", 5).await.unwrap(), ["somebody"]);
    assert!(copy.call(&signed.caller, GetCallerIdentity {}).await.is_ok());
    // The old one is closed: to those who run on it, and to those who would.
    let error = world.apply(parse(DEMO, "toml").unwrap(), false).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(world.gateway.broker.store.refresh().await.is_err(), "it is not ready");
    let error = open(&world.place.location, world.clock.clone(), SeededRandom::new(4)).await.err().unwrap();
    assert!(error.public.contains("moved"), "{}", error.public);
    // And the copy goes on.
    copy.call(&world.operator().caller, daypass::api::keys::RotateRingKey {}).await.unwrap();
    assert_eq!(copy.broker.store.read().verify_audit(None).await.unwrap().broken, None);
}

#[tokio::test]
async fn an_organization_moves_from_the_embedded_store_to_postgres() {
    moves(folder(), Place::postgres().await).await;
}

#[tokio::test]
async fn an_organization_moves_to_postgres_and_redis() {
    moves(folder(), Place::postgres_and_redis().await).await;
}

#[tokio::test]
async fn an_organization_moves_from_postgres_to_the_embedded_store() {
    moves(Place::postgres().await, folder()).await;
}

#[tokio::test]
async fn nothing_moves_where_somebody_is_already() {
    let (world, other) = (live(folder()).await, live(folder()).await);
    let error = move_store(&world.place.location, &other.place.location, world.clock.now()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::InvalidInput);
    // Both go on.
    for world in [world, other] {
        world.apply(parse(DEMO, "toml").unwrap(), false).await.unwrap();
    }
}

fn passphrase(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

async fn backup_of(world: &World) -> Vec<u8> {
    let mut file = Vec::new();
    world.gateway.broker.store.back_up(&mut file, &passphrase("correct horse battery"), &Secret::new([7; 32])).await.unwrap();
    file
}

async fn restored(file: &[u8], to: &Location, words: &str) -> Result<Timestamp, daypass::domain::Error> {
    let mut keys = Vec::new();
    let keep = |key: &Secret<[u8; 32]>| {
        keys.push(*key.expose());
        Ok(())
    };
    let restored = restore(to, file, &passphrase(words), SeededRandom::new(5), Timestamp(NOON), keep).await?;
    assert_eq!(keys, [[7; 32]], "the master key comes first, once");
    Ok(restored.created)
}

async fn comes_back(from: Place, to: Place) {
    let world = live(from).await;
    let file = backup_of(&world).await;
    assert!(!file.windows(8).any(|window| window == b"Example " || window == b"arn:aws:"), "it is sealed");
    assert_eq!(restored(&file, &to.location, "correct horse battery").await.unwrap(), Timestamp(NOON));
    let copy = open(&to.location, FrozenClock::at(NOON), SeededRandom::new(3)).await.unwrap();
    is_the_same(&copy, &world).await;
    let session = copy.broker.store.ephemeral().get::<String>(SESSION, "id").await.unwrap();
    assert_eq!(session, None, "sessions are not in it");
    assert_eq!(copy.snapshot().revocations.everything(), Some(Timestamp(NOON)), "and those from before are over");
    let again = restored(&file, &to.location, "correct horse battery").await.unwrap_err();
    assert!(again.public.contains("organization in that store already"), "{}", again.public);
}

#[tokio::test]
async fn a_backup_of_the_embedded_store_comes_back_on_an_empty_machine() {
    comes_back(folder(), folder()).await;
}

#[tokio::test]
async fn a_backup_of_postgres_comes_back_in_another_database() {
    comes_back(Place::postgres().await, Place::postgres().await).await;
}

#[tokio::test]
async fn a_backup_that_was_altered_changes_nothing() {
    let world = live(folder()).await;
    let file = backup_of(&world).await;
    let empty = TempDir::new().unwrap();
    let location = Location::folder(empty.path());
    let wrong = restored(&file, &location, "another horse battery").await.unwrap_err();
    assert!(wrong.public.contains("passphrase"), "{}", wrong.public);
    let header = file.iter().position(|byte| *byte == b'\n').unwrap();
    let mut altered: Vec<Vec<u8>> =
        vec![file[..file.len() - 1].to_vec(), file[..file.len() / 2].to_vec(), file[..header + 1].to_vec()];
    for place in [0, 20, header - 1, header + 2, header + 5, header + 40, file.len() / 2, file.len() - 2] {
        let mut copy = file.clone();
        copy[place] ^= 1;
        altered.push(copy);
    }
    altered.push([&file[..], b"and more"].concat());
    for (number, file) in altered.iter().enumerate() {
        let outcome = restored(file, &location, "correct horse battery").await;
        // What follows the last part is no part of it.
        assert_eq!(outcome.is_err(), number + 1 < altered.len(), "case {number}: {outcome:?}");
    }
    let copy = open(&location, FrozenClock::at(NOON), SeededRandom::new(3)).await.unwrap();
    is_the_same(&copy, &world).await;
}
