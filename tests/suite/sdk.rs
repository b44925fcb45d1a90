//! The Rust SDK, unmodified, against the whole server: every STS operation, and a table of everything that goes wrong.

use crate::{
    idp::{self, Idp},
    world::{MANAGEMENT, SeededRandom},
};
use aws_sdk_sts::{
    Client, Config,
    config::{BehaviorVersion, Credentials, Region},
    error::ProvideErrorMetadata as _,
    operation::RequestId as _,
    types::{PolicyDescriptorType, Tag},
};
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign},
    sign::v4,
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use daypass::{
    api::apply::{ApplyOrganization, PlanOrganization},
    cli::apply::parse,
    config::{Settings, SystemClock},
    domain::{
        Clock as _, Random,
        session::{Caller, Principal, RequestOrigin},
    },
    gateway::Gateway,
    server,
};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};
use tempfile::TempDir;
use tokio::net::TcpListener;

/// A server on loopback with the real clock, since clients sign with theirs.
struct Served {
    url: String,
    gateway: Gateway,
    idp: Idp,
    _folder: TempDir,
}

fn origin() -> RequestOrigin {
    RequestOrigin {
        request_id: "setup".to_owned(),
        source_ip: [127, 0, 0, 1].into(),
        user_agent: "suite".to_owned(),
        secure: false,
        time: SystemClock.now(),
    }
}

const MEMBER: &str = "222233334444";

