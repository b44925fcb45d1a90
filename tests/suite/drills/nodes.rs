//! Several brokers on one database: killed, restarted, and told of each other's changes.

use super::node::{Browser, Node, Site, measured, until};
use crate::stores::{Postgres, Service};
use std::time::{Duration, Instant};

fn shared(postgres: &Postgres, redis: &Service) -> String {
    format!("drain_seconds = 1\n{}{}", Site::postgres(postgres), Site::redis(redis))
}

#[tokio::test]
async fn any_node_goes_on_with_a_sign_in_whose_node_was_killed() {
    let (postgres, redis) = (Postgres::new().await, Service::start("redis.sh", &[]));
    let site = Site::new(&shared(&postgres, &redis));
    let (mut first, second) = (site.node("a").await, site.node("b").await);
    let mut browser = site.browser(&first);
    let form = browser.begin(&site.password).await.unwrap();
    first.kill();
    browser.port = second.port;
    browser.finish(&form).await.unwrap();
    assert!(browser.is_signed_in().await.unwrap());
    // The step was used up: nobody else goes on with it.
    assert!(browser.finish(&form).await.is_err());
    let first = site.node("a").await;
    browser.port = first.port;
    assert!(browser.is_signed_in().await.unwrap(), "on the node that came back, too");
    site.verify();
}

#[tokio::test]
async fn a_rolling_restart_drops_no_sign_in() {
    let (postgres, redis) = (Postgres::new().await, Service::start("redis.sh", &[]));
    let site = Site::new(&shared(&postgres, &redis));
    let mut nodes = [site.node("a").await, site.node("b").await];
    let ports = std::sync::Arc::new(std::sync::Mutex::new(nodes.each_ref().map(|node| node.port)));
    let over = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let browsers: Vec<_> = (0..3)
        .map(|number| {
            let (ports, over, password) = (ports.clone(), over.clone(), site.password.clone());
            tokio::spawn(async move {
                let mut done = 0;
                while !over.load(std::sync::atomic::Ordering::Relaxed) {
                    let mut browser = Browser { port: 0, cookies: Default::default() };
                    browser.port = ready(&ports, number + done).await;
                    let form = browser.begin(&password).await.unwrap();
                    browser.port = ready(&ports, number + done + 1).await;
                    browser.finish(&form).await.unwrap();
                    done += 1;
                }
                done
            })
        })
        .collect();
    for (place, name) in ["a", "b"].into_iter().enumerate() {
        nodes[place].stop().await;
        nodes[place] = site.node(name).await;
        ports.lock().unwrap()[place] = nodes[place].port;
    }
    over.store(true, std::sync::atomic::Ordering::Relaxed);
    let mut signed_in = 0;
    for browser in browsers {
        signed_in += browser.await.unwrap();
    }
    assert!(signed_in > 3);
    measured("rolling_restart", "sign-ins begun and finished while both nodes were restarted, none dropped", signed_in);
}

