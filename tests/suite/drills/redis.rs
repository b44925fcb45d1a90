//! Redis stopped, hanging, flushed, failed over by Sentinel, and a Cluster whose slots move.

use super::node::{Site, measured, until};
use crate::{
    stores::{Postgres, Service, redis_location},
    world::{Place, World},
};
use daypass::{
    domain::{Clock as _, Secret},
    store::{EphemeralKind, RedisLocation, RedisTopology},
};
use std::time::Instant;

const MARK: EphemeralKind = EphemeralKind::lasting("mark");
const STEP: EphemeralKind = EphemeralKind::passing("step");

#[tokio::test]
async fn without_redis_signed_calls_go_on_and_nobody_signs_in() {
    let (postgres, redis) = (Postgres::new().await, Service::start("redis.sh", &[]));
    let site = Site::new(&format!("{}{}", Site::postgres(&postgres), Site::redis(&redis)));
    let node = site.node("a").await;
    for (how, end, again) in [("stopped", "kill", "restart"), ("hung", "pause", "resume")] {
        let mut browser = site.browser(&node);
        browser.sign_in(&site.password).await.unwrap();
        redis.command(end, &["redis-0"]);
        let began = Instant::now();
        assert!(site.identity(&node).await.is_ok(), "{how}: signed calls need no Redis");
        site.create_role(&node, &format!("While{how}")).await.unwrap();
        measured(
            "redis",
            &format!("{how}: seconds for a signed read and a change"),
            format!("{:.2}", began.elapsed().as_secs_f64()),
        );
        let began = Instant::now();
        let refused = site.browser(&node).sign_in(&site.password).await.unwrap_err();
        assert!(refused.starts_with("503"), "{refused}");
        measured("redis", &format!("{how}: seconds until a sign-in is refused"), format!("{:.2}", began.elapsed().as_secs_f64()));
        // Nobody's session is believed without a look at it.
        assert!(browser.is_signed_in().await.is_err(), "{how}");
        let (status, told) = node.get("/readyz").await.unwrap();
        assert_eq!(status, 200, "it still decides");
        assert!(told.contains("Redis"), "{told}");
        let began = Instant::now();
        redis.command(again, &["redis-0"]);
        until("signs in again", async || site.browser(&node).sign_in(&site.password).await.ok()).await;
        measured(
            "redis",
            &format!("{how}: seconds from its return until somebody signs in"),
            format!("{:.2}", began.elapsed().as_secs_f64()),
        );
    }
    site.verify();
}

#[tokio::test]
async fn a_redis_that_forgets_everything_signs_people_out_and_lets_nothing_happen_twice() {
    let place = Place::postgres_and_redis().await;
    let world = World::at(place).await;
    let ephemeral = world.gateway.broker.store.ephemeral();
    let expires = world.clock.now().plus_seconds(600);
    assert!(ephemeral.put_new(MARK, "assertion", &(), expires).await.unwrap());
    ephemeral.put(STEP, "step", &"of somebody", expires).await.unwrap();
    let redis = world.place.servers.iter().find(|server| server.told.contains_key("REDIS_PORT")).unwrap();
    let port = redis.of("REDIS_PORT");
    // A replica that never heard that the step was taken: it still has it.
    let key = command(port, &["keys", "daypass:step/*"]);
    let copy = std::process::Command::new("sh")
        .args(["-c", &format!("redis-cli -p {port} --raw dump '{key}' | head -c -1 | redis-cli -p {port} -x restore copy 0")])
        .status();
    assert!(copy.unwrap().success());
    assert!(ephemeral.take::<String>(STEP, "step").await.unwrap().is_some());
    command(port, &["rename", "copy", &key]);
    assert_eq!(ephemeral.take::<String>(STEP, "step").await.unwrap(), None, "it was taken already");
    assert_eq!(command(port, &["flushall"]), "OK");
    assert!(!ephemeral.put_new(MARK, "assertion", &(), expires).await.unwrap(), "what was used stays used");
    assert_eq!(ephemeral.take::<String>(STEP, "step").await.unwrap(), None);
}

