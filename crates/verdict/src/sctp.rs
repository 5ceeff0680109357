//! SCTP: which chunks open a flow and what state they lead to (RFC 9260 §3.2 and §4).
//!
//! Only the first chunk of a packet is looked at; INIT, INIT ACK and SHUTDOWN COMPLETE never share
//! a packet. Verification tags are left to the two ends.

use crate::Reason;
use crate::abi::{FlowEntry, FlowState};
use crate::packet::Header;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// Whether a packet may open a flow.
pub(crate) const fn opens(header: &Header) -> bool {
    header.flags == INIT
}

/// Takes a packet of a known flow and moves its state on.
///
/// # Errors
///
/// [`Reason::StraySctp`] for what cannot come before the association stands.
pub(crate) fn advance(header: &Header, entry: &mut FlowEntry, forward: bool) -> Result<(), Reason> {
    let state = FlowState::from_number(entry.state);
    let next = match (header.flags, state) {
        (ABORT | SHUTDOWN_COMPLETE, _) => FlowState::Closed,
        (INIT, FlowState::Opening) if forward => FlowState::Opening,
        (INIT_ACK, FlowState::Opening) if !forward => FlowState::Answered,
        (_, FlowState::Opening) => return Err(Reason::StraySctp),
        (COOKIE_ACK, FlowState::Answered) if !forward => FlowState::Established,
        (INIT | INIT_ACK | COOKIE_ECHO, _) => state,
        (_, FlowState::Answered) => return Err(Reason::StraySctp),
        (SHUTDOWN | SHUTDOWN_ACK, FlowState::Established) => FlowState::Closing,
        _ => state,
    };
    entry.state = next as u8;
    Ok(())
}
