//! IAM users, root users and what is made with their keys.

use crate::world::{MANAGEMENT, Persona, World};
use daypass::{
    api::{
        iam::{
            access_keys::{
                CreateAccessKey, CreateRootAccessKey, DeleteAccessKey, GetAccessKeyLastUsed, KeyStatus, ListAccessKeys,
                NewAccessKey, UpdateAccessKey,
            },
            mfa::{CreateVirtualMFADevice, DeactivateMFADevice, EnableMFADevice, ListMFADevices},
            outbound::EnableOutboundWebIdentityFederation,
            roles::{CreateRole, GetRole, ListRoles, UpdateAssumeRolePolicy},
            user_policies::PutUserPolicy,
            users::{CreateUser, DeleteUser, GetUser, UpdateUser},
        },
        sts::{
            AssumeRole, GetCallerIdentity, PolicyDescriptor,
            outbound::GetWebIdentityToken,
            root::AssumeRoot,
            sessions::{RevokeSessions, Revoked},
            users::{GetFederationToken, GetSessionToken},
        },
    },
    credentials::{self, Opened},
    crypto::jose,
    domain::{
        Arn, Error, ErrorKind, Secret,
        name::{AccountId, FederatedUserName, IamUserName, PolicyName, RoleName},
        session::Principal,
        user::UserSession,
    },
    store::keys::TokenAlgorithm,
};
use serde_json::{Value, json};
use std::sync::Arc;
use totp_rs::{Builder, Secret as TotpSecret};

fn name(text: &str) -> IamUserName {
    IamUserName::parse(text).unwrap()
}

fn allow(actions: &[&str]) -> String {
    json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}}).to_string()
}

/// A user with a policy and a key.
async fn user<'w>(world: &'w World, user: &str, policy: &str) -> (NewAccessKey, Persona<'w>) {
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    admin.call(CreateUser { user_name: name(user), path: Some("/robots/".to_owned()) }).await.unwrap();
    let put = PutUserPolicy {
        user_name: name(user),
        policy_name: PolicyName::parse("all").unwrap(),
        policy_document: policy.to_owned(),
    };
    admin.call(put).await.unwrap();
    let key = admin.call(CreateAccessKey { user_name: Some(name(user)) }).await.unwrap().access_key;
    let signer = world.gateway.snapshot().access_keys[&key.access_key_id].1.clone();
    (key, world.caller(Principal::User(signer)))
}

fn opened(world: &World, token: &Secret<String>) -> UserSession {
    match credentials::open(world.gateway.broker.store.ring(), token.expose()) {
        Some(Opened::User(session)) => session,
        other => panic!("{other:?}"),
    }
}

async fn session_token<'w>(world: &'w World, caller: &Persona<'w>, request: GetSessionToken) -> Result<Persona<'w>, Error> {
    let answer = caller.call(request).await?;
    Ok(world.caller(Principal::User(Arc::new(opened(world, &answer.credentials.session_token)))))
}

const PLAIN: GetSessionToken = GetSessionToken { duration_seconds: None, serial_number: None, token_code: None };

#[tokio::test]
async fn a_user_has_at_most_two_keys_which_can_rest_and_go() {
    let world = World::demo().await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let (key, caller) = user(&world, "robot", &allow(&["iam:*"])).await;
    assert!(key.access_key_id.starts_with("AKIA"));
    let who = caller.call(GetCallerIdentity {}).await.unwrap();
    assert_eq!(who.arn.as_str(), format!("arn:aws:iam::{MANAGEMENT}:user/robots/robot"));
    assert!(who.user_id.starts_with("AIDA"));
    // Without a name it is about the caller.
    caller.call(CreateAccessKey { user_name: None }).await.unwrap();
    let third = caller.call(CreateAccessKey { user_name: None }).await.unwrap_err();
    assert_eq!((third.kind, third.public.as_str()), (ErrorKind::LimitExceeded, "Cannot exceed quota for AccessKeysPerUser: 2"));
    let of_a_role = admin.call(CreateAccessKey { user_name: None }).await.unwrap_err();
    assert_eq!(of_a_role.public, "Must specify userName when calling with non-User credentials");

    let off = UpdateAccessKey { user_name: None, access_key_id: key.access_key_id.clone(), status: KeyStatus::Inactive };
    caller.call(off).await.unwrap();
    let listed = caller.call(ListAccessKeys { user_name: None, marker: None, max_items: None }).await.unwrap();
    let status = |key: &daypass::api::iam::access_keys::AccessKeyMetadata| (key.access_key_id.clone(), key.status);
    assert!(listed.access_key_metadata.iter().map(status).any(|known| known == (key.access_key_id.clone(), KeyStatus::Inactive)));
    let early = admin.call(DeleteUser { user_name: name("robot") }).await.unwrap_err();
    assert_eq!(early.kind, ErrorKind::DeleteConflict);
    for key in listed.access_key_metadata {
        admin.call(DeleteAccessKey { user_name: Some(name("robot")), access_key_id: key.access_key_id }).await.unwrap();
    }
    let missing = DeleteAccessKey { user_name: Some(name("robot")), access_key_id: key.access_key_id };
    assert_eq!(admin.call(missing).await.unwrap_err().kind, ErrorKind::NoSuchEntity);
}

