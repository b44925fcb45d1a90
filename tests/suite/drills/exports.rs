//! The audit log in other places: everything, in order, also when a place was away.

use super::node::{Site, until};
use base64::Engine as _;
use std::sync::{Arc, Mutex};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};

/// Takes connections, answers each with what `answer` says, and keeps what came.
async fn place(answer: impl Fn(usize) -> Option<&'static str> + Send + 'static) -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, kept) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(Vec::new())));
    let heard = kept.clone();
    tokio::spawn(async move {
        for number in 0.. {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut text = Vec::new();
            match answer(number) {
                // The other end closes when it has said everything.
                None => drop(stream.read_to_end(&mut text).await),
                Some(line) => {
                    while !complete(&text) {
                        if stream.read_buf(&mut text).await.unwrap_or(0) == 0 {
                            break;
                        }
                    }
                    let _ = stream
                        .write_all(format!("HTTP/1.1 {line}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes())
                        .await;
                    if !line.starts_with('2') {
                        continue;
                    }
                }
            }
            heard.lock().unwrap().push(String::from_utf8(text).unwrap());
        }
    });
    (port, kept)
}

fn complete(text: &[u8]) -> bool {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
    length.is_some_and(|length| body.len() >= length.parse().unwrap())
}

fn sequences(text: &str) -> Vec<i64> {
    text.split("\"sequence\":")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_arrives_everywhere_in_order_also_after_a_failure() {
    let (syslog, said) = place(|_| None).await;
    // The webhook is away twice.
    let (webhook, posted) = place(|number| Some(if number < 2 { "503 Service Unavailable" } else { "204 No Content" })).await;
    let folder = tempfile::tempdir().unwrap();
    let (file, token) = (folder.path().join("audit.jsonl"), folder.path().join("token"));
    daypass::config::write_private(&token, "of the webhook").unwrap();
    let site = Site::new(&format!(
        "[audit]\nfile = \"{}\"\nsyslog = \"tcp://127.0.0.1:{syslog}\"\nwebhook = \"http://127.0.0.1:{webhook}/in\"\nwebhook_token_file = \"{}\"\n",
        file.display(),
        token.display()
    ));
    let node = site.node("a").await;
    for number in 0..5 {
        site.create_role(&node, &format!("Role{number}")).await.unwrap();
    }
    let all = i64::try_from(site.verify()).unwrap();
    let expected: Vec<i64> = (1..=all).collect();
    let arrived = |lines: String| sequences(&lines).starts_with(&expected);
    until("the file", async || arrived(std::fs::read_to_string(&file).unwrap_or_default()).then_some(())).await;
    until("syslog", async || arrived(said.lock().unwrap().concat()).then_some(())).await;
    until("the webhook", async || arrived(posted.lock().unwrap().concat()).then_some(())).await;
    let lines = std::fs::read_to_string(&file).unwrap();
    let record: serde_json::Value = serde_json::from_str(lines.lines().nth(2).unwrap()).unwrap();
    assert!(record["eventName"].is_string() && record["chainHash"].as_str().unwrap().len() == 64, "{record}");
    assert!(said.lock().unwrap()[0].contains(" <86>1 20"), "RFC 5424 with its length before it");
    assert!(posted.lock().unwrap()[0].to_lowercase().contains("authorization: bearer of the webhook"));
    // A noted head is the exported hash of a record.
    let noted = format!("{}:{}", record["sequence"], record["chainHash"].as_str().unwrap());
    site.run("0", &["audit", "verify", "--noted", &noted]);
}

#[tokio::test(flavor = "multi_thread")]
async fn over_tls_syslog_hears_nothing_before_it_proved_who_it_is() {
    let own = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_no_client_auth().with_single_cert(vec![own.cert.der().clone()], key).unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (port, said) = (listener.local_addr().unwrap().port(), Arc::new(Mutex::new(String::new())));
    let heard = said.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            if let Ok(mut stream) = acceptor.accept(stream).await {
                let mut text = String::new();
                let _ = stream.read_to_string(&mut text).await;
                heard.lock().unwrap().push_str(&text);
            }
        }
    });
    for (trusted, arrives) in [(&other, false), (&own, true)] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let text = base64::engine::general_purpose::STANDARD.encode(trusted.cert.der());
        std::fs::write(&file, format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")).unwrap();
        let settings = format!("[audit]\nsyslog = \"tls://localhost:{port}\"\nsyslog_ca_file = \"{}\"\n", file.display());
        let site = Site::new(&settings);
        let node = site.node("a").await;
        site.create_role(&node, "Role").await.unwrap();
        if arrives {
            until("syslog", async || said.lock().unwrap().contains("CreateRole").then_some(())).await;
        } else {
            until("refused", async || node.said().contains("could not be exported").then_some(())).await;
            assert!(said.lock().unwrap().is_empty());
        }
    }
}