impl Served {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let settings = Settings {
            public_url: url.parse().unwrap(),
            listen: listener.local_addr().unwrap(),
            data: folder.path().join("data"),
            cage: Some(env!("CARGO_BIN_EXE_daypass").into()),
            ..Settings::default()
        };
        let gateway = settings.open().await.unwrap();
        let idp = Idp::new();
        let served = Self { url, gateway: gateway.clone(), idp, _folder: folder };
        let apply = PlanOrganization { file: parse(&served.organization(), "toml").unwrap(), prune: false, new_passwords: false };
        let caller = Caller { principal: Principal::Operator, origin: Arc::new(origin()) };
        gateway.call(&caller, ApplyOrganization(apply)).await.unwrap();
        tokio::spawn(async move { server::serve(&settings, gateway, listener, std::future::pending()).await });
        served
    }

    fn issuer(&self) -> String {
        format!("{}/issuer/{MANAGEMENT}", self.url.trim_start_matches("http://"))
    }

    /// Accounts, providers and roles that the cases are about.
    fn organization(&self) -> String {
        let issuer = self.issuer();
        let trust = |principal: &str, actions: &str, condition: &str| {
            format!(
                r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":{principal},"Action":{actions},"Condition":{condition}}}}}"#
            )
        };
        let role = |account: &str, name: &str, seconds: u32, policy: &str| {
            format!(
                "[[roles]]\naccount = \"{account}\"\nname = \"{name}\"\nmax_session_seconds = {seconds}\ntrust_policy = '''{policy}'''\n\
                [roles.policies]\nall = '''{{\"Version\":\"2012-10-17\",\"Statement\":{{\"Effect\":\"Allow\",\"Action\":\"*\",\"Resource\":\"*\"}}}}'''\n"
            )
        };
        let account = format!(r#"{{"AWS":"{MANAGEMENT}"}}"#);
        let all = r#"["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"]"#;
        let web = format!(r#"{{"Federated":"arn:aws:iam::{MANAGEMENT}:oidc-provider/{issuer}"}}"#);
        let saml = format!(r#"{{"Federated":"arn:aws:iam::{MANAGEMENT}:saml-provider/corp"}}"#);
        format!(
            "[organization]\nname = \"SDK\"\nmanagement_account = \"{MANAGEMENT}\"\n[[accounts]]\nid = \"{MANAGEMENT}\"\nname = \"Management\"\n\
             [[accounts]]\nid = \"{MEMBER}\"\nname = \"Member\"\n\
             [[identity_sources]]\nname = \"corp\"\ntype = \"saml\"\nmetadata = '''{}'''\n[identity_sources.attributes]\ngroups = \"groups\"\n\
             [[identity_providers]]\naccount = \"{MANAGEMENT}\"\nname = \"loop\"\ntype = \"oidc\"\nissuer = \"http://{issuer}\"\naudiences = [\"loop\"]\n\
             [[policies]]\naccount = \"{MANAGEMENT}\"\nname = \"Look\"\ndocument = '''{{\"Version\":\"2012-10-17\",\"Statement\":{{\"Effect\":\"Allow\",\"Action\":\"s3:Get*\",\"Resource\":\"*\"}}}}'''\n\
             {}{}{}{}{}",
            self.idp.metadata(),
            role(MANAGEMENT, "Open", 43_200, &trust(&account, all, "{}")),
            role(MANAGEMENT, "Plain", 3600, &trust(&account, "\"sts:AssumeRole\"", "{}")),
            role(MANAGEMENT, "External", 3600, &trust(&account, all, r#"{"StringEquals":{"sts:ExternalId":"e-1"}}"#)),
            role(
                MANAGEMENT,
                "Loop",
                3600,
                &trust(&web, "\"sts:AssumeRoleWithWebIdentity\"", &format!(r#"{{"StringEquals":{{"{issuer}:aud":"loop"}}}}"#))
            ),
            role(
                MANAGEMENT,
                "Saml",
                3600,
                &trust(
                    &saml,
                    r#"["sts:AssumeRoleWithSAML","sts:TagSession"]"#,
                    r#"{"ForAnyValue:StringEquals":{"saml:groups":"admins"}}"#
                )
            ),
        )
    }

    /// A user of the management account who may everything, and a key of theirs.
    async fn robot(&self) -> Credentials {
        use daypass::api::iam::{
            access_keys::CreateAccessKey, outbound::EnableOutboundWebIdentityFederation, user_policies::AttachUserPolicy,
            users::CreateUser,
        };
        use daypass::domain::{Arn, name::IamUserName};
        let account = MANAGEMENT.to_owned().try_into().unwrap();
        let random: &dyn Random = &*SeededRandom::new(3);
        let key = daypass::domain::user::AccessKey {
            id: random.access_key_id("AKIA", &account),
            user_id: None,
            secret: daypass::domain::Secret::new("x".to_owned()),
            active: true,
            created: SystemClock.now(),
            account: account.clone(),
        };
        let root = daypass::domain::user::UserSession::of_key(&key, Arn::iam(&account, "root"));
        let caller = Caller { principal: Principal::User(Arc::new(root)), origin: Arc::new(origin()) };
        let user_name = IamUserName::parse("robot").unwrap();
        self.gateway.call(&caller, CreateUser { user_name: user_name.clone(), path: None }).await.unwrap();
        let policy_arn = Arn::parse("arn:aws:iam::aws:policy/AdministratorAccess").unwrap();
        self.gateway.call(&caller, AttachUserPolicy { user_name: user_name.clone(), policy_arn }).await.unwrap();
        self.gateway.call(&caller, EnableOutboundWebIdentityFederation {}).await.unwrap();
        let made = self.gateway.call(&caller, CreateAccessKey { user_name: Some(user_name) }).await.unwrap().access_key;
        Credentials::new(made.access_key_id, made.secret_access_key.expose(), None, None, "suite")
    }

    fn client(&self, credentials: Option<Credentials>) -> Client {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .endpoint_url(&self.url)
            .region(Region::new("eu-west-1"))
            .retry_config(aws_sdk_sts::config::retry::RetryConfig::disabled());
        Client::from_conf(match credentials {
            Some(credentials) => config.credentials_provider(credentials).build(),
            None => config.allow_no_auth().build(),
        })
    }

    fn assertion(&self, id: &str) -> String {
        STANDARD.encode(self.idp.sign(&idp::response(&self.url, id, None, SystemClock.now())).unwrap())
    }
}

fn held(credentials: Option<&aws_sdk_sts::types::Credentials>) -> Option<Credentials> {
    let credentials = credentials.expect("credentials in the answer");
    let (key, secret) = (credentials.access_key_id(), credentials.secret_access_key());
    Some(Credentials::new(key, secret, Some(credentials.session_token().to_owned()), None, "suite"))
}

#[tokio::test]
async fn the_rust_sdk_drives_every_sts_operation() {
    let served = Served::new().await;
    let key = served.robot().await;
    let robot = served.client(Some(key.clone()));
    let who = async |credentials: Option<Credentials>| {
        served.client(credentials).get_caller_identity().send().await.unwrap().arn().unwrap().to_owned()
    };
    let me = robot.get_caller_identity().send().await.unwrap();
    assert_eq!(me.arn(), Some(format!("arn:aws:iam::{MANAGEMENT}:user/robot").as_str()));
    assert!(me.request_id().is_some());

    let session = robot.get_session_token().duration_seconds(900).send().await.unwrap();
    assert_eq!(who(held(session.credentials())).await, format!("arn:aws:iam::{MANAGEMENT}:user/robot"));

    let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#;
    let guest = robot.get_federation_token().name("guest").policy(policy).send().await.unwrap();
    assert_eq!(guest.federated_user().unwrap().federated_user_id(), format!("{MANAGEMENT}:guest"));
    assert_eq!(who(held(guest.credentials())).await, format!("arn:aws:sts::{MANAGEMENT}:federated-user/guest"));

    let tag = Tag::builder().key("team").value("a b+c~é").build().unwrap();
    let look = PolicyDescriptorType::builder().arn(format!("arn:aws:iam::{MANAGEMENT}:policy/Look")).build();
    let taken = robot
        .assume_role()
        .role_arn(format!("arn:aws:iam::{MANAGEMENT}:role/Open"))
        .role_session_name("job@7")
        .tags(tag.clone())
        .transitive_tag_keys("team")
        .source_identity("robot")
        .policy_arns(look)
        .duration_seconds(43_200)
        .send()
        .await
        .unwrap();
    assert_eq!(taken.source_identity(), Some("robot"));
    assert_eq!(who(held(taken.credentials())).await, format!("arn:aws:sts::{MANAGEMENT}:assumed-role/Open/job@7"));

    let external = format!("arn:aws:iam::{MANAGEMENT}:role/External");
    let refused = robot.assume_role().role_arn(&external).role_session_name("job").send().await.unwrap_err();
    assert_eq!(refused.code(), Some("AccessDenied"));
    let message = refused.message().unwrap().split("message: ").nth(1).unwrap();
    let decoded = robot.decode_authorization_message().encoded_message(message).send().await.unwrap();
    assert!(decoded.decoded_message().unwrap().to_lowercase().contains("sts:externalid"));

    let task = PolicyDescriptorType::builder().arn("arn:aws:iam::aws:policy/root-task/S3UnlockBucketPolicy").build();
    let root = robot.assume_root().target_principal(MEMBER).task_policy_arn(task).send().await.unwrap();
    assert_eq!(who(held(root.credentials())).await, format!("arn:aws:sts::{MEMBER}:assumed-root"));

    let nobody = robot.get_access_key_info().access_key_id("AKIAIOSFODNN7EXAMPLE").send().await;
    assert_eq!(nobody.unwrap_err().code(), Some("ValidationError"), "no account of ours");

    let token = robot.get_web_identity_token().audience("loop").signing_algorithm("RS256").send().await.unwrap();
    let looped = served
        .client(None)
        .assume_role_with_web_identity()
        .role_arn(format!("arn:aws:iam::{MANAGEMENT}:role/Loop"))
        .role_session_name("loop")
        .web_identity_token(token.web_identity_token().unwrap())
        .send()
        .await
        .unwrap();
    assert_eq!(looped.audience(), Some("loop"));
    assert_eq!(who(held(looped.credentials())).await, format!("arn:aws:sts::{MANAGEMENT}:assumed-role/Loop/loop"));

    // A token of ours made by a session carries the session's end: federating to oneself does not prolong it.
    let open = format!("arn:aws:iam::{MANAGEMENT}:role/Open");
    let short = robot.assume_role().role_arn(open).role_session_name("short").duration_seconds(900).send().await.unwrap();
    let ends = short.credentials().unwrap().expiration().secs();
    let short = served.client(held(short.credentials()));
    let asking = short.get_web_identity_token().audience("loop").signing_algorithm("ES384").duration_seconds(300);
    let token = asking.send().await.unwrap();
    let prolonged = served
        .client(None)
        .assume_role_with_web_identity()
        .role_arn(format!("arn:aws:iam::{MANAGEMENT}:role/Loop"))
        .role_session_name("again")
        .web_identity_token(token.web_identity_token().unwrap())
        .duration_seconds(3600)
        .send()
        .await
        .unwrap();
    assert!(prolonged.credentials().unwrap().expiration().secs() <= ends);

    let asserted = served
        .client(None)
        .assume_role_with_saml()
        .role_arn(format!("arn:aws:iam::{MANAGEMENT}:role/Saml"))
        .principal_arn(format!("arn:aws:iam::{MANAGEMENT}:saml-provider/corp"))
        .saml_assertion(served.assertion("_sdk"))
        .send()
        .await
        .unwrap();
    assert_eq!(asserted.subject(), Some("jane@corp.test"));
    assert!(who(held(asserted.credentials())).await.ends_with(":assumed-role/Saml/jane@corp.test"));

    let traded = robot.get_delegated_access_token().trade_in_token("x").send().await.unwrap_err();
    assert!(traded.into_service_error().is_expired_trade_in_token_exception());

    // Presigned, as EKS and Vault ask for it.
    let presigned = |seconds: u64, ago: u64| {
        let mut settings = SigningSettings::default();
        settings.signature_location = SignatureLocation::QueryParams;
        settings.expires_in = Some(Duration::from_secs(seconds));
        let identity = key.clone().into();
        let parameters = v4::SigningParams::builder()
            .identity(&identity)
            .region("eu-west-1")
            .name("sts")
            .time(UNIX_EPOCH + Duration::from_millis(u64::try_from(SystemClock.now().0).unwrap()) - Duration::from_secs(ago))
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let url = format!("{}/?Action=GetCallerIdentity&Version=2011-06-15", served.url);
        let host = served.url.trim_start_matches("http://");
        let request = SignableRequest::new("GET", &url, std::iter::once(("host", host)), SignableBody::Bytes(&[])).unwrap();
        let (instructions, _) = sign(request, &parameters).unwrap().into_parts();
        let mut signed: url::Url = url.parse().unwrap();
        for (name, value) in instructions.params() {
            signed.query_pairs_mut().append_pair(name, value);
        }
        signed.to_string()
    };
    let (status, text) = fetch("GET", &presigned(60, 0), std::iter::empty(), "").await;
    assert!(status == 200 && text.contains("user/robot"), "{text}");
    let (status, text) = fetch("GET", &presigned(60, 61), std::iter::empty(), "").await;
    assert!(status == 403 && text.contains("<Code>ExpiredToken</Code>"), "past its life: {text}");
}

/// A plain request: what no SDK would send.
async fn fetch<'h>(method: &str, url: &str, headers: impl Iterator<Item = (&'h str, &'h str)>, body: &str) -> (u16, String) {
    let url: url::Url = url.parse().unwrap();
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut request = format!(
        "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: {}\r\n",
        url.authority(),
        body.len()
    );
    for (name, value) in
        headers.filter(|(name, _)| !name.eq_ignore_ascii_case("host") && !name.eq_ignore_ascii_case("content-length"))
    {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str(&format!("\r\n{body}"));
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(url.authority()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    (status, answer.split_once("\r\n\r\n").unwrap().1.to_owned())
}

/// `tests/data/sts-errors.json`: one refusal each.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    /// What is wrong.
    name: String,
    /// `robot` (a user's access key), `session`, `guest`, `role` (sessions of theirs), `root`, or nobody.
    caller: String,
    /// Form parameters beside `Action` and `Version`; `$NAME` stands for what the fixture made.
    action: String,
    #[serde(default)]
    parameters: BTreeMap<String, String>,
    /// Changes to the signed request: header or `query` → value; an empty one removes it.
    #[serde(default)]
    tamper: BTreeMap<String, String>,
    status: u16,
    code: String,
    /// A part of the message.
    message: String,
}

#[tokio::test]
async fn every_error_has_its_code_its_status_and_its_sentence() {
    let served = Served::new().await;
    let robot = served.robot().await;
    let client = served.client(Some(robot.clone()));
    let open = format!("arn:aws:iam::{MANAGEMENT}:role/Open");
    let role = client
        .assume_role()
        .role_arn(&open)
        .role_session_name("chain")
        .tags(Tag::builder().key("team").value("blue").build().unwrap())
        .transitive_tag_keys("team")
        .source_identity("robot")
        .duration_seconds(43_200)
        .send()
        .await
        .unwrap();
    let session = client.get_session_token().send().await.unwrap();
    let policy = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
    let guest = client.get_federation_token().name("guest").policy(policy).send().await.unwrap();
    let token = client.get_web_identity_token().audience("loop").signing_algorithm("ES384").send().await.unwrap();
    let other = client.get_web_identity_token().audience("other").signing_algorithm("ES384").send().await.unwrap();
    let token = token.web_identity_token().unwrap().to_owned();
    let replayed = served.assertion("_replayed");
    let by_saml = served
        .client(None)
        .assume_role_with_saml()
        .role_arn(format!("arn:aws:iam::{MANAGEMENT}:role/Saml"))
        .principal_arn(format!("arn:aws:iam::{MANAGEMENT}:saml-provider/corp"));
    by_saml.saml_assertion(&replayed).send().await.unwrap();
    let (head, rest) = token.split_at(token.len() - 8);
    let none = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#);
    let made: BTreeMap<&str, String> = [
        ("KEY", robot.access_key_id().to_owned()),
        ("TOKEN", token.clone()),
        ("OTHER_AUDIENCE", other.web_identity_token().unwrap().to_owned()),
        ("TAMPERED", format!("{head}{}", rest.chars().rev().collect::<String>())),
        ("UNSIGNED", format!("{none}.{}.", token.split('.').nth(1).unwrap())),
        ("REPLAYED", replayed),
        ("ASSERTION", served.assertion("_fresh")),
        ("ASSERTION_2", served.assertion("_fresh2")),
        ("MANAGEMENT", MANAGEMENT.to_owned()),
        ("MEMBER", MEMBER.to_owned()),
        ("LONG", "x".repeat(2100)),
        ("LONG_TOKEN", "x".repeat(20_001)),
    ]
    .into();
    let callers: BTreeMap<&str, Option<Credentials>> = [
        ("robot", Some(robot.clone())),
        ("role", held(role.credentials())),
        ("session", held(session.credentials())),
        ("guest", held(guest.credentials())),
        ("unknown", Some(Credentials::new("AKIAIOSFODNN7EXAMPLE", "x".repeat(40), None, None, "suite"))),
        ("wrong secret", Some(Credentials::new(robot.access_key_id(), "x".repeat(40), None, None, "suite"))),
        ("nobody", None),
    ]
    .into();
    let cases: Vec<Case> = serde_json::from_str(&fs::read_to_string("tests/data/sts-errors.json").unwrap()).unwrap();
    assert!(cases.len() >= 120, "only {} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        let fill =
            |text: &str| made.iter().rev().fold(text.to_owned(), |text, (name, value)| text.replace(&format!("${name}"), value));
        let mut form = url::form_urlencoded::Serializer::new(String::new());
        if !case.action.is_empty() {
            form.append_pair("Action", &case.action).append_pair("Version", "2011-06-15");
        }
        for (name, value) in &case.parameters {
            form.append_pair(name, &fill(value));
        }
        let body = form.finish();
        let mut headers: BTreeMap<String, String> =
            [("content-type".to_owned(), "application/x-www-form-urlencoded".to_owned())].into();
        if let Some(credentials) = &callers[case.caller.as_str()] {
            headers.extend(crate::signer::headers(credentials, &served.url, &body, SystemClock.now()));
        }
        let mut sent = body.clone();
        for (name, value) in &case.tamper {
            match name.as_str() {
                "body" => sent = fill(value),
                "body+" => sent.push_str(&fill(value)),
                name if value.is_empty() => drop(headers.remove(name)),
                name => {
                    let old = headers.get(name).cloned().unwrap_or_default();
                    headers.insert(name.to_owned(), fill(value).replace("$OLD", &old));
                }
            }
        }
        let (status, answer) =
            fetch("POST", &format!("{}/", served.url), headers.iter().map(|(n, v)| (n.as_str(), v.as_str())), &sent).await;
        let element = |name: &str| {
            answer
                .split(&format!("<{name}>"))
                .nth(1)
                .and_then(|rest| rest.split("</").next())
                .unwrap_or_default()
                .replace("&apos;", "'")
        };
        let (code, message, kind, id) = (element("Code"), element("Message"), element("Type"), element("RequestId"));
        let shaped = answer.starts_with("<ErrorResponse xmlns=\"https://") && kind == "Sender" && id.len() == 36;
        if (status, code.as_str()) != (case.status, case.code.as_str()) || !message.contains(&case.message) || !shaped {
            wrong.push(format!("{}: {status} {code}: {message}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {} differ:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}
