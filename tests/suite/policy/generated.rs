//! Compiled and reference evaluator on a million generated questions, and what must hold of any policy.

use super::{
    OTHER, OWN,
    cases::identity,
    reference::{self, Ask, Stack},
};
use crate::numbers::Numbers;
use daypass::{
    domain::name::AccountId,
    policy::{
        Context, Document, DocumentKind, Identity, Named, Policy, PolicySet, Request,
        evaluate::{Guardrails, Layers, ResourcePolicy, Verdict, decide},
    },
};
use serde_json::{Map, Value, json};
use std::{collections::BTreeMap, sync::Arc};

impl Numbers {
    fn one_in(&mut self, chance: usize) -> bool {
        self.below(chance) == 0
    }
    fn pick<'a, T: ?Sized>(&mut self, list: &[&'a T]) -> &'a T {
        list[self.below(list.len())]
    }
    fn some(&mut self, list: &[&str]) -> Value {
        let count = 1 + self.below(3);
        if count == 1 { self.pick(list).into() } else { (0..count).map(|_| Value::from(self.pick(list))).collect() }
    }
}

const ACTIONS: [&str; 9] = [
    "s3:GetObject",
    "s3:GetObjectAcl",
    "s3:PutObject",
    "iam:GetRole",
    "iam:PassRole",
    "sts:AssumeRole",
    "sqs:SendMessage",
    "sts:GetCallerIdentity",
    "sts:TagSession",
];
const ACTION_PATTERNS: [&str; 15] = [
    "*",
    "s3:*",
    "s3:Get*",
    "S3:getobject",
    "s3:?utObject",
    "s3:GetObject",
    "s3:PutObject",
    "iam:*Role",
    "iam:GetRole",
    "iam:Pass*",
    "sts:AssumeRole",
    "sqs:*",
    "s3:*Object*",
    "sts:Assume*",
    "sts:Tag*",
];
const RESOURCES: [&str; 9] = [
    "*",
    "arn:aws:s3:::b/jane/x",
    "arn:aws:s3:::b/joe/y",
    "arn:aws:s3:::b",
    "arn:aws:s3:::b*/jane",
    "arn:aws:iam::111122223333:role/team/A",
    "arn:aws:iam::444455556666:role/A",
    "arn:aws:sqs:eu-1:111122223333:q",
    "arn:aws:sqs:us-1:111122223333:q:dead",
];
const RESOURCE_PATTERNS: [&str; 19] = [
    "*",
    "arn:aws:s3:::b/${aws:username}/*",
    "arn:aws:s3:::b/${aws:username, 'joe'}/?",
    "arn:aws:s3:::b/jane/x",
    "arn:aws:s3:::b/joe/y",
    "arn:aws:s3:::b${*}/jane",
    "arn:aws:s3:::b*",
    "arn:aws:s3:::*/x",
    "arn:aws:iam::*:role/*",
    "arn:aws:iam::111122223333:role/team/*",
    "arn:aws:iam::*:role/A",
    "arn:aws:sqs:*",
    "arn:aws:sqs:*:q",
    "arn:aws:sqs:e*1:111122223333:q",
    "arn:aws:sqs:*:1*3:q",
    "arn:aws:sqs:?u-1:*:q",
    "arn:aws:sqs:*-1:*3:q:dead",
    "arn:*:s3:::b/joe/*",
    "arn:aws:s3:::b/${aws:PrincipalTag/none}",
];
const PRINCIPALS: [&str; 8] = [
    "*",
    "111122223333",
    "444455556666",
    "arn:aws:iam::111122223333:root",
    "arn:aws:iam::111122223333:role/team/Caller",
    "arn:aws:sts::111122223333:assumed-role/Caller/jane",
    "arn:aws:iam::111122223333:user/team/jane",
    "AROAXXXXXXXXXXXXXXXXX",
];
const CALLERS: [&str; 11] = [
    "own session",
    "other session",
    "own user",
    "other user",
    "own federated user",
    "own root",
    "other root",
    "own service",
    "own anonymous",
    "own federated",
    "own session",
];
/// Operator, key, values that policies hold.
const CONDITIONS: [(&str, &str, &[&str]); 23] = [
    ("StringEquals", "aws:PrincipalTag/Team", &["blue", "red", "${aws:username}"]),
    ("StringEquals", "aws:username", &["jane", "joe"]),
    ("StringNotEquals", "aws:PrincipalTag/team", &["blue", "Red"]),
    ("StringEqualsIgnoreCase", "aws:PrincipalTag/Team", &["BLUE", "Red"]),
    ("StringNotEqualsIgnoreCase", "aws:principaltag/team", &["BLUE"]),
    ("StringLike", "aws:PrincipalTag/Team", &["b*", "?ed", "${aws:username}*", "*"]),
    ("StringNotLike", "aws:PrincipalTag/Team", &["b*", "r?d"]),
    ("StringEqualsIfExists", "aws:PrincipalTag/Team", &["blue"]),
    ("StringNotLikeIfExists", "aws:PrincipalTag/Team", &["b*"]),
    ("ForAllValues:StringEquals", "aws:TagKeys", &["a", "b"]),
    ("ForAnyValue:StringEquals", "aws:TagKeys", &["a", "c"]),
    ("ForAllValues:StringNotEquals", "aws:TagKeys", &["c"]),
    ("ForAnyValue:StringNotLike", "aws:TagKeys", &["a*"]),
    ("ForAnyValue:StringLikeIfExists", "aws:TagKeys", &["c*"]),
    ("StringEquals", "aws:TagKeys", &["a"]),
    ("NumericLessThan", "aws:MultiFactorAuthAge", &["100", "3.5"]),
    ("NumericGreaterThanEqualsIfExists", "aws:MultiFactorAuthAge", &["100"]),
    ("Bool", "aws:MultiFactorAuthPresent", &["true", "False"]),
    ("Null", "aws:PrincipalTag/Team", &["true", "false"]),
    ("IpAddress", "aws:SourceIp", &["10.0.0.0/8", "10.1.2.3"]),
    ("NotIpAddress", "aws:SourceIp", &["10.0.0.0/8"]),
    ("ArnLike", "aws:PrincipalArn", &["arn:aws:iam::*:role/*", "arn:aws:iam::${aws:PrincipalAccount}:user/team/jane", "*"]),
    ("ArnNotLike", "aws:PrincipalArn", &["arn:aws:iam::${aws:PrincipalAccount}:role/*", "arn:*:iam::*:user/*"]),
];
/// Key, values that requests carry.
const KEYS: [(&str, &[&str]); 8] = [
    ("aws:PrincipalTag/Team", &["blue", "red", "Red", "jane", "b"]),
    ("aws:username", &["jane", "joe", "b*"]),
    ("aws:PrincipalAccount", &["111122223333", "444455556666"]),
    ("aws:TagKeys", &["a", "b", "c"]),
    ("aws:MultiFactorAuthAge", &["3.5", "50", "100", "soon"]),
    ("aws:MultiFactorAuthPresent", &["true", "false", "TRUE"]),
    ("aws:SourceIp", &["10.1.2.3", "192.0.2.1", "nowhere"]),
    ("aws:PrincipalArn", &["arn:aws:iam::111122223333:role/team/Caller", "arn:aws:iam::111122223333:user/team/jane", "jane"]),
];

