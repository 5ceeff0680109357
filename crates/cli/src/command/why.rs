//! `bulkhead why A B tcp/5432`: the verdict, what decided, what nearly did, what would allow it.

use api::{Connection, Flow, Verdict, Walk, WalkState, WalkStep, Why, WhyRequest};

use super::{Context, observe, person, place, position};
use crate::args::Question;
use crate::failure::{Exit, Failure};
use crate::screen::Paint;

pub(crate) fn run(context: &Context, question: &Question) -> Result<Exit, Failure> {
    let text = |given: &Option<String>| given.clone().unwrap_or_default();
    let request = WhyRequest {
        from: text(&question.from),
        to: text(&question.to),
        service: text(&question.service),
        source_port: question.source_port,
        flow: question.flow,
        walk: !question.no_walk,
    };
    let why = context.client()?.why(&request)?;
    context.screen.show(&why, |why, paint| {
        let way = why.walk.as_ref().map(|walk| way(walk, question.walk, paint));
        render(why, paint) + &way.unwrap_or_default()
    })?;
    Ok(Exit::Done)
}

pub(crate) fn render(why: &Why, paint: Paint) -> String {
    let mut text = headline(why, paint);
    text += &format!("  {}\n", why.text);
    let rules = [("egress", &why.egress_rule), ("ingress", &why.ingress_rule)];
    for (side, rule) in rules {
        if let Some(rule) = rule {
            text += &format!("  {side:<8} {} rule {}\n", rule.kind, place(rule));
            if let Some(comment) = &rule.comment {
                text += &format!("           # {comment}\n");
            }
        }
    }
    for miss in &why.near_misses {
        text +=
            &format!("  nearest  {} ({}): {}\n", miss.rule.name, position(&miss.rule), miss.text);
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
            "  {} {} of the host leads to {} {} ({}): {}, {}{}\n",
            paint.hint("published:"),
            way.service,
            way.workload,
            way.target_service,
            way.publish,
            paint.verdict(way.verdict.as_str(), 0),
            way.text,
            way.terms.as_ref().map(|terms| format!(" [{terms}]")).unwrap_or_default()
        );
    }
    for warning in &why.warnings {
        text += &format!("  {} {warning}\n", paint.warn("but:"));
    }
    if let Some(connection) = &why.connection {
        text += &live(connection);
    }
    if let Some(flow) = &why.recorded {
        text +=
            &format!("  recorded {}\n{}", observe::render(flow, paint), since(flow, why, paint));
    }
    text + &seen(why)
}

/// What is different from what a record says.
fn since(flow: &Flow, why: &Why, paint: Paint) -> String {
    // Drops by the policy; all others are for what the packet was.
    let is_policy = |code: &str| ["BH-D001", "BH-D002", "BH-D003", "BH-D041"].contains(&code);
    match &flow.reason {
        Some(reason) if flow.verdict == Verdict::Drop && !is_policy(&reason.code) => format!(
            "           dropped for what it was, {}, and not by the policy; above is the answer for a first packet\n",
            reason.text
        ),
        _ if flow.verdict == why.verdict => String::new(),
        _ => format!(
            "           {} {} then, {} now\n",
            paint.warn("the policy has changed:"),
            flow.verdict,
            why.verdict
        ),
    }
}

/// The connection whose packets pass without a question.
fn live(connection: &Connection) -> String {
    let by =
        connection.rule.as_ref().map_or_else(String::new, |rule| format!(" by {}", place(rule)));
    let judged = if connection.is_current {
        "its packets pass without another question"
    } else {
        "the policy has changed since: its next packet is judged again"
    };
    let [[sent, _], [received, _]] = connection.counts;
    format!(
        "  live     {}, let through{by}; {sent} packets there, {received} back, the last one {} s ago; {judged}\n",
        connection.state, connection.silent_s
    )
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

/// The way of the packet: all of its steps, or what is wrong with it. The policy's own step is the answer's first line.
pub(crate) fn way(walk: &Walk, is_whole: bool, paint: Paint) -> String {
    let others = || walk.steps.iter().filter(|step| step.topic != "policy");
    let count = |state| others().filter(|step| step.state == state).count();
    let (faults, unknown) = (count(WalkState::Fault), count(WalkState::Unknown));
    let steps = others().count();
    let looked = if steps == 1 {
        "1 step was looked at".to_owned()
    } else {
        format!("{steps} steps were looked at")
    };
    let summary = match (faults, unknown) {
        (0, 0) => format!("{}, {looked}", paint.good("nothing wrong")),
        (0, 1) => format!("{looked}, 1 of them cannot be told"),
        (0, _) => format!("{looked}, {unknown} of them cannot be told"),
        (1, _) => format!("{}, {looked}", paint.bad("1 fault")),
        _ => format!(
            "{}, {looked}; the first one comes first",
            paint.bad(&format!("{faults} faults"))
        ),
    };
    let is_shown =
        |step: &&WalkStep| is_whole || step.state != WalkState::Ok && step.topic != "policy";
    let shown = walk.steps.iter().filter(is_shown).map(|step| told(step, paint));
    format!("  way      {summary}\n{}", shown.collect::<String>())
}

/// One step: where, what, how, and what shows it.
fn told(step: &WalkStep, paint: Paint) -> String {
    let state = match step.state {
        WalkState::Ok => paint.good("ok     "),
        WalkState::Fault => paint.bad("fault  "),
        WalkState::Unknown => paint.warn("unknown"),
    };
    let code = step.code.as_ref().map_or_else(String::new, |code| format!("   {code}"));
    let mut text = format!("  {state}  {}, {}: {}{code}\n", step.place, step.topic, step.text);
    if step.state == WalkState::Ok {
        return text;
    }
    if let Some(command) = &step.command {
        text += &format!("           {} {command}\n", paint.hint("see:"));
    }
    if let Some(hint) = &step.hint {
        text += &format!("           {} {hint}\n", paint.hint("do: "));
    }
    text
}
