//! Command lines: tokens that renew themselves, keys that are bound to them, and what ends both.

use crate::world::{MANAGEMENT, Persona, World, events};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use daypass::{
    api::{
        signin::{
            AuthorizationRequest, Authorize, Authorized, CROSS_DEVICE, CreateOAuth2Token, DecideDevice, LookUpDevice,
            OAuth2Token, SAME_DEVICE, own_sessions::EndOwnSession,
        },
        sso::{ListAccountRoles, ListAccounts, Logout},
        sso_oidc::{CreateToken, CreateTokenWithIAM, RegisterClient, RegisteredClient, StartDeviceAuthorization, Token},
        sts::sessions::{RevokeSessions, Revoked},
    },
    crypto::{
        dpop::{DpopProof, MAX_SKEW_SECONDS},
        sha256,
        sigv4::HttpRequest,
    },
    domain::{
        Clock as _, Error, ErrorKind, Secret, Timestamp,
        name::{AccountId, RoleName},
        session::{DpopKey, Principal},
        sso::LentRole,
    },
    store::audit::STRANGER_REFUSALS_PER_MINUTE,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-0123456789";
const CALLBACK: &str = "http://127.0.0.1:4711/oauth/callback";

fn read<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

async fn register(world: &World, scopes: &[&str]) -> RegisteredClient {
    let register: RegisterClient = read(json!({
        "clientName": "botocore", "clientType": "public", "scopes": scopes, "redirectUris": ["http://127.0.0.1/oauth/callback"],
        "grantTypes": ["authorization_code", "refresh_token"],
    }));
    world.nobody().call(register).await.unwrap()
}

fn request(client_id: &str, method: &str) -> AuthorizationRequest {
    AuthorizationRequest {
        response_type: "code".to_owned(),
        client_id: client_id.to_owned(),
        redirect_uri: CALLBACK.to_owned(),
        state: "state".to_owned(),
        code_challenge: URL_SAFE_NO_PAD.encode(sha256(VERIFIER)),
        code_challenge_method: method.to_owned(),
    }
}

/// Somebody who is in the directory, with the browser session of that id.
async fn jane<'w>(world: &'w World, session: &str) -> Persona<'w> {
    let users = world.gateway.broker.store.read().users().await.unwrap();
    let user = users.into_iter().find(|user| user.name.as_str() == "jane@example.com").unwrap();
    let mut jane = world.person(&["admins"]);
    let mut own = jane.caller.person().unwrap().clone();
    own.id = session.to_owned();
    own.identity.subject = user.id.clone();
    own.identity.claims.insert("directory:sub".to_owned(), vec![user.id]);
    jane.caller.principal = Principal::Person(Arc::new(own));
    jane
}

fn code_in(authorized: Authorized) -> String {
    let Authorized::Redirect(target) = authorized else { panic!("a redirect") };
    let target = url::Url::parse(&target).unwrap();
    target.query_pairs().find(|(name, _)| name == "code").unwrap().1.into_owned()
}

async fn sign_in(world: &World, client: &RegisteredClient) -> Token {
    let ask = Authorize { request: request(&client.client_id, "S256"), approve: true, role: None };
    let code = code_in(jane(world, "browser").await.call(ask).await.unwrap());
    let fields = json!({ "grantType": "authorization_code", "code": code, "redirectUri": CALLBACK, "codeVerifier": VERIFIER });
    create(world, client, fields).await.unwrap()
}

async fn create(world: &World, client: &RegisteredClient, mut fields: Value) -> Result<Token, Error> {
    fields["clientId"] = client.client_id.clone().into();
    fields["clientSecret"] = client.client_secret.expose().clone().into();
    world.nobody().call(read::<CreateToken>(fields)).await
}

async fn renew(world: &World, client: &RegisteredClient, token: &Secret<String>) -> Result<Token, Error> {
    create(world, client, json!({ "grantType": "refresh_token", "refreshToken": token.expose() })).await
}

