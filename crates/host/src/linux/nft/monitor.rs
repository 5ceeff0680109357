//! Who changes our table: the kernel tells every committed transaction, object by object, and at its end the process that
//! committed it (`nf_tables_gen_notify` in `net/netfilter/nf_tables_api.c`: pid and name since Linux 4.14).
//!
//! Only what concerns the table `inet bulkhead` is told on, with who it was. The agent's own changes may be among it: whoever is told looks
//! whether there is anything to repair. What was lost because too much was told at once counts as a change by nobody known.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NlasIterator;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use super::TABLE;

/// `NFNLGRP_NFTABLES`, `linux/netfilter/nfnetlink.h`.
const GROUP: u32 = 7;
/// `NFNL_SUBSYS_NFTABLES`.
const SUBSYSTEM: u16 = 10;
/// `NFT_MSG_*`, `linux/netfilter/nf_tables.h`: tables, chains and rules that come or go, and the end of a transaction.
const OBJECTS: [u16; 6] = [0, 2, 3, 5, 6, 8];
const NEW_GENERATION: u16 = 15;
/// The name of the table, in all of [`OBJECTS`].
const TABLE_NAME: u16 = 1;
/// `NFTA_GEN_PROC_PID` and `NFTA_GEN_PROC_NAME`.
const PROCESS_ID: u16 = 2;
const PROCESS_NAME: u16 = 3;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// `struct nlmsghdr`, then `struct nfgenmsg`, bytes.
const HEADER: usize = 16;
const MESSAGE: usize = HEADER + 4;
/// The kernel's name of a process, with its end, bytes.
const NAME: usize = 16;

/// Somebody changed our table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touch {
    /// The process, by its number in the first namespace of processes; `None` when the kernel did not tell.
    pub pid: Option<u32>,
    /// Its name, at most 15 bytes; any byte that is no printable ASCII is `?`.
    pub process: Option<String>,
    /// The name of the process that started it, when both were still there to be asked.
    pub parent: Option<String>,
}

impl fmt::Display for Touch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let process = self.process.as_deref().unwrap_or("somebody");
        write!(f, "`{process}`")?;
        if let Some(pid) = self.pid {
            write!(f, " (process {pid})")?;
        }
        match &self.parent {
            Some(parent) => write!(f, ", started by `{parent}`"),
            None => Ok(()),
        }
    }
}

/// Hears of changes of our table in one namespace.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    /// Whether the transaction that is being told concerns our table.
    concerns: bool,
}

impl Monitor {
    /// Opens one in the calling thread's namespace.
    ///
    /// # Errors
    ///
    /// The system's answer, such as that the kernel has no nftables.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(GROUP)?;
        socket.set_non_blocking(true)?;
        Ok(Self { socket, concerns: false })
    }

    /// Reads all that was told so far; the last change of our table among it. To be called when [`AsFd`] can be read.
    ///
    /// # Errors
    ///
    /// The system's answer.
    pub fn read(&mut self) -> io::Result<Option<Touch>> {
        let mut last = None;
        loop {
            match self.socket.recv_from_full() {
                Ok((bytes, _)) => last = self.take(&bytes).and_then(by_others).or(last),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(last),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    self.concerns = false;
                    last = Some(Touch::default());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes apart one datagram.
    fn take(&mut self, bytes: &[u8]) -> Option<Touch> {
        let mut last = None;
        let mut rest = bytes;
        while let Some((kind, body)) = message(&mut rest) {
            if kind == NEW_GENERATION {
                let touch = touch(body);
                if std::mem::take(&mut self.concerns) {
                    last = Some(touch);
                }
            } else if OBJECTS.contains(&kind) && is_ours(body) {
                self.concerns = true;
            }
        }
        last
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The next message of nftables: its kind, and its bytes after `struct nlmsghdr`. Others are skipped.
fn message<'b>(rest: &mut &'b [u8]) -> Option<(u16, &'b [u8])> {
    loop {
        let length = u32::from_ne_bytes(rest.first_chunk().copied()?);
        let length = usize::try_from(length).ok().filter(|length| *length >= MESSAGE)?;
        let message = rest.get(..length)?;
        *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        let kind = u16::from_ne_bytes(message.get(4..)?.first_chunk().copied()?);
        if kind >> 8 == SUBSYSTEM {
            return Some((kind & 0xff, message.get(HEADER..)?));
        }
    }
}

/// Whether an object belongs to our table.
fn is_ours(body: &[u8]) -> bool {
    body.first() == Some(&INET)
        && attribute(body, TABLE_NAME)
            .is_some_and(|name| name.strip_suffix(&[0]).unwrap_or(&name) == TABLE.as_bytes())
}

fn touch(body: &[u8]) -> Touch {
    let pid = attribute(body, PROCESS_ID).and_then(|pid| pid.first_chunk().copied());
    let name = attribute(body, PROCESS_NAME).map(|name| {
        let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
        shown(name.get(..end).unwrap_or_default())
    });
    Touch { pid: pid.map(u32::from_be_bytes), process: name, parent: None }
}

/// The same with who started the process; `None` when that is the agent itself.
fn by_others(mut touch: Touch) -> Option<Touch> {
    let parent = touch.pid.and_then(parent);
    if parent == Some(std::process::id()) {
        return None;
    }
    touch.parent = parent.and_then(|pid| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        Some(shown(name.trim_end().as_bytes()))
    });
    Some(touch)
}

/// Who started a process; proc(5), `stat`: the name stands in brackets and may hold anything.
fn parent(pid: u32) -> Option<u32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 1..)?).ok()?;
    rest.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// At most as long as the kernel keeps a name.
