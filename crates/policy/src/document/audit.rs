//! Scopes under audit: what policy would drop there passes and is recorded, for a direction and perhaps until a moment.
//!
//! Scopes nest: node, tenant, network, segment. The innermost one that says something about a direction decides, and a
//! `sealed` segment takes no audit from anybody (ADR 0019).

use std::fmt;

use jiff::Timestamp;
use model::{Direction, Name};

use super::{Document, Network, Segment};

/// What `audit:` of one scope says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Audit {
    /// For what workloads receive: audited, enforced, or (`None`) as the scope around it says.
    pub ingress: Option<bool>,
    /// For what workloads send.
    pub egress: Option<bool>,
    /// From this moment on the directions that are audited are enforced.
    pub until: Option<Timestamp>,
}

impl Audit {
    /// Whether the scope audits a direction now; `None` when it leaves that to the scope around it.
    #[must_use]
    pub fn says(&self, direction: Direction, now: Timestamp) -> Option<bool> {
        let word = match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        };
        word.map(|audits| audits && self.until.is_none_or(|until| now < until))
    }

    /// Whether it audits a direction now.
    #[must_use]
    pub fn is_on(&self, now: Timestamp) -> bool {
        Direction::ALL.into_iter().any(|direction| self.says(direction, now) == Some(true))
    }

    /// When it ends, if it is on and ends.
    #[must_use]
    pub fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        self.until.filter(|_| self.is_on(now))
    }
}

/// A scope that may be audited, by its names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Everything on the node.
    Node,
    /// The host itself.
    Host,
    /// A tenant.
    Tenant(Name),
    /// A tenant's network.
    Network(Name, Name),
    /// A segment of a tenant's network.
    Segment(Name, Name, Name),
}

/// `the node`, `tenant shop`, `network shop.main`, `segment shop.main/front`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node => f.write_str("the node"),
            Self::Host => f.write_str("the host"),
            Self::Tenant(tenant) => write!(f, "tenant {tenant}"),
            Self::Network(tenant, network) => write!(f, "network {tenant}.{network}"),
            Self::Segment(tenant, network, segment) => {
                write!(f, "segment {tenant}.{network}/{segment}")
            }
        }
    }
}

/// The scopes around a workload, the innermost first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Around {
    audits: [Audit; 4],
    sealed: bool,
}

impl Around {
    /// From what the node and the tenant say, and the network and segment that a workload stands in.
    #[must_use]
    pub fn new(
        [node, tenant]: [Audit; 2],
        network: Option<&Network>,
        segment: Option<&Segment>,
    ) -> Self {
        let of_network = network.map(|network| network.audit).unwrap_or_default();
        let of_segment = segment.map(|segment| segment.audit).unwrap_or_default();
        Self {
            audits: [of_segment, of_network, tenant, node],
            sealed: segment.is_some_and(|segment| segment.sealed),
        }
    }

    /// Position of the scope, from the innermost, that audits a direction now.
    fn by(&self, direction: Direction, now: Timestamp) -> Option<usize> {
        let says = |audit: &Audit| audit.says(direction, now);
        let (at, audits) =
            self.audits.iter().enumerate().find_map(|(at, each)| Some((at, says(each)?)))?;
        (audits && !self.sealed).then_some(at)
    }

    /// Whether a direction is audited now.
    #[must_use]
    pub fn is_audited(&self, direction: Direction, now: Timestamp) -> bool {
        self.by(direction, now).is_some()
    }
}

impl Document {
    /// Every scope whose `audit:` says something, from the outside to the inside, in file order.
    pub fn audits(&self) -> impl Iterator<Item = (Place, &Audit)> {
        let tenants =
            self.tenants.iter().map(|each| (Place::Tenant(each.name.clone()), &each.audit));
        let networks = self.networks.iter().flat_map(|each| {
            let (tenant, network) = (&each.tenant, &each.name);
            let segments = each.segments.iter().map(move |segment| {
                let place = Place::Segment(tenant.clone(), network.clone(), segment.name.clone());
                (place, &segment.audit)
            });
            let own = (Place::Network(tenant.clone(), network.clone()), &each.audit);
            std::iter::once(own).chain(segments)
        });
        let host = self.host.iter().map(|host| (Place::Host, &host.audit));
        let node = std::iter::once((Place::Node, &self.audit)).chain(host);
        let all = node.chain(tenants).chain(networks);
        all.filter(|(_, audit)| **audit != Audit::default())
    }

    /// The scope whose audit lets pass what policy would drop at a workload in a direction, with what it says.
    #[must_use]
    pub fn audited(
        &self,
        workload: &str,
        direction: Direction,
        now: Timestamp,
    ) -> Option<(Place, Audit)> {
        let workload = self.workload(workload)?;
        let network = self.network(&workload.tenant, &workload.network);
        let segment = network.and_then(|network| network.segment(workload.segment.as_ref()?));
        let tenant = self.tenants.iter().find(|tenant| tenant.name == workload.tenant);
        let outer = [self.audit, tenant.map(|tenant| tenant.audit).unwrap_or_default()];
        let around = Around::new(outer, network, segment);
        let at = around.by(direction, now)?;
        let (tenant, network) = (workload.tenant.clone(), workload.network.clone());
        let place = match (at, &workload.segment) {
            (0, Some(segment)) => Place::Segment(tenant, network, segment.clone()),
            (0 | 1, _) => Place::Network(tenant, network),
            (2, _) => Place::Tenant(tenant),
            _ => Place::Node,
        };
        Some((place, *around.audits.get(at)?))
    }
}
