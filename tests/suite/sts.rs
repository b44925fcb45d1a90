//! Sessions made from sessions: what goes along, what can't be changed, and what bounds them.

use crate::{
    numbers::Numbers,
    world::{MANAGEMENT, Persona, World},
};
use daypass::{
    api::{
        iam::{role_policies::PutRolePolicy, roles::CreateRole},
        keys::{ListRingKeys, RotateRingKey},
        sso::portal::ListRoleOffers,
        sts::{
            AssumeRole, DecodeAuthorizationMessage, GetAccessKeyInfo, GetCallerIdentity, Tag,
            sessions::{ListSessions, RevokeSessions, Revoked},
        },
    },
    credentials,
    domain::{
        Arn, ErrorKind, Random,
        name::{AccountId, PolicyName, RoleName, RoleSessionName, SourceIdentity},
        session::{Principal, RoleSession, SessionTags},
        time::account_of_access_key,
    },
    federation::mapping::{saml_tags, token_tags},
};
use serde_json::json;
use std::{collections::BTreeMap, sync::Arc};

const ROLES: [&str; 3] = ["One", "Two", "Three"];

/// Three roles that trust their account, and may do what each other does.
async fn roles(world: &World) -> Persona<'_> {
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    for role in ROLES {
        let trust = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"AWS": MANAGEMENT},
            "Action": ["sts:AssumeRole", "sts:TagSession", "sts:SetSourceIdentity"]}});
        let create = CreateRole {
            role_name: RoleName::parse(role).unwrap(),
            assume_role_policy_document: trust.to_string(),
            path: None,
            description: None,
            max_session_duration: Some(43_200),
        };
        admin.call(create).await.unwrap();
        let allow = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}});
        let put = PutRolePolicy {
            role_name: RoleName::parse(role).unwrap(),
            policy_name: PolicyName::parse("all").unwrap(),
            policy_document: allow.to_string(),
        };
        admin.call(put).await.unwrap();
    }
    admin
}

fn assume(role: &str) -> AssumeRole {
    AssumeRole {
        role_arn: Arn::parse(&format!("arn:aws:iam::{MANAGEMENT}:role/{role}")).unwrap(),
        role_session_name: RoleSessionName::parse("chained").unwrap(),
        duration_seconds: None,
        policy: None,
        policy_arns: Vec::new(),
        tags: Vec::new(),
        transitive_tag_keys: Vec::new(),
        external_id: None,
        source_identity: None,
        serial_number: None,
        token_code: None,
        provided_contexts: Vec::new(),
    }
}

fn tag(key: &str, value: &str) -> Tag {
    Tag { key: key.to_owned(), value: value.to_owned() }
}

async fn taken(world: &World, caller: &Persona<'_>, request: AssumeRole) -> Result<RoleSession, daypass::domain::Error> {
    let answer = caller.call(request).await?;
    let token = answer.credentials.session_token.expose();
    Ok(credentials::open_role(world.gateway.broker.store.ring(), token).expect("a token of ours"))
}

#[tokio::test]
async fn transitive_tags_go_along_and_stay_as_they_are() {
    let world = World::demo().await;
    let admin = roles(&world).await;
    let first = AssumeRole {
        tags: vec![tag("Team", "blue"), tag("Cost", "7")],
        transitive_tag_keys: vec!["team".to_owned()],
        ..assume("One")
    };
    let one = taken(&world, &admin, first).await.unwrap();
    let caller = world.caller(Principal::Session(Arc::new(one)));
    let two = taken(&world, &caller, AssumeRole { tags: vec![tag("Cost", "8")], ..assume("Two") }).await.unwrap();
    assert_eq!(two.tags.iter().collect::<Vec<_>>(), [("Cost", "8"), ("Team", "blue")]);
    assert_eq!(two.tags.transitive().collect::<Vec<_>>(), [("Team", "blue")]);
    let caller = world.caller(Principal::Session(Arc::new(two)));
    let conflict = taken(&world, &caller, AssumeRole { tags: vec![tag("TEAM", "red")], ..assume("Three") }).await.unwrap_err();
    assert_eq!(conflict.kind, ErrorKind::InvalidParameterValue);
    assert!(conflict.public.contains("conflicts with a transitive tag key"), "{}", conflict.public);
    let three = taken(&world, &caller, assume("Three")).await.unwrap();
    assert_eq!(three.tags.iter().collect::<Vec<_>>(), [("Team", "blue")]);

    let twice = AssumeRole { tags: vec![tag("Team", "a"), tag("team", "b")], ..assume("One") };
    assert_eq!(taken(&world, &admin, twice).await.unwrap_err().kind, ErrorKind::InvalidParameterValue);
    let absent = AssumeRole { transitive_tag_keys: vec!["Team".to_owned()], ..assume("One") };
    assert_eq!(taken(&world, &admin, absent).await.unwrap_err().kind, ErrorKind::InvalidParameterValue);
}

