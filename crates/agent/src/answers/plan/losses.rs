//! Under which line of a plan a flow stands that would end.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use model::{Identity, Proto};
use planner::{ChangeKind, Party};
use verdict::native::Tables;

/// The protocol that stands for all without ports, as the planner compares them.
const ANY: u8 = 253;

/// The lines that tell a loss: by the rule that let the flows pass, or by the parties where a posture did.
#[derive(Debug, Default)]
pub(super) struct Losses<'c> {
    /// All lines.
    lines: &'c [planner::Change],
    /// By the rule that let them pass and the deny rule that drops them now; 0 is the default.
    exact: HashMap<(u32, u32), Vec<usize>>,
    /// By the rule that let them pass.
    rules: HashMap<u32, Vec<usize>>,
    /// Lines without a rule, under the workloads of their sides.
    postures: HashMap<Arc<str>, Vec<usize>>,
}

/// One side of a flow.
#[derive(Debug, Clone)]
pub(super) struct End {
    /// The workload that has the address.
    pub(super) owner: Option<Arc<str>>,
    pub(super) address: IpAddr,
}

/// A flow that would end.
#[derive(Debug, Clone)]
pub(super) struct Ending {
    pub(super) network: u32,
    pub(super) source: End,
    pub(super) target: End,
    pub(super) proto: Proto,
    /// Destination port; ICMP: type and code.
    pub(super) port: u16,
    /// The rules that let it pass, at the target and at the source; 0 is the posture.
    pub(super) rules: [u32; 2],
    /// The rule that drops it now, 0 for the default.
    pub(super) cause: u32,
}

impl<'c> Losses<'c> {
    pub(super) fn new(connections: &'c [planner::Change]) -> Self {
        let mut this = Self { lines: connections, ..Self::default() };
        let lost = connections.iter().enumerate().filter(|(_, it)| it.kind == ChangeKind::Lost);
        for (at, change) in lost {
            if let Some(rule) = &change.rule {
                let cause = change.cause.as_ref().map_or(0, |cause| cause.id.0);
                this.exact.entry((rule.id.0, cause)).or_default().push(at);
                this.rules.entry(rule.id.0).or_default().push(at);
                continue;
            }
            for party in change.sides.iter().flatten() {
                if let Party::Workload(id) = party {
                    this.postures.entry(Arc::clone(id)).or_default().push(at);
                }
            }
        }
        this
    }

    /// Whether no line tells a loss.
    pub(super) fn is_empty(&self) -> bool {
        self.rules.is_empty() && self.postures.is_empty()
    }

    /// Whether a line is about this flow's service and parties; of more parties than are listed, about any.
    pub(super) fn tells(&self, at: usize, flow: &Ending, tables: &Tables) -> bool {
        let Some(line) = self.lines.get(at) else { return false };
        let is_pair = || self.fit(at, flow, tables).is_some();
        // Protocols without ports stand for each other.
        let proto = match flow.proto {
            Proto::Other(_) => Proto::Other(ANY),
            known => known,
        };
        line.flows.reaches(proto, flow.port) && (line.is_cut() || is_pair())
    }

    /// How closely the sides of a line name both ends of a flow.
    fn fit(&self, at: usize, flow: &Ending, tables: &Tables) -> Option<u32> {
        let [from, to] = &self.lines.get(at)?.sides;
        let of = |side: &[Party], end: &End| closest(side, end, flow.network, tables);
        Some(of(from, &flow.source)? + of(to, &flow.target)?)
    }

    /// The line of a flow; `tables` say who stands behind an address.
    pub(super) fn find(&self, flow: &Ending, tables: &Tables) -> Option<usize> {
        let rules = || flow.rules.into_iter().filter(|rule| *rule != 0);
        if rules().next().is_some() {
            let exact = rules().find_map(|rule| self.exact.get(&(rule, flow.cause)));
            let lines = exact.or_else(|| rules().find_map(|rule| self.rules.get(&rule)))?;
            let telling = lines.iter().find(|at| self.tells(**at, flow, tables));
            return telling.or(lines.first()).copied();
        }
        let owners = [&flow.source.owner, &flow.target.owner].into_iter().flatten();
        let lines = owners.filter_map(|owner| self.postures.get(owner)).flatten();
        let fitting = lines.filter_map(|at| Some((self.fit(*at, flow, tables)?, *at)));
        fitting.max().map(|(_, at)| at)
    }
}