fn document(numbers: &mut Numbers, on_resource: bool) -> Value {
    let count = 1 + numbers.below(3);
    let statements: Vec<Value> = (0..count).map(|_| statement(numbers, on_resource)).collect();
    let mut document = json!({ "Statement": statements });
    if !numbers.one_in(6) {
        document["Version"] = "2012-10-17".into();
    }
    document
}

fn statement(numbers: &mut Numbers, on_resource: bool) -> Value {
    let mut all = Map::new();
    all.insert("Effect".to_owned(), if numbers.one_in(6) { "Deny" } else { "Allow" }.into());
    let not = |numbers: &mut Numbers, name: &str| if numbers.one_in(8) { format!("Not{name}") } else { name.to_owned() };
    let (action, resource) = (not(numbers, "Action"), not(numbers, "Resource"));
    all.insert(action, numbers.some(&ACTION_PATTERNS));
    all.insert(resource, numbers.some(&RESOURCE_PATTERNS));
    if on_resource {
        let principal = not(numbers, "Principal");
        let who = match numbers.below(5) {
            0 => json!("*"),
            1 => json!({"Service": "ec2.amazonaws.com"}),
            2 => json!({"Federated": "arn:aws:iam::111122223333:saml-provider/corp", "AWS": numbers.some(&PRINCIPALS)}),
            _ => json!({"AWS": numbers.some(&PRINCIPALS)}),
        };
        all.insert(principal, who);
    }
    let mut conditions = Map::new();
    for _ in 0..[0, 0, 1, 1, 2][numbers.below(5)] {
        let (operator, key, values) = CONDITIONS[numbers.below(CONDITIONS.len())];
        conditions.insert(operator.to_owned(), json!({ key: numbers.some(values) }));
    }
    if !conditions.is_empty() {
        all.insert("Condition".to_owned(), conditions.into());
    }
    all.into()
}

