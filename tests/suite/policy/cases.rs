//! The cases in the files.

use super::{OTHER, OWN, compile, context, role, strings};
use daypass::{
    domain::{
        Arn, Timestamp,
        iam::ProviderOwner,
        name::{AccountId, RoleName, RoleSessionName, SourceIdentity},
        session::{FederationProtocol, ProviderRef, RoleSession, SessionTags},
    },
    policy::{
        Context, Decision, Document, DocumentKind, Identity, Named, Policy, PolicySet, Request,
        element::{Actions, arn_condition, resource_pattern},
        evaluate::{
            Check, Guardrails, Layers, ResourcePolicy, SignedCaller, Verdict, authorize_federated, authorize_signed, companions,
            decide, explain_federated,
        },
        pattern::{Pattern, Syntax},
    },
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use std::{collections::BTreeMap, fs, sync::Arc};

/// One case. Unknown fields are refused: a typo must not pass.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// A role's trust policy, tried by a federated person or, with `caller`, by a role session.
    trust: Option<Value>,
    /// Policies of the caller.
    identity: Option<Vec<Value>>,
    /// Its permissions boundary.
    boundary: Option<Value>,
    /// Session policies of the calling session.
    session: Option<Vec<Value>>,
    /// The policy on the resource.
    resource_policy: Option<Value>,
    /// The resource's policy must allow in any case, as a key policy must.
    #[serde(default)]
    mandatory: bool,
    /// Service control policies: levels from the root down, each a list of policies.
    #[serde(default)]
    scp: Vec<Vec<Value>>,
    /// Resource control policies, likewise.
    #[serde(default)]
    rcp: Vec<Vec<Value>>,
    /// `own` or `other`: the management account.
    management: Option<String>,
    /// A word of [`identity`]; empty for a federated person.
    #[serde(default)]
    caller: String,
    #[serde(default)]
    action: String,
    #[serde(default)]
    resource: String,
    /// What a federated person's assertion also carries: `tags`, `source identity`.
    #[serde(default)]
    carries: Vec<String>,
    #[serde(default)]
    context: BTreeMap<String, Value>,
    /// `allow`, `deny`, `explicit deny` or `malformed`.
    expect: String,
    /// Words of the reason, where it matters.
    reason: Option<String>,
}

fn read<T: DeserializeOwned>(file: &str) -> Vec<T> {
    let text = fs::read_to_string(format!("tests/data/policy/{file}")).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn account(word: &str) -> &'static str {
    if word.starts_with("other") { OTHER } else { OWN }
}

/// Who calls: `own` and `other` are role sessions; further words name other kinds of caller.
pub(super) fn identity(word: &str) -> Identity {
    let id = AccountId::parse(account(word)).unwrap();
    let arn = |service: &str, resource: &str| Arn::parse(&format!("arn:aws:{service}::{id}:{resource}")).unwrap();
    match word.strip_prefix("other ").or_else(|| word.strip_prefix("own ")).unwrap_or(word) {
        "own" | "other" | "session" => Identity::Session {
            role: arn("iam", "role/team/Caller"),
            role_id: "AROAXXXXXXXXXXXXXXXXX".to_owned(),
            session: arn("sts", "assumed-role/Caller/jane"),
            account: id,
        },
        "service-linked" => Identity::Session {
            role: arn("iam", "role/aws-service-role/ops.amazonaws.com/AWSServiceRoleForOps"),
            role_id: "AROASERVICELINKED0000".to_owned(),
            session: arn("sts", "assumed-role/AWSServiceRoleForOps/ops"),
            account: id,
        },
        "user" => Identity::User { arn: arn("iam", "user/team/jane"), id: "AIDAXXXXXXXXXXXXXXXXX".to_owned(), account: id },
        "federated user" => Identity::FederatedUser {
            session: arn("sts", "federated-user/jane"),
            user: arn("iam", "user/team/broker"),
            user_id: "AIDABROKER00000000000".to_owned(),
            account: id,
        },
        "root" => Identity::Root { account: id },
        "service" => Identity::Service("ec2.amazonaws.com".to_owned()),
        "anonymous" => Identity::Anonymous,
        "federated" => Identity::Federated(arn("iam", "saml-provider/corp")),
        other => panic!("`{other}` is no caller"),
    }
}

