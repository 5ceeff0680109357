//! Keeps a document compiled: the whole once, then only what a change touches.
//!
//! After every change the bundle equals that of a fresh compilation of the same document with the
//! same allocations; a property test holds it to that.

use std::collections::btree_map::Entry;
use std::sync::Arc;

use jiff::Timestamp;
use model::digest::Digest64;
use model::{Direction, Mode, Name, Posture, Postures};
use policy::Document;
use policy::document::{Around, Audit, Network, Policy, Scope, Standing, Tier, Workload as Source};
use rustc_hash::{FxHashMap, FxHashSet};
use verdict::abi::{Addr, Config, Endpoint, FlowState, Peer, PeerKey, PrefixKey};

use crate::allocate::{self, Allocations};
use crate::bundle::{Bundle, Facts, Identity, Workload};
use crate::engine::{ClassId, Engine, Plane, Rule, RuleId, SlotId};
use crate::matchers::{MatcherId, Zone};
use crate::peers::{self, Surroundings};
use crate::ports::{Effect, Ground};
use crate::terms::{self, Term};
use crate::{PlanError, PlanErrors, topology};

mod change;
mod limits;
mod moves;
mod strays;

/// Idle timeouts in seconds, by [`FlowState`]; those of the kernel's own connection tracking.
const TIMEOUTS: [u32; FlowState::COUNT] = [60, 60, 432_000, 120, 10, 30, 120, 30];

/// A document, its bundle, and what is needed to change both together.
#[derive(Debug)]
pub struct Compiler {
    document: Document,
    facts: Facts,
    bundle: Bundle,
    engine: Engine,
    /// By position in `bundle.routers`, as the engine's planes.
    around: Vec<Surroundings>,
    pieces: Vec<Vec<PlacedPiece>>,
    seats: FxHashMap<Arc<str>, Seat>,
    /// The compiled policies by their path.
    rules: FxHashMap<(Scope, Name), RuleId>,
    positions: FxHashMap<Arc<str>, usize>,
    /// Positions in `bundle.routers` by the network's number.
    by_number: FxHashMap<u16, usize>,
    identity_uses: FxHashMap<u64, u32>,
    /// Endpoints with a published port that has a limit.
    limited: FxHashSet<u32>,
}

/// A piece of a network's address space and its class.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PlacedPiece {
    net: ipnet::IpNet,
    zone: Zone,
    class: ClassId,
}

/// Where an endpoint sits: what it was given, to be given back.
#[derive(Debug, Clone)]
struct Seat {
    /// Position of its network in `bundle.routers`.
    plane: usize,
    number: u32,
    /// By network that sees it: its class and its addresses there.
    seen: Vec<(usize, ClassId, Vec<Addr>)>,
    /// Egress, ingress.
    slots: [Option<SlotId>; 2],
    /// The slot that says which ports it may bind, when it shares the host's stack.
    binds: Option<u64>,
    matchers: Box<[MatcherId]>,
}

impl Compiler {
    /// Compiles a whole document.
    ///
    /// # Errors
    ///
    /// Every reason why there is no bundle.
    pub fn new(
        document: Document,
        previous: &Allocations,
        facts: &Facts,
    ) -> Result<Self, PlanErrors> {
        let mut errors = topology::check_routed(&document, facts);
        let allocations = match allocate::allocate(&document, previous) {
            Ok(allocations) => allocations,
            Err(more) => {
                errors.extend(more);
                Allocations::default()
            }
        };
        if !errors.is_empty() {
            return Err(PlanErrors(errors));
        }
        let mut this = Self::empty(document, allocations, facts);
        this.fill();
        let errors = std::mem::take(&mut this.engine.errors);
        if errors.is_empty() { Ok(this) } else { Err(PlanErrors(errors)) }
    }

