//! The store: one suite for the embedded one, PostgreSQL, and PostgreSQL with Redis.

use crate::world::{FrozenClock, NOON, Place, SeededRandom, World, open};
use daypass::{
    api::signin::{Answer, CompleteSignIn},
    domain::{Clock as _, ErrorKind},
    store::{EphemeralKind, Location, Store},
};

const MARK: EphemeralKind = EphemeralKind::lasting("mark");
const KIND: EphemeralKind = EphemeralKind::passing("kind");
const OTHER: EphemeralKind = EphemeralKind::passing("other");

macro_rules! on_every_store {
    ($($test:ident,)*) => {
        mod embedded { $( #[tokio::test] async fn $test() { super::$test(crate::world::World::empty().await).await; } )* }
        mod postgres { $( #[tokio::test] async fn $test() {
            super::$test(crate::world::World::at(crate::world::Place::postgres().await).await).await;
        } )* }
        mod postgres_and_redis { $( #[tokio::test] async fn $test() {
            super::$test(crate::world::World::at(crate::world::Place::postgres_and_redis().await).await).await;
        } )* }
    };
}

on_every_store! {
    of_many_that_try_one_gets_the_mark,
    of_many_that_take_one_gets_it,
    what_is_taken_is_gone_and_what_expired_is_not_there,
    what_somebody_owns_is_found_the_last_to_end_first,
    a_restart_keeps_everything_and_another_master_key_opens_nothing,
    another_process_s_changes_are_followed,
    nothing_secret_stands_in_the_store,
    a_role_that_can_t_be_read_is_closed_and_the_others_live_on,
    people_are_found_by_parts_of_their_names,
    the_audit_log_proves_itself_and_names_the_first_bad_record,
    retention_keeps_the_chain_verifiable,
    records_say_who_and_what_in_the_words_of_cloudtrail,
}

/// The demo organization.
async fn with_demo(world: World) -> World {
    world.apply(daypass::cli::apply::parse(crate::world::DEMO, "toml").unwrap(), false).await.unwrap();
    world
}

async fn of_many_that_try_one_gets_the_mark(world: World) {
    let store = world.gateway.broker.store.clone();
    let expires = world.clock.now().plus_seconds(60);
    let tries = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.ephemeral().put_new(MARK, "id", &(), expires).await.unwrap() })
    });
    let mut first = 0;
    for attempt in tries.collect::<Vec<_>>() {
        first += usize::from(attempt.await.unwrap());
    }
    assert_eq!(first, 1);
    world.clock.advance(61);
    assert!(
        store.ephemeral().put_new(MARK, "id", &(), world.clock.now().plus_seconds(60)).await.unwrap(),
        "forgotten after its time"
    );
}

async fn what_is_taken_is_gone_and_what_expired_is_not_there(world: World) {
    let ephemeral = world.gateway.broker.store.ephemeral();
    let expires = world.clock.now().plus_seconds(60);
    ephemeral.put(KIND, "key", &"value", expires).await.unwrap();
    assert_eq!(ephemeral.get::<String>(OTHER, "key").await.unwrap(), None, "kinds are apart");
    assert_eq!(ephemeral.take::<String>(KIND, "key").await.unwrap().as_deref(), Some("value"));
    assert_eq!(ephemeral.take::<String>(KIND, "key").await.unwrap(), None);
    assert!(!ephemeral.replace(KIND, "key", &"again", expires).await.unwrap(), "a slow request brings nothing back");
    ephemeral.put(KIND, "key", &"value", expires).await.unwrap();
    world.clock.advance(60);
    assert_eq!(ephemeral.get::<String>(KIND, "key").await.unwrap(), None);
    assert_eq!(ephemeral.sweep().await.unwrap(), 0, "another node's clock may be behind");
    world.clock.advance(3600);
    // With Redis there is the mark that it was taken, which stays longer.
    let in_redis = world.place.location.redis.is_some();
    assert_eq!(ephemeral.sweep().await.unwrap(), u64::from(!in_redis));
}

async fn a_restart_keeps_everything_and_another_master_key_opens_nothing(world: World) {
    let world = with_demo(world).await;
    let roles = world.gateway.snapshot().roles.len();
    world.gateway.broker.store.close().await;
    let (clock, random) = (FrozenClock::at(NOON), SeededRandom::new(9));
    let again = open(&world.place.location, clock.clone(), random.clone()).await.unwrap();
    assert_eq!(again.snapshot().roles.len(), roles);
    again.broker.store.close().await;
    let error = Store::open(&world.place.location, &[8; 32], random, clock).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.public.contains("master key"), "{}", error.public);
}

