//! The pipeline: authorization, audit, codecs.

use crate::world::{DEMO, MANAGEMENT, SeededRandom, World, directory_assertion, open};
use daypass::{
    api::{
        apply::{ApplyOrganization, PlanOrganization},
        iam::{
            roles::{CreateRole, DeleteRole, GetRole, UpdateAssumeRolePolicy},
            simulate_policy::{ContextEntry, SimulateCustomPolicy, SimulatePrincipalPolicy, SimulationResults},
        },
        signin::{Answer, BeginSignIn, CompleteSignIn, CompletedSignIn},
        sso::{GetRoleCredentials, Logout, portal::ListRoleOffers},
        sso_oidc::{RegisterClient, StartDeviceAuthorization},
    },
    cli::apply::parse,
    domain::{
        Arn, Clock as _, Error, ErrorKind, Secret, Timestamp,
        name::{AccountId, RoleName},
        session::{PortalSession, Principal},
    },
    federation::Arrival,
    gateway::query::{from_parameters, to_json, to_xml},
    signin::step::Continuation,
};
use serde::{Deserialize, Serialize};

const TRUST: &str =
    r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}]}"#;

fn name(text: &str) -> RoleName {
    RoleName::parse(text).unwrap()
}

fn create(role: &str) -> CreateRole {
    CreateRole {
        role_name: name(role),
        assume_role_policy_document: TRUST.to_owned(),
        path: None,
        description: None,
        max_session_duration: None,
    }
}

#[tokio::test]
async fn a_change_and_its_audit_record_come_together() {
    let world = World::demo().await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let before = world
        .gateway
        .broker
        .store
        .read()
        .audit_events(None, &daypass::store::AuditFilter::default(), None, 1000)
        .await
        .unwrap()
        .0
        .len();
    admin.call(create("New")).await.unwrap();
    assert_eq!(admin.call(create("new")).await.unwrap_err().kind, ErrorKind::AlreadyExists);
    let events =
        world.gateway.broker.store.read().audit_events(None, &crate::world::events("CreateRole"), None, 10).await.unwrap().0;
    assert_eq!(events.len(), 2);
    assert_eq!(events[1].error_code, None);
    assert_eq!(events[1].principal, "arn:aws:sts::111122223333:assumed-role/Administrator/jane");
    assert_eq!(events[1].detail["roleArn"], "arn:aws:iam::111122223333:role/New");
    assert_eq!(events[0].error_code.as_deref(), Some("AlreadyExists"));
    let after = world
        .gateway
        .broker
        .store
        .read()
        .audit_events(None, &daypass::store::AuditFilter::default(), None, 1000)
        .await
        .unwrap()
        .0
        .len();
    assert_eq!(after, before + 2);
}

#[tokio::test]
async fn a_refusal_is_audited_and_tells_nothing_about_what_exists() {
    let world = World::demo().await;
    let developer = world.session("333344445555", "Developer", &["developers"]);
    let there = developer.call(GetRole { role_name: name("Pipeline") }).await.unwrap_err();
    let missing = developer.call(GetRole { role_name: name("Nobody") }).await.unwrap_err();
    assert_eq!((there.kind, missing.kind), (ErrorKind::AccessDenied, ErrorKind::AccessDenied));
    assert_eq!(there.public.replace("Pipeline", "Nobody"), missing.public);
    assert!(there.public.contains("because no identity-based policy allows the iam:GetRole action"), "{}", there.public);
    let events =
        world.gateway.broker.store.read().audit_events(None, &crate::world::events("GetRole"), None, 10).await.unwrap().0;
    assert_eq!(events.len(), 2);
}

#[tokio::test]
async fn a_session_ends_with_its_role_even_if_the_role_is_made_anew() {
    let world = World::demo().await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let role = admin.call(create("Brief")).await.unwrap().role;
    admin.call(DeleteRole { role_name: name("Brief") }).await.unwrap();
    let again = admin.call(create("Brief")).await.unwrap().role;
    assert_ne!(role.role_id, again.role_id);
    assert!(world.gateway.snapshot().role_by_id(&role.role_id).is_none());
}

