//! Frames as bytes, byte by byte under the caller's control: what attacks and test vectors are made of.
//!
//! ```
//! use testkit::packet::{Frame, SYN, ip};
//! let [a, b] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
//! let syn = Frame::new(a, b).ip(ip("10.0.0.1"), ip("10.0.0.2")).tcp(40000, 80, SYN).bytes();
//! assert_eq!(syn.len(), 14 + 20 + 20);
//! ```
//! Headers come from `etherparse`; lengths and checksums are right unless the caller asks otherwise.
//! [`arp`], [`neighbour`] and [`dhcp`] build the control-plane frames of spoofing tests.

pub mod arp;
pub mod dhcp;
pub mod icmp;
pub mod neighbour;
mod transport;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use etherparse::checksum::Sum16BitWords;
use etherparse::{IpFragOffset, IpNumber, Ipv4Header, Ipv6Header};

pub use transport::{ACK, FIN, PSH, RST, SYN, URG};

/// A hardware address.
pub type Mac = [u8; 6];
/// The hardware broadcast address.
pub const BROADCAST: Mac = [0xff; 6];
/// Next-header numbers of the IPv6 extension headers [`Frame::extension`] takes.
pub mod extension {
    /// Hop-by-hop options (RFC 8200 section 4.3).
    pub const HOP_BY_HOP: u8 = 0;
    /// Routing header (RFC 8200 section 4.4).
    pub const ROUTING: u8 = 43;
    /// Fragment header (RFC 8200 section 4.5).
    pub const FRAGMENT: u8 = 44;
    /// Destination options (RFC 8200 section 4.6).
    pub const DESTINATION: u8 = 60;
}

const ETHERTYPE_IPV4: u16 = 0x0800;
const ETHERTYPE_IPV6: u16 = 0x86dd;

/// Parses an address that the test wrote itself.
///
/// # Panics
/// When `text` is not an address.
#[must_use]
pub fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text:?} is not an IP address"))
}

/// A hardware address as tools and files write it: `02:62:00:00:00:01`.
#[must_use]
pub fn mac_text(mac: Mac) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The bytes above Ethernet that are not transport.
#[derive(Clone, Debug)]
enum Net {
    /// Nothing or a protocol that is not IP, with its ethertype.
    Other(u16, Vec<u8>),
    V4(Ipv4Header),
    V6 {
        header: Ipv6Header,
        extensions: Vec<(u8, Vec<u8>)>,
    },
}

/// The transport header, its checksum field still zero.
#[derive(Clone, Debug, Default)]
struct Transport {
    protocol: u8,
    header: Vec<u8>,
    checksum: Checksum,
}

/// How the checksum of a transport is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Checksum {
    #[default]
    None,
    /// Internet checksum at this offset, with the pseudo header.
    Pseudo(usize),
    /// Internet checksum at this offset, without one (ICMPv4).
    Plain(usize),
    /// `CRC32c` at this offset, little endian (SCTP, RFC 9260 appendix A).
    Crc32c(usize),
}

/// One Ethernet frame under construction. Methods consume and return it.
#[derive(Clone, Debug)]
pub struct Frame {
    source: Mac,
    destination: Mac,
    vlan: Option<u16>,
    net: Net,
    transport: Transport,
    payload: Vec<u8>,
    checksum_is_wrong: bool,
}

impl Frame {
    /// An empty frame.
    #[must_use]
    pub fn new(source: Mac, destination: Mac) -> Self {
        Self {
            source,
            destination,
            vlan: None,
            net: Net::Other(0, Vec::new()),
            transport: Transport::default(),
            payload: Vec::new(),
            checksum_is_wrong: false,
        }
    }

    /// Puts an 802.1Q tag in front (tag control information, host order).
    #[must_use]
    pub fn vlan(mut self, tci: u16) -> Self {
        self.vlan = Some(tci);
        self
    }

    /// Any ethertype with any bytes.
    #[must_use]
    pub fn ethertype(mut self, ethertype: u16, body: &[u8]) -> Self {
        self.net = Net::Other(ethertype, body.to_vec());
        self
    }

