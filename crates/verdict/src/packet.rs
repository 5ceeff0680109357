//! Packet bytes to a [`Header`]: Ethernet, IPv4, IPv6 with extension headers, transport.
//!
//! Parsing reads each header once, at a checked offset, and refuses what it does not understand.
//! Sources: RFC 791, 8200, 9293, 768, 9260, 792, 4443.

use crate::Reason;
use crate::abi::{Addr, Mac, Ports};
use crate::judge::Question;

/// IPv6 extension headers that are followed before the packet is refused.
pub const MAX_EXTENSIONS: u32 = 6;
/// Length of an Ethernet header.
pub const ETHERNET: u32 = 14;

/// Every offset into a frame fits: an IP packet has at most 65,535 bytes.
pub(crate) const OFFSET_MASK: u32 = 0x1_ffff;

/// `EtherType` of IPv4.
pub const IPV4: u16 = 0x0800;
/// `EtherType` of ARP.
pub const ARP: u16 = 0x0806;
/// `EtherType` of IPv6.
pub const IPV6: u16 = 0x86dd;
const VLAN: u16 = 0x8100;
const QINQ: u16 = 0x88a8;

/// IP protocol numbers.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const NO_NEXT: u8 = 59;
const DESTINATION: u8 = 60;

/// Reads the bytes of one packet, from its Ethernet header on.
pub trait Packet {
    /// Length of the whole frame in bytes.
    fn len(&self) -> u32;
    /// Whether there are no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Whether a VLAN tag was taken out of the frame and is carried beside it, as Linux does.
    fn is_tagged(&self) -> bool {
        false
    }
    /// The endpoint in place by whose port the packet came to this host; 0 when it came another way, or that is not known.
    fn entered(&self) -> u32 {
        0
    }
    /// Whether a socket of this host sent it; otherwise it is forwarded for somebody. Known where a packet leaves by an uplink.
    fn has_socket(&self) -> bool {
        true
    }
    /// The number of the account whose socket sends it, see [`crate::account`]; 0 for everybody else. Known where a packet leaves by an uplink.
    fn account(&self) -> u32 {
        0
    }
    /// Whether it goes from one socket of this host to another one, or to the host itself. Known at a cgroup.
    fn stays(&self) -> bool {
        false
    }
    /// Whose the socket of this host is that holds `far` for what comes from `near`: the number of an endpoint of the host's stack, or 0
    /// of anybody else's. Nothing when there is no such socket, or not any more. Asked when the packet [`Packet::stays`].
    fn holder(&self, near: Socket, far: Socket, protocol: u8) -> Option<u32> {
        let _ = (near, far, protocol);
        None
    }
    /// Copies `N` bytes out, or nothing when they are not all there.
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]>;
    /// Copies `len` bytes, which must be 1 to `N`, to the beginning of `to`; whether they were all there.
    fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool;
    /// The same number. The kernel's verifier knows nothing of it any more, so that to it every turn of a loop is the same.
    fn plain(&self, number: u32) -> u32 {
        number
    }
}

impl Packet for [u8] {
    fn len(&self) -> u32 {
        u32::try_from(<[u8]>::len(self)).unwrap_or(u32::MAX)
    }

    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let start = offset as usize;
        self.get(start..start.checked_add(N)?)?.try_into().ok()
    }

    fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
        let (start, len) = (offset as usize, len as usize);
        let from = start.checked_add(len).and_then(|end| self.get(start..end));
        match (from, to.get_mut(..len)) {
            (Some(from), Some(to)) => {
                to.copy_from_slice(from);
                true
            }
            _ => false,
        }
    }
}

/// One end of a flow as sockets have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Socket {
    /// The address.
    pub addr: Addr,
    /// The port, host order.
    pub port: u16,
}

/// Which part of a datagram a packet carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fragment {
    /// All of it.
    #[default]
    Whole,
    /// The first part, with the transport header.
    First,
    /// A later part, without one.
    Later,
}

/// The Ethernet header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Destination MAC address.
    pub target: Mac,
    /// Source MAC address.
    pub source: Mac,
    /// `EtherType`, host order.
    pub ethertype: u16,
}

