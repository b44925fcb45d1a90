//! AWS CLIs before 2.13 know no `services` and no `AWS_ENDPOINT_URL`, and newer ones do not look there for `aws sso login
//! --sso-session` and `aws sso logout`. What all of them read is `~/.aws/models`: a copy of a service's own endpoint rules with
//! one of ours before them, for a region that AWS has not (botocore, `loaders`).

use super::profiles::sso_region;
use crate::{cli::Failure, crypto::sha256_hex};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    sync::OnceLock,
};

/// How many of these every CLI needs.
const SIGN_IN: usize = 2;
/// Services that lead to a broker, with their API versions: those of the sign-in first, and the others for old CLIs.
const SERVICES: [&str; 9] = [
    "sso-oidc/2019-06-10",
    "sso/2019-06-10",
    "sts/2011-06-15",
    "iam/2010-05-08",
    "organizations/2016-11-28",
    "sso-admin/2020-07-20",
    "cloudtrail/2013-11-01",
    "accessanalyzer/2019-11-01",
    "rolesanywhere/2018-05-10",
];
const FILE: &str = "endpoint-rule-set-1.json";
/// Marks a rule as ours, and whose; the hash of the rules it was put before follows. While those still have it, the file is a copy
/// of ours, and nobody's own.
const OURS: &str = "daypass configure, session ";
const RULES: &str = ", rules ";

fn documentation(session: &str) -> String {
    format!("{OURS}{session}{RULES}")
}

/// The version of the AWS CLI on the path; none where there is no CLI. It takes its time to say: it is asked once.
pub(crate) fn cli_version() -> Option<(u32, u32, u32)> {
    static VERSION: OnceLock<Option<(u32, u32, u32)>> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let done = std::process::Command::new("aws").arg("--version").output().ok()?;
        version(&String::from_utf8_lossy(&done.stdout))
    })
}

