//! Anti-spoofing at the port: an endpoint speaks only with its own MAC and IP addresses.
//!
//! ARP (RFC 826, 5227), neighbour discovery (RFC 4861), DHCP (RFC 2131, 8415) and router
//! advertisements (RFC 6105) are held to it too: they are how a neighbour is impersonated.

use crate::Reason;
use crate::abi::{Addr, Endpoint, Mac};
use crate::packet::{ETHERNET, Fragment, Frame, Header, OFFSET_MASK, Packet, protocol};

const ROUTER_SOLICITATION: u16 = 133;
const ROUTER_ADVERTISEMENT: u16 = 134;
const NEIGHBOUR_SOLICITATION: u16 = 135;
const NEIGHBOUR_ADVERTISEMENT: u16 = 136;
const REDIRECT: u16 = 137;

const DHCP_SERVER: u16 = 67;
const DHCP_CLIENT: u16 = 68;
const DHCP6_CLIENT: u16 = 546;
const DHCP6_SERVER: u16 = 547;

/// Where a client without an address asks (RFC 2131 §4.1).
const EVERYBODY: Addr = Addr::v4([255; 4]);
/// `ff02::1:2`, all DHCP servers and relays of the link (RFC 8415 §7.1).
const ALL_SERVERS: Addr = Addr::v6([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]);

/// An ND packet holds at most this many options before it is refused.
const MAX_OPTIONS: u32 = 6;
/// The options that solicitations and advertisements have use for: link-layer addresses and a nonce (RFC 4861 §4.6.1,
/// RFC 3971 §5.3.2), each of eight bytes on Ethernet. Others would carry what policy never sees.
const LINK_ADDRESS: [u8; 2] = [1, 2];
const NONCE: u8 = 14;

/// An ARP packet and the padding of the smallest Ethernet frame, without its checksum; bytes. More would carry what
/// policy never sees.
const MAX_ARP: u32 = 60;

/// What the guard says of an IP packet that it lets through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Neighbour discovery, and DHCP of an endpoint that may use it: goes on without a policy question.
    Neighbour,
    /// Everything else.
    Flow,
}

/// Checks the source MAC address.
pub(crate) fn mac(endpoint: &Endpoint, frame: &Frame) -> Result<(), Reason> {
    if same(frame.source, endpoint.mac) { Ok(()) } else { Err(Reason::SpoofedMac) }
}

/// Compares MAC addresses by halfwords, as which they are aligned wherever they stand.
#[inline(always)]
pub(crate) fn same(a: Mac, b: Mac) -> bool {
    let [x, y] = [halfwords(a), halfwords(b)];
    (x[0] ^ y[0]) | (x[1] ^ y[1]) | (x[2] ^ y[2]) == 0
}

#[inline(always)]
fn halfwords(mac: Mac) -> [u16; 3] {
    [
        u16::from_ne_bytes([mac[0], mac[1]]),
        u16::from_ne_bytes([mac[2], mac[3]]),
        u16::from_ne_bytes([mac[4], mac[5]]),
    ]
}

/// Checks an ARP packet that an endpoint sends; notes sender and target address for the report.
#[inline(always)]
pub(crate) fn arp<P: Packet + ?Sized>(
    packet: &P,
    endpoint: &Endpoint,
    header: &mut Header,
) -> Result<Kind, Reason> {
    let b = packet.load::<28>(ETHERNET).ok_or(Reason::Malformed)?;
    let sender = Addr::v4([b[14], b[15], b[16], b[17]]);
    header.source = sender;
    header.target = Addr::v4([b[24], b[25], b[26], b[27]]);
    let ethernet_and_ip = [b[0], b[1], b[2], b[3], b[4], b[5], b[6]] == [0, 1, 8, 0, 6, 4, 0];
    if !ethernet_and_ip || !matches!(b[7], 1 | 2) {
        return Err(Reason::Malformed);
    }
    if packet.len() > MAX_ARP {
        return Err(Reason::Malformed);
    }
    // A probe (RFC 5227 §2.1.1) asks for an address that is to be its sender's.
    let probe = b[7] == 1 && sender.words()[3] == 0 && header.target == endpoint.v4;
    let own = same([b[8], b[9], b[10], b[11], b[12], b[13]], endpoint.mac)
        && (probe || sender == endpoint.v4);
    if own { Ok(Kind::Neighbour) } else { Err(Reason::SpoofedArp) }
}

/// Whether an endpoint that may use DHCP asks for its address.
#[inline(always)]
fn asks(endpoint: &Endpoint, header: &Header) -> bool {
    if !speaks_dhcp(endpoint, header) {
        return false;
    }
    match (header.ports.source, header.ports.target) {
        (DHCP_CLIENT, DHCP_SERVER) => {
            let own = header.source == Addr::v4([0; 4]) || header.source == endpoint.v4;
            own && header.target == EVERYBODY
        }
        (DHCP6_CLIENT, DHCP6_SERVER) => {
            header.source == endpoint.link_local && header.target == ALL_SERVERS
        }
        _ => false,
    }
}

/// Whether an endpoint that may use DHCP is told its address. It may not have it yet, so that the frame's target stands for it.
#[inline(always)]
fn is_told(endpoint: &Endpoint, header: &Header) -> bool {
    if !speaks_dhcp(endpoint, header) {
        return false;
    }
    match (header.ports.source, header.ports.target) {
        (DHCP_SERVER, DHCP_CLIENT) => {
            header.target.is_v4() && (header.target == EVERYBODY || !header.target.is_group())
        }
        (DHCP6_SERVER, DHCP6_CLIENT) => {
            header.source.is_link_local() && header.target == endpoint.link_local
        }
        _ => false,
    }
}

