//! Conditions: operators, missing keys, sets (IAM user guide, "Condition operators", "Multivalued context keys").

use super::{
    context::{Context, Key, Typed},
    element::{arn_condition, is_arn},
    pattern::{Pattern, Refused, Syntax},
    value::{date, in_network, network, number},
};
use base64::Engine as _;
use serde::{Deserialize, Serialize};
use std::{cmp::Ordering, net::IpAddr};

/// What an operator compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Test {
    /// The same text.
    StringEquals,
    /// The same text but for letter case.
    StringEqualsIgnoreCase,
    /// With `*` and `?`.
    StringLike,
    /// Decimals.
    Numeric(Order),
    /// Instants.
    Date(Order),
    /// `true` or `false`, in any letter case.
    Bool,
    /// Bytes; the policy holds base64.
    BinaryEquals,
    /// In a CIDR range.
    IpAddress,
    /// `ArnEquals` and `ArnLike` are the same.
    ArnLike,
    /// Whether the key is absent.
    Null,
}

/// How numbers and dates are compared: the request's value stands on the left.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// `=`
    Equals,
    /// `<`
    LessThan,
    /// `≤`
    LessThanEquals,
    /// `>`
    GreaterThan,
    /// `≥`
    GreaterThanEquals,
}

impl Order {
    const fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equals => ordering.is_eq(),
            Self::LessThan => ordering.is_lt(),
            Self::LessThanEquals => ordering.is_le(),
            Self::GreaterThan => ordering.is_gt(),
            Self::GreaterThanEquals => ordering.is_ge(),
        }
    }
}

/// How a list of request values is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Set {
    /// There is one value.
    Single,
    /// Each value of the request must satisfy the test; true when there is none.
    ForAllValues,
    /// One value of the request must; false when there is none.
    ForAnyValue,
}

/// A parsed operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Operator {
    /// What it compares.
    pub test: Test,
    /// `Not…`.
    pub negated: bool,
    /// `…IfExists`: true when the key is absent.
    pub if_exists: bool,
    /// `ForAllValues:`, `ForAnyValue:` or neither.
    pub set: Set,
}

/// Every base operator with what it tests and whether it is negated.
pub const OPERATORS: &[(&str, Test, bool)] = &[
    ("StringEquals", Test::StringEquals, false),
    ("StringNotEquals", Test::StringEquals, true),
    ("StringEqualsIgnoreCase", Test::StringEqualsIgnoreCase, false),
    ("StringNotEqualsIgnoreCase", Test::StringEqualsIgnoreCase, true),
    ("StringLike", Test::StringLike, false),
    ("StringNotLike", Test::StringLike, true),
    ("NumericEquals", Test::Numeric(Order::Equals), false),
    ("NumericNotEquals", Test::Numeric(Order::Equals), true),
    ("NumericLessThan", Test::Numeric(Order::LessThan), false),
    ("NumericLessThanEquals", Test::Numeric(Order::LessThanEquals), false),
    ("NumericGreaterThan", Test::Numeric(Order::GreaterThan), false),
    ("NumericGreaterThanEquals", Test::Numeric(Order::GreaterThanEquals), false),
    ("DateEquals", Test::Date(Order::Equals), false),
    ("DateNotEquals", Test::Date(Order::Equals), true),
    ("DateLessThan", Test::Date(Order::LessThan), false),
    ("DateLessThanEquals", Test::Date(Order::LessThanEquals), false),
    ("DateGreaterThan", Test::Date(Order::GreaterThan), false),
    ("DateGreaterThanEquals", Test::Date(Order::GreaterThanEquals), false),
    ("Bool", Test::Bool, false),
    ("BinaryEquals", Test::BinaryEquals, false),
    ("IpAddress", Test::IpAddress, false),
    ("NotIpAddress", Test::IpAddress, true),
    ("ArnEquals", Test::ArnLike, false),
    ("ArnLike", Test::ArnLike, false),
    ("ArnNotEquals", Test::ArnLike, true),
    ("ArnNotLike", Test::ArnLike, true),
    ("Null", Test::Null, false),
];

/// Names of all operators, those for keys with several values included.
pub fn operator_names() -> impl Iterator<Item = String> {
    let sets = ["", "ForAnyValue:", "ForAllValues:"];
    let takes = |set: &str, name: &str| set.is_empty() || name.starts_with("String") || name.starts_with("Arn");
    sets.into_iter().flat_map(move |set| {
        OPERATORS.iter().filter(move |(name, ..)| takes(set, name)).map(move |(name, ..)| format!("{set}{name}"))
    })
}

