//! Modules import only from floors to their left.

use std::{fs, path::Path};

const FLOORS: &[&str] = &[
    "domain",
    "policy",
    "crypto",
    "store",
    "federation",
    "credentials",
    "signin",
    "gateway",
    "api",
    "pages",
    "config",
    "server",
    "cli",
];

/// Breaches that are known and wanted, each with its reason.
const EXCUSED: &[(&str, &str, &str)] = &[];

fn sources(folder: &Path, all: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push((path.strip_prefix("src").unwrap().display().to_string(), fs::read_to_string(&path).unwrap()));
        }
    }
}

fn floor_of(file: &str) -> Option<usize> {
    let room = file.split(['/', '.']).next()?;
    FLOORS.iter().position(|floor| *floor == room)
}

/// Every `crate::<room>` in a file, and rooms named inside `use crate::{ … }`.
fn imports(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut rooms = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if rest.starts_with('{') {
            let mut depth = 0;
            let mut word = String::new();
            for letter in rest.chars() {
                match letter {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && (letter.is_alphanumeric() || letter == '_') {
                    word.push(letter);
                } else {
                    if FLOORS.contains(&word.as_str()) {
                        rooms.push(word.clone());
                    }
                    word.clear();
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            rooms.push(rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect());
        }
    }
    rooms
}

#[test]
fn a_module_imports_only_from_floors_to_its_left() {
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    assert!(files.len() > 50, "the sources were not found");
    let mut breaches = Vec::new();
    for (file, text) in &files {
        let Some(own) = floor_of(file) else { continue };
        for room in imports(text) {
            let Some(other) = FLOORS.iter().position(|floor| *floor == room) else { continue };
            if other > own && !EXCUSED.iter().any(|(from, to, _)| from == file && *to == room) {
                breaches.push(format!(
                    "src/{file} imports `{room}`, which is to its right: move the shared part left, or pass it in"
                ));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}

#[test]
fn the_outside_world_stays_in_its_rooms() {
    // (what, where it may stand, why)
    let rules: &[(&str, &[&str], &str)] = &[
        ("sqlx::", &["store/"], "only `store` knows SQL"),
        (
            "reqwest::",
            &["federation/http.rs", "cli/client.rs", "server/traces.rs"],
            "only federation's one client opens outbound HTTP (the command line has its own, and so have traces, which go to a \
             machine of ours)",
        ),
        (
            "axum::",
            &["gateway/", "pages/", "server/", "cli/agent/"],
            "only `gateway`, `pages`, `server` and the agent know inbound HTTP",
        ),
        (
            "Permit::open",
            &["gateway/mod.rs"],
            "only the gateway opens a door that asks no policy, for an operation that says why",
        ),
        ("Permit::mint", &["policy/"], "only the engine makes permits"),
        ("std::env::var", &["config/mod.rs"], "settings are read in one place"),
        ("SystemTime::now", &["config/mod.rs"], "the clock is passed in"),
        ("Instant::now", &["store/follow.rs", "domain/time.rs"], "the clock is passed in (these two measure durations)"),
        (
            "crate::store",
            &["store/", "federation/", "credentials/", "signin/", "gateway/", "api/", "config/mod.rs"],
            "`pages` and `cli` never import `store`",
        ),
    ];
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    let mut breaches = Vec::new();
    for (what, allowed, why) in rules {
        for (file, text) in &files {
            let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
            if code.contains(what) && !allowed.iter().any(|place| file.starts_with(place)) {
                breaches.push(format!("src/{file} has `{what}`: {why}"));
            }
        }
    }
    assert!(breaches.is_empty(), "{}", breaches.join("\n"));
}
