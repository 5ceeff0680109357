//! Where a probe is sent from: the namespace of a workload or of the host, or the cgroup of a workload on the host's stack.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use api::{Error, codes};
use host::linux::netns::NetNs;
use host::network::Place;
use model::{Mode, Transport};
use planner::Bundle;

use crate::answers::party::Who;
use crate::answers::service::Asked;
use crate::fault::{failed, refused};
use crate::shared::Shared;
use crate::{desired, outside};

use super::{Seen, any, apart, echo, sctp, tcp, udp};

/// Where a probe is sent from.
pub(super) enum Origin {
    /// In a namespace.
    Space(NetNs),
    /// In a cgroup of the host, by a process of its own, this program.
    Cgroup { exe: PathBuf, cgroup: PathBuf },
}

/// Why nothing was sent.
pub(super) enum Unsent {
    Refused(Box<Error>),
    Failed(io::Error),
}

impl Origin {
    /// Where a probe of somebody's is sent from.
    ///
    /// # Errors
    /// `BH0218` where nothing can be sent from.
    pub(super) fn of(shared: &Shared, bundle: &Bundle, from: &Who) -> Result<Self, Error> {
        let opened = match from {
            Who::Workload(id)
                if bundle.attachment(id).is_some_and(|(router, _)| router.mode == Mode::Host) =>
            {
                let (exe, cgroup) = (outside::this_program()?, shared.options.cgroup().join(&**id));
                return Ok(Self::Cgroup { exe, cgroup });
            }
            Who::Host => NetNs::current(),
            Who::Workload(id) => {
                let place = bundle.workloads.get(id).and_then(|known| desired::place(&known.start));
                match place {
                    Some(Place::At(path)) => NetNs::open(&path),
                    Some(Place::Ours) => NetNs::open(&shared.options.pin(id)),
                    Some(Place::Handed { .. }) | None => {
                        let message = format!(
                            "{id} is behind a port of somebody else: nothing is sent from inside of it"
                        );
                        let hint = "ask `bulkhead why`, which judges as the kernel does";
                        return Err(refused(codes::PROBE, message).with_hint(hint));
                    }
                }
            }
            Who::World | Who::Address(_) | Who::Account(_) => {
                return Err(refused(codes::PROBE, "a probe starts at a workload or at the host"));
            }
        };
        let opened =
            opened.map_err(|error| failed(codes::PROBE, "enter the source's network", &error))?;
        Ok(Self::Space(opened))
    }

    /// Whether it is a cgroup.
    pub(super) const fn is_cgroup(&self) -> bool {
        matches!(self, Self::Cgroup { .. })
    }

    /// Sends a probe to an address, from an own one and a port where these are given.
    pub(super) fn send(
        &self,
        asked: Asked,
        target: IpAddr,
        (own, port): (Option<IpAddr>, Option<u16>),
        wait: Duration,
    ) -> Result<Seen, Unsent> {
        let local = SocketAddr::new(own.unwrap_or_else(|| any(target)), port.unwrap_or(0));
        let to = |port: u16| SocketAddr::new(target, port);
        let seen = match (self, asked) {
            (Self::Space(space), asked) => space
                .run(|| match asked {
                    Asked::Port(Transport::Tcp, port) => tcp(to(port), local, wait),
                    Asked::Port(Transport::Udp, port) => udp(to(port), local, wait),
                    Asked::Port(Transport::Sctp, to_port) => {
                        sctp::init(to(to_port), (own, port), wait)
                    }
                    Asked::Icmp(_) => echo::echo(target, own, wait),
                })
                .map_err(io::Error::other)
                .flatten(),
            (
                Self::Cgroup { exe, cgroup },
                Asked::Port(transport @ (Transport::Tcp | Transport::Udp), port),
            ) => apart::send(exe, cgroup, transport, (to(port), local), wait),
            (Self::Cgroup { .. }, _) => {
                let message = "of a workload on the host's stack a probe sends TCP and UDP only";
                let error = refused(codes::PROBE, message);
                let hint = "ask `bulkhead why`, which judges as the kernel does";
                return Err(Unsent::Refused(Box::new(error.with_hint(hint))));
            }
        };
        seen.map_err(Unsent::Failed)
    }
}