    /// Compiles a document that runs nowhere, to ask questions about it: there is neither a host nor a link to one, and every
    /// address but those of its networks is the world's.
    pub(crate) fn detached(document: Document) -> Result<Self, PlanErrors> {
        let allocations =
            allocate::allocate(&document, &Allocations::default()).map_err(PlanErrors)?;
        let (addresses, now) = (Vec::new(), Timestamp::UNIX_EPOCH);
        let facts = Facts { addresses, now, jiffies_per_second: 1 };
        let mut this = Self::empty(document, allocations, &facts);
        for (around, router) in this.around.iter_mut().zip(this.bundle.routers.iter()) {
            *around = Surroundings { own: router.subnets.clone(), ..Surroundings::default() };
        }
        this.fill();
        let errors = std::mem::take(&mut this.engine.errors);
        if errors.is_empty() { Ok(this) } else { Err(PlanErrors(errors)) }
    }

    fn empty(document: Document, allocations: Allocations, facts: &Facts) -> Self {
        let routers = topology::routers(&document, &allocations, facts.now);
        let around = topology::surroundings(&routers, facts);
        let pieces = vec![Vec::new(); routers.len()];
        let by_number =
            routers.iter().enumerate().map(|(at, router)| (router.number, at)).collect();
        let (allocations, routers) = (allocations.into(), routers.into());
        let mut bundle = Bundle { allocations, routers, ..Bundle::default() };
        bundle.tables.config = config(facts);
        bundle.terms = terms::terms(&document, facts.now).into();
        let limited = limits::enter(&mut bundle, facts.jiffies_per_second);
        strays::enter(&mut bundle, document.unmanaged_posture());
        Self {
            document,
            facts: facts.clone(),
            bundle,
            engine: Engine::default(),
            around,
            pieces,
            seats: FxHashMap::default(),
            rules: FxHashMap::default(),
            positions: FxHashMap::default(),
            by_number,
            identity_uses: FxHashMap::default(),
            limited,
        }
    }

    /// The compiled bundle.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// Gives the bundle away.
    #[must_use]
    pub fn into_bundle(self) -> Bundle {
        self.bundle
    }

