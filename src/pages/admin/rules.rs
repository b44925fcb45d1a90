//! Rules of trust policies in words, what a change of them comes to, and what is wrong with a policy.

use super::super::{PageError, Pages};
use crate::{
    api::{
        access_analyzer::{PolicyType, ValidatePolicy, ValidatePolicyFinding},
        iam::trust::preview::{PreviewTrustPolicy, Tried, TrustPreview},
    },
    domain::{Arn, Error, ErrorKind, iam::ProviderKind, name::RoleName, session::Caller},
    policy::{
        Finding,
        rule::{FactorRule, FederatedRule, OtherRule, Rule, RuleCondition},
    },
    store::Snapshot,
};

/// One rule, for a page.
pub(super) struct RuleLine {
    pub(super) sid: String,
    pub(super) denies: bool,
    pub(super) who: String,
    pub(super) how: String,
    pub(super) conditions: Vec<ClaimLine>,
    pub(super) factor: String,
}

/// One condition.
pub(super) struct ClaimLine {
    pub(super) key: String,
    pub(super) words: String,
    pub(super) values: Vec<String>,
}

impl RuleLine {
    pub(super) fn new(rule: &Rule, snapshot: &Snapshot) -> Self {
        let claims = |conditions: &[RuleCondition]| {
            let line = |condition: &RuleCondition| ClaimLine {
                key: condition.key.clone(),
                words: condition.words().to_owned(),
                values: condition.values.clone(),
            };
            conditions.iter().map(line).collect()
        };
        match rule {
            Rule::Federated(FederatedRule { sid, denies, provider, conditions, factor, .. }) => Self {
                sid: sid.clone(),
                denies: *denies,
                who: provider_label(provider, snapshot),
                how: String::new(),
                conditions: claims(conditions),
                factor: match factor {
                    FactorRule::None => String::new(),
                    FactorRule::Given => "after a second factor".to_owned(),
                    FactorRule::Within(seconds) => format!("after a second factor within {seconds} seconds"),
                },
            },
            Rule::Other(OtherRule { sid, denies, principals, actions, conditions, .. }) => Self {
                sid: sid.clone(),
                denies: *denies,
                who: principals.iter().map(|who| provider_label(who, snapshot)).collect::<Vec<_>>().join(", "),
                how: format!("by {}", actions.join(", ")),
                conditions: claims(conditions),
                factor: String::new(),
            },
        }
    }
}

/// What people call a provider; anything else as it is written.
pub(super) fn provider_label(principal: &str, snapshot: &Snapshot) -> String {
    let provider = Arn::parse(principal).ok().and_then(|arn| snapshot.provider(&arn).cloned());
    provider.map_or_else(|| principal.to_owned(), |provider| provider.label.clone())
}

/// The providers that roles of an account can name: ARN and label.
pub(super) fn providers_of(snapshot: &Snapshot, account: &crate::domain::name::AccountId) -> Vec<(String, String)> {
    let standing = snapshot.providers.iter().filter(|provider| provider.is_in(account));
    standing.map(|provider| (provider.arn(account).to_string(), provider.label.clone())).collect()
}

/// Condition keys that the claims of an account's providers come under, as far as they are known.
pub(super) fn claim_keys(snapshot: &Snapshot, account: &crate::domain::name::AccountId) -> Vec<String> {
    let mut keys = Vec::new();
    for provider in snapshot.providers.iter().filter(|provider| provider.is_in(account)) {
        let (prefix, own): (String, &[&str]) = match &provider.kind {
            ProviderKind::Saml(_) => ("saml".to_owned(), &["sub", "iss", "aud"]),
            ProviderKind::Oidc(oidc) => (oidc.issuer_path().to_owned(), &["sub", "aud", "email", "groups"]),
            ProviderKind::Directory => {
                ("directory".to_owned(), &["groups", "sub", "user_name", "email", "name", "department", "title"])
            }
        };
        keys.extend(own.iter().map(|name| format!("{prefix}:{name}")));
        let mapped = provider.mapping().into_iter().flat_map(|mapping| mapping.attributes.keys());
        keys.extend(mapped.map(|name| format!("{prefix}:{name}")));
    }
    keys.extend(["aws:SourceIp", "aws:CurrentTime", "aws:RequestTag/", "sts:RoleSessionName"].map(str::to_owned));
    keys.sort_unstable();
    keys.dedup();
    keys
}

