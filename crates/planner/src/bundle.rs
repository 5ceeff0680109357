//! The complete wanted state of one node: what the planner makes and the agent applies.
//!
//! A bundle has no generation: the agent numbers it when it applies it. It is a pure function of
//! document, earlier [`Allocations`] and [`Facts`], and equal inputs make equal bundles.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Bound;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use model::{CopyOnWrite, Labels, Mode, Name, RuleRef, Transport};
use policy::document::{External, FlowLimit, Lan, Port, Start};
use verdict::abi::Mac;
use verdict::native::Tables;

use crate::uplink::Accounts;
use crate::{Allocations, Term};

/// What the planner must know of the node; it never asks the world itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The host's own addresses, those of the transit links left out.
    pub addresses: Vec<IpAddr>,
    /// Decides which policies have expired.
    pub now: Timestamp,
    /// Jiffies in a second (the kernel's `CONFIG_HZ`), the unit of idle timeouts.
    pub jiffies_per_second: u32,
}

/// Everything wanted on one node. Copies share what neither of them changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Bundle {
    /// Numbers and addresses, to be kept for the next compilation.
    pub allocations: CopyOnWrite<Allocations>,
    /// What the kernel judges by. Both halves of every two-version value are equal; the epoch is 0.
    pub tables: Tables,
    /// Rule ids in the tables to their places in the file. Expired rules are left out.
    pub rules: CopyOnWrite<BTreeMap<u32, RuleRef>>,
    /// One for each network of mode nat, bridge or routed and each external one, ordered by number.
    pub routers: CopyOnWrite<Vec<Router>>,
    /// Every workload by its id `<tenant>.<workload>`, and its further attachments as `<tenant>.<workload>@<network>`.
    pub workloads: CopyOnWrite<BTreeMap<Arc<str>, CopyOnWrite<Workload>>>,
    /// Identity numbers to what they stand for; the reserved ones are left out.
    pub identities: CopyOnWrite<BTreeMap<u64, CopyOnWrite<Identity>>>,
    /// What the file says of ports that runtimes publish, by workload and port.
    pub terms: CopyOnWrite<Vec<Term>>,
    /// Accounts of the host that its rules tell apart.
    pub accounts: Accounts,
    /// The next moment at which a policy or a published port expires or an audit ends: compile again then.
    pub expires: Option<Timestamp>,
}

/// A network: its router, its link to the host and what is attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Router {
    /// From 1 to [`crate::allocate::MAX_NETWORK`]; the network's number in the tables.
    pub number: u16,
    /// Whose it is.
    pub tenant: Name,
    /// Unique in the tenant.
    pub name: Name,
    /// Nat, bridge or routed; routed when it is external.
    pub mode: Mode,
    /// Who forwards for it, when that is not us. There is no router then: no gateways, no transit link, no publishes.
    pub external: Option<External>,
    /// The LAN that its workloads are present on. There are no gateways, subnets and publishes then: what is behind the
    /// router is as far away as the world.
    pub lan: Option<Lan>,
    /// Addresses of the bridge with the prefix length of their segment.
    pub gateways: Vec<IpNet>,
    /// Subnets of the network.
    pub subnets: Vec<IpNet>,
    /// The host's addresses that it leaves with, at most one of each version; without one of a version that of the link.
    pub snat: Vec<IpAddr>,
    /// The link to the host.
    pub transit: Transit,
    /// Of the bridge: the gateway's.
    pub mac: Mac,
    /// What is attached to the bridge, ordered by number.
    pub endpoints: Vec<Attachment>,
    /// Ports of the host that lead here, in file order.
    pub publishes: Vec<Publish>,
}

/// Addresses of a network's link to the host; prefix lengths are 31 and 127.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transit {
    /// In the host's namespace.
    pub host_v4: Ipv4Addr,
    /// In the router.
    pub router_v4: Ipv4Addr,
    /// In the host's namespace.
    pub host_v6: Ipv6Addr,
    /// In the router.
    pub router_v6: Ipv6Addr,
}

