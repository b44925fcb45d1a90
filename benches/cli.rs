//! What the command line costs: `credential-process` from its cache beside an empty program and the AWS CLI, and the portal's
//! calls for 500 accounts with 5 roles each.
//!
//! `cargo bench --bench cli`. Everything is measured in one run on one machine, so read the ratios. `E2E_AWS_CURRENT` names an
//! AWS CLI v2 (`make test-env` installs one).
#![allow(missing_docs, unreachable_pub, reason = "a program")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench measures with the real clock, and stops when something is wrong"
)]
#![allow(dead_code, reason = "the benches share their support")]

mod support;

use daypass::{
    api::signin::DecideDevice,
    config::Settings,
    domain::{
        iam::ProviderOwner,
        session::{
            Caller, FederationProtocol, IdentityAssertion, PortalSession, Principal, ProviderRef, RequestOrigin, SessionTags,
        },
    },
    gateway::Gateway,
};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};
use support::*;

const ACCOUNTS: usize = 500;
const ROLES: usize = 5;
const RUNS: usize = 60;

fn account(number: usize) -> String {
    format!("{}", 100_000_000_000_u64 + number as u64)
}

fn organization(metadata: &Path) -> String {
    let mut text = format!("[organization]\nname = \"Bench\"\nmanagement_account = \"{}\"\n", account(0));
    write!(
        text,
        "[[identity_sources]]\nname = \"corp\"\ntype = \"saml\"\nlabel = \"Corp\"\nmetadata_file = \"{}\"\n[identity_sources.attributes]\ngroups = \"groups\"\n",
        metadata.display()
    )
    .unwrap();
    for number in 0..ACCOUNTS {
        write!(text, "[[accounts]]\nid = \"{}\"\nname = \"Account {number}\"\n", account(number)).unwrap();
    }
    for number in 0..ACCOUNTS {
        for role in 0..ROLES {
            let id = account(number);
            write!(
                text,
                "[[roles]]\naccount = \"{id}\"\nname = \"Role{role}\"\ntrust_policy = '''{{\"Version\":\"2012-10-17\",\"Statement\":[{{\"Effect\":\"Allow\",\"Principal\":{{\"Federated\":\"arn:aws:iam::{id}:saml-provider/corp\"}},\"Action\":\"sts:AssumeRoleWithSAML\",\"Condition\":{{\"ForAnyValue:StringEquals\":{{\"saml:groups\":\"staff\"}}}}}}]}}'''\n"
            )
            .unwrap();
        }
    }
    text
}

/// Somebody whom the source vouched for.
fn person() -> Caller {
    let identity = IdentityAssertion {
        provider: ProviderRef {
            owner: ProviderOwner::Organization,
            name: "corp".to_owned(),
            resource: "saml-provider/corp".to_owned(),
            protocol: FederationProtocol::Saml,
        },
        issuer: "https://idp.example".to_owned(),
        subject: "jane".to_owned(),
        subject_type: None,
        audience: "http://127.0.0.1".to_owned(),
        claims: BTreeMap::from([("saml:groups".to_owned(), vec!["staff".to_owned()])]),
        name: None,
        email: None,
        methods: Vec::new(),
        asserted_authentication: None,
        authenticated: now(),
        not_after: None,
        role_session_name: None,
        session_seconds: None,
        source_identity: None,
        tags: SessionTags::default(),
        roles: Vec::new(),
    };
    let session = PortalSession {
        id: "bench".to_owned(),
        lent_by: None,
        at_provider: None,
        factor_given: None,
        vouched: None,
        identity,
        started: now(),
        expires: now().plus_seconds(3600),
    };
    let origin = RequestOrigin {
        request_id: "bench".to_owned(),
        source_ip: [127, 0, 0, 1].into(),
        user_agent: "bench".to_owned(),
        secure: true,
        time: now(),
    };
    Caller { principal: Principal::Person(Arc::new(session)), origin: Arc::new(origin) }
}

