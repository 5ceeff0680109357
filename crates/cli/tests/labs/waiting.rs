//! Who waits for the deadline of the host's own policy, and who may confirm it: a console counts and is told what it does not prove; whoever is
//! killed or hangs, the way back opens.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use testkit::server::TcpEcho;
use testkit::{Proc, root_or_return, wait_for, wait_until};

use crate::stage::{HOST, Stage, reaches, serve};

/// Most time for a program to do what it is asked.
const DONE: Duration = Duration::from_secs(30);
/// Most time between a deadline and the way being open again.
const BACK: Duration = Duration::from_secs(40);
/// What the process that waits tries for before it takes the programs off the uplinks, and what it may take after that.
const MINUTE: Duration = Duration::from_mins(1);
const MANAGED: &str = "198.51.100.2:22";
/// Nobody is let in.
const NOBODY: &str = "bulkhead: 1\nhost: { interfaces: uplink }\n";

/// A host that is managed at port 22.
struct Host {
    _service: Vec<TcpEcho>,
    stage: Stage,
}

impl Host {
    fn new() -> Self {
        let stage = Stage::new();
        Self { _service: serve(&stage.host, HOST, &[22]), stage }
    }

    fn is_open(&self) -> bool {
        reaches(&self.stage.outside, MANAGED)
    }

    /// A file that lets nobody in.
    fn nobody(&self) -> String {
        let path = self.stage.lab.dir().join("nobody.yaml");
        fs::write(&path, NOBODY).expect("written");
        path.display().to_string()
    }

    /// Locks everybody out for a time.
    fn lock_out(&self, within: &str) {
        let argv = ["up", &self.nobody(), "--cut-connections", "--confirm-within", within];
        let done = self.stage.bulkhead.cli(&argv).expect("it runs");
        assert_eq!(done.code(), Some(0), "{done:?}");
        assert!(!self.is_open());
    }

    fn status(&self) -> Value {
        self.stage.bulkhead.cli_json(&["status"]).expect("a status")["agent"]["host"].clone()
    }

    /// The process that waits for the deadline: the only one of its kind with these folders.
    fn dead_man(&self) -> Option<Pid> {
        let state = self.stage.bulkhead.folders().state.display().to_string();
        let all = fs::read_dir("/proc").expect("processes").flatten();
        all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()).find_map(|pid| {
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
            let words: Vec<&str> = line.split('\0').collect();
            let is_one = words.contains(&"dead-man") && words.contains(&state.as_str());
            Pid::from_raw(pid).filter(|_| is_one)
        })
    }

    fn kill_dead_man(&self) -> Pid {
        let pid = self.dead_man().expect("somebody waits");
        kill_process(pid, Signal::KILL).expect("killed");
        let gone = || self.dead_man() != Some(pid);
        wait_until("its end", DONE, gone).expect("it ends");
        pid
    }

    /// What is told of going back: the hooks come first, what is remembered and told a moment later.
    fn went_back(&self) {
        let told = || self.status()["pending"].is_null();
        let told = wait_until("an agent that has gone back", DONE, told);
        let host = self.status();
        assert!(told.is_ok(), "{host}");
        assert_eq!(host["reverted"]["why"], "nobody confirmed it in time", "{host}");
    }
}

/// Virtual terminals that nobody sits at, the last ones first.
fn terminals() -> impl Iterator<Item = (String, PathBuf)> {
    let named = |number| format!("tty{number}");
    (20..=63).rev().map(named).map(|name| (name.clone(), PathBuf::from("/dev").join(name)))
}

/// Runs a command at a virtual terminal of this machine: its terminal, its name, how it ended.
fn at_console(host: &Host, argv: &[&str]) -> (String, Option<i32>, String) {
    for (name, path) in terminals().filter(|(_, path)| path.exists()) {
        let line = host.stage.bulkhead.command_line(argv);
        let mut command = Command::new("sh");
        // A session of its own with this terminal; it fails when another session has it.
        command.args(["-c", "t=$1; shift; exec setsid --ctty --wait \"$@\" <> \"$t\"", "sh"]);
        command.arg(path).arg(line.get_program()).args(line.get_args());
        let mut run: Proc = host.stage.host.spawn(&mut command).expect("setsid");
        assert!(run.wait_exit(DONE).expect("watched"), "{:?}", run.output_so_far());
        let done = run.stop(Duration::ZERO).expect("ended");
        if !done.stderr.contains("setsid:") {
            return (name, done.code(), format!("{}{}", done.stdout, done.stderr));
        }
    }
    panic!("no virtual terminal of this machine is free")
}

