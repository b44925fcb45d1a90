//! What a decision costs: beside the `cedar-policy` crate on equivalent policies, for a whole stack of layers, for the search
//! of the roles an assertion may take, and in memory.
//!
//! `cargo bench --bench policy`. Everything is measured in one run on one machine, so read the ratios.
#![allow(missing_docs, unreachable_pub, reason = "a program")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a bench measures with the real clock, and stops when something is wrong"
)]

#[path = "../tests/suite/allocations.rs"]
mod allocations;
#[path = "../tests/suite/numbers.rs"]
mod numbers;

use allocations::taken;
use cedar_policy::{Authorizer, Decision, Entities, EntityUid, PolicySet as CedarPolicies};
use daypass::{
    domain::{
        Arn, Timestamp,
        iam::{ProviderOwner, Role},
        name::{AccountId, RoleName},
        session::{FederationProtocol, IdentityAssertion, ProviderRef, SessionTags},
    },
    policy::{
        CompiledRole, Context, DocumentKind, Identity, Library, Named, Policy, PolicySet, Request, TakeableRoles,
        evaluate::{Guardrails, Layers, ResourcePolicy, Verdict, decide},
    },
};
use numbers::Numbers;
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hasher as _},
    hint::black_box,
    sync::Arc,
    time::Instant,
};

const OPERATIONS: [&str; 8] =
    ["GetObject", "GetObjectAcl", "GetObjectTagging", "PutObject", "PutObjectAcl", "ListBucket", "DeleteObject", "ListParts"];
/// Pattern, and what it covers.
const PATTERNS: [(&str, &[usize]); 6] = [
    ("Get*", &[0, 1, 2]),
    ("Put*", &[3, 4]),
    ("List*", &[5, 7]),
    ("GetObject", &[0]),
    ("PutObject", &[3]),
    ("DeleteObject", &[6]),
];

/// Nanoseconds per call: best of seven rounds, each at least 20 ms.
fn nanoseconds(mut call: impl FnMut()) -> f64 {
    let mut best = f64::MAX;
    let start = Instant::now();
    call();
    let once = start.elapsed().as_nanos().max(1);
    let calls = (20_000_000 / once).clamp(1, 10_000_000);
    for _ in 0..7 {
        let start = Instant::now();
        for _ in 0..calls {
            call();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / calls as f64);
    }
    best
}

