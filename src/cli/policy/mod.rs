//! Policies in files: what is wrong with them, and what they decide. Nothing is sent anywhere.

mod check;
mod eval;

use super::{
    Failure,
    terminal::{Paint, json},
};
use crate::policy::{DocumentKind, Explanation};
use clap::{Args, Subcommand, ValueEnum};
use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
};

/// Work with policies in files.
#[derive(Debug, Args)]
pub(super) struct PolicyCommand {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Say what is wrong with policies: mistakes, access that is too open, things that could be simpler.
    ///
    /// Exit code: 0 nothing serious, 1 errors or security warnings, 2 the command was typed wrongly.
    Check(check::Check),
    /// Say whether policies allow a request, and why.
    ///
    /// Exit code: 0 allowed, 1 a policy could not be read, 2 the command was typed wrongly, 4 denied.
    Eval(Box<eval::Eval>),
}

impl PolicyCommand {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self.command {
            Verb::Check(check) => check.run(),
            Verb::Eval(eval) => eval.run(),
        }
    }
}

/// A decision for people.
pub(super) fn show(explanation: &Explanation, who: &str) -> String {
    eval::in_text(explanation, who, Paint::output())
}

/// What a policy is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Attached to a role, user or group.
    Identity,
    /// Attached to a resource.
    Resource,
    /// A role's trust policy.
    Trust,
    /// A service control policy.
    Scp,
    /// A resource control policy.
    Rcp,
}

impl From<Kind> for DocumentKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Identity => Self::Identity,
            Kind::Resource => Self::Resource,
            Kind::Trust => Self::Trust,
            Kind::Scp => Self::ServiceControl,
            Kind::Rcp => Self::ResourceControl,
        }
    }
}

/// Reads a file, or standard input for `-`.
fn read(file: &Path) -> Result<String, Failure> {
    let outcome = if file.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = outcome.map_err(|error| Failure::new(format!("{}: {error}", shown(file))))?;
    Ok(text.strip_prefix('\u{feff}').map_or(text.clone(), str::to_owned))
}

fn shown(file: &Path) -> String {
    if file.as_os_str() == "-" { "<stdin>".to_owned() } else { file.display().to_string() }
}

/// Prints, without the control characters that a policy may hold for the terminal. Whoever reads may stop reading.
pub(super) fn say(text: &str) {
    let harmless = |c: char| !c.is_control() || c == '\n';
    // Colours are ours: escape sequences begin with what no value can bring along.
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(|c| !harmless(c)) {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        let ours = COLOURS.iter().find(|colour| after.starts_with(*colour));
        let taken = ours.map_or_else(|| after.chars().next().map_or(0, char::len_utf8), |colour| colour.len());
        out.push_str(ours.unwrap_or(&"\u{fffd}"));
        rest = after.get(taken..).unwrap_or_default();
    }
    out.push_str(rest);
    let _ = std::io::stdout().write_all(out.as_bytes());
}

/// The escape sequences that are printed.
const COLOURS: [&str; 6] = ["\u{1b}[0m", "\u{1b}[1m", "\u{1b}[1;31m", "\u{1b}[1;32m", "\u{1b}[1;33m", "\u{1b}[1;34m"];

/// Standard input can be read once.
fn only_once(files: &[&PathBuf]) -> Result<(), Failure> {
    if files.iter().filter(|file| file.as_os_str() == "-").count() > 1 {
        return Err(Failure::new("`-` (standard input) can stand for one file only"));
    }
    Ok(())
}