#[tokio::test]
async fn trust_in_a_role_ends_with_the_role() {
    let world = World::demo().await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let trusted = admin.call(create("Worker")).await.unwrap().role;
    let naming = |principal: &str| {
        format!(
            r#"{{"Version":"2012-10-17", "Statement":[{{"Effect":"Allow","Principal":{{"AWS":["{principal}"]}},"Action":"sts:AssumeRole"}}]}}"#
        )
    };
    let trusting = |principal: &str| CreateRole { assume_role_policy_document: naming(principal), ..create("Vault") };
    let worker = "arn:aws:iam::111122223333:role/Worker";
    let session = "arn:aws:sts::111122223333:assumed-role/Worker/jane";

    for nobody in [
        "arn:aws:iam::111122223333:role/Nobody",
        "arn:aws:iam::111122223333:user/jane",
        "999999999999",
        "arn:aws-cn:iam::111122223333:root",
        "arn:aws:sts::111122223333:assumed-role/Worker/",
        "arn:aws:sts::111122223333:assumed-role/Worker/a b",
        "AROANOBODYATALL000000",
    ] {
        let refused = admin.call(trusting(nobody)).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::MalformedPolicy);
        assert_eq!(refused.public, format!("Invalid principal in policy: \"AWS\":\"{nobody}\""));
    }
    // The text keeps its form; what is stored is the id, what is shown is the name.
    let vault = admin.call(trusting(worker)).await.unwrap().role;
    assert_eq!(vault.assume_role_policy_document.0, naming(worker));
    let stored = |world: &World| world.gateway.snapshot().role_by_id(&vault.role_id).unwrap().role.trust_policy.to_string();
    assert_eq!(stored(&world), naming(&trusted.role_id));
    let update = |text: String| UpdateAssumeRolePolicy { role_name: name("Vault"), policy_document: text };
    admin.call(update(naming(session))).await.unwrap();
    assert_eq!(stored(&world), naming(&format!("{}:jane", trusted.role_id)));
    let shown = admin.call(GetRole { role_name: name("Vault") }).await.unwrap().role;
    assert_eq!(shown.assume_role_policy_document.0, naming(session));
    admin.call(update(naming(worker))).await.unwrap();

    admin.call(DeleteRole { role_name: name("Worker") }).await.unwrap();
    let again = admin.call(create("Worker")).await.unwrap().role;
    assert_ne!(again.role_id, trusted.role_id);
    let shown = admin.call(GetRole { role_name: name("Vault") }).await.unwrap().role;
    assert_eq!(shown.assume_role_policy_document.0, naming(&trusted.role_id), "the trust went with the role");
}

#[tokio::test]
async fn reserved_paths_are_not_for_anybody() {
    let world = World::demo().await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    for path in ["/aws-service-role/mine/", "/AWS-Service-Role/", "/aws-reserved/sso.amazonaws.com/"] {
        let refused = admin.call(CreateRole { path: Some(path.to_owned()), ..create("Mine") }).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::InvalidInput, "{path}");
    }
}

#[tokio::test]
async fn a_trust_policy_that_leaves_a_shared_issuer_open_is_not_stored() {
    let world = World::demo().await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let trust = |more: &str| {
        let issuer = "token.actions.githubusercontent.com";
        format!(
            r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Federated":"arn:aws:iam::111122223333:oidc-provider/{issuer}"}},"Action":"sts:AssumeRoleWithWebIdentity","Condition":{{"StringEquals":{{"{issuer}:aud":"x"{more}}}}}}}]}}"#
        )
    };
    let open = CreateRole { assume_role_policy_document: trust(""), ..create("Deploy") };
    let refused = admin.call(open).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::MalformedPolicy);
    assert!(refused.public.contains("every tenant of token.actions.githubusercontent.com"), "{}", refused.public);
    let sub = r#","token.actions.githubusercontent.com:sub":"repo:octo/app:environment:prod""#;
    admin.call(CreateRole { assume_role_policy_document: trust(sub), ..create("Deploy") }).await.unwrap();
}

