//! `bulkhead plan FILE`: what changes for people, then what changes in the kernel; as text, as a comment, as a picture.

use std::path::PathBuf;

use api::{ConnectionChange, PlanReport};

use super::{Context, check, count, files, place, prove};
use crate::args::PlanForm;
use crate::failure::{Exit, Failure};
use crate::screen::Paint;

pub(crate) mod markdown;
pub(crate) mod picture;

pub(crate) fn run(
    context: &Context,
    files: &[PathBuf],
    verbose: bool,
    form: PlanForm,
) -> Result<Exit, Failure> {
    let request = check::request(context, files, true)?;
    let report = context.client()?.plan(&request)?;
    let name = files::shown(files);
    match form {
        PlanForm { markdown: true, .. } => {
            context.screen.text(&markdown::markdown(&report, &name))?;
        }
        PlanForm { svg: true, .. } => context.screen.text(&picture::svg(&report, &name))?,
        PlanForm { .. } => text(context, &report, &name, verbose)?,
    }
    let broken = is_broken(&report);
    Ok(match (broken, report.has_changes) {
        (true, _) => Exit::Failed,
        (false, true) => Exit::Difference,
        (false, false) => Exit::Done,
    })
}

fn text(context: &Context, report: &PlanReport, files: &str, verbose: bool) -> Result<(), Failure> {
    context.screen.show(report, |report, paint| {
        let mut text = render(report, paint, verbose);
        if is_broken(report) {
            text += "exit 1: an assertion does not hold; `bulkhead up` refuses this file\n";
        } else if report.has_changes {
            text += &format!("exit 3: there are changes; `bulkhead up {files}` applies them\n");
        }
        text
    })?;
    Ok(())
}

fn is_broken(report: &PlanReport) -> bool {
    report.assertions.iter().any(|assertion| !assertion.holds)
}

/// The report as people read it.
pub(crate) fn render(report: &PlanReport, paint: Paint, verbose: bool) -> String {
    let mut text = String::new();
    for warning in &report.warnings {
        text += warning.rendered.trim_end();
        text += "\n\n";
    }
    text += &paint.strong("Connections");
    text += "\n";
    for change in &report.connections {
        text += &connection(change, paint);
    }
    if report.omitted_connections > 0 {
        text += &format!(
            "  {} not told: the comparison is bounded; assertions are always checked in full\n",
            count(report.omitted_connections, "more pair")
        );
    }
    text += &match report.unchanged_connections {
        Some(unchanged) => format!("  {unchanged} unchanged\n"),
        None => {
            "  unchanged ones are not counted: there are too many workloads or rules\n".to_owned()
        }
    };
    text += &paused(report);
    text += &assertions(report, paint);
    text += &paint.strong("Objects");
    text += "\n";
    for object in &report.objects {
        let detail = object.detail.as_ref().map(|detail| format!("  {detail}")).unwrap_or_default();
        text += &format!("  {} {} {}{detail}\n", object.change.sign(), object.kind, object.name);
    }
    if report.omitted_objects > 0 {
        text += &format!("  and {}\n", count(report.omitted_objects, "more change"));
    }
    text += &format!("  {} unchanged\n", report.unchanged_objects);
    if verbose {
        text += &paint.strong("Kernel");
        text += "\n";
        for action in &report.actions {
            text += &format!("  {action}\n");
        }
    }
    text
}

/// Policies that are not in force at this time of day: what they let pass is in no line.
pub(crate) fn paused(report: &PlanReport) -> String {
    let mut text = String::new();
    for paused in &report.paused {
        text += &format!("  {} is {}\n", place(&paused.rule), paused.pause);
    }
    if report.omitted_paused > 0 {
        text += &format!("  and {} more outside their schedules\n", report.omitted_paused);
    }
    text
}

fn connection(change: &ConnectionChange, paint: Paint) -> String {
    let rule = change.rule.as_ref().map_or_else(String::new, place);
    let said = change.rule.as_ref().and_then(|rule| rule.comment.as_ref());
    let said = said.map_or_else(String::new, |said| format!("   # {said}"));
    let by = change.by.as_ref().map(|by| format!("   (denied by {})", place(by)));
    let by = by.unwrap_or_default();
    let audit = if change.audit { "   (audit)" } else { "" };
    let was = change.was.as_ref().map_or_else(String::new, |was| format!("   (was: {was})"));
    let sign = match change.change.sign() {
        '+' => paint.good("+"),
        '-' => paint.bad("-"),
        other => paint.warn(&other.to_string()),
    };
    let pair = format!("{} → {}", change.from, change.to);
    let mut text =
        format!("  {sign} {pair:<28} {:<20} {rule}{audit}{was}{by}{said}", change.service);
    text.truncate(text.trim_end().len());
    text += "\n";
    if change.cut_total > 0 {
        let flows: Vec<String> = change
            .cut
            .iter()
            .map(|flow| {
                format!("{} → {}:{} (since {})", flow.from, flow.to, flow.service, flow.since)
            })
            .collect();
        text += &format!(
            "    {} would be cut:  {}\n",
            count(change.cut_total, "live flow"),
            flows.join(", ")
        );
    }
    if let Some(recorded) = &change.recorded {
        text += &format!(
            "    recorded since {}: {} from {} would have been dropped; bulkhead replay shows them\n",
            recorded.looked_since.as_ref().unwrap_or(&recorded.since),
            count(recorded.flows, "flow"),
            count(recorded.workloads, "workload")
        );
    }
    text
}

fn assertions(report: &PlanReport, paint: Paint) -> String {
    let broken: Vec<_> = report.assertions.iter().filter(|assertion| !assertion.holds).collect();
    let holding = report.assertions.len() - broken.len();
    let mut text = format!("{}   {holding} hold", paint.strong("Assertions"));
    if !broken.is_empty() {
        text += &format!(", {}", paint.bad(&format!("{} broken", broken.len())));
    }
    text += "\n";
    for assertion in broken {
        for line in prove::assertion(assertion, paint).lines() {
            text += &format!("  {line}\n");
        }
    }
    text
}
