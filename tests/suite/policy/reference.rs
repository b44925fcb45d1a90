//! The engine again, slow and obvious: it walks the JSON as written, tries everything, and shares no code with the real one.
//! Where the two disagree, one of them is wrong.

use daypass::policy::{Identity, principal::Form};
use serde_json::Value;
use std::collections::BTreeMap;

pub(super) struct Ask<'a> {
    pub(super) who: &'a Identity,
    pub(super) action: &'a str,
    pub(super) resource: &'a str,
    /// Keys in lower case.
    pub(super) context: &'a BTreeMap<String, Vec<String>>,
    pub(super) bounded: bool,
}

/// What a list of documents says: whether a deny applies, and the strongest form by which one allows.
pub(super) fn ask(documents: &[Value], ask: &Ask<'_>) -> (bool, Option<Form>) {
    let (mut denied, mut allowed) = (false, None);
    for document in documents {
        let variables = document["Version"] == "2012-10-17";
        for statement in listed(&document["Statement"]) {
            let form = applies(statement, variables, ask);
            if statement["Effect"] == "Deny" {
                denied |= form.is_some();
            } else if let Some(form) = form {
                allowed = Some(allowed.map_or(form, |so_far: Form| so_far.min(form)));
            }
        }
    }
    (denied, allowed)
}

fn listed(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Null => Vec::new(),
        one => vec![one],
    }
}

fn texts(value: &Value) -> Vec<&str> {
    listed(value).into_iter().map(|one| one.as_str().unwrap()).collect()
}

fn applies(statement: &Value, variables: bool, ask: &Ask<'_>) -> Option<Form> {
    let deny = statement["Effect"] == "Deny";
    let action = |patterns: &Value| texts(patterns).iter().any(|pattern| star(pattern.as_bytes(), ask.action.as_bytes()));
    let covered = if statement["Action"].is_null() { !action(&statement["NotAction"]) } else { action(&statement["Action"]) };
    if !covered {
        return None;
    }
    let resource = |patterns: &Value| texts(patterns).iter().any(|pattern| resource_matches(pattern, variables, ask));
    if !statement["Resource"].is_null() && !resource(&statement["Resource"]) {
        return None;
    }
    if !statement["NotResource"].is_null() && resource(&statement["NotResource"]) {
        return None;
    }
    if let Some(operators) = statement["Condition"].as_object() {
        for (operator, keys) in operators {
            for (key, values) in keys.as_object().unwrap() {
                if !condition(operator, key, &texts(values), variables, deny, ask) {
                    return None;
                }
            }
        }
    }
    if !statement["Principal"].is_null() {
        return principals(&statement["Principal"]).iter().filter_map(|one| names(one, ask.who)).min();
    }
    if !statement["NotPrincipal"].is_null() {
        let all = principals(&statement["NotPrincipal"]);
        let named: Vec<Form> = all.iter().filter_map(|one| names(one, ask.who)).collect();
        let left_out = if named.contains(&Form::Everyone) {
            true
        } else if deny {
            let needed: &[Form] = match ask.who {
                Identity::Session { .. } | Identity::FederatedUser { .. } => &[Form::Itself, Form::Behind, Form::Account],
                Identity::User { .. } => &[Form::Itself, Form::Account],
                Identity::Root { .. } => &[Form::Account],
                _ => &[Form::Itself],
            };
            !ask.bounded && needed.iter().all(|form| named.contains(form))
        } else {
            !named.is_empty()
        };
        return (!left_out).then_some(Form::Everyone);
    }
    Some(Form::Itself)
}

fn principals(element: &Value) -> Vec<(String, String)> {
    if element == "*" {
        return vec![("AWS".to_owned(), "*".to_owned())];
    }
    let all = element.as_object().unwrap().iter();
    all.flat_map(|(kind, values)| texts(values).into_iter().map(|one| (kind.clone(), one.to_owned())).collect::<Vec<_>>())
        .collect()
}