/// What a decision needs of a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Source address.
    pub source: Addr,
    /// Destination address.
    pub target: Addr,
    /// Length of the IP packet in bytes, its header included.
    pub bytes: u32,
    /// Offset of the transport header in the frame.
    pub transport: u32,
    /// Identification of a fragmented datagram.
    pub fragment_id: u32,
    /// TCP: sequence number; SCTP: verification tag.
    pub seq: u32,
    /// TCP: acknowledgement number; SCTP: the initiate tag of INIT and INIT ACK.
    pub ack: u32,
    /// TCP: bytes after the TCP header.
    pub payload: u32,
    /// TCP: window as it stands in the segment.
    pub window: u16,
    /// Ports; ICMP: see [`crate::abi::FlowKey`].
    pub ports: Ports,
    /// ICMP: `type << 8 | code`.
    pub icmp: u16,
    /// The IP protocol number of the transport.
    pub protocol: u8,
    /// TTL or hop limit.
    pub hops: u8,
    /// TCP: flags; SCTP: type of the first chunk.
    pub flags: u8,
    /// TCP: header length in bytes; SCTP: flags of the first chunk.
    pub header_len: u8,
    /// Which part of the datagram this is.
    pub fragment: Fragment,
}

/// Reads the Ethernet header.
///
/// # Errors
///
/// [`Reason::Malformed`] for a runt, [`Reason::VlanTag`], [`Reason::UnknownEtherType`].
#[inline(always)]
pub fn frame(packet: &(impl Packet + ?Sized)) -> Result<Frame, Reason> {
    let b = packet.load::<14>(0).ok_or(Reason::Malformed)?;
    let ethertype = if packet.is_tagged() { VLAN } else { u16::from_be_bytes([b[12], b[13]]) };
    match ethertype {
        IPV4 | IPV6 | ARP => Ok(Frame {
            target: [b[0], b[1], b[2], b[3], b[4], b[5]],
            source: [b[6], b[7], b[8], b[9], b[10], b[11]],
            ethertype,
        }),
        VLAN | QINQ => Err(Reason::VlanTag),
        _ => Err(Reason::UnknownEtherType),
    }
}

/// Reads an IPv4 header into `header`, which is as [`Header::default`] makes it.
#[inline(always)]
pub(crate) fn ipv4(packet: &(impl Packet + ?Sized), header: &mut Header) -> Result<(), Reason> {
    let b = packet.load::<20>(ETHERNET).ok_or(Reason::Malformed)?;
    if b[0] >> 4 != 4 || b[0] & 0xf < 5 {
        return Err(Reason::Malformed);
    }
    if b[0] & 0xf != 5 {
        return Err(Reason::IpOptions);
    }
    header.bytes = u32::from(u16::from_be_bytes([b[2], b[3]]));
    if header.bytes < 20 || header.bytes > packet.len() - ETHERNET {
        return Err(Reason::Malformed);
    }
    header.hops = b[8];
    header.protocol = b[9];
    header.source = Addr::v4([b[12], b[13], b[14], b[15]]);
    header.target = Addr::v4([b[16], b[17], b[18], b[19]]);
    header.transport = ETHERNET + 20;
    header.fragment_id = u32::from(u16::from_be_bytes([b[4], b[5]]));
    let part = u16::from_be_bytes([b[6], b[7]]);
    fragment(header, part & 0x1fff, part & 0x2000 != 0)
}

/// Notes which part of a datagram this is; `offset` counts units of 8 bytes.
///
/// A second TCP fragment at offset 1 could rewrite the flags of the first one (RFC 3128).
fn fragment(header: &mut Header, offset: u16, more: bool) -> Result<(), Reason> {
    header.fragment = match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        (1..=2, _) if header.protocol == protocol::TCP => return Err(Reason::TinyFragment),
        _ => Fragment::Later,
    };
    Ok(())
}

/// Reads an IPv6 header and all that follows it into `header`, which is as [`Header::default`] makes it.
#[inline(always)]
pub(crate) fn ipv6(packet: &(impl Packet + ?Sized), header: &mut Header) -> Result<(), Reason> {
    let b = packet.load::<8>(ETHERNET).ok_or(Reason::Malformed)?;
    if b[0] >> 4 != 6 {
        return Err(Reason::Malformed);
    }
    header.bytes = 40 + u32::from(u16::from_be_bytes([b[4], b[5]]));
    if header.bytes > packet.len() - ETHERNET {
        return Err(Reason::Malformed);
    }
    header.hops = b[7];
    header.protocol = b[6];
    header.source = Addr::v6(packet.load::<16>(ETHERNET + 8).ok_or(Reason::Malformed)?);
    header.target = Addr::v6(packet.load::<16>(ETHERNET + 24).ok_or(Reason::Malformed)?);
    // RFC 4942 §2.2: mapped addresses on the wire would pass for IPv4 ones in every table.
    if header.source.is_v4() || header.target.is_v4() {
        return Err(Reason::Malformed);
    }
    header.transport = ETHERNET + 40;
    match header.protocol {
        HOP_BY_HOP | DESTINATION | FRAGMENT | ROUTING | AUTHENTICATION | NO_NEXT => {
            extensions(packet, header)?;
        }
        _ => {}
    }
    if header.fragment == Fragment::Later { Ok(()) } else { transport(packet, header) }
}

