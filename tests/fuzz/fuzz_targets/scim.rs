//! Anything as a filter, a path, and a change of somebody: nothing panics, and what comes out can be read again.
#![no_main]

use daypass::api::scim::{fits, patched};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";

fn person() -> Map<String, Value> {
    let emails = json!([{ "value": "a@example.com", "type": "work", "primary": true }, { "value": "b@example.com" }]);
    json!({ "schemas": [USER], "userName": "a", "emails": emails, "active": true }).as_object().cloned().unwrap_or_default()
}

fuzz_target!(|text: &str| {
    let _ = fits("User", text, &person());
    let _ = fits("Group", text, &person());
    // The first line is a path, the rest a value; and the whole is the body of a request.
    let (path, value) = text.split_once('\n').unwrap_or((text, "null"));
    let value: Value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    for op in ["add", "replace", "remove"] {
        let request = json!({ "Operations": [{ "op": op, "path": path, "value": value }] });
        let Ok(mut after) = patched("User", person(), request.as_object().unwrap_or(&Map::new())) else { continue };
        after.insert("schemas".to_owned(), json!([USER]));
        let nothing = json!({ "Operations": [{ "op": "add", "value": {} }] });
        assert!(patched("User", after, nothing.as_object().unwrap_or(&Map::new())).is_ok());
    }
    if let Ok(Value::Object(body)) = serde_json::from_str(text) {
        let _ = patched("User", person(), &body);
        let _ = patched("User", body, &Map::new());
    }
});
