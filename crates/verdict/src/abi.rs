//! Keys and values of the kernel's maps: the contract between programs and agent.
//!
//! All types are `repr(C)` without hidden padding, because the kernel compares keys byte by byte.
//! Integers are native-endian; addresses and MACs are bytes in network order. A change of any
//! layout or meaning raises [`ABI`], and maps of another ABI are never adopted.
//!
//! **Two-version values.** A value with `[_; 2]` fields holds two policy versions; the parity of
//! [`Config::epoch`] says which is live. The agent writes the other one, then raises the epoch
//! with one store: a packet sees one version in every table.

pub use crate::connections::{Count, FlowEntry, FlowKey, FlowState, FragmentKey, Window};

/// Number of this layout.
pub const ABI: u32 = 2;
/// Host-side interfaces of endpoints have the index `IFINDEX_BASE + endpoint number`. Those of endpoints in place have any
/// other one, and the map `PORTS_IN_PLACE` leads from it to the number.
pub const IFINDEX_BASE: u32 = 0x0010_0000;
/// Endpoint numbers are below this; 0 means "no endpoint".
pub const MAX_ENDPOINTS: u32 = 16_384;
/// Endpoints with this number and above are uplinks of the host: one endpoint with many ports, see [`Endpoint::UPLINK`].
pub const UPLINKS: u32 = MAX_ENDPOINTS - 16;
/// The number of the host as an endpoint, whichever of its uplinks a packet passes.
pub const HOST_ENDPOINT: u32 = MAX_ENDPOINTS - 1;
/// The network that the uplinks of the host are in; networks of tenants have lower numbers.
pub const HOST_NETWORK: u32 = 0xffff;
/// The tenant whose share the flows of the host use; others have lower numbers.
pub const HOST_TENANT: u32 = MAX_TENANTS - 1;
/// Tenant numbers are below this.
pub const MAX_TENANTS: u32 = 4_096;
/// The identity of the host: its addresses, gateways and transit addresses.
pub const HOST_IDENTITY: u64 = 1;
/// Identities below are none of a workload.
pub const RESERVED_IDENTITIES: u64 = 256;

pub use crate::stray::{Stray, UNMANAGED_ENDPOINT, UNMANAGED_IDENTITY, UNMANAGED_TENANT};

/// A MAC address.
pub type Mac = [u8; 6];

/// An IPv6 address, or an IPv4 address as `::ffff:a.b.c.d`. In memory: network order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(C)]
pub struct Addr(pub [u32; 4]);

impl Addr {
    /// The unspecified IPv6 address `::`.
    pub const UNSPECIFIED: Self = Self([0; 4]);

    /// From 16 bytes in network order.
    #[must_use]
    pub const fn v6(b: [u8; 16]) -> Self {
        Self([
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ])
    }

    /// From an IPv4 address in network order.
    #[must_use]
    pub const fn v4(b: [u8; 4]) -> Self {
        Self([0, 0, 0x0000_ffff_u32.to_be(), u32::from_ne_bytes(b)])
    }

    /// Whether it stands for an IPv4 address.
    #[must_use]
    pub const fn is_v4(self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == 0x0000_ffff_u32.to_be()
    }

    /// The four words in host order, the most significant first.
    #[must_use]
    pub const fn words(self) -> [u32; 4] {
        let w = self.0;
        [u32::from_be(w[0]), u32::from_be(w[1]), u32::from_be(w[2]), u32::from_be(w[3])]
    }

    /// Multicast of either family, IPv4 broadcast or `0.0.0.0`.
    #[must_use]
    pub const fn is_group(self) -> bool {
        let w = self.words();
        if self.is_v4() {
            w[3] >= 0xe000_0000 && w[3] < 0xf000_0000 || w[3] == u32::MAX || w[3] == 0
        } else {
            w[0] >> 24 == 0xff
        }
    }

    /// An IPv6 link-local address (`fe80::/10`).
    #[must_use]
    pub const fn is_link_local(self) -> bool {
        self.words()[0] >> 22 == 0xfe80 >> 6
    }
}

#[cfg(feature = "native")]
impl From<std::net::IpAddr> for Addr {
    fn from(ip: std::net::IpAddr) -> Self {
        match ip {
            std::net::IpAddr::V4(ip) => Self::v4(ip.octets()),
            std::net::IpAddr::V6(ip) => Self::v6(ip.octets()),
        }
    }
}

#[cfg(feature = "native")]
impl From<Addr> for std::net::IpAddr {
    fn from(addr: Addr) -> Self {
        let [a, b, c, d] = addr.words();
        if addr.is_v4() {
            return Self::V4(std::net::Ipv4Addr::from(d));
        }
        let value = u128::from(a) << 96 | u128::from(b) << 64 | u128::from(c) << 32 | u128::from(d);
        Self::V6(std::net::Ipv6Addr::from(value))
    }
}

/// How long a silent flow is kept, by its [`FlowState`]; the unit is jiffies.
pub type Timeouts = [u32; FlowState::COUNT];

