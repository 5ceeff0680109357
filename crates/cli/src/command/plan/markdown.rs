//! `bulkhead plan --markdown`: the plan as a comment of a review (<https://github.github.com/gfm/>).
//!
//! What comes from the file stands between backticks, so that no name in it becomes a link, a mention or a picture.

use api::{ConnectionChange, PlanReport};

use super::picture::headline;
use crate::command::{count, place};

/// Most lines of the table: a comment has a bound (65,536 characters at the usual places).
const LINES: usize = 200;
/// Most objects that are listed.
const OBJECTS: usize = 100;

pub(crate) fn markdown(report: &PlanReport, file: &str) -> String {
    let mut text = format!("### Plan of {}\n\n**{}**\n", code(file), headline(report));
    broken(report, &mut text);
    connections(report, &mut text);
    if let Some(unchanged) = report.unchanged_connections {
        text += &format!("\n{} as before.\n", count(unchanged, "connection"));
    }
    for paused in &report.paused {
        text += &format!("\n{} is {}.\n", code(&place(&paused.rule)), paused.pause);
    }
    objects(report, &mut text);
    warnings(report, &mut text);
    text
}

fn broken(report: &PlanReport, text: &mut String) {
    for assertion in report.assertions.iter().filter(|assertion| !assertion.holds) {
        let example = assertion.counterexample.as_deref().map(code).unwrap_or_default();
        let at = code(&format!("{}:{}", assertion.file, assertion.line));
        *text += &format!("\n- ✗ {} ({at}) does not hold: {example}\n", code(&assertion.text));
    }
}

fn connections(report: &PlanReport, text: &mut String) {
    if report.connections.is_empty() {
        return;
    }
    *text += "\n| | from | to | service | rule | |\n|-|-|-|-|-|-|\n";
    for change in report.connections.iter().take(LINES) {
        *text += &row(change);
    }
    let rest = (report.connections.len().saturating_sub(LINES)) as u64 + report.omitted_connections;
    if rest > 0 {
        *text += &format!("\n{} not told here.\n", count(rest, "more line"));
    }
}

fn row(change: &ConnectionChange) -> String {
    let rule = change.rule.as_ref().map(|rule| code(&place(rule))).unwrap_or_default();
    let mut notes: Vec<String> = Vec::new();
    if change.audit {
        notes.push("recorded only (audit)".to_owned());
    }
    notes.extend(change.was.as_ref().map(|was| format!("was {was}")));
    notes.extend(change.by.as_ref().map(|by| format!("denied by {}", code(&place(by)))));
    if change.cut_total > 0 {
        notes.push(format!("**cuts {}**", count(change.cut_total, "live flow")));
    }
    if let Some(recorded) = &change.recorded {
        let since = &recorded.since;
        notes.push(format!("{} since {since} would drop", count(recorded.flows, "recorded flow")));
    }
    let sign = match change.change.sign() {
        '-' => '−',
        other => other,
    };
    let (from, to, service) = (code(&change.from), code(&change.to), code(&change.service));
    format!("| {sign} | {from} | {to} | {service} | {rule} | {} |\n", notes.join("; "))
}

fn objects(report: &PlanReport, text: &mut String) {
    if report.objects.is_empty() {
        return;
    }
    let all = report.objects.len() as u64 + report.omitted_objects;
    let what =
        if all == 1 { "1 object changes".to_owned() } else { format!("{all} objects change") };
    *text += &format!("\n<details><summary>{what}</summary>\n\n");
    for object in report.objects.iter().take(OBJECTS) {
        let line = format!("{} {} {}", object.change.sign(), object.kind, object.name);
        *text += &format!("- {}\n", code(&line));
    }
    let rest = all - report.objects.len().min(OBJECTS) as u64;
    if rest > 0 {
        *text += &format!("- and {rest} more\n");
    }
    *text += "\n</details>\n";
}

fn warnings(report: &PlanReport, text: &mut String) {
    if report.warnings.is_empty() {
        return;
    }
    let all: Vec<&str> =
        report.warnings.iter().map(|warning| warning.rendered.trim_end()).collect();
    let all = all.join("\n\n");
    let fence = "`".repeat(longest_run(&all).max(2) + 1);
    let number = count(report.warnings.len() as u64, "warning");
    *text += &format!(
        "\n<details><summary>{number}</summary>\n\n{fence}text\n{all}\n{fence}\n\n</details>\n"
    );
}

/// A text as code; in a table a bar would end its cell.
fn code(text: &str) -> String {
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let fence = "`".repeat(longest_run(&text) + 1);
    let pad = if text.starts_with('`') || text.ends_with('`') { " " } else { "" };
    format!("{fence}{pad}{}{pad}{fence}", text.replace('|', "\\|"))
}

/// The longest run of backticks.
fn longest_run(text: &str) -> usize {
    text.split(|c| c != '`').map(str::len).max().unwrap_or(0)
}