fn documents(numbers: &mut Numbers, most: usize, on_resource: bool) -> Vec<Value> {
    (0..numbers.below(most + 1)).map(|_| document(numbers, on_resource)).collect()
}

fn request_context(numbers: &mut Numbers) -> BTreeMap<String, Vec<String>> {
    let mut context = BTreeMap::new();
    for (key, values) in KEYS {
        if !numbers.one_in(3) {
            let count = if key == "aws:TagKeys" || numbers.one_in(12) { numbers.below(3) } else { 1 };
            context.insert(key.to_lowercase(), (0..count).map(|_| numbers.pick(values).to_owned()).collect());
        }
    }
    context
}

fn compiled(documents: &[Value], kind: DocumentKind) -> PolicySet {
    let named = documents.iter().map(|document| {
        let policy = Policy::parse(&document.to_string(), kind).unwrap_or_else(|error| panic!("{document}: {error}"));
        Named { label: "policy".into(), policy: Arc::new(policy) }
    });
    PolicySet::new(named.collect())
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Allowed(_) => "allow",
        Verdict::ExplicitDeny(..) => "explicit deny",
        Verdict::ImplicitDeny(..) => "deny",
    }
}

/// A stack of documents, compiled.
struct Compiled {
    identity: PolicySet,
    boundary: Option<PolicySet>,
    session: Option<PolicySet>,
    resource: Option<PolicySet>,
    mandatory: bool,
    scp: Vec<Arc<PolicySet>>,
    rcp: Vec<Arc<PolicySet>>,
}

impl Compiled {
    fn new(stack: &Stack) -> Self {
        let levels = |levels: &[Vec<Value>], kind| levels.iter().map(|level| Arc::new(compiled(level, kind))).collect::<Vec<_>>();
        Self {
            identity: compiled(&stack.identity, DocumentKind::Identity),
            boundary: stack.boundary.as_ref().map(|all| compiled(all, DocumentKind::Identity)),
            session: stack.session.as_ref().map(|all| compiled(all, DocumentKind::Identity)),
            resource: stack.resource.as_ref().map(|all| compiled(all, DocumentKind::Resource)),
            mandatory: stack.mandatory,
            scp: levels(&stack.scp, DocumentKind::ServiceControl),
            rcp: levels(&stack.rcp, DocumentKind::ResourceControl),
        }
    }
    fn layers(&self) -> Layers<'_> {
        Layers {
            identity: &self.identity,
            boundary: self.boundary.as_ref(),
            session: self.session.as_ref(),
            resource: self.resource.as_ref().map(|policies| ResourcePolicy { policies, mandatory: self.mandatory }),
            guardrails: Guardrails { service_control: &self.scp, resource_control: &self.rcp, guarded: None, management: None },
        }
    }
}

fn stack(numbers: &mut Numbers) -> Stack {
    // Every eighth stack is large enough to be indexed.
    let most = if numbers.one_in(8) { 30 } else { 3 };
    let guardrail = |numbers: &mut Numbers, principal: bool| {
        let mut all = documents(numbers, 2, false);
        if !numbers.one_in(4) {
            all.push(json!({"Statement": {"Effect": "Allow", "Action": "*", "Resource": "*"}}));
        }
        if principal {
            for document in &mut all {
                for statement in document["Statement"].as_array_mut().map(|all| all.iter_mut().collect()).unwrap_or(vec![]) {
                    statement["Principal"] = "*".into();
                }
                if document["Statement"].is_object() {
                    document["Statement"]["Principal"] = "*".into();
                }
            }
        }
        all
    };
    let levels = if numbers.one_in(3) { numbers.below(4) } else { 0 };
    Stack {
        identity: documents(numbers, most, false),
        boundary: numbers.one_in(3).then(|| documents(numbers, 3, false)),
        session: numbers.one_in(3).then(|| documents(numbers, 3, false)),
        resource: (!numbers.one_in(3)).then(|| documents(numbers, most, true)),
        mandatory: numbers.one_in(3),
        scp: (0..levels).map(|_| guardrail(numbers, false)).collect(),
        rcp: (0..levels).map(|_| guardrail(numbers, true)).collect(),
    }
}

