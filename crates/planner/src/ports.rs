//! The port axis: which decision holds for which protocol and port, for one subject and one peer.
//!
//! Input is the list of policies that select the pair, in file order. A sweep over the port axis
//! keeps the set of statements that match at the current port, so the cost is n·log n in the number
//! of statements and not in its square. Output is a [`Resolved`] row with its port sets.
//!
//! **Semantics.** At each point the first of these that applies:
//!
//! 1. an enforced deny drops, and so does the first of what `publish:` says of a runtime's port, unless it says pass;
//! 2. the first of the administrator's rules that matches drops or lets pass, unless it says pass;
//! 3. an allow lets pass, as one of 2 does, recorded when a deny of an audit policy matches too;
//! 4. a policy with `mode: audit` and allows that selects the pair, though none of its ports match,
//!    lets pass and records (never for sealed subjects);
//! 5. the first of the administrator's baseline rules that matches, unless the subject is isolated;
//! 6. the posture; one that lets pass records what a deny of an audit policy matches.
//!
//! Native files have nothing of 2 and 5, and Kubernetes manifests nothing of 1 and 4 (ADR 0016).
//! Where a scope around the subject is audited, whatever comes out as a drop passes and is recorded under the same rule
//! (ADR 0019).

use std::collections::BTreeSet;

use model::digest::Digest64;
use model::{IcmpCover, PortRange, PortSpec, Posture, Proto};
use policy::document::Tier;
use verdict::abi::{Decision, PortEntry, PortKey, PortSet, Row, Verdict};

/// What a policy says of the pairs that it selects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Effect {
    /// `mode: audit`.
    pub audit: bool,
    /// Allowed ports and the rule's number.
    pub allow: (Vec<PortSpec>, u32),
    /// Denied ports and the rule's number.
    pub deny: (Vec<PortSpec>, u32),
    /// The rule that names what an audit policy's ports do not match.
    pub rest: u32,
    /// Source ports that both are limited to; empty is all.
    pub sources: Vec<PortRange>,
    /// Before and after which other policies it is asked.
    pub tier: Tier,
    /// Ports that the administrator's tier leaves to the ordinary one.
    pub pass: Vec<PortSpec>,
}

impl Effect {
    /// Whether it says nothing of any port.
    pub(crate) fn is_mute(&self) -> bool {
        let is_silent = self.allow.0.is_empty() && self.deny.0.is_empty() && self.pass.is_empty();
        is_silent && !self.audit
    }
}

/// What holds where no policy says anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ground {
    pub posture: Posture,
    pub sealed: bool,
    /// Whether a policy made the posture deny: the baseline is then not asked.
    pub isolated: bool,
    /// Whether a scope around the subject is audited: what would be dropped passes and is recorded.
    pub audited: bool,
}

impl Ground {
    /// What the kernel does where no row speaks.
    pub(crate) fn posture(self) -> Posture {
        match self.posture {
            Posture::Deny if self.audited => Posture::Audit,
            posture => posture,
        }
    }
}

/// A row and the port sets it refers to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Resolved {
    pub row: Row,
    /// Port sets by number: the row's own first, then those over source ports.
    pub sets: Vec<(u64, Vec<(PortKey, PortEntry)>)>,
}

impl Resolved {
    /// Whether the row says nothing that the posture does not say.
    pub(crate) fn is_silent(&self) -> bool {
        self.row == Row::default()
    }
}

/// The protocols that rules can tell apart.
const PROTOCOLS: [Proto; 5] = [Proto::Icmp, Proto::Tcp, Proto::Udp, Proto::Icmp6, Proto::Sctp];

/// Of one tier and place, the earlier one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Deny,
    Allow,
    AuditDeny,
    Pass,
}

/// One port list of one policy.
struct Statement<'e> {
    effect: u32,
    kind: Kind,
    tier: Tier,
    rule: u32,
    ports: &'e [PortSpec],
    sources: &'e [PortRange],
}

/// What holds at one port: a decision, and other ones for some source ports.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Cell {
    decision: Decision,
    sources: Vec<(u16, u16, Decision)>,
}

