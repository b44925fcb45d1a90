//! The policy engine, by cases in `tests/data/policy/*.json`. A reviewer can add one without Rust.

use daypass::{
    domain::{
        Arn, Timestamp,
        iam::{ProviderOwner, Role},
        name::{AccountId, RoleName, RoleSessionName},
        session::{FederationProtocol, ProviderRef, RoleSession},
    },
    policy::{
        CompiledRole, Context, Decision, Document, DocumentKind,
        evaluate::{Check, Named, authorize_federated, authorize_session, explain_federated},
        pattern::{ActionPattern, ArnPattern, Pattern},
    },
};
use proptest::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeMap, fs, sync::Arc};

/// One case. Unknown fields are refused: a typo must not pass.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// A role's trust policy, tried by a federated person or, with `caller`, by a role session.
    trust: Option<Value>,
    /// Policies of the calling role.
    identity: Option<Vec<Value>>,
    /// Session policies of the calling session.
    session: Option<Vec<Value>>,
    /// `other` for another account than the resource's.
    #[serde(default)]
    caller: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    resource: String,
    #[serde(default)]
    context: BTreeMap<String, Value>,
    /// `allow`, `deny`, `explicit deny` or `malformed`.
    expect: String,
    /// Words of the reason, where it matters.
    reason: Option<String>,
}

const OWN: &str = "111122223333";
const OTHER: &str = "444455556666";

fn role(account: &str, name: &str, trust: &str) -> Role {
    Role {
        account: AccountId::parse(account).unwrap(),
        name: RoleName::parse(name).unwrap(),
        path: "/".to_owned(),
        id: format!("AROA{}", "X".repeat(17)),
        description: String::new(),
        trust_policy: trust.to_owned(),
        max_session_seconds: 3600,
        created: Timestamp(0),
        inline_policies: BTreeMap::new(),
        attached_policies: Vec::new(),
    }
}

const ANYONE: &str = r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}]}"#;

fn compile(role: Role) -> Result<Arc<CompiledRole>, String> {
    CompiledRole::compile(role, |_| None).map(Arc::new).map_err(|error| error.to_string())
}

fn documents(list: Option<Vec<Value>>) -> Result<Option<Vec<Document>>, String> {
    list.map(|list| {
        list.iter().map(|one| Document::parse(&one.to_string(), DocumentKind::Identity)).collect::<Result<Vec<_>, _>>()
    })
    .transpose()
    .map_err(|error| error.to_string())
}

fn context(pairs: &BTreeMap<String, Value>) -> Context {
    let mut context = Context::default();
    for (key, value) in pairs {
        let list = match value {
            Value::Array(list) => list.iter().map(|one| one.as_str().unwrap().to_owned()).collect(),
            Value::String(one) => vec![one.clone()],
            other => panic!("{key}: {other} is not a string or a list"),
        };
        context.set_list(key, list);
    }
    context
}

