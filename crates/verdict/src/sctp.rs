//! SCTP: which chunks open a flow, whose packets belong to it and what state they lead to (RFC 9260 §3.2, §4 and §8.5).
//!
//! Only the first chunk of a packet is looked at; INIT, INIT ACK and SHUTDOWN COMPLETE never share a packet. Each side
//! names in its INIT or INIT ACK the tag that packets to it must carry: nobody who has not seen it ends an association.

use crate::Reason;
use crate::abi::{FlowEntry, FlowState, Window};
use crate::packet::Header;

const INIT: u8 = 1;
const INIT_ACK: u8 = 2;
const ABORT: u8 = 6;
const SHUTDOWN: u8 = 7;
const SHUTDOWN_ACK: u8 = 8;
const COOKIE_ECHO: u8 = 10;
const COOKIE_ACK: u8 = 11;
const SHUTDOWN_COMPLETE: u8 = 14;

/// The T bit of ABORT and SHUTDOWN COMPLETE: the tag is the sender's own, reflected.
const REFLECTED: u8 = 1;

/// Whether a packet may open a flow.
pub(crate) const fn opens(header: &Header) -> bool {
    header.flags == INIT && header.seq == 0
}

/// Takes the INIT of a new flow.
pub(crate) fn begin(header: &Header, entry: &mut FlowEntry) {
    entry.state = FlowState::Opening as u8;
    name(header, &mut entry.windows[0], true);
}

/// Takes a packet of a known flow and moves its state on. An INIT inside of an association is its originator's
/// restart (§5.2.2); the responder's would be another flow.
///
/// # Errors
///
/// [`Reason::StraySctp`] for what cannot come before the association stands, and [`Reason::OutOfWindow`] for a tag that
/// is not the flow's; the flow is then as it was.
pub(crate) fn advance(header: &Header, entry: &mut FlowEntry, forward: bool) -> Result<(), Reason> {
    let state = FlowState::from_number(entry.state);
    if header.flags == INIT {
        if !forward || header.seq != 0 {
            return Err(Reason::StraySctp);
        }
        name(header, &mut entry.windows[0], state == FlowState::Opening);
        return Ok(());
    }
    if !is_tagged(header, entry, forward) {
        return Err(Reason::OutOfWindow);
    }
    if header.flags == INIT_ACK && !forward {
        name(header, &mut entry.windows[1], state == FlowState::Opening);
    }
    let next = match (header.flags, state) {
        (ABORT | SHUTDOWN_COMPLETE, _) => FlowState::Closed,
        (INIT_ACK, FlowState::Opening) if !forward => FlowState::Answered,
        (_, FlowState::Opening) => return Err(Reason::StraySctp),
        (COOKIE_ACK, FlowState::Answered) if !forward => FlowState::Established,
        (INIT_ACK | COOKIE_ECHO, _) => state,
        (_, FlowState::Answered) => return Err(Reason::StraySctp),
        (SHUTDOWN | SHUTDOWN_ACK, FlowState::Established) => FlowState::Closing,
        _ => state,
    };
    entry.state = next as u8;
    Ok(())
}

/// Keeps the tag that packets to the sender of `header` must carry from now on, or beside the one of before a restart.
fn name(header: &Header, sender: &mut Window, first: bool) {
    if first {
        sender.end = header.ack;
    }
    sender.max_end = header.ack;
    sender.flags |= Window::KNOWN;
}

/// Whether a packet carries the tag of its receiver. That of a receiver which has not named one yet is not known, nor are those of an
/// association whose beginning was not seen.
fn is_tagged(header: &Header, entry: &FlowEntry, forward: bool) -> bool {
    let [originator, responder] = &entry.windows;
    if originator.flags & Window::LIBERAL != 0 {
        return true;
    }
    let (sender, receiver) =
        if forward { (originator, responder) } else { (responder, originator) };
    let ends = matches!(header.flags, ABORT | SHUTDOWN_COMPLETE);
    let reflected = ends && header.header_len & REFLECTED != 0;
    let named = if reflected { sender } else { receiver };
    if named.flags & Window::KNOWN == 0 {
        return !ends;
    }
    header.seq == named.end || header.seq == named.max_end
}
