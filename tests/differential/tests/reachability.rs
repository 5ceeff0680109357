//! Reachability as classes against the evaluator, the oracle and real packets, over generated documents.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use differential::accounts::Sender;
use differential::bytes::{Body, Packet, Part};
use differential::generate::{self, HOST, PORTS};
use differential::oracle::{Answer, Flow, Opinion, Scene, UPLINK, Who};
use differential::rng::Rng;
use differential::traffic;
use model::{Mode, Proto};
use planner::{
    Allocations, Bundle, Class, Headers, HostPlane, Reachability, compile, reachability,
};
use policy::Document;
use verdict::abi::{EventKind, HOST_NETWORK, Ports, Verdict};
use verdict::native::Simulation;
use verdict::{Action, Judgement, Question, Reason, Work, from_endpoint, judge, to_endpoint};

/// Documents. Change it with `BULKHEAD_DOCUMENTS`.
const DOCUMENTS: u64 = 400;
/// Questions to each of them, and packets.
const QUESTIONS: usize = 300;
const PACKETS: usize = 150;

/// Addresses that are nobody's, or that ranges of the generator hold.
const OUTSIDE: [&str; 14] = [
    "10.0.1.77",
    "10.0.200.3",
    "10.1.3.3",
    "10.100.7.7",
    "10.101.0.1",
    "203.0.113.1",
    "203.0.113.129",
    "203.0.113.200",
    "198.51.100.4",
    "169.254.70.1",
    "fd00:0:0:1::77",
    "2001:db8:1::7",
    "2001:db8:2::1",
    "2a00::1",
];

/// One document and everything that is known of it.
struct Case {
    seed: u64,
    doc: Document,
    bundle: Bundle,
    reach: Reachability,
    scene: Scene,
}

impl Case {
    fn new(seed: u64, rng: &mut Rng) -> Self {
        let doc = generate::document(rng);
        let facts = generate::facts();
        let mut bundle = compile(&doc, &Allocations::default(), &facts).expect("compiles");
        let plane = HostPlane::new(&doc, &bundle.routers, &doc.publishes, &facts);
        if let Some(plane) = plane.expect("compiles") {
            plane.enter(&mut bundle);
        }
        let reach = reachability(&bundle);
        let scene = Scene::new(&doc, &bundle, &facts);
        Self { seed, doc, bundle, reach, scene }
    }

    /// The network's number by its position in the document; `None` for mode none.
    fn number(&self, at: usize) -> Option<u16> {
        let network = self.doc.networks.get(at)?;
        self.bundle.allocations.networks.get(network.id().as_str()).map(|lease| lease.number)
    }

    /// What the classes say: `None` is the rest.
    fn class(&self, from: (u16, IpAddr), to: (u16, IpAddr), headers: Headers) -> Option<&Class> {
        let group = |(network, address)| self.reach.group_at(&self.bundle.tables, network, address);
        self.reach.class(group(from)?, group(to)?, &headers)
    }
}

/// Verdict, reason and rules.
type Said = (Verdict, Reason, u32, u32);

fn said(class: &Class) -> Said {
    (class.verdict, class.reason, class.egress_rule, class.ingress_rule)
}

/// Icmp that policy is not asked about.
fn is_stray(headers: Headers) -> bool {
    match (headers.protocol, headers.target >> 8) {
        (1, 8 | 13) => !headers.v4,
        (58, 128) => headers.v4,
        (1 | 58, _) => true,
        _ => false,
    }
}

/// What the evaluator says in every network that the flow crosses.
fn evaluated(case: &Case, networks: &[u16], ends: (IpAddr, IpAddr), headers: Headers) -> Said {
    if is_stray(headers) {
        return (Verdict::Drop, Reason::StrayIcmp, 0, 0);
    }
    let simulation = Simulation::new(&case.bundle.tables);
    let mut all = (Verdict::Allow, Reason::None, 0, 0);
    for network in networks {
        let question = Question {
            source: ends.0.into(),
            target: ends.1.into(),
            network: u32::from(*network),
            ports: Ports { source: headers.source, target: headers.target },
            protocol: headers.protocol,
        };
        let mut judgement = Judgement::default();
        judge(&simulation, &question, 0, &mut judgement);
        all.2 |= judgement.egress_rule;
        all.3 |= judgement.ingress_rule;
        match judgement.verdict {
            Verdict::Allow => {}
            Verdict::Audit => all.0 = Verdict::Audit,
            Verdict::Drop | Verdict::Silent => {
                return (Verdict::Drop, judgement.reason, all.2, all.3);
            }
        }
    }
    all
}

