//! Random documents that the loader would accept, small and dense: few names, nested ranges, many conflicts.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use model::{
    LabelKey, LabelValue, Labels, Mode, Name, Peer, PortRange, PortSpec, Posture, Postures, RuleId,
    RuleKind, RuleRef, Transport,
};
use policy::Document;
use policy::document::{
    Adopted, Audit, External, Host, Netns, Network, Policy, Port, Scope, Segment, Snat, Span,
    Standing, Start, Subnets, Tenant, Uplink, Workload,
};

use crate::accounts;
use crate::clock;
use crate::rng::Rng;

/// Addresses of the host in every case. The third lies in the subnet of some networks.
pub const HOST: [&str; 4] = ["192.0.2.10", "2001:db8::10", "10.0.9.9", "fd00:0:0:9::9"];

/// The moment of every case: some policies have expired, some will.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The facts of every case.
#[must_use]
pub fn facts() -> planner::Facts {
    let addresses = HOST.iter().filter_map(|text| text.parse::<IpAddr>().ok()).collect();
    planner::Facts { addresses, now: now(), jiffies_per_second: 250 }
}

fn name(text: &str) -> Name {
    Name::new(text).expect("a name of the generator")
}

/// A document.
pub fn document(rng: &mut Rng) -> Document {
    let mut doc = Document { file: Arc::from("case.yaml"), ..Document::default() };
    if rng.chance(30) {
        doc.audit = audit(rng);
    }
    for tenant in 0..rng.between(1, 3) {
        let tenant = name(&format!("t{tenant}"));
        let (audit, span) = (audit(rng), Span::default());
        doc.tenants.push(Tenant { name: tenant.clone(), audit, span });
        let first = doc.networks.len();
        for at in 0..rng.between(1, 2) {
            let network = network(rng, &tenant, at, doc.networks.len());
            doc.networks.push(network);
        }
        for at in 0..rng.between(2, 6) {
            let network = &doc.networks[first + rng.below(doc.networks.len() - first)];
            let workload = workload(rng, network, at);
            let further = further(rng, &doc.networks[first..], &workload, at);
            doc.workloads.push(workload.into());
            doc.workloads.extend(further.map(Into::into));
        }
    }
    doc.host = rng.chance(60).then(|| host(rng));
    policies(rng, &mut doc);
    doc
}

/// The host's own policy on its uplinks.
fn host(rng: &mut Rng) -> Host {
    let uplinks = vec![Uplink(Arc::from("uplink"))];
    let (confined, span) = (accounts::confined(rng), Span::default());
    Host { uplinks, postures: postures(rng), audit: audit(rng), confined, span }
}

/// Replaces policies, audits and labels, and nothing else: what a policy change does to live flows.
pub fn edit(rng: &mut Rng, doc: &Document) -> Document {
    let mut doc = doc.clone();
    if rng.chance(50) {
        policies(rng, &mut doc);
    } else {
        let mut others = doc.clone();
        policies(rng, &mut others);
        for policy in &mut doc.policies {
            let same = |each: &&Policy| each.name == policy.name && each.scope == policy.scope;
            if let Some(other) = others.policies.iter().find(same).filter(|_| rng.chance(40)) {
                *policy = Policy { order: policy.order, ..other.clone() };
            }
        }
        doc.policies.retain(|_| rng.chance(90));
        number(&mut doc);
    }
    if rng.chance(20) {
        doc.audit = audit(rng);
    }
    if doc.host.is_some() && rng.chance(30) {
        doc.host = Some(host(rng));
    }
    for workload in &mut doc.workloads {
        if rng.chance(20) {
            workload.labels = labels(rng);
        }
    }
    doc
}

