//! Who is first: the container's program, or its policy; and what dockerd starts by itself.

use std::time::{Duration, Instant};

use testkit::{root_or_return, wait_until};

use super::{DB, Driven, LONG, SUBNET, page};
use crate::docker::is_there;

/// Containers that start one after the other, and as many at once.
const STARTS: usize = 5;

#[test]
fn a_container_is_known_before_its_first_packet_root() {
    let test = "a_container_is_known_before_its_first_packet_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let driven = Driven::start(&[]);
    driven.network("one", "one/front", &["--subnet", SUBNET]);
    driven.run("one", "db", &["--ip", DB]);
    let engine = driven.engine();
    // What it does first is connect: those who may get in at once, and nobody else ever.
    let line = format!("nc -w 1 {DB} 80 </dev/null && echo IN; echo TRIED; exec sleep 600");
    let app = |n: usize| if n.is_multiple_of(2) { "app=web" } else { "app=rogue" };
    let start = |n: usize| {
        engine.run(&format!("c{n}"), "one", &["-l", app(n)], &["/bin/sh", "-c", &line]);
    };
    (0..STARTS).for_each(start);
    std::thread::scope(|scope| {
        for n in STARTS..2 * STARTS {
            let start = &start;
            scope.spawn(move || start(n));
        }
    });
    for n in 0..2 * STARTS {
        let name = format!("c{n}");
        let said = || engine.docker(&["logs", &name]).unwrap_or_default();
        wait_until("its try", LONG, || said().contains("TRIED")).expect("it tries");
        assert_eq!(said().contains("IN"), app(n) == "app=web", "{name} {}: {}", app(n), said());
    }
    let log = driven.stage.bulkhead.log();
    let joins = || log.lines().filter(|line| line.contains("joins"));
    let known = joins().filter(|line| line.contains("known=true")).count();
    assert_eq!(joins().count(), 2 * STARTS + 1);
    assert!(known > STARTS, "dockerd tells at once who joins: {log}");
    println!(
        "runtime docker driver first-packet: {known} of {} containers were known when they joined; those that may connect did at once, and no other; {}",
        joins().count(),
        super::told(&driven)
    );
}

/// dockerd starts containers by itself before it answers anybody, us included.
#[test]
fn what_dockerd_starts_by_itself_is_closed_until_it_answers_root() {
    let test = "what_dockerd_starts_by_itself_is_closed_until_it_answers_root";
    root_or_return!(test);
    if !is_there(test) {
        return;
    }
    let mut driven = Driven::start(&[]);
    driven.network("one", "one/front", &["--subnet", SUBNET]);
    for (app, more) in [
        ("db", &["--ip", DB, "--restart", "always"][..]),
        ("web", &["--restart", "always"]),
        ("scanner", &["--restart", "always"]),
    ] {
        driven.run("one", app, more);
    }
    driven.engine.as_mut().expect("it").end().expect("ended");
    wait_until("their end", LONG, || driven.attached().is_empty()).expect("they ended with it");
    let since = Instant::now();
    driven.engine.as_mut().expect("it").begin().expect("dockerd starts again");
    let took = since.elapsed();
    let db = format!("{DB}:80");
    let inside = |app: &str| driven.engine().inside(&format!("one-{app}"));
    let running = || {
        ["db", "web", "scanner"].iter().all(|app| {
            driven.engine().inspect(&format!("one-{app}"))["State"]["Pid"].as_u64() > Some(0)
        })
    };
    wait_until("all of them", LONG, running).expect("they run again");
    let (web, scanner) = (inside("web"), inside("scanner"));
    wait_until("the way", LONG, || page(&web, &db).as_deref() == Some("one"))
        .unwrap_or_else(|_| panic!("{:#?} {}", driven.workloads(), driven.stage.bulkhead.log()));
    assert_eq!(page(&scanner, &db), None, "policy is there as well");
    let named = driven
        .workloads()
        .iter()
        .filter(|each| each["name"].as_str().is_some_and(|name| name.starts_with("one-")))
        .count();
    assert_eq!(named, 3, "{:#?}", driven.workloads());
    let log = driven.stage.bulkhead.log();
    let joins = log.lines().filter(|line| line.contains("joins")).skip(3);
    let unknown = joins.filter(|line| line.contains("known=false")).count();
    assert!(took < Duration::from_secs(25), "dockerd did not wait for itself: {took:?}");
    println!(
        "runtime docker driver boot: {unknown} of 3 containers that dockerd started by itself joined unknown and closed; it was up after {:.1} s, and then all were opened with their names",
        took.as_secs_f32()
    );
}
