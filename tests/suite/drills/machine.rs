//! What a machine and its neighbours may do to a broker: a full disk, no file descriptors, clients that drip, clocks that jump, a
//! provider that hangs.

use super::node::{Site, measured, now, until};
use std::{
    io::Write as _,
    process::Command,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// A folder on a disk of its own, small enough to fill.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn mounted(at: std::path::PathBuf) -> Self {
        std::fs::create_dir_all(&at).unwrap();
        let status = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m,mode=700", "tmpfs"]).arg(&at).status().unwrap();
        assert!(status.success(), "a tmpfs can't be mounted");
        Self(at)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_refuses_changes_and_loses_none() {
    let site = Site::new("");
    let disk = SmallDisk::mounted(site.folder.path().join("small"));
    for entry in std::fs::read_dir(site.folder.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, disk.0.join(path.file_name().unwrap())).unwrap();
    }
    std::fs::rename(site.folder.path().join("data"), site.folder.path().join("old")).unwrap();
    std::os::unix::fs::symlink(&disk.0, site.folder.path().join("data")).unwrap();
    let node = site.node("a").await;
    site.create_role(&node, "Before").await.unwrap();
    let mut filler = std::fs::File::create(disk.0.join("filler")).unwrap();
    while filler.write_all(&[0; 4096]).is_ok() {}
    let (mut acknowledged, mut refused) = (vec!["Before".to_owned()], 0);
    // A page or two may be left in the log.
    for number in 0..60 {
        match site.create_role(&node, &format!("While{number}")).await {
            Ok(_) => acknowledged.push(format!("While{number}")),
            Err(error) => {
                assert!(error.starts_with("503"), "{error}");
                refused += 1;
            }
        }
    }
    assert!(refused > 5, "the disk was never full: {refused}");
    assert!(site.identity(&node).await.is_ok(), "what leaves no record goes on");
    assert!(site.browser(&node).sign_in(&site.password).await.is_err(), "nobody signs in without a record");
    drop(filler);
    std::fs::remove_file(disk.0.join("filler")).unwrap();
    let (_, took) = until("writes again", async || site.create_role(&node, "After").await.ok()).await;
    measured("disk_full", "changes refused", refused);
    measured("disk_full", "seconds from free space until a change is acknowledged", format!("{took:.2}"));
    acknowledged.push("After".to_owned());
    for name in &acknowledged {
        assert!(site.has_role(&node, name).await.unwrap(), "{name} was acknowledged");
    }
    site.browser(&node).sign_in(&site.password).await.unwrap();
    site.verify();
    drop(node);
}

#[tokio::test]
async fn a_broker_without_file_descriptors_answers_once_there_are_some() {
    let site = Site::new("");
    let mut node = site.start("a", &["prlimit", "--nofile=64"]).await;
    node.until_ready().await;
    let mut held = Vec::new();
    for _ in 0..150 {
        held.push(TcpStream::connect(("127.0.0.1", node.port)).await.unwrap());
    }
    // It is out of them; those who wait are not lost.
    let waiting = tokio::time::timeout(Duration::from_secs(1), site.identity(&node)).await;
    assert!(waiting.is_err(), "150 connections fit into 64 file descriptors");
    assert!(node.child.try_wait().unwrap().is_none(), "it lives");
    drop(held);
    let (_, took) = until("answers", async || site.identity(&node).await.ok()).await;
    measured(
        "file_descriptors",
        "seconds from the end of 150 connections (limit 64) until a call is answered",
        format!("{took:.2}"),
    );
    site.create_role(&node, "After").await.unwrap();
    node.stop().await;
    site.verify();
}