fn set(label: &str, documents: &[Value], kind: DocumentKind) -> Result<PolicySet, String> {
    let named = documents.iter().map(|document| {
        let policy = Policy::parse(&document.to_string(), kind).map_err(|error| error.to_string())?;
        Ok(Named { label: label.into(), policy: Arc::new(policy) })
    });
    named.collect::<Result<Vec<_>, String>>().map(PolicySet::new)
}

fn levels(label: &str, levels: &[Vec<Value>], kind: DocumentKind) -> Result<Vec<Arc<PolicySet>>, String> {
    levels.iter().map(|level| set(label, level, kind).map(Arc::new)).collect()
}

fn decide_case(case: &Case) -> Result<(String, String), String> {
    let context = context(&case.context);
    let trusted = case.trust.as_ref().map(|trust| compile(role(OWN, "Target", &trust.to_string()))).transpose()?;
    let scp = levels("guardrail", &case.scp, DocumentKind::ServiceControl)?;
    let rcp = levels("guardrail", &case.rcp, DocumentKind::ResourceControl)?;
    let management = case.management.as_deref().map(|word| AccountId::parse(account(word)).unwrap());
    let guardrails = Guardrails { service_control: &scp, resource_control: &rcp, guarded: None, management: management.as_ref() };
    if let (Some(target), true) = (&trusted, case.caller.is_empty()) {
        let mut assertion = crate::world::directory_assertion(&[]);
        assertion.claims.clear();
        assertion.provider = ProviderRef {
            owner: ProviderOwner::Organization,
            name: "corp".to_owned(),
            resource: "saml-provider/corp".to_owned(),
            protocol: FederationProtocol::Saml,
        };
        for carried in &case.carries {
            match carried.as_str() {
                "tags" => assertion.tags = SessionTags::new([("Team".to_owned(), "blue".to_owned())], &[]).unwrap(),
                "source identity" => assertion.source_identity = Some(SourceIdentity::parse("jane").unwrap()),
                other => panic!("`{other}` can't be carried"),
            }
        }
        let explained = explain_federated(target, &assertion, guardrails, &context);
        let notes: Vec<String> =
            explained.statements().flat_map(|trace| &trace.conditions).filter_map(|condition| condition.note.clone()).collect();
        let companions = companions(&assertion);
        let decision = authorize_federated(target, assertion, guardrails, &context, &companions);
        assert_eq!(explained.allowed, matches!(decision, Decision::Allow(_)), "the explanation says otherwise");
        return Ok(outcome(decision, &notes.join("; ")));
    }
    let identity_set = set("policy", case.identity.as_deref().unwrap_or_default(), DocumentKind::Identity)?;
    let boundary =
        case.boundary.as_ref().map(|one| set("boundary", std::slice::from_ref(one), DocumentKind::Identity)).transpose()?;
    let caps = case.session.as_ref().map(|caps| set("session policy", caps, DocumentKind::Identity)).transpose()?;
    let own = AccountId::parse(OWN).unwrap();
    if let Some(target) = trusted {
        let mut caller_role = (*compile(role(
            account(&case.caller),
            "Caller",
            r#"{"Statement":[{"Effect":"Allow","Principal":"*","Action":"sts:AssumeRole"}]}"#,
        ))?)
        .clone();
        caller_role.policies = Arc::new(identity_set);
        caller_role.boundary = boundary.map(Arc::new);
        let session = Arc::new(RoleSession {
            access_key_id: "ASIA".to_owned(),
            secret_access_key: "s".to_owned().into(),
            account: caller_role.role.account.clone(),
            role_name: RoleName::parse("Caller").unwrap(),
            role_id: caller_role.role.id.clone(),
            session_name: RoleSessionName::parse("jane").unwrap(),
            issued: Timestamp(0),
            expires: Timestamp(1),
            source_identity: None,
            tags: SessionTags::default(),
            session_policy: None,
            session_policy_arns: Vec::new(),
            federated_provider: None,
            directory_user: None,
            began: None,
            person: None,
            bound: Timestamp(i64::MAX),
            claims: BTreeMap::new(),
            chained: false,
        });
        let check = Check::new(&case.action, target.role.arn()).trusted_by(target);
        let caller = SignedCaller::of_role(&session, &caller_role, caps.as_ref());
        return Ok(outcome(authorize_signed(&caller, |_| guardrails, &context, &[check]), ""));
    }
    let resource_set = case
        .resource_policy
        .as_ref()
        .map(|one| set("resource policy", std::slice::from_ref(one), DocumentKind::Resource))
        .transpose()?;
    let layers = Layers {
        identity: &identity_set,
        boundary: boundary.as_ref(),
        session: caps.as_ref(),
        resource: resource_set.as_ref().map(|policies| ResourcePolicy { policies, mandatory: case.mandatory }),
        guardrails,
    };
    let who = identity(&case.caller);
    let mut request = Request::new(&who, &case.action, &case.resource, &context);
    request.bounded = layers.boundary.is_some();
    let verdict = decide(&request, &layers, Some(&own));
    let explained = layers.explain(&request, Some(&own));
    assert_eq!(explained.allowed, matches!(verdict, Verdict::Allowed(_)), "{}: the explanation says otherwise", case.name);
    let word = match verdict {
        Verdict::Allowed(_) => "allow",
        Verdict::ExplicitDeny(..) => "explicit deny",
        Verdict::ImplicitDeny(..) => "deny",
    };
    Ok((word.to_owned(), explained.reason))
}

