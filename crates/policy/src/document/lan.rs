//! Where a network is present on a LAN outside of this host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// The LAN that the workloads of a network are on, each with a MAC and with addresses of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lan {
    /// The interface of the host that leads there: a NIC or a bridge, by name.
    pub uplink: Arc<str>,
    /// The VLAN of the frames there, 1 to 4094; without a tag when absent.
    pub vlan: Option<u16>,
    /// The LAN's router for IPv4, inside of the network's subnet and nobody's workload.
    pub gateway_v4: Option<Ipv4Addr>,
    /// The LAN's router for IPv6, inside of the network's subnet or link-local.
    pub gateway_v6: Option<Ipv6Addr>,
}

impl Lan {
    /// Whether an address is one of the LAN's routers.
    #[must_use]
    pub fn is_gateway(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.gateway_v4 == Some(v4),
            IpAddr::V6(v6) => self.gateway_v6 == Some(v6),
        }
    }

    /// `eth1`, or `eth1 VLAN 100`.
    #[must_use]
    pub fn place(&self) -> String {
        match self.vlan {
            Some(vlan) => format!("{} VLAN {vlan}", self.uplink),
            None => self.uplink.to_string(),
        }
    }
}
