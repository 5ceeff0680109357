//! What a peer's host filters with: nft, iptables or ipset, from the same list of rules.

use anyhow::Result;
use testkit::Namespace;

use super::rules::{self, Ends};
use super::shape::Rules;

/// What the host filters with, and how many rules stand before the one that matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Nothing: the limit of any bridge.
    None,
    /// nft, established first, then linear rules.
    NftLinear(Rules),
    /// nft, established first, then one set.
    NftSet(Rules),
    /// iptables (the `nf_tables` backend), established first, then linear rules.
    IptablesLinear(Rules),
    /// iptables, established first, then one ipset.
    Ipset(Rules),
}

impl Filter {
    /// How tables call a bridge with this filter.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Self::None => "plain bridge".to_owned(),
            Self::NftLinear(Rules::ONE) => "bridge + nft ct".to_owned(),
            Self::NftLinear(rules) => format!("nft linear {rules}"),
            Self::NftSet(rules) => format!("nft set {rules}"),
            Self::IptablesLinear(rules) => format!("iptables {rules}"),
            Self::Ipset(rules) => format!("ipset {rules}"),
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
