//! The page of the reference about metrics: made from an exposition of one series each, so that it names what is there.

use std::collections::BTreeMap;

use api::{DropCount, Reconciled, RuleCount, Status, Workload};

use super::{Snapshot, encoded};

const HEAD: &str = "# Metrics

Generated from the program by `./dev doc`. `GET /v1/metrics` on the agent's socket answers in the OpenMetrics text format, with what the kernel has counted at
that moment: `curl --unix-socket /run/bulkhead/agent.sock http://agent/v1/metrics`. Counters of workloads begin when the workload is first enforced, all others
when the kernel's tables are made; neither begins anew with the agent, but for `bulkhead_flow_records*`, `bulkhead_flow_store*`, `bulkhead_publish_looks*` and `bulkhead_api_refused*`. Series of single workloads and rules are given for
the first 1,000 of each.

| metric | type | labels | meaning |
|---|---|---|---|
";

/// What is known of a metric.
#[derive(Debug, Default)]
struct Known<'t> {
    help: &'t str,
    kind: &'t str,
    labels: Vec<&'t str>,
}

/// Every metric as a page of the reference.
#[must_use]
pub fn reference() -> String {
    let text = encoded(sample()).unwrap_or_default();
    let mut known: BTreeMap<&str, Known<'_>> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|it| it.split_once(' ')) {
            known.entry(name).or_default().help = help.trim_end_matches('.');
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' '))
        {
            known.entry(name).or_default().kind = kind;
        } else if let Some((name, rest)) = line.split_once('{') {
            let name = name.strip_suffix("_total").unwrap_or(name);
            let labels = rest.split('"').step_by(2).filter_map(|part| part.strip_suffix('='));
            let labels = labels.map(|label| label.trim_start_matches(',')).collect();
            known.entry(name).or_default().labels = labels;
        }
    }
    let rows = known.into_iter().map(|(name, known)| {
        let suffix = if known.kind == "counter" { "_total" } else { "" };
        let labels: Vec<String> = known.labels.iter().map(|label| format!("`{label}`")).collect();
        let labels = labels.join(", ");
        format!("| `{name}{suffix}` | {} | {labels} | {} |\n", known.kind, known.help)
    });
    HEAD.to_owned() + &rows.collect::<String>()
}

/// One of everything that has series.
fn sample() -> Snapshot {
    let mut status = Status::default();
    let code = "BH-D002".to_owned();
    status.agent.drops.push(DropCount { code, text: String::new(), packets: 0 });
    status.agent.reconcilers.push(Reconciled::default());
    status.agent.audits.push(api::AuditScope::default());
    status.workloads.push(Workload::default());
    Snapshot {
        status,
        states: [("running", 1)].into(),
        rules: vec![RuleCount::default()],
        ..Snapshot::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_family_has_its_row_with_its_labels() {
        let text = reference();
        for row in [
            "| `bulkhead_drops_total` | counter | `reason` | Dropped packets by reason |",
            "| `bulkhead_rule_flows_total` | counter | `rule`, `kind` | Flows that a rule opened |",
            "| `bulkhead_healthy` | gauge |  | 1 when everything that was asked for is enforced |",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
        let rows = text.lines().filter(|line| line.starts_with("| `bulkhead_"));
        assert!(rows.clone().count() > 15);
        assert!(rows.clone().all(|row| row.split(" | ").count() == 4 && !row.contains("|  |  |")));
    }
}