#[tokio::test]
async fn policies_are_simulated_with_the_statements_that_decide() {
    let world = World::demo().await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let policy = "{\"Version\": \"2012-10-17\", \"Statement\": [\n {\"Effect\": \"Allow\", \"Action\": \"s3:*\", \"Resource\": \"*\"},\n {\"Effect\": \"Deny\", \"Action\": \"s3:Put*\", \"Resource\": \"*\",\n  \"Condition\": {\"Bool\": {\"aws:SecureTransport\": \"false\"}}}]}";
    let simulate = |secure: Option<&str>| SimulateCustomPolicy {
        policy_input_list: vec![policy.to_owned()],
        permissions_boundary_policy_input_list: Vec::new(),
        action_names: vec!["s3:GetObject".to_owned(), "s3:PutObject".to_owned(), "iam:GetRole".to_owned()],
        resource_arns: vec!["arn:aws:s3:::b/o".to_owned()],
        resource_policy: None,
        resource_owner: None,
        caller_arn: None,
        context_entries: secure
            .iter()
            .map(|value| ContextEntry {
                context_key_name: "aws:SecureTransport".to_owned(),
                context_key_values: vec![(*value).to_owned()],
                context_key_type: Some("boolean".to_owned()),
            })
            .collect(),
        resource_handling_option: None,
        marker: None,
        max_items: None,
    };
    let decisions = |results: SimulationResults| -> Vec<_> {
        let each = results.evaluation_results.into_iter();
        each.map(|result| {
            (
                result.eval_decision,
                result.matched_statements.first().map(|m| (m.start_position.line, m.end_position.line)),
                result.missing_context_values,
            )
        })
        .collect()
    };
    let none = Vec::<String>::new;
    let without = decisions(admin.call(simulate(None)).await.unwrap());
    let missing = vec!["aws:SecureTransport".to_owned()];
    assert_eq!(without, [("allowed", Some((2, 2)), none()), ("allowed", Some((2, 2)), missing), ("implicitDeny", None, none())]);
    let plain = decisions(admin.call(simulate(Some("false"))).await.unwrap());
    assert_eq!(
        plain,
        [("allowed", Some((2, 2)), none()), ("explicitDeny", Some((3, 4)), none()), ("implicitDeny", None, none())]
    );

    let of_role = SimulatePrincipalPolicy {
        policy_source_arn: Arn::parse("arn:aws:iam::111122223333:role/Administrator").unwrap(),
        policy_input_list: vec![policy.to_owned()],
        permissions_boundary_policy_input_list: vec![policy.to_owned()],
        action_names: vec!["s3:GetObject".to_owned(), "iam:GetRole".to_owned()],
        resource_arns: Vec::new(),
        resource_policy: None,
        resource_owner: None,
        caller_arn: None,
        context_entries: Vec::new(),
        resource_handling_option: None,
        marker: None,
        max_items: None,
    };
    let results = admin.call(of_role).await.unwrap().evaluation_results;
    let bounded = |index: usize| {
        let result = &results[index];
        let detail = result.permissions_boundary_decision_detail.as_ref().unwrap();
        (result.eval_decision, detail.allowed_by_permissions_boundary)
    };
    assert_eq!((bounded(0), bounded(1)), (("allowed", true), ("implicitDeny", false)));
    assert!(results[0].matched_statements.iter().any(|matched| matched.source_policy_id == "AdministratorAccess"));
}

#[tokio::test]
async fn a_trust_policy_that_is_changed_decides_at_once() {
    let world = World::demo().await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let person = world.person(&["admins"]);
    let wish = || GetRoleCredentials { role_name: "administrator".to_owned(), account_id: AccountId::parse(MANAGEMENT).unwrap() };
    person.call(wish()).await.unwrap();
    let update = UpdateAssumeRolePolicy { role_name: name("Administrator"), policy_document: TRUST.to_owned() };
    admin.call(update).await.unwrap();
    assert_eq!(person.call(wish()).await.unwrap_err().kind, ErrorKind::AccessDenied);
}

