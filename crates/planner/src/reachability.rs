//! Who can open which flows to whom, for a whole world at once: disjoint classes that cover everything.
//!
//! Parties of a network that nothing tells apart are one [`Group`]: workloads, pieces of the address space, the host. For every
//! ordered pair of groups between which something passes there is a [`Pair`], and with it a *space* for each version of IP: a
//! list of [`Class`]es that cuts all headers (protocol, source port, destination port or icmp type and code) into boxes, each
//! with its verdict. Every answer is `verdict`'s own; equal spaces are there once. What is no pair is the *rest*: all of it drops.
//!
//! Classes speak of packets that open a flow. What answers one, or is an error about one, passes with it and not by itself.
//!
//! **Limits.** The work follows the rows of the tables: 10,000 workloads with 100,000 rules take seconds, and every policy that lets
//! everybody meet everybody costs as many pairs as it makes.

use std::sync::Arc;

use model::Proto;
use rustc_hash::FxHashMap;
use verdict::Reason;
use verdict::abi::{Addr, HOST_ENDPOINT, PeerKey, Verdict};
use verdict::native::Tables;

use crate::bundle::Bundle;
use crate::meet::{Judged, Meetings};
use crate::memo::{Known, Stand, judged};
use crate::nodes::{Node, Party, nodes};
use crate::reach::{Answer, Atlas, Cell, PROTOCOLS, Place, domain};

/// Everybody, and every flow that somebody can open.
#[derive(Debug, Clone, Default)]
pub struct Reachability {
    groups: Vec<Group>,
    pairs: Vec<Pair>,
    spaces: Vec<Vec<Class>>,
    endpoints: FxHashMap<u32, u32>,
    addresses: FxHashMap<Piece, u32>,
}

/// Network, class, identity, and whether it is IPv4.
type Piece = (u32, u64, u64, bool);

/// Parties of one network that nothing tells apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Number of the network.
    pub network: u16,
    /// At least one, in order.
    pub members: Vec<Party>,
    /// Whether they are workloads.
    pub are_workloads: bool,
    /// Whether they have addresses of IPv4, and of IPv6.
    pub families: [bool; 2],
}

/// Two groups between which something passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair {
    /// Position of the group that opens flows.
    pub from: u32,
    /// Position of the group that it opens them to.
    pub to: u32,
    /// The spaces of IPv4 and IPv6; `None` for a version that they do not share, or in which nothing passes.
    pub spaces: [Option<u32>; 2],
}

/// Packets that open a flow and are answered alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class {
    /// The protocol; [`Proto::Other`] stands for every protocol that has no name.
    pub protocol: Proto,
    /// First and last source port; all of them for protocols without ports.
    pub sources: (u16, u16),
    /// First and last destination port; icmp: `type << 8 | code`; all of them for other protocols without ports.
    pub ports: (u16, u16),
    /// Allow, audit or drop.
    pub verdict: Verdict,
    /// Why it is dropped.
    pub reason: Reason,
    /// The rule at the source, 0 when none decided there.
    pub egress_rule: u32,
    /// The rule at the target, 0 when none decided there.
    pub ingress_rule: u32,
}

/// What of a packet decides, besides its addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers {
    /// Whether it is IPv4.
    pub v4: bool,
    /// Number of the protocol.
    pub protocol: u8,
    /// Source port, 0 for protocols without.
    pub source: u16,
    /// Destination port; icmp: `type << 8 | code`; 0 for other protocols without ports.
    pub target: u16,
}

/// Cuts everything that a bundle lets somebody do into classes.
#[must_use]
pub fn reachability(bundle: &Bundle) -> Reachability {
    let atlas = Atlas::new(&bundle.tables);
    let all = nodes(&[(Some(bundle), Some(&atlas))]);
    let mut this = Reachability::default();
    let position: FxHashMap<*const Node, u32> =
        all.iter().map(std::ptr::from_ref).zip(0_u32..).collect();
    let mut maker = Maker { atlas: &atlas, known: FxHashMap::default(), spaces: Vec::new() };
    Meetings::new(&all, &[Some(&atlas)]).visit(|one, others, _, opens| {
        for other in others {
            let (from, to) = if opens { (one, other) } else { (other, one) };
            let at = |node: &Node| position.get(&std::ptr::from_ref(node)).copied();
            if let (Some(spaces), Some(a), Some(b)) = (maker.pair(from, to), at(from), at(to)) {
                this.pairs.push(Pair { from: a, to: b, spaces });
            }
        }
    });
    this.spaces = maker.spaces;
    this.pairs.sort_unstable_by_key(|pair| (pair.from, pair.to));
    this.name(&all, bundle);
    this
}