/// Whether an access token opens the portal.
async fn opens(world: &World, token: &Token) -> bool {
    match world.gateway.bearer(token.access_token.expose()).await {
        Ok(principal) => world.caller(principal).call(read::<ListAccounts>(json!({}))).await.is_ok(),
        Err(_) => false,
    }
}

#[tokio::test]
async fn a_token_is_renewed_until_the_session_ends() {
    let world = World::demo().await;
    let client = register(&world, &["sso:account:access"]).await;
    let mut token = sign_in(&world, &client).await;
    assert_eq!(token.expires_in, 1800);
    for left in [1800, 600] {
        world.clock.advance(1500);
        assert!(opens(&world, &token).await);
        let next = renew(&world, &client, token.refresh_token.as_ref().unwrap()).await.unwrap();
        assert_ne!(next.refresh_token.as_ref().unwrap().expose(), token.refresh_token.as_ref().unwrap().expose());
        assert_eq!(next.expires_in, left.min(1800), "never longer than the session");
        token = next;
    }
    world.clock.advance(600);
    assert!(!opens(&world, &token).await);
    let over = renew(&world, &client, token.refresh_token.as_ref().unwrap()).await.unwrap_err();
    assert_eq!(over.kind, ErrorKind::InvalidGrant);
}

#[tokio::test]
async fn a_client_that_does_not_ask_gets_no_refresh_token_and_one_long_one() {
    let world = World::demo().await;
    let client = register(&world, &[]).await;
    let token = sign_in(&world, &client).await;
    assert!(token.refresh_token.is_none());
    assert_eq!(token.expires_in, 3600);
}

#[tokio::test]
async fn processes_that_renew_at_once_go_on_with_the_same_token() {
    let world = World::demo().await;
    let client = register(&world, &["sso:account:access"]).await;
    let first = sign_in(&world, &client).await.refresh_token.unwrap();
    let (one, two) = tokio::join!(renew(&world, &client, &first), renew(&world, &client, &first));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.refresh_token.unwrap().expose(), two.refresh_token.as_ref().unwrap().expose());
    world.clock.advance(60);
    let late = renew(&world, &client, &first).await.unwrap();
    assert_eq!(late.refresh_token.unwrap().expose(), two.refresh_token.unwrap().expose());
    assert!(opens(&world, &one_of(late.access_token)).await);
}

fn one_of(access_token: Secret<String>) -> Token {
    Token { access_token, token_type: "Bearer", expires_in: 0, refresh_token: None }
}

#[tokio::test]
async fn a_used_refresh_token_that_comes_back_ends_the_session_for_both() {
    let world = World::demo().await;
    let client = register(&world, &["sso:account:access"]).await;
    let first = sign_in(&world, &client).await.refresh_token.unwrap();
    let second = renew(&world, &client, &first).await.unwrap();
    world.clock.advance(61);
    assert!(opens(&world, &second).await);
    let stolen = renew(&world, &client, &first).await.unwrap_err();
    assert_eq!(stolen.kind, ErrorKind::InvalidGrant);
    assert!(stolen.private.unwrap().starts_with("refresh_token_reused"));
    assert!(!opens(&world, &second).await);
    let owner = renew(&world, &client, second.refresh_token.as_ref().unwrap()).await.unwrap_err();
    assert!(owner.private.unwrap().starts_with("session_ended"));
}

#[tokio::test]
async fn a_stolen_token_is_on_record_whatever_else_strangers_do() {
    let world = World::demo().await;
    let client = register(&world, &["sso:account:access"]).await;
    let first = sign_in(&world, &client).await.refresh_token.unwrap();
    renew(&world, &client, &first).await.unwrap();
    world.clock.advance(61);
    for _ in 0..=STRANGER_REFUSALS_PER_MINUTE {
        renew(&world, &client, &Secret::new("made up".to_owned())).await.unwrap_err();
    }
    renew(&world, &client, &first).await.unwrap_err();
    let events = world.gateway.broker.store.read().audit_events(None, &events("CreateToken"), None, 1).await.unwrap().0;
    assert_eq!(events[0].detail["reused"], "refresh token");
    assert!(events[0].detail["subject"].is_string(), "{}", events[0].detail);
}

