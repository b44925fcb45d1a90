//! Conditions: operators, missing keys, sets (IAM user guide, "Condition operators", "Multivalued context keys").

use super::pattern::Pattern;
use crate::domain::Timestamp;
use base64::Engine as _;
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr};

/// The request context: condition keys (names without regard to case) and their values.
///
/// A key with an empty list counts as absent, as AWS documents for `Null` and the set operators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Context(BTreeMap<String, Vec<String>>);

impl Context {
    /// Sets a single value.
    pub fn set(&mut self, key: &str, value: impl Into<String>) {
        self.0.insert(key.to_lowercase(), vec![value.into()]);
    }
    /// Sets a list.
    pub fn set_list(&mut self, key: &str, values: Vec<String>) {
        self.0.insert(key.to_lowercase(), values);
    }
    /// The values of a key, or none when it is absent. The key must be lower case.
    #[must_use]
    pub fn values(&self, key: &str) -> Option<&[String]> {
        self.0.get(key).filter(|values| !values.is_empty()).map(Vec::as_slice)
    }
    /// The value of a key that has exactly one.
    #[must_use]
    pub fn single(&self, key: &str) -> Option<&str> {
        match self.values(key) {
            Some([only]) => Some(only),
            _ => None,
        }
    }
    /// All keys with their values, sorted.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[String])> {
        self.0.iter().map(|(key, values)| (key.as_str(), values.as_slice()))
    }
}

/// What an operator compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    StringEquals,
    StringEqualsIgnoreCase,
    StringLike,
    NumericEquals,
    NumericLessThan,
    NumericLessThanEquals,
    NumericGreaterThan,
    NumericGreaterThanEquals,
    DateEquals,
    DateLessThan,
    DateLessThanEquals,
    DateGreaterThan,
    DateGreaterThanEquals,
    Bool,
    BinaryEquals,
    IpAddress,
    ArnLike,
    Null,
}

/// How a list of request values is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Set {
    Single,
    ForAllValues,
    ForAnyValue,
}

/// One key under one operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    operator: String,
    test: Test,
    negated: bool,
    if_exists: bool,
    set: Set,
    key: String,
    folded: String,
    expected: Vec<Expected>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Expected {
    Pattern(Pattern),
    /// Scaled by 10⁹, so that decimals compare exactly.
    Number(i128, String),
    Date(i64, String),
    Bytes(Vec<u8>, String),
    Network(IpAddr, u8, String),
    Arn(Vec<Pattern>, String),
    Null(bool),
}

impl Expected {
    fn text(&self) -> &str {
        match self {
            Self::Pattern(pattern) => pattern.text(),
            Self::Number(_, text)
            | Self::Date(_, text)
            | Self::Bytes(_, text)
            | Self::Network(_, _, text)
            | Self::Arn(_, text) => text,
            Self::Null(true) => "true",
            Self::Null(false) => "false",
        }
    }
}