    /// The document that is compiled.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.document
    }

    /// Compiles everything into empty tables.
    fn fill(&mut self) {
        let document = std::mem::take(&mut self.document);
        for workload in &document.workloads {
            self.engine.matchers.count(&workload.subject());
        }
        for policy in &document.policies {
            self.add_policy(policy);
        }
        let terms: Vec<Policy> = self.bundle.terms.iter().flat_map(Term::policies).collect();
        for policy in &terms {
            self.put_policy(policy);
        }
        for at in 0..self.bundle.routers.len() {
            let mut plane = Plane::default();
            if let Some(here) = self.bundle.routers.get(at) {
                for of in &self.bundle.routers {
                    if of.number == here.number || topology::is_foreign(here, of) {
                        let seen = of.endpoints.iter().flat_map(|e| topology::visible(here, of, e));
                        plane.taken.extend(seen);
                    }
                }
            }
            self.engine.planes.push(plane);
            self.place_pieces(at);
        }
        let networks: FxHashMap<(&Name, &Name), &Network> =
            document.networks.iter().map(|each| ((&each.tenant, &each.name), each)).collect();
        let tenants: FxHashMap<&Name, Audit> =
            document.tenants.iter().map(|each| (&each.name, each.audit)).collect();
        let grounds: Vec<[Ground; 2]> = document
            .workloads
            .iter()
            .map(|each| {
                let network = networks.get(&(&each.tenant, &each.network)).copied();
                let tenant = tenants.get(&each.tenant).copied().unwrap_or_default();
                grounds([document.audit, tenant], network, each, self.facts.now)
            })
            .collect();
        // Classes before slots: a class that arrives looks at every slot about it.
        for (at, workload) in document.workloads.iter().enumerate() {
            let id: Arc<str> = workload.id().into();
            self.positions.insert(Arc::clone(&id), at);
            self.describe(&id, workload);
            self.seat(&id, workload);
        }
        for (workload, grounds) in document.workloads.iter().zip(grounds) {
            self.arm(workload, grounds);
        }
        self.document = document;
        self.refresh_expiry();
    }

    /// Enters a workload and its identity into the bundle.
    fn describe(&mut self, id: &Arc<str>, workload: &Source) {
        let identity = workload.identity().0;
        let what = Identity {
            tenant: workload.tenant.clone(),
            network: workload.network.clone(),
            segment: workload.segment.clone(),
            labels: workload.labels.clone(),
        };
        *self.identity_uses.entry(identity).or_default() += 1;
        match self.bundle.identities.entry(identity) {
            Entry::Vacant(place) => {
                place.insert(what.into());
            }
            Entry::Occupied(other) if **other.get() != what => {
                let (one, other) = (id.to_string(), format!("{:?}", other.get().labels));
                let error = PlanError::Collision { what: "identity", number: identity, one, other };
                self.engine.errors.push(error);
            }
            Entry::Occupied(_) => {}
        }
        let lease = self.bundle.allocations.endpoints.get(id);
        let entry = Workload {
            tenant: workload.tenant.clone(),
            name: workload.name.clone(),
            further: workload.further,
            network: workload.network.clone(),
            segment: workload.segment.clone(),
            identity,
            endpoint: lease.map(|lease| lease.number),
            start: workload.start.clone(),
        };
        self.bundle.workloads.insert(Arc::clone(id), entry.into());
    }

    /// Gives an endpoint its classes, in its own network and in those that see it.
    fn seat(&mut self, id: &Arc<str>, workload: &Source) {
        let Some(lease) = self.bundle.allocations.endpoints.get(id) else { return };
        let Some(plane) = self.by_number.get(&lease.network).copied() else { return };
        let Some(home) = self.bundle.routers.get(plane) else { return };
        let Ok(at) = home.endpoints.binary_search_by_key(&lease.number, |each| each.number) else {
            return;
        };
        let Some(attachment) = home.endpoints.get(at) else { return };
        let number = u32::from(lease.number);
        let identity = workload.identity().0;
        let matchers = self.engine.matchers.of_endpoint(&workload.subject());
        let host_wide = host_wide(&self.engine, &matchers);
        let mut seen = Vec::new();
        for (at, here) in self.bundle.routers.iter().enumerate() {
            if at != plane && !topology::is_foreign(here, home) {
                continue;
            }
            let mut addresses = topology::visible(here, home, attachment);
            // Nobody meets it there: a class without a peer would be one that nothing leads to.
            if addresses.is_empty() {
                continue;
            }
            let same_tenant = here.tenant == home.tenant;
            let class = self.engine.class(if same_tenant { &matchers } else { &host_wide });
            self.engine.class_up(&mut self.bundle.tables, at, class);
            if at == plane {
                addresses.extend(strays::claimable(home, attachment.mac));
            }
            let number_here = if at == plane { number } else { 0 };
            let peer = peer(self.engine.class_number(class), identity, number_here);
            for addr in &addresses {
                let key = PeerKey { network: u32::from(here.number), addr: *addr };
                self.bundle.tables.exact.insert(key, peer);
            }
            if home.mode == Mode::Host {
                let prefix = topology::hosted_prefix(here.number.into(), number);
                self.bundle.tables.prefixes.insert(prefix, peer);
            }
            seen.push((at, class, addresses));
        }
        let seat = Seat {
            plane,
            number,
            seen,
            slots: [None, None],
            binds: None,
            matchers: matchers.into_boxed_slice(),
        };
        self.seats.insert(Arc::clone(id), seat);
    }

    /// Gives an endpoint its slots and its entry among the endpoints.
    fn arm(&mut self, workload: &Source, grounds: [Ground; 2]) {
        let id = workload.id();
        let Some(seat) = self.seats.get_mut(id.as_str()) else { return };
        let Some(home) = self.bundle.routers.get(seat.plane) else { return };
        let hosted = home.mode == Mode::Host;
        let [egress, ingress] =
            [(false, grounds[0]), (true, grounds[1])].map(|(ingress, ground)| {
                let isolated = self.engine.is_isolated(&seat.matchers, ingress);
                if isolated {
                    Ground { posture: Posture::Deny, isolated, ..ground }
                } else {
                    ground
                }
            });
        let grounds = [egress, ingress];
        let slot = |engine: &mut Engine, ingress: bool, ground: Ground| {
            engine.slot(&seat.matchers, ingress, ground)
        };
        let slots =
            [slot(&mut self.engine, false, grounds[0]), slot(&mut self.engine, true, grounds[1])];
        for slot in slots.iter().flatten() {
            self.engine.slot_up(&mut self.bundle.tables, seat.plane, *slot);
        }
        seat.slots = slots;
        if hosted {
            let tables = &mut self.bundle.tables;
            seat.binds = slots[1].map(|slot| self.engine.open_to_bind(tables, slot));
        }
        let numbers = slots.map(|slot| self.engine.slot_number(slot));
        let postures = grounds.map(|ground| ground.posture() as u8);
        let Some(lease) = self.bundle.allocations.endpoints.get(id.as_str()) else { return };
        let tenant = self.bundle.allocations.tenants.get(&home.tenant).copied().unwrap_or_default();
        let mac = topology::mac_of(workload, lease, home.lan.is_some());
        // On a LAN others can send what claims to be a neighbour's: the port that a packet came by has to be looked at there.
        let on_lan = if home.lan.is_some() { Endpoint::IN_PLACE } else { 0 };
        let in_place = topology::port_of(workload).map_or(on_lan, |port| {
            Endpoint::IN_PLACE | if port.dhcp { Endpoint::DHCP_CLIENT } else { 0 }
        });
        let flags = if hosted { Endpoint::HOSTED | Endpoint::IN_PLACE } else { in_place };
        let is_limited = self.limited.contains(&seat.number);
        let flags = flags | if is_limited { Endpoint::LIMITED } else { 0 };
        let entry = Endpoint {
            slots: [numbers, numbers],
            v4: lease.v4.map_or(Addr::UNSPECIFIED, |v4| Addr::v4(v4.octets())),
            v6: lease.v6.map_or(Addr::UNSPECIFIED, |v6| Addr::v6(v6.octets())),
            link_local: Addr::v6(topology::link_local(mac).octets()),
            network: u32::from(home.number),
            tenant: u32::from(tenant),
            posture: [postures, postures],
            mac,
            gateway_mac: home.mac,
            flags,
            pad: [0; 6],
        };
        self.bundle.tables.endpoints.insert(seat.number, entry);
    }

    /// Cuts a network's address space again and writes what has changed.
    fn place_pieces(&mut self, at: usize) {
        let (Some(router), Some(around)) = (self.bundle.routers.get(at), self.around.get(at))
        else {
            return;
        };
        let network = u32::from(router.number);
        let found = peers::pieces(around, &self.engine.matchers, &router.tenant);
        let mut placed = Vec::with_capacity(found.len());
        for piece in found {
            let addr = Addr::from(piece.net.addr());
            let is_taken = |plane: &Plane| plane.taken.contains(&addr);
            if is_single(&piece.net) && self.engine.planes.get(at).is_some_and(is_taken) {
                continue;
            }
            let class = self.engine.class(&piece.matchers);
            self.engine.class_up(&mut self.bundle.tables, at, class);
            placed.push(PlacedPiece { net: piece.net, zone: piece.zone, class });
        }
        let Some(place) = self.pieces.get_mut(at) else { return };
        let old = std::mem::replace(place, placed);
        let kept: FxHashSet<ipnet::IpNet> = place.iter().map(|piece| piece.net).collect();
        for piece in old {
            self.engine.class_down(&mut self.bundle.tables, at, piece.class);
            self.engine.release_class(piece.class);
            let key = PeerKey { network, addr: Addr::from(piece.net.addr()) };
            if kept.contains(&piece.net) {
                continue;
            }
            if is_single(&piece.net) {
                self.bundle.tables.exact.remove(&key);
            } else {
                let len = 32 + peers::bits(&piece.net);
                self.bundle.tables.prefixes.remove(&PrefixKey { len, key });
            }
        }
        for piece in place.iter() {
            let identity = match piece.zone {
                Zone::Host => model::Identity::HOST,
                Zone::Unmanaged => model::Identity::UNMANAGED,
                Zone::World => model::Identity::WORLD,
            };
            let peer = peer(self.engine.class_number(piece.class), identity.0, 0);
            let key = PeerKey { network, addr: Addr::from(piece.net.addr()) };
            if is_single(&piece.net) {
                self.bundle.tables.exact.insert(key, peer);
            } else {
                let len = 32 + peers::bits(&piece.net);
                self.bundle.tables.prefixes.insert(PrefixKey { len, key }, peer);
            }
        }
    }
}

