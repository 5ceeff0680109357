//! Attacks on what runs as root: whoever breaks a namespace, fills a disk, asks without a pause or gets a number that was somebody else's gains nothing by
//! it. A change of the host's own policy goes back, and a rule ends, whatever happens meanwhile.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use testkit::server::TcpEcho;
use testkit::{Namespace, root_or_return, wait_until};

use crate::socket::ask;
use crate::stage::{HOST, Stage, reaches, serve};

/// Most time between the deadline of a change and the way being open again on a busy machine.
const BACK: Duration = Duration::from_mins(1);
/// What the host serves, for its managers.
const MANAGED: &str = "198.51.100.2:22";
/// Who ask at one time.
const ASKERS: usize = 16;
/// Tries to get the number of a namespace that went.
const TRIES: usize = 20;

/// A host whose managers come from outside, with one adopted workload, `t/a`.
struct Managed {
    _service: Vec<TcpEcho>,
    stage: Stage,
    adopted: String,
}

impl Managed {
    /// With a disk of its own for the state, which can be filled.
    fn new() -> Self {
        let mut stage = Stage::without_agent();
        let folder = stage.bulkhead.folders().state.display().to_string();
        let disk = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", &folder];
        stage.host.check(&disk).expect("a small disk");
        stage.bulkhead.start_agent().expect("the agent starts");
        let (_, adopted) = stage.adopted("a");
        let managed = Self { _service: serve(&stage.host, HOST, &[22]), stage, adopted };
        managed.stage.bulkhead.up(&managed.file("", "")).expect("applied");
        assert!(managed.is_open());
        managed
    }

    fn file(&self, host: &str, more: &str) -> String {
        format!(
            "bulkhead: 1\n{host}tenants:\n  t:\n    networks: {{ main: {{ mode: nat, subnets: [10.0.1.0/24] }} }}\n    \
             workloads:\n      a: {{ address: [10.0.1.10], netns: {} }}\n{more}",
            self.adopted
        )
    }

    fn is_open(&self) -> bool {
        reaches(&self.stage.outside, MANAGED)
    }

    /// Applies a host part that lets nobody in; exit code and errors.
    fn lock_out(&self, name: &str, text: &str, within: &str) -> (Option<i32>, String) {
        let path = self.stage.lab.dir().join(name);
        fs::write(&path, text).expect("written");
        let path = path.display().to_string();
        let argv = ["up", &path, "--cut-connections", "--confirm-within", within];
        let done = self.stage.bulkhead.cli(&argv).expect("it runs");
        (done.code(), done.stderr)
    }

    fn host(&self) -> Value {
        self.stage.bulkhead.cli_json(&["status"]).expect("a status")["agent"]["host"].clone()
    }

    fn fill_the_disk(&self) -> PathBuf {
        let path = self.stage.bulkhead.folders().state.join("filler");
        let mut file = fs::File::create(&path).expect("a file");
        // Twice as much as it holds.
        let full = (0..32_768).any(|_| file.write_all(&[0; 4_096]).is_err());
        assert!(full, "it is no small disk");
        let _rest = (0..4_096).all(|_| file.write_all(&[0]).is_ok());
        path
    }
}

const NOBODY: &str = "host: { interfaces: [uplink] }\n";
const NOBODY_EITHER: &str = "host: { interfaces: [uplink], posture: { ingress: deny } }\npolicies:\n  \
                             never: { from: 192.0.2.1, to: host, allow: [1/tcp] }\n";

#[test]
fn a_full_disk_and_a_workload_that_breaks_its_namespace_hold_up_no_rollback_root() {
    root_or_return!(
        "a_full_disk_and_a_workload_that_breaks_its_namespace_hold_up_no_rollback_root"
    );
    let mut managed = Managed::new();
    assert_eq!(managed.lock_out("n.yaml", &managed.file(NOBODY, ""), "8s").0, Some(0));
    assert!(!managed.is_open(), "everybody is locked out");
    // Root of the workload's namespace puts something in the place of its link, which cannot be repaired.
    let obstacle =
        "link del eth0\nlink add eth0 address 02:62:68:00:00:63 type veth peer name obstacle";
    let inside = Namespace::open("a", Path::new(&managed.adopted)).expect("its namespace");
    inside.ip(obstacle).expect("an obstacle");
    let filler = managed.fill_the_disk();
    wait_until("the way back", BACK, || managed.is_open()).expect("it goes back");
    let host = managed.host();
    assert!(host["pending"].is_null() && host["reverted"].is_object(), "{host}");
    // It stays so, though nothing could be written, and is written down when there is room.
    let ledger = managed.stage.bulkhead.folders().state.join("host.json");
    fs::remove_file(filler).expect("there is room again");
    let written =
        || fs::read_to_string(&ledger).is_ok_and(|text| text.contains("\"pending\":null"));
    wait_until("what is remembered", BACK, written).expect("it is remembered");
    // And other changes can be made again, by the same agent.
    managed.stage.bulkhead.up(&managed.file("", "")).expect("applied");
    managed.stage.bulkhead.kill_agent().expect("killed");
    managed.stage.bulkhead.start_agent().expect("the agent starts again");
    assert!(managed.is_open());
}

