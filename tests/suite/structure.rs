//! The tree of accounts, guardrails and permission sets; and changes of trust policies that take two people.

use crate::world::{MANAGEMENT, Persona, World};
use daypass::{
    api::{
        apply::OrganizationFile,
        iam::{
            role_policies::PutRolePolicy,
            roles::{DeleteRole, GetRole, ListRoles, UpdateAssumeRolePolicy},
            simulate_policy::SimulatePrincipalPolicy,
            trust::{
                preview::PreviewTrustPolicy,
                proposals::{DecideTrustProposal, ListTrustProposals, ProposeTrustPolicy, WithdrawTrustProposal},
            },
        },
        organizations::{accounts::*, policies::*, units::*},
        sso::{GetRoleCredentials, ListAccountRoles},
        sso_admin::{assignments::*, *},
    },
    cli::apply::parse,
    domain::{
        Error, ErrorKind,
        name::{AccountId, RoleName},
        permission_set::{AssignmentPrincipal, AssignmentTarget},
        session::{PortalSession, Principal, RoleSession},
    },
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::{collections::BTreeSet, sync::Arc};

const PRODUCTION: &str = "222233334444";
const SANDBOX: &str = "333344445555";

fn read<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn kind<T>(outcome: Result<T, Error>) -> Option<ErrorKind> {
    outcome.err().map(|error| error.kind)
}

fn admin(world: &World) -> Persona<'_> {
    world.session(MANAGEMENT, "Administrator", &["admins"])
}

/// Somebody of the directory, as they would sign in now.
async fn person<'w>(world: &'w World, name: &str) -> Persona<'w> {
    let tx = world.gateway.broker.store.read();
    let id = tx.user_named(&name.to_owned().try_into().unwrap()).await.unwrap().expect("somebody");
    let user = tx.user_by_id(&id).await.unwrap().unwrap();
    let snapshot = world.gateway.snapshot();
    let source = snapshot.identity_source("people").unwrap();
    let now = world.caller(Principal::Anonymous).caller.origin.time;
    world.caller(Principal::Person(Arc::new(PortalSession {
        id: format!("session-of-{name}"),
        lent_by: None,
        at_provider: None,
        factor_given: None,
        vouched: None,
        identity: world.gateway.broker.federation.directory_assertion(source, &user),
        started: now,
        expires: now.plus_seconds(3600),
    })))
}

/// A session of a role that somebody takes in their browser.
async fn session<'w>(world: &'w World, name: &str, account: &str, role: &str) -> Persona<'w> {
    let open =
        daypass::api::signin::OpenConsole { account_id: account.to_owned().try_into().unwrap(), role_name: role.to_owned() };
    let opened = person(world, name).await.call(open).await.unwrap();
    world.caller(Principal::Session(Arc::new(opened.session)))
}

async fn portal(world: &World, name: &str, account: &str) -> BTreeSet<String> {
    let list: ListAccountRoles = read(json!({ "account_id": account }));
    let roles = person(world, name).await.call(list).await.unwrap().role_list;
    roles.into_iter().map(|role| role.role_name).collect()
}

async fn root(world: &World) -> String {
    admin(world).call(read::<ListRoots>(json!({}))).await.unwrap().roots.remove(0).id
}

async fn workloads(world: &World) -> String {
    let units = read::<ListOrganizationalUnitsForParent>(json!({ "ParentId": root(world).await }));
    admin(world).call(units).await.unwrap().organizational_units.remove(0).id
}

async fn guardrail(world: &World, kind: &str, statements: Value) -> String {
    let content = json!({ "Version": "2012-10-17", "Statement": statements }).to_string();
    let wish = read::<CreatePolicy>(json!({ "Name": format!("g-{}", content.len()), "Type": kind, "Content": content }));
    admin(world).call(wish).await.unwrap().policy.policy_summary.id
}

async fn attach(world: &World, policy: &str, target: &str) {
    admin(world).call(read::<AttachPolicy>(json!({ "PolicyId": policy, "TargetId": target }))).await.unwrap();
}

fn look() -> ListRoles {
    ListRoles::default()
}