/// Resolves the policies that select one pair, in file order.
pub(crate) fn resolve(effects: &[&Effect], ground: Ground) -> Resolved {
    let statements = statements(effects);
    let mut rest = Active::new(effects, &statements, ground);
    for (at, statement) in statements.iter().enumerate() {
        if statement.ports.contains(&PortSpec::Any) {
            rest.enter(at);
        }
    }
    let plain = Cell { decision: rest.decision(&[]), sources: Vec::new() };
    let mut cells = Vec::new();
    for protocol in PROTOCOLS {
        let events = events(&statements, protocol);
        if events.is_empty() {
            continue;
        }
        let active = Active::new(effects, &statements, ground);
        for (first, last, cell) in sweep(active, &events) {
            if cell != plain {
                cells.push((protocol.number(), first, last, cell));
            }
        }
    }
    assemble(plain.decision, silence(ground), &cells)
}

/// What holds where no policy says anything, as a decision.
fn silence(ground: Ground) -> Decision {
    let verdict = match ground.posture() {
        Posture::Deny => Verdict::Drop,
        Posture::Audit => Verdict::Audit,
        Posture::Allow => Verdict::Allow,
    };
    Decision::new(verdict, 0)
}

fn statements<'e>(effects: &[&'e Effect]) -> Vec<Statement<'e>> {
    let mut out = Vec::with_capacity(effects.len());
    for (at, effect) in effects.iter().enumerate() {
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        let denies = if effect.audit { Kind::AuditDeny } else { Kind::Deny };
        let lists = [
            (denies, &effect.deny.0, effect.deny.1),
            (Kind::Allow, &effect.allow.0, effect.allow.1),
            (Kind::Pass, &effect.pass, 0),
        ];
        for (kind, ports, rule) in lists {
            if !ports.is_empty() {
                let (tier, sources) = (effect.tier, &effect.sources);
                out.push(Statement { effect: index, kind, tier, rule, ports, sources });
            }
        }
    }
    out
}

/// Where statements begin (`true`) and stop to match, ordered by port. Empty when only `any` does.
fn events(statements: &[Statement<'_>], protocol: Proto) -> Vec<(u32, bool, usize)> {
    let mut events = Vec::new();
    let mut named = false;
    for (at, statement) in statements.iter().enumerate() {
        for spec in statement.ports {
            named |= *spec != PortSpec::Any && interval(*spec, protocol).is_some();
            if let Some((first, last)) = interval(*spec, protocol) {
                events.push((u32::from(first), true, at));
                events.push((u32::from(last) + 1, false, at));
            }
        }
    }
    if !named {
        events.clear();
    }
    events.sort_unstable();
    events
}

/// The ports (or types and codes) of one protocol that a spec covers.
fn interval(spec: PortSpec, protocol: Proto) -> Option<(u16, u16)> {
    let cover = match (spec, protocol) {
        (PortSpec::Any, _) => return Some((0, u16::MAX)),
        (PortSpec::Ports(transport, range), _) => {
            return (Proto::from(transport) == protocol).then(|| (range.first(), range.last()));
        }
        (PortSpec::Icmp(icmp), Proto::Icmp) => icmp.v4()?,
        (PortSpec::Icmp(icmp), Proto::Icmp6) => icmp.v6()?,
        (PortSpec::Icmp(_), _) => return None,
    };
    Some(match cover {
        IcmpCover::All => (0, u16::MAX),
        IcmpCover::Type(kind) => (u16::from(kind) << 8, u16::from(kind) << 8 | 0xff),
        IcmpCover::Code(kind, code) => {
            let both = u16::from(kind) << 8 | u16::from(code);
            (both, both)
        }
    })
}

/// The maximal intervals with one cell each, from port 0 to 65,535.
fn sweep(mut active: Active<'_, '_>, events: &[(u32, bool, usize)]) -> Vec<(u16, u16, Cell)> {
    let mut out: Vec<(u16, u16, Cell)> = Vec::new();
    let mut from = 0_u32;
    let mut at = 0;
    while from < 65_536 {
        while let Some((port, enters, statement)) = events.get(at).filter(|next| next.0 <= from) {
            debug_assert!(*port == from, "no event is skipped");
            if *enters {
                active.enter(*statement);
            } else {
                active.leave(*statement);
            }
            at += 1;
        }
        let to = events.get(at).map_or(65_536, |next| next.0.min(65_536));
        let (first, last) = (narrow(from), narrow(to - 1));
        let cell = active.cell();
        match out.last_mut() {
            Some((_, end, before)) if *before == cell => *end = last,
            _ => out.push((first, last, cell)),
        }
        from = to;
    }
    out
}

fn narrow(port: u32) -> u16 {
    u16::try_from(port).unwrap_or(u16::MAX)
}

/// The statements that match at one point of the sweep.
struct Active<'s, 'e> {
    statements: &'s [Statement<'e>],
    /// How many specs of each statement match.
    depth: Vec<u32>,
    deny: BTreeSet<usize>,
    allow: BTreeSet<usize>,
    audit_deny: BTreeSet<usize>,
    /// Matching statements of the administrator, before and after the ordinary ones.
    ranked: BTreeSet<(Tier, Kind, usize)>,
    /// Matching statements that are limited to some source ports.
    limited: BTreeSet<usize>,
    /// Effects of audit policies that none of their own statements match here.
    unmatched: BTreeSet<u32>,
    /// For each effect, the rule that names its complement; 0 when it has none.
    complements: Vec<u32>,
    /// How many unlimited statements of each effect match.
    matched: Vec<u32>,
    ground: Ground,
}

