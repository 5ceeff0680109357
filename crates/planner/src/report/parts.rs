//! How two sets of spans differ, part by part.

use crate::reach::Span;
use crate::report::ChangeKind;

/// The parts of two sets of spans that differ, each with the span that explains it. Both are ordered as an atlas gives them:
/// by protocol, and by first and last destination port.
pub(super) fn compare(before: &[Span], after: &[Span]) -> Vec<(ChangeKind, Span)> {
    let mut out = Vec::new();
    for span in after {
        for (part, other) in split(span, near(span, before)) {
            match other {
                None => out.push((ChangeKind::Gained, part)),
                Some(other) if span.audit && !other.audit => {
                    out.push((ChangeKind::Recorded, part));
                }
                Some(other) if !span.audit && other.audit => {
                    out.push((ChangeKind::Settled, part));
                }
                Some(_) => {}
            }
        }
    }
    for span in before {
        for (part, other) in split(span, near(span, after)) {
            if other.is_none() {
                out.push((ChangeKind::Lost, part));
            }
        }
    }
    out
}

/// The part of ordered spans that has all that touch this one.
fn near<'o>(span: &Span, others: &'o [Span]) -> &'o [Span] {
    let place = |other: &Span, port: u16| (other.protocol.number(), port);
    let number = span.protocol.number();
    let begin =
        others.partition_point(|other| place(other, other.ports.1) < (number, span.ports.0));
    let end = others.partition_point(|other| place(other, other.ports.0) <= (number, span.ports.1));
    others.get(begin..end).unwrap_or_default()
}

/// Cuts a span where the others begin and end; each part with the one that holds it.
pub(crate) fn split<'o>(span: &Span, others: &'o [Span]) -> Vec<(Span, Option<&'o Span>)> {
    let near: Vec<&Span> = others
        .iter()
        .filter(|other| other.protocol == span.protocol)
        .filter(|other| other.ports.0 <= span.ports.1 && span.ports.0 <= other.ports.1)
        .collect();
    let mut out = Vec::new();
    let all = span.sources.unwrap_or((0, u16::MAX));
    for ports in cut(span.ports, near.iter().map(|other| other.ports)) {
        let here = || near.iter().filter(|o| o.ports.0 <= ports.0 && ports.1 <= o.ports.1);
        let ranges = here().map(|other| other.sources.unwrap_or((0, u16::MAX)));
        for sources in cut(all, ranges) {
            let holds = |other: &&&Span| {
                other.sources.is_none_or(|all| all.0 <= sources.0 && sources.1 <= all.1)
            };
            let limited = (sources != (0, u16::MAX)).then_some(sources);
            let part = Span { ports, sources: limited, ..*span };
            out.push((part, here().find(holds).copied()));
        }
    }
    out
}

/// Cuts an interval at the edges of others.
fn cut(all: (u16, u16), others: impl Iterator<Item = (u16, u16)>) -> Vec<(u16, u16)> {
    let mut edges: Vec<u32> = vec![u32::from(all.0), u32::from(all.1) + 1];
    let [begin, end] = [u32::from(all.0), u32::from(all.1) + 1];
    for (first, last) in others {
        edges.push(u32::from(first).clamp(begin, end));
        edges.push((u32::from(last) + 1).clamp(begin, end));
    }
    edges.sort_unstable();
    edges.dedup();
    let narrow = |port: u32| u16::try_from(port).unwrap_or(u16::MAX);
    let pair = |pair: &[u32]| match pair {
        [a, b] => Some((narrow(*a), narrow(b - 1))),
        _ => None,
    };
    edges.windows(2).filter_map(pair).collect()
}
