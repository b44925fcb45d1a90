//! Policy documents: JSON in, a checked document out (IAM user guide, "Grammar of the IAM JSON policy language").

use super::{
    condition::Condition,
    pattern::{ActionPattern, ArnPattern},
};
use crate::domain::{Arn, name::AccountId};
use serde::{Deserialize, Deserializer, de};
use std::fmt;

/// Longest document read, in characters; each use has its own smaller quota.
pub const MAX_DOCUMENT_LENGTH: usize = 20_480;

/// What a document is for: it decides which elements it must and must not have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DocumentKind {
    /// Attached to a role, or passed as session policy: `Resource`, no `Principal`.
    Identity,
    /// A role's trust policy: `Principal`, no `Resource`.
    Trust,
}

/// A checked document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Whether policy variables are read (2012-10-17) or are plain text (2008-10-17, also when absent).
    pub variables: bool,
    /// In order.
    pub statements: Vec<Statement>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Position, from 1, as people count.
    pub number: usize,
    /// Its name, if it has one.
    pub sid: Option<String>,
    /// `Allow`, else `Deny`.
    pub allow: bool,
    /// Who, in trust policies.
    pub principals: Vec<PrincipalPattern>,
    /// `NotAction` instead of `Action`.
    pub not_action: bool,
    /// What.
    pub actions: Vec<ActionPattern>,
    /// `NotResource` instead of `Resource`.
    pub not_resource: bool,
    /// On what; empty in trust policies.
    pub resources: Vec<ArnPattern>,
    /// When.
    pub conditions: Vec<Condition>,
}

/// One value of `Principal`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrincipalPattern {
    /// `*` or `{"AWS": "*"}`.
    Everyone,
    /// `{"AWS": "111122223333"}` or its `:root` ARN.
    Account(AccountId),
    /// `{"AWS": "<ARN of a user, role or session>"}`, or a unique id.
    Aws(String),
    /// `{"Federated": "<provider ARN or host>"}`.
    Federated(String),
    /// `{"Service": "<name>.amazonaws.com"}`.
    Service(String),
}

impl PrincipalPattern {
    /// As a person would write it.
    #[must_use]
    pub fn text(&self) -> String {
        match self {
            Self::Everyone => "*".to_owned(),
            Self::Account(account) => format!("AWS {account}"),
            Self::Aws(arn) => format!("AWS {arn}"),
            Self::Federated(provider) => format!("Federated {provider}"),
            Self::Service(service) => format!("Service {service}"),
        }
    }
}

/// Why a document was refused: where (a JSON pointer, or line and column) and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedDocument {
    /// `/Statement/0/Action`, or `line 3 column 7`.
    pub at: String,
    /// What is wrong.
    pub problem: String,
}

impl fmt::Display for MalformedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.at.is_empty() { f.write_str(&self.problem) } else { write!(f, "{}: {}", self.at, self.problem) }
    }
}

impl std::error::Error for MalformedDocument {}

type Parsed<T> = Result<T, MalformedDocument>;

impl Document {
    /// Parses and checks a document. Duplicate keys, unknown elements and wrong types are refused, not ignored:
    /// an ignored `Condition` would grant more than was written.
    ///
    /// # Errors
    /// [`MalformedDocument`] with the place and a sentence.
    pub fn parse(text: &str, kind: DocumentKind) -> Parsed<Self> {
        if text.chars().count() > MAX_DOCUMENT_LENGTH {
            return Err(bad("", format!("a policy has at most {MAX_DOCUMENT_LENGTH} characters")));
        }
        let json: Json = serde_json::from_str(text).map_err(|error| {
            let message = error.to_string();
            let problem = message.split(" at line ").next().unwrap_or_default().to_owned();
            MalformedDocument { at: format!("line {} column {}", error.line(), error.column()), problem }
        })?;
        let Json::Object(members) = json else { return Err(bad("", "a policy is a JSON object")) };
        let mut variables = false;
        let mut statements = None;
        for (name, value) in &members {
            match (name.as_str(), value) {
                ("Version", Json::String(version)) if version == "2012-10-17" => variables = true,
                ("Version", Json::String(version)) if version == "2008-10-17" => {}
                ("Version", _) => return Err(bad("/Version", "the version is \"2012-10-17\" or \"2008-10-17\"")),
                ("Id", Json::String(_)) => {}
                ("Id", _) => return Err(bad("/Id", "an id is a string")),
                ("Statement", Json::Object(_) | Json::Array(_)) => statements = Some(value),
                ("Statement", _) => return Err(bad("/Statement", "a statement is an object, or a list of objects")),
                (other, _) => return Err(bad(&format!("/{other}"), format!("`{other}` is not an element of a policy"))),
            }
        }
        let list: Vec<(String, &Json)> = match statements {
            Some(Json::Array(list)) => list.iter().enumerate().map(|(i, one)| (format!("/Statement/{i}"), one)).collect(),
            Some(one) => vec![("/Statement".to_owned(), one)],
            None => return Err(bad("", "a policy needs a Statement")),
        };
        if list.is_empty() {
            return Err(bad("/Statement", "a policy needs at least one statement"));
        }
        let statements = list
            .iter()
            .enumerate()
            .map(|(index, (at, one))| statement(index + 1, at, one, kind, variables))
            .collect::<Parsed<Vec<_>>>()?;
        let mut sids: Vec<&str> = statements.iter().filter_map(|statement| statement.sid.as_deref()).collect();
        sids.sort_unstable();
        if let Some(pair) = sids.windows(2).find(|pair| pair.first() == pair.last()) {
            return Err(bad("/Statement", format!("two statements have the Sid `{}`", pair.first().unwrap_or(&""))));
        }
        Ok(Self { variables, statements })
    }
}

