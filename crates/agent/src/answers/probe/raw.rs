//! What probes over raw sockets have in common: packets come in until one is the answer.

use std::io;
use std::net::IpAddr;
use std::time::Instant;

use api::Observed;
use socket2::Socket;

/// Waits for an answer; packets of which `answer` knows nothing pass by. `met` tells what an error of the socket means.
pub(super) fn wait_for(
    socket: &Socket,
    target: IpAddr,
    until: Instant,
    met: impl Fn(&io::Error) -> io::Result<Observed>,
    answer: impl Fn(&Socket, &[u8]) -> Option<Observed>,
) -> io::Result<Observed> {
    let mut buffer = [0; 1500];
    loop {
        let count = match super::receive(socket, &mut buffer, until) {
            Ok(count) => count,
            Err(error) => return met(&error),
        };
        let packet = transport(buffer.get(..count).unwrap_or_default(), target);
        if let Some(observed) = packet.and_then(|packet| answer(socket, packet)) {
            return Ok(observed);
        }
    }
}

/// The packet behind the IP header, which raw sockets show of IPv4 only.
pub(super) fn transport(packet: &[u8], target: IpAddr) -> Option<&[u8]> {
    match target {
        IpAddr::V4(_) => packet.get(usize::from(packet.first()? & 0xf) * 4..),
        IpAddr::V6(_) => Some(packet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_ipv4_are_skipped_whatever_their_length() {
        let v4 = IpAddr::from([10, 0, 0, 1]);
        let long = [&[0x46][..], &[0; 23], &[7, 8]].concat();
        assert_eq!(transport(&long, v4), Some(&[7, 8][..]));
        assert_eq!(transport(&long[..20], v4), None, "cut off");
        assert_eq!(transport(&[], v4), None);
        assert_eq!(transport(&[7], IpAddr::from([0_u16; 8])), Some(&[7][..]));
    }
}