impl<'s, 'e> Active<'s, 'e> {
    fn new(effects: &[&Effect], statements: &'s [Statement<'e>], ground: Ground) -> Self {
        let complement = |effect: &&Effect| {
            let has = effect.audit && !effect.allow.0.is_empty() && !ground.sealed;
            if has { effect.rest } else { 0 }
        };
        let complements: Vec<u32> = effects.iter().map(complement).collect();
        let unmatched = (0_u32..).zip(&complements).filter(|(_, rule)| **rule != 0);
        Self {
            statements,
            depth: vec![0; statements.len()],
            deny: BTreeSet::new(),
            allow: BTreeSet::new(),
            audit_deny: BTreeSet::new(),
            ranked: BTreeSet::new(),
            limited: BTreeSet::new(),
            unmatched: unmatched.map(|(at, _)| at).collect(),
            complements,
            matched: vec![0; effects.len()],
            ground,
        }
    }

    /// Notes that an unlimited statement matches, or that it does no longer.
    fn mark(&mut self, at: usize, matches: bool) {
        let Some(Statement { kind, tier, .. }) = self.statements.get(at) else { return };
        let set = match (tier, kind) {
            (Tier::Ordinary, Kind::Deny) => &mut self.deny,
            (Tier::Ordinary, Kind::Allow) => &mut self.allow,
            (Tier::Ordinary, Kind::AuditDeny) => &mut self.audit_deny,
            (Tier::Ordinary, Kind::Pass) => return,
            (Tier::Published(_) | Tier::Admin(_) | Tier::Baseline(_), _) => {
                let key = (*tier, *kind, at);
                let _ = if matches { self.ranked.insert(key) } else { self.ranked.remove(&key) };
                return;
            }
        };
        let _ = if matches { set.insert(at) } else { set.remove(&at) };
    }

    fn enter(&mut self, at: usize) {
        let (Some(depth), Some(statement)) = (self.depth.get_mut(at), self.statements.get(at))
        else {
            return;
        };
        *depth += 1;
        if *depth > 1 {
            return;
        }
        if !statement.sources.is_empty() {
            self.limited.insert(at);
            return;
        }
        self.mark(at, true);
        if let Some(matched) = self.matched.get_mut(statement.effect as usize) {
            *matched += 1;
            self.unmatched.remove(&statement.effect);
        }
    }

    fn leave(&mut self, at: usize) {
        let (Some(depth), Some(statement)) = (self.depth.get_mut(at), self.statements.get(at))
        else {
            return;
        };
        *depth -= 1;
        if *depth > 0 {
            return;
        }
        if !statement.sources.is_empty() {
            self.limited.remove(&at);
            return;
        }
        self.mark(at, false);
        let has_complement =
            self.complements.get(statement.effect as usize).is_some_and(|r| *r != 0);
        if let Some(matched) = self.matched.get_mut(statement.effect as usize) {
            *matched -= 1;
            if *matched == 0 && has_complement {
                self.unmatched.insert(statement.effect);
            }
        }
    }

    /// The decision when, of the limited statements, exactly `limited` match the source port.
    fn decision(&self, limited: &[usize]) -> Decision {
        let enforced = self.enforced(limited);
        if self.ground.audited && enforced.verdict == Verdict::Drop as u8 {
            return Decision::new(Verdict::Audit, enforced.rule);
        }
        enforced
    }

    /// The decision without the audit of a scope.
    fn enforced(&self, limited: &[usize]) -> Decision {
        let first = |kind: Kind, set: &BTreeSet<usize>| {
            let ordinary = |s: &Statement<'_>| s.kind == kind && s.tier == Tier::Ordinary;
            let narrow = limited.iter().copied();
            let narrow = narrow.filter(|at| self.statements.get(*at).is_some_and(ordinary));
            let wide = set.first().copied();
            let at = narrow.chain(wide).min()?;
            self.statements.get(at).map(|statement| statement.rule)
        };
        if let Some(rule) = first(Kind::Deny, &self.deny) {
            return Decision::new(Verdict::Drop, rule);
        }
        let published = self.administrator(limited, Tier::Published(0), Tier::Published(u32::MAX));
        if let Some(decision) = published {
            return decision;
        }
        let audit = first(Kind::AuditDeny, &self.audit_deny);
        let ranked = self.administrator(limited, Tier::Admin(0), Tier::Ordinary);
        let allow = || {
            let rule = first(Kind::Allow, &self.allow)?;
            Some(Decision::new(Verdict::Allow, rule))
        };
        match (ranked.or_else(allow), audit) {
            (Some(decision), Some(audit)) if decision.verdict != Verdict::Drop as u8 => {
                return Decision::new(Verdict::Audit, audit);
            }
            (Some(decision), _) => return decision,
            (None, _) => {}
        }
        let is_matched = |effect: u32| {
            limited.iter().any(|at| self.statements.get(*at).is_some_and(|s| s.effect == effect))
        };
        if let Some(effect) = self.unmatched.iter().find(|effect| !is_matched(**effect)) {
            let rule = self.complements.get(*effect as usize).copied().unwrap_or_default();
            return Decision::new(Verdict::Audit, rule);
        }
        let baseline = (!self.ground.isolated)
            .then(|| self.administrator(limited, Tier::Baseline(0), Tier::Baseline(u32::MAX)));
        let open = matches!(self.ground.posture, Posture::Allow | Posture::Audit);
        match (baseline.flatten(), audit) {
            (Some(decision), None) => decision,
            (Some(decision), Some(_)) if decision.verdict == Verdict::Drop as u8 => decision,
            (Some(_), Some(audit)) => Decision::new(Verdict::Audit, audit),
            (None, Some(audit)) if open => Decision::new(Verdict::Audit, audit),
            (None, _) => silence(self.ground),
        }
    }

    /// What the first matching statement of a range of tiers says; `None` when it leaves it to others.
    fn administrator(&self, limited: &[usize], first: Tier, last: Tier) -> Option<Decision> {
        let wide =
            self.ranked.range((first, Kind::Deny, 0)..=(last, Kind::Pass, usize::MAX)).next();
        let narrow = limited.iter().filter_map(|at| {
            let statement = self.statements.get(*at)?;
            let is_here =
                statement.tier != Tier::Ordinary && (first..=last).contains(&statement.tier);
            is_here.then_some((statement.tier, statement.kind, *at))
        });
        let (_, kind, at) = narrow.chain(wide.copied()).min()?;
        let verdict = match kind {
            Kind::Deny => Verdict::Drop,
            Kind::Allow => Verdict::Allow,
            Kind::AuditDeny | Kind::Pass => return None,
        };
        self.statements.get(at).map(|statement| Decision::new(verdict, statement.rule))
    }

    fn cell(&self) -> Cell {
        let decision = self.decision(&[]);
        let mut sources: Vec<(u16, u16, Decision)> = Vec::new();
        if self.limited.is_empty() {
            return Cell { decision, sources };
        }
        let mut bounds = BTreeSet::from([0_u32]);
        let ranges = |at: &usize| self.statements.get(*at).map_or(&[][..], |s| s.sources);
        for range in self.limited.iter().flat_map(ranges) {
            bounds.insert(u32::from(range.first()));
            bounds.insert(u32::from(range.last()) + 1);
        }
        let bounds: Vec<u32> = bounds.into_iter().filter(|bound| *bound < 65_536).collect();
        for (at, bound) in bounds.iter().enumerate() {
            let first = narrow(*bound);
            let last = bounds.get(at + 1).map_or(u16::MAX, |next| narrow(next - 1));
            let holds = |at: &usize| ranges(at).iter().any(|range| range.contains(first));
            let matching: Vec<usize> = self.limited.iter().copied().filter(holds).collect();
            let found = self.decision(&matching);
            match sources.last_mut() {
                Some((_, end, before)) if *before == found && u32::from(*end) + 1 == *bound => {
                    *end = last;
                }
                _ if found == decision => {}
                _ => sources.push((first, last, found)),
            }
        }
        Cell { decision, sources }
    }
}