/// Single policies.
impl Compiler {
    /// Compiles a policy in, unless it has expired; returns the matchers that are new.
    fn add_policy(&mut self, policy: &Policy) -> Vec<MatcherId> {
        if policy.is_absent(self.facts.now) {
            return Vec::new();
        }
        let (id, new) = self.put_policy(policy);
        self.rules.insert((policy.scope.clone(), policy.name.clone()), id);
        new
    }

    /// Compiles a policy that there is; returns its rule and the matchers that are new.
    fn put_policy(&mut self, policy: &Policy) -> (RuleId, Vec<MatcherId>) {
        for rule in policy.rules() {
            self.bundle.rules.insert(rule.id.0, rule.clone());
        }
        let id = self.engine.put_rule(Rule {
            order: policy.order,
            sides: [Vec::new(), Vec::new()],
            effect: effect(policy),
            isolates: policy.standing.isolates && !policy.audit,
            digest: 0,
        });
        let mut new = Vec::new();
        let mut sides = [Vec::new(), Vec::new()];
        let lists = [&policy.from, &policy.to];
        for (side, (peers, ids)) in lists.into_iter().zip(&mut sides).enumerate() {
            let direction = if side == 0 { Direction::Egress } else { Direction::Ingress };
            let speaks = policy.standing.ends.covers(direction);
            for peer in peers {
                match self.engine.matchers.add(&policy.scope, peer, id, (side, speaks)) {
                    Ok((matcher, is_new)) => {
                        ids.push(matcher);
                        new.extend(is_new.then_some(matcher));
                    }
                    Err(error) => self.engine.errors.push(error),
                }
            }
        }
        let digest = digest(&self.engine, policy, &sides);
        if let Some(Some(rule)) = self.engine.rules.get_mut(id as usize) {
            rule.sides = sides;
            rule.digest = digest;
        }
        (id, new)
    }

