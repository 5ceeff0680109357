//! What the file says of ports that runtimes publish: whose they are, until when, how much; and entries that lead nowhere.

use std::net::IpAddr;

use api::{Finding, Level, OpenPort, Opener, World};
use jiff::Timestamp;
use model::Transport;
use policy::document::{Led, Publish};
use policy::{Diagnostic, Document, Misled};

use crate::answers::flows::moment;
use crate::answers::{doctor, health};
use crate::shared::Shared;

use super::{PROXY, View};

/// A port of the host: protocol, address, number.
type Host = (Transport, IpAddr, u16);

impl View<'_> {
    /// A port that a runtime leads to a workload, with what the file says of it.
    pub(super) fn with_terms(&self, port: OpenPort, id: &str, host: Host) -> OpenPort {
        let Some(publish) = self.entry(id, host) else { return port };
        let mut port = OpenPort {
            owner: publish.owner.as_deref().map(str::to_owned),
            until: publish.until.map(moment),
            limit: (!publish.limit.is_none()).then(|| publish.limit.to_string()),
            ..port
        };
        if port.world == World::Drop && publish.is_expired(Timestamp::now()) {
            port.text =
                format!("the time of {}/{} in the file is over", publish.tenant, publish.name);
        } else if port.world == World::Drop && !publish.is_for_all() && !publish.host {
            // Whoever comes by a proxy is not told apart from the host.
            if port.text.starts_with(PROXY) {
                port.text =
                    format!("{PROXY} connects as the host, which the file does not open it for");
            }
        }
        port
    }

    /// The entry that speaks of a port of the host which a runtime leads to a workload.
    fn entry(&self, id: &str, (transport, address, port): Host) -> Option<&Publish> {
        let document = &self.force?.wanted.document;
        let workload = document.workload(id)?;
        let led = Led {
            tenant: workload.tenant.clone(),
            workload: workload.name.clone(),
            network: workload.network.clone(),
            transport,
            port,
            to: 0,
            address: Some(address).filter(|address| !address.is_unspecified()),
        };
        document.publishes.iter().find(|publish| publish.is_about(&led))
    }

    /// Entries that no runtime leads anywhere.
    pub(super) fn idle(&self) -> Vec<OpenPort> {
        let Some(force) = self.force else { return Vec::new() };
        let document = &force.wanted.document;
        let leads = policy::Leads::of(document);
        let idle = policy::misled(document).into_iter();
        let idle = idle.filter(|misled| leads.about(misled.publish).next().is_none());
        idle.map(|misled| of_idle(&misled)).collect()
    }
}

fn of_idle(misled: &Misled<'_>) -> OpenPort {
    let publish = misled.publish;
    OpenPort {
        protocol: publish.transport.to_string(),
        address: publish.address.map_or_else(|| "*".to_owned(), |it| it.to_string()),
        port: publish.port,
        opener: Opener::Bulkhead,
        name: Some(format!("{}/{}", publish.tenant, publish.name)),
        to: Some(format!("{}/{}:{}", publish.tenant, publish.workload, publish.workload_port)),
        owner: publish.owner.as_deref().map(str::to_owned),
        until: publish.until.map(moment),
        limit: (!publish.limit.is_none()).then(|| publish.limit.to_string()),
        world: World::Drop,
        text: misled.told.message.clone(),
        ..OpenPort::default()
    }
}

/// What is to be said of a document that is looked at: while nobody is known in a tenant's external networks, they were not looked at yet, and nothing
/// is missing.
pub(crate) fn misled(document: &Document) -> Vec<Diagnostic> {
    let is_known = |misled: &Misled<'_>| {
        let mut all = document.workloads.iter().filter(|it| it.tenant == misled.publish.tenant);
        misled.is_there
            || all.any(|it| {
                let network = document.network(&it.tenant, &it.network);
                network.is_some_and(|network| network.external.is_some())
            })
    };
    policy::misled(document).into_iter().filter(is_known).map(|misled| misled.told).collect()
}

/// What `doctor` says of ports that a runtime does not lead where the file says.
pub(crate) fn findings(shared: &Shared) -> Vec<Finding> {
    let Some(force) = shared.force() else { return Vec::new() };
    let told = health::misled(&force.wanted.document).into_iter();
    told.map(|text| doctor::finding("BH-H050", Level::Warning, text)).collect()
}