impl Reachability {
    /// Everybody: each address of each network is in one group, but for those of workloads of other networks.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Every pair between which something passes, ordered by `from` and `to`. Pairs that are not here are the rest: between them
    /// everything drops, or there is no way at all.
    #[must_use]
    pub fn pairs(&self) -> &[Pair] {
        &self.pairs
    }

    /// The classes of a space: disjoint, and together every header of its version of IP.
    #[must_use]
    pub fn space(&self, number: u32) -> &[Class] {
        self.spaces.get(number as usize).map_or(&[], Vec::as_slice)
    }

    /// How many different spaces there are.
    #[must_use]
    pub fn spaces(&self) -> usize {
        self.spaces.len()
    }

    /// What becomes of a packet that opens a flow between two groups; `None` for the rest, which drops.
    #[must_use]
    pub fn class(&self, from: u32, to: u32, headers: &Headers) -> Option<&Class> {
        let at = self.pairs.binary_search_by_key(&(from, to), |pair| (pair.from, pair.to)).ok()?;
        let space = self.pairs.get(at)?.spaces[usize::from(!headers.v4)]?;
        self.space(space).iter().find(|class| class.holds(headers))
    }

    /// The group that an address of a network belongs to, by the tables that the classes were made from.
    ///
    /// `None` for addresses of which the network knows nothing, and for those of workloads of other networks.
    #[must_use]
    pub fn group_at(
        &self,
        tables: &Tables,
        network: u16,
        address: std::net::IpAddr,
    ) -> Option<u32> {
        let key = PeerKey { network: u32::from(network), addr: address.into() };
        let peer = tables.exact.get(&key).or_else(|| tables.prefixes.longest(&key))?;
        if peer.endpoint != 0 {
            return self.endpoints.get(&peer.endpoint).copied();
        }
        let piece = (key.network, peer.class[0], peer.identity[0], address.is_ipv4());
        self.addresses.get(&piece).copied()
    }

    /// Takes over who is in the groups.
    fn name(&mut self, all: &[Node], bundle: &Bundle) {
        for (at, node) in (0_u32..).zip(all) {
            let families = node.keys.first().copied().flatten().map_or(0, |key| key[5]);
            let families = [families & 2 != 0, families & 1 != 0];
            if let Some(Some(key)) = node.keys.first().filter(|_| !node.local) {
                self.addresses.insert((node.network, key[0], key[4], families[0]), at);
            }
            for party in &node.members {
                let number = match party {
                    Party::Workload(id) => number(bundle, id),
                    Party::Host if node.local => Some(HOST_ENDPOINT),
                    _ => None,
                };
                self.endpoints.extend(number.map(|number| (number, at)));
            }
            self.groups.push(Group {
                network: u16::try_from(node.network).unwrap_or(u16::MAX),
                members: node.members.clone(),
                are_workloads: node.local && !node.is_host(),
                families,
            });
        }
    }
}

fn number(bundle: &Bundle, workload: &Arc<str>) -> Option<u32> {
    bundle.workloads.get(workload)?.endpoint.map(u32::from)
}

impl Class {
    /// Whether a packet is one of these.
    #[must_use]
    pub fn holds(&self, headers: &Headers) -> bool {
        let within = |range: (u16, u16), port: u16| range.0 <= port && port <= range.1;
        let protocol = Proto::from_number(headers.protocol);
        let same = match (self.protocol, protocol) {
            (Proto::Other(_), Proto::Other(_)) => true,
            (one, other) => one == other,
        };
        same && within(self.sources, headers.source) && within(self.ports, headers.target)
    }

    /// Whether such packets pass, perhaps on trial.
    #[must_use]
    pub fn passes(&self) -> bool {
        matches!(self.verdict, Verdict::Allow | Verdict::Audit)
    }
}

/// What is said where nothing is.
const CLOSED: Answer =
    Answer { verdict: Verdict::Drop, reason: Reason::DefaultDeny, egress_rule: 0, ingress_rule: 0 };

/// All ports.
const ALL: (u16, u16) = (0, u16::MAX);

