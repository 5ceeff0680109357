//! Starting, restarting, adopting, stopping.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use host::linux::runtime::{self, Error, Phase, Restart, Spec};

use super::Test;
use super::lab::{Lab, exe, exec, output, status, until, until_phase};

pub(crate) const TESTS: &[Test] = &[
    ("restart_policies_root", restart_policies),
    ("missing_programs_are_named_root", missing_programs_are_named),
    ("a_missing_network_is_named_root", a_missing_network_is_named),
    ("a_program_that_comes_later_is_started_root", a_program_that_comes_later_is_started),
    ("stop_asks_first_root", stop_asks_first),
    ("stop_kills_daemons_root", stop_kills_daemons),
    ("stop_ends_a_pause_root", stop_ends_a_pause),
    ("workloads_outlive_the_agent_root", workloads_outlive_the_agent),
    ("workloads_die_with_their_supervisor_root", workloads_die_with_their_supervisor),
    ("a_killed_init_is_a_failure_root", a_killed_init_is_a_failure),
    ("a_forgotten_workload_ends_root", a_forgotten_workload_ends),
    ("a_workload_runs_once_root", a_workload_runs_once),
    ("orphans_are_reaped_root", orphans_are_reaped),
    ("exec_is_confined_root", exec_is_confined),
    ("nothing_is_left_behind_root", nothing_is_left_behind),
    ("damaged_folders_are_reported_root", damaged_folders_are_reported),
];

fn restart_policies() {
    let lab = Lab::new();
    let restart = |name, policy, script| {
        let spec = lab.spec(name, &["sh", "-c", script]);
        lab.start(&Spec { restart: policy, ..spec })
    };
    let never = restart("never", Restart::No, "exit 3");
    let status_of_never = until_phase(&never, Phase::Exited);
    assert_eq!(status_of_never.last_exit.and_then(|exit| exit.code), Some(3));
    assert_eq!(status_of_never.restarts, 0);
    let fine = restart("fine", Restart::OnFailure, "exit 0");
    assert_eq!(until_phase(&fine, Phase::Exited).restarts, 0);
    let failing = restart("failing", Restart::OnFailure, "kill -9 $$");
    let seen = until("two restarts", || Some(status(&failing)).filter(|now| now.restarts >= 2));
    assert_eq!(seen.last_exit.map(|exit| (exit.code, exit.signal)), Some((None, Some(9))));
    let always = restart("always", Restart::Always, "exit 0");
    until("two restarts", || Some(status(&always)).filter(|now| now.restarts >= 2));
    let steady = restart("steady", Restart::OnFailure, "exec sleep 600");
    let now = status(&steady);
    assert_eq!((now.phase, now.restarts, now.error), (Phase::Running, 0, None));
    assert!(now.running_since_ms.is_some() && now.pid.is_some());
}

fn missing_programs_are_named() {
    let lab = Lab::new();
    let fault = |name, argv: &[&str]| {
        let handle = lab.start(&lab.spec(name, argv));
        until_phase(&handle, Phase::Failed).error.expect("a reason")
    };
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let expected = format!("`ngnix`: no such program in PATH; looked in {path}");
    assert_eq!(fault("typo", &["ngnix", "-g", "daemon off;"]), expected);
    let absent = "`/opt/no/such`: no such program in what a workload sees of the host";
    assert_eq!(fault("absent", &["/opt/no/such"]), absent);
    assert_eq!(fault("folder", &["/etc"]), "`/etc`: the workload's user may not run it");
    let spec = Spec { workdir: Some("/nowhere".into()), ..lab.spec("nowhere", &["true"]) };
    let handle = lab.start(&spec);
    let fault = until_phase(&handle, Phase::Failed).error.expect("a reason");
    assert_eq!(fault, "working directory /nowhere: No such file or directory (os error 2)");
}

fn a_missing_network_is_named() {
    let lab = Lab::new();
    let spec = Spec { netns: "/run/netns/no-such".into(), ..lab.spec("cut", &["true"]) };
    let handle = lab.start(&spec);
    let fault = until_phase(&handle, Phase::Failed).error.expect("a reason");
    assert!(fault.starts_with("joining network namespace /run/netns/no-such: "), "{fault}");
    // A file that is no network namespace is not taken for one.
    let spec = Spec { netns: "/proc/self/ns/mnt".into(), ..lab.spec("wrong", &["true"]) };
    let fault = until_phase(&lab.start(&spec), Phase::Failed).error.expect("a reason");
    assert!(fault.ends_with("Invalid argument (os error 22)"), "{fault}");
}

fn a_program_that_comes_later_is_started() {
    let lab = Lab::new();
    let data = lab.dirs.state.join("data/t.late");
    let spec = lab.spec("late", &["/data/late"]);
    let spec = Spec { restart: Restart::OnFailure, data: Some(data.clone()), ..spec };
    let handle = lab.start(&spec);
    let waiting = until_phase(&handle, Phase::Backoff);
    assert!(waiting.error.is_some() && waiting.next_start_ms.is_some());
    fs::copy("/bin/true", data.join("late")).expect("a free name");
    let ended = until_phase(&handle, Phase::Exited);
    assert_eq!((ended.error, ended.last_exit.and_then(|exit| exit.code)), (None, Some(0)));
}

