//! TCP: which segments open a flow, which lie inside its window, and what state they lead to.
//!
//! The window check follows Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000), as
//! does the kernel's own tracker. Simultaneous open (RFC 9293 §3.5) is refused.

use crate::Reason;
use crate::abi::{FlowEntry, FlowState, Window};
use crate::packet::{Fragment, Header, OFFSET_MASK, Packet};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// How far back an acknowledgement may lie although no such window was offered, in bytes.
const ACK_SLACK: u32 = 66_000;
/// RFC 7323 §2.3: larger shifts count as 14.
const MAX_SCALE: u8 = 14;

/// Whether a segment may open a flow: a SYN and nothing that contradicts it.
pub(crate) const fn opens(header: &Header) -> bool {
    header.flags & (SYN | ACK | RST | FIN) == SYN
}

/// Takes the first SYN of a flow.
pub(crate) fn begin<P: Packet + ?Sized>(packet: &P, header: &Header, entry: &mut FlowEntry) {
    entry.state = FlowState::Opening as u8;
    first(packet, header, &mut entry.windows[0]);
}

/// Takes a segment of a known flow and moves its state on.
///
/// # Errors
///
/// [`Reason::OutOfWindow`] or [`Reason::StrayTcp`]; the flow is then as it was.
#[inline(always)]
pub(crate) fn advance<P: Packet + ?Sized>(
    packet: &P,
    header: &Header,
    entry: &mut FlowEntry,
    forward: bool,
) -> Result<(), Reason> {
    if header.fragment != Fragment::Whole {
        entry.windows[0].flags |= Window::LIBERAL;
        entry.windows[1].flags |= Window::LIBERAL;
        return Ok(());
    }
    if header.flags & (SYN | RST | FIN) == 0 && entry.state == FlowState::Established as u8 {
        return window(header, entry, forward);
    }
    turn(packet, header, entry, forward)
}

/// Segments that change the state, or come before it is established.
#[inline(never)]
fn turn<P: Packet + ?Sized>(
    packet: &P,
    header: &Header,
    entry: &mut FlowEntry,
    forward: bool,
) -> Result<(), Reason> {
    if header.flags & SYN != 0 && header.flags & RST == 0 {
        return synchronize(packet, header, entry, forward);
    }
    if entry.state == FlowState::Opening as u8 && !forward && header.flags & RST != 0 {
        // RFC 9293 §3.5.2: a reset in SYN-SENT counts only if it acknowledges the SYN.
        if header.flags & ACK == 0 || header.ack != entry.windows[0].end {
            return Err(Reason::OutOfWindow);
        }
        entry.state = FlowState::Closed as u8;
        return Ok(());
    }
    window(header, entry, forward)?;
    let sender = if forward { &mut entry.windows[0] } else { &mut entry.windows[1] };
    if header.flags & FIN != 0 {
        sender.flags |= Window::FINISHED;
    }
    let finished = entry.windows[0].flags & entry.windows[1].flags & Window::FINISHED != 0;
    let one_finished = (entry.windows[0].flags | entry.windows[1].flags) & Window::FINISHED != 0;
    if header.flags & RST != 0 || finished {
        entry.state = FlowState::Closed as u8;
    } else if one_finished && entry.state != FlowState::Closed as u8 {
        entry.state = FlowState::Closing as u8;
    } else if forward && entry.state == FlowState::Answered as u8 {
        entry.state = FlowState::Established as u8;
    }
    Ok(())
}