#[inline(always)]
fn speaks_dhcp(endpoint: &Endpoint, header: &Header) -> bool {
    endpoint.flags & Endpoint::DHCP_CLIENT != 0
        && header.protocol == protocol::UDP
        && header.fragment == Fragment::Whole
}

/// Checks an IP packet that an endpoint sends and that is not neighbour discovery.
#[inline(always)]
pub(crate) fn sent(endpoint: &Endpoint, header: &Header) -> Result<Kind, Reason> {
    if asks(endpoint, header) {
        return Ok(Kind::Neighbour);
    }
    let nobody = header.source == Addr::UNSPECIFIED || header.source == Addr::v4([0; 4]);
    if nobody || header.source != endpoint.v4 && header.source != endpoint.v6 {
        let own_local = nobody || header.source == endpoint.link_local;
        let local = own_local && (header.target.is_group() || header.target.is_link_local());
        return Err(if local { Reason::LocalScope } else { Reason::SpoofedAddress });
    }
    if header.protocol == protocol::UDP && matches!(header.ports.source, DHCP_SERVER | DHCP6_SERVER)
    {
        return Err(Reason::RogueDhcp);
    }
    if header.target.is_group() || header.target.is_link_local() {
        return Err(Reason::LocalScope);
    }
    Ok(Kind::Flow)
}

/// Checks an IP packet that an endpoint is to receive.
#[inline(always)]
pub(crate) fn received(endpoint: &Endpoint, header: &Header) -> Result<Kind, Reason> {
    if is_discovery(header) {
        return match header.icmp >> 8 {
            NEIGHBOUR_SOLICITATION | NEIGHBOUR_ADVERTISEMENT if header.hops == 255 => {
                Ok(Kind::Neighbour)
            }
            ROUTER_ADVERTISEMENT | REDIRECT => Err(Reason::RogueRouter),
            _ => Err(Reason::LocalScope),
        };
    }
    if is_told(endpoint, header) {
        return Ok(Kind::Neighbour);
    }
    if header.target.is_group() || header.target.is_link_local() {
        return Err(Reason::LocalScope);
    }
    if header.target != endpoint.v4 && header.target != endpoint.v6 {
        return Err(Reason::ForeignFrame);
    }
    Ok(Kind::Flow)
}

/// Whether a packet is neighbour discovery, router advertisements and redirects included.
#[inline(always)]
pub(crate) fn is_discovery(header: &Header) -> bool {
    header.protocol == protocol::ICMPV6
        && matches!(header.icmp >> 8, ROUTER_SOLICITATION..=REDIRECT)
}

/// Checks a neighbour discovery packet: hop limit 255, own addresses, own MAC in every option.
#[inline(always)]
pub(crate) fn discovery<P: Packet + ?Sized>(
    packet: &P,
    endpoint: &Endpoint,
    header: &Header,
) -> Result<Kind, Reason> {
    let advertises = match header.icmp >> 8 {
        NEIGHBOUR_SOLICITATION => false,
        NEIGHBOUR_ADVERTISEMENT => true,
        ROUTER_SOLICITATION => return Err(Reason::LocalScope),
        _ => return Err(Reason::RogueRouter),
    };
    let b = packet.load::<24>(header.transport).ok_or(Reason::Malformed)?;
    let target = Addr::v6([
        b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15], b[16], b[17], b[18], b[19], b[20],
        b[21], b[22], b[23],
    ]);
    let probe = !advertises && header.source == Addr::UNSPECIFIED;
    let own = |addr: Addr| addr == endpoint.v6 || addr == endpoint.link_local;
    if header.hops != 255 || header.fragment != Fragment::Whole || target == Addr::UNSPECIFIED {
        return Err(Reason::Malformed);
    }
    if !probe && !own(header.source) || (probe || advertises) && !own(target) {
        return Err(Reason::SpoofedNd);
    }
    // A question goes to a group or to whom it is about (RFC 4861 §4.3); a router would carry any other away.
    let near = header.target.is_group() || header.target.is_link_local();
    if !advertises && !near && header.target != target {
        return Err(Reason::Malformed);
    }
    options(packet, endpoint, header)
}

/// Holds every link-layer address option to the endpoint's MAC, and refuses options of other kinds.
fn options<P: Packet + ?Sized>(
    packet: &P,
    endpoint: &Endpoint,
    header: &Header,
) -> Result<Kind, Reason> {
    let end = ETHERNET + header.bytes;
    let mut at = (header.transport + 24) & OFFSET_MASK;
    for _ in 0..MAX_OPTIONS {
        if at >= end {
            return Ok(Kind::Neighbour);
        }
        let b = packet.load::<8>(at).ok_or(Reason::Malformed)?;
        let addresses = b[0] == LINK_ADDRESS[0] || b[0] == LINK_ADDRESS[1];
        if b[1] != 1 || !addresses && b[0] != NONCE {
            return Err(Reason::Malformed);
        }
        if addresses && !same([b[2], b[3], b[4], b[5], b[6], b[7]], endpoint.mac) {
            return Err(Reason::SpoofedNd);
        }
        at = (at + 8) & OFFSET_MASK;
    }
    if at >= end { Ok(Kind::Neighbour) } else { Err(Reason::Malformed) }
}