#[tokio::test]
async fn the_last_use_of_a_key_is_known_at_once_and_after_a_restart() {
    let world = World::demo().await;
    let (key, _) = user(&world, "robot", &allow(&["iam:*"])).await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let ask = || GetAccessKeyLastUsed { access_key_id: key.access_key_id.clone() };
    let never = admin.call(ask()).await.unwrap();
    assert_eq!((never.access_key_last_used.last_used_date, never.access_key_last_used.region.as_str()), (None, "N/A"));
    let now = world.gateway.broker.clock.now();
    world.gateway.broker.store.note_use(&key.access_key_id, now, "sts", "eu-west-1");
    let used = admin.call(ask()).await.unwrap().access_key_last_used;
    assert_eq!((used.last_used_date, used.service_name.as_str()), (Some(now), "sts"));
    world.gateway.broker.store.close().await;
    let again =
        crate::world::open(&world.place.location, crate::world::FrozenClock::at(now.0), crate::world::SeededRandom::new(9))
            .await
            .unwrap();
    let last = again.broker.store.read().last_use(&key.access_key_id).await.unwrap().unwrap();
    assert_eq!((last.time, last.region.as_str()), (now, "eu-west-1"));
}

#[tokio::test]
async fn a_renamed_user_keeps_what_trusts_it() {
    let world = World::demo().await;
    let (_, caller) = user(&world, "robot", &allow(&["sts:AssumeRole"])).await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let arn = format!("arn:aws:iam::{MANAGEMENT}:user/robots/robot");
    let trust =
        json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": arn}, "Action": "sts:AssumeRole"}});
    let create = CreateRole {
        role_name: RoleName::parse("ForRobot").unwrap(),
        assume_role_policy_document: trust.to_string(),
        path: None,
        description: None,
        max_session_duration: Some(43_200),
    };
    admin.call(create).await.unwrap();
    let rename = UpdateUser { user_name: name("robot"), new_user_name: Some(name("android")), new_path: None };
    admin.call(rename).await.unwrap();
    let shown = admin.call(GetRole { role_name: RoleName::parse("ForRobot").unwrap() }).await.unwrap();
    assert!(shown.role.assume_role_policy_document.0.contains("user/robots/android"));
    // Not a chain: a user's session may last as long as the role allows.
    let ask: AssumeRole = serde_json::from_value(json!({
        "RoleArn": format!("arn:aws:iam::{MANAGEMENT}:role/ForRobot"), "RoleSessionName": "job", "DurationSeconds": 43_200
    }))
    .unwrap();
    let taken = caller.call(ask).await.unwrap();
    assert_eq!(taken.credentials.expiration.seconds_since(world.gateway.broker.clock.now()), 43_200);
    // A new user under the old name is somebody else.
    let stranger = UpdateAssumeRolePolicy { role_name: RoleName::parse("ForRobot").unwrap(), policy_document: trust.to_string() };
    assert_eq!(admin.call(stranger).await.unwrap_err().kind, ErrorKind::MalformedPolicy);
}

