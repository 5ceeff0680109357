//! Processes of the host: what a user or a service sends by an uplink is judged by rules of its own, and nobody gets those of another one.

use std::fs;
use std::net::{TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use testkit::{Namespace, root_or_return, run_with_deadline, uninterrupted, wait_until};

use crate::stage::{ELSEWHERE, OUTSIDE, SILENCE, SOON, Stage, reaches, serve};

/// A user of this machine that nobody has.
const USER: u32 = 54_321;

/// A cgroup of this test's, which goes with it.
struct Service {
    folder: PathBuf,
    parents: Vec<PathBuf>,
}

impl Service {
    /// Makes `<path>` below the root of the unified hierarchy, as a service manager does.
    fn start(path: &str) -> Self {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("mounts");
        let root = mounts.lines().find(|line| line.split(' ').nth(2) == Some("cgroup2"));
        let root =
            root.and_then(|line| line.split(' ').nth(1)).expect("cgroup version 2 is needed");
        let folder = Path::new(root).join(path);
        let missing = folder.ancestors().skip(1).take_while(|folder| !folder.exists());
        let parents = missing.map(Path::to_path_buf).collect();
        fs::create_dir_all(&folder).expect("a cgroup");
        Self { folder, parents }
    }

    /// Whether a process of it can connect.
    fn reaches(&self, host: &Namespace, target: &str) -> bool {
        let (address, port) = target.rsplit_once(':').expect("an address and a port");
        let procs = self.folder.join("cgroup.procs");
        let line = format!(
            "echo $$ > {} && exec timeout 1 bash -c 'exec 3<>/dev/tcp/{address}/{port}'",
            procs.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &line]);
        let run = || run_with_deadline(&mut command, None, Duration::from_secs(20));
        host.run(run).expect("the host").expect("it runs").status.success()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let folders = std::iter::once(&self.folder).chain(&self.parents);
        for folder in folders {
            // Those of others may be in use.
            let removed = || fs::remove_dir(folder).is_ok() || !folder.exists();
            drop(wait_until("the cgroup is empty", Duration::from_secs(2), removed));
        }
    }
}

fn user_reaches(host: &Namespace, user: u32, target: &str) -> bool {
    let target = target.parse().expect("an address");
    let connect = || TcpStream::connect_timeout(&target, SILENCE).is_ok();
    host.run_as(user, connect).expect("the host")
}

fn up(stage: &Stage, text: &str) -> testkit::Finished {
    let path = stage.lab.dir().join("host.yaml");
    fs::write(&path, text).expect("written");
    let path = path.to_str().expect("a path");
    stage.bulkhead.cli(&["up", path, "--confirm-within", "10m"]).expect("it runs")
}

/// How often a service is started again.
const RESTARTS: usize = 12;