/// Follows extension headers (RFC 8200 §4) up to the transport.
#[inline(always)]
fn extensions(packet: &(impl Packet + ?Sized), header: &mut Header) -> Result<(), Reason> {
    for position in 0..=MAX_EXTENSIONS {
        let kind = header.protocol;
        match kind {
            HOP_BY_HOP if position == 0 => {}
            DESTINATION | FRAGMENT => {}
            HOP_BY_HOP | ROUTING | AUTHENTICATION | NO_NEXT => return Err(Reason::ExtensionHeader),
            _ => return Ok(()),
        }
        let b = packet.load::<8>(header.transport).ok_or(Reason::Malformed)?;
        header.protocol = b[0];
        if kind != FRAGMENT {
            header.transport = (header.transport + (u32::from(b[1]) + 1) * 8) & OFFSET_MASK;
            continue;
        }
        header.transport = (header.transport + 8) & OFFSET_MASK;
        header.fragment_id = u32::from_be_bytes([b[4], b[5], b[6], b[7]]);
        let part = u16::from_be_bytes([b[2], b[3]]);
        fragment(header, part >> 3, part & 1 != 0)?;
        // Options behind it would put the transport where a later fragment could overlap it.
        let plain = !matches!(
            header.protocol,
            HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | NO_NEXT | DESTINATION
        );
        if plain || header.fragment == Fragment::Later {
            return Ok(());
        }
        return Err(Reason::ExtensionHeader);
    }
    Err(Reason::ExtensionHeader)
}

/// Reads a transport header.
#[inline(always)]
pub(crate) fn transport(
    packet: &(impl Packet + ?Sized),
    header: &mut Header,
) -> Result<(), Reason> {
    if let Some(read) = usual(packet, header) {
        return read;
    }
    let (missing, room) = room(header)?;
    match header.protocol {
        protocol::SCTP if room >= 16 => sctp(packet, header).ok_or(missing),
        protocol::ICMP if room >= 8 && header.source.is_v4() => icmp(packet, header).ok_or(missing),
        protocol::ICMPV6 if room >= 4 && !header.source.is_v4() => {
            icmp(packet, header).ok_or(missing)
        }
        protocol::SCTP | protocol::ICMP | protocol::ICMPV6 => Err(missing),
        _ => Ok(()),
    }
}

/// Reads the transport header of TCP and UDP, which nearly every packet has; `None` for others.
#[inline(always)]
pub(crate) fn usual(
    packet: &(impl Packet + ?Sized),
    header: &mut Header,
) -> Option<Result<(), Reason>> {
    if !matches!(header.protocol, protocol::TCP | protocol::UDP) {
        return None;
    }
    let (missing, room) = match room(header) {
        Ok(found) => found,
        Err(reason) => return Some(Err(reason)),
    };
    let read = match header.protocol {
        protocol::TCP => tcp(packet, header, room),
        _ if room >= 8 => ports(packet, header),
        _ => None,
    };
    Some(read.ok_or(missing))
}

/// Bytes from the transport header on, and what to say when they are too few.
#[inline(always)]
fn room(header: &Header) -> Result<(Reason, u32), Reason> {
    let missing = match header.fragment {
        Fragment::Whole => Reason::Malformed,
        _ => Reason::TinyFragment,
    };
    let end = ETHERNET + header.bytes;
    Ok((missing, end.checked_sub(header.transport).ok_or(missing)?))
}

#[inline(always)]
fn tcp(packet: &(impl Packet + ?Sized), header: &mut Header, room: u32) -> Option<()> {
    let b = packet.load::<20>(header.transport)?;
    header.ports.source = u16::from_be_bytes([b[0], b[1]]);
    header.ports.target = u16::from_be_bytes([b[2], b[3]]);
    header.seq = u32::from_be_bytes([b[4], b[5], b[6], b[7]]);
    header.ack = u32::from_be_bytes([b[8], b[9], b[10], b[11]]);
    header.header_len = (b[12] >> 4) * 4;
    header.flags = b[13];
    header.window = u16::from_be_bytes([b[14], b[15]]);
    if header.header_len < 20 {
        return None;
    }
    header.payload = room.checked_sub(u32::from(header.header_len))?;
    Some(())
}

#[inline(always)]
fn ports(packet: &(impl Packet + ?Sized), header: &mut Header) -> Option<()> {
    let b = packet.load::<8>(header.transport)?;
    header.ports.source = u16::from_be_bytes([b[0], b[1]]);
    header.ports.target = u16::from_be_bytes([b[2], b[3]]);
    Some(())
}