/// What a proxy does: a node that says it is ready, each time another one.
async fn ready(ports: &std::sync::Mutex<[u16; 2]>, turn: usize) -> u16 {
    for attempt in 0..100 {
        let port = ports.lock().unwrap()[(turn + attempt) % 2];
        let mut probe = Browser { port, cookies: Default::default() };
        if matches!(probe.ask("GET", "/readyz", "").await, Ok((200, ..))) {
            return port;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("no node was ready");
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_a_node_is_killed_while_it_writes() {
    let postgres = Postgres::new().await;
    let site = Site::new(&Site::postgres(&postgres));
    killed_while_writing(&site, "killed_postgres").await;
}

#[tokio::test]
async fn nothing_acknowledged_is_lost_when_the_embedded_broker_is_killed_while_it_writes() {
    killed_while_writing(&Site::new(""), "killed_embedded").await;
}

async fn killed_while_writing(site: &Site, drill: &str) {
    let mut node = site.node("a").await;
    let (mut acknowledged, mut slowest) = (Vec::new(), 0_f64);
    for round in 0..5_u64 {
        let killer = {
            let pid = node.child.id().to_string();
            tokio::spawn(async move {
                // Not at the same place each time.
                tokio::time::sleep(Duration::from_millis(40 + 37 * round)).await;
                std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
            })
        };
        for number in 0.. {
            let name = format!("Role{round}x{number}");
            match site.create_role(&node, &name).await {
                Ok(_) => acknowledged.push(name),
                Err(_) => break,
            }
        }
        killer.await.unwrap();
        node.child.wait().unwrap();
        let began = Instant::now();
        node = site.node("a").await;
        slowest = slowest.max(began.elapsed().as_secs_f64());
    }
    assert!(acknowledged.len() > 5, "{acknowledged:?}");
    for name in &acknowledged {
        assert!(site.has_role(&node, name).await.unwrap(), "{name} was acknowledged");
    }
    let records = site.verify();
    assert!(records >= acknowledged.len() as u64);
    measured(drill, "writes acknowledged before five kills, all there afterwards", acknowledged.len());
    measured(drill, "slowest start after a kill, seconds (debug build)", format!("{slowest:.2}"));
}

#[tokio::test]
async fn changes_and_revocations_reach_every_node_within_a_second() {
    let postgres = Postgres::new().await;
    let site = Site::new(&Site::postgres(&postgres));
    let (first, second) = (site.node("a").await, site.node("b").await);
    let mut slowest = 0_f64;
    for number in 0..10 {
        let name = format!("Role{number}");
        site.create_role(&first, &name).await.unwrap();
        let (_, took) = until("seen", async || site.has_role(&second, &name).await.unwrap().then_some(())).await;
        slowest = slowest.max(took);
    }
    // What is committed is told, and a look every half second stands behind it.
    assert!(slowest < 1.5, "{slowest}");
    measured("coherence", "slowest of ten changes until the other node decided by it, seconds", format!("{slowest:.3}"));
    let role = session(&site, &first).await;
    assert!(identity_of(&second, &role).await);
    site.run("c", &["revoke", "--everything"]);
    for node in [&first, &second] {
        let (_, took) = until("revoked", async || (!identity_of(node, &role).await).then_some(())).await;
        assert!(took < 1.5, "{took}");
        measured("coherence", "revocation by a third process until refused, seconds", format!("{took:.3}"));
    }
}

/// Credentials of a role that the root user takes.
pub async fn session(site: &Site, node: &Node) -> aws_sdk_sts::config::Credentials {
    site.create_role(node, "Drill").await.unwrap();
    let user = site.call(node, "iam", &[("Action", "CreateUser"), ("Version", "2010-05-08"), ("UserName", "drill")]).await;
    user.unwrap();
    let allow = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let form = [
        ("Action", "PutUserPolicy"),
        ("Version", "2010-05-08"),
        ("UserName", "drill"),
        ("PolicyName", "all"),
        ("PolicyDocument", allow),
    ];
    site.call(node, "iam", &form).await.unwrap();
    let key =
        site.call(node, "iam", &[("Action", "CreateAccessKey"), ("Version", "2010-05-08"), ("UserName", "drill")]).await.unwrap();
    let element = |xml: &str, name: &str| xml.split(&format!("<{name}>")).nth(1).unwrap().split("</").next().unwrap().to_owned();
    let user = aws_sdk_sts::config::Credentials::new(
        element(&key, "AccessKeyId"),
        element(&key, "SecretAccessKey"),
        None,
        None,
        "drill",
    );
    let user = Signed { credentials: user };
    let form = [
        ("Action", "AssumeRole"),
        ("Version", "2011-06-15"),
        ("RoleArn", "arn:aws:iam::111122223333:role/Drill"),
        ("RoleSessionName", "drill"),
    ];
    let xml = user.call(node, &form).await.unwrap();
    aws_sdk_sts::config::Credentials::new(
        element(&xml, "AccessKeyId"),
        element(&xml, "SecretAccessKey"),
        Some(element(&xml, "SessionToken")),
        None,
        "drill",
    )
}

async fn identity_of(node: &Node, credentials: &aws_sdk_sts::config::Credentials) -> bool {
    let signed = Signed { credentials: credentials.clone() };
    signed.call(node, &[("Action", "GetCallerIdentity"), ("Version", "2011-06-15")]).await.is_ok()
}

struct Signed {
    credentials: aws_sdk_sts::config::Credentials,
}

impl Signed {
    async fn call(&self, node: &Node, form: &[(&str, &str)]) -> Result<String, String> {
        super::node::signed_call(node.port, "sts", &self.credentials, form).await
    }
}
