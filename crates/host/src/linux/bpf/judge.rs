//! Running the programs on a packet by hand (`BPF_PROG_TEST_RUN`): for tests, measurements, and the
//! answer of the kernel itself to "may this packet pass".

use std::time::Duration;

use verdict::abi::{Event, IFINDEX_BASE};
use verdict::{Action, Reason};

use super::object::{Program, Programs};
use super::{Datapath, Error, Events, sys};

/// What a program made of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestRun {
    /// Its return code: 0 pass, 2 drop, 7 redirect; or jiffies.
    pub result: u32,
    /// The packet as the program left it.
    pub packet: Vec<u8>,
    /// The mean time of one run.
    pub duration: Duration,
}

const DROP: u32 = 2;
const REDIRECT: u32 = 7;

/// Room for the packet as the program left it.
const PACKET_BYTES: usize = 65_536;

/// Reads jiffies through the program that returns them.
pub(super) fn jiffies(programs: &Programs) -> Result<u32, Error> {
    let (result, _, _) =
        sys::test_run(programs.fd(Program::Clock), &[0; 64], &mut [], [0; 2], 1)
            .map_err(|source| Error::TestRun { name: Program::Clock.name(), source })?;
    Ok(result)
}

impl Datapath {
    /// Runs a program `repeat` times on a frame as if it had met the interface with this index in
    /// the namespace of the calling thread, where that must exist.
    ///
    /// Whatever the program writes into the maps, counters and reports included, stays.
    ///
    /// # Errors
    ///
    /// [`Error::TestRun`], for example for a frame shorter than an Ethernet header.
    pub fn test_run(
        &self,
        program: Program,
        interface: u32,
        frame: &[u8],
        repeat: u32,
    ) -> Result<TestRun, Error> {
        let mut packet = vec![0; PACKET_BYTES];
        let programs = self.group_of(program)?;
        let fd = programs.fd(program);
        let (result, bytes, nanos) = sys::test_run(fd, frame, &mut packet, [0, interface], repeat)
            .map_err(|source| Error::TestRun { name: program.name(), source })?;
        packet.truncate(bytes);
        Ok(TestRun { result, packet, duration: Duration::from_nanos(nanos.into()) })
    }

    /// Lets the kernel judge one frame that endpoint `number` sends (`sent`) or is to receive, and
    /// returns its answer with everything it reported meanwhile. The frame came by the port of endpoint `entered`, 0 for
    /// another way. The host-side interface of the endpoint must be in the namespace of the calling thread.
    ///
    /// For tests: the frame counts as one that has passed.
    ///
    /// # Errors
    ///
    /// As [`Datapath::test_run`].
    #[doc(hidden)]
    pub fn judge_packet(
        &self,
        events: &mut Events,
        number: u32,
        (sent, entered): (bool, u32),
        frame: &[u8],
    ) -> Result<(Action, Vec<Event>), Error> {
        events.drain(&mut Vec::new(), usize::MAX);
        let program = if sent { Program::FromEndpoint } else { Program::ToEndpoint };
        let by = if entered == 0 { 0 } else { IFINDEX_BASE + entered };
        self.judged(events, program, [by, IFINDEX_BASE + number], frame)
    }

    /// As [`Datapath::judge_packet`], of a frame that leaves by an uplink of the host, as if a socket of the host had sent it, or
    /// that comes in there.
    ///
    /// # Errors
    ///
    /// As [`Datapath::test_run`].
    #[doc(hidden)]
    pub fn judge_host_packet(
        &self,
        events: &mut Events,
        sent: bool,
        (interface, frame): (u32, &[u8]),
    ) -> Result<(Action, Vec<Event>), Error> {
        events.drain(&mut Vec::new(), usize::MAX);
        let program = if sent { Program::FromHost } else { Program::ToHost };
        let (action, reports) = self.judged(events, program, [0, interface], frame)?;
        // What is not to leave is sent to nowhere, so that its socket is not told.
        let reason = reports.last().and_then(|event| Reason::from_code(event.reason));
        let action = match action {
            Action::Deliver(_) => Action::Drop(reason.unwrap_or(Reason::UnknownEndpoint)),
            action => action,
        };
        Ok((action, reports))
    }

    fn judged(
        &self,
        events: &mut Events,
        program: Program,
        interfaces: [u32; 2],
        frame: &[u8],
    ) -> Result<(Action, Vec<Event>), Error> {
        let programs = self.group_of(program)?;
        let fd = programs.fd(program);
        let (result, _, _) = sys::test_run(fd, frame, &mut [], interfaces, 1)
            .map_err(|source| Error::TestRun { name: program.name(), source })?;
        let mut reports = Vec::new();
        events.drain(&mut reports, usize::MAX);
        let action = match result {
            DROP => {
                let last = reports.last().and_then(|event| Reason::from_code(event.reason));
                Action::Drop(last.unwrap_or(Reason::UnknownEndpoint))
            }
            REDIRECT => Action::Deliver(0),
            _ => Action::Pass,
        };
        Ok((action, reports))
    }
}
