//! Counters in the `OpenMetrics` text format, read from the kernel at every scrape.
//!
//! **Limits.** Series of single workloads are given for the first 1,000 workloads by id, those of rules for the first 1,000
//! rules of the file; sums always cover all.

mod reference;
mod unmanaged;

use std::collections::BTreeMap;
use std::fmt;

use api::{Error, RuleCount, Status, WorkloadState, codes};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, text::encode};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::answers::{health, rules, status};
use crate::fault::failed;
use crate::history::hours;
use crate::shared::{Flows, Shared};

pub use reference::reference;

/// Of the answer.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Workloads with series of their own.
const WORKLOADS: usize = 1_000;
/// Rules with series of their own.
const RULES: usize = 1_000;

type Labels = Vec<(&'static str, String)>;

/// Everything that is counted.
///
/// # Errors
/// `BH0200` when the text cannot be made.
pub(crate) fn text(shared: &Shared) -> Result<String, Error> {
    let mut snapshot = Snapshot::take(shared);
    snapshot.status.workloads.truncate(WORKLOADS);
    encoded(snapshot).map_err(|error| failed(codes::INTERNAL, "write the metrics", &error))
}

fn encoded(snapshot: Snapshot) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("bulkhead");
    registry.register_collector(Box::new(snapshot));
    let mut text = String::new();
    encode(&mut text, &registry)?;
    Ok(text)
}

/// What a scrape shows.
#[derive(Debug, Default)]
struct Snapshot {
    status: Status,
    rules: Vec<RuleCount>,
    healthy: bool,
    records: u64,
    forgotten: u64,
    unmerged: u64,
    chatter: u64,
    refused: u64,
    looks: [u64; 2],
    store: Stored,
    states: BTreeMap<&'static str, u64>,
}

impl Snapshot {
    fn take(shared: &Shared) -> Self {
        let status = status::status(shared);
        let mut by_state = BTreeMap::new();
        for workload in &status.workloads {
            *by_state.entry(state(workload.state)).or_default() += 1;
        }
        // Without a document, or without an answer of the kernel, there is nothing to count.
        let rules = rules::counted(shared, RULES).map_or_else(|_| Vec::new(), |found| found.rules);
        let flows = shared.flows();
        Self {
            rules,
            healthy: health::health(shared).ok,
            records: flows.ring.last_number(),
            forgotten: flows.ring.forgotten(),
            unmerged: flows.merger.unmerged(),
            chatter: flows.merger.chatter(),
            refused: shared.seats.refused(),
            looks: shared.publishes.counts(),
            store: Stored::of(&flows),
            states: by_state,
            status,
        }
    }
}

/// The flow store in numbers.
#[derive(Debug, Default, Clone, Copy)]
struct Stored {
    bytes: u64,
    hours: u64,
    rows: u64,
    folded: u64,
    missing: u64,
    failing: bool,
}

impl Stored {
    fn of(flows: &Flows) -> Self {
        let (hour, kept) = (flows.hour.as_ref(), &flows.kept);
        Self {
            bytes: kept.bytes,
            hours: kept.hours,
            rows: hour.map_or(0, |hour| hour.rows().len() as u64),
            folded: kept.folded + hour.map_or(0, flow::hours::Hour::folded),
            missing: kept.missing + hour.map_or(0, hours::missing),
            failing: kept.failing || hour.is_none(),
        }
    }
}

fn state(state: WorkloadState) -> &'static str {
    match state {
        WorkloadState::Pending => "pending",
        WorkloadState::Running => "running",
        WorkloadState::Restarting => "restarting",
        WorkloadState::Exited => "exited",
        WorkloadState::Failed => "failed",
        WorkloadState::Adopted => "adopted",
    }
}

/// One family: its name, help, and a value for each set of labels.
struct Family<'a> {
    name: &'a str,
    help: &'a str,
    series: Vec<(Labels, u64)>,
}

fn counter(encoder: &mut DescriptorEncoder<'_>, family: &Family<'_>) -> fmt::Result {
    let mut metric =
        encoder.encode_descriptor(family.name, family.help, None, MetricType::Counter)?;
    for (labels, value) in &family.series {
        ConstCounter::new(*value).encode(metric.encode_family(labels)?)?;
    }
    Ok(())
}

fn gauge(encoder: &mut DescriptorEncoder<'_>, family: &Family<'_>) -> fmt::Result {
    let mut metric =
        encoder.encode_descriptor(family.name, family.help, None, MetricType::Gauge)?;
    for (labels, value) in &family.series {
        let value = i64::try_from(*value).unwrap_or(i64::MAX);
        ConstGauge::new(value).encode(metric.encode_family(labels)?)?;
    }
    Ok(())
}

fn one(value: u64) -> Vec<(Labels, u64)> {
    vec![(Vec::new(), value)]
}

impl Collector for Snapshot {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.node(&mut encoder)?;
        self.flow_store(&mut encoder)?;
        self.reconcilers(&mut encoder)?;
        self.rules(&mut encoder)?;
        unmanaged::encode(self.status.agent.unmanaged.as_deref(), &mut encoder)?;
        self.workloads(&mut encoder)
    }
}

