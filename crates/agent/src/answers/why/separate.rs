//! The answer for networks that are kept apart.

use api::{Error, Seen, Service, WHY_SCHEMA, Why};
use model::{Mode, Proto};
use verdict::Reason;

use crate::answers::party::{self, Who};
use crate::answers::reason;
use crate::answers::service::Asked;
use crate::force::Force;

use super::{attachment, nobody};

/// The answer for a pair whose packets never meet: networks are kept apart before any rule is asked.
pub(super) fn why(
    force: &Force,
    from: &Who,
    to: &Who,
    asked: Asked,
    source_port: u16,
) -> Result<Why, Error> {
    let bundle = &force.wanted.bundle;
    let shown = |who: &Who| -> Result<(api::Party, String), Error> {
        let Some((router, at)) = attachment(bundle, who)? else { return Err(nobody()) };
        let address = at.addresses.first().map(ipnet::IpNet::addr).ok_or_else(nobody)?;
        let network = u32::from(router.number);
        let end = party::end(&force.wanted.document, bundle, network, address);
        Ok((
            party::shown(&end, bundle, network, address),
            format!("{}/{}", router.tenant, router.name),
        ))
    };
    let ((from, here), (to, there)) = (shown(from)?, shown(to)?);
    let (proto, port) =
        asked.numbers(false).or(asked.numbers(true)).unwrap_or((Proto::Other(0), 0));
    let text = if here == there {
        format!("{} and {} have no version of IP in common", from.name, to.name)
    } else {
        format!(
            "the networks {here} and {there} are separate: no packet of the one comes to the other"
        )
    };
    let is_routed = bundle.routers.iter().any(|router| router.mode == Mode::Routed);
    let mut why = reason(Reason::UnknownPeer).unwrap_or_default();
    "separate networks".clone_into(&mut why.text);
    why.hint = Some(if is_routed {
        "publish a port, or give both networks the mode `routed`".to_owned()
    } else {
        "publish a port of the target".to_owned()
    });
    Ok(Why {
        schema: WHY_SCHEMA.to_owned(),
        generation: force.generation,
        from,
        to,
        service: Service { protocol: proto.to_string(), port, source_port, text: asked.text() },
        verdict: api::Verdict::Drop,
        reason: Some(why),
        decided: None,
        rule: None,
        egress_rule: None,
        ingress_rule: None,
        text,
        near_misses: Vec::new(),
        would_allow: None,
        seen: Seen::default(),
        warnings: Vec::new(),
    })
}