#[tokio::test]
async fn a_code_that_comes_again_ends_what_it_led_to() {
    let world = World::demo().await;
    let client = register(&world, &["sso:account:access"]).await;
    let code = async |client_id: &str, method: &str, role: Option<LentRole>| {
        let ask = Authorize { request: request(client_id, method), approve: true, role };
        code_in(jane(&world, "browser").await.call(ask).await.unwrap())
    };
    let fields = |code: &str, verifier: &str| json!({ "grantType": "authorization_code", "code": code, "redirectUri": CALLBACK, "codeVerifier": verifier });
    let other = VERIFIER.replace('0', "1");

    let used = code(&client.client_id, "S256", None).await;
    let token = create(&world, &client, fields(&used, VERIFIER)).await.unwrap();
    create(&world, &client, fields(&used, &other)).await.unwrap_err();
    assert!(opens(&world, &token).await, "whoever only saw the code ends nothing");
    let again = create(&world, &client, fields(&used, VERIFIER)).await.unwrap_err();
    assert!(again.private.unwrap().starts_with("code_reused"));
    assert!(!opens(&world, &token).await);
    renew(&world, &client, token.refresh_token.as_ref().unwrap()).await.unwrap_err();

    let used = code(SAME_DEVICE, "SHA-256", Some(lent())).await;
    let token = oauth(&world, "key", fields(&used, VERIFIER)).await.unwrap();
    oauth(&world, "key", fields(&used, VERIFIER)).await.unwrap_err();
    let refresh = json!({ "grantType": "refresh_token", "refreshToken": token.refresh_token.expose() });
    assert!(oauth(&world, "key", refresh).await.unwrap_err().private.unwrap().starts_with("session_ended"));
}

#[tokio::test]
async fn however_many_command_lines_there_are_all_are_signed_out() {
    let world = World::demo().await;
    let client = register(&world, &[]).await;
    let mut tokens = Vec::new();
    for _ in 0..205 {
        tokens.push(sign_in(&world, &client).await);
    }
    jane(&world, "another").await.call(EndOwnSession { id: None }).await.unwrap();
    for token in &tokens {
        assert!(!opens(&world, token).await);
    }
}

#[tokio::test]
async fn a_client_can_not_deceive_by_its_name_nor_fill_the_store() {
    let world = World::demo().await;
    let named = async |name: &str| {
        let register = json!({ "clientName": name, "clientType": "public" });
        world.nobody().call(read::<RegisterClient>(register)).await
    };
    for name in ["", "  ", "a\nb", "tool\u{202e}", "to\u{200b}ol", "\u{2066}x"] {
        assert_eq!(named(name).await.unwrap_err().kind, ErrorKind::InvalidInput, "{name:?}");
    }
    let client = named(&"long ".repeat(50)).await.unwrap();
    let start = async || {
        let start = json!({ "clientId": client.client_id, "clientSecret": client.client_secret.expose(), "startUrl": "x" });
        world.nobody().call(read::<StartDeviceAuthorization>(start)).await
    };
    let user_code = start().await.unwrap().user_code;
    let shown = world.person(&["admins"]).call(LookUpDevice { user_code }).await.unwrap();
    assert_eq!(shown.client_name.chars().count(), 65, "{}", shown.client_name);
    let more = async || {
        for started in 1.. {
            match start().await {
                Ok(_) => assert!(started < 1000, "no end"),
                Err(error) => return (started, error.kind),
            }
        }
        unreachable!()
    };
    assert_eq!(more().await, (300, ErrorKind::SlowDown));
    world.clock.advance(60);
    start().await.unwrap();
}

