//! What chains of rules do with one packet, as far as that can be told from the rules alone.
//!
//! Every condition holds, does not hold, or cannot be told: sets that are filled elsewhere, limits, marks, programs. So a
//! packet is surely dropped, surely not, or may be dropped by a rule that is named. A packet passes every base chain of its
//! hook; what one accepts another may drop.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use super::rules::Gap;

/// How deep chains may call each other; the kernel has 16 (`NFT_JUMP_STACK_SIZE`).
const MAX_DEPTH: usize = 16;
/// More rules and elements of sets than this are not asked about one packet at one hook.
const MAX_STEPS: usize = 4_000_000;
/// So many of them are asked before the clock is looked at again.
const STRIDE: usize = 4_096;

/// Where a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// It came in by a link.
    Prerouting,
    /// It is for this namespace.
    Input,
    /// It goes through.
    Forward,
    /// It is sent from here.
    Output,
    /// It leaves by a link.
    Postrouting,
}

impl Hook {
    /// The word of `nft`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prerouting => "prerouting",
            Self::Input => "input",
            Self::Forward => "forward",
            Self::Output => "output",
            Self::Postrouting => "postrouting",
        }
    }
}

/// What connection tracking says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It opens a connection.
    New,
    /// It is an answer.
    Established,
    /// It is an error about a connection.
    Related,
}

/// A packet at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub target: IpAddr,
    /// Protocol number.
    pub protocol: u8,
    /// Source port; ICMP: its type.
    pub source_port: u16,
    /// Destination port; ICMP: its code.
    pub target_port: u16,
    /// The link that it came in by; empty for none.
    pub came_in: String,
    /// The link that it leaves by; empty for none.
    pub goes_out: String,
    /// What connection tracking says.
    pub state: State,
    /// Whether its destination was translated.
    pub is_translated: bool,
    /// Whether it is a frame between two ports of a bridge.
    pub is_bridged: bool,
}

/// What becomes of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// No rule drops it.
    Passes,
    /// A rule, or the default of a chain, may drop it: its place in words.
    May(String),
    /// It is dropped: by what.
    Dropped(String),
    /// The rules were not followed to their end.
    Lost(Gap),
}

/// One condition on a packet. What it lists is shared by all rules that refer to the same set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Test {
    /// The incoming link; a trailing `*` or `+` matches any ending.
    CameIn(Arc<[String]>),
    GoesOut(Arc<[String]>),
    Source(Arc<[Addresses]>),
    Target(Arc<[Addresses]>),
    Protocol(Arc<[u8]>),
    /// Only of these protocols.
    SourcePort(Arc<[RangeInclusive<u16>]>),
    TargetPort(Arc<[RangeInclusive<u16>]>),
    IcmpType(Arc<[RangeInclusive<u16>]>),
    V6(bool),
    State(Arc<[State]>),
    Translated,
    /// Nothing that can be told from the packet.
    Unknown,
}

/// A block or a range of addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    Net(IpNet),
    Range(IpAddr, IpAddr),
}

impl Addresses {
    fn contains(&self, address: IpAddr) -> bool {
        match self {
            Self::Net(net) => net.contains(&address),
            Self::Range(first, last) => {
                first.is_ipv4() == address.is_ipv4() && (*first..=*last).contains(&address)
            }
        }
    }
}

/// A condition, or its opposite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) test: Test,
    pub(super) is_negated: bool,
}

/// What a rule does with what it matches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing that ends the walk through the chain.
    Go,
    Accept,
    Drop,
    Return,
    Jump(String),
    Goto(String),
    /// Something that may end it, such as a queue.
    Unknown,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    /// `inet guard forwards, rule 3 (handle 7)`.
    pub(super) place: Arc<str>,
    pub(super) conditions: Vec<Condition>,
    pub(super) action: Action,
}

/// One chain; with a hook a base chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    /// `inet guard forwards`.
    pub(super) place: String,
    pub(super) base: Option<Base>,
    pub(super) rules: Vec<Rule>,
}

