//! What a peer's host filters with: nft, iptables or ipset, from the same list of rules.

use anyhow::Result;
use testkit::Namespace;

use super::rules::{self, Ends};

/// What the host filters with, and how many rules stand before the one that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Nothing: the limit of any bridge.
    None,
    /// nft, established first, then linear rules.
    NftLinear(u32),
    /// nft, established first, then one set.
    NftSet(u32),
    /// iptables (the `nf_tables` backend), established first, then linear rules.
    IptablesLinear(u32),
    /// iptables, established first, then one ipset.
    Ipset(u32),
}

impl Filter {
    /// How tables call a bridge with this filter.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::None => "plain bridge".to_owned(),
            Self::NftLinear(1) => "bridge + nft ct".to_owned(),
            Self::NftLinear(n) => format!("nft linear {n}"),
            Self::NftSet(n) => format!("nft set {n}"),
            Self::IptablesLinear(n) => format!("iptables {n}"),
            Self::Ipset(n) => format!("ipset {n}"),
        }
    }

    /// Loads the rules into `host`.
    ///
    /// # Errors
    /// When a tool is missing or refuses them.
    pub fn install(self, host: &Namespace, ends: Ends) -> Result<()> {
        let restore = |tool: &str, text: String| {
            host.command_with_input(&[tool], Some(text.as_bytes()))?.success().map(drop)
        };
        match self {
            Self::None => Ok(()),
            Self::NftLinear(n) => host.nft(&rules::nft_linear(ends, n)),
            Self::NftSet(n) => host.nft(&rules::nft_set(ends, n)),
            Self::IptablesLinear(n) => restore("iptables-restore", rules::iptables_linear(ends, n)),
            Self::Ipset(n) => {
                let set = rules::ipset(ends, n);
                host.command_with_input(&["ipset", "restore"], Some(set.as_bytes()))?.success()?;
                restore("iptables-restore", rules::iptables_ipset(ends))
            }
        }
    }
}
