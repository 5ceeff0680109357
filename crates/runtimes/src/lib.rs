//! What other runtimes of this host run, asked of themselves.
//!
//! An edge crate: it opens their sockets, with a deadline and a bound for everything that comes back, and turns what they say
//! into nouns of the model. It changes nothing, neither in them nor in the kernel (ADR 0020). The agent uses it.

pub mod docker;
pub mod podman;
