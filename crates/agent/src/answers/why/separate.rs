//! The answer for networks that are kept apart.

use api::{Error, Why};
use model::Mode;
use verdict::Reason;

use crate::answers::party::{self, Who};
use crate::answers::reason;
use crate::answers::service::Asked;
use crate::force::Wanted;
use crate::names::Names;

use super::{attachment, nobody, published, unasked};

/// The answer for a pair whose packets never meet: networks are kept apart before any rule is asked, and published ports
/// are the only way. Without a generation.
pub(super) fn why(
    wanted: &Wanted,
    names: &Names,
    (from, to): (&Who, &Who),
    (asked, source_port): (Asked, u16),
) -> Result<Why, Error> {
    let bundle = &wanted.bundle;
    let shown = |who: &Who| -> Result<(api::Party, String), Error> {
        let Some((router, at)) = attachment(bundle, who)? else { return Err(nobody()) };
        let address = at.addresses.first().map(ipnet::IpNet::addr).ok_or_else(nobody)?;
        let network = u32::from(router.number);
        let end = party::end(&wanted.document, bundle, network, address);
        Ok((
            party::shown(&end, bundle, network, address),
            format!("{}/{}", router.tenant, router.name),
        ))
    };
    let ways = published::ways(wanted, names, (from, to), (asked, source_port), true);
    let is_on_lan = |who: &Who| matches!(attachment(bundle, who), Ok(Some((router, _))) if router.lan.is_some());
    let on_lan = if is_on_lan(from) || is_on_lan(to) {
        " on this host. On a LAN, one may still reach the other from outside, as the world does"
    } else {
        ""
    };
    let ((from, here), (to, there)) = (shown(from)?, shown(to)?);
    let text = if here == there {
        format!("{} and {} have no version of IP in common", from.name, to.name)
    } else {
        let way = if ways.is_empty() { "" } else { ", but through published ports" };
        format!(
            "the networks {here} and {there} are separate: no packet of the one comes to the other{way}{on_lan}"
        )
    };
    let is_routed = bundle.routers.iter().any(|router| router.mode == Mode::Routed);
    let mut why = reason(Reason::UnknownPeer).unwrap_or_default();
    "separate networks".clone_into(&mut why.text);
    let hint = if !ways.is_empty() {
        "connect to the host's port that is published"
    } else if is_routed {
        "publish a port, or give both networks the mode `routed`"
    } else {
        "publish a port of the target"
    };
    why.hint = Some(hint.to_owned());
    let answer = unasked((from, to), (asked, false), source_port, api::Verdict::Drop, text);
    Ok(Why { reason: Some(why), published: ways, ..answer })
}