async fn another_process_s_changes_are_followed(world: World) {
    let other = open(&world.place.location, world.clock.clone(), SeededRandom::new(11)).await.unwrap();
    world.apply(daypass::cli::apply::parse(crate::world::DEMO, "toml").unwrap(), false).await.unwrap();
    assert!(other.snapshot().organization.is_none());
    other.broker.store.refresh().await.unwrap();
    assert_eq!(other.snapshot().organization.as_ref().unwrap().name, "Example Corp");
}

#[tokio::test]
async fn strangers_cannot_fill_the_audit_log() {
    use daypass::store::audit::STRANGER_REFUSALS_PER_MINUTE;
    let world = World::empty().await;
    let store = &world.gateway.broker.store;
    let most = usize::try_from(STRANGER_REFUSALS_PER_MINUTE).unwrap();
    let record = |caller: &daypass::domain::session::Caller| {
        let mut record = daypass::store::AuditRecord::open(
            "id".to_owned(),
            "sts",
            "X",
            String::new(),
            caller,
            daypass::store::Notes::default(),
        );
        record.fail(&daypass::domain::Error::invalid("no"));
        record
    };
    for _ in 0..most + 20 {
        store.record(record(&world.nobody().caller)).await.unwrap();
    }
    store.record(record(&world.operator().caller)).await.unwrap();
    let kept = store.read().audit_events(None, &crate::world::events("X"), None, 5000).await.unwrap().0.len();
    assert_eq!(kept, most + 1, "and the one of a known caller");
    world.clock.advance(60);
    store.record(record(&world.nobody().caller)).await.unwrap();
    assert_eq!(
        store.read().audit_events(None, &crate::world::events("X"), None, 5000).await.unwrap().0.len(),
        most + 2,
        "a minute later"
    );
}

async fn nothing_secret_stands_in_the_store(world: World) {
    let ephemeral = world.gateway.broker.store.ephemeral();
    ephemeral.put(KIND, "MARKER-TOKEN", &"MARKER-VALUE", world.clock.now().plus_seconds(60)).await.unwrap();
    let file = r#"
[organization]
name = "O"
management_account = "111122223333"
[[accounts]]
id = "111122223333"
name = "M"
[[identity_sources]]
name = "cloud"
type = "oidc"
issuer = "https://issuer.example"
client_id = "c"
client_secret = "MARKER-SECRET"
"#;
    world.apply(daypass::cli::apply::parse(file, "toml").unwrap(), false).await.unwrap();
    world.gateway.broker.store.close().await;
    let mut dumps = Vec::new();
    for entry in std::fs::read_dir(world.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        dumps.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    if let daypass::store::SystemLocation::Postgres(postgres) = &world.place.location.system {
        let dump = std::process::Command::new("pg_dump").arg(postgres.url.expose()).output().unwrap();
        assert!(dump.status.success() && dump.stdout.len() > 1000, "{dump:?}");
        dumps.push(("the dump".to_owned(), dump.stdout));
    }
    if let Some(redis) = world.place.servers.iter().find(|server| server.told.contains_key("REDIS_PORT")) {
        let mut everything = Vec::new();
        let ask = |arguments: &[&str]| {
            let output = std::process::Command::new("redis-cli").args(["-p", redis.of("REDIS_PORT")]).args(arguments).output();
            output.unwrap().stdout
        };
        let keys = String::from_utf8(ask(&["keys", "*"])).unwrap();
        assert_eq!(keys.lines().count(), 1, "{keys}");
        for key in keys.lines() {
            everything.extend(key.as_bytes());
            everything.extend(ask(&["get", key]));
        }
        dumps.push(("Redis".to_owned(), everything));
    }
    for (place, bytes) in dumps {
        assert!(!bytes.windows(7).any(|window| window == b"MARKER-"), "{place} holds a secret in the clear");
    }
}

async fn a_role_that_can_t_be_read_is_closed_and_the_others_live_on(world: World) {
    let world = with_demo(world).await;
    let store = &world.gateway.broker.store;
    let roles = store.snapshot().roles.len();
    for change in [
        "UPDATE role SET trust_policy = '{' WHERE name = 'Administrator' AND account = '111122223333'",
        "UPDATE revision SET number = number + 1",
    ] {
        world.place.sql(change).await;
    }
    store.refresh().await.unwrap();
    let snapshot = store.snapshot();
    assert_eq!(snapshot.roles.len(), roles);
    let account = "111122223333".to_owned().try_into().unwrap();
    assert!(snapshot.role(&account, "Administrator").unwrap().trust.policies().is_empty());
    // Signing in as another role goes on as before.
    let developer = world.session("333344445555", "Developer", &["developers"]);
    assert!(developer.call(daypass::api::sts::GetCallerIdentity {}).await.is_ok());
}

async fn of_many_that_take_one_gets_it(world: World) {
    let store = world.gateway.broker.store.clone();
    let expires = world.clock.now().plus_seconds(60);
    store.ephemeral().put(KIND, "id", &"value", expires).await.unwrap();
    let tries = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.ephemeral().take::<String>(KIND, "id").await.unwrap() })
    });
    let mut first = 0;
    for attempt in tries.collect::<Vec<_>>() {
        first += usize::from(attempt.await.unwrap().is_some());
    }
    assert_eq!(first, 1);
}

