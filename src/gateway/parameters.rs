//! What the audit log keeps of a request: the element `requestParameters` of CloudTrail, without secrets.

use super::Operation;
use crate::domain::secret::HIDDEN;
use serde_json::{Map, Value};

/// Longest text that is kept whole, in characters.
const MAX_TEXT: usize = 2_000;
/// Most entries of a list, and most of a request, in bytes of JSON.
const MAX_ENTRIES: usize = 100;
const MAX_BYTES: usize = 32 * 1024;
/// The same of callers whom nobody knows: they have a say in what is kept for ever, not in how much.
const MAX_BYTES_OF_STRANGERS: usize = 2 * 1024;
/// Members that open something by being known, though their type is text: handles of steps, codes that people compare, and what
/// providers sent.
const KEYS: &[&str] = &["handle", "totpHandle", "userCode", "response", "relayState", "state", "code", "query"];

/// The element; none where the operation has no parameters.
pub(super) fn request_parameters<O: Operation>(operation: &O, stranger: bool) -> Option<Value> {
    let Ok(Value::Object(members)) = serde_json::to_value(operation).map(kept) else { return None };
    if members.is_empty() {
        return None;
    }
    let whole = Value::Object(members);
    let size = whole.to_string().len();
    let most = if stranger { MAX_BYTES_OF_STRANGERS } else { MAX_BYTES };
    Some(if size > most { serde_json::json!({ "omitted": format!("{size} bytes") }) } else { whole })
}

/// Whether a member is a secret by its name alone, whoever made it up: SCIM clients may send passwords, which nothing here reads.
fn is_secret(name: &str) -> bool {
    let plain = name.rsplit(':').next().unwrap_or(name).to_ascii_lowercase();
    KEYS.contains(&name) || plain.contains("password") || plain.contains("secret")
}

/// Whether a change is about a secret: a SCIM PATCH says so in its path (RFC 7644 section 3.5.2).
fn changes_secret(members: &Map<String, Value>) -> bool {
    let path = members.iter().find(|(name, _)| name.eq_ignore_ascii_case("path"));
    path.and_then(|(_, path)| path.as_str()).is_some_and(is_secret)
}

/// With names as CloudTrail writes them, and without what is absent, secret or endless.
fn kept(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut found = Map::new();
            let about_secret = changes_secret(&members);
            for (name, value) in members {
                let name = camel(&name);
                let secret = is_secret(&name) || (about_secret && name == "value");
                // Truth and numbers tell nothing: whether new passwords were asked for, how many.
                let tells = !matches!(value, Value::Null | Value::Bool(_) | Value::Number(_));
                let value = if secret && tells { HIDDEN.into() } else { kept(value) };
                let empty = match &value {
                    Value::Null => true,
                    Value::Array(list) => list.is_empty(),
                    Value::Object(members) => members.is_empty(),
                    Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
                };
                if !empty {
                    found.insert(name, value);
                }
            }
            Value::Object(found)
        }
        Value::Array(list) if list.len() > MAX_ENTRIES => format!("{} entries", list.len()).into(),
        Value::Array(list) => list.into_iter().map(kept).collect(),
        Value::String(text) if text.chars().nth(MAX_TEXT).is_some() => {
            format!("{}…", text.chars().take(MAX_TEXT).collect::<String>()).into()
        }
        other => other,
    }
}

/// `RoleName` and `role_name` are `roleName`; names that are no identifiers stay.
fn camel(name: &str) -> String {
    if !name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_') {
        return name.to_owned();
    }
    let mut words = name.split('_').filter(|word| !word.is_empty());
    let first = words.next().unwrap_or_default();
    let capitals = first.chars().take_while(char::is_ascii_uppercase).count();
    let small = if capitals > 1 && capitals < first.len() { capitals - 1 } else { capitals };
    let mut camel = String::with_capacity(name.len());
    camel.extend(first.chars().take(small).map(|letter| letter.to_ascii_lowercase()));
    camel.extend(first.chars().skip(small));
    for word in words {
        camel.extend(word.chars().take(1).map(|letter| letter.to_ascii_uppercase()));
        camel.extend(word.chars().skip(1));
    }
    camel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_scim_client_sends_as_password_is_hidden_however_it_is_spelled() {
        let sent = serde_json::json!({
            "resource": {
                "userName": "jane", "Password": "MARKER", "urn:ietf:params:scim:schemas:core:2.0:User:password": "MARKER",
                "Operations": [
                    { "op": "replace", "path": "password", "value": "MARKER" },
                    { "op": "add", "value": { "PASSWORD": ["MARKER"] } },
                    { "op": "replace", "path": "displayName", "value": "Jane" },
                ],
            },
            "new_passwords": true,
        });
        let written = kept(sent).to_string();
        assert!(!written.contains("MARKER") && written.contains("Jane") && written.contains("true"), "{written}");
    }

    #[test]
    fn names_are_those_of_cloudtrail() {
        for (name, expected) in [
            ("RoleName", "roleName"),
            ("role_name", "roleName"),
            ("SAMLAssertion", "samlAssertion"),
            ("MFA", "mfa"),
            ("policy", "policy"),
            ("aws:MultiFactorAuthAge", "aws:MultiFactorAuthAge"),
        ] {
            assert_eq!(camel(name), expected);
        }
    }
}