/// `daypass login --device`, approved by the person.
async fn login(gateway: &Gateway, home: &Path, port: u16) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_daypass"))
        .args(["login", "--device", "--url", &format!("http://127.0.0.1:{port}")])
        .env("DAYPASS_HOME", home)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap());
    let user_code = loop {
        let mut line = String::new();
        assert!(lines.read_line(&mut line).unwrap() > 0, "no code was shown");
        let code = line.trim();
        if code.len() == 9 && code.as_bytes()[4] == b'-' {
            break code.to_owned();
        }
    };
    gateway.call(&person(), DecideDevice { user_code, approve: true }).await.unwrap();
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success(), "{rest}");
}

/// Processor time of the children that ended, in seconds.
fn children() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[13].parse::<f64>().unwrap() + fields[14].parse::<f64>().unwrap()) / 100.0
}

/// How long a program takes, and its processor time, both in milliseconds.
fn time(runs: usize, command: &mut Command) -> (f64, f64) {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut once = || {
        let began = Instant::now();
        assert!(command.status().unwrap().success());
        began.elapsed().as_secs_f64() * 1000.0
    };
    once();
    let cpu = children();
    let took = median((0..runs).map(|_| once()).collect());
    (took, (children() - cpu) * 1000.0 / runs as f64)
}

#[tokio::main]
async fn main() {
    let folder = tempfile::tempdir().unwrap();
    let (data, home) = (folder.path().join("data"), folder.path().join("home"));
    let metadata = folder.path().join("idp.xml");
    fs::write(&metadata, idp::Idp::new().metadata()).unwrap();
    apply(&data, &organization(&metadata));
    let port = free_port();
    let server = broker(&data, port);
    let variable = |name: &str| match name {
        "DAYPASS_DATA" => Some(data.display().to_string()),
        "DAYPASS_PUBLIC_URL" => Some(format!("http://127.0.0.1:{port}")),
        _ => None,
    };
    let gateway = Settings::load(None, variable).unwrap().open().await.unwrap();
    login(&gateway, &home, port).await;

    // One role's credentials, from the cache.
    let empty = folder.path().join("empty");
    fs::write(empty.with_extension("rs"), "fn main() {}").unwrap();
    let rustc = Command::new("rustc").args(["-O", "-o"]).arg(&empty).arg(empty.with_extension("rs")).status();
    assert!(rustc.unwrap().success());
    let ask = ["credential-process", "--account", &account(7), "--role", "Role3"];
    let mut ours = Command::new(env!("CARGO_BIN_EXE_daypass"));
    ours.args(ask).env("DAYPASS_HOME", &home);
    assert!(ours.status().unwrap().success());
    // With the broker stopped: nobody is asked.
    drop(server);
    let nothing = time(RUNS, &mut Command::new(&empty));
    let cached = time(RUNS, &mut ours);
    println!("an empty Rust program: {:.1} ms, {:.1} ms of processor time", nothing.0, nothing.1);
    println!(
        "credential-process from its cache: {:.1} ms, {:.1} ms of processor time: {:.1} x an empty program",
        cached.0,
        cached.1,
        cached.0 / nothing.0
    );
    if let Ok(aws) = std::env::var("E2E_AWS_CURRENT") {
        // The AWS CLI at its best: a profile whose credentials stand in a file.
        let config = folder.path().join("config");
        fs::write(&config, "[profile p]\naws_access_key_id = AKIAIOSFODNN7EXAMPLE\naws_secret_access_key = x\n").unwrap();
        let mut theirs = Command::new(aws);
        theirs.args(["configure", "export-credentials", "--profile", "p"]).env("AWS_CONFIG_FILE", &config);
        let theirs = time(RUNS / 10, &mut theirs);
        println!(
            "aws configure export-credentials: {:.0} ms, {:.0} ms of processor time: {:.0} x credential-process",
            theirs.0,
            theirs.1,
            theirs.0 / cached.0
        );
    } else {
        println!("aws configure export-credentials: not compared, since E2E_AWS_CURRENT is not set (make bench sets it)");
    }

    // Every account, and the roles of each, one call after the other, as `daypass roles` asks.
    let server = broker(&data, port);
    let mut session = Command::new(env!("CARGO_BIN_EXE_daypass"));
    session.args(["--json", "roles"]).env("DAYPASS_HOME", &home);
    let listed = session.output().unwrap();
    let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(listed.len(), ACCOUNTS * ROLES);
    let chain = async |paths: &[String], token: &str| {
        let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let mut stream = tokio::io::BufReader::new(stream);
        let (cpu, began) = (server.cpu(), Instant::now());
        for path in paths {
            let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nx-amz-sso_bearer_token: {token}\r\n\r\n");
            tokio::io::AsyncWriteExt::write_all(stream.get_mut(), request.as_bytes()).await.unwrap();
            assert_eq!(answer(&mut stream).await.0, 200, "{path}");
        }
        (began.elapsed().as_secs_f64() * 1000.0, server.cpu() - cpu)
    };
    let token = bearer(&gateway).await;
    let mut paths = vec!["/assignment/accounts?max_result=1000".to_owned()];
    paths.extend((0..ACCOUNTS).map(|number| format!("/assignment/roles?account_id={}", account(number))));
    let plain: Vec<String> = paths.iter().map(|_| "/healthz".to_owned()).collect();
    let (mut ours, mut floor) = (Vec::new(), Vec::new());
    for _ in 0..9 {
        floor.push(chain(&plain, "none").await.0);
        ours.push(chain(&paths, &token).await.0);
    }
    let (ours, floor) = (median(ours), median(floor));
    println!(
        "{ACCOUNTS} accounts x {ROLES} roles, {} calls one after the other: {ours:.0} ms; as many of /healthz: {floor:.0} ms: {:.1} x",
        paths.len(),
        ours / floor
    );
    let all = time(RUNS / 10, &mut session);
    println!("daypass roles, all of them: {:.0} ms, {:.0} ms of its own processor time", all.0, all.1);
    drop(server);
    gateway.broker.store.close().await;
}

