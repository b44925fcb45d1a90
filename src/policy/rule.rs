//! Trust policies as people think of them: rules that say whose people, with which claims, may take a role.
//!
//! A rule and the statement it stands for say the same thing, in both directions. Statements that say more than a rule can
//! (other principals, `NotAction` …) stay as they are written.

use super::document::{ConditionEntry, Document, DocumentKind, Statement};
use serde_json::{Map, Value, json};

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// About the people of one identity provider.
    Federated(FederatedRule),
    /// What no form shows.
    Other(OtherRule),
}

/// Whose people, with which claims.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FederatedRule {
    /// `Sid`; empty for none.
    pub sid: String,
    /// `Deny`, else `Allow`.
    pub denies: bool,
    /// ARN of the provider.
    pub provider: String,
    /// Whether session tags and a source identity may come along (`sts:TagSession`, `sts:SetSourceIdentity`).
    pub passes: Passes,
    /// All of them must hold.
    pub conditions: Vec<RuleCondition>,
    /// Whether a second factor must have been given.
    pub factor: FactorRule,
}

/// What may come along with the assertion.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// `sts:TagSession`
    pub tags: bool,
    /// `sts:SetSourceIdentity`
    pub source_identity: bool,
}

/// One line of a rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleCondition {
    /// As policies spell it, for example `ForAnyValue:StringEquals`.
    pub operator: String,
    /// The condition key.
    pub key: String,
    /// One of these.
    pub values: Vec<String>,
}

/// The second factor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FactorRule {
    /// Not asked for.
    #[default]
    None,
    /// Given at some time in this session.
    Given,
    /// Given within so many seconds.
    Within(u32),
}

/// A statement as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherRule {
    /// `Sid`; empty for none.
    pub sid: String,
    /// `Deny`, else `Allow`.
    pub denies: bool,
    /// Who, as written.
    pub principals: Vec<String>,
    /// What, as written.
    pub actions: Vec<String>,
    /// On which conditions.
    pub conditions: Vec<RuleCondition>,
    /// The statement, JSON with indentation.
    pub text: String,
}

/// Operators that a rule offers, with the words for them. Others stay as they are written.
pub const OPERATORS: [(&str, &str); 8] = [
    ("ForAnyValue:StringEquals", "has one of"),
    ("StringEquals", "is one of"),
    ("ForAnyValue:StringLike", "has one like"),
    ("StringLike", "is like one of"),
    ("StringNotEquals", "is none of"),
    ("ForAllValues:StringNotEquals", "has none of"),
    ("NumericLessThan", "is less than"),
    ("IpAddress", "is in the network"),
];

const PRESENT: &str = "aws:MultiFactorAuthPresent";
const AGE: &str = "aws:MultiFactorAuthAge";
const SAML: &str = "sts:AssumeRoleWithSAML";
const WEB: &str = "sts:AssumeRoleWithWebIdentity";
const TAGS: &str = "sts:TagSession";
const SOURCE_IDENTITY: &str = "sts:SetSourceIdentity";

impl RuleCondition {
    fn of(entry: &ConditionEntry) -> Self {
        Self {
            operator: entry.operator.clone(),
            key: entry.key.value.clone(),
            values: entry.values.iter().map(|value| value.value.clone()).collect(),
        }
    }

    /// The operator in words.
    #[must_use]
    pub fn words(&self) -> &str {
        OPERATORS.iter().find(|(name, _)| *name == self.operator).map_or(&self.operator, |(_, words)| words)
    }
}

/// The rules of a trust policy, in order.
#[must_use]
pub fn rules(document: &Document) -> Vec<Rule> {
    document.statements.iter().map(|statement| rule(&statement.value)).collect()
}

fn rule(statement: &Statement) -> Rule {
    federated(statement).map_or_else(|| Rule::Other(other(statement)), Rule::Federated)
}

fn other(statement: &Statement) -> OtherRule {
    let named = |negated: bool, text: &str| if negated { format!("not {text}") } else { text.to_owned() };
    let principals = statement
        .principal
        .iter()
        .flat_map(|element| element.values.iter().map(|value| named(element.negated, &value.value.value)));
    let actions = &statement.action;
    OtherRule {
        sid: sid(statement),
        denies: !statement.allow,
        principals: principals.collect(),
        actions: actions.values.iter().map(|value| named(actions.negated, &value.value)).collect(),
        conditions: statement.conditions.iter().map(RuleCondition::of).collect(),
        text: serde_json::to_string_pretty(&statement.to_json()).unwrap_or_default(),
    }
}

fn sid(statement: &Statement) -> String {
    statement.sid.as_ref().map(|sid| sid.value.clone()).unwrap_or_default()
}