/// How a condition came out: expected beside received, for people.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
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
    /// A sentence, when the operator is unknown or a value does not fit it.
    pub fn compile(operator: &str, key: &str, values: &[String], variables: bool) -> Result<Self, String> {
        let (set, rest) = match operator.split_once(':') {
            Some(("ForAllValues", rest)) => (Set::ForAllValues, rest),
            Some(("ForAnyValue", rest)) => (Set::ForAnyValue, rest),
            Some((other, _)) => return Err(format!("`{other}:` is not a set operator: use ForAllValues or ForAnyValue")),
            None => (Set::Single, operator),
        };
        let (base, if_exists) = match rest.strip_suffix("IfExists") {
            Some(base) => (base, true),
            None => (rest, false),
        };
        let (test, negated) = match base {
            "StringEquals" => (Test::StringEquals, false),
            "StringNotEquals" => (Test::StringEquals, true),
            "StringEqualsIgnoreCase" => (Test::StringEqualsIgnoreCase, false),
            "StringNotEqualsIgnoreCase" => (Test::StringEqualsIgnoreCase, true),
            "StringLike" => (Test::StringLike, false),
            "StringNotLike" => (Test::StringLike, true),
            "NumericEquals" => (Test::NumericEquals, false),
            "NumericNotEquals" => (Test::NumericEquals, true),
            "NumericLessThan" => (Test::NumericLessThan, false),
            "NumericLessThanEquals" => (Test::NumericLessThanEquals, false),
            "NumericGreaterThan" => (Test::NumericGreaterThan, false),
            "NumericGreaterThanEquals" => (Test::NumericGreaterThanEquals, false),
            "DateEquals" => (Test::DateEquals, false),
            "DateNotEquals" => (Test::DateEquals, true),
            "DateLessThan" => (Test::DateLessThan, false),
            "DateLessThanEquals" => (Test::DateLessThanEquals, false),
            "DateGreaterThan" => (Test::DateGreaterThan, false),
            "DateGreaterThanEquals" => (Test::DateGreaterThanEquals, false),
            "Bool" => (Test::Bool, false),
            "BinaryEquals" => (Test::BinaryEquals, false),
            "IpAddress" => (Test::IpAddress, false),
            "NotIpAddress" => (Test::IpAddress, true),
            "ArnEquals" | "ArnLike" => (Test::ArnLike, false),
            "ArnNotEquals" | "ArnNotLike" => (Test::ArnLike, true),
            "Null" => (Test::Null, false),
            other => return Err(format!("`{other}` is not a condition operator")),
        };
        if test == Test::Null && (if_exists || set != Set::Single) {
            return Err("`Null` takes neither IfExists nor a set operator".to_owned());
        }
        if key.is_empty() || key.chars().any(char::is_whitespace) {
            return Err(format!("`{key}` is not a condition key"));
        }
        let expected = values.iter().map(|value| expect(test, value, variables)).collect::<Result<Vec<_>, _>>()?;
        if expected.is_empty() {
            return Err(format!("`{operator}` on `{key}` has no value"));
        }
        Ok(Self {
            operator: operator.to_owned(),
            test,
            negated,
            if_exists,
            set,
            key: key.to_owned(),
            folded: key.to_lowercase(),
            expected,
        })
    }

    /// The key, as written.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether the condition is true.
    ///
    /// Several request values under an operator without `ForAllValues`/`ForAnyValue` are an authoring error on which AWS
    /// is silent. We fail closed: such a condition counts as `when_ambiguous`, which is false in an `Allow` and true in a
    /// `Deny`.
    #[must_use]
    pub fn holds(&self, context: &Context, when_ambiguous: bool) -> bool {
        let values = context.values(&self.folded);
        if self.test == Test::Null {
            return self.expected.iter().any(|expected| *expected == Expected::Null(values.is_none()));
        }
        let Some(values) = values else {
            return match self.set {
                Set::ForAllValues => true,
                Set::ForAnyValue => self.if_exists,
                Set::Single => self.if_exists || self.negated,
            };
        };
        match (self.set, values) {
            (Set::Single, [only]) => self.value_holds(only, context),
            (Set::Single, _) => when_ambiguous,
            (Set::ForAllValues, _) => values.iter().all(|value| self.value_holds(value, context)),
            (Set::ForAnyValue, _) => values.iter().any(|value| self.value_holds(value, context)),
        }
    }

    fn value_holds(&self, value: &str, context: &Context) -> bool {
        self.expected.iter().any(|expected| self.matches(expected, value, context)) != self.negated
    }

    fn matches(&self, expected: &Expected, value: &str, context: &Context) -> bool {
        match expected {
            Expected::Pattern(pattern) => match self.test {
                Test::StringEqualsIgnoreCase | Test::Bool => pattern.matches(value, true, context),
                _ => pattern.matches(value, false, context),
            },
            Expected::Number(wanted, _) => number(value).is_some_and(|value| ordered(self.test, value.cmp(wanted))),
            Expected::Date(wanted, _) => date(value).is_some_and(|value| ordered(self.test, value.cmp(wanted))),
            Expected::Bytes(wanted, _) => {
                base64::engine::general_purpose::STANDARD.decode(value).is_ok_and(|value| value == *wanted)
            }
            Expected::Network(network, bits, _) => value.parse().is_ok_and(|address| in_network(address, *network, *bits)),
            Expected::Arn(fields, _) => {
                let given: Vec<&str> = value.splitn(6, ':').collect();
                given.len() == 6
                    && given.first() == Some(&"arn")
                    && fields.iter().zip(given).all(|(field, value)| field.matches(value, false, context))
            }
            Expected::Null(_) => false,
        }
    }

    /// The outcome with everything a person needs to see why.
    #[must_use]
    pub fn explain(&self, context: &Context, when_ambiguous: bool) -> ConditionTrace {
        let received = context.values(&self.folded).unwrap_or_default().to_vec();
        let matched = self.holds(context, when_ambiguous);
        ConditionTrace {
            operator: self.operator.clone(),
            key: self.key.clone(),
            expected: self.expected.iter().map(|expected| expected.text().to_owned()).collect(),
            note: if matched { None } else { self.near_miss(&received, context) },
            received,
            matched,
        }
    }

    fn near_miss(&self, received: &[String], context: &Context) -> Option<String> {
        if received.is_empty() {
            let suffix = self.key.rsplit(':').next().unwrap_or_default().to_lowercase();
            let elsewhere = context.iter().find(|(key, values)| {
                key.rsplit(':').next() == Some(suffix.as_str())
                    && values.iter().any(|value| self.expected.iter().any(|expected| expected.text() == value))
            });
            return Some(match elsewhere {
                Some((key, _)) => format!("the value is right, but it came as `{key}`"),
                None => format!("`{}` is not in the request", self.key),
            });
        }
        if self.set == Set::Single && received.len() > 1 {
            return Some("the key has several values: use ForAnyValue or ForAllValues".to_owned());
        }
        let differs_in_case = received.iter().any(|value| {
            self.expected
                .iter()
                .any(|expected| expected.text() != value && expected.text().to_lowercase() == value.to_lowercase())
        });
        if differs_in_case && !self.negated {
            return Some("differs only in letter case".to_owned());
        }
        let exact = matches!(self.test, Test::StringEquals | Test::StringEqualsIgnoreCase);
        if exact && self.expected.iter().any(|expected| expected.text().contains(['*', '?'])) {
            return Some(format!("`{}` reads `*` and `?` literally: use StringLike", self.operator));
        }
        None
    }
}

