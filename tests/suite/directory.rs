//! The built-in directory: inviting people, passwords, groups, and letting people go.

use crate::{
    scim::provisioner,
    world::{DEMO, MANAGEMENT, World},
};
use daypass::{
    api::{
        apply::{ApplyOrganization, PlanOrganization},
        directory::{CreateGroup, CreateUser, DeleteUser, SearchUsers, UpdateUser},
        scim::{self, PatchUser},
        signin::{
            Answer, BeginSignIn, CompleteSignIn,
            password::{
                BeginPasswordChange, BeginSetPassword, ChangePassword, LINK_SECONDS, LookUpPasswordLink, MakePasswordLink,
                SetPassword,
            },
        },
        sso::GetRoleCredentials,
        sts::GetCallerIdentity,
    },
    cli::apply::parse,
    domain::{
        Error, ErrorKind, Secret,
        directory::TokenScope,
        name::{AccountId, GroupName, UserName},
        session::{PortalSession, Principal},
    },
    federation::{
        Arrival, Surroundings,
        passwords::{PasswordRules, check_new_password},
    },
    signin::step::Continuation,
};
use serde_json::json;

const KIM: &str = "kim@example.com";
const GOOD: &str = "three otters by the weir";

fn groups(names: &[&str]) -> Vec<GroupName> {
    names.iter().map(|name| GroupName::parse(name).unwrap()).collect()
}

async fn create(world: &World, name: &str) -> Result<String, Error> {
    let wish = CreateUser {
        user_name: UserName::parse(name).unwrap(),
        email: KIM.to_owned(),
        display_name: "Kim Park".to_owned(),
        groups: groups(&["admins"]),
    };
    world.root(MANAGEMENT).call(wish).await.map(|created| created.id)
}

async fn link(world: &World, id: &str) -> Secret<String> {
    let made = world.root(MANAGEMENT).call(MakePasswordLink { id: id.to_owned() }).await.unwrap();
    made.url.expose().rsplit('/').next().unwrap().to_owned().into()
}

async fn set(world: &World, token: &Secret<String>, password: &str) -> Result<(), Error> {
    let handle = world.nobody().call(BeginSetPassword { token: token.clone(), password: password.to_owned().into() }).await?;
    world.nobody().call(SetPassword { token: token.clone(), handle }).await
}

async fn sign_in(world: &World, name: &str, password: &str) -> Result<PortalSession, Error> {
    let begin = BeginSignIn { source: "people".to_owned(), continuation: Continuation::Portal, binding: "b".to_owned().into() };
    let handle = world.nobody().call(begin).await.unwrap().handle;
    let arrival = Arrival::Password { user_name: name.to_owned(), password: password.to_owned().into() };
    let answer = Answer::Direct { handle, arrival };
    let complete = CompleteSignIn { source: None, binding: Some("b".to_owned().into()), answer, reset: None };
    world.nobody().call(complete).await.map(|completed| completed.session().unwrap())
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, Error>) -> ErrorKind {
    outcome.unwrap_err().kind
}

