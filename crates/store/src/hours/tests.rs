//! Files of hours survive crashes, and their folder never grows beyond its bound.

use super::*;

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("flows");
    (folder, path)
}

fn frames(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn read(file: &HourFile) -> Vec<String> {
    let mut frames = file.frames().expect("readable");
    let mut all = Vec::new();
    while let Some(frame) = frames.next_frame() {
        all.push(String::from_utf8_lossy(frame).into_owned());
    }
    all
}

fn all(hours: &Hours) -> Vec<(u32, bool, Vec<String>)> {
    let files = hours.list().expect("readable");
    files.iter().map(|file| (file.hour, file.sealed, read(file))).collect()
}

#[test]
fn hours_are_appended_sealed_and_found_again() {
    let (_folder, path) = place();
    let mut hours = Hours::open(&path, Keep::default()).expect("a folder");
    hours.append(7, &frames(&["a"])).expect("written");
    hours.append(7, &frames(&["b", ""])).expect("written");
    let texts = |texts: &[&str]| texts.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(all(&hours), [(7, false, texts(&["a", "b", ""]))]);
    hours.seal(7, &frames(&["ab"])).expect("written");
    hours.append(8, &frames(&["c"])).expect("written");
    let wanted = [(7, true, texts(&["ab"])), (8, false, texts(&["c"]))];
    assert_eq!(all(&hours), wanted);
    drop(hours);
    let mut hours = Hours::open(&path, Keep::default()).expect("a folder");
    assert_eq!(all(&hours), wanted);
    hours.restart(8, &frames(&["c", "d"])).expect("written");
    hours.append(8, &frames(&["e"])).expect("written");
    assert_eq!(all(&hours)[1], (8, false, texts(&["c", "d", "e"])));
}

#[test]
fn a_file_that_is_cut_or_changed_is_read_up_to_there() {
    let (_folder, path) = place();
    let mut hours = Hours::open(&path, Keep::default()).expect("a folder");
    hours.append(7, &frames(&["first", "second", "third"])).expect("written");
    let file = hours.list().expect("readable").remove(0);
    let whole = fs::read(&file.path).expect("readable");
    for length in 0..whole.len() {
        fs::write(&file.path, &whole[..length]).expect("writable");
        let read = read(&file);
        assert!(
            ["first", "second", "third"]
                .starts_with(&read.iter().map(String::as_str).collect::<Vec<_>>())
        );
        assert_eq!(read.len(), usize::from(length >= 13) + usize::from(length >= 27));
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 0x40;
        fs::write(&file.path, &changed).expect("writable");
        assert!(read(&file).len() < 3, "byte {at}");
    }
}

#[test]
fn what_a_crash_leaves_is_put_in_order() {
    let (_folder, path) = place();
    let mut hours = Hours::open(&path, Keep::default()).expect("a folder");
    hours.append(7, &frames(&["log"])).expect("written");
    let log = fs::read(path.join("00000007.log")).expect("readable");
    hours.seal(7, &frames(&["whole"])).expect("written");
    drop(hours);
    fs::write(path.join("00000007.log"), log).expect("writable");
    fs::write(path.join("00000008.tmp"), b"half").expect("writable");
    let hours = Hours::open(&path, Keep::default()).expect("a folder");
    assert_eq!(all(&hours), [(7, true, vec!["whole".to_owned()])]);
    assert_eq!(fs::read_dir(&path).expect("readable").count(), 1);
}

#[test]
fn the_folder_is_bounded_by_bytes_and_by_age() {
    let (_folder, path) = place();
    let keep = Keep { bytes: 100_000, hours: 1_000 };
    let mut hours = Hours::open(&path, keep).expect("a folder");
    let batch = vec![vec![7; 1_000]; 4];
    let bytes = || -> u64 {
        let entries = fs::read_dir(&path).expect("readable");
        entries.map(|entry| entry.expect("an entry").metadata().expect("its data").len()).sum()
    };
    for hour in 0..100 {
        for _ in 0..3 {
            hours.append(hour, &batch).expect("written");
            assert!(bytes() <= keep.bytes, "hour {hour}: {} bytes", bytes());
        }
        hours.seal(hour, &batch).expect("written");
        assert!(bytes() <= keep.bytes, "hour {hour}: {} bytes", bytes());
    }
    let files = hours.list().expect("readable");
    assert!(files.len() > 15, "{} files", files.len());
    assert_eq!(files.last().map(|file| file.hour), Some(99));
    let removed = Hours { keep: Keep { hours: 5, ..keep }, ..hours }.retain(100).expect("removed");
    assert_eq!(removed, files.len() as u64 - 5);
}

#[test]
fn what_is_larger_than_the_bound_is_refused_and_changes_nothing() {
    let (_folder, path) = place();
    let mut hours = Hours::open(&path, Keep { bytes: 1_000, hours: 10 }).expect("a folder");
    hours.append(7, &frames(&["a"])).expect("written");
    let error = hours.append(7, &[vec![0; 2_000]]).expect_err("too large");
    assert!(matches!(error, Error::Hours { .. }), "{error}");
    hours.append(7, &frames(&["b"])).expect("written");
    assert_eq!(all(&hours)[0].2, ["a", "b"]);
}

#[test]
fn a_clock_that_jumped_removes_nothing_for_its_age_before_a_day_has_passed() {
    let (_folder, path) = place();
    let keep = Keep { hours: 100, ..Keep::default() };
    let mut hours = Hours::open(&path, keep).expect("a folder");
    for hour in 1_000..1_050 {
        hours.seal(hour, &frames(&["a"])).expect("written");
    }
    // Ten years ahead, and on from there.
    for hour in 90_000..90_024 {
        assert_eq!(hours.retain(hour).expect("readable"), 0, "{hour}");
        hours.seal(hour, &frames(&["b"])).expect("written");
    }
    assert_eq!(hours.retain(90_024).expect("removed"), 50, "it has gone on for a day");
}

#[test]
fn hours_that_a_clock_was_ahead_for_make_room_first() {
    let (_folder, path) = place();
    let mut hours = Hours::open(&path, Keep { bytes: 10_000, hours: 100 }).expect("a folder");
    for hour in [1_000, 1_001, 5_000] {
        hours.seal(hour, &[vec![0; 2_000]]).expect("written");
    }
    hours.restart(1_002, &[vec![0; 2_000]]).expect("written");
    hours.append(1_002, &[vec![0; 3_000]]).expect("written");
    let left: Vec<u32> = hours.list().expect("readable").iter().map(|file| file.hour).collect();
    assert_eq!(left, [1_000, 1_001, 1_002]);
}

#[test]
fn an_hour_that_was_over_goes_on_when_the_clock_went_back() {
    let (_folder, path) = place();
    let mut hours = Hours::open(&path, Keep::default()).expect("a folder");
    hours.seal(7, &frames(&["a"])).expect("written");
    hours.restart(7, &frames(&["a", "b"])).expect("written");
    assert_eq!(all(&hours), [(7, false, vec!["a".to_owned(), "b".to_owned()])]);
    hours.seal(7, &frames(&["a", "b"])).expect("written");
    assert_eq!(all(&hours), [(7, true, vec!["a".to_owned(), "b".to_owned()])]);
}