/// Writes cells as port sets.
fn assemble(rest: Decision, silence: Decision, cells: &[(u8, u16, u16, Cell)]) -> Resolved {
    let rest = if rest == silence { Decision::default() } else { rest };
    let mut out = Resolved { row: Row { rest, ..Row::default() }, sets: Vec::new() };
    if cells.is_empty() {
        return out;
    }
    let mut digest = Digest64::new("ports");
    let mut content = Vec::with_capacity(cells.len() * 18);
    let mut blocks = Vec::with_capacity(cells.len());
    for (protocol, first, last, cell) in cells {
        let sources = source_set(*protocol, &cell.sources, &mut out.sets);
        content.extend(sources.id.to_be_bytes());
        write(&mut content, *protocol, *first, *last, cell.decision);
        let entry = PortEntry { sources, decision: cell.decision };
        cut(*first, *last, |port, len| blocks.push((*protocol, port, len, entry)));
    }
    digest.bytes(&content);
    out.row.ports = finish(digest, &blocks, &mut out.sets);
    out.sets.rotate_right(1);
    out
}

/// The port set over source ports of one cell; none when the cell does not look at them.
fn source_set(
    protocol: u8,
    sources: &[(u16, u16, Decision)],
    sets: &mut Vec<(u64, Vec<(PortKey, PortEntry)>)>,
) -> PortSet {
    if sources.is_empty() {
        return PortSet::default();
    }
    let mut digest = Digest64::new("sources");
    let mut content = Vec::new();
    let mut blocks = Vec::new();
    for (first, last, decision) in sources {
        write(&mut content, protocol, *first, *last, *decision);
        let entry = PortEntry { sources: PortSet::default(), decision: *decision };
        cut(*first, *last, |port, len| blocks.push((protocol, port, len, entry)));
    }
    digest.bytes(&content);
    finish(digest, &blocks, sets)
}

