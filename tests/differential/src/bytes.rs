//! Packets as values, and as the bytes of an Ethernet frame.

use std::net::IpAddr;

use verdict::abi::Mac;

/// A packet at one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// Of the frame.
    pub source_mac: Mac,
    /// Of the frame.
    pub target_mac: Mac,
    /// Both of one family.
    pub source: IpAddr,
    /// Both of one family.
    pub target: IpAddr,
    /// TTL or hop limit.
    pub hops: u8,
    /// What it carries.
    pub body: Body,
    /// Which part of a datagram it is; UDP only.
    pub part: Part,
}

/// Which part of a datagram a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first part of the datagram with this number.
    First(u16),
    /// A later part of the datagram with this number.
    Later(u16),
}

/// What a packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// TCP.
    Tcp(Tcp),
    /// Source and destination port.
    Udp(u16, u16),
    /// SCTP.
    Sctp(Sctp),
    /// Type, code, identifier; of the packet's family.
    Icmp(u8, u8, u16),
    /// An ICMP error with the head of the packet that caused it.
    Error(u8, u8, Box<Packet>),
    /// Another protocol.
    Other(u8),
    /// An ARP request: sender MAC and the IPv4 addresses of the packet.
    Arp(Mac),
}

/// A TCP segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tcp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub target: u16,
    /// The flags byte.
    pub flags: u8,
    /// Sequence number.
    pub seq: u32,
    /// Acknowledgement number.
    pub ack: u32,
    /// Bytes of payload.
    pub len: u16,
}

/// An SCTP packet with one chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sctp {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub target: u16,
    /// Type of the chunk.
    pub chunk: u8,
    /// Verification tag.
    pub tag: u32,
    /// What an INIT or INIT ACK asks for as tag.
    pub own: u32,
    /// The T bit.
    pub reflected: bool,
}

impl Body {
    /// The IP protocol number; ARP has none.
    #[must_use]
    pub fn protocol(&self, v4: bool) -> u8 {
        match self {
            Self::Tcp(_) => 6,
            Self::Udp(..) => 17,
            Self::Sctp(_) => 132,
            Self::Icmp(..) | Self::Error(..) => {
                if v4 {
                    1
                } else {
                    58
                }
            }
            Self::Other(number) => *number,
            Self::Arp(_) => 0,
        }
    }
}

impl Packet {
    /// The frame.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend(self.target_mac);
        out.extend(self.source_mac);
        if let Body::Arp(sender) = self.body {
            out.extend(0x0806_u16.to_be_bytes());
            out.extend([0, 1, 8, 0, 6, 4, 0, 1]);
            out.extend(sender);
            out.extend(octets(self.source));
            out.extend([0; 6]);
            out.extend(octets(self.target));
        } else {
            let ethertype: u16 = if self.source.is_ipv4() { 0x0800 } else { 0x86dd };
            out.extend(ethertype.to_be_bytes());
            out.extend(self.datagram());
        }
        out.resize(out.len().max(60), 0);
        out
    }

    /// The IP packet.
    fn datagram(&self) -> Vec<u8> {
        let payload = self.payload();
        let protocol = self.body.protocol(self.source.is_ipv4());
        let mut out = Vec::with_capacity(payload.len() + 48);
        if self.source.is_ipv4() {
            let (id, part) = match self.part {
                Part::Whole => (1, 0x4000),
                Part::First(id) => (id, 0x2000),
                Part::Later(id) => (id, 5),
            };
            let total = u16::try_from(20 + payload.len()).unwrap_or(u16::MAX);
            out.extend([0x45, 0]);
            out.extend(total.to_be_bytes());
            out.extend::<[u8; 2]>(u16::to_be_bytes(id));
            out.extend::<[u8; 2]>(u16::to_be_bytes(part));
            out.extend([self.hops, protocol, 0, 0]);
            out.extend(octets(self.source));
            out.extend(octets(self.target));
            let sum = checksum(&out);
            out.splice(10..12, sum.to_be_bytes());
        } else {
            let fragment = match self.part {
                Part::Whole => Vec::new(),
                Part::First(id) => [&[protocol, 0, 0, 1, 0, 0][..], &id.to_be_bytes()].concat(),
                Part::Later(id) => [&[protocol, 0, 0, 40, 0, 0][..], &id.to_be_bytes()].concat(),
            };
            let total = u16::try_from(fragment.len() + payload.len()).unwrap_or(u16::MAX);
            out.extend([0x60, 0, 0, 0]);
            out.extend(total.to_be_bytes());
            out.extend([if fragment.is_empty() { protocol } else { 44 }, self.hops]);
            out.extend(octets(self.source));
            out.extend(octets(self.target));
            out.extend(fragment);
        }
        out.extend(payload);
        out
    }

    fn payload(&self) -> Vec<u8> {
        if matches!(self.part, Part::Later(_)) {
            return vec![0xaa; 16];
        }
        let ports =
            |source: u16, target: u16| [source.to_be_bytes(), target.to_be_bytes()].concat();
        match &self.body {
            Body::Tcp(tcp) => {
                let mut out = ports(tcp.source, tcp.target);
                out.extend(tcp.seq.to_be_bytes());
                out.extend(tcp.ack.to_be_bytes());
                out.extend([0x50, tcp.flags, 0xff, 0xff, 0, 0, 0, 0]);
                out.resize(out.len() + usize::from(tcp.len), 0x55);
                out
            }
            Body::Udp(source, target) => {
                let mut out = ports(*source, *target);
                out.extend([0, 40, 0, 0]);
                out.resize(40, 0x66);
                out
            }
            Body::Sctp(sctp) => {
                let mut out = ports(sctp.source, sctp.target);
                out.extend(sctp.tag.to_be_bytes());
                out.extend([0, 0, 0, 0, sctp.chunk, u8::from(sctp.reflected), 0, 20]);
                out.extend(sctp.own.to_be_bytes());
                out.resize(12 + 20, 0);
                out
            }
            Body::Icmp(kind, code, id) => {
                let mut out = vec![*kind, *code, 0, 0];
                out.extend(id.to_be_bytes());
                out.extend([0, 1]);
                out.resize(24, 0x77);
                out
            }
            Body::Error(kind, code, cause) => {
                let mut out = vec![*kind, *code, 0, 0, 0, 0, 0, 0];
                out.extend(cause.datagram());
                out
            }
            Body::Other(_) => vec![0; 16],
            Body::Arp(_) => Vec::new(),
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// RFC 1071.
fn checksum(header: &[u8]) -> u16 {
    let words = header.chunks(2).map(|pair| match pair {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        _ => 0,
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or(0)
}
