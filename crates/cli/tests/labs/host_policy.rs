//! The host's own policy, with a real sshd: a wrong one cuts the session that made it and comes back by itself; a right one is confirmed over a new
//! connection and over no other; and what can be turned off by nobody passes.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use testkit::packet::icmp::IcmpError;
use testkit::packet::{Frame, ip};
use testkit::{Namespace, Proc, Wire, root_or_return, wait_for, wait_until};

use crate::stage::{ELSEWHERE, HOST, OUTSIDE, SILENCE, Stage, at, reaches, serve};

/// How long a login may take on a busy machine.
const LOGIN: Duration = Duration::from_secs(30);
/// Most time between the deadline of a change and the way being open again: TCP has waited, too.
const BACK: Duration = Duration::from_secs(40);

/// Nobody is let in.
const WRONG: &str = "bulkhead: 1\nhost: { interfaces: uplink }\n";
/// Those who manage the host are.
const RIGHT: &str = "bulkhead: 1
host: {}
policies:
  manage: { from: 203.0.113.0/24, to: host, allow: [22/tcp] }
";

/// A host with an sshd and an agent.
struct Managed {
    sshd: Proc,
    stage: Stage,
    folder: PathBuf,
}

impl Managed {
    fn new() -> Self {
        let stage = Stage::new();
        let folder = stage.lab.dir().join("ssh");
        fs::create_dir_all(&folder).expect("a folder");
        // sshd wants it, and nobody makes it but its service.
        fs::create_dir_all("/run/sshd").expect("a folder for privileges");
        for name in ["host", "client"] {
            let path = folder.join(name);
            let path = path.to_str().expect("a path");
            let argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path];
            stage.host.check(&argv).expect("a key: openssh-client is needed");
        }
        let at = |name: &str| folder.join(name).display().to_string();
        let config = format!(
            "Port 22\nListenAddress 0.0.0.0\nHostKey {}\nAuthorizedKeysFile {}\nPermitRootLogin yes\nPasswordAuthentication no\n\
             UsePAM no\nStrictModes no\nUseDNS no\nPidFile none\nClientAliveInterval 0\n",
            at("host"),
            at("client.pub")
        );
        fs::write(folder.join("sshd_config"), config).expect("written");
        let mut sshd = Command::new("/usr/sbin/sshd");
        let sshd = sshd.args(["-D", "-e", "-f", &at("sshd_config")]);
        let sshd = stage.host.spawn(sshd).expect("sshd: openssh-server is needed");
        let managed = Self { sshd, stage, folder };
        let waited = wait_until("sshd", LOGIN, || managed.is_open(OUTSIDE));
        assert!(waited.is_ok(), "{:?}", managed.sshd.output_so_far());
        managed
    }

    /// Whether sshd can be connected to from an address.
    fn is_open(&self, from: &str) -> bool {
        let from: SocketAddr = format!("{from}:0").parse().expect("an address");
        let connect = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
            socket.bind(&from.into())?;
            socket.connect_timeout(&at(&format!("{HOST}:22")).into(), SILENCE)
        };
        self.stage.outside.run(connect).expect("the outside").is_ok()
    }

    /// Starts a command on the host over a connection of its own.
    fn ssh(&self, command: &str) -> Proc {
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-i"]).arg(self.folder.join("client")).args(["-b", OUTSIDE]);
        for option in [
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "ControlPath=none",
            "BatchMode=yes",
            "ConnectTimeout=20",
            "LogLevel=ERROR",
        ] {
            ssh.args(["-o", option]);
        }
        ssh.args([&format!("root@{HOST}"), command]);
        self.stage.outside.spawn(&mut ssh).expect("ssh starts")
    }

    /// `bulkhead` with these arguments, for a shell.
    fn line(&self, argv: &str) -> String {
        let folders = self.stage.bulkhead.folders();
        let binary = testkit::bulkhead::binary().expect("the binary");
        format!(
            "{} --run-dir {} --state-dir {} --bpffs {} {argv}",
            binary.display(),
            folders.run.display(),
            folders.state.display(),
            folders.bpffs.display()
        )
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.folder.join(name);
        fs::write(&path, text).expect("written");
        path.display().to_string()
    }

    /// Runs a command over a new connection to its end: exit code and all it said.
    fn over_ssh(&self, command: &str) -> (Option<i32>, String) {
        let mut ssh = self.ssh(command);
        assert!(ssh.wait_exit(LOGIN).expect("watched"), "{:?}", ssh.output_so_far());
        let done = ssh.stop(Duration::ZERO).expect("ended");
        (done.code(), format!("{}{}", done.stdout, done.stderr))
    }

    fn host_status(&self) -> Value {
        let status = self.stage.bulkhead.cli_json(&["status"]).expect("a status");
        status["agent"]["host"].clone()
    }
}

