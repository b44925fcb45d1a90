//! The cage of the C library: what it can't do, and what happens when it dies.

use crate::{
    idp::Idp,
    saml::corpus::{self, source},
    world::{FrozenClock, NOON, SeededRandom},
};
use daypass::{
    crypto::cage::MAX_DOCUMENTS,
    domain::{ErrorKind, Timestamp, iam::SamlProvider},
    federation::{Addresses, Arrival, Federation, Isolation, Pending, Surroundings},
    store::Store,
};
use std::{fs, path::PathBuf};
use tempfile::TempDir;

struct Broker {
    federation: Federation,
    _folder: TempDir,
}

async fn broker(program: PathBuf) -> Broker {
    let folder = tempfile::tempdir().unwrap();
    let (clock, random) = (FrozenClock::at(NOON), SeededRandom::new(7));
    let store =
        Store::open(&daypass::store::Location::folder(folder.path()), &[7; 32], random.clone(), clock.clone()).await.unwrap();
    let addresses = Addresses { public_url: "https://sp.example".parse().unwrap() };
    let federation =
        Federation::new(addresses, store, clock, random, Surroundings { cage: Some(program), ..Surroundings::default() })
            .unwrap();
    Broker { federation, _folder: folder }
}

impl Broker {
    /// The code of the refusal, or the subject.
    async fn sign_in(&self, provider: &SamlProvider, xml: &str) -> Result<String, String> {
        let pending = Pending { request_id: Some("_q".to_owned()), ..Pending::default() };
        let arrival = Arrival::Saml(xml.as_bytes().to_vec());
        let outcome = self.federation.complete(&source(provider.clone()), &pending, arrival, [192, 0, 2, 1].into()).await;
        match outcome {
            Ok(identified) => Ok(identified.assertion.subject),
            Err(failure) => {
                assert_ne!(failure.error.kind, ErrorKind::Internal, "{:?}", failure.error);
                let private = failure.error.private.unwrap_or_default();
                Err(private.split(':').next().unwrap_or_default().to_owned())
            }
        }
    }
}

fn program() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_daypass"))
}

fn genuine(signer: &Idp, id: &str) -> String {
    signer.sign(&crate::idp::response("https://sp.example", id, Some("_q"), Timestamp(NOON))).unwrap()
}

/// Processes that this one started.
fn children() -> Vec<String> {
    let own = std::process::id().to_string();
    let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let is_child = |id: &String| {
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
        status.lines().any(|line| line.strip_prefix("PPid:").is_some_and(|parent| parent.trim() == own))
    };
    processes.filter(|name| name.chars().all(|c| c.is_ascii_digit())).filter(is_child).collect()
}

#[tokio::test]
async fn the_cage_has_no_files_no_network_and_no_other_calls() {
    let broker = broker(program()).await;
    let signer = Idp::new();
    let provider = SamlProvider { metadata: signer.metadata(), ..SamlProvider::default() };
    assert_eq!(broker.federation.isolation(), Isolation::Untried);
    assert_eq!(broker.sign_in(&provider, &genuine(&signer, "_1")).await, Ok("jane@corp.test".to_owned()));
    assert_eq!(broker.sign_in(&provider, &genuine(&signer, "_1")).await, Err("assertion_replayed".to_owned()));
    let children = children();
    let [child] = children.as_slice() else { panic!("children: {children:?}") };
    let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_default().trim_start_matches(':').trim().to_owned()
    };
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(broker.federation.isolation(), Isolation::Caged);
    assert_eq!(field("Seccomp"), "2", "system calls are filtered");
    assert_eq!(field("Threads"), "1");
    let limits = fs::read_to_string(format!("/proc/{child}/limits")).unwrap();
    for limit in ["Max open files", "Max processes", "Max core file size", "Max file size"] {
        let line = limits.lines().find_map(|line| line.strip_prefix(limit)).unwrap();
        assert_eq!(line.split_whitespace().take(2).collect::<Vec<_>>(), ["0", "0"], "{limit}");
    }
}