impl Operator {
    /// Parses an operator in its exact spelling.
    ///
    /// # Errors
    /// The published check and a sentence.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let unknown = |message: String| ("INVALID_CONDITION_OPERATOR", message);
        let (set, rest) = match text.split_once(':') {
            Some(("ForAllValues", rest)) => (Set::ForAllValues, rest),
            Some(("ForAnyValue", rest)) => (Set::ForAnyValue, rest),
            Some((other, _)) => {
                return Err(unknown(format!("`{other}:` is not a set operator: ForAllValues and ForAnyValue are.")));
            }
            None => (Set::Single, text),
        };
        let (base, if_exists) = rest.strip_suffix("IfExists").map_or((rest, false), |base| (base, true));
        let Some((_, test, negated)) = OPERATORS.iter().find(|(name, ..)| *name == base) else {
            let near = OPERATORS.iter().find(|(name, ..)| name.eq_ignore_ascii_case(base));
            let hint = near.map(|(name, ..)| format!(" Did you mean `{name}`?")).unwrap_or_default();
            return Err(unknown(format!("`{base}` is not a condition operator.{hint}")));
        };
        if *test == Test::Null && if_exists {
            return Err(("NULL_WITH_IF_EXISTS", "`Null` asks whether the key exists: it takes no IfExists.".to_owned()));
        }
        if *test == Test::Null && set != Set::Single {
            return Err(("NULL_WITH_QUALIFIER", "`Null` takes no set operator.".to_owned()));
        }
        Ok(Self { test: *test, negated: *negated, if_exists, set })
    }
}

/// One key under one operator, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    operator: Operator,
    operator_text: Box<str>,
    key_text: Box<str>,
    key: Key,
    expected: Expected,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Texts(Box<[Pattern]>),
    /// Scaled by 10⁹, so that decimals compare exactly.
    Numbers(Box<[(i128, Box<str>)]>),
    /// Milliseconds since the epoch.
    Dates(Box<[(i64, Box<str>)]>),
    Bytes(Box<[(Vec<u8>, Box<str>)]>),
    Networks(Box<[(IpAddr, u8, Box<str>)]>),
    Null(Box<[bool]>),
}

impl Expected {
    fn texts(&self) -> Vec<&str> {
        match self {
            Self::Texts(list) => list.iter().map(Pattern::text).collect(),
            Self::Numbers(list) => list.iter().map(|(_, text)| &**text).collect(),
            Self::Dates(list) => list.iter().map(|(_, text)| &**text).collect(),
            Self::Bytes(list) => list.iter().map(|(_, text)| &**text).collect(),
            Self::Networks(list) => list.iter().map(|(.., text)| &**text).collect(),
            Self::Null(list) => list.iter().map(|absent| if *absent { "true" } else { "false" }).collect(),
        }
    }
}

/// How a condition came out: expected beside received, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ConditionTrace {
    /// As written, for example `ForAnyValue:StringEquals`.
    pub operator: String,
    /// As written.
    pub key: String,
    /// The policy's values.
    pub expected: Vec<String>,
    /// The request's values; empty when the key is absent.
    pub received: Vec<String>,
    /// Whether it is true.
    pub matched: bool,
    /// The likely reason when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

impl Condition {
    /// Compiles one `operator: {key: values}` entry.
    ///
    /// # Errors
    /// The index of the value where it is one of them, the published check and a sentence.
    pub fn compile(operator: &str, key: &str, values: &[&str], variables: bool) -> Result<Self, (Option<usize>, Refused)> {
        let parsed = Operator::parse(operator).map_err(|refused| (None, refused))?;
        if key.is_empty() || key.chars().any(char::is_control) || key.trim() != key {
            return Err((None, ("INVALID_CONDITION_KEY_FORMAT", format!("`{key}` is not a condition key."))));
        }
        let expected = expect(parsed.test, values, variables).map_err(|(index, refused)| (Some(index), refused))?;
        Ok(Self { operator: parsed, operator_text: operator.into(), key_text: key.into(), key: Key::new(key), expected })
    }

    /// The key and the texts one of which the request must carry for this condition to hold; none when there is no such list.
    /// In a `Deny` a key with several values holds without a set operator, whatever they are.
    pub(super) fn required(&self, deny: bool) -> Option<(&Key, impl Iterator<Item = &str>)> {
        let bound = match self.operator.set {
            Set::Single => !deny,
            Set::ForAnyValue => true,
            Set::ForAllValues => false,
        };
        let strict = bound && !self.operator.negated && !self.operator.if_exists;
        match &self.expected {
            Expected::Texts(texts) if strict && self.operator.test == Test::StringEquals => {
                let exact = |pattern: &'_ Pattern| matches!(pattern, Pattern::Exact(_));
                texts.iter().all(exact).then(|| (&self.key, texts.iter().map(Pattern::text)))
            }
            _ => None,
        }
    }

