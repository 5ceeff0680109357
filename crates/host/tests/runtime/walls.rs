//! Ways out of a workload, each of them tried: what a caller of `exec` has open, kernel code that a socket would load.

use std::fs;
use std::process::Command;

use host::linux::runtime::{self, Exec};

use super::Test;
use super::lab::{Lab, exe, run};

pub(crate) const TESTS: &[Test] = &[
    ("what_the_caller_of_exec_has_open_stays_outside_root", what_the_caller_of_exec_has_open),
    ("a_folder_is_no_standard_stream_root", a_folder_is_no_standard_stream),
    ("sockets_load_no_kernel_code_root", sockets_load_no_kernel_code),
];

const NO_PROTOCOL: &str = "Protocol not supported (os error 93)";

/// The shell's list of what it has open, from a caller that has more open than it should.
const OPEN: &[&str] = &["sh", "-c", "echo /proc/self/fd/*"];

/// The command with `redirections` of a shell around it.
fn redirected(command: &Command, redirections: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {redirections}; exec \"$@\""), "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell
}

pub(crate) fn text(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).trim_end().to_owned())
}

pub(crate) fn request(argv: &[&str]) -> Exec {
    Exec { argv: argv.iter().map(|&arg| arg.to_owned()).collect(), ..Exec::default() }
}

fn what_the_caller_of_exec_has_open() {
    let lab = Lab::new();
    let handle = lab.start(&lab.spec("box", &["sleep", "600"]));
    let inside = runtime::command_in(&handle, &request(OPEN), &exe()).expect("encodable");
    let netns = lab.netns();
    let adopted = runtime::command_in_netns(&netns, &request(OPEN), &exe()).expect("encodable");
    for command in [inside, adopted] {
        let (code, open) = text(&mut redirected(&command, "8</etc 9</"));
        assert_eq!(code, Some(0), "{open}");
        let open: Vec<&str> = open.split(' ').collect();
        let standard = ["0", "1", "2"].map(|fd| format!("/proc/self/fd/{fd}"));
        assert!(standard.iter().all(|fd| open.contains(&fd.as_str())), "{open:?}");
        // The folder that the shell is listing is the fourth.
        assert!(open.len() <= 4, "{open:?}");
        assert!(!open.iter().any(|fd| fd.ends_with("/8") || fd.ends_with("/9")), "{open:?}");
    }
}

fn a_folder_is_no_standard_stream() {
    let lab = Lab::new();
    let handle = lab.start(&lab.spec("box", &["sleep", "600"]));
    let look = request(&["ls", "/proc/self/fd/0/.."]);
    let command = runtime::command_in(&handle, &look, &exe()).expect("encodable");
    let (code, said) = text(&mut redirected(&command, "0</etc"));
    assert_eq!(code, Some(125), "{said}");
    assert!(said.contains("standard input"), "{said}");
    let (code, said) = text(&mut redirected(&command, "0</etc/hostname"));
    assert_eq!(code, Some(2), "a file is not entered: {said}");
}

fn sockets_load_no_kernel_code() {
    let lab = Lab::new();
    let lines = run(&lab, &lab.probe("cell", &["cell", "none"]));
    let said = |name: &str| {
        let found = lines.iter().find_map(|line| line.strip_prefix(&format!("protocol {name}: ")));
        found.unwrap_or("(not said)").to_owned()
    };
    for name in ["tcp", "udp6", "ping", "ping6", "routes"] {
        assert_eq!(said(name), "works", "{name}");
    }
    for name in ["mptcp", "dccp", "udplite", "l2tp", "diagnoses", "netfilter", "generic", "crypto"]
    {
        assert_eq!(said(name), NO_PROTOCOL, "{name}");
    }
    let loaded = fs::read_to_string("/proc/net/protocols").expect("readable");
    let loaded = loaded.lines().any(|line| line.starts_with("SCTP "));
    assert_eq!(said("sctp") == "works", loaded, "{}", said("sctp"));
}
