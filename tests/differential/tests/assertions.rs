//! Assertions about the host at its uplinks against the oracle: a claim that holds has no flow against it, and a packet that breaks one does
//! so by the oracle, too.

use std::net::{IpAddr, Ipv4Addr};

use differential::accounts::Sender;
use differential::generate::{self, PORTS};
use differential::oracle::{Answer, Flow, Scene, UPLINK};
use differential::rng::Rng;
use ipnet::IpNet;
use model::{Peer, PortRange, PortSpec, Transport};
use planner::{Allocations, Bundle, Counterexample, HostPlane, Why, compile, prove};
use policy::Document;
use policy::document::{Assertion, Claim, Scope, Span};

/// Documents, and assertions in each.
const DOCUMENTS: u64 = 400;
const CLAIMS: usize = 24;
/// Draws of who sends: users and services are few.
const DRAWS: usize = 64;

/// Others, seen from an uplink.
const OTHERS: [&str; 8] = [
    "203.0.113.1",
    "203.0.113.129",
    "203.0.113.200",
    "198.51.100.4",
    "10.0.1.77",
    "2001:db8:1::7",
    "2001:db8:2::1",
    "2a00::1",
];
/// Source ports on both sides of every bound that the generator draws.
const SOURCES: [u16; 10] = [0, 1, 1023, 1024, 5000, 5001, 39_999, 40_000, 65_534, 65_535];

/// What is claimed: one address, one port, one way.
#[derive(Debug, Clone, Copy)]
struct Asked {
    other: IpAddr,
    comes_in: bool,
    transport: Transport,
    port: u16,
    claim: Claim,
}

impl Asked {
    fn random(rng: &mut Rng) -> Self {
        Self {
            other: rng.pick(&OTHERS).parse().expect("an address"),
            comes_in: rng.chance(60),
            transport: *rng.pick(&Transport::ALL),
            port: *rng.pick(&PORTS),
            claim: *rng.pick(&[Claim::Never, Claim::Always]),
        }
    }

    fn assertion(self) -> Assertion {
        let (host, other) = (vec![Peer::Host], vec![Peer::Cidr(IpNet::from(self.other))]);
        let (from, to) = if self.comes_in { (other, host) } else { (host, other) };
        let ports = vec![PortSpec::Ports(self.transport, PortRange::single(self.port))];
        let (scope, claim, span) = (Scope::Host, self.claim, Span::default());
        Assertion { scope, claim, from, to, ports, text: format!("{self:?}"), span }
    }

    fn flow(self, host: IpAddr, source_port: u16) -> Flow {
        let (source, target) = if self.comes_in { (self.other, host) } else { (host, self.other) };
        let protocol = match self.transport {
            Transport::Tcp => 6,
            Transport::Udp => 17,
            Transport::Sctp => 132,
        };
        Flow { network: UPLINK, source, target, protocol, ports: (source_port, self.port) }
    }
}

/// A document, and who may send by its uplinks.
struct Case {
    doc: Document,
    bundle: Bundle,
    scene: Scene,
    senders: Vec<Sender>,
}

impl Case {
    fn new(rng: &mut Rng) -> Self {
        let (doc, facts) = (generate::document(rng), generate::facts());
        let mut bundle = compile(&doc, &Allocations::default(), &facts).expect("compiles");
        HostPlane::complete(&doc, &mut bundle, &facts).expect("compiles");
        let scene = Scene::new(&doc, &bundle, &facts);
        let mut senders = vec![Sender::default()];
        for _ in 0..DRAWS {
            let sender = Sender::random(rng).told_by(&doc);
            if !senders.contains(&sender) {
                senders.push(sender);
            }
        }
        Self { doc, bundle, scene, senders }
    }

    /// Who may be the source: processes are told apart in what they send.
    fn senders(&self, asked: Asked) -> &[Sender] {
        if asked.comes_in { &self.senders[..1] } else { &self.senders }
    }

    fn passes(&self, flow: &Flow, sender: Sender) -> bool {
        let opinion = self.scene.judge_host(flow, sender);
        opinion.is_none_or(|opinion| !matches!(opinion.answer, Answer::Drop(_)))
    }

    /// The first flow of a sample that contradicts the claim.
    fn against(&self, asked: Asked) -> Option<(Flow, Sender)> {
        let family = |host: &&IpAddr| host.is_ipv4() == asked.other.is_ipv4();
        let wanted = asked.claim == Claim::Never;
        for host in self.scene.host.iter().filter(family) {
            for port in SOURCES {
                let flow = asked.flow(*host, port);
                let mut senders = self.senders(asked).iter();
                if let Some(sender) = senders.find(|each| self.passes(&flow, **each) == wanted) {
                    return Some((flow, *sender));
                }
            }
        }
        None
    }

    /// The packet contradicts the claim by the oracle, too, when one of those sends it whom it may mean.
    fn confirms(&self, asked: Asked, broken: &Counterexample) -> bool {
        let at_host = if asked.comes_in { broken.target } else { broken.source };
        let at_other = if asked.comes_in { broken.source } else { broken.target };
        let first = |host: &&IpAddr| host.is_ipv4() == asked.other.is_ipv4();
        let host = if at_host.is_unspecified() || hosted(at_host) {
            *self.scene.host.iter().find(first).expect("an address of both versions")
        } else {
            at_host
        };
        let flow = asked.flow(host, broken.source_port.expect("a protocol with ports"));
        let passes = asked.claim == Claim::Never;
        at_other == asked.other
            && broken.port == asked.port
            && (broken.why == Why::Passes) == passes
            && self.senders(asked).iter().any(|sender| self.passes(&flow, *sender) == passes)
    }
}

/// Whether it stands for processes of the host.
fn hosted(address: IpAddr) -> bool {
    verdict::abi::Addr::from(address).is_hosted() || address == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
}

#[test]
fn claims_about_the_host_agree_with_the_oracle() {
    let (mut held, mut broke, mut alone) = (0, 0, 0);
    for seed in 1..=DOCUMENTS {
        let mut rng = Rng::new(seed);
        let mut case = Case::new(&mut rng);
        let asked: Vec<Asked> = (0..CLAIMS).map(|_| Asked::random(&mut rng)).collect();
        case.doc.assertions = asked.iter().map(|each| each.assertion()).collect();
        for (asked, outcome) in asked.into_iter().zip(prove(&case.doc, &case.bundle)) {
            let Some(broken) = &outcome.broken else {
                assert_eq!(case.against(asked), None, "seed {seed}: {asked:?} holds");
                held += 1;
                continue;
            };
            assert!(case.confirms(asked, broken), "seed {seed}: {asked:?}: {broken:#?}");
            let mut ends = broken.egress.iter().chain(&broken.ingress);
            let is_alone = ends.any(|end| end.left_alone);
            assert_eq!(is_alone, case.doc.host.is_none(), "seed {seed}: {broken:#?}");
            broke += 1;
            alone += usize::from(is_alone);
        }
    }
    println!("{held} hold, {broke} do not, {alone} of these as the host has no policy");
    assert!(held > 1000 && broke > 1000 && alone > 100, "{held}, {broke}, {alone}");
}