/// The node's configuration: the one value of the map `CONFIG`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Config {
    /// The live policy version. Its lowest bit is the parity of two-version values.
    pub epoch: u64,
    /// Idle timeouts.
    pub timeouts: Timeouts,
    /// See [`Config::DELIVER`] and [`Config::HOST`].
    pub flags: u32,
    /// At least this many jiffies lie between two reports of the same kind of drop.
    pub report_interval: u32,
}

impl Config {
    /// Same-host pairs are delivered directly, without bridge and router.
    pub const DELIVER: u32 = 1;
    /// The host has a policy at its uplinks, see [`Config::has_host`].
    pub const HOST: u32 = 2;

    /// Whether the host has a policy at its uplinks, or may have: where its endpoint is missing then, nothing new passes there.
    /// No configuration is without timeouts: one without is lost.
    #[must_use]
    pub const fn has_host(&self) -> bool {
        self.flags & Self::HOST != 0 || self.timeouts[0] == 0
    }
}

/// One network attachment of a workload: a value of the array `ENDPOINTS`, indexed by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Endpoint {
    /// By parity, then `[egress, ingress]`: the slot that holds its policy.
    pub slots: [[u64; 2]; 2],
    /// Its IPv4 address, or [`Addr::UNSPECIFIED`].
    pub v4: Addr,
    /// Its IPv6 address, or [`Addr::UNSPECIFIED`].
    pub v6: Addr,
    /// Its IPv6 link-local address.
    pub link_local: Addr,
    /// The network it is attached to; 0 means that the entry is unused.
    pub network: u32,
    /// The tenant whose budget its flows use.
    pub tenant: u32,
    /// By parity, then `[egress, ingress]`: [`Posture`] as a number.
    pub posture: [[u8; 2]; 2],
    /// Its MAC address.
    pub mac: Mac,
    /// The MAC address of its network's bridge, the gateway.
    pub gateway_mac: Mac,
    /// See [`Endpoint::IN_PLACE`] and its neighbours.
    pub flags: u16,
    /// Zero.
    pub pad: [u8; 6],
}

impl Endpoint {
    /// Its port is an interface of somebody else, on a bridge of somebody else: nothing is delivered directly to it or from
    /// it, both hooks look at a packet between two of these, and what claims to be from one must have entered by its port.
    pub const IN_PLACE: u16 = 1;
    /// It may ask everybody for its address by DHCP, and is answered (RFC 2131 §4.1, RFC 8415 §7).
    pub const DHCP_CLIENT: u16 = 2;
    /// A port of it is published with a limit, see [`crate::meters::LimitKey`].
    pub const LIMITED: u16 = 16;
    /// It is the host at an uplink: its programs are turned round, it has many addresses, and forwards for others.
    pub const UPLINK: u16 = 4;
    /// An uplink at which rules tell processes of the host apart, see [`crate::account`].
    pub const ACCOUNTS: u16 = 64;
    /// It shares the host's stack: its programs are on its cgroup, its addresses are the host's, and the tables have
    /// [`Addr::hosted`] for them.
    pub const HOSTED: u16 = 8;
    /// It is everybody behind ports that nobody in the file has. Its network is the port's ([`Stray::network`]), its posture is that of `unmanaged:`.
    pub const UNMANAGED: u16 = 32;
    /// Length of the prefix of [`Addr::hosted`], of 128 bits.
    pub const HOSTED_BITS: u8 = 80;

    /// The row that says which ports an endpoint of the host's stack with this slot of ingress may bind: those that a rule opens to anybody.
    #[must_use]
    pub const fn bind_row(slot: u64) -> RowKey {
        RowKey { slot, class: Self::ANYBODY }
    }

    /// The class of [`Endpoint::bind_row`], which no peer has.
    pub const ANYBODY: u64 = u64::MAX;
}

/// What happens to packets that no rule names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Posture {
    /// They are dropped.
    #[default]
    Deny = 0,
    /// They pass and are recorded as "would have been dropped".
    Audit = 1,
    /// They pass.
    Allow = 2,
}

/// An address in a network: a key of the hash `IPCACHE`. As a key of the trie `PREFIXES` it follows
/// [`PrefixKey::len`]. The value in both is an index into the array `PEERS`, see [`Peer`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PeerKey {
    /// The network's number.
    pub network: u32,
    /// The address.
    pub addr: Addr,
}

/// A key of the trie `PREFIXES`, whose value is an index into the array `PEERS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PrefixKey {
    /// 32 (the network) plus the prefix length of the address among its 128 bits.
    pub len: u32,
    /// Network and address.
    pub key: PeerKey,
}

/// Who is behind an address: a value of the array `PEERS`, to which `IPCACHE` and `PREFIXES` lead.
///
/// Not a value of those two itself: replacing a value of a hash replaces the element, and what a
/// packet holds may then be another element's memory (docs/adr/0011-peers-in-an-array.md).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Peer {
    /// By parity: the class whose rows decide.
    pub class: [u64; 2],
    /// By parity: the identity, for people.
    pub identity: [u64; 2],
    /// The endpoint's number when it is one of this node's in this network, else 0.
    pub endpoint: u32,
    /// Zero.
    pub pad: u32,
}

