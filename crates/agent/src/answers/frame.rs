//! The packet that a flow would begin with, as bytes: what the kernel would be shown, for the evaluator's whole way.
//!
//! Checksums stay zero: nothing that decides looks at them.

use std::net::IpAddr;

use model::Proto;
use verdict::abi::Mac;
use verdict::packet::{IPV4, IPV6};

/// Hop limit, as a workload's kernel sends.
const HOPS: u8 = 64;
/// A TCP header without options, in units of four bytes, and the flag SYN.
const TCP_HEADER: u8 = 5 << 4;
const SYN: u8 = 2;
/// Length of an SCTP INIT chunk without parameters (RFC 9260 §3.3.2), in bytes, and an initiate tag.
const INIT: u8 = 20;
const TAG: [u8; 4] = [0, 0, 0, 1];
/// Bytes of a neighbour discovery message's body, at least; other ICMP messages may be as long.
const ICMP_BODY: usize = 36;

/// The first packet of a flow.
#[derive(Debug, Clone, Copy)]
pub(crate) struct First {
    /// Who sends it.
    pub(crate) source: IpAddr,
    /// To whom; of the same version of IP.
    pub(crate) target: IpAddr,
    /// The protocol.
    pub(crate) proto: Proto,
    /// Source port.
    pub(crate) source_port: u16,
    /// Destination port; ICMP: type and code.
    pub(crate) port: u16,
}

impl First {
    /// The frame between two hardware addresses.
    pub(crate) fn frame(&self, from: Mac, to: Mac) -> Vec<u8> {
        let transport = self.transport();
        let length = u16::try_from(transport.len()).unwrap_or(u16::MAX);
        let mut frame = [to, from].concat();
        match (self.source, self.target) {
            (IpAddr::V4(source), IpAddr::V4(target)) => {
                frame.extend(IPV4.to_be_bytes());
                frame.extend([0x45, 0]);
                frame.extend(length.saturating_add(20).to_be_bytes());
                frame.extend([0, 0, 0, 0, HOPS, self.proto.number(), 0, 0]);
                frame.extend(source.octets());
                frame.extend(target.octets());
            }
            (source, target) => {
                frame.extend(IPV6.to_be_bytes());
                frame.extend([0x60, 0, 0, 0]);
                frame.extend(length.to_be_bytes());
                frame.extend([self.proto.number(), HOPS]);
                frame.extend(octets(source));
                frame.extend(octets(target));
            }
        }
        frame.extend(transport);
        frame
    }

    fn transport(&self) -> Vec<u8> {
        let ports = [self.source_port.to_be_bytes(), self.port.to_be_bytes()].concat();
        let header: [&[u8]; 4] = match self.proto {
            Proto::Tcp => [&ports, &[0; 8], &[TCP_HEADER, SYN, 0xff, 0xff], &[0; 4]],
            Proto::Udp => [&ports, &[0, 8, 0, 0], &[], &[]],
            Proto::Sctp => {
                [&ports, &[0; 8], &[1, 0, 0, INIT], &[TAG, [0; 4], [0; 4], [0; 4]].concat()]
            }
            Proto::Icmp | Proto::Icmp6 => {
                return [&self.port.to_be_bytes()[..], &[0; ICMP_BODY]].concat();
            }
            Proto::Other(_) => [&[], &[], &[], &[]],
        };
        header.concat()
    }
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}