fn names((kind, value): &(String, String), who: &Identity) -> Option<Form> {
    if kind == "AWS" && value == "*" {
        return Some(Form::Everyone);
    }
    let (itself, behind, account): (Vec<String>, Vec<String>, Option<String>) = match who {
        Identity::Root { account } => (vec![], vec![], Some(account.to_string())),
        Identity::User { account, arn, id } => (vec![arn.to_string(), id.clone()], vec![], Some(account.to_string())),
        Identity::Session { role, role_id, session, account } => {
            (vec![session.to_string()], vec![role.to_string(), role_id.clone()], Some(account.to_string()))
        }
        Identity::FederatedUser { account, session, user, user_id } => {
            (vec![session.to_string()], vec![user.to_string(), user_id.clone()], Some(account.to_string()))
        }
        Identity::Federated(provider) => return (kind == "Federated" && value == provider.as_str()).then_some(Form::Itself),
        Identity::Service(service) => return (kind == "Service" && value == service).then_some(Form::Itself),
        Identity::Anonymous => return None,
    };
    if kind != "AWS" {
        None
    } else if itself.contains(value) {
        Some(Form::Itself)
    } else if behind.contains(value) {
        Some(Form::Behind)
    } else {
        let account = account?;
        (*value == account || *value == format!("arn:aws:iam::{account}:root")).then_some(Form::Account)
    }
}

#[derive(Clone, PartialEq)]
enum Letter {
    Plain(char),
    Star,
    One,
}

fn letters(text: &str) -> Vec<Letter> {
    text.chars()
        .map(|c| match c {
            '*' => Letter::Star,
            '?' => Letter::One,
            c => Letter::Plain(c),
        })
        .collect()
}

fn plain(text: &str) -> Vec<Letter> {
    text.chars().map(Letter::Plain).collect()
}

/// Actions have no letter case.
fn star(pattern: &[u8], value: &[u8]) -> bool {
    match pattern.split_first() {
        None => value.is_empty(),
        Some((b'*', rest)) => (0..=value.len()).any(|skip| star(rest, &value[skip..])),
        Some((b'?', rest)) => !value.is_empty() && star(rest, &value[1..]),
        Some((letter, rest)) => value.first().is_some_and(|first| first.eq_ignore_ascii_case(letter)) && star(rest, &value[1..]),
    }
}

fn glob(pattern: &[Letter], value: &[Letter]) -> bool {
    match pattern.split_first() {
        None => value.is_empty(),
        Some((Letter::Star, rest)) => (0..=value.len()).any(|skip| glob(rest, &value[skip..])),
        Some((Letter::One, rest)) => !value.is_empty() && glob(rest, &value[1..]),
        Some((letter, rest)) => value.first() == Some(letter) && glob(rest, &value[1..]),
    }
}

/// The pattern with its variables written out; none when one has no value.
fn expand(text: &str, wildcards: bool, variables: bool, ask: &Ask<'_>) -> Option<Vec<Letter>> {
    let read = |text: &str| if wildcards { letters(text) } else { plain(text) };
    let mut all = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${").filter(|_| variables) {
        all.extend(read(before));
        let (inside, tail) = after.split_once('}').unwrap();
        match inside {
            "*" | "?" | "$" => all.extend(plain(inside)),
            _ => {
                let (key, default) = inside.split_once(", ").map_or((inside, None), |(key, default)| (key, Some(default)));
                let value = match ask.context.get(&key.to_lowercase()).map(Vec::as_slice) {
                    Some([only]) => only.clone(),
                    _ => default?.trim_matches('\'').to_owned(),
                };
                all.extend(plain(&value));
            }
        }
        rest = tail;
    }
    all.extend(read(rest));
    Some(all)
}

fn resource_matches(pattern: &str, variables: bool, ask: &Ask<'_>) -> bool {
    if pattern == "*" {
        return true;
    }
    if ask.resource == "*" {
        return false;
    }
    // Most patterns are of another service.
    if pattern.split(':').nth(2) != ask.resource.split(':').nth(2) {
        return false;
    }
    let fields: Vec<&str> = pattern.splitn(6, ':').collect();
    let expanded: Option<Vec<Vec<Letter>>> =
        fields.iter().enumerate().map(|(index, field)| expand(field, true, variables && index == 5, ask)).collect();
    expanded.is_some_and(|fields| in_fields(&fields, 0, &plain(ask.resource), true))
}

