//! Imports of firewalls against a first-match evaluator that knows nothing of the product: what an import lets pass, the source
//! accepts, whatever those of its conditions are that the import does not understand; and of sources that are understood as a
//! whole, what they accept passes.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use planner::{Allocations, Facts, compile};
use policy::import::{Format, import};
use policy::{Limits, Source, load};
use proptest::prelude::*;
use serde_json::{Value, json};
use verdict::abi::Verdict;
use verdict::native::Simulation;
use verdict::{Judgement, Question};

/// Numbers that follow from a seed (Numerical Recipes' LCG, high bits).
struct Rng(u64);

impl Rng {
    fn below(&mut self, end: usize) -> usize {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("fits") % end
    }

    fn pick<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Proto {
    Tcp,
    Udp,
    Sctp,
    Icmp,
}

#[derive(Debug, Clone)]
struct Rule {
    proto: Option<(Proto, bool)>,
    /// Network of the peer.
    peer: Option<(Ipv4Addr, u8, bool)>,
    ports: Option<(Vec<(u16, u16)>, bool)>,
    /// A state that the first packet of a flow has, or has not.
    is_new: Option<bool>,
    /// A condition that nobody understands.
    unknown: bool,
    verdict: Act,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Accept,
    Drop,
    Return,
    Log,
    Jump(usize),
    Goto(usize),
}

/// Chain 0 is the base; others are called by those with lower numbers.
#[derive(Debug, Clone)]
struct Firewall {
    chains: Vec<Vec<Rule>>,
    accepts: bool,
    inward: bool,
}

const PEERS: [(Ipv4Addr, u8); 5] = [
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    (Ipv4Addr::new(10, 1, 0, 0), 16),
    (Ipv4Addr::new(10, 1, 2, 3), 32),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::UNSPECIFIED, 0),
];
const ADDRESSES: [Ipv4Addr; 5] = [
    Ipv4Addr::new(10, 1, 2, 3),
    Ipv4Addr::new(10, 1, 9, 9),
    Ipv4Addr::new(10, 200, 0, 1),
    Ipv4Addr::new(192, 0, 2, 200),
    Ipv4Addr::new(203, 0, 113, 1),
];
const PORTS: [u16; 7] = [1, 22, 23, 80, 443, 8000, 8080];

fn firewall(seed: u64, has_unknown: bool) -> Firewall {
    let mut rng = Rng(seed);
    let count = 1 + rng.below(3);
    let chains = (0..count)
        .map(|at| (0..rng.below(7)).map(|_| rule(&mut rng, at, count, has_unknown)).collect())
        .collect();
    Firewall { chains, accepts: rng.below(3) == 0, inward: rng.below(2) == 0 }
}

fn rule(rng: &mut Rng, chain: usize, count: usize, has_unknown: bool) -> Rule {
    let proto = (rng.below(4) > 0).then(|| {
        (
            rng.pick(&[Proto::Tcp, Proto::Tcp, Proto::Udp, Proto::Sctp, Proto::Icmp]),
            rng.below(6) == 0,
        )
    });
    let has_ports = matches!(proto, Some((Proto::Tcp | Proto::Udp | Proto::Sctp, false)));
    let ports = (has_ports && rng.below(4) > 0).then(|| {
        let list = (0..=rng.below(3)).map(|_| {
            let first = rng.pick(&PORTS);
            (first, if rng.below(3) == 0 { first.saturating_add(100) } else { first })
        });
        (list.collect(), rng.below(5) == 0)
    });
    let peer = (rng.below(2) == 0).then(|| {
        let (address, length) = rng.pick(&PEERS);
        (address, length, length > 0 && rng.below(4) == 0)
    });
    let verdict = match rng.below(12) {
        0..5 => Act::Accept,
        5..8 => Act::Drop,
        8 => Act::Return,
        9 => Act::Log,
        call if chain + 1 < count => {
            let to = chain + 1 + rng.below(count - chain - 1);
            if call == 10 { Act::Goto(to) } else { Act::Jump(to) }
        }
        _ => Act::Accept,
    };
    Rule {
        proto,
        peer,
        ports,
        is_new: (rng.below(6) == 0).then(|| rng.below(2) == 0),
        unknown: has_unknown && rng.below(4) == 0,
        verdict,
    }
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    proto: Proto,
    peer: Ipv4Addr,
    port: u16,
}

impl Rule {
    fn matches(&self, packet: Packet, guess: &mut Rng) -> bool {
        let guessed = !self.unknown || guess.below(2) == 0;
        let proto = self.proto.is_none_or(|(proto, not)| (proto == packet.proto) != not);
        let peer = self.peer.is_none_or(|(address, length, not)| {
            let mask = u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0);
            (packet.peer.to_bits() & mask == address.to_bits() & mask) != not
        });
        let ports = self.ports.as_ref().is_none_or(|(list, not)| {
            list.iter().any(|(first, last)| (*first..=*last).contains(&packet.port)) != *not
        });
        guessed && proto && peer && ports && self.is_new.unwrap_or(true)
    }
}

