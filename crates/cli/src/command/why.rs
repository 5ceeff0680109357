//! `bulkhead why A B tcp/5432`: the verdict, what decided, what nearly did, what would allow it.

use api::{Verdict, Why, WhyRequest};

use super::{Context, person, place};
use crate::args::Pair;
use crate::failure::{Exit, Failure};
use crate::screen::Paint;

pub(crate) fn run(context: &Context, pair: &Pair) -> Result<Exit, Failure> {
    let request = WhyRequest {
        from: pair.from.clone(),
        to: pair.to.clone(),
        service: pair.service.clone(),
        source_port: pair.source_port,
    };
    let why = context.client()?.why(&request)?;
    context.screen.show(&why, render)?;
    Ok(Exit::Done)
}

pub(crate) fn render(why: &Why, paint: Paint) -> String {
    let mut text = headline(why, paint);
    text += &format!("  {}\n", why.text);
    let rules = [("egress", &why.egress_rule), ("ingress", &why.ingress_rule)];
    for (side, rule) in rules {
        if let Some(rule) = rule {
            text += &format!("  {side:<8} {} rule {}\n", rule.kind, place(rule));
        }
    }
    for miss in &why.near_misses {
        text += &format!(
            "  nearest  {} ({}:{}): {}\n",
            miss.rule.name, miss.rule.file, miss.rule.line, miss.text
        );
    }
    if let Some(allow) = &why.would_allow {
        text += &format!("  {}  {}\n", paint.hint("to allow it:"), allow.yaml);
        text += &format!("                under {}\n", allow.place);
        if let Some(note) = &allow.note {
            text += &format!("                {note}\n");
        }
    }
    for way in &why.published {
        text += &format!(
            "  {} {} of the host leads to {} {} ({}): {}, {}\n",
            paint.hint("published:"),
            way.service,
            way.workload,
            way.target_service,
            way.publish,
            paint.verdict(way.verdict.as_str(), 0),
            way.text
        );
    }
    for warning in &why.warnings {
        text += &format!("  {} {warning}\n", paint.warn("but:"));
    }
    text + &seen(why)
}

/// `drop  default deny   at db, ingress            reason BH-D002`
fn headline(why: &Why, paint: Paint) -> String {
    let verdict = paint.verdict(why.verdict.as_str(), 5);
    let what = match (&why.reason, &why.rule) {
        (Some(reason), _) => reason.text.clone(),
        (None, Some(rule)) => place(rule),
        (None, None) if why.decided.is_none() => "not judged".to_owned(),
        (None, None) => "open posture".to_owned(),
    };
    let at = why
        .decided
        .as_ref()
        .map_or_else(String::new, |at| format!("   at {}, {}", person(&at.workload), at.direction));
    let code = why.reason.as_ref().map_or_else(String::new, |r| format!("   reason {}", r.code));
    format!(
        "{verdict} {what}{at}{code}\n  {} → {} {}\n",
        why.from.name, why.to.name, why.service.text
    )
}

fn seen(why: &Why) -> String {
    if why.seen.count == 0 {
        return "  not seen on the wire so far\n".to_owned();
    }
    let since = why.seen.since.as_deref().unwrap_or("an unknown time");
    let last = why.seen.last.as_deref().unwrap_or("an unknown time");
    let verdict = if why.verdict == Verdict::Drop { " --verdict drop" } else { "" };
    format!(
        "  seen {} times since {since}, last {last}       bulkhead observe --from {} --to {}{verdict}\n",
        why.seen.count, why.from.name, why.to.name
    )
}
