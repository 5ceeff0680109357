//! `bulkhead status`: the agent, the kernel's tables and every workload.

use api::{
    AuditScope, Geography, Intervention, Status, Unmanaged, UnmanagedPort, Workload, WorkloadState,
};

use super::{Context, confirm, count, person};
use crate::failure::{Exit, Failure};
use crate::screen::Paint;
use crate::table::Table;

pub(crate) fn run(context: &Context) -> Result<Exit, Failure> {
    let status = context.client()?.status()?;
    context.screen.show(&status, render)?;
    Ok(Exit::Done)
}

pub(crate) fn render(status: &Status, paint: Paint) -> String {
    let agent = &status.agent;
    let mut text = format!(
        "agent {} (pid {}) since {}, kernel {}, programs attached by {}\n",
        agent.version, agent.pid, agent.since, agent.kernel, agent.kernel_path
    );
    match (&agent.document, agent.generation) {
        (Some(document), generation) if generation > 0 => {
            let since = agent.applied.as_deref().unwrap_or("an unknown time");
            text += &format!(
                "generation {generation} of {document} in force since {since}, epoch {}\n",
                agent.epoch
            );
        }
        _ => text += "nothing is in force yet; `bulkhead up FILE` applies a file\n",
    }
    text += &format!(
        "{} of {} flows in the connection table, {} lost\n",
        agent.flows.used,
        agent.flows.capacity,
        count(agent.events_lost, "flow event")
    );
    if let Some(expiry) = &agent.next_expiry {
        text += &format!("the file means something else by itself at {expiry}\n");
    }
    if let Some(Geography { database, built, .. }) = &agent.geography {
        text += &format!("networks of countries are those of {database}, built {built}\n");
    }
    if let Some(host) = &agent.host {
        text += &confirm::render(host, paint);
    }
    if let Some(unmanaged) = &agent.unmanaged {
        text += &strays(unmanaged);
    }
    text += &audits(&agent.audits, paint);
    text += &interventions(&agent.interventions, paint);
    for warning in &agent.warnings {
        text += &format!("{}: {warning}\n", paint.warn("warning"));
    }
    for reconciler in &agent.reconcilers {
        for failure in &reconciler.failures {
            text += &format!("{}: {}: {failure}\n", paint.warn("warning"), reconciler.name);
        }
    }
    if !status.workloads.is_empty() {
        text += "\n";
        text += &workloads(&status.workloads, paint);
    }
    if !agent.drops.is_empty() {
        text += "\n";
        text += &drops(status, paint);
    }
    text
}

/// `unmanaged: audit; 3 ports (t.lan: vetha, vethb closed until known, vethc), 7 flows, 0 packets dropped`
fn strays(unmanaged: &Unmanaged) -> String {
    let ports: Vec<&UnmanagedPort> = unmanaged.ports.iter().filter(|port| !port.bridge).collect();
    let mut text =
        format!("unmanaged: {}; {}", unmanaged.posture, count(ports.len() as u64, "port"));
    let mut network = "";
    for (at, port) in ports.iter().take(STRAYS).enumerate() {
        text += match (at, network == port.network) {
            (0, _) => " (",
            (_, true) => ", ",
            (_, false) => "; ",
        };
        if network != port.network {
            text += &format!("{}: ", port.network);
            network = &port.network;
        }
        text += &port.interface;
        text += if port.closed { " closed until known" } else { "" };
    }
    text += match ports.len() {
        0 => "",
        1..=STRAYS => ")",
        _ => ", ...)",
    };
    let flows = count(unmanaged.flows, "flow");
    text += &format!(", {flows}, {} dropped", count(unmanaged.drops, "packet"));
    if unmanaged.unrecorded > 0 {
        let unrecorded = count(unmanaged.unrecorded, "packet");
        text += &format!(", {unrecorded} beyond {} flows not recorded", unmanaged.capacity);
    }
    text + "\n"
}

