//! Kernel objects of ours go away at random while packets flow: they come back with the same content, and nothing passes meanwhile that may not.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use testkit::server::TcpEcho;
use testkit::{Namespace, Scope, Snapshot, root_or_return, wait_until};

use crate::stage::{Stage, reaches, serve, settled};

/// The drift timer is 10 s; a pass and a loaded machine take a while.
const HEALED: Duration = Duration::from_mins(1);
const B: &str = "10.0.1.20";
const ALLOWED: &str = "10.0.1.20:80";
const DENIED: &str = "10.0.1.20:81";

/// What is taken away at one time. One end of the pair keeps its hook: whoever is root can take both.
const ROUNDS: usize = 3;

/// An object of ours, and how it is removed.
struct Object {
    name: &'static str,
    remove: Box<dyn Fn()>,
}

fn object(name: &'static str, remove: impl Fn() + 'static) -> Object {
    Object { name, remove: Box::new(remove) }
}

/// The folder of pinned links: that of the layout in use.
fn links(stage: &Stage) -> PathBuf {
    let folders = fs::read_dir(&stage.bulkhead.folders().bpffs).expect("the pins");
    let versions = folders.flatten().map(|entry| entry.path().join("links"));
    versions.into_iter().find(|path| path.is_dir()).expect("the folder of links")
}

/// Everything that can be removed, those of one round together.
fn objects(stage: &Stage, router: &Namespace) -> [Vec<Object>; ROUNDS] {
    let ip = |space: &Namespace, line: &'static str| {
        let space = space.clone();
        // What went with something else is gone already.
        move || drop(space.command(&[&["ip"], &line.split(' ').collect::<Vec<_>>()[..]].concat()))
    };
    let nft = |space: &Namespace| {
        let space = space.clone();
        move || drop(space.nft("delete table inet bulkhead"))
    };
    let unpin = |name: &str| {
        let path = links(stage).join(name);
        // Filters of clsact have no pins.
        move || drop(fs::remove_file(&path))
    };
    [
        vec![
            object("nftables of the host", nft(&stage.host)),
            object("the sending hook of a", unpin("1-from")),
            object("the addresses of the gateway", ip(router, "addr flush dev br0")),
        ],
        vec![
            object("nftables of the router", nft(router)),
            object("the receiving hook of b", unpin("2-to")),
            object("the link between host and router", ip(&stage.host, "link del bt1")),
        ],
        vec![
            object("the link of b", ip(router, "link del bh2")),
            object("the bridge", ip(router, "link del br0")),
        ],
    ]
}

/// The order in which things go: another one each time, told so that it can be looked at.
fn order(count: usize) -> Vec<usize> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let first = now.subsec_millis() as usize % count;
    (0..count).map(|at| (first + at) % count).collect()
}

/// Whether two states are the same but for the numbers that the kernel gives links.
fn is_same(known: &Snapshot, now: &Snapshot) -> bool {
    let diff = known.diff(now);
    let lines = |sign: &str| -> BTreeSet<String> {
        let lines = diff.lines().filter_map(|line| line.strip_prefix(sign));
        lines.map(without_numbers).collect()
    };
    lines("- ") == lines("+ ")
}

/// A line without the values of `ifindex` and `link_index`.
fn without_numbers(line: &str) -> String {
    let is_number =
        |part: &&str| !part.starts_with("\"ifindex\":") && !part.starts_with("\"link_index\":");
    line.split(',').filter(is_number).collect::<Vec<_>>().join(",")
}

#[test]
fn r178_what_is_removed_at_random_comes_back_and_nothing_passes_meanwhile_root() {
    root_or_return!("r178_what_is_removed_at_random_comes_back_and_nothing_passes_meanwhile_root");
    let mut stage = Stage::new();
    let [a, b] = stage.tenant(
        "mode: nat, subnets: [10.0.1.0/24]",
        [
            ("a", "address: [10.0.1.10], labels: { app: a }"),
            ("b", "address: [10.0.1.20], labels: { app: b }"),
        ],
        "    policies: { use: { from: app=a, to: app=b, allow: [80/tcp] } }\n",
    );
    let path = stage.bulkhead.folders().run.join("netns/t.main.router");
    let router = Namespace::open("router", &path).expect("the router");
    let _servers: Vec<TcpEcho> = serve(&b, B, &[80, 81]);
    assert!(reaches(&a, ALLOWED) && !reaches(&a, DENIED));
    let (host_scope, router_scope) = (Scope::of(&stage.host), Scope::of(&router));
    let before = [settled(&host_scope), settled(&router_scope)];

    let (ends, wrong, right) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for (to, count) in [(DENIED, &wrong), (ALLOWED, &right)] {
            let (a, ends) = (&a, &ends);
            scope.spawn(move || {
                while !ends.load(Ordering::Relaxed) {
                    count.fetch_add(u64::from(reaches(a, to)), Ordering::Relaxed);
                }
            });
        }
        let rounds = objects(&stage, &router);
        for at in order(ROUNDS) {
            let began = Instant::now();
            let round = rounds.get(at).expect("a round");
            for at in order(round.len()) {
                let object = round.get(at).expect("an object");
                (object.remove)();
            }
            let names: Vec<&str> = round.iter().map(|object| object.name).collect();
            let known = [&before[0], &before[1]].map(Clone::clone);
            let healed = wait_until("what was removed", HEALED, || {
                let now = [host_scope.snapshot(), router_scope.snapshot()];
                let same = now
                    .iter()
                    .zip(&known)
                    .all(|(now, known)| now.as_ref().is_ok_and(|now| is_same(known, now)));
                same && links(&stage).join("1-from").exists() && links(&stage).join("2-to").exists()
            });
            if healed.is_err() {
                ends.store(true, Ordering::Relaxed);
                for (scope, known) in [&host_scope, &router_scope].into_iter().zip(&known) {
                    let now = scope.snapshot().expect("a snapshot");
                    println!("{}", known.diff(&now));
                }
                panic!("{names:?} did not come back");
            }
            println!(
                "self-heal: {} back after {:.1} s",
                names.join(", "),
                began.elapsed().as_secs_f64()
            );
        }
        ends.store(true, Ordering::Relaxed);
    });
    let (wrong, right) = (wrong.into_inner(), right.into_inner());
    println!("self-heal: {right} connections that may pass did, {wrong} that may not");
    assert_eq!(wrong, 0, "nothing that may not pass has passed");
    wait_until("the connection", HEALED, || reaches(&a, ALLOWED)).expect("it works again");
    assert!(!reaches(&a, DENIED) && right > 0);
}