/// The rule that says the same, where there is one.
fn federated(statement: &Statement) -> Option<FederatedRule> {
    let principal = statement.principal.as_ref().filter(|principal| !principal.negated)?;
    let [only] = principal.values.as_slice() else { return None };
    if only.value.kind != "Federated" || statement.action.negated || statement.resource.is_some() {
        return None;
    }
    let mut rule = FederatedRule {
        sid: sid(statement),
        denies: !statement.allow,
        provider: only.value.value.clone(),
        ..FederatedRule::default()
    };
    let mut assumes = false;
    for action in &statement.action.values {
        match action.value.as_str() {
            text if text == assume(&rule.provider) && !assumes => assumes = true,
            TAGS if !rule.passes.tags => rule.passes.tags = true,
            SOURCE_IDENTITY if !rule.passes.source_identity => rule.passes.source_identity = true,
            _ => return None,
        }
    }
    if !assumes {
        return None;
    }
    let mut present = false;
    for entry in &statement.conditions {
        let values: Vec<&str> = entry.values.iter().map(|value| value.value.as_str()).collect();
        match (entry.operator.as_str(), entry.key.value.as_str(), values.as_slice()) {
            ("Bool", PRESENT, ["true"]) => present = true,
            ("NumericLessThan", AGE, [seconds]) => rule.factor = FactorRule::Within(seconds.parse().ok()?),
            _ => rule.conditions.push(RuleCondition::of(entry)),
        }
    }
    match (rule.factor, present) {
        (FactorRule::None, true) => rule.factor = FactorRule::Given,
        // An age alone says the same, and would come back with more.
        (FactorRule::Within(_), false) => {
            let FactorRule::Within(seconds) = rule.factor else { return None };
            rule.factor = FactorRule::None;
            let values = vec![seconds.to_string()];
            rule.conditions.push(RuleCondition { operator: "NumericLessThan".to_owned(), key: AGE.to_owned(), values });
        }
        _ => {}
    }
    Some(rule)
}

/// The action by which people of a provider take a role.
fn assume(provider: &str) -> &'static str {
    if provider.contains(":saml-provider/") { SAML } else { WEB }
}

impl FederatedRule {
    fn to_json(&self) -> Result<Value, String> {
        let mut statement = Map::new();
        if !self.sid.is_empty() {
            statement.insert("Sid".to_owned(), self.sid.clone().into());
        }
        statement.insert("Effect".to_owned(), if self.denies { "Deny" } else { "Allow" }.into());
        statement.insert("Principal".to_owned(), json!({ "Federated": self.provider }));
        let mut actions = vec![assume(&self.provider)];
        actions.extend(self.passes.tags.then_some(TAGS));
        actions.extend(self.passes.source_identity.then_some(SOURCE_IDENTITY));
        let action = if let [only] = actions.as_slice() { json!(only) } else { json!(actions) };
        statement.insert("Action".to_owned(), action);
        let mut conditions: Map<String, Value> = Map::new();
        let mut add = |operator: &str, key: &str, values: Value| {
            let keys = conditions.entry(operator.to_owned()).or_insert_with(|| json!({}));
            let Some(keys) = keys.as_object_mut() else { return Ok(()) };
            if keys.keys().any(|known| known.eq_ignore_ascii_case(key)) {
                return Err(format!("`{key}` stands twice with the same comparison: put its values into one line."));
            }
            keys.insert(key.to_owned(), values);
            Ok(())
        };
        for RuleCondition { operator, key, values } in &self.conditions {
            let values = if let [only] = values.as_slice() { json!(only) } else { json!(values) };
            add(operator, key, values)?;
        }
        match self.factor {
            FactorRule::None => {}
            FactorRule::Given => add("Bool", PRESENT, json!("true"))?,
            FactorRule::Within(seconds) => {
                add("Bool", PRESENT, json!("true"))?;
                add("NumericLessThan", AGE, json!(seconds.to_string()))?;
            }
        }
        if !conditions.is_empty() {
            statement.insert("Condition".to_owned(), Value::Object(conditions));
        }
        Ok(Value::Object(statement))
    }
}

/// The trust policy that rules stand for, JSON with indentation; version and id are those of the policy they come from.
///
/// # Errors
/// What can't be said, for a person.
pub fn document(rules: &[Rule], from: Option<&Document>) -> Result<String, String> {
    let mut members = Map::new();
    let before = from.map(Document::to_json);
    let of = |name: &str| before.as_ref().and_then(|document| document.get(name)).cloned();
    // One that has no version is read by the rules of 2008: a form does not change that in passing.
    let version = if from.is_some() { of("Version") } else { Some(json!("2012-10-17")) };
    if let Some(version) = version {
        members.insert("Version".to_owned(), version);
    }
    if let Some(id) = of("Id") {
        members.insert("Id".to_owned(), id);
    }
    let mut statements = Vec::new();
    for rule in rules {
        statements.push(match rule {
            Rule::Federated(rule) => rule.to_json()?,
            Rule::Other(other) => {
                serde_json::from_str(&other.text).map_err(|error| format!("A statement is not JSON: {error}"))?
            }
        });
    }
    members.insert("Statement".to_owned(), Value::Array(statements));
    serde_json::to_string_pretty(&Value::Object(members)).map_err(|error| error.to_string())
}