fn shown(name: &[u8]) -> String {
    let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '?' };
    name.iter().take(NAME).map(shown).collect()
}

fn attribute(body: &[u8], kind: u16) -> Option<Vec<u8>> {
    let attributes = body.get(MESSAGE - HEADER..)?;
    let mut all = NlasIterator::new(attributes).map_while(Result::ok);
    all.find(|attribute| attribute.kind() == kind).map(|attribute| attribute.value().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(kind: u16, family: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = vec![family, 0, 0, 0];
        for (kind, value) in attributes {
            let length = u16::try_from(4 + value.len()).expect("short");
            body.extend(length.to_ne_bytes());
            body.extend(kind.to_ne_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let length = u32::try_from(HEADER + body.len()).expect("short");
        let mut bytes = length.to_ne_bytes().to_vec();
        bytes.extend((SUBSYSTEM << 8 | kind).to_ne_bytes());
        bytes.resize(HEADER, 0);
        bytes.extend(body);
        bytes
    }

    fn monitor() -> Option<Monitor> {
        Monitor::open().ok()
    }

    #[test]
    fn a_flush_is_told_with_who_did_it() {
        let Some(mut monitor) = monitor() else { return };
        let end: &[(u16, &[u8])] = &[(1, &[0, 0, 0, 9]), (2, &[0, 0, 18, 103]), (3, b"nft\0")];
        let gone = told(2, INET, &[(1, b"bulkhead\0")]);
        let all = [gone, told(15, 0, end)].concat();
        let touch = monitor.take(&all).expect("a change");
        assert_eq!((touch.pid, touch.process.as_deref()), (Some(4711), Some("nft")));
        // What others do to their own is nobody's business here.
        let others = [told(2, INET, &[(1, b"filter\0")]), told(15, 0, end)].concat();
        assert_eq!(monitor.take(&others), None);
        let same_name = [told(2, 2, &[(1, b"bulkhead\0")]), told(15, 0, end)].concat();
        assert_eq!(monitor.take(&same_name), None, "of another family");
        // A transaction may come in several datagrams.
        assert_eq!(monitor.take(&told(8, INET, &[(1, b"bulkhead\0")])), None);
        assert!(monitor.take(&told(15, 0, end)).is_some());
    }

    #[test]
    fn nonsense_is_nothing_and_a_hostile_name_is_shown_as_text() {
        let Some(mut monitor) = monitor() else { return };
        for bytes in [vec![], vec![1; 3], vec![0; 40], vec![255; 64], vec![16, 0, 0, 0, 15, 10]] {
            assert_eq!(monitor.take(&bytes), None, "{bytes:?}");
        }
        let touch = touch(&told(15, 0, &[(3, b"a\x1b[31m b\0")])[HEADER..]);
        assert_eq!(touch.process.as_deref(), Some("a?[31m?b"));
    }
}