#[tokio::test]
async fn a_device_is_told_to_wait_to_slow_down_and_that_it_is_over() {
    let world = World::demo().await;
    let client = register(&world, &["sso:account:access"]).await;
    let start = async || {
        let start = json!({ "clientId": client.client_id, "clientSecret": client.client_secret.expose(), "startUrl": "x" });
        world.nobody().call(read::<StartDeviceAuthorization>(start)).await.unwrap()
    };
    let poll = async |code: &Secret<String>| {
        let fields = json!({ "grantType": "urn:ietf:params:oauth:grant-type:device_code", "deviceCode": code.expose() });
        create(&world, &client, fields).await.map_err(|error| error.kind)
    };
    let started = start().await;
    assert_eq!(poll(&started.device_code).await.unwrap_err(), ErrorKind::AuthorizationPending);
    assert_eq!(poll(&started.device_code).await.unwrap_err(), ErrorKind::SlowDown);
    world.clock.advance(started.interval);
    assert_eq!(poll(&started.device_code).await.unwrap_err(), ErrorKind::AuthorizationPending);
    let decide = |user_code: String, approve| DecideDevice { user_code, approve };
    jane(&world, "browser").await.call(decide(started.user_code, true)).await.unwrap();
    // Who is told the answer asks no more: however soon.
    let token = poll(&started.device_code).await.unwrap();
    assert!(opens(&world, &token).await);
    assert_eq!(poll(&started.device_code).await.unwrap_err(), ErrorKind::ExpiredCode, "it is good once");

    let refused = start().await;
    jane(&world, "browser").await.call(decide(refused.user_code, false)).await.unwrap();
    assert_eq!(poll(&refused.device_code).await.unwrap_err(), ErrorKind::AccessDenied);

    let late = start().await;
    world.clock.advance(late.expires_in);
    assert_eq!(poll(&late.device_code).await.unwrap_err(), ErrorKind::ExpiredCode);
    let decided = jane(&world, "browser").await.call(decide(late.user_code, true)).await;
    assert_eq!(decided.unwrap_err().kind, ErrorKind::NoSuchEntity);
}

#[tokio::test]
async fn accounts_and_roles_come_in_pages() {
    let world = World::demo().await;
    let admin = world.person(&["admins", "developers"]);
    let accounts = async |page: Value| {
        let listed = admin.call(read::<ListAccounts>(page)).await.unwrap();
        let names: Vec<String> = listed.account_list.iter().map(|account| account.account_id.to_string()).collect();
        (names, listed.next_token)
    };
    let (all, none) = accounts(json!({})).await;
    assert!(all.len() > 1 && none.is_none(), "{all:?}");
    let (mut paged, mut next) = (Vec::new(), None);
    loop {
        let (page, more) = accounts(json!({ "max_result": 1, "next_token": next })).await;
        assert_eq!(page.len(), 1);
        paged.extend(page);
        next = more;
        if next.is_none() {
            break;
        }
    }
    assert_eq!(paged, all);

    let roles = async |page: Value| {
        let mut fields = page;
        fields["account_id"] = "222233334444".into();
        let listed = admin.call(read::<ListAccountRoles>(fields)).await.unwrap();
        (listed.role_list.into_iter().map(|role| role.role_name).collect::<Vec<_>>(), listed.next_token)
    };
    let (all, _) = roles(json!({})).await;
    let (first, next) = roles(json!({ "max_result": 1 })).await;
    let (second, _) = roles(json!({ "max_result": 1, "next_token": next })).await;
    assert_eq!([first, second].concat(), all[..2]);
}

#[tokio::test]
async fn a_refresh_token_is_for_its_client_alone() {
    let world = World::demo().await;
    let client = register(&world, &["sso:account:access"]).await;
    let first = sign_in(&world, &client).await.refresh_token.unwrap();
    let other = register(&world, &["sso:account:access"]).await;
    let refused = renew(&world, &other, &first).await.unwrap_err();
    assert!(refused.private.unwrap().starts_with("refresh_token_other_client"));
    renew(&world, &client, &first).await.unwrap();
}