fn decide(case: Case) -> Result<(String, String), String> {
    let context = context(&case.context);
    let trusted = case.trust.as_ref().map(|trust| compile(role(OWN, "Target", &trust.to_string()))).transpose()?;
    if let (Some(target), true) = (&trusted, case.caller.is_empty()) {
        let mut assertion = crate::world::directory_assertion(&[]);
        assertion.claims.clear();
        assertion.provider = ProviderRef {
            owner: ProviderOwner::Organization,
            name: "corp".to_owned(),
            resource: "saml-provider/corp".to_owned(),
            protocol: FederationProtocol::Saml,
        };
        let explained = explain_federated(target, &assertion, &context);
        let notes: Vec<String> = explained
            .statements
            .iter()
            .flat_map(|trace| &trace.conditions)
            .filter_map(|condition| condition.note.clone())
            .collect();
        let decision = authorize_federated(target, assertion, &context, &[]);
        assert_eq!(explained.allowed, matches!(decision, Decision::Allow(_)), "the explanation says otherwise");
        return Ok(outcome(decision, notes.join("; ")));
    }
    let account = if case.caller == "other" { OTHER } else { OWN };
    let caller_role = compile(role(account, "Caller", ANYONE))?;
    let session = RoleSession {
        access_key_id: "ASIA".to_owned(),
        secret_access_key: "s".to_owned().into(),
        account: AccountId::parse(account).unwrap(),
        role_name: RoleName::parse("Caller").unwrap(),
        role_id: caller_role.role.id.clone(),
        session_name: RoleSessionName::parse("jane").unwrap(),
        issued: Timestamp(0),
        expires: Timestamp(1),
        source_identity: None,
        tags: BTreeMap::new(),
        session_policy: None,
        session_policy_arns: Vec::new(),
        federated_provider: None,
        chained: false,
    };
    let identity = documents(case.identity)?.unwrap_or_default();
    let caps = documents(case.session)?;
    let named = |documents: &'_ [Document]| -> Vec<Named<'static>> {
        documents.iter().map(|document| Named { label: "policy", document: Box::leak(Box::new(document.clone())) }).collect()
    };
    let mut check = Check::new(&case.action, &case.resource).owned_by(AccountId::parse(OWN).unwrap());
    if let Some(target) = trusted {
        check.resource = target.role.arn().to_string();
        check = check.trusted_by(target);
    }
    let caps = caps.map(|caps| named(&caps));
    let decision = authorize_session(&Arc::new(session), &caller_role, &named(&identity), caps.as_deref(), &context, &[check]);
    Ok(outcome(decision, String::new()))
}

fn outcome(decision: Decision, notes: String) -> (String, String) {
    match decision {
        Decision::Allow(_) => ("allow".to_owned(), notes),
        Decision::Deny(denial) if denial.explicit => ("explicit deny".to_owned(), format!("{} {notes}", denial.message)),
        Decision::Deny(denial) => ("deny".to_owned(), format!("{} {notes}", denial.message)),
    }
}

#[test]
fn every_case_in_the_files() {
    let mut failures = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir("tests/data/policy").unwrap() {
        let file = entry.unwrap().path();
        let text = fs::read_to_string(&file).unwrap();
        let cases: Vec<Case> = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for case in cases {
            count += 1;
            let (name, expect, reason) = (case.name.clone(), case.expect.clone(), case.reason.clone());
            let (verdict, why) = decide(case).unwrap_or_else(|problem| ("malformed".to_owned(), problem));
            if verdict != expect || reason.as_ref().is_some_and(|reason| !why.contains(reason)) {
                failures.push(format!("{}: {name}: expected {expect} ({reason:?}), got {verdict}: {why}", file.display()));
            }
        }
    }
    assert!(count >= 60, "only {count} cases were found");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// The obvious, slow glob.
fn slow_glob(pattern: &[char], value: &[char]) -> bool {
    match pattern.split_first() {
        None => value.is_empty(),
        Some(('*', rest)) => (0..=value.len()).any(|skip| slow_glob(rest, &value[skip..])),
        Some(('?', rest)) => !value.is_empty() && slow_glob(rest, &value[1..]),
        Some((letter, rest)) => value.first() == Some(letter) && slow_glob(rest, &value[1..]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn globs_match_like_the_obvious_one(pattern in "[ab*?]{0,8}", value in "[ab]{0,10}") {
        let compiled = Pattern::compile(&pattern, true, false).unwrap();
        let (p, v): (Vec<char>, Vec<char>) = (pattern.chars().collect(), value.chars().collect());
        prop_assert_eq!(compiled.matches(&value, false, &Context::default()), slow_glob(&p, &v));
    }

    #[test]
    fn no_input_panics_the_parsers(text in "\\PC{0,200}") {
        let _ = Document::parse(&text, DocumentKind::Trust);
        let _ = Document::parse(&format!(r#"{{"Statement":{text}}}"#), DocumentKind::Identity);
        let _ = Pattern::compile(&text, true, true);
        let _ = ActionPattern::compile(&text);
        let _ = ArnPattern::compile(&text, true).map(|pattern| pattern.matches(&text, &Context::default()));
        let _ = Arn::parse(&text);
    }
}

#[test]
fn a_pattern_of_stars_is_not_slow() {
    let pattern = Pattern::compile(&"*a".repeat(1000), true, false).unwrap();
    assert!(!pattern.matches(&"a".repeat(999), false, &Context::default()));
}
