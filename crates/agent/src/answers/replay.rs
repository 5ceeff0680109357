//! Every recorded flow, judged by another policy: what would break, what would newly pass.
//!
//! The flow store is read hour by hour, by as many threads as there are processors; each row costs one look into a table of what was
//! judged already, and each different pair of ends and port one question to the evaluator. Nothing is looked up by name for a row.
//!
//! **Whose policy.** A workload is judged as the new file has it: with its address and its labels there. One that is gone is judged as
//! another workload of the same identity, if there is one; else its flows cannot be judged, and are counted. Addresses of others are judged as they
//! are, unless a workload has them now.
//!
//! **Bounds.** One at a time goes through the whole store ([`Turns`]), for two minutes at most, and not when nobody waits for it any more; hours that
//! were not read are declared. What is remembered while it reads is bounded, whatever the records are.

mod lens;
mod read;
mod scan;
#[cfg(test)]
pub(crate) mod tests;
mod turn;

use api::{Error, RecordGap, Replay, ReplayLine, ReplayQuery};
use flow::Decision;
use flow::hours::{Gap, GapKind};
use jiff::Timestamp;
use model::{Proto, RuleRef};

use crate::force::{Force, Wanted};
use crate::shared::Shared;

use super::flows::verdict;
use super::rule_at;

pub(crate) use lens::{Lens, Stand};
pub(crate) use read::{Read, Records, records};
pub(crate) use scan::{Class, Group, Key, Scan, scan};
pub(crate) use turn::{Turn, Turns};

/// Examples of addresses of one line.
const ADDRESSES: usize = 5;

/// Judges what is recorded by a document that was checked and compiled for this node.
///
/// # Errors
/// `BH0214` when the flow store cannot be read.
pub(crate) fn replay(
    shared: &Shared,
    wanted: &Wanted,
    query: ReplayQuery,
    turn: &Turn,
) -> Result<Replay, Error> {
    let force = shared.force();
    let records = Records { turn: Some(turn.clone()), ..records(shared, query.since_s)? };
    let (found, read) = judged(&records, force.as_deref(), wanted);
    let names = Names { new: &wanted.bundle, file: &wanted.document.file };
    Ok(Replay {
        generation: force.as_ref().map_or(0, |force| force.generation),
        period: records.period(&read),
        ..told(&found, &names)
    })
}

/// What becomes of every record.
pub(crate) fn judged(records: &Records, force: Option<&Force>, wanted: &Wanted) -> (Scan, Read) {
    let old = force.map(|force| Lens::new(&force.wanted.bundle));
    let new = Lens::new(&wanted.bundle);
    scan(records, old.as_ref(), &new)
}

/// What numbers of rules mean.
struct Names<'a> {
    new: &'a planner::Bundle,
    file: &'a str,
}

fn told(found: &Scan, names: &Names<'_>) -> Replay {
    let mut replay = Replay {
        schema: Replay::SCHEMA.to_owned(),
        file: names.file.to_owned(),
        totals: found.totals,
        ..Replay::default()
    };
    let mut groups: Vec<(&Key, &Group)> = found.groups().collect();
    groups.sort_by(|a, b| (b.1.flows(), a.0.order()).cmp(&(a.1.flows(), b.0.order())));
    for (key, group) in groups {
        let list = match key.class {
            Class::Breaks => &mut replay.breaks,
            Class::Passes => &mut replay.passes,
            Class::Unjudged => {
                if replay.unjudged.len() < Replay::LINES {
                    replay.unjudged.push(unjudged(key, group));
                } else {
                    replay.omitted_lines += 1;
                }
                continue;
            }
            _ => continue,
        };
        if list.len() < Replay::LINES {
            list.push(line(key, group, names));
        } else {
            replay.omitted_lines += 1;
        }
    }
    replay.omitted_lines += found.omitted;
    replay
}

fn unjudged(key: &Key, group: &Group) -> api::Unjudged {
    api::Unjudged {
        from: key.from.to_string(),
        to: key.to.to_string(),
        why: key.note.as_deref().unwrap_or_default().to_owned(),
        flows: group.flows(),
        last: instant(group.last),
    }
}

fn line(key: &Key, group: &Group, names: &Names<'_>) -> ReplayLine {
    let rule = |id: u32| names.new.rules.get(&id).filter(|_| id != 0);
    let (was, becomes) = (key.was, key.becomes);
    ReplayLine {
        from: key.from.to_string(),
        to: key.to.to_string(),
        service: service(key.protocol, key.port),
        flows: group.flows(),
        first: instant(group.first),
        last: instant(group.last),
        was: decision(was, key.rule.as_ref(), None),
        becomes: decision(becomes.verdict, rule(becomes.rule), becomes.default),
        addresses: group.addresses.iter().map(ToString::to_string).collect(),
        notes: key.note.iter().map(ToString::to_string).collect(),
    }
}

fn decision(was: Decision, rule: Option<&RuleRef>, default: Option<&str>) -> api::Decision {
    let plain = match was {
        Decision::Allow => "open",
        Decision::Drop => "default deny",
        Decision::Audit => "audit",
    };
    let default = rule.is_none().then(|| default.unwrap_or(plain).to_owned());
    api::Decision { verdict: verdict(was), rule: rule.map(rule_at), default }
}

/// `6379/tcp`, `icmp/8/0`, `ip/47`.
pub(crate) fn service(protocol: u8, port: u16) -> String {
    let proto = Proto::from_number(protocol);
    let [kind, code] = port.to_be_bytes();
    match proto {
        Proto::Icmp | Proto::Icmp6 => format!("{proto}/{kind}/{code}"),
        Proto::Other(_) => proto.to_string(),
        _ => format!("{port}/{proto}"),
    }
}

/// RFC 3339, to the second.
pub(crate) fn instant(at: u32) -> String {
    Timestamp::from_second(at.into()).map_or_else(|_| String::new(), |at| format!("{at:.0}"))
}

pub(crate) fn gap(gap: &Gap) -> RecordGap {
    let kind = match gap.kind {
        GapKind::Down => "down",
        GapKind::Lost => "lost",
        GapKind::Full => "full",
        GapKind::Unwritten => "unwritten",
        GapKind::Unreadable => "unreadable",
        GapKind::Clock => "clock",
        GapKind::Unread => "unread",
    };
    RecordGap {
        from: instant(gap.from),
        to: instant(gap.to),
        kind: kind.to_owned(),
        text: gap.kind.text().to_owned(),
        events: gap.events,
    }
}
