//! Clocks that go back or forward neither stop the store nor delete it.

use super::*;

/// The beginning of an hour.
const AT: u32 = 500_000 * HOUR;

fn writer(folder: &std::path::Path, written: u32) -> Writer {
    let hours = Hours::open(folder, Keep::default()).expect("a folder");
    Writer { hours, lost: 0, written, synced: written, anew: true, full: LOG_BYTES, failures: 0 }
}

fn kinds(hour: &Hour) -> Vec<(GapKind, u32, u32)> {
    hour.gaps().iter().map(|gap| (gap.kind, gap.from, gap.to)).collect()
}

#[test]
fn an_agent_goes_on_though_the_clock_was_ahead_before_it_ended() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut writer = writer(folder.path(), AT);
    let right = Hour::new(AT / HOUR, AT, Budget::default());
    writer.seal(&right, AT + 100).expect("written");
    let mut ahead = Hour::new(AT / HOUR + 9_000, AT + 9_000 * HOUR, Budget::default());
    writer.flush(&mut ahead, AT + 9_000 * HOUR + 5, false).expect("written");
    let now = AT + 2 * HOUR + 7;
    let hour = writer.go_on(now, Origin::Fresh).expect("an hour");
    assert_eq!(hour.number(), now / HOUR);
    assert_eq!(kinds(&hour), [(GapKind::Clock, AT + 100, now)]);
    let files = writer.hours.list().expect("readable");
    let files: Vec<_> = files.iter().map(|file| (file.hour, file.sealed)).collect();
    assert_eq!(files, [(AT / HOUR, true), (AT / HOUR + 9_000, true)]);
    // The next start is an ordinary one.
    let mut hour = hour;
    writer.anew = true;
    writer.flush(&mut hour, now + 60, true).expect("written");
    let again = writer.go_on(now + 90, Origin::Adopted).expect("an hour");
    assert_eq!((again.number(), kinds(&again)), (now / HOUR, kinds(&hour)));
}

#[test]
fn a_clock_that_goes_back_takes_up_the_hour_that_it_tells() {
    let folder = tempfile::tempdir().expect("a folder");
    let now = AT + 10;
    let mut writer = writer(folder.path(), AT + 30 * HOUR);
    assert_eq!(writer.now(AT + 30 * HOUR - 600), AT + 30 * HOUR, "less than an hour is waited for");
    assert_eq!(writer.now(now), now);
    let mut known = Hour::new(AT / HOUR, AT, Budget::default());
    known.miss(Gap { from: AT, to: AT + 1, kind: GapKind::Lost, events: Some(3) });
    writer.seal(&known, AT + 5).expect("written");
    let (hour, alive) = writer.next(AT / HOUR + 30, now).expect("another hour");
    assert_eq!(hour.number(), AT / HOUR);
    assert_eq!(alive, AT + 30 * HOUR, "the other one ended when it was written last");
    assert_eq!(kinds(&hour), [(GapKind::Lost, AT, AT + 1), (GapKind::Clock, AT + 5, now)]);
    writer.written = now;
    assert!(writer.next(hour.number(), now + 60).is_none(), "and goes on from there");
    let (next, alive) = writer.next(hour.number(), now + 3_600).expect("the next hour");
    assert_eq!((next.number(), alive), (AT / HOUR + 1, now + 3_600));
    assert!(kinds(&next).is_empty());
}

#[test]
fn a_clock_that_goes_forward_is_a_gap_and_nothing_is_too_old() {
    let folder = tempfile::tempdir().expect("a folder");
    let writer = writer(folder.path(), AT + 10);
    let now = AT + 9_000 * HOUR;
    let (hour, alive) = writer.next(AT / HOUR, now).expect("another hour");
    assert_eq!((hour.number(), alive), (now / HOUR, AT + 10), "so that age is not asked for");
    assert_eq!(kinds(&hour), [(GapKind::Clock, AT + 10, now)]);
}

#[test]
fn old_records_are_taken_over_without_a_file_for_each_empty_hour() {
    let folder = tempfile::tempdir().expect("a folder");
    let store = Store::open(folder.path()).expect("a store");
    let shop = crate::tests::wanted(crate::tests::SHOP);
    let record = |at: u32| {
        let record =
            crate::answers::replay::tests::seen(&shop, ["shop.web", "shop.db"], 6_379, true);
        let at = Timestamp::from_second(i64::from(at)).expect("a time");
        std::sync::Arc::new(flow::Record { at, ..record })
    };
    let times = [AT + 5, AT + 9, AT + 300 * HOUR, AT + 301 * HOUR + 7, AT + 20_000 * HOUR];
    store.append(&times.map(record)).expect("written");
    let hours = folder.path().join("hours");
    let mut writer = writer(&hours, AT);
    writer.take_over(&store).expect("taken over");
    let files = writer.hours.list().expect("readable");
    let found: Vec<(u32, usize, u32)> = files
        .iter()
        .map(|file| {
            let (hour, beat) = read(file).expect("readable").expect("an hour");
            let flows = hour.rows().iter().map(flow::hours::Row::events).sum::<u64>();
            (file.hour - AT / HOUR, usize::try_from(flows).expect("few"), beat.alive - AT)
        })
        .collect();
    let end = 20_000 * HOUR;
    let wanted = [(0, 2, 300 * HOUR), (300, 1, 301 * HOUR), (301, 1, 302 * HOUR), (20_000, 1, end)];
    assert_eq!(
        found, wanted,
        "each covers the empty hours after it, but not those of a wrong clock"
    );
}
