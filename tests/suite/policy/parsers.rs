//! What every parser of the engine must stand.

use daypass::{
    domain::Arn,
    policy::{
        Context, Document, DocumentKind, Policy,
        document::MAX_DOCUMENT_LENGTH,
        element::{Actions, arn_condition, resource_pattern},
        pattern::{Pattern, Syntax},
        validate::{Surroundings, validate},
    },
};
use proptest::prelude::*;

const KINDS: [DocumentKind; 5] = [
    DocumentKind::Identity,
    DocumentKind::Resource,
    DocumentKind::Trust,
    DocumentKind::ServiceControl,
    DocumentKind::ResourceControl,
];
const ALL: Syntax = Syntax { wildcards: true, variables: true };

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
    fn globs_match_like_the_obvious_one(pattern in "[abé*?]{0,8}", value in "[abé]{0,10}") {
        let compiled = Pattern::compile(&pattern, Syntax { wildcards: true, variables: false }).unwrap();
        let (p, v): (Vec<char>, Vec<char>) = (pattern.chars().collect(), value.chars().collect());
        prop_assert_eq!(compiled.matches(&value, &Context::default()), slow_glob(&p, &v));
    }

    #[test]
    fn no_input_panics_the_parsers(text in "\\PC{0,200}") {
        for kind in KINDS {
            let _ = Policy::parse(&text, kind);
            let _ = Policy::parse(&format!(r#"{{"Statement":{text}}}"#), kind);
        }
        let _ = Pattern::compile(&text, ALL);
        let _ = Actions::compile(false, std::iter::once(text.as_str()));
        let _ = resource_pattern(&text, true).map(|pattern| pattern.matches(&text, &Context::default()));
        let _ = arn_condition(&text, true).map(|pattern| pattern.matches(&text, &Context::default()));
        let _ = Arn::parse(&text);
    }
}

#[test]
fn a_pattern_of_stars_is_refused_or_fast() {
    let text = "a".repeat(2000);
    let stars = Pattern::compile(&"*a".repeat(250), ALL).unwrap();
    assert!(stars.matches(&text, &Context::default()));
    assert!(!stars.matches(&"a".repeat(249), &Context::default()));
    assert!(Pattern::compile(&"*a".repeat(1000), ALL).is_err());
    assert!(Pattern::compile(&"*".repeat(100_000), ALL).is_ok(), "stars side by side are one star");
}

#[test]
fn deep_and_huge_documents_are_refused() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let deep = format!("{}1{}", open.repeat(40_000), close.repeat(40_000));
        for text in [deep.clone(), format!(r#"{{"Statement":{deep}}}"#), format!(r#"{{"Statement":[{{"Condition":{deep}}}]}}"#)] {
            assert!(Policy::parse(&text, DocumentKind::Identity).is_err());
        }
    }
    let huge = format!(r#"{{"Id":"{}"}}"#, "x".repeat(MAX_DOCUMENT_LENGTH));
    let error = Policy::parse(&huge, DocumentKind::Identity).unwrap_err();
    assert_eq!(error.code, "POLICY_SIZE_EXCEEDS_QUOTA");
    let (none, _) = Document::read("\u{0}", DocumentKind::Identity);
    assert!(none.is_none());
}

/// What a hostile text of the greatest length costs. No time is asserted: a quadratic check would not come to an end.
#[test]
fn hostile_documents_are_validated_in_the_end() {
    let most = MAX_DOCUMENT_LENGTH - 200;
    let fill = |one: &str, more: &str| {
        let mut text = String::new();
        for number in 0.. {
            if text.len() + one.len() + 16 > most {
                break;
            }
            text.push_str(if number == 0 { "" } else { "," });
            text.push_str(&one.replace('#', &format!("{number:x}")));
        }
        more.replace('@', &text)
    };
    let list = r#"{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":[@],"Resource":"*"}}"#;
    for text in [
        fill(r#""s3:a#*""#, list),
        fill(r#""ec2:x#""#, list),
        fill(r#""ec2:*#*""#, list),
        fill(r#""*""#, list),
        fill(r#""arn:aws:s3:::#*""#, r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":[@]}}"#),
        fill(r#"{"Effect":"Allow","Action":"s3:#","Resource":"*"}"#, r#"{"Statement":[@]}"#),
        fill(r#"{"Sid":"a#","Effect":"Allow","Action":"*","Resource":"*"}"#, r#"{"Statement":[@]}"#),
        fill(r#""k#":"v""#, r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*","Condition":{"StringEquals":{@}}}}"#),
        fill(r#""a#""#, r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":[@]},"Action":"sts:AssumeRole"}}"#),
    ] {
        for kind in [DocumentKind::Identity, DocumentKind::Trust] {
            let findings = validate(&text, &Surroundings::none(kind));
            assert!(findings.len() <= 1_000);
        }
    }
}
