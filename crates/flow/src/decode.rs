//! Kernel events to records.

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use model::{Identity, RuleId, RuleKind, RuleRef};
use verdict::Reason;
use verdict::abi::{Addr, Event, EventKind, Verdict};
use verdict::account::is_account;
use verdict::packet;

use crate::{Clock, Decision, End, Kind, Protocol, Record, reason};

/// Knows what the numbers in events stand for: the agent's view of the bundle in force and the one before.
pub trait Resolver {
    /// `<tenant>.<network>`.
    fn network(&self, number: u32) -> Option<Arc<str>>;
    /// `<tenant>.<workload>` of an endpoint.
    fn endpoint(&self, number: u32) -> Option<Arc<str>>;
    /// An account of the host: `host user=backup`. Nobody has one unless rules tell them apart.
    fn account(&self, number: u32) -> Option<Arc<str>> {
        let _ = number;
        None
    }
    /// `<tenant>.<workload>` of the endpoint that owns an address in a network.
    fn owner(&self, network: u32, address: IpAddr) -> Option<Arc<str>>;
    /// A derived identity in words.
    fn identity(&self, identity: Identity) -> Option<Arc<str>>;
    /// A rule's place.
    fn rule(&self, rule: RuleId) -> Option<RuleRef>;
}

/// Decodes events of one batch.
#[derive(Debug, Clone, Copy)]
pub struct Decoder<'r, R> {
    /// Names.
    pub resolver: &'r R,
    /// Times.
    pub clock: Clock,
}

impl<R: Resolver> Decoder<'_, R> {
    /// Makes a record of an event. Unknown names are left out, nothing fails.
    #[must_use]
    pub fn decode(&self, event: &Event) -> Record {
        let kind = kind(event.kind);
        let protocol = protocol(event);
        let decision = decision(event.verdict);
        let rule_id = self.deciding_rule(event, decision);
        let rule = self.resolver.rule(RuleId(rule_id)).filter(|_| rule_id != 0);
        let reason = Reason::from_code(event.reason).unwrap_or(Reason::Malformed);
        let icmp = protocol.is_icmp().then(|| event.target_port.to_be_bytes());
        let (source, target) = self.ends(event, protocol);
        let flow = kind != Kind::Drop;
        Record {
            number: 0,
            at: self.clock.at(event.at),
            kind,
            decision,
            reason: reason::meant(reason, rule.as_ref()),
            rule,
            rule_id,
            network: self
                .resolver
                .network(event.network)
                .unwrap_or_else(|| format!("network {}", event.network).into()),
            endpoint: self.resolver.endpoint(event.endpoint),
            source,
            target,
            protocol,
            icmp,
            ingress: event.ingress != 0,
            mac: event.mac,
            epoch: event.epoch,
            repeats: u64::from(event.repeats.max(1)),
            since: None,
            counts: flow.then(|| event.counts.map(|count| [count.packets, count.bytes])),
            duration_ms: (kind == Kind::Close)
                .then(|| self.clock.between_ms(event.created, event.at)),
        }
    }

    /// The rule to name: of the side that dropped or audited; for a flow that passed, the target's before the source's.
    fn deciding_rule(&self, event: &Event, decision: Decision) -> u32 {
        let (egress, ingress) = (event.egress_rule, event.ingress_rule);
        match decision {
            Decision::Allow if ingress != 0 => ingress,
            Decision::Audit if event.kind == EventKind::Close as u8 => {
                // The end of a flow does not tell the side: it is the first one whose rule does not allow.
                let kind = |rule: u32| self.resolver.rule(RuleId(rule)).map(|rule| rule.kind);
                let audits = |rule: &u32| *rule != 0 && kind(*rule) != Some(RuleKind::Allow);
                [egress, ingress].into_iter().find(audits).unwrap_or_default()
            }
            Decision::Audit | Decision::Drop if event.ingress != 0 => ingress,
            Decision::Allow | Decision::Audit | Decision::Drop => egress,
        }
    }

    fn ends(&self, event: &Event, protocol: Protocol) -> (End, End) {
        let ported = protocol.has_ports();
        let port = |port: u16| if ported { port } else { 0 };
        let sender = (event.sent != 0 && kind(event.kind) != Kind::Close).then_some(event.endpoint);
        let mut source = self.end(event, event.source, event.source_identity, sender);
        if is_account(event.endpoint) {
            source.identity_text =
                self.resolver.account(event.endpoint).or(source.identity_text.take());
        }
        let target = self.end(event, event.target, event.target_identity, None);
        (
            End { port: port(event.source_port), ..source },
            End { port: port(event.target_port), ..target },
        )
    }

    /// Names one end. Who sent a packet is known from the hook that met it, whatever its source address claims.
    fn end(&self, event: &Event, address: Addr, identity: u64, sender: Option<u32>) -> End {
        let (address, owner) = if let Some((number, v4)) = address.host_of() {
            // It shares the host's stack: what stands in the tables is not its address. Which IPv6 address of the host it was is not kept.
            let hosts = v4.map_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::from);
            (hosts, self.resolver.endpoint(number))
        } else {
            let address = IpAddr::from(address);
            (address, self.resolver.owner(event.network, address))
        };
        let sender = sender.and_then(|number| self.resolver.endpoint(number));
        let (workload, owner) = match (sender, owner) {
            // Whoever is behind a port that nobody in the file has is no workload, whatever its address claims.
            (None, owner) if identity == Identity::UNMANAGED.0 => (None, owner),
            (Some(sender), owner) => {
                let foreign = owner.filter(|owner| *owner != sender);
                (Some(sender), foreign)
            }
            (None, owner) => (owner, None),
        };
        let text = match identity {
            0 => None,
            number if Identity(number).is_reserved() => Some(Identity(number).to_string().into()),
            number => self.resolver.identity(Identity(number)),
        };
        End { address, port: 0, workload, owner, identity, identity_text: text }
    }
}

/// Where a packet had no address.
pub(crate) fn is_no_address(address: IpAddr) -> bool {
    address == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
}

fn kind(number: u8) -> Kind {
    if number == EventKind::Open as u8 {
        Kind::Open
    } else if number == EventKind::Close as u8 {
        Kind::Close
    } else {
        Kind::Drop
    }
}

fn decision(number: u8) -> Decision {
    match Verdict::from_number(number) {
        Verdict::Allow => Decision::Allow,
        Verdict::Audit => Decision::Audit,
        Verdict::Drop | Verdict::Silent => Decision::Drop,
    }
}

fn protocol(event: &Event) -> Protocol {
    match event.ethertype {
        packet::IPV4 | packet::IPV6 => Protocol::Ip(event.protocol),
        packet::ARP => Protocol::Arp,
        other => Protocol::Frame(other),
    }
}
