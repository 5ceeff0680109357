//! The policy question: may this source open this flow to this target?
//!
//! Both ends are asked: the egress policy of a source on this node and the ingress policy of a
//! target on this node. Each costs one row lookup and at most 17 port lookups, however many rules
//! there are; the peers cost an exact or a longest-prefix lookup each.

use crate::abi::{
    Addr, Decision, Endpoint, HOST_IDENTITY, Peer, PeerKey, PortEntry, PortKey, PortSet, Ports,
    RowKey, Verdict,
};
use crate::{Env, Reason};

/// A flow that somebody wants to open. Ports in host order; ICMP: see [`crate::abi::FlowKey`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Question {
    /// Who opens it.
    pub source: Addr,
    /// To whom.
    pub target: Addr,
    /// The network's number.
    pub network: u32,
    /// Source and destination port.
    pub ports: Ports,
    /// The IP protocol number.
    pub protocol: u8,
}

/// The answer, with everything an explanation needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Identity of the source; 0 when it is unknown.
    pub source_identity: u64,
    /// Identity of the target; 0 when it is unknown.
    pub target_identity: u64,
    /// The source's endpoint number on this node, else 0.
    pub source: u32,
    /// The target's endpoint number on this node, else 0.
    pub target: u32,
    /// The rule that decided at the source, else 0.
    pub egress_rule: u32,
    /// The rule that decided at the target, else 0.
    pub ingress_rule: u32,
    /// Allow, audit or drop.
    pub verdict: Verdict,
    /// Why it is dropped, or would have been.
    pub reason: Reason,
    /// Whether the target's side decided.
    pub ingress: bool,
}

impl Default for Judgement {
    fn default() -> Self {
        Self {
            source_identity: 0,
            target_identity: 0,
            source: 0,
            target: 0,
            egress_rule: 0,
            ingress_rule: 0,
            verdict: Verdict::Drop,
            reason: Reason::UnknownPeer,
            ingress: false,
        }
    }
}

const EGRESS: bool = false;
const INGRESS: bool = true;

/// Judges a flow under the policy version of `epoch`, overwriting all of `out`.
///
/// A flow that touches no endpoint of this node is not ours to allow: it is dropped.
#[inline(always)]
pub fn judge<E: Env>(env: &E, question: &Question, epoch: u64, out: &mut Judgement) {
    *out = Judgement::default();
    let odd = epoch & 1 != 0;
    let network = question.network;
    let Some(source) = peer(env, PeerKey { network, addr: question.source }) else { return };
    let Some(target) = peer(env, PeerKey { network, addr: question.target }) else { return };
    out.source_identity = pick(&source.identity, odd);
    out.target_identity = pick(&target.identity, odd);
    out.source = source.endpoint;
    out.target = target.endpoint;
    if source.endpoint == 0 && target.endpoint == 0 {
        return;
    }
    out.verdict = Verdict::Allow;
    out.reason = Reason::None;
    if source.endpoint != 0 {
        let Some(endpoint) = env.endpoint(source.endpoint) else {
            out.verdict = Verdict::Drop;
            out.reason = Reason::UnknownEndpoint;
            return;
        };
        let policy = Side::of(endpoint, EGRESS, odd, pick(&target.class, odd));
        let decision = side(env, &policy, question);
        out.egress_rule = decision.rule;
        merge(out, decision, EGRESS);
        if out.verdict == Verdict::Drop {
            return;
        }
    }
    if target.endpoint != 0 {
        let Some(endpoint) = env.endpoint(target.endpoint) else {
            out.verdict = Verdict::Drop;
            out.reason = Reason::UnknownEndpoint;
            out.ingress = true;
            return;
        };
        let policy = Side::of(endpoint, INGRESS, odd, pick(&source.class, odd));
        let decision = side(env, &policy, question);
        out.ingress_rule = decision.rule;
        merge(out, decision, INGRESS);
    }
}

/// Whether an address is the host's or a gateway's, seen from a network.
#[inline(never)]
pub(crate) fn is_host<E: Env>(env: &E, network: u32, addr: Addr, epoch: u64) -> bool {
    peer(env, PeerKey { network, addr })
        .is_some_and(|peer| pick(&peer.identity, epoch & 1 != 0) == HOST_IDENTITY)
}

