//! AWS IAM Access Analyzer: checking policies before they are used.

pub mod review;

use crate::{
    domain::{Error, ErrorKind, name::AccountId},
    gateway::{Access, Call, Entry, Fault, Operation, Protocol, Read, Scope, Service, fault::json_code},
    policy::{
        DocumentKind, Finding,
        catalogue::Catalogue,
        condition::operator_names,
        evaluate::Check,
        json::{Position, Span},
        validate::{OWN_CODES, Surroundings, validate},
    },
};
use serde::{Deserialize, Deserializer, Serialize, de};

/// The service.
#[derive(Debug)]
pub struct AccessAnalyzer;

impl Service for AccessAnalyzer {
    const EVENT_SOURCE: &'static str = "access-analyzer.amazonaws.com";
    const SIGNING_NAME: &'static str = "access-analyzer";
    const PROTOCOL: Protocol = Protocol::Rest;
    fn fault(error: &Error) -> Fault {
        let (status, code) = match error.kind {
            ErrorKind::InvalidInput => (400, "ValidationException"),
            ErrorKind::AccessDenied | ErrorKind::StepUpRequired => (403, "AccessDeniedException"),
            kind => json_code(kind),
        };
        Fault::new(status, code, error)
    }
}

/// What is served.
pub const TABLE: &[Entry] = &[
    Entry::rest::<ValidatePolicy>("POST", "/policy/validation"),
    Entry::inner::<CompletePolicy>(),
    Entry::inner::<review::ReviewRoles>(),
    Entry::inner::<review::ReviewPeople>(),
];

/// Checks a policy: grammar, published checks, and lints of federated trust.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ValidatePolicy {
    /// The policy, JSON.
    pub policy_document: String,
    /// What it is for.
    pub policy_type: PolicyType,
    /// What resource it is on: `AWS::IAM::AssumeRolePolicyDocument` for a trust policy.
    pub validate_policy_resource_type: Option<String>,
    /// Findings are in English, whatever is asked for.
    pub locale: Option<String>,
    /// At most so many findings, 1 to 1000.
    #[serde(default, deserialize_with = "number_or_text")]
    pub max_results: Option<u32>,
    /// From the last page.
    pub next_token: Option<String>,
}

/// What a policy is for.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum PolicyType {
    /// Attached to a user, group or role.
    IdentityPolicy,
    /// Attached to a resource, a role included.
    ResourcePolicy,
    /// An organization's.
    ServiceControlPolicy,
    /// An organization's.
    ResourceControlPolicy,
}

/// Members from the query string are text.
fn number_or_text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u32),
        Text(String),
    }
    Ok(match Option::<Either>::deserialize(deserializer)? {
        None => None,
        Some(Either::Number(number)) => Some(number),
        Some(Either::Text(text)) => Some(text.parse().map_err(de::Error::custom)?),
    })
}

/// The answer.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Findings {
    /// A page of them: errors first, then security warnings, warnings and suggestions.
    pub findings: Vec<ValidatePolicyFinding>,
    /// For the next page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_token: Option<String>,
}

/// One finding.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ValidatePolicyFinding {
    /// What is wrong and what to do.
    pub finding_details: String,
    /// `ERROR`, `SECURITY_WARNING`, `WARNING` or `SUGGESTION`.
    pub finding_type: &'static str,
    /// The check.
    pub issue_code: &'static str,
    /// Where to read more.
    pub learn_more_link: String,
    /// Where it is.
    pub locations: Vec<Location>,
}

/// A place in the document.
#[derive(Debug, Serialize)]
pub struct Location {
    /// From the document down.
    pub path: Vec<PathElement>,
    /// First and last character.
    pub span: SpanDetail,
}

/// A step down.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum PathElement {
    /// Into a list, from 0.
    Index(u32),
    /// Into a member.
    Value(String),
}

/// Two places.
#[derive(Debug, Serialize)]
pub struct SpanDetail {
    /// The first character.
    pub start: PositionDetail,
    /// After the last.
    pub end: PositionDetail,
}

/// A place (Access Analyzer API reference, `Position`).
#[derive(Debug, Serialize)]
pub struct PositionDetail {
    /// From 1.
    pub line: usize,
    /// From 0.
    pub column: usize,
    /// From 0.
    pub offset: usize,
}