fn agree(seed: u64) {
    let mut numbers = Numbers(seed);
    let own = AccountId::parse(OWN).unwrap();
    let callers: Vec<Identity> = CALLERS.iter().map(|caller| identity(caller)).collect();
    let mut outcomes: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..2_500 {
        let stack = stack(&mut numbers);
        let compiled = Compiled::new(&stack);
        for _ in 0..100 {
            let keys = request_context(&mut numbers);
            let mut context = Context::default();
            for (key, values) in &keys {
                context.set_list(key, values.clone());
            }
            let who = &callers[numbers.below(callers.len())];
            let (action, resource) = (numbers.pick(&ACTIONS), numbers.pick(&RESOURCES));
            let mut request = Request::new(who, action, resource, &context);
            request.bounded = compiled.boundary.is_some();
            let answer = word(decide(&request, &compiled.layers(), Some(&own)));
            let ask = Ask { who, action, resource, context: &keys, bounded: request.bounded };
            let same_account = who.account().is_some_and(|account| account.as_str() != OTHER);
            let wanted = reference::decide(&stack, same_account, &ask);
            *outcomes.entry(answer).or_default() += 1;
            assert_eq!(
                answer,
                wanted,
                "{who:?} {action} on {resource} with {keys:?}\nidentity {}\nboundary {}\nsession {}\nresource {} (mandatory: {})\nscp {}\nrcp {}",
                json!(stack.identity),
                json!(stack.boundary),
                json!(stack.session),
                json!(stack.resource),
                stack.mandatory,
                json!(stack.scp),
                json!(stack.rcp),
            );
        }
    }
    assert!(outcomes.values().all(|count| *count > 20_000), "the questions are one-sided: {outcomes:?}");
}

// A quarter of a million each, so that two cores share them.
#[test]
fn compiled_and_reference_agree_1() {
    agree(0x9E37_79B9_7F4A_7C15);
}
#[test]
fn compiled_and_reference_agree_2() {
    agree(0xD1B5_4A32_D192_ED03);
}
#[test]
fn compiled_and_reference_agree_3() {
    agree(0x94D0_49BB_1331_11EB);
}
#[test]
fn compiled_and_reference_agree_4() {
    agree(0xBF58_476D_1CE4_E5B9);
}

#[test]
fn printing_and_parsing_is_identity() {
    let mut numbers = Numbers(42);
    for _ in 0..5_000 {
        for kind in [DocumentKind::Identity, DocumentKind::Resource] {
            let written = document(&mut numbers, kind == DocumentKind::Resource);
            let parsed = Document::parse(&written.to_string(), kind).unwrap();
            let again = Document::parse(&parsed.to_string(), kind).unwrap();
            assert_eq!(parsed, again, "{written}");
            assert_eq!(Policy::compile(&parsed, kind), Policy::compile(&again, kind));
        }
    }
}

#[test]
fn a_deny_more_or_an_allow_less_never_allows() {
    let mut numbers = Numbers(7);
    let own = AccountId::parse(OWN).unwrap();
    for _ in 0..1_000 {
        let mut before = stack(&mut numbers);
        before.identity.push(document(&mut numbers, false));
        let mut with_deny = Stack { identity: before.identity.clone(), ..copy(&before) };
        let mut deny = statement(&mut numbers, false);
        deny["Effect"] = "Deny".into();
        with_deny.identity.push(json!({"Version": "2012-10-17", "Statement": deny}));
        let mut without_allow = copy(&before);
        let chosen = numbers.below(without_allow.identity.len());
        let statements = without_allow.identity[chosen]["Statement"].as_array_mut().unwrap();
        statements.retain(|statement| statement["Effect"] == "Deny");
        if statements.is_empty() {
            without_allow.identity.remove(chosen);
        }
        let all = [Compiled::new(&before), Compiled::new(&with_deny), Compiled::new(&without_allow)];
        for _ in 0..20 {
            let mut context = Context::default();
            for (key, values) in request_context(&mut numbers) {
                context.set_list(&key, values);
            }
            let who = identity(numbers.pick(&CALLERS));
            let request = Request::new(&who, numbers.pick(&ACTIONS[..7]), numbers.pick(&RESOURCES), &context);
            let [before, with_deny, without_allow] =
                all.each_ref().map(|compiled| word(decide(&request, &compiled.layers(), Some(&own))));
            if before != "allow" {
                assert_ne!(with_deny, "allow", "{request:?}");
                assert_ne!(without_allow, "allow", "{request:?}");
            }
        }
    }
}

fn copy(stack: &Stack) -> Stack {
    Stack {
        identity: stack.identity.clone(),
        boundary: stack.boundary.clone(),
        session: stack.session.clone(),
        resource: stack.resource.clone(),
        mandatory: stack.mandatory,
        scp: stack.scp.clone(),
        rcp: stack.rcp.clone(),
    }
}