#[tokio::test]
async fn what_ends_a_session_ends_its_renewals() {
    for how in ["logout", "from another browser", "revocation"] {
        let world = World::demo().await;
        let client = register(&world, &["sso:account:access"]).await;
        let token = sign_in(&world, &client).await;
        world.clock.advance(1);
        match how {
            "logout" => {
                let person = world.gateway.bearer(token.access_token.expose()).await.unwrap();
                world.caller(person).call(Logout {}).await.unwrap();
            }
            "revocation" => {
                let who = Revoked::Everything;
                world.operator().call(RevokeSessions { who, before: None }).await.unwrap();
            }
            _ => {
                jane(&world, "another").await.call(EndOwnSession { id: None }).await.unwrap();
            }
        }
        assert!(!opens(&world, &token).await, "{how}");
        let refused = renew(&world, &client, token.refresh_token.as_ref().unwrap()).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidGrant, "{how}");
    }
}

fn lent() -> LentRole {
    LentRole { account: AccountId::parse(MANAGEMENT).unwrap(), name: RoleName::parse("Administrator").unwrap() }
}

async fn login(world: &World, key: &str) -> Result<OAuth2Token, Error> {
    let ask = Authorize { request: request(SAME_DEVICE, "SHA-256"), approve: true, role: Some(lent()) };
    let code = code_in(jane(world, "browser").await.call(ask).await.unwrap());
    let fields = json!({ "grantType": "authorization_code", "code": code, "redirectUri": CALLBACK, "codeVerifier": VERIFIER });
    oauth(world, key, fields).await
}

async fn oauth(world: &World, key: &str, mut fields: Value) -> Result<OAuth2Token, Error> {
    fields["clientId"] = SAME_DEVICE.into();
    // A proof of its own for each request.
    static PROOFS: AtomicU64 = AtomicU64::new(0);
    let proof = PROOFS.fetch_add(1, Ordering::Relaxed).to_string();
    world.caller(shown(key, &proof)).call(read::<CreateOAuth2Token>(fields)).await
}

fn shown(key: &str, proof: &str) -> Principal {
    Principal::DpopKey(Arc::new(DpopKey { thumbprint: key.to_owned(), proof: proof.to_owned() }))
}

#[tokio::test]
async fn aws_login_gets_one_role_bound_to_its_key() {
    let world = World::demo().await;
    let token = login(&world, "key").await.unwrap();
    assert_eq!(token.expires_in, 900);
    let claims = token.id_token.unwrap().expose().split('.').nth(1).map(|part| URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
    let claims: Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["sub"], format!("arn:aws:sts::{MANAGEMENT}:assumed-role/Administrator/jane@example.com"));

    let refresh = |token: &Secret<String>| json!({ "grantType": "refresh_token", "refreshToken": token.expose() });
    let stolen = oauth(&world, "another key", refresh(&token.refresh_token)).await.unwrap_err();
    assert!(stolen.private.unwrap().starts_with("refresh_token_other_client"));
    let next = oauth(&world, "key", refresh(&token.refresh_token)).await.unwrap();
    assert!(next.id_token.is_none());

    // It opens one role, not the portal.
    let client = register(&world, &["sso:account:access"]).await;
    assert_eq!(renew(&world, &client, &next.refresh_token).await.unwrap_err().kind, ErrorKind::InvalidGrant);
    // Nobody without a key gets anything.
    let fields = json!({ "clientId": SAME_DEVICE, "grantType": "refresh_token", "refreshToken": next.refresh_token.expose() });
    assert_eq!(world.nobody().call(read::<CreateOAuth2Token>(fields)).await.unwrap_err().kind, ErrorKind::InvalidInput);
}

