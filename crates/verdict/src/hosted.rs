//! An endpoint that shares the host's stack: its hooks are those of its cgroup (docs/adr/0022-host-mode.md).
//!
//! The host's addresses tell such endpoints neither from each other nor from the host. Who is at an end is told by the socket: the
//! hook's own by its cgroup, the other one, when it is on this host, by asking for the socket that holds it. The tables have an address of its
//! own for each such endpoint ([`Addr::hosted`]), which takes the place of the host's in the packet's header; from there on it is an
//! endpoint as any other, and a flow between two of them is judged once, where it is sent.
//!
//! **Order.** Packets are judged by [`at_cgroup`] alone. [`at_connect`] and [`at_bind`] come earlier and refuse what cannot pass, so that a
//! program is told at once; what they let pass is judged as ever.

use crate::abi::{Addr, Endpoint, EventKind, FlowKey, Ports, Posture, Verdict};
use crate::flow::{Asked, key, met, parse};
use crate::judge::{self, Judgement, Question};
use crate::packet::{ETHERNET, Fragment, Frame, IPV4, IPV6, Packet, Socket, protocol};
use crate::report::{describe, refuse};
use crate::step::STOP;
use crate::uplink::{Kind, decide_whose};
use crate::work::Work;
use crate::{Action, Env, Reason, Step, tcp};

/// A source port that stands for those that the kernel chooses (RFC 6335 §6).
const EPHEMERAL: u16 = 49_152;

/// What a program asks of its socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// To whom, or what it binds.
    pub to: Socket,
    /// The port that the socket is bound to; 0 when it is not.
    pub bound: u16,
    /// The IP protocol number.
    pub protocol: u8,
}

/// Decides on a packet that a socket of endpoint `number` sends or is to receive. Bytes are counted as if an Ethernet header came first.
#[inline(always)]
pub fn at_cgroup<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    number: u32,
    sent: bool,
    work: &mut Work,
) -> Action {
    if met(env, number, sent, work).is_none() || !work.hook.hosted {
        return Action::Drop(Reason::UnknownEndpoint);
    }
    decide_whose(env, packet, Step::Hosted, work)
}

/// The step of [`at_cgroup`]: reads the headers and puts the endpoints in the place of the host's addresses.
///
/// What an endpoint sends to itself is not judged, as in a namespace of its own.
#[inline(always)]
pub(crate) fn ends<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
) -> Result<Kind, Reason> {
    let [first] = packet.load::<1>(ETHERNET).ok_or(Reason::Malformed)?;
    let ethertype = if first >> 4 == 4 { IPV4 } else { IPV6 };
    work.frame = Frame { ethertype, ..Frame::default() };
    parse(env, packet, work)?;
    let header = &work.header;
    // Nobody has such an address: it is how the tables tell endpoints.
    if header.source.is_hosted() || header.target.is_hosted() {
        return Err(Reason::SpoofedAddress);
    }
    if is_near(header.source) || is_near(header.target) {
        return Err(Reason::LocalScope);
    }
    let own = work.hook.endpoint;
    let other = if packet.stays() { other_end(env, packet, work) } else { 0 };
    if other == own {
        return Ok(Kind::Other);
    }
    let sent = work.hook.sent;
    let header = &mut work.header;
    let (near, far) = if sent {
        (&mut header.source, &mut header.target)
    } else {
        (&mut header.target, &mut header.source)
    };
    *near = Addr::hosted_at(own, *near);
    if other != 0 {
        *far = Addr::hosted_at(other, *far);
    }
    Ok(Kind::Host)
}

/// What is not routed: groups and link-local addresses.
#[inline(always)]
fn is_near(addr: Addr) -> bool {
    addr.is_group() || addr.is_link_local()
}

/// The endpoint of the same network that has the socket at the other end; 0 when it is somebody else's.
///
/// Sockets that are closed may have a last word to say or to hear: whose those were is remembered from the first packet.
#[inline(never)]
fn other_end<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> u32 {
    let header = &work.header;
    if header.fragment != Fragment::Whole
        || !matches!(header.protocol, protocol::TCP | protocol::UDP)
    {
        return 0;
    }
    let source = Socket { addr: header.source, port: header.ports.source };
    let target = Socket { addr: header.target, port: header.ports.target };
    let (near, far) = if work.hook.sent { (source, target) } else { (target, source) };
    let found = packet.holder(near, far, header.protocol);
    let tcp = header.protocol == protocol::TCP;
    let opens = tcp && work.hook.sent && tcp::opens(header);
    let other = if tcp && (opens || found.is_none()) {
        let asked = Asked {
            source: &near.addr,
            target: &far.addr,
            ports: Ports { source: near.port, target: far.port },
        };
        let high_near = key(0, header.protocol, &asked, &mut work.key);
        remembered(env, &work.key, high_near, work.hook.endpoint, found.filter(|_| opens))
    } else {
        found.unwrap_or(0)
    };
    let here = work.hook.network;
    let is_peer = env
        .endpoint(other)
        .is_some_and(|end| end.network == here && end.flags & Endpoint::HOSTED != 0);
    if is_peer { other } else { 0 }
}

/// Remembers whose the far end is when that is told; else who it was.
#[inline(always)]
fn remembered<E: Env>(env: &E, key: &FlowKey, high_near: bool, near: u32, far: Option<u32>) -> u32 {
    if let Some(far) = far {
        let (low, high) = if high_near { (far, near) } else { (near, far) };
        env.remember_pair(key, u64::from(low) | u64::from(high) << 32);
        return far;
    }
    half(env.pair(key), !high_near)
}

