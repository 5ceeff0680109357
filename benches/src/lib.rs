//! Benchmarks with their peers in the same run, and the load generator they share.
//!
//! [`load`] moves packets over an [`arm::Arm`]; [`rounds`] interleaves slices of several arms;
//! [`stats`] and [`report`] judge them; [`suite`] holds one module a row of the list of benchmarks.

pub mod arm;
pub mod arms;
pub mod cni;
pub mod fleet;
pub mod load;
pub mod machine;
pub mod report;
pub mod rounds;
pub mod stats;
pub mod suite;
