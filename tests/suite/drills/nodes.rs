//! Several brokers on one database: killed, restarted, and told of each other's changes.

use super::node::{Browser, Node, Site, measured, until};
use crate::stores::{Postgres, Service};
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

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
    let ports = Arc::new(Mutex::new(nodes.each_ref().map(|node| node.port)));
    let over = Arc::new(AtomicBool::new(false));
    let browsers: Vec<_> = (0..3)
        .map(|number| {
            let (ports, over, password) = (ports.clone(), over.clone(), site.password.clone());
            tokio::spawn(async move {
                let mut done = 0;
                while !over.load(Ordering::Relaxed) {
                    let mut browser = Browser { port: 0, from: None, cookies: Default::default() };
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
    over.store(true, Ordering::Relaxed);
    let mut signed_in = 0;
    for browser in browsers {
        signed_in += browser.await.unwrap();
    }
    assert!(signed_in > 3);
    measured("rolling_restart", "sign-ins begun and finished while both nodes were restarted, none dropped", signed_in);
}

/// The proxy of `docker/`, in front of brokers that are here.
pub struct Proxy {
    pub port: u16,
    child: std::process::Child,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    pub fn start(site: &Site, ports: [u16; 2]) -> Self {
        let port = super::node::free_port();
        let mut settings = std::fs::read_to_string("docker/haproxy.cfg").unwrap();
        let mut place = |from: &str, to: String| {
            assert!(settings.contains(from), "{from} is not in docker/haproxy.cfg");
            settings = settings.replace(from, &to);
        };
        place("bind :8080", format!("bind 127.0.0.1:{port}"));
        place("broker-1:8080", format!("127.0.0.1:{}", ports[0]));
        place("broker-2:8080", format!("127.0.0.1:{}", ports[1]));
        let file = site.folder.path().join("haproxy.cfg");
        std::fs::write(&file, settings).unwrap();
        let log = std::fs::File::create(site.folder.path().join("haproxy.log")).unwrap();
        let mut command = std::process::Command::new("/usr/sbin/haproxy");
        command.arg("-db").arg("-f").arg(file).stdout(std::process::Stdio::null()).stderr(log);
        Self { port, child: command.spawn().expect("haproxy") }
    }
}

#[tokio::test]
async fn behind_our_proxy_nobody_notices_that_a_node_is_killed_or_restarted() {
    let (postgres, redis) = (Postgres::new().await, Service::start("redis.sh", &[]));
    let site = Site::new(&format!("trusted_proxies = [\"127.0.0.1\"]\n{}", shared(&postgres, &redis)));
    let (mut first, mut second) = (site.node("a").await, site.node("b").await);
    let proxy = Proxy::start(&site, [first.port, second.port]);
    let mut browser = site.browser(&first);
    browser.port = proxy.port;
    until("the proxy is there", async || matches!(browser.ask("GET", "/readyz", "").await, Ok((200, ..))).then_some(())).await;
    let sign_in = async |count: usize| {
        for _ in 0..count {
            let mut browser = Browser { port: proxy.port, from: None, cookies: Default::default() };
            browser.sign_in(&site.password).await.unwrap();
            assert!(browser.is_signed_in().await.unwrap());
        }
    };
    sign_in(4).await;
    // Asked to stop, it says so to the proxy first.
    tokio::join!(first.stop(), sign_in(4));
    let first = site.node_at("a", first.port).await;
    // The proxy looks every second.
    for node in [&first, &second] {
        until("sent requests", async || {
            browser.ask("GET", "/healthz", "").await.unwrap();
            node.said().contains("/healthz").then_some(())
        })
        .await;
    }
    second.kill();
    sign_in(4).await;
    site.verify();
}

/// What a proxy does: a node that says it is ready, each time another one.
async fn ready(ports: &std::sync::Mutex<[u16; 2]>, turn: usize) -> u16 {
    for attempt in 0..100 {
        let port = ports.lock().unwrap()[(turn + attempt) % 2];
        let mut probe = Browser { port, from: None, cookies: Default::default() };
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
        let writes = Arc::new(AtomicU64::new(0));
        let killer = {
            let (pid, writes) = (node.child.id().to_string(), writes.clone());
            tokio::spawn(async move {
                // While it writes, however slow the machine is, and not at the same place each time.
                while writes.load(Ordering::Relaxed) <= round {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                tokio::time::sleep(Duration::from_millis(7 * round)).await;
                std::process::Command::new("kill").args(["-9", &pid]).status().unwrap();
            })
        };
        for number in 0.. {
            let name = format!("Role{round}x{number}");
            match site.create_role(&node, &name).await {
                Ok(_) => {
                    acknowledged.push(name);
                    writes.fetch_add(1, Ordering::Relaxed);
                }
                Err(_) => break,
            }
        }
        killer.await.unwrap();
        node.child.wait().unwrap();
        let began = Instant::now();
        node = site.node("a").await;
        slowest = slowest.max(began.elapsed().as_secs_f64());
    }
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