fn address(rng: &mut Rng, case: &Case, v4: bool) -> Option<IpAddr> {
    let text: Option<&str> = match rng.below(10) {
        0 => Some(*rng.pick(&HOST)),
        1..=3 => Some(*rng.pick(&OUTSIDE)),
        _ => None,
    };
    let address = match text {
        Some(text) => text.parse().ok()?,
        None if rng.chance(10) => {
            let gateways: Vec<IpAddr> = case
                .bundle
                .routers
                .iter()
                .flat_map(|router| router.gateways.iter().map(ipnet::IpNet::addr))
                .collect();
            // A network that somebody else forwards for has none.
            if gateways.is_empty() {
                return None;
            }
            *rng.pick(&gateways)
        }
        None if case.scene.seats.is_empty() => return None,
        None => {
            let seat = rng.pick(&case.scene.seats);
            if v4 { seat.v4? } else { seat.v6? }
        }
    };
    (address.is_ipv4() == v4).then_some(address)
}

fn headers(rng: &mut Rng, v4: bool) -> Headers {
    let protocol = *rng.pick(&[6, 6, 6, 17, 17, 132, 1, 58, 47, 253, 0, 255]);
    let (source, target) = match protocol {
        6 | 17 | 132 => {
            let near = [0, 1, 1023, 1024, 5000, 5001, 39_999, 40_000, 65_534, 65_535];
            let source = if rng.chance(70) { *rng.pick(&near) } else { rng.word() };
            let target = rng.pick(&PORTS).wrapping_add(*rng.pick(&[0, 0, 0, 1, 65_535]));
            (source, if rng.chance(85) { target } else { rng.word() })
        }
        1 | 58 => {
            let kind = *rng.pick(&[0, 3, 8, 8, 8, 11, 13, 13, 14, 40, 128, 128, 129, 255]);
            (0, u16::from_be_bytes([kind, *rng.pick(&[0, 0, 1, 255])]))
        }
        _ => (0, 0),
    };
    Headers { v4, protocol, source, target }
}

/// Asks at random; every answer is the evaluator's and the oracle's. Returns how many were about pairs that pass something.
fn questions(case: &Case, rng: &mut Rng) -> usize {
    let mut told = 0;
    for _ in 0..QUESTIONS {
        let v4 = rng.chance(60);
        let (Some(source), Some(target)) = (address(rng, case, v4), address(rng, case, v4)) else {
            continue;
        };
        let network = rng.below(case.doc.networks.len());
        let Some(number) = case.number(network) else { continue };
        let headers = headers(rng, v4);
        let flow = Flow {
            network,
            source,
            target,
            protocol: headers.protocol,
            ports: (headers.source, headers.target),
        };
        // Workloads of other networks are no groups of this one: see `crossing`.
        let foreign = |address| match case.scene.who(network, address) {
            Who::Endpoint(at) => case.scene.seats[at].network != network,
            _ => false,
        };
        if source != target && !foreign(source) && !foreign(target) {
            let found = case.class((number, source), (number, target), headers);
            let wanted = evaluated(case, &[number], (source, target), headers);
            told += usize::from(found.is_some());
            compare(case, found, wanted, &flow);
            let opinion = case.scene.judge(&flow).filter(|_| !is_stray(headers));
            agree(case, found, opinion, &flow);
        }
        crossing(case, rng, headers);
        told += usize::from(outside(case, rng, headers));
    }
    told
}

/// A flow of the host at an uplink; whether something passes between the two.
fn outside(case: &Case, rng: &mut Rng, headers: Headers) -> bool {
    let family = |address: &&IpAddr| address.is_ipv4() == headers.v4;
    let own: Vec<&IpAddr> = case.scene.host.iter().filter(family).collect();
    let (host, Ok(other)) = (**rng.pick(&own), rng.pick(&OUTSIDE).parse::<IpAddr>()) else {
        return false;
    };
    if case.doc.host.is_none() || other.is_ipv4() != headers.v4 {
        return false;
    }
    let (source, target) = if rng.chance(50) { (host, other) } else { (other, host) };
    let ports = (headers.source, headers.target);
    let flow = Flow { network: UPLINK, source, target, protocol: headers.protocol, ports };
    let number = u16::try_from(HOST_NETWORK).expect("a network's number");
    let found = case.class((number, source), (number, target), headers);
    compare(case, found, evaluated(case, &[number], (source, target), headers), &flow);
    let opinion = case.scene.judge_host(&flow, Sender::default()).filter(|_| !is_stray(headers));
    agree(case, found, opinion, &flow);
    found.is_some()
}