/// The same policy for both engines.
fn policy(number: usize, numbers: &mut Numbers) -> (Value, String) {
    let (first, second) = (PATTERNS[numbers.below(6)], PATTERNS[numbers.below(6)]);
    let deny = numbers.below(20) == 0;
    let folder = format!("bucket-{number}/team-{}", number % 7);
    let (condition, when) = match number % 3 {
        0 => (json!({}), String::new()),
        1 => {
            let team = number % 5;
            (
                json!({"StringEquals": {"aws:PrincipalTag/team": format!("t{team}")}}),
                format!("when {{ context.team == \"t{team}\" }}"),
            )
        }
        _ => {
            (json!({"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}), "when { context.ip.isInRange(ip(\"10.0.0.0/8\")) }".to_owned())
        }
    };
    let ours = json!({"Version": "2012-10-17", "Statement": {
        "Effect": if deny { "Deny" } else { "Allow" },
        "Action": [format!("s3:{}", first.0), format!("s3:{}", second.0)],
        "Resource": format!("arn:aws:s3:::{folder}/*"),
        "Condition": condition,
    }});
    let theirs = format!(
        "{}(principal in Group::\"all\", action in [Action::\"{}\", Action::\"{}\"], resource in Folder::\"{folder}\") {when};",
        if deny { "forbid" } else { "permit" },
        first.0,
        second.0
    );
    (ours, theirs)
}

/// One question for both engines.
struct Question {
    action: String,
    resource: String,
    context: Context,
    theirs: cedar_policy::Request,
}

fn questions(policies: usize, numbers: &mut Numbers) -> Vec<Question> {
    (0..256)
        .map(|_| {
            let (bucket, operation) = (numbers.below(policies), OPERATIONS[numbers.below(8)]);
            let team = numbers.below(5);
            let address = if numbers.below(2) == 0 { "10.1.2.3" } else { "192.0.2.1" };
            // Every second one asks for a folder that no policy names.
            let folder = if numbers.below(2) == 0 {
                format!("bucket-{bucket}/team-{}", bucket % 7)
            } else {
                format!("bucket-{bucket}/private")
            };
            let mut context = Context::default();
            context.set("aws:PrincipalTag/team", format!("t{team}"));
            context.set_address("aws:SourceIp", address.parse().unwrap());
            context.set("aws:SecureTransport", "true");
            context.set("aws:PrincipalArn", "arn:aws:iam::111122223333:role/Worker");
            let uid = |text: &str| text.parse::<EntityUid>().unwrap();
            let theirs = cedar_policy::Context::from_json_value(
                json!({"team": format!("t{team}"), "ip": {"__extn": {"fn": "ip", "arg": address}}}),
                None,
            )
            .unwrap();
            Question {
                action: format!("s3:{operation}"),
                resource: format!("arn:aws:s3:::{folder}/o"),
                context,
                theirs: cedar_policy::Request::new(
                    uid("User::\"jane\""),
                    uid(&format!("Action::\"{operation}\"")),
                    uid(&format!("Object::\"{folder}/o\"")),
                    theirs,
                    None,
                )
                .unwrap(),
            }
        })
        .collect()
}

fn entities(policies: usize) -> Entities {
    let uid = |kind: &str, id: &str| json!({"type": kind, "id": id});
    let mut all = vec![
        json!({"uid": uid("User", "jane"), "attrs": {}, "parents": [uid("Group", "all")]}),
        json!({"uid": uid("Group", "all"), "attrs": {}, "parents": []}),
    ];
    for (number, operation) in OPERATIONS.iter().enumerate() {
        let wild = PATTERNS.iter().filter(|(pattern, covers)| pattern.ends_with('*') && covers.contains(&number));
        let parents: Vec<Value> = wild.map(|(pattern, _)| uid("Action", pattern)).collect();
        all.push(json!({"uid": uid("Action", operation), "attrs": {}, "parents": parents}));
    }
    for (pattern, _) in PATTERNS.iter().filter(|(pattern, _)| pattern.ends_with('*')) {
        all.push(json!({"uid": uid("Action", pattern), "attrs": {}, "parents": []}));
    }
    for number in 0..policies {
        for folder in [format!("bucket-{number}/team-{}", number % 7), format!("bucket-{number}/private")] {
            all.push(json!({"uid": uid("Folder", &folder), "attrs": {}, "parents": []}));
            all.push(json!({"uid": uid("Object", &format!("{folder}/o")), "attrs": {}, "parents": [uid("Folder", &folder)]}));
        }
    }
    Entities::from_json_value(Value::Array(all), None).unwrap()
}

fn session() -> Identity {
    let arn = |text: &str| Arn::parse(text).unwrap();
    Identity::Session {
        role: arn("arn:aws:iam::111122223333:role/Worker"),
        role_id: "AROAWORKER00000000000".to_owned(),
        session: arn("arn:aws:sts::111122223333:assumed-role/Worker/jane"),
        account: AccountId::parse("111122223333").unwrap(),
    }
}

fn compiled(documents: &[Value], kind: DocumentKind) -> PolicySet {
    let named = documents
        .iter()
        .map(|document| Named { label: "policy".into(), policy: Arc::new(Policy::parse(&document.to_string(), kind).unwrap()) });
    PolicySet::new(named.collect())
}

fn ask(who: &Identity, set: &PolicySet, question: &Question) -> bool {
    let request = Request::new(who, &question.action, &question.resource, &question.context);
    matches!(decide(&request, &Layers::of_identity(set), None), Verdict::Allowed(_))
}

fn beside_cedar() {
    println!("\nPolicies attached to one principal, a question answered (hit: some policy applies; miss: none does)");
    println!("{:>9} {:>6} {:>12} {:>12} {:>12} {:>10}", "policies", "", "daypass ns", "decisions/s", "cedar ns", "ratio");
    let who = session();
    let mut at_ten = 0.0;
    for count in [10, 100, 1_000, 10_000] {
        let mut numbers = Numbers(0x9E37_79B9_7F4A_7C15);
        let (ours, theirs): (Vec<Value>, Vec<String>) = (0..count).map(|number| policy(number, &mut numbers)).unzip();
        let set = compiled(&ours, DocumentKind::Identity);
        let cedar: CedarPolicies = theirs.join("\n").parse().unwrap();
        let (entities, authorizer) = (entities(count), Authorizer::new());
        let all = questions(count, &mut numbers);
        let cedar_allows =
            |question: &Question| authorizer.is_authorized(&question.theirs, &cedar, &entities).decision() == Decision::Allow;
        let (mut hits, mut misses) = (Vec::new(), Vec::new());
        for question in &all {
            let answer = ask(&who, &set, question);
            assert_eq!(answer, cedar_allows(question), "{} on {}", question.action, question.resource);
            if answer { hits.push(question) } else { misses.push(question) }
        }
        for (name, chosen) in [("hit", hits), ("miss", misses)] {
            let before = taken().0;
            let each = chosen.len() as f64;
            let ours = nanoseconds(|| chosen.iter().for_each(|question| _ = black_box(ask(&who, &set, question)))) / each;
            assert_eq!(taken().0, before, "deciding took memory from the heap");
            let few: Vec<_> = chosen.iter().take(if count > 1_000 { 8 } else { 32 }).collect();
            let theirs = nanoseconds(|| few.iter().for_each(|question| _ = black_box(cedar_allows(question)))) / few.len() as f64;
            println!("{count:>9} {name:>6} {ours:>12.0} {:>12.0} {theirs:>12.0} {:>9.0}x", 1e9 / ours, theirs / ours);
            if name == "hit" && count == 10 {
                at_ten = ours;
            }
            if name == "hit" && count == 10_000 {
                println!("          a hit at 10,000 policies costs {:.2}x one at 10", ours / at_ten);
            }
        }
    }
}

fn whole_stack() {
    let mut numbers = Numbers(7);
    let identity: Vec<Value> = (0..1_000).map(|number| policy(number, &mut numbers).0).filter(allows).collect();
    let on_resource = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "111122223333"}, "Action": "s3:*", "Resource": "arn:aws:s3:::*"}});
    let boundary = json!({"Statement": [{"Effect": "Allow", "Action": ["s3:*", "sqs:*", "iam:Get*"], "Resource": "*"},
        {"Effect": "Deny", "Action": "iam:*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}]});
    let caps = json!({"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::bucket-*",
        "Condition": {"IpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.0.2.0/24"]}}}});
    let guardrail = |principal: bool| {
        let mut documents = vec![
            json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}),
            json!({"Statement": [{"Effect": "Deny", "Action": ["organizations:LeaveOrganization", "iam:CreateUser"], "Resource": "*"},
                {"Effect": "Deny", "NotAction": ["iam:*", "sts:*", "s3:*"], "Resource": "*",
                 "Condition": {"StringNotEquals": {"aws:RequestedRegion": ["eu-1", "eu-2"]}}}]}),
            json!({"Statement": {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Condition": {"Bool": {"aws:SecureTransport": "false"}}}}),
        ];
        if principal {
            for document in &mut documents {
                match &mut document["Statement"] {
                    Value::Array(all) => all.iter_mut().for_each(|statement| statement["Principal"] = "*".into()),
                    one => one["Principal"] = "*".into(),
                }
            }
        }
        let kind = if principal { DocumentKind::ResourceControl } else { DocumentKind::ServiceControl };
        (0..3).map(|_| Arc::new(compiled(&documents, kind))).collect::<Vec<_>>()
    };
    let (scp, rcp) = (guardrail(false), guardrail(true));
    let [identity, boundary, caps] =
        [identity, vec![boundary], vec![caps]].map(|documents| compiled(&documents, DocumentKind::Identity));
    let resource = compiled(&[on_resource], DocumentKind::Resource);
    let layers = Layers {
        identity: &identity,
        boundary: Some(&boundary),
        session: Some(&caps),
        resource: Some(ResourcePolicy { policies: &resource, mandatory: false }),
        guardrails: Guardrails { service_control: &scp, resource_control: &rcp, guarded: None, management: None },
    };
    let who = session();
    let question = questions(1_000, &mut numbers).into_iter().find(|question| {
        let request = Request::new(&who, &question.action, &question.resource, &question.context);
        matches!(decide(&request, &layers, None), Verdict::Allowed(_))
    });
    let question = question.expect("a question that the whole stack allows");
    let before = taken().0;
    let whole = nanoseconds(|| {
        let request = Request::new(&who, &question.action, &question.resource, &question.context);
        assert!(matches!(decide(black_box(&request), &layers, None), Verdict::Allowed(_)));
    });
    assert_eq!(taken().0, before, "deciding took memory from the heap");
    let strings: Vec<String> = question
        .context
        .sorted()
        .into_iter()
        .flat_map(|(key, values)| std::iter::once(key.to_owned()).chain(values.to_vec()))
        .chain([question.action.clone(), question.resource.clone(), who.describe().to_owned()])
        .collect();
    let hashed_only = nanoseconds(|| {
        let mut hasher = DefaultHasher::new();
        strings.iter().for_each(|text| hasher.write(black_box(text).as_bytes()));
        black_box(hasher.finish());
    });
    println!("\nA whole stack: identity (1,000 policies), resource, boundary, session, 3 levels each of SCP and RCP");
    println!("{whole:.0} ns, {:.1}x one hash of the request's strings ({hashed_only:.0} ns)", whole / hashed_only);
}

fn allows(document: &Value) -> bool {
    document["Statement"]["Effect"] == "Allow"
}

fn trust(account: &str, number: usize) -> String {
    format!(
        r#"{{"Version":"2012-10-17","Statement":[{{"Effect":"Allow","Principal":{{"Federated":"arn:aws:iam::{account}:saml-provider/corp"}},"Action":"sts:AssumeRoleWithSAML","Condition":{{"ForAnyValue:StringEquals":{{"saml:groups":"group-{number}"}},"StringEquals":{{"saml:aud":"https://broker.example.com/saml/acs"}}}}}}]}}"#
    )
}

fn role(account: &str, number: usize, trust: String) -> Role {
    Role {
        account: AccountId::parse(account).unwrap(),
        name: RoleName::parse(&format!("Engineer{number}")).unwrap(),
        path: "/".to_owned(),
        id: format!("AROA{number:017}"),
        description: String::new(),
        trust_policy: trust.into(),
        max_session_seconds: 3600,
        created: Timestamp(0),
        inline_policies: BTreeMap::new(),
        attached_policies: vec![Arn::parse("arn:aws:iam::aws:policy/ReadOnlyAccess").unwrap()],
    }
}

fn assertion(groups: Vec<String>) -> IdentityAssertion {
    IdentityAssertion {
        provider: ProviderRef {
            owner: ProviderOwner::Organization,
            name: "corp".to_owned(),
            resource: "saml-provider/corp".to_owned(),
            protocol: FederationProtocol::Saml,
        },
        issuer: "https://idp.example.com/".to_owned(),
        subject: "jane".to_owned(),
        subject_type: None,
        audience: "https://broker.example.com/saml/acs".to_owned(),
        claims: BTreeMap::from([
            ("saml:groups".to_owned(), groups),
            ("saml:aud".to_owned(), vec!["https://broker.example.com/saml/acs".to_owned()]),
            ("saml:sub".to_owned(), vec!["jane".to_owned()]),
            ("saml:mail".to_owned(), vec!["jane@example.com".to_owned()]),
        ]),
        name: None,
        email: None,
        methods: Vec::new(),
        asserted_authentication: None,
        authenticated: Timestamp(0),
        not_after: None,
        role_session_name: None,
        session_seconds: None,
        source_identity: None,
        tags: SessionTags::default(),
        roles: Vec::new(),
    }
}

fn roles_for_assertion() {
    println!("\nWhich roles may this assertion take? (a person of 10 groups; 100 roles in each account)");
    let managed = Arc::new(
        Policy::parse(r#"{"Statement":{"Effect":"Allow","Action":"s3:*","Resource":"*"}}"#, DocumentKind::Identity).unwrap(),
    );
    for count in [1_000, 10_000, 100_000] {
        let mut library = Library::default();
        let before = taken().1;
        let mut roles = Vec::with_capacity(count);
        for number in 0..count {
            let account = format!("{:012}", 100_000_000_000_usize + number / 100);
            // Ten roles of an account share a document.
            let role = role(&account, number, trust(&account, number / 10));
            roles.push(Arc::new(CompiledRole::compile(role, &mut library, |_| Some(managed.clone())).unwrap()));
        }
        let one = roles[count / 2].clone();
        let index = TakeableRoles::new(roles);
        drop(library);
        let bytes = (taken().1 - before) as f64 / count as f64;
        let groups = (0..9).map(|group| format!("other-{group}")).chain([format!("group-{}", count / 20)]).collect();
        let person = assertion(groups);
        let base = Context::default();
        let standing = |account: &AccountId| person.provider.arn_in(account);
        let search =
            || index.for_assertion(&person, None, &base, |_| Guardrails::NONE, standing, |role, _| role.role.id.clone()).len();
        let found = search();
        let all = nanoseconds(|| _ = black_box(search()));
        let context = one.trust_context(&person, &base);
        let who = Identity::Federated(standing(&one.role.account).unwrap());
        let arn = one.role.arn();
        let evaluate = || {
            let request = Request::new(&who, "sts:AssumeRoleWithSAML", arn.as_str(), &context);
            matches!(decide(&request, &one.trust_layers(Guardrails::NONE), Some(&one.role.account)), Verdict::Allowed(_))
        };
        assert!(evaluate());
        let single = nanoseconds(|| _ = black_box(evaluate()));
        println!(
            "{count:>9} roles: {found} found in {:>7.1} us = {:>4.0}x one trust evaluation ({single:.0} ns); {bytes:.0} bytes a role, index included",
            all / 1e3,
            all / single
        );
    }
}

fn main() {
    beside_cedar();
    whole_stack();
    roles_for_assertion();
}
