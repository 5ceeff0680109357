//! Sockets that change hands around workloads of `mode: host`: passed over a unix socket, inherited, kept by a process that is moved to
//! another cgroup, made while nothing judged, shared by `SO_REUSEPORT`. A socket stays of the cgroup that made it, and who asks the kernel for
//! something with it is asked about as well: nobody gets more than whoever made it has, and by a call no more than both have.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::{Domain, Socket, Type};
use testkit::server::{UdpEcho, probe_tcp};
use testkit::{root_or_return, uninterrupted, wait_until};

use crate::stage::{HOST, OUTSIDE, SILENCE, SOON, Stage, at, reaches, serve};

/// How long an actor may take to answer on a busy machine.
const ANSWER: Duration = Duration::from_secs(30);

/// A program that has one socket and does with it what it is told over its standard input, a unix socket.
const ACTOR: &str = r#"
import errno, socket, subprocess, sys
control, own = socket.socket(fileno=0), None
SPEAK = "import socket; s = socket.socket(fileno=%d); s.settimeout(1); s.send(b'hello'); print(s.recv(9).decode(), end='')"
def do(what, *rest):
    global own
    if what == "make":
        own = socket.socket(socket.AF_INET, getattr(socket, rest[0]))
        own.settimeout(1)
        for option in rest[1:]: own.setsockopt(socket.SOL_SOCKET, getattr(socket, option), 1)
    elif what == "connect": own.connect((rest[0], int(rest[1])))
    elif what == "bind": own.bind((rest[1] if rest[1:] else "0.0.0.0", int(rest[0])))
    elif what == "listen": own.listen()
    elif what == "speak":
        own.send(b"hello")
        return own.recv(9).decode()
    elif what == "speak-to":
        own.sendto(b"hello", (rest[0], int(rest[1])))
        return own.recv(9).decode()
    elif what == "serve":
        one, _ = own.accept()
        one.settimeout(1)
        one.send(one.recv(99))
    elif what == "child":
        argv = [sys.executable, "-c", SPEAK % own.fileno()]
        return subprocess.run(argv, pass_fds=[own.fileno()], capture_output=True, text=True).stdout
    return "done"
while True:
    data, files, _, _ = socket.recv_fds(control, 4096, 1)
    if not data: break
    words = data.decode().split()
    try:
        if words[0] == "give":
            socket.send_fds(control, [b"done"], [own.fileno()])
            continue
        if words[0] == "take":
            own = socket.socket(fileno=files[0])
            own.settimeout(1)
            answer = "done"
        else: answer = do(*words)
    except OSError as error: answer = errno.errorcode.get(error.errno, "timeout")
    control.send((answer or "nothing").encode())
"#;

/// The actor in a workload.
pub(crate) struct Actor {
    control: UnixStream,
    process: Child,
}

impl Actor {
    pub(crate) fn start(stage: &Stage, workload: &str) -> Self {
        let (control, far) = UnixStream::pair().expect("two sockets");
        control.set_read_timeout(Some(ANSWER)).expect("a timeout");
        let mut command =
            stage.bulkhead.command_line(&["exec", workload, "--", "python3", "-c", ACTOR]);
        command.stdin(OwnedFd::from(far)).stdout(Stdio::null()).stderr(Stdio::inherit());
        let process = stage.host.run(move || command.spawn()).expect("the host").expect("started");
        let actor = Self { control, process };
        assert_eq!(actor.ask("begin"), "done");
        actor
    }

    /// Tells it to do something; what came of it: `done`, what it has heard, the name of an error.
    pub(crate) fn ask(&self, what: &str) -> String {
        self.send(what, None);
        self.answer().0
    }

    /// Takes its socket; it keeps it, too.
    fn give(&self) -> OwnedFd {
        self.send("give", None);
        self.answer().1.expect("a socket")
    }

    /// Hands it a socket.
    fn take(&self, socket: &OwnedFd) {
        self.send("take", Some(socket.as_fd()));
        assert_eq!(self.answer().0, "done");
    }

    /// Makes a socket and connects it.
    fn connects(&self, to: &str, port: u16) -> String {
        assert_eq!(self.ask("make SOCK_STREAM"), "done");
        self.ask(&format!("connect {to} {port}"))
    }