fn write(content: &mut Vec<u8>, protocol: u8, first: u16, last: u16, decision: Decision) {
    content.push(protocol);
    content.extend(first.to_be_bytes());
    content.extend(last.to_be_bytes());
    content.push(decision.verdict);
    content.extend(decision.rule.to_be_bytes());
}

/// Numbers a set and adds its blocks; an equal set that is there already is not added twice.
fn finish(
    digest: Digest64,
    blocks: &[(u8, u16, u8, PortEntry)],
    sets: &mut Vec<(u64, Vec<(PortKey, PortEntry)>)>,
) -> PortSet {
    let id = digest.finish().max(1);
    let lengths = blocks.iter().fold(0, |bits, (_, _, len, _)| bits | 1 << len);
    if sets.iter().all(|(other, _)| *other != id) {
        let key = |protocol, port, len| PortKey { set: id, port, len, protocol, pad: 0 };
        let entries =
            blocks.iter().map(|(protocol, port, len, entry)| (key(*protocol, *port, *len), *entry));
        sets.push((id, entries.collect()));
    }
    PortSet { id, lengths, pad: 0 }
}

/// Cuts an interval into the fewest aligned blocks, at most 30: `(first port, prefix length)`.
pub(crate) fn cut(first: u16, last: u16, mut block: impl FnMut(u16, u8)) {
    let mut from = u32::from(first);
    let end = u32::from(last) + 1;
    while from < end {
        let aligned = if from == 0 { 16 } else { from.trailing_zeros().min(16) };
        let fitting = (end - from).ilog2();
        let bits = aligned.min(fitting);
        block(narrow(from), u8::try_from(16 - bits).unwrap_or(16));
        from += 1 << bits;
    }
}

#[cfg(test)]
mod tests;
