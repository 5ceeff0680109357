//! Reading files: for `policy check`, and for the commands that hand them to the agent.
//!
//! A file is read and checked here, so that a mistake is shown without an agent, and so that only
//! those variables of the environment travel that the file lists, and those networks of countries that it names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use api::{DocumentRequest, Geography, Source, codes};
use policy::kubernetes::CheckedSet;
use policy::{Diagnostics, Limits, Outside};

use super::files::Files;
use super::geo::Lookups;
use super::{Context, count};
use crate::failure::{Exit, Failure};
use crate::screen::Screen;

/// The file name that means standard input.
pub(super) const STDIN: &str = "-";

/// Reads, checks and reports; refuses files with errors.
pub(crate) fn run(context: &Context, paths: &[PathBuf], strict: bool) -> Result<Exit, Failure> {
    let now = jiff::Timestamp::now();
    let (name, result) = match Files::read(context.screen, paths)? {
        Err(found) => {
            (found.first().map_or_else(String::new, |each| each.file.to_string()), Err(found))
        }
        Ok(files) => {
            let (native, manifests) = files.sources();
            let load = |outside: Outside<'_>| {
                policy::kubernetes::load(&native, &manifests, outside, &limits(), now)
            };
            (files.native.0.clone(), asked(load).0)
        }
    };
    let (diagnostics, document) = match result {
        Ok(CheckedSet { document, warnings }) => (warnings, Some(document)),
        Err(diagnostics) => (diagnostics, None),
    };
    let errors: usize = diagnostics.iter().map(Diagnostics::errors).sum();
    let warnings = diagnostics.iter().map(|each| each.items.len()).sum::<usize>() - errors;
    if context.screen.json {
        let records: Vec<_> = diagnostics.iter().flat_map(Diagnostics::records).collect();
        let answer = serde_json::json!({
            "schema": "bulkhead.check/1",
            "file": name,
            "ok": errors == 0,
            "diagnostics": records,
        });
        context.screen.show(&answer, |_, _| String::new())?;
    } else {
        tell(context.screen, &diagnostics);
        if let Some(document) = &document {
            context.screen.show(&(), |(), paint| {
                format!("{} {name}: {}\n", paint.good("correct"), summary(document, warnings))
            })?;
        }
    }
    Ok(match (errors, warnings) {
        (1.., _) => Exit::Failed,
        (0, 1..) if strict => Exit::Difference,
        _ => Exit::Done,
    })
}

/// Files that passed every check; errors in them are told here.
pub(crate) fn checked(
    context: &Context,
    paths: &[PathBuf],
    now: jiff::Timestamp,
) -> Result<CheckedSet, Failure> {
    let files = match Files::read(context.screen, paths)? {
        Ok(files) => files,
        Err(found) => return Err(refused(context, &found)),
    };
    let (native, manifests) = files.sources();
    let (result, ..) =
        asked(|outside| policy::kubernetes::load(&native, &manifests, outside, &limits(), now));
    result.map_err(|found| refused(context, &found))
}

/// `1 tenant, 3 workloads, 2 policies, 0 warnings`.
fn summary(document: &policy::Document, warnings: usize) -> String {
    let theirs = |policy: &&policy::document::Policy| policy.standing.origin.is_some();
    let own = document.policies.len() - document.policies.iter().filter(theirs).count();
    let manifests: std::collections::BTreeSet<_> =
        document.policies.iter().filter(theirs).map(policy::document::Policy::path).collect();
    let counted =
        |number: usize, noun: &str| count(number as u64, noun).replace("policys", "policies");
    let mut parts = vec![
        counted(document.tenants.len(), "tenant"),
        counted(document.workloads.len(), "workload"),
        counted(own, "policy"),
    ];
    if !manifests.is_empty() {
        parts.push(counted(manifests.len(), "Kubernetes policy"));
    }
    parts.push(counted(warnings, "warning"));
    parts.join(", ")
}

