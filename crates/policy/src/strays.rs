//! Addresses that the file names as the host's, and that this host does not have.
//!
//! Asked by whoever knows a host, whenever they want to know: addresses come and go while a file is in force.

use std::net::IpAddr;

use crate::codes::Code;
use crate::diagnostic::Diagnostic;
use crate::document::Document;

/// Warnings about `snat` and `publish` addresses that are not among `own`, the host's addresses but those of loopback.
#[must_use]
pub fn strays(document: &Document, own: &[IpAddr]) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for network in &document.networks {
        for address in network.snat.iter().filter(|address| !own.contains(address)) {
            let message = format!(
                "the network `{}` leaves with {address}, which this host does not have",
                network.id()
            );
            let warning = Diagnostic::warning(Code::NotOfHost, network.span, message)
                .label("answers come back only if they are routed to this host")
                .hint(format!("give it to the host: ip address add {address} dev LINK"));
            found.push(warning);
        }
    }
    for publish in &document.publishes {
        let Some(address) = publish.address else { continue };
        if address.is_loopback() || own.contains(&address) {
            continue;
        }
        let message = format!(
            "`{}.{}` is published on {address}, which this host does not have",
            publish.tenant, publish.name
        );
        let warning = Diagnostic::warning(Code::NotOfHost, publish.span, message)
            .label("clients reach it only if the address is routed to this host")
            .hint(format!("give it to the host: ip address add {address} dev LINK"));
        found.push(warning);
    }
    found
}

/// Whether a document names addresses of the host at all.
#[must_use]
pub fn names_addresses(document: &Document) -> bool {
    document.networks.iter().any(|network| network.snat.iter().next().is_some())
        || document.publishes.iter().any(|publish| publish.address.is_some())
}
