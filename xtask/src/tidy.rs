//! The rules of the repository that no lint of the compiler knows, as a command and as a test.
//!
//! Each submodule looks at one thing and returns [`Finding`]s; a rule is a sentence that says what to do instead.
//! CONTRIBUTING.md lists the rules for people.

mod direction;
mod documents;
mod files;
mod sources;

use std::fmt;

use anyhow::{Result, bail};

use crate::workspace::Workspace;

/// One place that breaks a rule.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Path relative to the root of the repository.
    path: String,
    /// Counted from 1; 0 when the finding is about the whole file.
    line: usize,
    /// What is wrong and what to do instead.
    message: String,
}

impl Finding {
    fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Prints every finding.
///
/// # Errors
/// When there is any, or when the repository cannot be read.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let findings = findings(workspace)?;
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("{} places break the rules of the repository (CONTRIBUTING.md)", findings.len());
    }
    Ok(())
}

fn findings(workspace: &Workspace) -> Result<Vec<Finding>> {
    let paths = workspace.files()?;
    let mut all = direction::check(workspace)?;
    for path in &paths {
        let bytes = workspace.read(path)?;
        all.extend(files::check(path, &bytes, &workspace.root));
        let Ok(text) = std::str::from_utf8(&bytes) else { continue };
        if has_extension(path, "rs") {
            all.extend(sources::check(path, text));
        } else if has_extension(path, "md") {
            all.extend(documents::links(path, text, &workspace.root));
        }
    }
    all.extend(documents::codes(workspace, &paths)?);
    all.sort();
    Ok(all)
}

fn has_extension(path: &str, extension: &str) -> bool {
    std::path::Path::new(path).extension().is_some_and(|found| found == extension)
}

#[cfg(test)]
mod tests;