/// Where a base chain hangs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) hook: Hook,
    pub(super) priority: i64,
    pub(super) drops: bool,
    /// Only packets of these links pass it: `ingress` and `egress` of a device. Empty for all.
    pub(super) devices: Vec<String>,
}

/// The chains of one table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Table {
    /// Only of IPv4, only of IPv6, or of both.
    pub(super) v6: Option<bool>,
    /// Of the family `bridge`.
    pub(super) is_bridge: bool,
    pub(super) chains: BTreeMap<String, Chain>,
}

impl Test {
    /// How much work it is to ask.
    fn weight(&self) -> usize {
        match self {
            Self::CameIn(names) | Self::GoesOut(names) => names.len(),
            Self::Source(nets) | Self::Target(nets) => nets.len(),
            Self::Protocol(numbers) => numbers.len(),
            Self::SourcePort(ranges) | Self::TargetPort(ranges) | Self::IcmpType(ranges) => {
                ranges.len()
            }
            Self::State(states) => states.len(),
            Self::V6(_) | Self::Translated | Self::Unknown => 1,
        }
    }
}

/// How far the rules are followed for one packet at one hook, over all chains.
struct Patience {
    until: Instant,
    steps: usize,
    /// From this many steps on the clock is looked at.
    ask: usize,
    lost: Option<Gap>,
}

impl Patience {
    const fn new(until: Instant) -> Self {
        Self { until, steps: 0, ask: 0, lost: None }
    }

    /// Whether more may be asked, so many of it.
    fn has(&mut self, weight: usize) -> bool {
        self.steps = self.steps.saturating_add(weight);
        if self.steps > MAX_STEPS {
            self.lost.get_or_insert(Gap::Large);
        } else if self.steps >= self.ask {
            self.ask = self.steps + STRIDE;
            if Instant::now() >= self.until {
                self.lost.get_or_insert(Gap::Late);
            }
        }
        self.lost.is_none()
    }
}

/// What tables do with a packet at a hook, as far as that is found out by `until`.
pub(super) fn fate(tables: &[Table], hook: Hook, packet: &Packet, until: Instant) -> Fate {
    let v6 = packet.target.is_ipv6();
    let mut bases = Vec::new();
    let concerns = |table: &&Table| {
        table.v6.is_none_or(|only| only == v6) && table.is_bridge == packet.is_bridged
    };
    for table in tables.iter().filter(concerns) {
        for chain in table.chains.values() {
            let base = chain.base.as_ref().filter(|base| base.hook == hook && passes(base, packet));
            bases.extend(base.map(|base| (base.priority, table, chain, base.drops)));
        }
    }
    bases.sort_by_key(|(priority, ..)| *priority);
    let mut may = None;
    let mut patience = Patience::new(until);
    for (_, table, chain, drops) in bases {
        let mut run = Run { table, packet, may: None, is_unsure: false, patience: &mut patience };
        let end = run.chain(chain, 0);
        if let Some(gap) = run.patience.lost {
            return Fate::Lost(gap);
        }
        let dropped = match end {
            End::Dropped(place) => Some(place),
            End::Accepted => None,
            End::Fell | End::Returned => {
                drops.then(|| format!("the policy drop of the chain {}", chain.place))
            }
        };
        match dropped {
            Some(place) if !run.is_unsure => return Fate::Dropped(place),
            Some(place) => may = may.or(run.may).or(Some(place)),
            None => may = may.or(run.may),
        }
    }
    may.map_or(Fate::Passes, Fate::May)
}

/// Whether a packet of these links comes to a base chain.
fn passes(base: &Base, packet: &Packet) -> bool {
    let link = if base.hook == Hook::Prerouting { &packet.came_in } else { &packet.goes_out };
    base.devices.is_empty() || base.devices.contains(link)
}

/// How the walk through a chain ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Accepted,
    Dropped(String),
    Returned,
    Fell,
}

struct Run<'r> {
    table: &'r Table,
    packet: &'r Packet,
    /// The first rule that may have dropped it.
    may: Option<String>,
    /// A rule before may have accepted it, or left the chain.
    is_unsure: bool,
    patience: &'r mut Patience,
}

