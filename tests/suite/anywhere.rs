//! IAM Roles Anywhere: what a certificate must be for a role, and everything that must be refused.

use crate::world::{MANAGEMENT, NOON, World};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use daypass::{
    api::{
        iam::roles::{CreateRole, UpdateAssumeRolePolicy},
        rolesanywhere::{
            anchors::{CreateTrustAnchor, DisableTrustAnchor, EnableTrustAnchor},
            profiles::{CreateProfile, DisableProfile},
            revocation_lists::ImportCrl,
            session::{CreateSession, Session},
        },
        sts::sessions::{RevokeSessions, Revoked},
    },
    credentials,
    crypto::{sha256_hex, sigv4::HttpRequest},
    domain::{Error, ErrorKind, Timestamp, name::RoleName, session::Principal},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::{SignatureScheme, pki_types::PrivateKeyDer};
use serde_json::{Value, json};
use std::sync::Arc;
use tower_sessions::cookie::time::OffsetDateTime;

/// A certificate with its key, and what its holder says in a request.
struct Workload {
    leaf: Vec<u8>,
    chain: Vec<Vec<u8>>,
    key: KeyPair,
    serial: String,
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", STANDARD.encode(der))
}

fn date(year: i32) -> OffsetDateTime {
    rcgen::date_time_ymd(year, 1, 1)
}

fn authority(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters.not_before = date(2020);
    parameters.not_after = date(2040);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

fn intermediate(name: &str, issuer: &CertifiedIssuer<'static, KeyPair>) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    parameters.not_before = date(2020);
    parameters.not_after = date(2040);
    CertifiedIssuer::signed_by(parameters, KeyPair::generate().unwrap(), issuer).unwrap()
}

fn workload(issuer: &CertifiedIssuer<'static, KeyPair>, change: impl FnOnce(&mut CertificateParams)) -> Workload {
    of_key(issuer, KeyPair::generate().unwrap(), change)
}

fn of_key(issuer: &CertifiedIssuer<'static, KeyPair>, key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Workload {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, "build-7");
    parameters.distinguished_name.push(DnType::OrganizationalUnitName, "ci");
    parameters.subject_alt_names = vec![SanType::DnsName("build-7.example.com".try_into().unwrap())];
    parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    parameters.serial_number = Some(SerialNumber::from(vec![0x4a, 0x0b, 0x17]));
    parameters.not_before = date(2026);
    parameters.not_after = date(2027);
    change(&mut parameters);
    let leaf = parameters.signed_by(&key, issuer).unwrap().der().to_vec();
    Workload { leaf, chain: Vec::new(), key, serial: "4852503".to_owned() }
}

impl Workload {
    /// The headers of `POST /sessions` at noon, signed.
    fn headers(&self, body: &str) -> Vec<(String, String)> {
        let der = PrivateKeyDer::try_from(self.key.serialize_der()).unwrap();
        let key = rustls::crypto::aws_lc_rs::sign::any_supported_type(&der).unwrap();
        let (scheme, algorithm) = match key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]) {
            Some(signer) => (signer, "AWS4-X509-RSA-SHA256"),
            None => (key.choose_scheme(&[SignatureScheme::ECDSA_NISTP256_SHA256]).unwrap(), "AWS4-X509-ECDSA-SHA256"),
        };
        let mut headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("host".to_owned(), "127.0.0.1:8080".to_owned()),
            ("x-amz-date".to_owned(), "20261124T120000Z".to_owned()),
            ("x-amz-x509".to_owned(), STANDARD.encode(&self.leaf)),
        ];
        if !self.chain.is_empty() {
            let chain: Vec<String> = self.chain.iter().map(|der| STANDARD.encode(der)).collect();
            headers.push(("x-amz-x509-chain".to_owned(), chain.join(",")));
        }
        let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let names = headers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(";");
        let canonical = format!("POST\n/sessions\n\n{lines}\n{names}\n{}", sha256_hex(body));
        let scope = "20261124/us-east-1/rolesanywhere/aws4_request";
        let text = format!("{algorithm}\n20261124T120000Z\n{scope}\n{}", sha256_hex(canonical));
        let signature = hex::encode(scheme.sign(text.as_bytes()).unwrap());
        let authorization =
            format!("{algorithm} Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", self.serial);
        headers.push(("authorization".to_owned(), authorization));
        headers
    }
}

