//! OpenID Connect sign-in against a provider that does what `tests/data/oidc/provider.json` says: valid forms, and
//! misbehaviours of its tokens, keys, endpoints and discovery.
//!
//! In texts these words are replaced: `{issuer}`, `{nonce}`, `{at_hash}`, `{now+60}` (seconds; a member that is nothing else
//! becomes a number), `{stranger-jwk}` (an object), `{1000*x}`.

use crate::world::{FrozenClock, World};
use aws_lc_rs::{digest, hmac};
use axum::{
    Router,
    extract::{Path, RawForm, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use daypass::{
    api::{
        directory::{CreateUser as CreateLocalUser, DeleteUser, SearchUsers},
        scim::{CreateGroup, CreateUser, PatchUser},
        sign_out::{BackChannelLogout, SignOut},
        signin::{Answer, BeginSignIn, CompleteSignIn},
        sso::GetRoleCredentials,
        sts::GetCallerIdentity,
    },
    cli::apply::parse,
    domain::{
        Clock as _, Error, ErrorKind, Secret,
        directory::TokenScope,
        iam::ProviderKind,
        session::{PortalSession, Principal},
    },
    federation::{Arrival, Departure, oidc::Callback},
    signin::step::Continuation,
};
use jsonwebtoken::{
    Algorithm, EncodingKey,
    jwk::{AlgorithmParameters, Jwk},
};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::{
    collections::HashMap,
    fs,
    sync::{Arc, LazyLock, Mutex},
};

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Case {
    name: String,
    /// Code of the refusal, `unreachable`, or empty for what must be accepted.
    refused: String,
    /// What the ID token is signed with; the kid is its name.
    algorithm: String,
    /// `none`, `garbage`, `empty`, `zeros`, `stranger`, `payload-changed`, `hmac-public-key`, `hmac-secret`.
    signature: String,
    /// `json`, `jwe`, `two-parts`, `dots`, `huge`.
    form: String,
    header: Map<String, Value>,
    raw_header: Option<String>,
    token: Map<String, Value>,
    raw_payload: Option<String>,
    /// Changes to the answer of the token endpoint.
    answer: Map<String, Value>,
    status: Option<u16>,
    location: Option<String>,
    body: Option<String>,
    userinfo: Map<String, Value>,
    userinfo_body: Option<String>,
    userinfo_status: Option<u16>,
    discovery: Map<String, Value>,
    discovery_body: Option<String>,
    discovery_status: Option<u16>,
    /// `extra`, `only`, `use`, `alg`, `weak`, `none`, `oct`, `status`, `body`.
    keys: Map<String, Value>,
    /// Parameters of the callback; null removes.
    callback: Map<String, Value>,
    /// More settings of the source.
    settings: Map<String, Value>,
    /// The first look at the keys shows others.
    rotate: bool,
}

struct SigningKey {
    algorithm: Algorithm,
    key: EncodingKey,
    jwk: Value,
}

fn signing_key(name: &str, pair: &rcgen::KeyPair, algorithm: Algorithm) -> SigningKey {
    let der = pair.serialize_der();
    let key = match algorithm {
        Algorithm::RS256 | Algorithm::RS384 | Algorithm::PS256 => {
            EncodingKey::from_rsa_pem(crate::idp::pem(&der).as_bytes()).unwrap()
        }
        Algorithm::EdDSA => EncodingKey::from_ed_pem(crate::idp::pem(&der).as_bytes()).unwrap(),
        _ => EncodingKey::from_ec_pem(crate::idp::pem(&der).as_bytes()).unwrap(),
    };
    let jwk = match algorithm {
        Algorithm::EdDSA => {
            json!({ "kty": "OKP", "crv": "Ed25519", "kid": name, "x": URL_SAFE_NO_PAD.encode(pair.public_key_raw()) })
        }
        _ => {
            let mut jwk = Jwk::from_encoding_key(&key, algorithm).unwrap();
            jwk.common.key_id = Some(name.to_owned());
            serde_json::to_value(jwk).unwrap()
        }
    };
    SigningKey { algorithm, key, jwk }
}

static KEYS: LazyLock<HashMap<&'static str, SigningKey>> = LazyLock::new(|| {
    let rsa = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let stranger = rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let pair = |algorithm| rcgen::KeyPair::generate_for(algorithm).unwrap();
    [
        ("RS256", signing_key("RS256", &rsa, Algorithm::RS256)),
        ("RS384", signing_key("RS384", &rsa, Algorithm::RS384)),
        ("PS256", signing_key("PS256", &rsa, Algorithm::PS256)),
        ("ES256", signing_key("ES256", &pair(&rcgen::PKCS_ECDSA_P256_SHA256), Algorithm::ES256)),
        ("ES384", signing_key("ES384", &pair(&rcgen::PKCS_ECDSA_P384_SHA384), Algorithm::ES384)),
        ("EdDSA", signing_key("EdDSA", &pair(&rcgen::PKCS_ED25519), Algorithm::EdDSA)),
        ("stranger", signing_key("stranger", &stranger, Algorithm::RS256)),
    ]
    .into()
});

