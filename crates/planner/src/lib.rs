//! Checked document plus inventory to one complete, immutable bundle for a node.
//!
//! [`compile`] turns what people wrote into the tables that the kernel judges by, and gives every
//! tenant, network and endpoint its lasting number and addresses. It is pure: the same document,
//! [`Allocations`] and [`Facts`] make the same [`Bundle`]. Nothing here decides about a packet: that
//! is `verdict`'s work alone, over the tables made here.

pub mod allocate;
mod assertions;
mod bundle;
mod check;
mod compiler;
mod engine;
mod error;
mod flows;
mod from_world;
pub mod kubernetes;
mod matchers;
mod matrix;
mod meet;
mod memo;
mod moments;
mod nodes;
mod objects;
mod peers;
mod ports;
mod published;
mod radius;
mod reach;
mod reachability;
mod report;
mod terms;
pub mod topology;
mod unchanged;
mod uplink;

pub use allocate::Allocations;
pub use assertions::{Counterexample, End, Outcome, Through, Why, prove};
pub use bundle::{Attachment, Bundle, Facts, Identity, Publish, Router, Transit, Workload};
pub use check::{Fault, Limits, check};
pub use compiler::Compiler;
pub use error::{PlanError, PlanErrors};
pub use flows::{Flows, Limited};
pub use from_world::{Ways, from_world};
pub use matrix::{Cell, between, identity_at, matrix};
pub use moments::{Moments, moments};
pub use nodes::Party;
pub use objects::{Fate, ObjectChange, Objects, objects};
pub use published::{Leg, Way, ways};
pub use radius::{Fallen, radius};
pub use reach::Span;
pub use reachability::{Class, Group, Headers, Pair, Reachability, reachability};
pub use report::{Area, Change, ChangeKind, PlanReport, diff};
pub use terms::{Narrow, Term};
pub use unchanged::unchanged;
pub use uplink::{Accounts, HostPlane};

use policy::Document;

/// Compiles a document for one node. Deterministic; `previous` keeps numbers and addresses stable.
///
/// # Errors
///
/// Every reason why there is no bundle; nothing is made in part.
pub fn compile(
    document: &Document,
    previous: &Allocations,
    facts: &Facts,
) -> Result<Bundle, PlanErrors> {
    Compiler::new(document.clone(), previous, facts).map(Compiler::into_bundle)
}
