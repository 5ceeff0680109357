//! What chains open, as a native file with comments.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Subnets, Ipv6Subnets};

use super::space::{Budget, PEER, PORT, PROTO, Packets, Range, Set};
use super::walk::{Base, Opened, Ruleset, Side, Walked, walk};
use super::{Format, ImportError, Imported, MAX_REPORTS, Skipped, shown, too_much};

/// Most entries of one list.
const MAX_LIST: usize = 500;
/// Most boxes of a rule that is written as a deny.
const PLAIN: usize = 64;
/// Most policies.
const MAX_POLICIES: usize = 20_000;

/// Most boxes that a rule is cut into.
const MAX_PARTS: usize = 200_000;

/// What a rule opens to somebody: peers, and ports for all of them.
type Part = (Vec<String>, Vec<String>);

/// Writes the file of a firewall.
pub(super) fn firewall(
    name: &str,
    format: Format,
    mut rules: Ruleset,
) -> Result<Imported, ImportError> {
    let mut skipped = std::mem::take(&mut rules.skipped);
    let mut budget = Budget::default();
    let mut body = String::new();
    let mut policies = 0;
    for (side, word) in [(Side::In, "in"), (Side::Out, "out")] {
        let mut used = BTreeSet::new();
        for said in policies_of(&rules, side, &mut budget, &mut skipped)? {
            let lists = parts(&said.packets, said.denies)?;
            let at = match said.line {
                0 => String::new(),
                line => format!("{} ", place(format, line)),
            };
            let _ = writeln!(body, "      # {at}{}", said.source);
            if lists.is_empty() {
                body += if said.is_needless {
                    "      #   needs no policy: loopback and replies always pass\n"
                } else {
                    "      #   opens nothing: other rules decide, or it was not understood\n"
                };
            }
            let verb = if said.denies { "deny" } else { "allow" };
            for (peers, ports) in lists {
                policies += 1;
                if policies > MAX_POLICIES {
                    return Err(too_much(format!("it would be more than {MAX_POLICIES} policies")));
                }
                let name = free(&format!("{word}-{}", said.line), &mut used);
                let peers = match peers.as_slice() {
                    [one] => one.clone(),
                    several => format!("[{}]", several.join(", ")),
                };
                let ports = ports.join(", ");
                let ends = match side {
                    Side::In => format!("from: {peers}, to: workload=machine"),
                    Side::Out => format!("from: workload=machine, to: {peers}"),
                };
                let _ = writeln!(body, "      {name}: {{ {ends}, {verb}: [{ports}] }}");
            }
        }
    }
    let rules = rules.chains.values().map(Vec::len).sum();
    let omitted = skipped.len().saturating_sub(MAX_REPORTS);
    skipped.truncate(MAX_REPORTS);
    let mut text = head(name, format, rules, &skipped, omitted);
    text += "bulkhead: 1
tenants:
  imported:
    networks:
      # The addresses are examples: put the machine's own here.
      main: { mode: nat, subnets: [10.99.0.0/24, \"fd00:99::/64\"] }
    workloads:
      machine: { netns: machine }
";
    if policies > 0 {
        text += "    policies:\n";
    }
    text += &body;
    Ok(Imported { text, rules, policies, skipped, omitted })
}

/// The comments at the top: what it is, and what is missing.
pub(super) fn head(
    name: &str,
    format: Format,
    rules: usize,
    skipped: &[Skipped],
    omitted: usize,
) -> String {
    let mut text = format!("# Imported from {} ({format}): {rules} rules.\n", shown(name));
    text += "# Nothing is allowed that was not allowed there. Replies pass with their flow; default is deny.\n";
    if skipped.is_empty() {
        text += "# Everything was understood.\n";
        return text;
    }
    let all = skipped.len() + omitted;
    let _ = writeln!(
        text,
        "# {all} constructs were not understood, or not taken over; they allow nothing:"
    );
    for each in skipped {
        let place =
            if each.line == 0 { String::new() } else { format!("{}: ", place(format, each.line)) };
        let _ = writeln!(text, "#   {place}{} ({})", shown(&each.reason), each.source);
    }
    if omitted > 0 {
        let _ = writeln!(text, "#   and {omitted} more");
    }
    text
}

/// How a rule of the source is found.
pub(super) fn place(format: Format, line: u32) -> String {
    let word = if format == Format::Nft { "handle" } else { "line" };
    format!("{word} {line}")
}

/// A name with this beginning that is not used yet.
fn free(wanted: &str, used: &mut BTreeSet<String>) -> String {
    let mut name = wanted.to_owned();
    let mut number = 2;
    while !used.insert(name.clone()) {
        name = format!("{wanted}-{number}");
        number += 1;
    }
    name
}

/// A policy to write: what a rule of the source says.
#[derive(Debug, Default)]
struct Said {
    line: u32,
    source: String,
    packets: Set,
    denies: bool,
    is_needless: bool,
}

/// What the chains of one side say together: for each IP version the rules of the longest chain, as far as all others let
/// their packets pass.
///
/// Where a rule drops what nobody accepts, that is written as a deny, and the rules after it may then be written as they
/// stand: what is allowed and not denied is still no more than what passes.
fn policies_of(
    rules: &Ruleset,
    side: Side,
    budget: &mut Budget,
    skipped: &mut Vec<Skipped>,
) -> Result<Vec<Said>, ImportError> {
    let mut walked: Vec<(&Base, Walked)> = Vec::new();
    for base in rules.bases.iter().filter(|base| base.side == side) {
        walked.push((base, walk(rules, base, budget, skipped)?));
    }
    // By what it is and its place in the source, so that both versions of one rule are one.
    let mut out: BTreeMap<(bool, usize, usize), Said> = BTreeMap::new();
    for (at, v6) in [(0, false), (1, true)] {
        let applies = |base: &Base| base.versions.get(at) == Some(&true);
        let here: Vec<(usize, &Walked)> = (0..)
            .zip(&walked)
            .filter(|(_, (base, _))| applies(base))
            .map(|(number, (_, walked))| (number, walked))
            .collect();
        let is_nat = |number: usize| walked.get(number).is_some_and(|(base, _)| base.is_nat);
        let openers = here.iter().copied().filter(|(number, _)| !is_nat(*number));
        let longest = openers.max_by_key(|(number, _)| {
            let base = walked.get(*number).map(|(base, _)| *base);
            let length = base.and_then(|base| rules.chains.get(&base.chain)).map_or(0, Vec::len);
            (base.is_some_and(|base| !base.accepts), length)
        });
        let Some((main, own)) = longest else { continue };
        let mut total = own.total.of(v6);
        for (_, other) in here.iter().filter(|(number, _)| *number != main) {
            total = total.and(&other.total, budget)?;
        }
        let mut denied = Set::default();
        for (chain, walked) in &here {
            for (number, rule) in walked.dropped.iter().enumerate() {
                let packets = rule.packets.of(v6);
                let is_plain = packets.0.len() <= PLAIN && packets.0.iter().all(can_be_denied);
                if is_plain && !packets.is_empty() && packets.and(&total, budget)?.is_empty() {
                    denied.add(&packets, budget)?;
                    let said = entry(&mut out, (false, *chain, number), rule);
                    said.packets.0.extend(packets.0);
                    said.denies = true;
                }
            }
        }
        for (number, rule) in own.opened.iter().enumerate() {
            let wide = rule.wide.of(v6);
            let more = wide.minus(&total, budget)?.minus(&denied, budget)?;
            let packets = if more.is_empty() && !rule.packets.of(v6).is_empty() {
                wide
            } else {
                rule.packets.and(&total, budget)?
            };
            entry(&mut out, (true, main, number), rule).packets.0.extend(packets.0);
        }
    }
    // Denies that nothing would pass by anyway need not be written.
    let all: Vec<Packets> =
        out.values().filter(|said| !said.denies).flat_map(|said| said.packets.0.clone()).collect();
    let all = Set(all);
    let mut kept = Vec::new();
    for said in out.into_values() {
        if !said.denies || !said.packets.and(&all, budget)?.is_empty() {
            kept.push(said);
        }
    }
    Ok(kept)
}

fn entry<'o>(
    out: &'o mut BTreeMap<(bool, usize, usize), Said>,
    key: (bool, usize, usize),
    rule: &Opened,
) -> &'o mut Said {
    out.entry(key).or_insert_with(|| Said {
        line: rule.line,
        source: rule.source.clone(),
        is_needless: rule.is_needless,
        ..Said::default()
    })
}

