//! A document as a file, for people who must look at a failed case.

use std::fmt::{Display, Write as _};

use model::{Posture, Postures};
use policy::Document;
use policy::document::{Audit, Policy, Scope, Start, Subnets};

use crate::clock;

/// The file that means this document. Addresses that the planner gave stand in a comment.
#[must_use]
pub fn file(doc: &Document) -> String {
    let mut out = String::from("bulkhead: 1\n");
    audit(&mut out, 0, doc.audit);
    if let Some(host) = &doc.host {
        line(&mut out, 0, "host:");
        line(&mut out, 1, &format!("posture: {}", posture(host.postures)));
        line(&mut out, 1, &format!("confined: {}", quoted(&host.confined)));
        audit(&mut out, 1, host.audit);
    }
    if !doc.tenants.is_empty() {
        out.push_str("tenants:\n");
    }
    for tenant in &doc.tenants {
        line(&mut out, 1, &format!("{}:", tenant.name));
        audit(&mut out, 2, tenant.audit);
        networks(&mut out, doc, tenant.name.as_str());
        line(&mut out, 2, "workloads:");
        for workload in doc.workloads.iter().filter(|each| each.tenant == tenant.name) {
            let place = match &workload.segment {
                Some(segment) => format!("segment: {}/{segment}", workload.network),
                None => format!("network: {}", workload.network),
            };
            let labels: Vec<String> = workload
                .labels
                .iter()
                .map(|(key, value)| format!("{key}: {:?}", value.as_str()))
                .collect();
            let fixed: Vec<String> = workload
                .v4
                .map(|v4| v4.to_string())
                .into_iter()
                .chain(workload.v6.map(|v6| format!("\"{v6}\"")))
                .collect();
            let address = if fixed.is_empty() {
                String::new()
            } else {
                format!(", address: [{}]", fixed.join(", "))
            };
            let (name, labels) = (workload.label(), labels.join(", "));
            let start = match &workload.start {
                Start::Port(port) => format!("port: {port:?}"),
                _ => format!("netns: {name}"),
            };
            line(
                &mut out,
                3,
                &format!("{name}: {{ {place}, labels: {{ {labels} }}{address}, {start} }}"),
            );
        }
        let own = |each: &&Policy| each.scope == Scope::Tenant(tenant.name.clone());
        policies(&mut out, 2, doc.policies.iter().filter(own));
    }
    policies(&mut out, 0, doc.policies.iter().filter(|each| each.scope == Scope::Host));
    out
}

fn networks(out: &mut String, doc: &Document, tenant: &str) {
    line(out, 2, "networks:");
    for network in doc.networks.iter().filter(|each| each.tenant == tenant) {
        line(out, 3, &format!("{}:", network.name));
        if let Some(external) = &network.external {
            line(out, 4, &format!("external: {external:?}"));
        } else {
            line(out, 4, &format!("mode: {}", network.mode));
        }
        audit(out, 4, network.audit);
        if network.subnets.is_empty() {
            continue;
        }
        line(out, 4, &format!("subnets: {}", subnets(network.subnets)));
        if network.segments.is_empty() {
            line(out, 4, &format!("posture: {}", posture(network.postures)));
            continue;
        }
        line(out, 4, "segments:");
        for segment in &network.segments {
            let manner = if segment.sealed {
                "profile: sealed".to_owned()
            } else {
                format!("posture: {}", posture(segment.postures))
            };
            let subnet = subnets(segment.subnets);
            line(out, 5, &format!("{}:", segment.name));
            line(out, 6, &format!("subnet: {subnet}"));
            line(out, 6, &manner);
            audit(out, 6, segment.audit);
        }
    }
}

fn policies<'p>(out: &mut String, depth: usize, policies: impl Iterator<Item = &'p Policy>) {
    let mut headed = false;
    for policy in policies {
        if !headed {
            line(out, depth, "policies:");
            headed = true;
        }
        let mut text = format!(
            "{}: {{ from: {}, to: {}",
            policy.name,
            quoted(&policy.from),
            quoted(&policy.to)
        );
        for (word, specs) in [("allow", &policy.allow), ("deny", &policy.deny)] {
            if !specs.is_empty() {
                let _ = write!(text, ", {word}: {}", quoted(specs));
            }
        }
        if !policy.source_ports.is_empty() {
            let _ = write!(text, ", source-ports: {}", quoted(&policy.source_ports));
        }
        if policy.audit {
            text.push_str(", mode: audit");
        }
        if let Some(until) = policy.until {
            let _ = write!(text, ", until: {until}");
        }
        if let Some(times) = &policy.schedule {
            let _ = write!(text, ", {}", clock::written(times));
        }
        line(out, depth + 1, &format!("{text} }}"));
    }
}

fn audit(out: &mut String, depth: usize, audit: Audit) {
    let ingress = audit.ingress.map(|audits| format!("ingress: {audits}"));
    let egress = audit.egress.map(|audits| format!("egress: {audits}"));
    let until = audit.until.map(|until| format!("until: {until}"));
    let parts: Vec<String> = [ingress, egress, until].into_iter().flatten().collect();
    if !parts.is_empty() {
        line(out, depth, &format!("audit: {{ {} }}", parts.join(", ")));
    }
}

fn quoted<T: Display>(all: &[T]) -> String {
    let all: Vec<String> = all.iter().map(|each| format!("\"{each}\"")).collect();
    format!("[{}]", all.join(", "))
}

fn subnets(subnets: Subnets) -> String {
    quoted(&subnets.iter().collect::<Vec<_>>())
}

fn posture(postures: Postures) -> String {
    let word = |posture: Posture| posture.as_str();
    format!("{{ ingress: {}, egress: {} }}", word(postures.ingress), word(postures.egress))
}

fn line(out: &mut String, depth: usize, text: &str) {
    for _ in 0..depth {
        out.push_str("  ");
    }
    out.push_str(text);
    out.push('\n');
}
