//! The steps the reconciler can take. Each prints itself as the command that would do the same.
//!
//! Every step may be repeated: doing it twice is doing it once, but for `NetnsAdd`, `VethAdd` and
//! `BridgeAdd`, which fail when the object exists.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::linux::nft::Ruleset;
use crate::linux::nft::edge::EdgeTable;

use super::{Mac, Ns, NsName, PortFlags, Route, Rule};

/// One step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Create a namespace, pin it, write the sysctls of its profile, set loopback up.
    NetnsAdd {
        /// Where it is pinned.
        name: NsName,
        /// What it is for.
        profile: NsProfile,
    },
    /// Unpin a namespace; the kernel ends it when its last process and socket are gone.
    NetnsDelete {
        /// Where it is pinned.
        name: NsName,
    },
    /// Create both ends of a veth, down, each in its namespace.
    VethAdd(VethSpec),
    /// Create a link of type `vlan`, down, on a link of the host and as a port of a bridge elsewhere.
    VlanAdd(VlanSpec),
    /// Make a link a port of a bridge.
    LinkMaster {
        /// Namespace of both.
        ns: Ns,
        /// Name of the link.
        link: String,
        /// Name of the bridge.
        master: String,
    },
    /// Have a NIC take frames for another MAC, too.
    UnicastAdd {
        /// Namespace.
        ns: Ns,
        /// Name of the NIC.
        link: String,
        /// Beside its own.
        mac: Mac,
    },
    /// No longer have a NIC take frames for another MAC.
    UnicastDelete {
        /// Namespace.
        ns: Ns,
        /// Name of the NIC.
        link: String,
        /// Beside its own.
        mac: Mac,
    },
    /// Create a bridge without learning of multicast groups, spanning tree or netfilter calls.
    BridgeAdd {
        /// Namespace.
        ns: Ns,
        /// Name of the bridge.
        link: String,
        /// Its address.
        mac: Mac,
        /// Bytes.
        mtu: u32,
    },
    /// Set a link up or down.
    LinkUp {
        /// Namespace.
        ns: Ns,
        /// Name of the link.
        link: String,
        /// Up, or down.
        up: bool,
    },
    /// Set the MTU of a link.
    LinkMtu {
        /// Namespace.
        ns: Ns,
        /// Name of the link.
        link: String,
        /// Bytes.
        mtu: u32,
    },
    /// Delete a link; a veth takes its other end with it.
    LinkDelete {
        /// Namespace.
        ns: Ns,
        /// Name of the link.
        link: String,
    },
    /// Delete many links at once; veths take their other ends with them. No error about those that
    /// are gone.
    LinksDelete {
        /// Namespace.
        ns: Ns,
        /// Names of the links.
        links: Vec<String>,
    },
    /// Give a bridge port its flags.
    PortSet {
        /// Namespace.
        ns: Ns,
        /// Name of the port.
        link: String,
        /// Which ones.
        flags: PortFlags,
    },
    /// Pin a MAC to a bridge port.
    FdbReplace {
        /// Namespace.
        ns: Ns,
        /// Name of the port.
        link: String,
        /// The address behind it.
        mac: Mac,
    },
    /// Add an address, without duplicate address detection.
    AddressAdd {
        /// Namespace.
        ns: Ns,
        /// Name of the link.
        link: String,
        /// With prefix length.
        address: IpNet,
    },
    /// Remove an address.
    AddressDelete {
        /// Namespace.
        ns: Ns,
        /// Name of the link.
        link: String,
        /// With prefix length.
        address: IpNet,
    },
    /// Add a route, or change its next hop.
    RouteReplace {
        /// Namespace.
        ns: Ns,
        /// The route.
        route: Route,
    },
    /// Remove a route.
    RouteDelete {
        /// Namespace.
        ns: Ns,
        /// The route.
        route: Route,
    },
    /// Route what is sent from an address by a table of its own. No error when that is so.
    RuleAdd {
        /// Namespace.
        ns: Ns,
        /// The rule.
        rule: Rule,
    },
    /// Remove a routing rule.
    RuleDelete {
        /// Namespace.
        ns: Ns,
        /// The rule.
        rule: Rule,
    },
    /// Pin a neighbour's MAC.
    NeighReplace {
        /// Namespace.
        ns: Ns,
        /// Name of the link.
        link: String,
        /// The neighbour.
        address: IpAddr,
        /// Its MAC.
        mac: Mac,
    },
    /// Remove a neighbour.
    NeighDelete {
        /// Namespace.
        ns: Ns,
        /// Name of the link.
        link: String,
        /// The neighbour.
        address: IpAddr,
    },
    /// Set a sysctl of the host that is not of a link of ours; its value is remembered first.
    SysctlSet {
        /// Path below `/proc/sys`.
        key: String,
        /// Value to write.
        value: String,
    },
    /// Put back every sysctl that was remembered.
    SysctlRestore,
    /// Set a sysctl of a link of ours, which ends with the link.
    LinkSysctl {
        /// Namespace.
        ns: Ns,
        /// Path below `/proc/sys`.
        key: String,
        /// Value to write.
        value: String,
    },
    /// Replace our nftables table in one transaction.
    TableReplace {
        /// Namespace.
        ns: Ns,
        /// The whole table.
        ruleset: Ruleset,
    },
    /// Delete our nftables table.
    TableDelete {
        /// Namespace.
        ns: Ns,
    },
    /// Replace our nftables table at the edge to a LAN in one transaction.
    EdgeReplace {
        /// Namespace.
        ns: Ns,
        /// The whole table.
        table: EdgeTable,
    },
    /// Delete our nftables table at the edge to a LAN.
    EdgeDelete {
        /// Namespace; the host's is of family `netdev`, others are of family `bridge`.
        ns: Ns,
    },
}

