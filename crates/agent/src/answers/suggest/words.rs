//! Rectangles as policies of a file, with the evidence above each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Suggestion;
use model::{Name, Proto};
use policy::Document;
use policy::rewrite::Entry;

use super::exact::Rectangle;
use super::observed::{End, Service};
use super::selectors::Vocabulary;
use crate::answers::replay::instant;

/// Entries of one `allow:`; beyond them the ports of a protocol become one range.
const PORTS: usize = 64;
/// Longest name (see the file's reference).
const NAME: usize = 32;
/// Workloads that a comment names.
const NAMED: usize = 8;

/// Policies, and where they are wider than what was observed.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) entries: Vec<Entry>,
    pub(super) wider: Vec<String>,
    /// Why workloads are named where labels would do.
    pub(super) named: Option<String>,
}

/// One side as it is written.
struct Side {
    peers: Vec<String>,
    /// A word for the policy's name.
    word: String,
    /// Who the selectors mean, where that is not plain.
    meant: Option<String>,
}

/// The policies of a tenant; names in `taken` are not used.
pub(super) fn entries(
    document: &Document,
    tenant: &Name,
    rectangles: &[Rectangle],
    taken: Vec<String>,
) -> Written {
    let mut names: BTreeSet<String> = taken.into_iter().collect();
    let mut written = Written::default();
    let words = Vocabulary::new(document, tenant);
    for part in joined(&words, rectangles) {
        let from = side(&words, &part.from, harmless(&part.from, &part.to));
        let to = side(&words, &part.to, harmless(&part.to, &part.from));
        let name = free(&mut names, &format!("{}-to-{}", from.word, to.word));
        let mut wider = Vec::new();
        let ports = ports(&part.services, &mut wider);
        if part.addresses > 0 {
            wider.push(format!(
                "{} addresses were seen; more than {} are not listed",
                part.addresses,
                super::exact::ADDRESSES
            ));
        }
        let mut comments = vec![evidence(&part)];
        let same = from.meant == to.meant;
        comments.extend(from.meant.into_iter().chain(to.meant.filter(|_| !same)));
        comments.extend(wider.iter().map(|wider| format!("wider than observed: {wider}")));
        written.wider.extend(wider.into_iter().map(|wider| format!("{name}: {wider}")));
        let (from, to) = (list(&from.peers), list(&to.peers));
        let line = format!("{name}: {{ from: {from}, to: {to}, allow: [{}] }}", ports.join(", "));
        written.entries.push(Entry { comments, line });
    }
    written.named = words.untried().map(|why| format!("{tenant}: {why}"));
    written
}

/// Rectangles among workloads whose sources are written alike, and which have the same services, become one: they differ in who
/// speaks to itself only, and that does not leave it.
fn joined(words: &Vocabulary, all: &[Rectangle]) -> Vec<Rectangle> {
    let mut out: Vec<Rectangle> = Vec::new();
    let mut places: BTreeMap<(Vec<String>, BTreeSet<Service>), usize> = BTreeMap::new();
    for part in all {
        let from = side(words, &part.from, harmless(&part.from, &part.to)).peers;
        let is_inside = part.to.iter().all(|end| matches!(end, End::Workload(_)));
        let key = (from, part.services.clone());
        let known = places.get(&key).copied().filter(|_| is_inside);
        if let Some(whole) = known.and_then(|at| out.get_mut(at)) {
            whole.from.extend(part.from.iter().cloned());
            whole.to.extend(part.to.iter().cloned());
            whole.evidence.add(&part.evidence);
            whole.addresses = whole.addresses.max(part.addresses);
            continue;
        }
        if is_inside {
            places.insert(key, out.len());
        }
        out.push(part.clone());
    }
    out
}

/// Who may be meant by one side too: the one workload of the other side, which does not send to itself. Not beside a
/// single one: if both sides meant both of them, the way back would be open.
fn harmless<'a>(own: &BTreeSet<End>, other: &'a BTreeSet<End>) -> Option<&'a Arc<str>> {
    match (own.len(), other.len(), other.first()) {
        (2.., 1, Some(End::Workload(id))) => Some(id),
        _ => None,
    }
}

