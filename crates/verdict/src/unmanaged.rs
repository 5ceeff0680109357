//! Ports of bridges of somebody else that nobody in the file has: containers and machines that nobody knows (docs/adr/0026-unmanaged.md).
//!
//! Whoever is behind them has the identity `unmanaged`, whatever its addresses say. It cannot speak for a workload or for the host: such a MAC, such an address in
//! ARP, neighbour discovery or IP is refused under every posture. The rest is as the posture of `unmanaged:` says: closed, or as the runtime had it and recorded.
//!
//! **Who judges.** What it exchanges with a workload of its network is judged at that workload's port, by its policy. What it exchanges with others (the host, the
//! world, its like) is judged here, by the posture alone. What is not sound, or no flow, is not ours to refuse where the posture lets pass.
//! **Limits.** Flows of all of them together use one share of the connection table. Beyond it they pass without a record, which is counted as lost.

use crate::abi::{
    Addr, EventKind, FlowEntry, HOST_ENDPOINT, HOST_IDENTITY, Mac, Peer, PeerKey, Posture,
    RESERVED_IDENTITIES, Stray, UNMANAGED_ENDPOINT, UNMANAGED_IDENTITY, UPLINKS, Verdict,
};
use crate::flow::{enter, framed, met, parse, pass};
use crate::guard::is_discovery;
use crate::judge::{Judgement, peer, pick};
use crate::packet::{ARP, ETHERNET, Fragment, IcmpRole, Packet};
use crate::report::describe;
use crate::uplink::{addresses, decide_whose, is_midway, met_lost, pick_up};
use crate::work::{Hook, Work};
use crate::{Action, Env, Reason, Step};

/// Neighbour discovery, RFC 4861.
const SOLICITATION: u16 = 135;
const ADVERTISEMENT: u16 = 136;

/// What becomes of a packet at such a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The posture decides, and the flow is recorded.
    Judged,
    /// It goes on: somebody else judges it, or it is no flow.
    Other,
    /// It ends here, and is counted.
    Closed,
}

/// Decides on a packet at a place that is no endpoint's: an uplink of the host, or a port that nobody in the file has. `place` is what the map
/// `PORTS_IN_PLACE` has for the interface, 0 for nothing. `sent` tells that the host, or whoever is behind the port, sends it.
#[inline(always)]
pub fn at_place<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    place: u32,
    sent: bool,
    work: &mut Work,
) -> Action {
    let stray = Stray::read(place);
    let number = if stray.is_some() { UNMANAGED_ENDPOINT } else { HOST_ENDPOINT };
    let is_met = met(env, number, sent, work).is_some();
    let step = match stray {
        // It is about to become a workload's.
        None if place != 0 && place < UPLINKS => return Action::Drop(Reason::UnknownEndpoint),
        None if !is_met && !met_lost(env, sent, work) => return Action::Pass,
        None => Step::Uplink,
        Some(stray) if !is_met || stray.network() == 0 => {
            return Action::Drop(Reason::UnknownEndpoint);
        }
        Some(stray) => {
            work.hook.network = stray.network();
            work.hook.stray = stray.value();
            Step::Unmanaged
        }
    };
    decide_whose(env, packet, step, work)
}

/// What the posture says of what whoever is behind such a port sends or receives.
pub(crate) fn verdict<E: Env>(env: &E, hook: &Hook) -> Verdict {
    let Some(endpoint) = env.endpoint(UNMANAGED_ENDPOINT) else { return Verdict::Drop };
    let posture = if hook.epoch & 1 != 0 { endpoint.posture[1] } else { endpoint.posture[0] };
    let posture = if hook.sent { posture[0] } else { posture[1] };
    if posture == Posture::Allow as u8 {
        Verdict::Allow
    } else if posture == Posture::Audit as u8 {
        Verdict::Audit
    } else {
        Verdict::Drop
    }
}

