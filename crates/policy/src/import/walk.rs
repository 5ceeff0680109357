//! Chains of rules in which the first match decides, and what they accept for certain.
//!
//! A packet is the first of a flow that comes in over no loopback interface: whatever looks at the state of a connection, or
//! at that interface, is therefore known. Replies pass with their flow, here and there.
//!
//! While a chain is walked, `under` are packets that come to this rule for certain unless somebody decided before, and
//! `over` those that may come. A rule that drops denies all that it *may* match; a rule that accepts allows what it matches
//! *for certain* and nobody may have denied before.

use std::collections::HashMap;

use super::space::{Budget, PEER, PORT, PROTO, Packets, Range, Set};
use super::{ImportError, Skipped, shown, too_much};

/// Deepest nesting of chains that call each other.
const MAX_DEPTH: usize = 16;
/// Most rules that are walked over, calls included.
const MAX_VISITS: usize = 200_000;

/// Everything that a source says.
#[derive(Debug, Default)]
pub(super) struct Ruleset {
    pub(super) chains: HashMap<String, Vec<Rule>>,
    pub(super) bases: Vec<Base>,
    /// Whether it is about IPv6, where a source is about one version.
    pub(super) is_v6: bool,
    /// Whether some connections are not tracked: their first packets are not new, but untracked.
    pub(super) untracked: bool,
    /// What the source says beside rules, and was not understood.
    pub(super) skipped: Vec<Skipped>,
}

/// A chain that packets come to by themselves.
#[derive(Debug, Clone)]
pub(super) struct Base {
    pub(super) chain: String,
    pub(super) side: Side,
    /// IP versions: 4, 6.
    pub(super) versions: [bool; 2],
    /// Whether what no rule decides passes.
    pub(super) accepts: bool,
    /// Whether it translates addresses: it opens nothing by itself, others do as far as it lets packets pass.
    pub(super) is_nat: bool,
    /// Line of the chain.
    pub(super) line: u32,
}

/// Of the machine's packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Those that it is sent.
    In,
    /// Those that it sends.
    Out,
}

/// One rule.
#[derive(Debug, Clone)]
pub(super) struct Rule {
    pub(super) line: u32,
    pub(super) source: String,
    /// All of them must hold.
    pub(super) conditions: Vec<Condition>,
    pub(super) verdict: Verdict,
}

/// What becomes of packets that a rule matches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    /// Nothing: it counts or logs.
    Continue,
    Return,
    Jump(String),
    Goto(String),
    /// Another source or, as said, another destination is written into them, and no chain of its kind decides any more.
    Translate {
        target: bool,
    },
    /// Nobody knows.
    Unknown(String),
}

/// One condition of a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Condition {
    /// Known to hold, or not, for the first packet of a flow over a link.
    Fixed(bool),
    /// Whether it holds for what opens a connection that is tracked, and for one that is not.
    State {
        new: bool,
        untracked: bool,
    },
    V6(bool),
    Proto(Vec<Range>, Not),
    Source(Addresses, Not),
    Target(Addresses, Not),
    /// Destination ports; of icmp type and code.
    Port(Vec<Range>, Not),
    /// Which interface it comes in by, or goes out by: only whether it is the loopback is known.
    InLink(String, Not),
    /// Whether it is for an address of the machine, as what comes in is.
    LocalTarget(bool),
    OutLink(String, Not),
    Unknown(String),
}

/// Whether a condition is negated.
pub(super) type Not = bool;

/// Addresses of both IP versions.
pub(super) type Addresses = Vec<(bool, Range)>;

/// What a rule opens.
#[derive(Debug, Clone)]
pub(super) struct Opened {
    pub(super) line: u32,
    pub(super) source: String,
    pub(super) packets: Set,
    /// All that it matches for certain, whoever decided before.
    pub(super) wide: Set,
    /// Whether no first packet over a link can be meant: replies, or the loopback.
    pub(super) is_needless: bool,
}