/// How closely a side, in order, names one end of a flow; `None` when the end is not among it.
fn closest(side: &[Party], end: &End, network: u32, tables: &Tables) -> Option<u32> {
    if let Some(owner) = &end.owner {
        let party = Party::Workload(Arc::clone(owner));
        return side.binary_search(&party).ok().map(|_| 0);
    }
    let zones = side.iter().rev().take_while(|party| !matches!(party, Party::Workload(_)));
    zones.filter_map(|party| closeness(party, end, network, tables)).max()
}

/// How closely a zone names one side of a flow; `None` when it is somebody else.
fn closeness(party: &Party, end: &End, network: u32, tables: &Tables) -> Option<u32> {
    let zone = || planner::identity_at(tables, u16::try_from(network).ok()?, end.address);
    let (wanted, net) = match party {
        Party::Workload(_) => return None,
        Party::Host | Party::Processes(_) => (Identity::HOST, None),
        Party::World(net) => (Identity::WORLD, *net),
        Party::Unmanaged(net) => (Identity::UNMANAGED, *net),
    };
    if zone()? != wanted || net.is_some_and(|net| !net.contains(&end.address)) {
        return None;
    }
    Some(net.map_or(0, |net| 1 + u32::from(net.prefix_len())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::wanted;

    const OLD: &str = r"
bulkhead: 1
tenants:
  shop:
    networks:
      main:
        mode: nat
        subnets: [10.0.0.0/16]
        posture: { ingress: deny, egress: allow }
    workloads:
      web: { labels: { app: web }, netns: web, address: [10.0.0.5] }
      job: { labels: { app: job }, netns: job, address: [10.0.0.6] }
    policies:
      mail: { from: app=web, to: 192.0.2.0/24, allow: [25/tcp] }
";

    #[test]
    fn flows_of_a_posture_stand_under_the_line_of_their_parties() {
        let old = wanted(OLD);
        let closed = OLD.replace("egress: allow", "egress: deny").replace("[25/tcp]", "[26/tcp]");
        let new = wanted(&closed);
        let diff = planner::diff(Some((&old.document, &old.bundle)), (&new.document, &new.bundle));
        let losses = Losses::new(&diff.connections);
        let ending = |owner: &str, target: &str, rule: u32| Ending {
            network: 1,
            source: End { owner: Some(owner.into()), address: [10, 0, 0, 5].into() },
            target: End { owner: None, address: target.parse().expect("an address") },
            proto: Proto::Tcp,
            port: 25,
            rules: [0, rule],
            cause: 0,
        };
        let told = |flow: &Ending| {
            let change = &diff.connections[losses.find(flow, &new.bundle.tables).expect("a line")];
            let rule = change.rule.as_ref().map_or("posture", |rule| rule.name()).to_owned();
            format!("{} → {} ({rule})", change.from, change.to)
        };
        assert_eq!(
            told(&ending("shop.job", "203.0.113.9", 0)),
            "shop/job → [host, world, unmanaged] (posture)"
        );
        assert_eq!(
            told(&ending("shop.web", "203.0.113.9", 0)),
            "shop/web → [host, world, unmanaged] (posture)"
        );
        assert_eq!(told(&ending("shop.web", "192.0.2.7", 0)), "shop/web → 192.0.2.0/24 (posture)");
        let mail = old.document.policies[0].allow_rule.as_ref().expect("a rule").id.0;
        assert_eq!(told(&ending("shop.web", "192.0.2.7", mail)), "app=web → 192.0.2.0/24 (mail)");
        let tells = |flow: &Ending| {
            let at = losses.find(flow, &new.bundle.tables).expect("a line");
            losses.tells(at, flow, &new.bundle.tables)
        };
        let sent = ending("shop.web", "192.0.2.7", mail);
        assert!(tells(&sent));
        assert!(!tells(&Ending { port: 26, ..sent.clone() }), "another service");
        assert!(!tells(&ending("shop.job", "192.0.2.7", mail)), "another workload");
        assert_eq!(losses.find(&ending("shop.gone", "192.0.2.7", 0), &new.bundle.tables), None);
    }
}