    /// An IP header; TTL or hop limit 64.
    ///
    /// # Panics
    /// When the families differ.
    #[must_use]
    pub fn ip(mut self, source: IpAddr, destination: IpAddr) -> Self {
        self.net = match (source, destination) {
            (IpAddr::V4(s), IpAddr::V4(d)) => ipv4_header(s, d),
            (IpAddr::V6(s), IpAddr::V6(d)) => ipv6_header(s, d),
            _ => panic!("{source} and {destination} are of different families"),
        };
        self
    }

    /// TTL or hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        match &mut self.net {
            Net::V4(header) => header.time_to_live = ttl,
            Net::V6 { header, .. } => header.hop_limit = ttl,
            Net::Other(..) => {}
        }
        self
    }

    /// IPv4 options, padded by the caller to a multiple of four bytes.
    ///
    /// # Panics
    /// When they do not fit.
    #[must_use]
    pub fn ipv4_options(mut self, options: &[u8]) -> Self {
        if let Net::V4(header) = &mut self.net {
            header.options = options.try_into().expect("at most 40 bytes, a multiple of 4");
        }
        self
    }

    /// Appends an IPv6 extension header. `body` starts after the next-header byte, so its first
    /// byte is the length in 8-byte units (for [`extension::FRAGMENT`] the reserved byte).
    #[must_use]
    pub fn extension(mut self, number: u8, body: &[u8]) -> Self {
        if let Net::V6 { extensions, .. } = &mut self.net {
            extensions.push((number, body.to_vec()));
        }
        self
    }

    /// Data after the transport header.
    #[must_use]
    pub fn payload(mut self, payload: &[u8]) -> Self {
        self.payload = payload.to_vec();
        self
    }

    /// Makes the transport checksum wrong.
    #[must_use]
    pub fn wrong_checksum(mut self) -> Self {
        self.checksum_is_wrong = true;
        self
    }

    /// The whole frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.compose(&self.net, &self.transport_bytes())
    }

    /// The frame from the IP header on: what a raw IP socket or an ICMP error carries.
    #[must_use]
    pub fn ip_bytes(&self) -> Vec<u8> {
        let link = if self.vlan.is_some() { 18 } else { 14 };
        self.bytes().split_off(link)
    }

    /// The frame cut into IP fragments of at most `size` bytes of IP payload (rounded down to a
    /// multiple of 8), in order. `id` is the fragment identification.
    #[must_use]
    pub fn fragments(&self, size: usize, id: u16) -> Vec<Vec<u8>> {
        let whole = self.transport_bytes();
        let step = (size / 8).max(1) * 8;
        let count = whole.len().div_ceil(step);
        whole
            .chunks(step)
            .enumerate()
            .map(|(i, part)| self.fragment(i * step, i + 1 < count, id, part))
            .collect()
    }

    /// One fragment with exactly these fields, for overlapping and tiny ones. `offset` in bytes.
    ///
    /// # Panics
    /// When the offset is not representable.
    #[must_use]
    pub fn fragment(&self, offset: usize, more: bool, id: u16, part: &[u8]) -> Vec<u8> {
        let units = u16::try_from(offset / 8).expect("offset below 64 KiB");
        let mut net = self.net.clone();
        match &mut net {
            Net::V4(header) => {
                header.dont_fragment = false;
                header.identification = id;
                header.more_fragments = more;
                header.fragment_offset = IpFragOffset::try_new(units).expect("13 bits");
            }
            Net::V6 { extensions, .. } => {
                let [high, low] = (units << 3 | u16::from(more)).to_be_bytes();
                let [id_high, id_low] = id.to_be_bytes();
                extensions.push((extension::FRAGMENT, vec![0, high, low, 0, 0, id_high, id_low]));
            }
            Net::Other(..) => {}
        }
        self.compose(&net, part)
    }

    /// Transport header and payload with the checksum in place: the payload of the IP packet.
    #[must_use]
    pub fn transport_bytes(&self) -> Vec<u8> {
        let Transport { header, checksum, protocol } = &self.transport;
        let mut bytes = [header.as_slice(), &self.payload].concat();
        if *protocol == IpNumber::UDP.0 && header.len() == 8 {
            let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
            bytes[4..6].copy_from_slice(&length.to_be_bytes());
        }
        let spoil = u16::from(self.checksum_is_wrong);
        match *checksum {
            Checksum::None => {}
            Checksum::Plain(at) => {
                let sum = internet_sum(&[], &bytes);
                put(&mut bytes, at, sum ^ spoil);
            }
            Checksum::Pseudo(at) => {
                let pseudo = self.pseudo_header(bytes.len());
                let mut sum = internet_sum(&pseudo, &bytes);
                if sum == 0 && *protocol == IpNumber::UDP.0 {
                    sum = u16::MAX;
                }
                put(&mut bytes, at, sum ^ spoil);
            }
            Checksum::Crc32c(at) => {
                let sum = transport::crc32c(&bytes) ^ u32::from(spoil);
                bytes[at..at + 4].copy_from_slice(&sum.to_le_bytes());
            }
        }
        bytes
    }

    fn pseudo_header(&self, length: usize) -> Vec<u8> {
        let length = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        let protocol = self.transport.protocol;
        match &self.net {
            Net::Other(..) => Vec::new(),
            Net::V4(h) => [&h.source[..], &h.destination, &[0, protocol], &length[2..]].concat(),
            Net::V6 { header: h, .. } => {
                [&h.source[..], &h.destination, &length, &[0, 0, 0, protocol]].concat()
            }
        }
    }

    fn compose(&self, net: &Net, above: &[u8]) -> Vec<u8> {
        let mut frame = [self.destination, self.source].concat();
        if let Some(tci) = self.vlan {
            frame.extend_from_slice(&[0x81, 0x00]);
            frame.extend_from_slice(&tci.to_be_bytes());
        }
        match net {
            Net::Other(ethertype, body) => {
                frame.extend_from_slice(&ethertype.to_be_bytes());
                frame.extend_from_slice(body);
            }
            Net::V4(header) => self.push_ipv4(&mut frame, header, above.len()),
            Net::V6 { header, extensions } => {
                self.push_ipv6(&mut frame, header, extensions, above.len());
            }
        }
        frame.extend_from_slice(above);
        frame
    }

    fn push_ipv4(&self, frame: &mut Vec<u8>, header: &Ipv4Header, above: usize) {
        let mut header = header.clone();
        header.protocol = IpNumber(self.transport.protocol);
        header.set_payload_len(above).expect("a packet below 64 KiB");
        header.header_checksum = header.calc_header_checksum();
        frame.extend_from_slice(&ETHERTYPE_IPV4.to_be_bytes());
        frame.extend_from_slice(&header.to_bytes());
    }

    fn push_ipv6(
        &self,
        frame: &mut Vec<u8>,
        header: &Ipv6Header,
        extensions: &[(u8, Vec<u8>)],
        above: usize,
    ) {
        let numbers: Vec<u8> =
            extensions.iter().map(|(n, _)| *n).chain([self.transport.protocol]).collect();
        let chain: usize = extensions.iter().map(|(_, body)| body.len() + 1).sum();
        let mut header = header.clone();
        header.next_header = IpNumber(numbers[0]);
        header.set_payload_length(chain + above).expect("a packet below 64 KiB");
        frame.extend_from_slice(&ETHERTYPE_IPV6.to_be_bytes());
        frame.extend_from_slice(&header.to_bytes());
        for ((_, body), next) in extensions.iter().zip(&numbers[1..]) {
            frame.push(*next);
            frame.extend_from_slice(body);
        }
    }
}

fn ipv4_header(source: Ipv4Addr, destination: Ipv4Addr) -> Net {
    let header = Ipv4Header::new(0, 64, IpNumber(0), source.octets(), destination.octets());
    Net::V4(header.expect("an empty payload fits"))
}

fn ipv6_header(source: Ipv6Addr, destination: Ipv6Addr) -> Net {
    let header = Ipv6Header {
        hop_limit: 64,
        source: source.octets(),
        destination: destination.octets(),
        ..Ipv6Header::default()
    };
    Net::V6 { header, extensions: Vec::new() }
}

/// RFC 1071 over `pseudo` and `bytes`, as the value to store in network order.
fn internet_sum(pseudo: &[u8], bytes: &[u8]) -> u16 {
    Sum16BitWords::new().add_slice(pseudo).add_slice(bytes).ones_complement().to_be()
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

#[cfg(test)]
mod tests;
