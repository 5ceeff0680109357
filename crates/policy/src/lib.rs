//! People's files to checked documents: parse, check, lint, explain.
//!
//! [`Document`] is what a file means: every name resolved, every address checked, every rule numbered. The planner
//! compiles it, the agent runs it, `plan` and `why` explain it. This crate never decides about a packet: that is
//! `verdict`'s work alone.

pub mod document;

pub use document::Document;
pub use model::Peer;