#[test]
fn a_change_that_fails_while_another_waits_leaves_that_one_waiting_root() {
    root_or_return!("a_change_that_fails_while_another_waits_leaves_that_one_waiting_root");
    let mut managed = Managed::new();
    assert_eq!(managed.lock_out("n.yaml", &managed.file(NOBODY, ""), "15s").0, Some(0));
    let (space, path) = managed.stage.adopted("c");
    space
        .ip("link add eth0 address 02:62:68:00:00:63 type veth peer name obstacle")
        .expect("an obstacle");
    let more = format!("      c: {{ address: [10.0.1.30], netns: {path} }}\n");
    let (code, said) = managed.lock_out("m.yaml", &managed.file(NOBODY_EITHER, &more), "10m");
    assert!(code == Some(1) && said.contains("BH0210"), "{said}");
    let host = managed.host();
    assert_eq!(host["pending"]["guarded"], true, "the one before waits, and is waited for: {host}");
    wait_until("the way back", BACK, || managed.is_open()).expect("it goes back");
}

#[test]
fn a_disk_that_is_full_takes_nobody_off_who_waits_for_a_deadline_root() {
    root_or_return!("a_disk_that_is_full_takes_nobody_off_who_waits_for_a_deadline_root");
    let mut managed = Managed::new();
    assert_eq!(managed.lock_out("n.yaml", &managed.file(NOBODY, ""), "20s").0, Some(0));
    let filler = managed.fill_the_disk();
    let (code, said) = managed.lock_out("m.yaml", &managed.file(NOBODY_EITHER, ""), "10m");
    assert_eq!(code, Some(1), "it cannot be written down: {said}");
    assert_eq!(managed.host()["pending"]["guarded"], true, "the one before is waited for");
    // Nobody but that process is left.
    managed.stage.bulkhead.kill_agent().expect("killed");
    fs::remove_file(filler).expect("there is room again");
    wait_until("the way back", BACK, || managed.is_open()).expect("it goes back");
}

#[test]
fn the_uplink_of_the_host_is_no_workloads_port_root() {
    root_or_return!("the_uplink_of_the_host_is_no_workloads_port_root");
    let managed = Managed::new();
    let path = managed.stage.lab.dir().join("port.yaml");
    let text = "bulkhead: 1\ntenants:\n  t:\n    networks: { lan: { external: { bridge: br9 }, subnets: [10.99.0.0/24] } }\n    \
                workloads:\n      a: { port: { interface: uplink, mac: \"02:00:00:00:00:01\" }, address: [10.99.0.10] }\n";
    fs::write(&path, text).expect("written");
    let done = managed.stage.bulkhead.cli(&["up", &path.display().to_string()]).expect("it runs");
    assert_eq!(done.code(), Some(1), "{done:?}");
    assert!(done.stderr.contains("carries a default route of this host"), "{}", done.stderr);
    assert!(managed.is_open());
}

#[test]
fn a_namespace_with_the_number_of_one_that_went_can_be_attached_at_once_root() {
    root_or_return!("a_namespace_with_the_number_of_one_that_went_can_be_attached_at_once_root");
    let stage = Stage::new();
    let file = "bulkhead: 1\ntenants:\n  t:\n    networks: { pods: { mode: nat, subnets: [10.88.7.0/24], attach: true } }\n";
    stage.bulkhead.up(file).expect("applied");
    let name = |what: &str| format!("{}-{what}", stage.lab.prefix());
    let path = |what: &str| PathBuf::from(format!("/run/netns/{}", name(what)));
    let number = |what: &str| fs::metadata(path(what)).expect("a namespace").ino();
    let add = |what: &str| stage.host.check(&["ip", "netns", "add", &name(what)]).expect("made");
    let delete = |what: &str| stage.host.check(&["ip", "netns", "del", &name(what)]).expect("gone");
    let attach = |what: &str| {
        let at = path(what).display().to_string();
        stage
            .bulkhead
            .cli(&["attach", &at, "--network", "t/pods", "--name", what])
            .expect("it runs")
    };
    let (mut numbers, mut again) = (BTreeSet::new(), 0);
    for n in 0..TRIES {
        let what = format!("x{n}");
        add(&what);
        again += usize::from(!numbers.insert(number(&what)));
        let done = attach(&what);
        // Its runtime was killed: nobody says that it ended.
        delete(&what);
        assert_eq!(done.code(), Some(0), "{done:?}");
        if again > 2 {
            break;
        }
    }
    println!("namespaces with the number of one that went: {again}");
}

