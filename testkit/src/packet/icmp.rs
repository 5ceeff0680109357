//! ICMP and ICMPv6 messages of a [`Frame`]; the family follows the IP header set before.

use super::{Checksum, Frame, Net, Transport};

/// Protocol numbers.
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// What an ICMP error tells, in both families' numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Destination unreachable, port.
    PortUnreachable,
    /// Destination unreachable, host or address.
    HostUnreachable,
    /// Fragmentation needed / packet too big, with this MTU.
    TooBig(u16),
    /// Time exceeded in transit.
    TimeExceeded,
}

impl Frame {
    /// Any ICMP message: type, code, the four bytes after the checksum; more goes to the payload.
    #[must_use]
    pub fn icmp(mut self, kind: u8, code: u8, rest: [u8; 4]) -> Self {
        let is_v6 = matches!(self.net, Net::V6 { .. });
        self.transport = Transport {
            protocol: if is_v6 { ICMPV6 } else { ICMP },
            header: [&[kind, code, 0, 0], &rest[..]].concat(),
            checksum: if is_v6 { Checksum::Pseudo(2) } else { Checksum::Plain(2) },
        };
        self
    }

    /// Echo request.
    #[must_use]
    pub fn echo_request(self, id: u16, sequence: u16) -> Self {
        let kind = if matches!(self.net, Net::V6 { .. }) { 128 } else { 8 };
        self.icmp(kind, 0, echo_rest(id, sequence))
    }

    /// Echo reply.
    #[must_use]
    pub fn echo_reply(self, id: u16, sequence: u16) -> Self {
        let kind = if matches!(self.net, Net::V6 { .. }) { 129 } else { 0 };
        self.icmp(kind, 0, echo_rest(id, sequence))
    }

    /// An error that quotes `original` (an IP packet, see [`Frame::ip_bytes`]; RFC 792, RFC 4443).
    #[must_use]
    pub fn icmp_error(self, error: IcmpError, original: &[u8]) -> Self {
        let is_v6 = matches!(self.net, Net::V6 { .. });
        let (kind, code) = match (error, is_v6) {
            (IcmpError::PortUnreachable, false) => (3, 3),
            (IcmpError::PortUnreachable, true) => (1, 4),
            (IcmpError::HostUnreachable, false) => (3, 1),
            (IcmpError::HostUnreachable, true) => (1, 3),
            (IcmpError::TooBig(_), false) => (3, 4),
            (IcmpError::TooBig(_), true) => (2, 0),
            (IcmpError::TimeExceeded, false) => (11, 0),
            (IcmpError::TimeExceeded, true) => (3, 0),
        };
        let mut rest = [0; 4];
        if let IcmpError::TooBig(mtu) = error {
            rest[2..].copy_from_slice(&mtu.to_be_bytes());
        }
        self.icmp(kind, code, rest).payload(original)
    }
}

fn echo_rest(id: u16, sequence: u16) -> [u8; 4] {
    let ([a, b], [c, d]) = (id.to_be_bytes(), sequence.to_be_bytes());
    [a, b, c, d]
}
