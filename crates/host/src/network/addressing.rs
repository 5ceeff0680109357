//! Numbers of networks and endpoints, and every name, index and address that follows from them.
//!
//! Nothing here is stored or negotiated: a number is enough to know a MAC, an interface name, an
//! interface index and the transit addresses, so that any process can recognise what is ours.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

/// The `rtm_protocol` of every route we add (`b`); shown by `ip route` as `proto 98`.
pub const RTPROT: u8 = 0x62;

/// The priority of every routing rule that we add; the tables `main` and `default` come after it.
pub const RULE: u32 = 0x6268;

/// The `IFA_PROTO` of every address we add; kernels before 5.18 ignore it.
pub const IFA_PROTO: u8 = 0x62;

/// The host side of endpoint `n` has interface index `ENDPOINT_IFINDEX_BASE + n`.
pub const ENDPOINT_IFINDEX_BASE: u32 = 0x0010_0000;

/// The workload side of endpoint `n` has interface index `PEER_IFINDEX_BASE + n`. It must differ
/// from the index of the other side: the kernel delays carrier events of a link whose `iflink` is
/// its own index (`linkwatch_urgent_event` of net/core).
pub const PEER_IFINDEX_BASE: u32 = 0x0020_0000;

/// The host side of the leg of network `N` onto a LAN has interface index `LAN_IFINDEX_BASE + N`.
pub const LAN_IFINDEX_BASE: u32 = 0x0030_0000;

/// The largest endpoint number.
pub const MAX_ENDPOINT: u16 = 16_383;

/// The largest network number: one /31 of [`TRANSIT_V4`] each.
pub const MAX_NETWORK: u16 = 4_095;

/// Holds the transit /31 of every network.
pub const TRANSIT_V4: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(169, 254, 64, 0), 19);

/// Holds the transit /127 of every network.
pub const TRANSIT_V6: Ipv6Net =
    Ipv6Net::new_assert(Ipv6Addr::new(0xfd62, 0x756c, 0x6b68, 0, 0, 0, 0, 0), 64);

/// A number outside of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Endpoints are numbered from 1 to [`MAX_ENDPOINT`].
    #[error("endpoint number {0} is not between 1 and {MAX_ENDPOINT}")]
    Endpoint(u32),
    /// Networks are numbered from 0 to [`MAX_NETWORK`].
    #[error("network number {0} is not between 0 and {MAX_NETWORK}")]
    Network(u32),
}

/// An Ethernet address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    const fn numbered(kind: u8, number: u16) -> Self {
        let [high, low] = number.to_be_bytes();
        Self([0x02, 0x62, 0x68, kind, high, low])
    }

    /// Whether the address carries a prefix of ours: `02:62:68`, or `02:62:69` of endpoints on a LAN.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self.0, [0x02, 0x62, 0x68 | 0x69, ..])
    }

    /// The IPv6 link-local address that the kernel derives from it (RFC 4291, appendix A).
    #[must_use]
    pub const fn link_local(self) -> Ipv6Addr {
        let mac = self.0;
        let high = [mac[0] ^ 2, mac[1], mac[2]];
        let octets = [
            0xfe, 0x80, 0, 0, 0, 0, 0, 0, high[0], high[1], high[2], 0xff, 0xfe, mac[3], mac[4],
            mac[5],
        ];
        Ipv6Addr::from_octets(octets)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, byte) in self.0.iter().enumerate() {
            write!(f, "{}{byte:02x}", if at == 0 { "" } else { ":" })?;
        }
        Ok(())
    }
}

/// The number of an endpoint, 1 to [`MAX_ENDPOINT`]; allocated by the agent and kept for life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointNumber(u16);

impl EndpointNumber {
    /// Checks the range.
    ///
    /// # Errors
    ///
    /// [`NumberError::Endpoint`] for 0 and for anything above [`MAX_ENDPOINT`].
    pub const fn new(number: u16) -> Result<Self, NumberError> {
        if number == 0 || number > MAX_ENDPOINT {
            return Err(NumberError::Endpoint(number as u32));
        }
        Ok(Self(number))
    }

    /// Reads the number back from an interface name such as `bh17`.
    #[must_use]
    pub fn from_link_name(name: &str) -> Option<Self> {
        let number = name.strip_prefix("bh")?.parse().ok()?;
        Self::new(number).ok().filter(|found| found.link_name() == name)
    }

    /// The plain number.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The name of the host-side veth, `bh<n>`.
    #[must_use]
    pub fn link_name(self) -> String {
        format!("bh{}", self.0)
    }