impl Operation for ValidatePolicy {
    type Service = AccessAnalyzer;
    type Mode = Read;
    type Output = Findings;
    const NAME: &'static str = "ValidatePolicy";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Signed(vec![Check::new("access-analyzer:ValidatePolicy", "*")]))
    }

    async fn run(self, call: &mut Call<'_, Self>) -> Result<Findings, Error> {
        let trust = self.validate_policy_resource_type.as_deref() == Some("AWS::IAM::AssumeRolePolicyDocument");
        let kind = match self.policy_type {
            PolicyType::IdentityPolicy => DocumentKind::Identity,
            PolicyType::ResourcePolicy if trust => DocumentKind::Trust,
            PolicyType::ResourcePolicy => DocumentKind::Resource,
            PolicyType::ServiceControlPolicy => DocumentKind::ServiceControl,
            PolicyType::ResourceControlPolicy => DocumentKind::ResourceControl,
        };
        let snapshot = &call.tx.snapshot;
        let own = |account: &AccountId| snapshot.accounts.contains_key(account);
        let resolves = |id: &str| snapshot.role_by_id(id.split(':').next().unwrap_or_default()).is_some();
        let surroundings = Surroundings { kind, own_account: Some(&own), id_resolves: Some(&resolves) };
        let findings = validate(&self.policy_document, &surroundings);
        let numbered = findings.iter().enumerate().map(|(number, finding)| (format!("{number:06}"), finding));
        let (page, next_token) =
            super::page(numbered, |(number, _)| number.clone(), self.next_token.as_deref(), self.max_results)?;
        let detail = |(_, finding): (String, &Finding)| ValidatePolicyFinding {
            finding_details: finding.message.clone(),
            finding_type: finding.kind.name(),
            issue_code: finding.code,
            learn_more_link: learn_more(finding.code),
            locations: vec![Location { path: path(&finding.pointer), span: span(&self.policy_document, finding.span) }],
        };
        Ok(Findings { findings: page.into_iter().map(detail).collect(), next_token })
    }
}

/// Words that policies are made of and that begin so. For the console's editor.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CompletePolicy {
    /// `action`, `operator` or `key`.
    pub kind: String,
    /// What is typed.
    pub start: String,
}

/// The answer.
#[derive(Debug, Serialize)]
pub struct Words {
    /// At most fifty.
    pub words: Vec<String>,
}

impl Operation for CompletePolicy {
    type Service = AccessAnalyzer;
    type Mode = Read;
    type Output = Words;
    const NAME: &'static str = "CompletePolicy";

    fn access(&self, _scope: &Scope) -> Result<Access, Error> {
        Ok(Access::Caller { because: "the words of the policy language are published" })
    }

    async fn run(self, _call: &mut Call<'_, Self>) -> Result<Words, Error> {
        let catalogue = Catalogue::embedded();
        let start = self.start.to_lowercase();
        let mut words: Vec<String> = match self.kind.as_str() {
            "action" => catalogue.actions_beginning(&start, MOST_WORDS),
            "key" => catalogue.keys_beginning(&start).into_iter().map(str::to_owned).collect(),
            "operator" => operator_names().filter(|name| name.to_lowercase().contains(&start)).collect(),
            _ => Vec::new(),
        };
        words.truncate(MOST_WORDS);
        Ok(Words { words })
    }
}

/// Most words of an answer.
const MOST_WORDS: usize = 50;

fn learn_more(code: &str) -> String {
    if code.starts_with("TP") {
        return "https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_create_for-idp.html".to_owned();
    }
    let page = "https://docs.aws.amazon.com/IAM/latest/UserGuide/access-analyzer-reference-policy-checks.html";
    if OWN_CODES.contains(&code) {
        return page.to_owned();
    }
    format!("{page}#access-analyzer-reference-policy-checks-{}", code.to_lowercase().replace('_', "-"))
}

fn path(pointer: &str) -> Vec<PathElement> {
    let step = |step: &str| match step.parse() {
        Ok(index) => PathElement::Index(index),
        Err(_) => PathElement::Value(step.replace("~1", "/").replace("~0", "~")),
    };
    pointer.split('/').skip(1).map(step).collect()
}

fn span(text: &str, span: Span) -> SpanDetail {
    let place = |offset| {
        let Position { line, column, offset } = Position::of(text, offset);
        PositionDetail { line, column: column - 1, offset }
    };
    SpanDetail { start: place(span.start), end: place(span.end) }
}
