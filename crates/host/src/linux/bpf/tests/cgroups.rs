//! Programs at cgroups: loaded when something wants them, adopted by the next agent, exchanged for those of another build.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt as _;

use super::object::Group;
use super::*;
use crate::linux::bpf::{Cgroups, Error};
use crate::linux::runtime::unified;

/// The endpoint whose cgroup it is.
const NUMBER: u32 = 7;

/// A cgroup below one of this test's own.
struct Place {
    parent: PathBuf,
    wanted: BTreeMap<u32, PathBuf>,
}

impl Place {
    fn new(name: &str) -> Self {
        let parent = PathBuf::from(format!("bulkhead-{name}-{}", std::process::id()));
        let wanted = BTreeMap::from([(NUMBER, parent.join("one"))]);
        Self { parent, wanted }
    }

    /// Lets the programs be attached.
    fn attach(&self, cgroups: &mut Cgroups) {
        let pass = cgroups.bring(&self.wanted, &self.parent).expect("programs");
        assert!(pass.failed.is_empty(), "{:?}", pass.failed);
    }

    /// The folder of the cgroup.
    fn folder(&self) -> PathBuf {
        let root = unified().expect("mounts").expect("a unified hierarchy");
        root.join(&self.wanted[&NUMBER])
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What a test that failed has left; both are gone after one that has not.
        let folder = self.folder();
        fs::remove_dir(&folder).ok();
        folder.parent().map(fs::remove_dir);
    }
}

/// Whose pins of programs there are below the folders of builds.
fn loaded(bench: &Bench) -> Vec<String> {
    let root = object::root(&bench.folder.path().join("bpf")).expect("no other version");
    let builds = object::list(&root.join("programs")).expect("a folder");
    builds
        .iter()
        .flat_map(|build| object::list(&root.join("programs").join(build)).expect("a folder"))
        .filter(|name| Group::Cgroups.programs().iter().any(|program| program.name() == name))
        .collect()
}

#[test]
fn programs_at_cgroups_are_loaded_when_a_cgroup_wants_them_root() {
    testkit::root_or_return!("programs_at_cgroups_are_loaded_when_a_cgroup_wants_them_root");
    let (bench, place) = (Bench::new(), Place::new("lazy"));
    let datapath = bench.open();
    assert_eq!(loaded(&bench), Vec::<String>::new(), "nothing wants them");
    let mut cgroups = datapath.cgroups().expect("a table");
    assert!(!cgroups.is_attached(NUMBER));
    cgroups.bring(&BTreeMap::new(), &place.parent).expect("nothing to do");
    assert_eq!(loaded(&bench).len(), 0);
    place.attach(&mut cgroups);
    assert_eq!(loaded(&bench).len(), Group::Cgroups.programs().len());
    assert!(cgroups.is_attached(NUMBER));
    drop((cgroups, datapath));

    // The next agent takes them as they are.
    let datapath = bench.open();
    let mut cgroups = datapath.cgroups().expect("a table");
    assert_eq!(datapath.origin(), Origin::Adopted);
    assert!(cgroups.is_attached(NUMBER));
    let pass = cgroups.bring(&place.wanted, &place.parent).expect("programs");
    assert!(pass.done.is_empty(), "{:?}", pass.done);
    drop((cgroups, datapath));

    // One that was killed while it loaded them has left a part.
    let root = object::root(&bench.folder.path().join("bpf")).expect("no other version");
    let builds = object::list(&root.join("programs")).expect("a folder");
    let pin = root.join("programs").join(&builds[0]).join(Program::Bind6.name());
    fs::remove_file(pin).expect("a pin");
    let datapath = bench.open();
    assert_eq!(datapath.origin(), Origin::Adopted);
    let mut cgroups = datapath.cgroups().expect("a table");
    assert!(!cgroups.is_attached(NUMBER), "what is attached is of no build that is whole");
    place.attach(&mut cgroups);
    assert!(cgroups.is_attached(NUMBER));
    cgroups.bring(&BTreeMap::new(), &place.parent).expect("released");
    assert!(!place.folder().exists(), "its cgroup goes with it");
}

#[test]
fn without_their_maps_programs_at_cgroups_are_refused_and_nothing_is_attached_root() {
    testkit::root_or_return!(
        "without_their_maps_programs_at_cgroups_are_refused_and_nothing_is_attached_root"
    );
    let (bench, place) = (Bench::new(), Place::new("refused"));
    let datapath = bench.open();
    fs::remove_file(datapath.maps().join("ROOMS")).expect("removed by somebody else");
    let refused = datapath.load_for_cgroups().expect_err("a map is missing");
    assert!(matches!(refused, Error::MapGone("ROOMS")), "{refused}");
    let mut cgroups = datapath.cgroups().expect("a table");
    let refused = cgroups.bring(&place.wanted, &place.parent).expect_err("a map is missing");
    assert!(matches!(refused, Error::MapGone("ROOMS")), "{refused}");
    assert!(!cgroups.is_attached(NUMBER) && !place.folder().exists());
    assert_eq!(loaded(&bench).len(), 0);
}

#[test]
fn links_at_cgroups_of_another_build_are_taken_over_and_never_broken_root() {
    testkit::root_or_return!(
        "links_at_cgroups_of_another_build_are_taken_over_and_never_broken_root"
    );
    let (bench, place) = (Bench::new(), Place::new("older"));
    let (older, root) = older_programs(&bench);
    drop(older);
    let object = [OBJECT, &[0]].concat();
    let builds = object::list(&root.join("programs")).expect("a folder");
    let folder = root.join("programs").join(&builds[0]);
    let (maps, limits) = (root.join("maps"), Limits::default());
    let older = object::load_programs(&maps, folder, &limits, (&object, Group::Cgroups));
    let older = older.expect("an older agent's programs");
    fs::create_dir_all(place.folder()).expect("a cgroup");
    let cgroup = File::open(place.folder()).expect("a cgroup");
    let table: Table<u64, u32> = Table::open(&maps, "CGROUPS").expect("the table");
    table.insert(&cgroup.metadata().expect("a folder").ino(), &NUMBER).expect("written");
    let pins = root.join("cgroups");
    fs::create_dir(&pins).expect("a folder");
    let pin = |program: Program| pins.join(format!("{NUMBER}-{}", program.name()));
    for program in Group::Cgroups.programs() {
        let place = program.purpose().place;
        let link = sys::link_cgroup(older.fd(*program), cgroup.as_fd(), place).expect("attached");
        sys::pin(link.as_fd(), &pin(*program)).expect("pinned");
    }
    let links = || {
        let info = |program: &Program| {
            let link = sys::open(&pin(*program)).expect("a pinned link");
            (
                sys::link_info(link.as_fd()).expect("a link").id,
                sys::cgroup_link_info(link.as_fd()).expect("a link").program,
            )
        };
        Group::Cgroups.programs().iter().map(info).collect::<Vec<_>>()
    };
    let before = links();
    drop(older);

    let datapath = bench.open();
    assert_eq!(datapath.origin(), Origin::Replaced);
    for ((old, old_program), (new, new_program)) in before.into_iter().zip(links()) {
        assert_eq!(old, new, "the same link");
        assert_ne!(old_program, new_program, "with another program");
    }
    let mut cgroups = datapath.cgroups().expect("a table");
    assert!(cgroups.is_attached(NUMBER));
    let builds = object::list(&root.join("programs")).expect("a folder");
    assert_eq!(builds.len(), 1, "nothing of the older build stays: {builds:?}");
    cgroups.bring(&BTreeMap::new(), &place.parent).expect("released");
}