#[tokio::test]
async fn session_tokens_are_for_users_and_open_iam_only_with_a_factor() {
    let world = World::demo().await;
    let (_, caller) = user(&world, "robot", &allow(&["iam:*", "sts:*"])).await;
    let session = session_token(&world, &caller, PLAIN).await.unwrap();
    assert_eq!(session.call(GetCallerIdentity {}).await.unwrap().arn.resource(), "user/robots/robot");
    let refused = session.call(ListRoles::default()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::UnknownKey, "as at AWS: InvalidClientTokenId");
    let refused = session_token(&world, &session, PLAIN).await.map(drop).unwrap_err();
    assert_eq!(refused.public, "Cannot call GetSessionToken with session credentials");
    let refused = session_token(&world, &caller, GetSessionToken { duration_seconds: Some(899), ..PLAIN }).await.map(drop);
    assert_eq!(refused.unwrap_err().kind, ErrorKind::InvalidInput);
    let half = GetSessionToken { serial_number: Some(format!("arn:aws:iam::{MANAGEMENT}:mfa/phone")), ..PLAIN };
    assert!(caller.call(half).await.unwrap_err().public.contains("must provide both"));

    // The device: two codes in a row, then one at a time, each good once.
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let device = admin.call(CreateVirtualMFADevice { name: name("phone") }).await.unwrap().device;
    let seed =
        base64::Engine::decode(&base64::engine::general_purpose::STANDARD, device.base_32_string_seed.unwrap().expose()).unwrap();
    let app = Builder::new().with_secret(TotpSecret::try_from_base32(String::from_utf8(seed).unwrap()).unwrap()).build().unwrap();
    let code = |offset: i64| {
        let time = world.gateway.broker.clock.now().plus_seconds(offset).seconds();
        Secret::new(app.generate(u64::try_from(time).unwrap()).to_string())
    };
    let enable = |first, second| EnableMFADevice {
        user_name: name("robot"),
        serial_number: device.serial_number.clone(),
        code: first,
        next_code: second,
    };
    let wrong = admin.call(enable(code(30), code(0))).await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::InvalidAuthenticationCode);
    admin.call(enable(code(0), code(30))).await.unwrap();
    assert_eq!(caller.call(ListMFADevices { user_name: None, marker: None, max_items: None }).await.unwrap().devices.len(), 1);
    let with = |code| GetSessionToken {
        duration_seconds: None,
        serial_number: Some(device.serial_number.to_string()),
        token_code: Some(code),
    };
    let strong = session_token(&world, &caller, with(code(0))).await.unwrap();
    strong.call(ListRoles::default()).await.unwrap();
    for (why, code) in [("used", code(0)), ("wrong", Secret::new("123456".to_owned())), ("old", code(-90))] {
        let refused = session_token(&world, &caller, with(code)).await.map(drop).unwrap_err();
        assert_eq!(refused.kind, ErrorKind::AccessDenied, "{why}");
    }
    // Somebody else's device is no factor.
    let (_, other) = user(&world, "other", &allow(&["iam:*"])).await;
    assert!(session_token(&world, &other, with(code(30))).await.is_err());

    // Guessing stops, from however many addresses it comes: whoever guesses holds the user's own key.
    let mut guesser = world.caller(caller.caller.principal.clone());
    let mut tried = 0;
    for last in 1..=40_u8 {
        let mut origin = (*guesser.caller.origin).clone();
        origin.source_ip = [203, 0, 113, last].into();
        guesser.caller.origin = Arc::new(origin);
        let error = guesser.call(with(Secret::new(format!("{:06}", 900_000 + u32::from(last))))).await.unwrap_err();
        tried += u32::from(error.private.as_deref() == Some("the code is wrong"));
    }
    assert!(tried < 15, "{tried} guesses");
    world.clock.advance(900);
    let caller = world.caller(caller.caller.principal.clone());
    let strong = session_token(&world, &caller, with(code(0))).await.unwrap();

    // A trust policy that wants a fresh factor.
    let trust = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": MANAGEMENT}, "Action": "sts:AssumeRole",
        "Condition": {"NumericLessThan": {"aws:MultiFactorAuthAge": "3600"}, "Bool": {"aws:MultiFactorAuthPresent": "true"}}}});
    let create = CreateRole {
        role_name: RoleName::parse("Strong").unwrap(),
        assume_role_policy_document: trust.to_string(),
        path: None,
        description: None,
        max_session_duration: None,
    };
    admin.call(create).await.unwrap();
    let assume = |serial: Option<String>, code: Option<Secret<String>>| AssumeRole {
        serial_number: serial,
        token_code: code,
        ..serde_json::from_value(json!({"RoleArn": format!("arn:aws:iam::{MANAGEMENT}:role/Strong"), "RoleSessionName": "job"}))
            .unwrap()
    };
    assert_eq!(caller.call(assume(None, None)).await.unwrap_err().kind, ErrorKind::AccessDenied);
    strong.call(assume(None, None)).await.unwrap();
    world.clock.advance(120);
    let caller = world.caller(caller.caller.principal.clone());
    caller.call(assume(Some(device.serial_number.to_string()), Some(code(0)))).await.unwrap();
    let strong = session_token(&world, &caller, with(code(30))).await.unwrap();
    world.clock.advance(3601);
    let later = world.caller(strong.caller.principal.clone());
    assert_eq!(later.call(assume(None, None)).await.unwrap_err().kind, ErrorKind::AccessDenied, "the factor is too old");
    let off = DeactivateMFADevice { user_name: Some(name("robot")), serial_number: device.serial_number.clone() };
    admin.call(off).await.unwrap();
    world.clock.advance(120);
    assert!(session_token(&world, &world.caller(caller.caller.principal.clone()), with(code(0))).await.is_err());
}

