//! Links of containers that somebody deletes, moves or renames by hand: they come back on both sides, and policy holds all the time.

use std::time::Duration;

use testkit::{Namespace, root_or_return, wait_until};

use super::{DB, Driven, Town, page};
use crate::docker::is_there;

/// How long both sides may take, on a busy machine: two looks of the agent at its links, two at Docker's.
const MENDED: Duration = Duration::from_secs(90);

/// The addresses and routes of a namespace; numbers of links change when they are made again.
fn shape(space: &Namespace) -> Vec<String> {
    let lines = [
        &["ip", "-o", "-br", "addr"][..],
        &["ip", "route"],
        &["ip", "-6", "route", "show", "default"],
    ];
    let lines = lines.map(|argv| space.check(argv).expect("ip").stdout);
    let mut all: Vec<String> = lines
        .iter()
        .flat_map(|text| text.lines())
        .filter(|line| !line.contains("fe80::"))
        .map(|line| {
            let words = line.split_whitespace().filter(|word| !word.starts_with("fe80"));
            let words = words.map(|word| word.split('@').next().unwrap_or(word));
            let words: Vec<&str> = words.collect();
            // Who put a route there is not asked about.
            words.join(" ").replace(" proto 98", "").replace(" proto bulkhead", "")
        })
        .collect();
    all.sort();
    all
}

impl Town {
    /// The router of the first network.
    fn router(&self) -> Namespace {
        let path = self.driven.stage.bulkhead.folders().run.join("netns/one.front.router");
        Namespace::open("one.front.router", &path).expect("a router")
    }

    /// Our end of a workload's link.
    fn port(&self, id: &str) -> String {
        let all = self.driven.workloads();
        let found = all.iter().find(|each| each["id"] == id).expect("it is there");
        format!("bh{}", found["endpoint"])
    }

    /// Waits until everything is as it was, and policy, too.
    fn is_mended(&self, what: &str, space: &Namespace, before: &[String]) {
        let db = format!("{DB}:80");
        let is_back = || {
            assert_eq!(page(&self.scanner, &db), None, "{what}: nobody else meanwhile");
            shape(space) == before && page(&self.web, &db).as_deref() == Some("one")
        };
        wait_until(what, MENDED, is_back).unwrap_or_else(|_| {
            let log = self.driven.stage.bulkhead.log();
            panic!("{what}: {:#?} instead of {before:#?}: {log}", shape(space))
        });
        let left = self.driven.left_on_host();
        assert!(left.is_empty(), "{what}: {left:?}");
    }
}

#[test]
fn links_that_somebody_deletes_or_moves_come_back_on_both_sides_root() {
    let test = "links_that_somebody_deletes_or_moves_come_back_on_both_sides_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let town = Town::new(Driven::start(&[]));
    town.holds("from the start");
    let db = town.driven.engine().inside("one-db");
    let (web, router) = (town.web.clone(), town.router());
    let before = shape(&web);
    let before_db = shape(&db);
    web.check(&["ip", "link", "del", "eth0"]).expect("deleted");
    town.is_mended("deleted in the container", &web, &before);
    router.check(&["ip", "link", "del", &town.port("one.one-db")]).expect("deleted");
    town.is_mended("deleted in the router", &db, &before_db);
    let host = town.driven.stage.host.name().to_owned();
    web.check(&["ip", "link", "set", "eth0", "netns", &host]).expect("moved");
    town.is_mended("moved to the host", &web, &before);
    // Another name inside is the container's own affair: the port is ours, and so is the policy.
    let rename = "ip link set eth0 down; ip link set eth0 name lan7; ip link set lan7 up; ip route add default via 10.77.0.1";
    web.check(&["sh", "-ec", rename]).expect("renamed");
    let renamed = shape(&web);
    town.is_mended("renamed in the container", &web, &renamed);
    // In the router it is made again.
    let port = town.port("one.one-db");
    let rename =
        format!("ip link set {port} down; ip link set {port} name lost; ip link set lost up");
    router.check(&["sh", "-ec", &rename]).expect("renamed");
    town.is_mended("renamed in the router", &db, &before_db);
    town.holds("in the end");
    println!(
        "runtime docker driver: a container's link that is deleted at either end, moved to the host or renamed comes back with its addresses and routes, and policy holds meanwhile"
    );
}