/// An account that trusts an authority, with a role for its workloads.
struct Fixture {
    world: World,
    anchor: String,
    anchor_id: String,
    profile: String,
    profile_id: String,
}

const TRUST: &str = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Principal":{"Service":"rolesanywhere.amazonaws.com"},
    "Action":["sts:AssumeRole","sts:TagSession","sts:SetSourceIdentity"],
    "Condition":{"StringEquals":{"aws:PrincipalTag/x509Subject/OU":"ci"},"StringLike":{"aws:PrincipalTag/x509SAN/DNS":"*.example.com"}}}}"#;

impl Fixture {
    async fn new(authority: &CertifiedIssuer<'static, KeyPair>) -> Self {
        let world = World::demo().await;
        let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
        let create = CreateRole {
            role_name: RoleName::parse("Build").unwrap(),
            assume_role_policy_document: TRUST.to_owned(),
            path: None,
            description: None,
            max_session_duration: None,
        };
        admin.call(create).await.unwrap();
        let create: CreateTrustAnchor = serde_json::from_value(json!({
            "name": "corp", "enabled": true,
            "source": { "sourceType": "CERTIFICATE_BUNDLE", "sourceData": { "x509CertificateData": pem("CERTIFICATE", authority.der()) } },
        }))
        .unwrap();
        let anchor = admin.call(create).await.unwrap().trust_anchor;
        let create: CreateProfile = serde_json::from_value(json!({
            "name": "builds", "enabled": true, "roleArns": [format!("arn:aws:iam::{MANAGEMENT}:role/Build")], "durationSeconds": 7200,
        })).unwrap();
        let profile = admin.call(create).await.unwrap().profile;
        Self {
            anchor: anchor.trust_anchor_arn.to_string(),
            anchor_id: anchor.trust_anchor_id,
            profile: profile.profile_arn.to_string(),
            profile_id: profile.profile_id,
            world,
        }
    }

    fn request(&self) -> Value {
        json!({
            "roleArn": format!("arn:aws:iam::{MANAGEMENT}:role/Build"), "profileArn": self.profile, "trustAnchorArn": self.anchor,
            "durationSeconds": null,
        })
    }

    async fn ask(&self, workload: &Workload) -> Result<Session, Error> {
        self.ask_for(workload, self.request()).await
    }

    async fn ask_for(&self, workload: &Workload, request: Value) -> Result<Session, Error> {
        let body = request.to_string();
        self.send(&workload.headers(&body), &body, request).await
    }

    async fn send(&self, headers: &[(String, String)], body: &str, request: Value) -> Result<Session, Error> {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let view = HttpRequest { method: "POST", path: "/sessions", query: "", headers: &headers, body: body.as_bytes() };
        let principal = self.world.gateway.authenticate(view, "rolesanywhere", Timestamp(NOON)).await?;
        assert!(matches!(principal, Principal::Certificate(_)), "only a signature by a certificate's key gets here");
        let operation: CreateSession = serde_json::from_value(request).unwrap();
        self.world.caller(principal).call(operation).await
    }
}

