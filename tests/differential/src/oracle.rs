//! What the file means, in straight lines: the second opinion on every packet.
//!
//! Written from the description of the file alone. It knows addresses and policies, no identities,
//! classes or port sets, and asks every policy about every flow. Nothing of the product but the
//! document's plain data types and the planner's addresses is used.

mod flows;
mod hosted;
mod uplink;

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use model::{
    Field, IcmpCover, IcmpMatch, Mode, Name, Op, Peer, PortSpec, Posture, Selector, Transport,
};
use planner::Bundle;
use policy::Document;
use policy::document::{Audit, Network, Policy, Scope, Start, Workload};

use crate::accounts::Sender;
use crate::clock;

pub use flows::{Expected, Oracle};
pub use hosted::{Ask, AtSocket, Sockets};
pub use uplink::{UPLINK, Way};

/// An endpoint: a workload and what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Position of the workload in the document.
    pub workload: usize,
    /// Position of its network in the document.
    pub network: usize,
    /// Its number on the node.
    pub number: u16,
    /// Its addresses.
    pub v4: Option<IpAddr>,
    /// Its addresses.
    pub v6: Option<IpAddr>,
    /// Its hardware address.
    pub mac: [u8; 6],
    /// Its port is an interface that somebody else made.
    pub in_place: bool,
}

impl Seat {
    /// Whether it has this address.
    #[must_use]
    pub fn has(&self, address: IpAddr) -> bool {
        self.v4 == Some(address) || self.v6 == Some(address)
    }
}

/// The world as the file and the planner's addresses describe it.
#[derive(Debug, Clone)]
pub struct Scene {
    /// The file.
    pub doc: Document,
    /// Everything with an address.
    pub seats: Vec<Seat>,
    /// Workloads on the host's own stack, which have no addresses; as [`Who::Endpoint`] they come after the others.
    pub hosted: Vec<Seat>,
    /// Of the host, transit links left out.
    pub host: Vec<IpAddr>,
    /// By network: the transit addresses on the host's side.
    pub transit: Vec<Vec<IpAddr>>,
    /// Which policies have expired.
    pub now: Timestamp,
}

/// Who is behind an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The seat with this position.
    Endpoint(usize),
    /// The host.
    Host,
    /// Processes of the host, where they send.
    Processes(Sender),
    /// An address of a managed subnet that nobody has.
    Unmanaged,
    /// Everybody else.
    World,
}

/// A flow that wants to be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// Position of the network.
    pub network: usize,
    /// Who opens it.
    pub source: IpAddr,
    /// To whom.
    pub target: IpAddr,
    /// IP protocol number.
    pub protocol: u8,
    /// Ports; icmp has type and code in the second one.
    pub ports: (u16, u16),
}

/// What becomes of a flow, or of one side of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Passes; the rule, or 0.
    Allow(u32),
    /// Passes and is recorded.
    Audit(u32),
    /// Is dropped.
    Drop(u32),
}

/// What becomes of a flow, with the rules of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opinion {
    /// The sum of both sides.
    pub answer: Answer,
    /// The rule at the source, 0 when none was asked or none decided.
    pub egress: u32,
    /// The rule at the target.
    pub ingress: u32,
}

impl Scene {
    /// Joins a document with the addresses that the planner gave.
    #[must_use]
    pub fn new(doc: &Document, bundle: &Bundle, facts: &planner::Facts) -> Self {
        let (mut seats, mut hosted) = (Vec::new(), Vec::new());
        for (at, workload) in doc.workloads.iter().enumerate() {
            let network = |n: &Network| n.tenant == workload.tenant && n.name == workload.network;
            let place = doc.networks.iter().position(network);
            let lease = bundle.allocations.endpoints.get(workload.id().as_str());
            if let (Some(network), Some(lease)) = (place, lease) {
                let (v4, v6) = (lease.v4.map(IpAddr::V4), lease.v6.map(IpAddr::V6));
                let number = lease.number;
                let [high, low] = number.to_be_bytes();
                let (mac, in_place) = match &workload.start {
                    Start::Port(port) => (port.mac, true),
                    _ => ([0x02, 0x62, 0x68, 0, high, low], false),
                };
                let seat = Seat { workload: at, network, number, v4, v6, mac, in_place };
                if doc.networks[network].mode == Mode::Host {
                    hosted.push(Seat { v4: None, v6: None, ..seat });
                } else {
                    seats.push(seat);
                }
            }
        }
        let transit = |network: &Network| {
            if network.external.is_some() || network.mode == Mode::Host {
                return None;
            }
            let number = bundle.allocations.networks.get(network.id().as_str())?.number;
            let router = bundle.routers.iter().find(|router| router.number == number)?;
            Some(vec![router.transit.host_v4.into(), router.transit.host_v6.into()])
        };
        let transit = doc.networks.iter().map(|each| transit(each).unwrap_or_default()).collect();
        let (doc, host, now) = (doc.clone(), facts.addresses.clone(), facts.now);
        Self { doc, seats, hosted, host, transit, now }
    }