fn network(rng: &mut Rng, tenant: &Name, at: usize, unique: usize) -> Network {
    let mode = *rng.pick(&[Mode::Nat, Mode::Bridge, Mode::Bridge, Mode::Routed, Mode::None]);
    let mode = if at == 0 && mode == Mode::None { Mode::Nat } else { mode };
    let mode = if at > 0 && rng.chance(45) { Mode::Host } else { mode };
    // Routed networks meet each other, so they differ; the others are all alike.
    let octet = u8::try_from(if mode == Mode::Routed { 100 + unique } else { at }).unwrap_or(0);
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(10, octet, 0, 0), 16);
    let group = 0xfd00 + u16::from(octet);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::new(group, 0, 0, 0, 0, 0, 0, 0), 48);
    let families = rng.below(4);
    let has_none = matches!(mode, Mode::None | Mode::Host);
    let subnets = if has_none {
        Subnets::default()
    } else {
        Subnets { v4: (families != 0).then_some(v4), v6: (families != 1).then_some(v6) }
    };
    let external =
        (mode == Mode::Routed && rng.chance(60)).then(|| External::Bridge("ext".to_owned()));
    let mut segments = Vec::new();
    if !has_none && external.is_none() {
        for number in 0..rng.between(0, 3) {
            segments.push(segment(rng, number, subnets));
        }
    }
    let postures = postures(rng);
    let (audit, span) = (audit(rng), Span::default());
    let name = name(&format!("n{at}"));
    let snat = Snat::default();
    let attach = false;
    Network {
        tenant: tenant.clone(),
        name,
        mode,
        external,
        lan: None,
        subnets,
        snat,
        segments,
        postures,
        audit,
        attach,
        span,
    }
}

fn segment(rng: &mut Rng, number: usize, of: Subnets) -> Segment {
    let part = u8::try_from(number + 1).unwrap_or(1);
    let v4 = of.v4.map(|net| {
        let [a, b, _, _] = net.network().octets();
        Ipv4Net::new_assert(Ipv4Addr::new(a, b, part, 0), 24)
    });
    let v6 = of.v6.map(|net| {
        let first = net.network().segments()[0];
        Ipv6Net::new_assert(Ipv6Addr::new(first, 0, 0, u16::from(part), 0, 0, 0, 0), 64)
    });
    let sealed = rng.chance(20);
    let postures = if sealed { Postures::default() } else { postures(rng) };
    Segment {
        name: name(&format!("s{number}")),
        subnets: Subnets { v4, v6 },
        postures,
        sealed,
        audit: if sealed { Audit::default() } else { audit(rng) },
        span: Span::default(),
    }
}

fn postures(rng: &mut Rng) -> Postures {
    let one = |rng: &mut Rng| {
        *rng.pick(&[Posture::Deny, Posture::Deny, Posture::Deny, Posture::Audit, Posture::Allow])
    };
    Postures { ingress: one(rng), egress: one(rng) }
}

/// Mostly none, so that most cases drop.
fn audit(rng: &mut Rng) -> Audit {
    if rng.chance(80) {
        return Audit::default();
    }
    let word = |rng: &mut Rng| *rng.pick(&[None, Some(true), Some(true), Some(false)]);
    let (ingress, egress) = (word(rng), word(rng));
    let audits = [ingress, egress].contains(&Some(true));
    let until = until(rng).filter(|_| audits);
    Audit { ingress, egress, until }
}

/// Past, just past, soon, or never.
fn until(rng: &mut Rng) -> Option<Timestamp> {
    match rng.below(10) {
        0 => Timestamp::from_second(now().as_second() - 1).ok(),
        1 => Timestamp::from_second(now().as_second() + 60).ok(),
        2 => Some(now()),
        _ => None,
    }
}

fn labels(rng: &mut Rng) -> Labels {
    let mut labels = BTreeMap::new();
    let mut put = |key: &str, value: &str| {
        labels.insert(LabelKey::new(key).expect("key"), LabelValue::new(value).expect("value"));
    };
    if rng.chance(90) {
        put("app", rng.pick::<&str>(&["web", "db", "api"]));
    }
    if rng.chance(50) {
        put("tier", rng.pick::<&str>(&["front", "back"]));
    }
    if rng.chance(30) {
        put("canary", rng.pick::<&str>(&["", "yes"]));
    }
    labels
}

fn workload(rng: &mut Rng, network: &Network, at: usize) -> Workload {
    let segment = (!network.segments.is_empty()).then(|| rng.pick(&network.segments));
    let subnets = segment.map_or(network.subnets, |segment| segment.subnets);
    let fixed = network.external.is_some() || rng.chance(40);
    let host = u8::try_from(20 + at).unwrap_or(20);
    let v4 = subnets.v4.filter(|_| fixed).map(|net| {
        let [a, b, c, _] = net.network().octets();
        Ipv4Addr::new(a, b, c, host)
    });
    let v6 = subnets
        .v6
        .filter(|_| fixed)
        .map(|net| Ipv6Addr::from_bits(net.network().to_bits() | u128::from(host)));
    Workload {
        tenant: network.tenant.clone(),
        name: name(&format!("w{at}")),
        further: false,
        network: network.name.clone(),
        segment: segment.map(|segment| segment.name.clone()),
        labels: labels(rng),
        v4,
        v6,
        start: start(rng, network, at),
        span: Span::default(),
    }
}

