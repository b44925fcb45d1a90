//! Validation: which findings a policy has.

use super::OWN;
use daypass::{
    domain::name::AccountId,
    policy::{
        Document, DocumentKind, FindingType,
        catalogue::Catalogue,
        validate::{Surroundings, trust::shared_issuer_left_open, validate},
    },
};
use serde::Deserialize;
use serde_json::Value;
use std::{collections::BTreeSet, fs};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lint {
    id: String,
    severity: String,
    title: String,
    bad: Value,
}

fn codes(text: &str, kind: DocumentKind) -> Vec<(FindingType, &'static str)> {
    let own = |account: &AccountId| account.as_str() == OWN;
    let resolves = |id: &str| id.starts_with("AROALIVING");
    let surroundings = Surroundings { kind, own_account: Some(&own), id_resolves: Some(&resolves) };
    validate(text, &surroundings).into_iter().map(|finding| (finding.kind, finding.code)).collect()
}

#[test]
fn each_trust_lint_finds_its_bad_document() {
    let lints: Vec<Lint> = serde_json::from_str(&fs::read_to_string("tests/data/policy/trust-lints.json").unwrap()).unwrap();
    assert_eq!(lints.len(), 25);
    for Lint { id, severity, title, bad } in lints {
        let found = codes(&bad.to_string(), DocumentKind::Trust);
        let kind = match severity.as_str() {
            "critical" | "high" | "medium" => FindingType::SecurityWarning,
            "error" => FindingType::Error,
            "warning" => FindingType::Warning,
            _ => FindingType::Suggestion,
        };
        assert!(found.iter().any(|(found, code)| *code == id && *found == kind), "{id} {title}: {found:?}");
    }
}

/// A document and the codes of all its findings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(default)]
    kind: Option<String>,
    document: Value,
    finds: BTreeSet<String>,
}

#[test]
fn findings_of_the_cases() {
    let rows: Vec<Row> = serde_json::from_str(&fs::read_to_string("tests/data/policy/findings.json").unwrap()).unwrap();
    let mut failures = Vec::new();
    let mut seen = BTreeSet::new();
    for Row { kind, document, finds } in rows {
        let kind = match kind.as_deref().unwrap_or("identity") {
            "identity" => DocumentKind::Identity,
            "resource" => DocumentKind::Resource,
            "trust" => DocumentKind::Trust,
            "scp" => DocumentKind::ServiceControl,
            "rcp" => DocumentKind::ResourceControl,
            other => panic!("`{other}` is no kind"),
        };
        let found: BTreeSet<String> = codes(&document.to_string(), kind).into_iter().map(|(_, code)| code.to_owned()).collect();
        seen.extend(found.iter().cloned());
        if found != finds {
            failures.push(format!("{document}\n  expected {finds:?}\n  found    {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(seen.len() >= 70, "the cases show only {} different findings", seen.len());
}

#[test]
fn findings_say_where() {
    let text = "{\n  \"Version\": \"2012-10-17\",\n  \"Statement\": [{\n    \"Effect\": \"Allow\",\n    \"Action\": [\"s3:GetObject\", \"s3:GetObjet\"],\n    \"Resource\": \"*\"\n  }]\n}";
    let findings = validate(text, &Surroundings::none(DocumentKind::Identity));
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert_eq!((finding.code, finding.pointer.as_str()), ("INVALID_ACTION", "/Statement/0/Action/1"));
    assert_eq!(&text[finding.span.start..finding.span.end], "\"s3:GetObjet\"");
    assert!(finding.message.contains("Did you mean `s3:GetObject`?"), "{}", finding.message);
}

#[test]
fn the_catalogue_is_whole() {
    let catalogue = Catalogue::embedded();
    assert_eq!((catalogue.len(), catalogue.action_count()), (456, 22_091 + 5));
    assert!(catalogue.key("AWS:PrincipalTag/Team").is_some_and(|kind| kind.values == "String" && !kind.multivalued));
    assert!(catalogue.key("aws:TagKeys").is_some_and(|kind| kind.multivalued));
    assert!(catalogue.key("aws:principaltag/").is_none());
}

#[test]
fn everyone_is_also_whoever_a_provider_vouches_for() {
    let open = |action: &str, condition: &str| {
        let text = format!(
            r#"{{"Version":"2012-10-17","Statement":{{"Effect":"Allow","Principal":"*","Action":"{action}","Condition":{condition}}}}}"#
        );
        let document = Document::parse(&text, DocumentKind::Trust).unwrap();
        assert!(
            codes(&text, DocumentKind::Trust).iter().any(|(_, code)| *code == "TP16") || condition.contains(":sub"),
            "{text}"
        );
        shared_issuer_left_open(&document).is_some()
    };
    let github = "token.actions.githubusercontent.com";
    let aud = format!(r#"{{"StringEquals":{{"{github}:aud":"sts.amazonaws.com"}}}}"#);
    assert!(open("sts:AssumeRoleWithWebIdentity", &aud));
    assert!(open("sts:*", &aud));
    assert!(!open("sts:AssumeRole", &aud));
    assert!(!open("sts:*", &format!(r#"{{"StringEquals":{{"{github}:sub":"repo:octo/app:environment:prod"}}}}"#)));
    assert!(open("sts:*", &format!(r#"{{"Null":{{"{github}:sub":"false"}}}}"#)));
}

#[test]
fn trust_that_leaves_a_shared_issuer_open_is_known() {
    let lints: Vec<Lint> = serde_json::from_str(&fs::read_to_string("tests/data/policy/trust-lints.json").unwrap()).unwrap();
    for Lint { id, bad, .. } in lints.iter().filter(|lint| lint.id != "TP22") {
        let document = Document::parse(&bad.to_string(), DocumentKind::Trust).unwrap();
        let open = shared_issuer_left_open(&document);
        // TP10 names the subject of another issuer; the others name none, in spite of a condition.
        let leaves_open = ["TP01", "TP02", "TP06", "TP07", "TP08", "TP10"].contains(&id.as_str());
        assert_eq!(open.is_some(), leaves_open, "{id}: {open:?}");
    }
}
