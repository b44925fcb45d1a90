//! Why a proof was refused.

use std::fmt;

/// Why a proof (a document, a token, a signature) was refused. The code is stable; the detail is for the audit record, never
/// for the browser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// For example `signature_key_unknown`.
    pub code: &'static str,
    /// A sentence.
    pub detail: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}

/// Makes a refusal.
pub fn refusal(code: &'static str, detail: impl Into<String>) -> Refusal {
    Refusal { code, detail: detail.into() }
}
