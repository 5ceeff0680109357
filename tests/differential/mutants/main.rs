//! Copies of the evaluator with one planted bug each, against the oracle: each must be caught.
//!
//! Built by `cargo xtask mutants`, which makes the copies and a package around this file. The planner
//! and the oracle are the real ones; only the judging is a mutant's.

use std::process::ExitCode;

use std::net::IpAddr;

use differential::oracle::{Ask, Way};
use differential::run::{Case, Held, Judge, Mask, Phase, Report, Seen, play, prepare};
use verdict::{Action, Reason};

/// Documents that a bug may survive before it counts as not caught.
const SEEDS: u64 = 400;
/// Documents on which the copy without a bug must agree.
const CONTROL_SEEDS: u64 = 60;
/// Packets for each policy version.
const STEPS: usize = 120;

macro_rules! mutant {
    ($name:ident) => {
        mod $name {
            use ::$name::abi as to;
            use ::$name::native::{Simulation, Tables};
            use ::$name::{
                Action, Call, Packet, Socket, Work, at_bind, at_cgroup, at_connect, at_uplink,
                from_endpoint, to_endpoint,
            };
            use verdict::abi as from;

            fn addr(a: from::Addr) -> to::Addr {
                to::Addr(a.0)
            }

            fn peer_key(k: &from::PeerKey) -> to::PeerKey {
                to::PeerKey { network: k.network, addr: addr(k.addr) }
            }

            fn peer(p: &from::Peer) -> to::Peer {
                to::Peer { class: p.class, identity: p.identity, endpoint: p.endpoint, pad: 0 }
            }

            fn decision(d: from::Decision) -> to::Decision {
                to::Decision { rule: d.rule, verdict: d.verdict, pad: [0; 3] }
            }

            fn set(s: from::PortSet) -> to::PortSet {
                to::PortSet { id: s.id, lengths: s.lengths, pad: 0 }
            }

            fn endpoint(e: &from::Endpoint) -> to::Endpoint {
                to::Endpoint {
                    slots: e.slots,
                    v4: addr(e.v4),
                    v6: addr(e.v6),
                    link_local: addr(e.link_local),
                    network: e.network,
                    tenant: e.tenant,
                    posture: e.posture,
                    mac: e.mac,
                    gateway_mac: e.gateway_mac,
                    flags: e.flags,
                    ..to::Endpoint::default()
                }
            }

            pub(crate) fn tables(t: &verdict::native::Tables) -> Tables {
                let mut out = Tables::default();
                out.config.epoch = t.config.epoch;
                out.config.timeouts = t.config.timeouts;
                out.config.flags = t.config.flags;
                out.config.report_interval = t.config.report_interval;
                out.endpoints = t.endpoints.iter().map(|(n, e)| (*n, endpoint(e))).collect();
                out.exact = t.exact.iter().map(|(k, p)| (peer_key(k), peer(p))).collect();
                for (k, p) in t.prefixes.iter() {
                    let key = to::PrefixKey { len: k.len, key: peer_key(&k.key) };
                    out.prefixes.insert(key, peer(p));
                }
                for (k, r) in &t.rows {
                    let key = to::RowKey { slot: k.slot, class: k.class };
                    let row = to::Row { ports: set(r.ports), rest: decision(r.rest) };
                    out.rows.insert(key, row);
                }
                for (k, e) in &t.ports {
                    let (port, len, protocol) = (k.port, k.len, k.protocol);
                    let key = to::PortKey { set: k.set, port, len, protocol, pad: 0 };
                    let decision = decision(e.decision);
                    let entry = to::PortEntry { sources: set(e.sources), decision };
                    out.ports.insert(key, entry);
                }
                out
            }

            struct Came<'a>(&'a [u8], u32);

            impl Packet for Came<'_> {
                fn len(&self) -> u32 {
                    Packet::len(self.0)
                }

                fn entered(&self) -> u32 {
                    self.1
                }

                fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
                    self.0.load(offset)
                }

                fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
                    self.0.copy(offset, len, to)
                }
            }

            struct Leaving<'a>(&'a [u8], bool, u32);

            impl Packet for Leaving<'_> {
                fn len(&self) -> u32 {
                    Packet::len(self.0)
                }

                fn has_socket(&self) -> bool {
                    self.1
                }

                fn account(&self) -> u32 {
                    self.2
                }

                fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
                    self.0.load(offset)
                }

                fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
                    self.0.copy(offset, len, to)
                }
            }

            struct OfSocket<'a>(&'a [u8], super::Held);

            impl Packet for OfSocket<'_> {
                fn len(&self) -> u32 {
                    Packet::len(self.0)
                }

                fn stays(&self) -> bool {
                    self.1.stays
                }

                fn holder(&self, _: Socket, _: Socket, _: u8) -> Option<u32> {
                    self.1.holder
                }

                fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
                    self.0.load(offset)
                }

                fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
                    self.0.copy(offset, len, to)
                }
            }

            fn seen(action: Action, env: &Simulation<'_>) -> super::Seen {
                let action = match action {
                    Action::Pass => super::Action::Pass,
                    Action::Deliver(number) => super::Action::Deliver(number),
                    Action::Drop(reason) => {
                        let reason = super::Reason::from_code(reason.code());
                        super::Action::Drop(reason.unwrap_or(super::Reason::None))
                    }
                };
                let report = env.events.borrow().last().map(|event| super::Report {
                    kind: event.kind,
                    verdict: event.verdict,
                    egress_rule: event.egress_rule,
                    ingress_rule: event.ingress_rule,
                });
                super::Seen { action, report }
            }

            pub(crate) struct Mutant<'t> {
                pub(crate) case: &'t [super::Phase],
                pub(crate) phase: usize,
                pub(crate) phases: &'t [Tables],
                pub(crate) simulation: Option<Simulation<'t>>,
                pub(crate) work: Work,
            }

            impl super::Judge for Mutant<'_> {
                fn enter(&mut self, phase: usize) {
                    self.phase = phase;
                    let tables = &self.phases[phase];
                    self.simulation = Some(match self.simulation.take() {
                        Some(simulation) => simulation.with_tables(tables),
                        None => Simulation::new(tables),
                    });
                }

                fn judge(
                    &mut self,
                    endpoint: u16,
                    (sent, entered): (bool, u16),
                    frame: &[u8],
                ) -> super::Seen {
                    let env = self.simulation.as_ref().expect("a phase was entered");
                    env.events.borrow_mut().clear();
                    let number = u32::from(endpoint);
                    let action = if sent {
                        from_endpoint(env, frame, number, &mut self.work)
                    } else {
                        let came = Came(frame, entered.into());
                        to_endpoint(env, &came, number, &mut self.work)
                    };
                    seen(action, env)
                }

                fn judge_host(&mut self, way: super::Way, frame: &[u8]) -> super::Seen {
                    let env = self.simulation.as_ref().expect("a phase was entered");
                    env.events.borrow_mut().clear();
                    let account = way.account(&self.case[self.phase].accounts);
                    let leaving = Leaving(frame, way.by_socket, account);
                    let action = at_uplink(env, &leaving, way.sent, &mut self.work);
                    seen(action, env)
                }

                fn judge_at_socket(
                    &mut self,
                    own: u16,
                    held: super::Held,
                    frame: &[u8],
                ) -> super::Seen {
                    let env = self.simulation.as_ref().expect("a phase was entered");
                    env.events.borrow_mut().clear();
                    let packet = OfSocket(frame, held);
                    let action = at_cgroup(env, &packet, own.into(), held.sent, &mut self.work);
                    seen(action, env)
                }

                fn judge_call(
                    &mut self,
                    own: u16,
                    ask: super::Ask,
                    (address, port, protocol): (super::IpAddr, u16, u8),
                ) -> super::Seen {
                    let env = self.simulation.as_ref().expect("a phase was entered");
                    env.events.borrow_mut().clear();
                    let to = Socket { addr: addr(from::Addr::from(address)), port };
                    let nothing: &[u8] = &[];
                    let (number, work) = (u32::from(own), &mut self.work);
                    let action = match ask {
                        super::Ask::Connect(bound) => {
                            at_connect(env, nothing, number, &Call { to, bound, protocol }, work)
                        }
                        super::Ask::Bind => {
                            at_bind(env, nothing, number, &Call { to, bound: 0, protocol }, work)
                        }
                    };
                    seen(action, env)
                }
            }

            pub(crate) fn run(case: &super::Case) -> Result<usize, differential::run::Mismatch> {
                let phases: Vec<Tables> =
                    case.phases.iter().map(|phase| tables(&phase.tables)).collect();
                let work = Work::default();
                let (case_phases, phase) = (case.phases.as_slice(), 0);
                let mut judge =
                    Mutant { case: case_phases, phase, phases: &phases, simulation: None, work };
                super::play(case, &mut judge, super::STEPS)
            }
        }
    };
}

/// Plays seeds until the bug shows; whether it did.
fn hunt(name: &str, run: fn(&Case) -> Result<usize, differential::run::Mismatch>) -> bool {
    let mut compared = 0;
    for seed in 1..=SEEDS {
        match run(&prepare(seed, &Mask::new(), true)) {
            Ok(count) => compared += count,
            Err(mismatch) => {
                println!("caught    {name} after {} verdicts", compared + mismatch.at);
                return true;
            }
        }
    }
    println!("SURVIVED  {name}: {compared} verdicts agree");
    false
}

include!("list.rs");

fn main() -> ExitCode {
    for seed in 1..=CONTROL_SEEDS {
        if let Err(mismatch) = CONTROL(&prepare(seed, &Mask::new(), true)) {
            println!("the copy without a bug does not agree: seed {seed}: {}", mismatch.text);
            return ExitCode::FAILURE;
        }
    }
    let all: Vec<bool> = mutants().into_iter().map(|(name, run)| hunt(name, run)).collect();
    if all.iter().all(|caught| *caught) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
