//! `bulkhead plan --svg`: the segments, and the connections between them that change.
//!
//! Sources stand on the left, each beside all that changes for it; every change is one arrow to where it leads. So no two
//! arrows cross, however many there are.

use std::collections::{BTreeMap, BTreeSet};

use api::{Area, Change, ConnectionChange, PlanReport};

use crate::command::{count, position};
use crate::picture::{Anchor, Ink, Picture, cut, room};

/// Most arrows; the rest is counted.
const ARROWS: usize = 200;
/// Height of one arrow with its two lines of words.
const ROW: u32 = 46;
/// From the left edge, and between things.
const GAP: u32 = 16;
/// Letters of a line above or below an arrow.
const LETTERS: usize = 58;

/// An arrow: what changes from one place to another.
struct Arrow<'r> {
    from: &'r str,
    to: &'r str,
    change: &'r ConnectionChange,
}

pub(crate) fn svg(report: &PlanReport, file: &str) -> String {
    let all = arrows(report);
    let told = all.get(..ARROWS.min(all.len())).unwrap_or_default();
    let names = told.iter().flat_map(|arrow| [arrow.from, arrow.to]);
    let members: BTreeMap<&str, &Area> =
        report.areas.iter().map(|area| (area.name.as_str(), area)).collect();
    let wide =
        names.map(|name| room(name).max(members.get(name).map_or(0, |it| room(&listed(it)))));
    let side = wide.max().unwrap_or(0) + GAP;
    let middle = u32::try_from(LETTERS * 8).unwrap_or(u32::MAX);
    let mut picture = Picture::default();
    picture.text((GAP, 28), Anchor::Start, Ink::Plain, &headline(report));
    let mut y = 44;
    let mut rows = told;
    while let Some(first) = rows.first() {
        let same = rows.iter().take_while(|arrow| arrow.from == first.from).count();
        let (group, rest) = rows.split_at(same);
        rows = rest;
        place_of(&mut picture, (GAP, y), (side, group.len()), first.from, &members);
        let mut group = group;
        while let Some(first) = group.first() {
            let same = group.iter().take_while(|arrow| arrow.to == first.to).count();
            let (lane, rest) = group.split_at(same);
            group = rest;
            let right = GAP + side + middle;
            place_of(&mut picture, (right, y), (side, lane.len()), first.to, &members);
            for arrow in lane {
                lines(&mut picture, arrow, (GAP + side, y), right);
                y += ROW;
            }
        }
        y += GAP;
    }
    let rest = (all.len() - told.len()) as u64;
    let left_out = [(rest, "more arrow"), (report.omitted_connections, "more pair")];
    for (number, noun) in left_out.into_iter().filter(|(number, _)| *number > 0) {
        let text = format!("{} left out", count(number, noun));
        picture.text((GAP, y + 14), Anchor::Start, Ink::Faint, &text);
        y += 22;
    }
    untouched(&mut picture, report, told, y);
    picture.file(&format!("What {file} changes"), &headline(report))
}

/// Every arrow, by source and then by target.
fn arrows(report: &PlanReport) -> Vec<Arrow<'_>> {
    let mut all: Vec<Arrow<'_>> = Vec::new();
    for change in &report.connections {
        if change.between.is_empty() {
            all.push(Arrow { from: &change.from, to: &change.to, change });
        }
        let pairs = change.between.iter();
        all.extend(pairs.map(|pair| Arrow { from: &pair.from, to: &pair.to, change }));
    }
    all.sort_by(|a, b| (a.from, a.to).cmp(&(b.from, b.to)));
    all
}