    /// The interface index of the host-side veth.
    #[must_use]
    pub const fn ifindex(self) -> u32 {
        ENDPOINT_IFINDEX_BASE + self.0 as u32
    }

    /// The interface index of `eth0` in the workload's namespace.
    #[must_use]
    pub const fn peer_ifindex(self) -> u32 {
        PEER_IFINDEX_BASE + self.0 as u32
    }

    /// The MAC of `eth0` in the workload's namespace, `02:62:68:00:hi:lo`.
    #[must_use]
    pub const fn mac(self) -> Mac {
        Mac::numbered(0x00, self.0)
    }

    /// The MAC of the host-side veth, `02:62:68:01:hi:lo`; no frame is ever addressed to it.
    #[must_use]
    pub const fn host_mac(self) -> Mac {
        Mac::numbered(0x01, self.0)
    }
}

impl fmt::Display for EndpointNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The number of a network on this host, 0 to [`MAX_NETWORK`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkNumber(u16);

impl NetworkNumber {
    /// Checks the range.
    ///
    /// # Errors
    ///
    /// [`NumberError::Network`] for anything above [`MAX_NETWORK`].
    pub const fn new(number: u16) -> Result<Self, NumberError> {
        if number > MAX_NETWORK {
            return Err(NumberError::Network(number as u32));
        }
        Ok(Self(number))
    }

    /// Reads the number back from an interface name such as `bt3`.
    #[must_use]
    pub fn from_link_name(name: &str) -> Option<Self> {
        let number = name.strip_prefix("bt")?.parse().ok()?;
        Self::new(number).ok().filter(|found| found.link_name() == name)
    }

    /// The plain number.
    #[must_use]
    pub const fn value(self) -> u16 {
        self.0
    }

    /// The name of the transit veth in the host's namespace, `bt<N>`.
    #[must_use]
    pub fn link_name(self) -> String {
        format!("bt{}", self.0)
    }

    /// The MAC of the network's bridge, which is its gateway: `02:62:68:ff:hi:lo`.
    #[must_use]
    pub const fn bridge_mac(self) -> Mac {
        Mac::numbered(0xff, self.0)
    }

    /// The name of the leg onto a LAN in the host's namespace, `bl<N>`.
    #[must_use]
    pub fn lan_link_name(self) -> String {
        format!("bl{}", self.0)
    }

    /// Reads the number back from the name of a leg onto a LAN.
    #[must_use]
    pub fn from_lan_link_name(name: &str) -> Option<Self> {
        let number = name.strip_prefix("bl")?.parse().ok()?;
        Self::new(number).ok().filter(|found| found.lan_link_name() == name)
    }

    /// The interface index of the leg onto a LAN in the host's namespace.
    #[must_use]
    pub const fn lan_ifindex(self) -> u32 {
        LAN_IFINDEX_BASE + self.0 as u32
    }

    /// The MACs of the leg onto a LAN, in the router and in the host's namespace: `02:62:68:fb:hi:lo` and `02:62:68:fc:hi:lo`.
    #[must_use]
    pub const fn lan_macs(self) -> [Mac; 2] {
        [Mac::numbered(0xfb, self.0), Mac::numbered(0xfc, self.0)]
    }

    /// The transit link between the host and the network's router.
    #[must_use]
    pub fn transit(self) -> Transit {
        let v4 = u32::from(TRANSIT_V4.addr()) + 2 * u32::from(self.0);
        let v6 = u128::from(TRANSIT_V6.addr()) + 2 * u128::from(self.0);
        Transit {
            host_v4: Ipv4Addr::from(v4),
            router_v4: Ipv4Addr::from(v4 + 1),
            host_v6: Ipv6Addr::from(v6),
            router_v6: Ipv6Addr::from(v6 + 1),
            host_mac: Mac::numbered(0xfd, self.0),
            router_mac: Mac::numbered(0xfe, self.0),
        }
    }
}

impl fmt::Display for NetworkNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The addresses of one network's transit link; prefix lengths are 31 and 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transit {
    /// On `bt<N>` in the host's namespace.
    pub host_v4: Ipv4Addr,
    /// On `up0` in the router.
    pub router_v4: Ipv4Addr,
    /// On `bt<N>` in the host's namespace.
    pub host_v6: Ipv6Addr,
    /// On `up0` in the router.
    pub router_v6: Ipv6Addr,
    /// Of `bt<N>`, `02:62:68:fd:hi:lo`.
    pub host_mac: Mac,
    /// Of `up0`, `02:62:68:fe:hi:lo`.
    pub router_mac: Mac,
}