#[test]
fn assertions_and_tokens_carry_transitive_tags() {
    let name = |name: &str| format!("https://aws.amazon.com/SAML/Attributes/{name}");
    let attributes = |transitive: &str| {
        BTreeMap::from([
            (name("PrincipalTag:Team"), vec!["blue".to_owned()]),
            (name("PrincipalTag:Cost"), vec!["7".to_owned()]),
            (name("TransitiveTagKeys"), vec![transitive.to_owned()]),
        ])
    };
    let wanted = |tags: &SessionTags| tags.transitive().map(|(key, _)| key.to_owned()).collect::<Vec<_>>();
    assert_eq!(wanted(&saml_tags(&attributes("Team")).unwrap()), ["Team"]);
    assert_eq!(saml_tags(&attributes("Nothing")).unwrap_err().code, "attribute_malformed");

    let claim = |transitive: serde_json::Value| {
        let tags = json!({"principal_tags": {"Team": ["blue"], "Cost": "7"}, "transitive_tag_keys": transitive});
        json!({"https://aws.amazon.com/tags": tags}).as_object().unwrap().clone()
    };
    assert_eq!(wanted(&token_tags(&claim(json!(["Cost"]))).unwrap()), ["Cost"]);
    for bad in [json!(["Nothing"]), json!("Cost"), json!([7])] {
        assert!(token_tags(&claim(bad.clone())).is_err(), "{bad}");
    }
}

/// The receipt in a refusal.
fn receipt(refused: &daypass::domain::Error) -> String {
    assert_eq!(refused.kind, ErrorKind::AccessDenied, "{refused:?}");
    let found = refused.public.split_once(" Encoded authorization failure message: ");
    found.unwrap_or_else(|| panic!("no receipt in `{}`", refused.public)).1.to_owned()
}

#[tokio::test]
async fn a_refusal_carries_its_reasons_sealed() {
    let world = World::demo().await;
    let admin = roles(&world).await;
    let other = world.session("222233334444", "Deployer", &["admins"]);
    let developer = world.session("333344445555", "Developer", &["developers"]);
    let decode = |encoded_message: String| DecodeAuthorizationMessage { encoded_message };

    // A session of another account is refused by a trust policy: both accounts may read why, nobody else.
    let refused = developer.call(assume("One")).await.unwrap_err();
    let text = receipt(&refused);
    let decoded = admin.call(decode(text.clone())).await.unwrap().decoded_message;
    let decoded: serde_json::Value = serde_json::from_str(&decoded).unwrap();
    assert_eq!(decoded["allowed"], false);
    assert_eq!(decoded["context"]["action"], "sts:AssumeRole");
    assert_eq!(decoded["context"]["principal"]["arn"], "arn:aws:sts::333344445555:assumed-role/Developer/jane");
    assert_eq!(decoded["policies"][0]["Statements"][0]["PrincipalMatched"], false);
    assert_eq!(decoded["reason"], "because no resource-based policy allows the sts:AssumeRole action");
    for bad in [format!("{text}x"), text.replace(&text[40..44], "AAAA"), "x".to_owned(), "x".repeat(10_241)] {
        let error = admin.call(decode(bad)).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::InvalidAuthorizationMessage);
    }
    let stranger = other.call(decode(text.clone())).await.unwrap_err();
    assert!(matches!(stranger.kind, ErrorKind::InvalidAuthorizationMessage | ErrorKind::AccessDenied), "{stranger:?}");

    // Whether a role exists is not to be read off the length.
    let missing = developer.call(assume("Nobody")).await.unwrap_err();
    assert_eq!(receipt(&missing).len(), text.len());
    assert_eq!(refused.public.len() - "One".len(), missing.public.len() - "Nobody".len());
}