fn stop_asks_first() {
    let lab = Lab::new();
    let script = "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.05; done";
    let handle = lab.start(&lab.spec("polite", &["sh", "-c", script]));
    until("the trap", || output(&handle).contains(&"up".to_owned()).then_some(()));
    let log = handle.spec().log.clone();
    runtime::stop(&handle, Duration::from_secs(20)).expect("it ends by itself");
    let mut reader = runtime::logs(&log, None).expect("the log stays");
    let lines = std::iter::from_fn(|| reader.next_line(Duration::ZERO).expect("readable"));
    assert!(lines.into_iter().any(|line| line.ends_with(" out bye")));
}

fn stop_kills_daemons() {
    let lab = Lab::new();
    let script =
        "trap '' TERM; setsid sh -c 'trap \"\" TERM; sleep 600 & sleep 600' & sleep 600; sleep 600";
    let handle = lab.start(&lab.spec("stubborn", &["sh", "-c", script]));
    // init, shell, session leader, its two sleeps, and the shell's sleep
    until("all processes", || (lab.processes().len() >= 6).then_some(()));
    let begun = Instant::now();
    runtime::stop(&handle, Duration::from_millis(200)).expect("it is killed");
    assert!(begun.elapsed() >= Duration::from_millis(200), "it had its grace");
    assert_eq!(lab.processes(), [0_u32; 0]);
    assert!(!lab.dirs.run.join("workloads/t.stubborn").exists());
}

fn stop_ends_a_pause() {
    let lab = Lab::new();
    let spec = Spec { restart: Restart::Always, ..lab.spec("pausing", &["false"]) };
    let handle = lab.start(&spec);
    until("a long pause", || (status(&handle).restarts >= 4).then_some(()));
    until_phase(&handle, Phase::Backoff);
    runtime::stop(&handle, Duration::from_secs(10)).expect("nothing runs");
}

fn workloads_outlive_the_agent() {
    let lab = Lab::new();
    let spec = lab.spec("steady", &["sleep", "600"]);
    let spec_text = serde_json::to_string(&spec).expect("encodable");
    let (run, state) = (&lab.dirs.run, &lab.dirs.state);
    let agent = Command::new(exe()).arg("agent").args([run, state]).arg(spec_text).status();
    assert_eq!(agent.expect("spawned").code(), None, "the agent was killed");
    let listing = runtime::list(&lab.dirs).expect("readable");
    assert!(listing.damaged.is_empty());
    let [handle] = listing.handles.as_slice() else { panic!("one workload: {listing:?}") };
    assert_eq!(handle.spec(), &spec);
    assert!(handle.is_supervised());
    let now = status(handle);
    assert_eq!(now.phase, Phase::Running);
    let pid = now.pid.expect("it runs");
    assert!(fs::exists(format!("/proc/{pid}")).expect("readable"));
    // Nothing of it hangs on the agent's session or on its open files.
    let shim = parent_of(pid);
    for fd in 0..3 {
        let target = fs::read_link(format!("/proc/{shim}/fd/{fd}")).expect("open");
        assert_eq!(target.to_str(), Some("/dev/null"), "stream {fd} of the supervisor");
    }
    runtime::stop(handle, Duration::from_secs(10)).expect("an adopted workload stops");
}

fn parent_of(pid: u32) -> u32 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).expect("a parent");
    line.parse().expect("a number")
}

fn workloads_die_with_their_supervisor() {
    let lab = Lab::new();
    let handle = lab.start(&lab.spec("orphan", &["sh", "-c", "sleep 600 & sleep 600"]));
    let shim = parent_of(status(&handle).pid.expect("it runs"));
    let shim = rustix::process::Pid::from_raw(i32::try_from(shim).expect("a pid")).expect("a pid");
    rustix::process::kill_process(shim, rustix::process::Signal::KILL).expect("allowed");
    let lost = until_phase(&handle, Phase::Lost);
    assert_eq!((lost.pid, lost.running_since_ms), (None, None));
    until("the end of its processes", || lab.processes().is_empty().then_some(()));
    let listing = runtime::list(&lab.dirs).expect("readable");
    assert_eq!(listing.handles.len(), 1, "the agent is told of it");
    // It may be started again at once.
    let again = lab.start(handle.spec());
    assert_eq!(status(&again).phase, Phase::Running);
}

fn a_killed_init_is_a_failure() {
    let lab = Lab::new();
    let spec = lab.spec("victim", &["sleep", "600"]);
    let handle = lab.start(&Spec { restart: Restart::OnFailure, ..spec });
    let first = status(&handle).pid.expect("it runs");
    let pid = rustix::process::Pid::from_raw(i32::try_from(first).expect("a pid")).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("allowed");
    let again = until("the restart", || {
        Some(status(&handle)).filter(|now| now.restarts == 1 && now.phase == Phase::Running)
    });
    assert_ne!(again.pid, Some(first));
    assert_eq!(again.last_exit.and_then(|exit| exit.signal), Some(9));
}

