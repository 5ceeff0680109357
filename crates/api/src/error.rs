//! What every refused request gets back: a stable code, a sentence, its cause, and what to do.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Outcome;

/// A refusal or failure; the body of every answer that is not 2xx.
///
/// Printed as `error[BH0206]: message`, `cause: …`, `hint: …`; `bulkhead explain BH0206` documents the code.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Error {
    /// `BH02nn`.
    pub code: String,
    /// One lower-case clause: what was being done to what, and how it ended.
    pub message: String,
    /// The errors below it, the nearest first, joined by `: `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// A command, a place, or a fact to check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What is wrong with the document, in file order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub diagnostics: Vec<Diagnostic>,
    /// How far an `up` or `down` came before it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
}

/// How much a diagnostic matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The document is refused.
    #[default]
    Error,
    /// It is accepted, and probably not what was meant.
    Warning,
}

/// A finding about the document, with its place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Diagnostic {
    /// `BH01nn`.
    pub code: String,
    /// Refused or warned.
    pub severity: Severity,
    /// One lower-case clause.
    pub message: String,
    /// The file's name as it was given.
    pub file: String,
    /// 1-based line; 0 when the finding has no place.
    pub line: u32,
    /// 1-based column, in characters.
    pub column: u32,
    /// What to write instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The whole finding as text with the source line, without colour.
    pub rendered: String,
}

impl Error {
    /// A refusal without cause and hint.
    #[must_use]
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), ..Self::default() }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the chain of errors below `error`, `error` itself included.
    #[must_use]
    pub fn with_cause(mut self, error: &dyn std::error::Error) -> Self {
        self.cause = Some(chain(error));
        self
    }
}

/// Characters of a chain's beginning and end that are kept; what the kernel's verifier says has thousands.
const KEPT: usize = 600;

/// An error and all its sources in one line, the middle of a very long one left out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    let count = text.chars().count();
    if count <= 3 * KEPT {
        return text;
    }
    let begin: String = text.chars().take(KEPT).collect();
    let end: String = text.chars().skip(count - KEPT).collect();
    format!("{begin} […] {end}")
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