#[tokio::test]
async fn a_workload_takes_its_role_with_rsa_and_with_p256_directly_and_through_an_intermediate() {
    let ca = authority("Corp CA");
    let fixture = Fixture::new(&ca).await;
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let between = intermediate("Corp Issuing CA", &ca);
    let mut through = workload(&between, |_| {});
    through.chain = vec![between.der().to_vec()];
    let mut last = None;
    for workload in [workload(&ca, |_| {}), of_key(&ca, rsa, |_| {}), through] {
        let answer = fixture.ask(&workload).await.unwrap();
        let [set] = &answer.credential_set;
        assert_eq!(set.assumed_role_user.arn.resource(), "assumed-role/Build/4a0b17");
        assert_eq!(set.source_identity.as_ref().map(ToString::to_string).as_deref(), Some("CN=build-7"));
        // The profile says two hours, the role one.
        assert_eq!(set.credentials.expiration.seconds_since(Timestamp(NOON)), 3600);
        let token = set.credentials.session_token.expose();
        let session = credentials::open_role(fixture.world.gateway.broker.store.ring(), token).unwrap();
        assert_eq!(session.tags.get("x509Subject/OU"), Some("ci"));
        assert_eq!(session.tags.get("x509SAN/DNS"), Some("build-7.example.com"));
        assert_eq!(session.person, Some(format!("trust-anchor/{}:4a0b17", fixture.anchor_id)));
        assert!(answer.subject_arn.resource().starts_with("subject/"));
        last = Some(fixture.world.caller(Principal::Session(Arc::new(session))));
    }
    {
        let (persona, admin) = (last.unwrap(), fixture.world.session(MANAGEMENT, "Administrator", &["admins"]));
        persona.call(daypass::api::sts::GetCallerIdentity {}).await.unwrap();
        let end = RevokeSessions {
            who: Revoked::Person(format!("trust-anchor/{}:4a0b17", fixture.anchor_id)),
            before: Some(Timestamp(NOON)),
        };
        admin.call(end).await.unwrap();
        let over = persona.call(daypass::api::sts::GetCallerIdentity {}).await.unwrap_err();
        assert_eq!(over.kind, ErrorKind::ExpiredCredentials);
    }
}

#[tokio::test]
async fn certificates_that_nobody_may_use_are_refused() {
    let ca = authority("Corp CA");
    let fixture = Fixture::new(&ca).await;
    let other = authority("Corp CA");
    let cases: Vec<(&str, Workload)> = vec![
        ("another authority of the same name", workload(&other, |_| {})),
        ("expired", workload(&ca, |p| p.not_after = date(2026))),
        ("not yet", workload(&ca, |p| p.not_before = date(2027))),
        ("an authority itself", workload(&ca, |p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
        ("a key for something else", workload(&ca, |p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment])),
        ("for servers only", workload(&ca, |p| p.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth])),
        ("another unit", workload(&ca, |p| p.distinguished_name.push(DnType::OrganizationalUnitName, "sales"))),
        ("an intermediate that was not sent", workload(&intermediate("Issuing", &ca), |_| {})),
    ];
    for (what, workload) in cases {
        let error = fixture.ask(&workload).await.expect_err(what);
        assert_eq!(error.kind, ErrorKind::AccessDenied, "{what}: {error:?}");
        assert!(!error.public.contains("sales"), "{what}: nothing of the reason is public");
    }
    // A workload that issues certificates of its own.
    let mine = workload(&ca, |_| {});
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(DnType::CommonName, "build-7");
    let mine_as_issuer = rcgen::Issuer::new(parameters, mine.key);
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.distinguished_name.push(DnType::OrganizationalUnitName, "ci");
    parameters.serial_number = Some(SerialNumber::from(vec![0x4a, 0x0b, 0x17]));
    parameters.subject_alt_names = vec![SanType::DnsName("x.example.com".try_into().unwrap())];
    let leaf = parameters.signed_by(&key, &mine_as_issuer).unwrap().der().to_vec();
    let child = Workload { leaf, chain: vec![mine.leaf], key, serial: mine.serial };
    assert_eq!(fixture.ask(&child).await.unwrap_err().kind, ErrorKind::AccessDenied);
}

