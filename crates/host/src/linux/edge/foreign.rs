//! Asks a LAN whether frames of a MAC that nobody gave this host come back.
//!
//! An ARP probe (RFC 5227, section 2.1.1: a request whose sender has no address, so that no cache is changed by it) for the
//! LAN's router is sent from a locally administered MAC that was drawn for it. When its answer to that MAC arrives, switch and
//! provider pass both ways what workloads would send and receive. When none does, the same is asked from the link's own MAC,
//! to tell a filter from a router that is silent.
//!
//! **Limits.** Three frames, a second each; while it lasts the link is promiscuous for this socket alone.

use std::fmt;
use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, SendFlags};
use serde::{Deserialize, Serialize};

use crate::network::{Mac, Refusal};

use crate::linux::link;
use crate::linux::netlink::Netlink;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(1);
/// Frames from the foreign MAC; the one from the link's own MAC comes after them.
const FRAMES: usize = 2;
/// The smallest Ethernet frame without its checksum, bytes.
const FRAME_BYTES: usize = 60;
/// `ETH_P_ARP`, `linux/if_ether.h`.
const ARP: u16 = 0x0806;

/// What came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// The answer to the foreign MAC.
    Passes,
    /// Only the one to the link's own MAC: somebody on the way filters.
    Filtered,
    /// None at all: nothing is known.
    Silent,
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passes => "passes",
            Self::Filtered => "filtered",
            Self::Silent => "silent",
        })
    }
}

/// Asks for `target` on a link of the calling thread's namespace.
///
/// # Errors
///
/// [`Refusal`] when there is no such link, or when frames cannot be sent on it.
pub fn ask(name: &str, target: Ipv4Addr) -> Result<Answer, Refusal> {
    let mut netlink = Netlink::open()?;
    let found = link::find(&mut netlink, name)?.ok_or(Refusal::Absent("link"))?;
    let socket = open(found.index)?;
    let foreign = drawn();
    for _ in 0..FRAMES {
        if answered(&socket, foreign, target)? {
            return Ok(Answer::Passes);
        }
    }
    let own = answered(&socket, found.mac, target)?;
    Ok(if own { Answer::Filtered } else { Answer::Silent })
}

/// A MAC with our prefix for LANs that is likely nobody's.
fn drawn() -> Mac {
    let drawn = RandomState::new().build_hasher().finish().to_ne_bytes();
    // The kernel has its own of these for each process, drawn at random.
    Mac([0x02, 0x62, 0x69, drawn[0] | 0xe0, drawn[1], drawn[2]])
}

fn answered(socket: &OwnedFd, from: Mac, target: Ipv4Addr) -> io::Result<bool> {
    rustix::net::send(socket, &request(from, target), SendFlags::empty())?;
    let until = Instant::now() + PATIENCE;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(false);
        }
        let timeout = left.try_into().map_err(io::Error::other)?;
        let mut watched = [PollFd::new(socket, PollFlags::IN)];
        match poll(&mut watched, Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => continue,
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut frame = [0; 1514];
        let (length, _) = match rustix::net::recv(socket, &mut frame[..], RecvFlags::DONTWAIT) {
            Ok(received) => received,
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => continue,
            Err(errno) => return Err(errno.into()),
        };
        if is_answer(frame.get(..length).unwrap_or_default(), from, target) {
            return Ok(true);
        }
    }
}

/// An ARP probe, RFC 5227.
fn request(from: Mac, target: Ipv4Addr) -> [u8; FRAME_BYTES] {
    let mut frame = [0; FRAME_BYTES];
    let parts: [&[u8]; 8] = [
        &[0xff; 6],
        &from.0,
        &ARP.to_be_bytes(),
        // Ethernet, IPv4, their lengths, request (RFC 826).
        &[0, 1, 8, 0, 6, 4, 0, 1],
        &from.0,
        &[0; 4],
        &[0; 6],
        &target.octets(),
    ];
    for (place, byte) in frame.iter_mut().zip(parts.concat()) {
        *place = byte;
    }
    frame
}

/// Whether it is the answer of whoever has `target` to `to`.
fn is_answer(frame: &[u8], to: Mac, target: Ipv4Addr) -> bool {
    frame.get(..6) == Some(&to.0)
        && frame.get(12..22) == Some(&[8, 6, 0, 1, 8, 0, 6, 4, 0, 2])
        && frame.get(28..32) == Some(&target.octets())
}

/// A socket for ARP on one link, which takes frames for every MAC while it is open.
#[expect(unsafe_code, reason = "packet sockets have no safe form here")]
fn open(index: u32) -> io::Result<OwnedFd> {
    let index = i32::try_from(index).map_err(io::Error::other)?;
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    // SAFETY: takes numbers only.
    let raw = unsafe { libc::socket(libc::AF_PACKET, kind, i32::from(ARP.to_be())) };
    if raw < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just given it to us, and to nobody else.
    let socket = unsafe { OwnedFd::from_raw_fd(raw) };
    let address = libc::sockaddr_ll {
        sll_family: u16::try_from(libc::AF_PACKET).map_err(io::Error::other)?,
        sll_protocol: ARP.to_be(),
        sll_ifindex: index,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    // SAFETY: the pointer and the length are those of `address`, which outlives the call.
    let bound =
        unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), length_of(&address)) };
    if bound < 0 {
        return Err(io::Error::last_os_error());
    }
    let wanted = libc::packet_mreq {
        mr_ifindex: index,
        mr_type: u16::try_from(libc::PACKET_MR_PROMISC).map_err(io::Error::other)?,
        mr_alen: 0,
        mr_address: [0; 8],
    };
    // SAFETY: the pointer and the length are those of `wanted`, which outlives the call.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_PACKET,
            libc::PACKET_ADD_MEMBERSHIP,
            (&raw const wanted).cast(),
            length_of(&wanted),
        )
    };
    if set < 0 { Err(io::Error::last_os_error()) } else { Ok(socket) }
}

fn length_of<T>(value: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(value)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_claims_no_address_and_its_answer_is_known() {
        let mac = Mac([2, 0x62, 0x69, 0xe1, 2, 3]);
        let router = Ipv4Addr::new(192, 168, 1, 1);
        let frame = request(mac, router);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[6..12], mac.0);
        assert_eq!(frame[22..28], mac.0);
        assert_eq!(frame[28..32], [0; 4], "the sender has no address");
        assert_eq!(frame[38..42], router.octets());
        assert!(!is_answer(&frame, mac, router), "the question is no answer");
        let mut answer = frame;
        answer[..6].copy_from_slice(&mac.0);
        answer[21] = 2;
        answer[28..32].copy_from_slice(&router.octets());
        assert!(is_answer(&answer, mac, router));
        assert!(!is_answer(&answer, Mac([2; 6]), router), "to somebody else");
        assert!(!is_answer(&answer, mac, Ipv4Addr::new(192, 168, 1, 2)), "from somebody else");
        assert!(!is_answer(&answer[..30], mac, router), "cut off");
        assert!(drawn().is_ours() && drawn().0[3] >= 0xe0);
    }
}
