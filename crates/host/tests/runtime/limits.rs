//! What a workload may use.

use host::linux::runtime::{Limits, Phase, Spec, Tmpfs};

use super::Test;
use super::lab::{Lab, run, status, until_phase};

pub(crate) const TESTS: &[Test] = &[
    ("processes_are_bounded_root", processes_are_bounded),
    ("memory_is_bounded_root", memory_is_bounded),
    ("processors_are_bounded_root", processors_are_bounded),
    ("private_files_are_bounded_root", private_files_are_bounded),
];

fn processes_are_bounded() {
    let lab = Lab::new();
    let script = "for i in $(seq 40); do sleep 600 & done; echo not reached";
    let spec = lab.spec("bomb", &["sh", "-c", script]);
    let lines = run(&lab, &Spec { limits: Limits { pids: Some(20), ..Limits::default() }, ..spec });
    assert!(!lines.contains(&"not reached".to_owned()), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("fork")), "{lines:?}");
    let handle = lab.start(&lab.spec("plain", &["sleep", "600"]));
    assert_eq!(status(&handle).phase, Phase::Running);
    assert_eq!(lab.cgroup_of("plain", "pids.max").as_deref(), Some("4096\n"));
}

fn memory_is_bounded() {
    let lab = Lab::new();
    // `tail` keeps what has no line end.
    let spec = lab.spec("glutton", &["tail", "/dev/zero"]);
    let limits = Limits { memory_bytes: Some(32 << 20), ..Limits::default() };
    let handle = lab.start(&Spec { limits, ..spec });
    let ended = until_phase(&handle, Phase::Exited);
    let exit = ended.last_exit.expect("it ended");
    assert!(exit.signal == Some(9) || exit.code == Some(1), "killed, or refused memory: {exit:?}");
}

fn processors_are_bounded() {
    let lab = Lab::new();
    let limits = Limits { cpu_milli: Some(500), ..Limits::default() };
    let handle = lab.start(&Spec { limits, ..lab.spec("half", &["sleep", "600"]) });
    assert_eq!(status(&handle).phase, Phase::Running);
    let old = lab.cgroup_of("half", "cpu.cfs_quota_us");
    let new = lab.cgroup_of("half", "cpu.max");
    assert!(old.as_deref() == Some("50000\n") || new.as_deref() == Some("50000 100000\n"));
}

fn private_files_are_bounded() {
    let lab = Lab::new();
    let tmpfs = Tmpfs { tmp_bytes: 1 << 20, ..Tmpfs::default() };
    let spec =
        lab.spec("writer", &["sh", "-c", "head -c 2M /dev/zero > /tmp/x; stat -c %s /tmp/x"]);
    let lines = run(&lab, &Spec { tmpfs, ..spec });
    assert!(lines.contains(&"1048576".to_owned()), "{lines:?}");
}
