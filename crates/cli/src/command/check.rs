//! Reading a file: for `policy check`, and for the commands that hand it to the agent.
//!
//! The file is read and checked here, so that a mistake is shown without an agent, and so that only
//! those variables of the environment travel that the file lists.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use api::{DocumentRequest, Source, codes};
use policy::{Checked, Diagnostics, Limits};

use super::{Context, count};
use crate::failure::{Exit, Failure};

/// The file name that means standard input.
const STDIN: &str = "-";

/// Reads, checks and reports; refuses a file with errors.
pub(crate) fn run(context: &Context, file: &Path, strict: bool) -> Result<Exit, Failure> {
    let name = called(file);
    let bytes = read(file)?;
    let now = jiff::Timestamp::now();
    let (result, _) = asked(|variable| {
        let text = policy::text(&name, bytes, &limits())?;
        policy::load(&policy::Source { name: &name, text: &text }, variable, &limits(), now)
    });
    let (diagnostics, document) = match result {
        Ok(Checked { document, warnings }) => (Box::new(warnings), Some(document)),
        Err(diagnostics) => (diagnostics, None),
    };
    let errors = diagnostics.errors();
    let warnings = diagnostics.records().len() - errors;
    if context.screen.json {
        let answer = serde_json::json!({
            "schema": "bulkhead.check/1",
            "file": name,
            "ok": errors == 0,
            "diagnostics": diagnostics.records(),
        });
        context.screen.show(&answer, |_, _| String::new())?;
    } else {
        context.screen.tell(diagnostics.render(context.screen.errors.0).trim_end());
        if let Some(document) = &document {
            context.screen.show(&(), |(), paint| {
                format!(
                    "{} {}: {}, {}, {}, {}\n",
                    paint.good("correct"),
                    name,
                    count(document.tenants.len() as u64, "tenant"),
                    count(document.workloads.len() as u64, "workload"),
                    count(document.policies.len() as u64, "policy").replace("policys", "policies"),
                    count(warnings as u64, "warning"),
                )
            })?;
        }
    }
    Ok(match (errors, warnings) {
        (1.., _) => Exit::Failed,
        (0, 1..) if strict => Exit::Difference,
        _ => Exit::Done,
    })
}

/// A file that passed every check; errors of the file are told here.
pub(crate) fn checked(
    context: &Context,
    file: &Path,
    now: jiff::Timestamp,
) -> Result<Checked, Failure> {
    let name = called(file);
    let bytes = read(file)?;
    let (result, _) = asked(|variable| {
        let text = policy::text(&name, bytes, &limits())?;
        policy::load(&policy::Source { name: &name, text: &text }, variable, &limits(), now)
    });
    result.map_err(|diagnostics| refused(context, &name, &diagnostics))
}

/// The request that carries a file to the agent; errors of the file are told here.
pub(crate) fn request(
    context: &Context,
    file: &Path,
    dry_run: bool,
) -> Result<DocumentRequest, Failure> {
    let name = called(file);
    let text = match policy::text(&name, read(file)?, &limits()) {
        Ok(text) => text,
        Err(diagnostics) => return Err(refused(context, &name, &diagnostics)),
    };
    let source = Source { name, text };
    // The agent looks for what is probably not meant, and says it with the plan.
    let given = policy::Source { name: &source.name, text: &source.text };
    let (result, vars) = asked(|variable| policy::parse(&given, variable, &limits()));
    if let Err(diagnostics) = result {
        return Err(refused(context, &source.name, &diagnostics));
    }
    Ok(DocumentRequest { source, vars, dry_run })
}

/// Tells why a file is refused.
fn refused(context: &Context, name: &str, diagnostics: &Diagnostics) -> Failure {
    if context.screen.json {
        let answer = serde_json::json!({
            "error": { "code": codes::DOCUMENT, "diagnostics": diagnostics.records() }
        });
        context.screen.tell(&answer.to_string());
    } else {
        context.screen.tell(diagnostics.render(context.screen.errors.0).trim_end());
        context.screen.tell(&format!(
            "error[{}]: {name} is refused ({}); nothing was changed",
            codes::DOCUMENT,
            count(diagnostics.errors() as u64, "error")
        ));
    }
    Failure::Told(Exit::Failed)
}

/// The bytes of a file, or of a pipe that is open already (`/dev/stdin`, `/dev/fd/63`); at most one more than is accepted.
///
/// A named pipe would be waited for, and a device may never end: both are refused before anything is read of them.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    /// `O_NONBLOCK`: a named pipe without a writer is opened at once. Of no effect on files.
    const AT_ONCE: i32 = 0o4000;
    let failed = |error: &dyn std::error::Error| {
        Failure::new(codes::FILE, format!("read {}", called(file))).because(error)
    };
    if file == Path::new(STDIN) {
        return all_of(std::io::stdin().lock()).map_err(|error| failed(&error));
    }
    let opened = OpenOptions::new().read(true).custom_flags(AT_ONCE).open(file);
    let mut open = opened.map_err(|error| failed(&error))?;
    let kind = open.metadata().map_err(|error| failed(&error))?.file_type();
    let is_given = ["/dev/stdin", "/dev/fd", "/proc/self/fd"].iter().any(|at| file.starts_with(at));
    if kind.is_dir() {
        return Err(not_a_file(file, "a folder", "name the file in it"));
    }
    if !kind.is_file() && is_given {
        // Now with waiting: whoever writes may be slow.
        open = std::fs::File::open(file).map_err(|error| failed(&error))?;
    } else if kind.is_fifo() {
        let hint = "hand its text over as standard input: cat PIPE | bulkhead policy check -";
        return Err(not_a_file(file, "a named pipe", hint));
    } else if !kind.is_file() {
        return Err(not_a_file(file, "a device", "write the text to a file first"));
    }
    all_of(open).map_err(|error| failed(&error))
}

fn all_of(file: impl std::io::Read) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(Limits::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What a file is called in diagnostics.
fn called(file: &Path) -> String {
    if file == Path::new(STDIN) { "<stdin>".to_owned() } else { file.display().to_string() }
}

fn not_a_file(file: &Path, what: &str, hint: &str) -> Failure {
    let message = format!("{} is {what}, not a file", file.display());
    Failure::new(codes::FILE, message).hint(hint)
}

fn limits() -> Limits {
    Limits::for_bytes(Limits::MAX_BYTES)
}

/// Reads a file; also returns the variables that it lists and the environment has.
fn asked<T>(
    read: impl FnOnce(&dyn Fn(&str) -> Option<String>) -> Result<T, Box<Diagnostics>>,
) -> (Result<T, Box<Diagnostics>>, BTreeMap<String, String>) {
    let asked = RefCell::new(BTreeMap::new());
    let from_environment = |name: &str| {
        let value = std::env::var(name).ok()?;
        asked.borrow_mut().insert(name.to_owned(), value.clone());
        Some(value)
    };
    let result = read(&from_environment);
    (result, asked.into_inner())
}

#[cfg(test)]
mod tests;