    fn workload(&self, seat: usize) -> &Workload {
        let hosted = || seat.checked_sub(self.seats.len()).map(|at| self.hosted[at]);
        let seat = self.seats.get(seat).copied().or_else(hosted).expect("a seat of the scene");
        &self.doc.workloads[seat.workload]
    }

    /// Who has an address, seen from a network.
    #[must_use]
    pub fn who(&self, network: usize, address: IpAddr) -> Who {
        let here = &self.doc.networks[network];
        let own = |seat: &Seat| seat.network == network && seat.has(address);
        if let Some(at) = self.seats.iter().position(own) {
            return Who::Endpoint(at);
        }
        // On the host's own stack loopback is the host.
        if here.mode == Mode::Host && address.is_loopback() {
            return Who::Host;
        }
        if gateways(here).contains(&address) || self.transit[network].contains(&address) {
            return Who::Host;
        }
        // The host may stand in a network that it does not forward for by us.
        if here.external.is_some() && self.host.contains(&address) {
            return Who::Host;
        }
        if here.subnets.contains(address) {
            return Who::Unmanaged;
        }
        if self.host.contains(&address) {
            return Who::Host;
        }
        let routed = |at: usize| at != network && self.doc.networks[at].mode == Mode::Routed;
        let foreign = |seat: &Seat| routed(seat.network) && seat.has(address);
        if let Some(at) = self.seats.iter().position(foreign) {
            return Who::Endpoint(at);
        }
        for (at, other) in self.doc.networks.iter().enumerate() {
            if routed(at) && gateways(other).contains(&address) {
                return Who::Host;
            }
            if routed(at) && other.subnets.contains(address) {
                return Who::Unmanaged;
            }
        }
        let transit = ["169.254.64.0/19", "fd62:756c:6b68::/64"];
        let in_transit =
            |text: &&str| text.parse::<IpNet>().is_ok_and(|net| net.contains(&address));
        if transit.iter().any(in_transit) { Who::Unmanaged } else { Who::World }
    }

    /// What becomes of a flow; `None` when neither end is an endpoint of this network.
    #[must_use]
    pub fn judge(&self, flow: &Flow) -> Option<Opinion> {
        let (source, target) =
            (self.who(flow.network, flow.source), self.who(flow.network, flow.target));
        self.judge_between(flow, source, target)
    }

    /// The same between two whose addresses do not tell who they are.
    fn judge_between(&self, flow: &Flow, source: Who, target: Who) -> Option<Opinion> {
        let local = |who: Who| match who {
            Who::Endpoint(at) => {
                let seat = self.seats.iter().chain(&self.hosted).nth(at);
                seat.is_some_and(|seat| seat.network == flow.network)
            }
            _ => false,
        };
        if !local(source) && !local(target) {
            return None;
        }
        let mut opinion = Opinion { answer: Answer::Allow(0), egress: 0, ingress: 0 };
        if local(source) {
            let answer = self.side(flow, source, target, false);
            opinion.egress = rule(answer);
            opinion.answer = answer;
            if matches!(answer, Answer::Drop(_)) {
                return Some(opinion);
            }
        }
        if local(target) {
            let answer = self.side(flow, source, target, true);
            opinion.ingress = rule(answer);
            let recorded = matches!(opinion.answer, Answer::Audit(_));
            if !recorded || matches!(answer, Answer::Drop(_)) {
                opinion.answer = answer;
            }
        }
        Some(opinion)
    }

    /// What one end's policy says, in its own direction.
    fn side(&self, flow: &Flow, source: Who, target: Who, ingress: bool) -> Answer {
        let end = if ingress { target } else { source };
        let Who::Endpoint(subject) = end else { return Answer::Drop(0) };
        let workload = self.workload(subject);
        let (_, sealed) = self.posture(workload, ingress);
        let enforced = self.enforced(flow, source, target, ingress);
        match enforced {
            Answer::Drop(rule) if !sealed && self.is_audited(workload, ingress) => {
                Answer::Audit(rule)
            }
            enforced => enforced,
        }
    }

