//! The live connection between two ends: whose packets pass by the connection table, without a question to the policy.

use api::{Connection, Verdict};
use flow::Resolver as _;
use host::linux::bpf;
use model::RuleId;
use verdict::abi::{FlowEntry, FlowState};

use crate::answers::rule_at;
use crate::fault::sentence;
use crate::force::Force;
use crate::shared::Shared;

use super::Case;

/// The entry for exactly these addresses and ports; `None` when there is none, or it cannot be read.
pub(super) fn find(shared: &Shared, force: &Force, case: &Case) -> Option<Connection> {
    let ends = [(case.source, case.source_port), (case.target, case.port)];
    let what = (case.network, case.proto.number());
    match bpf::find_flow(&shared.options.bpffs, what, ends) {
        Ok(entry) => entry.map(|entry| shown(shared, force, &entry)),
        Err(error) => {
            tracing::warn!("{}", sentence(&error));
            None
        }
    }
}

fn shown(shared: &Shared, force: &Force, entry: &FlowEntry) -> Connection {
    let clock = shared.clock();
    let silent = clock.now().wrapping_sub(entry.seen);
    let epoch = shared.condition().epoch;
    let id = if entry.ingress_rule == 0 { entry.egress_rule } else { entry.ingress_rule };
    let rule = force.names.rule(RuleId(id)).filter(|_| id != 0);
    let is_audited = entry.verdict == verdict::abi::Verdict::Audit as u8;
    Connection {
        state: state(FlowState::from_number(entry.state)).to_owned(),
        verdict: if is_audited { Verdict::Audit } else { Verdict::Allow },
        rule: rule.as_ref().map(rule_at),
        // The table keeps the low half.
        is_current: epoch.to_le_bytes().first_chunk() == Some(&entry.epoch.to_le_bytes()),
        silent_s: u64::from(silent / clock.hz.max(1)),
        counts: entry.counts.map(|count| [count.packets, count.bytes]),
    }
}

fn state(state: FlowState) -> &'static str {
    match state {
        FlowState::Opening => "opening",
        FlowState::Answered => "answered",
        FlowState::Established => "established",
        FlowState::Closing => "closing",
        FlowState::Closed => "closed",
        FlowState::OneWay => "one-way",
        FlowState::TwoWay => "two-way",
        FlowState::Echo => "echo",
    }
}