type Later = Result<Map<String, Value>, (u16, &'static str)>;

/// The provider: every case is an issuer of its own, `<address>/<number>`.
struct Provider {
    address: String,
    clock: Arc<FrozenClock>,
    cases: Vec<Case>,
    /// Of the running sign-in.
    nonce: Mutex<String>,
    looks: Mutex<HashMap<usize, usize>>,
    /// What refresh tokens lead to: claims that have changed, or an error with its status.
    later: Mutex<Later>,
    /// What the token endpoint was sent last.
    last: Mutex<(HeaderMap, HashMap<String, String>)>,
}

impl Provider {
    async fn start(clock: Arc<FrozenClock>, cases: Vec<Case>) -> Arc<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = Arc::new(Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            clock,
            cases,
            nonce: Mutex::default(),
            looks: Mutex::default(),
            later: Mutex::new(Ok(Map::new())),
            last: Mutex::default(),
        });
        let router = Router::new()
            .route("/{case}/.well-known/openid-configuration", get(discovery))
            .route("/{case}/keys", get(keys))
            .route("/{case}/token", post(token))
            .route("/{case}/me", get(userinfo))
            .with_state(provider.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        provider
    }

    fn issuer(&self, case: usize) -> String {
        format!("{}/{case}", self.address)
    }

    fn words(&self, case: usize, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some(start) = rest.find('{') {
            let Some(end) = rest[start..].find('}').map(|end| end + start) else { break };
            let word = &rest[start + 1..end];
            let new = if word == "issuer" {
                Some(self.issuer(case))
            } else if word == "nonce" {
                Some(self.nonce.lock().unwrap().clone())
            } else if word == "at_hash" {
                let hash = digest::digest(&digest::SHA256, b"access");
                Some(URL_SAFE_NO_PAD.encode(&hash.as_ref()[..16]))
            } else if let Some(seconds) = word.strip_prefix("now") {
                seconds
                    .parse::<i64>()
                    .ok()
                    .or(seconds.is_empty().then_some(0))
                    .map(|s| (self.clock.now().seconds() + s).to_string())
            } else {
                word.split_once('*').and_then(|(count, text)| Some(text.repeat(count.parse().ok()?)))
            };
            match new {
                Some(new) => {
                    out.push_str(&rest[..start]);
                    out.push_str(&new);
                    rest = &rest[end + 1..];
                }
                None => {
                    out.push_str(&rest[..=start]);
                    rest = &rest[start + 1..];
                }
            }
        }
        out + rest
    }

    /// Changes members: null removes, a word that is a time becomes a number.
    fn change(&self, case: usize, target: &mut Value, changes: &Map<String, Value>) {
        let members = target.as_object_mut().unwrap();
        for (name, value) in changes {
            match value {
                Value::Null => {
                    members.remove(name);
                }
                Value::String(text) if text == "{stranger-jwk}" => {
                    members.insert(name.clone(), KEYS["stranger"].jwk.clone());
                }
                Value::String(text) => {
                    let new = self.words(case, text);
                    let number = new.parse::<i64>().ok().filter(|_| text.starts_with("{now"));
                    members.insert(name.clone(), number.map_or(Value::String(new), Value::from));
                }
                other => {
                    members.insert(name.clone(), other.clone());
                }
            }
        }
    }

    fn id_token(&self, number: usize, later: Map<String, Value>) -> String {
        let case = &self.cases[number];
        let name = if case.algorithm.is_empty() { "RS256" } else { case.algorithm.as_str() };
        let key = &KEYS[name];
        let mut header = json!({ "alg": format!("{:?}", key.algorithm), "kid": name, "typ": "JWT" });
        self.change(number, &mut header, &case.header);
        let now = self.clock.now().seconds();
        let mut claims = json!({
            "iss": self.issuer(number), "sub": "jane", "aud": "client", "exp": now + 300, "iat": now,
            "nonce": *self.nonce.lock().unwrap(), "name": "Jane Doe", "groups": ["admins"], "sid": "sid-1",
        });
        self.change(number, &mut claims, &case.token);
        self.change(number, &mut claims, &later);
        let text =
            |raw: &Option<String>, value: &Value| raw.as_ref().map_or_else(|| value.to_string(), |raw| self.words(number, raw));
        let header = URL_SAFE_NO_PAD.encode(text(&case.raw_header, &header));
        let payload = match case.form.as_str() {
            "huge" => URL_SAFE_NO_PAD.encode(format!("{{\"x\":\"{}\"}}", "x".repeat(1_500_000))),
            _ => URL_SAFE_NO_PAD.encode(text(&case.raw_payload, &claims)),
        };
        let input = format!("{header}.{payload}");
        let sign = |key: &SigningKey| jsonwebtoken::crypto::sign(input.as_bytes(), &key.key, key.algorithm).unwrap();
        let hmac = |secret: &[u8]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
            URL_SAFE_NO_PAD.encode(hmac::sign(&key, input.as_bytes()))
        };
        let signature = match case.signature.as_str() {
            "" => sign(key),
            "stranger" => sign(&KEYS["stranger"]),
            "none" | "empty" => String::new(),
            "garbage" => URL_SAFE_NO_PAD.encode([7; 256]),
            "zeros" => URL_SAFE_NO_PAD.encode([0; 64]),
            "hmac-secret" => hmac(b"secret"),
            "hmac-public-key" => hmac(KEYS["RS256"].jwk["n"].as_str().unwrap().as_bytes()),
            "payload-changed" => {
                let changed = claims.to_string().replace("jane", "root");
                return format!("{header}.{}.{}", URL_SAFE_NO_PAD.encode(changed), sign(key));
            }
            other => panic!("there is no signature `{other}`"),
        };
        match case.form.as_str() {
            "json" => json!({ "payload": payload, "protected": header, "signature": signature }).to_string(),
            "jwe" => format!("{header}.AA.AA.AA.AA"),
            "two-parts" => input,
            "dots" => format!("{input}.{signature}..."),
            _ => format!("{input}.{signature}"),
        }
    }

    fn jwks(&self, number: usize, look: usize) -> Value {
        let case = &self.cases[number];
        if case.keys.contains_key("none") {
            return json!({ "keys": [] });
        }
        let mut names: Vec<&str> = vec!["RS256", "RS384", "PS256", "ES256", "ES384", "EdDSA"];
        if let Some(only) = case.keys.get("only") {
            names.retain(|name| *name == only.as_str().unwrap());
        }
        if case.rotate && look == 0 {
            names.retain(|name| *name == "EdDSA");
        }
        let mut list: Vec<Value> = names.iter().map(|name| KEYS[name].jwk.clone()).collect();
        if let Some(Value::Object(extra)) = case.keys.get("extra") {
            list.insert(0, Value::Object(extra.clone()));
        }
        if case.keys.contains_key("oct") {
            list.push(json!({ "kty": "oct", "kid": "oct", "k": "c2VjcmV0" }));
        }
        for key in &mut list {
            for name in ["use", "alg"] {
                if let Some(value) = case.keys.get(name) {
                    key[name] = value.clone();
                }
            }
            if case.keys.contains_key("weak") && key["kid"] == "RS256" {
                *key = weak_key();
            }
        }
        json!({ "keys": list })
    }
}