/// What stands where people were not asked about.
const NOT_ASKED: &str = "Nobody was tried yet.";

/// What a change comes to, for a page.
pub(super) struct PreviewLines {
    /// `added` or `removed`, the rule, and whether that may let more people in.
    pub(super) changes: Vec<(&'static str, RuleLine, bool)>,
    pub(super) widens: bool,
    pub(super) gaining: Vec<Tried>,
    pub(super) losing: Vec<Tried>,
    pub(super) keeping: usize,
    pub(super) tried: usize,
    pub(super) more: bool,
    /// Why people are not shown.
    pub(super) people_refused: String,
}

impl PreviewLines {
    /// Asks for it; with people, where they are wanted and the role may see them.
    pub(super) async fn of(
        pages: &Pages,
        caller: &Caller,
        role_name: &RoleName,
        text: &str,
        people: bool,
    ) -> Result<Self, Error> {
        let wish = |people| PreviewTrustPolicy { role_name: role_name.clone(), policy_document: text.to_owned(), people };
        let (preview, people_refused) = match pages.gateway.call(caller, wish(people)).await {
            Ok(preview) if !people => (preview, NOT_ASKED.to_owned()),
            Ok(preview) => (preview, String::new()),
            Err(error) if error.kind == ErrorKind::AccessDenied => (pages.gateway.call(caller, wish(false)).await?, error.public),
            Err(error) => return Err(error),
        };
        let snapshot = pages.gateway.snapshot();
        let TrustPreview { changes, gaining, losing, keeping, tried, more } = preview;
        let widens = changes.widens();
        let lines = |change: &'static str, rules: Vec<(Rule, bool)>| {
            rules.into_iter().map(|(rule, widens)| (change, RuleLine::new(&rule, &snapshot), widens)).collect::<Vec<_>>()
        };
        let mut all = lines("added", changes.added);
        all.extend(lines("removed", changes.removed));
        Ok(Self { changes: all, widens, gaining, losing, keeping, tried, more, people_refused })
    }
}

/// What is wrong with a policy, for a page.
pub(super) struct FindingLine {
    /// For the style: `error`, `security`, `warning` or `suggestion`.
    pub(super) kind: &'static str,
    pub(super) word: &'static str,
    pub(super) line: usize,
    pub(super) message: String,
    pub(super) code: &'static str,
    /// The line that it is about.
    pub(super) excerpt: String,
}

impl FindingLine {
    /// One whose text is not at hand.
    pub(super) fn of(finding: Finding) -> Self {
        let (kind, word) = words(finding.kind.name());
        Self { kind, word, line: 0, message: finding.message, code: finding.code, excerpt: String::new() }
    }

    pub(super) fn new(finding: ValidatePolicyFinding, text: &str) -> Self {
        let (kind, word) = words(finding.finding_type);
        let line = finding.locations.first().map_or(0, |location| location.span.start.line);
        let excerpt = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
        Self {
            kind,
            word,
            line,
            message: finding.finding_details,
            code: finding.issue_code,
            excerpt: excerpt.chars().take(160).collect(),
        }
    }
}

/// For the style, and for people.
fn words(kind: &str) -> (&'static str, &'static str) {
    match kind {
        "ERROR" => ("error", "error"),
        "SECURITY_WARNING" => ("security", "too open"),
        "WARNING" => ("warning", "warning"),
        _ => ("suggestion", "suggestion"),
    }
}

/// Asks for the findings of a policy. Who may not ask sees none, and the store refuses what is wrong all the same.
pub(super) async fn findings(
    pages: &Pages,
    caller: &Caller,
    policy_type: PolicyType,
    text: &str,
) -> Result<Vec<FindingLine>, PageError> {
    let trust = matches!(policy_type, PolicyType::ResourcePolicy);
    let wish = ValidatePolicy {
        policy_document: text.to_owned(),
        policy_type,
        validate_policy_resource_type: trust.then(|| "AWS::IAM::AssumeRolePolicyDocument".to_owned()),
        locale: None,
        max_results: Some(50),
        next_token: None,
    };
    match pages.gateway.call(caller, wish).await {
        Ok(found) => Ok(found.findings.into_iter().map(|finding| FindingLine::new(finding, text)).collect()),
        Err(error) if error.kind == ErrorKind::AccessDenied => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