fn expect(test: Test, value: &str, variables: bool) -> Result<Expected, String> {
    let owned = value.to_owned();
    let bad = |wanted: &str| format!("`{value}` is not {wanted}");
    Ok(match test {
        Test::StringEquals | Test::StringEqualsIgnoreCase => Expected::Pattern(Pattern::compile(value, false, variables)?),
        Test::StringLike => Expected::Pattern(Pattern::compile(value, true, variables)?),
        Test::Bool => {
            if !value.starts_with("${") && !matches!(value.to_ascii_lowercase().as_str(), "true" | "false") {
                return Err(bad("true or false"));
            }
            Expected::Pattern(Pattern::compile(value, false, variables)?)
        }
        Test::NumericEquals
        | Test::NumericLessThan
        | Test::NumericLessThanEquals
        | Test::NumericGreaterThan
        | Test::NumericGreaterThanEquals => Expected::Number(number(value).ok_or_else(|| bad("a number"))?, owned),
        Test::DateEquals
        | Test::DateLessThan
        | Test::DateLessThanEquals
        | Test::DateGreaterThan
        | Test::DateGreaterThanEquals => {
            Expected::Date(date(value).ok_or_else(|| bad("a date (2026-11-24T00:00:00Z, or seconds since 1970)"))?, owned)
        }
        Test::BinaryEquals => {
            Expected::Bytes(base64::engine::general_purpose::STANDARD.decode(value).map_err(|_| bad("base64"))?, owned)
        }
        Test::IpAddress => {
            let (address, bits) = network(value).ok_or_else(|| bad("an IP address or CIDR range"))?;
            Expected::Network(address, bits, owned)
        }
        Test::ArnLike => {
            let fields: Vec<&str> = value.splitn(6, ':').collect();
            if fields.len() != 6 || fields.first() != Some(&"arn") {
                return Err(bad("an ARN with six fields"));
            }
            let compiled = fields.iter().map(|field| Pattern::compile(field, true, variables)).collect::<Result<_, _>>()?;
            Expected::Arn(compiled, owned)
        }
        Test::Null => match value.to_ascii_lowercase().as_str() {
            "true" => Expected::Null(true),
            "false" => Expected::Null(false),
            _ => return Err(bad("true or false")),
        },
    })
}

fn ordered(test: Test, order: std::cmp::Ordering) -> bool {
    match test {
        Test::NumericLessThan | Test::DateLessThan => order.is_lt(),
        Test::NumericLessThanEquals | Test::DateLessThanEquals => order.is_le(),
        Test::NumericGreaterThan | Test::DateGreaterThan => order.is_gt(),
        Test::NumericGreaterThanEquals | Test::DateGreaterThanEquals => order.is_ge(),
        _ => order.is_eq(),
    }
}

/// A decimal with up to nine digits after the point, scaled by 10⁹.
fn number(text: &str) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !plain(whole) || !plain(fraction) || whole.len() > 24 || fraction.len() > 9 {
        return None;
    }
    let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let fraction: i128 = format!("{fraction:0<9}").parse().ok()?;
    let scaled = whole.checked_mul(1_000_000_000)?.checked_add(fraction)?;
    Some(if negative { -scaled } else { scaled })
}

/// Milliseconds since the epoch, from ISO 8601 (a date alone is midnight UTC) or epoch **seconds**.
fn date(text: &str) -> Option<i64> {
    if let Ok(seconds) = text.parse::<i64>()
        && text.len() > 4
    {
        return seconds.checked_mul(1000);
    }
    let full = match text.len() {
        4 => format!("{text}-01-01T00:00:00Z"),
        7 => format!("{text}-01T00:00:00Z"),
        10 => format!("{text}T00:00:00Z"),
        _ => text.to_owned(),
    };
    Timestamp::parse(&full).map(|instant| instant.0)
}

fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(longest);
    (bits <= longest).then_some((address, bits))
}

fn in_network(address: IpAddr, network: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(n)) => {
            let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        (IpAddr::V6(a), IpAddr::V6(n)) => {
            let mask = u128::MAX.checked_shl(128 - bits).unwrap_or(0);
            a.to_bits() & mask == n.to_bits() & mask
        }
        _ => false,
    }
}