/// `run_on`: a star that ends a field runs past colons.
fn in_fields(fields: &[Vec<Letter>], index: usize, value: &[Letter], run_on: bool) -> bool {
    let Some((field, rest)) = fields.split_first() else { return value.is_empty() };
    let colon = Letter::Plain(':');
    if index == 5 {
        return glob(field, value);
    }
    (0..=value.len()).any(|end| {
        let (mine, tail) = value.split_at(end);
        let fits = if !mine.contains(&colon) {
            glob(field, mine)
        } else {
            // Only the last star takes colons.
            run_on
                && field.last() == Some(&Letter::Star)
                && (0..=mine.len()).any(|at| !mine[..at].contains(&colon) && glob(&field[..field.len() - 1], &mine[..at]))
        };
        let goes_on = match (rest.is_empty(), tail.split_first()) {
            (true, None) => true,
            (false, Some((next, tail))) if *next == colon => in_fields(rest, index + 1, tail, run_on),
            _ => false,
        };
        fits && goes_on
    })
}

fn condition(operator: &str, key: &str, expected: &[&str], variables: bool, deny: bool, ask: &Ask<'_>) -> bool {
    let (set, base) = operator.split_once(':').unwrap_or(("", operator));
    let (base, if_exists) = base.strip_suffix("IfExists").map_or((base, false), |base| (base, true));
    let negated = base.contains("Not");
    let received = ask.context.get(&key.to_lowercase()).filter(|values| !values.is_empty());
    if base == "Null" {
        return expected.iter().any(|wanted| (*wanted == "true") == received.is_none());
    }
    let Some(received) = received else {
        return match set {
            "ForAllValues" => true,
            "ForAnyValue" => if_exists,
            _ => if_exists || negated,
        };
    };
    let one = |value: &String| match any_expected(base, expected, value, variables, ask) {
        Some(found) => found != negated,
        None => deny,
    };
    match set {
        "ForAllValues" => received.iter().all(one),
        "ForAnyValue" => received.iter().any(one),
        _ if received.len() > 1 => deny,
        _ => one(&received[0]),
    }
}

fn any_expected(base: &str, expected: &[&str], value: &str, variables: bool, ask: &Ask<'_>) -> Option<bool> {
    let base = base.replace("Not", "");
    let fits = |wanted: &&str| -> Option<bool> {
        Some(match base.as_str() {
            "StringEquals" => expand(wanted, false, variables, ask).is_some_and(|wanted| wanted == plain(value)),
            "StringEqualsIgnoreCase" | "Bool" => expand(wanted, false, variables, ask).is_some_and(|wanted| {
                let folded = |letters: Vec<Letter>| {
                    let text: String = letters.iter().map(|l| if let Letter::Plain(c) = l { *c } else { '\0' }).collect();
                    text.to_lowercase()
                };
                folded(wanted) == folded(plain(value))
            }),
            "StringLike" => expand(wanted, true, variables, ask).is_some_and(|wanted| glob(&wanted, &plain(value))),
            "ArnEquals" | "ArnLike" => {
                if !value.starts_with("arn:") || value.matches(':').count() < 5 {
                    return None;
                }
                // Cut at the colons outside of variables.
                let mut fields = vec![String::new()];
                let mut inside = false;
                for letter in wanted.chars() {
                    inside = (inside || letter == '{') && letter != '}';
                    if letter == ':' && !inside && fields.len() < 6 {
                        fields.push(String::new());
                    } else {
                        fields.last_mut().unwrap().push(letter);
                    }
                }
                let expanded: Option<Vec<_>> = fields.iter().map(|field| expand(field, true, variables, ask)).collect();
                *wanted == "*" || expanded.is_some_and(|fields| in_fields(&fields, 0, &plain(value), false))
            }
            "IpAddress" => {
                let value: std::net::Ipv4Addr = value.parse().ok()?;
                let (network, bits) = wanted.split_once('/').unwrap_or((wanted, "32"));
                let network: std::net::Ipv4Addr = network.parse().ok()?;
                let keep = |address: std::net::Ipv4Addr| {
                    format!("{:032b}", u32::from(address))[..bits.parse::<usize>().unwrap()].to_owned()
                };
                keep(value) == keep(network)
            }
            numeric if numeric.starts_with("Numeric") => {
                let (value, wanted): (f64, f64) = (value.parse().ok()?, wanted.parse().ok()?);
                match numeric {
                    "NumericEquals" => (value - wanted).abs() < f64::EPSILON,
                    "NumericLessThan" => value < wanted,
                    "NumericLessThanEquals" => value <= wanted,
                    "NumericGreaterThan" => value > wanted,
                    _ => value >= wanted,
                }
            }
            other => panic!("the reference does not know {other}"),
        })
    };
    let outcomes: Option<Vec<bool>> = expected.iter().map(fits).collect();
    outcomes.map(|all| all.contains(&true))
}