/// A segment or zone as a box as high as so many arrows.
fn place_of(
    picture: &mut Picture,
    (x, y): (u32, u32),
    (width, rows): (u32, usize),
    name: &str,
    members: &BTreeMap<&str, &Area>,
) {
    let area = members.get(name);
    let ink = match area.and_then(|area| area.change) {
        Some(Change::Add) => Ink::Good,
        Some(Change::Remove) => Ink::Bad,
        Some(Change::Change) | None => Ink::Plain,
    };
    let height = u32::try_from(rows).unwrap_or(u32::MAX).saturating_mul(ROW) - 6;
    let workloads = area.map(|area| listed(area)).unwrap_or_default();
    picture.area((x, y), (width, height), ink, &workloads);
    picture.text((x + 8, y + 17), Anchor::Start, Ink::Plain, name);
    picture.text((x + 8, y + 34), Anchor::Start, Ink::Faint, &workloads);
}

/// `web, api and 3 more`.
fn listed(area: &Area) -> String {
    let named = area.workloads.get(..3.min(area.workloads.len())).unwrap_or_default();
    let more = area.workloads.len() as u64 - named.len() as u64 + area.omitted_workloads;
    let text = named.join(", ");
    if more > 0 { format!("{text} and {more} more") } else { text }
}

/// The arrow with what passes above it and who and why below.
fn lines(picture: &mut Picture, arrow: &Arrow<'_>, (x, y): (u32, u32), right: u32) {
    let change = arrow.change;
    let ink = match change.change {
        Change::Add if change.audit => Ink::Warn,
        Change::Add => Ink::Good,
        Change::Change => Ink::Warn,
        Change::Remove => Ink::Bad,
    };
    let cuts = match change.cut_total {
        0 => String::new(),
        flows => format!(" · cuts {}", count(flows, "live flow")),
    };
    let above = format!("{} {}{cuts}", change.change.sign(), change.service);
    let who = if change.between.is_empty() {
        String::new()
    } else {
        format!("{} → {}", change.from, change.to)
    };
    let rule = change.rule.as_ref().map_or_else(
        || "by no rule".to_owned(),
        |rule| format!("{} {}", rule.name, position(rule)),
    );
    let below = if who.is_empty() { rule } else { format!("{who} · {rule}") };
    picture.text((x + 10, y + 14), Anchor::Start, ink, &cut(&above, LETTERS - 3));
    picture.arrow((x + 4, y + 21), right - 3, ink);
    picture.text((x + 10, y + 37), Anchor::Start, Ink::Faint, &cut(&below, LETTERS - 3));
}

/// The segments that no arrow touches, by name.
fn untouched(picture: &mut Picture, report: &PlanReport, told: &[Arrow<'_>], y: u32) {
    let touched: BTreeSet<&str> = told.iter().flat_map(|arrow| [arrow.from, arrow.to]).collect();
    let rest = report.areas.iter().filter(|area| !touched.contains(area.name.as_str()));
    let names: Vec<&str> = rest.map(|area| area.name.as_str()).collect();
    if let Some(first) = names.chunks(6).next() {
        let more = names.len() - first.len();
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let text = format!("no connection changes: {}{more}", first.join(", "));
        picture.text((GAP, y + 14), Anchor::Start, Ink::Faint, &text);
    }
}

/// `3 gained, 1 lost, 2 live flows would be cut; 2 assertions hold`.
pub(crate) fn headline(report: &PlanReport) -> String {
    let of = |sign: Change| report.connections.iter().filter(|it| it.change == sign).count();
    let mut parts = Vec::new();
    for (sign, word) in
        [(Change::Add, "gained"), (Change::Change, "judged differently"), (Change::Remove, "lost")]
    {
        let number = of(sign);
        if number > 0 {
            parts.push(format!("{number} {word}"));
        }
    }
    if parts.is_empty() {
        parts.push("no connection changes".to_owned());
    }
    let cut: u64 = report.connections.iter().map(|change| change.cut_total).sum();
    if cut > 0 {
        parts.push(format!("{} would be cut", count(cut, "live flow")));
    }
    let broken = report.assertions.iter().filter(|assertion| !assertion.holds).count();
    let assertions = match (report.assertions.len(), broken) {
        (0, _) => String::new(),
        (all, 0) => format!("; {} hold", count(all as u64, "assertion")),
        (all, broken) => format!("; {broken} of {} broken", count(all as u64, "assertion")),
    };
    parts.join(", ") + &assertions
}