#[test]
fn who_sits_at_a_console_confirms_and_is_told_what_that_does_not_prove_root() {
    root_or_return!("who_sits_at_a_console_confirms_and_is_told_what_that_does_not_prove_root");
    let host = Host::new();
    let file = host.nobody();
    let (name, code, said) = at_console(&host, &["up", &file, "--confirm-within", "5m"]);
    assert_eq!(code, Some(0), "{said}");
    let console = format!("over the console {name} and goes back in ");
    assert!(said.contains(&console) && said.contains("at a console of this machine"), "{said}");
    assert!(!host.is_open());
    // Neither a job nor somebody with a terminal of a program sits at the machine.
    let apart = host.stage.bulkhead.cli(&["confirm"]).expect("it runs");
    assert_eq!(apart.code(), Some(1), "{apart:?}");
    let line = host.stage.bulkhead.command_line(&["confirm"]);
    let words: Vec<&str> = [line.get_program()]
        .into_iter()
        .chain(line.get_args())
        .map(|word| word.to_str().expect("UTF-8"))
        .collect();
    let inside = ["script", "-qec", &words.join(" "), "/dev/null"];
    let inside = host.stage.host.command(&inside).expect("script of util-linux");
    assert_eq!(inside.code(), Some(1), "{inside:?}");
    assert!(inside.stdout.contains("at no console"), "{inside:?}");

    let (name, code, said) = at_console(&host, &["confirm"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("confirmed:") && said.contains(&format!("at {name}: ")), "{said}");
    assert!(said.contains("is not proven"), "{said}");
    let told = host.status();
    assert!(told["pending"].is_null() && told["confirmed"].is_string(), "{told}");
    assert_eq!(told["confirmed_at"], name.as_str(), "{told}");
    wait_until("the end of who waited", DONE, || host.dead_man().is_none()).expect("it ends");
    assert!(!host.is_open(), "it stays");
    // There is nothing more to confirm, and that is told.
    let (_, code, said) = at_console(&host, &["confirm"]);
    assert!(code == Some(1) && said.contains("BH0251"), "{said}");
}

#[test]
fn another_one_waits_when_the_process_that_waits_is_killed_root() {
    root_or_return!("another_one_waits_when_the_process_that_waits_is_killed_root");
    let host = Host::new();
    host.lock_out("25s");
    let killed = host.kill_dead_man();
    let another = || host.dead_man().filter(|pid| *pid != killed);
    wait_for("another one", DONE, another).expect("it is started");
    let guarded = || host.status()["pending"]["guarded"] == true;
    wait_until("that it is told", DONE, guarded).expect("it is told");
    wait_until("the way back", BACK, || host.is_open()).expect("it goes back");
    host.went_back();
}

#[test]
fn it_goes_back_with_the_next_agent_when_both_are_killed_root() {
    root_or_return!("it_goes_back_with_the_next_agent_when_both_are_killed_root");
    let mut host = Host::new();
    // In the window: the next agent waits again, and has another one wait.
    host.lock_out("20s");
    host.stage.bulkhead.kill_agent().expect("killed");
    host.kill_dead_man();
    host.stage.bulkhead.start_agent().expect("an agent again");
    let told = host.status();
    assert_eq!(told["pending"]["guarded"], true, "{told}");
    assert!(!host.is_open(), "the window is not over");
    wait_until("the way back", BACK, || host.is_open()).expect("it goes back");
    host.went_back();
    // After the window: the next agent begins with what was confirmed.
    host.lock_out("5s");
    let applied = Instant::now();
    host.stage.bulkhead.kill_agent().expect("killed");
    host.kill_dead_man();
    wait_until("the end of the window", DONE, || applied.elapsed() > Duration::from_secs(6))
        .expect("it ends");
    assert!(!host.is_open(), "nobody is there to bring it back");
    host.stage.bulkhead.start_agent().expect("an agent again");
    assert!(host.is_open(), "an agent that serves has it back");
    host.went_back();
}

#[test]
fn the_uplinks_are_let_go_when_nothing_else_works_for_a_minute_root() {
    root_or_return!("the_uplinks_are_let_go_when_nothing_else_works_for_a_minute_root");
    let host = Host::new();
    host.lock_out("5s");
    let applied = Instant::now();
    // It hangs with the folders' lock and the links in its hands: neither it nor another one can bring it back.
    let agent = host.stage.bulkhead.pid().expect("an agent");
    let agent = Pid::from_raw(i32::try_from(agent).expect("a number")).expect("a process");
    kill_process(agent, Signal::STOP).expect("stopped");
    let opened = wait_until("the way back", MINUTE + BACK, || host.is_open());
    let took = applied.elapsed();
    println!(
        "host policy: agent hangs, uplinks let go {:.0} s after a window of 5 s",
        took.as_secs_f64()
    );
    if opened.is_err() {
        kill_process(agent, Signal::CONT).expect("goes on");
        panic!("the hooks stay: {}", host.stage.bulkhead.log());
    }
    assert!(took > MINUTE, "it tries to bring back what was confirmed first: {took:?}");
    kill_process(agent, Signal::CONT).expect("goes on");
    host.went_back();
    wait_until("the end of who waited", DONE, || host.dead_man().is_none()).expect("it ends");
    assert!(host.is_open());
}