/// A workload's attachment to its network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// From 1 to [`crate::allocate::MAX_ENDPOINT`]; the endpoint's number in the tables.
    pub number: u16,
    /// `<tenant>.<workload>`, of a further attachment `<tenant>.<workload>@<network>`.
    pub workload: Arc<str>,
    /// Of the host side: [`verdict::abi::IFINDEX_BASE`] plus the number.
    pub ifindex: u32,
    /// Of the workload's side.
    pub mac: Mac,
    /// Addresses of the workload's side with the prefix length of their segment.
    pub addresses: Vec<IpNet>,
    /// Next hop of the IPv4 default route.
    pub gateway_v4: Option<Ipv4Addr>,
    /// Next hop of the IPv6 default route.
    pub gateway_v6: Option<Ipv6Addr>,
    /// The interface that somebody else made for it, in an external network.
    pub port: Option<Port>,
}

/// A workload as the agent needs it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Whose it is.
    pub tenant: Name,
    /// Unique in the tenant, but for further attachments.
    pub name: Name,
    /// Whether it is an attachment beside the first one.
    pub further: bool,
    /// The network it stands in.
    pub network: Name,
    /// The segment, when the network has any.
    pub segment: Option<Name>,
    /// Number of its identity.
    pub identity: u64,
    /// Its endpoint's number; `None` in a network of mode `none`.
    pub endpoint: Option<u16>,
    /// How its namespace comes to be and what runs in it.
    pub start: Start,
}

/// A port of the host that leads to a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish {
    /// Unique in the tenant.
    pub name: Name,
    /// Transport protocol.
    pub transport: Transport,
    /// The host's address; all of them when absent.
    pub address: Option<IpAddr>,
    /// The host's port.
    pub port: u16,
    /// `<tenant>.<workload>`.
    pub workload: Arc<str>,
    /// The workload's port.
    pub target_port: u16,
    /// The workload's IPv4 address.
    pub target_v4: Option<Ipv4Addr>,
    /// The workload's IPv6 address.
    pub target_v6: Option<Ipv6Addr>,
    /// Only clients in these networks; everybody when empty.
    pub from: Vec<IpNet>,
    /// Who answers for it.
    pub owner: Option<Arc<str>>,
    /// From this moment on it does not exist.
    pub until: Option<Timestamp>,
    /// How many flows may begin there.
    pub limit: FlowLimit,
}

/// What an identity number stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Tenant.
    pub tenant: Name,
    /// Network.
    pub network: Name,
    /// Segment, when the network has any.
    pub segment: Option<Name>,
    /// Labels.
    pub labels: Labels,
}

impl Bundle {
    /// The attachment of an endpoint and the router it hangs on.
    #[must_use]
    pub fn endpoint(&self, number: u16) -> Option<(&Router, &Attachment)> {
        self.routers.iter().find_map(|router| {
            let at = router.endpoints.binary_search_by_key(&number, |each| each.number).ok()?;
            router.endpoints.get(at).map(|endpoint| (router, endpoint))
        })
    }

    /// The attachment of a workload, by `<tenant>.<workload>`.
    #[must_use]
    pub fn attachment(&self, workload: &str) -> Option<(&Router, &Attachment)> {
        self.endpoint(self.workloads.get(workload)?.endpoint?)
    }

    /// Every attachment of the workload that an id belongs to, the first one first, then by network.
    pub fn attachments<'b>(
        &'b self,
        id: &str,
    ) -> impl Iterator<Item = (&'b Arc<str>, &'b CopyOnWrite<Workload>)> + use<'b> {
        let owner: Arc<str> = policy::document::owner(id).into();
        let further = format!("{owner}@");
        let own = self.workloads.get_key_value(&owner).into_iter();
        // `@` stands before every character of a name, and `A` behind it.
        let range = (
            Bound::Included(Arc::from(further.as_str())),
            Bound::Excluded(Arc::from(format!("{owner}A"))),
        );
        own.chain(self.workloads.range::<Arc<str>, _>(range))
    }

    /// The workload of this node that has an address in a network.
    #[must_use]
    pub fn workload_at(&self, network: u16, address: IpAddr) -> Option<&Arc<str>> {
        let router = self.routers.iter().find(|router| router.number == network)?;
        let holds = |each: &&Attachment| each.addresses.iter().any(|net| net.addr() == address);
        router.endpoints.iter().find(holds).map(|each| &each.workload)
    }
}
