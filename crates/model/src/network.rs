//! Modes, postures, directions and generations: the small words of networks and policies.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How a network reaches the rest of the world.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Leaves with an address of the host; published ports come in.
    Nat,
    /// Nothing leaves; published ports come in.
    #[default]
    Bridge,
    /// No translation: the host routes the network's subnets.
    Routed,
    /// No network of its own: workloads share the host's stack, and are judged at their cgroups.
    Host,
    /// Transparent: present on the LAN of an interface with MACs of their own, and only where that is known to work.
    Macvlan,
    /// Loopback only.
    None,
}

impl Mode {
    /// Every mode, in the order of the documentation.
    pub const ALL: [Self; 6] =
        [Self::Nat, Self::Bridge, Self::Routed, Self::Host, Self::Macvlan, Self::None];

    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Bridge => "bridge",
            Self::Routed => "routed",
            Self::Host => "host",
            Self::Macvlan => "macvlan",
            Self::None => "none",
        }
    }
}

/// What happens in one direction to a flow that no policy names.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Posture {
    /// Dropped.
    #[default]
    Deny,
    /// Let through and recorded as "would have been dropped".
    Audit,
    /// Let through.
    Allow,
}

impl Posture {
    /// Every posture, from the strictest.
    pub const ALL: [Self; 3] = [Self::Deny, Self::Audit, Self::Allow];

    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deny => "deny",
            Self::Audit => "audit",
            Self::Allow => "allow",
        }
    }
}

/// A posture for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub struct Postures {
    /// For what the endpoint receives.
    pub ingress: Posture,
    /// For what the endpoint sends.
    pub egress: Posture,
}

impl Postures {
    /// The posture of one direction.
    #[must_use]
    pub fn of(self, direction: Direction) -> Posture {
        match direction {
            Direction::Ingress => self.ingress,
            Direction::Egress => self.egress,
        }
    }
}

/// Relative to the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// What the endpoint receives.
    Ingress,
    /// What the endpoint sends.
    Egress,
}

impl Direction {
    /// Both directions.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// `ingress` or `egress`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// The number of a bundle on this node; never goes backwards. 0 means that nothing was applied yet.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Posture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}
