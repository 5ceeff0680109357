//! Entries of `publish` whose port a runtime does not lead where the file says.
//!
//! In an external network its runtime publishes (`docker run -p`), and the file says for whom. What it does publish is known where the host
//! is, and stands in [`Document::led`]; asked whenever somebody wants to know, as containers come and go while a file is in force.

use std::collections::HashMap;

use model::{Name, Transport};

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::document::{Document, External, Led, Publish, Workload};

/// An entry that is not as the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misled<'d> {
    /// The entry.
    pub publish: &'d Publish,
    /// Whether its workload is there.
    pub is_there: bool,
    /// What is wrong, at its place.
    pub told: Diagnostic,
}

/// Ports of the host that runtimes lead somewhere, by what an entry is about.
#[derive(Debug)]
pub struct Leads<'d>(HashMap<(&'d Name, Transport, u16), Vec<&'d Led>>);

impl<'d> Leads<'d> {
    /// Of a document.
    #[must_use]
    pub fn of(document: &'d Document) -> Self {
        let mut by_port: HashMap<_, Vec<&Led>> = HashMap::new();
        for led in &document.led {
            by_port.entry((&led.tenant, led.transport, led.port)).or_default().push(led);
        }
        Self(by_port)
    }

    /// Those that an entry is about.
    pub fn about<'s>(
        &'s self,
        publish: &'s Publish,
    ) -> impl Iterator<Item = &'d Led> + use<'s, 'd> {
        let key = (&publish.tenant, publish.transport, publish.port);
        let all = self.0.get(&key).into_iter().flatten().copied();
        all.filter(|led| publish.is_about(led))
    }
}

/// Every entry whose port leads nowhere or elsewhere, in file order, as far as runtimes say. Entries that are ours to publish are none of them.
#[must_use]
pub fn misled(document: &Document) -> Vec<Misled<'_>> {
    let leads = Leads::of(document);
    let is_external = |tenant: &Name, network: &Name| {
        document.network(tenant, network).is_some_and(|network| network.external.is_some())
    };
    let mut found = Vec::new();
    for publish in &document.publishes {
        let workload = document.workload(&format!("{}.{}", publish.tenant, publish.workload));
        if workload.is_some_and(|workload| !is_external(&workload.tenant, &workload.network)) {
            continue;
        }
        let about: Vec<&Led> = leads.about(publish).collect();
        // A container in several networks is a workload in each, and has its ports there.
        if about.iter().any(|led| publish.is_led(led)) {
            continue;
        }
        if workload.is_some_and(|workload| is_awaited(document, workload)) && about.is_empty() {
            continue;
        }
        let is_there = workload.is_some();
        // Docker says what it publishes, and what is attached to a bridge may say so. Where nobody does, nothing is known.
        if workload.is_some_and(|workload| !is_told(document, workload)) && about.is_empty() {
            continue;
        }
        let (message, label) = missed(document, publish, about.first().copied(), is_there);
        let told = Diagnostic::warning(Code::Misled, publish.span, message)
            .label(label)
            .hint("publish the port with the runtime as the file says, or write where it leads: bulkhead publish list");
        found.push(Misled { publish, is_there, told });
    }
    found
}

/// Whether somebody says what is led to a workload of an external network.
fn is_told(document: &Document, workload: &Workload) -> bool {
    let network = document.network(&workload.tenant, &workload.network);
    let is_docker = network.is_some_and(|it| matches!(it.external, Some(External::Docker(_))));
    is_docker
        || document.led.iter().any(|led| {
            led.tenant == workload.tenant
                && led.workload == workload.name
                && led.network == workload.network
        })
}

/// Whether it is still to be said what is led to a workload.
fn is_awaited(document: &Document, workload: &Workload) -> bool {
    document.unled.iter().any(|unled| {
        unled.tenant == workload.tenant
            && unled.workload == workload.name
            && unled.network == workload.network
    })
}

/// What is not as one entry says, and what follows; `other` is where the runtime leads its port.
fn missed(
    document: &Document,
    publish: &Publish,
    other: Option<&Led>,
    is_there: bool,
) -> (String, &'static str) {
    let Publish { tenant, name, workload, workload_port, port, transport, .. } = publish;
    let what = format!("the published port `{tenant}.{name}`");
    if let Some(other) = other {
        let led = format!("{}:{}", other.workload, other.to);
        let message = format!(
            "{what} is to lead to {workload}:{workload_port}, and its runtime leads {port}/{transport} to {led}"
        );
        return (message, "what the entry says holds there, too");
    }
    if !is_there {
        return (
            format!("{what} leads nowhere: there is no workload `{workload}` now"),
            "nobody is reached by it",
        );
    }
    let same = |led: &&Led| {
        led.tenant == *tenant
            && led.workload == *workload
            && led.to == *workload_port
            && led.transport == *transport
    };
    if let Some(led) = document.led.iter().find(same) {
        let port = led.port;
        let message = format!(
            "{what} is {}/{transport}, and its runtime publishes {workload}:{workload_port} as {port}/{transport}",
            publish.port
        );
        return (message, "what the entry says holds for that");
    }
    let message = format!(
        "{what} leads nowhere: the runtime of `{workload}` publishes no {port}/{transport}"
    );
    (message, "what the entry says holds for the workload's port, however it is reached")
}