    /// Whether the nearest of segment, network, tenant and node that says something about the direction audits it.
    fn is_audited(&self, workload: &Workload, ingress: bool) -> bool {
        let tenant = self.doc.tenants.iter().find(|each| each.name == workload.tenant);
        let networks = &mut self.doc.networks.iter();
        let network = networks.find(|n| n.tenant == workload.tenant && n.name == workload.network);
        let segments = network.map_or(&[][..], |network| network.segments.as_slice());
        let segment = segments.iter().find(|each| Some(&each.name) == workload.segment.as_ref());
        let said = [
            segment.map(|each| each.audit),
            network.map(|each| each.audit),
            tenant.map(|each| each.audit),
            Some(self.doc.audit),
        ];
        self.audits(said.into_iter().flatten(), ingress)
    }

    /// Whether the first of these that says something about the direction audits it.
    fn audits(&self, nearest_first: impl Iterator<Item = Audit>, ingress: bool) -> bool {
        let word = |audit: &Audit| if ingress { audit.ingress } else { audit.egress };
        let mut said = nearest_first.filter(|audit| word(audit).is_some());
        let Some(audit) = said.next() else { return false };
        let over = audit.until.is_some_and(|until| until <= self.now);
        word(&audit) == Some(true) && !over
    }

    /// What one end's policy says where nothing is audited.
    fn enforced(&self, flow: &Flow, source: Who, target: Who, ingress: bool) -> Answer {
        let end = if ingress { target } else { source };
        let Who::Endpoint(subject) = end else { return Answer::Drop(0) };
        let workload = self.workload(subject);
        let (posture, sealed) = self.posture(workload, ingress);
        self.rules(flow, (source, target), Some(&workload.tenant), (posture, sealed))
    }

    /// What the policies say that speak for an end: of a tenant's workload those of the tenant, too.
    fn rules(
        &self,
        flow: &Flow,
        (source, target): (Who, Who),
        whose: Option<&Name>,
        (posture, sealed): (Posture, bool),
    ) -> Answer {
        let about: Vec<&Policy> = self
            .doc
            .policies
            .iter()
            .filter(|policy| policy.until.is_none_or(|until| self.now < until))
            .filter(|policy| {
                let times = policy.schedule.as_ref();
                times.is_none_or(|times| clock::is_open(times, self.now))
            })
            .filter(|policy| self.is_one_of(&policy.from, &policy.scope, source, flow.source))
            .filter(|policy| self.is_one_of(&policy.to, &policy.scope, target, flow.target))
            // A tenant's policy speaks for its own workloads only.
            .filter(|policy| match &policy.scope {
                Scope::Host => true,
                Scope::Tenant(tenant) => Some(tenant) == whose,
            })
            .collect();
        let allows = |policy: &Policy| has(&policy.allow, policy, flow);
        let denies = |policy: &Policy| has(&policy.deny, policy, flow);
        // 1. An enforced deny.
        for policy in &about {
            if !policy.audit && denies(policy) {
                return Answer::Drop(id(policy.deny_rule.as_ref()));
            }
        }
        let recorded = about.iter().find(|policy| policy.audit && denies(policy));
        let recorded = recorded.map(|policy| Answer::Audit(id(policy.deny_rule.as_ref())));
        // 2. An allow.
        for policy in &about {
            if allows(policy) {
                return recorded.unwrap_or(Answer::Allow(id(policy.allow_rule.as_ref())));
            }
        }
        // 3. What an audited policy with allows would have left to the default.
        for policy in &about {
            let silent = !allows(policy) && !denies(policy);
            if policy.audit && !policy.allow.is_empty() && silent && !sealed {
                return Answer::Audit(id(policy.audit_rule.as_ref()));
            }
        }
        // 4. The posture.
        match (posture, recorded) {
            (Posture::Deny, _) => Answer::Drop(0),
            (_, Some(recorded)) => recorded,
            (Posture::Audit, None) => Answer::Audit(0),
            (Posture::Allow, None) => Answer::Allow(0),
        }
    }

    fn posture(&self, workload: &Workload, ingress: bool) -> (Posture, bool) {
        let network = |n: &&Network| n.tenant == workload.tenant && n.name == workload.network;
        let Some(network) = self.doc.networks.iter().find(network) else {
            return (Posture::Deny, false);
        };
        let segment =
            network.segments.iter().find(|each| Some(&each.name) == workload.segment.as_ref());
        let (postures, sealed) = match segment {
            Some(segment) => (segment.postures, segment.sealed),
            None => (network.postures, false),
        };
        let posture = if ingress { postures.ingress } else { postures.egress };
        (if sealed { Posture::Deny } else { posture }, sealed)
    }

