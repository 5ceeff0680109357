//! What is remembered while it reads is bounded, and what was not read is told.

use super::*;
use crate::answers::replay::tests::{recorded, seen};
use crate::tests::{SHOP, wanted};

#[test]
fn without_room_for_ends_the_answer_is_the_same() {
    let shop = wanted(SHOP);
    let mut records = Vec::new();
    for last in 1..=40 {
        records.push(seen(&shop, [&format!("203.0.113.{last}"), "shop.web"], 8_443, true));
        records.push(seen(&shop, [&format!("203.0.113.{last}"), "shop.web"], 22, false));
    }
    records.push(seen(&shop, ["shop.web", "shop.db"], 6_380, true));
    let records = recorded(&records);
    let lens = Lens::new(&shop.bundle);
    let (all, _) = scan(&records, Some(&lens), &lens);
    let room = Room { known: 3, judged: 2, groups: GROUPS };
    let (few, _) = scan_by((1, room), &records, Some(&lens), &lens);
    assert_eq!(few.totals, all.totals);
    assert_eq!((few.totals.kept, few.totals.dropped, few.totals.ended_already), (40, 40, 1));
    let told = |scan: &Scan| {
        let mut told: Vec<_> = scan
            .groups()
            .map(|(key, group)| (key.order().2, key.order().3, group.flows()))
            .collect();
        told.sort_unstable();
        told
    };
    assert_eq!(told(&few), told(&all));
}

#[test]
fn a_thread_forgets_between_files_and_never_remembers_more_than_its_share() {
    let shop = wanted(SHOP);
    let lens = Lens::new(&shop.bundle);
    let room = Room { known: 8, judged: 4, groups: 2 };
    let mut worker = Worker::new(None, &lens, room);
    for hour in 0..5_u8 {
        let clients: Vec<_> = (0..50_u8)
            .map(|last| seen(&shop, [&format!("203.0.{hour}.{last}"), "shop.web"], 8_443, true))
            .collect();
        worker.current(&recorded(&clients));
        assert!(worker.known.len() <= 8 && worker.actors.len() <= 8 && worker.judged.len() <= 4);
    }
    worker.scan.sum();
    assert_eq!(worker.scan.totals.kept, 250);
    let all = (1..=THREADS).map(|threads| Room::shared(threads).known * threads);
    assert!(all.into_iter().all(|known| known <= KNOWN), "shared by the threads");
}

#[test]
fn hours_that_are_not_read_in_time_are_declared() {
    let shop = wanted(SHOP);
    let lens = Lens::new(&shop.bundle);
    let mut records = recorded(&[seen(&shop, ["shop.web", "shop.db"], 6_379, true)]);
    let hour = records.until / flow::hours::HOUR;
    let file = |hour: u32| store::hours::HourFile {
        hour,
        sealed: true,
        bytes: 0,
        path: format!("{hour:08}.rows").into(),
    };
    records.files = [hour - 5, hour - 2, hour - 1].map(file).into();
    let turns = crate::answers::replay::Turns::default();
    let (turn, waiting) = turns.take().expect("a turn");
    records.turn = Some(turn);
    drop(waiting);
    let (found, read) = scan(&records, None, &lens);
    assert_eq!(found.totals.kept, 1, "the hour that goes on is read in any case");
    let period = records.period(&read);
    let unread = period.gaps.iter().filter(|gap| gap.kind == "unread");
    let unread: Vec<_> = unread.map(|gap| (gap.from.as_str(), gap.to.as_str())).collect();
    let at = |hour: u32| crate::answers::replay::instant(hour * flow::hours::HOUR);
    assert_eq!(
        unread,
        [(&*at(hour - 5), &*at(hour - 4)), (&*at(hour - 2), &*at(hour))],
        "{period:#?}"
    );
}