/// Makes spaces, each once.
struct Maker<'a> {
    atlas: &'a Atlas<'a>,
    known: FxHashMap<(Judged, bool), Option<u32>>,
    spaces: Vec<Vec<Class>>,
}

impl Maker<'_> {
    /// The spaces of a pair; `None` when nothing passes.
    fn pair(&mut self, from: &Node, to: &Node) -> Option<[Option<u32>; 2]> {
        let [source, target] = [from, to].map(|node| {
            let key: Option<&Known> = node.keys.first().and_then(Option::as_ref);
            let place: Option<&Place> = node.places.first().and_then(Option::as_ref);
            place.zip(key).map(|(place, key)| Stand { place, key, local: node.local })
        });
        let (source, target) = (source?, target?);
        // A workload alone in its group meets nobody in it, nor itself at another attachment.
        if let ([one], [other]) = (from.members.as_slice(), to.members.as_slice())
            && from.local
            && one.is_same(other)
        {
            return None;
        }
        let said = judged(self.atlas, source, target)?;
        let v4 = source.place.v4.zip(target.place.v4);
        let v6 = source.place.v6.zip(target.place.v6);
        let spaces = [(v4, true), (v6, false)].map(|(pair, is_v4)| {
            let (pair, known) = (pair?, self.known.get(&(said, is_v4)).copied());
            known.unwrap_or_else(|| {
                let space = self.space(source.place, target.place, pair, is_v4);
                self.known.insert((said, is_v4), space);
                space
            })
        });
        spaces.iter().any(Option::is_some).then_some(spaces)
    }

    /// The number of a new space; `None` when nothing in it passes.
    fn space(&mut self, from: &Place, to: &Place, pair: (Addr, Addr), v4: bool) -> Option<u32> {
        let mut classes = Vec::new();
        for number in PROTOCOLS {
            if number == if v4 { 58 } else { 1 } {
                // The other version's icmp belongs to no flow here.
                classes.push(stray(Proto::from_number(number), ALL));
                continue;
            }
            let cells = self.atlas.cells(from, to, pair, number);
            fill(number, &cells, &mut classes);
        }
        if !classes.iter().any(Class::passes) {
            return None;
        }
        let number = u32::try_from(self.spaces.len()).ok()?;
        classes.shrink_to_fit();
        self.spaces.push(classes);
        Some(number)
    }
}

/// Icmp that opens no flow.
fn stray(protocol: Proto, ports: (u16, u16)) -> Class {
    let (verdict, reason) = (Verdict::Drop, Reason::StrayIcmp);
    Class { protocol, sources: ALL, ports, verdict, reason, egress_rule: 0, ingress_rule: 0 }
}

/// Adds the classes of a protocol: what policy answers, and the types of icmp that it is not asked about.
fn fill(number: u8, cells: &[Cell], out: &mut Vec<Class>) {
    let protocol = Proto::from_number(number);
    let begin = out.len();
    let class = |ports: (u16, u16), sources: Option<(u16, u16)>, answer: &Answer| Class {
        protocol,
        sources: sources.unwrap_or(ALL),
        ports,
        verdict: answer.verdict,
        reason: answer.reason,
        egress_rule: answer.egress_rule,
        ingress_rule: answer.ingress_rule,
    };
    if let Proto::Other(_) = protocol {
        let answer = cells.first().map_or(&CLOSED, |(_, _, answer)| answer);
        out.push(class(ALL, None, answer));
        return;
    }
    let mut next = Some(0);
    for (first, last) in domain(number) {
        if let Some(from) = next.filter(|from| from < first) {
            out.push(stray(protocol, (from, first - 1)));
        }
        for (ports, sources, answer) in
            cells.iter().filter(|cell| *first <= cell.0.0 && cell.0.1 <= *last)
        {
            join(out, begin, class(*ports, *sources, answer));
        }
        next = last.checked_add(1);
    }
    if let Some(from) = next {
        out.push(stray(protocol, (from, u16::MAX)));
    }
}

/// Adds a class of all source ports, joined with the one before it when they are answered alike.
fn join(out: &mut Vec<Class>, begin: usize, class: Class) {
    let room = out.len() > begin;
    if let Some(last) = out.last_mut().filter(|_| room)
        && last.ports.1.checked_add(1) == Some(class.ports.0)
        && last.sources == ALL
        && (Class { ports: class.ports, ..*last }) == class
    {
        last.ports.1 = class.ports.1;
        return;
    }
    out.push(class);
}
