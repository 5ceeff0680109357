//! Labs in network namespaces, packet builders and attackers for tests and benchmarks.
//!
//! A test makes a [`Lab`], namespaces and links in it, starts servers or the real `bulkhead` binary
//! ([`bulkhead::Bulkhead`]), sends crafted frames through a [`Wire`] and compares [`Snapshot`]s.
//! Everything a lab made is removed when it is dropped, after a panic too. Only a dev-dependency:
//! no shipped crate may use it.
//!
//! Reading order: [`Lab`], [`Namespace`], [`packet`], [`Wire`], [`server`], [`bulkhead`], [`docker`], [`podman`],
//! [`containerd`], [`tap`], [`Snapshot`].

pub mod bulkhead;
pub mod containerd;
pub mod docker;
mod image;
mod lab;
pub mod mmdb;
mod namespace;
pub mod packet;
pub mod podman;
mod process;
mod root;
pub mod server;
mod snapshot;
pub mod tap;
mod wait;
mod wire;

pub use lab::{Lab, unmount_below};
pub use namespace::Namespace;
pub use process::{Finished, Proc, run_with_deadline};
pub use root::is_root_or_skip;
pub use snapshot::{Scope, Snapshot};
pub use wait::{uninterrupted, wait_for, wait_until};
pub use wire::Wire;

/// Skips a `_root` test when the caller is not root; with `CI=true` the skip is a panic.
///
/// ```no_run
/// # fn main() {
/// testkit::root_or_return!("spoofed_arp_is_dropped_root");
/// # }
/// ```
#[macro_export]
macro_rules! root_or_return {
    ($name:expr) => {
        if !$crate::is_root_or_skip($name) {
            return;
        }
    };
}