/// Ports of nobody that are listed; `--json` has all.
const STRAYS: usize = 8;

/// Interventions that are listed, the newest; `--json` has all.
const INTERVENTIONS: usize = 3;

/// `changed by others: 2026-11-22T10:04:11Z nftables table inet bulkhead, by `nft` (process 9); back after 12.3 ms`
fn interventions(all: &[Intervention], paint: Paint) -> String {
    let newest = all.iter().skip(all.len().saturating_sub(INTERVENTIONS));
    let line = |each: &Intervention| {
        let (ms, tenths) = (each.took_us / 1000, each.took_us % 1000 / 100);
        let word = paint.warn("changed by others");
        format!("{word}: {} {}, by {}; back after {ms}.{tenths} ms\n", each.at, each.what, each.by)
    };
    newest.map(line).collect()
}

/// Scopes that are listed; `--json` has all.
const SCOPES: usize = 8;

/// `audit: tenant shop, ingress and egress, until 2026-12-31T00:00:00Z`
fn audits(scopes: &[AuditScope], paint: Paint) -> String {
    // What ends soon is never among those that are left out.
    let mut ordered: Vec<&AuditScope> = scopes.iter().collect();
    ordered.sort_by_key(|scope| !scope.ends_soon);
    let mut text = String::new();
    for scope in ordered.iter().take(SCOPES) {
        let directions = match (scope.ingress, scope.egress) {
            (true, true) => "ingress and egress",
            (true, false) => "ingress",
            _ => "egress",
        };
        let until = match &scope.until {
            Some(until) if scope.ends_soon => {
                format!("; {} within a day, at {until}", paint.warn("enforced"))
            }
            Some(until) => format!(", until {until}"),
            None => String::new(),
        };
        text += &format!("{}: {}, {directions}{until}\n", paint.warn("audit"), scope.scope);
    }
    if ordered.len() > SCOPES {
        text +=
            &format!("and {} under audit\n", count((ordered.len() - SCOPES) as u64, "more scope"));
    }
    text
}

fn drops(status: &Status, paint: Paint) -> String {
    let mut table = Table::new(["DROPPED", "CODE", "REASON"]);
    for drop in &status.agent.drops {
        table.row([drop.packets.to_string(), drop.code.clone(), drop.text.clone()]);
    }
    let mut text = table.render(paint);
    if let Some(since) = &status.agent.counted_since {
        text += &format!("counted since {since}\n");
    }
    text
}

/// The table of workloads.
pub(crate) fn workloads(list: &[Workload], paint: Paint) -> String {
    let mut table = Table::new([
        "WORKLOAD",
        "PLACE",
        "ADDRESS",
        "STATE",
        "RESTARTS",
        "ENFORCED SINCE",
        "GEN",
        "DROPS",
        "LABELS",
    ]);
    for workload in list {
        let place = workload.segment.as_ref().map_or_else(
            || workload.network.clone(),
            |segment| format!("{}/{segment}", workload.network),
        );
        let labels: Vec<String> =
            workload.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        table.row([
            person(&workload.id),
            place,
            workload.addresses.join(" "),
            state(workload),
            workload.restarts.to_string(),
            workload.enforced_since.clone().unwrap_or_else(|| "-".to_owned()),
            workload.generation.to_string(),
            workload.drops.to_string(),
            labels.join(","),
        ]);
    }
    let mut text = table.render(paint);
    for workload in list {
        if let Some(detail) = &workload.detail {
            text += &format!("{}: {detail}\n", person(&workload.id));
        }
    }
    text
}

fn state(workload: &Workload) -> String {
    let word = match workload.state {
        WorkloadState::Pending => "pending",
        WorkloadState::Running => "running",
        WorkloadState::Restarting => "restarting",
        WorkloadState::Exited => "exited",
        WorkloadState::Failed => "failed",
        WorkloadState::Adopted => "adopted",
    };
    workload.pid.map_or_else(|| word.to_owned(), |pid| format!("{word} ({pid})"))
}