/// RSA of 1024 bits.
fn weak_key() -> Value {
    use x509_parser::prelude::FromDer as _;
    let text = include_str!("../data/saml/weak-rsa.pem").split_once("-----BEGIN CERTIFICATE-----").unwrap().1;
    let body: String = text.lines().take_while(|line| !line.starts_with("-----END")).collect();
    let der = STANDARD.decode(body).unwrap();
    let (_, certificate) = x509_parser::certificate::X509Certificate::from_der(&der).unwrap();
    let Ok(x509_parser::public_key::PublicKey::RSA(key)) = certificate.public_key().parsed() else { panic!("an RSA key") };
    let number = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes.iter().copied().skip_while(|b| *b == 0).collect::<Vec<_>>());
    json!({ "kty": "RSA", "kid": "RS256", "n": number(key.modulus), "e": number(key.exponent) })
}

async fn discovery(State(provider): State<Arc<Provider>>, Path(number): Path<usize>) -> Response {
    let case = &provider.cases[number];
    let issuer = provider.issuer(number);
    let mut document = json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/auth"), "token_endpoint": format!("{issuer}/token"),
        "jwks_uri": format!("{issuer}/keys"), "userinfo_endpoint": format!("{issuer}/me"),
        "end_session_endpoint": format!("{issuer}/end"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256", "HS256", "none"],
    });
    provider.change(number, &mut document, &case.discovery);
    let body = case.discovery_body.as_ref().map_or_else(|| document.to_string(), |body| provider.words(number, body));
    answer(case.discovery_status, body)
}