impl Snapshot {
    fn node(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let agent = &self.status.agent;
        let gauges = [
            ("healthy", "1 when everything that was asked for is enforced", self.healthy.into()),
            ("generation", "Number of the bundle in force", agent.generation),
            ("epoch", "Policy version that the kernel judges by", agent.epoch),
            ("flow_table_entries", "Entries of the connection table", agent.flows.used),
            ("flow_table_capacity", "Room in the connection table", agent.flows.capacity),
        ];
        for (name, help, value) in gauges {
            gauge(encoder, &Family { name, help, series: one(value) })?;
        }
        let counters = [
            (
                "flow_events_lost",
                "Flow events that the kernel could not hand over",
                agent.events_lost,
            ),
            ("flow_records", "Flow records made since the agent started", self.records),
            (
                "flow_records_forgotten",
                "Flow records that made room for newer ones",
                self.forgotten,
            ),
            (
                "flow_records_unmerged",
                "Repeated drops that were not merged for want of room",
                self.unmerged,
            ),
            (
                "api_refused",
                "Connections and followers of the socket that found no seat",
                self.refused,
            ),
            ("publish_looks", "Looks for open ports of the host that were made", self.looks[0]),
            (
                "publish_looks_shared",
                "Questions for open ports that shared a look with others",
                self.looks[1],
            ),
            (
                "flow_records_left_out",
                "Drops of unasked IPv6 solicitations and multicast reports, which make no record",
                self.chatter,
            ),
        ];
        for (name, help, value) in counters {
            counter(encoder, &Family { name, help, series: one(value) })?;
        }
        let drops =
            agent.drops.iter().map(|drop| (vec![("reason", drop.code.clone())], drop.packets));
        let help = "Dropped packets by reason";
        counter(encoder, &Family { name: "drops", help, series: drops.collect() })?;
        let audits = agent.audits.iter().map(|audit| {
            let until = audit.until.as_ref().and_then(|until| until.parse().ok());
            let until = until.map_or(0, |until: jiff::Timestamp| until.as_second());
            (vec![("scope", audit.scope.clone())], u64::try_from(until).unwrap_or_default())
        });
        let help = "Scopes under audit, and when they will be enforced (Unix time); 0 is never";
        let family =
            Family { name: "audit_until_timestamp_seconds", help, series: audits.collect() };
        gauge(encoder, &family)?;
        let states =
            self.states.iter().map(|(state, count)| (vec![("state", (*state).to_owned())], *count));
        gauge(
            encoder,
            &Family { name: "workloads", help: "Workloads by state", series: states.collect() },
        )
    }

    fn flow_store(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let gauges = [
            ("flow_store_bytes", "Size of the flow store", self.store.bytes),
            ("flow_store_hours", "Hours in the flow store", self.store.hours),
            ("flow_store_rows", "Different flows of the hour that goes on", self.store.rows),
            (
                "flow_store_failing",
                "1 when the flow store could not be written last",
                self.store.failing.into(),
            ),
        ];
        for (name, help, value) in gauges {
            gauge(encoder, &Family { name, help, series: one(value) })?;
        }
        let counters = [
            (
                "flow_store_folded",
                "Flows and drops whose address or port the flow store no longer tells apart",
                self.store.folded,
            ),
            (
                "flow_store_missing",
                "Events that the flow store has declared missing, as far as they could be counted",
                self.store.missing,
            ),
        ];
        for (name, help, value) in counters {
            counter(encoder, &Family { name, help, series: one(value) })?;
        }
        Ok(())
    }

    fn reconcilers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = &self.status.agent.reconcilers;
        let label = |name: &str| vec![("reconciler", name.to_owned())];
        let repairs = all.iter().map(|each| (label(&each.name), each.repairs)).collect();
        let help = "Things that others changed and that were put back";
        counter(encoder, &Family { name: "reconcile_repairs", help, series: repairs })?;
        let failing =
            all.iter().map(|each| (label(&each.name), each.failures.len() as u64)).collect();
        let help = "Things that the last pass could not do";
        gauge(encoder, &Family { name: "reconcile_failures", help, series: failing })
    }

    fn rules(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let series = |value: fn(&RuleCount) -> u64| -> Vec<(Labels, u64)> {
            let one = |count: &RuleCount| {
                let rule = [("rule", count.rule.path.clone()), ("kind", count.rule.kind.clone())];
                (rule.to_vec(), value(count))
            };
            self.rules.iter().map(one).collect()
        };
        for (name, help, value) in [
            (
                "rule_flows",
                "Flows that a rule opened",
                (|count| count.flows) as fn(&RuleCount) -> u64,
            ),
            ("rule_drops", "Packets that a rule dropped", |count| count.drops),
            ("rule_audits", "Flows that passed and were recorded under a rule", |count| {
                count.audits
            }),
        ] {
            counter(encoder, &Family { name, help, series: series(value) })?;
        }
        Ok(())
    }

    fn workloads(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let all = &self.status.workloads;
        let series = |value: fn(&api::Workload) -> [u64; 2]| -> Vec<(Labels, u64)> {
            let both = |workload: &api::Workload| {
                let [sent, received] = value(workload);
                [("sent", sent), ("received", received)].map(|(direction, value)| {
                    let id = ("workload", workload.id.clone());
                    (vec![id, ("direction", direction.to_owned())], value)
                })
            };
            all.iter().flat_map(both).collect()
        };
        let packets = series(|workload| [workload.sent_packets, workload.received_packets]);
        let help = "Packets that passed at a workload's endpoint";
        counter(encoder, &Family { name: "workload_packets", help, series: packets })?;
        let bytes = series(|workload| [workload.sent_bytes, workload.received_bytes]);
        let help = "Bytes that passed at a workload's endpoint";
        counter(encoder, &Family { name: "workload_bytes", help, series: bytes })?;
        let drops =
            all.iter().map(|each| (vec![("workload", each.id.clone())], each.drops)).collect();
        let help = "Packets dropped at a workload's endpoint";
        counter(encoder, &Family { name: "workload_drops", help, series: drops })?;
        let restarts =
            all.iter().map(|each| (vec![("workload", each.id.clone())], each.restarts)).collect();
        let help = "How often a workload was started again";
        counter(encoder, &Family { name: "workload_restarts", help, series: restarts })
    }
}
