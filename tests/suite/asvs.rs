//! OWASP ASVS 5.0, chapters V3 (web front end), V6 (authentication) and V7 (sessions): each requirement names a test, a
//! document, or the reason why there is none.

use serde::Deserialize;
use std::{collections::BTreeSet, fs, path::Path};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    level: u8,
    /// Names of functions of the suite, or titles of end-to-end tests.
    #[serde(default)]
    tests: Vec<String>,
    /// A file, and what stands in it.
    document: Option<(String, String)>,
    reason: Option<String>,
}

/// How many requirements each section has, in the order of sections.
const SECTIONS: &[(&str, &[u8])] =
    &[("3", &[1, 3, 5, 8, 8, 1, 5]), ("6", &[3, 12, 8, 6, 8, 4, 2, 4]), ("7", &[3, 4, 2, 5, 3, 2])];

fn read(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "mjs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn each_requirement_names_a_test_or_a_reason() {
    let rows: Vec<Row> = serde_json::from_str(&fs::read_to_string("tests/data/asvs.json").unwrap()).unwrap();
    let mut sources = String::new();
    read(Path::new("tests/suite"), &mut sources);
    read(Path::new("tests/e2e"), &mut sources);
    read(Path::new("src"), &mut sources);
    for row in &rows {
        assert!((1..=3).contains(&row.level), "{}", row.id);
        let answered = !row.tests.is_empty() || row.document.is_some() || row.reason.is_some();
        assert!(answered, "{}: neither a test, nor a document, nor a reason", row.id);
        for test in &row.tests {
            let is_there = is_function(&sources, test) || sources.contains(&format!("test('{test}'"));
            assert!(is_there || is_titled(&sources, test), "{}: there is no test {test:?}", row.id);
        }
        if let Some((file, text)) = &row.document {
            assert!(fs::read_to_string(file).unwrap().contains(text), "{}: {file} does not say {text:?}", row.id);
        }
    }
    let named: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let all: BTreeSet<String> = SECTIONS
        .iter()
        .flat_map(|(chapter, sections)| {
            let sections = sections.iter().enumerate();
            sections.flat_map(move |(section, number)| (1..=*number).map(move |n| format!("{chapter}.{}.{n}", section + 1)))
        })
        .collect();
    assert_eq!(named, all.iter().map(String::as_str).collect(), "every requirement once");
    assert_eq!(rows.len(), all.len());
}

/// A function that is a test, not just any of the name.
fn is_function(sources: &str, test: &str) -> bool {
    let before = sources.split(&format!("fn {test}(")).next().filter(|before| before.len() < sources.len());
    let listed = sources.split("on_every_store! {").nth(1).and_then(|list| list.split("\n}").next());
    before.is_some_and(|before| before.lines().rev().take(3).any(|line| line.trim().ends_with("test]")))
        || listed.is_some_and(|list| list.lines().any(|line| line.trim().trim_end_matches(',') == test))
}

/// Titles that are made of a template.
fn is_titled(sources: &str, test: &str) -> bool {
    let title = test.split(" (").next().unwrap_or(test);
    sources.contains(&format!("test(`{title}"))
}
