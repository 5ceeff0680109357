//! Puts the packet programs on endpoints when the network reconciler says so.

use std::collections::HashMap;
use std::path::PathBuf;

use host::linux::bpf::Hooks;
use host::linux::netns::NetNs;
use host::network::{Attach, AttachError, Desired, EndpointDesired, EndpointNumber};

/// The loader's hooks, and where the router of each endpoint is pinned. Lives for one pass.
///
/// The endpoints' configuration is not written here: the tables reconciler has done that before.
pub(crate) struct Attacher {
    hooks: Hooks,
    routers: HashMap<EndpointNumber, PathBuf>,
    /// The router that was looked at last: endpoints of one router follow each other.
    open: Option<(PathBuf, NetNs)>,
}

impl Attacher {
    /// For the endpoints of `desired`; `pin` tells where a router is pinned.
    pub(crate) fn new(hooks: Hooks, desired: &Desired, pin: impl Fn(&str) -> PathBuf) -> Self {
        let routers = desired.routers.iter().flat_map(|router| {
            let path = pin(router.name.as_str());
            router.endpoints.iter().map(move |endpoint| (endpoint.number, path.clone()))
        });
        Self { hooks, routers: routers.collect(), open: None }
    }
}

impl Attach for Attacher {
    fn is_attached(&mut self, endpoint: &EndpointDesired) -> bool {
        let Some(path) = self.routers.get(&endpoint.number) else { return false };
        if self.open.as_ref().is_none_or(|(open, _)| open != path) {
            self.open = NetNs::open(path).ok().map(|router| (path.clone(), router));
        }
        let number = u32::from(endpoint.number.value());
        self.open.as_ref().is_some_and(|(_, router)| self.hooks.is_attached(router, number))
    }

    fn attach(
        &mut self,
        router: &NetNs,
        _ifindex: u32,
        endpoint: &EndpointDesired,
    ) -> Result<(), AttachError> {
        Ok(self.hooks.attach(router, u32::from(endpoint.number.value()))?)
    }

    fn detach(&mut self, endpoint: EndpointNumber) -> Result<(), AttachError> {
        Ok(self.hooks.detach(u32::from(endpoint.value()))?)
    }
}
