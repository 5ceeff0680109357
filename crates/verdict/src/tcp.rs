//! TCP: which segments open a flow, which lie inside its window, and what state they lead to.
//!
//! The window check follows Rooij, "Real Stateful TCP Packet Filtering in IP Filter" (2000), as
//! does the kernel's own tracker. Simultaneous open (RFC 9293 §3.5) is refused.

use crate::abi::{FlowEntry, FlowState, Window};
use crate::packet::{Fragment, Header, Packet, protocol};
use crate::step::STOP;
use crate::work::Work;
use crate::{Env, Reason, Step};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// How far back an acknowledgement may lie although no such window was offered, in bytes.
const ACK_SLACK: u32 = 66_000;
/// RFC 7323 §2.3: larger shifts count as 14.
const MAX_SCALE: u8 = 14;

/// A segment has at most this many options, which are bytes then.
const MAX_OPTIONS: u32 = 40;

/// The options of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(8))]
pub struct Options([u8; ROOM as usize]);

/// Room for options: a power of two.
const ROOM: u32 = 64;

impl Default for Options {
    fn default() -> Self {
        Self([0; ROOM as usize])
    }
}

/// Whether a segment may open a flow: a whole one with SYN and nothing that contradicts it.
pub(crate) fn opens(header: &Header) -> bool {
    header.flags & (SYN | ACK | RST | FIN) == SYN && header.fragment == Fragment::Whole
}

/// Whether a segment opens a connection anew of which only one end's FIN was seen.
///
/// So it is where hooks are at sockets: what comes for a connection that waits for its last segments, the other end's FIN among them, and what answers
/// that, belongs to no socket of the workload's any more (`tcp_time_wait` of `net/ipv4/tcp_minisocks.c`). The kernel takes its port again, which
/// nobody else can.
pub(crate) fn begins_again(header: &Header, entry: &FlowEntry) -> bool {
    header.protocol == protocol::TCP && entry.state == FlowState::Closing as u8 && opens(header)
}

/// Takes the first SYN of a flow.
pub(crate) fn begin<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) {
    work.entry.state = FlowState::Opening as u8;
    let scale = env.step(Step::Scale, packet, work);
    first(&work.header, scale, &mut work.entry.windows[0]);
}

/// Takes a segment of a known flow and moves its state on.
///
/// # Errors
///
/// [`Reason::OutOfWindow`] or [`Reason::StrayTcp`]; the flow is then as it was.
#[inline(always)]
pub(crate) fn advance<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    entry: &mut FlowEntry,
    forward: bool,
) -> Result<(), Reason> {
    let header = &work.header;
    if header.fragment != Fragment::Whole {
        // What changes a connection is never so long that it must be cut, and would not be followed here.
        if header.flags & (SYN | RST | FIN) != 0 {
            return Err(Reason::StrayTcp);
        }
        entry.windows[0].flags |= Window::LIBERAL;
        entry.windows[1].flags |= Window::LIBERAL;
        return Ok(());
    }
    if header.flags & (SYN | RST | FIN) == 0 && entry.state == FlowState::Established as u8 {
        return window(header, entry, forward);
    }
    turn(env, packet, work, entry, forward)
}

/// Segments that change the state, or come before it is established.
#[inline(never)]
fn turn<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    entry: &mut FlowEntry,
    forward: bool,
) -> Result<(), Reason> {
    let header = &work.header;
    if header.flags & SYN != 0 && header.flags & RST == 0 {
        return synchronize(env, packet, work, entry, forward);
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

/// Handles SYN and SYN-ACK. The originator's inside an established flow passes and changes nothing: the
/// receiver answers with a challenge (RFC 5961 §4). The responder may open nothing: that would be another flow.
#[inline(always)]
fn synchronize<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    entry: &mut FlowEntry,
    forward: bool,
) -> Result<(), Reason> {
    let acknowledges = work.header.flags & ACK != 0;
    if work.header.flags & FIN != 0 || !acknowledges && !forward {
        return Err(Reason::StrayTcp);
    }
    if entry.state != FlowState::Opening as u8 {
        return Ok(());
    }
    if acknowledges && (forward || work.header.ack != entry.windows[0].end) {
        return Err(Reason::OutOfWindow);
    }
    let scale = env.step(Step::Scale, packet, work);
    let header = &work.header;
    if !acknowledges {
        first(header, scale, &mut entry.windows[0]);
        return Ok(());
    }
    first(header, scale, &mut entry.windows[1]);
    if entry.windows[0].flags & entry.windows[1].flags & Window::SCALED == 0 {
        entry.windows[0].scale = 0;
        entry.windows[1].scale = 0;
    }
    entry.windows[0].max_end = header.ack.wrapping_add(u32::from(header.window).max(1));
    entry.state = FlowState::Answered as u8;
    Ok(())
}

/// Fills in what a SYN tells of its sender, `scale` being the answer of [`Step::Scale`]. Its window
/// is never scaled (RFC 7323 §2.2).
#[inline(always)]
fn first(header: &Header, scale: u32, sender: &mut Window) {
    sender.end = header.seq.wrapping_add(header.payload).wrapping_add(1);
    sender.max_end = sender.end;
    sender.max_window = u32::from(header.window).max(1);
    sender.scale = if scale == STOP { 0 } else { (scale & 0xf) as u8 };
    sender.flags = Window::KNOWN | if scale == STOP { 0 } else { Window::SCALED };
}

/// Reads the window scale option (kind 3) of a SYN (RFC 9293 §3.1, RFC 7323 §2.2).
///
/// The options are copied at once, and what follows them reads as their end.
#[inline(always)]
pub(crate) fn scale<P: Packet + ?Sized>(packet: &P, work: &mut Work) -> Option<u8> {
    work.options = Options::default();
    let len = u32::from(work.header.header_len).wrapping_sub(20);
    let start = work.header.transport + 20;
    if len == 0 || len >= ROOM || !packet.copy(start, len, &mut work.options.0) {
        return None;
    }
    let byte = |at: u32| work.options.0[(at & (ROOM - 1)) as usize];
    let mut at = 0;
    for _ in 0..MAX_OPTIONS {
        let kind = byte(at);
        if kind == 0 {
            return None;
        }
        if kind == 3 {
            let whole = at + 3 <= len && byte(at + 1) == 3;
            return if whole { Some(byte(at + 2).min(MAX_SCALE)) } else { None };
        }
        let next = at + step(packet, kind.into(), byte(at + 1).into());
        if next >= ROOM {
            return None;
        }
        at = packet.plain(next);
    }
    None
}

/// Bytes from an option to the next one: 1 for padding, else its length, which counts as 2 at least. Both below 256.
///
/// Without a branch: for each one the verifier would go through the rest of the loop again. The compiler, which would make some, does not know
/// that `padding` and `short` are 0 or 1.
#[inline(always)]
fn step<P: Packet + ?Sized>(packet: &P, kind: u32, len: u32) -> u32 {
    let padding = packet.plain((kind ^ 1).wrapping_sub(1) >> 31);
    let short = packet.plain((len >> 1).wrapping_sub(1) >> 31);
    let option = len & short.wrapping_sub(1) | short << 1;
    option & padding.wrapping_sub(1) | padding
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

#[cfg(test)]
mod tests {
    use super::step;

    #[test]
    fn an_option_is_as_long_as_it_says_and_padding_is_one_byte() {
        for kind in 0..256 {
            for len in 0..256 {
                let plain = if kind == 1 { 1 } else { len.max(2) };
                assert_eq!(step::<[u8]>(&[], kind, len), plain, "kind {kind}, length {len}");
            }
        }
    }
}