/// Whether a rule opens the port that is asked for to anybody, see [`Endpoint::bind_row`].
#[inline(never)]
pub(crate) fn may_bind<E: Env>(env: &E, slot: u64, question: &Question) -> bool {
    let policy = Side { key: Endpoint::bind_row(slot), posture: 0 };
    let verdict = Verdict::from_number(side(env, &policy, question).verdict);
    matches!(verdict, Verdict::Allow | Verdict::Audit)
}

pub(crate) fn peer<E: Env>(env: &E, key: PeerKey) -> Option<&Peer> {
    let peer = match env.exact(&key) {
        Some(peer) => Some(peer),
        None => env.prefix(&key),
    };
    peer.filter(|peer| !peer.is_lost())
}

pub(crate) fn pick(versions: &[u64; 2], odd: bool) -> u64 {
    if odd { versions[1] } else { versions[0] }
}

/// Folds one side's decision in: a drop ends it, an audit is kept, an allow changes nothing.
fn merge(out: &mut Judgement, decision: Decision, ingress: bool) {
    match Verdict::from_number(decision.verdict) {
        Verdict::Allow => return,
        Verdict::Audit if out.verdict == Verdict::Audit => return,
        Verdict::Audit => out.verdict = Verdict::Audit,
        Verdict::Drop | Verdict::Silent => out.verdict = Verdict::Drop,
    }
    out.ingress = ingress;
    out.reason = if decision.rule == 0 { Reason::DefaultDeny } else { Reason::PolicyDeny };
}

/// One endpoint's policy in one direction, and the class it is asked about.
struct Side {
    key: RowKey,
    posture: u8,
}

impl Side {
    fn of(endpoint: &Endpoint, ingress: bool, odd: bool, class: u64) -> Self {
        let version = usize::from(odd);
        let direction = usize::from(ingress);
        let slot = endpoint.slots[version & 1][direction & 1];
        let posture = endpoint.posture[version & 1][direction & 1];
        Self { key: RowKey { slot, class }, posture }
    }
}

/// What one endpoint's policy says of a peer class, posture included.
#[inline(never)]
fn side<E: Env>(env: &E, policy: &Side, question: &Question) -> Decision {
    if let Some(row) = env.row(&policy.key) {
        let decision = ports(env, &row.ports, question);
        if decision.verdict != Verdict::Silent as u8 {
            return decision;
        }
        if row.rest.verdict != Verdict::Silent as u8 {
            return row.rest;
        }
    }
    let verdict = match policy.posture {
        2 => Verdict::Allow,
        1 => Verdict::Audit,
        _ => Verdict::Drop,
    };
    Decision::new(verdict, 0)
}

/// What a port set says of the destination port, and where it asks for it of the source port.
#[inline(always)]
fn ports<E: Env>(env: &E, set: &PortSet, question: &Question) -> Decision {
    let Some(entry) = block(env, set, question.protocol, question.ports.target) else {
        return Decision::default();
    };
    match block(env, &entry.sources, question.protocol, question.ports.source) {
        Some(narrower) if narrower.decision.verdict != Verdict::Silent as u8 => narrower.decision,
        _ => entry.decision,
    }
}

/// Finds the one block of a set that holds a port: blocks are disjoint, so any order will do.
#[inline(never)]
fn block<'e, E: Env>(env: &'e E, set: &PortSet, protocol: u8, port: u16) -> Option<&'e PortEntry> {
    if set.id == 0 {
        return None;
    }
    let mut key = PortKey { set: set.id, port, len: 16, protocol, pad: 0 };
    let mut mask = u16::MAX;
    // The bit of the length in `key` is the highest one; those of shorter lengths follow.
    let mut left = set.lengths << 15;
    for _ in 0..17 {
        if left >> 31 != 0 {
            key.port = port & mask;
            if let Some(entry) = env.port(&key) {
                return Some(entry);
            }
        }
        left <<= 1;
        mask <<= 1;
        key.len = key.len.wrapping_sub(1);
        if left == 0 {
            return None;
        }
    }
    None
}