/// Whether a policy can say exactly these packets: one protocol with ports, or everything.
fn can_be_denied(packets: &Packets) -> bool {
    let all = packets.sides[PROTO] == (0, 255) && packets.sides[PORT] == (0, 65_535);
    all || [6, 17, 132].iter().any(|number| packets.sides[PROTO] == (*number, *number))
}

/// Ports by peer, then peers by ports: lists as a policy has them.
///
/// A deny names everybody by networks: `world` would leave out unused addresses of our own networks, which a network in an
/// allow holds.
fn parts(packets: &Set, denies: bool) -> Result<Vec<Part>, ImportError> {
    let mut by_peer: BTreeMap<(bool, Range), Set> = BTreeMap::new();
    for each in disjoint(&packets.0)? {
        by_peer.entry((each.v6, each.sides[PEER])).or_default().0.push(each);
    }
    let mut by_ports: BTreeMap<Vec<String>, Vec<(bool, Range)>> = BTreeMap::new();
    for (peer, set) in by_peer {
        let ports = services(&set.0, peer.0);
        if !ports.is_empty() {
            by_ports.entry(ports).or_default().push(peer);
        }
    }
    let full = |v6: bool| (v6, Packets::all(v6).sides[PEER]);
    // What is said of everybody in both versions is said of the world; icmp differs, the rest may be the same.
    let mut both: Vec<String> = Vec::new();
    let of = |v6: bool| {
        by_ports.iter().find(|(_, peers)| peers.contains(&full(v6))).map(|(ports, _)| ports.clone())
    };
    if let (Some(four), Some(six), false) = (of(false), of(true), denies) {
        both = four.iter().filter(|port| six.contains(port)).cloned().collect();
    }
    let mut out: Vec<Part> = Vec::new();
    if !both.is_empty() {
        push(&mut out, &["world".to_owned()], &both);
    }
    for (ports, peers) in by_ports {
        let (worldly, others): (Vec<_>, Vec<_>) =
            peers.into_iter().partition(|peer| *peer == full(peer.0));
        for peer in worldly {
            let left: Vec<String> =
                ports.iter().filter(|port| !both.contains(port)).cloned().collect();
            push(&mut out, &nets(&[peer]), &left);
        }
        push(&mut out, &nets(&others), &ports);
    }
    Ok(out)
}