#[tokio::test]
async fn signatures_are_of_this_request_and_of_this_certificate() {
    let ca = authority("Corp CA");
    let fixture = Fixture::new(&ca).await;
    let workload_a = workload(&ca, |_| {});
    let body = fixture.request().to_string();
    let good = workload_a.headers(&body);
    fixture.send(&good, &body, fixture.request()).await.unwrap();
    let refused = async |what: &str, headers: Vec<(String, String)>, body: &str| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let view = HttpRequest { method: "POST", path: "/sessions", query: "", headers: &headers, body: body.as_bytes() };
        let error = fixture.world.gateway.authenticate(view, "rolesanywhere", Timestamp(NOON)).await.expect_err(what);
        assert!(matches!(error.kind, ErrorKind::BadSignature | ErrorKind::IncompleteSignature), "{what}: {error:?}");
    };
    let with = |name: &str, value: &str| {
        good.iter()
            .map(|(known, old)| (known.clone(), if known == name { value.to_owned() } else { old.clone() }))
            .collect::<Vec<_>>()
    };
    refused("another body", good.clone(), &body.replace("Build", "Other")).await;
    let stolen = workload(&ca, |p| p.serial_number = Some(SerialNumber::from(vec![0x4a, 0x0b, 0x17])));
    refused("somebody else's certificate", with("x-amz-x509", &STANDARD.encode(&stolen.leaf)), &body).await;
    refused("no certificate", with("x-amz-x509", ""), &body).await;
    refused("another time", with("x-amz-date", "20261124T120001Z"), &body).await;
    refused("an old request", with("x-amz-date", "20261124T110001Z"), &body).await;
    let authorization = &good.last().unwrap().1;
    refused("another serial", with("authorization", &authorization.replace("4852503", "1")), &body).await;
    refused("another service", with("authorization", &authorization.replace("rolesanywhere", "sts")), &body).await;
    let unsigned = authorization.replace(";x-amz-x509", "");
    refused("the certificate is not signed", with("authorization", &unsigned), &body).await;
}

