//! Which sockets of the host belong to workloads on its own stack: their policy stands before them.

use std::collections::btree_map::{BTreeMap, Entry};
use std::net::IpAddr;
use std::sync::Arc;

use host::linux::bpf::Cgroups;
use host::linux::netns::NetNs;
use host::linux::probe::Listener;
use host::linux::walk::{Sight, Socket, Wait};
use model::Mode;

use crate::force::Force;
use crate::shared::Shared;

/// Workloads by what their sockets are bound to. What several share, or cannot be told, is nobody's here.
#[derive(Default)]
pub(super) struct Hosted {
    owners: BTreeMap<(&'static str, IpAddr, u16), Option<Arc<str>>>,
}

impl Hosted {
    /// As it is now, in the network namespace of the calling thread.
    pub(super) fn now(shared: &Shared, force: Option<&Force>) -> Self {
        let guarded = guarded(shared, force);
        let mut hosted = Self::default();
        if guarded.is_empty() {
            return hosted;
        }
        let sight = NetNs::current().ok().and_then(|here| Sight::open(here).ok());
        let Some(sight) = sight else { return hosted };
        for (wait, transport) in [(Wait::Tcp, "tcp"), (Wait::Udp, "udp")] {
            hosted.add(transport, &sight.waiting(wait).unwrap_or_default(), &guarded);
        }
        hosted
    }

    fn add(
        &mut self,
        transport: &'static str,
        sockets: &[Socket],
        guarded: &BTreeMap<u64, Arc<str>>,
    ) {
        for socket in sockets {
            let owner = socket.cgroup.and_then(|cgroup| guarded.get(&cgroup)).cloned();
            match self.owners.entry((transport, socket.address, socket.port)) {
                Entry::Vacant(place) => {
                    place.insert(owner);
                }
                Entry::Occupied(mut place) => {
                    if *place.get() != owner {
                        place.insert(None);
                    }
                }
            }
        }
    }

    /// The workload whose socket it is.
    pub(super) fn owner(&self, socket: &Listener) -> Option<&Arc<str>> {
        self.owners.get(&(socket.transport, socket.address, socket.port))?.as_ref()
    }

    /// Everybody who has one.
    pub(super) fn workloads(&self) -> impl Iterator<Item = Arc<str>> {
        self.owners.values().flatten().cloned()
    }
}

/// The workloads of networks of mode `host` by the number of their cgroup, where its programs are whole.
fn guarded(shared: &Shared, force: Option<&Force>) -> BTreeMap<u64, Arc<str>> {
    let routers = force.iter().flat_map(|force| &force.wanted.bundle.routers);
    let mut ends = routers
        .filter(|router| router.mode == Mode::Host)
        .flat_map(|router| &router.endpoints)
        .peekable();
    if ends.peek().is_none() {
        return BTreeMap::new();
    }
    let Ok(cgroups) = Cgroups::look(&shared.options.bpffs) else { return BTreeMap::new() };
    let number = |at: &planner::Attachment| {
        let path = shared.options.cgroup().join(&*at.workload);
        let guard = cgroups.guard(at.number.into(), &path).ok().filter(|guard| guard.is_whole)?;
        Some((guard.cgroup?, Arc::clone(&at.workload)))
    };
    ends.filter_map(number).collect()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn socket(port: u16, cgroup: u64) -> Socket {
        Socket {
            port,
            address: Ipv4Addr::UNSPECIFIED.into(),
            is_v6_only: false,
            queued: 0,
            room: 0,
            link: 0,
            cgroup: Some(cgroup),
        }
    }

    fn listener(port: u16) -> Listener {
        Listener {
            transport: "tcp",
            address: Ipv4Addr::UNSPECIFIED.into(),
            port,
            uid: 0,
            process: None,
        }
    }

    #[test]
    fn a_port_that_a_workload_shares_is_nobodys() {
        let guarded = [(7, Arc::from("t.a")), (8, Arc::from("t.b"))].into_iter().collect();
        let mut hosted = Hosted::default();
        let sockets = [
            socket(80, 7),
            socket(80, 7),
            socket(81, 7),
            socket(81, 9),
            socket(82, 7),
            socket(82, 8),
            socket(83, 9),
        ];
        hosted.add("tcp", &sockets, &guarded);
        let owner = |port| hosted.owner(&listener(port)).map(|id| &**id);
        assert_eq!(owner(80), Some("t.a"));
        assert_eq!([81, 82, 83, 84].map(owner), [None; 4], "the host's, another's, nobody's, none");
    }
}
