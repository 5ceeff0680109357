//! The host at its uplinks as an end of a question: with a policy of its own it is judged there.

use std::net::IpAddr;

use planner::Bundle;
use verdict::abi::{Addr, HOST_ENDPOINT, HOST_NETWORK, PeerKey};

use crate::answers::party::{self, Who};

/// Whether a question is judged at the uplinks.
pub(super) enum Asked {
    /// It is about others, or the host has no policy.
    Elsewhere,
    /// One of both has no address of this version of IP.
    NotInThisVersion,
    /// In this network, between these addresses.
    Here((u32, IpAddr, IpAddr)),
}

/// Where a question between the host and the outside is judged, and between which addresses.
pub(super) fn ends(bundle: &Bundle, from: &Who, to: &Who, v6: bool) -> Asked {
    let Some(endpoint) = bundle.tables.endpoints.get(&HOST_ENDPOINT) else {
        return Asked::Elsewhere;
    };
    let own = |who: &Who| match who {
        Who::Host => {
            let own = IpAddr::from(if v6 { endpoint.v6 } else { endpoint.v4 });
            Some(own).filter(|own| own.is_ipv6() == v6 && !own.is_unspecified())
        }
        Who::Address(address) => Some(*address).filter(|address| is_host(bundle, *address)),
        _ => None,
    };
    let is_own = |who: &Who| match who {
        Who::Address(address) => is_host(bundle, *address),
        who => *who == Who::Host,
    };
    let far = |who: &Who| match who {
        Who::Address(address) => Some(*address),
        Who::World => {
            let network = u16::try_from(HOST_NETWORK).unwrap_or(u16::MAX);
            Some(party::world(&bundle.tables, network, v6))
        }
        _ => None,
    };
    let is_far = |who: &Who| matches!(who, Who::World | Who::Address(_)) && !is_own(who);
    let (source, target) = match (is_own(from), is_own(to)) {
        (true, false) if is_far(to) => (own(from), far(to)),
        (false, true) if is_far(from) => (far(from), own(to)),
        _ => return Asked::Elsewhere,
    };
    let both = source.zip(target);
    let fits =
        |(source, target): &(IpAddr, IpAddr)| source.is_ipv6() == v6 && target.is_ipv6() == v6;
    match both.filter(fits) {
        Some((source, target)) => Asked::Here((HOST_NETWORK, source, target)),
        None => Asked::NotInThisVersion,
    }
}

fn is_host(bundle: &Bundle, address: IpAddr) -> bool {
    let key = PeerKey { network: HOST_NETWORK, addr: Addr::from(address) };
    bundle.tables.exact.get(&key).is_some_and(|peer| peer.endpoint == HOST_ENDPOINT)
}