fn statement(number: usize, at: &str, json: &Json, kind: DocumentKind, variables: bool) -> Parsed<Statement> {
    let Json::Object(members) = json else { return Err(bad(at, "a statement is an object")) };
    let mut allow = None;
    let mut parsed = Statement {
        number,
        sid: None,
        allow: false,
        principals: Vec::new(),
        not_action: false,
        actions: Vec::new(),
        not_resource: false,
        resources: Vec::new(),
        conditions: Vec::new(),
    };
    let (mut has_action, mut has_resource, mut has_principal) = (false, false, false);
    for (name, value) in members {
        let at = format!("{at}/{name}");
        match name.as_str() {
            "Sid" => match value {
                Json::String(sid) if sid.chars().all(|c| c.is_ascii_alphanumeric()) => {
                    parsed.sid = (!sid.is_empty()).then(|| sid.clone());
                }
                _ => return Err(bad(&at, "a Sid has letters and digits only")),
            },
            "Effect" => match value {
                Json::String(effect) if effect == "Allow" => allow = Some(true),
                Json::String(effect) if effect == "Deny" => allow = Some(false),
                _ => return Err(bad(&at, "the effect is \"Allow\" or \"Deny\", in this spelling")),
            },
            "Action" | "NotAction" => {
                if std::mem::replace(&mut has_action, true) {
                    return Err(bad(&at, "a statement has either Action or NotAction"));
                }
                parsed.not_action = name == "NotAction";
                for action in strings(&at, value)? {
                    parsed.actions.push(ActionPattern::compile(&action).map_err(|problem| bad(&at, problem))?);
                }
            }
            "Resource" | "NotResource" => {
                if kind == DocumentKind::Trust {
                    return Err(bad(&at, "a trust policy has no resource: it is about the role it belongs to"));
                }
                if std::mem::replace(&mut has_resource, true) {
                    return Err(bad(&at, "a statement has either Resource or NotResource"));
                }
                parsed.not_resource = name == "NotResource";
                for resource in strings(&at, value)? {
                    parsed.resources.push(ArnPattern::compile(&resource, variables).map_err(|problem| bad(&at, problem))?);
                }
            }
            "Principal" => {
                if kind == DocumentKind::Identity {
                    return Err(bad(&at, "a policy attached to a role has no Principal: it is about that role"));
                }
                has_principal = true;
                parsed.principals = principals(&at, value)?;
            }
            "NotPrincipal" => {
                return Err(bad(&at, "NotPrincipal is not supported: name the principals, and narrow them with conditions"));
            }
            "Condition" => parsed.conditions = conditions(&at, value, variables)?,
            other => return Err(bad(&at, format!("`{other}` is not an element of a statement"))),
        }
    }
    parsed.allow = allow.ok_or_else(|| bad(at, "a statement needs an Effect"))?;
    if !has_action {
        return Err(bad(at, "a statement needs Action or NotAction"));
    }
    match kind {
        DocumentKind::Identity if !has_resource => Err(bad(at, "a statement needs Resource or NotResource")),
        DocumentKind::Trust if !has_principal => Err(bad(at, "a statement of a trust policy needs a Principal")),
        DocumentKind::Identity | DocumentKind::Trust => Ok(parsed),
    }
}