/// The step of [`at_place`] at a port that nobody in the file has: who judges the packet, and its headers.
#[inline(always)]
pub(crate) fn whose<E: Env, P: Packet + ?Sized>(
    env: &E,
    packet: &P,
    work: &mut Work,
) -> Result<Kind, Reason> {
    let Some(stray) = Stray::read(work.hook.stray) else { return Ok(Kind::Closed) };
    let denied = verdict(env, &work.hook) == Verdict::Drop;
    let Some(macs) = packet.load::<12>(0) else { return Ok(unless(denied)) };
    let [source, target] = [mac(macs, 6), mac(macs, 0)];
    let sent = work.hook.sent;
    // Who is behind a bridge is told by the frame's target alone, and a group has workloads in it.
    let through = stray.is_bridge() && !sent;
    if through && (target[0] & 1 != 0 || is_workloads(env, work, target)) {
        return Ok(Kind::Other);
    }
    let claimed = !denied && !through && (sent || target[0] & 1 == 0);
    let claimed = claimed && is_workloads(env, work, if sent { source } else { target });
    if framed(packet, work).is_err() {
        // Tags, and what is neither IP nor ARP.
        return if claimed { Err(claim(sent)) } else { Ok(unless(denied)) };
    }
    if work.frame.ethertype == ARP {
        return if denied { Ok(Kind::Closed) } else { arp(env, packet, work) };
    }
    let Some((source, target)) = addresses(packet, work.frame.ethertype) else {
        return if claimed { Err(claim(sent)) } else { Ok(unless(denied)) };
    };
    let near = is_near(source) || is_near(target) || target.is_group();
    if denied && near {
        return Ok(Kind::Closed);
    }
    let is_sound = parse(env, packet, work).is_ok();
    work.header.source = source;
    work.header.target = target;
    if denied {
        return Err(Reason::DefaultDeny);
    }
    if claimed {
        return Err(claim(sent));
    }
    if sent && is_owned(owner(env, work, source)) {
        return Err(Reason::SpoofedAddress);
    }
    if sent && is_sound && is_discovery(&work.header) {
        return discovery(env, packet, work);
    }
    if near || through {
        return Ok(Kind::Other);
    }
    with_others(env, work, stray, is_sound)
}

/// What it is to use the MAC of a workload: its sender is forged, or it was flooded for that workload.
fn claim(sent: bool) -> Reason {
    if sent { Reason::SpoofedMac } else { Reason::ForeignFrame }
}

/// A packet between one that nobody knows and an end outside of its link.
#[inline(always)]
fn with_others<E: Env>(env: &E, work: &Work, stray: Stray, is_sound: bool) -> Result<Kind, Reason> {
    let (source, target) = (work.header.source, work.header.target);
    let far = owner(env, work, if work.hook.sent { target } else { source });
    if work.hook.sent && is_owned(far) && stray.has_subnet(source) {
        // With an address that is not of its network it would be the world to whoever judges by address.
        let own = owner(env, work, source);
        if own.is_none_or(|own| identity(own, work) != UNMANAGED_IDENTITY) {
            return Err(Reason::SpoofedAddress);
        }
    }
    if !is_sound || far.is_some_and(|far| far.endpoint != 0) {
        return Ok(Kind::Other);
    }
    let header = &work.header;
    let is_error = header.is_icmp() && header.icmp_role() == IcmpRole::Error;
    if is_error || header.fragment == Fragment::Later {
        return Ok(Kind::Other);
    }
    Ok(Kind::Judged)
}

/// Nobody answers for the address or the MAC of a workload or of the host.
#[inline(never)]
fn arp<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> Result<Kind, Reason> {
    if !work.hook.sent {
        return Ok(Kind::Other);
    }
    let Some(b) = packet.load::<28>(ETHERNET) else { return Ok(Kind::Other) };
    let sender = Addr::v4([b[14], b[15], b[16], b[17]]);
    work.header.source = sender;
    work.header.target = Addr::v4([b[24], b[25], b[26], b[27]]);
    let hardware = [b[8], b[9], b[10], b[11], b[12], b[13]];
    if is_workloads(env, work, work.frame.source) {
        return Err(Reason::SpoofedMac);
    }
    if is_owned(owner(env, work, sender)) || is_workloads(env, work, hardware) {
        return Err(Reason::SpoofedArp);
    }
    Ok(Kind::Other)
}

/// The same of neighbour discovery: an advertisement of such an address, or the claim that it is taken.
#[inline(never)]
fn discovery<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &Work) -> Result<Kind, Reason> {
    let header = &work.header;
    let kind = header.icmp >> 8;
    if kind != ADVERTISEMENT && (kind != SOLICITATION || header.source != Addr::UNSPECIFIED) {
        return Ok(Kind::Other);
    }
    let Some(about) = packet.load::<16>(header.transport + 8) else { return Ok(Kind::Other) };
    if is_owned(owner(env, work, Addr::v6(about))) {
        return Err(Reason::SpoofedNd);
    }
    Ok(Kind::Other)
}