#[tokio::test]
async fn a_guardrail_binds_what_is_below_it_and_never_the_management_account() {
    let world = World::demo().await;
    let reader = session(&world, "jane@example.com", PRODUCTION, "ReadOnly").await;
    assert_eq!(kind(reader.call(look()).await), None);
    let deny =
        guardrail(&world, "SERVICE_CONTROL_POLICY", json!([{ "Effect": "Deny", "Action": "iam:*", "Resource": "*" }])).await;
    attach(&world, &deny, &workloads(&world).await).await;
    let refused = reader.call(look()).await.unwrap_err();
    assert!(refused.public.contains("with an explicit deny in a service control policy"), "{}", refused.public);
    assert_eq!(kind(admin(&world).call(look()).await), None);
    let source = format!("arn:aws:iam::{PRODUCTION}:role/ReadOnly");
    let simulate = json!({ "PolicySourceArn": source, "ActionNames": ["iam:ListRoles", "s3:GetObject"] });
    let root_of = world.root(PRODUCTION);
    assert_eq!(kind(root_of.call(read::<SimulatePrincipalPolicy>(simulate.clone())).await), Some(ErrorKind::AccessDenied));
    // To the root: the management account is above it still.
    attach(&world, &deny, &root(&world).await).await;
    assert_eq!(kind(admin(&world).call(look()).await), None);
    assert_eq!(kind(reader.call(look()).await), Some(ErrorKind::AccessDenied));
    for target in [workloads(&world).await, root(&world).await] {
        admin(&world).call(read::<DetachPolicy>(json!({ "PolicyId": deny, "TargetId": target }))).await.unwrap();
    }
    assert_eq!(kind(reader.call(look()).await), None);
    let s3 = guardrail(&world, "SERVICE_CONTROL_POLICY", json!([{ "Effect": "Deny", "Action": "s3:*", "Resource": "*" }])).await;
    attach(&world, &s3, PRODUCTION).await;
    let results = root_of.call(read::<SimulatePrincipalPolicy>(simulate)).await.unwrap().evaluation_results;
    let decisions: Vec<&str> = results.iter().map(|result| result.eval_decision).collect();
    assert_eq!(decisions, ["allowed", "explicitDeny"], "simulated as it would be");
    // An account that moves out of the unit is out of reach.
    attach(&world, &deny, &workloads(&world).await).await;
    let (from, to) = (workloads(&world).await, root(&world).await);
    let moving = json!({ "AccountId": PRODUCTION, "SourceParentId": from, "DestinationParentId": to });
    admin(&world).call(read::<MoveAccount>(moving)).await.unwrap();
    assert_eq!(kind(reader.call(look()).await), None);
}

#[tokio::test]
async fn a_list_of_what_is_allowed_takes_the_place_of_full_access() {
    let world = World::demo().await;
    let reader = session(&world, "jane@example.com", PRODUCTION, "ReadOnly").await;
    let some =
        guardrail(&world, "SERVICE_CONTROL_POLICY", json!([{ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }])).await;
    let detach = |policy: &str| read::<DetachPolicy>(json!({ "PolicyId": policy, "TargetId": PRODUCTION }));
    // Something has to stay.
    assert_eq!(kind(admin(&world).call(detach("p-FullAWSAccess")).await), Some(ErrorKind::LimitExceeded));
    attach(&world, &some, PRODUCTION).await;
    assert_eq!(kind(reader.call(look()).await), None);
    admin(&world).call(detach("p-FullAWSAccess")).await.unwrap();
    let refused = reader.call(look()).await.unwrap_err();
    assert!(refused.public.contains("because no service control policy allows the iam:ListRoles action"), "{}", refused.public);
    attach(&world, "p-FullAWSAccess", PRODUCTION).await;
    assert_eq!(kind(reader.call(look()).await), None);
}

#[tokio::test]
async fn a_resource_control_policy_keeps_people_out_of_the_roles_of_an_account() {
    let world = World::demo().await;
    let taking =
        || GetRoleCredentials { role_name: "ReadOnly".to_owned(), account_id: PRODUCTION.to_owned().try_into().unwrap() };
    person(&world, "jane@example.com").await.call(taking()).await.unwrap();
    let deny = json!([{ "Effect": "Deny", "Principal": "*", "Action": "sts:*", "Resource": "*" }]);
    let deny = guardrail(&world, "RESOURCE_CONTROL_POLICY", deny).await;
    attach(&world, &deny, PRODUCTION).await;
    assert_eq!(kind(person(&world, "jane@example.com").await.call(taking()).await), Some(ErrorKind::AccessDenied));
    assert_eq!(portal(&world, "jane@example.com", PRODUCTION).await, BTreeSet::new());
    assert!(!portal(&world, "jane@example.com", SANDBOX).await.is_empty());
}

