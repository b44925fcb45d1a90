//! Rules and statements say the same thing; and what of a change is wider.

use daypass::policy::rule::{self, Rule, RuleChanges};
use serde::Deserialize;
use serde_json::Value;

#[derive(Deserialize)]
struct Change {
    name: String,
    old: Vec<Value>,
    new: Vec<Value>,
    /// Whether each statement that is new may let more people in; and each that is gone.
    added: Vec<bool>,
    removed: Vec<bool>,
}

fn document(statements: &[Value]) -> String {
    serde_json::json!({ "Version": "2012-10-17", "Statement": statements }).to_string()
}

#[test]
fn changes_are_wider_or_not() {
    let cases: Vec<Change> = serde_json::from_str(include_str!("../../data/policy/trust-changes.json")).unwrap();
    for case in cases {
        let read =
            |statements: &[Value]| rule::read(&document(statements)).unwrap_or_else(|| panic!("{}: no policy", case.name)).0;
        let changes = RuleChanges::between(&read(&case.old), &read(&case.new));
        let flags = |list: &[(Rule, bool)]| list.iter().map(|(_, widens)| *widens).collect::<Vec<_>>();
        assert_eq!((flags(&changes.added), flags(&changes.removed)), (case.added, case.removed), "{}", case.name);
    }
}

#[derive(Deserialize)]
struct Form {
    name: String,
    statement: Value,
    /// Whether a form shows it.
    form: bool,
}

#[test]
fn a_form_shows_what_it_can_and_changes_nothing() {
    let cases: Vec<Form> = serde_json::from_str(include_str!("../../data/policy/trust-forms.json")).unwrap();
    for case in cases {
        let text = document(std::slice::from_ref(&case.statement));
        let (before, rules) = rule::read(&text).unwrap_or_else(|| panic!("{}: no policy", case.name));
        assert_eq!(matches!(rules.as_slice(), [Rule::Federated(_)]), case.form, "{}", case.name);
        let back = rule::document(&rules, Some(&before)).unwrap();
        let (after, again) = rule::read(&back).unwrap();
        assert_eq!(again, rules, "{}", case.name);
        let changes = RuleChanges::between(&before, &after);
        assert!(changes.added.is_empty() && changes.removed.is_empty(), "{}: {back}", case.name);
    }
}

#[test]
fn another_version_of_the_language_is_a_change_of_everything() {
    let statement = r#"{"Effect":"Allow","Principal":{"Federated":"arn:aws:iam::111122223333:saml-provider/corp"},"Action":"sts:AssumeRoleWithSAML","Condition":{"StringLike":{"saml:sub":"${saml:sub}"}}}"#;
    let old = format!(r#"{{"Statement":[{statement}]}}"#);
    let (before, rules) = rule::read(&old).unwrap();
    // A form keeps the version that the policy has, and none where it has none.
    assert!(!rule::document(&rules, Some(&before)).unwrap().contains("Version"));
    let (after, _) = rule::read(&format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)).unwrap();
    let changes = RuleChanges::between(&before, &after);
    assert!(changes.widens() && changes.added.len() == 1 && changes.removed.len() == 1);
}
