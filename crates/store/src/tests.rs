//! The store against files on disk: reopened, broken, foreign, in use.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use redb::{Database, ReadableDatabase};
use serde::{Deserialize, Serialize};
use tempfile::TempDir;

use crate::{Bounds, Changes, Document, Error, FLOWS, META, Opened, Page, Source, Store, TEXTS};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Flow {
    number: u64,
    verdict: String,
}

fn flow(number: u64) -> Flow {
    let verdict = if number.is_multiple_of(3) { "drop" } else { "allow" };
    Flow { number, verdict: verdict.to_owned() }
}

fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("state/bulkhead.redb");
    (folder, path)
}

fn open(path: &Path) -> Store {
    let Opened { store, set_aside } = Store::open(path, Bounds::default()).expect("it opens");
    assert_eq!(set_aside, Vec::<PathBuf>::new());
    store
}

fn document(generation: u64) -> Document {
    Document {
        generation,
        sources: vec![Source {
            name: "shop.yaml".into(),
            text: format!("bulkhead: 1 # {generation}\n"),
        }],
        env: BTreeMap::from([("ADMIN_NET".to_owned(), "192.0.2.0/24".to_owned())]),
        geography: Some(crate::Geography {
            database: "GeoLite2-Country".to_owned(),
            built: "2026-11-20T00:00:00Z".to_owned(),
            countries: BTreeMap::from([("kp".to_owned(), vec!["175.45.176.0/22".to_owned()])]),
        }),
        applied_at_ms: 1_763_800_000_000,
    }
}

fn numbers(page: &Page<Flow>) -> Vec<u64> {
    page.flows.iter().map(|flow| flow.number).collect()
}

#[test]
fn a_new_file_is_empty_and_private() {
    let (_folder, path) = place();
    let store = open(&path);
    assert_eq!(store.document().expect("readable"), None);
    assert_eq!(store.allocations::<u64>().expect("readable"), None);
    assert_eq!(store.generation().expect("readable"), 0);
    assert_eq!(store.flow_count().expect("readable"), 0);
    let mode = |path: &Path| fs::metadata(path).expect("it is there").permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(&Store::history_beside(&path)), 0o600);
    assert_eq!(mode(path.parent().expect("a folder")), 0o700);
}

#[test]
fn changes_of_a_document_come_back_until_there_is_another_one() {
    let (_folder, path) = place();
    let store = open(&path);
    store.keep(&document(1), &7_u64).expect("written");
    let label = |store: &Store, generation, name: &str, label: &str| {
        store.keep_change(generation, 10 * generation, name, &label.to_owned()).expect("written");
    };
    label(&store, 2, "shop.web", "blue");
    label(&store, 3, "shop.db", "red");
    label(&store, 4, "shop.web", "green");
    let refused = store.keep_change(4, 50, "shop.web", &"late".to_owned());
    assert!(matches!(refused, Err(Error::GenerationBackwards { offered: 4, last: 4 })));
    drop(store);
    let store = open(&path);
    let changes = store.changes::<String>().expect("readable");
    assert_eq!((changes.generation, changes.applied_at_ms), (Some(4), Some(40)));
    let all = [("shop.db", "red"), ("shop.web", "green")];
    assert_eq!(changes.all, all.map(|(name, label)| (name.to_owned(), label.to_owned())));
    assert_eq!(store.document().expect("readable"), Some(document(1)));
    assert_eq!(store.generation().expect("readable"), 4);
    store.keep(&document(5), &7_u64).expect("written");
    let nothing = Changes { generation: None, applied_at_ms: None, all: Vec::new() };
    assert_eq!(store.changes::<String>().expect("readable"), nothing);
    label(&store, 6, "shop.web", "blue");
    store.forget_document().expect("forgotten");
    assert_eq!(store.changes::<String>().expect("readable"), nothing);
    assert_eq!(store.generation().expect("readable"), 6);
}

#[test]
fn documents_come_back_after_a_restart() {
    let (_folder, path) = place();
    let allocations = BTreeMap::from([("shop/web".to_owned(), 7_u16)]);
    open(&path).keep(&document(1), &allocations).expect("written");
    let store = open(&path);
    assert_eq!(store.document().expect("readable"), Some(document(1)));
    assert_eq!(store.allocations().expect("readable"), Some(allocations));
    let more = BTreeMap::from([("shop/web".to_owned(), 7_u16), ("shop/db".to_owned(), 8)]);
    store.keep_allocations(&more).expect("written");
    assert_eq!(store.allocations().expect("readable"), Some(more));
    assert_eq!(store.document().expect("readable"), Some(document(1)));
}