fn command(port: &str, arguments: &[&str]) -> String {
    let output = std::process::Command::new("redis-cli").args(["-p", port]).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[tokio::test]
async fn flushing_redis_signs_a_browser_out_and_it_signs_in_again() {
    let (postgres, redis) = (Postgres::new().await, Service::start("redis.sh", &[]));
    let site = Site::new(&format!("{}{}", Site::postgres(&postgres), Site::redis(&redis)));
    let node = site.node("a").await;
    let mut browser = site.browser(&node);
    browser.sign_in(&site.password).await.unwrap();
    assert!(browser.is_signed_in().await.unwrap());
    command(redis.of("REDIS_PORT"), &["flushall"]);
    assert!(!browser.is_signed_in().await.unwrap());
    browser.sign_in(&site.password).await.unwrap();
    assert!(browser.is_signed_in().await.unwrap());
}

#[tokio::test]
async fn sentinels_name_another_primary_and_people_sign_in_there() {
    let (postgres, redis) = (Postgres::new().await, Service::start("redis.sh", &["--mode", "sentinel"]));
    let sentinels: Vec<String> = redis.of("REDIS_SENTINELS").split(',').map(|address| format!("\"{address}\"")).collect();
    let settings = format!("[redis]\naddresses = [{}]\nmode = \"sentinel\"\nprimary = \"main\"\n", sentinels.join(", "));
    let site = Site::new(&format!("{}{settings}", Site::postgres(&postgres)));
    let node = site.node("a").await;
    site.browser(&node).sign_in(&site.password).await.unwrap();
    let began = Instant::now();
    redis.command("kill", &["redis-0"]);
    assert!(site.identity(&node).await.is_ok());
    until("signs in again", async || site.browser(&node).sign_in(&site.password).await.ok()).await;
    measured(
        "redis",
        "primary killed, Sentinel (down-after 1.5 s): seconds until somebody signs in",
        format!("{:.1}", began.elapsed().as_secs_f64()),
    );
}

#[tokio::test]
async fn a_slot_of_a_cluster_moves_and_nothing_is_lost() {
    let mut place = Place::postgres().await;
    let cluster = Service::start("redis.sh", &["--mode", "cluster", "--password"]);
    let nodes: Vec<(String, u16)> = cluster
        .of("REDIS_SERVERS")
        .split(',')
        .map(|address| (address.split(':').next().unwrap().to_owned(), address.split(':').nth(1).unwrap().parse().unwrap()))
        .collect();
    let (host, port) = nodes[0].clone();
    let topology = RedisTopology::Cluster(nodes);
    let password = cluster.of("REDIS_PASSWORD").to_owned();
    place.location.redis =
        Some(RedisLocation { topology, tls: false, ca: None, username: None, password: Some(Secret::new(password.clone())) });
    let world = World::at(place).await;
    let ephemeral = world.gateway.broker.store.ephemeral();
    let expires = world.clock.now().plus_seconds(600);
    for number in 0..200 {
        ephemeral.put(STEP, &number.to_string(), &number, expires).await.unwrap();
    }
    let reshard = format!(
        "from=$(redis-cli --no-auth-warning -a {password} -p {port} cluster myid); \
         to=$(redis-cli --no-auth-warning -a {password} -p {port} cluster nodes | grep master | grep -v myself | head -1 | cut -d' ' -f1); \
         redis-cli --no-auth-warning -a {password} --cluster reshard {host}:{port} --cluster-from $from --cluster-to $to \
         --cluster-slots 2000 --cluster-yes >/dev/null"
    );
    let mut moving = std::process::Command::new("bash").args(["-c", &reshard]).spawn().unwrap();
    let mut taken = 0;
    for number in 0..200 {
        let found = ephemeral.take::<i32>(STEP, &number.to_string()).await.unwrap();
        taken += i32::from(found == Some(number));
    }
    assert!(moving.wait().unwrap().success());
    assert_eq!(taken, 200);
}

#[tokio::test]
async fn redis_is_reached_over_tls_as_an_acl_user_with_few_rights() {
    let mut place = Place::postgres().await;
    let redis = Service::start("redis.sh", &["--tls", "--password"]);
    let (port, password) = (redis.of("REDIS_PORT"), redis.of("REDIS_PASSWORD"));
    // What the manual of the module asks for, and no more.
    let rights = "+ping +get +getdel +set +del +eval +zadd +zrevrangebyscore +zremrangebyscore +pttl +pexpire";
    let mut arguments =
        vec!["--no-auth-warning", "-a", password, "acl", "setuser", "daypass", "on", ">of the user", "~daypass:*", "-@all"];
    arguments.extend(rights.split(' '));
    assert_eq!(command(port, &arguments), "OK");
    let tls: u16 = redis.of("REDIS_TLS_URL").rsplit(':').next().unwrap().split('/').next().unwrap().parse().unwrap();
    let mut location = redis_location(&redis);
    location.topology = RedisTopology::Single("localhost".to_owned(), tls);
    location.tls = true;
    location.ca = Some(std::fs::read(redis.of("REDIS_CA")).unwrap());
    location.username = Some("daypass".to_owned());
    location.password = Some(Secret::new("of the user".to_owned()));
    let wrong = RedisLocation { ca: None, ..location.clone() };
    place.location.redis = Some(location);
    let world = World::at(place).await;
    let ephemeral = world.gateway.broker.store.ephemeral();
    let expires = world.clock.now().plus_seconds(600);
    ephemeral.put_owned(STEP, "owner", "a", &1, expires).await.unwrap();
    assert!(!ephemeral.put_new(STEP, "a", &2, expires).await.unwrap());
    assert!(ephemeral.replace(STEP, "a", &3, expires).await.unwrap());
    assert_eq!(ephemeral.owned::<i32>(STEP, "owner", 5).await.unwrap(), [3]);
    assert_eq!(ephemeral.take::<i32>(STEP, "a").await.unwrap(), Some(3));
    ephemeral.delete(STEP, "a").await.unwrap();
    ephemeral.reach().await.unwrap();
    // A server that can't prove who it is gets nothing.
    let mut place = Place::postgres().await;
    place.location.redis = Some(wrong);
    let world = World::at(place).await;
    assert!(world.gateway.broker.store.ephemeral().reach().await.is_err());
}
