//! The answer of `GET /v1/attachments`.

use api::{Attachment, Attachments};

use crate::shared::Shared;

use super::flows::moment;

/// Every attachment of the document in force, by key.
pub(crate) fn attachments(shared: &Shared) -> Attachments {
    let Some(force) = shared.force() else { return Attachments::default() };
    let bundle = &force.wanted.bundle;
    let all = force.wanted.attachments.iter().map(|(key, kept)| {
        let id = kept.id();
        let at = bundle.attachment(&id).map(|(_, at)| at);
        let known = bundle.workloads.get(id.as_str());
        Attachment {
            key: key.clone(),
            network: kept.attach.network.clone(),
            segment: known.and_then(|known| known.segment.as_ref()).map(ToString::to_string),
            labels: kept.attach.labels.clone(),
            port: kept.attach.port.clone(),
            endpoint: at.map(|at| at.number.into()),
            addresses: at
                .into_iter()
                .flat_map(|at| &at.addresses)
                .map(ipnet::IpNet::addr)
                .collect(),
            since: moment(kept.since),
            workload: id,
        }
    });
    Attachments { attachments: all.collect() }
}
