//! The real kernel: namespaces, netlink, nftables, sysctls, and what can be probed.

pub mod adopted;
pub mod bpf;
pub mod bridge;
pub mod edge;
pub mod handover;
pub mod kernel;
pub mod link;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod probe;
pub mod rcu;
pub mod route;
pub mod rule;
pub mod runtime;
pub mod services;
pub mod sysctl;
pub mod walk;
