//! The daemon: one reconciler per kind of kernel object, API server, metrics, health.
//!
//! [`run`] is the whole agent. It owns one run folder, one state folder and one bpffs folder, takes the network namespace
//! it is started in for "the host", and keeps what the document in force says true until it is told otherwise. What it
//! has set up does not need it: it may be killed at any moment, and the next agent on the same folders goes on.
//!
//! **Threads.** The *keeper* is the only writer: it owns kernel, datapath and store, and does one thing after the other.
//! The *watcher* reads flow events, the *historian* writes them to the disk. The API server (tokio) asks the keeper for changes and answers questions from
//! [`force::Force`], an immutable snapshot of what is in force.

mod accounts;
mod answers;
mod attach;
mod attachments;
mod clean;
mod confirm;
mod descriptors;
mod desired;
mod docker;
mod edge;
pub mod entry;
mod explain;
mod fault;
mod flight;
mod force;
mod foreign;
mod geography;
mod history;
mod keeper;
mod lock;
mod metrics;
mod names;
mod notify;
mod options;
mod outside;
mod podman;
mod ports;
mod prepare;
mod reconcile;
mod run;
mod saved;
mod server;
mod shared;
#[cfg(test)]
mod tests;
mod uplinks;
mod wakes;
mod watch;

pub use answers::assertions::prove;
pub use answers::doctor::examine;
pub use answers::radius::blast_radius;
pub use clean::clean;
pub use confirm::dead_man::dead_man;
pub use edge::{Probed, probe_uplink};
pub use explain::{Explanation, explanations};
pub use metrics::reference as metrics_reference;
pub use options::Options;
pub use run::{once, run};