    /// Takes a policy out; the endpoints it is about have been unseated. Returns the matchers that
    /// no rule has any more.
    fn remove_policy(&mut self, id: RuleId) -> Vec<MatcherId> {
        let Some(rule) = self.engine.take_rule(id) else { return Vec::new() };
        let mut gone = Vec::new();
        for (side, matchers) in rule.sides.iter().enumerate() {
            for matcher in matchers {
                if self.engine.matchers.remove(*matcher, id, side) {
                    gone.push(*matcher);
                }
            }
        }
        gone.sort_unstable();
        gone.dedup();
        gone
    }

    fn refresh_expiry(&mut self) {
        let now = self.facts.now;
        let untils = self.document.policies.iter().filter_map(|policy| policy.next_change(now));
        let audits = self.document.audits().filter_map(|(_, audit)| audit.ends(self.facts.now));
        let published = self.document.publishes.iter().filter_map(|publish| publish.until);
        let all = untils.chain(audits).chain(published);
        self.bundle.expires = all.filter(|until| *until > now).min();
    }
}

fn config(facts: &Facts) -> Config {
    Config {
        epoch: 0,
        timeouts: TIMEOUTS.map(|seconds| seconds.saturating_mul(facts.jiffies_per_second)),
        flags: Config::DELIVER,
        report_interval: facts.jiffies_per_second,
    }
}

