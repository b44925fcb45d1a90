//! PostgreSQL stopped, restarted, hanging, failed over, and with no connection left.

use super::node::{Forward, Site, measured, until};
use crate::stores::Postgres;
use sqlx::Connection as _;
use std::time::{Duration, Instant};

/// 503, and not for ever: never something that was not checked.
fn is_refused<T: std::fmt::Debug>(outcome: Result<T, String>) -> bool {
    matches!(outcome, Err(error) if error.starts_with("503"))
}

#[tokio::test]
async fn a_database_that_stops_or_hangs_refuses_what_it_must_and_comes_back_by_itself() {
    let postgres = Postgres::own(&["--durable"]);
    let server = postgres.server.as_ref().unwrap();
    let site = Site::new(&Site::postgres(&postgres));
    let node = site.node("a").await;
    let mut acknowledged = Vec::new();
    for (how, end, again) in [("stopped", "kill-primary", "start-primary"), ("hung", "pause", "resume")] {
        let name = format!("Before{how}");
        site.create_role(&node, &name).await.unwrap();
        acknowledged.push(name);
        server.command(end, &[]);
        // Decisions that need nothing but what the node knows go on, for as long as it may be believed.
        assert!(site.identity(&node).await.is_ok(), "{how}");
        let (_, took) = until("refused", async || is_refused(site.identity(&node).await).then_some(())).await;
        measured(
            "postgres",
            &format!("{how}: seconds until a node that knows nothing new refuses to decide"),
            format!("{took:.1}"),
        );
        assert!(!node.is_ready().await);
        assert!(is_refused(site.create_role(&node, &format!("While{how}")).await), "no change without a record");
        assert!(site.browser(&node).sign_in(&site.password).await.is_err());
        let began = Instant::now();
        server.command(again, &[]);
        node.until_ready().await;
        until("well again", async || site.identity(&node).await.ok()).await;
        measured(
            "postgres",
            &format!("{how}: seconds from its return until the node decides again"),
            format!("{:.1}", began.elapsed().as_secs_f64()),
        );
        let name = format!("After{how}");
        until("writes again", async || site.create_role(&node, &name).await.ok()).await;
        acknowledged.push(name);
    }
    for name in &acknowledged {
        assert!(site.has_role(&node, name).await.unwrap(), "{name} was acknowledged");
    }
    // What was refused either is not there or was never said to be; the log is whole.
    site.verify();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_takes_over_has_everything_that_was_acknowledged() {
    let postgres = Postgres::own(&["--sync-replica", "--durable"]);
    let server = postgres.server.as_ref().unwrap();
    let forward = Forward::to(server.of("PG_PORT").parse().unwrap()).await;
    let through = postgres.url.replace(&format!(":{}/", server.of("PG_PORT")), &format!(":{}/", forward.port));
    let site = Site::new(&Site::postgres(&Postgres { url: through, server: None }));
    let node = site.node("a").await;
    let mut acknowledged = Vec::new();
    let dying = tokio::time::sleep(Duration::from_millis(600));
    tokio::pin!(dying);
    for number in 0.. {
        let name = format!("Role{number}");
        tokio::select! {
            outcome = site.create_role(&node, &name) => if outcome.is_ok() { acknowledged.push(name) } else { break },
            () = &mut dying => break,
        }
    }
    server.command("kill-primary", &[]);
    let began = Instant::now();
    server.command("promote", &[]);
    let replica: u16 = server.of("PG_REPLICA_URL").rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
    forward.lead_to(replica);
    until("writes again", async || site.create_role(&node, "After").await.ok()).await;
    measured(
        "postgres",
        "failed over: seconds from the primary's death until a change is acknowledged",
        format!("{:.1}", began.elapsed().as_secs_f64()),
    );
    assert!(!acknowledged.is_empty());
    for name in &acknowledged {
        assert!(site.has_role(&node, name).await.unwrap(), "{name} was acknowledged");
    }
    site.verify();
    measured("postgres", "failed over: changes acknowledged before, all there", acknowledged.len());
}

#[tokio::test]
async fn a_database_without_a_free_connection_is_waited_for() {
    use sqlx::{Connection as _, PgConnection};
    let postgres = Postgres::own(&[]);
    let site = Site::new(&Site::postgres(&postgres));
    let node = site.node("a").await;
    let mut admin = PgConnection::connect(&postgres.url).await.unwrap();
    let mut others = Vec::new();
    // Everybody else takes what there is, the broker's own included.
    let mine = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'daypass'";
    for _ in 0..3 {
        sqlx::query(mine).execute(&mut admin).await.unwrap();
        while let Ok(Ok(other)) = tokio::time::timeout(Duration::from_secs(2), PgConnection::connect(&postgres.url)).await {
            others.push(other);
        }
    }
    assert!(others.len() > 50, "{}", others.len());
    until("refused", async || is_refused(site.create_role(&node, "While").await).then_some(())).await;
    let began = Instant::now();
    drop(others);
    until("writes again", async || site.create_role(&node, "After").await.ok()).await;
    measured(
        "postgres",
        "no connection free: seconds from the first free one until a change is acknowledged",
        format!("{:.1}", began.elapsed().as_secs_f64()),
    );
    node.until_ready().await;
    site.verify();
}

/// A database on the same server, and what an administrator does with it.
struct Copies {
    admin: sqlx::PgConnection,
    name: String,
}

impl Copies {
    async fn of(postgres: &Postgres) -> Self {
        let (server, name) = postgres.url.rsplit_once('/').unwrap();
        let admin = sqlx::PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        Self { admin, name: name.to_owned() }
    }

    async fn say(&mut self, sql: String) {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut self.admin).await.unwrap();
    }

    /// Once nobody is connected.
    async fn keep(&mut self) {
        let sql = format!("DROP DATABASE IF EXISTS {0}_gone; CREATE DATABASE {0}_kept TEMPLATE {0}", self.name);
        for statement in sql.split("; ") {
            let copied = async || sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut self.admin).await.ok();
            until("kept", copied).await;
        }
    }

    /// Puts what was kept in the place of what is there, under whoever is connected.
    async fn put_back(&mut self) {
        let name = self.name.clone();
        self.say(format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false")).await;
        self.say(format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")).await;
        self.say(format!("ALTER DATABASE {name} RENAME TO {name}_gone")).await;
        self.say(format!("ALTER DATABASE {name}_kept RENAME TO {name}")).await;
    }
}

#[tokio::test]
async fn a_database_that_was_put_back_to_an_earlier_state_is_believed_and_nothing_else() {
    let postgres = Postgres::new().await;
    let mut site = Site::new(&Site::postgres(&postgres));
    let mut copies = Copies::of(&postgres).await;
    copies.keep().await;
    let node = site.node("a").await;
    site.create_role(&node, "Lost").await.unwrap();
    assert!(site.has_role(&node, "Lost").await.unwrap());
    copies.put_back().await;
    let (_, took) = until("noticed", async || (site.has_role(&node, "Lost").await == Ok(false)).then_some(())).await;
    measured("postgres", "put back to an earlier state: seconds until a node decides by that", format!("{took:.1}"));
    until("writes again", async || site.create_role(&node, "After").await.ok()).await;
    assert!(site.has_role(&node, "After").await.unwrap());
    site.verify();

    // It went back, and on from there: the same number of another change.
    drop(node);
    copies.keep().await;
    let there = site.settings.clone();
    site.settings = there.replace(&format!("/{}\"", copies.name), &format!("/{}_kept\"", copies.name));
    assert_ne!(site.settings, there);
    let mut elsewhere = site.node("elsewhere").await;
    site.create_role(&elsewhere, "Other").await.unwrap();
    elsewhere.stop().await;
    site.settings = there;
    let node = site.node("a").await;
    site.create_role(&node, "Lost").await.unwrap();
    copies.put_back().await;
    until("noticed", async || (site.has_role(&node, "Other").await == Ok(true)).then_some(())).await;
    assert!(!site.has_role(&node, "Lost").await.unwrap());
}