/// The request that carries files to the agent; errors in them are told here.
pub(crate) fn request(
    context: &Context,
    paths: &[PathBuf],
    dry_run: bool,
) -> Result<DocumentRequest, Failure> {
    let files = match Files::read(context.screen, paths)? {
        Ok(files) => files,
        Err(found) => return Err(refused(context, &found)),
    };
    let (native, manifests) = files.sources();
    // The agent looks for what is probably not meant, and says it with the plan.
    let (result, vars, geography) =
        asked(|outside| policy::kubernetes::parse(&native, &manifests, outside, &limits()));
    if let Err(found) = result {
        return Err(refused(context, &found));
    }
    let source = |(name, text)| Source { name, text };
    let manifests = files.manifests.into_iter().map(source).collect();
    let source = source(files.native);
    Ok(DocumentRequest {
        source,
        manifests,
        vars,
        geography,
        dry_run,
        ..DocumentRequest::default()
    })
}

/// Shows findings on standard error.
pub(super) fn tell(screen: Screen, found: &[Diagnostics]) {
    let texts: Vec<String> = found.iter().map(|each| each.render(screen.errors.0)).collect();
    let texts: Vec<&str> = texts.iter().map(|text| text.trim_end()).collect();
    let texts: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    if !texts.is_empty() {
        screen.tell(&texts.join("\n\n"));
    }
}

/// Tells why files are refused.
pub(super) fn refused(context: &Context, found: &[Diagnostics]) -> Failure {
    if context.screen.json {
        let records: Vec<_> = found.iter().flat_map(Diagnostics::records).collect();
        let answer = serde_json::json!({
            "error": { "code": codes::DOCUMENT, "diagnostics": records }
        });
        context.screen.tell(&answer.to_string());
        return Failure::Told(Exit::Failed);
    }
    tell(context.screen, found);
    let names: Vec<&str> = found.iter().map(|each| &*each.file).collect();
    let verb = if names.len() == 1 { "is" } else { "are" };
    context.screen.tell(&format!(
        "error[{}]: {} {verb} refused ({}); nothing was changed",
        codes::DOCUMENT,
        names.join(", "),
        count(found.iter().map(Diagnostics::errors).sum::<usize>() as u64, "error")
    ));
    Failure::Told(Exit::Failed)
}

/// The bytes of a file, or of a pipe that is open already (`/dev/stdin`, `/dev/fd/63`); at most one more than is accepted.
///
/// A named pipe would be waited for, and a device may never end: both are refused before anything is read of them.
pub(super) fn read(file: &Path) -> Result<Vec<u8>, Failure> {
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
pub(super) fn called(file: &Path) -> String {
    if file == Path::new(STDIN) { "<stdin>".to_owned() } else { file.display().to_string() }
}

fn not_a_file(file: &Path, what: &str, hint: &str) -> Failure {
    let message = format!("{} is {what}, not a file", file.display());
    Failure::new(codes::FILE, message).hint(hint)
}

/// The largest file that is taken.
pub(super) fn limits() -> Limits {
    Limits::for_bytes(Limits::MAX_BYTES)
}

/// Reads files; also returns the variables that the native one lists and the environment has, and what was found of the
/// countries that it names.
fn asked<T, E>(
    read: impl FnOnce(Outside<'_>) -> Result<T, E>,
) -> (Result<T, E>, BTreeMap<String, String>, Option<Geography>) {
    let asked = RefCell::new(BTreeMap::new());
    let from_environment = |name: &str| {
        let value = std::env::var(name).ok()?;
        asked.borrow_mut().insert(name.to_owned(), value.clone());
        Some(value)
    };
    let lookups = Lookups::default();
    let countries = |path: &str, wanted: &_| lookups.find(path, wanted);
    let result = read(Outside { variable: &from_environment, countries: &countries });
    (result, asked.into_inner(), lookups.into_found())
}

#[cfg(test)]
mod tests;