/// Enters a flow with nobody of the file at either end.
#[inline(always)]
pub(crate) fn begin<E: Env, P: Packet + ?Sized>(env: &E, packet: &P, work: &mut Work) -> Action {
    let midway = is_midway(&work.header);
    let header = &work.header;
    // An answer to what was not seen.
    if header.is_icmp() && header.icmp_role() != IcmpRole::Request {
        return pass(env, work, 0);
    }
    let sent = work.hook.sent;
    let verdict = verdict(env, &work.hook);
    work.judgement = Judgement {
        verdict,
        reason: if verdict == Verdict::Allow { Reason::None } else { Reason::DefaultDeny },
        ingress: !sent,
        ..Judgement::default()
    };
    name(env, work);
    let is_known = sent || packet.entered() == UNMANAGED_ENDPOINT;
    work.judgement.source = if is_known { UNMANAGED_ENDPOINT } else { 0 };
    work.judgement.target = if sent { 0 } else { UNMANAGED_ENDPOINT };
    // Of a connection that is older than the programs, the side with the lower port is the service.
    let answers = midway && work.header.ports.source < work.header.ports.target;
    if answers {
        turn(&mut work.judgement);
        work.header.turn();
    }
    enter(env, packet, work);
    work.entry.flags |= FlowEntry::UNMANAGED;
    if midway {
        pick_up(work, answers);
    }
    if env.open(work.hook.tenant, &work.key, &work.entry).is_err() {
        env.lose();
        return pass(env, work, 0);
    }
    describe(work, EventKind::Open);
    env.step(Step::Report, packet, work);
    pass(env, work, 0)
}

/// Says who the ends are: whoever is behind the port is `unmanaged`, whatever its address.
pub(crate) fn name<E: Env>(env: &E, work: &mut Work) {
    let header = &work.header;
    let far = owner(env, work, if work.hook.sent { header.target } else { header.source });
    let far = far.map_or(0, |far| identity(far, work));
    let ends = if work.hook.sent { [UNMANAGED_IDENTITY, far] } else { [far, UNMANAGED_IDENTITY] };
    [work.judgement.source_identity, work.judgement.target_identity] = ends;
}

/// Source and target change places.
fn turn(judgement: &mut Judgement) {
    let Judgement { source, target, source_identity, target_identity, .. } = *judgement;
    judgement.source = target;
    judgement.target = source;
    judgement.source_identity = target_identity;
    judgement.target_identity = source_identity;
}

fn unless(denied: bool) -> Kind {
    if denied { Kind::Closed } else { Kind::Other }
}

fn mac(macs: [u8; 12], at: usize) -> Mac {
    if at == 0 {
        [macs[0], macs[1], macs[2], macs[3], macs[4], macs[5]]
    } else {
        [macs[6], macs[7], macs[8], macs[9], macs[10], macs[11]]
    }
}

/// Whether a MAC is that of a workload of the port's network.
#[inline(never)]
fn is_workloads<E: Env>(env: &E, work: &Work, mac: Mac) -> bool {
    env.exact(&PeerKey { network: work.hook.network, addr: Addr::of_mac(mac) }).is_some()
}

/// Who has an address, as the port's network sees it.
fn owner<'e, E: Env>(env: &'e E, work: &Work, addr: Addr) -> Option<&'e Peer> {
    peer(env, PeerKey { network: work.hook.network, addr })
}

fn identity(peer: &Peer, work: &Work) -> u64 {
    pick(&peer.identity, work.hook.epoch & 1 != 0)
}

/// Whether an address is a workload's or the host's, in either version.
fn is_owned(peer: Option<&Peer>) -> bool {
    let is_one = |identity: u64| identity == HOST_IDENTITY || identity >= RESERVED_IDENTITIES;
    peer.is_some_and(|peer| is_one(peer.identity[0]) || is_one(peer.identity[1]))
}

/// Whether an address means something on its own link only, or nobody.
fn is_near(addr: Addr) -> bool {
    addr.is_link_local() || addr == Addr::UNSPECIFIED || addr == Addr::v4([0; 4])
}
