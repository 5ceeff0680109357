//! Sockets that wait for others, as the kernel's socket diagnosis tells (`linux/inet_diag.h`): with their queues, which
//! `/proc/net/tcp` does not have.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use netlink_packet_core::NlasIterator;
use netlink_sys::{Socket as Netlink, SocketAddr, protocols::NETLINK_SOCK_DIAG};
use rustix::net::sockopt;

/// More sockets than this are not looked at.
const MAX_SOCKETS: usize = 4_096;
/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(1);

/// `SOCK_DIAG_BY_FAMILY`, `linux/sock_diag.h`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`.
const DUMP: u16 = 0x301;
const ERROR: u16 = 2;
const DONE: u16 = 3;
/// `INET_DIAG_SKV6ONLY`.
const V6_ONLY: u16 = 11;
/// `INET_DIAG_CGROUP_ID`.
const CGROUP: u16 = 21;
/// `TCP_LISTEN` and `TCP_CLOSE` as bits of a set of states.
const LISTEN: u32 = 1 << 10;
const CLOSE: u32 = 1 << 7;
/// Lengths of `struct nlmsghdr`, `struct inet_diag_req_v2`, `struct inet_diag_msg`, bytes.
const HEADER: usize = 16;
const REQUEST: usize = 56;
const MESSAGE: usize = 72;

/// Which sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// TCP sockets that listen.
    Tcp,
    /// UDP sockets that are not connected.
    Udp,
}

/// A socket that waits for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Socket {
    /// Its port.
    pub port: u16,
    /// What it is bound to; unspecified for every address.
    pub address: IpAddr,
    /// Bound to `::`: whether it takes no IPv4.
    pub is_v6_only: bool,
    /// TCP: connections that wait to be accepted. UDP: bytes that wait to be read.
    pub queued: u32,
    /// TCP: at most. UDP: nothing.
    pub room: u32,
    /// The link it is bound to, 0 for none.
    pub link: u32,
    /// Number of the cgroup that made it; absent before Linux 5.8.
    pub cgroup: Option<u64>,
}

impl Socket {
    /// Whether it takes what is sent to `address`.
    #[must_use]
    pub fn takes(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V6(any), IpAddr::V4(_)) if any.is_unspecified() => !self.is_v6_only,
            (IpAddr::V6(bound), IpAddr::V4(v4)) => bound.to_ipv4_mapped() == Some(v4),
            (bound, _) if bound.is_unspecified() => bound.is_ipv4() == address.is_ipv4(),
            (bound, _) => bound == address,
        }
    }
}

/// The sockets of the calling thread's namespace, by port.
pub(super) fn waiting(wait: Wait) -> io::Result<Vec<Socket>> {
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        of_family(wait, u8::try_from(family).unwrap_or_default(), &mut found)?;
    }
    found.sort_unstable();
    Ok(found)
}

fn of_family(wait: Wait, family: u8, found: &mut Vec<Socket>) -> io::Result<()> {
    let mut netlink = Netlink::new(NETLINK_SOCK_DIAG)?;
    netlink.bind_auto()?;
    netlink.connect(&SocketAddr::new(0, 0))?;
    sockopt::set_socket_timeout(&netlink, sockopt::Timeout::Recv, Some(PATIENCE))?;
    netlink.send(&question(wait, family), 0)?;
    loop {
        let (bytes, _) = netlink.recv_from_full()?;
        if take(&bytes, found)? || found.len() >= MAX_SOCKETS {
            return Ok(());
        }
    }
}

fn question(wait: Wait, family: u8) -> Vec<u8> {
    let (protocol, states) = match wait {
        Wait::Tcp => (libc::IPPROTO_TCP, LISTEN),
        Wait::Udp => (libc::IPPROTO_UDP, CLOSE),
    };
    let length = u32::try_from(HEADER + REQUEST).unwrap_or_default();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(DUMP.to_ne_bytes());
    // Sequence and port.
    bytes.extend([0; 8]);
    bytes.extend([family, u8::try_from(protocol).unwrap_or_default(), 0, 0]);
    bytes.extend(states.to_ne_bytes());
    // Any ports and addresses.
    bytes.resize(HEADER + REQUEST, 0);
    bytes
}

