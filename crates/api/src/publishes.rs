//! Ports of the host that can be reached, who opened each, and whether policy lets the world in.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::RuleAt;

/// Value of [`Publishes::schema`].
pub const PUBLISHES_SCHEMA: &str = "bulkhead.publishes/1";

/// Answer of `GET /v1/publishes`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Publishes {
    /// `bulkhead.publishes/1`.
    pub schema: String,
    /// By port, then protocol, then address; at most 65,536.
    pub ports: Vec<OpenPort>,
    /// What could not be looked at, one sentence each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// Who opened a port.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Opener {
    /// `publish:` of the file in force.
    Bulkhead,
    /// `docker run -p`: by a rule, by `docker-proxy`, or both.
    Docker,
    /// CNI's plugin `portmap`.
    Cni,
    /// Podman's netavark.
    Podman,
    /// A firewall rule that somebody else wrote.
    Rule,
    /// A process of the host that listens.
    #[default]
    Process,
}

/// What becomes of the world's packets to a port.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum World {
    /// Policy lets all of the world in.
    Allow,
    /// Policy lets the world in only for as long as it is audited.
    Audit,
    /// Policy lets some ranges in, which are listed.
    Some,
    /// Policy lets nobody in from outside.
    Drop,
    /// The port is bound to an address of this host alone.
    Local,
    /// No policy stands before it.
    #[default]
    Open,
}

impl World {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Audit => "audit",
            Self::Some => "some",
            Self::Drop => "drop",
            Self::Local => "local",
            Self::Open => "open",
        }
    }
}

/// A port of the host that can be reached.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct OpenPort {
    /// `tcp`, `udp` or `sctp`.
    pub protocol: String,
    /// The host's address; `0.0.0.0` and `::` are all of one version, `*` is all of both.
    pub address: String,
    /// The host's port.
    pub port: u16,
    /// The last one, when they are several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<u16>,
    /// Who opened it.
    pub opener: Opener,
    /// Its name there: `shop/https`, the container, the process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The user of the process, by number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    /// Where it leads: `shop/web:8443`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// What becomes of the world's packets.
    pub world: World,
    /// The ranges that are let in, when it is not all of the world; at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// The rule that lets them in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAt>,
    /// Who answers for it, as the file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// When it ends, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// How many connections may begin: `20/s per source, 500/s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// Why, in a sentence.
    pub text: String,
}
