//! A trust policy being edited: as a form or as JSON, two views of one document.

use crate::{
    domain::Error,
    policy::rule::{self, FactorRule, FederatedRule, OtherRule, Passes, Rule, RuleCondition},
};
use std::collections::HashMap;

/// The document, in the view that it is edited in.
pub(super) struct Draft {
    view: View,
    /// As JSON: of the form, what it was made from.
    pub(super) text: String,
    /// As rules, in the form.
    pub(super) rules: Vec<Rule>,
    /// Longest session, in hours, as it was typed.
    pub(super) hours: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Form,
    Json,
}

/// What a button asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Preview,
    Save,
    Propose,
    Form,
    Json,
    AddRule,
    AddCondition(usize),
    RemoveRule(usize),
    RemoveCondition(usize, usize),
}

impl Wanted {
    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let what = parts.next()?;
        let numbers: Vec<usize> = parts.map(str::parse).collect::<Result<_, _>>().ok()?;
        Some(match (what, numbers.as_slice()) {
            ("preview", []) => Self::Preview,
            ("save", []) => Self::Save,
            ("propose", []) => Self::Propose,
            ("form", []) => Self::Form,
            ("json", []) => Self::Json,
            ("add-rule", []) => Self::AddRule,
            ("add-condition", [rule]) => Self::AddCondition(*rule),
            ("remove-rule", [rule]) => Self::RemoveRule(*rule),
            ("remove-condition", [rule, condition]) => Self::RemoveCondition(*rule, *condition),
            _ => return None,
        })
    }
}

/// Most rules, and most conditions of one, that a form has room for.
const MOST: usize = 60;

impl Draft {
    /// The policy that a role has, as a form where it is one.
    pub(super) fn stored(text: String, seconds: u32, json: bool) -> Self {
        let hours = hours(seconds);
        match rule::read(&text).filter(|_| !json) {
            Some((_, rules)) => Self { view: View::Form, text, rules, hours },
            None => Self { view: View::Json, text, rules: Vec::new(), hours },
        }
    }

    pub(super) fn is_form(&self) -> bool {
        self.view == View::Form
    }

    /// What was sent, and what is wanted with it.
    pub(super) fn read(fields: &HashMap<String, String>) -> Result<(Self, Wanted), Error> {
        let of = |name: &str| fields.get(name).map(String::as_str).unwrap_or_default();
        let wanted = Wanted::parse(of("do")).ok_or_else(|| Error::invalid("The form asks for nothing that there is."))?;
        let hours = of("hours").trim().to_owned();
        if of("view") != "form" {
            return Ok((Self { view: View::Json, text: of("policy_document").to_owned(), rules: Vec::new(), hours }, wanted));
        }
        let count = |name: &str| match of(name).parse::<usize>().unwrap_or_default() {
            // What is left out would be a condition less.
            many if many > MOST => Err(Error::invalid("A form has no room for so much: edit it as JSON.")),
            count => Ok(count),
        };
        let mut rules = Vec::new();
        for i in 0..count("rules")? {
            rules.push(read_rule(i, fields, count(&format!("r{i}-conditions"))?));
        }
        Ok((Self { view: View::Form, text: of("from").to_owned(), rules, hours }, wanted))
    }

    /// Changes the form as a button asks.
    pub(super) fn change(&mut self, wanted: &Wanted, provider: &str) {
        match wanted {
            Wanted::AddRule => self.rules.push(Rule::Federated(FederatedRule {
                provider: provider.to_owned(),
                conditions: vec![empty_condition()],
                ..FederatedRule::default()
            })),
            Wanted::AddCondition(rule) => {
                if let Some(Rule::Federated(rule)) = self.rules.get_mut(*rule) {
                    rule.conditions.push(empty_condition());
                }
            }
            Wanted::RemoveRule(rule) => {
                if *rule < self.rules.len() {
                    self.rules.remove(*rule);
                }
            }
            Wanted::RemoveCondition(rule, condition) => {
                if let Some(Rule::Federated(rule)) = self.rules.get_mut(*rule)
                    && *condition < rule.conditions.len()
                {
                    rule.conditions.remove(*condition);
                }
            }
            Wanted::Preview | Wanted::Save | Wanted::Propose | Wanted::Form | Wanted::Json => {}
        }
    }

