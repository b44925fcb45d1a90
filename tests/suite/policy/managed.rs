//! The policies AWS itself publishes: all of them parse, print, are validated and are evaluated.

use daypass::domain::Arn;
use daypass::policy::{
    Context, Document, DocumentKind, FindingType, Identity, Named, Policy, PolicySet, Request, aws_managed,
    evaluate::{Layers, Verdict, decide},
    validate::{Surroundings, validate},
};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::{Value, value::RawValue};
use std::{fs::File, sync::Arc};

#[derive(Deserialize)]
struct Published {
    policies: Vec<Managed>,
}

#[derive(Deserialize)]
struct Managed {
    name: String,
    document: Box<RawValue>,
}

fn managed() -> Vec<Managed> {
    let file = File::open("tests/data/aws/managed-policies.json.gz").unwrap();
    let all: Published = serde_json::from_reader(GzDecoder::new(file)).unwrap();
    assert_eq!(all.policies.len(), 1_582);
    all.policies
}

#[test]
fn aws_managed_policies_parse_and_print() {
    let mut statements = 0;
    for Managed { name, document } in managed() {
        let parsed = Document::parse(document.get(), DocumentKind::Identity).unwrap_or_else(|error| panic!("{name}: {error}"));
        statements += parsed.statements.len();
        let again = Document::parse(&parsed.to_string(), DocumentKind::Identity).unwrap();
        assert_eq!(parsed, again, "{name}");
    }
    assert_eq!(statements, 8_850);
}

/// A document without its `Sid`s, lists of names in order, and a list of one written as that one: none of it has meaning.
fn plain(value: &Value) -> Value {
    match value {
        Value::Array(all) if all.len() == 1 => plain(&all[0]),
        Value::Array(all) => {
            let mut all: Vec<Value> = all.iter().map(plain).collect();
            all.sort_by(|a, b| a.as_str().cmp(&b.as_str()));
            Value::Array(all)
        }
        Value::Object(all) => {
            all.iter().filter(|(key, _)| *key != "Sid").map(|(key, value)| (key.clone(), plain(value))).collect()
        }
        other => other.clone(),
    }
}

#[test]
fn built_in_policies_say_what_aws_publishes() {
    let published = managed();
    let read = |text: &str| plain(&serde_json::from_str(text).unwrap());
    for arn in aws_managed::arns() {
        let name = arn.rsplit('/').next().unwrap();
        let theirs = published.iter().find(|managed| managed.name == name).unwrap_or_else(|| panic!("{arn}"));
        let ours = aws_managed::find(&Arn::parse(arn).unwrap()).unwrap();
        assert_eq!(read(&ours.text), read(theirs.document.get()), "{arn}");
    }
    let tasks = aws_managed::arns().filter(|arn| aws_managed::is_root_task(&Arn::parse(arn).unwrap())).count();
    assert_eq!((aws_managed::arns().count(), tasks), (6, 5));
}

#[test]
fn aws_managed_policies_decide() {
    let policy = |name: &str| {
        let found = managed().into_iter().find(|managed| managed.name == name).unwrap();
        let policy = Policy::parse(found.document.get(), DocumentKind::Identity).unwrap();
        PolicySet::of(name, Arc::new(policy))
    };
    let context = Context::default();
    let who = crate::policy::cases::identity("own user");
    let allows = |set: &PolicySet, action: &str, resource: &str| {
        let request = Request::new(&who, action, resource, &context);
        matches!(decide(&request, &Layers::of_identity(set), None), Verdict::Allowed(_))
    };
    let read_only = policy("ReadOnlyAccess");
    assert!(allows(&read_only, "s3:GetObject", "arn:aws:s3:::b/o"));
    assert!(allows(&read_only, "ec2:DescribeInstances", "*"));
    assert!(!allows(&read_only, "s3:PutObject", "arn:aws:s3:::b/o"));
    assert!(!allows(&read_only, "iam:CreateUser", "arn:aws:iam::111122223333:user/x"));
    let power = policy("PowerUserAccess");
    assert!(allows(&power, "s3:PutObject", "arn:aws:s3:::b/o"));
    assert!(!allows(&power, "iam:CreateUser", "arn:aws:iam::111122223333:user/x"));
    assert!(allows(&power, "iam:ListRoles", "*"));

    // All of them together are asked, indexed and not, with the same answer.
    let all: Vec<Named> = managed()
        .into_iter()
        .map(|one| Named {
            label: one.name.as_str().into(),
            policy: Arc::new(Policy::parse(one.document.get(), DocumentKind::Identity).unwrap()),
        })
        .collect();
    let indexed = PolicySet::new(all.clone());
    let alone: Vec<PolicySet> = all.into_iter().map(|one| PolicySet::new(vec![one])).collect();
    for (action, resource) in [
        ("s3:GetObject", "arn:aws:s3:::b/o"),
        ("iam:PassRole", "arn:aws:iam::111122223333:role/x"),
        ("kms:Decrypt", "arn:aws:kms:eu-1:111122223333:key/1"),
        ("nosuch:Action", "*"),
        ("ec2:RunInstances", "arn:aws:ec2:eu-1:111122223333:instance/i-1"),
    ] {
        for who in [Identity::Anonymous, who.clone()] {
            let request = Request::new(&who, action, resource, &context);
            let said = indexed.ask(&request);
            let each: Vec<_> = alone.iter().map(|set| set.ask(&request)).collect();
            assert_eq!(said.denied.is_some(), each.iter().any(|said| said.denied.is_some()), "{action}");
            if said.denied.is_none() {
                assert_eq!(said.allowed.is_some(), each.iter().any(|said| said.allowed.is_some()), "{action}");
            }
        }
    }
}

#[test]
fn aws_managed_policies_are_validated() {
    let mut errors = 0;
    for Managed { name, document } in managed() {
        for finding in validate(document.get(), &Surroundings::none(DocumentKind::Identity)) {
            errors += usize::from(finding.kind == FindingType::Error);
            let span = document.get().get(finding.span.start..finding.span.end);
            assert!(span.is_some_and(|text| !text.is_empty()), "{name}: {finding:?}");
        }
    }
    // Services that were closed, a few actions and keys that are not in the catalogue, and one ARN without a resource.
    assert!((1..200).contains(&errors), "{errors} errors in policies that AWS publishes");
}
