//! The host at its uplinks: which packets are its own, and what can be turned off by nobody (docs/adr/0021-host-policy.md).
//!
//! The programs are turned round: what enters at an uplink is what the host receives. A packet whose end on this side is no address of the
//! host is only forwarded, and is not judged here. What is sent to a group or to everybody is sent to the host.
//!
//! **Order.** Whose it is comes before whether it is sound: what is only forwarded is not ours to refuse.
//! **Missing entries.** Where the tables have lost who the host is, everything counts as the host's: what was established goes on,
//! nothing new begins.

use crate::abi::{
    Addr, Endpoint, FlowEntry, FlowState, HOST_ENDPOINT, HOST_IDENTITY, HOST_NETWORK, HOST_TENANT,
    Peer, PeerKey, Verdict, Window,
};
use crate::flow::{decide, enter, framed, met, parse, pass};
use crate::judge::Judgement;
use crate::packet::{ARP, ETHERNET, Fragment, Header, IPV4, IPV6, IcmpRole, Packet, protocol};
use crate::report::{refuse, reject};
use crate::step::{GO_BY, GO_NOWHERE, GO_ON};
use crate::work::{Hook, Work};
use crate::{Action, Env, Reason, Step, sctp, tcp};

const DHCP: [u16; 2] = [67, 68];
const DHCP6: [u16; 2] = [547, 546];
const IGMP: u8 = 2;
/// `ICMPv4` type 3 code 4, "fragmentation needed" (RFC 1191).
const FRAGMENTATION_NEEDED: u16 = 3 << 8 | 4;
/// `ICMPv6` type 2, "packet too big" (RFC 4443 §3.2).
const TOO_BIG: u16 = 2;
/// Multicast listener queries and reports (RFC 2710, RFC 3810).
const LISTENERS: [u16; 4] = [130, 131, 132, 143];

/// What becomes of a packet at an uplink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// It is the host's: policy is asked.
    Host,
    /// It goes on: not the host's, or nothing that policy speaks of.
    Other,
}

/// Decides on a packet at an uplink of the host: one that it sends, or is to receive. Without a policy of the host all pass.
#[inline(always)]
pub fn at_uplink<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    sent: bool,
    work: &mut Work,
) -> Action {
    if met(env, HOST_ENDPOINT, sent, work).is_none() && !met_lost(env, sent, work) {
        return Action::Pass;
    }
    decide_whose(env, packet, Step::Uplink, work)
}

/// Notes where the packet is when the host's endpoint is missing; whether the host has a policy at its uplinks all the same.
#[inline(never)]
pub(crate) fn met_lost<E: Env>(env: &E, sent: bool, work: &mut Work) -> bool {
    work.hook = Hook {
        epoch: env.epoch(),
        endpoint: HOST_ENDPOINT,
        network: HOST_NETWORK,
        tenant: HOST_TENANT,
        now: env.now(),
        sent,
        uplink: true,
        ..Hook::default()
    };
    work.header = Header::default();
    env.config().has_host()
}

/// Decides on a packet once the step has told whose it is.
#[inline(always)]
pub(crate) fn decide_whose<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    whose: Step,
    work: &mut Work,
) -> Action {
    match env.step(whose, packet, work) {
        GO_ON => decide(env, packet, work),
        GO_BY => Action::Pass,
        GO_NOWHERE => Action::Drop(Reason::UnknownEndpoint),
        _ => {
            let reason = work.judgement.reason;
            reject(env, packet, work, reason)
        }
    }
}

/// The step of [`at_uplink`]: whose the packet is, and its headers.
#[inline(always)]
pub(crate) fn at_home<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
) -> Result<Kind, Reason> {
    let Some(endpoint) = env.endpoint(HOST_ENDPOINT) else { return Err(Reason::UnknownEndpoint) };
    if framed(packet, work).is_err() || work.frame.ethertype == ARP {
        return Ok(Kind::Other);
    }
    if whose(env, packet, work) == Kind::Other {
        return Ok(Kind::Other);
    }
    parse(env, packet, work)?;
    Ok(kind(endpoint, work))
}

/// Whose packet the addresses of its header make it, before the rest is read; its frame has been read.
pub(crate) fn whose<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> Kind {
    let Some((source, target)) = addresses(packet, work.frame.ethertype) else {
        return Kind::Other;
    };
    let own = if work.hook.sent { source } else { target };
    let everybody = !work.hook.sent && (work.frame.target[0] & 1 != 0 || target.is_group());
    let is_own = everybody || own.is_link_local() || is_host(env, work, own);
    if is_own { Kind::Host } else { Kind::Other }
}