#[tokio::test]
async fn only_the_management_account_changes_the_organization() {
    let world = World::demo().await;
    let outsider = session(&world, "jane@example.com", PRODUCTION, "ReadOnly").await;
    let attempts = [
        kind(outsider.call(read::<ListRoots>(json!({}))).await),
        kind(outsider.call(read::<CreateOrganizationalUnit>(json!({ "ParentId": "r-xxxx", "Name": "Mine" }))).await),
        kind(outsider.call(read::<DetachPolicy>(json!({ "PolicyId": "p-x", "TargetId": PRODUCTION }))).await),
        kind(outsider.call(read::<ListInstances>(json!({}))).await),
        kind(outsider.call(SearchAccounts::default()).await),
    ];
    assert_eq!(attempts, [Some(ErrorKind::AccessDenied); 5]);
}

async fn instance(world: &World) -> String {
    admin(world).call(read::<ListInstances>(json!({}))).await.unwrap().instances.remove(0).instance_arn
}

async fn permission_set(world: &World, name: &str) -> String {
    let instance = instance(world).await;
    let wish = json!({ "InstanceArn": instance, "Name": name, "SessionDuration": "PT2H" });
    let arn = admin(world).call(read::<CreatePermissionSet>(wish)).await.unwrap().permission_set.permission_set_arn;
    let policy = json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "iam:List*", "Resource": "*" }] });
    let wish = json!({ "InstanceArn": instance, "PermissionSetArn": arn, "InlinePolicy": policy.to_string() });
    admin(world).call(read::<PutInlinePolicyToPermissionSet>(wish)).await.unwrap();
    arn
}

async fn set(
    world: &World,
    arn: &str,
    principal: AssignmentPrincipal,
    target: AssignmentTarget,
    assigned: bool,
) -> Result<(), Error> {
    admin(world).call(SetAssignment { permission_set_arn: arn.to_owned(), principal, target, assigned }).await
}

async fn group(world: &World, name: &str) -> AssignmentPrincipal {
    let tx = world.gateway.broker.store.read();
    AssignmentPrincipal::Group(tx.group_named(&name.to_owned().try_into().unwrap(), "").await.unwrap().unwrap())
}

#[tokio::test]
async fn a_permission_set_is_a_role_wherever_somebody_is_assigned_it() {
    let world = World::demo().await;
    let arn = permission_set(&world, "Support").await;
    let developers = group(&world, "developers").await;
    let account = |id: &str| AssignmentTarget::Account(id.to_owned().try_into().unwrap());
    let unit = AssignmentTarget::Unit(workloads(&world).await);
    let tag = AssignmentTarget::Tag { key: "Environment".to_owned(), value: "test".to_owned() };
    let everywhere = AssignmentTarget::Unit(root(&world).await);
    for (target, expected) in [
        (account(PRODUCTION), vec![PRODUCTION]),
        (unit, vec![PRODUCTION, SANDBOX]),
        (tag, vec![SANDBOX]),
        (everywhere, vec![MANAGEMENT, PRODUCTION, SANDBOX]),
    ] {
        set(&world, &arn, developers.clone(), target.clone(), true).await.unwrap();
        let mut found = Vec::new();
        for id in [MANAGEMENT, PRODUCTION, SANDBOX] {
            if portal(&world, "sam@example.com", id).await.contains("Support") {
                found.push(id);
            }
        }
        assert_eq!(found, expected, "{target:?}");
        set(&world, &arn, developers.clone(), target, false).await.unwrap();
    }
    assert!(!portal(&world, "sam@example.com", SANDBOX).await.contains("Support"));
    // The role may what the set says, as long as the set says it.
    set(&world, &arn, developers.clone(), account(SANDBOX), true).await.unwrap();
    let sam = session(&world, "sam@example.com", SANDBOX, "Support").await;
    assert_eq!(kind(sam.call(look()).await), None);
    let seconds = |session: &RoleSession| session.expires.seconds_since(session.issued);
    let Principal::Session(held) = &sam.caller.principal else { panic!("no session") };
    assert_eq!(seconds(held), 7200);
    assert!(held.arn().as_str().contains(":assumed-role/AWSReservedSSO_Support_"), "{}", held.arn());
    let none = json!({ "InstanceArn": instance(&world).await, "PermissionSetArn": arn });
    admin(&world).call(read::<DeleteInlinePolicyFromPermissionSet>(none.clone())).await.unwrap();
    assert_eq!(kind(sam.call(look()).await), Some(ErrorKind::AccessDenied));
    // It can't go while somebody has it, and a role that nobody is assigned any more opens nothing.
    assert_eq!(kind(admin(&world).call(read::<DeletePermissionSet>(none.clone())).await), Some(ErrorKind::DeleteConflict));
    set(&world, &arn, developers, account(SANDBOX), false).await.unwrap();
    assert_eq!(kind(sam.call(look()).await), Some(ErrorKind::UnknownKey));
    admin(&world).call(read::<DeletePermissionSet>(none)).await.unwrap();
}