/// The last number that a session said.
fn ticks(session: &Proc) -> u64 {
    let (out, _) = session.output_so_far().expect("its output");
    out.lines().rev().find_map(|line| line.strip_prefix("tick ")?.parse().ok()).unwrap_or_default()
}

/// A session that applies a file, and then says a number five times a second.
fn session(managed: &Managed, up: &str) -> Proc {
    let ticking = "i=1; while true; do echo tick $i; i=$((i+1)); sleep 0.2; done";
    let session = managed.ssh(&format!("echo tick 1; {}; {ticking}", managed.line(up)));
    let waited = wait_until("a session", LOGIN, || ticks(&session) > 0);
    assert!(waited.is_ok(), "{:?}", session.output_so_far());
    session
}

/// Waits until the host is cut off, and then until it is there again; how long after the cut that was.
fn cut_and_back(managed: &Managed) -> Duration {
    wait_until("the cut", LOGIN, || !managed.is_open(OUTSIDE)).expect("it is cut off");
    let began = Instant::now();
    wait_until("the way back", BACK, || managed.is_open(OUTSIDE)).expect("it comes back");
    began.elapsed()
}

#[test]
fn r040_a_wrong_policy_over_ssh_is_refused_with_a_counterexample_or_comes_back_by_itself_root() {
    root_or_return!(
        "r040_a_wrong_policy_over_ssh_is_refused_with_a_counterexample_or_comes_back_by_itself_root"
    );
    let managed = Managed::new();
    let wrong = managed.file("wrong.yaml", WRONG);
    let (code, said) = managed.over_ssh(&managed.line(&format!("up {wrong}")));
    assert_eq!(code, Some(1), "{said}");
    for part in [
        "BH0250",
        "203.0.113.9:",
        ":22/tcp",
        "manage-22: { from: 203.0.113.9, to: host, allow: [22/tcp] }",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(managed.is_open(OUTSIDE), "nothing was changed");

    let session = session(&managed, &format!("up {wrong} --cut-connections --confirm-within 8s"));
    let back = cut_and_back(&managed);
    println!("host policy: cut, and back {:.1} s later with a window of 8 s", back.as_secs_f64());
    let before = ticks(&session);
    let goes_on = wait_until("the session itself", BACK, || ticks(&session) > before + 2);
    assert!(goes_on.is_ok(), "the session that was cut goes on: {:?}", session.output_so_far());
    // The hooks come first, what is remembered and told a moment later.
    let told = || managed.host_status()["pending"].is_null();
    wait_until("an agent that has gone back", BACK, told).expect("told");
    let host = managed.host_status();
    assert_eq!(host["reverted"]["why"], "nobody confirmed it in time", "{host}");
    let status = managed.stage.bulkhead.cli(&["status"]).expect("a status").stdout;
    assert!(status.contains("the host's policy went back"), "{status}");
}

#[test]
fn r040_a_right_policy_is_confirmed_over_a_new_connection_and_no_other_root() {
    root_or_return!("r040_a_right_policy_is_confirmed_over_a_new_connection_and_no_other_root");
    let managed = Managed::new();
    let right = managed.file("right.yaml", RIGHT);
    let up = managed.line(&format!("up {right} --confirm-within 60s"));
    let confirm = managed.line("confirm");
    let (code, said) = managed.over_ssh(&format!("{up}; {confirm}"));
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("not confirmed") && said.contains("BH0252"), "{said}");
    assert!(said.contains("older than the change"), "{said}");
    let host = managed.host_status();
    assert_eq!(host["pending"]["guarded"], true, "{host}");
    assert_eq!(host["uplinks"], serde_json::json!(["uplink"]));
    // A process that nobody sits at proves nothing.
    let apart = managed.stage.bulkhead.cli(&["confirm"]).expect("it runs");
    assert_eq!(apart.code(), Some(1), "{apart:?}");

    assert!(managed.is_open(OUTSIDE) && !managed.is_open(ELSEWHERE));
    let (code, said) = managed.over_ssh(&confirm);
    assert_eq!(code, Some(0), "{said}");
    let host = managed.host_status();
    assert!(host["pending"].is_null() && host["confirmed"].is_string(), "{host}");
    // The same again needs no confirmation; and what is dropped is told as the host's.
    let (code, said) = managed.over_ssh(&up);
    assert_eq!(code, Some(0), "{said}");
    assert!(!said.contains("not confirmed"), "{said}");
    assert!(!managed.is_open(ELSEWHERE));
    let dropped = wait_for("a drop", LOGIN, || {
        let seen = managed.stage.bulkhead.cli(&["observe"]).ok()?.stdout;
        seen.lines()
            .find(|line| line.contains(ELSEWHERE) && line.contains("drop"))
            .map(str::to_owned)
    });
    let dropped = dropped.expect("the drop is told");
    assert!(dropped.contains("host") && dropped.contains(":22"), "{dropped}");
    let why = managed.stage.why(ELSEWHERE, "host", "tcp/22");
    assert_eq!(
        (why["verdict"].as_str(), why["reason"]["code"].as_str()),
        (Some("drop"), Some("BH-D002"))
    );
    assert_eq!(why["to"]["name"], "host");
    let why = managed.stage.why(OUTSIDE, HOST, "tcp/22");
    assert_eq!(
        (why["verdict"].as_str(), why["rule"]["name"].as_str()),
        (Some("allow"), Some("manage")),
        "{why}"
    );
    assert_eq!(managed.stage.why("host", "world", "tcp/443")["verdict"], "allow");
}