#[tokio::test]
async fn a_federated_user_may_what_both_the_user_and_the_policy_allow() {
    let world = World::demo().await;
    let (_, caller) = user(&world, "proxy", &allow(&["sts:GetFederationToken", "organizations:*"])).await;
    let ask = |policy: Option<String>| GetFederationToken {
        name: FederatedUserName::parse("guest").unwrap(),
        policy,
        policy_arns: Vec::new(),
        duration_seconds: Some(129_600),
        tags: Vec::new(),
    };
    let made = async |policy: Option<String>| {
        let answer = caller.call(ask(policy)).await.unwrap();
        assert_eq!(answer.federated_user.federated_user_id, format!("{MANAGEMENT}:guest"));
        world.caller(Principal::User(Arc::new(opened(&world, &answer.credentials.session_token))))
    };
    let list = || serde_json::from_value::<daypass::api::organizations::accounts::ListAccounts>(json!({})).unwrap();
    let guest = made(Some(allow(&["organizations:ListAccounts"]))).await;
    guest.call(list()).await.unwrap();
    assert_eq!(guest.call(GetCallerIdentity {}).await.unwrap().arn.resource(), "federated-user/guest");
    let nobody = made(None).await;
    assert_eq!(nobody.call(list()).await.unwrap_err().kind, ErrorKind::AccessDenied, "no session policy, no permissions");
    let wide = made(Some(allow(&["*"]))).await;
    wide.call(list()).await.unwrap();
    assert_eq!(wide.call(ListRoles::default()).await.unwrap_err().kind, ErrorKind::UnknownKey);
    assert_eq!(wide.call(ask(None)).await.unwrap_err().kind, ErrorKind::AccessDenied);

    // A guest can't try the user's codes.
    let factor: AssumeRole = serde_json::from_value(json!({"RoleArn": format!("arn:aws:iam::{MANAGEMENT}:role/Administrator"),
        "RoleSessionName": "job", "SerialNumber": format!("arn:aws:iam::{MANAGEMENT}:mfa/phone"), "TokenCode": "123456"}))
    .unwrap();
    assert_eq!(wide.call(factor).await.unwrap_err().public, "Cannot call this operation with federation credentials");

    // Ended with everything of the user, and with the user.
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let person = format!("arn:aws:iam::{MANAGEMENT}:user/robots/proxy");
    admin.call(RevokeSessions { who: Revoked::Person(person), before: None }).await.unwrap();
    assert_eq!(guest.call(list()).await.unwrap_err().kind, ErrorKind::ExpiredCredentials);
    caller.call(ask(None)).await.unwrap();
}