#[test]
fn what_was_written_survives_a_crash() {
    let (folder, path) = place();
    let store = open(&path);
    store.keep(&document(1), &()).expect("written");
    store.append_flows(&[flow(1)]).expect("written");
    store.sync().expect("written");
    store.keep(&document(2), &()).expect("written");
    // The bytes on disk while the files are still open are those that a crash would leave.
    let copy = folder.path().join("crashed.redb");
    fs::copy(&path, &copy).expect("a free name");
    fs::copy(Store::history_beside(&path), Store::history_beside(&copy)).expect("a free name");
    let store = open(&copy);
    assert_eq!(store.document().expect("readable"), Some(document(2)));
    assert_eq!(store.flow_count().expect("readable"), 1);
}

#[test]
fn generations_only_rise() {
    let (_folder, path) = place();
    let store = open(&path);
    store.keep(&document(5), &1).expect("written");
    for offered in [0, 4, 5] {
        let error = store.keep(&document(offered), &2).expect_err("not above 5");
        assert_eq!(error.to_string(), format!("generation {offered} is not above 5, the last one"));
    }
    assert_eq!(store.document().expect("readable"), Some(document(5)));
    assert_eq!(store.allocations().expect("readable"), Some(1), "nothing of it was kept");
    store.forget_document().expect("written");
    drop(store);
    let store = open(&path);
    assert_eq!(store.document().expect("readable"), None);
    assert_eq!(store.generation().expect("readable"), 5);
    store.raise_generation(9).expect("written");
    store.raise_generation(3).expect("no change");
    assert_eq!(store.generation().expect("readable"), 9);
    assert!(matches!(
        store.keep(&document(9), &()),
        Err(Error::GenerationBackwards { offered: 9, last: 9 })
    ));
    store.keep(&document(10), &()).expect("written");
}

#[test]
fn flows_are_found_newest_first() {
    let (_folder, path) = place();
    let store = open(&path);
    let all: Vec<Flow> = (1..=10).map(flow).collect();
    for batch in all.chunks(3) {
        store.append_flows(batch).expect("written");
    }
    store.append_flows::<Flow>(&[]).expect("nothing to write");
    let page = store.flows(|_: &Flow| true, 100).expect("readable");
    assert_eq!(numbers(&page), (1..=10).rev().collect::<Vec<_>>());
    assert!(!page.is_cut);
    let drops = store.flows(|flow: &Flow| flow.verdict == "drop", 2).expect("readable");
    assert_eq!((numbers(&drops), drops.is_cut), (vec![9, 6], true));
    let drops = store.flows(|flow: &Flow| flow.verdict == "drop", 3).expect("readable");
    assert_eq!((numbers(&drops), drops.is_cut), (vec![9, 6, 3], false));
    drop(store);
    let store = open(&path);
    assert_eq!(store.flow_count().expect("readable"), 10, "closing writes them through");
    store.append_flows(&[flow(11)]).expect("written");
    let page = store.flows(|_: &Flow| true, 1).expect("readable");
    assert_eq!(numbers(&page), [11], "numbers go on after a restart");
}

#[test]
fn the_history_is_bounded_by_count() {
    let (_folder, path) = place();
    let bounds = Bounds { flows: 5, ..Bounds::default() };
    let store = Store::open(&path, bounds).expect("it opens").store;
    for number in 1..=7 {
        store.append_flows(&[flow(number)]).expect("written");
    }
    assert_eq!(numbers(&store.flows(|_: &Flow| true, 9).expect("readable")), [7, 6, 5, 4, 3]);
    let many: Vec<Flow> = (10..100).map(flow).collect();
    store.append_flows(&many).expect("written");
    assert_eq!(numbers(&store.flows(|_: &Flow| true, 9).expect("readable")), [99, 98, 97, 96, 95]);
}