#[tokio::test]
async fn a_person_s_session_follows_the_directory_and_ends_with_the_one_that_lent_it() {
    let world = World::demo().await;
    let users = world.gateway.broker.store.read().users().await.unwrap();
    let jane = users.iter().find(|user| user.name.as_str() == "jane@example.com").unwrap();
    let session = |id: &str, lent_by: Option<&str>| {
        let mut identity = directory_assertion(&["stale"]);
        identity.subject.clone_from(&jane.id);
        identity.claims.insert("directory:sub".to_owned(), vec![jane.id.clone()]);
        let (started, expires) = (world.clock.now(), world.clock.now().plus_seconds(3600));
        PortalSession {
            id: id.to_owned(),
            lent_by: lent_by.map(str::to_owned),
            identity,
            at_provider: None,
            factor_given: None,
            vouched: None,
            started,
            expires,
        }
    };
    let Principal::Person(person) = world.gateway.person(session("a", None)).await.unwrap() else { panic!("a person") };
    assert_eq!(person.identity.claims["directory:groups"], ["admins", "developers"], "groups are read anew");

    world.caller(Principal::Person(person)).call(Logout {}).await.unwrap();
    assert_eq!(world.gateway.person(session("a", None)).await.unwrap_err().kind, ErrorKind::InvalidBearer, "signed out");
    assert_eq!(world.gateway.person(session("b", Some("a"))).await.unwrap_err().kind, ErrorKind::InvalidBearer, "lent by it");
    world.gateway.person(session("c", None)).await.unwrap();

    let disabled = DEMO.replace("display_name = \"Jane Doe\"", "display_name = \"Jane Doe\"\ndisabled = true");
    world.apply(parse(&disabled, "toml").unwrap(), false).await.unwrap();
    assert_eq!(world.gateway.person(session("c", None)).await.unwrap_err().kind, ErrorKind::InvalidBearer, "disabled");
    let gone = DEMO.replace("name = \"people\"", "name = \"others\"");
    world.apply(parse(&gone, "toml").unwrap(), true).await.unwrap();
    assert_eq!(world.gateway.person(session("c", None)).await.unwrap_err().kind, ErrorKind::InvalidBearer, "the source is gone");
}

/// The demo organization, and Jane's password.
async fn with_passwords() -> (World, Secret<String>) {
    let world = World::empty().await;
    let wish = PlanOrganization { file: parse(DEMO, "toml").unwrap(), prune: false, new_passwords: true };
    let passwords = world.operator().call(ApplyOrganization(wish)).await.unwrap().passwords;
    let jane = passwords.into_iter().find(|(name, _)| name.as_str() == "jane@example.com").unwrap().1;
    (world, jane)
}

#[tokio::test]
async fn the_sixth_wrong_password_in_a_row_waits_and_the_right_one_after_it_signs_in() {
    let (world, right) = with_passwords().await;
    let right = &right;
    let attempt = async |password: &Secret<String>| {
        let nobody = world.nobody();
        let begin =
            BeginSignIn { source: "people".to_owned(), continuation: Continuation::Portal, binding: "b".to_owned().into() };
        let handle = nobody.call(begin).await.unwrap().handle;
        let arrival = Arrival::Password { user_name: "Jane@example.com".to_owned(), password: password.clone() };
        let answer = Answer::Direct { handle, arrival };
        nobody.call(CompleteSignIn { source: None, binding: Some("b".to_owned().into()), answer, reset: None }).await
    };
    let reason = |outcome: Result<CompletedSignIn, Error>| outcome.unwrap_err().private.unwrap_or_default();
    for _ in 0..5 {
        assert!(reason(attempt(&"wrong".to_owned().into()).await).starts_with("password_wrong"));
    }
    assert!(reason(attempt(right).await).starts_with("attempts_paused"), "not even the right one");
    world.clock.advance(2);
    assert_eq!(attempt(right).await.unwrap().session().unwrap().identity.email.as_deref(), Some("jane@example.com"));
}