    /// The document as JSON.
    ///
    /// # Errors
    /// What can't be said, for a person.
    pub(super) fn document(&self) -> Result<String, String> {
        if self.view == View::Json {
            return Ok(self.text.clone());
        }
        let mut rules = self.rules.clone();
        for rule in &mut rules {
            let Rule::Federated(rule) = rule else { continue };
            // Lines that were added and left empty say nothing.
            rule.conditions.retain(|condition| !condition.key.is_empty() || !condition.values.is_empty());
            if let Some(odd) = rule.conditions.iter().find(|condition| condition.key.is_empty() || condition.values.is_empty()) {
                let what = if odd.key.is_empty() { odd.values.join(", ") } else { odd.key.clone() };
                return Err(format!("“{what}” needs both a claim and a value."));
            }
        }
        let from = rule::read(&self.text).map(|(document, _)| document);
        rule::document(&rules, from.as_ref())
    }

    /// The same document in the other view.
    ///
    /// # Errors
    /// Why there is none, for a person.
    pub(super) fn turned(self, to_form: bool) -> Result<Self, (Self, String)> {
        let text = match self.document() {
            Ok(text) => text,
            Err(problem) => return Err((self, problem)),
        };
        if !to_form {
            return Ok(Self { view: View::Json, text, rules: Vec::new(), hours: self.hours });
        }
        match rule::read(&text) {
            Some((_, rules)) => Ok(Self { view: View::Form, text, rules, hours: self.hours }),
            None => Err((self, "This is no trust policy yet: mend it before it becomes a form.".to_owned())),
        }
    }

    /// Longest session, in seconds.
    ///
    /// # Errors
    /// For a person.
    pub(super) fn seconds(&self) -> Result<u32, String> {
        let wrong = || "The longest session is 1 to 12 hours.".to_owned();
        let hours: f64 = self.hours.replace(',', ".").parse().map_err(|_| wrong())?;
        if !(1.0..=12.0).contains(&hours) {
            return Err(wrong());
        }
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "1 to 12 hours")]
        Ok((hours * 3600.0).round() as u32)
    }
}

/// `1.5`
fn hours(seconds: u32) -> String {
    format!("{}", f64::from(seconds) / 3600.0)
}

fn empty_condition() -> RuleCondition {
    RuleCondition { operator: "ForAnyValue:StringEquals".to_owned(), ..RuleCondition::default() }
}

fn read_rule(i: usize, fields: &HashMap<String, String>, conditions: usize) -> Rule {
    let of = |name: &str| fields.get(&format!("r{i}-{name}")).map(|text| text.trim().to_owned());
    let field = |name: &str| of(name).unwrap_or_default();
    if let Some(text) = of("text") {
        let other = OtherRule {
            sid: String::new(),
            denies: false,
            principals: Vec::new(),
            actions: Vec::new(),
            conditions: Vec::new(),
            text,
        };
        // As it was: read again, it says what it said.
        let whole = format!("{{\"Version\":\"2012-10-17\",\"Statement\":[{}]}}", other.text);
        return rule::read(&whole).and_then(|(_, rules)| rules.into_iter().next()).unwrap_or(Rule::Other(other));
    }
    let condition = |j: usize| {
        let of = |name: &str| fields.get(&format!("r{i}c{j}-{name}")).map(|text| text.trim().to_owned()).unwrap_or_default();
        let values = of("values").lines().map(str::trim).filter(|line| !line.is_empty()).map(str::to_owned).collect();
        RuleCondition { operator: of("operator"), key: of("key"), values }
    };
    Rule::Federated(FederatedRule {
        sid: field("sid"),
        denies: field("effect") == "deny",
        provider: field("provider"),
        passes: Passes { tags: of("tags").is_some(), source_identity: of("source-identity").is_some() },
        conditions: (0..conditions).map(condition).collect(),
        factor: match (field("factor").as_str(), field("seconds").parse()) {
            ("given", _) => FactorRule::Given,
            ("within", seconds) => FactorRule::Within(seconds.unwrap_or(900)),
            _ => FactorRule::None,
        },
    })
}
