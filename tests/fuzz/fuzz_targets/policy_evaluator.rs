//! Any policies and any request: deciding never panics, an index never changes the answer, an explanation never says
//! otherwise, and one deny more never allows.
#![no_main]

use arbitrary::Arbitrary;
use daypass::policy::{
    Context, DocumentKind, Identity, Named, Policy, PolicySet, Request,
    evaluate::{Guardrails, Layers, ResourcePolicy, Verdict, decide},
};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};
use std::sync::Arc;

#[derive(Arbitrary, Debug)]
struct Statement {
    deny: bool,
    not_action: bool,
    actions: Vec<String>,
    not_resource: bool,
    resources: Vec<String>,
    operator: u8,
    set: u8,
    if_exists: bool,
    key: String,
    values: Vec<String>,
    principal: String,
}

#[derive(Arbitrary, Debug)]
struct Question {
    statements: Vec<Statement>,
    on_resource: Vec<Statement>,
    action: String,
    resource: String,
    keys: Vec<(String, Vec<String>)>,
    caller: u8,
}

const OPERATORS: [&str; 14] = [
    "StringEquals", "StringNotEquals", "StringEqualsIgnoreCase", "StringLike", "StringNotLike", "NumericEquals",
    "NumericLessThan", "DateEquals", "DateGreaterThan", "Bool", "IpAddress", "NotIpAddress", "ArnLike", "Null",
];
const SETS: [&str; 3] = ["", "ForAllValues:", "ForAnyValue:"];
const CALLERS: [&str; 6] = [
    "arn:aws:iam::111122223333:role/team/A",
    "arn:aws:iam::111122223333:user/jane",
    "arn:aws:sts::444455556666:assumed-role/A/s",
    "arn:aws:iam::111122223333:saml-provider/corp",
    "ec2.amazonaws.com",
    "anonymous",
];

fn set(statements: &[Statement], kind: DocumentKind) -> Vec<Named> {
    let each = statements.iter().take(40).filter_map(|statement| {
        let mut json = Map::new();
        json.insert("Effect".into(), if statement.deny { "Deny" } else { "Allow" }.into());
        json.insert(if statement.not_action { "NotAction" } else { "Action" }.into(), json!(statement.actions));
        json.insert(if statement.not_resource { "NotResource" } else { "Resource" }.into(), json!(statement.resources));
        if kind == DocumentKind::Resource {
            json.insert("Principal".into(), json!({"AWS": statement.principal}));
        }
        if !statement.key.is_empty() {
            let base = OPERATORS[usize::from(statement.operator) % OPERATORS.len()];
            let set = SETS[usize::from(statement.set) % SETS.len()];
            let operator = format!("{set}{base}{}", if statement.if_exists { "IfExists" } else { "" });
            json.insert("Condition".into(), json!({ operator: { statement.key.clone(): statement.values } }));
        }
        let document = json!({"Version": "2012-10-17", "Statement": json});
        let policy = Policy::parse(&document.to_string(), kind).ok()?;
        Some(Named { label: "policy".into(), policy: Arc::new(policy) })
    });
    each.collect()
}

fuzz_target!(|question: Question| {
    let mut context = Context::default();
    for (key, values) in &question.keys {
        context.set_list(key, values.clone());
    }
    let who = Identity::named(CALLERS[usize::from(question.caller) % CALLERS.len()]).expect("a principal");
    let request = Request::new(&who, &question.action, &question.resource, &context);
    let identity = set(&question.statements, DocumentKind::Identity);
    let resource = PolicySet::new(set(&question.on_resource, DocumentKind::Resource));
    // Repeated until it is large enough for an index.
    let repeated: Vec<Named> = identity.iter().cycle().take(identity.len() * 16).cloned().collect();
    let verdict = |identity: Vec<Named>| {
        let identity = PolicySet::new(identity);
        let layers = Layers {
            identity: &identity,
            boundary: None,
            session: None,
            resource: Some(ResourcePolicy { policies: &resource, mandatory: false }),
            guardrails: Guardrails::NONE,
        };
        let verdict = decide(&request, &layers, None);
        let allowed = matches!(verdict, Verdict::Allowed(_));
        assert_eq!(layers.explain(&request, None).allowed, allowed);
        allowed
    };
    let allowed = verdict(identity.clone());
    assert_eq!(verdict(repeated), allowed);
    let mut denied = identity;
    let deny = r#"{"Statement":{"Effect":"Deny","Action":"*","Resource":"*"}}"#;
    let policy = Policy::parse(deny, DocumentKind::Identity).expect("a policy");
    denied.push(Named { label: "deny".into(), policy: Arc::new(policy) });
    assert!(!verdict(denied) || !who.has_identity_side() || request.action.eq_ignore_ascii_case("sts:GetCallerIdentity"));
});