/// Two adopted workloads, `t/a` and `t/b`, and a rule between them that ends.
struct Ending {
    _service: Vec<TcpEcho>,
    a: Namespace,
    stage: Stage,
}

/// How long the rule holds; it must be in force before that.
const HOLDS: SignedDuration = SignedDuration::from_secs(20);
const SERVICE: &str = "10.0.1.20:80";

impl Ending {
    /// With a network of this mode, and more workloads.
    fn new(mode: &str, beside: &[&str]) -> (Self, Vec<Namespace>) {
        let mut stage = Stage::new();
        let (a, path) = stage.adopted("a");
        let (b, other) = stage.adopted("b");
        let until = jiff::Timestamp::now() + HOLDS;
        let mut text = format!(
            "bulkhead: 1\ntenants:\n  t:\n    networks: {{ main: {{ mode: {mode}, subnets: [10.0.1.0/24] }} }}\n    \
             policies:\n      use: {{ from: app=a, to: app=b, allow: [80/tcp], until: \"{until:.0}\" }}\n    workloads:\n      \
             a: {{ address: [10.0.1.10], labels: {{ app: a }}, netns: {path} }}\n      \
             b: {{ address: [10.0.1.20], labels: {{ app: b }}, netns: {other} }}\n"
        );
        let spaces = beside.iter().map(|name| {
            let (space, at) = stage.adopted(name);
            text += &format!("      {name}: {{ netns: {at} }}\n");
            space
        });
        let spaces = spaces.collect();
        stage.bulkhead.up(&text).expect("applied");
        let service = serve(&b, "10.0.1.20", &[80]);
        assert!(reaches(&a, SERVICE), "it holds yet");
        (Self { _service: service, a, stage }, spaces)
    }

    /// Waits until the rule has ended.
    fn ends(&self) {
        let within = HOLDS.unsigned_abs() + BACK / 2;
        let ended = wait_until("the end", within, || !reaches(&self.a, SERVICE));
        ended.unwrap_or_else(|_| panic!("it holds beyond its end: {}", self.stage.bulkhead.log()));
    }
}

#[test]
fn a_workload_that_breaks_its_namespace_keeps_no_rule_beyond_its_end_root() {
    root_or_return!("a_workload_that_breaks_its_namespace_keeps_no_rule_beyond_its_end_root");
    let (ending, broken) = Ending::new("nat", &["c"]);
    let obstacle =
        "link del eth0\nlink add eth0 address 02:62:68:00:00:63 type veth peer name obstacle";
    broken[0].ip(obstacle).expect("an obstacle");
    ending.ends();
}

#[test]
fn who_gives_the_host_an_address_keeps_no_rule_beyond_its_end_root() {
    root_or_return!("who_gives_the_host_an_address_keeps_no_rule_beyond_its_end_root");
    let (ending, _) = Ending::new("routed", &[]);
    // As a router on the link could, by its advertisements: the file means nothing with it any more.
    ending.stage.host.ip("addr add 10.0.1.99/32 dev uplink").expect("an address");
    ending.ends();
}

#[test]
fn an_agent_that_starts_again_enforces_though_somebody_gave_the_host_an_address_root() {
    root_or_return!(
        "an_agent_that_starts_again_enforces_though_somebody_gave_the_host_an_address_root"
    );
    let (mut ending, _) = Ending::new("routed", &[]);
    ending.stage.bulkhead.kill_agent().expect("killed");
    ending.stage.host.ip("addr add 10.0.1.99/32 dev uplink").expect("an address");
    ending.stage.bulkhead.start_agent().expect("the agent starts again");
    let status = ending.stage.bulkhead.cli_json(&["status"]).expect("a status");
    assert_eq!(status["workloads"].as_array().map(Vec::len), Some(2), "{status}");
    ending.ends();
}

#[test]
fn who_asks_without_a_pause_keeps_no_rule_beyond_its_end_root() {
    root_or_return!("who_asks_without_a_pause_keeps_no_rule_beyond_its_end_root");
    let (ending, _) = Ending::new("nat", &[]);
    let socket = ending.stage.bulkhead.socket();
    let body =
        serde_json::json!({ "source": { "name": "a.yaml", "text": "bulkhead: 1\n" } }).to_string();
    let over = AtomicBool::new(false);
    let asked = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..ASKERS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let (status, _) = ask(&socket, "POST", "/v1/plan", body.as_bytes());
                    asked.fetch_add(usize::from(status == 200), Ordering::Relaxed);
                }
            });
        }
        let ended = std::panic::catch_unwind(AssertUnwindSafe(|| ending.ends()));
        over.store(true, Ordering::Relaxed);
        ended.unwrap_or_else(|why| std::panic::resume_unwind(why));
    });
    println!("plans meanwhile: {}", asked.load(Ordering::Relaxed));
}