#[test]
fn the_history_is_bounded_by_bytes() {
    let (_folder, path) = place();
    let bounds = Bounds { bytes: 1000, ..Bounds::default() };
    let store = Store::open(&path, bounds).expect("it opens").store;
    let each = serde_json::to_vec(&flow(101)).expect("encodable").len() as u64;
    let many: Vec<Flow> = (100..=900).map(flow).collect();
    for batch in many.chunks(50) {
        store.append_flows(batch).expect("written");
    }
    let page = store.flows(|_: &Flow| true, 999).expect("readable");
    let bytes: usize =
        page.flows.iter().map(|flow| serde_json::to_vec(flow).map_or(0, |text| text.len())).sum();
    assert!(bytes <= 1000 && bytes as u64 > 1000 - 2 * each, "{bytes} bytes");
    assert_eq!(page.flows.first(), Some(&flow(900)));
}

#[test]
fn the_file_does_not_grow_with_what_is_dropped() {
    let (_folder, path) = place();
    let bounds = Bounds { flows: 1000, ..Bounds::default() };
    let store = Store::open(&path, bounds).expect("it opens").store;
    let batch: Vec<Flow> = (0..500).map(flow).collect();
    let fill = || {
        for _ in 0..20 {
            store.append_flows(&batch).expect("written");
        }
        store.sync().expect("written");
        fs::metadata(Store::history_beside(&path)).expect("it is there").len()
    };
    let first = fill();
    assert!(fill() <= first * 2, "20 more rounds at least doubled {first} bytes");
}

#[test]
fn flows_of_another_shape_are_left_out() {
    let (_folder, path) = place();
    let store = open(&path);
    store.append_flows(&[flow(1)]).expect("written");
    store.append_flows(&["an older shape"]).expect("written");
    let page = store.flows(|_: &Flow| true, 10).expect("readable");
    assert_eq!((numbers(&page), page.skipped), (vec![1], 1));
}

/// What opening does with files of which one was changed by `damage`: that of the document, or that of the history.
fn after(of_history: bool, damage: impl Fn(&mut Vec<u8>)) -> Opened {
    let (folder, path) = place();
    let file = if of_history { Store::history_beside(&path) } else { path.clone() };
    let store = open(&path);
    store.keep(&document(3), &()).expect("written");
    let flows: Vec<Flow> = (0..2000).map(flow).collect();
    store.append_flows(&flows).expect("written");
    drop(store);
    let mut bytes = fs::read(&file).expect("readable");
    damage(&mut bytes);
    fs::write(&file, &bytes).expect("writable");
    let opened = Store::open(&path, Bounds::default()).expect("never fatal");
    for aside in &opened.set_aside {
        assert_eq!(fs::read(aside).expect("kept").len(), bytes.len());
    }
    opened.store.keep(&document(4), &()).expect("a usable store");
    drop(folder);
    opened
}

#[test]
fn broken_files_are_set_aside() {
    for (of_history, name) in
        [(false, "bulkhead.redb.broken-1"), (true, "bulkhead-flows.redb.broken-1")]
    {
        let text = after(of_history, |bytes| *bytes = b"this is no database".repeat(1000));
        let names: Vec<_> = text.set_aside.iter().filter_map(|aside| aside.file_name()).collect();
        assert_eq!(names, [name]);
        let flows = text.store.flow_count().expect("readable");
        assert_eq!(flows, if of_history { 0 } else { 2000 }, "the other one is as it was");
        let half = after(of_history, |bytes| bytes.truncate(bytes.len() / 2));
        assert_eq!(half.set_aside.len(), 1, "half a file");
        let zeroed = after(of_history, |bytes| bytes.fill(0));
        assert_eq!(zeroed.set_aside.len(), 1, "a file of zeroes");
        let header = after(of_history, |bytes| bytes[..512].fill(0xFF));
        assert_eq!(header.set_aside.len(), 1, "a file without its beginning");
    }
}

#[test]
fn a_changed_page_is_noticed_or_harmless() {
    // Wherever a byte is changed, the store opens, and what it then says is the truth or nothing.
    for part in 1..20 {
        let opened = after(true, |bytes| {
            let at = bytes.len() / 20 * part;
            bytes[at] ^= 0xFF;
        });
        let page = opened.store.flows(|_: &Flow| true, 5000).expect("readable");
        let expected = if opened.set_aside.is_empty() { 2000 } else { 0 };
        assert_eq!((page.flows.len(), page.skipped), (expected, 0), "part {part}");
        assert_eq!(opened.store.generation().expect("readable"), 4, "the document's file is whole");
    }
}

