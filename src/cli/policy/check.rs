//! `daypass policy check`.

use super::{Kind, Paint, json, only_once, read, say, shown};
use crate::{
    cli::Failure,
    domain::name::AccountId,
    policy::{
        DocumentKind, Finding, FindingType,
        json::Position,
        validate::{Surroundings, validate},
    },
};
use clap::Args;
use serde_json::{Value, json};
use std::path::PathBuf;

/// Files and what is known around them.
#[derive(Debug, Args)]
pub(super) struct Check {
    /// Policies, JSON; `-` for standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// What the policies are for [default: what they look like].
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    kind: Option<Kind>,
    /// An account of yours: trust in other accounts is looked at more closely. Can be given several times.
    #[arg(long = "account", value_name = "ID")]
    accounts: Vec<String>,
}

impl Check {
    pub(super) fn run(self) -> Result<(), Failure> {
        only_once(&self.files.iter().collect::<Vec<_>>())?;
        let own: Vec<AccountId> =
            self.accounts.iter().map(|account| AccountId::parse(account)).collect::<Result<_, _>>().map_err(Failure::from)?;
        let is_own = |account: &AccountId| own.contains(account);
        let paint = Paint::output();
        let (mut all, mut serious, mut rest) = (Vec::new(), 0, 0);
        for file in &self.files {
            let text = read(file)?;
            let kind = self.kind.map_or_else(|| guess(&text), DocumentKind::from);
            let own_account: Option<&dyn Fn(&AccountId) -> bool> = if own.is_empty() { None } else { Some(&is_own) };
            let findings = validate(&text, &Surroundings { kind, own_account, id_resolves: None });
            for finding in &findings {
                let is_serious = matches!(finding.kind, FindingType::Error | FindingType::SecurityWarning);
                *(if is_serious { &mut serious } else { &mut rest }) += 1;
                if json() {
                    all.push(in_json(&text, &shown(file), finding));
                } else {
                    say(&format!("{}\n", in_text(&text, &shown(file), finding, paint)));
                }
            }
        }
        match serious + rest {
            _ if json() => say(&format!("{:#}\n", Value::Array(all))),
            0 => say(&format!("{}\n", paint.green("Nothing to complain about."))),
            _ => say(&format!("{serious} serious, {rest} to think about.\n")),
        }
        if serious > 0 { Err(Failure::silent(1)) } else { Ok(()) }
    }
}

/// A policy with principals is on a resource; one on a role names no resource.
fn guess(text: &str) -> DocumentKind {
    let Ok(json) = serde_json::from_str::<Value>(text) else { return DocumentKind::Identity };
    let statements = match json.get("Statement") {
        Some(Value::Array(list)) => list.clone(),
        Some(one) => vec![one.clone()],
        None => Vec::new(),
    };
    let has = |names: [&str; 2]| statements.iter().any(|one| names.iter().any(|name| one.get(name).is_some()));
    match (has(["Principal", "NotPrincipal"]), has(["Resource", "NotResource"])) {
        (true, true) => DocumentKind::Resource,
        (true, false) => DocumentKind::Trust,
        (false, _) => DocumentKind::Identity,
    }
}

fn in_json(text: &str, file: &str, finding: &Finding) -> Value {
    let place = |offset| {
        let Position { line, column, offset } = Position::of(text, offset);
        json!({ "line": line, "column": column, "offset": offset })
    };
    json!({
        "file": file,
        "findingType": finding.kind.name(),
        "issueCode": finding.code,
        "findingDetails": finding.message,
        "pointer": finding.pointer,
        "start": place(finding.span.start),
        "end": place(finding.span.end),
    })
}

/// The finding over the line it is about.
fn in_text(text: &str, file: &str, finding: &Finding, paint: Paint) -> String {
    let word = match finding.kind {
        FindingType::Error => paint.red("error"),
        FindingType::SecurityWarning => paint.red("security warning"),
        FindingType::Warning => paint.yellow("warning"),
        FindingType::Suggestion => paint.blue("suggestion"),
    };
    let Position { line, column, .. } = Position::of(text, finding.span.start);
    let source: String = text.lines().nth(line - 1).unwrap_or_default().replace('\t', " ");
    // Long lines (policies on one line) are shown around the place.
    let skipped = if source.chars().count() > 110 { column.saturating_sub(40).max(1) - 1 } else { 0 };
    let visible: String = source.chars().skip(skipped).take(110).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect();
    let marked = text.get(finding.span.start..finding.span.end).unwrap_or_default();
    let length = marked.lines().next().unwrap_or_default().chars().count();
    let under = length.clamp(1, (visible.chars().count() + 1).saturating_sub(column - skipped).max(1));
    let margin = " ".repeat(line.to_string().len());
    format!(
        "{word}[{}]: {}\n{margin}{} {file}:{line}:{column}\n{margin} {bar}\n{} {bar} {visible}\n{margin} {bar} {}{}\n",
        finding.code,
        paint.bold(&finding.message),
        paint.blue("-->"),
        paint.blue(&line.to_string()),
        " ".repeat(column - 1 - skipped),
        paint.red(&"^".repeat(under)),
        bar = paint.blue("|"),
    )
}
