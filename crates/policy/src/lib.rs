//! People's files to checked documents: parse, check, lint, explain.
//!
//! [`load`] reads a file and makes a [`Document`] of it: every name resolved, every address checked, every rule numbered.
//! The planner compiles it, the agent runs it, `plan` and `why` explain it. All mistakes of a file are reported at once,
//! each at its place and with a stable code ([`codes`]). This crate never decides about a packet: that is `verdict`'s work
//! alone.
//!
//! **Limits.** Size, depth and counts are bounded by [`Limits`]; `load` never panics, whatever the text.

mod check;
pub mod codes;
mod decode;
mod diagnostic;
pub mod document;
pub mod explain;
mod format;
pub mod geo;
pub mod import;
pub mod kubernetes;
mod lint;
mod misled;
mod nearest;
mod raw;
mod remarks;
pub mod rewrite;
mod scalar;
mod schema;
mod strays;
mod text;
mod tree;
mod vars;

use std::sync::Arc;

use decode::Decode;
use diagnostic::Problems;
use jiff::Timestamp;

pub use codes::Code;
pub use diagnostic::{Diagnostic, Diagnostics, Record, Severity};
pub use document::Document;
pub use format::format;
pub use ipnet::IpNet;
pub use misled::{Leads, Misled, misled};
pub use model::Peer;
pub use scalar::mac;
pub use schema::json_schema;
pub use strays::{names_addresses, strays};
pub use text::text;

/// A file's name, for messages, and its text.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    /// As the user gave it.
    pub name: &'a str,
    /// The whole text.
    pub text: &'a str,
}

/// What a file asks of the world outside of it. This crate looks nothing up by itself.
#[derive(Clone, Copy)]
pub struct Outside<'a> {
    /// The value of an environment variable; asked only for names that the file lists under `vars:`.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// The networks of countries; asked at most once, and only if the file names some.
    pub countries: &'a geo::Lookup<'a>,
}

/// How large a file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of text.
    pub bytes: usize,
    /// Deepest nesting of lists and mappings.
    pub depth: usize,
    /// Most values (list entries, keys and what belongs to them).
    pub values: usize,
    /// Most tenants.
    pub tenants: usize,
    /// Most networks of all tenants: as many as there are transit links.
    pub networks: usize,
    /// Most workloads of all tenants: as many as there are endpoint numbers.
    pub workloads: usize,
    /// Most policies of all scopes.
    pub policies: usize,
    /// Most findings that are kept; the rest is counted.
    pub findings: usize,
}

impl Limits {
    /// The largest file that can be asked for, in bytes.
    pub const MAX_BYTES: usize = 64 << 20;

    /// Limits for a file of at most `bytes` (at most [`Limits::MAX_BYTES`]).
    #[must_use]
    pub fn for_bytes(bytes: usize) -> Self {
        let bytes = bytes.min(Self::MAX_BYTES);
        Self {
            bytes,
            depth: 16,
            values: bytes / 4,
            tenants: 4096,
            networks: 4096,
            workloads: 16_383,
            policies: 200_000,
            findings: 200,
        }
    }
}

/// 1 MiB, for what comes from nowhere in particular; the program itself asks for [`Limits::MAX_BYTES`].
impl Default for Limits {
    fn default() -> Self {
        Self::for_bytes(1 << 20)
    }
}

/// A file that passed every check.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What it means.
    pub document: Document,
    /// Warnings and notes, possibly none.
    pub warnings: Diagnostics,
}

/// Reads, checks and lints a file. `variable` gives the value of an environment variable; it is asked only for names that
/// the file lists under `vars:`. No country is known; [`kubernetes::load`] takes a lookup. `now` decides which policies have expired (for warnings only; the document keeps them).
///
/// # Errors
/// All findings, at least one of them an error.
pub fn load(
    source: &Source<'_>,
    variable: &dyn Fn(&str) -> Option<String>,
    limits: &Limits,
    now: Timestamp,
) -> Result<Checked, Box<Diagnostics>> {
    let mut problems = Problems::new(source.text, limits.findings);
    let outside = Outside { variable, countries: &geo::nowhere };
    let (document, _) = checked(source, outside, limits, &mut problems)?;
    lint::lint(&document, now, &mut problems);
    let warnings = problems.finish(Arc::clone(&document.file));
    Ok(Checked { document, warnings })
}

/// As [`load`], without looking for what is probably not meant: for whoever hands the file on to somebody who does.
///
/// # Errors
/// As [`load`].
pub fn parse(
    source: &Source<'_>,
    variable: &dyn Fn(&str) -> Option<String>,
    limits: &Limits,
) -> Result<Document, Box<Diagnostics>> {
    let mut problems = Problems::new(source.text, limits.findings);
    let outside = Outside { variable, countries: &geo::nowhere };
    checked(source, outside, limits, &mut problems).map(|(document, _)| document)
}

/// A document without mistakes, and what it says to manifests beside it; warnings are left among the problems.
fn checked(
    source: &Source<'_>,
    outside: Outside<'_>,
    limits: &Limits,
    problems: &mut Problems<'_>,
) -> Result<(Document, kubernetes::Declared), Box<Diagnostics>> {
    let file: Arc<str> = Arc::from(source.name);
    if source.text.len() > limits.bytes {
        return Err(Box::new(text::too_large(source.name, source.text.len(), limits)));
    }
    let read = read(source, &file, outside, limits, problems);
    if let Some(read) = read.filter(|_| problems.errors() == 0) {
        return Ok(read);
    }
    let found = std::mem::replace(problems, Problems::new("", limits.findings));
    Err(Box::new(found.finish(file)))
}

fn read(
    source: &Source<'_>,
    file: &Arc<str>,
    outside: Outside<'_>,
    limits: &Limits,
    problems: &mut Problems<'_>,
) -> Option<(Document, kubernetes::Declared)> {
    let mut root = tree::read(source.text, limits, problems)?;
    vars::replace(&mut root, outside.variable, limits.bytes, problems);
    let raw = raw::RawFile::decode(&root, problems)?;
    let mut document = check::check(&raw, file, limits, outside.countries, problems);
    document.remarks = remarks::remarks(source.text, &document).into();
    Some((document, kubernetes::Declared::of(&raw)))
}