fn outcome(decision: Decision, notes: &str) -> (String, String) {
    match decision {
        Decision::Allow(_) => ("allow".to_owned(), notes.to_owned()),
        Decision::Deny(denial) => {
            let word = if denial.explicit { "explicit deny" } else { "deny" };
            (word.to_owned(), format!("{} {notes}", denial.message))
        }
    }
}

fn run(file: &str, least: usize) {
    let cases: Vec<Case> = read(file);
    assert!(cases.len() >= least, "only {} cases in {file}", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        let (verdict, why) = decide_case(case).unwrap_or_else(|problem| ("malformed".to_owned(), problem));
        if verdict != case.expect || case.reason.as_ref().is_some_and(|reason| !why.contains(reason)) {
            failures.push(format!("{}: expected {} ({:?}), got {verdict}: {why}", case.name, case.expect, case.reason));
        }
    }
    assert!(failures.is_empty(), "{} of {file}:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn trust_policies() {
    run("trust.json", 90);
}

#[test]
fn sessions() {
    run("session.json", 30);
}

#[test]
fn layers() {
    run("layers.json", 200);
}

/// An operator with rows of: the policy's values, the request's values (null: absent), and whether it holds. `unclear` is
/// false in an Allow and true in a Deny.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operator {
    operator: String,
    rows: Vec<(Value, Value, String)>,
}

#[test]
fn condition_operators() {
    let (mut failures, mut count) = (Vec::new(), 0);
    for Operator { operator, rows } in read::<Operator>("conditions.json") {
        for (expected, received, holds) in rows {
            count += 1;
            let mut context = Context::default();
            context.set("aws:username", "jane");
            if !received.is_null() {
                context.set_list("test:Key", strings(&received));
            }
            for (effect, wanted) in [("Allow", holds == "true"), ("Deny", holds != "false")] {
                let document = json!({"Version": "2012-10-17", "Statement": {"Effect": effect, "Action": "*", "Resource": "*",
                    "Condition": {&operator: {"Test:key": &expected}}}});
                let policy = Policy::parse(&document.to_string(), DocumentKind::Identity)
                    .unwrap_or_else(|error| panic!("{operator} {expected}: {error}"));
                let request = Request::new(&Identity::Anonymous, "s3:GetObject", "arn:aws:s3:::b/o", &context);
                let applies = policy.statements[0].applies(&request).is_some();
                if applies != wanted {
                    failures.push(format!("{effect} {operator} {expected} on {received}: expected {holds}, got {applies}"));
                }
            }
        }
    }
    assert!(count >= 350, "only {count} rows");
    assert!(failures.is_empty(), "{} of {count}:\n{}", failures.len(), failures.join("\n"));
}

/// A `Principal` (or `NotPrincipal`) and, per caller, by which form it covers them (`-`: not at all).
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PrincipalRow {
    element: Value,
    #[serde(default)]
    effect: Option<String>,
    #[serde(default)]
    bounded: bool,
    covers: BTreeMap<String, String>,
}