fn a_forgotten_workload_ends() {
    let lab = Lab::new();
    let spec = Spec { restart: Restart::Always, ..lab.spec("forgotten", &["sleep", "0.3"]) };
    let handle = lab.start(&spec);
    runtime::discard(&lab.dirs, handle.id()).expect("removable");
    until("the supervisor's end", || (!handle.is_supervised()).then_some(()));
    assert_eq!(lab.processes(), [0_u32; 0]);
    assert_eq!(lab.cgroups(), Vec::<std::path::PathBuf>::new());
}

fn a_workload_runs_once() {
    let lab = Lab::new();
    let spec = lab.spec("single", &["sleep", "600"]);
    let handle = lab.start(&spec);
    let error = runtime::start(&lab.dirs, &spec, &exe()).expect_err("it runs");
    assert!(matches!(error, Error::AlreadyRunning { .. }), "{error}");
    assert_eq!(status(&handle).phase, Phase::Running);
}

fn orphans_are_reaped() {
    let lab = Lab::new();
    let script = "for i in 1 2 3; do (sh -c 'true' &); done; sleep 0.2; echo ready; exec sleep 600";
    let handle = lab.start(&lab.spec("parent", &["sh", "-c", script]));
    until("the children's end", || output(&handle).contains(&"ready".to_owned()).then_some(()));
    let (code, zombies) = exec(&handle, &["sh", "-c", "grep -l '^State:.Z' /proc/[0-9]*/status"]);
    assert_eq!((code, zombies.as_str()), (Some(1), ""));
}

fn exec_is_confined() {
    let lab = Lab::new();
    let handle = lab.start(&lab.spec("cell", &["sleep", "600"]));
    assert_eq!(exec(&handle, &["sh", "-c", "exit 42"]), (Some(42), String::new()));
    assert_eq!(exec(&handle, &["sh", "-c", "kill -15 $$"]).0, Some(128 + 15));
    assert_eq!(exec(&handle, &["hostname"]), (Some(0), "cell".to_owned()));
    assert_eq!(exec(&handle, &["id", "-u"]), (Some(0), lab.user.uid.to_string()));
    assert_eq!(exec(&handle, &["pwd"]), (Some(0), "/data".to_owned()));
    let (code, text) = exec(&handle, &["no-such"]);
    assert_eq!(code, Some(127));
    assert!(text.starts_with("bulkhead: `no-such`: no such program in PATH"), "{text}");
    let script = "grep -E '^(CapEff|CapBnd|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\n'";
    let (_, caps) = exec(&handle, &["sh", "-c", script]);
    let zero = "0000000000000000";
    assert_eq!(caps, format!("CapEff:\t{zero}CapBnd:\t{zero}NoNewPrivs:\t1Seccomp:\t2"));
    let (_, pids) =
        exec(&handle, &["sh", "-c", "cat /proc/1/comm /proc/2/comm; cat /proc/self/cgroup"]);
    assert!(pids.contains("sleep"), "it sees the workload's processes: {pids}");
    assert!(!pids.contains("t.cell"), "its cgroup is the root of what it sees: {pids}");
    runtime::stop(&handle, Duration::ZERO).expect("it is killed");
    assert_eq!(exec(&handle, &["true"]).0, Some(125));
}

fn nothing_is_left_behind() {
    let look = || {
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("readable");
        mounts.lines().filter(|line| line.contains("t.clean")).count()
    };
    let lab = Lab::new();
    for _ in 0..5 {
        let handle = lab.start(&lab.spec("clean", &["sh", "-c", "sleep 600 & sleep 600"]));
        assert_eq!(status(&handle).phase, Phase::Running);
        assert!(!lab.cgroups().is_empty());
        runtime::stop(&handle, Duration::ZERO).expect("it is killed");
        assert_eq!(look(), 0, "mounts");
        assert_eq!(lab.cgroups(), Vec::<std::path::PathBuf>::new());
        assert_eq!(fs::read_dir(lab.dirs.run.join("workloads")).expect("stays").count(), 0);
    }
}

fn damaged_folders_are_reported() {
    let lab = Lab::new();
    let folder = lab.dirs.run.join("workloads/t.broken");
    fs::create_dir_all(&folder).expect("a free name");
    fs::write(folder.join("spec.json"), "{").expect("writable");
    fs::create_dir_all(lab.dirs.run.join("workloads/not an id")).expect("a free name");
    let listing = runtime::list(&lab.dirs).expect("readable");
    assert_eq!(listing.damaged.iter().map(|(id, _)| id.as_str()).collect::<Vec<_>>(), ["t.broken"]);
    runtime::discard(&lab.dirs, "t.broken").expect("removable");
    assert!(!folder.exists());
    assert!(runtime::discard(&lab.dirs, "../x").is_err());
}
