//! How a command ends: exit codes, and errors printed as `error[BH0207]: …`, `cause: …`, `hint: …`.

use std::io;

use api::{ClientError, Error, Severity, StepState, codes};

use crate::screen::{Paint, Screen};

/// What the process tells its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything was done.
    Done,
    /// It was refused, or failed.
    Failed,
    /// A check or plan found a difference.
    Difference,
    /// A defect of ours.
    Internal,
    /// A command that ran inside a workload ended with this status.
    Status(u8),
}

impl Exit {
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Difference => 3,
            Self::Internal => 70,
            Self::Status(code) => code,
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// An error with a code, a sentence and a hint.
    Error(Box<Error>),
    /// Writing the answer failed.
    Output(io::Error),
    /// Everything is said already; only the exit code is left.
    Told(Exit),
}

impl Failure {
    /// An error of this binary.
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        let mut error = Error::new(code, message);
        error.hint = codes::find(code).map(|known| known.hint.to_owned());
        Self::Error(Box::new(error))
    }

    /// Adds what caused it.
    pub(crate) fn because(self, cause: &dyn std::error::Error) -> Self {
        match self {
            Self::Error(error) => Self::Error(Box::new(error.with_cause(cause))),
            other => other,
        }
    }

    /// Says what to do.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        match self {
            Self::Error(error) => Self::Error(Box::new(error.with_hint(hint))),
            other => other,
        }
    }

    /// Whether the reader of our output went away, as `head` does.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }

    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Told(exit) => *exit,
            Self::Error(error) if error.code == codes::INTERNAL => Exit::Internal,
            Self::Error(_) | Self::Output(_) => Exit::Failed,
        }
    }

    /// Prints it to standard error, as text or as JSON.
    pub(crate) fn print(&self, screen: Screen) {
        let text = match self {
            Self::Told(_) => return,
            Self::Output(error) => format!("error: write the answer\ncause: {error}\n"),
            Self::Error(error) if screen.json => {
                serde_json::json!({ "error": error }).to_string() + "\n"
            }
            Self::Error(error) => render(error, screen.errors),
        };
        // Nothing can be done when standard error is closed as well.
        crate::screen::error(&text);
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Error(Box::new(error.to_error()))
    }
}

/// An error as a person reads it.
pub(crate) fn render(error: &Error, paint: Paint) -> String {
    let mut text = String::new();
    for diagnostic in &error.diagnostics {
        text += diagnostic.rendered.trim_end();
        text += "\n\n";
    }
    let errors = error.diagnostics.iter().filter(|d| d.severity == Severity::Error).count();
    text += &format!("{}: {}", paint.bad(&format!("error[{}]", error.code)), error.message);
    if errors > 0 {
        text += &format!(" ({errors} {})", if errors == 1 { "error" } else { "errors" });
    }
    text += "\n";
    let steps = error.outcome.iter().flat_map(|outcome| &outcome.steps);
    for step in steps.filter(|step| step.state == StepState::Failed) {
        for failure in &step.failures {
            text += &format!("  {}: {failure}\n", step.name);
        }
    }
    if let Some(cause) = &error.cause {
        text += &format!("cause: {cause}\n");
    }
    if let Some(hint) = &error.hint {
        text += &format!("{}: {hint}\n", paint.hint("hint"));
    }
    text
}
