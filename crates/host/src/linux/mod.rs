//! The real kernel: namespaces, netlink, nftables, sysctls, and what can be probed.

pub mod netns;
pub mod nft;
pub mod runtime;