#[tokio::test]
async fn another_account_reads_of_a_refusal_only_its_own_part() {
    let world = World::demo().await;
    let admin = roles(&world).await;
    let elsewhere = world.session("333344445555", "Developer", &["developers"]);
    let condition = json!({"StringEquals": {"sts:ExternalId": "a-secret-of-the-role"}, "Bool": {"aws:SecureTransport": "true"}});
    let trust = json!({"Version": "2012-10-17", "Statement": {"Sid": "Partners", "Effect": "Allow",
        "Principal": {"AWS": "333344445555"}, "Action": "sts:AssumeRole", "Condition": condition}});
    let update = daypass::api::iam::roles::UpdateAssumeRolePolicy {
        role_name: RoleName::parse("One").unwrap(),
        policy_document: trust.to_string(),
    };
    admin.call(update).await.unwrap();
    let refused = elsewhere.call(assume("One")).await.unwrap_err();
    let message = refused.public.split("message: ").nth(1).unwrap().to_owned();
    let receipt = daypass::gateway::receipt::Receipt::open(world.gateway.broker.store.ring(), &message).unwrap();
    let seen = |account: &str| {
        let seen = receipt.clone().seen_by(&AccountId::parse(account).unwrap());
        seen.map(|seen| serde_json::to_string(&seen).unwrap())
    };
    let whole = seen(MANAGEMENT).unwrap();
    assert!(whole.contains("a-secret-of-the-role") && whole.contains("Partners"));
    let part = seen("333344445555").unwrap();
    assert!(!part.contains("a-secret-of-the-role") && !part.contains("Partners"), "{part}");
    assert!(part.contains("aws:SecureTransport"), "what of the request was looked at");
    assert_eq!(seen("222233334444"), None);
}

#[tokio::test]
async fn revoked_sessions_are_over_at_once() {
    let world = World::demo().await;
    let admin = roles(&world).await;
    let who = |caller: &Persona<'_>| {
        let caller = caller.caller.clone();
        let gateway = world.gateway.clone();
        async move { gateway.call(&caller, GetCallerIdentity {}).await.map_err(|error| error.kind) }
    };
    let revoke = |who: Revoked| RevokeSessions { who, before: None };
    // The administrator, at the time it is now.
    let now = || world.caller(admin.caller.principal.clone());
    let again = || async {
        world.clock.advance(1);
        let one = taken(&world, &now(), assume("One")).await.unwrap();
        world.caller(Principal::Session(Arc::new(one)))
    };
    let role = || Arn::parse(&format!("arn:aws:iam::{MANAGEMENT}:role/One")).unwrap();

    // A role's sessions until now; those issued later live.
    let one = again().await;
    assert!(who(&one).await.is_ok());
    let live = now().call(ListSessions { role_arn: Some(role()), person: None }).await.unwrap().sessions;
    assert_eq!(live.len(), 1);
    assert_eq!(live[0].arn, format!("arn:aws:sts::{MANAGEMENT}:assumed-role/One/chained"));
    now().call(revoke(Revoked::Role(role()))).await.unwrap();
    assert_eq!(who(&one).await.unwrap_err(), ErrorKind::ExpiredCredentials);
    let two = again().await;
    assert!(who(&two).await.is_ok());

    // One session.
    let Principal::Session(session) = &two.caller.principal else { panic!("a session") };
    now().call(revoke(Revoked::Session(session.access_key_id.clone()))).await.unwrap();
    assert_eq!(who(&two).await.unwrap_err(), ErrorKind::ExpiredCredentials);

    // A person: whatever they hold, what was made from it included, and their portal session.
    let three = again().await;
    let person = world.person(&["developers"]);
    assert!(person.call(ListRoleOffers {}).await.is_ok());
    world.operator().call(revoke(Revoked::Person("people:u-joe".to_owned()))).await.unwrap();
    assert!(who(&three).await.is_ok(), "somebody else");
    world.operator().call(revoke(Revoked::Person("people:u-jane".to_owned()))).await.unwrap();
    assert_eq!(who(&three).await.unwrap_err(), ErrorKind::ExpiredCredentials);
    assert_eq!(who(&now()).await.unwrap_err(), ErrorKind::ExpiredCredentials);
    assert_eq!(person.call(ListRoleOffers {}).await.unwrap_err().kind, ErrorKind::InvalidBearer);

    // A member account ends its own roles' sessions, and nobody else's.
    world.clock.advance(1);
    let deployer = world.session("333344445555", "Developer", &["developers"]);
    for foreign in [Revoked::Role(role()), Revoked::Everything, Revoked::Person("people:u-jane".to_owned())] {
        assert_eq!(deployer.call(revoke(foreign)).await.unwrap_err().kind, ErrorKind::AccessDenied);
    }
    assert!(who(&deployer).await.is_ok());
    world.operator().call(revoke(Revoked::Everything)).await.unwrap();
    assert_eq!(who(&deployer).await.unwrap_err(), ErrorKind::ExpiredCredentials);
    // It survives a restart.
    let store = &world.gateway.broker.store;
    assert!(store.snapshot().revocations.end(session));
}

