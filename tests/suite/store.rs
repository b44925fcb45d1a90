//! The embedded store: one-time marks, restarts, wrong keys.

use crate::world::{FrozenClock, NOON, SeededRandom, World, open};
use daypass::domain::{Clock as _, ErrorKind};
use daypass::store::Store;

#[tokio::test]
async fn of_many_that_try_one_gets_the_mark() {
    let world = World::empty().await;
    let store = world.gateway.broker.store.clone();
    let expires = world.clock.now().plus_seconds(60);
    let tries = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.ephemeral().put_new("mark", "id", &(), expires).await.unwrap() })
    });
    let mut first = 0;
    for attempt in tries.collect::<Vec<_>>() {
        first += usize::from(attempt.await.unwrap());
    }
    assert_eq!(first, 1);
    world.clock.advance(61);
    assert!(
        store.ephemeral().put_new("mark", "id", &(), world.clock.now().plus_seconds(60)).await.unwrap(),
        "forgotten after its time"
    );
}

#[tokio::test]
async fn what_is_taken_is_gone_and_what_expired_is_not_there() {
    let world = World::empty().await;
    let ephemeral = world.gateway.broker.store.ephemeral();
    let expires = world.clock.now().plus_seconds(60);
    ephemeral.put("kind", "key", &"value", expires).await.unwrap();
    assert_eq!(ephemeral.get::<String>("other", "key").await.unwrap(), None, "kinds are apart");
    assert_eq!(ephemeral.take::<String>("kind", "key").await.unwrap().as_deref(), Some("value"));
    assert_eq!(ephemeral.take::<String>("kind", "key").await.unwrap(), None);
    assert!(!ephemeral.replace("kind", "key", &"again", expires).await.unwrap(), "a slow request brings nothing back");
    ephemeral.put("kind", "key", &"value", expires).await.unwrap();
    world.clock.advance(60);
    assert_eq!(ephemeral.get::<String>("kind", "key").await.unwrap(), None);
    assert_eq!(ephemeral.sweep().await.unwrap(), 1);
}

#[tokio::test]
async fn a_restart_keeps_everything_and_another_master_key_opens_nothing() {
    let world = World::demo().await;
    let roles = world.gateway.snapshot().roles.len();
    world.gateway.broker.store.close().await;
    let (clock, random) = (FrozenClock::at(NOON), SeededRandom::new(9));
    let again = open(&world.folder, clock.clone(), random.clone()).await.unwrap();
    assert_eq!(again.snapshot().roles.len(), roles);
    again.broker.store.close().await;
    let error = Store::open(world.folder.path(), &[8; 32], random, clock).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable);
    assert!(error.public.contains("master key"), "{}", error.public);
}

#[tokio::test]
async fn another_process_s_changes_are_followed() {
    let world = World::empty().await;
    let other = open(&world.folder, world.clock.clone(), SeededRandom::new(11)).await.unwrap();
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

#[tokio::test]
async fn nothing_secret_stands_in_the_files() {
    let world = World::empty().await;
    let ephemeral = world.gateway.broker.store.ephemeral();
    ephemeral.put("bearer", "MARKER-TOKEN", &"MARKER-VALUE", world.clock.now().plus_seconds(60)).await.unwrap();
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
    for entry in std::fs::read_dir(world.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        assert!(!bytes.windows(7).any(|window| window == b"MARKER-"), "{} holds a secret in the clear", path.display());
    }
}

#[tokio::test]
async fn a_role_that_can_t_be_read_is_closed_and_the_others_live_on() {
    use sqlx::{Connection as _, SqliteConnection};
    let world = World::demo().await;
    let store = &world.gateway.broker.store;
    let roles = store.snapshot().roles.len();
    let file = format!("sqlite://{}", world.folder.path().join("daypass.sqlite").display());
    let mut damage = SqliteConnection::connect(&file).await.unwrap();
    for change in [
        "UPDATE role SET trust_policy = '{' WHERE name = 'Administrator' AND account = '111122223333'",
        "UPDATE revision SET number = number + 1",
    ] {
        sqlx::query(change).execute(&mut damage).await.unwrap();
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
