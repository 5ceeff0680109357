//! The generation of a namespace's nftables: a number that every transaction changes, whoever commits it.
//!
//! Asking for it is one short question by netlink (`NFT_MSG_GETGEN`, `net/netfilter/nf_tables_api.c`),
//! listing a table is a run of `nft`. So the table is listed when the number is another than before the last listing.
//! Whether our table is there at all is as short a question (`NFT_MSG_GETTABLE`). These two are the only messages of that protocol
//! that we speak ourselves: one attribute out or back (ADR 0010).

use std::io;

use netlink_packet_core::NlasIterator;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

use crate::linux::netns::{NetNs, NetNsError};

use super::TABLE;

/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_GETGEN`, `linux/netfilter/nf_tables.h`.
const GET: u16 = 10 << 8 | 16;
/// `NFNL_SUBSYS_NFTABLES` and `NFT_MSG_NEWGEN`.
const NEW: u16 = 10 << 8 | 15;
/// `NFT_MSG_GETTABLE` and `NFT_MSG_NEWTABLE`.
const GET_TABLE: u16 = 10 << 8 | 1;
const NEW_TABLE: u16 = 10 << 8;
/// `NFTA_TABLE_NAME`.
const TABLE_NAME: u16 = 1;
/// `NFPROTO_INET`.
const INET: u8 = 1;
/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `NFTA_GEN_ID`: the generation, big-endian.
const ID: u16 = 1;
/// `struct nlmsghdr`, then `struct nfgenmsg`, bytes.
const HEADER: usize = 16;
const MESSAGE: usize = HEADER + 4;

/// Asks for the generation of one namespace.
#[derive(Debug)]
pub(crate) struct Generations {
    socket: Socket,
    sequence: u32,
}

impl Generations {
    /// Opens a socket in `ns`.
    ///
    /// # Errors
    ///
    /// The system's answer.
    pub(crate) fn open_in(ns: &NetNs) -> io::Result<Self> {
        let open = || -> io::Result<Socket> {
            let mut socket = Socket::new(NETLINK_NETFILTER)?;
            socket.bind_auto()?;
            socket.connect(&SocketAddr::new(0, 0))?;
            Ok(socket)
        };
        let socket = ns.visit(open).map_err(NetNsError::into_io)??;
        Ok(Self { socket, sequence: 0 })
    }

    /// The number of the ruleset that is in force now.
    ///
    /// # Errors
    ///
    /// The kernel's answer, such as that it has no nftables.
    pub(crate) fn read(&mut self) -> io::Result<u32> {
        self.ask(question, answer)
    }

    /// Whether our table is there.
    ///
    /// # Errors
    ///
    /// The kernel's answer, such as that it has no nftables.
    pub(crate) fn has_table(&mut self) -> io::Result<bool> {
        self.ask(table_question, table_answer)
    }

    fn ask<T>(
        &mut self,
        question: impl FnOnce(u32) -> Vec<u8>,
        answer: impl Fn(&[u8], u32) -> Option<io::Result<T>>,
    ) -> io::Result<T> {
        self.sequence = self.sequence.wrapping_add(1);
        self.socket.send(&question(self.sequence), 0)?;
        loop {
            let (bytes, _) = self.socket.recv_from_full()?;
            if let Some(answer) = answer(&bytes, self.sequence) {
                return answer;
            }
        }
    }
}

/// Asks for our table by its name.
fn table_question(sequence: u32) -> Vec<u8> {
    let mut bytes = question(sequence);
    let name = [TABLE.as_bytes(), &[0]].concat();
    let length = u16::try_from(4 + name.len()).unwrap_or_default();
    bytes.extend(length.to_ne_bytes());
    bytes.extend(TABLE_NAME.to_ne_bytes());
    bytes.extend(name);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    let total = u32::try_from(bytes.len()).unwrap_or_default().to_ne_bytes();
    let kind = GET_TABLE.to_ne_bytes();
    for (to, from) in bytes.iter_mut().zip(total.into_iter().chain(kind)) {
        *to = from;
    }
    if let Some(family) = bytes.get_mut(HEADER) {
        *family = INET;
    }
    bytes
}

/// Whether a datagram says that the table is there.
fn table_answer(bytes: &[u8], sequence: u32) -> Option<io::Result<bool>> {
    let word = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
    let kind = u16::from_ne_bytes(bytes.get(4..)?.first_chunk().copied()?);
    if word(8)? != sequence {
        return None;
    }
    match kind {
        NEW_TABLE => Some(Ok(true)),
        ERROR => match word(HEADER)?.cast_signed() {
            code if code == -libc::ENOENT => Some(Ok(false)),
            code => Some(Err(io::Error::from_raw_os_error(-code))),
        },
        _ => None,
    }
}

fn question(sequence: u32) -> Vec<u8> {
    let length = u32::try_from(MESSAGE).unwrap_or_default();
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(GET.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    // No port; any family, version 0, no resource.
    bytes.resize(MESSAGE, 0);
    bytes
}

/// What a datagram says to question `sequence`; `None` when it is about something else.
fn answer(bytes: &[u8], sequence: u32) -> Option<io::Result<u32>> {
    let word = |at: usize| bytes.get(at..)?.first_chunk().copied().map(u32::from_ne_bytes);
    let kind = u16::from_ne_bytes(bytes.get(4..)?.first_chunk().copied()?);
    if word(8)? != sequence {
        return None;
    }
    if kind == ERROR {
        let code = word(HEADER)?.cast_signed();
        return Some(Err(io::Error::from_raw_os_error(-code)));
    }
    let length = usize::try_from(word(0)?).ok()?;
    let attributes = bytes.get(MESSAGE..length).filter(|_| kind == NEW)?;
    let id = NlasIterator::new(attributes).filter_map(Result::ok).find(|nla| nla.kind() == ID)?;
    let id = id.value().first_chunk().copied().map(u32::from_be_bytes);
    Some(id.ok_or_else(|| io::ErrorKind::InvalidData.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer of a kernel 6.18: generation 7, made by `nft`, process 4711.
    fn from_kernel(sequence: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(48_u32.to_ne_bytes());
        bytes.extend(NEW.to_ne_bytes());
        bytes.extend(0_u16.to_ne_bytes());
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend(0_u32.to_ne_bytes());
        bytes.extend([0, 0, 0, 7]);
        for (kind, value) in [(1_u16, [0, 0, 0, 7]), (2, [0, 0, 18, 103]), (3, *b"nft\0")] {
            bytes.extend(8_u16.to_ne_bytes());
            bytes.extend(kind.to_ne_bytes());
            bytes.extend(value);
        }
        let length = u32::try_from(bytes.len()).expect("short");
        for (to, from) in bytes.iter_mut().zip(length.to_ne_bytes()) {
            *to = from;
        }
        bytes
    }

    #[test]
    fn the_number_is_found_among_the_attributes() {
        let bytes = from_kernel(3);
        assert_eq!(answer(&bytes, 3).expect("for us").expect("a number"), 7);
        assert!(answer(&bytes, 4).is_none(), "an answer to another question");
        assert!(answer(&bytes[..30], 3).is_none(), "cut off");
    }

    #[test]
    fn a_table_that_is_gone_is_told_from_a_refusal() {
        let asked = table_question(5);
        assert_eq!((asked.len(), asked[16]), (36, INET));
        assert_eq!(&asked[..4], 36_u32.to_ne_bytes());
        assert_eq!(&asked[24..33], b"bulkhead\0");
        let mut bytes = question(5);
        bytes[4..6].copy_from_slice(&NEW_TABLE.to_ne_bytes());
        assert!(table_answer(&bytes, 5).expect("for us").expect("an answer"));
        bytes[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        bytes[16..20].copy_from_slice(&(-libc::ENOENT).to_ne_bytes());
        assert!(!table_answer(&bytes, 5).expect("for us").expect("an answer"));
        bytes[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        assert!(table_answer(&bytes, 5).expect("for us").is_err());
        assert!(table_answer(&bytes, 6).is_none());
    }

    #[test]
    fn a_refusal_is_told() {
        let mut bytes = question(9);
        bytes[4..6].copy_from_slice(&ERROR.to_ne_bytes());
        bytes[16..20].copy_from_slice(&(-libc::EPERM).to_ne_bytes());
        let refused = answer(&bytes, 9).expect("for us").expect_err("refused");
        assert_eq!(refused.raw_os_error(), Some(libc::EPERM));
    }
}