impl Run<'_> {
    fn chain(&mut self, chain: &Chain, depth: usize) -> End {
        for rule in &chain.rules {
            if !self.patience.has(1) {
                return End::Fell;
            }
            match self.matches(rule) {
                Some(false) => {}
                Some(true) => match self.act(rule, depth) {
                    End::Fell => {}
                    end => return end,
                },
                // What it might do is noted, and the walk goes on as if it had not matched.
                None => match self.act(rule, depth) {
                    End::Fell => {}
                    End::Dropped(place) => {
                        self.may.get_or_insert(place);
                    }
                    End::Accepted | End::Returned => self.is_unsure = true,
                },
            }
        }
        End::Fell
    }

    /// What a rule that matches does, surely or perhaps.
    fn act(&mut self, rule: &Rule, depth: usize) -> End {
        match &rule.action {
            Action::Go => End::Fell,
            Action::Accept => End::Accepted,
            Action::Drop => End::Dropped(format!("the rule {}", rule.place)),
            Action::Return => End::Returned,
            Action::Unknown => {
                self.may.get_or_insert_with(|| format!("the rule {}", rule.place));
                self.is_unsure = true;
                End::Fell
            }
            Action::Jump(name) | Action::Goto(name) => {
                let called = self.table.chains.get(name);
                let Some(called) = called.filter(|_| depth < MAX_DEPTH) else {
                    // A target that is not known may do anything.
                    self.may.get_or_insert_with(|| format!("the rule {}", rule.place));
                    self.is_unsure = true;
                    return End::Fell;
                };
                let end = self.chain(called, depth + 1);
                match (end, &rule.action) {
                    (End::Fell | End::Returned, Action::Goto(_)) => End::Returned,
                    (End::Fell | End::Returned, _) => End::Fell,
                    (end, _) => end,
                }
            }
        }
    }

    /// Whether all conditions of a rule hold; `None` when that cannot be told.
    fn matches(&mut self, rule: &Rule) -> Option<bool> {
        let mut is_sure = true;
        for condition in &rule.conditions {
            if !self.patience.has(condition.test.weight()) {
                return Some(false);
            }
            match self.holds(&condition.test) {
                None => is_sure = false,
                Some(holds) if holds == condition.is_negated => return Some(false),
                Some(_) => {}
            }
        }
        is_sure.then_some(true)
    }

    fn holds(&self, test: &Test) -> Option<bool> {
        let packet = self.packet;
        let within = |ranges: &[RangeInclusive<u16>], port: u16| {
            has_ports(packet.protocol) && ranges.iter().any(|range| range.contains(&port))
        };
        Some(match test {
            Test::CameIn(names) => names.iter().any(|name| is_link(name, &packet.came_in)),
            Test::GoesOut(names) => names.iter().any(|name| is_link(name, &packet.goes_out)),
            Test::Source(nets) => nets.iter().any(|net| net.contains(packet.source)),
            Test::Target(nets) => nets.iter().any(|net| net.contains(packet.target)),
            Test::Protocol(numbers) => numbers.contains(&packet.protocol),
            Test::SourcePort(ranges) => within(ranges, packet.source_port),
            Test::TargetPort(ranges) => within(ranges, packet.target_port),
            Test::IcmpType(ranges) => {
                is_icmp(packet.protocol)
                    && ranges.iter().any(|range| range.contains(&packet.source_port))
            }
            Test::V6(v6) => packet.target.is_ipv6() == *v6,
            Test::State(states) => states.contains(&packet.state),
            Test::Translated => packet.is_translated,
            Test::Unknown => return None,
        })
    }
}

fn has_ports(protocol: u8) -> bool {
    [libc::IPPROTO_TCP, libc::IPPROTO_UDP, libc::IPPROTO_SCTP].contains(&i32::from(protocol))
}

fn is_icmp(protocol: u8) -> bool {
    [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6].contains(&i32::from(protocol))
}

/// Whether a link has this name, or begins with it when it ends in `*` or `+`.
fn is_link(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix(['*', '+']) {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}