fn crl(number: u64) -> CertificateRevocationListParams {
    CertificateRevocationListParams {
        this_update: date(2026),
        next_update: date(2030),
        crl_number: SerialNumber::from(number),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(vec![0x4a, 0x0b, 0x17]),
            revocation_time: date(2026),
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

#[tokio::test]
async fn anchors_profiles_roles_and_revocations_each_can_close_the_door() {
    let ca = authority("Corp CA");
    let fixture = Fixture::new(&ca).await;
    let world = &fixture.world;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let job = workload(&ca, |_| {});
    fixture.ask(&job).await.unwrap();
    let denied = async |what: &str| {
        let error = fixture.ask(&job).await.expect_err(what);
        assert_eq!(error.kind, ErrorKind::AccessDenied, "{what}");
    };
    admin.call(DisableTrustAnchor { trust_anchor_id: fixture.anchor_id.clone() }).await.unwrap();
    denied("the anchor is off").await;
    admin.call(EnableTrustAnchor { trust_anchor_id: fixture.anchor_id.clone() }).await.unwrap();
    let named = json!({ "roleSessionName": "job-1" });
    let mut request = fixture.request();
    request.as_object_mut().unwrap().extend(named.as_object().unwrap().clone());
    assert_eq!(
        fixture.ask_for(&job, request).await.unwrap_err().kind,
        ErrorKind::InvalidInput,
        "the profile names sessions itself"
    );
    let mut request = fixture.request();
    request["durationSeconds"] = 43_200.into();
    let asked = fixture.ask_for(&job, request).await.unwrap_err();
    assert!(asked.public.contains("MaxSessionDuration"), "the profile says two hours, the role one: {asked}");
    let mut request = fixture.request();
    request["roleArn"] = format!("arn:aws:iam::{MANAGEMENT}:role/Administrator").into();
    assert_eq!(fixture.ask_for(&job, request).await.unwrap_err().kind, ErrorKind::AccessDenied, "a role of no profile");

    // Tags need their permission, as everywhere.
    let without = TRUST.replace("\"sts:TagSession\",", "");
    let update =
        |text: &str| UpdateAssumeRolePolicy { role_name: RoleName::parse("Build").unwrap(), policy_document: text.to_owned() };
    admin.call(update(&without)).await.unwrap();
    denied("no sts:TagSession").await;
    let elsewhere = TRUST.replace(
        "\"StringLike\"",
        "\"ArnEquals\":{\"aws:SourceArn\":\"arn:aws:rolesanywhere:us-east-1:111122223333:trust-anchor/other\"},\"StringLike\"",
    );
    admin.call(update(&elsewhere)).await.unwrap();
    denied("the role wants another anchor").await;
    admin.call(update(TRUST)).await.unwrap();
    fixture.ask(&job).await.unwrap();

    let list = crl(2);
    let list = list.signed_by(&ca).unwrap();
    let import = |data: String| ImportCrl {
        name: "corp".to_owned(),
        crl_data: data,
        trust_anchor_arn: fixture.anchor.parse_arn(),
        enabled: None,
    };
    assert_eq!(admin.call(import(STANDARD.encode("no list"))).await.unwrap_err().kind, ErrorKind::InvalidInput);
    // An older list of the same authority that says nothing yet: whichever comes first, the newer one counts too.
    let older = CertificateRevocationListParams { revoked_certs: Vec::new(), ..crl(1) }.signed_by(&ca).unwrap();
    for _ in 0..3 {
        admin.call(import(STANDARD.encode(older.der()))).await.unwrap();
    }
    fixture.ask(&job).await.unwrap();
    admin.call(import(STANDARD.encode(pem("X509 CRL", list.der())))).await.unwrap();
    denied("the authority took the certificate back").await;
    let next = workload(&ca, |p| p.serial_number = Some(SerialNumber::from(vec![0x4a, 0x0b, 0x18])));
    fixture.ask(&Workload { serial: "4852504".to_owned(), ..next }).await.unwrap();
    admin.call(DisableProfile { profile_id: fixture.profile_id.clone() }).await.unwrap();
    denied("the profile is off").await;
    let leaf = workload(&ca, |_| {});
    let bundle = pem("CERTIFICATE", &leaf.leaf);
    let create: CreateTrustAnchor = serde_json::from_value(json!({
        "name": "leaf", "source": { "sourceType": "CERTIFICATE_BUNDLE", "sourceData": { "x509CertificateData": bundle } },
    }))
    .unwrap();
    assert_eq!(admin.call(create).await.unwrap_err().kind, ErrorKind::InvalidInput, "a leaf is no authority");
}

proptest::proptest! {
    #[test]
    fn no_certificate_and_no_header_makes_the_reader_panic(
        der in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200), serial in "[0-9]{1,8}", cut in 0_usize..500, flip in 0_usize..500,
    ) {
        let ca = authority("CA");
        let mut whole = workload(&ca, |_| {}).leaf;
        if let Some(byte) = whole.get_mut(flip) {
            *byte ^= 0x41;
        }
        for leaf in [der, whole.get(..cut.min(whole.len())).unwrap().to_vec(), whole] {
            let authorization = format!(
                "AWS4-X509-ECDSA-SHA256 Credential={serial}/20261124/us-east-1/rolesanywhere/aws4_request, SignedHeaders=host;x-amz-date;x-amz-x509, Signature=3046"
            );
            let encoded = STANDARD.encode(leaf);
            let headers = [
                ("host", "h"),
                ("x-amz-date", "20261124T120000Z"),
                ("x-amz-x509", encoded.as_str()),
                ("authorization", authorization.as_str()),
            ];
            let request = HttpRequest { method: "POST", path: "/sessions", query: "", headers: &headers, body: b"" };
            let read = daypass::crypto::sigv4::CertifiedRequest::read(request).unwrap().unwrap();
            proptest::prop_assert!(daypass::crypto::x509::possession(&read, request, "rolesanywhere", Timestamp(NOON)).is_err());
        }
    }
}

trait ParseArn {
    fn parse_arn(&self) -> daypass::domain::Arn;
}
impl ParseArn for String {
    fn parse_arn(&self) -> daypass::domain::Arn {
        daypass::domain::Arn::parse(self).unwrap()
    }
}