#[inline(always)]
fn sctp(packet: &(impl Packet + ?Sized), header: &mut Header) -> Option<()> {
    let b = packet.load::<16>(header.transport)?;
    header.ports.source = u16::from_be_bytes([b[0], b[1]]);
    header.ports.target = u16::from_be_bytes([b[2], b[3]]);
    header.seq = u32::from_be_bytes([b[4], b[5], b[6], b[7]]);
    header.flags = b[12];
    header.header_len = b[13];
    if matches!(header.flags, 1 | 2) {
        header.ack = u32::from_be_bytes(packet.load::<4>(header.transport + 16)?);
    }
    Some(())
}

#[inline(always)]
fn icmp(packet: &(impl Packet + ?Sized), header: &mut Header) -> Option<()> {
    let b = packet.load::<8>(header.transport)?;
    let id = u16::from_be_bytes([b[4], b[5]]);
    header.icmp = u16::from_be_bytes([b[0], b[1]]);
    header.ports = icmp_ports(header.protocol, header.icmp, id);
    Some(())
}

/// The ports that stand for an ICMP query: a reply gets its request's, swapped.
pub(crate) fn icmp_ports(number: u8, kind: u16, id: u16) -> Ports {
    match (number, kind >> 8) {
        (protocol::ICMP, 0) => Ports { source: 8 << 8, target: id },
        (protocol::ICMP, 14) => Ports { source: 13 << 8, target: id },
        (protocol::ICMPV6, 129) => Ports { source: 128 << 8, target: id },
        (protocol::ICMP, 8 | 13) | (protocol::ICMPV6, 128) => Ports { source: id, target: kind },
        _ => Ports { source: 0, target: kind },
    }
}

/// Reads the addresses and ports of the packet that an ICMP error quotes.
#[inline(never)]
pub(crate) fn quoted<P: Packet + ?Sized>(
    packet: &P,
    outer: &Header,
    inner: &mut Question,
) -> Option<()> {
    let start = outer.transport + 8;
    let transport;
    if outer.protocol == protocol::ICMP {
        let b = packet.load::<20>(start)?;
        if b[0] >> 4 != 4 || u16::from_be_bytes([b[6], b[7]]) & 0x1fff != 0 {
            return None;
        }
        inner.protocol = b[9];
        inner.source = Addr::v4([b[12], b[13], b[14], b[15]]);
        inner.target = Addr::v4([b[16], b[17], b[18], b[19]]);
        transport = start + u32::from(b[0] & 0xf) * 4;
    } else {
        let b = packet.load::<8>(start)?;
        inner.protocol = b[6];
        inner.source = Addr::v6(packet.load::<16>(start + 8)?);
        inner.target = Addr::v6(packet.load::<16>(start + 24)?);
        transport = start + 40;
    }
    let b = packet.load::<8>(transport)?;
    inner.ports = match inner.protocol {
        protocol::TCP | protocol::UDP | protocol::SCTP => Ports {
            source: u16::from_be_bytes([b[0], b[1]]),
            target: u16::from_be_bytes([b[2], b[3]]),
        },
        number => {
            icmp_ports(number, u16::from_be_bytes([b[0], b[1]]), u16::from_be_bytes([b[4], b[5]]))
        }
    };
    Some(())
}

/// What an ICMP message is to the connection table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IcmpRole {
    /// Opens a flow.
    Request,
    /// Belongs to a request's flow.
    Reply,
    /// Carries the packet that caused it.
    Error,
    /// None of these.
    Other,
}

impl Header {
    /// Source and target change places.
    pub(crate) const fn turn(&mut self) {
        core::mem::swap(&mut self.source, &mut self.target);
        core::mem::swap(&mut self.ports.source, &mut self.ports.target);
    }

    /// Whether the packet is ICMP of its own family.
    #[must_use]
    pub const fn is_icmp(&self) -> bool {
        matches!(self.protocol, protocol::ICMP | protocol::ICMPV6)
    }

    /// RFC 792 and 4443: echo and timestamp queries, errors 3, 11, 12 and 1 to 4.
    pub(crate) const fn icmp_role(&self) -> IcmpRole {
        match (self.protocol, self.icmp >> 8) {
            (protocol::ICMP, 8 | 13) | (protocol::ICMPV6, 128) => IcmpRole::Request,
            (protocol::ICMP, 0 | 14) | (protocol::ICMPV6, 129) => IcmpRole::Reply,
            (protocol::ICMP, 3 | 11 | 12) | (protocol::ICMPV6, 1..=4) => IcmpRole::Error,
            _ => IcmpRole::Other,
        }
    }
}
