//! The shared evaluator on the host, and what it is told of a packet besides its bytes.

use std::net::IpAddr;

use verdict::abi::Addr;
use verdict::native::Simulation;
use verdict::{
    Call, Socket, Work, at_bind, at_cgroup, at_connect, at_uplink, from_endpoint, to_endpoint,
};

use super::{Case, Held, Judge, Phase, Report, Seen};
use crate::oracle::{Ask, Way};

/// A frame that came to the host by the port of an endpoint.
struct Came<'a> {
    frame: &'a [u8],
    by: u32,
}

impl verdict::Packet for Came<'_> {
    fn len(&self) -> u32 {
        verdict::Packet::len(self.frame)
    }

    fn entered(&self) -> u32 {
        self.by
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.frame.load(offset)
    }

    fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
        self.frame.copy(offset, len, to)
    }
}

/// A frame at an uplink.
struct Leaving<'a> {
    frame: &'a [u8],
    by_socket: bool,
    account: u32,
}

impl verdict::Packet for Leaving<'_> {
    fn len(&self) -> u32 {
        verdict::Packet::len(self.frame)
    }

    fn has_socket(&self) -> bool {
        self.by_socket
    }

    fn account(&self) -> u32 {
        self.account
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.frame.load(offset)
    }

    fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
        self.frame.copy(offset, len, to)
    }
}

/// A frame at a socket.
struct OfSocket<'a> {
    frame: &'a [u8],
    held: Held,
}

impl verdict::Packet for OfSocket<'_> {
    fn len(&self) -> u32 {
        verdict::Packet::len(self.frame)
    }

    fn stays(&self) -> bool {
        self.held.stays
    }

    fn holder(&self, _: Socket, _: Socket, _: u8) -> Option<u32> {
        self.held.holder
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.frame.load(offset)
    }

    fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
        self.frame.copy(offset, len, to)
    }
}

/// The shared evaluator over the planner's tables, on the host.
pub struct Native<'t> {
    phases: &'t [Phase],
    phase: usize,
    simulation: Option<Simulation<'t>>,
    work: Work,
}

impl<'t> Native<'t> {
    /// Runs over the tables of a case.
    #[must_use]
    pub fn new(case: &'t Case) -> Self {
        Self { phases: &case.phases, phase: 0, simulation: None, work: Work::default() }
    }
}

impl Judge for Native<'_> {
    fn enter(&mut self, phase: usize) {
        self.phase = phase;
        let tables = &self.phases[phase].tables;
        self.simulation = Some(match self.simulation.take() {
            Some(simulation) => simulation.with_tables(tables),
            None => Simulation::new(tables),
        });
    }

    fn judge(&mut self, endpoint: u16, (sent, entered): (bool, u16), frame: &[u8]) -> Seen {
        let simulation = self.simulation.as_ref().expect("a phase was entered");
        simulation.events.borrow_mut().clear();
        let number = u32::from(endpoint);
        let action = if sent {
            from_endpoint(simulation, frame, number, &mut self.work)
        } else {
            to_endpoint(simulation, &Came { frame, by: entered.into() }, number, &mut self.work)
        };
        let report = simulation.events.borrow().last().map(Report::from);
        Seen { action, report }
    }

    fn judge_host(&mut self, way: Way, frame: &[u8]) -> Seen {
        let simulation = self.simulation.as_ref().expect("a phase was entered");
        simulation.events.borrow_mut().clear();
        let account = way.account(&self.phases[self.phase].accounts);
        let frame = Leaving { frame, by_socket: way.by_socket, account };
        let action = at_uplink(simulation, &frame, way.sent, &mut self.work);
        let report = simulation.events.borrow().last().map(Report::from);
        Seen { action, report }
    }

    fn judge_at_socket(&mut self, own: u16, held: Held, frame: &[u8]) -> Seen {
        let simulation = self.simulation.as_ref().expect("a phase was entered");
        simulation.events.borrow_mut().clear();
        let packet = OfSocket { frame, held };
        let action = at_cgroup(simulation, &packet, own.into(), held.sent, &mut self.work);
        let report = simulation.events.borrow().last().map(Report::from);
        Seen { action, report }
    }

    fn judge_call(&mut self, own: u16, ask: Ask, what: (IpAddr, u16, u8)) -> Seen {
        let simulation = self.simulation.as_ref().expect("a phase was entered");
        simulation.events.borrow_mut().clear();
        let (addr, port, protocol) = what;
        let to = Socket { addr: Addr::from(addr), port };
        let (work, number) = (&mut self.work, u32::from(own));
        let nothing: &[u8] = &[];
        let action = match ask {
            Ask::Connect(bound) => {
                at_connect(simulation, nothing, number, &Call { to, bound, protocol }, work)
            }
            Ask::Bind => {
                at_bind(simulation, nothing, number, &Call { to, bound: 0, protocol }, work)
            }
        };
        let report = simulation.events.borrow().last().map(Report::from);
        Seen { action, report }
    }
}
