//! The connection table: its keys, its entries and their states.

use crate::abi::Addr;

/// A flow: network and canonical tuple. A key of `FLOWS`.
///
/// Canonical: of the two sides (address, port) the smaller one is `low`. ICMP echo has the
/// identifier as the requester's port and the request's type as the responder's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FlowKey {
    /// The smaller side's address.
    pub low: Addr,
    /// The larger side's address.
    pub high: Addr,
    /// The network's number.
    pub network: u32,
    /// The smaller side's port.
    pub low_port: u16,
    /// The larger side's port.
    pub high_port: u16,
    /// The IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: [u8; 3],
}

/// Packets and bytes (of the IP packet) in one direction of a flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Count {
    /// Packets.
    pub packets: u64,
    /// Bytes, IP headers included.
    pub bytes: u64,
}

/// What the window check knows of one sender of a TCP flow (Rooij, "Real Stateful TCP Packet
/// Filtering in IP Filter", 2000; the kernel's `nf_conntrack_proto_tcp.c` follows the same paper).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Window {
    /// Highest sequence number sent plus one; SCTP: the tag that what this side receives must carry.
    pub end: u32,
    /// Highest sequence number the other side's window has permitted; SCTP: that tag after a restart, if there was one.
    pub max_end: u32,
    /// Largest window offered, in bytes.
    pub max_window: u32,
    /// Window scale shift count (RFC 7323 §2.2).
    pub scale: u8,
    /// See [`Window::SCALED`] and its neighbours.
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 2],
}

impl Window {
    /// A window scale was offered.
    pub const SCALED: u8 = 1;
    /// This side has sent something.
    pub const KNOWN: u8 = 2;
    /// This side has sent a FIN.
    pub const FINISHED: u8 = 4;
    /// Fragmented segments were seen: positions are not known, nothing is checked.
    pub const LIBERAL: u8 = 8;
}

/// Where a flow is in its life. Index of [`Timeouts`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum FlowState {
    /// The first packet was seen.
    #[default]
    Opening = 0,
    /// TCP: the answer to the SYN was seen. SCTP: the answer to the INIT.
    Answered = 1,
    /// TCP or SCTP: both sides agreed.
    Established = 2,
    /// TCP: one side has sent a FIN. SCTP: shutdown has begun.
    Closing = 3,
    /// TCP: both sides have sent a FIN, or one a RST. SCTP: shut down or aborted.
    Closed = 4,
    /// UDP, ICMP and other protocols: only one side has sent.
    OneWay = 5,
    /// UDP and other protocols: both sides have sent.
    TwoWay = 6,
    /// ICMP: a request.
    Echo = 7,
}

impl FlowState {
    /// How many there are.
    pub const COUNT: usize = 8;

    /// From a table's number; an unknown one counts as closed.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Opening,
            1 => Self::Answered,
            2 => Self::Established,
            3 => Self::Closing,
            5 => Self::OneWay,
            6 => Self::TwoWay,
            7 => Self::Echo,
            _ => Self::Closed,
        }
    }
}

/// A live flow: a value of `FLOWS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FlowEntry {
    /// `[from the originator, from the responder]`.
    pub counts: [Count; 2],
    /// Identity of the originator when it was judged last.
    pub source_identity: u64,
    /// Identity of the responder when it was judged last.
    pub target_identity: u64,
    /// Low half of the epoch under which it was judged.
    pub epoch: u32,
    /// Last packet, in jiffies.
    pub seen: u32,
    /// First packet, in jiffies.
    pub created: u32,
    /// The rule that let it out of its source; 0 when none was asked.
    pub egress_rule: u32,
    /// The rule that let it into its target; 0 when none was asked.
    pub ingress_rule: u32,
    /// The originator's endpoint number on this node, else 0.
    pub source: u32,
    /// The responder's endpoint number on this node, else 0.
    pub target: u32,
    /// The tenant whose budget it uses.
    pub tenant: u32,
    /// `[originator, responder]`; TCP only.
    pub windows: [Window; 2],
    /// [`FlowState`] as a number.
    pub state: u8,
    /// [`Verdict`] as a number: allow or audit.
    pub verdict: u8,
    /// See [`FlowEntry::HIGH_ORIGINATES`] and its neighbours.
    pub flags: u8,
    /// Zero.
    pub pad: [u8; 5],
}

impl FlowEntry {
    /// The key's `high` side sent the first packet.
    pub const HIGH_ORIGINATES: u8 = 1;
    /// The end of the flow has been reported.
    pub const END_REPORTED: u8 = 2;
    /// It left by an uplink for somebody else, with an address of the host: the host's policy is not asked.
    pub const FORWARDED: u8 = 4;
    /// Nobody in the file is at either end: the posture of `unmanaged:` decides alone.
    pub const UNMANAGED: u8 = 8;
}

/// A fragmented datagram: a key of `FRAGMENTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct FragmentKey {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub target: Addr,
    /// The network's number.
    pub network: u32,
    /// The datagram's identification.
    pub id: u32,
    /// The IP protocol number.
    pub protocol: u32,
}