#[tokio::test]
async fn whoever_comes_in_a_crowd_has_used_nothing_up_and_is_no_guesser() {
    let (world, right) = with_passwords().await;
    let right = &right;
    let nobody = world.nobody();
    let begin = BeginSignIn { source: "people".to_owned(), continuation: Continuation::Portal, binding: "b".to_owned().into() };
    let handle = nobody.call(begin).await.unwrap().handle;
    let attempt = async || {
        let arrival = Arrival::Password { user_name: "jane@example.com".to_owned(), password: right.clone() };
        let answer = Answer::Direct { handle: handle.clone(), arrival };
        nobody.call(CompleteSignIn { source: None, binding: Some("b".to_owned().into()), answer, reset: None }).await
    };
    let federation = &world.gateway.broker.federation;
    let crowd: Vec<_> = std::iter::from_fn(|| federation.password_place().ok()).collect();
    assert!(crowd.len() >= 32);
    for _ in 0..10 {
        assert_eq!(attempt().await.unwrap_err().kind, ErrorKind::Unavailable);
    }
    drop(crowd);
    assert!(attempt().await.unwrap().session().is_some());
}

#[tokio::test]
async fn a_right_that_another_node_took_away_is_decided_again_before_the_pen() {
    let world = World::demo().await;
    // Another process with the same files, which has not looked at them since.
    let stale = open(&world.place.location, world.clock.clone(), SeededRandom::new(23)).await.unwrap();
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    stale.call(&admin.caller, create("Before")).await.unwrap();
    let poorer = DEMO.replace("attached_policies = [\"arn:aws:iam::aws:policy/AdministratorAccess\"]", "");
    world.apply(parse(&poorer, "toml").unwrap(), false).await.unwrap();
    assert_eq!(stale.call(&admin.caller, create("After")).await.unwrap_err().kind, ErrorKind::AccessDenied);
}

#[tokio::test]
async fn an_assertion_that_lists_roles_is_for_those_alone() {
    let world = World::demo().await;
    let arn = |text: &str| Arn::parse(text).unwrap();
    let provider = arn("arn:aws:iam::222233334444:oidc-provider/directory");
    let mut person = world.person(&["admins"]);
    let Principal::Person(session) = &person.caller.principal else { panic!("a person") };
    let mut session = (**session).clone();
    session.identity.roles = vec![(arn("arn:aws:iam::222233334444:role/ReadOnly"), provider)];
    person.caller.principal = Principal::Person(std::sync::Arc::new(session));
    let offers = person.call(ListRoleOffers {}).await.unwrap().offers;
    assert_eq!(offers.iter().map(|offer| offer.offer.role.role.name.as_str()).collect::<Vec<_>>(), ["ReadOnly"]);
    let wish =
        |role: &str| GetRoleCredentials { role_name: role.to_owned(), account_id: AccountId::parse("222233334444").unwrap() };
    person.call(wish("ReadOnly")).await.unwrap();
    assert_eq!(person.call(wish("Deployer")).await.unwrap_err().private.unwrap().split(':').next(), Some("role_not_listed"));
}

#[tokio::test]
async fn a_client_registration_lives_as_long_as_it_says_and_costs_nothing() {
    let world = World::demo().await;
    let register = || serde_json::from_value(serde_json::json!({ "clientName": "c", "clientType": "public" })).unwrap();
    let client = world.nobody().call::<RegisterClient>(register()).await.unwrap();
    let start = |id: &str, secret: &Secret<String>| StartDeviceAuthorization {
        client_id: id.to_owned(),
        client_secret: secret.clone(),
        start_url: "https://corp.awsapps.com/start".to_owned(),
    };
    let left = client.client_secret_expires_at - world.clock.now().seconds();
    world.clock.advance(left - 1);
    world.nobody().call(start(&client.client_id, &client.client_secret)).await.unwrap();
    let other = world.nobody().call::<RegisterClient>(register()).await.unwrap();
    let mixed = world.nobody().call(start(&client.client_id, &other.client_secret)).await;
    assert_eq!(mixed.unwrap_err().kind, ErrorKind::InvalidClient, "another's secret");
    world.clock.advance(1);
    let late = world.nobody().call(start(&client.client_id, &client.client_secret)).await;
    assert_eq!(late.unwrap_err().kind, ErrorKind::InvalidClient);
}

