//! The kernel's side against a real kernel: loading, adopting, judging, updating.

use host::linux::bpf::{Datapath, Limits, Origin};
use tempfile::TempDir;

#[test]
fn programs_load_and_are_adopted_root() {
    testkit::root_or_return!("programs_load_and_are_adopted_root");
    let folder = TempDir::new().expect("a folder");
    let bpffs = folder.path().join("bpf");
    let datapath = Datapath::open(&bpffs, &Limits::default()).expect("a loaded datapath");
    assert_eq!(datapath.origin(), Origin::Fresh);
    println!("{:?}", datapath.clock());
    drop(datapath);
    let datapath = Datapath::open(&bpffs, &Limits::default()).expect("an adopted datapath");
    assert_eq!(datapath.origin(), Origin::Adopted);
    drop(datapath);
    Datapath::remove_all(&bpffs).expect("removal");
}
