//! Limits of published ports as the kernel counts them: by endpoint and port, in jiffies.

use model::Proto;
use policy::document::FlowRate;
use rustc_hash::FxHashSet;
use verdict::meters::{Limit, LimitKey, Rate};

use crate::bundle::{Attachment, Bundle};

/// Enters the limits of all published ports, and tells which endpoints have one. Entries of one port of a workload have the same
/// limit: the checks see to it.
pub(super) fn enter(bundle: &mut Bundle, jiffies_per_second: u32) -> FxHashSet<u32> {
    let rate = |rate: Option<FlowRate>| {
        rate.map_or_else(Rate::default, |rate| Rate {
            flows: rate.flows,
            per: rate.per.seconds().saturating_mul(jiffies_per_second),
        })
    };
    let mut limits = Vec::new();
    for router in &bundle.routers {
        for publish in router.publishes.iter().filter(|publish| !publish.limit.is_none()) {
            let leads_to = |at: &&Attachment| at.workload == publish.workload;
            let Some(at) = router.endpoints.iter().find(leads_to) else { continue };
            let key = LimitKey {
                endpoint: at.number.into(),
                port: publish.target_port,
                protocol: Proto::from(publish.transport).number(),
                pad: 0,
            };
            let (each, all) = (rate(publish.limit.each), rate(publish.limit.all));
            limits.push((key, Limit { each, all }));
        }
    }
    for term in bundle.terms.iter().filter(|term| !term.limit.is_none()) {
        let mut all = bundle.routers.iter().flat_map(|router| &router.endpoints);
        let at = all.find(|at| at.workload == term.workload);
        let (Some(at), Some((transport, port))) = (at, term.port) else { continue };
        let key = LimitKey {
            endpoint: at.number.into(),
            port,
            protocol: Proto::from(transport).number(),
            pad: 0,
        };
        let (each, all) = (rate(term.limit.each), rate(term.limit.all));
        limits.push((key, Limit { each, all }));
    }
    let limited = limits.iter().map(|(key, _)| key.endpoint).collect();
    bundle.tables.limits.extend(limits);
    limited
}
