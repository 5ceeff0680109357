//! Ports that nobody in the file has, on bridges that networks of the file stand on: one endpoint for all of them, and what none of them may claim.

use model::Posture;
use verdict::abi::{Addr, Endpoint, HOST_NETWORK, Mac, UNMANAGED_ENDPOINT, UNMANAGED_TENANT};

use crate::bundle::{Bundle, Router};
use crate::topology;

/// Whether a network stands on a bridge of somebody else, which may have ports that nobody in the file has.
fn is_shared(router: &Router) -> bool {
    router.external.is_some() || router.lan.is_some()
}

/// Enters the endpoint of everybody behind such ports, if there can be any.
pub(super) fn enter(bundle: &mut Bundle, posture: Posture) {
    if !bundle.routers.iter().any(is_shared) {
        return;
    }
    let posture = posture as u8;
    let entry = Endpoint {
        // That of the port takes its place.
        network: HOST_NETWORK,
        tenant: UNMANAGED_TENANT,
        posture: [[posture; 2]; 2],
        flags: Endpoint::UNMANAGED | Endpoint::IN_PLACE,
        ..Endpoint::default()
    };
    bundle.tables.endpoints.insert(UNMANAGED_ENDPOINT, entry);
}

/// What stands in the tables for a workload beside its addresses, so that nobody else on its bridge can claim it: its MAC and its link-local address.
pub(super) fn claimable(home: &Router, mac: Mac) -> Vec<Addr> {
    if !is_shared(home) {
        return Vec::new();
    }
    vec![Addr::of_mac(mac), Addr::v6(topology::link_local(mac).octets())]
}
