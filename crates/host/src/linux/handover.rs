//! A link whose far end was left on the host, into the namespace that it is for, and set up there: what a runtime does with it once, when it
//! is made, and does not do again when somebody has deleted it.
//!
//! **Order.** The far end is moved, named, given its addresses, set up, and given the default route if there is none. What fails is told; the
//! link is then where it came to, and nothing is sent over it that its programs do not judge.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::network::{Mac, Refusal, Route};

use super::netlink::Netlink;
use super::netns::NetNs;
use super::{link, route, sysctl};

/// Names that are tried: `eth0` and so on.
const NAMES: u32 = 64;

/// What a far end is to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FarEnd {
    /// With their prefix lengths.
    pub addresses: Vec<IpNet>,
    /// Next hops of default routes.
    pub gateways: Vec<IpAddr>,
}

/// Why a far end could not be handed over.
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// A namespace could not be asked.
    #[error("ask the {place} about its links")]
    Ask {
        /// The host or the namespace.
        place: &'static str,
        /// The kernel's answer.
        #[source]
        source: Refusal,
    },
    /// It stayed where it was.
    #[error("move the link {link} to {name} in the namespace")]
    Move {
        /// Its name on the host.
        link: String,
        /// Its name there.
        name: String,
        /// The kernel's answer.
        #[source]
        source: Refusal,
    },
    /// It was moved, and not all was done there.
    #[error("set up {name} in the namespace")]
    SetUp {
        /// Its name there.
        name: String,
        /// The kernel's answer.
        #[source]
        source: Refusal,
    },
}

/// The links of the calling thread's namespace with one of these MACs.
///
/// # Errors
///
/// [`HandOverError::Ask`].
pub fn left_behind(macs: &BTreeSet<Mac>) -> Result<BTreeMap<Mac, String>, HandOverError> {
    let asked = |source| HandOverError::Ask { place: "host", source };
    let mut here = Netlink::open().map_err(|error| asked(error.into()))?;
    let links = link::dump(&mut here).map_err(asked)?;
    let is_far = |(_, state): &(String, crate::network::LinkState)| {
        state.kind == "veth" && macs.contains(&state.mac)
    };
    Ok(links.into_iter().filter(is_far).map(|(name, state)| (state.mac, name)).collect())
}

/// Moves a link of the calling thread's namespace to `ns` and sets it up there; its name there.
///
/// # Errors
///
/// [`HandOverError`] with what could not be done.
pub fn hand_over(link: &str, ns: &NetNs, wanted: &FarEnd) -> Result<String, HandOverError> {
    let open = |place, opened: io::Result<Netlink>| {
        opened.map_err(|error| HandOverError::Ask { place, source: error.into() })
    };
    let mut here = open("host", Netlink::open())?;
    let mut there = open("namespace", Netlink::open_in(ns))?;
    let taken = link::dump(&mut there)
        .map_err(|source| HandOverError::Ask { place: "namespace", source })?;
    let free = (0..NAMES).map(|n| format!("eth{n}")).find(|name| !taken.contains_key(name));
    let name = free.unwrap_or_else(|| link.to_owned());
    let moved = link::set_up(&mut here, link, false)
        .and_then(|()| link::move_to(&mut here, link, (ns, &name)));
    moved.map_err(|source| HandOverError::Move {
        link: link.to_owned(),
        name: name.clone(),
        source,
    })?;
    set_up(&mut there, ns, &name, wanted)
        .map_err(|source| HandOverError::SetUp { name: name.clone(), source })?;
    Ok(name)
}

fn set_up(there: &mut Netlink, ns: &NetNs, name: &str, wanted: &FarEnd) -> Result<(), Refusal> {
    if wanted.addresses.iter().any(|net| net.addr().is_ipv6()) {
        let key = format!("net/ipv6/conf/{name}/disable_ipv6");
        ns.visit(|| sysctl::write(&key, "0"))
            .map_err(super::netns::NetNsError::into_io)
            .flatten()?;
    }
    let index = link::index(there, name)?;
    for address in &wanted.addresses {
        route::add_address(there, index, address)?;
    }
    link::set_up(there, name, true)?;
    for gateway in &wanted.gateways {
        let to = match gateway {
            IpAddr::V4(_) => IpNet::V4(Ipv4Net::default()),
            IpAddr::V6(_) => IpNet::V6(Ipv6Net::default()),
        };
        let default = Route { to, via: Some(*gateway), dev: name.to_owned(), table: None };
        route::add_route(there, index, &default)?;
    }
    Ok(())
}
