//! Hours are told as they were, written and read back, and stay within their budgets.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;

use super::*;
use crate::tests::{allowed, dropped, record};

const AT: u32 = 1_795_341_851;

fn hour(budget: Budget) -> Hour {
    Hour::new(AT / HOUR, AT, budget)
}

/// The frames as slices.
fn slices(frames: &[Vec<u8>]) -> Vec<&[u8]> {
    frames.iter().map(Vec::as_slice).collect()
}

/// A drop from an address outside to a port of the database.
fn knock(address: u32, port: u16) -> Record {
    let mut record = record(&dropped());
    record.endpoint = Some("shop.db".into());
    record.source.address = IpAddr::V4(Ipv4Addr::from(address));
    (record.source.workload, record.source.owner) = (None, None);
    record.target.workload = Some("shop.db".into());
    record.target.port = port;
    record
}

/// What is the same after writing and reading, whatever is not written yet.
fn told(hour: &Hour) -> (u32, Vec<Row>, Vec<Actor>, Vec<RuleRef>, Vec<Gap>) {
    let rows = hour.rows.iter().map(|row| Row { dirty: false, ..*row }).collect();
    (hour.number, rows, hour.actors.clone(), hour.rules.clone(), hour.gaps().to_vec())
}

#[test]
fn the_same_flow_is_one_row_whatever_its_source_port() {
    let mut hour = hour(Budget::default());
    for port in [40_000, 40_007, 39_000] {
        let mut open = record(&allowed());
        open.source.port = port;
        hour.add(&open);
        let mut close = open.clone();
        close.kind = Kind::Close;
        close.counts = Some([[5, 500], [4, 4_000]]);
        hour.add(&close);
    }
    let [row] = hour.rows() else { panic!("{:?}", hour.rows()) };
    assert_eq!((row.opened, row.closed, row.source_ports), (3, 3, (39_000, 40_007)));
    assert_eq!((row.there, row.back), ([15, 1_500], [12, 12_000]));
    assert_eq!(hour.rules[0].name(), "web-to-db");
    assert_eq!(hour.actors[row.source as usize].labels.as_deref(), Some("app=web"));
}

#[test]
fn a_scanner_spends_its_own_budget_only() {
    let budget = Budget { rows: 1_000, passed: 50, dropped: 20, folded: 10 };
    let mut hour = hour(budget);
    for number in 0..5_000_u32 {
        hour.add(&knock(0x0a00_0000 + number, (number % 3_000) as u16 + 1));
    }
    let exact = hour.rows().iter().filter(|row| row.folded == 0).count();
    let ports = hour.rows().iter().filter(|row| row.folded == Row::ADDRESS).count();
    assert_eq!((exact, ports, hour.rows().len()), (20, 10, 31), "20 exact, 10 ports, the rest");
    assert_eq!(hour.rows().iter().map(Row::events).sum::<u64>(), 5_000 * knock(1, 1).repeats);
    assert_eq!(hour.folded(), 4_980 * knock(1, 1).repeats);
    hour.add(&record(&allowed()));
    let last = hour.rows().last().expect("a row");
    assert_eq!(
        (last.folded, last.passed()),
        (0, true),
        "flows that pass have a budget of their own"
    );
    assert_eq!(hour.gaps(), [], "nothing is missing");
}

#[test]
fn what_finds_no_room_is_a_gap() {
    let mut hour = hour(Budget { rows: 1, ..Budget::default() });
    hour.add(&knock(1, 1));
    hour.add(&knock(2, 1));
    hour.add(&knock(3, 1));
    let [gap] = hour.gaps() else { panic!("{:?}", hour.gaps()) };
    assert_eq!((gap.kind, gap.events), (GapKind::Full, Some(2 * knock(1, 1).repeats)));
}

#[test]
fn changes_behind_each_other_are_the_whole() {
    let mut hour = hour(Budget::default());
    let mut frames = Vec::new();
    for step in 0..4_u32 {
        hour.add(&knock(step / 2, 22));
        hour.add(&record(&allowed()));
        if step == 2 {
            hour.miss(Gap { from: AT, to: AT + 3, kind: GapKind::Lost, events: Some(7) });
        }
        frames.extend(hour.changes(AT + step, 70, step == 3));
    }
    let (read, beat) = Hour::read(slices(&frames), Budget::default()).expect("an hour");
    assert_eq!(told(&read), told(&hour));
    assert_eq!(beat, Beat { alive: AT + 3, lost: 70, folded: 0, clean: true });
    let whole = hour.whole(AT + 3, 70, true);
    let (again, _) = Hour::read(slices(&whole), Budget::default()).expect("an hour");
    assert_eq!(told(&again), told(&hour));
    let rows = |frames: &[Vec<u8>]| frames.iter().filter(|frame| Reader::has_rows(frame)).count();
    assert_eq!((rows(&frames), rows(&whole)), (4, 1));
    // A frame that is cut short ends the hour, and what came before stays.
    let cut = frames.len() - 2;
    frames[cut].pop();
    let (short, beat) = Hour::read(slices(&frames), Budget::default()).expect("an hour");
    assert_eq!((short.rows().len(), beat.alive), (3, AT + 2));
}

#[test]
fn rows_are_small() {
    let mut hour = hour(Budget::default());
    for number in 0..1_000_u32 {
        hour.add(&knock(number, 443));
    }
    let frames = hour.whole(AT, 0, false);
    let rows: usize = frames.iter().filter(|frame| Reader::has_rows(frame)).map(Vec::len).sum();
    assert!(rows <= 24 * 1_000, "{rows} bytes for 1000 rows");
}

#[test]
fn gaps_that_touch_are_one_and_bounded() {
    let lost = |from, to| Gap { from, to, kind: GapKind::Lost, events: Some(1) };
    let gaps: Gaps = [lost(100, 103), lost(103, 106), lost(1_000, 1_003)].into_iter().collect();
    assert_eq!(gaps.all(), [Gap { events: Some(2), ..lost(100, 106) }, lost(1_000, 1_003)]);
    let many: Gaps = (0..10_000).map(|at| lost(at * 1_000, at * 1_000 + 1)).collect();
    assert!(many.all().len() <= 512);
    let events: u64 = many.all().iter().filter_map(|gap| gap.events).sum();
    assert_eq!(events, 10_000);
}

proptest! {
    #[test]
    fn no_bytes_make_a_reader_fail(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..64), 0..8)) {
        let _nothing = Hour::read(slices(&frames), Budget::default());
    }

    #[test]
    fn changed_bytes_are_noticed_or_harmless(at in 0_usize..400, bit in 0_u8..8) {
        let mut hour = hour(Budget::default());
        for number in 0..8 {
            hour.add(&knock(number, 443));
        }
        let mut frames = hour.whole(AT, 0, false);
        let frame = at % frames.len();
        let place = at % frames[frame].len();
        frames[frame][place] ^= 1 << bit;
        let _nothing = Hour::read(slices(&frames), Budget::default());
    }
}
