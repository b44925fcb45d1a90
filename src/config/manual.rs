//! The settings in force, with what the manual says of each.

use super::Settings;
use crate::gateway::Setting;
use serde_json::Value;

const MANUAL: &str = include_str!("../../config/daypass.toml");

/// Every setting of the manual, in its order.
pub(super) fn settings(in_force: &Settings) -> Vec<Setting> {
    let values = serde_json::to_value(in_force).unwrap_or_default();
    let (mut found, mut words, mut section): (Vec<Setting>, Vec<&str>, String) = (Vec::new(), Vec::new(), String::new());
    for line in MANUAL.lines() {
        let Some(shown) = line.strip_prefix("#: ") else {
            match line.strip_prefix('#') {
                Some(text) => words.push(text.trim()),
                None => {
                    words.clear();
                    section.clear();
                }
            }
            continue;
        };
        if let Some(name) = shown.strip_prefix('[') {
            section = format!("{}.", name.split(']').next().unwrap_or_default());
            continue;
        }
        let Some((key, rest)) = shown.split_once(" = ") else { continue };
        let note = rest.split_once(" # ").map(|(_, note)| note.trim()).unwrap_or_default();
        let key = format!("{section}{}", key.trim());
        let value = key.split('.').try_fold(&values, |value, part| value.get(part));
        // A note of its own says it better than what all of a section have in common.
        let mut letters = note.chars();
        let first = letters.next().map(|letter| letter.to_uppercase().to_string());
        let meaning = first.map_or_else(|| words.join(" "), |first| format!("{first}{}", letters.as_str()));
        found.push(Setting { value: text(value), key, meaning });
    }
    found
}

fn text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "not set".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(list)) if list.is_empty() => "none".to_owned(),
        Some(Value::Array(list)) => list.iter().map(|one| text(Some(one))).collect::<Vec<_>>().join(", "),
        Some(other) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_has_a_value_and_a_meaning() {
        let listed = settings(&Settings::default());
        let of = |key: &str| listed.iter().find(|setting| setting.key == key).map(|setting| setting.value.as_str());
        assert_eq!(of("sessions.idle_seconds"), Some("7200"));
        assert_eq!(of("trusted_proxies"), Some("none"));
        assert_eq!(of("tls.certificate"), Some("not set"));
        assert!(listed.len() > 12 && listed.iter().all(|setting| !setting.meaning.is_empty()), "{listed:?}");
    }
}
