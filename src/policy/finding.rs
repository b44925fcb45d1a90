//! What is wrong with a policy, in the shape of IAM Access Analyzer's `ValidatePolicy`.

use super::json::{Position, Span};
use serde::Serialize;
use std::fmt;

/// How bad it is (Access Analyzer API reference, `ValidatePolicyFinding`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum FindingType {
    /// Part of the policy does not work, and it may not be stored.
    Error,
    /// It gives more access than it should.
    SecurityWarning,
    /// It does not do what it seems to.
    Warning,
    /// It could be simpler or safer.
    Suggestion,
}

impl FindingType {
    /// As the API spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Error => "ERROR",
            Self::SecurityWarning => "SECURITY_WARNING",
            Self::Warning => "WARNING",
            Self::Suggestion => "SUGGESTION",
        }
    }
}

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub kind: FindingType,
    /// The published name of the check (`MISSING_EFFECT`), or one of ours for federation (`TP01` …).
    pub code: &'static str,
    /// What is wrong and what to do, for a person.
    pub message: String,
    /// Where, as a JSON pointer (RFC 6901).
    pub pointer: String,
    /// Where, in bytes of the text.
    pub span: Span,
}

impl Finding {
    pub(super) fn new(kind: FindingType, code: &'static str, pointer: &str, span: Span, message: impl Into<String>) -> Self {
        Self { kind, code, message: message.into(), pointer: pointer.to_owned(), span }
    }
    pub(super) fn error(code: &'static str, pointer: &str, span: Span, message: impl Into<String>) -> Self {
        Self::new(FindingType::Error, code, pointer, span, message)
    }
}

/// Why a document was refused: the first error, its place as line, column and JSON pointer, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MalformedDocument {
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// `/Statement/0/Action`; empty for the whole document.
    pub pointer: String,
    /// The published name of the check.
    pub code: &'static str,
    /// What is wrong.
    pub problem: String,
}

impl MalformedDocument {
    pub(super) fn new(text: &str, finding: &Finding) -> Self {
        let Position { line, column, .. } = Position::of(text, finding.span.start);
        let (pointer, code) = (finding.pointer.clone(), finding.code);
        Self { line, column, pointer, code, problem: finding.message.clone() }
    }
}

impl fmt::Display for MalformedDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, pointer, problem, .. } = self;
        if pointer.is_empty() {
            write!(f, "{problem} (line {line}, column {column})")
        } else {
            write!(f, "{problem} ({pointer}, line {line}, column {column})")
        }
    }
}

impl std::error::Error for MalformedDocument {}