/// The first match decides; `None` is a return to the caller, or the end of the chain.
fn decide(firewall: &Firewall, chain: usize, packet: Packet, guess: &mut Rng) -> Option<bool> {
    for rule in &firewall.chains[chain] {
        if !rule.matches(packet, guess) {
            continue;
        }
        match rule.verdict {
            Act::Accept => return Some(true),
            Act::Drop => return Some(false),
            Act::Return => return None,
            Act::Log => {}
            Act::Jump(to) => {
                if let Some(decided) = decide(firewall, to, packet, guess) {
                    return Some(decided);
                }
            }
            Act::Goto(to) => return decide(firewall, to, packet, guess),
        }
    }
    None
}

fn name(chain: usize, inward: bool) -> String {
    match (chain, inward) {
        (0, true) => "INPUT".to_owned(),
        (0, false) => "OUTPUT".to_owned(),
        (chain, _) => format!("own{chain}"),
    }
}

fn word(proto: Proto) -> &'static str {
    match proto {
        Proto::Tcp => "tcp",
        Proto::Udp => "udp",
        Proto::Sctp => "sctp",
        Proto::Icmp => "icmp",
    }
}

/// As `iptables-save` prints it.
fn iptables(firewall: &Firewall) -> String {
    let mut text = "*filter\n".to_owned();
    for chain in 0..firewall.chains.len() {
        let policy = match (chain, firewall.accepts) {
            (0, true) => "ACCEPT",
            (0, false) => "DROP",
            _ => "-",
        };
        let _ = writeln!(text, ":{} {policy} [0:0]", name(chain, firewall.inward));
    }
    let not = |not: bool| if not { "! " } else { "" };
    for (chain, rules) in firewall.chains.iter().enumerate() {
        for rule in rules {
            let _ = write!(text, "-A {}", name(chain, firewall.inward));
            if let Some((address, length, negated)) = rule.peer {
                let option = if firewall.inward { "-s" } else { "-d" };
                let _ = write!(text, " {}{option} {address}/{length}", not(negated));
            }
            if let Some((proto, negated)) = rule.proto {
                let _ = write!(text, " {}-p {}", not(negated), word(proto));
            }
            if let Some((list, negated)) = &rule.ports {
                let list: Vec<String> = list
                    .iter()
                    .map(|(a, b)| if a == b { a.to_string() } else { format!("{a}:{b}") })
                    .collect();
                let _ = write!(text, " -m multiport {}--dports {}", not(*negated), list.join(","));
            }
            if let Some(is_new) = rule.is_new {
                let state = if is_new { "NEW" } else { "RELATED,ESTABLISHED" };
                let _ = write!(text, " -m conntrack --ctstate {state}");
            }
            if rule.unknown {
                text += " -m limit --limit 5/sec";
            }
            let verdict = match rule.verdict {
                Act::Accept => " -j ACCEPT\n".to_owned(),
                Act::Drop => " -j REJECT --reject-with icmp-port-unreachable\n".to_owned(),
                Act::Return => " -j RETURN\n".to_owned(),
                Act::Log => " -j LOG --log-prefix \"x \"\n".to_owned(),
                Act::Jump(to) => format!(" -j {}\n", name(to, true)),
                Act::Goto(to) => format!(" -g {}\n", name(to, true)),
            };
            text += &verdict;
        }
    }
    text + "COMMIT\n"
}