/// What a namespace of ours is for; decides its sysctls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NsProfile {
    /// Forwards between a bridge and the host.
    Router,
    /// Holds a workload.
    Workload,
}

/// Both ends of a veth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VethSpec {
    /// Namespace of the near end.
    pub ns: Ns,
    /// Name of the near end.
    pub link: String,
    /// Interface index of the near end; the kernel chooses when absent.
    pub index: Option<u32>,
    /// MAC of the near end.
    pub mac: Mac,
    /// Bridge in `ns` that the near end becomes a port of.
    pub master: Option<String>,
    /// Namespace of the far end.
    pub peer_ns: Ns,
    /// Name of the far end.
    pub peer_link: String,
    /// Interface index of the far end; the kernel chooses when absent.
    pub peer_index: Option<u32>,
    /// MAC of the far end.
    pub peer_mac: Mac,
    /// Of both ends, bytes.
    pub mtu: u32,
}

/// A link of type `vlan`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VlanSpec {
    /// Where it is made.
    pub ns: Ns,
    /// Its name.
    pub link: String,
    /// Bridge in `ns` that it becomes a port of.
    pub master: String,
    /// The link of the host's namespace that it is on.
    pub parent: String,
    /// The VLAN, 1 to 4094.
    pub id: u16,
    /// Bytes.
    pub mtu: u32,
}

impl fmt::Display for VlanSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { ns, link, master, parent, id, mtu } = self;
        write!(f, "ip link add link {parent} name {link} mtu {mtu} netns {ns} type vlan id {id}")?;
        write!(f, " # master {master}")
    }
}

