//! Ten thousand browsers at once. It takes minutes, and runs with `make test-long` alone.

use super::node::{Site, measured};
use crate::stores::{Postgres, Service};
use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

const BROWSERS: usize = 10_000;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_browsers_sign_in_at_once() {
    if std::env::var("DAYPASS_LONG").is_err() {
        return;
    }
    let (postgres, redis) = (Postgres::new().await, Service::start("redis.sh", &[]));
    let site = Site::new(&format!("{}{}", Site::postgres(&postgres), Site::redis(&redis)));
    let node = site.node("a").await;
    let (done, refused) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let began = Instant::now();
    let crowd: Vec<_> = (0..BROWSERS)
        .map(|_| {
            let (mut browser, password) = (site.browser(&node), site.password.clone());
            let (done, refused) = (done.clone(), refused.clone());
            tokio::spawn(async move {
                loop {
                    match browser.sign_in(&password).await {
                        Ok(()) => break,
                        // Told to come again: 503 with Retry-After, or no free place in the queue of the kernel.
                        Err(error) => {
                            let come_again = error.starts_with("503")
                                || error.contains("reset")
                                || error.contains("40 s")
                                || error.contains("Broken");
                            assert!(come_again, "{error}");
                            refused.fetch_add(1, Ordering::Relaxed);
                            tokio::time::sleep(Duration::from_secs(1)).await;
                        }
                    }
                }
                assert!(browser.is_signed_in().await.unwrap_or(true));
                done.fetch_add(1, Ordering::Relaxed);
            })
        })
        .collect();
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let mut most = 0;
    while done.load(Ordering::Relaxed) < BROWSERS {
        most = most.max(memory());
        // Signed calls go on in the crowd.
        assert!(site.identity(&node).await.is_ok());
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(began.elapsed() < Duration::from_secs(1800), "{} of {BROWSERS}", done.load(Ordering::Relaxed));
        for one in &crowd {
            assert!(!one.is_finished() || done.load(Ordering::Relaxed) > 0);
        }
    }
    for one in crowd {
        one.await.unwrap();
    }
    measured(
        "crowd",
        "10,000 browsers signed in with a password (Argon2id, 19 MiB or more each), seconds",
        format!("{:.0}", began.elapsed().as_secs_f64()),
    );
    measured("crowd", "told to come again, times", refused.load(Ordering::Relaxed));
    measured("crowd", "most memory, MiB", most);
    measured("crowd", "memory with 10,000 live browser sessions (in Redis), MiB", memory());
    site.verify();
}