fn side(words: &Vocabulary, ends: &BTreeSet<End>, other: Option<&Arc<str>>) -> Side {
    let workloads: BTreeSet<Arc<str>> = ends
        .iter()
        .filter_map(|end| match end {
            End::Workload(id) => Some(Arc::clone(id)),
            _ => None,
        })
        .collect();
    let mut peers = words.selectors(&workloads, other);
    let names: Vec<&str> =
        workloads.iter().filter_map(|id| id.split_once('.')).map(|(_, name)| name).collect();
    let is_plain = names.len() == 1 && peers == [format!("workload={}", names[0])];
    let meant = (!workloads.is_empty() && !is_plain).then(|| {
        let more = names.len().saturating_sub(NAMED);
        let shown = names.get(..NAMED).unwrap_or(&names).join(", ");
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{} is exactly {shown}{more}, as the file stands", peers.join(" or "))
    });
    let mut word = word(&peers, &names);
    for end in ends {
        let (peer, name) = match end {
            End::Workload(_) => continue,
            End::Host => ("host".to_owned(), "host"),
            End::World(None) => ("world".to_owned(), "world"),
            End::Unmanaged(None) => ("unmanaged".to_owned(), "unmanaged"),
            End::World(Some(address)) => (address.to_string(), "outside"),
            End::Unmanaged(Some(address)) => (address.to_string(), "unmanaged"),
        };
        peers.push(peer);
        if word.is_empty() {
            name.clone_into(&mut word);
        }
    }
    Side { peers, word, meant }
}

/// A short name for workloads: theirs when it is one, the value of a label, or how many.
fn word(peers: &[String], names: &[&str]) -> String {
    match (names, peers) {
        ([], _) => String::new(),
        ([one], _) => (*one).to_owned(),
        (_, [one]) if !one.contains(',') => {
            one.split_once('=').map_or_else(|| "some".to_owned(), |(_, value)| value.to_owned())
        }
        _ => {
            let value = |peer: &String| peer.rsplit('=').next().unwrap_or_default().to_owned();
            peers.iter().take(2).map(value).collect::<Vec<_>>().join("-")
        }
    }
}

/// A name that nobody has: letters, digits and hyphens, at most as long as names are.
fn free(names: &mut BTreeSet<String>, wish: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let wish: String = wish.chars().map(plain).collect();
    let cut = |text: &str, length: usize| {
        let text = text.get(..length.min(text.len())).unwrap_or_default();
        text.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_owned()
    };
    let begins = wish.starts_with(|c: char| c.is_ascii_lowercase());
    let wish = if begins { wish } else { format!("p-{wish}") };
    let mut name = cut(&wish, NAME);
    let mut number = 1;
    while !names.insert(name.clone()) {
        number += 1;
        let tail = format!("-{number}");
        name = cut(&wish, NAME - tail.len()) + &tail;
    }
    name
}

/// `41 flows from .. to ..`, and what makes one doubt them.
fn evidence(part: &Rectangle) -> String {
    let evidence = &part.evidence;
    let (first, last) = (instant(evidence.first), instant(evidence.last));
    let mut text = format!("{} from {first} to {last}", count(evidence.flows(), "flow"));
    if evidence.audited > 0 {
        let audited = format!("; {} of them passed because of `audit` only", evidence.audited);
        text.push_str(&audited);
    }
    if evidence.closed > 0 && evidence.answers == 0 {
        text += "; never answered: remove it if it is not wanted";
    }
    text
}

