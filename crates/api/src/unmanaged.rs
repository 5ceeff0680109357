//! What stands on bridges of the file and is nobody's in it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Ports on bridges that networks of the file stand on, and that nobody in the file has.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Unmanaged {
    /// What `unmanaged:` says, or its default: `deny`, `audit` or `allow`.
    pub posture: String,
    /// The ports, and the bridges themselves; at most 2,048.
    pub ports: Vec<UnmanagedPort>,
    /// Packets that they sent and that passed.
    pub sent_packets: u64,
    /// Packets for them that passed.
    pub received_packets: u64,
    /// Packets from or for them that were dropped.
    pub drops: u64,
    /// Ports beyond 2,048: they have no programs of their own, and only what they send to the host and the world is judged.
    #[serde(default)]
    pub refused: u64,
    /// Flows of theirs in the connection table.
    pub flows: u64,
    /// Room for them in it.
    #[serde(default)]
    pub capacity: u64,
    /// Flows of theirs that were recorded, since the kernel's tables were made.
    #[serde(default)]
    pub recorded: u64,
    /// Packets that began a flow of theirs and passed without a record, as there was no room in the connection table; since then, too.
    #[serde(default)]
    pub unrecorded: u64,
    /// What of such ports is not judged, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Such a port.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct UnmanagedPort {
    /// `<tenant>.<network>`.
    pub network: String,
    /// Name of the interface.
    pub interface: String,
    /// Whether it is the bridge itself, where what comes by ports without programs is judged.
    pub bridge: bool,
    /// Whether nothing passes yet, because it may be a container that is not known yet.
    pub closed: bool,
}