#[tokio::test]
async fn tokens_are_short_and_long_policies_fit() {
    let world = World::demo().await;
    let admin = roles(&world).await;
    let plain = admin.call(assume("One")).await.unwrap();
    assert!(plain.credentials.session_token.expose().len() <= 1024);
    assert_eq!(plain.packed_policy_size, None);
    let statement =
        |number: usize| json!({"Effect": "Allow", "Action": "s3:GetObject", "Resource": format!("arn:aws:s3:::b{number}/*")});
    let policy = json!({"Version": "2012-10-17", "Statement": (0..20).map(statement).collect::<Vec<_>>()}).to_string();
    assert!((1500..2048).contains(&policy.len()), "{}", policy.len());
    let request = AssumeRole { policy: Some(policy.clone()), tags: vec![tag("Team", &"x".repeat(256))], ..assume("One") };
    let answer = admin.call(request).await.unwrap();
    let token = answer.credentials.session_token.expose();
    assert!(token.len() < policy.len(), "{} characters", token.len());
    assert!(answer.packed_policy_size.is_some());
    let opened = credentials::open_role(world.gateway.broker.store.ring(), token).unwrap();
    assert_eq!(opened.session_policy, Some(policy));
    for cut in [0, 1, 20, token.len() - 1] {
        assert!(credentials::open_role(world.gateway.broker.store.ring(), &token[..cut]).is_none());
    }
}

#[tokio::test]
async fn chains_last_as_long_as_the_broker_lets_them() {
    let mut world = World::demo().await;
    let hours = |hours: u32| AssumeRole { duration_seconds: Some(hours * 3600), ..assume("One") };
    {
        let admin = roles(&world).await;
        let refused = admin.call(hours(2)).await.unwrap_err();
        assert_eq!(
            refused.public,
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining"
        );
    }
    world.gateway.broker.limits.chained_seconds = 4 * 3600;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let session = taken(&world, &admin, hours(4)).await.unwrap();
    assert_eq!(session.expires.seconds_since(session.issued), 4 * 3600);
    assert_eq!(admin.call(hours(5)).await.unwrap_err().kind, ErrorKind::InvalidInput);
}

#[tokio::test]
async fn policies_see_whose_the_resource_is() {
    let world = World::demo().await;
    let admin = roles(&world).await;
    let only = |account: &str| {
        let statement = json!({"Effect": "Allow", "Action": "sts:*", "Resource": "*",
            "Condition": {"StringEquals": {"aws:ResourceAccount": account}, "Bool": {"aws:MultiFactorAuthPresent": "false"}}});
        json!({"Version": "2012-10-17", "Statement": statement}).to_string()
    };
    for (account, allowed) in [(MANAGEMENT, true), ("333344445555", false)] {
        let capped = taken(&world, &admin, AssumeRole { policy: Some(only(account)), ..assume("One") }).await.unwrap();
        let caller = world.caller(Principal::Session(Arc::new(capped)));
        assert_eq!(caller.call(assume("Two")).await.is_ok(), allowed, "{account}");
    }
}