impl Peer {
    /// Whether nothing is said of it: no peer is without an identity in both versions.
    #[must_use]
    pub const fn is_lost(&self) -> bool {
        self.identity[0] == 0 && self.identity[1] == 0
    }
}

/// A key of `POLICY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RowKey {
    /// The subject's slot.
    pub slot: u64,
    /// The peer's class.
    pub class: u64,
}

/// What a decision says. Stored as [`Decision::verdict`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Nothing: ask the next, wider table.
    Silent = 0,
    /// Pass.
    Allow = 1,
    /// Drop.
    Drop = 2,
    /// Pass, and record that it would have been dropped.
    Audit = 3,
}

impl Verdict {
    /// From a table's number; an unknown one drops.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            0 => Self::Silent,
            1 => Self::Allow,
            3 => Self::Audit,
            _ => Self::Drop,
        }
    }
}

/// A verdict and the rule that made it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Decision {
    /// Index into the agent's rule table; 0 means that no rule made it.
    pub rule: u32,
    /// [`Verdict`] as a number.
    pub verdict: u8,
    /// Zero.
    pub pad: [u8; 3],
}

impl Decision {
    /// Makes a decision.
    #[must_use]
    pub const fn new(verdict: Verdict, rule: u32) -> Self {
        Self { rule, verdict: verdict as u8, pad: [0; 3] }
    }
}

/// A set of ports: disjoint intervals, cut into aligned blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PortSet {
    /// Its number; 0 means none.
    pub id: u64,
    /// Bit `n` is set when a block with prefix length `n` (0 to 16) stands in it.
    pub lengths: u32,
    /// Zero.
    pub pad: u32,
}

/// What a slot says of a class: a value of `POLICY`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Row {
    /// Asked first.
    pub ports: PortSet,
    /// What holds for every other protocol and port.
    pub rest: Decision,
}

/// A key of `PORTS`: a block of destination (or source) ports, or of ICMP types and codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PortKey {
    /// The port set.
    pub set: u64,
    /// The first port of the block; for ICMP `type << 8 | code`.
    pub port: u16,
    /// How many leading bits of the port count, 0 to 16.
    pub len: u8,
    /// The IP protocol number.
    pub protocol: u8,
    /// Zero.
    pub pad: u32,
}

/// A value of `PORTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct PortEntry {
    /// A port set over source ports that is asked first; none when its id is 0.
    pub sources: PortSet,
    /// What holds otherwise.
    pub decision: Decision,
}

/// Source and destination port, or what stands for them: a value of `FRAGMENTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct Ports {
    /// Source port, host order.
    pub source: u16,
    /// Destination port, host order.
    pub target: u16,
}

/// What an [`Event`] reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum EventKind {
    /// The first packet of a flow passed.
    #[default]
    Open = 0,
    /// A packet was dropped.
    Drop = 1,
    /// A flow ended.
    Close = 2,
}

/// A record of the ring buffer `EVENTS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Event {
    /// `[from the originator, from the responder]`; drops: zero.
    pub counts: [Count; 2],
    /// Identity of the source, 0 when it was not asked.
    pub source_identity: u64,
    /// Identity of the target, 0 when it was not asked.
    pub target_identity: u64,
    /// Source address of the packet, for `Close` of the flow's first packet. ARP: the sender's.
    pub source: Addr,
    /// Destination address. ARP: the target's.
    pub target: Addr,
    /// The network's number.
    pub network: u32,
    /// The endpoint at whose hook it happened.
    pub endpoint: u32,
    /// The rule that decided at the source, else 0.
    pub egress_rule: u32,
    /// The rule that decided at the target, else 0.
    pub ingress_rule: u32,
    /// When, in jiffies.
    pub at: u32,
    /// When the flow began, in jiffies; 0 for drops.
    pub created: u32,
    /// Low half of the epoch.
    pub epoch: u32,
    /// How many like it this record stands for: itself and those not reported since the last one.
    pub repeats: u32,
    /// Source port; ICMP echo: the identifier.
    pub source_port: u16,
    /// Destination port; ICMP: `type << 8 | code`.
    pub target_port: u16,
    /// The `EtherType`.
    pub ethertype: u16,
    /// [`EventKind`] as a number.
    pub kind: u8,
    /// [`Verdict`] as a number.
    pub verdict: u8,
    /// [`crate::Reason`] as a number.
    pub reason: u8,
    /// The IP protocol number.
    pub protocol: u8,
    /// 0: decided at the source's egress; 1: at the target's ingress.
    pub ingress: u8,
    /// 1 when the endpoint sent the packet, 0 when it was to receive it.
    pub sent: u8,
    /// The claimed source MAC address.
    pub mac: Mac,
    /// Zero.
    pub pad: [u8; 6],
}
