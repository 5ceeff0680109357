//! Flow records as the API carries them.

use api::{Error, Flow, FlowEnd, FlowKind, FlowLine, FlowQuery, Verdict, codes};
use flow::{Decision, End, Filter, Kind, Labelled, Line, Party, Record};
use model::{ParseError, Selector};
use policy::Document;

use crate::fault::refused;
use crate::shared::Shared;

use super::{reason, rule_at};

/// How a party is written.
const HOW: &str = "write a workload, an address or prefix, host, world, unmanaged, or labels as in app=web; \
                   bulkhead status lists the workloads";

/// Records that are given without a limit, and at most.
const LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 10_000;

/// What a query asks for, and how many.
///
/// # Errors
/// `BH0211` for a party that nobody is and no record knows, `BH0204` for one that cannot be read.
pub(crate) fn filter(shared: &Shared, query: &FlowQuery) -> Result<(Filter, usize), Error> {
    let force = shared.force();
    let document = force.as_ref().map(|force| &force.wanted.document);
    let recorded = |party: &Party| {
        let one = |from, to| {
            !shared.flows().ring.newest(&Filter { from, to, decision: None }, 1).is_empty()
        };
        one(Some(party.clone()), None) || one(None, Some(party.clone()))
    };
    let party = |text: &Option<String>| {
        text.as_deref().map(|text| party(document, text, &recorded)).transpose()
    };
    let filter = Filter {
        from: party(&query.from)?,
        to: party(&query.to)?,
        decision: query.verdict.map(|verdict| match verdict {
            Verdict::Allow => Decision::Allow,
            Verdict::Drop => Decision::Drop,
            Verdict::Audit => Decision::Audit,
        }),
    };
    Ok((filter, usize::try_from(limit(query)?).unwrap_or(usize::MAX)))
}

/// How many records are asked for; more than are ever given are refused, not cut.
fn limit(query: &FlowQuery) -> Result<u32, Error> {
    let limit = query.limit.unwrap_or(LIMIT);
    if limit > MAX_LIMIT {
        let message =
            format!("{limit} records are too many, at most {MAX_LIMIT} are given at once");
        let hint = "narrow it down with from, to and verdict, or follow what comes";
        return Err(refused(codes::BAD_REQUEST, message).with_hint(hint));
    }
    Ok(limit)
}

/// Who is meant: somebody in the document, or somebody of whom there are records still.
fn party(
    document: Option<&Document>,
    text: &str,
    recorded: &dyn Fn(&Party) -> bool,
) -> Result<Party, Error> {
    let text = text.trim();
    let workloads = || document.into_iter().flat_map(|document| &*document.workloads);
    let found = if is_selector(text) {
        let selector: Selector = text.parse().map_err(|error: ParseError| {
            let message = format!("`{text}` is no selector: {error}");
            refused(codes::BAD_REQUEST, message).with_hint(HOW)
        })?;
        let members = workloads().filter(|workload| selector.matches(&workload.subject()));
        let members = members.map(|workload| workload.id().into()).collect();
        Party::Labelled(Labelled { selector, members })
    } else {
        Party::parse(text)
    };
    let is_somebody = match &found {
        Party::Net(_) => true,
        Party::Workload(id) => document.is_some_and(|document| document.workload(id).is_some()),
        Party::Labelled(labelled) => !labelled.members.is_empty(),
        Party::Word(word) => {
            ["host", "world", "unmanaged"].contains(&&**word)
                || workloads().any(|workload| workload.name.as_str() == word)
        }
    };
    if is_somebody || recorded(&found) {
        return Ok(found);
    }
    let message = format!("nobody is `{text}`, and no record tells of such a one");
    Err(refused(codes::UNKNOWN_PARTY, message).with_hint(HOW))
}

/// Whether a text is meant as a selector; a name is none.
fn is_selector(text: &str) -> bool {
    text.contains(['=', '!', '(', ','])
}

/// A record for the outside; see [`super::audits::Audited::mark`] for what it does not know.
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
        audit: None,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{SHOP, wanted};

    #[test]
    fn more_records_than_are_given_are_refused() {
        let asked = |limit| FlowQuery { limit, ..FlowQuery::default() };
        assert_eq!(limit(&asked(None)), Ok(LIMIT));
        assert_eq!(limit(&asked(Some(MAX_LIMIT))), Ok(MAX_LIMIT));
        let error = limit(&asked(Some(MAX_LIMIT + 1))).expect_err("too many");
        assert_eq!(error.code, codes::BAD_REQUEST);
        assert!(error.message.contains("at most 10000"), "{error}");
    }

    #[test]
    fn parties_are_somebody_or_an_error() {
        let shop = wanted(SHOP);
        let read = |text: &str| party(Some(&shop.document), text, &|_| false);
        for text in
            ["shop/web", "shop.web", "web", "10.0.0.0/8", "192.0.2.1", "host", "world", "unmanaged"]
        {
            assert!(read(text).is_ok(), "{text}");
        }
        for (text, members) in
            [("app=web", 2), ("app!=web", 3), ("segment=front", 2), ("app in (db)", 1)]
        {
            let Ok(Party::Labelled(found)) = read(text) else { panic!("{text}") };
            assert_eq!(found.members.len(), members, "{text}");
        }
        for text in ["nosuch", "300.1.1.1", "[x", "", "shop/nobody", "app=nobody"] {
            let error = read(text).expect_err(text);
            assert_eq!(error.code, codes::UNKNOWN_PARTY, "{text}");
            assert!(error.hint.is_some_and(|hint| hint.contains("app=web")), "{text}");
        }
        for text in ["=web", "app in (", "app=web,"] {
            assert_eq!(read(text).expect_err(text).code, codes::BAD_REQUEST, "{text}");
        }
        assert!(party(None, "gone", &|_| true).is_ok(), "of whom records tell");
    }
}