impl fmt::Display for VethSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} link add {}", Ip(&self.ns), self.link)?;
        if let Some(index) = self.index {
            write!(f, " index {index}")?;
        }
        write!(f, " address {} mtu {}", self.mac, self.mtu)?;
        if let Some(master) = &self.master {
            write!(f, " master {master}")?;
        }
        write!(f, " type veth peer name {} netns {}", self.peer_link, self.peer_ns)?;
        if let Some(index) = self.peer_index {
            write!(f, " index {index}")?;
        }
        write!(f, " address {}", self.peer_mac)
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NetnsAdd { name, profile } => write!(f, "ip netns add {name} # {profile:?}"),
            Self::NetnsDelete { name } => write!(f, "ip netns delete {name}"),
            Self::TableReplace { ns, ruleset } => {
                write!(f, "{}nft replace table inet bulkhead # {}", Nsenter(ns), ruleset.hash())
            }
            Self::TableDelete { ns } => {
                write!(f, "{}nft delete table inet bulkhead", Nsenter(ns))
            }
            Self::SysctlSet { key, value } => write!(f, "sysctl -w {key}={value}"),
            Self::LinkSysctl { ns, key, value } => {
                write!(f, "{}sysctl -w {key}={value}", Nsenter(ns))
            }
            Self::SysctlRestore => f.write_str("sysctl -p # remembered values"),
            Self::VethAdd(spec) => spec.fmt(f),
            Self::VlanAdd(spec) => spec.fmt(f),
            Self::EdgeReplace { ns, table } => {
                let (ns, family) = (Nsenter(ns), table.family);
                write!(f, "{ns}nft replace table {family} bulkhead # {}", table.hash())
            }
            Self::EdgeDelete { ns } => {
                let family = if *ns == Ns::Host { "netdev" } else { "bridge" };
                write!(f, "{}nft delete table {family} bulkhead", Nsenter(ns))
            }
            _ => self.fmt_ip(f),
        }
    }
}

impl Op {
    /// Whether the step makes an object that is not there yet, after which the rest of its subject is done in any case.
    #[must_use]
    pub const fn makes_new(&self) -> bool {
        matches!(
            self,
            Self::NetnsAdd { .. }
                | Self::VethAdd(_)
                | Self::VlanAdd(_)
                | Self::BridgeAdd { .. }
                | Self::RuleAdd { .. }
        )
    }

    /// Whether the step is about an IPv6 address, route or neighbour.
    #[must_use]
    pub const fn is_v6(&self) -> bool {
        match self {
            Self::AddressAdd { address, .. } | Self::AddressDelete { address, .. } => {
                matches!(address, IpNet::V6(_))
            }
            Self::RouteReplace { route, .. } | Self::RouteDelete { route, .. } => {
                matches!(route.to, IpNet::V6(_))
            }
            Self::RuleAdd { rule, .. } | Self::RuleDelete { rule, .. } => rule.from.is_ipv6(),
            Self::NeighReplace { address, .. } | Self::NeighDelete { address, .. } => {
                address.is_ipv6()
            }
            _ => false,
        }
    }

    /// The namespaces that have to be known to tell whether the step is needed.
    pub(super) fn places(&self) -> [Option<&Ns>; 2] {
        match self {
            Self::VethAdd(spec) => [Some(&spec.ns), Some(&spec.peer_ns)],
            Self::VlanAdd(spec) => [Some(&spec.ns), Some(&Ns::Host)],
            Self::LinkSysctl { ns, .. }
            | Self::TableReplace { ns, .. }
            | Self::TableDelete { ns }
            | Self::EdgeReplace { ns, .. }
            | Self::EdgeDelete { ns }
            | Self::RuleAdd { ns, .. }
            | Self::RuleDelete { ns, .. }
            | Self::LinksDelete { ns, .. } => [Some(ns), None],
            // Pins are listed and the host's sysctls read on every pass.
            Self::NetnsAdd { .. }
            | Self::NetnsDelete { .. }
            | Self::SysctlSet { .. }
            | Self::SysctlRestore => [None, None],
            _ => [self.link().map(|(ns, _)| ns), None],
        }
    }

    /// The link that a netlink step is about; `None` for steps of another kind.
    #[must_use]
    pub fn link(&self) -> Option<(&Ns, &str)> {
        match self {
            Self::VethAdd(spec) => Some((&spec.ns, &spec.link)),
            Self::VlanAdd(spec) => Some((&spec.ns, &spec.link)),
            Self::RouteReplace { ns, route } | Self::RouteDelete { ns, route } => {
                Some((ns, &route.dev))
            }
            Self::BridgeAdd { ns, link, .. }
            | Self::LinkUp { ns, link, .. }
            | Self::LinkMtu { ns, link, .. }
            | Self::LinkDelete { ns, link }
            | Self::LinkMaster { ns, link, .. }
            | Self::UnicastAdd { ns, link, .. }
            | Self::UnicastDelete { ns, link, .. }
            | Self::PortSet { ns, link, .. }
            | Self::FdbReplace { ns, link, .. }
            | Self::AddressAdd { ns, link, .. }
            | Self::AddressDelete { ns, link, .. }
            | Self::NeighReplace { ns, link, .. }
            | Self::NeighDelete { ns, link, .. } => Some((ns, link)),
            _ => None,
        }
    }