/// Handles SYN and SYN-ACK. One inside an established flow passes and changes nothing: the
/// receiver answers with a challenge (RFC 5961 §4).
fn synchronize<P: Packet + ?Sized>(
    packet: &P,
    header: &Header,
    entry: &mut FlowEntry,
    forward: bool,
) -> Result<(), Reason> {
    let opening = entry.state == FlowState::Opening as u8;
    if header.flags & ACK == 0 {
        if opening && forward {
            first(packet, header, &mut entry.windows[0]);
        }
        return if opening && !forward { Err(Reason::StrayTcp) } else { Ok(()) };
    }
    if !opening {
        return Ok(());
    }
    if forward || header.ack != entry.windows[0].end {
        return Err(Reason::OutOfWindow);
    }
    first(packet, header, &mut entry.windows[1]);
    if entry.windows[0].flags & entry.windows[1].flags & Window::SCALED == 0 {
        entry.windows[0].scale = 0;
        entry.windows[1].scale = 0;
    }
    entry.windows[0].max_end = header.ack.wrapping_add(u32::from(header.window).max(1));
    entry.state = FlowState::Answered as u8;
    Ok(())
}

/// Fills in what a SYN tells of its sender. Its window is never scaled (RFC 7323 §2.2).
fn first<P: Packet + ?Sized>(packet: &P, header: &Header, sender: &mut Window) {
    let scale = scale(packet, header);
    sender.end = header.seq.wrapping_add(header.payload).wrapping_add(1);
    sender.max_end = sender.end;
    sender.max_window = u32::from(header.window).max(1);
    sender.scale = scale.unwrap_or(0);
    sender.flags = Window::KNOWN | if scale.is_some() { Window::SCALED } else { 0 };
}

/// Reads the window scale option (kind 3) of a SYN.
///
/// Offsets are masked because the kernel's verifier then sees every turn of the loop as the same.
#[inline(never)]
fn scale<P: Packet + ?Sized>(packet: &P, header: &Header) -> Option<u8> {
    let end = header.transport + u32::from(header.header_len);
    let mut at = (header.transport + 20) & OFFSET_MASK;
    for _ in 0..40 {
        if at >= end {
            return None;
        }
        let [kind] = packet.load::<1>(at)?;
        let step = match kind {
            0 => return None,
            1 => 1,
            3 => {
                let [_, len, shift] = packet.load::<3>(at)?;
                return if len == 3 { Some(shift.min(MAX_SCALE)) } else { None };
            }
            _ => {
                let [_, len] = packet.load::<2>(at)?;
                u32::from(len).max(2)
            }
        };
        at = (at + step) & OFFSET_MASK;
    }
    None
}

/// Checks a segment against both windows and moves them on.
#[inline(always)]
fn window(header: &Header, entry: &mut FlowEntry, forward: bool) -> Result<(), Reason> {
    let [originator, responder] = &mut entry.windows;
    let (sender, receiver) =
        if forward { (originator, responder) } else { (responder, originator) };
    let both = sender.flags & receiver.flags;
    if both & Window::KNOWN == 0 || (sender.flags | receiver.flags) & Window::LIBERAL != 0 {
        // Only the opening SYN was seen: nothing but its answer may follow.
        return if both & Window::KNOWN == 0 { Err(Reason::StrayTcp) } else { Ok(()) };
    }
    let fin = u32::from(header.flags & FIN != 0);
    let end = header.seq.wrapping_add(header.payload).wrapping_add(fin);
    let offered = u32::from(header.window) << (sender.scale & 0xf);
    let acked = if header.flags & ACK != 0 { header.ack } else { receiver.end };
    let inside = !after(header.seq, sender.max_end)
        && !after(sender.end.wrapping_sub(receiver.max_window), end)
        && !after(acked, receiver.end)
        && !after(receiver.end.wrapping_sub(sender.max_window.max(ACK_SLACK)), acked);
    if !inside {
        return Err(Reason::OutOfWindow);
    }
    sender.max_window = sender.max_window.max(offered);
    if after(end, sender.end) {
        sender.end = end;
    }
    // A closed window still takes a probe of one byte (RFC 9293 §3.8.6.1).
    let limit = acked.wrapping_add(offered.max(1));
    if after(limit, receiver.max_end) {
        receiver.max_end = limit;
    }
    Ok(())
}

/// Whether `a` comes after `b` in sequence space (RFC 9293 §3.4).
const fn after(a: u32, b: u32) -> bool {
    b.wrapping_sub(a).cast_signed() < 0
}