#[test]
fn principals() {
    let (mut failures, mut count) = (Vec::new(), 0);
    for row in read::<PrincipalRow>("principals.json") {
        let mut statement = row.element.as_object().unwrap().clone();
        statement.insert("Effect".to_owned(), row.effect.clone().unwrap_or_else(|| "Allow".to_owned()).into());
        statement.insert("Action".to_owned(), "*".into());
        statement.insert("Resource".to_owned(), "*".into());
        let text = json!({ "Statement": statement }).to_string();
        let policy = Policy::parse(&text, DocumentKind::Resource).unwrap_or_else(|error| panic!("{text}: {error}"));
        for (caller, form) in &row.covers {
            count += 1;
            let who = identity(caller);
            let context = Context::default();
            let mut request = Request::new(&who, "s3:GetObject", "arn:aws:s3:::b/o", &context);
            request.bounded = row.bounded;
            let found = policy.statements[0].applies(&request).map_or("-".to_owned(), |form| format!("{form:?}"));
            if found != *form {
                failures.push(format!("{text} for {caller}: expected {form}, got {found}"));
            }
        }
    }
    assert!(count >= 60, "only {count} rows");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// Patterns: what they cover and what they do not.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternRow {
    /// `action`, `resource`, `arn` (the value of an Arn operator) or `like` (of StringLike).
    element: String,
    pattern: String,
    #[serde(default)]
    matches: Vec<String>,
    #[serde(default)]
    not: Vec<String>,
}

#[test]
fn patterns() {
    let (mut failures, mut count) = (Vec::new(), 0);
    let mut context = Context::default();
    context.set("aws:username", "jane");
    context.set("aws:PrincipalTag/Team", "b*ue");
    context.set_list("aws:TagKeys", vec!["a".to_owned(), "b".to_owned()]);
    for row in read::<PatternRow>("patterns.json") {
        let covers = |value: &str| match row.element.as_str() {
            "action" => {
                let actions = Actions::compile(false, std::iter::once(row.pattern.as_str())).unwrap();
                actions.cover(&Request::new(&Identity::Anonymous, value, "*", &context))
            }
            "resource" => daypass::policy::element::covers(&resource_pattern(&row.pattern, true).unwrap(), value, &context),
            "arn" => arn_condition(&row.pattern, true).unwrap().matches(value, &context),
            "like" => {
                Pattern::compile(&row.pattern, Syntax { wildcards: true, variables: true }).unwrap().matches(value, &context)
            }
            other => panic!("`{other}` is no element"),
        };
        for (values, wanted) in [(&row.matches, true), (&row.not, false)] {
            for value in values {
                count += 1;
                if covers(value) != wanted {
                    failures.push(format!("{} {} on {value}: expected {wanted}", row.element, row.pattern));
                }
            }
        }
    }
    assert!(count >= 80, "only {count} rows");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// A document that is refused: where, under which check, and in which words.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Malformed {
    /// `identity`, `resource`, `trust`, `scp` or `rcp`.
    kind: String,
    /// Lines of the text.
    text: Vec<String>,
    line: usize,
    column: usize,
    pointer: String,
    code: String,
    words: String,
}

#[test]
fn malformed_documents() {
    let rows: Vec<Malformed> = read("malformed.json");
    assert!(rows.len() >= 40, "only {} rows", rows.len());
    let mut failures = Vec::new();
    for row in rows {
        let text = row.text.join("\n");
        let kind = match row.kind.as_str() {
            "identity" => DocumentKind::Identity,
            "resource" => DocumentKind::Resource,
            "trust" => DocumentKind::Trust,
            "scp" => DocumentKind::ServiceControl,
            "rcp" => DocumentKind::ResourceControl,
            other => panic!("`{other}` is no kind"),
        };
        match Policy::parse(&text, kind) {
            Ok(_) => failures.push(format!("{text}\n  was accepted")),
            Err(error) => {
                let place = (error.line, error.column, error.pointer.as_str(), error.code);
                let wanted = (row.line, row.column, row.pointer.as_str(), row.code.as_str());
                if place != wanted || !error.problem.contains(&row.words) {
                    failures
                        .push(format!("{text}\n  expected {wanted:?} {:?}\n  got      {place:?} {:?}", row.words, error.problem));
                }
            }
        }
        // Reading on after the mistake finds at least that one, and never panics.
        let (_, findings) = Document::read(&text, kind);
        drop(findings);
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