#[tokio::test]
async fn aws_login_ends_with_the_role() {
    let world = World::demo().await;
    let token = login(&world, "key").await.unwrap();
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let open = world.gateway.snapshot().role(&lent().account, "Administrator").unwrap().role.trust_policy.clone();
    let closed = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Deny","Principal":"*","Action":"*"}]}"#;
    let update = json!({ "RoleName": "Administrator", "PolicyDocument": closed });
    admin.call(read::<daypass::api::iam::roles::UpdateAssumeRolePolicy>(update)).await.unwrap();
    let fields = || json!({ "grantType": "refresh_token", "refreshToken": token.refresh_token.expose() });
    assert_eq!(oauth(&world, "key", fields()).await.unwrap_err().kind, ErrorKind::AccessDenied);
    // A refusal uses nothing up: much later, when the role is back, the same token is good.
    world.clock.advance(120);
    let again = json!({ "RoleName": "Administrator", "PolicyDocument": open });
    world.root(MANAGEMENT).call(read::<daypass::api::iam::roles::UpdateAssumeRolePolicy>(again)).await.unwrap();
    oauth(&world, "key", fields()).await.unwrap();
}

#[tokio::test]
async fn only_takeable_roles_are_lent_and_only_to_known_addresses() {
    let world = World::demo().await;
    let person = world.person(&["nobodies"]);
    let ask = Authorize { request: request(SAME_DEVICE, "SHA-256"), approve: true, role: Some(lent()) };
    assert_eq!(person.call(ask).await.unwrap_err().kind, ErrorKind::AccessDenied);

    let person = world.person(&["admins"]);
    let refusal = async |request: AuthorizationRequest, role: Option<LentRole>| {
        person.call(Authorize { request, approve: true, role }).await.map(drop).unwrap_err().kind
    };
    let good = || request(SAME_DEVICE, "SHA-256");
    for address in
        ["https://evil.example/oauth/callback", "http://127.0.0.1:1/other", "http://127.0.0.1@evil.example/oauth/callback"]
    {
        let request = AuthorizationRequest { redirect_uri: address.to_owned(), ..good() };
        assert_eq!(refusal(request, Some(lent())).await, ErrorKind::InvalidRedirect, "{address}");
    }
    // The other client's code is carried by hand: nothing is sent anywhere.
    let carried = AuthorizationRequest { client_id: CROSS_DEVICE.to_owned(), ..good() };
    assert_eq!(refusal(carried, Some(lent())).await, ErrorKind::InvalidRedirect);
    assert_eq!(refusal(good(), None).await, ErrorKind::InvalidInput, "a role has to be chosen");
    assert_eq!(refusal(request(SAME_DEVICE, "plain"), Some(lent())).await, ErrorKind::InvalidInput);
    let client = register(&world, &[]).await;
    let one_role = request(&client.client_id, "S256");
    assert_eq!(refusal(one_role, Some(lent())).await, ErrorKind::InvalidInput, "a portal client gets no role");
}

#[tokio::test]
async fn a_signed_caller_exchanges_a_persons_token() {
    let world = World::demo().await;
    let client = register(&world, &["sso:account:access"]).await;
    let token = sign_in(&world, &client).await;
    let application = format!("arn:aws:sso::{MANAGEMENT}:application/ssoins-1/apl-1");
    let exchange = |application: &str| {
        read::<CreateTokenWithIAM>(json!({
            "clientId": application, "grantType": "urn:ietf:params:oauth:grant-type:token-exchange",
            "subjectToken": token.access_token.expose(), "subjectTokenType": "urn:ietf:params:oauth:token-type:access_token",
        }))
    };
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let given = admin.call(exchange(&application)).await.unwrap();
    assert!(opens(&world, &one_of(given.access_token)).await);
    assert_eq!(world.nobody().call(exchange(&application)).await.unwrap_err().kind, ErrorKind::MissingCredentials);
    let other = "arn:aws:sso::222233334444:application/ssoins-1/apl-1";
    assert_eq!(admin.call(exchange(other)).await.unwrap_err().kind, ErrorKind::InvalidInput);
    let reader = world.session("222233334444", "ReadOnly", &["admins"]);
    assert_eq!(reader.call(exchange(other)).await.unwrap_err().kind, ErrorKind::AccessDenied);

    // Never longer than the token that was shown, and the same session: what ends the person's ends the application's.
    world.clock.advance(1000);
    let later = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let late = later.call(exchange(&application)).await.unwrap();
    assert_eq!(late.expires_in, 800);
    world.operator().call(RevokeSessions { who: Revoked::Everything, before: None }).await.unwrap();
    assert!(!opens(&world, &one_of(late.access_token)).await);
}

