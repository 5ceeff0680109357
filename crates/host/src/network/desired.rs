//! What the network of this host should be, as plain values.
//!
//! The agent builds it from the applied bundle; nothing here has been checked against the kernel.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;

use super::{ETH0, EndpointNumber, Mac, NetworkNumber, Ns, NsName};

/// Everything wanted. The default, nothing at all, is the desired state of a teardown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    /// One for each network of mode nat, bridge or routed.
    pub routers: Vec<RouterDesired>,
    /// Workloads of networks of mode `none`: a namespace with loopback and nothing else.
    pub isolated: Vec<IsolatedDesired>,
}

impl Desired {
    /// Every namespace of ours that is wanted.
    pub(super) fn pinned(&self) -> impl Iterator<Item = &NsName> {
        let endpoints = self.routers.iter().flat_map(|router| &router.endpoints);
        let ours = endpoints.filter(|endpoint| endpoint.place == Place::Ours);
        let routers = self.routers.iter().map(|router| &router.name);
        let isolated = self.isolated.iter().map(|isolated| &isolated.workload);
        routers.chain(ours.map(|endpoint| &endpoint.workload)).chain(isolated)
    }
}

/// How a network meets the world outside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Leaves through the host's address; reachable through `publish`.
    Nat,
    /// Does not leave; reachable through `publish`.
    Bridge,
    /// Leaves and is reached with its own addresses; nothing is translated.
    Routed,
}

/// One network: its router namespace, the bridge in it, and the link to the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterDesired {
    /// Decides names, MACs and transit addresses.
    pub number: NetworkNumber,
    /// Where the router is pinned; see [`NsName::router`].
    pub name: NsName,
    /// How it meets the world.
    pub mode: Mode,
    /// The bridge's addresses: one for each segment subnet, with that subnet's prefix length.
    pub gateways: Vec<IpNet>,
    /// The network's subnets; in mode `routed` the host gets a route for each.
    pub subnets: Vec<IpNet>,
    /// Mode `nat`: the host's addresses that it leaves with, at most one of each version. Without one of a version the
    /// address of the link that it leaves by.
    pub snat: Vec<IpAddr>,
    /// The LAN that its endpoints are on; it then has no gateways, subnets and publishes.
    pub lan: Option<LanDesired>,
    /// Of the bridge and the transit link, bytes.
    pub mtu: u32,
    /// Attached to the bridge.
    pub endpoints: Vec<EndpointDesired>,
    /// Host ports that lead to an endpoint of this network.
    pub publishes: Vec<PublishDesired>,
}

/// A LAN outside of this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LanDesired {
    /// The link of the host that leads there: a NIC or a bridge.
    pub uplink: String,
    /// The VLAN, 1 to 4094; frames without a tag when absent.
    pub vlan: Option<u16>,
    /// The LAN's routers, at most one of each version.
    pub gateways: Vec<IpAddr>,
}

/// Whose network namespace a workload has.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Created and removed by us, pinned under the workload's id.
    Ours,
    /// Exists already, at this absolute path; we add `eth0` and later remove it again.
    At(PathBuf),
    /// Not known: the workload's side is left on the host, down and without addresses, for somebody who moves it into a namespace
    /// and sets it up there. What becomes of it then is not looked at.
    Handed {
        /// Our side is set up. While it is not, nothing passes, whatever policy says.
        open: bool,
    },
}

/// One attachment of a workload to a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointDesired {
    /// Decides names, MACs and interface indices.
    pub number: EndpointNumber,
    /// `<tenant>.<workload>`; see [`NsName::workload`]. Several attachments of one workload have the same.
    pub workload: NsName,
    /// It is an attachment beside the workload's first one, and no default route of the main table leads over it.
    pub further: bool,
    /// The workload has others: what it sends from an address of this one leaves here, by a table of its own.
    pub several: bool,
    /// Whose namespace it is.
    pub place: Place,
    /// What the workload's side of the link is called; [`EndpointDesired::INTERFACE`] in a namespace of ours.
    pub interface: String,
    /// The MAC of that side; [`EndpointNumber::mac`] but on a LAN.
    pub mac: Mac,
    /// Addresses of that side with the prefix length of their segment.
    pub addresses: Vec<IpNet>,
    /// Next hop of the IPv4 default route: the bridge's address in the segment.
    pub gateway_v4: Option<Ipv4Addr>,
    /// Next hop of the IPv6 default route.
    pub gateway_v6: Option<Ipv6Addr>,
    /// Of both ends of the veth, bytes.
    pub mtu: u32,
}

impl EndpointDesired {
    /// What the workload's side of the link is called when nothing is said.
    pub const INTERFACE: &'static str = ETH0;

    /// The routing table of what is sent from its addresses, when the workload has several attachments.
    #[must_use]
    pub fn table(&self) -> u32 {
        self.number.peer_ifindex()
    }

    /// For messages: the workload, of a further attachment with its link.
    #[must_use]
    pub fn subject(&self) -> String {
        if self.further {
            format!("{} {}", self.workload, self.interface)
        } else {
            self.workload.to_string()
        }
    }

    /// The workload's network namespace; the host's, as long as its link is to be handed over.
    #[must_use]
    pub fn ns(&self) -> Ns {
        match &self.place {
            Place::Ours => Ns::Ours(self.workload.clone()),
            Place::At(path) => Ns::At(path.clone()),
            Place::Handed { .. } => Ns::Host,
        }
    }
}

/// A workload without any network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IsolatedDesired {
    /// `<tenant>.<workload>`.
    pub workload: NsName,
}

/// A transport protocol that has ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// RFC 9293.
    Tcp,
    /// RFC 768.
    Udp,
    /// RFC 9260.
    Sctp,
}

impl Transport {
    /// The word that files and `nft` use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}

/// A port of the host that leads to a workload. The client's address is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishDesired {
    /// Its name in the file; becomes the comment of the nftables rules.
    pub name: String,
    /// Transport protocol.
    pub transport: Transport,
    /// First and last port on the host, inclusive.
    pub ports: (u16, u16),
    /// Port of the workload. A range keeps its ports, so it must then equal `ports.0`.
    pub target_port: u16,
    /// The workload's IPv4 address.
    pub target_v4: Option<Ipv4Addr>,
    /// The workload's IPv6 address.
    pub target_v6: Option<Ipv6Addr>,
    /// Only this address of the host; all of them when absent.
    pub address: Option<IpAddr>,
    /// Only clients in these networks; everybody when empty.
    pub from: Vec<IpNet>,
}