    fn send(&self, what: &str, socket: Option<BorrowedFd<'_>>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut files = SendAncillaryBuffer::new(&mut space);
        let sockets: Vec<BorrowedFd<'_>> = socket.into_iter().collect();
        if !sockets.is_empty() {
            assert!(files.push(SendAncillaryMessage::ScmRights(&sockets)));
        }
        let text = [IoSlice::new(what.as_bytes())];
        sendmsg(&self.control, &text, &mut files, SendFlags::empty()).expect("it is there");
    }

    fn answer(&self) -> (String, Option<OwnedFd>) {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut files = RecvAncillaryBuffer::new(&mut space);
        let mut text = [0; 64];
        let mut into = [IoSliceMut::new(&mut text)];
        let got = retry_on_intr(|| {
            recvmsg(&self.control, &mut into, &mut files, RecvFlags::CMSG_CLOEXEC)
        });
        let got = got.expect("an answer").bytes;
        assert_ne!(got, 0, "it has ended");
        let socket = files.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        (String::from_utf8_lossy(&text[..got]).into_owned(), socket)
    }

    /// Its process, as the host numbers it: the only one of its program in the workload's cgroup.
    fn pid(cgroup: &Path) -> String {
        let pids = std::fs::read_to_string(cgroup.join("cgroup.procs")).expect("a cgroup");
        let is_it = |pid: &&str| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name.starts_with("python3"))
        };
        pids.lines().find(is_it).expect("the actor").to_owned()
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        // Whoever runs the command ends with it.
        self.control.shutdown(std::net::Shutdown::Both).ok();
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Two workloads: each has a port of the outside of its own, and both have port 82 and what `keys` adds.
fn file(web_ports: &str, keys: &str, more: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      edge: {{ mode: host }}
    workloads:
      web: {{ labels: {{ app: web }}, run: [sleep, \"3600\"]{keys} }}
      api: {{ labels: {{ app: api }}, run: [sleep, \"3600\"]{keys} }}
    policies:
      web-out: {{ from: app=web, to: {OUTSIDE}, allow: [{web_ports}] }}
      api-out: {{ from: app=api, to: {OUTSIDE}, allow: [81/tcp, 82/tcp] }}
      visit: {{ from: world, to: app=web, allow: [8080/tcp] }}
      call: {{ from: world, to: app=api, allow: [9090/tcp] }}
{more}"
    )
}

const WEB: &str = "80/tcp, 82/tcp, 53/udp";

fn ready() -> (Stage, Actor, Actor) {
    let stage = Stage::new();
    stage.bulkhead.up(&file(WEB, "", "")).expect("applied");
    let (web, api) = (Actor::start(&stage, "t/web"), Actor::start(&stage, "t/api"));
    (stage, web, api)
}

#[test]
fn a_socket_that_another_workload_hands_over_brings_no_more_than_its_makers_rights_root() {
    root_or_return!(
        "a_socket_that_another_workload_hands_over_brings_no_more_than_its_makers_rights_root"
    );
    let (stage, web, api) = ready();
    let _outside = serve(&stage.outside, OUTSIDE, &[80, 81, 82]);
    assert_eq!(api.connects(OUTSIDE, 80), "EPERM", "the port is not api's");
    // A connection: it is web's, whoever speaks.
    assert_eq!(web.connects(OUTSIDE, 80), "done");
    api.take(&web.give());
    assert_eq!(api.ask("speak"), "hello");
    let flows = stage.flows(&["--from", "t/web", "--to", OUTSIDE, "--verdict", "allow"]);
    assert_eq!(flows[0]["target"]["port"], 80, "{}", flows[0]);
    // And ends with web's right to it.
    stage.bulkhead.up(&file("82/tcp", "", "")).expect("applied");
    assert_ne!(api.ask("speak"), "hello");
    stage.bulkhead.up(&file(WEB, "", "")).expect("applied");
    // A socket that is connected by another one: both must have the right, who asks and whose it is.
    assert_eq!(web.ask("make SOCK_STREAM"), "done");
    api.take(&web.give());
    assert_eq!(api.ask(&format!("connect {OUTSIDE} 80")), "EPERM", "api asks, and may not");
    assert_eq!(
        api.ask(&format!("connect {OUTSIDE} 81")),
        "timeout",
        "web's packets, which may not"
    );
    let flows = stage.flows(&["--from", "t/web", "--to", OUTSIDE, "--verdict", "drop"]);
    assert!(flows.iter().any(|flow| flow["target"]["port"] == 81), "{flows:?}");
    assert_eq!(web.ask("make SOCK_STREAM"), "done");
    api.take(&web.give());
    assert_eq!(api.ask(&format!("connect {OUTSIDE} 82")), "done");
    assert_eq!(api.ask("speak"), "hello");
    // Datagrams: connecting is asked about; one that names its target is judged as a packet, by whose its socket is.
    let _names = UdpEcho::start(&stage.outside, at(&format!("{OUTSIDE}:53")));
    assert_eq!(api.ask("make SOCK_DGRAM"), "done");
    assert_eq!(api.ask(&format!("speak-to {OUTSIDE} 53")), "EPERM", "api's own");
    assert_eq!(web.ask("make SOCK_DGRAM"), "done");
    api.take(&web.give());
    assert_eq!(api.ask(&format!("speak-to {OUTSIDE} 53")), "hello", "web's right");
    assert_eq!(api.ask(&format!("speak-to {OUTSIDE} 54")), "EPERM", "no more than that");
    assert_eq!(api.ask(&format!("connect {OUTSIDE} 53")), "done", "it has a port: it may answer");
}

#[test]
fn a_listener_that_is_handed_over_lets_in_whom_its_maker_lets_in_root() {
    root_or_return!("a_listener_that_is_handed_over_lets_in_whom_its_maker_lets_in_root");
    let (stage, web, api) = ready();
    let visited = |actor: &Actor, port: u16| {
        std::thread::scope(|scope| {
            let serving = scope.spawn(|| actor.ask("serve"));
            let reached = reaches(&stage.outside, &format!("{HOST}:{port}"));
            (reached, serving.join().expect("it ends"))
        })
    };
    // Made, bound and heard by web; served by api.
    assert_eq!(web.ask("make SOCK_STREAM SO_REUSEADDR"), "done");
    assert_eq!(web.ask("bind 9090"), "EPERM", "a port of api's");
    assert_eq!(web.ask("bind 8080"), "done");
    assert_eq!(web.ask("listen"), "done");
    api.take(&web.give());
    assert_eq!(visited(&api, 8080), (true, "done".to_owned()));
    let flows = stage.flows(&["--to", "t/web", "--verdict", "allow"]);
    assert_eq!(flows[0]["target"]["port"], 8080, "{}", flows[0]);
    // Made by web, bound by api to a port of its own: what comes in is asked about as web's.
    assert_eq!(web.ask("make SOCK_STREAM SO_REUSEADDR"), "done");
    api.take(&web.give());
    assert_eq!(api.ask("bind 8081"), "EPERM", "nobody's");
    assert_eq!(api.ask("bind 9090"), "done");
    assert_eq!(api.ask("listen"), "done");
    assert_eq!(visited(&api, 9090), (false, "timeout".to_owned()));
    // Its own is let in.
    assert_eq!(web.ask("make SOCK_STREAM"), "done", "it lets go of the other one");
    assert_eq!(api.ask("make SOCK_STREAM SO_REUSEADDR"), "done");
    assert_eq!(api.ask("bind 9090"), "done");
    assert_eq!(api.ask("listen"), "done");
    assert_eq!(visited(&api, 9090), (true, "done".to_owned()));
}

#[test]
fn a_socket_of_the_host_is_the_hosts_and_one_of_a_workload_opens_nothing_to_it_root() {
    root_or_return!(
        "a_socket_of_the_host_is_the_hosts_and_one_of_a_workload_opens_nothing_to_it_root"
    );
    let (stage, web, _api) = ready();
    let _outside = serve(&stage.outside, OUTSIDE, &[80, 81]);
    // Whoever gives a workload a socket gives it what he may do with that.
    let made = stage.host.run(|| Socket::new(Domain::IPV4, Type::STREAM, None));
    let made = OwnedFd::from(made.expect("the host").expect("a socket"));
    web.take(&made);
    assert_eq!(web.ask(&format!("connect {OUTSIDE} 81")), "done");
    assert_eq!(web.ask("speak"), "hello");
    // A workload's socket in the hands of the host: a connection is the workload's, and a call is refused, as who asks is no workload.
    assert_eq!(web.connects(OUTSIDE, 80), "done");
    let socket = Socket::from(web.give());
    socket.set_nonblocking(false).expect("a flag");
    let buffer = &mut [MaybeUninit::uninit(); 9];
    socket.set_read_timeout(Some(SOON)).expect("a timeout");
    socket.send(b"hello").expect("web's right");
    assert_eq!(uninterrupted(|| socket.recv(buffer)).expect("an answer"), 5);
    assert_eq!(web.ask("make SOCK_STREAM"), "done");
    let socket = Socket::from(web.give());
    for port in [80, 81] {
        let refused = socket.connect(&at(&format!("{OUTSIDE}:{port}")).into());
        let refused = refused.expect_err("nobody's").raw_os_error();
        assert_eq!(refused, Some(rustix::io::Errno::PERM.raw_os_error()), "{port}");
    }
}

#[test]
fn what_a_process_inherits_or_takes_along_to_another_cgroup_stays_what_it_was_root() {
    root_or_return!(
        "what_a_process_inherits_or_takes_along_to_another_cgroup_stays_what_it_was_root"
    );
    let (stage, web, api) = ready();
    let _outside = serve(&stage.outside, OUTSIDE, &[80, 81, 82]);
    // A program that the actor starts has its connection.
    assert_eq!(web.connects(OUTSIDE, 80), "done");
    assert_eq!(web.ask("child"), "hello");
    stage.bulkhead.up(&file("82/tcp", "", "")).expect("applied");
    assert_eq!(web.ask("child"), "nothing");
    stage.bulkhead.up(&file(WEB, "", "")).expect("applied");
    // No workload finds another cgroup, root of its own neither.
    for user in [&[][..], &["--user", "root"]] {
        let mut argv = vec!["exec"];
        argv.extend_from_slice(user);
        let script = "ls /sys/fs/cgroup/* /sys/fs/cgroup/unified/*; for file in $(find / -name cgroup.procs 2>/dev/null); do \
                      echo $$ > $file && echo moved; done; mkdir -p /tmp/c && mount -t cgroup2 none /tmp/c && echo mounted";
        argv.extend(["t/web", "--", "sh", "-c", script]);
        let done = stage.bulkhead.cli(&argv).expect("exec runs");
        assert!(!done.stdout.contains("moved") && !done.stdout.contains("mounted"), "{done:?}");
    }
    // Root of the host moves a process: the socket that it has is web's, those that it makes are api's, and for a call both count.
    assert_eq!(web.connects(OUTSIDE, 80), "done");
    let home = stage.bulkhead.cgroup("t.web").expect("it runs");
    let other = stage.bulkhead.cgroup("t.api").expect("it runs").join("cgroup.procs");
    let pid = Actor::pid(&home);
    std::fs::write(&other, &pid).expect("moved");
    assert_eq!(web.ask("speak"), "hello", "web's connection");
    assert_eq!(web.connects(OUTSIDE, 80), "EPERM", "it is api's now");
    assert_eq!(web.connects(OUTSIDE, 81), "done");
    assert_eq!(web.ask("speak"), "hello");
    assert_eq!(web.ask("make SOCK_STREAM"), "done");
    std::fs::write(home.join("cgroup.procs"), &pid).expect("moved back");
    assert_eq!(web.ask(&format!("connect {OUTSIDE} 81")), "EPERM", "web asks, and may not");
    assert_eq!(
        web.ask(&format!("connect {OUTSIDE} 80")),
        "timeout",
        "api's packets, which may not"
    );
    drop(api);
}

#[test]
fn a_connection_from_before_the_programs_is_judged_as_soon_as_they_are_there_root() {
    root_or_return!(
        "a_connection_from_before_the_programs_is_judged_as_soon_as_they_are_there_root"
    );
    let (mut stage, web, _api) = ready();
    let _outside = serve(&stage.outside, OUTSIDE, &[80, 81]);
    let number = {
        let status = stage.bulkhead.cli_json(&["status"]).expect("status");
        let all = status["workloads"].as_array().expect("workloads");
        let web = all.iter().find(|each| each["id"] == "t.web").expect("it is there");
        web["endpoint"].to_string()
    };
    stage.bulkhead.kill_agent().expect("killed");
    let mut removed = 0;
    for pin in crate::host_mode::pins(&stage) {
        let name = pin.file_name().expect("a name").to_string_lossy().into_owned();
        if name.split('-').next() == Some(&number) {
            std::fs::remove_file(&pin).expect("removed");
            removed += 1;
        }
    }
    assert_eq!(removed, 8);
    // Root of the host has taken the programs off: nothing judges, and the connection comes about.
    assert_eq!(web.connects(OUTSIDE, 81), "done");
    assert_eq!(web.ask("speak"), "hello");
    stage.bulkhead.start_agent().expect("started again");
    let is_cut = || web.ask("speak") != "hello";
    wait_until("the connection is cut", Duration::from_secs(30), is_cut).expect("judged");
    let flows = stage.flows(&["--from", "t/web", "--to", OUTSIDE, "--verdict", "drop"]);
    assert!(flows.iter().any(|flow| flow["target"]["port"] == 81), "{flows:?}");
    assert_eq!(web.connects(OUTSIDE, 81), "EPERM");
    assert_eq!(web.connects(OUTSIDE, 80), "done");
}

#[test]
fn a_port_is_shared_by_workloads_of_one_user_alone_and_each_lets_in_by_its_own_rules_root() {
    root_or_return!(
        "a_port_is_shared_by_workloads_of_one_user_alone_and_each_lets_in_by_its_own_rules_root"
    );
    let stage = Stage::new();
    // Whom a rule lets in at api is not there: the rule is for the port to be bound.
    let both = "      share: { from: 192.0.2.128/25, to: app=api, allow: [8080/tcp, 5353/udp] }
      names: { from: world, to: app=web, allow: [5353/udp] }\n";
    stage.bulkhead.up(&file(WEB, "", both)).expect("applied");
    let listen = |actor: &Actor| {
        assert_eq!(actor.ask("make SOCK_STREAM SO_REUSEPORT"), "done");
        match actor.ask("bind 8080").as_str() {
            "done" => actor.ask("listen"),
            refused => refused.to_owned(),
        }
    };
    {
        let (web, api) = (Actor::start(&stage, "t/web"), Actor::start(&stage, "t/api"));
        assert_eq!(listen(&web), "done");
        assert_eq!(listen(&api), "EADDRINUSE", "each workload is a user of its own");
        // Datagrams: the kernel lets any two share a port that both ask to share. Policy has opened it to both.
        for actor in [&web, &api] {
            assert_eq!(actor.ask("make SOCK_DGRAM SO_REUSEADDR"), "done");
            assert_eq!(actor.ask("bind 5353"), "done");
        }
        assert_eq!(api.ask("make SOCK_DGRAM SO_REUSEADDR"), "done");
        assert_eq!(api.ask("bind 5354"), "EPERM");
    }
    stage.bulkhead.up(&file(WEB, ", user: 64123", both)).expect("applied");
    let (web, api) = (Actor::start(&stage, "t/web"), Actor::start(&stage, "t/api"));
    assert_eq!((listen(&web), listen(&api)), ("done".to_owned(), "done".to_owned()));
    // Some of the visitors come to api's socket, which lets nobody of them in.
    for _ in 0..24 {
        probe_tcp(&stage.outside, at(&format!("{HOST}:8080")), SILENCE / 4).expect("sent");
    }
    let flows = stage.flows(&["--to", "t/api", "--verdict", "drop"]);
    assert!(flows.iter().any(|flow| flow["target"]["port"] == 8080), "{flows:?}");
    assert_eq!(api.ask("serve"), "timeout", "nobody was let in");
    assert_eq!(web.ask("serve"), "done", "and at web they were");
}
