//! Asks the one evaluator about single flows.

use std::net::IpAddr;

use verdict::abi::{Addr, Endpoint, FlowEntry, FlowKey, Mac, PeerKey, Ports, UPLINKS, Verdict};
use verdict::account::is_account;
use verdict::native::{Simulation, Tables};
use verdict::{Action, Env as _, Judgement, Question, Reason, Work};

use super::frame::First;

/// Tables to ask.
pub(crate) struct Judge<'t> {
    tables: &'t Tables,
    simulation: Simulation<'t>,
}

impl<'t> Judge<'t> {
    /// Over these tables.
    pub(crate) fn new(tables: &'t Tables) -> Self {
        Self { tables, simulation: Simulation::new(tables) }
    }

    /// What the policy says of a flow that gets as far as being judged.
    pub(crate) fn judge(&self, question: &Question) -> Judgement {
        let mut judgement = Judgement::default();
        verdict::judge(&self.simulation, question, self.tables.config.epoch, &mut judgement);
        judgement
    }

    /// The same of a flow that is in the connection table: who sent its first packet stands there.
    pub(crate) fn known(&self, key: &FlowKey, entry: &FlowEntry) -> Judgement {
        self.judge(&verdict::asked(&self.simulation, key, entry))
    }

    /// What the kernel decides about a packet that knows no flow yet, guard and all: at the hook of the endpoint that
    /// sends it, or else of the one that is to receive it.
    pub(crate) fn first(&self, network: u32, packet: &First) -> Judgement {
        let [source, target] = [packet.source, packet.target].map(|end| self.number(network, end));
        let sent = source != 0;
        let number = if sent { source } else { target };
        let Some(endpoint) = self.simulation.endpoint(number) else {
            return Judgement::default();
        };
        // What stands in the tables for its address is in no packet: the question is what its hook would ask.
        if endpoint.flags & Endpoint::HOSTED != 0 || is_account(number) {
            return self.judge(&Question {
                source: packet.source.into(),
                target: packet.target.into(),
                network,
                ports: Ports { source: packet.source_port, target: packet.port },
                protocol: packet.proto.number(),
            });
        }
        // A receiver gets what its gateway sends; a sender's next hop is its gateway as often as not.
        let (from, to): (Mac, Mac) = if sent {
            (endpoint.mac, endpoint.gateway_mac)
        } else {
            (endpoint.gateway_mac, endpoint.mac)
        };
        let frame = packet.frame(from, to);
        let mut work = Work::default();
        let action = if number >= UPLINKS {
            verdict::at_uplink(&self.simulation, frame.as_slice(), sent, &mut work)
        } else if sent {
            verdict::from_endpoint(&self.simulation, frame.as_slice(), number, &mut work)
        } else {
            verdict::to_endpoint(&self.simulation, frame.as_slice(), number, &mut work)
        };
        let opened = !self.simulation.events.borrow().is_empty();
        let judgement = match action {
            Action::Drop(reason) => Judgement { verdict: Verdict::Drop, reason, ..work.judgement },
            Action::Pass | Action::Deliver(_) if opened => work.judgement,
            // Address resolution passes without a question.
            Action::Pass | Action::Deliver(_) => {
                let (verdict, reason) = (Verdict::Allow, Reason::None);
                Judgement { verdict, reason, ..Judgement::default() }
            }
        };
        self.simulation.events.borrow_mut().clear();
        self.simulation.flows.borrow_mut().clear();
        let at = if judgement.source == 0 && judgement.target == 0 { number } else { 0 };
        Judgement {
            source: judgement.source.max(if sent { at } else { 0 }),
            target: judgement.target.max(if sent { 0 } else { at }),
            ..judgement
        }
    }

    /// The endpoint that has an address in a network, 0 for none.
    fn number(&self, network: u32, address: IpAddr) -> u32 {
        let key = PeerKey { network, addr: Addr::from(address) };
        self.tables.exact.get(&key).map_or(0, |peer| peer.endpoint)
    }
}
