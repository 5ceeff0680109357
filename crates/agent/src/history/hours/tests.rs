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
