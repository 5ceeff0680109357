//! The answer for a workload that talks to itself: its own loopback carries that, and no hook is there.

use std::net::IpAddr;

use api::Why;
use ipnet::IpNet;
use policy::document::owner;

use crate::answers::party::{self, Who};
use crate::answers::service::Asked;
use crate::force::Wanted;

use super::unasked;

/// Whether both ends are one workload, or one is an address that another of its addresses reaches without leaving it.
fn is_one(wanted: &Wanted, ends: [&Who; 2]) -> Option<(u32, IpAddr)> {
    let workload = |who: &&Who| matches!(who, Who::Workload(_));
    let Who::Workload(id) = ends.into_iter().find(workload)? else { return None };
    let bundle = &wanted.bundle;
    let (router, at) = bundle.attachment(id)?;
    let all = bundle.attachments(id).filter_map(|(id, _)| Some(bundle.attachment(id)?.1));
    let own: Vec<IpAddr> = all.flat_map(|at| &at.addresses).map(IpNet::addr).collect();
    let is_own = |who: &Who| match who {
        Who::Workload(other) => owner(other) == owner(id),
        Who::Address(address) => own.contains(address) || address.is_loopback(),
        Who::Host | Who::World | Who::Account(_) => false,
    };
    let first = at.addresses.first()?.addr();
    ends.into_iter().all(is_own).then_some((router.number.into(), first))
}

/// The answer, when both ends are one workload; without a generation.
pub(super) fn why(wanted: &Wanted, ends: [&Who; 2], asked: Asked, source_port: u16) -> Option<Why> {
    let (network, address) = is_one(wanted, ends)?;
    let end = party::end(&wanted.document, &wanted.bundle, network, address);
    let party = party::shown(&end, &wanted.bundle, network, address);
    let text = format!(
        "{} talks to itself over its own loopback: that never comes to a hook, and no policy judges it",
        party.name
    );
    let parties = (party.clone(), party);
    Some(unasked(parties, (asked, address.is_ipv6()), source_port, api::Verdict::Allow, text))
}