#[tokio::test]
async fn clients_that_drip_are_cut_off_and_hold_nobody_up() {
    let site = Site::new("");
    let node = site.node("a").await;
    let quiet = round_trips(&site, &node).await;
    let mut drips = Vec::new();
    // More of them than browsers are served at once.
    for number in 0..1100 {
        let mut stream = TcpStream::connect(("127.0.0.1", node.port)).await.unwrap();
        drips.push(tokio::spawn(async move {
            let began = Instant::now();
            // Some never finish their headers, some never their body.
            let form = "HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\n";
            let head = match number % 11 {
                0..3 => "GET /portal HTTP/1.1\r\nHost: 127.0.0.1:1\r\nX-Slow: ".to_owned(),
                3..5 => format!("POST / {form}"),
                _ => format!("POST /sign-in/people {form}"),
            };
            stream.write_all(head.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            loop {
                if stream.write_all(b"a").await.is_err() {
                    break;
                }
                if let Ok(Ok(0) | Err(_)) = tokio::time::timeout(Duration::from_secs(1), stream.read_buf(&mut answer)).await {
                    break;
                }
                assert!(began.elapsed() < Duration::from_secs(60), "it was never cut off");
            }
            began.elapsed().as_secs_f64()
        }));
    }
    let busy = round_trips(&site, &node).await;
    site.browser(&node).sign_in(&site.password).await.unwrap();
    let mut longest = 0_f64;
    for drip in drips {
        longest = longest.max(drip.await.unwrap());
    }
    measured("slow_loris", "1,100 dripping clients: a healthy call's time against none", format!("{:.1}x", busy / quiet));
    measured("slow_loris", "seconds until the last of them was cut off", format!("{longest:.0}"));
}

async fn round_trips(site: &Site, node: &super::node::Node) -> f64 {
    let began = Instant::now();
    for _ in 0..50 {
        site.identity(node).await.unwrap();
    }
    began.elapsed().as_secs_f64()
}

#[tokio::test]
async fn a_clock_that_jumps_extends_nothing() {
    let site = Site::new("");
    let library = std::env::var("E2E_FAKETIME").unwrap_or_else(|_| {
        let listed = Command::new("sh").args(["-c", "dpkg -L libfaketime | grep '/libfaketime.so.1$'"]).output().unwrap();
        String::from_utf8(listed.stdout).unwrap().trim().to_owned()
    });
    let offset = site.folder.path().join("offset");
    std::fs::write(&offset, "+0").unwrap();
    let variables = [
        format!("LD_PRELOAD={library}"),
        format!("FAKETIME_TIMESTAMP_FILE={}", offset.display()),
        "FAKETIME_NO_CACHE=1".to_owned(),
        "FAKETIME_DONT_FAKE_MONOTONIC=1".to_owned(),
    ];
    let mut through = vec!["env"];
    through.extend(variables.iter().map(String::as_str));
    let node = site.start("a", &through).await;
    node.until_ready().await;
    let mut browser = site.browser(&node);
    browser.sign_in(&site.password).await.unwrap();
    let jump = |by: &str| {
        std::fs::write(&offset, by).unwrap();
    };
    jump("+3600");
    // The signer's clock is right, the broker's is not: SigV4 tells which, as AWS does.
    let refused = site.identity(&node).await.unwrap_err();
    assert!(
        refused.contains("SignatureDoesNotMatch")
            || refused.contains("RequestExpired")
            || refused.contains("RequestTimeTooSkewed"),
        "{refused}"
    );
    assert!(browser.is_signed_in().await.unwrap(), "an hour is within the session");
    jump("+10800");
    assert!(!browser.is_signed_in().await.unwrap(), "two hours unused are not");
    jump("+0");
    assert!(!browser.is_signed_in().await.unwrap(), "and the way back brings nothing back");
    browser.sign_in(&site.password).await.unwrap();
    assert!(site.identity(&node).await.is_ok());
    jump("-3600");
    // Nobody gains an hour: what was signed is from the future now.
    assert!(site.identity(&node).await.is_err());
    browser.sign_in(&site.password).await.unwrap();
    jump("+0");
    assert!(site.identity(&node).await.is_ok());
    site.verify();
    let _ = now();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_hangs_holds_up_nobody_else() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    // It takes every connection and says nothing.
    let hanging = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    let site = Site::new("");
    let node = site.node("a").await;
    let source = format!(
        "{}\n[[identity_sources]]\nname = \"hung\"\ntype = \"oidc\"\nissuer = \"http://127.0.0.1:{port}\"\nclient_id = \"c\"\nclient_secret = \"not a secret\"\n",
        crate::world::DEMO
    );
    let file = site.folder.path().join("with-source.toml");
    std::fs::write(&file, source).unwrap();
    site.run("0", &["apply", file.to_str().unwrap(), "--yes"]);
    until("known", async || {
        let (_, page) = node.get("/sign-in").await.unwrap();
        page.contains("hung").then_some(())
    })
    .await;
    let stuck: Vec<_> = (0..50)
        .map(|_| {
            let mut browser = site.browser(&node);
            tokio::spawn(async move {
                let began = Instant::now();
                let outcome = browser.ask("GET", "/sign-in/hung", "").await;
                (outcome, began.elapsed().as_secs_f64())
            })
        })
        .collect();
    let began = Instant::now();
    site.browser(&node).sign_in(&site.password).await.unwrap();
    measured("provider_hangs", "seconds for somebody else to sign in meanwhile", format!("{:.2}", began.elapsed().as_secs_f64()));
    let mut longest = 0_f64;
    for one in stuck {
        let (outcome, took) = one.await.unwrap();
        let (status, _, page) = outcome.unwrap();
        assert_eq!(status, 503, "{page}");
        longest = longest.max(took);
    }
    measured("provider_hangs", "seconds until the last of 50 people is told", format!("{longest:.1}"));
    hanging.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.crt"), folder.path().join("tls.key"));
    let renew = |name: &str| {
        let line = format!(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN={name} \
             -addext subjectAltName=DNS:{name} -keyout {} -out {}",
            key.display(),
            certificate.display()
        );
        assert!(Command::new("sh").args(["-c", &line]).output().unwrap().status.success());
    };
    renew("first.example");
    let site = Site::new(&format!("[tls]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n", certificate.display(), key.display()));
    let node = site.start("a", &[]).await;
    let served = || {
        let line = format!(
            "openssl s_client -connect 127.0.0.1:{} </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName",
            node.port
        );
        String::from_utf8(Command::new("sh").args(["-c", &line]).output().unwrap().stdout).unwrap()
    };
    until("the first", async || served().contains("first.example").then_some(())).await;
    // Half a pair is no pair.
    std::fs::write(&key, "nothing").unwrap();
    renew("second.example");
    let (_, took) = until("the second", async || served().contains("second.example").then_some(())).await;
    measured("tls", "seconds until a renewed certificate is served", format!("{took:.0}"));
}
