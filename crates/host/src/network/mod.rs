//! The network of one host: a router namespace for each network, a veth pair for each endpoint.
//!
//! *Desired* ([`Desired`]) comes from the applied bundle. *Observed* ([`Observed`]) is read from the
//! kernel on every pass and never cached. [`Plan::diff`] is the only place that decides;
//! [`apply`](fn@apply) only obeys. [`reconcile`] is the three of them in order, [`teardown`] is
//! [`reconcile`] with nothing desired, and [`reconcile_in`] is [`reconcile`] for a part of the network
//! ([`Scope`]), so that a change costs what it changes.
//!
//! **Ownership.** Ours are: the namespaces pinned in the run directory, links called `bt<N>` and
//! `bl<N>` that carry our MAC prefix, routes and routing rules tagged with [`RTPROT`], and the nftables tables called `bulkhead`.
//! Nothing else is ever changed, but for the forwarding sysctls of the host, which are remembered
//! and put back, and MACs of ours that a NIC is to take on a LAN.
//!
//! **Order.** What is no longer wanted goes first. Then the host, then routers, then endpoints;
//! an endpoint's packet programs are attached before either end of its veth is set up.
//!
//! **Failure.** The steps of one subject depend on each other: the first failure ends that subject
//! and no other. The next pass starts again from a fresh observation.

mod addressing;
mod apply;
mod attach;
mod desired;
mod kernel;
mod lan;
mod observed;
mod op;
mod plan;
mod removal;
mod scope;
mod script;
#[cfg(test)]
mod tests;

pub use addressing::{
    ENDPOINT_IFINDEX_BASE, EndpointNumber, IFA_PROTO, LAN_IFINDEX_BASE, MAX_ENDPOINT, MAX_NETWORK,
    Mac, NetworkNumber, NumberError, PEER_IFINDEX_BASE, RTPROT, RULE, TRANSIT_V4, TRANSIT_V6,
    Transit,
};
pub use apply::{Outcome, StepError, apply, observe, reconcile, reconcile_in, teardown};
pub use attach::{Attach, AttachError, NoPrograms};
pub use desired::{
    Desired, EndpointDesired, IsolatedDesired, LanDesired, Mode, Place, PublishDesired,
    RouterDesired, Transport,
};
pub use kernel::{Kernel, KernelError, Ns, NsName, NsNameError, Refusal};
pub use observed::{LinkState, NsState, Observed, PortFlags, Route, Rule};
pub use op::{NsProfile, Op, VethSpec, VlanSpec};
pub use plan::{Plan, Step, Unit};
pub use scope::{Glance, LookedAt, Part, Scope};
pub(crate) use script::ETH0;