/// The way to where the host is enrolled is proven to survive, too, when the file names it.
#[test]
fn r040_a_way_that_the_file_names_survives_or_nothing_is_applied_root() {
    root_or_return!("r040_a_way_that_the_file_names_survives_or_nothing_is_applied_root");
    let managed = Managed::new();
    let named = RIGHT.replace("host: {}", "host: { posture: { egress: deny } }")
        + "assert:\n  - always: host -> 203.0.113.9:443/tcp\n";
    let shut = managed.file("shut.yaml", &named);
    let (code, said) = managed.over_ssh(&managed.line(&format!("up {shut}")));
    assert_eq!(code, Some(1), "{said}");
    for part in ["BH0208", "host (198.51.100.2:", "(203.0.113.9:443) 443/tcp does not pass"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let host = managed.host_status();
    assert!(host["pending"].is_null() && host["confirmed"].is_null(), "{host}");
    assert!(managed.is_open(OUTSIDE), "nothing was changed");
    let way = "  enrol: { from: host, to: 203.0.113.9, allow: [443/tcp] }\nassert:";
    let open = managed.file("open.yaml", &named.replace("assert:", way));
    let (code, said) = managed.over_ssh(&managed.line(&format!("up {open}")));
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn r040_it_comes_back_although_the_agent_was_killed_root() {
    root_or_return!("r040_it_comes_back_although_the_agent_was_killed_root");
    let mut managed = Managed::new();
    let wrong = managed.file("wrong.yaml", WRONG);
    let up = format!("up {wrong} --cut-connections --confirm-within 10s");
    let done = managed.stage.bulkhead.cli(&up.split(' ').collect::<Vec<_>>()).expect("it runs");
    assert_eq!(done.code(), Some(0), "{done:?}");
    managed.stage.bulkhead.kill_agent().expect("killed");
    let back = cut_and_back(&managed);
    println!(
        "host policy: agent killed, back {:.1} s later with a window of 10 s",
        back.as_secs_f64()
    );
    // What brought it back has the folders for a moment more.
    let again =
        wait_until("an agent again", LOGIN, || managed.stage.bulkhead.start_agent().is_ok());
    assert!(again.is_ok());
    let host = managed.host_status();
    assert!(host["pending"].is_null() && host["reverted"].is_object(), "{host}");
    assert!(managed.is_open(OUTSIDE));
}

#[test]
fn r040_a_boot_begins_with_what_was_confirmed_root() {
    root_or_return!("r040_a_boot_begins_with_what_was_confirmed_root");
    let mut managed = Managed::new();
    let right = managed.file("right.yaml", RIGHT);
    let up = managed.line(&format!("up {right} --confirm-within 10m"));
    assert_eq!(managed.over_ssh(&up).0, Some(0));
    assert_eq!(managed.over_ssh(&managed.line("confirm")).0, Some(0));
    // A change that waits when the machine goes down is not confirmed.
    let open = managed.file("open.yaml", "bulkhead: 1\nhost: { posture: { ingress: allow } }\n");
    assert_eq!(
        managed.over_ssh(&managed.line(&format!("up {open} --confirm-within 10m"))).0,
        Some(0)
    );
    assert!(managed.is_open(ELSEWHERE));
    managed.stage.bulkhead.kill_agent().expect("killed");
    let state = managed.stage.bulkhead.folders().state.join("host.json");
    let text = fs::read_to_string(&state).expect("what is remembered");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("the boot");
    fs::write(&state, text.replace(boot.trim(), "another boot")).expect("written");
    // Nothing in the kernel outlives a boot, and there is no network yet.
    let bpffs = managed.stage.bulkhead.folders().bpffs.display().to_string();
    managed.stage.host.check(&["rm", "-r", &bpffs]).expect("unpinned");
    managed.stage.host.ip("addr flush dev uplink").expect("no addresses");
    assert_eq!(managed.stage.bulkhead.cli(&["agent", "--once"]).expect("it runs").code(), Some(0));
    let address = format!("addr add {HOST}/24 dev uplink\nroute add default via 198.51.100.1");
    managed.stage.host.ip(&address).expect("the network is up");
    assert!(managed.is_open(OUTSIDE) && !managed.is_open(ELSEWHERE));
    managed.stage.bulkhead.start_agent().expect("the agent");
    let host = managed.host_status();
    assert!(host["pending"].is_null() && host["confirmed"].is_string(), "{host}");
    assert!(managed.is_open(OUTSIDE) && !managed.is_open(ELSEWHERE));
}

#[test]
fn r049_path_mtu_and_neighbour_discovery_pass_whatever_the_policy_says_root() {
    root_or_return!("r049_path_mtu_and_neighbour_discovery_pass_whatever_the_policy_says_root");
    let stage = Stage::new();
    stage.host.ip("addr add 2001:db8::2/64 dev uplink nodad").expect("an address");
    stage.outside.ip("addr add 2001:db8::1/64 dev uplink nodad").expect("an address");
    let text = "bulkhead: 1\nhost: { posture: { ingress: deny, egress: deny } }\npolicies:\n  \
                web: { from: any, to: host, allow: [80/tcp] }\n";
    let path = stage.lab.dir().join("closed.yaml");
    fs::write(&path, text).expect("written");
    let path = path.to_str().expect("a path");
    let up = stage.bulkhead.cli(&["up", path, "--confirm-within", "10m"]).expect("it runs");
    assert_eq!(up.code(), Some(0), "{up:?}");
    for space in [&stage.host, &stage.outside] {
        space.check(&["ip", "-6", "neigh", "flush", "dev", "uplink"]).expect("flushed");
    }
    // Nobody knows the other's link address: this needs neighbour discovery both ways.
    let _web = serve(&stage.host, "2001:db8::2", &[80, 81]);
    assert!(reaches(&stage.outside, "[2001:db8::2]:80"));
    assert!(!reaches(&stage.outside, "[2001:db8::2]:81"));
    assert!(mtu(&stage.host).is_none());
    let wire = Wire::open(&stage.outside, "uplink").expect("the wire");
    wire.send(&too_long(&stage, 1300)).expect("sent");
    let found = wait_for("the path MTU", LOGIN, || mtu(&stage.host));
    assert_eq!(found.expect("the host has learnt it"), 1300);
}

/// What the host knows of the MTU to the outside.
fn mtu(host: &Namespace) -> Option<u32> {
    let route = host.check(&["ip", "route", "get", OUTSIDE]).expect("a route").stdout;
    let mut words = route.split_whitespace().skip_while(|word| *word != "mtu");
    words.nth(1)?.parse().ok()
}

/// A router's answer to an echo reply of the host that was too long for its next link (RFC 1191 §4).
fn too_long(stage: &Stage, mtu: u16) -> Vec<u8> {
    let [from, to] = [&stage.outside, &stage.host].map(|space| space.mac("uplink").expect("a MAC"));
    let reply = Frame::new(from, to).ip(ip(HOST), ip(OUTSIDE)).echo_reply(1, 1);
    let error = Frame::new(from, to).ip(ip("198.51.100.1"), ip(HOST));
    error.icmp_error(IcmpError::TooBig(mtu), &reply.ip_bytes()).bytes()
}