impl Condition {
    /// The packets for which it holds, or why nobody knows.
    fn packets(
        &self,
        side: Side,
        is_untracked: bool,
        budget: &mut Budget,
    ) -> Result<Result<Set, String>, ImportError> {
        let of = |side: usize, ranges: &[Range]| {
            let boxes = ranges
                .iter()
                .flat_map(|range| [false, true].map(|v6| Packets::with(v6, side, *range)));
            Set(boxes.collect())
        };
        let (set, not) = match self {
            Self::State { new, untracked } if is_untracked && new != untracked => {
                return Ok(Err("the state, as some connections are not tracked".to_owned()));
            }
            Self::Fixed(holds) | Self::State { new: holds, .. } => {
                (if *holds { Set::all() } else { Set::default() }, false)
            }
            Self::V6(v6) => (Set(vec![Packets::all(*v6)]), false),
            Self::Proto(ranges, not) => (of(PROTO, ranges), *not),
            Self::Port(ranges, not) => (of(PORT, ranges), *not),
            Self::Source(list, not) if side == Side::In => (addresses(list), *not),
            Self::Target(list, not) if side == Side::Out => (addresses(list), *not),
            Self::Source(..) | Self::Target(..) => {
                return Ok(Err("an address of the machine itself".to_owned()));
            }
            Self::InLink(name, not) | Self::OutLink(name, not) => {
                let is_own = matches!(self, Self::InLink(..)) == (side == Side::In);
                if name != "lo" || !is_own {
                    return Ok(Err(format!("the interface {}", shown(name))));
                }
                (if *not { Set::all() } else { Set::default() }, false)
            }
            Self::LocalTarget(holds) if side == Side::In => {
                (if *holds { Set::all() } else { Set::default() }, false)
            }
            Self::LocalTarget(_) => {
                return Ok(Err("whether an address is the machine's own".to_owned()));
            }
            Self::Unknown(what) => return Ok(Err(what.clone())),
        };
        Ok(Ok(if not { Set::all().minus(&set, budget)? } else { set }))
    }
}

fn addresses(list: &[(bool, Range)]) -> Set {
    Set(list.iter().map(|(v6, range)| Packets::with(*v6, PEER, *range)).collect())
}

/// What a base chain opens, rule by rule, and all that it lets pass.
#[derive(Debug, Default)]
pub(super) struct Walked {
    pub(super) opened: Vec<Opened>,
    /// Rules that drop all that they match, and are understood as a whole.
    pub(super) dropped: Vec<Opened>,
    pub(super) total: Set,
}

/// Walks a base chain.
pub(super) fn walk(
    rules: &Ruleset,
    base: &Base,
    budget: &mut Budget,
    skipped: &mut Vec<Skipped>,
) -> Result<Walked, ImportError> {
    let mut walker = Walker {
        rules,
        side: base.side,
        denied: Set::default(),
        decided: Set::default(),
        out: Walked::default(),
        visits: 0,
        told: std::collections::BTreeSet::new(),
        budget,
        skipped,
    };
    let all: Vec<Packets> = [false, true]
        .into_iter()
        .zip(base.versions)
        .filter(|(_, is_there)| *is_there)
        .map(|(v6, _)| Packets::all(v6))
        .collect();
    let all = Set(all);
    walker.chain(&base.chain, all.clone(), all.clone(), 0)?;
    if base.accepts {
        let packets = all.minus(&walker.denied, walker.budget)?;
        let source = format!("policy accept of {}", shown(&base.chain));
        let is_needless = false;
        let opened = Opened { line: base.line, source, packets, wide: all, is_needless };
        walker.open(opened)?;
    }
    Ok(walker.out)
}

struct Walker<'r, 'b> {
    rules: &'r Ruleset,
    side: Side,
    /// What some rule may have dropped.
    denied: Set,
    /// What some rule has decided for certain.
    decided: Set,
    out: Walked,
    visits: usize,
    told: std::collections::BTreeSet<(u32, String)>,
    budget: &'b mut Budget,
    skipped: &'b mut Vec<Skipped>,
}

