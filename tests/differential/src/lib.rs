//! Differential proof: random documents and packets, judged by the product and by an independent oracle.
//!
//! The [`oracle`] follows the meaning of the file with straight loops over its policies and knows
//! neither tables nor identities. The product compiles the document and runs the shared evaluator on
//! real packet bytes. Both must agree on every packet: passed or dropped, why, and by which rules.
//! Everything derives from one seed, which a failure prints with the smallest file that still fails.

pub mod accounts;
pub mod bytes;
mod clock;
pub mod generate;
pub mod large;
pub mod oracle;
pub mod render;
pub mod rng;
pub mod run;
pub mod sockets;
pub mod traffic;