fn answer(status: Option<u16>, body: String) -> Response {
    let status = StatusCode::from_u16(status.unwrap_or(200)).unwrap();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn keys(State(provider): State<Arc<Provider>>, Path(number): Path<usize>) -> Response {
    let case = &provider.cases[number];
    let look = {
        let mut looks = provider.looks.lock().unwrap();
        let look = looks.entry(number).or_default();
        *look += 1;
        *look - 1
    };
    let status = case.keys.get("status").and_then(Value::as_u64).map(|status| u16::try_from(status).unwrap());
    let body = case.keys.get("body").and_then(Value::as_str).map(|body| provider.words(number, body));
    answer(status, body.unwrap_or_else(|| provider.jwks(number, look).to_string()))
}

async fn token(
    State(provider): State<Arc<Provider>>,
    Path(number): Path<usize>,
    headers: HeaderMap,
    RawForm(form): RawForm,
) -> Response {
    let case = &provider.cases[number];
    let form: HashMap<String, String> = url::form_urlencoded::parse(&form).into_owned().collect();
    let refreshed = form["grant_type"] == "refresh_token";
    let later = match provider.later.lock().unwrap().clone() {
        Ok(later) if refreshed => later,
        Err((status, body)) if refreshed => return answer(Some(status), body.to_owned()),
        _ => Map::new(),
    };
    *provider.last.lock().unwrap() = (headers, form);
    let mut body = json!({ "access_token": "access", "token_type": "Bearer", "id_token": provider.id_token(number, later) });
    provider.change(number, &mut body, &case.answer);
    let body = case.body.as_ref().map_or_else(|| body.to_string(), |body| provider.words(number, body));
    let mut response = answer(case.status, body);
    if let Some(location) = &case.location {
        response.headers_mut().insert(header::LOCATION, location.parse().unwrap());
    }
    response
}

async fn userinfo(State(provider): State<Arc<Provider>>, Path(number): Path<usize>) -> Response {
    let case = &provider.cases[number];
    let mut body = json!({ "sub": "jane", "email": "jane@corp.test", "email_verified": true });
    provider.change(number, &mut body, &case.userinfo);
    answer(case.userinfo_status, case.userinfo_body.clone().unwrap_or_else(|| body.to_string()))
}

fn organization(provider: &Provider) -> Value {
    let sources: Vec<Value> = provider
        .cases
        .iter()
        .enumerate()
        .map(|(number, case)| {
            let mut source = json!({
                "name": format!("c{number}"), "type": "oidc", "issuer": provider.issuer(number), "client_id": "client",
                "client_secret": "secret",
            });
            for (name, value) in &case.settings {
                source[name] = value.clone();
            }
            source
        })
        .collect();
    json!({
        "organization": { "name": "Corp", "management_account": "111122223333" },
        "accounts": [{ "id": "111122223333", "name": "m" }],
        "identity_sources": sources,
    })
}

async fn world(cases: Vec<Case>) -> (World, Arc<Provider>) {
    let world = World::empty().await;
    let provider = Provider::start(world.clock.clone(), cases).await;
    let file = serde_json::from_value(organization(&provider)).unwrap();
    world.apply(file, false).await.unwrap();
    (world, provider)
}

async fn sign_in(world: &World, provider: &Provider, number: usize) -> Result<PortalSession, Error> {
    let case = &provider.cases[number];
    let source = format!("c{number}");
    let begin = BeginSignIn { source: source.clone(), continuation: Continuation::Portal, binding: Secret::new("b".to_owned()) };
    let begun = world.nobody().call(begin).await?;
    let Departure::Redirect(url) = &begun.departure else { panic!("{:?}", begun.departure) };
    let sent: HashMap<String, String> = url.query_pairs().into_owned().collect();
    assert_eq!(sent["state"], begun.handle);
    provider.nonce.lock().unwrap().clone_from(&sent["nonce"]);
    if case.rotate {
        world.clock.advance(31);
    }
    let mut callback = json!({ "code": "code" });
    provider.change(number, &mut callback, &case.callback);
    let text = |name: &str| callback.get(name).and_then(Value::as_str).map(str::to_owned);
    let callback = Callback { code: text("code").map(Secret::new), error: text("error"), iss: text("iss") };
    let answer = Answer::Direct { handle: begun.handle, arrival: Arrival::Oidc(callback) };
    let complete = CompleteSignIn { source: Some(source), binding: Some(Secret::new("b".to_owned())), answer, reset: None };
    world.nobody().call(complete).await.map(|completed| completed.session().unwrap())
}

fn code(error: &Error) -> String {
    assert_ne!(error.kind, ErrorKind::Internal, "{error:?}");
    if error.kind == ErrorKind::IdentityProviderUnreachable {
        return "unreachable".to_owned();
    }
    error.private.as_deref().unwrap_or_default().split(':').next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_provider_that_behaves_signs_people_in_and_one_that_does_not_signs_in_nobody() {
    let text = fs::read_to_string("tests/data/oidc/provider.json").unwrap();
    let cases: Vec<Case> = serde_json::from_str(&text).unwrap();
    assert!(cases.iter().filter(|case| !case.refused.is_empty()).count() >= 40);
    let (world, provider) = world(cases).await;
    let mut failures = Vec::new();
    for (number, case) in provider.cases.iter().enumerate() {
        match (sign_in(&world, &provider, number).await, case.refused.as_str()) {
            (Ok(session), "") => {
                let identity = &session.identity;
                let groups = format!("{}:groups", provider.issuer(number).trim_start_matches("http://"));
                let whole = identity.subject == "jane" && identity.claims.get(&groups).is_some_and(|g| g == &["admins"]);
                if !whole {
                    failures.push(format!("{}: signed in as {identity:?}", case.name));
                }
            }
            (Ok(session), _) => failures.push(format!("{}: signed in as {}", case.name, session.identity.subject)),
            (Err(error), expected) => {
                let got = code(&error);
                if got != expected {
                    failures.push(format!("{}: expected `{expected}`, got `{got}`: {:?}", case.name, error.private));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{} of {}:\n{}", failures.len(), provider.cases.len(), failures.join("\n"));
}

fn cases(settings: &[Value]) -> Vec<Case> {
    settings.iter().map(|settings| Case { settings: settings.as_object().unwrap().clone(), ..Case::default() }).collect()
}

/// The client shows that it is itself in each of the ways, and the code is bound to it.
#[tokio::test]
async fn every_client_authentication_reaches_the_token_endpoint() {
    let settings = [
        json!({ "client_authentication": "client_secret_basic" }),
        json!({ "client_authentication": "client_secret_post" }),
        json!({ "client_authentication": "private_key_jwt" }),
        json!({ "client_authentication": "none" }),
    ];
    let (world, provider) = world(cases(&settings)).await;
    for number in 0..settings.len() {
        sign_in(&world, &provider, number).await.unwrap();
        let (headers, form) = provider.last.lock().unwrap().clone();
        assert_eq!(form["code"], "code");
        assert!(form["code_verifier"].len() >= 43);
        let basic = headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        match number {
            0 => assert_eq!(basic, Some(format!("Basic {}", STANDARD.encode("client:secret")))),
            1 => assert_eq!((basic, form["client_secret"].as_str()), (None, "secret")),
            2 => {
                assert!(basic.is_none() && !form.contains_key("client_secret"));
                let key = world.gateway.broker.store.client_key().await.unwrap();
                let keys = key.public();
                let AlgorithmParameters::EllipticCurve(_) = keys.keys[0].algorithm else { panic!("P-256") };
                let key = jsonwebtoken::DecodingKey::from_jwk(&keys.keys[0]).unwrap();
                let mut validation = jsonwebtoken::Validation::new(Algorithm::ES256);
                (validation.validate_exp, validation.validate_aud) = (false, false);
                let claims = jsonwebtoken::decode::<Value>(&form["client_assertion"], &key, &validation).unwrap().claims;
                assert_eq!((claims["aud"].as_str(), claims["sub"].as_str()), (Some(provider.issuer(2).as_str()), Some("client")));
            }
            _ => assert!(basic.is_none() && !form.contains_key("client_secret") && !form.contains_key("client_assertion")),
        }
    }
}

/// With a refresh token, claims follow the provider: a group that was left, a person who was let go.
#[tokio::test]
async fn claims_are_asked_for_anew_while_a_session_lasts() {
    let mut list = cases(&[json!({ "scopes": ["profile", "offline_access"], "refresh_seconds": 60 })]);
    list[0].answer = json!({ "refresh_token": "r1" }).as_object().unwrap().clone();
    let (world, provider) = world(list).await;
    let session = sign_in(&world, &provider, 0).await.unwrap();
    let key = format!("{}:groups", provider.issuer(0).trim_start_matches("http://"));
    let groups = async || match world.gateway.person(session.clone()).await.unwrap() {
        Principal::Person(person) => person.identity.claims.get(&key).cloned().unwrap_or_default(),
        other => panic!("{other:?}"),
    };
    *provider.later.lock().unwrap() = Ok(json!({ "groups": ["staff"], "nonce": null }).as_object().unwrap().clone());
    assert_eq!(groups().await, ["admins"], "fresh enough");
    world.clock.advance(60);
    assert_eq!(groups().await, ["staff"]);
    assert_eq!(provider.last.lock().unwrap().1["refresh_token"], "r1");

    *provider.later.lock().unwrap() = Err((503, "down"));
    world.clock.advance(60);
    assert_eq!(groups().await, ["staff"], "a provider that is down takes nothing away");
    *provider.later.lock().unwrap() = Ok(json!({ "sub": "root", "nonce": null }).as_object().unwrap().clone());
    world.clock.advance(60);
    assert!(world.gateway.person(session.clone()).await.is_err(), "somebody else is nobody");

    let session = sign_in(&world, &provider, 0).await.unwrap();
    *provider.later.lock().unwrap() = Err((400, r#"{"error":"invalid_grant"}"#));
    world.clock.advance(60);
    assert_eq!(world.gateway.person(session.clone()).await.unwrap_err().kind, ErrorKind::InvalidBearer, "let go");
    *provider.later.lock().unwrap() = Ok(Map::new());
    assert!(world.gateway.person(session).await.is_err(), "and it stays so");
}

/// Claims become what the administrator mapped them to.
#[tokio::test]
async fn attributes_tags_and_the_subject_are_mapped() {
    let mut list = cases(&[
        json!({ "attributes": { "email": "upn", "team": "realm/team" }, "tags": { "Cost": "cost" }, "subject": "oid" }),
        json!({ "subject": "oid" }),
        json!({ "tags": { "Cost": "groups" } }),
    ]);
    let token = json!({ "oid": "0-1", "upn": "jane@corp.test", "cost": "42", "realm": { "team": "blue" } });
    list[0].token = token.as_object().unwrap().clone();
    list[2].token = json!({ "groups": ["a", "b"] }).as_object().unwrap().clone();
    let (world, provider) = world(list).await;
    let session = sign_in(&world, &provider, 0).await.unwrap();
    let issuer = provider.issuer(0).trim_start_matches("http://").to_owned();
    assert_eq!(session.identity.subject, "0-1");
    assert_eq!(session.identity.email.as_deref(), Some("jane@corp.test"));
    assert_eq!(session.identity.claims[&format!("{issuer}:team")], ["blue"]);
    assert_eq!(session.identity.tags.get("Cost"), Some("42"));
    assert_eq!(code(&sign_in(&world, &provider, 1).await.unwrap_err()), "subject_blank", "no silent fallback to sub");
    assert_eq!(code(&sign_in(&world, &provider, 2).await.unwrap_err()), "attribute_malformed", "a tag has one value");
}

#[tokio::test]
async fn the_provider_ends_sessions_through_the_back_channel_and_hears_of_ours() {
    let (world, provider) = world(cases(&[json!({})])).await;
    let stands = async |session: &PortalSession| world.gateway.person(session.clone()).await.is_ok();
    let logout = |changes: Value| {
        let now = world.clock.now().seconds();
        let mut claims = json!({
            "iss": provider.issuer(0), "aud": "client", "iat": now, "exp": now + 120, "jti": changes.to_string(),
            "events": { "http://schemas.openid.net/event/backchannel-logout": {} },
        });
        provider.change(0, &mut claims, changes.as_object().unwrap());
        let mut header = jsonwebtoken::Header::new(Algorithm::RS256);
        header.kid = Some("RS256".to_owned());
        header.typ = Some("logout+jwt".to_owned());
        jsonwebtoken::encode(&header, &claims, &KEYS["RS256"].key).unwrap()
    };
    let send = async |token: String| {
        let wish = BackChannelLogout { source: "c0".to_owned(), logout_token: Secret::new(token) };
        world.nobody().call(wish).await
    };
    let session = sign_in(&world, &provider, 0).await.unwrap();
    let refused = [
        (json!({}), "logout_token_invalid"),
        (json!({ "sub": "jane", "nonce": "x" }), "logout_token_invalid"),
        (json!({ "sub": "jane", "events": {} }), "logout_token_invalid"),
        (json!({ "sub": "jane", "aud": "other" }), "audience_wrong"),
        (json!({ "sub": "jane", "iss": "https://evil" }), "logout_token_invalid"),
        (json!({ "sub": "jane", "iat": "{now-300}" }), "message_too_old"),
        (json!({ "sub": "jane", "jti": null }), "logout_token_invalid"),
        (json!({ "sub": "jane", "exp": "{now-100}" }), "logout_token_invalid"),
    ];
    for (changes, expected) in refused {
        assert_eq!(code(&send(logout(changes.clone())).await.unwrap_err()), expected, "{changes}");
    }
    send(logout(json!({ "sid": "another" }))).await.unwrap();
    assert!(stands(&session).await);
    let token = logout(json!({ "sid": "sid-1" }));
    send(token.clone()).await.unwrap();
    assert!(!stands(&session).await, "the session that the provider named");
    assert_eq!(code(&send(token).await.unwrap_err()), "message_replayed");
    world.clock.advance(1);
    let session = sign_in(&world, &provider, 0).await.unwrap();
    send(logout(json!({ "sub": "jane" }))).await.unwrap();
    assert!(!stands(&session).await, "all of the person's");

    world.clock.advance(1);
    let session = sign_in(&world, &provider, 0).await.unwrap();
    let person = world.caller(Principal::Person(Arc::new(session.clone())));
    let Some(Departure::Redirect(target)) = person.call(SignOut {}).await.unwrap().departure else { panic!("nothing") };
    assert!(target.as_str().starts_with(&format!("{}/end?", provider.issuer(0))));
    let fields: HashMap<String, String> = target.query_pairs().into_owned().collect();
    assert_eq!(fields["post_logout_redirect_uri"], "http://127.0.0.1:8080/signed-out");
    assert_eq!(fields["id_token_hint"].matches('.').count(), 2);
    assert!(!stands(&session).await);
}

/// Well-known providers need little more than a client.
#[tokio::test]
async fn well_known_providers_are_spelled_out() {
    let world = World::empty().await;
    let organization = "[organization]\nname = \"C\"\nmanagement_account = \"111122223333\"\n[[accounts]]\nid = \"111122223333\"\nname = \"m\"\n";
    for (lines, issuer) in [
        ("type = \"entra\"\ntenant = \"8f4c\"", "https://login.microsoftonline.com/8f4c/v2.0"),
        ("type = \"google\"", "https://accounts.google.com"),
        ("type = \"okta\"\ndomain = \"corp.okta.com\"", "https://corp.okta.com"),
        ("type = \"keycloak\"\nurl = \"https://sso.corp.test/\"\nrealm = \"corp\"", "https://sso.corp.test/realms/corp"),
        ("type = \"auth0\"\ndomain = \"corp.eu.auth0.com\"", "https://corp.eu.auth0.com/"),
        ("type = \"github\"", "https://github.com"),
        ("type = \"facebook\"", "https://graph.facebook.com"),
    ] {
        let text =
            format!("{organization}[[identity_sources]]\nname = \"x\"\nclient_id = \"client\"\nclient_secret = \"s\"\n{lines}\n");
        world.apply(parse(&text, "toml").unwrap(), true).await.unwrap();
        let source = world.gateway.snapshot().identity_source("x").cloned().unwrap();
        let ProviderKind::Oidc(oidc) = &source.kind else { panic!("{lines}") };
        assert_eq!(oidc.issuer, issuer);
        assert_eq!(oidc.oauth2.is_some(), ["github", "facebook"].iter().any(|name| lines.contains(name)));
    }
}

/// People sign in at their provider, and the directory, which SCIM fills, says whether they may, and with which groups.
#[tokio::test]
async fn the_directory_has_a_say_about_people_of_a_source_that_are_in_it() {
    let mut list = cases(&[json!({ "directory_user": "subject" }), json!({}), json!({})]);
    for case in &mut list {
        case.token = json!({ "email": "jane@corp.test", "email_verified": true }).as_object().unwrap().clone();
    }
    let world = World::empty().await;
    let provider = Provider::start(world.clock.clone(), list).await;
    let mut file = organization(&provider);
    let issuer = |number| provider.issuer(number).trim_start_matches("http://").to_owned();
    file["identity_sources"][1]["directory_user"] = format!("{}:email", issuer(1)).into();
    file["roles"] = json!([{ "account": "111122223333", "name": "Auditor", "trust_policy": {
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": { "Federated": format!("arn:aws:iam::111122223333:oidc-provider/{}", issuer(0)) },
            "Action": "sts:AssumeRoleWithWebIdentity",
            "Condition": { "ForAnyValue:StringEquals": { "directory:groups": "auditors" }, "StringEquals": { "directory:department": "R&D" } },
        }],
    } }]);
    world.apply(serde_json::from_value(file).unwrap(), false).await.unwrap();
    let scim = async |operation: Value| {
        let client = world.caller(crate::scim::provisioner(TokenScope::UsersAndGroups, false));
        let answer = match operation["id"].as_str() {
            None if operation["resource"].get("displayName").is_some() => {
                client.call(serde_json::from_value::<CreateGroup>(operation).unwrap()).await
            }
            None => client.call(serde_json::from_value::<CreateUser>(operation).unwrap()).await,
            Some(_) => client.call(serde_json::from_value::<PatchUser>(operation).unwrap()).await,
        };
        answer.unwrap().document.unwrap()["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(code(&sign_in(&world, &provider, 0).await.unwrap_err()), "directory_unknown", "nobody is in it yet");
    sign_in(&world, &provider, 2).await.unwrap();
    let enterprise = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User";
    let user = "urn:ietf:params:scim:schemas:core:2.0:User";
    let jane = scim(json!({ "resource": { "schemas": [user], "userName": "JANE", enterprise: { "department": "R&D" } } })).await;
    scim(json!({ "resource": { "schemas": [user], "userName": "jane@CORP.test" } })).await;
    let group = json!({ "schemas": ["urn:ietf:params:scim:schemas:core:2.0:Group"], "displayName": "auditors", "members": [{ "value": jane }] });
    scim(json!({ "resource": group })).await;
    assert_eq!(sign_in(&world, &provider, 1).await.unwrap().identity.claims["directory:user_name"], ["jane@CORP.test"]);

    let session = sign_in(&world, &provider, 0).await.unwrap();
    assert_eq!(session.identity.claims["directory:groups"], ["auditors"]);
    let person = world.caller(world.gateway.person(session.clone()).await.unwrap());
    let wish =
        || GetRoleCredentials { role_name: "Auditor".to_owned(), account_id: "111122223333".to_owned().try_into().unwrap() };
    let taken = person.call(wish()).await.unwrap().role_credentials;
    let role = daypass::credentials::open_role(world.gateway.broker.store.ring(), taken.session_token.expose()).unwrap();
    let role = world.caller(Principal::Session(Arc::new(role)));
    role.call(GetCallerIdentity {}).await.unwrap();
    world.clock.advance(1);
    let switch = |active: bool| json!({ "id": jane, "resource": { "Operations": [{ "op": "replace", "path": "active", "value": active }] } });
    scim(switch(false)).await;
    assert_eq!(role.call(GetCallerIdentity {}).await.unwrap_err().kind, ErrorKind::ExpiredCredentials, "live sessions end");
    assert!(world.gateway.person(session.clone()).await.is_err(), "and the portal");
    assert_eq!(code(&sign_in(&world, &provider, 0).await.unwrap_err()), "directory_unknown");
    scim(switch(true)).await;
    let back = world.gateway.person(session).await;
    assert_eq!(back.unwrap_err().kind, ErrorKind::InvalidBearer, "what was over stays over");
    world.clock.advance(1);
    let session = sign_in(&world, &provider, 0).await.unwrap();
    world.gateway.person(session.clone()).await.unwrap();
    // Another one who gets the name gets nothing of what she had.
    scim(json!({ "id": jane, "resource": { "Operations": [{ "op": "replace", "path": "userName", "value": "jane.doe" }] } }))
        .await;
    assert!(world.gateway.person(session.clone()).await.is_err(), "nobody has the name");
    scim(json!({ "resource": { "schemas": [user], "userName": "jane" } })).await;
    assert!(world.gateway.person(session).await.is_err(), "somebody else has it");
    // People made here are not for a provider to speak for.
    let root = world.root("111122223333");
    let found = root.call(SearchUsers { text: "jane".to_owned(), after: String::new() }).await.unwrap().users;
    for person in found.iter().filter(|person| person.provisioned) {
        root.call(DeleteUser { id: person.id.clone() }).await.unwrap();
    }
    let (email, display_name) = ("jane@corp.test".to_owned(), "Jane".to_owned());
    let local =
        CreateLocalUser { user_name: "jane@corp.test".to_owned().try_into().unwrap(), email, display_name, groups: Vec::new() };
    root.call(local).await.unwrap();
    assert_eq!(code(&sign_in(&world, &provider, 1).await.unwrap_err()), "directory_unknown");
}
