//! What `replay` prints.

use api::{Decision, Period, RecordGap, Replay, ReplayLine, ReplayTotals, Unjudged, Verdict};
use insta::assert_snapshot;

use super::{COLOUR, PLAIN, rule};
use crate::command::replay;

fn line(from: &str, to: &str) -> ReplayLine {
    ReplayLine {
        from: from.to_owned(),
        to: to.to_owned(),
        service: "6379/tcp".to_owned(),
        flows: 41,
        first: "2026-11-16T09:12:00Z".to_owned(),
        last: "2026-11-22T10:01:07Z".to_owned(),
        was: Decision { verdict: Verdict::Allow, rule: Some(rule()), default: None },
        becomes: Decision {
            verdict: Verdict::Drop,
            rule: None,
            default: Some("default deny".to_owned()),
        },
        addresses: Vec::new(),
        notes: Vec::new(),
    }
}

/// An answer with everything in it.
pub(super) fn everything() -> Replay {
    let broken = line("shop/web", "shop/db");
    let outside = ReplayLine {
        addresses: vec!["203.0.113.9".to_owned(), "203.0.113.10".to_owned()],
        notes: vec!["shop/web was {app=web} then; judged as the file has it".to_owned()],
        flows: 1,
        ..line("world", "shop/web")
    };
    let passing = ReplayLine {
        was: broken.becomes.clone(),
        becomes: broken.was.clone(),
        ..line("shop/scanner", "shop/db")
    };
    Replay {
        schema: Replay::SCHEMA.to_owned(),
        file: "shop.yaml".to_owned(),
        generation: 3,
        period: Period {
            omitted_gaps: 0,
            since: "2026-11-15T10:00:00Z".to_owned(),
            until: "2026-11-22T10:02:00Z".to_owned(),
            begins: Some("2026-11-16T08:00:00Z".to_owned()),
            rows: 1_204,
            gaps: vec![
                RecordGap {
                    from: "2026-11-17T02:00:00Z".to_owned(),
                    to: "2026-11-17T02:04:10Z".to_owned(),
                    kind: "down".to_owned(),
                    text: "no agent ran".to_owned(),
                    events: None,
                },
                RecordGap {
                    from: "2026-11-18T12:00:03Z".to_owned(),
                    to: "2026-11-18T12:00:09Z".to_owned(),
                    kind: "lost".to_owned(),
                    text: "more events than the kernel's buffer holds".to_owned(),
                    events: Some(128),
                },
            ],
        },
        breaks: vec![broken, outside],
        passes: vec![passing],
        unjudged: vec![Unjudged {
            from: "shop/old".to_owned(),
            to: "shop/db".to_owned(),
            why: "shop/old is not in the file, nor another one with app=old".to_owned(),
            flows: 5,
            last: "2026-11-20T10:00:00Z".to_owned(),
        }],
        totals: ReplayTotals {
            breaks: 42,
            passes: 41,
            kept: 90_210,
            audited: 12,
            dropped: 300,
            ended_already: 2,
            passing_already: 3,
            unjudged: 5,
            folded: 7_000,
            beyond_policy: 9,
        },
        omitted_lines: 4,
    }
}

#[test]
fn a_replay_with_everything_in_it() {
    assert_snapshot!(replay::render(&everything(), PLAIN));
    assert_ne!(replay::render(&everything(), COLOUR), replay::render(&everything(), PLAIN));
}

#[test]
fn a_replay_that_breaks_nothing() {
    let period = Period { gaps: Vec::new(), begins: None, ..everything().period };
    let totals = ReplayTotals { kept: 1, ..ReplayTotals::default() };
    let quiet = Replay { period, totals, file: "shop.yaml".to_owned(), ..Replay::default() };
    assert_snapshot!(replay::render(&quiet, PLAIN));
}