/// The low or the high half of a pair.
#[expect(clippy::cast_possible_truncation, reason = "a half is what is wanted")]
const fn half(pair: u64, high: bool) -> u32 {
    if high { (pair >> 32) as u32 } else { pair as u32 }
}

/// Decides whether a socket of endpoint `number` may be connected, or a datagram sent that names its target.
///
/// Refused is what opens a flow that policy drops. What is not known yet is left to the packets: which endpoint answers on this host,
/// and whether a socket that is bound answers somebody.
#[inline(always)]
pub fn at_connect<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    number: u32,
    call: &Call,
    work: &mut Work,
) -> Action {
    if met(env, number, true, work).is_none() || !work.hook.hosted {
        return Action::Drop(Reason::UnknownEndpoint);
    }
    let to = call.to.addr;
    let answers = call.bound != 0 && call.protocol != protocol::TCP;
    if answers || is_near(to) || to == Addr::UNSPECIFIED {
        return Action::Pass;
    }
    note(call, number, work);
    if judge::is_host(env, work.hook.network, to, work.hook.epoch) {
        return Action::Pass;
    }
    if env.step(Step::Judge, packet, work) != STOP {
        return Action::Pass;
    }
    // A rule may be for the ports that the kernel will choose from.
    if call.bound == 0 {
        work.question.ports.source = EPHEMERAL;
        if env.step(Step::Judge, packet, work) != STOP {
            return Action::Pass;
        }
    }
    let reason = work.judgement.reason;
    refuse(env, packet, work, reason)
}

/// Writes what is asked where packets have their headers.
#[inline(always)]
fn note(call: &Call, number: u32, work: &mut Work) {
    let v4 = call.to.addr.is_v4();
    work.frame = Frame { ethertype: if v4 { IPV4 } else { IPV6 }, ..Frame::default() };
    let any = if v4 { Addr::v4([0; 4]) } else { Addr::UNSPECIFIED };
    let header = &mut work.header;
    header.source = Addr::hosted_at(number, any);
    header.target = call.to.addr;
    header.ports = Ports { source: call.bound, target: call.to.port };
    header.protocol = call.protocol;
    work.question = Question {
        source: header.source,
        target: header.target,
        network: work.hook.network,
        ports: header.ports,
        protocol: call.protocol,
    };
}

/// Decides whether a socket of endpoint `number` may be bound to a port: one that the kernel chooses, or one that a rule
/// opens to anybody. A posture that lets in, or an audit, lets bind.
#[inline(always)]
pub fn at_bind<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    number: u32,
    call: &Call,
    work: &mut Work,
) -> Action {
    let Some(endpoint) = met(env, number, false, work) else {
        return Action::Drop(Reason::UnknownEndpoint);
    };
    if !work.hook.hosted {
        return Action::Drop(Reason::UnknownEndpoint);
    }
    if call.to.port == 0 {
        return Action::Pass;
    }
    let version = (work.hook.epoch & 1) as usize;
    if endpoint.posture[version & 1][1] != Posture::Deny as u8 {
        return Action::Pass;
    }
    let slot = endpoint.slots[version & 1][1];
    note(call, number, work);
    core::mem::swap(&mut work.header.source, &mut work.header.target);
    if judge::may_bind(env, slot, &work.question) {
        return Action::Pass;
    }
    work.judgement = Judgement { ingress: true, ..Judgement::default() };
    work.judgement.reason = Reason::PortNotOpen;
    work.judgement.verdict = Verdict::Drop;
    describe(work, EventKind::Drop);
    env.step(Step::Report, packet, work);
    Action::Drop(Reason::PortNotOpen)
}

/// What stands in the tables for addresses of the host.
impl Addr {
    /// What stands in the tables for every address of an endpoint that shares the host's stack: `100::<number>/80`, of the discard-only
    /// prefix (RFC 6666), which nobody has. The host's addresses would not tell such endpoints apart.
    #[must_use]
    pub const fn hosted(number: u32) -> Self {
        Self([0x0100_0000_u32.to_be(), 0, (number << 16).to_be(), 0])
    }

    /// The same of one of its addresses: two flows that differ in nothing but the host's address are two flows.
    #[must_use]
    pub const fn hosted_at(number: u32, address: Self) -> Self {
        let w = address.words();
        let (family, low) = if address.is_v4() {
            (0xffff, w[3])
        } else {
            let (high, low) = (w[0] ^ w[2], w[1] ^ w[3]);
            ((high ^ high >> 16) & 0x7fff, low)
        };
        Self([0x0100_0000_u32.to_be(), 0, (number << 16 | family).to_be(), low.to_be()])
    }

    /// Whether it is one of [`Addr::hosted`].
    #[must_use]
    pub const fn is_hosted(self) -> bool {
        self.0[0] == 0x0100_0000_u32.to_be() && self.0[1] == 0
    }

    /// The number of the endpoint that it stands for, and of an IPv4 address that address.
    #[must_use]
    pub const fn host_of(self) -> Option<(u32, Option<[u8; 4]>)> {
        if !self.is_hosted() {
            return None;
        }
        let w = self.words();
        let v4 = if w[2] & 0xffff == 0xffff { Some(w[3].to_be_bytes()) } else { None };
        Some((w[2] >> 16, v4))
    }
}