async fn what_somebody_owns_is_found_the_last_to_end_first(world: World) {
    let ephemeral = world.gateway.broker.store.ephemeral();
    for (key, seconds) in [("a", 60), ("b", 180), ("c", 120)] {
        ephemeral.put_owned(KIND, "owner", key, &key, world.clock.now().plus_seconds(seconds)).await.unwrap();
    }
    ephemeral.put_owned(KIND, "somebody else", "d", &"d", world.clock.now().plus_seconds(60)).await.unwrap();
    assert_eq!(ephemeral.owned::<String>(KIND, "owner", 10).await.unwrap(), ["b", "c", "a"]);
    assert_eq!(ephemeral.owned::<String>(KIND, "owner", 2).await.unwrap(), ["b", "c"]);
    ephemeral.delete(KIND, "c").await.unwrap();
    assert_eq!(ephemeral.owned::<String>(KIND, "owner", 2).await.unwrap(), ["b", "a"], "what is gone takes nobody's place");
    world.clock.advance(60);
    assert_eq!(ephemeral.owned::<String>(KIND, "owner", 10).await.unwrap(), ["b"]);
    let each = ephemeral.get_each(&[(KIND, "b"), (MARK, "b"), (KIND, "a")]).await.unwrap();
    assert_eq!(each, [Some("b".into()), None, None]);
}

