//! What operators look at: metrics that exist, dashboards and alerts that ask for them, and files that can be read.

use daypass::server::metrics::{Kind, METRICS};
use std::{collections::BTreeSet, fs, path::Path};

fn read(folder: &Path, all: &mut String) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("server/metrics.rs") {
            all.push_str(&fs::read_to_string(path).unwrap());
        }
    }
}

fn named(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    words.filter(|word| (word.starts_with("daypass_") && word.len() > 8) || word.starts_with("process_")).collect()
}

#[test]
fn alerts_and_the_dashboard_ask_for_metrics_that_there_are() {
    for file in ["docker/alerts.yml", "docker/grafana/daypass.json"] {
        let text = fs::read_to_string(file).unwrap();
        for name in named(&text) {
            let plain = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
            let is = |wanted: &str| METRICS.iter().find(|(_, known, _)| *known == wanted).map(|(kind, ..)| *kind);
            let known = is(name).is_some() || plain.and_then(is) == Some(Kind::Histogram);
            assert!(known, "{file} asks for {name}, which nobody counts");
        }
    }
}

#[test]
fn every_metric_is_counted_somewhere_and_every_count_is_described() {
    let mut sources = String::new();
    read(Path::new("src"), &mut sources);
    let looked_at = fs::read_to_string("src/server/metrics.rs").unwrap();
    let gauges = looked_at.split("pub async fn look").nth(1).unwrap();
    let counted: BTreeSet<&str> = named(&sources).into_iter().chain(named(gauges)).collect();
    for (_, name, what) in METRICS {
        assert!(counted.contains(name), "{name} is described and counted nowhere");
        assert!(what.ends_with('.'), "{name}: {what}");
    }
    let described: BTreeSet<&str> = METRICS.iter().map(|(_, name, _)| *name).collect();
    let macros = ["counter!(\"", "gauge!(\"", "histogram!(\""];
    for name in macros.iter().flat_map(|start| sources.split(start).skip(1)).filter_map(|rest| rest.split('"').next()) {
        assert!(described.contains(name), "{name} is counted and not described");
    }
}

#[test]
fn files_for_operators_can_be_read() {
    for file in ["docker/compose.yaml", "docker/prometheus.yml", "docker/alerts.yml", "docker/grafana/datasource.yaml"] {
        let text = fs::read_to_string(file).unwrap();
        let read: serde_yaml_ng::Value = serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        assert!(read.is_mapping(), "{file}");
    }
    let text = fs::read_to_string("docker/broker.toml").unwrap();
    let settings: daypass::config::Settings = toml::from_str(&text).unwrap();
    assert!(settings.drain_seconds > 0);
    // Every variable of the compose file is one that the broker reads.
    let compose = fs::read_to_string("docker/compose.yaml").unwrap();
    for name in
        compose.split(|letter: char| !letter.is_ascii_uppercase() && letter != '_').filter(|word| word.starts_with("DAYPASS_"))
    {
        assert!(daypass::config::ENVIRONMENT.iter().any(|(known, _)| *known == name), "compose.yaml sets {name}");
    }
}

fn promtool(arguments: &[&str]) {
    let output = std::process::Command::new("promtool").args(arguments).output().expect("promtool of the package prometheus");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
}

#[test]
fn alerts_ring_when_they_should_and_name_who() {
    promtool(&["check", "config", "docker/prometheus.yml"]);
    promtool(&["test", "rules", "tests/data/alerts.yml"]);
}

#[test]
fn prometheus_understands_every_query_of_the_dashboard() {
    let dashboard: serde_json::Value = serde_json::from_str(&fs::read_to_string("docker/grafana/daypass.json").unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let queries = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten()).map(|target| &target["expr"]);
    let rules: Vec<_> = queries.map(|expr| serde_json::json!({ "record": "x", "expr": expr })).collect();
    assert!(rules.len() > 10);
    let group = |(number, rule)| serde_json::json!({ "name": format!("query {number}"), "rules": [rule] });
    let groups: Vec<_> = rules.into_iter().enumerate().map(group).collect();
    let file = tempfile::Builder::new().suffix(".yml").tempfile().unwrap();
    fs::write(&file, serde_json::json!({ "groups": groups }).to_string()).unwrap();
    promtool(&["check", "rules", file.path().to_str().unwrap()]);
}