#[tokio::test]
async fn assignments_are_to_people_and_groups_that_there_are_by_id() {
    let world = World::demo().await;
    let arn = permission_set(&world, "Support").await;
    let sandbox = AssignmentTarget::Account(SANDBOX.to_owned().try_into().unwrap());
    for nobody in [AssignmentPrincipal::User("u-nobody".to_owned()), AssignmentPrincipal::Group("g-nobody".to_owned())] {
        assert_eq!(kind(set(&world, &arn, nobody, sandbox.clone(), true).await), Some(ErrorKind::NoSuchEntity));
    }
    let claim = |source: &str, value: &str| AssignmentPrincipal::Claim {
        source: source.to_owned().try_into().unwrap(),
        key: "directory:department".to_owned(),
        value: value.to_owned(),
    };
    for odd in [claim("nowhere", "x"), claim("people", "${aws:username}"), claim("people", " ")] {
        assert!(set(&world, &arn, odd, sandbox.clone(), true).await.is_err());
    }
    let somewhere = AssignmentTarget::Account("999999999999".to_owned().try_into().unwrap());
    let admins = group(&world, "admins").await;
    assert_eq!(kind(set(&world, &arn, admins.clone(), somewhere, true).await), Some(ErrorKind::NoSuchEntity));
    set(&world, &arn, admins, sandbox.clone(), true).await.unwrap();
    assert!(portal(&world, "jane@example.com", SANDBOX).await.contains("Support"));
    assert!(!portal(&world, "sam@example.com", SANDBOX).await.contains("Support"));
    let claimed = AssignmentPrincipal::Claim {
        source: "people".to_owned().try_into().unwrap(),
        key: "directory:user_name".to_owned(),
        value: "sam@example.com".to_owned(),
    };
    set(&world, &arn, claimed, sandbox, true).await.unwrap();
    assert!(portal(&world, "sam@example.com", SANDBOX).await.contains("Support"));
}

#[tokio::test]
async fn a_role_that_an_assignment_is_changes_with_it_alone() {
    let world = World::demo().await;
    let arn = permission_set(&world, "Support").await;
    let here = AssignmentTarget::Account(MANAGEMENT.to_owned().try_into().unwrap());
    set(&world, &arn, group(&world, "admins").await, here, true).await.unwrap();
    let roles = admin(&world).call(look()).await.unwrap().roles;
    let role = roles.iter().find(|role| role.path.starts_with("/aws-reserved/")).expect("a role").role_name.clone();
    let open = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"AWS":"111122223333"},"Action":"sts:AssumeRole"}]}"#;
    let all = r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}"#;
    let named = || RoleName::parse(&role).unwrap();
    let attempts = [
        kind(admin(&world).call(UpdateAssumeRolePolicy { role_name: named(), policy_document: open.to_owned() }).await),
        kind(
            admin(&world)
                .call(PutRolePolicy {
                    role_name: named(),
                    policy_name: "p".to_owned().try_into().unwrap(),
                    policy_document: all.to_owned(),
                })
                .await,
        ),
        kind(admin(&world).call(DeleteRole { role_name: named() }).await),
    ];
    assert_eq!(attempts, [Some(ErrorKind::DeleteConflict); 3]);
    // Applying a document with pruning leaves it to its assignment.
    let before = admin(&world).call(GetRole { role_name: named() }).await.unwrap().role.role_id;
    let document = crate::world::DEMO.replacen("[organization]", "[[permission_sets]]\nname = \"Support\"\nassignments = [{ group = \"admins\", account = \"111122223333\" }]\n[organization]", 1);
    world.apply(parse(&document, "toml").unwrap(), true).await.unwrap();
    assert_eq!(admin(&world).call(GetRole { role_name: named() }).await.unwrap().role.role_id, before);
}

