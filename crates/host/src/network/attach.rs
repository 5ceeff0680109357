//! The hook through which packet programs get onto an endpoint before its first packet.

use crate::linux::netns::NetNs;

use super::{EndpointDesired, EndpointNumber};

/// Why programs could not be attached or detached; the agent's loader has the types.
pub type AttachError = Box<dyn std::error::Error + Send + Sync>;

/// Puts programs on the host side of an endpoint's veth and takes them off again.
///
/// Implemented by the agent around its eBPF loader. The reconciler calls [`Attach::attach`] after
/// the veth exists and before either end is up, so no packet passes unjudged.
pub trait Attach {
    /// Whether the programs and the configuration of this endpoint are in place. Called on every
    /// pass for each endpoint whose link exists; the answer `false` takes the link down, attaches
    /// and sets it up again.
    fn is_attached(&mut self, endpoint: &EndpointDesired) -> bool;

    /// Attaches to interface `ifindex` in namespace `router` and writes the endpoint's
    /// configuration. Called again for the same endpoint after its link was recreated.
    ///
    /// # Errors
    ///
    /// Any; the endpoint then stays down and the next pass tries again.
    fn attach(
        &mut self,
        router: &NetNs,
        ifindex: u32,
        endpoint: &EndpointDesired,
    ) -> Result<(), AttachError>;

    /// Forgets the endpoint, whose link is gone, and its programs with it. Never called while the link is
    /// there: it would pass packets unjudged. Must succeed when nothing is attached.
    ///
    /// # Errors
    ///
    /// Any; it is told.
    fn detach(&mut self, endpoint: EndpointNumber) -> Result<(), AttachError>;
}

/// Attaches nothing: for tests and measurements of the bare network.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPrograms;

impl Attach for NoPrograms {
    fn is_attached(&mut self, _endpoint: &EndpointDesired) -> bool {
        true
    }

    fn attach(
        &mut self,
        _router: &NetNs,
        _ifindex: u32,
        _endpoint: &EndpointDesired,
    ) -> Result<(), AttachError> {
        Ok(())
    }

    fn detach(&mut self, _endpoint: EndpointNumber) -> Result<(), AttachError> {
        Ok(())
    }
}