#[test]
fn an_empty_file_is_a_new_one() {
    for of_history in [false, true] {
        let opened = after(of_history, Vec::clear);
        assert_eq!(opened.set_aside, Vec::<PathBuf>::new());
    }
}

/// A file as earlier versions wrote it: the history beside the document.
fn earlier(path: &Path, flows: std::ops::Range<u64>) {
    let database = Database::create(path).expect("it opens");
    let write = database.begin_write().expect("nobody writes");
    {
        let mut meta = write.open_table(META).expect("a table");
        for (key, number) in [("flow-next", flows.end), ("flow-bytes", 40 * flows.end)] {
            meta.insert(key, number).expect("written");
        }
        let mut table = write.open_table(FLOWS).expect("a table");
        for number in flows {
            let text = serde_json::to_vec(&flow(number)).expect("encodable");
            table.insert(number, text.as_slice()).expect("written");
        }
        let mut texts = write.open_table(TEXTS).expect("a table");
        texts.insert("counts", b"[7]".as_slice()).expect("written");
    }
    write.commit().expect("written");
}

#[test]
fn the_history_of_an_earlier_version_moves_once() {
    let (_folder, path) = place();
    open(&path).keep(&document(1), &7_u64).expect("written");
    fs::remove_file(Store::history_beside(&path)).expect("it is there");
    earlier(&path, 0..5);
    for _ in 0..2 {
        let store = open(&path);
        assert_eq!(store.document().expect("readable"), Some(document(1)));
        assert_eq!(store.counts::<Vec<u32>>().expect("readable"), Some(vec![7]));
        let page = store.flows(|_: &Flow| true, 9).expect("readable");
        assert_eq!(numbers(&page), [4, 3, 2, 1, 0]);
    }
    let store = open(&path);
    store.append_flows(&[flow(5)]).expect("written");
    assert_eq!(numbers(&store.flows(|_: &Flow| true, 2).expect("readable")), [5, 4]);
    drop(store);
    // The move is cut off before the old history is deleted: nothing is there twice.
    earlier(&path, 0..5);
    let store = open(&path);
    assert_eq!(store.flow_count().expect("readable"), 6);
}

#[test]
fn a_document_does_not_wait_for_the_history() {
    let (_folder, path) = place();
    let store = open(&path);
    let writing = store.history.begin_write().expect("nobody writes");
    store.keep(&document(1), &()).expect("written");
    assert_eq!(store.generation().expect("readable"), 1);
    writing.abort().expect("nothing was written");
}

#[test]
fn a_second_process_is_refused() {
    let (_folder, path) = place();
    let _first = open(&path);
    let error = Store::open(&path, Bounds::default()).expect_err("it is in use");
    assert!(matches!(error, Error::InUse { .. }), "{error}");
}

#[test]
fn a_later_schema_is_left_alone() {
    let (_folder, path) = place();
    drop(open(&path));
    let database = Database::open(&path).expect("it opens");
    let write = database.begin_write().expect("nobody writes");
    write.open_table(META).expect("it is there").insert("schema", 2).expect("written");
    write.commit().expect("written");
    drop(database);
    let error = Store::open(&path, Bounds::default()).expect_err("written by a later version");
    assert!(matches!(error, Error::NewerSchema { found: 2, known: 1, .. }), "{error}");
    let names = fs::read_dir(path.parent().expect("a folder")).expect("readable").count();
    assert_eq!(names, 2, "nothing was moved");
    let database = Database::open(&path).expect("it still opens");
    let read = database.begin_read().expect("readable");
    let schema = read.open_table(META).expect("it is there").get("schema").expect("readable");
    assert_eq!(schema.map(|guard| guard.value()), Some(2));
}

#[test]
fn a_folder_in_the_way_is_an_error() {
    let (_folder, path) = place();
    fs::create_dir_all(&path).expect("a free name");
    let error = Store::open(&path, Bounds::default()).expect_err("it is a folder");
    assert!(matches!(error, Error::Prepare { .. }), "{error}");
    assert!(path.is_dir());
}
