//! `daypass apply`: plans, idempotence, and errors a person can act on.

use crate::world::{DEMO, World};
use daypass::{
    api::apply::{PlanOrganization, Verb},
    cli::apply::{line_of, parse},
};

#[tokio::test]
async fn what_a_source_asks_for_besides_is_a_change() {
    let world = World::demo().await;
    let text = DEMO.replace("type = \"directory\"", "type = \"directory\"\nsecond_factor = { required = \"always\" }");
    let plan = world.apply(parse(&text, "toml").unwrap(), false).await.unwrap();
    assert_eq!(plan.changes.iter().flat_map(|change| change.parts.clone()).collect::<Vec<_>>(), ["second_factor"]);
}

#[tokio::test]
async fn applying_twice_changes_nothing_and_pruning_deletes_the_rest() {
    let world = World::demo().await;
    let again = world.apply(parse(DEMO, "toml").unwrap(), true).await.unwrap();
    assert!(again.changes.is_empty(), "{:?}", again.changes);

    let changed = DEMO.replace("Build and break things in the sandbox.", "Build things.");
    let (kept, _) = changed.split_once("[[roles]]\naccount = \"333344445555\"\nname = \"Pipeline\"").unwrap();
    let plan = world
        .operator()
        .call(PlanOrganization { file: parse(kept, "toml").unwrap(), prune: false, new_passwords: false })
        .await
        .unwrap();
    assert_eq!(plan.unlisted, ["role 333344445555/Pipeline"]);
    assert_eq!(plan.changes.len(), 1);
    assert_eq!((plan.changes[0].verb, plan.changes[0].parts.as_slice()), (Verb::Update, ["description"].as_slice()));
    let id = world.gateway.snapshot().role(&"333344445555".to_owned().try_into().unwrap(), "developer").unwrap().role.id.clone();
    let pruned = world.apply(parse(kept, "toml").unwrap(), true).await.unwrap();
    assert!(pruned.changes.iter().any(|change| change.verb == Verb::Delete && change.what == "role 333344445555/Pipeline"));
    let after = world.gateway.snapshot();
    assert!(after.role(&"333344445555".to_owned().try_into().unwrap(), "Pipeline").is_none());
    assert_eq!(
        after.role(&"333344445555".to_owned().try_into().unwrap(), "Developer").unwrap().role.id,
        id,
        "an update keeps the id"
    );
}

#[test]
fn the_same_organization_in_yaml() {
    let yaml = "organization:\n  name: O\n  management_account: '111122223333'\naccounts:\n  - id: '111122223333'\n    name: M\nroles:\n  - account: '111122223333'\n    name: R\n    trust_policy:\n      Version: '2012-10-17'\n      Statement:\n        - Effect: Allow\n          Principal: { AWS: '111122223333' }\n          Action: sts:AssumeRole\n";
    assert_eq!(parse(yaml, "yaml").unwrap().roles.len(), 1);
    let error = parse(&yaml.replace("Effect: Allow", "Effect: allow"), "yml").unwrap_err();
    assert!(
        error.contains("line ") && error.contains("roles[0].trust_policy") && error.contains("\"Allow\" or \"Deny\""),
        "{error}"
    );
}

#[tokio::test]
async fn bad_files_name_line_key_and_what_was_expected() {
    let cases: &[(&str, &str, &[&str])] = &[
        (
            "management_account = \"111122223333\"",
            "management_account = \"1111\"",
            &["line 5", "organization.management_account", "12 digits"],
        ),
        ("name = \"Sandbox\"", "nome = \"Sandbox\"", &["line ", "accounts[2]", "unknown field `nome`"]),
        ("type = \"directory\"", "type = \"ldap\"", &["identity_sources[0].type", "unknown variant `ldap`", "saml"]),
        (
            "Sid = \"Developers\"\nEffect = \"Allow\"",
            "Sid = \"Developers\"\nEffect = \"Alow\"",
            &["line ", "roles[3].trust_policy", "/Statement/0/Effect"],
        ),
        (
            "account = \"222233334444\"\nname = \"Deployer\"",
            "account = \"999999999999\"\nname = \"Deployer\"",
            &["line 68, roles[1].account", "there is no account 999999999999"],
        ),
        ("groups = [\"developers\"]", "groups = [\"devs\"]", &["line ", "users[1].groups", "there is no group devs"]),
        (
            "[[groups]]\nname = \"admins\"",
            "[[identity_providers]]\naccount = \"222233334444\"\nname = \"x\"\ntype = \"oidc\"\nissuer = \"https://directory\"\naudiences = [\"a\"]\n[[groups]]\nname = \"admins\"",
            &["identity source people", "222233334444/x", "oidc-provider/directory"],
        ),
        ("max_session_seconds = 14400", "max_session_seconds = 60", &["roles[0].max_session_seconds", "3600 to 43200"]),
    ];
    for (from, to, expected) in cases {
        assert!(DEMO.contains(from), "{from}");
        let text = DEMO.replacen(from, to, 1);
        let error = match parse(&text, "toml") {
            Err(error) => error,
            Ok(file) => {
                let error = World::empty().await.apply(file, false).await.unwrap_err().public;
                line_of(&text, &error).map(|line| format!("line {line}, {error}")).unwrap_or(error)
            }
        };
        for word in *expected {
            assert!(error.contains(word), "{to}: expected `{word}` in: {error}");
        }
    }
}
