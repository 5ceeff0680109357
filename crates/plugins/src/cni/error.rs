//! CNI's errors: a number that runtimes know, and words for people.

use api::{Error, codes};
use serde_json::{Value, json};

/// Why a call failed, as the specification numbers it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// The specification's number; from 100 on it is ours.
    pub code: u32,
    /// One lower-case clause.
    pub message: String,
    /// What is below it, and what to do.
    pub details: String,
}

impl Failure {
    fn new(code: u32, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: String::new() }
    }

    pub(super) fn version(found: &str) -> Self {
        let shown: String = found.chars().take(20).collect();
        let known = super::VERSIONS.join(", ");
        let message = format!("the CNI version {shown:?} is not supported; {known} are");
        Self::new(1, message)
    }

    pub(super) fn environment(message: impl Into<String>) -> Self {
        Self::new(4, message)
    }

    pub(super) fn decode(message: impl Into<String>) -> Self {
        Self::new(6, message)
    }

    pub(super) fn configuration(message: impl Into<String>) -> Self {
        Self::new(7, message)
    }

    /// STATUS: nothing can be attached.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(50, message)
    }

    /// STATUS, when the agent does not answer.
    pub(super) fn closed(error: &Error) -> Self {
        Self { code: 50, ..Self::agent(error) }
    }

    /// CHECK: it is not as it was.
    pub(super) fn differs(message: impl Into<String>) -> Self {
        Self::new(101, message)
    }

    /// What the agent refused, with its own code and hint for people.
    pub(super) fn agent(error: &Error) -> Self {
        let code = match error.code.as_str() {
            codes::BUSY | codes::STOPPING | codes::NO_AGENT | codes::BROKEN => 11,
            codes::ATTACH | codes::NO_DOCUMENT => 7,
            codes::FORBIDDEN => 5,
            _ => 100,
        };
        let cause = error.cause.iter().map(|cause| format!("cause: {cause}"));
        let hint = error.hint.iter().map(|hint| format!("hint: {hint}"));
        let details: Vec<String> = cause.chain(hint).collect();
        let message = format!("{} ({})", error.message, error.code);
        Self { code, message, details: details.join("; ") }
    }

    /// As it is written on standard output.
    pub(super) fn json(&self, version: &str) -> Value {
        let known = super::VERSIONS.contains(&version);
        let mut error = json!({
            "cniVersion": if known { version } else { "1.0.0" },
            "code": self.code,
            "msg": self.message,
        });
        if let Some(fields) = error.as_object_mut().filter(|_| !self.details.is_empty()) {
            fields.insert("details".to_owned(), self.details.clone().into());
        }
        error
    }
}