// DPoP

const ADDRESS: &str = "http://127.0.0.1:8080/v1/token";

struct ProofKey(rcgen::KeyPair);

impl ProofKey {
    fn new() -> Self {
        Self(rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap())
    }

    fn jwk(&self) -> Value {
        let point = self.0.public_key_raw();
        json!({ "kty": "EC", "crv": "P-256", "x": URL_SAFE_NO_PAD.encode(&point[1..33]), "y": URL_SAFE_NO_PAD.encode(&point[33..]) })
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let text = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
        let der = self.0.serialize_der();
        let key = jsonwebtoken::EncodingKey::from_ec_der(&der);
        let signature = jsonwebtoken::crypto::sign(text.as_bytes(), &key, jsonwebtoken::Algorithm::ES256).unwrap();
        format!("{text}.{signature}")
    }

    fn proof(&self, change: impl FnOnce(&mut Value, &mut Value)) -> String {
        let now = Timestamp(crate::world::NOON).seconds();
        let mut header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk() });
        let mut claims = json!({ "htm": "POST", "htu": ADDRESS, "iat": now, "jti": "a-proof-of-its-own" });
        change(&mut header, &mut claims);
        self.sign(&header, &claims)
    }
}

#[test]
fn a_dpop_proof_is_for_one_request_of_now() {
    let (key, now) = (ProofKey::new(), Timestamp(crate::world::NOON));
    let verify = |proof: &str| DpopProof::verify(proof, "POST", ADDRESS, now).map_err(|error| error.public);
    let good = verify(&key.proof(|_, _| {})).unwrap();
    let jwk = key.jwk();
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":{},"y":{}}}"#, jwk["x"], jwk["y"]);
    assert_eq!(good.thumbprint, URL_SAFE_NO_PAD.encode(sha256(canonical)));
    // A query is no part of what is signed for; a pad at a coordinate changes no key.
    assert!(verify(&key.proof(|_, claims| claims["htu"] = format!("{ADDRESS}?x=1").into())).is_ok());
    let padded = key.proof(|header, _| header["jwk"]["x"] = format!("{}=", jwk["x"].as_str().unwrap()).into());
    assert_eq!(verify(&padded).unwrap().thumbprint, good.thumbprint);
    // One in 256 keys has a coordinate that begins with a zero, which the AWS CLI leaves out.
    let short = std::iter::repeat_with(ProofKey::new)
        .find(|key| URL_SAFE_NO_PAD.decode(key.jwk()["x"].as_str().unwrap()).unwrap()[0] == 0);
    let short = short.unwrap();
    let x = URL_SAFE_NO_PAD.decode(short.jwk()["x"].as_str().unwrap()).unwrap();
    let whole = verify(&short.proof(|_, _| {})).unwrap();
    let cut = short.proof(|header, _| header["jwk"]["x"] = URL_SAFE_NO_PAD.encode(&x[1..]).into());
    assert_eq!(verify(&cut).unwrap().thumbprint, whole.thumbprint);

    type Change = fn(&mut Value, &mut Value);
    let cases: [(&str, Change); 15] = [
        ("dpop+jwt", |header, _| header["typ"] = "JWT".into()),
        ("dpop+jwt", |header, _| header["crit"] = json!(["x"])),
        ("not ES256", |header, _| header["alg"] = "none".into()),
        ("not ES256", |header, _| header["alg"] = "HS256".into()),
        ("no key", |header, _| header["jwk"] = Value::Null),
        ("private key", |header, _| header["jwk"]["d"] = "x".into()),
        ("not on P-256", |header, _| header["jwk"]["crv"] = "P-384".into()),
        ("can't be read", |header, _| header["jwk"]["x"] = "A".repeat(46).into()),
        ("can't be read", |header, _| header["jwk"]["x"] = "".into()),
        ("signature", |header, _| header["jwk"] = ProofKey::new().jwk()),
        ("another method", |_, claims| claims["htm"] = "GET".into()),
        ("it is not for", |_, claims| claims["htu"] = "http://127.0.0.1:8080/token".into()),
        ("not made now", |_, claims| claims["iat"] = (claims["iat"].as_i64().unwrap() - MAX_SKEW_SECONDS - 1).into()),
        ("not made now", |_, claims| claims["iat"] = (claims["iat"].as_i64().unwrap() + MAX_SKEW_SECONDS + 1).into()),
        ("jti", |_, claims| claims["jti"] = "short".into()),
    ];
    for (why, change) in cases {
        let refused = verify(&key.proof(change)).unwrap_err();
        assert!(refused.contains(why), "{why}: {refused}");
    }
    let twice = URL_SAFE_NO_PAD.encode(r#"{"typ":"dpop+jwt","alg":"ES256","alg":"ES256"}"#);
    for malformed in ["", "a.b", "a.b.c.d", &format!("{twice}.e30.x"), &"x".repeat(5000)] {
        assert!(verify(malformed).unwrap_err().contains("compact JWT"), "{malformed}");
    }
}

proptest! {
    #[test]
    fn no_text_and_no_change_of_a_proof_is_one(text in "\\PC{0,80}", at in any::<prop::sample::Index>(), letter in "[A-Za-z0-9_.-]") {
        let verify = |proof: &str| DpopProof::verify(proof, "POST", ADDRESS, Timestamp(crate::world::NOON));
        prop_assert!(verify(&text).is_err());
        let proof = ProofKey::new().proof(|_, _| {});
        let at = at.index(proof.len());
        let changed = format!("{}{letter}{}", &proof[..at], &proof[at + 1..]);
        prop_assert!(changed == proof || verify(&changed).is_err(), "{changed}");
    }
}

#[tokio::test]
async fn a_dpop_proof_is_good_once() {
    let world = World::demo().await;
    let token = login(&world, "key").await.unwrap();
    let refresh = async |proof: &str, token: &str| {
        let fields = json!({ "clientId": SAME_DEVICE, "grantType": "refresh_token", "refreshToken": token });
        world.caller(shown("key", proof)).call(read::<CreateOAuth2Token>(fields)).await
    };
    // What leads nowhere uses nothing up: nothing is kept for strangers.
    refresh("proof", "made up").await.unwrap_err();
    let next = refresh("proof", token.refresh_token.expose()).await.unwrap();
    for token in [&token, &next] {
        assert!(refresh("proof", token.refresh_token.expose()).await.unwrap_err().public.contains("shown before"));
    }
    refresh("another", next.refresh_token.expose()).await.unwrap();
}

#[tokio::test]
async fn a_dpop_proof_comes_alone_and_to_the_sign_in_service() {
    let world = World::demo().await;
    let proof = ProofKey::new().proof(|_, _| {});
    let ask = async |proofs: &[&str], service: &str| {
        let headers: Vec<(&str, &str)> = proofs.iter().map(|proof| ("dpop", *proof)).collect();
        let request = HttpRequest { method: "POST", path: "/v1/token", query: "", headers: &headers, body: b"" };
        world.gateway.authenticate(request, service, world.clock.now()).await
    };
    assert!(matches!(ask(&[&proof], "sts").await, Ok(Principal::Anonymous)), "other services know no such keys");
    assert!(ask(&[&proof, &proof], "signin").await.unwrap_err().public.contains("more than one"));
    assert!(matches!(ask(&[&proof], "signin").await, Ok(Principal::DpopKey(_))));
}