/// Entries of `allow:`; ports that follow each other are a range.
fn ports(services: &BTreeSet<Service>, wider: &mut Vec<String>) -> Vec<String> {
    let mut out = Vec::new();
    let protocols: BTreeSet<u8> = services.iter().map(|(protocol, _)| *protocol).collect();
    for protocol in protocols {
        let numbers: Vec<u16> =
            services.iter().filter(|(p, _)| *p == protocol).map(|(_, port)| *port).collect();
        match Proto::from_number(protocol) {
            Proto::Other(number) => {
                wider.push(format!("a file cannot name protocol {number} alone"));
                return vec!["any".to_owned()];
            }
            proto @ (Proto::Icmp | Proto::Icmp6) => {
                for number in numbers {
                    let [kind, code] = number.to_be_bytes();
                    out.push(format!("{proto}/{kind}/{code}"));
                }
            }
            proto => out.extend(ranges(&numbers, &proto.to_string(), wider)),
        }
    }
    out
}

fn ranges(numbers: &[u16], proto: &str, wider: &mut Vec<String>) -> Vec<String> {
    let mut ranges: Vec<(u16, u16)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(range) if range.1.checked_add(1) == Some(*number) => range.1 = *number,
            _ => ranges.push((*number, *number)),
        }
    }
    if let (true, Some(first), Some(last)) = (ranges.len() > PORTS, numbers.first(), numbers.last())
    {
        wider.push(format!("{} ports of {first}-{last}/{proto} were seen", numbers.len()));
        ranges = vec![(*first, *last)];
    }
    let text = |(first, last): (u16, u16)| {
        if first == last { format!("{first}/{proto}") } else { format!("{first}-{last}/{proto}") }
    };
    ranges.into_iter().map(text).collect()
}

fn list(peers: &[String]) -> String {
    let quoted: Vec<String> = peers.iter().map(|peer| quoted(peer)).collect();
    match quoted.as_slice() {
        [one] => one.clone(),
        _ => format!("[{}]", quoted.join(", ")),
    }
}

/// A text that stays one value inside of braces.
fn quoted(text: &str) -> String {
    if text.contains([',', ':', '!', '#', '&', '*', '{', '[', ' ']) {
        format!("\"{text}\"")
    } else {
        text.to_owned()
    }
}

/// What stands above the file.
pub(super) fn head(
    document: &Document,
    about: Option<&str>,
    period: &api::Period,
    suggestion: &Suggestion,
) -> String {
    let whose = about.map_or_else(String::new, |about| format!(" of {about}"));
    let replaced = match about {
        None => "policies, postures and audit modes were replaced, nothing else".to_owned(),
        Some(about) => format!(
            "policies of {about} were replaced, and postures and audit modes where nobody else stands, nothing else"
        ),
    };
    let mut lines = vec![
        format!(
            "Suggested from what passed{whose} from {} to {}: {}, {}.",
            period.since,
            period.until,
            count(suggestion.flows, "flow"),
            match suggestion.policies {
                1 => "1 policy".to_owned(),
                number => format!("{number} policies"),
            },
        ),
        format!("Made from {}; {replaced}. Nothing was applied.", document.file),
        "What was not seen is not allowed: a job that runs once a month may be missing.".to_owned(),
    ];
    if let Some(begins) = &period.begins {
        lines.push(format!("Nothing was recorded before {begins}."));
    }
    for gap in &period.gaps {
        let events =
            gap.events.map_or_else(String::new, |events| format!(", {}", count(events, "event")));
        lines.push(format!("Missing from {} to {}: {}{events}.", gap.from, gap.to, gap.text));
    }
    if period.omitted_gaps > 0 {
        lines.push(format!(
            "Missing, too: {}, shorter than these.",
            count(period.omitted_gaps, "gap")
        ));
    }
    lines.extend(suggestion.left_out.iter().map(|line| format!("Left out: {line}.")));
    comments(&lines)
}

/// Lines as comments of a file.
pub(super) fn comments(lines: &[String]) -> String {
    let mut text = String::new();
    for line in lines {
        text.push_str("# ");
        // Names of files come from outside.
        text.extend(line.chars().map(|c| if c.is_control() { ' ' } else { c }));
        text.push('\n');
    }
    text
}

/// `1 flow`, `2 flows`.
pub(super) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
