//! `bulkhead exec` from a caller who has the host's root folder open, or a terminal: the workload gets at neither.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use testkit::{Proc, root_or_return, run_with_deadline, wait_for, wait_until};

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

#[test]
fn a_command_ends_with_who_asked_for_it_root() {
    root_or_return!("a_command_ends_with_who_asked_for_it_root");
    let stage = Stage::new();
    stage.bulkhead.up(FILE).expect("applied");
    let look = |text: &str| {
        let done = stage.bulkhead.cli(&["exec", "t/plain", "--", "sh", "-c", text]).ok();
        done.filter(|done| done.status.success())
    };
    wait_for("the workload", SOON, || look("true")).expect("it runs");
    for signal in [Signal::KILL, Signal::TERM] {
        let argv = ["exec", "t/plain", "--", "sh", "-c", "echo begun; exec sleep 3210"];
        let mut exec = stage.bulkhead.command_line(&argv);
        let mut exec = Proc::spawn(&mut exec, None).expect("it runs");
        let begun = || exec.output_so_far().is_ok_and(|(out, _)| out == "begun\n");
        wait_until("the command", SOON, begun).expect("it begins");
        let pid = Pid::from_raw(exec.pid().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("ended");
        assert!(exec.wait_exit(SOON).expect("watched"));
        wait_for("its end", SOON, || look("! grep -qs 321[0] /proc/[0-9]*/cmdline"))
            .unwrap_or_else(|_| panic!("{signal:?}: it goes on"));
    }
}

/// At a terminal of 11 lines: what that terminal is, what the command has in its place, and a size that changes meanwhile.
const AT_A_TERMINAL: &str = r#"
stty rows 11 cols 22
echo "outer $(stat -L -c %t:%T /dev/stdin)"
"$@" exec t/plain -- sh -c 'echo "inner $(stat -L -c %t:%T /dev/stdin)"; stty size; exit 7'
echo "code $?"
stty -a | grep -q -w -- -icanon || echo "as before"
"$@" exec t/plain -- sh -c 'test -c /dev/tty && ! true </dev/tty && echo "no terminal"' </dev/null 2>&1 | cat
tty=$(tty)
while stty -F "$tty" rows 33 cols 44 && stty -F "$tty" rows 55 cols 66; do :; done 2>/dev/null &
changing=$!
"$@" exec t/plain -- sh -c 'for size in "33 44" "55 66" "33 44"; do until [ "$(stty size)" = "$size" ]; do :; done; done; echo followed'
kill $changing
"#;

#[test]
fn a_command_at_a_terminal_has_one_of_its_own_root() {
    root_or_return!("a_command_at_a_terminal_has_one_of_its_own_root");
    let stage = Stage::new();
    stage.bulkhead.up(FILE).expect("applied");
    let look = || stage.bulkhead.cli(&["exec", "t/plain", "--", "true"]).ok();
    wait_for("the workload", SOON, || look().filter(|done| done.status.success()))
        .expect("it runs");
    let line = stage.bulkhead.command_line(&[]);
    let words = std::iter::once(line.get_program()).chain(line.get_args());
    let words: Vec<String> = words.map(|word| format!("'{}'", word.to_string_lossy())).collect();
    let path = stage.lab.dir().join("at-a-terminal");
    std::fs::write(&path, AT_A_TERMINAL).expect("a script");
    let mut script = Command::new("script");
    let inner = format!("sh {} {}", path.display(), words.join(" "));
    script.args(["-q", "-e", "-c", &inner, "/dev/null"]);
    let done = run_with_deadline(&mut script, None, Duration::from_secs(40)).expect("it ends");
    let shown = |start: &str| {
        let line = done.stdout.lines().find_map(|line| line.trim_end().strip_prefix(start));
        line.unwrap_or_else(|| panic!("no line with {start:?}: {done:?}")).to_owned()
    };
    assert_ne!(shown("outer "), shown("inner "), "another terminal");
    assert_eq!((shown("11 22"), shown("code ")), (String::new(), "7".to_owned()));
    assert_eq!((shown("as before"), shown("followed")), (String::new(), String::new()));
    assert_eq!(shown("no terminal"), "", "though none of its streams is the caller's terminal");
}