#[tokio::test]
async fn the_example_document_is_applied_and_applying_it_again_changes_nothing() {
    let world = World::empty().await;
    let text = std::fs::read_to_string("config/organization.toml").unwrap();
    let file: OrganizationFile = parse(&text, "toml").unwrap();
    // The source's metadata and secret are files and variables of nobody here.
    let mut file = file;
    file.identity_sources.retain(|source| ["people", "cloud"].contains(&source.name.as_str()));
    file.identity_providers.clear();
    let plan = world.apply(file.clone(), false).await.unwrap();
    let words: Vec<&str> = plan.changes.iter().map(|change| change.what.split(' ').next().unwrap()).collect();
    for word in ["unit", "guardrail", "permission", "assignment"] {
        assert!(words.contains(&word), "{word} is not among {words:?}");
    }
    assert_eq!(world.apply(file, false).await.unwrap().changes, []);
}

fn trust(groups: &[&str]) -> String {
    json!({ "Version": "2012-10-17", "Statement": [{
        "Sid": "Admins", "Effect": "Allow",
        "Principal": { "Federated": format!("arn:aws:iam::{MANAGEMENT}:oidc-provider/directory") },
        "Action": "sts:AssumeRoleWithWebIdentity",
        "Condition": { "ForAnyValue:StringEquals": { "directory:groups": groups } },
    }] })
    .to_string()
}

#[tokio::test]
async fn a_preview_names_who_gains_and_who_loses() {
    let world = World::demo().await;
    let wish = |groups: &[&str]| PreviewTrustPolicy {
        role_name: "Administrator".to_owned().try_into().unwrap(),
        policy_document: trust(groups),
        people: true,
    };
    let names =
        |people: &[daypass::api::iam::trust::preview::Tried]| people.iter().map(|one| one.name.clone()).collect::<Vec<_>>();
    let wider = admin(&world).call(wish(&["admins", "developers"])).await.unwrap();
    assert_eq!((names(&wider.gaining), names(&wider.losing), wider.keeping), (vec!["Sam Lee".to_owned()], vec![], 1));
    assert!(wider.changes.widens());
    let other = admin(&world).call(wish(&["nobody"])).await.unwrap();
    assert_eq!((names(&other.gaining), names(&other.losing), other.keeping), (vec![], vec!["Jane Doe".to_owned()], 0));
    let same = admin(&world).call(wish(&["admins"])).await.unwrap();
    assert!(!same.changes.widens() && same.changes.added.is_empty() && same.tried == 0);
}

/// Administrators who change no trust policy alone.
async fn careful(world: &World) {
    let policy = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": "*", "Resource": "*" },
        { "Effect": "Deny", "Action": "iam:UpdateAssumeRolePolicy", "Resource": "*", "Condition": { "Bool": { "iam:SecondPersonApproval": "false" } } },
    ] });
    let role = format!(
        "[[roles]]\naccount = \"{MANAGEMENT}\"\nname = \"Careful\"\ntrust_policy = '''{}'''\n[roles.policies]\ncareful = '''{policy}'''\n",
        trust(&["admins", "developers"]),
    );
    world.apply(parse(&format!("{}\n{role}", crate::world::DEMO), "toml").unwrap(), false).await.unwrap();
}

#[tokio::test]
async fn a_second_person_approves_and_nobody_approves_their_own() {
    let world = World::demo().await;
    careful(&world).await;
    let name = || RoleName::parse("Administrator").unwrap();
    let wider = trust(&["admins", "developers"]);
    let (sam, jane) = (
        session(&world, "sam@example.com", MANAGEMENT, "Careful").await,
        session(&world, "jane@example.com", MANAGEMENT, "Careful").await,
    );
    let alone = || UpdateAssumeRolePolicy { role_name: name(), policy_document: wider.clone() };
    assert_eq!(kind(sam.call(alone()).await), Some(ErrorKind::AccessDenied));
    let propose = || ProposeTrustPolicy { role_name: name(), policy_document: wider.clone(), reason: "cover".to_owned() };
    sam.call(propose()).await.unwrap();
    let waiting = jane.call(ListTrustProposals {}).await.unwrap().proposals.remove(0);
    assert!(!waiting.own && sam.call(ListTrustProposals {}).await.unwrap().proposals[0].own);
    let decide = |id: &str, approve| DecideTrustProposal { id: id.to_owned(), role_name: name(), approve };
    assert_eq!(kind(sam.call(decide(&waiting.id, true)).await), Some(ErrorKind::AccessDenied));
    // Keys are nobody in particular: they may be in the same hands.
    let keys = world.root(MANAGEMENT);
    assert_eq!(kind(keys.call(decide(&waiting.id, true)).await), Some(ErrorKind::AccessDenied));
    assert_eq!(kind(keys.call(propose()).await), Some(ErrorKind::AccessDenied));
    // For another role the proposal is not there.
    let elsewhere =
        DecideTrustProposal { id: waiting.id.clone(), role_name: "Careful".to_owned().try_into().unwrap(), approve: true };
    assert_eq!(kind(jane.call(elsewhere).await), Some(ErrorKind::NoSuchEntity));
    jane.call(decide(&waiting.id, true)).await.unwrap();
    assert!(portal(&world, "sam@example.com", MANAGEMENT).await.contains("Administrator"));
    assert_eq!(kind(jane.call(decide(&waiting.id, true)).await), Some(ErrorKind::NoSuchEntity));
}

