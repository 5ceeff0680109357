//! A port that nobody in the file has, as the programs are told of it: a value of a map, see [`crate::abi`].

use crate::abi::{Addr, MAX_ENDPOINTS, MAX_TENANTS, Mac, UPLINKS};

/// The number of everybody behind ports that nobody in the file has: one endpoint for all of them, see [`crate::abi::Endpoint::UNMANAGED`].
pub const UNMANAGED_ENDPOINT: u32 = UPLINKS - 1;
/// The tenant whose share the flows of those use.
pub const UNMANAGED_TENANT: u32 = MAX_TENANTS - 2;
/// The identity of what is in a network and nobody's in the file.
pub const UNMANAGED_IDENTITY: u64 = 3;

/// What an interface in place is to the programs: a value of the map `PORTS_IN_PLACE`, whose key is the interface's index. Below
/// [`MAX_ENDPOINTS`] it is an endpoint's number; with the highest bit it is a port that nobody in the file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stray(u32);

impl Stray {
    /// Numbers of such ports begin here, where those of endpoints end.
    pub const FIRST: u32 = MAX_ENDPOINTS;
    /// At most this many of them.
    pub const MOST: u32 = 2_048;

    const BIT: u32 = 1 << 31;
    const BRIDGE: u32 = 1 << 30;
    const V6: u32 = 1 << 29;
    const V4: u32 = 1 << 28;
    const NETWORK: u32 = 0xfff;

    /// A port with this number that lets nothing through.
    #[must_use]
    pub const fn closed(number: u32) -> Self {
        Self(Self::BIT | number & 0xffff)
    }

    /// A port of a bridge that a network stands on. `subnets` tells of which versions the network has any, IPv4 first.
    #[must_use]
    pub const fn open(number: u32, network: u16, subnets: [bool; 2]) -> Self {
        let v4 = if subnets[0] { Self::V4 } else { 0 };
        let v6 = if subnets[1] { Self::V6 } else { 0 };
        Self(Self::closed(number).0 | (network as u32 & Self::NETWORK) << 16 | v4 | v6)
    }

    /// The same for the bridge itself: what comes to it by ports that have no programs yet.
    #[must_use]
    pub const fn bridge(number: u32, network: u16, subnets: [bool; 2]) -> Self {
        Self(Self::open(number, network, subnets).0 | Self::BRIDGE)
    }

    /// From the map's value; `None` for an endpoint's number.
    #[must_use]
    pub const fn read(value: u32) -> Option<Self> {
        if value & Self::BIT != 0 { Some(Self(value)) } else { None }
    }

    /// As the map's value.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// The port's number.
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0 & 0xffff
    }

    /// The number of its network; 0 when it is closed.
    #[must_use]
    pub const fn network(self) -> u32 {
        self.0 >> 16 & Self::NETWORK
    }

    /// Whether it is the bridge itself.
    #[must_use]
    pub const fn is_bridge(self) -> bool {
        self.0 & Self::BRIDGE != 0
    }

    /// Whether the network has a subnet of the version of `address`: others than its own do not belong here then.
    #[must_use]
    pub const fn has_subnet(self, address: Addr) -> bool {
        self.0 & if address.is_v4() { Self::V4 } else { Self::V6 } != 0
    }
}

impl Addr {
    /// What stands in the tables for the MAC address of an endpoint in place: `100:0:0:1::/64`, the dummy prefix (RFC 9780), which nobody has.
    #[must_use]
    pub const fn of_mac(mac: Mac) -> Self {
        let high = u32::from_be_bytes([0, 0, mac[0], mac[1]]);
        let low = u32::from_be_bytes([mac[2], mac[3], mac[4], mac[5]]);
        Self([0x0100_0000_u32.to_be(), 1_u32.to_be(), high.to_be(), low.to_be()])
    }
}