/// A flow between two routed networks: each judges its own end.
fn crossing(case: &Case, rng: &mut Rng, headers: Headers) {
    let seats = case.scene.seats.iter();
    let routed = seats.filter(|seat| case.doc.networks[seat.network].mode == Mode::Routed);
    let routed: Vec<_> = routed.collect();
    if routed.is_empty() {
        return;
    }
    let (from, to) = (*rng.pick(&routed), *rng.pick(&routed));
    let owner = |at: usize| {
        let workload = &case.doc.workloads[at];
        (workload.tenant.clone(), workload.name.clone())
    };
    // What a workload says to itself comes to no port.
    if from.network == to.network || owner(from.workload) == owner(to.workload) {
        return;
    }
    let pair = if headers.v4 { from.v4.zip(to.v4) } else { from.v6.zip(to.v6) };
    let numbers = case.number(from.network).zip(case.number(to.network));
    let (Some((source, target)), Some((a, b))) = (pair, numbers) else { return };
    let found = case.class((a, source), (b, target), headers);
    let wanted = evaluated(case, &[a, b], (source, target), headers);
    let ports = (headers.source, headers.target);
    let network = from.network;
    compare(
        case,
        found,
        wanted,
        &Flow { network, source, target, protocol: headers.protocol, ports },
    );
}

fn compare(case: &Case, found: Option<&Class>, wanted: Said, flow: &Flow) {
    let seed = case.seed;
    match found {
        Some(class) => assert_eq!(said(class), wanted, "seed {seed}: {flow:?} in {class:?}"),
        None => assert_eq!(wanted.0, Verdict::Drop, "seed {seed}: {flow:?} is the rest"),
    }
}

fn agree(case: &Case, found: Option<&Class>, opinion: Option<Opinion>, flow: &Flow) {
    let Some(opinion) = opinion else { return };
    let verdict = match opinion.answer {
        Answer::Allow(_) => Verdict::Allow,
        Answer::Audit(_) => Verdict::Audit,
        Answer::Drop(_) => Verdict::Drop,
    };
    let seed = case.seed;
    match found {
        Some(class) => {
            let rules = (class.egress_rule, class.ingress_rule);
            assert_eq!(
                (class.verdict, rules),
                (verdict, (opinion.egress, opinion.ingress)),
                "seed {seed}: {flow:?}"
            );
        }
        None => assert_eq!(verdict, Verdict::Drop, "seed {seed}: {flow:?} is the rest"),
    }
}

/// Sends the first packet of many talks; what opens a flow, or is refused by policy, is as the classes say.
fn packets(case: &Case, rng: &mut Rng) -> usize {
    let mut told = 0;
    let mut work = Work::default();
    for _ in 0..PACKETS {
        let Some(mut talk) = traffic::begin(rng, &case.scene) else { return told };
        let packet = talk.packet(rng, &case.scene, false);
        let (Some(headers), Some(number)) = (of(&packet), case.number(talk.network)) else {
            continue;
        };
        let seats = &case.scene.seats;
        let at =
            |address| seats.iter().find(|seat| seat.network == talk.network && seat.has(address));
        let (near, sent) = match (at(packet.source), at(packet.target)) {
            (Some(seat), _) => (seat.number, true),
            (None, Some(seat)) => (seat.number, false),
            (None, None) => continue,
        };
        if [packet.source, packet.target].into_iter().any(|address| {
            matches!(case.scene.who(talk.network, address), Who::Endpoint(at) if seats[at].network != talk.network)
        }) {
            continue;
        }
        let simulation = Simulation::new(&case.bundle.tables);
        let hook = if sent { from_endpoint } else { to_endpoint };
        let action = hook(&simulation, &packet.bytes()[..], u32::from(near), &mut work);
        let ends = ((number, packet.source), (number, packet.target));
        let found = case.class(ends.0, ends.1, headers);
        let report = simulation.events.borrow().last().copied();
        let opened = report.filter(|event| event.kind == EventKind::Open as u8);
        let seed = case.seed;
        match (action, opened) {
            (Action::Pass | Action::Deliver(_), Some(event)) => {
                let class = found.unwrap_or_else(|| panic!("seed {seed}: {packet:?} is the rest"));
                let rules = (class.egress_rule, class.ingress_rule);
                assert_eq!(class.verdict as u8, event.verdict, "seed {seed}: {packet:?}");
                assert_eq!(rules, (event.egress_rule, event.ingress_rule), "seed {seed}");
            }
            (
                Action::Drop(
                    reason @ (Reason::DefaultDeny | Reason::PolicyDeny | Reason::StrayIcmp),
                ),
                _,
            ) => {
                if let Some(class) = found {
                    let wanted = (Verdict::Drop, reason);
                    assert_eq!((class.verdict, class.reason), wanted, "seed {seed}: {packet:?}");
                }
            }
            _ => continue,
        }
        told += 1;
    }
    told
}