/// An access token as the AWS CLI has one.
async fn bearer(gateway: &Gateway) -> String {
    use daypass::api::{
        signin::{AuthorizationRequest, Authorize, Authorized},
        sso_oidc::{CreateToken, RegisterClient},
    };
    let callback = "http://127.0.0.1:1/oauth/callback";
    let verifier = "a-verifier-of-at-least-forty-three-characters-0123456789";
    let nobody = Caller { principal: Principal::Anonymous, origin: person().origin };
    let register: RegisterClient =
        serde_json::from_value(serde_json::json!({ "clientName": "bench", "clientType": "public", "redirectUris": [callback] }))
            .unwrap();
    let client = gateway.call(&nobody, register).await.unwrap();
    let challenge = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, daypass::crypto::sha256(verifier));
    let request = AuthorizationRequest {
        response_type: "code".to_owned(),
        client_id: client.client_id.clone(),
        redirect_uri: callback.to_owned(),
        state: "x".to_owned(),
        code_challenge: challenge,
        code_challenge_method: "S256".to_owned(),
    };
    let Authorized::Redirect(target) = gateway.call(&person(), Authorize { request, approve: true, role: None }).await.unwrap()
    else {
        panic!("a redirect")
    };
    let code = url::Url::parse(&target).unwrap().query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned();
    let create: CreateToken = serde_json::from_value(serde_json::json!({
        "clientId": client.client_id, "clientSecret": client.client_secret.expose(), "grantType": "authorization_code",
        "code": code, "redirectUri": callback, "codeVerifier": verifier,
    }))
    .unwrap();
    gateway.call(&nobody, create).await.unwrap().access_token.expose().clone()
}
