//! Validation in the shape of IAM Access Analyzer's `ValidatePolicy`: what is wrong with a policy, what gives away too much,
//! what does not do what it seems to, and what could be simpler. The names of the checks are the published ones
//! (IAM user guide, "Access Analyzer policy check reference"). Ours are `TP01` to `TP25`, for trust in federated identities,
//! and [`OWN_CODES`].
//!
//! Findings are about the text, never about a request. Storing refuses a policy with a mistake of the grammar or a value that
//! means nothing ([`super::Policy::parse`]); the rest is advice, with one exception: see [`trust::shared_issuer_left_open`].

mod access;
mod conditions;
mod elements;
pub mod trust;

use super::{
    document::{Document, DocumentKind, Located, Statement},
    finding::{Finding, FindingType},
    json::Span,
    policy::Policy,
};
use crate::domain::name::AccountId;
use std::collections::HashMap;

/// What is known around the policy.
#[derive(Clone, Copy)]
pub struct Surroundings<'a> {
    /// What it is for.
    pub kind: DocumentKind,
    /// Whether an account is one of ours; none when nothing is known about accounts.
    pub own_account: Option<&'a dyn Fn(&AccountId) -> bool>,
    /// Whether a unique id (`AROA…`, `AIDA…`) belongs to somebody; none when that is not known.
    pub id_resolves: Option<&'a dyn Fn(&str) -> bool>,
}

impl std::fmt::Debug for Surroundings<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Surroundings").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Surroundings<'_> {
    /// The text alone.
    #[must_use]
    pub const fn none(kind: DocumentKind) -> Self {
        Self { kind, own_account: None, id_resolves: None }
    }
}

/// Everything there is to say about a policy, errors first, each kind in the order of the text.
#[must_use]
pub fn validate(text: &str, surroundings: &Surroundings<'_>) -> Vec<Finding> {
    let (document, mut findings) = Document::read(text, surroundings.kind);
    if let Some(document) = &document {
        let compiled = Policy::compile(document, surroundings.kind);
        findings.extend(compiled.err().unwrap_or_default());
        let mut check = Check { text, surroundings, document, findings, looked_up: 0 };
        check.document();
        findings = check.findings;
    }
    findings.sort_by(|a, b| (a.kind, a.span.start, a.code).cmp(&(b.kind, b.span.start, b.code)));
    findings.dedup();
    findings.truncate(MOST_FINDINGS);
    findings
}

/// Nobody reads more, and a hostile text of a quarter megabyte can earn a hundred thousand.
const MOST_FINDINGS: usize = 1_000;
/// Checks that look at a value for more than a moment do so for this many values of a document.
const MOST_LOOKED_UP: usize = 300;

/// Quotas, in characters without white space (IAM user guide, "IAM and STS quotas"; Organizations user guide, "Quotas").
const fn quota(kind: DocumentKind) -> (usize, FindingType, &'static str) {
    match kind {
        DocumentKind::Identity => (6_144, FindingType::Warning, "POLICY_SIZE_EXCEEDS_IDENTITY_POLICY_QUOTA"),
        DocumentKind::Resource => (20_480, FindingType::Warning, "POLICY_SIZE_EXCEEDS_RESOURCE_POLICY_QUOTA"),
        DocumentKind::Trust => (4_096, FindingType::Warning, "POLICY_SIZE_EXCEEDS_ROLE_TRUST_POLICY_QUOTA"),
        DocumentKind::ServiceControl => (5_120, FindingType::Error, "POLICY_SIZE_EXCEEDS_SCP_QUOTA"),
        DocumentKind::ResourceControl => (5_120, FindingType::Error, "POLICY_SIZE_EXCEEDS_RCP_QUOTA"),
    }
}

/// Names of checks that AWS does not publish.
pub const OWN_CODES: [&str; 7] = [
    "FORALLVALUES_WITHOUT_NULL_CHECK",
    "LIMIT_EXCEEDED",
    "NON_PORTABLE_CHARACTER",
    "POLICY_SIZE_EXCEEDS_QUOTA",
    "RCP_SYNTAX_ERROR_ALLOW",
    "RCP_SYNTAX_ERROR_PRINCIPAL",
    "REDUNDANT_CONDITION_VALUE",
];

struct Check<'a> {
    text: &'a str,
    surroundings: &'a Surroundings<'a>,
    document: &'a Document,
    findings: Vec<Finding>,
    looked_up: usize,
}

impl Check<'_> {
    /// Whether there is still time for a costly look.
    fn may_look_up(&mut self) -> bool {
        self.looked_up += 1;
        self.looked_up <= MOST_LOOKED_UP
    }

    fn note(&mut self, kind: FindingType, code: &'static str, pointer: &str, span: Span, message: impl Into<String>) {
        // Twice as many as are shown, so that errors are not crowded out by what comes before them.
        if self.findings.len() < 2 * MOST_FINDINGS {
            self.findings.push(Finding::new(kind, code, pointer, span, message));
        }
    }

    fn at<T>(&mut self, kind: FindingType, code: &'static str, place: &Located<T>, message: impl Into<String>) {
        self.note(kind, code, &place.pointer, place.span, message);
    }

    fn document(&mut self) {
        let document = self.document;
        let whole = Span { start: 0, end: self.text.len() };
        let (limit, kind, code) = quota(self.surroundings.kind);
        let size = self.text.chars().filter(|c| !c.is_whitespace()).count();
        if size > limit {
            self.note(
                kind,
                code,
                "",
                whole,
                format!("The policy has {size} characters without white space; {limit} are allowed."),
            );
        }
        if document.version.is_none() {
            let message =
                "Write \"Version\": \"2012-10-17\": without it the policy is read by the rules of 2008, without variables.";
            self.note(FindingType::Warning, "MISSING_VERSION", "", whole, message);
        }
        let characters = |c: char| !matches!(c, '\t' | '\n' | '\r' | '\u{20}'..='\u{FF}');
        if let Some((at, odd)) = self.text.char_indices().find(|(_, c)| characters(*c)) {
            let span = Span { start: at, end: at + odd.len_utf8() };
            let code = format!("\\u{:04x}", u32::from(odd));
            let message = format!("`{odd}` is taken here, but AWS takes characters up to U+00FF only: write {code} for both.");
            self.note(FindingType::Warning, "NON_PORTABLE_CHARACTER", "", span, message);
        }
        for statement in &document.statements {
            self.elements(statement);
            self.conditions(statement);
            self.access(statement);
            if self.surroundings.kind == DocumentKind::Trust {
                self.trust(statement);
            }
        }
        self.repeated_statements();
    }

    fn repeated_statements(&mut self) {
        let mut seen: HashMap<String, &str> = HashMap::new();
        for statement in &self.document.statements {
            let said = Statement { sid: None, ..statement.value.clone() }.to_json().to_string();
            match seen.get(&said) {
                Some(earlier) => {
                    let message = format!("This statement says the same as {earlier}.");
                    self.at(FindingType::Suggestion, "REDUNDANT_STATEMENT", statement, message);
                }
                None => drop(seen.insert(said, &statement.pointer)),
            }
        }
    }
}
