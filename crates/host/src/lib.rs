//! Everything that touches the Linux kernel, and a fake of it that prints itself.
//!
//! [`network`] holds the desired state of namespaces, links, addresses and nftables tables, and the
//! reconciler that brings a kernel to it; [`ports`] puts programs on interfaces that somebody else made. [`linux`] is the real kernel behind the trait
//! [`network::Kernel`]; [`fake`] is the other implementation, for tests of everything above.
//! The agent is the only user.

// Benches of the tests from outside serve the tests inside too, and name this crate as they see it.
#[cfg(test)]
extern crate self as host;

pub mod fake;
pub mod linux;
pub mod network;
pub mod ports;