#[tokio::test]
async fn an_access_key_id_holds_its_account() {
    let world = World::demo().await;
    let admin = roles(&world).await;
    let session = taken(&world, &admin, assume("One")).await.unwrap();
    let info = |id: &str| GetAccessKeyInfo { access_key_id: id.to_owned() };
    assert_eq!(admin.call(info(&session.access_key_id)).await.unwrap().account, MANAGEMENT);
    for bad in ["ASIA", "AKIAAAAAAAAAAAAAAAAA", "ASIA0000000000000000", "whatever it is that somebody typed"] {
        assert_eq!(admin.call(info(bad)).await.unwrap_err().kind, ErrorKind::InvalidInput);
    }
    for account in ["000000000001", "123456789012", "999999999999"] {
        let account = AccountId::parse(account).unwrap();
        let random: &dyn Random = &*world.gateway.broker.random;
        assert_eq!(account_of_access_key(&random.access_key_id("AKIA", &account)), Some(account));
    }
}

/// Session policies: what is passed, and what it lets the session do.
const CAPS: [Option<&str>; 5] = [
    None,
    None,
    Some(r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":["sts:*","iam:*"],"Resource":"*"}}"#),
    Some(r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"sts:AssumeRole","Resource":"*"}}"#),
    Some(
        r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["sts:*","iam:*"],"Resource":"*"},{"Effect":"Deny","Action":"sts:*","Resource":"arn:aws:iam::*:role/One"}]}"#,
    ),
];

/// What those policies say, in other words than theirs.
fn may_take(policy: Option<&str>, role: &str, needs_more: bool) -> bool {
    match policy {
        None => true,
        Some(policy) if policy.contains("Deny") => role != "One",
        Some(policy) if policy.contains("sts:*") => true,
        Some(_) => !needs_more,
    }
}

#[tokio::test]
async fn a_chain_ends_with_what_the_provider_said_and_after_twelve_hours_at_the_latest() {
    let mut world = World::demo().await;
    world.gateway.broker.limits.chained_seconds = 43_200;
    let admin = roles(&world).await;
    let mut session = taken(&world, &admin, AssumeRole { duration_seconds: Some(43_200), ..assume("One") }).await.unwrap();
    let end = session.bound;
    assert_eq!(end.seconds_since(session.issued), 43_200);
    // Roles that trust each other, for ever and ever.
    for hour in 1..=11 {
        world.clock.advance(3600);
        let caller = world.caller(Principal::Session(Arc::new(session)));
        session = taken(&world, &caller, AssumeRole { duration_seconds: Some(43_200), ..assume(ROLES[hour % 3]) }).await.unwrap();
        assert_eq!(session.expires, end, "hour {hour}");
    }
    world.clock.advance(3600);
    let caller = world.caller(Principal::Session(Arc::new(session)));
    assert_eq!(taken(&world, &caller, assume("One")).await.unwrap_err().kind, ErrorKind::ExpiredCredentials);
}

#[tokio::test]
async fn rotating_the_ring_refuses_no_token() {
    let world = World::demo().await;
    let admin = roles(&world).await;
    let store = &world.gateway.broker.store;
    let sealing =
        async || world.operator().call(ListRingKeys {}).await.unwrap().keys.into_iter().find(|key| key.sealing).unwrap().id;
    let token = async || admin.call(assume("One")).await.unwrap().credentials.session_token;
    let mut tokens = vec![token().await];
    for round in 1..=3 {
        let id = world.operator().call(RotateRingKey {}).await.unwrap().id;
        assert_eq!((id, sealing().await), (round + 1, round), "not before every node has it");
        tokens.push(token().await);
        // Another node, which reads the ring now.
        let again =
            crate::world::open(&world.place.location, world.clock.clone(), crate::world::SeededRandom::new(99)).await.unwrap();
        world.clock.advance(11);
        assert_eq!(sealing().await, round + 1);
        tokens.push(token().await);
        for token in &tokens {
            assert!(credentials::open_role(store.ring(), token.expose()).is_some());
            assert!(credentials::open_role(again.broker.store.ring(), token.expose()).is_some(), "a node that is a step behind");
        }
    }
    // And while calls come in from everywhere.
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let opening = {
        let (stop, ring, tokens) = (stop.clone(), store.ring().clone(), tokens.clone());
        std::thread::spawn(move || {
            let mut opened = 0_u64;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                for token in &tokens {
                    assert!(credentials::open_role(&ring, token.expose()).is_some());
                    opened += 1;
                }
            }
            opened
        })
    };
    for _ in 0..20 {
        world.operator().call(RotateRingKey {}).await.unwrap();
        world.clock.advance(11);
        store.renew_ring().await.unwrap();
        let fresh = token().await;
        assert!(credentials::open_role(store.ring(), fresh.expose()).is_some());
    }
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(opening.join().unwrap() > 0);
}

