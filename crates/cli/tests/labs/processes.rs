//! What each process may do: `SECURITY.md` says it in a table, the kernel says it in `/proc/<pid>/status`, and both have to
//! agree.

use std::collections::BTreeMap;

use serde_json::Value;
use testkit::{root_or_return, wait_for};

use crate::stage::{SOON, Stage};

const SECURITY: &str = include_str!("../../../../SECURITY.md");
/// The line before the table.
const HEADER: &str =
    "| process | user | capabilities | bounding set | `NoNewPrivs` | `Seccomp` | threads |";

const FILE: &str = "bulkhead: 1
tenants:
  t:
    networks:
      main: { subnets: [10.0.1.0/24] }
    workloads:
      plain: { address: [10.0.1.10], run: [sleep, \"3600\"] }
      rooted: { address: [10.0.1.11], user: root, run: [sleep, \"3600\"] }
";

/// The rows of the table by process.
fn rows() -> BTreeMap<&'static str, Vec<&'static str>> {
    let (_, table) = SECURITY.split_once(HEADER).expect("the table is there");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect());
    cells.map(|cells: Vec<_>| (cells[0], cells[1..].to_vec())).collect()
}

/// A process's status by name.
fn status(pid: u64) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    parsed(&text)
}

fn parsed(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.split_once(":\t"));
    lines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

fn number(status: &BTreeMap<String, String>, name: &str) -> u64 {
    status[name].split_whitespace().next().and_then(|word| word.parse().ok()).expect("a number")
}

/// What the kernel shows, in the words of the table; `given` is the process that started the agent.
fn shown(status: &BTreeMap<String, String>, row: &[&str]) -> Vec<String> {
    let given = parsed(&std::fs::read_to_string("/proc/self/status").expect("ourselves"));
    let set = |name: &str| {
        let bits = u64::from_str_radix(&status[name], 16).expect("a set of capabilities");
        bits.count_ones().to_string()
    };
    let ids: Vec<&str> = status["Uid"].split_whitespace().collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "one user in every role: {ids:?}");
    let mut words = vec![if ids[0] == "0" { "root" } else { "own" }.to_owned()];
    words.extend([set("CapEff"), set("CapBnd")]);
    words.extend(["NoNewPrivs", "Seccomp", "Threads"].map(|name| status[name].clone()));
    let keys = ["Uid", "CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Threads"];
    for ((word, key), wanted) in words.iter_mut().zip(keys).zip(row) {
        if *wanted == "as given" && status[key] == given[key] || *wanted == "any" {
            (*wanted).clone_into(word);
        }
    }
    assert_eq!(status["CapPrm"], status["CapEff"], "nothing in reserve");
    words
}

/// Descriptors of a process that are sockets.
fn sockets(pid: u64) -> usize {
    let entries = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
    let targets = entries.flatten().filter_map(|entry| std::fs::read_link(entry.path()).ok());
    targets.filter(|to| to.to_string_lossy().starts_with("socket:")).count()
}

fn init_of(stage: &Stage, id: &str) -> Option<u64> {
    let status = stage.bulkhead.cli_json(&["status"]).ok()?;
    let is_it = |each: &&Value| each["id"] == id && each["state"] == "running";
    status["workloads"].as_array()?.iter().find(is_it)?["pid"].as_u64()
}

fn child_of(pid: u64) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

#[test]
fn processes_may_do_what_the_table_says_root() {
    root_or_return!("processes_may_do_what_the_table_says_root");
    let stage = Stage::new();
    stage.bulkhead.up(FILE).expect("applied");
    let running = |id: &str| {
        let found = wait_for("the workload", SOON, || init_of(&stage, id));
        let init = found.expect("it runs");
        let program = wait_for("its program", SOON, || child_of(init)).expect("a child");
        (init, program)
    };
    let (init, program) = running("t.plain");
    let (_, rooted) = running("t.rooted");
    let shim = number(&status(init), "PPid");
    let agent = u64::from(stage.bulkhead.pid().expect("an agent"));
    let entered = stage.bulkhead.cli(&["exec", "t/plain", "--", "cat", "/proc/self/status"]);
    let entered = parsed(&entered.expect("exec runs").stdout);

    let rows = rows();
    let mut compared = 0;
    for (name, status) in [
        ("agent", status(agent)),
        ("shim", status(shim)),
        ("init", status(init)),
        ("program", status(program)),
        ("program with `user: root`", status(rooted)),
        ("command of `exec`", entered),
    ] {
        let row = rows.get(name).unwrap_or_else(|| panic!("{name} has no row: {rows:?}"));
        assert_eq!(shown(&status, row), *row, "{name}: {status:?}");
        compared += 1;
    }
    assert_eq!(compared, rows.len(), "every row is compared: {rows:?}");

    // "Open sockets" and "listen on a network address" are among what they do not.
    assert_eq!(sockets(shim), 0, "the supervisor has no socket");
    for table in ["tcp", "tcp6", "udp", "udp6", "raw", "raw6"] {
        let text = std::fs::read_to_string(format!("/proc/{agent}/net/{table}")).expect("a table");
        assert_eq!(text.lines().count(), 1, "nobody on this host listens on {table}: {text}");
    }
}