/// As `nft -j list ruleset` prints it.
fn nft(firewall: &Firewall) -> String {
    let mut all = vec![json!({ "table": { "family": "ip", "name": "t" } })];
    for chain in 0..firewall.chains.len() {
        let mut body =
            json!({ "family": "ip", "table": "t", "name": name(chain, firewall.inward) });
        if chain == 0 {
            body["type"] = "filter".into();
            body["hook"] = if firewall.inward { "input" } else { "output" }.into();
            body["prio"] = 0.into();
            body["policy"] = if firewall.accepts { "accept" } else { "drop" }.into();
        }
        all.push(json!({ "chain": body }));
    }
    let found = |left: Value, not: bool, right: Value| json!({ "match": { "op": if not { "!=" } else { "==" }, "left": left, "right": right } });
    for (chain, rules) in firewall.chains.iter().enumerate() {
        for (at, rule) in rules.iter().enumerate() {
            let mut expr = Vec::new();
            if let Some((address, length, not)) = rule.peer {
                let field = if firewall.inward { "saddr" } else { "daddr" };
                let left = json!({ "payload": { "protocol": "ip", "field": field } });
                let right = json!({ "prefix": { "addr": address.to_string(), "len": length } });
                expr.push(found(left, not, right));
            }
            if let Some((proto, not)) = rule.proto {
                expr.push(found(json!({ "meta": { "key": "l4proto" } }), not, word(proto).into()));
            }
            if let (Some((list, not)), Some((proto, _))) = (&rule.ports, rule.proto) {
                let left = json!({ "payload": { "protocol": word(proto), "field": "dport" } });
                let list: Vec<Value> = list
                    .iter()
                    .map(|(a, b)| if a == b { json!(a) } else { json!({ "range": [a, b] }) })
                    .collect();
                expr.push(found(left, *not, json!({ "set": list })));
            }
            if let Some(is_new) = rule.is_new {
                let states = if is_new { json!("new") } else { json!(["established", "related"]) };
                let left = json!({ "ct": { "key": "state" } });
                expr.push(json!({ "match": { "op": "in", "left": left, "right": states } }));
            }
            if rule.unknown {
                expr.push(json!({ "limit": { "rate": 5, "per": "second" } }));
            }
            expr.push(match rule.verdict {
                Act::Accept => json!({ "accept": null }),
                Act::Drop => json!({ "drop": null }),
                Act::Return => json!({ "return": null }),
                Act::Log => json!({ "log": null }),
                Act::Jump(to) => json!({ "jump": { "target": name(to, true) } }),
                Act::Goto(to) => json!({ "goto": { "target": name(to, true) } }),
            });
            let chain = name(chain, firewall.inward);
            let rule = json!({ "family": "ip", "table": "t", "chain": chain, "handle": at + 1, "expr": expr });
            all.push(json!({ "rule": rule }));
        }
    }
    json!({ "nftables": all }).to_string()
}

fn holds(
    firewall: &Firewall,
    has_unknown: bool,
    format: Format,
    text: &str,
) -> Result<(), TestCaseError> {
    let imported = import(format, "rules", text).expect("is read");
    let source = Source { name: "imported.yaml", text: &imported.text };
    let now: Timestamp = "2026-11-22T00:00:00Z".parse().expect("a time");
    let checked = load(&source, &|_| None, &Limits::for_bytes(1 << 24), now)
        .unwrap_or_else(|found| panic!("{}\n{}", found.render(false), imported.text));
    let facts = Facts { addresses: Vec::new(), now, jiffies_per_second: 250 };
    let bundle = compile(&checked.document, &Allocations::default(), &facts).expect("compiles");
    let (router, machine) = bundle.attachment("imported.machine").expect("the machine");
    let own: IpAddr = machine.addresses[0].addr();
    let simulation = Simulation::new(&bundle.tables);
    for proto in [Proto::Tcp, Proto::Udp, Proto::Sctp, Proto::Icmp] {
        for peer in ADDRESSES {
            for port in PORTS.into_iter().flat_map(|port| [port, port + 1, port + 100]) {
                let packet = Packet { proto, peer, port };
                let (number, target_port) = match proto {
                    Proto::Tcp => (6, port),
                    Proto::Udp => (17, port),
                    Proto::Sctp => (132, port),
                    // Echo requests.
                    Proto::Icmp => (1, 8 << 8),
                };
                let (source, target) =
                    if firewall.inward { (IpAddr::V4(peer), own) } else { (own, IpAddr::V4(peer)) };
                let question = Question {
                    source: source.into(),
                    target: target.into(),
                    network: router.number.into(),
                    ports: verdict::abi::Ports { source: 49_152, target: target_port },
                    protocol: number,
                };
                let mut judgement = Judgement::default();
                verdict::judge(&simulation, &question, bundle.tables.config.epoch, &mut judgement);
                let passes = judgement.verdict == Verdict::Allow;
                let mut accepted = (0..6_u64).map(|seed| {
                    decide(firewall, 0, packet, &mut Rng(seed)).unwrap_or(firewall.accepts)
                });
                let always = accepted.all(|accepted| accepted);
                prop_assert!(!passes || always, "{packet:?} is wider\n{text}\n{}", imported.text);
                if !has_unknown {
                    prop_assert!(
                        passes || !always,
                        "{packet:?} is missing\n{text}\n{}",
                        imported.text
                    );
                }
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn an_import_is_never_wider(seed in any::<u64>()) {
        let firewall = firewall(seed, true);
        holds(&firewall, true, Format::Iptables, &iptables(&firewall))?;
        holds(&firewall, true, Format::Nft, &nft(&firewall))?;
    }

    #[test]
    fn what_is_understood_is_exact(seed in any::<u64>()) {
        let firewall = firewall(seed, false);
        holds(&firewall, false, Format::Iptables, &iptables(&firewall))?;
        holds(&firewall, false, Format::Nft, &nft(&firewall))?;
    }
}
