//! Secrets that go through a broker stand nowhere afterwards: not in its log at the finest level, not in its files, not in its metrics
//! and traces, not in what it answers to strangers.

use super::{
    node::{Site, free_port},
    traces::Collector,
};

#[tokio::test]
async fn planted_secrets_stand_nowhere() {
    let watched = free_port();
    let collector = Collector::start().await;
    let site = Site::new(&format!("metrics_listen = \"127.0.0.1:{watched}\"\n{}", collector.settings()));
    let source = format!(
        "{}\n[[identity_sources]]\nname = \"cloud\"\ntype = \"oidc\"\nissuer = \"http://127.0.0.1:9\"\nclient_id = \"c\"\nclient_secret = \"MARKER-CLIENT-SECRET\"\n",
        crate::world::DEMO
    );
    let file = site.folder.path().join("source.toml");
    std::fs::write(&file, source).unwrap();
    site.run("0", &["apply", file.to_str().unwrap(), "--yes"]);
    std::fs::remove_file(&file).unwrap();
    let mut node = site.start("a", &["env", "DAYPASS_LOG_LEVEL=trace"]).await;
    node.until_ready().await;
    let mut secrets = vec![
        site.password.clone(),
        site.root.secret_access_key().to_owned(),
        "MARKER-CLIENT-SECRET".to_owned(),
        "MARKER-PASSWORD".to_owned(),
        "MARKER-CODE".to_owned(),
        "MARKER-TOKEN".to_owned(),
        "MARKER-ASSERTION".to_owned(),
    ];
    let mut browser = site.browser(&node);
    assert!(browser.sign_in("MARKER-PASSWORD").await.is_err());
    let form = browser.begin(&site.password).await.unwrap();
    let handle = url::form_urlencoded::parse(form.as_bytes()).find(|(name, _)| name == "handle").unwrap().1.into_owned();
    browser.finish(&form).await.unwrap();
    secrets.push(handle);
    secrets.extend(browser.cookies.values().cloned());
    let role = super::nodes::session(&site, &node).await;
    secrets.push(role.secret_access_key().to_owned());
    secrets.push(role.session_token().unwrap().to_owned());
    // What is refused is where things are written down.
    let mut answers = Vec::new();
    for (place, body) in [
        ("/oidc/callback?code=MARKER-CODE&state=MARKER-TOKEN", ""),
        ("/portal?token=MARKER-TOKEN", ""),
        ("/federation?Action=login&SigninToken=MARKER-TOKEN&Destination=x", ""),
        ("/saml/acs", "SAMLResponse=MARKER-ASSERTION&RelayState=MARKER-TOKEN"),
        (
            "/",
            "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn:aws:iam::111122223333:role/X&RoleSessionName=x&WebIdentityToken=MARKER-TOKEN",
        ),
        (
            "/",
            "Action=AssumeRoleWithSAML&Version=2011-06-15&RoleArn=arn:aws:iam::111122223333:role/X&PrincipalArn=arn:aws:iam::111122223333:saml-provider/X&SAMLAssertion=MARKER-ASSERTION",
        ),
        (
            "/token",
            "{\"grantType\":\"refresh_token\",\"refreshToken\":\"MARKER-TOKEN\",\"clientId\":\"x\",\"clientSecret\":\"MARKER-CODE\"}",
        ),
        ("/sign-in/cloud", ""),
        ("/setup/MARKER-TOKEN", ""),
        ("/set-password/MARKER-TOKEN", ""),
        ("/second-factor/reset/MARKER-TOKEN", ""),
        ("/saml/continue/MARKER-TOKEN", ""),
        ("/saml/arrived/MARKER-TOKEN", ""),
    ] {
        let method = if body.is_empty() { "GET" } else { "POST" };
        let (status, _, answer) = browser.ask(method, place, body).await.unwrap();
        answers.push((format!("the answer of {place} ({status})"), answer.into_bytes()));
    }
    let metrics =
        super::node::Node { child: std::process::Command::new("true").spawn().unwrap(), port: watched, log: node.log.clone() };
    let (status, text) = metrics.get("/metrics").await.unwrap();
    assert_eq!(status, 200);
    for name in ["daypass_requests_total", "daypass_sign_ins_total", "daypass_store_seconds", "daypass_key_age_seconds"] {
        assert!(text.contains(name), "{name} is not counted: {text}");
    }
    answers.push(("the metrics".to_owned(), text.into_bytes()));
    node.stop().await;
    let traces = collector.bytes();
    assert!(traces.windows(14).any(|window| window == b"CompleteSignIn"), "nothing was traced");
    answers.push(("the traces".to_owned(), traces));
    answers.push(("the log".to_owned(), node.said().into_bytes()));
    assert!(node.said().lines().count() > 100 && node.said().lines().all(|line| line.starts_with('{')), "JSON, line by line");
    drop(node);
    for entry in std::fs::read_dir(site.folder.path().join("data")).unwrap() {
        let path = entry.unwrap().path();
        answers.push((path.display().to_string(), std::fs::read(&path).unwrap()));
    }
    for (place, bytes) in &answers {
        for secret in secrets.iter().filter(|secret| secret.len() >= 8) {
            let found = bytes.windows(secret.len()).position(|window| window == secret.as_bytes());
            let around =
                found.map(|at| String::from_utf8_lossy(&bytes[at.saturating_sub(200)..(at + 40).min(bytes.len())]).into_owned());
            assert!(found.is_none(), "{place} holds {secret:?}: {around:?}");
        }
    }
}