pub(crate) fn is_single(net: &ipnet::IpNet) -> bool {
    net.prefix_len() == net.max_prefix_len()
}

pub(crate) fn peer(class: u64, identity: u64, endpoint: u32) -> Peer {
    Peer { class: [class, class], identity: [identity, identity], endpoint, pad: 0 }
}

/// The matchers of host-wide rules among these.
fn host_wide(engine: &Engine, matchers: &[MatcherId]) -> Vec<MatcherId> {
    let is_host = |id: &MatcherId| engine.matchers.get(*id).is_some_and(|m| m.scope == Scope::Host);
    matchers.iter().copied().filter(is_host).collect()
}

/// Posture, sealing and audit of a workload, egress first; `outer` is what node and tenant say.
fn grounds(
    outer: [Audit; 2],
    network: Option<&Network>,
    workload: &Source,
    now: Timestamp,
) -> [Ground; 2] {
    let segment = network.and_then(|network| network.segment(workload.segment.as_ref()?));
    let postures: Postures = match (network, segment) {
        (_, Some(segment)) => segment.postures,
        (Some(network), None) => network.postures,
        (None, None) => Postures::default(),
    };
    let sealed = segment.is_some_and(|segment| segment.sealed);
    let around = Around::new(outer, network, segment);
    [Direction::Egress, Direction::Ingress].map(|direction| Ground {
        posture: if sealed { Posture::Deny } else { postures.of(direction) },
        sealed,
        isolated: false,
        audited: around.is_audited(direction, now),
    })
}

pub(crate) fn effect(policy: &Policy) -> Effect {
    let number = |rule: &Option<model::RuleRef>| rule.as_ref().map_or(0, |rule| rule.id.0);
    Effect {
        audit: policy.audit,
        allow: (policy.allow.clone(), number(&policy.allow_rule)),
        deny: (policy.deny.clone(), number(&policy.deny_rule)),
        rest: number(&policy.audit_rule),
        sources: policy.source_ports.clone(),
        tier: policy.standing.tier,
        pass: policy.standing.pass.clone(),
    }
}

/// The number of a policy's content, but for its place in the file.
pub(crate) fn digest(engine: &Engine, policy: &Policy, sides: &[Vec<MatcherId>; 2]) -> u64 {
    use std::fmt::Write as _;

    let mut text = String::with_capacity(64);
    let number = |rule: &Option<model::RuleRef>| rule.as_ref().map_or(0, |rule| rule.id.0);
    let (allow, deny) = (number(&policy.allow_rule), number(&policy.deny_rule));
    let rest = number(&policy.audit_rule);
    // Writing to a text cannot fail.
    let _ = write!(text, "{allow} {deny} {rest} {};", policy.audit);
    for spec in &policy.allow {
        let _ = write!(text, "{spec} ");
    }
    text.push(';');
    for spec in &policy.deny {
        let _ = write!(text, "{spec} ");
    }
    text.push(';');
    for range in &policy.source_ports {
        let _ = write!(text, "{range} ");
    }
    for side in sides {
        text.push(';');
        for matcher in side.iter().filter_map(|id| engine.matchers.get(*id)) {
            let _ = write!(text, "{:x} ", matcher.digest);
        }
    }
    // Native policies keep the numbers that they had before there were others.
    if policy.standing != Standing::default() {
        let Standing { ends, isolates, tier, pass, origin: _ } = &policy.standing;
        let (tier, place) = match tier {
            Tier::Published(place) => ("published", *place),
            Tier::Admin(place) => ("admin", *place),
            Tier::Ordinary => ("", 0),
            Tier::Baseline(place) => ("baseline", *place),
        };
        let governed = Direction::ALL.map(|direction| ends.covers(direction));
        let _ = write!(text, ";{governed:?} {isolates} {tier} {place};");
        for spec in pass {
            let _ = write!(text, "{spec} ");
        }
    }
    let mut digest = Digest64::new("policy");
    digest.text(&text);
    digest.finish()
}
