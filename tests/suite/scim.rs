//! SCIM: filters and changes as cases in files, and what clients may do. The real client is in `tests/e2e/scim.test.mjs`.

use crate::world::{DEMO, MANAGEMENT, World};
use daypass::{
    api::{
        directory::{CreateBearerToken, DeleteBearerToken, ListBearerTokens, SearchUsers, UpdateUser},
        scim::{
            CreateGroup, CreateUser, DeleteGroup, DeleteUser, GetGroup, GetUser, ListGroups, ListUsers, PatchGroup, PatchUser,
            PutGroup, PutUser, fits, patched,
        },
    },
    cli::apply::parse,
    domain::{
        Error, ErrorKind, Timestamp,
        directory::{BearerToken, TokenScope},
        session::Principal,
    },
    gateway::{Operation, scim::ScimAnswer},
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use std::{fs, sync::Arc};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";

pub fn provisioner(scope: TokenScope, takeover: bool) -> Principal {
    Principal::Provisioner(Arc::new(BearerToken {
        id: "token".to_owned(),
        name: "Entra ID".to_owned(),
        scope,
        takeover,
        created: Timestamp(0),
        expires: Timestamp(i64::MAX),
    }))
}

fn object(value: Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn kind<T: std::fmt::Debug>(outcome: Result<T, Error>) -> ErrorKind {
    outcome.unwrap_err().kind
}

/// Calls an operation as a SCIM client that may change people and groups.
async fn scim<O: Operation<Output = ScimAnswer>>(world: &World, operation: Value) -> Result<Value, Error> {
    let operation: O = serde_json::from_value(operation).unwrap();
    let answer = world.caller(provisioner(TokenScope::UsersAndGroups, false)).call(operation).await?;
    Ok(answer.document.map_or(Value::Null, Value::Object))
}

async fn create(world: &World, name: &str) -> String {
    let resource = json!({ "schemas": [USER], "userName": name, "emails": [{ "value": format!("{name}@example.com") }] });
    scim::<CreateUser>(world, json!({ "resource": resource })).await.unwrap()["id"].as_str().unwrap().to_owned()
}

async fn create_group(world: &World, name: &str, members: &[&str]) -> String {
    let members: Vec<Value> = members.iter().map(|id| json!({ "value": id })).collect();
    let resource = json!({ "schemas": [GROUP], "displayName": name, "members": members });
    scim::<CreateGroup>(world, json!({ "resource": resource })).await.unwrap()["id"].as_str().unwrap().to_owned()
}

async fn members(world: &World, group: &str) -> Vec<String> {
    let group = scim::<GetGroup>(world, json!({ "id": group })).await.unwrap();
    let mut members: Vec<String> = group["members"]
        .as_array()
        .map(|all| all.iter().map(|member| member["value"].as_str().unwrap().to_owned()).collect())
        .unwrap_or_default();
    members.sort();
    members
}

#[test]
fn filters_select_what_they_say() {
    let file: Value = serde_json::from_str(&fs::read_to_string("tests/data/scim/filters.json").unwrap()).unwrap();
    for case in file["cases"].as_array().unwrap() {
        let filter = case["filter"].as_str().unwrap();
        let mut found = Vec::new();
        let mut error = None;
        for (name, document) in file["documents"].as_object().unwrap() {
            match fits("User", filter, document.as_object().unwrap()) {
                Ok(true) => found.push(name.as_str()),
                Ok(false) => {}
                Err(refused) => error = Some(format!("{:?}", refused.kind)),
            }
        }
        assert_eq!(error.as_deref(), case["error"].as_str(), "{filter}");
        if error.is_none() {
            let wanted: Vec<&str> = case["fits"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            assert_eq!(found, wanted, "{filter}: {}", case["why"]);
        }
    }
}

#[test]
fn patches_change_what_they_say() {
    let cases: Value = serde_json::from_str(&fs::read_to_string("tests/data/scim/patches.json").unwrap()).unwrap();
    for case in cases.as_array().unwrap() {
        let mut before = object(case["before"].clone());
        before.insert("schemas".to_owned(), json!([USER]));
        let outcome = patched("User", before, &object(json!({ "Operations": case["operations"] })));
        match &case["error"] {
            Value::Null => {
                let after = outcome.unwrap_or_else(|error| panic!("{}: {error}", case["name"]));
                assert_eq!(Value::Object(after), case["after"], "{}", case["name"]);
            }
            wanted => assert_eq!(format!("{:?}", kind(outcome)), wanted.as_str().unwrap(), "{}", case["name"]),
        }
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let name = prop::sample::select(vec![
        "value",
        "type",
        "primary",
        "emails",
        "name",
        "active",
        "userName",
        "schemas",
        "members",
        "$ref",
        "title",
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z\u{e9}\"\\\\ ]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())),
        ]
    })
}

proptest! {
    /// Whatever is asked: an answer or an error; and what is refused for one document is refused for all.
    #[test]
    fn any_filter_is_answered(filter in r#"[a-zA-Z0-9 ."\[\]()\\:$-]{0,60}|(not )?\(?(userName|emails|name.familyName|active|meta.created)(\[type eq "work"\])? (eq|ne|co|pr|gt) ?("[a-z]*"|true|null|1)?\)? ?(and|or)? ?(title pr)?"#) {
        let full = object(json!({ "userName": "a", "emails": [{ "value": "x", "type": "work" }], "active": true }));
        let empty = Map::new();
        prop_assert_eq!(fits("User", &filter, &full).is_ok(), fits("User", &filter, &empty).is_ok());
        let _ = fits("Group", &filter, &full);
    }

    /// Whatever is asked, and whatever there was: an answer or an error, and the answer is a resource that can be read again.
    #[test]
    fn any_patch_is_answered(
        verb in prop::sample::select(vec!["add", "remove", "replace"]),
        path in prop::option::of(prop::sample::select(vec![
            "emails", "emails.value", "emails[type eq \"work\"]", "emails[type eq \"work\"].value", "name", "name.givenName", "active",
            "userName", "title", "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User", "roles[primary eq true].value",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager",
            "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User:manager.value",
        ])),
        value in json_value(),
        again in json_value(),
    ) {
        let before = object(json!({ "schemas": [USER], "userName": "a" }));
        let request = object(json!({ "Operations": [{ "op": verb, "path": path, "value": value }, { "op": "add", "path": "emails", "value": again }] }));
        if let Ok(mut after) = patched("User", before, &request) {
            after.insert("schemas".to_owned(), json!([USER]));
            let nothing = object(json!({ "Operations": [{ "op": "add", "value": {} }] }));
            let same = patched("User", after.clone(), &nothing);
            after.remove("schemas");
            prop_assert_eq!(same.unwrap(), after);
        }
    }
}

#[tokio::test]
async fn somebody_is_made_found_changed_and_removed() {
    let world = World::demo().await;
    let resource = json!({
        "schemas": [USER, "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"], "userName": "Kim@Example.com", "externalId": "00u1",
        "name": { "givenName": "Kim", "familyName": "Park" }, "emails": [{ "value": "kim@example.com", "type": "work", "primary": true }],
        "password": "never kept", "nonsense": true,
        "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User": { "department": "Research" },
    });
    let made = scim::<CreateUser>(&world, json!({ "resource": resource })).await.unwrap();
    assert_eq!((made.get("displayName"), made.get("password"), made.get("nonsense")), (None, None, None));
    assert_eq!(made["active"], true);
    assert_eq!(made["meta"]["version"], "W/\"1\"");
    let id = made["id"].as_str().unwrap().to_owned();
    let mut twin = resource.clone();
    twin["userName"] = "KIM@example.com".into();
    assert_eq!(kind(scim::<CreateUser>(&world, json!({ "resource": twin })).await), ErrorKind::AlreadyExists);

    for (filter, wanted) in [
        ("userName eq \"kim@EXAMPLE.com\"", 1),
        ("externalId eq \"00u1\"", 1),
        ("emails co \"example.com\"", 3),
        ("userName eq \"x\"", 0),
    ] {
        let list = scim::<ListUsers>(&world, json!({ "filter": filter, "attributes": "userName" })).await.unwrap();
        assert_eq!(list["totalResults"], wanted, "{filter}");
        for found in list["Resources"].as_array().unwrap() {
            let mut names: Vec<&String> = found.as_object().unwrap().keys().collect();
            names.sort();
            assert_eq!(names, ["id", "schemas", "userName"]);
        }
    }
    let page =
        scim::<ListUsers>(&world, json!({ "startIndex": "2", "count": "1", "excludedAttributes": "emails,name.givenName" }))
            .await
            .unwrap();
    assert_eq!((&page["totalResults"], &page["startIndex"], &page["itemsPerPage"]), (&json!(3), &json!(2), &json!(1)));
    let none = scim::<ListUsers>(&world, json!({ "startIndex": "-5", "count": "-1" })).await.unwrap();
    assert_eq!((&none["totalResults"], &none["startIndex"], &none["itemsPerPage"]), (&json!(3), &json!(1), &json!(0)));
    assert_eq!(kind(scim::<ListUsers>(&world, json!({ "count": "many" })).await), ErrorKind::InvalidInput);

    // The stable id stays when everything else changes.
    let rename =
        json!({ "Operations": [{ "op": "replace", "value": { "userName": "kim.lee", "name": { "familyName": "Lee" } } }] });
    let stale = json!({ "id": id, "resource": rename, "ifMatch": "W/\"7\"" });
    assert_eq!(kind(scim::<PatchUser>(&world, stale).await), ErrorKind::PreconditionFailed);
    let renamed = scim::<PatchUser>(&world, json!({ "id": id, "resource": rename, "ifMatch": "W/\"1\"" })).await.unwrap();
    assert_eq!((&renamed["id"], &renamed["userName"]), (&json!(id), &json!("kim.lee")));
    let shown = world.root(MANAGEMENT).call(SearchUsers { text: "kim".to_owned(), after: String::new() }).await.unwrap();
    assert_eq!(shown.users[0].display_name, "Kim Lee", "made of the parts of the name");
    assert_eq!(renamed["meta"]["version"], "W/\"2\"");
    let taken = json!({ "Operations": [{ "op": "replace", "path": "userName", "value": "JANE@example.com" }] });
    assert_eq!(kind(scim::<PatchUser>(&world, json!({ "id": id, "resource": taken })).await), ErrorKind::AlreadyExists);
    let bad = json!({ "Operations": [{ "op": "replace", "path": "emails", "value": [{ "value": "no address" }] }] });
    assert_eq!(kind(scim::<PatchUser>(&world, json!({ "id": id, "resource": bad })).await), ErrorKind::InvalidInput);

    // What is left out of a whole resource is gone, but nobody comes back to life by it.
    let off = json!({ "Operations": [{ "op": "replace", "path": "active", "value": false }] });
    scim::<PatchUser>(&world, json!({ "id": id, "resource": off })).await.unwrap();
    let whole = json!({ "schemas": [USER], "userName": "kim.lee", "id": "u-other", "meta": {} });
    let put = scim::<PutUser>(&world, json!({ "id": id, "resource": whole })).await.unwrap();
    assert_eq!((&put["id"], &put["active"], put.get("externalId"), put.get("emails")), (&json!(id), &json!(false), None, None));

    scim::<DeleteUser>(&world, json!({ "id": id })).await.unwrap();
    assert_eq!(kind(scim::<GetUser>(&world, json!({ "id": id })).await), ErrorKind::NoSuchEntity);
    assert_eq!(kind(scim::<DeleteUser>(&world, json!({ "id": id })).await), ErrorKind::NoSuchEntity);
}

#[tokio::test]
async fn groups_have_members_and_keep_them_when_renamed() {
    let world = World::demo().await;
    let (ann, bob, cy) = (create(&world, "ann").await, create(&world, "bob").await, create(&world, "cy").await);
    let mut both = vec![ann.clone(), bob.clone()];
    both.sort();
    let id = create_group(&world, "Auditors", &[&ann, &bob]).await;
    assert_eq!(members(&world, &id).await, both);
    let twin = json!({ "schemas": [GROUP], "displayName": "AUDITORS" });
    assert_eq!(kind(scim::<CreateGroup>(&world, json!({ "resource": twin })).await), ErrorKind::AlreadyExists);
    let patch = async |operations: Value| {
        scim::<PatchGroup>(&world, json!({ "id": id, "resource": { "Operations": operations } })).await.map(drop)
    };
    patch(json!([{ "op": "replace", "value": { "id": id, "displayName": "Revision" } }])).await.unwrap();
    assert_eq!(members(&world, &id).await, both, "a new name changes no member");
    let user = scim::<GetUser>(&world, json!({ "id": ann })).await.unwrap();
    assert_eq!((&user["groups"][0]["value"], &user["groups"][0]["display"]), (&json!(id), &json!("Revision")));

    patch(json!([{ "op": "Add", "path": "members", "value": [{ "value": cy }, { "value": ann }] }])).await.unwrap();
    assert_eq!(members(&world, &id).await.len(), 3);
    patch(json!([{ "op": "remove", "path": format!("members[value eq \"{cy}\"]") }])).await.unwrap();
    patch(json!([{ "op": "Remove", "path": "members", "value": [{ "value": bob }] }])).await.unwrap();
    assert_eq!(members(&world, &id).await, [ann.as_str()]);
    patch(json!([{ "op": "add", "path": "members", "value": [{ "value": cy }] }, { "op": "remove", "path": "members[type eq \"User\"]" }])).await.unwrap();
    assert_eq!(members(&world, &id).await, [""; 0], "one operation after the other");
    patch(json!([{ "op": "replace", "path": "members", "value": [{ "value": bob }, { "value": ann }] }])).await.unwrap();
    assert_eq!(members(&world, &id).await, both);
    for (filter, wanted) in [
        (format!("members eq \"{ann}\""), 1),
        (format!("id eq \"{id}\" and members.value eq \"{cy}\""), 0),
        (format!("displayName eq \"revision\" and members.value eq \"{bob}\""), 1),
        ("members pr".to_owned(), 3),
    ] {
        let list = scim::<ListGroups>(&world, json!({ "filter": filter, "excludedAttributes": "members" })).await.unwrap();
        assert_eq!(list["totalResults"], wanted, "{filter}");
        assert!(list["Resources"].as_array().unwrap().iter().all(|group| group.get("members").is_none()), "{filter}");
    }
    // All of a request, or nothing of it.
    let nobody =
        json!([{ "op": "remove", "path": "members" }, { "op": "add", "path": "members", "value": [{ "value": "u-nobody" }] }]);
    assert_eq!(kind(patch(nobody).await), ErrorKind::InvalidInput);
    assert_eq!(members(&world, &id).await, both);
    for (operation, wanted) in [
        (json!({ "op": "add", "path": "members", "value": [{ "value": id, "type": "Group" }] }), ErrorKind::InvalidInput),
        (json!({ "op": "add", "path": "members.display", "value": "x" }), ErrorKind::InvalidPath),
        (json!({ "op": "replace", "path": "displayName", "value": "" }), ErrorKind::InvalidInput),
        (json!({ "op": "remove", "path": "displayName" }), ErrorKind::InvalidInput),
        (json!({ "op": "replace", "path": "displayName", "value": "Admins" }), ErrorKind::AlreadyExists),
    ] {
        assert_eq!(kind(patch(json!([operation])).await), wanted, "{operation}");
    }
    let whole = json!({ "schemas": [GROUP], "displayName": "Revision", "members": [{ "value": cy }] });
    scim::<PutGroup>(&world, json!({ "id": id, "resource": whole })).await.unwrap();
    assert_eq!(members(&world, &id).await, [cy.as_str()]);
    scim::<DeleteUser>(&world, json!({ "id": cy })).await.unwrap();
    assert_eq!(members(&world, &id).await, [""; 0]);
    scim::<DeleteGroup>(&world, json!({ "id": id })).await.unwrap();
    assert_eq!(kind(scim::<GetGroup>(&world, json!({ "id": id })).await), ErrorKind::NoSuchEntity);
}

/// A request of many small steps makes no list that takes long to look through.
#[test]
fn a_thousand_operations_make_no_long_list() {
    let values = |from: usize| (from..from + 60).map(|number| json!(format!("{number}"))).collect::<Vec<_>>();
    let steps: Vec<Value> = (0..1000).map(|step| json!({ "op": "add", "path": "emails", "value": values(60 * step) })).collect();
    let before = object(json!({ "schemas": [USER], "userName": "a" }));
    assert_eq!(kind(patched("User", before, &object(json!({ "Operations": steps })))), ErrorKind::InvalidInput);
}

/// People and groups that were made here are for the day the provider fails.
#[tokio::test]
async fn a_token_reaches_what_a_scim_client_made_and_no_further() {
    let world = World::demo().await;
    let root = world.root(MANAGEMENT);
    let jane = root.call(SearchUsers { text: "jane".to_owned(), after: String::new() }).await.unwrap().users[0].id.clone();
    let admins = scim::<ListGroups>(&world, json!({ "filter": "displayName eq \"admins\"" })).await.unwrap();
    let admins = admins["Resources"][0]["id"].as_str().unwrap().to_owned();
    let mallory = create(&world, "mallory").await;
    let off = json!({ "Operations": [{ "op": "replace", "path": "active", "value": false }] });
    let join = json!({ "Operations": [{ "op": "add", "path": "members", "value": [{ "value": mallory }] }] });
    let resource = json!({ "schemas": [GROUP], "displayName": "mine" });
    assert_eq!(kind(scim::<PatchUser>(&world, json!({ "id": jane, "resource": off })).await), ErrorKind::AccessDenied);
    assert_eq!(kind(scim::<DeleteUser>(&world, json!({ "id": jane })).await), ErrorKind::AccessDenied);
    assert_eq!(kind(scim::<PatchGroup>(&world, json!({ "id": admins, "resource": join })).await), ErrorKind::AccessDenied);
    assert_eq!(kind(scim::<PutGroup>(&world, json!({ "id": admins, "resource": resource })).await), ErrorKind::AccessDenied);
    assert_eq!(kind(scim::<DeleteGroup>(&world, json!({ "id": admins })).await), ErrorKind::AccessDenied);

    let wish = || serde_json::from_value::<PatchUser>(json!({ "id": mallory, "resource": off })).unwrap();
    let group = || serde_json::from_value::<CreateGroup>(json!({ "resource": resource })).unwrap();
    assert_eq!(kind(world.caller(provisioner(TokenScope::Read, true)).call(wish()).await), ErrorKind::AccessDenied);
    assert_eq!(kind(world.caller(provisioner(TokenScope::Users, true)).call(group()).await), ErrorKind::AccessDenied);
    world.caller(provisioner(TokenScope::Users, false)).call(wish()).await.unwrap();
    assert_eq!(kind(world.nobody().call(wish()).await), ErrorKind::MissingCredentials);
    assert_eq!(kind(root.call(wish()).await), ErrorKind::MissingCredentials, "no signature stands for a token");
    assert_eq!(
        kind(world.caller(provisioner(TokenScope::UsersAndGroups, true)).call(ListBearerTokens {}).await),
        ErrorKind::MissingCredentials,
        "and no token for a signature"
    );

    // Who was put into a group here stays in it, and nobody else is put in.
    let group = create_group(&world, "by-scim", &[&mallory]).await;
    let join_jane = json!({ "Operations": [{ "op": "add", "path": "members", "value": [{ "value": jane }] }] });
    assert_eq!(kind(scim::<PatchGroup>(&world, json!({ "id": group, "resource": join_jane })).await), ErrorKind::AccessDenied);
    let version = world.version_of(&jane).await;
    let (email, display_name) = ("jane@example.com".to_owned(), "Jane".to_owned());
    let groups = vec!["admins".to_owned().try_into().unwrap(), "by-scim".to_owned().try_into().unwrap()];
    root.call(UpdateUser { id: jane.clone(), email, display_name, groups, disabled: false, version }).await.unwrap();
    let nobody = json!({ "Operations": [{ "op": "replace", "path": "members", "value": [] }] });
    scim::<PatchGroup>(&world, json!({ "id": group, "resource": nobody })).await.unwrap();
    assert_eq!(members(&world, &group).await, [jane.as_str()]);
    let rename = json!({ "Operations": [{ "op": "replace", "path": "displayName", "value": "other" }] });
    assert_eq!(kind(scim::<PatchGroup>(&world, json!({ "id": group, "resource": rename })).await), ErrorKind::AccessDenied);
    assert_eq!(kind(scim::<DeleteGroup>(&world, json!({ "id": group })).await), ErrorKind::AccessDenied);

    // With leave, they are taken over.
    let take: PatchGroup = serde_json::from_value(json!({ "id": admins, "resource": join })).unwrap();
    world.caller(provisioner(TokenScope::UsersAndGroups, true)).call(take).await.unwrap();
    scim::<PatchGroup>(&world, json!({ "id": admins, "resource": join })).await.unwrap();

    // What a SCIM client keeps is not missing in the organization's document.
    world.apply(parse(DEMO, "toml").unwrap(), true).await.unwrap();
    scim::<GetUser>(&world, json!({ "id": mallory })).await.unwrap();
    let again = world.apply(parse(DEMO, "toml").unwrap(), true).await.unwrap();
    assert_eq!(again.changes, []);
}

/// Whom the provider has switched off, no document switches on by listing them, however often.
#[tokio::test]
async fn a_document_that_lists_somebody_does_not_switch_them_on() {
    let world = World::demo().await;
    let kim = create(&world, "kim").await;
    let off = json!({ "Operations": [{ "op": "replace", "path": "active", "value": false }] });
    scim::<PatchUser>(&world, json!({ "id": kim, "resource": off })).await.unwrap();
    let listed = format!("{DEMO}\n[[users]]\nname = \"kim\"\nemail = \"kim@example.com\"\ndisplay_name = \"Kim\"\n");
    for _ in 0..3 {
        world.apply(parse(&listed, "toml").unwrap(), false).await.unwrap();
        assert_eq!(scim::<GetUser>(&world, json!({ "id": kim })).await.unwrap()["active"], false);
    }
}

#[tokio::test]
async fn tokens_are_made_once_and_end() {
    let world = World::demo().await;
    let root = world.root(MANAGEMENT);
    let wish = |name: &str, days| CreateBearerToken { name: name.to_owned(), scope: TokenScope::Users, takeover: false, days };
    let made = root.call(wish("Okta", 1)).await.unwrap();
    assert!(made.token.expose().starts_with("dpscim_"));
    assert_eq!(kind(root.call(wish(" Okta ", 1)).await), ErrorKind::AlreadyExists);
    for (name, days) in [("", 1), ("x", 0), ("x", 367)] {
        assert_eq!(kind(root.call(wish(name, days)).await), ErrorKind::InvalidInput, "{name} {days}");
    }
    let listed = root.call(ListBearerTokens {}).await.unwrap().tokens;
    assert_eq!((listed.len(), listed[0].over), (1, false));
    assert_eq!(
        kind(world.session("333344445555", "Developer", &["developers"]).call(wish("x", 1)).await),
        ErrorKind::AccessDenied
    );
    world.clock.advance(86_400);
    let root = world.root(MANAGEMENT);
    assert!(root.call(ListBearerTokens {}).await.unwrap().tokens[0].over);
    root.call(DeleteBearerToken { id: listed[0].id.clone() }).await.unwrap();
    assert_eq!(kind(root.call(DeleteBearerToken { id: listed[0].id.clone() }).await), ErrorKind::NoSuchEntity);
}
