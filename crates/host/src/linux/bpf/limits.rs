//! How large the maps are made.

/// Sizes of the maps. They are fixed when the maps are created; adopted maps keep theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Addresses and prefixes with an identity. 40 bytes each at once, and 16 for a place in the table of addresses.
    pub peers: u32,
    /// Rows: what a policy slot says of a peer class.
    pub rows: u32,
    /// Entries of port sets.
    pub ports: u32,
    /// Flows on this node at one time. The table is allocated at once, 216 bytes a flow.
    pub flows: u32,
    /// Flows of one tenant at one time.
    pub tenant_flows: u32,
    /// Fragmented datagrams whose ports are remembered.
    pub fragments: u32,
    /// Pairs of endpoint and drop reason that are counted.
    pub drops: u32,
    /// Rules that are counted.
    pub rules: u32,
    /// Kinds of drop that are remembered so as not to report each packet.
    pub reported: u32,
    /// Published ports with a limit.
    pub limits: u32,
    /// Sources whose flows are counted for a limit, per published port. Allocated at once, about 100 bytes each; those that were
    /// not seen lately make room.
    pub meters: u32,
    /// Bytes of the ring buffer of reports: a power of two, at least a page. A report takes 144.
    pub report_bytes: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            peers: 262_144,
            rows: 262_144,
            ports: 262_144,
            flows: 131_072,
            tenant_flows: 65_536,
            fragments: 4_096,
            drops: 65_536,
            rules: 131_072,
            reported: 8_192,
            limits: 16_384,
            meters: 32_768,
            report_bytes: 4 << 20,
        }
    }
}

impl Limits {
    /// The sizes by the map's name in the object.
    pub(super) fn by_map(&self) -> [(&'static str, u32); 13] {
        [
            ("PEERS", self.peers),
            ("IPCACHE", self.peers),
            ("PREFIXES", self.peers),
            ("POLICY", self.rows),
            ("PORTS", self.ports),
            ("FLOWS", self.flows),
            ("FRAGMENTS", self.fragments),
            ("DROPS", self.drops),
            ("RULES", self.rules),
            ("REPORTED", self.reported),
            ("LIMITS", self.limits),
            ("METERS", self.meters),
            ("EVENTS", self.report_bytes),
        ]
    }
}