/// Source and target of an IP packet.
pub(crate) fn addresses<P: Packet + ?Sized>(packet: &P, ethertype: u16) -> Option<(Addr, Addr)> {
    match ethertype {
        IPV4 => {
            let b = packet.load::<8>(ETHERNET + 12)?;
            Some((Addr::v4([b[0], b[1], b[2], b[3]]), Addr::v4([b[4], b[5], b[6], b[7]])))
        }
        IPV6 => {
            let source = packet.load::<16>(ETHERNET + 8)?;
            let target = packet.load::<16>(ETHERNET + 24)?;
            Some((Addr::v6(source), Addr::v6(target)))
        }
        _ => None,
    }
}

/// Whether an address is the host's, or may be: the tables have lost what they say of it, or of `::`, which they always have.
#[inline(never)]
fn is_host<E: Env>(env: &E, work: &Work, addr: Addr) -> bool {
    let mut key = PeerKey { network: work.hook.network, addr };
    if let Some(peer) = env.exact(&key) {
        return peer.endpoint == HOST_ENDPOINT || peer.is_lost();
    }
    key.addr = Addr::UNSPECIFIED;
    env.exact(&key).is_none_or(Peer::is_lost)
}

/// What becomes of a packet of the host whose headers have been read. Its end on this side becomes the host's address where it is
/// a group, link-local or none.
pub(crate) fn kind(endpoint: &Endpoint, work: &mut Work) -> Kind {
    let sent = work.hook.sent;
    let to_all = !sent && work.frame.target[0] & 1 != 0;
    let header = &mut work.header;
    if is_kept(header, sent) {
        return Kind::Other;
    }
    let own = if sent { &mut header.source } else { &mut header.target };
    if own.is_v4() {
        if to_all || own.is_group() {
            *own = endpoint.v4;
        }
    } else if to_all || own.is_group() || own.is_link_local() || *own == Addr::UNSPECIFIED {
        *own = endpoint.v6;
    }
    Kind::Host
}

/// What no policy can turn off: address resolution, path MTU discovery, and the host's own DHCP.
fn is_kept(header: &Header, sent: bool) -> bool {
    if header.fragment != Fragment::Whole {
        return false;
    }
    match header.protocol {
        protocol::ICMPV6 => {
            let kind = header.icmp >> 8;
            kind == TOO_BIG
                || header.hops == 255 && matches!(kind, 133..=137)
                || header.hops == 1 && LISTENERS.contains(&kind)
                || sent && header.icmp_role() == IcmpRole::Error
        }
        protocol::ICMP => {
            header.icmp == FRAGMENTATION_NEEDED || sent && header.icmp_role() == IcmpRole::Error
        }
        IGMP => header.hops == 1,
        protocol::UDP => {
            let ends = if sent {
                [header.ports.target, header.ports.source]
            } else {
                [header.ports.source, header.ports.target]
            };
            ends == DHCP || ends == DHCP6
        }
        _ => false,
    }
}

/// Enters a flow that leaves by an uplink for somebody else, with an address of the host: its answers come back to that address.
///
/// Who sent it was judged where it was sent.
#[inline(always)]
pub(crate) fn forward<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
    midway: bool,
) -> Action {
    work.judgement = Judgement {
        verdict: Verdict::Allow,
        reason: Reason::None,
        source_identity: HOST_IDENTITY,
        source: HOST_ENDPOINT,
        ..Judgement::default()
    };
    enter(env, packet, work);
    work.entry.flags |= FlowEntry::FORWARDED;
    if midway {
        pick_up(work, false);
    }
    if env.open(work.hook.tenant, &work.key, &work.entry).is_err() {
        return refuse(env, packet, work, Reason::TableFull);
    }
    pass(env, work, 0)
}

/// Whether a packet belongs to a connection whose beginning was not seen.
pub(crate) fn is_midway(header: &Header) -> bool {
    header.fragment == Fragment::Whole
        && (header.protocol == protocol::TCP && !tcp::opens(header)
            || header.protocol == protocol::SCTP && !sctp::opens(header))
}

/// Makes a flow of a connection whose beginning was not seen: nothing is known of its windows. `answers` tells that the packet at hand
/// was sent by the one who was connected to; its header has been turned.
#[inline(always)]
pub(crate) fn pick_up(work: &mut Work, answers: bool) {
    let entry = &mut work.entry;
    entry.state = FlowState::Established as u8;
    for window in &mut entry.windows {
        window.flags = Window::KNOWN | Window::LIBERAL;
    }
    if answers {
        entry.counts.swap(0, 1);
    }
}
