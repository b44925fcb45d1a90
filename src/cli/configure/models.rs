//! AWS CLIs before 2.13 know no `services` and no `AWS_ENDPOINT_URL`. What they do read is `~/.aws/models`: a copy of a
//! service's own endpoint rules with one of ours before them, for a region that AWS has not (botocore, `loaders`).

use super::profiles::SSO_REGION;
use crate::cli::Failure;
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

/// Services of old CLIs that lead to a broker, with their API versions.
const SERVICES: [&str; 4] = ["sso-oidc/2019-06-10", "sso/2019-06-10", "sts/2011-06-15", "iam/2010-05-08"];
const FILE: &str = "endpoint-rule-set-1.json";
/// Marks the rule as ours.
const DOCUMENTATION: &str = "daypass configure";

/// The version of the AWS CLI on the path; none where there is no CLI.
pub(crate) fn cli_version() -> Option<(u32, u32, u32)> {
    let done = std::process::Command::new("aws").arg("--version").output().ok()?;
    version(&String::from_utf8_lossy(&done.stdout))
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.strip_prefix("aws-cli/")?.split([' ', '.', '\n']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// Whether a version of the CLI reads no endpoints from its configuration.
pub(crate) fn needs_models(version: (u32, u32, u32)) -> bool {
    version.0 == 2 && version < (2, 13, 0)
}

/// The folder of botocore's data that the CLI on the path brings along.
fn data() -> Option<PathBuf> {
    let path = crate::config::variable("PATH")?;
    let program = std::env::split_paths(&path).map(|folder| folder.join("aws")).find(|file| file.is_file())?;
    let program = fs::canonicalize(program).ok()?;
    let roots = program.ancestors().skip(1).take(4).map(Path::to_path_buf);
    let inside =
        ["awscli/botocore/data", "botocore/data", "dist/awscli/botocore/data", "lib/python3/dist-packages/awscli/botocore/data"];
    roots.flat_map(|root| inside.map(|inside| root.join(inside))).find(|folder| folder.join("sts").is_dir())
}

/// The files that lead an old CLI to a broker, by their places under `~/.aws/models`.
pub(super) fn files(url: &str, given: Option<&Path>) -> Result<Vec<(PathBuf, String)>, Failure> {
    let missing =
        || Failure::new("the data of the AWS CLI can't be found").hint("say where its `botocore/data` is with --aws-data FOLDER");
    let data = given.map(Path::to_path_buf).or_else(data).ok_or_else(missing)?;
    let file = |service: &&str| {
        let (from, to) = (data.join(service).join(FILE), PathBuf::from(service).join(FILE));
        let text = read(&from).ok_or_else(missing)?;
        let rules: Value = serde_json::from_str(&text).map_err(|error| Failure::new(format!("{}: {error}", from.display())))?;
        Ok((to, with_rule(rules, url).to_string()))
    };
    SERVICES.iter().map(file).collect()
}

/// Plain, or compressed as newer ones are.
fn read(file: &Path) -> Option<String> {
    if let Ok(text) = fs::read_to_string(file) {
        return Some(text);
    }
    let mut text = String::new();
    GzDecoder::new(fs::File::open(file.with_extension("json.gz")).ok()?).read_to_string(&mut text).ok()?;
    Some(text)
}

/// The rules with ours before all others.
fn with_rule(mut rules: Value, url: &str) -> Value {
    let rule = json!({
        "documentation": DOCUMENTATION,
        "conditions": [
            { "fn": "isSet", "argv": [{ "ref": "Region" }] },
            { "fn": "stringEquals", "argv": [{ "ref": "Region" }, SSO_REGION] },
        ],
        "endpoint": { "url": url, "properties": {}, "headers": {} },
        "type": "endpoint",
    });
    if let Some(all) = rules.get_mut("rules").and_then(Value::as_array_mut) {
        all.retain(|rule| rule.get("documentation").and_then(Value::as_str) != Some(DOCUMENTATION));
        all.insert(0, rule);
    }
    rules
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that can't go on should stop")]
mod tests {
    use super::*;

    #[test]
    fn only_clis_without_endpoint_settings_need_them() {
        let old = version("aws-cli/2.9.19 Python/3.11.2 Linux/6.1 source/x86_64 prompt/off\n").unwrap();
        assert!(needs_models(old));
        assert!(!needs_models(version("aws-cli/2.13.0 Python/3.11").unwrap()));
        assert!(!needs_models(version("aws-cli/1.45.11 Python/3.11").unwrap()), "v1 knows no single sign-on");
        assert_eq!(version("bash: aws: command not found"), None);
    }

    #[test]
    fn our_rule_stands_first_and_once() {
        let own = json!({ "version": "1.0", "parameters": {}, "rules": [{ "type": "error" }] });
        let once = with_rule(own, "http://127.0.0.1:1");
        let twice = with_rule(once.clone(), "http://127.0.0.1:2");
        assert_eq!(twice["rules"].as_array().unwrap().len(), 2);
        assert_eq!(twice["rules"][0]["endpoint"]["url"], "http://127.0.0.1:2");
        assert_eq!(once["rules"][1]["type"], "error");
    }
}
