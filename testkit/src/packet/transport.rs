//! Transport headers of a [`Frame`]: TCP, UDP, SCTP and raw bytes.

use etherparse::{IpNumber, TcpHeader};

use super::{Checksum, Frame, Transport};

/// TCP flag bits (RFC 9293 section 3.1), combined with `|`.
pub const FIN: u8 = 0x01;
/// Synchronize.
pub const SYN: u8 = 0x02;
/// Reset.
pub const RST: u8 = 0x04;
/// Push.
pub const PSH: u8 = 0x08;
/// Acknowledgment.
pub const ACK: u8 = 0x10;
/// Urgent.
pub const URG: u8 = 0x20;

/// Where the flags are in a TCP header.
const TCP_FLAGS: usize = 13;

impl Frame {
    /// A TCP header without options, sequence and acknowledgement 0.
    #[must_use]
    pub fn tcp(self, source: u16, destination: u16, flags: u8) -> Self {
        self.tcp_segment(source, destination, flags, 0, 0)
    }

    /// A TCP header with its sequence and acknowledgement numbers.
    #[must_use]
    pub fn tcp_segment(
        mut self,
        source: u16,
        destination: u16,
        flags: u8,
        sequence: u32,
        acknowledgement: u32,
    ) -> Self {
        let mut header = TcpHeader::new(source, destination, sequence, 64_240);
        header.acknowledgment_number = acknowledgement;
        let mut bytes = header.to_bytes().to_vec();
        bytes[TCP_FLAGS] = flags;
        self.transport =
            Transport { protocol: IpNumber::TCP.0, header: bytes, checksum: Checksum::Pseudo(16) };
        self
    }

    /// A UDP header; its length follows the payload.
    #[must_use]
    pub fn udp(mut self, source: u16, destination: u16) -> Self {
        let ports = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        self.transport = Transport {
            protocol: IpNumber::UDP.0,
            header: [ports.as_slice(), &[0, 8, 0, 0]].concat(),
            checksum: Checksum::Pseudo(6),
        };
        self
    }

    /// An SCTP common header (RFC 9260 section 3.1) followed by `chunks`.
    #[must_use]
    pub fn sctp(mut self, source: u16, destination: u16, tag: u32, chunks: &[u8]) -> Self {
        let mut header = [source.to_be_bytes(), destination.to_be_bytes()].concat();
        header.extend_from_slice(&tag.to_be_bytes());
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(chunks);
        self.transport =
            Transport { protocol: IpNumber::SCTP.0, header, checksum: Checksum::Crc32c(8) };
        self
    }

    /// An SCTP INIT (RFC 9260 section 3.3.2) with one stream each way.
    #[must_use]
    pub fn sctp_init(self, source: u16, destination: u16) -> Self {
        let chunk = [1, 0, 0, 20, 0, 0, 0, 7, 0, 0, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 1];
        self.sctp(source, destination, 0, &chunk)
    }

    /// Any IP protocol with any bytes and no checksum: truncated headers, unknown protocols.
    #[must_use]
    pub fn protocol(mut self, protocol: u8, bytes: &[u8]) -> Self {
        self.transport = Transport { protocol, header: bytes.to_vec(), checksum: Checksum::None };
        self
    }
}

/// `CRC32c` (Castagnoli), bit by bit: test packets are short.
pub(super) fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
