//! `bulkhead exec` from a caller who has the host's root folder open: the workload does not get at it.

use std::process::Command;
use std::time::Duration;

use testkit::{root_or_return, run_with_deadline, wait_for};

use crate::stage::{SOON, Stage};

const FILE: &str = "bulkhead: 1
tenants:
  t:
    networks:
      main: { subnets: [10.0.1.0/24] }
    workloads:
      plain: { address: [10.0.1.10], run: [sleep, \"3600\"] }
      rooted: { address: [10.0.1.11], user: root, run: [sleep, \"3600\"] }
";

/// What the command could get at, and a file of the host that only root reads.
const LOOK: &str =
    "ls /proc/self/fd; cat /proc/[0-9]*/fd/9/etc/hostname /proc/self/fd/9/../etc/hostname; id -u";

/// Standard output of `exec` with the host's root as descriptor 9.
fn seen(stage: &Stage, argv: &[&str]) -> String {
    let inner = stage.bulkhead.command_line(&[&["exec"], argv].concat());
    let mut shell = Command::new("sh");
    shell.args(["-c", "exec 9</; exec \"$@\"", "sh"]);
    shell.arg(inner.get_program()).args(inner.get_args());
    let done = run_with_deadline(&mut shell, None, Duration::from_secs(20)).expect("it runs");
    assert!(done.stderr.contains("hostname"), "{done:?}");
    done.stdout
}

#[test]
fn nobody_inside_gets_at_what_the_caller_has_open_root() {
    root_or_return!("nobody_inside_gets_at_what_the_caller_has_open_root");
    let stage = Stage::new();
    stage.bulkhead.up(FILE).expect("applied");
    for (argv, uid) in [
        (&["t/plain", "--", "sh", "-c", LOOK] as &[&str], None),
        (&["t/rooted", "--", "sh", "-c", LOOK], Some("0")),
        (&["--user", "root", "t/plain", "--", "sh", "-c", LOOK], Some("0")),
    ] {
        let look = || stage.bulkhead.cli(&["exec", argv[argv.len() - 5], "--", "true"]).ok();
        wait_for("the workload", SOON, || look().filter(|done| done.status.success()))
            .expect("it runs");
        let seen = seen(&stage, argv);
        let mut lines: Vec<&str> = seen.lines().collect();
        let id = lines.pop().expect("its user");
        assert!(uid.is_none_or(|uid| uid == id), "{seen}");
        // The three streams, and the folder that `ls` reads.
        assert_eq!(lines, ["0", "1", "2", "3"], "{argv:?}");
    }
}
