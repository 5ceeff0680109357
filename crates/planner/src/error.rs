//! Why a document that passed every check still has no bundle on this node.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use policy::document::Span;
use thiserror::Error;

/// One reason why there is no bundle.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// All numbers of a kind are used up.
    #[error("this node has numbers for {limit} {what}, and all are taken")]
    Exhausted {
        /// `tenants`, `networks` or `endpoints`.
        what: &'static str,
        /// How many there can be.
        limit: u32,
        /// What wanted one more.
        wanted_by: Arc<str>,
        /// Where that stands in the file.
        span: Span,
    },
    /// A segment or network has no free address.
    #[error("no free address in {subnet} for {workload}")]
    SubnetFull {
        /// The subnet.
        subnet: ipnet::IpNet,
        /// `<tenant>.<workload>`.
        workload: Arc<str>,
        /// Where the workload stands in the file.
        span: Span,
    },
    /// A routed network overlaps with an address of the host or another routed network.
    #[error("{subnet} of the routed network {network} meets {other}")]
    RoutedOverlap {
        /// The subnet.
        subnet: ipnet::IpNet,
        /// `<tenant>.<network>`.
        network: Arc<str>,
        /// The other network, or an address of the host.
        other: String,
        /// Where the network stands in the file.
        span: Span,
    },
    /// Two different things have the same number; renaming one of them helps.
    #[error("{one} and {other} have the same {what} number {number:016x}")]
    Collision {
        /// `identity`, `class`, `slot` or `port set`.
        what: &'static str,
        /// The number.
        number: u64,
        /// One of them.
        one: String,
        /// The other.
        other: String,
    },
    /// More entries than a kernel table holds.
    #[error("the policy needs {needed} {table}, and this node has room for {limit}")]
    TooLarge {
        /// What the table holds.
        table: &'static str,
        /// How many entries are needed.
        needed: usize,
        /// How many there can be.
        limit: usize,
    },
    /// Two endpoints have one address in one network.
    #[error("{address} belongs to {one} and to {other}")]
    DuplicateAddress {
        /// The address.
        address: IpAddr,
        /// One workload.
        one: Arc<str>,
        /// The other.
        other: Arc<str>,
    },
}

/// Every reason why there is no bundle; at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanErrors(pub Vec<PlanError>);

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, error) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("; ")?;
            }
            fmt::Display::fmt(error, f)?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanErrors {}

impl From<PlanError> for PlanErrors {
    fn from(error: PlanError) -> Self {
        Self(vec![error])
    }
}

impl PlanError {
    /// Where in the file it is, when it has a place.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        match self {
            Self::Exhausted { span, .. }
            | Self::SubnetFull { span, .. }
            | Self::RoutedOverlap { span, .. } => Some(*span),
            Self::Collision { .. } | Self::TooLarge { .. } | Self::DuplicateAddress { .. } => None,
        }
    }
}