#[tokio::test]
async fn no_chain_sheds_a_tag_an_identity_or_its_bounds() {
    let world = World::demo().await;
    roles(&world).await;
    let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
    let (mut taken_at_all, mut conflicts) = (0, 0);
    for _ in 0..60 {
        let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
        let Principal::Session(mut session) = admin.caller.principal.clone() else { panic!("a session") };
        for _ in 0..6 {
            let mut request = assume(ROLES[numbers.below(3)]);
            for key in ["Team", "team", "Cost", "Stage"] {
                if numbers.below(3) == 0 {
                    request.tags.push(tag(key, ["a", "b"][numbers.below(2)]));
                    if numbers.below(2) == 0 {
                        request.transitive_tag_keys.push(key.to_lowercase());
                    }
                }
            }
            if numbers.below(6) == 0 {
                request.source_identity = Some(SourceIdentity::parse(["jane", "joe"][numbers.below(2)]).unwrap());
            }
            if numbers.below(3) == 0 {
                request.duration_seconds = Some([900, 3600, 3601, 43_200][numbers.below(4)]);
            }
            let caps = numbers.below(CAPS.len());
            request.policy = CAPS[caps].map(str::to_owned);
            let tags_go_along = !request.tags.is_empty() || session.tags.transitive().next().is_some();
            let needs_more = tags_go_along || request.source_identity.is_some() || session.source_identity.is_some();
            let allowed = may_take(session.session_policy.as_deref(), request.role_arn.resource_name(), needs_more);
            world.clock.advance(numbers.below(1200).try_into().unwrap());
            let first_ends = session.bound;
            let (asked_identity, asked_seconds) = (request.source_identity.clone(), request.duration_seconds);
            let asked: Vec<(String, String)> = request.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())).collect();
            let caller = world.caller(Principal::Session(session.clone()));
            match taken(&world, &caller, request).await {
                Ok(next) => {
                    taken_at_all += 1;
                    assert!(allowed, "the session's own policy did not allow it");
                    assert_eq!(next.bound, first_ends, "the chain's end moved");
                    assert!(next.expires <= first_ends, "a session outlives its chain");
                    // It may what its own policy allows, whatever the one before was allowed.
                    let persona = world.caller(Principal::Session(Arc::new(next.clone())));
                    let listed = persona.call(daypass::api::iam::roles::ListRoles::default()).await;
                    let expected = CAPS[caps].is_none_or(|policy| policy.contains("iam:*"));
                    assert_eq!(listed.is_ok(), expected, "{:?}", CAPS[caps]);
                    for (key, value) in session.tags.transitive() {
                        assert_eq!(next.tags.get(key), Some(value), "a transitive tag was lost or changed");
                        assert!(next.tags.transitive().any(|(kept, _)| kept == key), "a tag stopped being transitive");
                    }
                    for (key, value) in next.tags.iter() {
                        let inherited = session.tags.transitive().any(|(old, same)| old == key && same == value);
                        assert!(inherited || asked.iter().any(|(k, v)| k == key && v == value), "a tag from nowhere");
                    }
                    assert_eq!(next.source_identity, session.source_identity.clone().or(asked_identity), "another identity");
                    assert!(next.chained && next.expires <= next.issued.plus_seconds(3600), "longer than a chain may last");
                    assert!(asked_seconds.is_none_or(|seconds| seconds <= 3600));
                    session = Arc::new(next);
                }
                Err(error) => {
                    conflicts += 1;
                    let expected = [
                        ErrorKind::InvalidParameterValue,
                        ErrorKind::InvalidInput,
                        ErrorKind::AccessDenied,
                        ErrorKind::ExpiredCredentials,
                    ];
                    assert!(expected.contains(&error.kind), "{error:?}");
                }
            }
        }
    }
    assert!(taken_at_all > 60 && conflicts > 60, "{taken_at_all} taken, {conflicts} refused");
}
