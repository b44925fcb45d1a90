//! The flight recorder: every check of a sign-in by name, with what was expected and received.

use super::mapping::Mapped;
use crate::crypto::{Refusal, refusal};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The checks of one sign-in, in order. Never holds a secret: checks record identifiers, addresses and times.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording(Vec<RecordedCheck>);

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RecordedCheck {
    /// For example `audience`.
    pub check: String,
    /// Its outcome.
    pub passed: bool,
    /// What we wanted.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub expected: String,
    /// What was there.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub received: String,
}

impl Recording {
    /// Records a check and, when it failed, makes the refusal with its stable code.
    ///
    /// # Errors
    /// The refusal, when `passed` is false.
    pub fn require(
        &mut self,
        check: &'static str,
        code: &'static str,
        expected: impl fmt::Display,
        received: impl fmt::Display,
        passed: bool,
    ) -> Result<(), Refusal> {
        let cut = |text: String| text.chars().take(300).collect::<String>();
        let (expected, received) = (cut(expected.to_string()), cut(received.to_string()));
        let outcome =
            if passed { Ok(()) } else { Err(refusal(code, format!("{check}: expected {expected}, received {received}"))) };
        self.0.push(RecordedCheck { check: check.to_owned(), passed, expected, received });
        outcome
    }

    /// Records whether something is used for the first time.
    ///
    /// # Errors
    /// The refusal, when it was used before.
    pub fn require_first(&mut self, code: &'static str, first: bool) -> Result<(), Refusal> {
        let received = if first { "not seen before" } else { "seen before" };
        self.require("one_time", code, "not seen before", received, first)
    }

    /// Records a fact that nothing depends on.
    pub fn state(&mut self, check: &'static str, received: impl fmt::Display) {
        let received = received.to_string().chars().take(300).collect();
        self.0.push(RecordedCheck { check: check.to_owned(), passed: true, expected: String::new(), received });
    }

    /// Records how something came out that makes its own refusals.
    pub fn note<T>(&mut self, check: &'static str, outcome: &Result<T, Refusal>) {
        let received = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default().chars().take(300).collect();
        self.0.push(RecordedCheck { check: check.to_owned(), passed: outcome.is_ok(), expected: String::new(), received });
    }

    /// Records what became of attributes or claims.
    pub fn mapping(&mut self, mapped: &Result<Mapped, Refusal>) {
        match mapped {
            Ok(mapped) => self.state("mapping", mapped.summary()),
            Err(_) => self.note("mapping", mapped),
        }
    }

    /// Records where the claims lead.
    pub fn roles<'a>(&mut self, roles: impl ExactSizeIterator<Item = &'a crate::domain::iam::Role>) {
        let count = roles.len();
        let names: Vec<String> = roles.map(|role| format!("{}/{}", role.account, role.name)).collect();
        self.state("roles", if count == 0 { "none".to_owned() } else { format!("{count}: {}", names.join(", ")) });
    }

    /// The checks, in order.
    #[must_use]
    pub fn checks(&self) -> &[RecordedCheck] {
        &self.0
    }
}