    fn is_one_of(&self, peers: &[Peer], scope: &Scope, who: Who, address: IpAddr) -> bool {
        peers.iter().any(|peer| self.is(peer, scope, who, address))
    }

    fn is(&self, peer: &Peer, scope: &Scope, who: Who, address: IpAddr) -> bool {
        let in_scope = |seat: usize| match scope {
            Scope::Host => true,
            Scope::Tenant(tenant) => self.workload(seat).tenant == *tenant,
        };
        match (peer, who) {
            (Peer::Any, Who::Endpoint(seat)) => in_scope(seat),
            (Peer::Selector(selector), Who::Endpoint(seat)) => {
                in_scope(seat) && selects(selector, self.workload(seat))
            }
            (Peer::Cidr(net), Who::World | Who::Unmanaged) => net.contains(&address),
            (Peer::Processes(these), Who::Processes(sender)) => sender.is(these),
            (Peer::Any, _)
            | (Peer::Host, Who::Host | Who::Processes(_))
            | (Peer::World, Who::World)
            | (Peer::Unmanaged, Who::Unmanaged) => true,
            _ => false,
        }
    }
}

fn rule(answer: Answer) -> u32 {
    match answer {
        Answer::Allow(rule) | Answer::Audit(rule) | Answer::Drop(rule) => rule,
    }
}

fn id(rule: Option<&model::RuleRef>) -> u32 {
    rule.map_or(0, |rule| rule.id.0)
}

/// The first address of each segment's subnets, or of the network's when it has no segments.
fn gateways(network: &Network) -> Vec<IpAddr> {
    if network.external.is_some() {
        return Vec::new();
    }
    let mut subnets: Vec<IpNet> = network.subnets.iter().collect();
    if !network.segments.is_empty() {
        subnets = network.segments.iter().flat_map(|each| each.subnets.iter()).collect();
    }
    subnets.iter().filter_map(|net| net.hosts().next()).map(first_host).collect()
}

/// `hosts` begins with the network address in IPv6, with the one after it in IPv4.
fn first_host(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) | 1).into()),
    }
}

/// Whether every term of a selector holds.
fn selects(selector: &Selector, workload: &Workload) -> bool {
    selector.terms().iter().all(|term| {
        let value: Option<String> = match &term.field {
            Field::Label(key) => {
                let found =
                    workload.labels.iter().find(|(label, _)| label.as_str() == key.as_str());
                found.map(|(_, value)| value.to_string())
            }
            Field::Tenant => Some(workload.tenant.to_string()),
            Field::Network => Some(workload.network.to_string()),
            Field::Segment => workload.segment.as_ref().map(ToString::to_string),
            Field::Workload => Some(workload.name.to_string()),
        };
        let among = |values: &[model::LabelValue]| {
            values.iter().any(|each| value.as_deref() == Some(each.as_str()))
        };
        match &term.op {
            Op::Is(wanted) => value.as_deref() == Some(wanted.as_str()),
            Op::IsNot(unwanted) => value.as_deref() != Some(unwanted.as_str()),
            Op::In(wanted) => among(wanted),
            Op::NotIn(unwanted) => !among(unwanted),
            Op::Exists => value.is_some(),
            Op::Missing => value.is_none(),
        }
    })
}

/// Whether one of the ports matches the flow, source ports included.
fn has(specs: &[PortSpec], policy: &Policy, flow: &Flow) -> bool {
    let (source, target) = flow.ports;
    let from_there = policy.source_ports.is_empty()
        || policy.source_ports.iter().any(|each| each.first() <= source && source <= each.last());
    from_there
        && specs.iter().any(|spec| match spec {
            PortSpec::Any => true,
            PortSpec::Ports(transport, range) => {
                let protocol = match transport {
                    Transport::Tcp => 6,
                    Transport::Udp => 17,
                    Transport::Sctp => 132,
                };
                flow.protocol == protocol && range.first() <= target && target <= range.last()
            }
            PortSpec::Icmp(which) => is_icmp(*which, flow.protocol, target),
        })
}

fn is_icmp(which: IcmpMatch, protocol: u8, type_and_code: u16) -> bool {
    let cover = match protocol {
        1 => which.v4(),
        58 => which.v6(),
        _ => None,
    };
    let (kind, code) = (type_and_code / 256, type_and_code % 256);
    match cover {
        Some(IcmpCover::All) => true,
        Some(IcmpCover::Type(only)) => kind == u16::from(only),
        Some(IcmpCover::Code(only, exactly)) => {
            kind == u16::from(only) && code == u16::from(exactly)
        }
        None => false,
    }
}