    /// Whether the condition is true.
    ///
    /// AWS is silent on two authoring errors: several request values under an operator without a set operator, and a request
    /// value that is no number, date, address or ARN under an operator that compares those. We fail closed: such a condition
    /// counts as `when_unclear`, which is false in an `Allow` and true in a `Deny`.
    #[must_use]
    pub fn holds(&self, context: &Context, when_unclear: bool) -> bool {
        let found = context.typed(&self.key);
        if let Expected::Null(wanted) = &self.expected {
            return wanted.contains(&found.is_none());
        }
        let Operator { set, negated, if_exists, .. } = self.operator;
        let Some((values, typed)) = found else {
            return match set {
                Set::ForAllValues => true,
                Set::ForAnyValue => if_exists,
                Set::Single => if_exists || negated,
            };
        };
        match (set, values) {
            (Set::Single, [only]) => self.value_holds(only, typed, context, when_unclear),
            (Set::Single, _) => when_unclear,
            (Set::ForAllValues, _) => values.iter().all(|value| self.value_holds(value, None, context, when_unclear)),
            (Set::ForAnyValue, _) => values.iter().any(|value| self.value_holds(value, None, context, when_unclear)),
        }
    }

    fn value_holds(&self, value: &str, typed: Option<Typed>, context: &Context, when_unclear: bool) -> bool {
        match self.any_expected(value, typed, context) {
            Some(found) => found != self.operator.negated,
            None => when_unclear,
        }
    }

    /// Whether one of the policy's values fits; none when the request's value can't be read.
    fn any_expected(&self, value: &str, typed: Option<Typed>, context: &Context) -> Option<bool> {
        Some(match &self.expected {
            Expected::Texts(patterns) => match self.operator.test {
                Test::StringEqualsIgnoreCase | Test::Bool => patterns.iter().any(|pattern| pattern.same_letters(value, context)),
                Test::ArnLike if !is_arn(value) => return None,
                _ => patterns.iter().any(|pattern| pattern.matches(value, context)),
            },
            Expected::Numbers(list) => {
                let value = number(value)?;
                let Test::Numeric(order) = self.operator.test else { return None };
                list.iter().any(|(wanted, _)| order.holds(value.cmp(wanted)))
            }
            Expected::Dates(list) => {
                let value = if let Some(Typed::Instant(instant)) = typed { instant } else { date(value)? };
                let Test::Date(order) = self.operator.test else { return None };
                list.iter().any(|(wanted, _)| order.holds(value.cmp(wanted)))
            }
            Expected::Bytes(list) => {
                let value = base64::engine::general_purpose::STANDARD.decode(value).ok()?;
                list.iter().any(|(wanted, _)| *wanted == value)
            }
            Expected::Networks(list) => {
                let address = if let Some(Typed::Address(address)) = typed { address } else { value.parse().ok()? };
                list.iter().any(|(network, bits, _)| in_network(address, *network, *bits))
            }
            Expected::Null(_) => return None,
        })
    }

    /// The outcome with everything a person needs to see why.
    #[must_use]
    pub fn explain(&self, context: &Context, when_unclear: bool) -> ConditionTrace {
        let received = context.of(&self.key).unwrap_or_default().to_vec();
        let matched = self.holds(context, when_unclear);
        ConditionTrace {
            operator: self.operator_text.to_string(),
            key: self.key_text.to_string(),
            expected: self.expected.texts().into_iter().map(str::to_owned).collect(),
            note: if matched { None } else { self.near_miss(&received, context) },
            received,
            matched,
        }
    }