#[tokio::test]
async fn a_proposal_that_was_overtaken_is_not_made() {
    let world = World::demo().await;
    careful(&world).await;
    let name = || RoleName::parse("Administrator").unwrap();
    let (sam, jane) = (
        session(&world, "sam@example.com", MANAGEMENT, "Careful").await,
        session(&world, "jane@example.com", MANAGEMENT, "Careful").await,
    );
    let propose = ProposeTrustPolicy { role_name: name(), policy_document: trust(&["developers"]), reason: String::new() };
    sam.call(propose).await.unwrap();
    let between = UpdateAssumeRolePolicy { role_name: name(), policy_document: trust(&["admins", "auditors"]) };
    admin(&world).call(between).await.unwrap();
    let waiting = jane.call(ListTrustProposals {}).await.unwrap().proposals.remove(0);
    assert!(waiting.overtaken);
    let decide = |approve| DecideTrustProposal { id: waiting.id.clone(), role_name: name(), approve };
    assert_eq!(kind(jane.call(decide(true)).await), Some(ErrorKind::PreconditionFailed));
    // It is for those to refuse who could approve it, and for its author to take back.
    let back = || WithdrawTrustProposal { id: waiting.id.clone(), role_name: name() };
    assert_eq!(kind(jane.call(back()).await), Some(ErrorKind::NoSuchEntity));
    jane.call(decide(false)).await.unwrap();
    assert_eq!(kind(sam.call(back()).await), Some(ErrorKind::NoSuchEntity));
    assert!(jane.call(ListTrustProposals {}).await.unwrap().proposals.is_empty());
}