#[tokio::test]
async fn only_sessions_have_an_organization_id() {
    let world = World::demo().await;
    let admin = world.session(MANAGEMENT, "Administrator", &["admins"]);
    let organization = world.gateway.snapshot().organization.clone().unwrap().id;
    let open_to_members = format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":"*","Action":"sts:*","Condition":{{"StringEquals":{{"aws:PrincipalOrgID":"{organization}"}}}}}}]}}"#
    );
    admin.call(CreateRole { assume_role_policy_document: open_to_members, ..create("Members") }).await.unwrap();
    let wish = GetRoleCredentials { role_name: "Members".to_owned(), account_id: AccountId::parse(MANAGEMENT).unwrap() };
    assert_eq!(world.person(&["admins"]).call(wish).await.unwrap_err().kind, ErrorKind::AccessDenied);
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Sample {
    name: String,
    number: Option<u32>,
    flag: Option<bool>,
    #[serde(default)]
    list: Vec<Inner>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Inner {
    key: String,
}

fn read(text: &str) -> Result<Sample, String> {
    let pairs: Vec<(String, String)> = url::form_urlencoded::parse(text.as_bytes()).into_owned().collect();
    from_parameters(pairs.iter()).map_err(|error| error.to_string())
}

#[test]
fn the_query_codec_reads_what_clients_send() {
    let inner = |key: &str| Inner { key: key.to_owned() };
    let read_all = read("Name=a+b%2Bc&Number=7&Flag=true&List.member.2.Key=y&List.member.1.Key=x&List.member.10.Key=z").unwrap();
    assert_eq!(
        read_all,
        Sample { name: "a b+c".to_owned(), number: Some(7), flag: Some(true), list: vec![inner("x"), inner("y"), inner("z")] }
    );
    assert_eq!(read("Name=a&List=").unwrap().list, vec![]);
    for (text, problem) in [
        ("Name=a&Policy=x", "unknown field `Policy`"),
        ("Name=a&Name=b", "`Name` appears twice"),
        ("Name.x=a", "Name: invalid type: map, expected a string"),
        ("Number=7", "missing field `Name`"),
        ("Name=a&Number=-1", "`-1` is not a number in range"),
        ("Name=a&Flag=yes", "is not true or false"),
        ("Name=a&List.member.x.Key=y", "`x` is not the number of a list member"),
        ("Name=a&List.1.Key=y", "a list looks like Name.member.1"),
        ("a.b.c.d.e.f.g.h.i=1", "nested too deeply"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Written {
    text: &'static str,
    time: Timestamp,
    nothing: Option<u32>,
    list: Vec<u32>,
    empty: Vec<u32>,
}

#[test]
fn the_query_codec_writes_what_clients_read() {
    let answer = Written { text: "a<b>&\"", time: Timestamp(1_795_521_600_123), nothing: None, list: vec![1, 2], empty: vec![] };
    let xml = to_xml("Op", "2011-06-15", &answer, "id").unwrap();
    assert_eq!(
        xml,
        "<OpResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><OpResult><Text>a&lt;b&gt;&amp;&quot;</Text>\
         <Time>2026-11-24T12:00:00Z</Time><List><member>1</member><member>2</member></List><Empty></Empty></OpResult>\
         <ResponseMetadata><RequestId>id</RequestId></ResponseMetadata></OpResponse>"
    );
    assert_eq!(
        to_json("Op", &answer, "id").unwrap(),
        "{\"OpResponse\":{\"OpResult\":{\"Text\":\"a<b>&\\\"\",\"Time\":1795521600,\"Nothing\":null,\"List\":[1,2],\"Empty\":[]},\
         \"ResponseMetadata\":{\"RequestId\":\"id\"}}}"
    );
    assert_eq!(to_json("Op", &(), "id").unwrap(), "{\"OpResponse\":{\"ResponseMetadata\":{\"RequestId\":\"id\"}}}");
}