fn principals(at: &str, json: &Json) -> Parsed<Vec<PrincipalPattern>> {
    let members = match json {
        Json::String(everyone) if everyone == "*" => return Ok(vec![PrincipalPattern::Everyone]),
        Json::Object(members) if !members.is_empty() => members,
        _ => return Err(bad(at, "a principal is \"*\" or an object such as {\"Federated\": \"<provider ARN>\"}")),
    };
    let mut all = Vec::new();
    for (kind, value) in members {
        let at = format!("{at}/{kind}");
        for value in strings(&at, value)? {
            let wildcard = value.contains(['*', '?']);
            all.push(match kind.as_str() {
                "AWS" if value == "*" => PrincipalPattern::Everyone,
                _ if wildcard => return Err(bad(&at, format!("`{value}`: a principal can't hold a wildcard"))),
                "AWS" => aws_principal(&value)
                    .ok_or_else(|| bad(&at, format!("`{value}` is not an account, an ARN or a unique id")))?,
                "Federated" => PrincipalPattern::Federated(value),
                "Service" => PrincipalPattern::Service(value),
                other => return Err(bad(&at, format!("`{other}` is not a kind of principal: use AWS, Federated or Service"))),
            });
        }
    }
    Ok(all)
}

fn aws_principal(value: &str) -> Option<PrincipalPattern> {
    if let Ok(account) = AccountId::parse(value) {
        return Some(PrincipalPattern::Account(account));
    }
    if let Ok(arn) = Arn::parse(value) {
        return Some(match (arn.account(), arn.resource()) {
            (Some(account), "root") => PrincipalPattern::Account(account),
            _ => PrincipalPattern::Aws(value.to_owned()),
        });
    }
    let unique_id =
        value.len() >= 16 && value.starts_with('A') && value.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit());
    unique_id.then(|| PrincipalPattern::Aws(value.to_owned()))
}

fn conditions(at: &str, json: &Json, variables: bool) -> Parsed<Vec<Condition>> {
    let Json::Object(operators) = json else { return Err(bad(at, "a condition is an object of operators")) };
    let mut all = Vec::new();
    for (operator, keys) in operators {
        let at = format!("{at}/{operator}");
        let Json::Object(keys) = keys else { return Err(bad(&at, "an operator holds an object of condition keys")) };
        for (key, values) in keys {
            let at = format!("{at}/{key}");
            let values = strings(&at, values)?;
            all.push(Condition::compile(operator, key, &values, variables).map_err(|problem| bad(&at, problem))?);
        }
        let mut folded: Vec<String> = keys.iter().map(|(key, _)| key.to_lowercase()).collect();
        folded.sort_unstable();
        if folded.windows(2).any(|pair| pair.first() == pair.last()) {
            return Err(bad(&at, "two keys differ only in letter case: condition keys have no case"));
        }
    }
    Ok(all)
}

/// A string (or number or boolean, as AWS takes them in conditions), or a list of those.
fn strings(at: &str, json: &Json) -> Parsed<Vec<String>> {
    let one = |json: &Json| match json {
        Json::String(text) | Json::Number(text) => Some(text.clone()),
        Json::Bool(value) => Some(value.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    };
    let list = match json {
        Json::Array(list) => list.iter().map(one).collect(),
        single => one(single).map(|text| vec![text]),
    };
    match list {
        Some(list) if !list.is_empty() => Ok(list),
        _ => Err(bad(at, "expected a string, or a list of strings with at least one in it")),
    }
}

fn bad(at: &str, problem: impl Into<String>) -> MalformedDocument {
    MalformedDocument { at: at.to_owned(), problem: problem.into() }
}

/// JSON that keeps every key in order and refuses duplicates. `serde_json` bounds the depth at 128.
#[derive(Debug)]
enum Json {
    Null,
    Bool(bool),
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Json;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Json, E> {
                Ok(Json::Null)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
                Ok(Json::Bool(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
                Ok(Json::Number(value.to_string()))
            }
            fn visit_str<E>(self, value: &str) -> Result<Json, E> {
                Ok(Json::String(value.to_owned()))
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
                let mut list = Vec::new();
                while let Some(value) = seq.next_element()? {
                    list.push(value);
                }
                Ok(Json::Array(list))
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
                let mut members: Vec<(String, Json)> = Vec::new();
                let mut seen = std::collections::HashSet::new();
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        return Err(de::Error::custom(format!("the key `{key}` appears twice")));
                    }
                    members.push((key, map.next_value()?));
                }
                Ok(Json::Object(members))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}
