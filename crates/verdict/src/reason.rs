//! Why a packet was dropped: stable codes shared by kernel, API and documents.

/// A drop reason. Printed as `BH-D` and three digits; numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Reason {
    /// Not dropped.
    None = 0,
    /// A deny rule matched.
    PolicyDeny = 1,
    /// No rule allows it and the posture is deny.
    DefaultDeny = 2,
    /// A policy change ended an established flow.
    Revoked = 3,
    /// The hook has no endpoint configured.
    UnknownEndpoint = 10,
    /// The source MAC is not the endpoint's.
    SpoofedMac = 11,
    /// The source IP address is not the endpoint's.
    SpoofedAddress = 12,
    /// An ARP packet claims a foreign MAC or IP address.
    SpoofedArp = 13,
    /// A neighbour discovery packet claims a foreign MAC or IP address.
    SpoofedNd = 14,
    /// A workload answers as a DHCP server.
    RogueDhcp = 15,
    /// A workload sends a router advertisement or a redirect.
    RogueRouter = 16,
    /// A frame for another MAC address reached this endpoint.
    ForeignFrame = 17,
    /// The frame carries a VLAN tag.
    VlanTag = 20,
    /// Neither IPv4, IPv6 nor ARP.
    UnknownEtherType = 21,
    /// A header is cut short or contradicts itself.
    Malformed = 22,
    /// IPv4 options, source routing among them.
    IpOptions = 23,
    /// An IPv6 extension header that is not accepted, or too many.
    ExtensionHeader = 24,
    /// A later fragment whose first fragment did not pass.
    OrphanFragment = 25,
    /// A fragment that would overlap transport headers, or is too short to hold them.
    TinyFragment = 26,
    /// Multicast, broadcast or link-local traffic other than address resolution.
    LocalScope = 27,
    /// No flow, and the TCP packet does not open one.
    StrayTcp = 30,
    /// A TCP segment outside of the flow's window.
    OutOfWindow = 31,
    /// No flow, and the ICMP message does not open one.
    StrayIcmp = 32,
    /// An ICMP error that belongs to no flow.
    UnrelatedIcmp = 33,
    /// No flow, and the SCTP packet does not open one.
    StraySctp = 34,
    /// The connection table, or the tenant's budget in it, is full.
    TableFull = 40,
    /// No table entry tells who the peer is.
    UnknownPeer = 41,
    /// The network asked for direct delivery and the endpoint was gone.
    DeliveryFailed = 42,
    /// A workload that shares the host's stack binds a port that no rule opens.
    PortNotOpen = 43,
    /// More flows began at a published port than its limit lets.
    Limited = 44,
}

impl Reason {
    /// Every reason, in the order of the codes.
    pub const ALL: [Self; 30] = [
        Self::None,
        Self::PolicyDeny,
        Self::DefaultDeny,
        Self::Revoked,
        Self::UnknownEndpoint,
        Self::SpoofedMac,
        Self::SpoofedAddress,
        Self::SpoofedArp,
        Self::SpoofedNd,
        Self::RogueDhcp,
        Self::RogueRouter,
        Self::ForeignFrame,
        Self::VlanTag,
        Self::UnknownEtherType,
        Self::Malformed,
        Self::IpOptions,
        Self::ExtensionHeader,
        Self::OrphanFragment,
        Self::TinyFragment,
        Self::LocalScope,
        Self::StrayTcp,
        Self::OutOfWindow,
        Self::StrayIcmp,
        Self::UnrelatedIcmp,
        Self::StraySctp,
        Self::TableFull,
        Self::UnknownPeer,
        Self::DeliveryFailed,
        Self::PortNotOpen,
        Self::Limited,
    ];

    /// The stable number behind `BH-D`.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason with this code.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.code() == code)
    }
}
