//! Why a workload could not be started: one sentence that says what was being done, for `status` and the log.
//!
//! The supervisor has nobody to hand a typed error to; what it cannot do ends up in front of a person.

use std::fmt;
use std::io;

/// A failed step of starting a workload.
#[derive(Debug)]
pub(super) struct Fault {
    text: String,
}

impl Fault {
    /// An error with all of its causes, each after a colon.
    pub(super) fn of(error: &dyn std::error::Error) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            text.push_str(": ");
            text.push_str(&error.to_string());
            cause = error.source();
        }
        Self { text }
    }

    /// A fault that needs no cause.
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self { text: text.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Says what was being done when an operation of the system failed.
pub(super) trait Doing<T> {
    /// Turns the error into a [`Fault`] that reads "`what`: the error".
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Fault>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T, Fault> {
        self.map_err(|error| Fault::new(format!("{}: {}", what(), error.into())))
    }
}
