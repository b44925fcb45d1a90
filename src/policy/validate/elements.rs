//! Checks of `Sid`, `Action`, `Resource` and `Principal`.

use super::Check;
use crate::{
    domain::name::AccountId,
    policy::{
        catalogue::Catalogue,
        document::{DocumentKind, Located, PrincipalValue, Statement, Version},
        finding::FindingType::{Error, SecurityWarning, Suggestion, Warning},
        pattern::{Pattern, Syntax},
        principal::is_unique_id,
    },
};

const PARTITIONS: [&str; 8] = ["aws", "aws-cn", "aws-us-gov", "aws-iso", "aws-iso-b", "aws-iso-e", "aws-iso-f", "aws-eusc"];
const GLOBS: Syntax = Syntax { wildcards: true, variables: false };

impl Check<'_> {
    pub(super) fn elements(&mut self, statement: &Located<Statement>) {
        let written = &statement.value;
        if let Some(sid) = written.sid.as_ref().filter(|sid| sid.value.is_empty()) {
            self.at(Suggestion, "EMPTY_SID_VALUE", sid, "The Sid is empty: leave it out, or give the statement a name.");
        }
        self.actions(&written.action.values);
        if let Some(resource) = &written.resource {
            for value in &resource.values {
                self.resource(value);
            }
            self.covered_by_another("REDUNDANT_RESOURCE", &resource.values);
        }
        if let Some(principal) = &written.principal {
            if principal.negated && written.allow && self.surroundings.kind == DocumentKind::Resource {
                let message = "An Allow with NotPrincipal lets in everyone who is not named, strangers included.";
                self.at(SecurityWarning, "ALLOW_WITH_NOT_PRINCIPAL", statement, message);
            }
            for value in &principal.values {
                self.principal(value);
            }
        }
        if self.surroundings.kind == DocumentKind::ResourceControl {
            let all = |values: &[Located<String>]| values.iter().all(|value| value.value == "*");
            let everything = !written.action.negated
                && all(&written.action.values)
                && written.resource.as_ref().is_some_and(|resource| !resource.negated && all(&resource.values))
                && written.conditions.is_empty();
            if written.allow && !everything {
                let message = "A resource control policy only denies; everything is allowed to begin with.";
                self.at(Error, "RCP_SYNTAX_ERROR_ALLOW", statement, message);
            }
            let everyone = |value: &Located<PrincipalValue>| value.value.value == "*";
            if written.principal.as_ref().is_some_and(|principal| !principal.values.iter().all(everyone)) {
                let message = "The principal of a resource control policy is \"*\": narrow it with conditions.";
                self.at(Error, "RCP_SYNTAX_ERROR_PRINCIPAL", statement, message);
            }
        }
    }

    fn actions(&mut self, values: &[Located<String>]) {
        let catalogue = Catalogue::embedded();
        for value in values {
            self.variables_belong_elsewhere(value);
            let Some((prefix, name)) = value.value.split_once(':') else { continue };
            if prefix.contains(['*', '?']) || value.value.contains("${") {
                continue;
            }
            let Some(service) = catalogue.service(prefix) else {
                self.at(Error, "INVALID_SERVICE_IN_ACTION", value, format!("There is no service with the prefix `{prefix}`."));
                continue;
            };
            let Ok(pattern) = Pattern::compile(&name.to_lowercase(), GLOBS) else { continue };
            let found = match &pattern {
                Pattern::Exact(_) => service.has(name),
                glob => !self.may_look_up() || service.actions().any(|(name, _)| glob.matches(name, &Default::default())),
            };
            if !found {
                let folded = name.to_lowercase();
                let likeness = |(known, _): &(&str, _)| distance(known, &folded);
                let near = (folded.len() <= 64 && self.may_look_up()).then(|| service.actions().min_by_key(likeness)).flatten();
                let near = near.filter(|known| likeness(known) <= 3);
                let hint = near.map(|(_, name)| format!(" Did you mean `{prefix}:{name}`?")).unwrap_or_default();
                self.at(Error, "INVALID_ACTION", value, format!("`{}` is no action of AWS.{hint}", value.value));
            }
        }
        self.covered_by_another("REDUNDANT_ACTION", values);
    }

    /// Finds values that a wildcard in the same list covers, or that stand there twice.
    fn covered_by_another(&mut self, code: &'static str, values: &[Located<String>]) {
        let fold = |text: &str| if code == "REDUNDANT_ACTION" { text.to_lowercase() } else { text.to_owned() };
        let patterns: Vec<Option<Pattern>> =
            values.iter().map(|value| Pattern::compile(&fold(&value.value), GLOBS).ok()).collect();
        // Hundreds of actions in one list are compared with its wildcards only.
        let wild: Vec<(usize, &Pattern)> = patterns.iter().enumerate().filter_map(|(i, p)| Some((i, p.as_ref()?))).collect();
        let wild: Vec<(usize, &Pattern)> = wild.into_iter().filter(|(_, p)| !matches!(p, Pattern::Exact(_))).collect();
        // Lists that nobody writes are not worth the time.
        let pattern_bytes: usize = wild.iter().map(|(_, pattern)| pattern.text().len()).sum();
        let value_bytes: usize = values.iter().map(|value| value.value.len()).sum();
        let wild = if pattern_bytes.saturating_mul(value_bytes) > 20_000_000 { Vec::new() } else { wild };
        let mut seen = std::collections::HashSet::new();
        for (index, value) in values.iter().enumerate() {
            let folded = fold(&value.value);
            let covering = wild.iter().find(|(other, pattern)| {
                *other != index && pattern.text() != folded && pattern.matches(&folded, &Default::default())
            });
            if let Some((_, pattern)) = covering {
                let message = format!("`{}` covers `{}` already.", pattern.text(), value.value);
                self.at(Suggestion, code, value, message);
            } else if !seen.insert(folded) {
                self.at(Suggestion, code, value, format!("`{}` stands here twice.", value.value));
            }
        }
    }

    fn variables_belong_elsewhere(&mut self, value: &Located<String>) {
        if value.value.contains("${") {
            let message = "Policy variables are read in Resource (after the fifth colon) and in conditions only.";
            self.at(Error, "VARIABLE_UNSUPPORTED_IN_ELEMENT", value, message);
        }
    }

    fn resource(&mut self, value: &Located<String>) {
        let text = value.value.as_str();
        let old = self.document.version.as_ref().is_none_or(|version| version.value == Version::V2008);
        if text.contains("${") && old {
            let message = "Without \"Version\": \"2012-10-17\" the text `${…}` stands for itself: nothing is filled in.";
            self.at(Error, "VARIABLE_UNSUPPORTED_IN_VERSION", value, message);
        }
        if text == "*" || !text.starts_with("arn:") {
            return;
        }
        let fields: Vec<&str> = text.splitn(6, ':').collect();
        if fields.len() < 6 {
            if !text.ends_with('*') {
                let message = format!("`{text}` has fewer than six fields and matches nothing.");
                self.at(Error, "MISSING_ARN_FIELD", value, message);
            }
            return;
        }
        let field = |index: usize| fields.get(index).copied().unwrap_or_default();
        let wild = |text: &str| text.contains(['*', '?']);
        let (partition, service, region, account) = (field(1), field(2), field(3), field(4));
        if fields.iter().take(5).any(|field| field.contains("${")) {
            let message = "A policy variable is read after the fifth colon of an ARN only; before it, it stands for itself.";
            self.at(Warning, "VARIABLE_UNSUPPORTED_IN_ELEMENT", value, message);
            return;
        }
        if !wild(partition) && !PARTITIONS.contains(&partition) {
            self.at(Error, "INVALID_PARTITION", value, format!("`{partition}` is no partition of AWS."));
        }
        if service.chars().any(char::is_uppercase) {
            self.at(Error, "INVALID_ARN_SERVICE_CASE", value, format!("`{service}` is written in lower case in an ARN."));
        }
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !wild(region) && !region.chars().all(plain) {
            self.at(Error, "INVALID_ARN_REGION", value, format!("`{region}` is no region."));
        }
        let known = account.is_empty() || account == "aws" || account == "cloudfront" || AccountId::parse(account).is_ok();
        if !wild(account) && !known {
            self.at(Error, "INVALID_ARN_ACCOUNT", value, format!("`{account}` is no account: accounts have twelve digits."));
        }
        if field(5).is_empty() {
            self.at(Error, "INVALID_ARN_RESOURCE", value, "The ARN names no resource after the fifth colon.");
        }
    }

    fn principal(&mut self, value: &Located<PrincipalValue>) {
        let PrincipalValue { kind, value: text } = &value.value;
        if *kind == "Federated" && self.surroundings.kind == DocumentKind::Resource {
            let message = "Somebody whom a provider vouches for takes a role first: only trust policies name providers.";
            self.at(Error, "FEDERATED_PRINCIPAL_NOT_SUPPORTED", value, message);
        }
        if *kind == "AWS" && is_unique_id(text) && self.surroundings.id_resolves.is_some_and(|resolves| !resolves(text)) {
            let (code, what) =
                if text.starts_with("AIDA") { ("INVALID_USER_REFERENCE", "user") } else { ("INVALID_ROLE_REFERENCE", "role") };
            let message = format!("`{text}` is the id of a {what} that does not exist any more. One made anew has another id.");
            self.at(Warning, code, value, message);
        }
    }
}

/// Levenshtein's distance, for "did you mean".
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (j, y) in b.iter().enumerate() {
            let above = row.get(j + 1).copied().unwrap_or_default();
            let cost = (diagonal + usize::from(x != *y)).min(above + 1).min(left + 1);
            if let Some(place) = row.get_mut(j) {
                *place = left;
            }
            diagonal = above;
            left = cost;
        }
        if let Some(last) = row.last_mut() {
            *last = left;
        }
    }
    row.last().copied().unwrap_or_default()
}
