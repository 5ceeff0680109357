//! `policy import --from FORMAT [FILE]`: another firewall's rules as a native file on standard output.
//!
//! What was not understood is told on standard error, and stands in the file as comments too.

use std::path::Path;

use api::codes;
use policy::import::{Format, Imported, import};
use serde_json::json;

use super::check::{called, limits, read};
use super::{Context, count};
use crate::args::ImportFrom;
use crate::failure::{Exit, Failure};

/// Schema of `--json`.
const SCHEMA: &str = "bulkhead.import/1";

pub(crate) fn run(context: &Context, from: ImportFrom, file: &Path) -> Result<Exit, Failure> {
    let format = match from {
        ImportFrom::Nft => Format::Nft,
        ImportFrom::Iptables => Format::Iptables,
        ImportFrom::Compose => Format::Compose,
        ImportFrom::Ufw => Format::Ufw,
    };
    let name = called(file);
    let failed = |error: &dyn std::error::Error| {
        let hint = "`bulkhead policy import --help` says which command makes the text";
        Failure::new(codes::FILE, format!("import {name}")).because(error).hint(hint)
    };
    let text = policy::text(&name, read(file)?, &limits()).map_err(|found| failed(&*found))?;
    let imported = import(format, &name, &text).map_err(|error| failed(&error))?;
    if !context.screen.json {
        context.screen.tell(&report(&name, format, &imported));
    }
    let answer = json!({
        "schema": SCHEMA,
        "file": name,
        "format": format.to_string(),
        "rules": imported.rules,
        "policies": imported.policies,
        "skipped": imported.skipped,
        "omitted": imported.omitted,
        "text": imported.text,
    });
    context.screen.show(&answer, |_, _| imported.text.clone())?;
    Ok(Exit::Done)
}

/// What was read and what was not, for people.
pub(crate) fn report(name: &str, format: Format, imported: &Imported) -> String {
    let noun = if format == Format::Compose { "service" } else { "rule" };
    let mut text = format!(
        "{name}: {} read, {} written",
        count(imported.rules as u64, noun),
        count(imported.policies as u64, "policy").replace("policys", "policies")
    );
    let skipped = imported.skipped.len() + imported.omitted;
    if skipped == 0 {
        return text + "; everything was understood";
    }
    text += &format!(
        "; not understood or not taken over, and allowing nothing: {}",
        count(skipped as u64, "construct")
    );
    for each in &imported.skipped {
        let place = match (each.line, format) {
            (0, _) => String::new(),
            (line, Format::Nft) => format!("handle {line}: "),
            (line, _) => format!("line {line}: "),
        };
        text += &format!("\n  {place}{} ({})", each.reason, each.source);
    }
    if imported.omitted > 0 {
        text += &format!("\n  and {} more", imported.omitted);
    }
    text
}
