//! The number of a label set, the same on every host.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::digest::Digest64;
use crate::{Labels, Name};

/// Who an address belongs to, as a number: derived for workloads, reserved (below 256) for everybody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Identity(pub u64);

impl Identity {
    /// The host itself: its addresses, gateways and transit addresses.
    pub const HOST: Self = Self(verdict::abi::HOST_IDENTITY);
    /// Every address that is not an endpoint, not in a managed subnet and not the host.
    pub const WORLD: Self = Self(2);
    /// An address inside a managed subnet that no endpoint owns.
    pub const UNMANAGED: Self = Self(3);
    /// The agent's own health probes.
    pub const HEALTH: Self = Self(4);
    /// The first number that a derived identity can have.
    pub const FIRST_DERIVED: u64 = 256;

    /// The identity of a workload: SHA-256 of tenant, network, segment and labels, cut to 64 bits, never below 256.
    #[must_use]
    pub fn derive(tenant: &Name, network: &Name, segment: Option<&Name>, labels: &Labels) -> Self {
        let mut digest = Digest64::new("identity");
        digest.text(tenant.as_str()).text(network.as_str());
        digest.number(u64::from(segment.is_some())).text(segment.map_or("", Name::as_str));
        digest.number(labels.len() as u64);
        for (key, value) in labels {
            digest.text(key.as_str()).text(value.as_str());
        }
        Self(match digest.finish() {
            reserved @ 0..Self::FIRST_DERIVED => reserved + Self::FIRST_DERIVED,
            number => number,
        })
    }

    /// Whether this is one of the reserved numbers.
    #[must_use]
    pub fn is_reserved(self) -> bool {
        self.0 < Self::FIRST_DERIVED
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::HOST => f.pad("host"),
            Self::WORLD => f.pad("world"),
            Self::UNMANAGED => f.pad("unmanaged"),
            Self::HEALTH => f.pad("health"),
            Self(number) => f.pad(&format!("{number:016x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LabelKey, LabelValue};

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(k, v)| (LabelKey::new(k).expect("key"), LabelValue::new(v).expect("value")))
            .collect()
    }

    #[test]
    fn derivation_is_fixed_for_ever() {
        let (shop, main, front) = (
            Name::new("shop").expect("name"),
            Name::new("main").expect("name"),
            Name::new("front").expect("name"),
        );
        let web = Identity::derive(&shop, &main, Some(&front), &labels(&[("app", "web")]));
        // Hosts of different versions must agree: changing this number is a change of format.
        insta::assert_snapshot!(web, @"5dd177a3c529e3c9");
        assert_ne!(web, Identity::derive(&shop, &main, None, &labels(&[("app", "web")])));
        assert_ne!(web, Identity::derive(&shop, &main, Some(&front), &labels(&[("appw", "eb")])));
        assert!(!web.is_reserved());
        assert_eq!(Identity::WORLD.to_string(), "world");
    }
}
