//! Settings: the manual is true.

use daypass::config::{ENVIRONMENT, Settings};
use std::path::Path;

#[test]
fn the_manual_lists_every_key_with_its_default() {
    let manual = std::fs::read_to_string("config/daypass.toml").unwrap();
    // Commented-out keys are defaults: with them switched on, nothing changes.
    let switched_on: String = manual
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(if line.starts_with('#') { "" } else { line }))
        .collect::<Vec<_>>()
        .join("\n");
    let read: Settings = toml::from_str(&switched_on).unwrap_or_else(|error| panic!("{error}\n{switched_on}"));
    let mut defaults = Settings::default();
    // These have no default that could be written down.
    defaults.master_key_file.clone_from(&read.master_key_file);
    defaults.tls.clone_from(&read.tls);
    defaults.postgres.clone_from(&read.postgres);
    defaults.redis.clone_from(&read.redis);
    defaults.audit = read.audit.clone();
    defaults.metrics_listen = read.metrics_listen;
    defaults.traces = read.traces.clone();
    defaults.trusted_proxies.clone_from(&read.trusted_proxies);
    defaults.passwords = read.passwords.clone();
    assert_eq!(format!("{read:?}"), format!("{defaults:?}"));
    // serde names the keys it knows when it meets one it does not.
    let known = toml::from_str::<Settings>("nothing = 1").unwrap_err().to_string();
    for key in known.split('`').skip(3).step_by(2).filter(|key| key.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
        assert!(
            manual.contains(&format!("#: {key} = ")) || manual.contains(&format!("#: [{key}]")),
            "the manual does not show `{key}`"
        );
    }
    for (variable, _) in ENVIRONMENT {
        assert!(manual.contains(variable), "the manual does not mention {variable}");
    }
}

#[test]
fn the_environment_wins_and_bad_settings_say_what_was_expected() {
    let load = |pairs: &[(&str, &str)]| {
        Settings::load(None, |name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
    };
    let settings = load(&[("DAYPASS_LISTEN", "127.0.0.1:9"), ("DAYPASS_LOG_LEVEL", "debug")]).unwrap();
    assert_eq!((settings.listen.port(), settings.log.level.as_str()), (9, "debug"));
    for (name, value, expected) in [
        ("DAYPASS_LISTEN", "here", "listen"),
        ("DAYPASS_PUBLIC_URL", "http://daypass.example.com", "must be https"),
        ("DAYPASS_PUBLIC_URL", "https://daypass.example.com/x", "without a path"),
        ("DAYPASS_LOG_FORMAT", "xml", "text"),
    ] {
        let error = load(&[(name, value)]).unwrap_err().public;
        assert!(error.contains(expected), "{name}={value}: {error}");
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "\nlisten = 7\n").unwrap();
    let error = Settings::load(Some(file.path()), |_| None).unwrap_err().public;
    assert!(error.contains("line 2") && error.contains("listen"), "{error}");
    assert!(Settings::load(Some(Path::new("/nowhere.toml")), |_| None).is_err());
}

#[test]
fn the_example_organization_is_valid() {
    let text = std::fs::read_to_string("config/organization.toml").unwrap();
    daypass::cli::apply::parse(&text, "toml").unwrap();
}
