//! Flow records as the API carries them.

use api::{Flow, FlowEnd, FlowKind, FlowLine, FlowQuery, Verdict};
use flow::{Decision, End, Filter, Kind, Line, Party, Record};

use super::{reason, rule_at};

/// Records that are given without a limit, and at most.
const LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 10_000;

/// What a query asks for, and how many. Every text names somebody, though perhaps nobody there is.
pub(crate) fn filter(query: &FlowQuery) -> (Filter, usize) {
    let filter = Filter {
        from: query.from.as_deref().map(Party::parse),
        to: query.to.as_deref().map(Party::parse),
        decision: query.verdict.map(|verdict| match verdict {
            Verdict::Allow => Decision::Allow,
            Verdict::Drop => Decision::Drop,
            Verdict::Audit => Decision::Audit,
        }),
    };
    let limit = query.limit.unwrap_or(LIMIT).min(MAX_LIMIT);
    (filter, usize::try_from(limit).unwrap_or(usize::MAX))
}

/// A record for the outside.
pub(crate) fn shown(record: &Record) -> Flow {
    let line = Line::of(record);
    Flow {
        number: record.number,
        time: moment(record.at),
        kind: match record.kind {
            Kind::Open => FlowKind::Open,
            Kind::Drop => FlowKind::Drop,
            Kind::Close => FlowKind::Close,
        },
        verdict: verdict(record.decision),
        reason: reason(record.reason),
        rule: record.rule.as_ref().map(rule_at),
        network: record.network.to_string(),
        source: end(&record.source, record.protocol.has_ports()),
        target: end(&record.target, record.protocol.has_ports()),
        protocol: record.protocol.to_string(),
        icmp: record.icmp,
        direction: if record.ingress { "ingress" } else { "egress" }.to_owned(),
        repeats: record.repeats,
        since: record.since.map(moment),
        counts: record.counts,
        duration_ms: record.duration_ms,
        line: FlowLine {
            time: line.time,
            verdict: line.verdict,
            source: line.source,
            target: line.target,
            because: line.because,
            code: line.code,
            repeats: line.repeats,
        },
    }
}

/// A decision as the API words it.
pub(crate) fn verdict(decision: Decision) -> Verdict {
    match decision {
        Decision::Allow => Verdict::Allow,
        Decision::Drop => Verdict::Drop,
        Decision::Audit => Verdict::Audit,
    }
}

/// RFC 3339 with milliseconds.
pub(crate) fn moment(at: jiff::Timestamp) -> String {
    format!("{at:.3}")
}

fn end(end: &End, ported: bool) -> FlowEnd {
    FlowEnd {
        address: end.address.to_string(),
        port: ported.then_some(end.port),
        workload: end.workload.as_ref().map(ToString::to_string),
        identity: end.identity_text.as_ref().map(ToString::to_string),
    }
}
