//! A crowd of browsers that sign in at once: a few hundred, and ten thousand with `make test-long`.

use super::node::{Site, measured};
use crate::stores::{Postgres, Service};
use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const MANY: usize = 10_000;
const SOME: usize = 150;

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_browsers_signs_in_at_once() {
    let browsers = if std::env::var("DAYPASS_LONG").is_ok() { MANY } else { SOME };
    let (postgres, redis) = (Postgres::new().await, Service::start("redis.sh", &[]));
    let settings = format!("trusted_proxies = [\"127.0.0.1\"]\n{}{}", Site::postgres(&postgres), Site::redis(&redis));
    let site = Site::new(&settings);
    let node = site.node("a").await;
    let (done, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let crowd: Vec<_> = (0..browsers)
        .map(|number| {
            let (mut browser, password, log) = (site.browser(&node), site.password.clone(), node.log.clone());
            let (done, refused) = (done.clone(), refused.clone());
            // From everywhere: who tries the same name from one place many times is slowed down.
            browser.from = Some(Ipv4Addr::from(0x0a00_0000 + u32::try_from(number).unwrap()));
            tokio::spawn(async move {
                while let Err(error) = browser.sign_in(&password).await {
                    // Told to come again, or no place in the queue of the kernel.
                    let come_again = ["503", "Connection reset", "Broken pipe"];
                    let said = || std::fs::read_to_string(&log).unwrap();
                    let failed = |line: &&str| !line.starts_with('{') || line.contains("ERROR");
                    assert!(
                        come_again.iter().any(|start| error.starts_with(start)),
                        "{error}: {:?}",
                        said().lines().filter(failed).take(5).collect::<Vec<_>>()
                    );
                    refused.fetch_add(1, Ordering::Relaxed);
                    // As people do: not all at the same moment.
                    tokio::time::sleep(Duration::from_millis(15_000 + (number as u64 * 7_919) % 30_000)).await;
                }
                done.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let (mut most, mut slowest) = (0, 0_f64);
    while done.load(Ordering::Relaxed) < browsers {
        most = most.max(memory());
        // Signed calls go on in the crowd.
        let asked = Instant::now();
        site.identity(&node).await.unwrap();
        slowest = slowest.max(asked.elapsed().as_secs_f64());
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(began.elapsed() < Duration::from_secs(2400), "{} of {browsers}", done.load(Ordering::Relaxed));
        assert!(crowd.iter().filter(|one| one.is_finished()).count() <= done.load(Ordering::Relaxed), "somebody gave up");
    }
    let took = began.elapsed().as_secs_f64();
    let drill = if browsers == MANY { "crowd_10000" } else { "crowd" };
    measured(
        drill,
        &format!("{browsers} browsers signed in with a password (Argon2id, 64 MiB each), seconds"),
        format!("{took:.0}"),
    );
    measured(drill, "told to come again, times", refused.load(Ordering::Relaxed));
    measured(drill, "slowest signed call meanwhile, seconds", format!("{slowest:.2}"));
    measured(drill, "most memory, MiB", most);
    measured(drill, "memory with all of these browser sessions (in Redis), MiB", memory());
    site.verify();
}