#[tokio::test]
async fn somebody_invited_sets_a_password_once_and_signs_in() {
    let world = World::demo().await;
    let id = create(&world, KIM).await.unwrap();
    assert_eq!(kind(create(&world, "KIM@example.com").await), ErrorKind::AlreadyExists, "names have no case");
    assert_eq!(kind(sign_in(&world, KIM, "").await), ErrorKind::RejectedIdentity, "without a password nobody gets in");
    let replaced = link(&world, &id).await;
    let token = link(&world, &id).await;
    assert_eq!(kind(set(&world, &replaced, GOOD).await), ErrorKind::NoSuchEntity, "a new link replaces the old one");
    let shown = world.nobody().call(LookUpPasswordLink { token: token.clone() }).await.unwrap();
    assert_eq!((shown.user_name.as_str(), shown.display_name.as_str()), (KIM, "Kim Park"));
    assert_eq!(kind(set(&world, &token, "kim@example.com").await), ErrorKind::InvalidInput, "what is refused costs no link");
    set(&world, &token, GOOD).await.unwrap();
    assert_eq!(kind(set(&world, &token, "another good one, twice").await), ErrorKind::NoSuchEntity, "once");
    let session = sign_in(&world, KIM, GOOD).await.unwrap();
    assert_eq!(session.identity.claims["directory:groups"], ["admins"]);

    // Who is let go and comes back has no link of before.
    let before = link(&world, &id).await;
    for disabled in [true, false] {
        let (email, display_name) = (KIM.to_owned(), "Kim Park".to_owned());
        let version = world.version_of(&id).await;
        let wish = UpdateUser { id: id.clone(), email, display_name, groups: Vec::new(), disabled, version };
        world.root(MANAGEMENT).call(wish).await.unwrap();
    }
    assert_eq!(kind(set(&world, &before, GOOD).await), ErrorKind::NoSuchEntity);
    // Somebody else's address keeps nobody from their own name.
    create(&world, "kim-admin").await.unwrap();
    world.clock.advance(1);
    sign_in(&world, KIM, GOOD).await.unwrap();

    let late = link(&world, &id).await;
    world.clock.advance(LINK_SECONDS);
    assert_eq!(kind(set(&world, &late, GOOD).await), ErrorKind::NoSuchEntity, "it ends");
}

/// Disabled, deleted, or with another password: everything somebody holds ends, also the credentials of roles.
#[tokio::test]
async fn letting_somebody_go_ends_everything_they_hold() {
    for way in ["disable", "delete", "new password", "own change", "disabled by scim", "deleted by scim"] {
        let world = World::demo().await;
        let id = create(&world, KIM).await.unwrap();
        set(&world, &link(&world, &id).await, GOOD).await.unwrap();
        world.clock.advance(1);
        let session = sign_in(&world, KIM, GOOD).await.unwrap();
        let kim = world.caller(world.gateway.person(session.clone()).await.unwrap());
        let account_id = AccountId::parse(MANAGEMENT).unwrap();
        let wish = GetRoleCredentials { role_name: "Administrator".to_owned(), account_id };
        let taken = kim.call(wish).await.unwrap().role_credentials;
        let broker = &world.gateway.broker;
        let role = daypass::credentials::open_role(broker.store.ring(), taken.session_token.expose()).unwrap();
        let console = world.caller(Principal::Session(std::sync::Arc::new(role)));
        console.call(GetCallerIdentity {}).await.unwrap();
        world.clock.advance(1);
        let root = world.root(MANAGEMENT);
        let version = world.version_of(&id).await;
        let update = |disabled| UpdateUser {
            id: id.clone(),
            email: KIM.to_owned(),
            display_name: "Kim Park".to_owned(),
            groups: Vec::new(),
            disabled,
            version,
        };
        match way {
            "disable" => root.call(update(true)).await.unwrap(),
            "delete" => root.call(DeleteUser { id: id.clone() }).await.unwrap(),
            "disabled by scim" => {
                let off = json!({ "Operations": [{ "op": "Replace", "path": "active", "value": "False" }] });
                let wish: PatchUser = serde_json::from_value(json!({ "id": id, "resource": off })).unwrap();
                world.caller(provisioner(TokenScope::Users, true)).call(wish).await.map(drop).unwrap();
            }
            "deleted by scim" => {
                let wish = scim::DeleteUser { id: id.clone(), if_match: None };
                world.caller(provisioner(TokenScope::Users, true)).call(wish).await.map(drop).unwrap();
            }
            "new password" => set(&world, &link(&world, &id).await, "quiet harbour lamps").await.unwrap(),
            _ => {
                let begin = |current: &str| BeginPasswordChange {
                    current: current.to_owned().into(),
                    password: "quiet harbour lamps".to_owned().into(),
                };
                assert_eq!(kind(kim.call(begin("wrong")).await), ErrorKind::RejectedIdentity);
                let handle = kim.call(begin(GOOD)).await.unwrap();
                kim.call(ChangePassword { handle }).await.unwrap();
            }
        }
        assert_eq!(kind(console.call(GetCallerIdentity {}).await), ErrorKind::ExpiredCredentials, "{way}");
        let portal = match world.gateway.person(session).await {
            Ok(principal) => world.caller(principal).call(daypass::api::sso::portal::ListRoleOffers {}).await.map(drop),
            Err(error) => Err(error),
        };
        assert_eq!(kind(portal), ErrorKind::InvalidBearer, "{way}");
    }
}