/// Adds lists that are no longer than a file may have them.
fn push(out: &mut Vec<Part>, peers: &[String], ports: &[String]) {
    for peers in peers.chunks(MAX_LIST) {
        for ports in ports.chunks(MAX_LIST) {
            out.push((peers.to_vec(), ports.to_vec()));
        }
    }
}

/// Boxes cut so that the peers of any two are the same or have nothing in common.
fn disjoint(boxes: &[Packets]) -> Result<Vec<Packets>, ImportError> {
    let mut cuts: [BTreeSet<u128>; 2] = [BTreeSet::new(), BTreeSet::new()];
    for each in boxes {
        let (first, last) = each.sides[PEER];
        if let Some(cuts) = cuts.get_mut(usize::from(each.v6)) {
            cuts.insert(first);
            cuts.extend(last.checked_add(1));
        }
    }
    let mut out = Vec::new();
    for each in boxes {
        let Some(cuts) = cuts.get(usize::from(each.v6)) else { continue };
        let (mut first, last) = each.sides[PEER];
        for cut in cuts.range((std::ops::Bound::Excluded(first), std::ops::Bound::Included(last))) {
            let mut part = *each;
            part.sides[PEER] = (first, cut - 1);
            out.push(part);
            first = *cut;
            if out.len() > MAX_PARTS {
                return Err(too_much("a rule has too many addresses or ports"));
            }
        }
        let mut part = *each;
        part.sides[PEER] = (first, last);
        out.push(part);
    }
    Ok(out)
}

/// Protocols and ports of boxes with one peer, in the words of a policy. Of icmp what opens flows.
fn services(boxes: &[Packets], v6: bool) -> Vec<String> {
    let ports = |number: u128| {
        let of = boxes
            .iter()
            .filter(|each| (each.sides[PROTO].0..=each.sides[PROTO].1).contains(&number));
        joined(of.map(|each| each.sides[PORT]).collect())
    };
    let everything = joined(
        boxes
            .iter()
            .filter(|each| each.sides[PORT] == (0, 65_535))
            .map(|each| each.sides[PROTO])
            .collect(),
    );
    if everything == [(0, 255)] {
        return vec!["any".to_owned()];
    }
    let mut out = Vec::new();
    for (number, name) in [(6, "tcp"), (17, "udp"), (132, "sctp")] {
        for (first, last) in ports(number) {
            out.push(match (first, last) {
                (0, 65_535) => name.to_owned(),
                (first, last) if first == last => format!("{first}/{name}"),
                (first, last) => format!("{first}-{last}/{name}"),
            });
        }
    }
    let (number, word, kinds) =
        if v6 { (58, "icmp6", &[128_u128][..]) } else { (1, "icmp", &[8, 13][..]) };
    let icmp = ports(number);
    for kind in kinds {
        let all = (kind << 8, kind << 8 | 0xff);
        if icmp.iter().any(|range| range.0 <= all.0 && all.1 <= range.1) {
            out.push(format!("{word}/{kind}"));
        }
    }
    out
}

/// Ranges in order, with no two that touch.
fn joined(mut ranges: Vec<Range>) -> Vec<Range> {
    ranges.sort_unstable();
    let mut out: Vec<Range> = Vec::new();
    for (first, last) in ranges {
        match out.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => out.push((first, last)),
        }
    }
    out
}

/// Addresses as the fewest networks, in quotes where YAML wants them.
fn nets(peers: &[(bool, Range)]) -> Vec<String> {
    let mut out = Vec::new();
    for v6 in [false, true] {
        let ranges = joined(peers.iter().filter(|peer| peer.0 == v6).map(|peer| peer.1).collect());
        for (first, last) in ranges {
            let nets: Vec<IpNet> = match (address(v6, first), address(v6, last)) {
                (IpAddr::V4(first), IpAddr::V4(last)) => {
                    Ipv4Subnets::new(first, last, 0).map(IpNet::V4).collect()
                }
                (IpAddr::V6(first), IpAddr::V6(last)) => {
                    Ipv6Subnets::new(first, last, 0).map(IpNet::V6).collect()
                }
                _ => Vec::new(),
            };
            out.extend(nets.into_iter().map(|net| {
                let text = model::Peer::Cidr(net).to_string();
                if v6 { format!("\"{text}\"") } else { text }
            }));
        }
    }
    out
}

fn address(v6: bool, bits: u128) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if !v6 => IpAddr::V4(Ipv4Addr::from_bits(bits)),
        _ => IpAddr::V6(Ipv6Addr::from_bits(bits)),
    }
}
