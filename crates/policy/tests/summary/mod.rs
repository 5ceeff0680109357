//! A document in a few lines, for snapshots.

use std::fmt::Write as _;

use policy::document::{Document, Policy, Start};

/// One line for each thing of the document.
pub(crate) fn summary(document: &Document) -> String {
    let mut text = String::new();
    for network in &document.networks {
        let nets: Vec<String> = network.subnets.iter().map(|net| net.to_string()).collect();
        writeln!(text, "network {} {} [{}]", network.id(), network.mode, nets.join(", "))
            .expect("a string");
        for segment in &network.segments {
            let nets: Vec<String> = segment.subnets.iter().map(|net| net.to_string()).collect();
            let (ingress, egress) = (segment.postures.ingress, segment.postures.egress);
            let sealed = if segment.sealed { " sealed" } else { "" };
            writeln!(
                text,
                "  {} [{}] in={ingress} out={egress}{sealed}",
                segment.name,
                nets.join(", ")
            )
            .expect("a string");
        }
    }
    for workload in &document.workloads {
        let labels: Vec<String> = workload.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
        let place = workload.segment.as_ref().map(|s| format!("/{s}")).unwrap_or_default();
        let start = match &workload.start {
            Start::Run(run) => {
                format!("{:?} user={:?} env={:?} {:?}", run.argv, run.user, run.env, run.restart)
            }
            Start::Netns(adopted) => format!("{:?}", adopted.netns),
            Start::Port(port) => format!("{port:?}"),
            Start::Beside(interface) => interface.to_string(),
        };
        let fixed = workload.v4.map(|a| format!(" {a}")).unwrap_or_default();
        writeln!(
            text,
            "workload {} {}{place} {{{}}}{fixed} {start}",
            workload.id(),
            workload.network,
            labels.join(",")
        )
        .expect("a string");
    }
    for publish in &document.publishes {
        let (port, transport) = (publish.port, publish.transport);
        writeln!(
            text,
            "publish {port}/{transport} {}:{} {:?}",
            publish.workload, publish.workload_port, publish.from
        )
        .expect("a string");
    }
    for policy in &document.policies {
        writeln!(text, "{}", policy_line(policy)).expect("a string");
    }
    for assertion in &document.assertions {
        writeln!(text, "{:?} {} {:?}", assertion.claim, assertion.text, assertion.scope)
            .expect("a string");
    }
    text
}

fn policy_line(policy: &Policy) -> String {
    fn list<T: ToString>(items: &[T]) -> String {
        items.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ")
    }
    let rules: Vec<String> =
        policy.rules().map(|rule| format!("{}#{} at {}", rule.kind, rule.id, rule)).collect();
    format!(
        "policy {} {}: {} -> {} allow [{}] deny [{}] from ports [{}]{}\n  {}",
        policy.order,
        policy.path(),
        list(&policy.from),
        list(&policy.to),
        list(&policy.allow),
        list(&policy.deny),
        list(&policy.source_ports),
        policy.until.map(|until| format!(" until {until}")).unwrap_or_default(),
        rules.join("\n  "),
    )
}