/// Another attachment of a workload, in another network of its tenant.
fn further(rng: &mut Rng, networks: &[Network], first: &Workload, at: usize) -> Option<Workload> {
    let has_none = |network: &Network| matches!(network.mode, Mode::None | Mode::Host);
    let joins = |network: &&Network| !has_none(network) && network.external.is_none();
    let own = networks.iter().find(|network| network.name == first.network).filter(joins)?;
    let other = networks.iter().filter(joins).find(|network| network.name != own.name)?;
    if !rng.chance(40) {
        return None;
    }
    let labels = first.labels.clone();
    let mut start = Adopted::from(Netns::Name(format!("w{at}")));
    start.interface = Arc::from("eth1");
    let start = Start::Netns(start);
    Some(Workload { further: true, labels, start, ..workload(rng, other, at) })
}

fn start(rng: &mut Rng, network: &Network, at: usize) -> Start {
    if network.external.is_none() {
        return Start::Netns(Netns::Name(format!("w{at}")).into());
    }
    let last = u8::try_from(at).unwrap_or(0);
    let mac = [0x52, 0x54, 0, 0, 0, last];
    Start::Port(Port { interface: format!("w{at}"), mac, dhcp: rng.chance(20) })
}

/// Makes all policies anew.
fn policies(rng: &mut Rng, doc: &mut Document) {
    doc.policies.clear();
    let mut scopes: Vec<Scope> =
        doc.tenants.iter().map(|tenant| Scope::Tenant(tenant.name.clone())).collect();
    scopes.push(Scope::Host);
    for scope in scopes {
        let most = if scope == Scope::Host { 4 } else { 7 };
        for at in 0..rng.between(0, most) {
            let policy = policy(rng, &scope, at);
            doc.policies.push(policy);
        }
    }
    if doc.host.is_some() {
        // Above the names of the others.
        for at in 10..10 + rng.between(0, 5) {
            let mut policy = policy(rng, &Scope::Host, at);
            let side = if rng.chance(60) { &mut policy.to } else { &mut policy.from };
            *side = vec![Peer::Host];
            if rng.chance(50) {
                accounts::speak(rng, &mut policy);
            }
            doc.policies.push(policy);
        }
    }
    number(doc);
}

/// Gives policies their order and rules their numbers.
fn number(doc: &mut Document) {
    for (order, policy) in (0_u32..).zip(&mut doc.policies) {
        policy.order = order;
        let path: Arc<str> = policy::document::policy_path(&policy.scope, &policy.name).into();
        let rule = |kind: RuleKind, there: bool| {
            let id = policy::document::wanted_rule_id(&path, kind);
            let (path, file) = (Arc::clone(&path), Arc::clone(&doc.file));
            there.then_some(RuleRef { id: RuleId(id.0), path, file, line: order, column: 1, kind })
        };
        policy.allow_rule = rule(RuleKind::Allow, !policy.allow.is_empty());
        policy.deny_rule = rule(RuleKind::Deny, !policy.deny.is_empty());
        policy.audit_rule = rule(RuleKind::Audit, policy.audit);
    }
}

fn policy(rng: &mut Rng, scope: &Scope, at: usize) -> Policy {
    let mut allow = Vec::new();
    let mut deny = Vec::new();
    let kind = rng.below(10);
    if kind < 8 {
        allow = (0..rng.between(1, 3)).map(|_| port(rng)).collect();
    }
    if kind >= 6 {
        deny = (0..rng.between(1, 2)).map(|_| port(rng)).collect();
    }
    let source_ports: Vec<PortRange> = if rng.chance(20) {
        allow = allow.into_iter().flat_map(with_ports).collect();
        deny = deny.into_iter().flat_map(with_ports).collect();
        (0..rng.between(1, 2)).map(|_| range(rng, &[0, 1024, 5000, 40_000, 65_535])).collect()
    } else {
        Vec::new()
    };
    let until = until(rng);
    Policy {
        scope: scope.clone(),
        name: name(&format!("p{at}")),
        order: 0,
        from: (0..rng.between(1, 2)).map(|_| peer(rng, scope)).collect(),
        to: (0..rng.between(1, 2)).map(|_| peer(rng, scope)).collect(),
        allow,
        deny,
        source_ports,
        audit: rng.chance(25),
        until,
        schedule: clock::schedule(rng),
        allow_rule: None,
        deny_rule: None,
        audit_rule: None,
        standing: Standing::default(),
        span: Span::default(),
    }
}

