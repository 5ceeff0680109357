//! Which network namespaces a workload with `netns:` may have, by what they are and not by what they are called.
//!
//! A namespace has any number of names: bind mounts, `/proc/<pid>/ns/net`, links to these. The host's own one would lose
//! its default route, a router would be entered by a tenant, and two workloads in one would be each other. So namespaces
//! are compared by device and inode each time that one is opened.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage as Message};

use crate::network::{Mac, NsName, RTPROT, Refusal};

use super::link;
use super::netlink::Netlink;
use super::netns::{NetNs, NetNsDir, NetNsError};

/// Device and inode of a namespace.
pub type Id = (u64, u64);

/// Metric of an IPv6 route that names none, `IP6_RT_PRIO_USER` of `linux/ipv6_route.h`.
const METRIC_V6: u32 = 1024;

/// Why a workload cannot have a namespace.
#[derive(Debug, thiserror::Error)]
pub enum AdoptError {
    /// It is not there, or no network namespace.
    #[error(transparent)]
    Open(#[from] NetNsError),
    /// The agent's own.
    #[error("it is the host's own network namespace")]
    Host,
    /// Its path led to another one when the workload was attached.
    #[error("it is another one than that which the workload was attached with")]
    Another,
    /// Pinned in the run directory.
    #[error("it is {0}, a namespace of Bulkhead's own")]
    Ours(NsName),
    /// Under another path.
    #[error("it is the namespace that workload {0} adopts")]
    Taken(String),
    /// Its link of that name is somebody else's.
    #[error("it has a link `{0}` already, with the address {1}, which is not Bulkhead's")]
    Link(String, Mac),
    /// Its links are not known.
    #[error("its links could not be read")]
    Links(#[source] Refusal),
    /// Somebody else's way out would be replaced.
    #[error("it has a default route of its own, {0}, which would be replaced")]
    DefaultRoute(String),
    /// Its routes are not known.
    #[error("its routes could not be read")]
    Routes(#[source] Refusal),
}

/// Compares the namespaces of one document.
#[derive(Debug)]
pub struct Adoptions {
    host: Id,
    pins: BTreeMap<Id, NsName>,
    taken: BTreeMap<Id, String>,
}

impl Adoptions {
    /// For the host of the calling thread, with the pins below `run_dir`.
    ///
    /// # Errors
    ///
    /// [`NetNsError`] when the own namespace or the pins cannot be read.
    pub fn new(run_dir: &Path) -> Result<Self, NetNsError> {
        let pins = NetNsDir::open(run_dir)?.ids()?;
        let pins = pins.into_iter().map(|(name, id)| (id, name)).collect();
        Ok(Self { host: NetNs::current()?.id()?, pins, taken: BTreeMap::new() })
    }

    /// Whether `workload` may adopt the namespace at `path` and get a link `interface` and a default route over each of
    /// `gateways`; `None` when it has them already. Attachments of one workload, `shop.web` and `shop.web@back`, have one
    /// namespace together.
    ///
    /// # Errors
    ///
    /// The variant of [`AdoptError`] that says why not.
    pub fn check(
        &mut self,
        workload: &str,
        path: &Path,
        interface: &str,
        gateways: Option<&[IpAddr]>,
    ) -> Result<Id, AdoptError> {
        let ns = NetNs::open(path)?;
        let id = ns.id()?;
        if id == self.host {
            return Err(AdoptError::Host);
        }
        if let Some(name) = self.pins.get(&id) {
            return Err(AdoptError::Ours(name.clone()));
        }
        match self.taken.insert(id, workload.to_owned()) {
            Some(other) if owner(&other) != owner(workload) => {
                return Err(AdoptError::Taken(other));
            }
            _ => {}
        }
        let Some(gateways) = gateways else { return Ok(id) };
        let failed = |error: std::io::Error| AdoptError::Links(error.into());
        let mut netlink = Netlink::open_in(&ns).map_err(failed)?;
        let first = link::find(&mut netlink, interface).map_err(AdoptError::Links)?;
        if let Some(first) = first.filter(|first| !first.mac.is_ours()) {
            return Err(AdoptError::Link(interface.to_owned(), first.mac));
        }
        for gateway in gateways {
            let found = foreign_default(&mut netlink, *gateway).map_err(AdoptError::Routes)?;
            if let Some(route) = found {
                return Err(AdoptError::DefaultRoute(route));
            }
        }
        Ok(id)
    }

    /// Notes that `workload` has the namespace `id`, which was found when it adopted it.
    pub fn note(&mut self, workload: &str, id: Id) {
        self.taken.insert(id, workload.to_owned());
    }
}

/// The workload of an attachment.
fn owner(id: &str) -> &str {
    id.split_once('@').map_or(id, |(owner, _)| owner)
}

/// The default route of the family of `gateway`, in `ip`'s words, that one of ours would replace, and that is not ours.
///
/// # Errors
///
/// The kernel's answer.
pub(crate) fn foreign_default(
    netlink: &mut Netlink,
    gateway: IpAddr,
) -> Result<Option<String>, Refusal> {
    let mut ask = RouteMessage::default();
    ask.header.address_family =
        if gateway.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    ask.header.table = RouteHeader::RT_TABLE_MAIN;
    let metric = if gateway.is_ipv4() { 0 } else { METRIC_V6 };
    let routes = netlink.dump(Message::GetRoute(ask))?;
    Ok(routes.iter().find_map(|answer| match answer {
        Message::NewRoute(route) if is_foreign_default(route, metric) => Some(words(route)),
        _ => None,
    }))
}

fn is_foreign_default(route: &RouteMessage, ours: u32) -> bool {
    let metric = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    route.header.destination_prefix_length == 0
        && route.header.table == RouteHeader::RT_TABLE_MAIN
        && route.header.kind == RouteType::Unicast
        && route.header.protocol != RouteProtocol::from(RTPROT)
        && metric.unwrap_or(0) == ours
}

fn words(route: &RouteMessage) -> String {
    let via = route.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Gateway(RouteAddress::Inet(v4)) => Some(v4.to_string()),
        RouteAttribute::Gateway(RouteAddress::Inet6(v6)) => Some(v6.to_string()),
        _ => None,
    });
    via.map_or_else(|| "default".to_owned(), |via| format!("default via {via}"))
}