#[tokio::test]
async fn people_are_found_by_name_address_and_page() {
    let world = World::demo().await;
    create(&world, "kim").await.unwrap();
    let root = world.root(MANAGEMENT);
    let found = async |text: &str, after: &str| {
        let found = root.call(SearchUsers { text: text.to_owned(), after: after.to_owned() }).await.unwrap();
        found.users.into_iter().map(|user| user.user_name).collect::<Vec<_>>()
    };
    assert_eq!(found("", "").await, ["jane@example.com", "kim", "sam@example.com"]);
    assert_eq!(found("", "KIM").await, ["sam@example.com"]);
    assert_eq!(found("PARK", "").await, ["kim"]);
    for text in ["%", "jane%", "\"", "\" OR \"", "jane OR kim", "ja*", "-jane", "name_key:jane"] {
        assert_eq!(found(text, "").await, [""; 0], "{text}: a text, no pattern");
    }
    assert_eq!(found("SAM@EX", "").await, ["sam@example.com"]);
    assert_eq!(found("im", "").await, ["kim"]);
    let page = world.gateway.broker.store.read().search_users("example", "", 1).await.unwrap();
    let marker = page.1.expect("another page");
    assert_eq!(found("example", &marker).await.len(), 2);
    assert_eq!(kind(world.root("222233334444").call(SearchUsers::default()).await), ErrorKind::AccessDenied);
}

#[tokio::test]
async fn groups_are_made_and_unknown_ones_refused() {
    let world = World::demo().await;
    let root = world.root(MANAGEMENT);
    let group = || CreateGroup { name: GroupName::parse("auditors").unwrap() };
    root.call(group()).await.unwrap();
    assert_eq!(kind(root.call(group()).await), ErrorKind::AlreadyExists);
    let id = create(&world, KIM).await.unwrap();
    let update = |names: &[&str], version| UpdateUser {
        id: id.clone(),
        email: KIM.to_owned(),
        display_name: "Kim".to_owned(),
        groups: groups(names),
        disabled: false,
        version,
    };
    let version = world.version_of(&id).await;
    root.call(update(&["auditors"], version)).await.unwrap();
    // Somebody else's change is not undone by a form that does not show it.
    assert_eq!(kind(root.call(update(&[], version)).await), ErrorKind::PreconditionFailed);
    let version = world.version_of(&id).await;
    assert_eq!(kind(root.call(update(&["nobody"], version)).await), ErrorKind::NoSuchEntity);
    for email in ["kim", "kim@", "@example.com", "kim @example.com", "a@b@c.example"] {
        let odd = UpdateUser { email: email.to_owned(), ..update(&[], version) };
        assert_eq!(kind(root.call(odd).await), ErrorKind::InvalidInput, "{email}");
    }
}

/// Groups open roles: who may only write people's names puts nobody into one.
#[tokio::test]
async fn changing_people_is_not_putting_them_into_groups() {
    let world = World::empty().await;
    let clerk = r#"
[[policies]]
account = "111122223333"
name = "Clerk"
document = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": ["sso-directory:CreateUser", "sso-directory:UpdateUser"], "Resource": "*"}}'
[[roles]]
account = "111122223333"
name = "Clerk"
attached_policies = ["arn:aws:iam::111122223333:policy/Clerk"]
trust_policy = '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::111122223333:oidc-provider/directory"}, "Action": "sts:AssumeRoleWithWebIdentity", "Condition": {"StringLike": {"directory:sub": "*"}}}}'
"#;
    world.apply(parse(&format!("{DEMO}{clerk}"), "toml").unwrap(), false).await.unwrap();
    let clerk = world.session(MANAGEMENT, "Clerk", &[]);
    let create = |user_name: &str, names: &[&str]| CreateUser {
        user_name: UserName::parse(user_name).unwrap(),
        email: KIM.to_owned(),
        display_name: "Kim".to_owned(),
        groups: groups(names),
    };
    let id = clerk.call(create("kim", &[])).await.unwrap().id;
    assert_eq!(kind(clerk.call(create("lee", &["admins"])).await), ErrorKind::AccessDenied);
    let (email, display_name) = (KIM.to_owned(), "Kim".to_owned());
    let promote = UpdateUser { id, email, display_name, groups: groups(&["admins"]), disabled: false, version: 1 };
    assert_eq!(kind(clerk.call(promote).await), ErrorKind::AccessDenied);
}