/// All layers of one request, as documents.
#[derive(Default)]
pub(super) struct Stack {
    pub(super) identity: Vec<Value>,
    pub(super) boundary: Option<Vec<Value>>,
    pub(super) session: Option<Vec<Value>>,
    pub(super) resource: Option<Vec<Value>>,
    pub(super) mandatory: bool,
    pub(super) scp: Vec<Vec<Value>>,
    pub(super) rcp: Vec<Vec<Value>>,
}

/// `allow`, `deny` or `explicit deny`, by the five sets of the documentation.
pub(super) fn decide(stack: &Stack, same_account: bool, question: &Ask<'_>) -> &'static str {
    if question.action.eq_ignore_ascii_case("sts:GetCallerIdentity") {
        return "allow";
    }
    let has_identity = !matches!(question.who, Identity::Federated(_) | Identity::Service(_) | Identity::Anonymous);
    let say = |documents: &Vec<Value>| ask(documents, question);
    let identity = if has_identity { say(&stack.identity) } else { (false, None) };
    let boundary = stack.boundary.as_ref().map(say);
    let session = stack.session.as_ref().map(say);
    let resource = stack.resource.as_ref().map(say);
    let scp: Vec<_> = if has_identity { stack.scp.iter().map(say).collect() } else { Vec::new() };
    let reached = ["s3:", "sts:", "sqs:"].iter().any(|service| question.action.to_lowercase().starts_with(service));
    let rcp: Vec<_> = if reached { stack.rcp.iter().map(say).collect() } else { Vec::new() };
    let all = [Some(identity), boundary, session, resource].into_iter().flatten().chain(scp.clone()).chain(rcp.clone());
    if all.into_iter().any(|(denied, _)| denied) {
        return "explicit deny";
    }
    let permit = |yes: bool| if yes { "allow" } else { "deny" };
    if scp.iter().chain(&rcp).any(|(_, allowed)| allowed.is_none()) {
        return "deny";
    }
    let r = resource.and_then(|(_, allowed)| allowed);
    if !has_identity {
        return permit(r.is_some());
    }
    let i = identity.1.is_some() || matches!(question.who, Identity::Root { .. });
    let b = boundary.is_none_or(|(_, allowed)| allowed.is_some());
    let federated = matches!(question.who, Identity::FederatedUser { .. });
    let s = session.map_or(!federated, |(_, allowed)| allowed.is_some());
    permit(match (same_account, r) {
        (false, None) => false,
        (true, None) if stack.mandatory && stack.resource.is_some() => false,
        // Both sides.
        (true, Some(_)) if question.action == "sts:TagSession" => i && b && s,
        (true, Some(Form::Itself | Form::Everyone)) => true,
        (true, Some(Form::Behind)) => b && s,
        _ => i && b && s,
    })
}
