//! kernel objects of ours go away at random while connections are made: they come back with the same content, and nothing passes
//! meanwhile that may not.
//!
//! Which objects there are is not written down here but looked at: [`kinds`] names the kind of every line that a snapshot of a host has more
//! once everything is enforced. So a new kind of object without a way to remove it fails the test.

mod kinds;
mod maps;
mod world;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use testkit::{Scope, root_or_return, wait_until};

use crate::stage::{Stage, settled};

use self::kinds::{Case, Look, Seen, cases, found, missing};
use self::maps::Maps;
use self::world::World;

/// The drift timer is 10 s; a pass and a loaded machine take a while.
const HEALED: Duration = Duration::from_mins(1);
/// So often something is removed; what is removed together is drawn.
const ROUNDS: usize = 5;

/// The folder of pins: that of the layout in use.
fn root(stage: &Stage) -> PathBuf {
    let folders = fs::read_dir(&stage.bulkhead.folders().bpffs).expect("the pins");
    let versions = folders.flatten().map(|entry| entry.path());
    versions.into_iter().find(|path| path.join("links").is_dir()).expect("the folder of pins")
}

/// Numbers below `count` in an order that is another one each time; the seed is told, and can be given.
fn shuffled(count: usize) -> Vec<usize> {
    let given = std::env::var("BULKHEAD_SEED").ok().and_then(|seed| seed.parse().ok());
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut state: u64 = given.unwrap_or_else(now);
    println!("self-heal: BULKHEAD_SEED={state}");
    let mut next = || {
        // Knuth's MMIX generator; what is low is not random.
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap_or(0)
    };
    let mut order: Vec<usize> = (0..count).collect();
    for at in (1..count).rev() {
        order.swap(at, next() % (at + 1));
    }
    order
}

/// How two states differ, but for the numbers that the kernel gives links; nothing when they do not.
fn differences(known: &Seen, now: &Seen) -> Vec<String> {
    let mut all = Vec::new();
    for ((place, known, bridged), (_, now, now_bridged)) in known.iter().zip(now) {
        let diff = known.diff(now);
        let lines = |sign: &str| -> BTreeSet<String> {
            let lines = diff.lines().filter_map(|line| line.strip_prefix(sign));
            // A server on the host's stack has a process for each connection.
            lines.filter(|line| !line.starts_with("process: ")).map(without_numbers).collect()
        };
        let (gone, new) = (lines("- "), lines("+ "));
        all.extend(gone.difference(&new).map(|line| format!("{place}: - {line}")));
        all.extend(new.difference(&gone).map(|line| format!("{place}: + {line}")));
        all.extend(bridged.difference(now_bridged).map(|line| format!("{place}: - {line}")));
        all.extend(now_bridged.difference(bridged).map(|line| format!("{place}: + {line}")));
    }
    all
}

/// A line without the numbers that the kernel gives links and namespaces.
fn without_numbers(line: &str) -> String {
    let numbers = ["\"ifindex\":", "\"link_index\":", "\"link_netnsid\":"];
    let is_other = |part: &&str| !numbers.iter().any(|number| part.starts_with(number));
    line.split(',').filter(is_other).collect::<Vec<_>>().join(",")
}

/// The numbers of endpoints whose ports are in place: they have marks.
fn in_place(stage: &Stage) -> BTreeSet<u32> {
    let marks = fs::read_dir(root(stage).join("places")).into_iter().flatten().flatten();
    let number = |name: String| name.split_once('-')?.0.parse().ok();
    marks.filter_map(|entry| number(entry.file_name().into_string().ok()?)).collect()
}

/// Waits until all is as it was: in the namespaces, among the pins, in the maps.
fn heals(
    look: &Look,
    known: &Seen,
    maps: &Maps,
    contents: &BTreeSet<String>,
) -> Result<(), String> {
    let mut rest = Vec::new();
    let healed = wait_until("what was removed", HEALED, || {
        let Some(now) = look.now() else { return false };
        rest = differences(known, &now);
        if rest.is_empty() {
            let now = maps.contents();
            rest.extend(contents.difference(&now).map(|line| format!("- {line}")));
            rest.extend(now.difference(contents).map(|line| format!("+ {line}")));
        }
        rest.is_empty()
    });
    healed.map_err(|_| rest.join("\n"))
}

#[test]
fn r178_what_is_removed_at_random_comes_back_and_nothing_passes_meanwhile_root() {
    root_or_return!("r178_what_is_removed_at_random_comes_back_and_nothing_passes_meanwhile_root");
    let world = World::new();
    let spaces = world.spaces();
    let look = Look::new(&world.stage, &spaces);
    settled(&Scope::of(&world.stage.host));
    let known = look.now().expect("everything is seen");
    let ports = in_place(&world.stage);
    let cases = cases(&world, &spaces, &ports);
    let [uncovered, stale] = missing(&found(&world.before, &known, &ports), &cases);
    assert_eq!(uncovered, Vec::<String>::new(), "kinds of objects that nothing here removes");
    assert_eq!(stale, Vec::<String>::new(), "kinds of objects that are not there any more");
    let maps = Maps::of(&world.stage);
    let contents = maps.contents();

    let order = shuffled(cases.len());
    let remove = |round: &[usize]| {
        let began = Instant::now();
        let round: Vec<&Case> = round.iter().filter_map(|at| cases.get(*at)).collect();
        let names: Vec<&str> = round.iter().map(|case| case.name.as_str()).collect();
        for case in &round {
            (case.remove)();
        }
        if let Err(rest) = heals(&look, &known, &maps, &contents) {
            panic!("{names:?}:\n{rest}\n{}", world.stage.bulkhead.log());
        }
        let took = began.elapsed().as_secs_f64();
        println!("self-heal: back after {took:.1} s: {}", names.join(", "));
    };
    let (right, wrong) =
        world.under_load(|| order.chunks(order.len().div_ceil(ROUNDS)).for_each(remove));
    println!("self-heal: {right} connections that may pass did; that may not: {wrong:?}");
    assert_eq!(wrong, Vec::<String>::new(), "nothing that may not pass has passed");
    world.is_whole();
    assert!(right > 0);
}