/// Takes apart one datagram; `true` when it was the last.
fn take(bytes: &[u8], found: &mut Vec<Socket>) -> io::Result<bool> {
    let mut rest = bytes;
    while let Some(length) = word(rest, 0) {
        let length = usize::try_from(length).unwrap_or(0);
        let Some(message) = rest.get(..length).filter(|_| length >= HEADER) else {
            return Ok(true);
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = message.get(4..).and_then(|kind| kind.first_chunk().copied());
        match kind.map(u16::from_ne_bytes) {
            Some(DONE) => return Ok(true),
            Some(ERROR) => {
                let code = word(message, HEADER).unwrap_or_default().cast_signed();
                return Err(io::Error::from_raw_os_error(code.wrapping_neg()));
            }
            Some(BY_FAMILY) if found.len() < MAX_SOCKETS => {
                found.extend(message.get(HEADER..).and_then(socket));
            }
            _ => {}
        }
    }
    Ok(false)
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..)?.first_chunk().copied()?))
}

/// Reads `struct inet_diag_msg`.
fn socket(message: &[u8]) -> Option<Socket> {
    let family = i32::from(*message.first()?);
    let port = u16::from_be_bytes(message.get(4..)?.first_chunk().copied()?);
    let address: [u8; 16] = message.get(8..)?.first_chunk().copied()?;
    let address = if family == libc::AF_INET {
        let [a, b, c, d, ..] = address;
        IpAddr::V4(Ipv4Addr::new(a, b, c, d))
    } else {
        IpAddr::V6(Ipv6Addr::from(address))
    };
    let rest = message.get(MESSAGE..)?;
    let value = |kind: u16| {
        let mut attributes = NlasIterator::new(rest).filter_map(Result::ok);
        attributes.find(|attribute| attribute.kind() == kind)
    };
    Some(Socket {
        port,
        address,
        is_v6_only: value(V6_ONLY).is_some_and(|only| only.value().first() == Some(&1)),
        queued: word(message, 56)?,
        room: word(message, 60)?,
        link: word(message, 40)?,
        cgroup: value(CGROUP)
            .and_then(|cgroup| cgroup.value().first_chunk().copied().map(u64::from_ne_bytes)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_found_with_its_queue() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let port = listener.local_addr().expect("its address").port();
        let datagrams = std::net::UdpSocket::bind("[::1]:0").expect("a socket");
        let other = datagrams.local_addr().expect("its address").port();
        let all = waiting(Wait::Tcp).expect("sockets");
        let found = all.iter().find(|socket| socket.port == port).expect("the listener");
        assert_eq!((found.address, found.queued), (IpAddr::V4(Ipv4Addr::LOCALHOST), 0));
        assert!(found.room > 0, "{found:?}");
        assert!(found.takes(IpAddr::V4(Ipv4Addr::LOCALHOST)));
        assert!(!found.takes("10.0.0.1".parse().expect("an address")));
        let all = waiting(Wait::Udp).expect("sockets");
        assert!(all.iter().any(|socket| socket.port == other), "{all:?}");
    }

    #[test]
    fn what_a_socket_takes() {
        let bound = |address: &str, is_v6_only| Socket {
            port: 1,
            address: address.parse().expect("an address"),
            is_v6_only,
            queued: 0,
            room: 0,
            link: 0,
            cgroup: None,
        };
        let takes = |socket: Socket, to: &str| socket.takes(to.parse().expect("an address"));
        assert!(takes(bound("::", false), "10.0.0.1") && !takes(bound("::", true), "10.0.0.1"));
        assert!(takes(bound("::", true), "fd00::1") && !takes(bound("0.0.0.0", false), "fd00::1"));
        assert!(takes(bound("::ffff:10.0.0.1", false), "10.0.0.1"));
        assert!(takes(bound("10.0.0.1", false), "10.0.0.1"));
        assert!(!takes(bound("10.0.0.2", false), "10.0.0.1"));
    }

    #[test]
    fn nonsense_ends_the_answer() {
        let mut found = Vec::new();
        for bytes in [vec![], vec![1, 2], vec![4, 0, 0, 0], vec![255; 40], vec![16, 0, 0, 0, 20, 0]]
        {
            assert!(take(&bytes, &mut found).is_ok());
        }
        assert!(found.is_empty());
    }
}
