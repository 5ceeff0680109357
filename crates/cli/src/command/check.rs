//! Reading a file: for `policy check`, and for the commands that hand it to the agent.
//!
//! The file is read and checked here, so that a mistake is shown without an agent, and so that only
//! those variables of the environment travel that the file lists.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;

use api::{DocumentRequest, Source, codes};
use policy::{Checked, Diagnostics, Limits};

use super::{Context, count};
use crate::failure::{Exit, Failure};

/// Reads, checks and reports; refuses a file with errors.
pub(crate) fn run(context: &Context, file: &Path, strict: bool) -> Result<Exit, Failure> {
    let source = read(file)?;
    let now = jiff::Timestamp::now();
    let (result, _) = asked(|variable| policy::load(&text(&source), variable, &limits(), now));
    let (diagnostics, document) = match result {
        Ok(Checked { document, warnings }) => (Box::new(warnings), Some(document)),
        Err(diagnostics) => (diagnostics, None),
    };
    let errors = diagnostics.errors();
    let warnings = diagnostics.records().len() - errors;
    if context.screen.json {
        let answer = serde_json::json!({
            "schema": "bulkhead.check/1",
            "file": source.name,
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
                    source.name,
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

/// The request that carries a file to the agent; errors of the file are told here.
pub(crate) fn request(
    context: &Context,
    file: &Path,
    dry_run: bool,
) -> Result<DocumentRequest, Failure> {
    let source = read(file)?;
    // The agent looks for what is probably not meant, and says it with the plan.
    let (result, vars) = asked(|variable| policy::parse(&text(&source), variable, &limits()));
    if let Err(diagnostics) = result {
        if context.screen.json {
            let answer = serde_json::json!({
                "error": { "code": codes::DOCUMENT, "diagnostics": diagnostics.records() }
            });
            context.screen.tell(&answer.to_string());
        } else {
            context.screen.tell(diagnostics.render(context.screen.errors.0).trim_end());
            context.screen.tell(&format!(
                "error[{}]: {} is refused ({}); nothing was changed",
                codes::DOCUMENT,
                source.name,
                count(diagnostics.errors() as u64, "error")
            ));
        }
        return Err(Failure::Told(Exit::Failed));
    }
    Ok(DocumentRequest { source, vars, dry_run })
}

fn read(file: &Path) -> Result<Source, Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::new(codes::FILE, format!("read {}", file.display())).because(error)
    };
    let (name, open): (String, Box<dyn std::io::Read>) = if file == Path::new("-") {
        ("<stdin>".to_owned(), Box::new(std::io::stdin()))
    } else {
        let open = std::fs::File::open(file).map_err(|error| failed(&error))?;
        (file.display().to_string(), Box::new(open))
    };
    let limit = Limits::MAX_BYTES as u64;
    let mut text = String::new();
    open.take(limit + 1).read_to_string(&mut text).map_err(|error| failed(&error))?;
    if text.len() as u64 > limit {
        let message = format!("{name} is larger than {} MiB", limit >> 20);
        return Err(Failure::new(codes::FILE, message));
    }
    Ok(Source { name, text })
}

fn text(source: &Source) -> policy::Source<'_> {
    policy::Source { name: &source.name, text: &source.text }
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