/// What the loader writes out when a policy has source ports: icmp cannot be there.
fn with_ports(spec: PortSpec) -> Vec<PortSpec> {
    match spec {
        PortSpec::Ports(..) => vec![spec],
        PortSpec::Any | PortSpec::Icmp(_) => {
            Transport::ALL.map(|each| PortSpec::Ports(each, PortRange::ALL)).to_vec()
        }
    }
}

/// Ports that rules and packets both like.
pub const PORTS: [u16; 14] = [0, 1, 22, 53, 67, 80, 81, 443, 547, 8000, 8001, 8080, 8999, 65_535];

fn range(rng: &mut Rng, bounds: &[u16]) -> PortRange {
    let (a, b) = (*rng.pick(bounds), *rng.pick(bounds));
    if rng.chance(50) {
        return PortRange::single(a);
    }
    PortRange::new(a.min(b), a.max(b)).expect("ordered bounds")
}

fn port(rng: &mut Rng) -> PortSpec {
    match rng.below(20) {
        0 | 1 => PortSpec::Any,
        2 => PortSpec::Ports(*rng.pick(&Transport::ALL), PortRange::ALL),
        3..=6 => {
            let texts = [
                "icmp",
                "icmp/echo-request",
                "icmp/8",
                "icmp/8/0",
                "icmp6/128",
                "icmp/timestamp-request",
                "icmp/3",
                "icmp/echo-reply",
            ];
            rng.pick(&texts).parse().expect("an icmp spec")
        }
        _ => {
            let transport =
                *rng.pick(&[Transport::Tcp, Transport::Tcp, Transport::Udp, Transport::Sctp]);
            PortSpec::Ports(transport, range(rng, &PORTS))
        }
    }
}

fn peer(rng: &mut Rng, scope: &Scope) -> Peer {
    const RANGES: [&str; 18] = [
        "0.0.0.0/0",
        "10.0.0.0/8",
        "10.0.0.0/16",
        "10.0.1.0/24",
        "10.0.1.20/31",
        "10.0.1.77",
        "10.100.0.0/14",
        "203.0.113.0/24",
        "203.0.113.128/25",
        "203.0.113.200",
        "192.0.2.0/24",
        "169.254.64.0/19",
        "::/0",
        "fd00::/8",
        "fd00:0:0:1::/64",
        "2001:db8::/32",
        "2001:db8:1::/48",
        "2001:db8:1::7",
    ];
    match rng.below(20) {
        0..=3 => rng.pick(&RANGES).parse().expect("a range"),
        4 => Peer::Host,
        5 | 6 => Peer::World,
        7 => Peer::Unmanaged,
        8 => Peer::Any,
        _ => selector(rng, scope),
    }
}

fn selector(rng: &mut Rng, scope: &Scope) -> Peer {
    const TERMS: [&str; 16] = [
        "app=web",
        "app=db",
        "app=api",
        "app!=db",
        "app in (web, db)",
        "app notin (web, api)",
        "tier=front",
        "tier",
        "!tier",
        "canary",
        "canary=yes",
        "!canary",
        "segment=s0",
        "segment!=s1",
        "network=n0",
        "workload in (w0, w2, w4)",
    ];
    let mut text = (*rng.pick(&TERMS)).to_owned();
    if rng.chance(35) {
        text = format!("{text}, {}", rng.pick(&TERMS));
    }
    if *scope == Scope::Host && rng.chance(40) {
        text = format!("{text}, {}", *rng.pick(&["tenant=t0", "tenant!=t1", "tenant in (t0, t2)"]));
    }
    text.parse().expect("a selector of the generator")
}