    fn fmt_ip(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BridgeAdd { ns, link, mac, mtu } => {
                write!(f, "{} link add {link} address {mac} mtu {mtu} type bridge", Ip(ns))
            }
            Self::LinkUp { ns, link, up } => {
                write!(f, "{} link set {link} {}", Ip(ns), if *up { "up" } else { "down" })
            }
            Self::LinkMtu { ns, link, mtu } => write!(f, "{} link set {link} mtu {mtu}", Ip(ns)),
            Self::LinkDelete { ns, link } => write!(f, "{} link delete {link}", Ip(ns)),
            Self::LinksDelete { ns, links } => {
                write!(f, "{} link delete group # {}", Ip(ns), links.join(" "))
            }
            Self::LinkMaster { ns, link, master } => {
                write!(f, "{} link set {link} master {master}", Ip(ns))
            }
            Self::UnicastAdd { ns, link, mac } => {
                write!(f, "bridge -n {ns} fdb add {mac} dev {link} self permanent")
            }
            Self::UnicastDelete { ns, link, mac } => {
                write!(f, "bridge -n {ns} fdb delete {mac} dev {link} self")
            }
            Self::PortSet { ns, link, flags } => {
                let word = |on: bool| if on { "on" } else { "off" };
                let [learning, flood, suppress] =
                    [flags.learning, flags.flood, flags.neigh_suppress].map(word);
                write!(f, "{} link set {link} type bridge_slave learning {learning}", Ip(ns))?;
                write!(f, " flood {flood} neigh_suppress {suppress}")
            }
            Self::FdbReplace { ns, link, mac } => {
                write!(f, "bridge -n {ns} fdb replace {mac} dev {link} master static")
            }
            Self::AddressAdd { ns, link, address } => {
                write!(f, "{} address add {address} dev {link} nodad", Ip(ns))
            }
            Self::AddressDelete { ns, link, address } => {
                write!(f, "{} address delete {address} dev {link}", Ip(ns))
            }
            Self::RouteReplace { ns, route } => write!(f, "{} route replace {route}", Ip(ns)),
            Self::RouteDelete { ns, route } => write!(f, "{} route delete {route}", Ip(ns)),
            Self::RuleAdd { ns, rule } => write!(f, "{} rule add {rule}", Ip(ns)),
            Self::RuleDelete { ns, rule } => write!(f, "{} rule delete {rule}", Ip(ns)),
            Self::NeighReplace { ns, link, address, mac } => write!(
                f,
                "{} neigh replace {address} lladdr {mac} dev {link} nud permanent",
                Ip(ns)
            ),
            Self::NeighDelete { ns, link, address } => {
                write!(f, "{} neigh delete {address} dev {link}", Ip(ns))
            }
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.to.prefix_len() {
            0 => f.write_str("default")?,
            _ => self.to.fmt(f)?,
        }
        if let Some(via) = self.via {
            write!(f, " via {via}")?;
        }
        write!(f, " dev {}", self.dev)?;
        if let Some(table) = self.table {
            write!(f, " table {table}")?;
        }
        write!(f, " proto {:#x}", super::RTPROT)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, table) = (self.from, self.table);
        write!(f, "from {from} lookup {table} pref {} proto {:#x}", super::RULE, super::RTPROT)
    }
}

/// `ip`, or `ip -n NS` for another namespace than the host's.
struct Ip<'a>(&'a Ns);

impl fmt::Display for Ip<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ns::Host => f.write_str("ip"),
            other => write!(f, "ip -n {other}"),
        }
    }
}

/// The prefix that runs a command in another namespace than the host's.
struct Nsenter<'a>(&'a Ns);

impl fmt::Display for Nsenter<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Ns::Host => Ok(()),
            other => write!(f, "nsenter --net={other} "),
        }
    }
}