#[tokio::test]
async fn root_may_everything_but_take_roles_and_a_task_leaves_only_itself() {
    let world = World::demo().await;
    let root = world.root(MANAGEMENT);
    assert_eq!(root.call(GetCallerIdentity {}).await.unwrap().user_id, MANAGEMENT);
    root.call(ListRoles::default()).await.unwrap();
    let ask: AssumeRole = serde_json::from_value(json!({
        "RoleArn": format!("arn:aws:iam::{MANAGEMENT}:role/Administrator"), "RoleSessionName": "job"
    }))
    .unwrap();
    assert_eq!(root.call(ask).await.unwrap_err().public, "Roles may not be assumed by root accounts.");
    let session = root.call(GetSessionToken { duration_seconds: Some(43_200), ..PLAIN }).await.unwrap();
    assert_eq!(session.credentials.expiration.seconds_since(world.gateway.broker.clock.now()), 3600);

    let member = "333344445555";
    let assume = |account: &str, task: &str| AssumeRoot {
        target_principal: account.to_owned(),
        task_policy_arn: PolicyDescriptor { arn: Arn::parse(&format!("arn:aws:iam::aws:policy/{task}")).unwrap() },
        duration_seconds: None,
    };
    let key = world.operator().call(CreateRootAccessKey { account_id: AccountId::parse(member).unwrap() }).await.unwrap();
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let answer = admin.call(assume(member, "root-task/IAMDeleteRootUserCredentials")).await.unwrap();
    let task = world.caller(Principal::User(Arc::new(opened(&world, &answer.credentials.session_token))));
    assert_eq!(task.call(GetCallerIdentity {}).await.unwrap().arn.as_str(), format!("arn:aws:sts::{member}:assumed-root"));
    assert_eq!(task.call(ListRoles::default()).await.unwrap_err().kind, ErrorKind::AccessDenied);
    assert_eq!(task.call(GetUser { user_name: None }).await.unwrap().user.user_id, member);
    let keys = task.call(ListAccessKeys { user_name: None, marker: None, max_items: None }).await.unwrap();
    assert_eq!(keys.access_key_metadata.len(), 1);
    task.call(DeleteAccessKey { user_name: None, access_key_id: key.access_key.access_key_id }).await.unwrap();
    for (account, task, kind) in [
        (MANAGEMENT, "root-task/IAMAuditRootUserCredentials", ErrorKind::AccessDenied),
        (member, "AdministratorAccess", ErrorKind::InvalidInput),
        ("999988887777", "root-task/IAMAuditRootUserCredentials", ErrorKind::AccessDenied),
    ] {
        assert_eq!(admin.call(assume(account, task)).await.unwrap_err().kind, kind, "{account} {task}");
    }
    let member_admin = world.root(member);
    let refused = member_admin.call(assume("222233334444", "root-task/IAMAuditRootUserCredentials")).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::AccessDenied);
    // Who ends everything the person holds ends what they became.
    let answer = admin.call(assume(member, "root-task/IAMAuditRootUserCredentials")).await.unwrap();
    let task = world.caller(Principal::User(Arc::new(opened(&world, &answer.credentials.session_token))));
    task.call(GetUser { user_name: None }).await.unwrap();
    world.operator().call(RevokeSessions { who: Revoked::Person("people:u-jane".to_owned()), before: None }).await.unwrap();
    assert_eq!(task.call(GetUser { user_name: None }).await.unwrap_err().kind, ErrorKind::ExpiredCredentials);
}

#[tokio::test]
async fn web_identity_tokens_of_ours_verify_with_our_keys() {
    let world = World::demo().await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let ask = |algorithm, seconds, audience: &[&str]| GetWebIdentityToken {
        audience: audience.iter().map(|audience| (*audience).to_owned()).collect(),
        signing_algorithm: algorithm,
        duration_seconds: seconds,
        tags: vec![serde_json::from_value(json!({"Key": "team", "Value": "blue"})).unwrap()],
    };
    let early = admin.call(ask(TokenAlgorithm::RS256, None, &["a"])).await.unwrap_err();
    assert_eq!(early.kind, ErrorKind::FeatureDisabled);
    let issuer = admin.call(EnableOutboundWebIdentityFederation {}).await.unwrap().issuer_identifier;
    let now = world.gateway.broker.clock.now();
    for algorithm in [TokenAlgorithm::RS256, TokenAlgorithm::ES384] {
        let answer = admin.call(ask(algorithm, Some(600), &["https://api.example.com"])).await.unwrap();
        assert_eq!(answer.expiration.seconds_since(now), 600);
        let keys = world.gateway.broker.store.token_keys();
        let keys = keys.public();
        let claims = jose::verify(answer.web_identity_token.expose(), keys, &issuer, now).unwrap().0;
        assert_eq!(claims["sub"], format!("arn:aws:iam::{MANAGEMENT}:role/Administrator"));
        assert_eq!(claims["aud"], "https://api.example.com");
        let about: &Value = &claims["https://sts.amazonaws.com/"];
        assert_eq!(about["aws_account"], MANAGEMENT);
        assert_eq!(about["request_tags"]["team"], "blue");
        assert!(jose::verify(answer.web_identity_token.expose(), keys, &format!("{issuer}0"), now).is_err());
    }
    let escalation = admin.call(ask(TokenAlgorithm::RS256, Some(3600), &["a"])).await;
    escalation.unwrap();
    world.clock.advance(1);
    let later = world.caller(admin.caller.principal.clone());
    let escalation = later.call(ask(TokenAlgorithm::RS256, Some(3600), &["a"])).await.unwrap_err();
    assert_eq!(escalation.kind, ErrorKind::SessionDurationEscalation);
    let long = "a".repeat(1000);
    let large = later.call(ask(TokenAlgorithm::RS256, None, &[long.as_str(); 9])).await.unwrap_err();
    assert_eq!(large.kind, ErrorKind::TokenTooLarge);
}