#[tokio::test]
async fn a_cage_that_died_is_replaced() {
    let broker = broker(program()).await;
    let signer = Idp::new();
    let provider = SamlProvider { metadata: signer.metadata(), ..SamlProvider::default() };
    broker.sign_in(&provider, &genuine(&signer, "_1")).await.unwrap();
    let child = children().pop().unwrap();
    assert!(std::process::Command::new("kill").args(["-KILL", &child]).status().unwrap().success());
    while fs::read_to_string(format!("/proc/{child}/status")).is_ok_and(|status| !status.contains("State:\tZ")) {
        tokio::task::yield_now().await;
    }
    broker.sign_in(&provider, &genuine(&signer, "_2")).await.unwrap();
    assert!(children().len() == 1 && !children().contains(&child), "a new one, and nothing left of the old");
}

/// A child has an allowance of processor time for its whole life: it is let go long before, and nobody's sign-in with it.
#[tokio::test]
async fn a_cage_is_let_go_before_its_allowance_ends() {
    let broker = broker(program()).await;
    let signer = Idp::new();
    let provider = SamlProvider { metadata: signer.metadata(), ..SamlProvider::default() };
    let response = genuine(&signer, "_1");
    broker.sign_in(&provider, &response).await.unwrap();
    let first = children();
    for _ in 1..MAX_DOCUMENTS {
        assert_eq!(broker.sign_in(&provider, &response).await, Err("assertion_replayed".to_owned()));
    }
    broker.sign_in(&provider, &genuine(&signer, "_2")).await.unwrap();
    assert!(children().len() == 1 && children() != first, "another one, and nothing left of the first");
}

/// What can't be caged for a reason that may pass is refused, not run where the keys are; and a document that takes its cage
/// down costs that one sign-in.
#[tokio::test]
async fn a_cage_that_does_not_come_up_or_dies_under_a_document_refuses_it() {
    let signer = Idp::new();
    let provider = SamlProvider { metadata: signer.metadata(), ..SamlProvider::default() };
    for (program, expected) in [("/bin/false", "verifier_unavailable"), ("/bin/echo", "verifier_unavailable")] {
        let broker = broker(PathBuf::from(program)).await;
        assert_eq!(broker.sign_in(&provider, &genuine(&signer, "_1")).await, Err(expected.to_owned()), "{program}");
        assert_eq!(children().len(), 0, "nothing is left of {program}");
    }
    let folder = tempfile::tempdir().unwrap();
    let dies = folder.path().join("dies");
    fs::write(&dies, "#!/bin/sh\nprintf F\n").unwrap();
    fs::set_permissions(&dies, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    let broker = broker(dies).await;
    assert_eq!(broker.sign_in(&provider, &genuine(&signer, "_1")).await, Err("verifier_crashed".to_owned()));
}

#[tokio::test]
async fn without_a_child_the_library_runs_in_a_thread_and_says_so() {
    let broker = broker(PathBuf::from("/nonexistent")).await;
    let signer = Idp::new();
    let provider = SamlProvider { metadata: signer.metadata(), ..SamlProvider::default() };
    broker.sign_in(&provider, &genuine(&signer, "_1")).await.unwrap();
    assert_eq!(broker.federation.isolation(), Isolation::Thread);
}

/// The corpus once more, through the front door and the cage: everything is answered, nothing crashes, and the child that
/// was there at first is there at the end.
#[tokio::test]
async fn the_corpus_through_the_cage() {
    let broker = broker(program()).await;
    let mut failures = Vec::new();
    let signer = Idp::new();
    let provider = SamlProvider { metadata: signer.metadata(), ..SamlProvider::default() };
    for (number, case) in corpus::cases("attacks.json").into_iter().enumerate() {
        if number % 10 == 0 {
            // Nothing that an attack leaves behind gets in the way of a colleague.
            let genuine = genuine(&signer, &format!("_{number}"));
            assert_eq!(broker.sign_in(&provider, &genuine).await.as_deref(), Ok("jane@corp.test"), "before {}", case.name);
        }
        match broker.sign_in(&case.provider, &case.xml).await {
            // A genuine signature on the same ID burns it for the variants after it.
            Err(code) if code == case.refused || code == "assertion_replayed" => {}
            // This broker has another key than the one these were encrypted to.
            Err(code) if code == "decryption_failed" && case.name.contains("[encrypted") => {}
            other => failures.push(format!("{}: expected {}, got {other:?}", case.name, case.refused)),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert_eq!(children().len(), 1);
}
