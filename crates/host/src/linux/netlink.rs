//! One netlink route socket: requests that are acknowledged, and dumps.
//!
//! The socket belongs to the namespace in which it was opened, for ever and from any thread; see
//! [`NetNs::run`](super::netns::NetNs::run). Messages are built and read by netlink-packet-route.
//! The kernel answers before `send` returns, so nothing here waits for long and nothing is async.

use std::{io, iter};

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload, NlasIterator,
};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::network::Refusal;

use super::netns::NetNs;

/// The kernel fills at most 32 KiB of one datagram of a dump (`netlink_dump`).
const BUFFER_BYTES: usize = 64 << 10;

/// `NLMSGERR_ATTR_MSG` of linux/netlink.h: the text of an extended acknowledgement.
const EXTENDED_ACK_TEXT: u16 = 1;

/// Length of `struct nlmsghdr`, which precedes the attributes of an acknowledgement.
const HEADER_BYTES: usize = 16;

/// How often a dump is asked for that was not consistent: something came or went while the kernel wrote it.
const DUMPS: usize = 8;

/// A netlink route socket of one namespace.
#[derive(Debug)]
pub struct Netlink {
    socket: Socket,
    sequence: u32,
    buffer: Vec<u8>,
    /// The answer to the last request is not consistent, `NLM_F_DUMP_INTR` of linux/netlink.h.
    is_torn: bool,
}

impl Netlink {
    /// Opens a socket in the calling thread's namespace.
    ///
    /// # Errors
    ///
    /// The system's answer.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_cap_ack(true)?;
        socket.set_ext_ack(true)?;
        // Kernels before 4.20 cannot filter dumps; what they send too much is dropped here.
        drop(socket.set_netlink_get_strict_chk(true));
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0, buffer: Vec::with_capacity(BUFFER_BYTES), is_torn: false })
    }

    /// Opens a socket in `ns`.
    ///
    /// # Errors
    ///
    /// The system's answer.
    pub fn open_in(ns: &NetNs) -> io::Result<Self> {
        ns.visit(Self::open).map_err(super::netns::NetNsError::into_io)?
    }

    /// Sends one request and waits for its acknowledgement. `flags` such as `NLM_F_CREATE` are
    /// added to `NLM_F_REQUEST` and `NLM_F_ACK`.
    ///
    /// # Errors
    ///
    /// [`Refusal::Errno`] with the kernel's explanation.
    pub fn request(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Refusal> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK | flags)?;
        let mut answer = Vec::new();
        self.receive(&mut answer)
    }

    /// Sends one query without dump and returns the answers.
    ///
    /// # Errors
    ///
    /// [`Refusal::Errno`] with the kernel's explanation.
    pub fn query(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        self.send(message, NLM_F_REQUEST | NLM_F_ACK)?;
        let mut answers = Vec::new();
        self.receive(&mut answers)?;
        Ok(answers)
    }

    /// Asks for all objects of a kind, as they were at one moment: what changes meanwhile is asked for again.
    ///
    /// # Errors
    ///
    /// [`Refusal::Errno`] with the kernel's explanation; [`Refusal::Answer`] when they changed each time.
    pub fn dump(
        &mut self,
        message: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        for message in iter::repeat_n(message, DUMPS) {
            self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
            let mut answers = Vec::new();
            self.receive(&mut answers)?;
            if !self.is_torn {
                return Ok(answers);
            }
        }
        Err(Refusal::Answer(format!("it changed each of the {DUMPS} times that it was read")))
    }

    /// Asks for all objects of a kind where somebody else may have made any number of them: `keep` gets each as it comes and
    /// says whether it wants more; the rest is neither received nor decoded. So the socket is of no use afterwards. What comes and goes
    /// meanwhile may be left out.
    ///
    /// # Errors
    ///
    /// [`Refusal::Errno`] with the kernel's explanation.
    pub fn dump_while(
        mut self,
        message: RouteNetlinkMessage,
        mut keep: impl FnMut(RouteNetlinkMessage) -> bool,
    ) -> Result<(), Refusal> {
        self.send(message, NLM_F_REQUEST | NLM_F_DUMP)?;
        self.receive_while(&mut keep)
    }

    fn send(&mut self, message: RouteNetlinkMessage, flags: u16) -> Result<(), Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        self.is_torn = false;
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        header.sequence_number = self.sequence;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(message));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;
        Ok(())
    }

    /// Reads until the acknowledgement, the error or the end of the dump of the last request.
    fn receive(&mut self, answers: &mut Vec<RouteNetlinkMessage>) -> Result<(), Refusal> {
        self.receive_while(&mut |answer| {
            answers.push(answer);
            true
        })
    }

    /// As [`Self::receive`], or until `keep` wants no more.
    fn receive_while(
        &mut self,
        keep: &mut dyn FnMut(RouteNetlinkMessage) -> bool,
    ) -> Result<(), Refusal> {
        loop {
            self.buffer.clear();
            self.socket.recv(&mut self.buffer, 0)?;
            if self.buffer.is_empty() {
                return Err(Refusal::Answer("the socket was closed".to_owned()));
            }
            if self.drain(keep)? {
                return Ok(());
            }
        }
    }

    /// Takes apart one datagram; `true` when the answer is complete, or enough.
    fn drain(
        &mut self,
        keep: &mut dyn FnMut(RouteNetlinkMessage) -> bool,
    ) -> Result<bool, Refusal> {
        let mut rest = self.buffer.as_slice();
        while let Some(length) = message_length(rest) {
            let (bytes, tail) = rest.split_at(length.min(rest.len()));
            rest = tail;
            // An object of a kind this code does not know, on a link that is not ours.
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else {
                tracing::debug!(bytes = bytes.len(), "skipped a netlink message");
                continue;
            };
            if message.header.sequence_number != self.sequence {
                continue;
            }
            self.is_torn |= message.header.flags & NLM_F_DUMP_INTR != 0;
            match message.payload {
                NetlinkPayload::Done(done) => return ended(-done.code).map(|()| true),
                NetlinkPayload::InnerMessage(inner) => {
                    let goes_on = keep(inner);
                    if !goes_on {
                        return Ok(true);
                    }
                }
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                NetlinkPayload::Error(error) => {
                    let explanation = explanation(&error.header);
                    return Err(Refusal::Errno { errno: error.to_io(), explanation });
                }
                _ => {}
            }
        }
        Ok(false)
    }
}

/// What the end of a dump says. A table that is not there and a family that this kernel lacks have nothing in them.
fn ended(errno: i32) -> Result<(), Refusal> {
    match errno {
        ..=0 | libc::ENOENT | libc::EOPNOTSUPP => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno).into()),
    }
}

/// The aligned length of the message at the front; `None` at the end of the datagram.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let length = u32::from_ne_bytes(bytes.first_chunk().copied()?);
    let length = usize::try_from(length).ok().filter(|length| *length >= HEADER_BYTES)?;
    Some(length.next_multiple_of(4))
}

/// The kernel's text in an acknowledgement that carries only the request's header.
fn explanation(payload: &[u8]) -> String {
    let attributes = payload.get(HEADER_BYTES..).unwrap_or_default();
    let text = NlasIterator::new(attributes)
        .filter_map(Result::ok)
        .find(|attribute| attribute.kind() == EXTENDED_ACK_TEXT)
        .map(|attribute| String::from_utf8_lossy(attribute.value()).into_owned());
    text.unwrap_or_default().trim_end_matches('\0').to_owned()
}