/// What differs between two trust policies.
#[derive(Clone, Debug, Default)]
pub struct RuleChanges {
    /// What is new, and whether it may let in somebody whom nothing let in before.
    pub added: Vec<(Rule, bool)>,
    /// What is gone, and whether that may let in somebody: a `Deny` that nothing takes the place of.
    pub removed: Vec<(Rule, bool)>,
}

impl RuleChanges {
    /// Compares by what the texts say. "May" is meant: what can't be shown to be as narrow counts as wider.
    #[must_use]
    pub fn between(old: &Document, new: &Document) -> Self {
        // Another version of the language reads `${…}` otherwise.
        let same_language = old.variables() == new.variables();
        let covered = |statement: &Statement, by: &Document| {
            same_language && by.statements.iter().any(|known| covers(&known.value, statement))
        };
        let differs = |statement: &Statement, from: &Document| {
            let said = |one: &Statement| Statement { sid: None, ..one.clone() }.to_json();
            !same_language || !from.statements.iter().any(|known| said(&known.value) == said(statement))
        };
        let added = new.statements.iter().map(|statement| &statement.value).filter(|statement| differs(statement, old));
        let removed = old.statements.iter().map(|statement| &statement.value).filter(|statement| differs(statement, new));
        Self {
            added: added.map(|statement| (rule(statement), statement.allow && !covered(statement, old))).collect(),
            removed: removed.map(|statement| (rule(statement), !statement.allow && !covered(statement, new))).collect(),
        }
    }

    /// Whether somebody may get in who did not before.
    #[must_use]
    pub fn widens(&self) -> bool {
        self.added.iter().chain(&self.removed).any(|(_, widens)| *widens)
    }
}

/// Whether whatever `narrow` applies to, `wide` applies to, too. False where that is not plain.
fn covers(wide: &Statement, narrow: &Statement) -> bool {
    let texts =
        |values: &[super::document::Located<String>]| values.iter().map(|one| one.value.to_lowercase()).collect::<Vec<_>>();
    let (Some(wide_who), Some(narrow_who)) = (&wide.principal, &narrow.principal) else { return false };
    let same_kind = wide.allow == narrow.allow && wide_who.negated == narrow_who.negated && !wide.action.negated;
    let within = |value: &super::document::PrincipalValue| wide_who.values.iter().any(|known| known.value == *value);
    let who = match wide_who.negated {
        false => narrow_who.values.iter().all(|value| within(&value.value)),
        true => wide_who == narrow_who,
    };
    let actions = texts(&wide.action.values);
    let what = !narrow.action.negated && texts(&narrow.action.values).iter().all(|action| actions.contains(action));
    same_kind && who && what && wide.conditions.iter().all(|condition| narrow.conditions.iter().any(|by| implies(by, condition)))
}

/// Whether a condition that holds makes another hold.
fn implies(narrow: &ConditionEntry, wide: &ConditionEntry) -> bool {
    if !narrow.operator.eq_ignore_ascii_case(&wide.operator) || !narrow.key.value.eq_ignore_ascii_case(&wide.key.value) {
        return false;
    }
    let texts = |entry: &ConditionEntry| entry.values.iter().map(|value| value.value.clone()).collect::<Vec<_>>();
    let (narrow_values, wide_values) = (texts(narrow), texts(wide));
    let within = |some: &[String], all: &[String]| some.iter().all(|value| all.contains(value));
    let operator = wide.operator.to_ascii_lowercase();
    let plain = operator.rsplit(':').next().unwrap_or_default().trim_end_matches("ifexists");
    let number = |values: &[String]| if let [one] = values { one.parse::<f64>().ok() } else { None };
    match plain {
        "numericlessthan" | "numericlessthanequals" => {
            number(&narrow_values).zip(number(&wide_values)).is_some_and(|(n, w)| n <= w)
        }
        "stringnotequals" | "stringnotequalsignorecase" | "stringnotlike" | "arnnotequals" | "arnnotlike" | "notipaddress" => {
            within(&wide_values, &narrow_values)
        }
        "stringequals" | "stringequalsignorecase" | "stringlike" | "arnequals" | "arnlike" | "ipaddress" | "bool" => {
            within(&narrow_values, &wide_values)
        }
        _ => narrow_values == wide_values,
    }
}

/// Reads a trust policy's rules; none when it is no trust policy.
#[must_use]
pub fn read(text: &str) -> Option<(Document, Vec<Rule>)> {
    let document = Document::parse(text, DocumentKind::Trust).ok()?;
    let rules = rules(&document);
    Some((document, rules))
}
