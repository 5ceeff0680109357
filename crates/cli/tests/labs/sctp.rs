//! SCTP: rules apply to it, and `probe` asks with a real INIT.

use std::thread;

use serde_json::Value;
use testkit::packet::{Frame, ip};
use testkit::{Namespace, Wire, root_or_return};

use crate::stage::{SOON, Stage};

const A: &str = "10.0.1.10";
const B: &str = "10.0.1.20";
/// Where the SCTP header begins in an IPv4 frame, and its number.
const SCTP_AT: usize = 34;
const SCTP: u8 = 132;

fn file(a: &str, b: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      main: {{ mode: bridge, subnets: [10.0.1.0/24] }}
    workloads:
      a: {{ address: [{A}], netns: {a} }}
      b: {{ address: [{B}], netns: {b} }}
    policies:
      diameter: {{ from: workload=a, to: workload=b, allow: [3868/sctp] }}
"
    )
}

fn probe(stage: &Stage, service: &str) -> Value {
    let done = stage.bulkhead.cli(&["--json", "probe", "t/a", "t/b", service]).expect("a probe");
    serde_json::from_str(&done.stdout).unwrap_or_else(|_| panic!("no JSON: {done:?}"))
}

/// Takes the next INIT that arrives at `b`, as an SCTP server would; says whether an ABORT came after.
fn take_one(b: &Namespace, wire: &Wire, a: &Namespace) -> bool {
    let first = |kind: u8| {
        move |frame: &[u8]| {
            frame.len() > SCTP_AT + 19 && frame[23] == SCTP && frame[SCTP_AT + 12] == kind
        }
    };
    let init = wire.next(SOON, first(1)).expect("a watch").expect("an INIT arrives");
    let word = |at: usize| -> [u8; 4] { init[at..at + 4].try_into().expect("four bytes") };
    let port = u16::from_be_bytes([init[SCTP_AT], init[SCTP_AT + 1]]);
    let tag = u32::from_be_bytes(word(SCTP_AT + 16));
    // INIT ACK with tag 7, one stream each way, and a cookie.
    let chunk: [u8; 28] =
        [2, 0, 0, 28, 0, 0, 0, 7, 0, 0, 0x80, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0, 7, 0, 8, 1, 2, 3, 4];
    let (own, other) = (b.mac("eth0").expect("a MAC"), a.mac("eth0").expect("a MAC"));
    let ack = Frame::new(own, other).ip(ip(B), ip(A)).sctp(3868, port, tag, &chunk);
    wire.send(&ack.bytes()).expect("sent");
    let abort =
        |frame: &[u8]| frame.len() >= SCTP_AT + 16 && frame[23] == SCTP && frame[SCTP_AT + 12] == 6;
    wire.next(SOON, abort).expect("a watch").is_some()
}

#[test]
fn a_probe_of_sctp_is_an_init_and_tells_what_came_of_it_root() {
    root_or_return!("a_probe_of_sctp_is_an_init_and_tells_what_came_of_it_root");
    let mut stage = Stage::new();
    let (a, a_path) = stage.adopted("a");
    let (b, b_path) = stage.adopted("b");
    stage.bulkhead.up(&file(&a_path, &b_path)).expect("applied");

    let dropped = probe(&stage, "sctp/3869");
    assert_eq!((&dropped["observed"], &dropped["agrees"]), (&"no-answer".into(), &true.into()));
    assert_eq!(dropped["flow"]["reason"]["code"], "BH-D002", "{dropped}");

    // From here on B's own stack does not say that it has no SCTP: a server by hand does.
    b.nft("table inet quiet { chain out { type filter hook output priority 0; meta l4proto { icmp, sctp } drop; }; }")
        .expect("nft");
    let wire = Wire::open(&b, "eth0").expect("a wire");
    let (answered, aborted) = thread::scope(|scope| {
        let server = scope.spawn(|| take_one(&b, &wire, &a));
        let answered = probe(&stage, "sctp/3868");
        (answered, server.join().expect("the server"))
    });
    assert_eq!((&answered["observed"], &answered["agrees"]), (&"answered".into(), &true.into()));
    let text = answered["text"].as_str().unwrap_or_default();
    assert!(text.contains("raw socket"), "it says how it asked: {text}");
    assert!(aborted, "the association is not left open");
    let silent = probe(&stage, "sctp/3868");
    assert_eq!((&silent["observed"], &silent["agrees"]), (&"no-answer".into(), &false.into()));
}

#[test]
fn a_host_without_sctp_was_reached_all_the_same_root() {
    root_or_return!("a_host_without_sctp_was_reached_all_the_same_root");
    if std::path::Path::new("/proc/net/sctp").exists() {
        println!("this kernel has SCTP: its own answer is an ABORT, which says the same");
    }
    let mut stage = Stage::new();
    let (_a, a_path) = stage.adopted("a");
    let (_b, b_path) = stage.adopted("b");
    stage.bulkhead.up(&file(&a_path, &b_path)).expect("applied");
    let refused = probe(&stage, "sctp/3868");
    assert_eq!(
        (&refused["observed"], &refused["agrees"]),
        (&"refused".into(), &true.into()),
        "{refused}"
    );
}