    fn near_miss(&self, received: &[String], context: &Context) -> Option<String> {
        let Operator { test, negated, set, .. } = self.operator;
        if test == Test::Null {
            let present = if received.is_empty() { "is not" } else { "is" };
            return Some(format!("`{}` {present} in the request", self.key_text));
        }
        let expected = self.expected.texts();
        if received.is_empty() {
            let name = |key: &str| key.rsplit(':').next().unwrap_or_default().to_lowercase();
            let wanted = name(&self.key_text);
            let elsewhere = context.sorted().into_iter().find(|(key, values)| {
                name(key) == wanted && values.iter().any(|value| expected.iter().any(|expected| expected == value))
            });
            return Some(match elsewhere {
                Some((key, _)) => format!("the value is right, but it came as `{key}`"),
                None => format!("`{}` is not in the request", self.key_text),
            });
        }
        if set == Set::Single && received.len() > 1 {
            return Some("the key has several values: use ForAnyValue or ForAllValues".to_owned());
        }
        if received.iter().take(20).any(|value| self.any_expected(value, None, context).is_none()) {
            let wanted = match test {
                Test::Numeric(_) => "a number",
                Test::Date(_) => "a date",
                Test::IpAddress => "an IP address",
                Test::ArnLike => "an ARN",
                _ => "base64",
            };
            return Some(format!("the value in the request is not {wanted}"));
        }
        let only_in_case =
            |value: &String| expected.iter().any(|expected| expected != value && expected.to_lowercase() == value.to_lowercase());
        // Guesses for people are not worth more time than people have lists for.
        if received.len().saturating_mul(expected.len()) > 400 {
            return None;
        }
        let folded = |text: &&str| Pattern::compile(&text.to_lowercase(), Syntax { wildcards: true, variables: false }).ok();
        let wild: Vec<Pattern> = match test {
            Test::StringLike | Test::ArnLike => expected.iter().filter_map(folded).collect(),
            _ => Vec::new(),
        };
        let like_in_case = |value: &String| {
            let value = value.to_lowercase();
            wild.iter().any(|pattern| pattern.matches(&value, context))
        };
        if !negated && received.iter().any(|value| only_in_case(value) || like_in_case(value)) {
            return Some("differs only in letter case".to_owned());
        }
        let only_in_space = |value: &String| expected.iter().any(|expected| expected != value && expected.trim() == value.trim());
        if !negated && received.iter().any(only_in_space) {
            return Some("differs only in space at an end".to_owned());
        }
        let exact = matches!(test, Test::StringEquals | Test::StringEqualsIgnoreCase);
        if exact && !negated && expected.iter().any(|expected| expected.contains(['*', '?'])) {
            return Some(format!("`{}` reads `*` and `?` literally: use StringLike", self.operator_text));
        }
        if let (Expected::Texts(patterns), false) = (&self.expected, negated)
            && patterns.iter().any(|pattern| pattern.has_variables() && !pattern.resolves(context))
        {
            return Some("a policy variable in the value is not in the request".to_owned());
        }
        None
    }
}

fn expect(test: Test, values: &[&str], variables: bool) -> Result<Expected, (usize, Refused)> {
    fn each<T>(values: &[&str], parse: impl Fn(&str) -> Result<T, Refused>) -> Result<Box<[T]>, (usize, Refused)> {
        values.iter().enumerate().map(|(index, value)| parse(value).map_err(|refused| (index, refused))).collect()
    }
    let bad = |value: &str, wanted: &str| ("INVALID_CONDITION_DATA_TYPE", format!("`{value}` is not {wanted}."));
    Ok(match test {
        Test::StringEquals | Test::StringEqualsIgnoreCase | Test::StringLike => {
            let syntax = Syntax { wildcards: test == Test::StringLike, variables };
            Expected::Texts(each(values, |value| Pattern::compile(value, syntax))?)
        }
        Test::Bool => Expected::Texts(each(values, |value| {
            let variable = variables && value.starts_with("${");
            if !variable && !value.eq_ignore_ascii_case("true") && !value.eq_ignore_ascii_case("false") {
                return Err(bad(value, "true or false"));
            }
            Pattern::compile(value, Syntax { wildcards: false, variables })
        })?),
        Test::ArnLike => Expected::Texts(each(values, |value| arn_condition(value, variables))?),
        Test::Numeric(_) => Expected::Numbers(each(values, |value| {
            number(value).map(|number| (number, value.into())).ok_or_else(|| bad(value, "a number"))
        })?),
        Test::Date(_) => Expected::Dates(each(values, |value| {
            let wanted = "a date (2026-11-24T00:00:00Z, or seconds since 1970)";
            date(value).map(|date| (date, value.into())).ok_or_else(|| bad(value, wanted))
        })?),
        Test::BinaryEquals => Expected::Bytes(each(values, |value| {
            let bytes = base64::engine::general_purpose::STANDARD.decode(value).map_err(|_| bad(value, "base64"))?;
            Ok((bytes, value.into()))
        })?),
        Test::IpAddress => Expected::Networks(each(values, |value| {
            let (address, bits) = network(value).ok_or_else(|| bad(value, "an IP address or CIDR range"))?;
            Ok((address, bits, value.into()))
        })?),
        Test::Null => Expected::Null(each(values, |value| match value.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(bad(value, "true or false")),
        })?),
    })
}