async fn people_are_found_by_parts_of_their_names(world: World) {
    let world = with_demo(world).await;
    let read = world.gateway.broker.store.read();
    let mut found = Vec::new();
    for text in ["jan", "JANE@", "ex", "%", "_", "\\", "\"", "'", "nobody at all", "\0"] {
        let (users, _) = read.search_users(text, "", 10).await.unwrap();
        found.push((text, users.iter().map(|user| user.name.to_string()).collect::<Vec<_>>()));
    }
    let jane = vec!["jane@example.com".to_owned()];
    let everybody = found[2].1.clone();
    assert!(everybody.len() > 1, "{found:?}");
    let nobody = Vec::new();
    let expected = [
        jane.clone(),
        jane,
        everybody,
        nobody.clone(),
        nobody.clone(),
        nobody.clone(),
        nobody.clone(),
        nobody.clone(),
        nobody.clone(),
        nobody,
    ];
    assert_eq!(found.into_iter().map(|(_, names)| names).collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn the_schemas_are_one() {
    let embedded =
        World::at(Place { location: Location::folder(tempfile::tempdir().unwrap().keep()), servers: Vec::new() }).await;
    let server = World::at(Place::postgres().await).await;
    let sqlite = "SELECT m.name || '.' || c.name || ' ' || c.type || CASE WHEN c.\"notnull\" OR c.pk > 0 THEN '' ELSE ' or none' END
                  || CASE WHEN c.pk > 0 THEN ' key' ELSE '' END
                  FROM sqlite_master m JOIN pragma_table_info(m.name) c WHERE m.type = 'table' AND m.name NOT LIKE '%\\_text%' ESCAPE '\\'
                  AND m.name NOT LIKE 'sqlite%' AND m.name NOT LIKE '%sqlx%' ORDER BY 1";
    let postgres = "SELECT c.table_name || '.' || c.column_name || ' ' || c.data_type || CASE c.is_nullable WHEN 'NO' THEN '' ELSE ' or none' END
                  || CASE WHEN EXISTS (SELECT 1 FROM information_schema.key_column_usage k JOIN information_schema.table_constraints t
                       USING (constraint_name) WHERE t.constraint_type = 'PRIMARY KEY' AND k.table_name = c.table_name
                       AND k.column_name = c.column_name) THEN ' key' ELSE '' END
                  FROM information_schema.columns c WHERE table_schema = 'public' AND table_name <> '_sqlx_migrations'
                  AND table_name <> 'ephemeral' ORDER BY 1";
    let plain = |lines: Vec<String>| {
        let mut lines: Vec<String> = lines
            .iter()
            .map(|line| line.replace("bigint", "INTEGER").replace("bytea", "BLOB").replace(" text", " TEXT"))
            .collect();
        lines.sort();
        lines.join("\n")
    };
    assert_eq!(plain(embedded.place.sql(sqlite).await), plain(server.place.sql(postgres).await));
}

/// Leaves a record.
async fn refused(world: &World) {
    let request = serde_json::json!({ "RoleName": "New", "AssumeRolePolicyDocument": "{}" });
    let role: daypass::api::iam::roles::CreateRole = serde_json::from_value(request).unwrap();
    world.session("333344445555", "Developer", &["developers"]).call(role).await.unwrap_err();
}

/// Some records, one of them signed.
async fn with_records(world: World) -> World {
    let world = with_demo(world).await;
    let store = &world.gateway.broker.store;
    // One with a recording.
    let answer = Answer::Parked { handle: "unknown".to_owned() };
    let attempt = CompleteSignIn { source: None, binding: None, answer, reset: None };
    world.nobody().call(attempt).await.unwrap_err();
    for _ in 0..3 {
        refused(&world).await;
    }
    store.seal_audit().await.unwrap();
    for _ in 0..2 {
        refused(&world).await;
    }
    world
}

async fn the_audit_log_proves_itself_and_names_the_first_bad_record(world: World) {
    let world = with_records(world).await;
    let store = &world.gateway.broker.store;
    let whole = store.read().verify_audit(None).await.unwrap();
    assert_eq!((whole.broken.clone(), whole.seals), (None, 1));
    let last = whole.head.sequence;
    assert_eq!(i64::try_from(whole.records).unwrap(), last);
    assert_eq!(store.read().verify_audit(Some(&whole.head)).await.unwrap().broken, None);
    // What somebody does who can write to the database, and how it is found out: in the order of harm.
    let (sealed, middle) = (whole.sealed_to, last - 3);
    for (change, undo, expected) in [
        (
            format!("UPDATE audit SET principal = principal || 'x' WHERE sequence = {middle}"),
            format!("UPDATE audit SET principal = substr(principal, 1, length(principal) - 1) WHERE sequence = {middle}"),
            Some((middle, "the record was changed")),
        ),
        (
            format!("UPDATE audit SET error_code = NULL WHERE sequence = {last}"),
            format!("UPDATE audit SET error_code = 'AccessDenied' WHERE sequence = {last}"),
            Some((last, "the record was changed")),
        ),
        (
            format!("UPDATE audit SET sequence = 1000000 WHERE sequence = {middle}"),
            format!("UPDATE audit SET sequence = {middle} WHERE sequence = 1000000"),
            Some((middle, "the record was removed")),
        ),
        (
            "UPDATE recording SET checks = '[{}]'".to_owned(),
            "UPDATE recording SET checks = '[]'".to_owned(),
            Some((last - 5, "the recording beside the record was changed")),
        ),
        (
            "UPDATE recording SET error_code = NULL".to_owned(),
            "UPDATE recording SET error_code = 'StaleStep'".to_owned(),
            Some((last - 5, "the recording beside the record was changed")),
        ),
        (
            "UPDATE audit SET sequence = 0 WHERE sequence = 1".to_owned(),
            "UPDATE audit SET sequence = 1 WHERE sequence = 0".to_owned(),
            Some((1, "the record was removed")),
        ),
        (
            format!("UPDATE audit_head SET sequence = {}", last - 1),
            format!("UPDATE audit_head SET sequence = {last}"),
            Some((last - 1, "the end of the chain was changed")),
        ),
        (
            format!("UPDATE audit_seal SET jws = jws || 'A' WHERE sequence = {sealed}"),
            format!("UPDATE audit_seal SET jws = substr(jws, 1, length(jws) - 1) WHERE sequence = {sealed}"),
            Some((sealed, "not ours")),
        ),
        (
            format!("UPDATE audit_seal SET sequence = {} WHERE sequence = {sealed}", sealed - 1),
            format!("UPDATE audit_seal SET sequence = {sealed} WHERE sequence = {}", sealed - 1),
            Some((sealed - 1, "was changed: the signature is over another")),
        ),
        (
            "UPDATE audit_head SET first = 1".to_owned(),
            "UPDATE audit_head SET first = 0".to_owned(),
            Some((2, "the record was changed")),
        ),
        ("SELECT 'nothing'".to_owned(), "SELECT 'nothing'".to_owned(), None),
    ] {
        world.place.sql(&change).await;
        let found = store.read().verify_audit(None).await.unwrap().broken;
        match (&found, expected) {
            (None, None) => {}
            (Some(found), Some((sequence, reason))) if found.sequence == sequence && found.reason.contains(reason) => {}
            _ => panic!("{change}: {found:?}"),
        }
        world.place.sql(&undo).await;
    }
    // A running broker signs nothing that does not follow from what it knew, even if the rest is made to fit.
    for change in [
        format!("CREATE TABLE kept AS SELECT hash FROM audit WHERE sequence = {sealed}"),
        format!("UPDATE audit SET hash = (SELECT hash FROM audit_head) WHERE sequence = {sealed}"),
    ] {
        world.place.sql(&change).await;
    }
    assert!(store.seal_audit().await.is_err(), "what was signed is another now");
    for change in
        [format!("UPDATE audit SET hash = (SELECT hash FROM kept) WHERE sequence = {sealed}"), "DROP TABLE kept".to_owned()]
    {
        world.place.sql(&change).await;
    }
    // Who takes signatures away moves back up to where it is signed.
    assert_eq!((whole.sealed_to, sealed), (sealed, last - 2));
    // Recordings go after their days; that alone breaks nothing.
    store.forget_recordings(world.clock.now().plus_seconds(1)).await.unwrap();
    store.seal_audit().await.unwrap();
    assert_eq!(store.read().verify_audit(None).await.unwrap().sealed_to, last);
    // The newest records go, signatures and all, and the head is put back: a noted head shows it.
    let hash = format!("(SELECT hash FROM audit WHERE sequence = {middle})");
    for change in [
        format!("DELETE FROM audit WHERE sequence > {middle}"),
        format!("DELETE FROM audit_seal WHERE sequence > {middle}"),
        format!("UPDATE audit_head SET sequence = {middle}, hash = {hash}"),
    ] {
        world.place.sql(&change).await;
    }
    let removed = store.read().verify_audit(Some(&whole.head)).await.unwrap().broken.unwrap();
    assert_eq!((removed.sequence, removed.reason), (middle + 1, format!("records up to {last} were removed")));
}

async fn retention_keeps_the_chain_verifiable(world: World) {
    let world = with_records(world).await;
    let store = &world.gateway.broker.store;
    let before = store.read().verify_audit(None).await.unwrap();
    assert_eq!(store.forget_audit(world.clock.now().plus_seconds(-60), &[]).await.unwrap(), 0, "all of them are younger");
    world.clock.advance(600);
    store.seal_audit().await.unwrap();
    let gone = store.forget_audit(world.clock.now(), &[]).await.unwrap();
    assert_eq!(gone, before.records, "everything that is signed is old");
    refused(&world).await;
    let after = store.read().verify_audit(None).await.unwrap();
    assert_eq!((after.broken, after.records, after.begins_after), (None, 1, before.head.sequence));
    // Who removes more than retention did is found out.
    world.place.sql(&format!("DELETE FROM audit WHERE sequence = {}", after.head.sequence)).await;
    assert!(store.read().verify_audit(None).await.unwrap().broken.is_some());
}

async fn records_say_who_and_what_in_the_words_of_cloudtrail(world: World) {
    let world = with_demo(world).await;
    let developer = world.session("333344445555", "Developer", &["developers"]);
    let request = serde_json::json!({ "RoleName": "New", "AssumeRolePolicyDocument": "{}", "Description": "d".repeat(3000) });
    let role: daypass::api::iam::roles::CreateRole = serde_json::from_value(request).unwrap();
    developer.call(role).await.unwrap_err();
    let read = world.gateway.broker.store.read();
    let (events, _) = read.audit_events(None, &crate::world::events("CreateRole"), None, 1).await.unwrap();
    let record = events[0].cloud_trail();
    let identity = &record["userIdentity"];
    assert_eq!(identity["type"], "AssumedRole");
    assert_eq!(identity["sessionContext"]["sessionIssuer"]["userName"], "Developer");
    assert_eq!(identity["sessionContext"]["attributes"]["creationDate"], "2026-11-24T12:00:00Z");
    assert!(identity["accessKeyId"].as_str().unwrap().starts_with("ASIA"));
    assert_eq!(record["requestParameters"]["roleName"], "New");
    assert_eq!(record["requestParameters"]["description"].as_str().unwrap().chars().count(), 2001, "long text is cut");
    assert_eq!((&record["errorCode"], &record["sourceIPAddress"]), (&"AccessDenied".into(), &"192.0.2.1".into()));
    assert!(record["additionalEventData"].get("userIdentity").is_none());
}