#[tokio::test]
async fn favourites_are_of_roles_that_one_has() {
    use daypass::api::sso::portal::{ListRoleOffers, SetFavouriteRole};
    let world = World::demo().await;
    let favourite = |account: &str, role: &str, on| SetFavouriteRole {
        account_id: AccountId::parse(account).unwrap(),
        role_name: role.to_owned(),
        favourite: on,
    };
    let sam = person(&world, "sam@example.com").await;
    assert_eq!(kind(sam.call(favourite(MANAGEMENT, "Administrator", true)).await), Some(ErrorKind::NoSuchEntity));
    sam.call(favourite(SANDBOX, "developer", true)).await.unwrap();
    let starred = async |who: &Persona<'_>| {
        let offers = who.call(ListRoleOffers {}).await.unwrap().offers;
        offers.into_iter().filter(|role| role.favourite).map(|role| role.offer.role.role.name.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(starred(&sam).await, ["Developer"]);
    assert_eq!(starred(&person(&world, "jane@example.com").await).await, Vec::<String>::new());
    sam.call(favourite(SANDBOX, "Developer", false)).await.unwrap();
    assert_eq!(starred(&sam).await, Vec::<String>::new());
}

/// The demo with more tables in front.
async fn apply(world: &World, more: &str, prune: bool) -> Result<Vec<String>, Error> {
    let document = crate::world::DEMO.replacen("[organization]", &format!("{more}\n[organization]"), 1);
    let plan = world.apply(parse(&document, "toml").unwrap(), prune).await?;
    Ok(plan.changes.into_iter().map(|change| change.what).collect())
}

#[tokio::test]
async fn pruning_leaves_no_account_below_a_unit_that_is_gone() {
    let world = World::demo().await;
    let without =
        crate::world::DEMO.replace("[[organizational_units]]\nname = \"Workloads\"\n", "").replace("unit = \"Workloads\"\n", "");
    let refused = world.apply(parse(&without, "toml").unwrap(), true).await.unwrap_err();
    assert!(refused.public.contains("are below Workloads, which is not listed"), "{}", refused.public);
    let moved = without.replace("color =", "unit = \"root\"\ncolor =");
    world.apply(parse(&moved, "toml").unwrap(), true).await.unwrap();
    let snapshot = world.gateway.snapshot();
    assert!(snapshot.units.is_empty() && snapshot.accounts.values().all(|account| account.parent.is_none()));
}

#[tokio::test]
async fn a_unit_of_the_document_is_the_one_in_its_place() {
    let world = World::demo().await;
    let tree = "[[organizational_units]]\nname = \"A\"\n[[organizational_units]]\nname = \"B\"\n";
    apply(&world, tree, false).await.unwrap();
    let snapshot = world.gateway.snapshot();
    let id = |name: &str| snapshot.units.values().find(|unit| unit.name == name).unwrap().id.clone();
    for parent in [id("A"), id("B")] {
        admin(&world).call(read::<CreateOrganizationalUnit>(json!({ "ParentId": parent, "Name": "Prod" }))).await.unwrap();
    }
    let prod = "[[organizational_units]]\nname = \"Prod\"\nparent = \"A\"\n";
    assert_eq!(apply(&world, &format!("{tree}{prod}"), false).await.unwrap(), Vec::<String>::new());
    let elsewhere = apply(&world, &format!("{tree}[[organizational_units]]\nname = \"Prod\"\n"), false).await.unwrap_err();
    assert!(elsewhere.public.contains("several units are called Prod"), "{}", elsewhere.public);
    let circle =
        "[[organizational_units]]\nname = \"X\"\nparent = \"Y\"\n[[organizational_units]]\nname = \"Y\"\nparent = \"X\"\n";
    assert!(apply(&world, circle, false).await.unwrap_err().public.contains("there is no unit Y"));
}

#[tokio::test]
async fn pruning_the_only_guardrail_that_allows_gives_full_access_back() {
    let world = World::demo().await;
    let some =
        guardrail(&world, "SERVICE_CONTROL_POLICY", json!([{ "Effect": "Allow", "Action": "s3:*", "Resource": "*" }])).await;
    attach(&world, &some, PRODUCTION).await;
    let full = json!({ "PolicyId": "p-FullAWSAccess", "TargetId": PRODUCTION });
    admin(&world).call(read::<DetachPolicy>(full)).await.unwrap();
    let reader = session(&world, "jane@example.com", PRODUCTION, "ReadOnly").await;
    assert_eq!(kind(reader.call(look()).await), Some(ErrorKind::AccessDenied));
    apply(&world, "", true).await.unwrap();
    assert_eq!(kind(reader.call(look()).await), None);
}

#[tokio::test]
async fn who_may_tag_or_move_an_account_does_not_assign_by_it() {
    let world = World::demo().await;
    let may =
        json!({ "Version": "2012-10-17", "Statement": [{ "Effect": "Allow", "Action": "organizations:*", "Resource": "*" }] });
    let role = format!(
        "[[roles]]\naccount = \"{MANAGEMENT}\"\nname = \"Tagger\"\ntrust_policy = '''{}'''\n[roles.policies]\nmay = '''{may}'''\n",
        trust(&["admins"])
    );
    apply(&world, &role, false).await.unwrap();
    let tagger = session(&world, "jane@example.com", MANAGEMENT, "Tagger").await;
    let tag = |value: &str| read::<TagResource>(json!({ "ResourceId": SANDBOX, "Tags": [{ "Key": "Tier", "Value": value }] }));
    assert_eq!(kind(tagger.call(tag("gold")).await), None);
    let arn = permission_set(&world, "Support").await;
    let silver = AssignmentTarget::Tag { key: "Tier".to_owned(), value: "silver".to_owned() };
    set(&world, &arn, group(&world, "admins").await, silver, true).await.unwrap();
    assert_eq!(kind(tagger.call(tag("silver")).await), Some(ErrorKind::AccessDenied));
    assert_eq!(kind(tagger.call(tag("bronze")).await), None);
    let unit = AssignmentTarget::Unit(workloads(&world).await);
    set(&world, &arn, group(&world, "admins").await, unit, true).await.unwrap();
    let away =
        json!({ "AccountId": SANDBOX, "SourceParentId": workloads(&world).await, "DestinationParentId": root(&world).await });
    assert_eq!(kind(tagger.call(read::<MoveAccount>(away.clone())).await), Some(ErrorKind::AccessDenied));
    admin(&world).call(read::<MoveAccount>(away)).await.unwrap();
}

#[tokio::test]
async fn who_is_gone_leaves_no_assignment_behind() {
    let world = World::demo().await;
    let arn = permission_set(&world, "Support").await;
    let sandbox = AssignmentTarget::Account(SANDBOX.to_owned().try_into().unwrap());
    let sam =
        world.gateway.broker.store.read().user_named(&"sam@example.com".to_owned().try_into().unwrap()).await.unwrap().unwrap();
    set(&world, &arn, AssignmentPrincipal::User(sam.clone()), sandbox.clone(), true).await.unwrap();
    set(&world, &arn, group(&world, "developers").await, sandbox, true).await.unwrap();
    assert_eq!(world.gateway.snapshot().assignments.len(), 2);
    admin(&world).call(daypass::api::directory::DeleteUser { id: sam }).await.unwrap();
    assert_eq!(world.gateway.snapshot().assignments.len(), 1);
}

#[tokio::test]
async fn a_document_assigns_nothing_to_those_it_prunes() {
    let world = World::demo().await;
    let kim = r#"
        [[groups]]
        name = "visitors"
        [[users]]
        name = "kim@example.com"
        email = "kim@example.com"
        display_name = "Kim"
        groups = ["visitors"]"#;
    apply(&world, kim, false).await.unwrap();
    for (who, there_is) in [("group = \"visitors\"", "no group visitors"), ("user = \"kim@example.com\"", "nobody called")] {
        let set = format!("[[permission_sets]]\nname = \"Support\"\nassignments = [{{ {who}, account = \"111122223333\" }}]");
        let refused = apply(&world, &set, true).await.unwrap_err();
        assert!(refused.public.contains(there_is), "{}", refused.public);
        apply(&world, &set, false).await.unwrap();
    }
}

#[tokio::test]
async fn a_resource_control_policy_of_a_member_binds_who_would_be_its_root() {
    let world = World::demo().await;
    let assume = || {
        read::<daypass::api::sts::root::AssumeRoot>(json!({
            "TargetPrincipal": PRODUCTION,
            "TaskPolicyArn": { "arn": "arn:aws:iam::aws:policy/root-task/IAMAuditRootUserCredentials" },
        }))
    };
    admin(&world).call(assume()).await.unwrap();
    let deny = json!([{ "Effect": "Deny", "Principal": "*", "Action": "sts:AssumeRoot", "Resource": "*" }]);
    let deny = guardrail(&world, "RESOURCE_CONTROL_POLICY", deny).await;
    attach(&world, &deny, &workloads(&world).await).await;
    assert_eq!(kind(admin(&world).call(assume()).await), Some(ErrorKind::AccessDenied));
}

#[tokio::test]
async fn the_log_is_looked_up_by_text_and_by_attribute() {
    use daypass::api::cloudtrail::{LookupEvents, Narrowed};
    let world = World::demo().await;
    permission_set(&world, "Needle").await;
    let wish =
        |text: &str, failed| LookupEvents { narrowed: Narrowed { text: text.to_owned(), failed }, ..LookupEvents::default() };
    let names = async |wish: LookupEvents| {
        let found = admin(&world).call(wish).await.unwrap();
        found.events.into_iter().map(|event| event.event_name).collect::<Vec<_>>()
    };
    // The second is the document of the demo: what was asked for is on record.
    assert_eq!(names(wish("iam:list*", false)).await, ["PutInlinePolicyToPermissionSet", "ApplyOrganization"]);
    assert_eq!(names(wish("iam:list*", true)).await, Vec::<String>::new());
    let by = |key: &str, value: &str| {
        read::<LookupEvents>(json!({ "LookupAttributes": [{ "AttributeKey": key, "AttributeValue": value }] }))
    };
    assert_eq!(names(by("EventName", "CreatePermissionSet")).await, ["CreatePermissionSet"]);
    assert_eq!(names(by("EventSource", "sso-admin.amazonaws.com")).await.len(), 2);
    assert_eq!(kind(admin(&world).call(by("ReadOnly", "true")).await), Some(ErrorKind::InvalidInput));
    let none = read::<LookupEvents>(json!({ "EndTime": 1_000_000_000.5 }));
    assert_eq!(names(none).await, Vec::<String>::new());
}
