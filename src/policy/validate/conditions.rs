//! Checks of `Condition`.

use super::Check;
use crate::policy::{
    catalogue::{Catalogue, KeyType},
    condition::{Operator, Set, Test},
    document::{ConditionEntry, DocumentKind, Located, Statement, Version},
    finding::FindingType::{Error, SecurityWarning, Suggestion, Warning},
    value::{date, network, number},
};
use std::net::IpAddr;

impl Check<'_> {
    pub(super) fn conditions(&mut self, statement: &Located<Statement>) {
        for entry in &statement.value.conditions {
            // An unknown operator has its finding already.
            let Ok(operator) = Operator::parse(&entry.operator) else { continue };
            self.key(entry, operator, statement);
            self.values(entry, operator);
        }
    }

    fn key(&mut self, entry: &ConditionEntry, operator: Operator, statement: &Located<Statement>) {
        let key = &entry.key;
        let folded = key.value.to_lowercase();
        if !folded.contains(':') {
            let message = format!("`{}` is no condition key: keys look like service:Name, as in aws:SourceIp.", key.value);
            self.at(Error, "INVALID_CONDITION_KEY_FORMAT", key, message);
            return;
        }
        if ["aws:principaltag/", "aws:requesttag/", "aws:resourcetag/"].contains(&folded.as_str()) || folded.ends_with("tag/") {
            let message = format!("`{}` needs the key of a tag after the slash.", key.value);
            self.at(Error, "MISSING_TAG_KEY_IN_CONDITION", key, message);
            return;
        }
        let catalogue = Catalogue::embedded();
        let prefix = folded.split(':').next().unwrap_or_default();
        let Some(kind) = catalogue.key(&key.value) else {
            // A broker's trust policies see every claim of every provider.
            let claim = prefix.contains('.') || matches!(prefix, "saml" | "directory" | "localhost" | "127");
            if prefix == "aws" {
                let message = format!("There is no global condition key `{}`.", key.value);
                self.at(Error, "INVALID_GLOBAL_CONDITION_KEY", key, message);
            } else if !claim && self.surroundings.kind != DocumentKind::Trust {
                let message = format!("There is no condition key `{}`.", key.value);
                self.at(Error, "INVALID_SERVICE_CONDITION_KEY", key, message);
            }
            return;
        };
        self.set_operator(entry, operator, kind, statement);
        self.type_fits(entry, operator, kind);
        self.tags(&folded, key, statement);
    }

    fn set_operator(&mut self, entry: &ConditionEntry, operator: Operator, kind: KeyType, statement: &Located<Statement>) {
        let key = &entry.key;
        if kind.multivalued && operator.set == Set::Single && operator.test != Test::Null {
            let message = format!("`{}` can have several values: use ForAnyValue or ForAllValues.", key.value);
            self.at(Error, "MISSING_QUALIFIER", key, message);
        }
        if operator.set == Set::ForAllValues && statement.value.allow {
            let folded = key.value.to_lowercase();
            let guarded = statement.value.conditions.iter().any(|other| {
                other.operator == "Null"
                    && other.key.value.to_lowercase() == folded
                    && other.values.iter().any(|value| value.value.eq_ignore_ascii_case("false"))
            });
            if !kind.multivalued {
                let message = format!(
                    "ForAllValues is true when `{}` is absent. The key has one value: leave the set operator out.",
                    key.value
                );
                self.at(SecurityWarning, "FORALLVALUES_WITH_SINGLE_VALUED_KEY", key, message);
            } else if !guarded && !folded.starts_with("aws:tagkeys") {
                let message = format!(
                    "ForAllValues is true when `{}` is absent: add {{\"Null\": {{\"{}\": \"false\"}}}} to require it.",
                    key.value, key.value
                );
                self.at(Warning, "FORALLVALUES_WITHOUT_NULL_CHECK", key, message);
            }
        }
    }

    fn type_fits(&mut self, entry: &ConditionEntry, operator: Operator, kind: KeyType) {
        let (fits, code) = match (operator.test, kind.values) {
            (Test::Null, _) => (true, ""),
            (Test::StringEquals | Test::StringEqualsIgnoreCase | Test::StringLike, wanted) => {
                (matches!(wanted, "String" | "ARN" | "Bool" | "Numeric"), "TYPE_MISMATCH_STRING")
            }
            (Test::Numeric(_), wanted) => (matches!(wanted, "Numeric" | "Date" | "String"), "TYPE_MISMATCH_NUMBER"),
            (Test::Date(_), wanted) => (wanted == "Date", "TYPE_MISMATCH_DATE"),
            (Test::Bool, wanted) => (matches!(wanted, "Bool" | "String"), "TYPE_MISMATCH_BOOLEAN"),
            (Test::IpAddress, wanted) => (wanted == "IPAddress", "TYPE_MISMATCH_IP_RANGE"),
            (Test::ArnLike, wanted) => (matches!(wanted, "ARN" | "String"), "TYPE_MISMATCH"),
            (Test::BinaryEquals, wanted) => (matches!(wanted, "Binary" | "String"), "TYPE_MISMATCH"),
        };
        if !fits {
            let message = format!("`{}` compares another type than `{}` has ({}).", entry.operator, entry.key.value, kind.values);
            self.at(Warning, code, &entry.key, message);
        }
    }

    /// Tags in conditions on services that do not carry them: an Allow never matches, a negated Deny always does.
    fn tags(&mut self, folded: &str, key: &Located<String>, statement: &Located<Statement>) {
        let Some(start) = ["aws:resourcetag/", "aws:requesttag/"].into_iter().find(|start| folded.starts_with(start)) else {
            return;
        };
        let prefixes = statement.value.action.values.iter().filter_map(|action| action.value.split_once(':'));
        let services: Option<Vec<_>> = prefixes.map(|(prefix, _)| Catalogue::embedded().service(prefix)).collect();
        let Some(services) = services.filter(|services| !services.is_empty()) else { return };
        if services.iter().any(|service| service.carries(start)) {
            return;
        }
        let negated = statement.value.action.negated;
        let (kind, code) = match (statement.value.allow, negated) {
            (true, false) => (Suggestion, "ALLOW_WITH_UNSUPPORTED_TAG_CONDITION_KEY_FOR_SERVICE"),
            (true, true) => (Suggestion, "ALLOW_NOTACTION_WITH_UNSUPPORTED_TAG_CONDITION_KEY_FOR_SERVICE"),
            (false, false) => (SecurityWarning, "DENY_WITH_UNSUPPORTED_TAG_CONDITION_KEY_FOR_SERVICE"),
            (false, true) => (SecurityWarning, "DENY_NOTACTION_WITH_UNSUPPORTED_TAG_CONDITION_KEY_FOR_SERVICE"),
        };
        let message = format!("The services of this statement never send `{}`.", key.value);
        self.at(kind, code, key, message);
    }

    fn values(&mut self, entry: &ConditionEntry, operator: Operator) {
        let key = &entry.key;
        if entry.values.is_empty() {
            let (code, message) = match (operator.set, operator.if_exists) {
                (Set::ForAllValues, _) => ("EMPTY_ARRAY_CONDITION_FORALLVALUES", "matches only when the key is absent"),
                (Set::ForAnyValue, _) => ("EMPTY_ARRAY_CONDITION_FORANYVALUE", "never matches"),
                (Set::Single, true) => ("EMPTY_ARRAY_CONDITION_IFEXISTS", "matches only when the key is absent"),
                (Set::Single, false) => ("EMPTY_ARRAY_CONDITION", "equals nothing"),
            };
            self.at(Suggestion, code, key, format!("The list is empty: it {message}."));
        }
        let old = self.document.version.as_ref().is_none_or(|version| version.value == Version::V2008);
        let mut seen = std::collections::HashSet::new();
        for value in &entry.values {
            let text = value.value.as_str();
            if text.contains("${") {
                let read = matches!(
                    operator.test,
                    Test::StringEquals | Test::StringEqualsIgnoreCase | Test::StringLike | Test::ArnLike | Test::Bool
                );
                if !read {
                    let message = format!("`{}` does not read policy variables.", entry.operator);
                    self.at(Error, "INVALID_VARIABLE_FOR_OPERATOR", value, message);
                } else if old {
                    let message = "Without \"Version\": \"2012-10-17\" the text `${…}` stands for itself: nothing is filled in.";
                    self.at(Error, "VARIABLE_UNSUPPORTED_IN_VERSION", value, message);
                }
            }
            let exact = matches!(operator.test, Test::StringEquals | Test::StringEqualsIgnoreCase);
            if exact && text.contains(['*', '?']) && !text.contains("${") {
                let message = format!("`{}` reads `*` and `?` as they stand: for wildcards use StringLike.", entry.operator);
                self.at(Warning, "WILDCARD_WITHOUT_LIKE_OPERATOR", value, message);
            }
            if !seen.insert(text.to_lowercase()) && seen.contains(text) {
                self.at(Suggestion, "REDUNDANT_CONDITION_VALUE", value, format!("`{text}` stands here twice."));
            }
            self.value(entry, operator, value);
        }
        let numbers: Vec<i128> = entry.values.iter().filter_map(|value| number(&value.value)).collect();
        if matches!(operator.test, Test::Numeric(order) if order != crate::policy::condition::Order::Equals) && numbers.len() > 1
        {
            let message = "Only one of these numbers decides: the others are covered by it.";
            self.at(Suggestion, "REDUNDANT_CONDITION_VALUE_NUM", key, message);
        }
        if operator.test == Test::Bool && entry.values.len() > 1 {
            let message = format!("`{}` has one Boolean value: with both, the condition says nothing.", key.value);
            self.at(Error, "INVALID_CONDITION_MULTIPLE_BOOLEAN", key, message);
        }
    }

    fn value(&mut self, entry: &ConditionEntry, operator: Operator, value: &Located<String>) {
        let (folded, text) = (entry.key.value.to_lowercase(), value.value.as_str());
        if let (Test::IpAddress, Some((address, bits))) = (operator.test, network(text)) {
            if let Some(better) = first_of(address, bits).filter(|first| *first != address) {
                let message = format!("`{text}` has bits after the prefix: it means {better}/{bits}.");
                self.at(Suggestion, "IMPROVE_IP_RANGE", value, message);
            }
            let whole = folded == "aws:sourceip" && bits > 0;
            let private = match address {
                IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
                IpAddr::V6(v6) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
            };
            // On a broker of one's own, private addresses do reach aws:SourceIp.
            if whole && private {
                let code = if operator.negated { "PRIVATE_NOT_IP_ADDRESS" } else { "PRIVATE_IP_ADDRESS" };
                let message =
                    "AWS never sees private addresses in aws:SourceIp; this broker does. The policy will act differently there.";
                self.at(Suggestion, code, value, message);
            }
        }
        if matches!(operator.test, Test::Date(_)) && text.parse::<i64>().is_ok() && date(text).is_some() {
            let message = "Write the date in ISO 8601, as in 2026-11-24T00:00:00Z: people read it, too.";
            self.at(Warning, "INVALID_DATE_VALUE", value, message);
        }
        let wild = text.contains(['*', '?', '$']);
        let hexadecimal = |rest: &str| matches!(rest.len(), 8 | 17) && rest.bytes().all(|b| b.is_ascii_hexdigit());
        let equals = operator.test == Test::StringEquals && !wild;
        if folded == "aws:sourcevpc" && equals && !text.strip_prefix("vpc-").is_some_and(hexadecimal) {
            self.at(Error, "INVALID_VPC_FORMAT", value, format!("`{text}` is no VPC: they look like vpc-0123456789abcdef0."));
        }
        if folded == "aws:sourcevpce" && equals && !text.strip_prefix("vpce-").is_some_and(hexadecimal) {
            let message = format!("`{text}` is no VPC endpoint: they look like vpce-0123456789abcdef0.");
            self.at(Error, "INVALID_VPCE_FORMAT", value, message);
        }
    }
}

/// The first address of a range.
fn first_of(address: IpAddr, bits: u8) -> Option<IpAddr> {
    let bits = u32::from(bits);
    Some(match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32_u32.checked_sub(bits)?).unwrap_or(0);
            IpAddr::V4((v4.to_bits() & mask).into())
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128_u32.checked_sub(bits)?).unwrap_or(0);
            IpAddr::V6((v6.to_bits() & mask).into())
        }
    })
}