/// What of a whole packet decides.
fn of(packet: &Packet) -> Option<Headers> {
    let v4 = packet.source.is_ipv4();
    let (source, target) = match &packet.body {
        Body::Tcp(tcp) => (tcp.source, tcp.target),
        Body::Udp(source, target) => (*source, *target),
        Body::Sctp(sctp) => (sctp.source, sctp.target),
        Body::Icmp(kind, code, _) => (0, u16::from_be_bytes([*kind, *code])),
        Body::Other(_) => (0, 0),
        Body::Error(..) | Body::Arp(_) => return None,
    };
    let protocol = packet.body.protocol(v4);
    (packet.part == Part::Whole).then_some(Headers { v4, protocol, source, target })
}

/// Every space cuts all headers: its boxes do not meet, and nothing is left.
fn partitions(case: &Case) {
    let protocols =
        [Proto::Tcp, Proto::Udp, Proto::Sctp, Proto::Icmp, Proto::Icmp6, Proto::Other(253)];
    for number in 0..u32::try_from(case.reach.spaces()).expect("few") {
        let space = case.reach.space(number);
        for protocol in protocols {
            let classes: Vec<&Class> =
                space.iter().filter(|each| each.protocol == protocol).collect();
            let long = |range: (u16, u16)| u64::from(range.1) - u64::from(range.0) + 1;
            let area: u64 = classes.iter().map(|each| long(each.sources) * long(each.ports)).sum();
            assert_eq!(area, 1 << 32, "seed {}: {protocol} of {space:?}", case.seed);
            let meet = |a: (u16, u16), b: (u16, u16)| a.0 <= b.1 && b.0 <= a.1;
            for (at, one) in classes.iter().enumerate() {
                let mut others = classes[at + 1..].iter();
                let both = others
                    .find(|other| meet(one.sources, other.sources) && meet(one.ports, other.ports));
                assert!(both.is_none(), "seed {}: {one:?} and {both:?}", case.seed);
            }
        }
        assert!(space.iter().any(Class::passes), "a space in which nothing passes is the rest");
    }
    let pairs = case.reach.pairs();
    assert!(pairs.windows(2).all(|two| (two[0].from, two[0].to) < (two[1].from, two[1].to)));
}

#[test]
fn classes_agree_with_the_evaluator_the_oracle_and_packets() {
    let wanted = std::env::var("BULKHEAD_DOCUMENTS").ok().and_then(|n| n.parse().ok());
    let (next, last) = (AtomicU64::new(1), wanted.unwrap_or(DOCUMENTS));
    let (asked, sent) = (AtomicU64::new(0), AtomicU64::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > last {
                        break;
                    }
                    let mut rng = Rng::new(seed);
                    let case = Case::new(seed, &mut rng);
                    partitions(&case);
                    asked.fetch_add(questions(&case, &mut rng) as u64, Ordering::Relaxed);
                    sent.fetch_add(packets(&case, &mut rng) as u64, Ordering::Relaxed);
                }
            });
        }
    });
    let (asked, sent) = (asked.into_inner(), sent.into_inner());
    println!("{last} documents: {asked} questions about pairs that pass something, {sent} packets");
    assert!(asked > last * 10 && sent > last * 2, "{asked} questions, {sent} packets");
}