fn version(text: &str) -> Option<(u32, u32, u32)> {
    let mut parts = text.strip_prefix("aws-cli/")?.split([' ', '.', '\n']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// Whether a version of the CLI reads no endpoints from its configuration.
pub(crate) fn needs_models(version: (u32, u32, u32)) -> bool {
    version.0 == 2 && version < (2, 13, 0)
}

/// Whether the CLI on the path, or the one whose data was given, is one of them.
pub(super) fn are_needed(given: Option<&Path>) -> bool {
    given.is_some() || cli_version().is_some_and(needs_models)
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

/// What is in the way of a file, and what takes its place: none where it goes.
pub(super) type Replaced = (PathBuf, Option<String>);

/// The files that lead the CLI on the path to a broker, in their folder: those that are there already, or else the CLI's own,
/// with our rule before theirs.
pub(super) fn files(folder: &Path, session: &str, url: &str, given: Option<&Path>) -> Result<Vec<Replaced>, Failure> {
    let missing =
        || Failure::new("the data of the AWS CLI can't be found").hint("say where its `botocore/data` is with --aws-data FOLDER");
    let old = are_needed(given);
    let data = match given.map(Path::to_path_buf).or_else(data) {
        Some(data) => data,
        None if old => return Err(missing()),
        // A newer one does without for almost everything, and version 1 knows no single sign-on.
        None => return Ok(Vec::new()),
    };
    if !old && cli_version().is_none_or(|version| version.0 < 2) {
        return Ok(Vec::new());
    }
    let wanted = if old { SERVICES.len() } else { SIGN_IN };
    let file = |service: &&str| {
        let (file, original) = (folder.join(service).join(FILE), data.join(service).join(FILE));
        let there = read(&file).map(|text| parsed(&file, &text)).transpose()?.map(Rules::of);
        let mut rules = match (there, read(&original)) {
            // Somebody's own stay what they are.
            (Some(there), _) if !there.copied => there,
            (there, Some(text)) => {
                let ours = there.map(|there| there.ours).unwrap_or_default();
                Rules { ours, rest: parsed(&original, &text)?, copied: true }
            }
            (Some(there), None) => there,
            (None, None) => return Err(missing()),
        };
        rules.ours.retain(|rule| !is_of(rule, session));
        rules.ours.push(rule(session, url));
        Ok((file, Some(rules.text())))
    };
    SERVICES.iter().take(wanted).map(file).collect()
}

/// The same files without our rule. A copy in which none of our rules is left goes.
pub(super) fn files_without(folder: &Path, session: &str) -> Result<Vec<Replaced>, Failure> {
    let mut left = Vec::new();
    for service in SERVICES {
        let file = folder.join(service).join(FILE);
        let Some(text) = read(&file) else { continue };
        let mut rules = Rules::of(parsed(&file, &text)?);
        let before = rules.ours.len();
        rules.ours.retain(|rule| !is_of(rule, session));
        if rules.ours.len() == before {
            continue;
        }
        left.push((file, (!rules.copied || !rules.ours.is_empty()).then(|| rules.text())));
    }
    Ok(left)
}

/// Where the rule of a session leads, whichever configuration it was written for.
pub(super) fn leads(folder: &Path, session: &str) -> Option<String> {
    let text = read(&folder.join(SERVICES.first()?).join(FILE))?;
    let rules = Rules::of(serde_json::from_str(&text).ok()?);
    let rule = rules.ours.iter().find(|rule| is_of(rule, session))?;
    rule.pointer("/endpoint/url").and_then(Value::as_str).map(str::to_owned)
}

/// The rules of a service: ours, which stand before the others.
struct Rules {
    ours: Vec<Value>,
    rest: Value,
    /// Whether the rest is what one of ours was put before: a copy of the CLI's own, however old.
    copied: bool,
}

impl Rules {
    fn of(mut all: Value) -> Self {
        let mut ours = Vec::new();
        if let Some(rules) = all.get_mut("rules").and_then(Value::as_array_mut) {
            ours = rules.extract_if(.., |rule| said(rule).starts_with(OURS)).collect();
        }
        let hash = hash(&all);
        let copied = ours.iter().any(|rule| said(rule).ends_with(&hash));
        Self { ours, rest: all, copied }
    }

    fn text(mut self) -> String {
        let hash = if self.copied { hash(&self.rest) } else { "of their own".to_owned() };
        for rule in &mut self.ours {
            let start = said(rule).split_once(RULES).map(|(start, _)| format!("{start}{RULES}{hash}"));
            if let (Some(text), Some(place)) = (start, rule.get_mut("documentation")) {
                *place = text.into();
            }
        }
        if let Some(rules) = self.rest.get_mut("rules").and_then(Value::as_array_mut) {
            rules.splice(0..0, self.ours);
        }
        format!("{}\n", self.rest)
    }
}

fn said(rule: &Value) -> &str {
    rule.get("documentation").and_then(Value::as_str).unwrap_or_default()
}

fn is_of(rule: &Value, session: &str) -> bool {
    said(rule).starts_with(&documentation(session))
}

fn hash(rules: &Value) -> String {
    sha256_hex(rules.to_string()).get(..16).unwrap_or_default().to_owned()
}

fn parsed(file: &Path, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| Failure::new(format!("{}: {error}", file.display())))
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

/// Ours; the hash is written with the others.
fn rule(session: &str, url: &str) -> Value {
    json!({
        "documentation": documentation(session),
        "conditions": [
            { "fn": "isSet", "argv": [{ "ref": "Region" }] },
            { "fn": "stringEquals", "argv": [{ "ref": "Region" }, sso_region(session)] },
        ],
        "endpoint": { "url": url, "properties": {}, "headers": {} },
        "type": "endpoint",
    })
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
    fn our_rule_comes_first_and_goes_again() {
        let (data, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let rules = |kind: &str| json!({ "version": "1.0", "parameters": {}, "rules": [{ "type": kind }] });
        let at = |root: &Path, service: &str| root.join(service).join(FILE);
        let write = |file: &Path, value: &Value| {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, value.to_string()).unwrap();
        };
        SERVICES.iter().for_each(|service| write(&at(data.path(), service), &rules("error")));
        // Somebody has rules of their own for one service.
        write(&at(folder.path(), SERVICES[0]), &rules("own"));
        for url in ["http://127.0.0.1:1", "http://127.0.0.1:2"] {
            for (file, new) in files(folder.path(), "corp", url, Some(data.path())).unwrap() {
                let new: Value = serde_json::from_str(&new.unwrap()).unwrap();
                assert_eq!(new["rules"].as_array().unwrap().len(), 2);
                assert_eq!(new["rules"][0]["endpoint"]["url"], url);
                write(&file, &new);
            }
        }
        assert_eq!(leads(folder.path(), "corp").as_deref(), Some("http://127.0.0.1:2"));
        assert_eq!(leads(folder.path(), "other"), None);
        // Another session has a rule of its own, which stays when this one goes.
        for (file, new) in files(folder.path(), "other", "http://127.0.0.1:3", Some(data.path())).unwrap() {
            write(&file, &serde_json::from_str(&new.unwrap()).unwrap());
        }
        for (file, new) in files_without(folder.path(), "corp").unwrap() {
            let new: Value = serde_json::from_str(&new.unwrap()).unwrap();
            assert_eq!(new["rules"][0]["conditions"][1]["argv"][1], "daypass-other-1");
            write(&file, &new);
        }
        let left = files_without(folder.path(), "other").unwrap();
        assert_eq!(left.len(), SERVICES.len());
        let own: Value = serde_json::from_str(left[0].1.as_ref().unwrap()).unwrap();
        assert_eq!(own, rules("own"), "theirs stays");
        assert!(left[1..].iter().all(|(_, new)| new.is_none()), "ours goes");

        // The CLI is another one now: what was copied from the one before is renewed, and goes all the same.
        SERVICES.iter().for_each(|service| write(&at(data.path(), service), &rules("newer")));
        let gone = files_without(folder.path(), "other").unwrap();
        assert!(gone[1..].iter().all(|(_, new)| new.is_none()), "an old copy is ours, too");
        for (number, (file, new)) in
            files(folder.path(), "other", "http://127.0.0.1:3", Some(data.path())).unwrap().iter().enumerate()
        {
            let new: Value = serde_json::from_str(new.as_ref().unwrap()).unwrap();
            assert_eq!(new["rules"][1]["type"], if number == 0 { "own" } else { "newer" }, "{}", file.display());
        }
    }
}
