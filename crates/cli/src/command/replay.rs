//! `bulkhead replay FILE`: what would become of the flows that were recorded.

use std::path::PathBuf;
use std::time::Duration;

use api::{Decision, Period, RecordGap, Replay, ReplayLine, ReplayQuery, Unjudged, Verdict};

use super::{Context, check, count, place};
use crate::failure::{Exit, Failure};
use crate::screen::{Paint, Screen, Waiting};

pub(crate) fn run(
    context: &Context,
    files: &[PathBuf],
    since: Option<u32>,
) -> Result<Exit, Failure> {
    let request = check::request(context, files, true)?;
    let client = context.client()?;
    let replay = waited(context.screen, "judging the recorded flows", || {
        client.replay(&request, &ReplayQuery { since_s: since })
    })?;
    context.screen.show(&replay, render)?;
    Ok(if replay.totals.breaks > 0 { Exit::Difference } else { Exit::Done })
}

/// Does something that may take a while, and says so after two seconds.
pub(crate) fn waited<T>(screen: Screen, what: &'static str, work: impl FnOnce() -> T) -> T {
    let _waiting = Waiting::begin(screen, what, Duration::from_secs(2));
    work()
}

/// The answer as people read it.
pub(crate) fn render(replay: &Replay, paint: Paint) -> String {
    let mut text = period(&replay.period, paint);
    let totals = &replay.totals;
    let title = format!("Would break   {}", flows(totals.breaks));
    text += &if totals.breaks > 0 { paint.bad(&title) } else { paint.strong(&title) };
    text += "\n";
    text += &lines(&replay.breaks, '-', paint);
    text += &paint.strong(&format!("Would newly pass   {}", flows(totals.passes)));
    text += "\n";
    text += &lines(&replay.passes, '+', paint);
    text += &paint.strong("Unchanged");
    text += &format!("   passing: {}", flows(totals.kept));
    if totals.audited > 0 {
        text += &format!(" ({} of them audited)", totals.audited);
    }
    text += &format!("; dropped: {}\n", flows(totals.dropped));
    for (number, what) in [
        (totals.ended_already, "passed then; the policy in force drops them already"),
        (totals.passing_already, "dropped then; the policy in force lets them pass already"),
        (totals.beyond_policy, "dropped as forged, malformed or out of order: no matter of policy"),
    ] {
        if number > 0 {
            text += &format!("  {}: {what}\n", flows(number));
        }
    }
    text += &unjudged(replay, paint);
    if replay.omitted_lines > 0 {
        text += &format!(
            "{} not told; they are in the sums\n",
            count(replay.omitted_lines, "more line")
        );
    }
    if totals.breaks > 0 {
        let them = if totals.breaks == 1 { "it" } else { "them" };
        text += &format!(
            "exit 3: {} passed, and {} would drop {them}\n",
            flows(totals.breaks),
            replay.file
        );
    }
    text
}

/// What was judged, and what is missing of it.
pub(crate) fn period(period: &Period, paint: Paint) -> String {
    let mut text = format!(
        "{}   {} to {}, {}\n",
        paint.strong("Recorded"),
        period.since,
        period.until,
        count(period.rows, "row")
    );
    if let Some(begins) = &period.begins {
        text += &format!("  nothing was recorded before {begins}\n");
    }
    for gap in &period.gaps {
        text += &format!("  {}\n", paint.warn(&missing(gap)));
    }
    if period.omitted_gaps > 0 {
        let more = count(period.omitted_gaps, "more gap");
        text += &format!("  {}\n", paint.warn(&format!("{more}, shorter than these")));
    }
    text
}

/// `no records from A to B: no agent ran; 12 events are missing`.
pub(crate) fn missing(gap: &RecordGap) -> String {
    let head = match gap.kind.as_str() {
        "down" | "unreadable" | "unwritten" => "no records",
        "unread" => "not judged",
        _ => "incomplete",
    };
    let events = match gap.events {
        Some(events) => format!("{} lost", count(events, "event")),
        None => "nobody knows how many flows are missing".to_owned(),
    };
    format!("{head} from {} to {}: {}; {events}", gap.from, gap.to, gap.text)
}

fn flows(number: u64) -> String {
    count(number, "flow")
}

fn lines(lines: &[ReplayLine], sign: char, paint: Paint) -> String {
    let mut text = String::new();
    for line in lines {
        let pair = format!("{} → {}", line.from, line.to);
        let sign = if sign == '-' { paint.bad("-") } else { paint.good("+") };
        text += &format!(
            "  {sign} {pair:<28} {:<16} {:<10} {} to {}\n",
            line.service,
            flows(line.flows),
            line.first,
            line.last
        );
        text +=
            &format!("      was {}; becomes {}\n", decision(&line.was), decision(&line.becomes));
        if !line.addresses.is_empty() {
            text += &format!("      for example {}\n", line.addresses.join(", "));
        }
        for note in &line.notes {
            text += &format!("      note: {note}\n");
        }
    }
    text
}

/// `allow by web-to-db  shop.yaml:24:5`, `drop: default deny`.
fn decision(decision: &Decision) -> String {
    let verdict = match decision.verdict {
        Verdict::Allow => "allow",
        Verdict::Drop => "drop",
        Verdict::Audit => "audit",
    };
    match (&decision.rule, &decision.default) {
        (Some(rule), _) => format!("{verdict} by {}", place(rule)),
        (None, Some(default)) if default != verdict => format!("{verdict}: {default}"),
        _ => verdict.to_owned(),
    }
}

fn unjudged(replay: &Replay, paint: Paint) -> String {
    let totals = &replay.totals;
    if totals.unjudged == 0 && totals.folded == 0 {
        return String::new();
    }
    let all = flows(totals.unjudged + totals.folded);
    let mut text = format!("{}   {all}\n", paint.warn("Cannot be judged"));
    for Unjudged { from, to, why, flows: number, last } in &replay.unjudged {
        text += &format!("  {from} → {to}   {}, last {last}: {why}\n", flows(*number));
    }
    if totals.folded > 0 {
        let number = flows(totals.folded);
        text += &format!("  {number}: more addresses or ports in an hour than are told apart\n");
    }
    text
}