#[test]
fn what_users_and_services_of_the_host_send_is_judged_by_their_own_rules_root() {
    root_or_return!("what_users_and_services_of_the_host_send_is_judged_by_their_own_rules_root");
    let mut stage = Stage::new();
    let service = format!("bhl{}-sync", std::process::id());
    let text = format!(
        "bulkhead: 1
host: {{ interfaces: uplink, posture: {{ ingress: allow }}, confined: host service-account={service} }}
policies:
  no-mail: {{ from: host user={USER}, to: world, deny: [25/tcp] }}
  sync: {{ from: host service-account={service}, to: {OUTSIDE}, allow: [873/tcp] }}
"
    );
    let _there = serve(&stage.outside, OUTSIDE, &[25, 80, 873]);
    let _elsewhere = serve(&stage.outside, ELSEWHERE, &[873]);
    let open = |port: u16| format!("{OUTSIDE}:{port}");
    assert!(user_reaches(&stage.host, USER, &open(25)), "before");
    let applied = up(&stage, &text);
    assert_eq!(applied.code(), Some(0), "{applied:?}");

    // A user is denied what others may.
    assert!(!user_reaches(&stage.host, USER, &open(25)));
    assert!(user_reaches(&stage.host, USER, &open(80)));
    assert!(reaches(&stage.host, &open(25)), "root is another one");
    let seen = stage.flows(&["--verdict", "drop"]);
    let identity = seen.last().map(|flow| flow["source"]["identity"].clone());
    assert_eq!(identity, Some(format!("host user={USER}").into()), "{seen:?}");

    // A service is confined to what it is for, as soon as it is there.
    let running = Service::start(&format!("system.slice/{service}.service"));
    let is_confined = || !running.reaches(&stage.host, &open(80));
    wait_until("the service is known", SOON, is_confined).expect("confined");
    assert!(running.reaches(&stage.host, &open(873)));
    assert!(!running.reaches(&stage.host, &format!("{ELSEWHERE}:873")));
    assert!(reaches(&stage.host, &open(80)), "others are not");
    let below = Service::start(&format!("system.slice/{service}.service/worker"));
    assert!(!below.reaches(&stage.host, &open(80)), "what it puts below its own is its own");
    drop(below);
    drop(running);
    // Started again it has another cgroup, perhaps in a slice that was made again just before.
    let restarted = || {
        let again = Service::start(&format!("system.slice/{service}.service"));
        let is_confined = || !again.reaches(&stage.host, &open(80));
        wait_until("the service is known again", SOON, is_confined).expect("confined");
        again
    };
    (1..RESTARTS).for_each(|_| drop(restarted()));
    let again = restarted();
    // Whoever calls a cgroup of its own like that is somebody else.
    let forged = Service::start(&format!("bhl{}.slice/{service}.service", std::process::id()));
    assert!(forged.reaches(&stage.host, &open(80)));
    drop(forged);

    let why = stage.why(&format!("host user={USER}"), OUTSIDE, "tcp/25");
    assert_eq!(
        (why["verdict"].as_str(), why["rule"]["name"].as_str()),
        (Some("drop"), Some("no-mail"))
    );
    let why = stage.why(&format!("host service-account={service}"), ELSEWHERE, "tcp/873");
    assert_eq!(why["verdict"], "drop", "{why}");
    assert_eq!(stage.why("host", OUTSIDE, "tcp/25")["verdict"], "allow");

    // It is the kernel that judges.
    stage.bulkhead.kill_agent().expect("killed");
    assert!(!user_reaches(&stage.host, USER, &open(25)));
    assert!(!again.reaches(&stage.host, &open(80)) && again.reaches(&stage.host, &open(873)));
}

#[test]
fn nobody_sends_on_the_flow_of_another_account_root() {
    root_or_return!("nobody_sends_on_the_flow_of_another_account_root");
    let stage = Stage::new();
    let text = format!(
        "bulkhead: 1
host: {{ interfaces: uplink, posture: {{ ingress: allow }} }}
policies: {{ quiet: {{ from: host user={USER}, to: world, deny: [any] }} }}
"
    );
    let there = format!("{OUTSIDE}:53");
    let hears = stage.outside.run(|| UdpSocket::bind(&there).expect("bound")).expect("the outside");
    hears.set_read_timeout(Some(SILENCE)).expect("a deadline");
    let applied = up(&stage, &text);
    assert_eq!(applied.code(), Some(0), "{applied:?}");
    let send = |user: u32, said: &[u8]| {
        let send = || {
            let socket = UdpSocket::bind("198.51.100.2:5353").expect("bound");
            socket.send_to(said, &there).expect("sent");
        };
        stage.host.run_as(user, send).expect("the host");
        let mut datagram = [0; 16];
        let length = uninterrupted(|| hears.recv(&mut datagram)).ok();
        length.and_then(|length| datagram.get(..length).map(<[u8]>::to_vec))
    };
    assert_eq!(send(0, b"one").as_deref(), Some(b"one".as_slice()));
    // The flow is known; its ports are free, and somebody else takes them.
    assert_eq!(send(USER, b"two"), None);
    assert_eq!(send(0, b"three").as_deref(), Some(b"three".as_slice()));
}

#[test]
fn an_account_that_this_host_does_not_have_is_refused_root() {
    root_or_return!("an_account_that_this_host_does_not_have_is_refused_root");
    let stage = Stage::new();
    let text = "bulkhead: 1
host: { interfaces: uplink, posture: { ingress: allow } }
policies: { quiet: { from: host user=nobody-at-all, to: world, deny: [any] } }
";
    let refused = up(&stage, text);
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("this host has no such user"), "{refused:?}");
}