#[tokio::test]
async fn passwords_are_long_and_not_the_first_that_somebody_would_try() {
    let world = World::empty().await;
    let wish = PlanOrganization { file: parse(DEMO, "toml").unwrap(), prune: false, new_passwords: false };
    world.operator().call(ApplyOrganization(wish)).await.unwrap();
    let jane = world.gateway.broker.store.read().search_users("jane@example.com", "", 1).await.unwrap().0.pop().unwrap();
    for (password, accepted) in [
        ("three otters by the weir", true),
        ("Jane's other cat is Büchner", true),
        ("xkcd-936-horse", true),
        ("short one", false),
        ("elevenchars", false),
        ("jane@example.com", false),
        ("janedoejanedoe", false),
        ("JaneDoe123456789", false),
        ("password12345", false),
        ("aaaaaaaaaaaaaaaa", false),
        ("abababababababab", false),
        ("1Q2W3E4R5T6Y", false),
        ("roadrunner-acme-99", false),
        ("the roadrunner ran past acme", true),
        (&"long ".repeat(13), true),
    ] {
        let outcome = check_new_password(&password.to_owned().into(), &jane, &["Acme".to_owned(), "Roadrunner".to_owned()]);
        assert_eq!(outcome.is_ok(), accepted, "{password}");
    }
    assert!(check_new_password(&"ab c".repeat(300).into(), &jane, &[]).is_err(), "hashing more is only work for us");
}

/// Passwords of breaches are refused by five digits of their hash; a service that gives no answer holds nobody up.
#[tokio::test]
async fn passwords_of_breaches_are_refused() {
    // SHA-1 of "three otters by the weir", and a line that is padding.
    let known = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, GOOD.as_bytes());
    let known = hex::encode_upper(known);
    let padding =
        hex::encode_upper(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, b"quiet harbour lamps"));
    let asked = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let answer = {
        let asked = asked.clone();
        move |axum::extract::Path(prefix): axum::extract::Path<String>| async move {
            asked.lock().unwrap().push(prefix.clone());
            let lines = [(&known, 3), (&padding, 0)];
            let fitting = lines.iter().filter_map(|(hash, count)| Some(format!("{}:{count}\r\n", hash.strip_prefix(&prefix)?)));
            match prefix.starts_with(&known[..5]) || prefix.starts_with(&padding[..5]) {
                true => Ok(fitting.collect::<String>()),
                false => Err(axum::http::StatusCode::SERVICE_UNAVAILABLE),
            }
        }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/range/", listener.local_addr().unwrap());
    let router = axum::Router::new().route("/range/{prefix}", axum::routing::get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let rules = PasswordRules { words: Vec::new(), breached_url: Some(url.parse().unwrap()) };
    let world = World::demo_in(Surroundings { password_rules: rules, ..Surroundings::default() }).await;
    let id = create(&world, KIM).await.unwrap();
    let token = link(&world, &id).await;
    let refused = set(&world, &token, GOOD).await.unwrap_err();
    assert!(refused.public.contains("stolen"), "{refused}");
    set(&world, &token, "quiet harbour lamps").await.unwrap();
    set(&world, &link(&world, &id).await, "nobody answers this one").await.unwrap();
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked.iter().map(String::len).collect::<Vec<_>>(), [5, 5, 5], "five digits and nothing else: {asked:?}");
    let events =
        world.gateway.broker.store.read().audit_events(None, &crate::world::events("BeginSetPassword"), None, 1).await.unwrap().0;
    assert_eq!(events[0].detail["breachedPasswords"], "no answer");
}