impl Walker<'_, '_> {
    fn chain(
        &mut self,
        name: &str,
        mut under: Set,
        mut over: Set,
        depth: usize,
    ) -> Result<(), ImportError> {
        if depth > MAX_DEPTH {
            return Err(too_much(format!("chains call each other deeper than {MAX_DEPTH}")));
        }
        let Some(chain) = self.rules.chains.get(name) else { return Ok(()) };
        for rule in chain {
            self.visits += 1;
            if self.visits > MAX_VISITS {
                return Err(too_much("chains call each other too often"));
            }
            let (surely, maybe) = self.matched(rule)?;
            let certain = under.and(&surely, self.budget)?;
            let possible = over.and(&maybe, self.budget)?.minus(&self.decided, self.budget)?;
            match &rule.verdict {
                Verdict::Continue => {}
                Verdict::Accept => {
                    let packets = certain.minus(&self.denied, self.budget)?;
                    let (line, source) = (rule.line, rule.source.clone());
                    let (wide, is_needless) = (certain.clone(), maybe.is_empty());
                    self.open(Opened { line, source, packets, wide, is_needless })?;
                    self.decided.add(&certain, self.budget)?;
                }
                Verdict::Drop => {
                    if !certain.is_empty() && possible.minus(&certain, self.budget)?.is_empty() {
                        let (line, source) = (rule.line, rule.source.clone());
                        let (packets, wide) = (certain.clone(), Set::default());
                        let dropped = Opened { line, source, packets, wide, is_needless: false };
                        self.out.dropped.push(dropped);
                    }
                    self.denied.add(&possible, self.budget)?;
                    self.decided.add(&certain, self.budget)?;
                }
                // Where it goes to is not among what the policies see.
                Verdict::Translate { target: false } if self.side == Side::Out => {}
                // What the chains after it judge is another packet.
                Verdict::Translate { .. } => self.denied.add(&possible, self.budget)?,
                Verdict::Unknown(what) => {
                    self.tell(rule, &format!("{what}: taken for a drop"));
                    self.denied.add(&possible, self.budget)?;
                }
                Verdict::Jump(to) | Verdict::Goto(to) if !self.rules.chains.contains_key(to) => {
                    self.tell(rule, &format!("{} is no chain of it: taken for a drop", shown(to)));
                    self.denied.add(&possible, self.budget)?;
                }
                Verdict::Jump(to) => {
                    if !possible.is_empty() {
                        self.chain(to, certain, possible, depth + 1)?;
                    }
                }
                Verdict::Goto(to) => {
                    self.chain(to, certain.clone(), possible.clone(), depth + 1)?;
                    under = under.minus(&possible, self.budget)?;
                    over = over.minus(&certain, self.budget)?;
                }
                Verdict::Return => {
                    under = under.minus(&possible, self.budget)?;
                    over = over.minus(&certain, self.budget)?;
                }
            }
        }
        Ok(())
    }

    /// What a rule matches for certain, and what it may match.
    fn matched(&mut self, rule: &Rule) -> Result<(Set, Set), ImportError> {
        let (mut surely, mut maybe) = (Set::all(), Set::all());
        let mut unknown: Vec<String> = Vec::new();
        for condition in &rule.conditions {
            match condition.packets(self.side, self.rules.untracked, self.budget)? {
                Ok(set) => {
                    surely = surely.and(&set, self.budget)?;
                    maybe = maybe.and(&set, self.budget)?;
                }
                Err(what) => {
                    surely = Set::default();
                    unknown.push(what);
                }
            }
        }
        let is_nothing = rule.verdict == Verdict::Continue
            || (rule.verdict == Verdict::Translate { target: false } && self.side == Side::Out);
        if !unknown.is_empty() && !is_nothing && !maybe.is_empty() {
            let what = unknown.join(", ");
            let told = match &rule.verdict {
                Verdict::Accept => format!("{what}: nothing is allowed by it"),
                Verdict::Drop => format!("{what}: taken to drop whatever it may match"),
                Verdict::Translate { .. } => {
                    format!("{what}: taken to change whatever it may match")
                }
                _ => format!("{what}: what follows allows nothing that it may match"),
            };
            self.tell(rule, &told);
        }
        Ok((surely, maybe))
    }

    fn open(&mut self, opened: Opened) -> Result<(), ImportError> {
        // What an earlier rule has opened is open already.
        let packets = opened.packets.minus(&self.out.total, self.budget)?;
        self.out.total.0.extend(packets.0.iter().copied());
        self.out.opened.push(Opened { packets, ..opened });
        Ok(())
    }

    fn tell(&mut self, rule: &Rule, reason: &str) {
        if self.told.insert((rule.line, reason.to_owned())) {
            let source = shown(&rule.source);
            self.skipped.push(Skipped { line: rule.line, source, reason: reason.to_owned() });
        }
    }
}
