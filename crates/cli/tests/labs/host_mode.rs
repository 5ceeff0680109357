//! Workloads that share the host's stack (`mode: host`): judged at their cgroups, by the same policy as any other.
//!
//! The host of the stage is a namespace of its own, so that nothing is bound on the machine that runs this.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use testkit::server::{Reached, UdpEcho, probe_udp};
use testkit::{root_or_return, wait_for, wait_until};

use crate::handed_on::Actor;
use crate::stage::{ELSEWHERE, HOST, OUTSIDE, SILENCE, SOON, Stage, at, inside, reaches, serve};

/// How long a server may take to listen on a busy machine.
const START: Duration = Duration::from_secs(20);

/// Two services of a tenant, a third one that nobody may speak to, and policies that `extra` adds to.
fn file(extra: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      edge: {{ mode: host }}
    workloads:
      web: {{ labels: {{ app: web }}, run: [socat, -d, \"TCP-LISTEN:8080,fork,reuseaddr\", \"EXEC:cat\"] }}
      api: {{ labels: {{ app: api }}, run: [socat, -d, \"TCP6-LISTEN:9090,ipv6only=0,fork,reuseaddr\", \"EXEC:cat\"] }}
      shut: {{ labels: {{ app: shut }}, run: [socat, -d, \"TCP-LISTEN:7070,fork,reuseaddr\", \"EXEC:cat\"] }}
    policies:
      visitors: {{ from: world, to: app=web, allow: [8080/tcp] }}
      use: {{ from: app=web, to: app=api, allow: [9090/tcp] }}
{extra}"
    )
}

/// Whether a workload reaches an echo server.
fn speaks(stage: &Stage, workload: &str, to: &str) -> bool {
    let script = format!("echo hello | timeout 2 socat -t 2 - TCP:{to},connect-timeout=1");
    inside(stage, workload, &script).stdout.contains("hello")
}

fn listens(stage: &Stage, port: u16) {
    let table = || stage.host.command(&["ss", "-Hltn"]).map(|done| done.stdout).unwrap_or_default();
    let wanted = format!(":{port} ");
    let listens = wait_until("a listener", START, || table().contains(&wanted));
    assert!(listens.is_ok(), "{}", stage.bulkhead.log());
}

fn ready() -> Stage {
    let stage = Stage::new();
    stage.bulkhead.up(&file("")).expect("applied");
    listens(&stage, 8080);
    listens(&stage, 9090);
    stage
}

/// Names of pins of programs at cgroups.
pub(crate) fn pins(stage: &Stage) -> Vec<PathBuf> {
    let root = &stage.bulkhead.folders().bpffs;
    let versions = std::fs::read_dir(root).into_iter().flatten().flatten();
    let folders = versions.map(|entry| entry.path().join("cgroups"));
    folders
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect()
}

#[test]
fn services_on_the_hosts_stack_are_judged_as_any_other_root() {
    root_or_return!("services_on_the_hosts_stack_are_judged_as_any_other_root");
    let stage = ready();
    let _outside = serve(&stage.outside, OUTSIDE, &[80, 81]);
    let web = format!("{HOST}:8080");
    let api = format!("{HOST}:9090");
    // From the world: what a rule opens, and nothing else that listens on the same addresses.
    assert!(reaches(&stage.outside, &web), "a rule lets the world in");
    assert!(!reaches(&stage.outside, &api), "no rule does");
    assert_eq!(stage.drop_code(OUTSIDE_OF_LINK, "t/api"), "BH-D002");
    // From the host itself, which is no workload.
    assert!(!reaches(&stage.host, &web), "the host is not the world");
    // Among each other, over loopback and over the host's address.
    for address in ["127.0.0.1", HOST, "[::1]", "[::ffff:127.0.0.1]"] {
        assert!(speaks(&stage, "t/web", &format!("{address}:9090")), "web uses api at {address}");
        assert!(!speaks(&stage, "t/api", &format!("{address}:8080")), "not the other way round");
    }
    assert_eq!(stage.drop_code("t/api", "t/web"), "BH-D002");
    let listed = stage.bulkhead.cli_json(&["publish", "list"]).expect("a list");
    let ports = listed["ports"].as_array().expect("ports");
    for (id, port, world) in [("t/web", 8080, "allow"), ("t/api", 9090, "drop")] {
        let own = format!("{id}:{port}");
        let mut of_port = ports.iter().filter(|each| each["port"] == port).peekable();
        assert!(of_port.peek().is_some(), "{listed}");
        assert!(of_port.all(|each| each["to"] == own && each["world"] == world), "{listed}");
    }
    // To the world: refused before a packet leaves, and told.
    let refused = inside(&stage, "t/web", &format!("socat - TCP:{OUTSIDE}:80 </dev/null"));
    assert!(refused.stderr.contains("Operation not permitted"), "{refused:?}");
    assert_eq!(stage.drop_code("t/web", OUTSIDE), "BH-D002");
    let opened = "      out: { from: app=web, to: 203.0.113.0/24, allow: [80/tcp] }\n";
    stage.bulkhead.up(&file(opened)).expect("applied");
    assert!(speaks(&stage, "t/web", &format!("{OUTSIDE}:80")), "a rule lets it out");
    assert!(!speaks(&stage, "t/web", &format!("{OUTSIDE}:81")));
    // What it sends to itself is its own.
    assert!(speaks(&stage, "t/web", "127.0.0.1:8080"), "as in a namespace of its own");
}

#[test]
fn a_datagram_that_no_rule_lets_out_is_refused_however_it_is_sent_root() {
    root_or_return!("a_datagram_that_no_rule_lets_out_is_refused_however_it_is_sent_root");
    let stage = ready();
    // Unconnected, from a socket without a port: `sendmsg` refuses. From one with a port, the packet itself.
    for options in ["", ",bind=:0"] {
        let script = format!("echo x | socat - UDP4-SENDTO:{OUTSIDE}:53{options}");
        let done = inside(&stage, "t/web", &script);
        assert!(done.stderr.contains("Operation not permitted"), "{options}: {done:?}");
    }
    let _names = UdpEcho::start(&stage.outside, at(&format!("{OUTSIDE}:53"))).expect("a server");
    // A socket that was connected while that was allowed.
    let opened = "      names: { from: app=web, to: 203.0.113.0/24, allow: [53/udp] }\n";
    stage.bulkhead.up(&file(opened)).expect("applied");
    let script = format!("(echo a; sleep 3; echo b; sleep 1) | socat -u - UDP4:{OUTSIDE}:53 2>&1");
    let sent = std::thread::scope(|scope| {
        let sending = scope.spawn(|| inside(&stage, "t/web", &script));
        let flows = stage.flows(&["--from", "t/web", "--to", OUTSIDE, "--verdict", "allow"]);
        assert!(!flows.is_empty());
        stage.bulkhead.up(&file("")).expect("applied");
        sending.join().expect("it ends")
    });
    assert!(sent.stdout.contains("Operation not permitted"), "{sent:?}");
}

#[test]
fn a_change_of_policy_cuts_a_live_flow_root() {
    root_or_return!("a_change_of_policy_cuts_a_live_flow_root");
    let stage = ready();
    let stream =
        stage.outside.run(|| TcpStream::connect(at(&format!("{HOST}:8080")))).expect("the outside");
    let mut stream = stream.expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    let mut answer = [0; 5];
    stream.write_all(b"first").expect("sent");
    stream.read_exact(&mut answer).expect("echoed");
    let narrower = file("").replace("from: world", "from: 192.0.2.0/24");
    stage.bulkhead.up(&narrower).expect("applied");
    stream.set_read_timeout(Some(SILENCE)).expect("a timeout");
    stream.write_all(b"later").expect("sent");
    assert!(stream.read_exact(&mut answer).is_err(), "the flow is cut");
    let flows = stage.flows(&["--verdict", "drop", "--from", OUTSIDE_OF_LINK, "--to", "t/web"]);
    assert!(!flows.is_empty());
    assert!(!reaches(&stage.outside, &format!("{HOST}:8080")));
}

/// Where the outside sends from: its end of the link.
const OUTSIDE_OF_LINK: &str = "198.51.100.1";

#[test]
fn only_ports_that_a_rule_opens_may_be_bound_root() {
    root_or_return!("only_ports_that_a_rule_opens_may_be_bound_root");
    let stage = ready();
    let bind = |port: u16| {
        let script = format!("timeout 1 socat -u TCP-LISTEN:{port},reuseaddr - </dev/null");
        inside(&stage, "t/api", &script)
    };
    let refused = bind(2222);
    assert!(refused.stderr.contains("Operation not permitted"), "{refused:?}");
    let flows = stage.flows(&["--verdict", "drop", "--to", "t/api"]);
    let codes: Vec<&str> =
        flows.iter().filter_map(|flow| flow["reason"]["code"].as_str()).collect();
    assert!(codes.contains(&"BH-D043"), "{codes:?}");
    // The third service has no rule at all, so it never came to listen.
    let table = stage.host.check(&["ss", "-Hltn"]).expect("ss runs").stdout;
    assert!(!table.contains(":7070 "), "{table}");
    // A low port, once a rule opens it: the host's sysctl is as it was.
    let start = "net.ipv4.ip_unprivileged_port_start";
    let before = stage.host.check(&["sysctl", "-n", start]).expect("sysctl").stdout;
    let low = "      low: { from: world, to: app=api, allow: [443/tcp] }\n";
    stage.bulkhead.up(&file(low)).expect("applied");
    let bound = bind(443);
    assert!(
        !bound.stderr.contains("not permitted") && !bound.stderr.contains("denied"),
        "{bound:?}"
    );
    let after = stage.host.check(&["sysctl", "-n", start]).expect("sysctl").stdout;
    assert_eq!(before, after);
    // An audit lets bind, and says nothing.
    let audited =
        file("").replace("edge: { mode: host }", "edge: { mode: host, audit: { ingress: true } }");
    stage.bulkhead.up(&audited).expect("applied");
    listens(&stage, 7070);
}

#[test]
fn enforcement_outlives_the_agent_and_leaves_nothing_behind_root() {
    root_or_return!("enforcement_outlives_the_agent_and_leaves_nothing_behind_root");
    let mut stage = ready();
    assert!(pins(&stage).len() >= 16, "eight programs each: {:?}", pins(&stage));
    stage.bulkhead.kill_agent().expect("killed");
    assert!(reaches(&stage.outside, &format!("{HOST}:8080")));
    assert!(!reaches(&stage.outside, &format!("{HOST}:9090")));
    stage.bulkhead.start_agent().expect("started again");
    assert!(!reaches(&stage.outside, &format!("{HOST}:9090")));
    // A pin that somebody removes takes its program off; it is back.
    let pin = pins(&stage).into_iter().find(|pin| pin.ends_with("1-sent_to_socket"));
    let pin = pin.expect("the first endpoint's");
    std::fs::remove_file(&pin).expect("removed");
    wait_until("the programs are back", Duration::from_secs(30), || pin.exists())
        .expect("repaired");
    assert!(!reaches(&stage.outside, &format!("{HOST}:9090")));
    stage.bulkhead.down_clean().expect("taken down");
    assert_eq!(pins(&stage), Vec::<PathBuf>::new());
    assert!(!reaches(&stage.host, &format!("{HOST}:8080")), "nothing runs");
}

#[test]
fn a_workload_on_the_hosts_stack_gets_no_further_than_its_cgroup_root() {
    root_or_return!("a_workload_on_the_hosts_stack_gets_no_further_than_its_cgroup_root");
    let stage = ready();
    // An abstract unix socket of a daemon of the host.
    let mut daemon = std::process::Command::new("socat");
    daemon.args(["-d", "ABSTRACT-LISTEN:a-daemon,fork", "EXEC:cat"]);
    let _daemon = stage.host.spawn(&mut daemon).expect("a daemon");
    let hosts =
        || stage.host.command(&["sh", "-c", "echo hi | socat -t 1 - ABSTRACT-CONNECT:a-daemon"]);
    wait_until("the daemon", SOON, || hosts().is_ok_and(|done| done.stdout.contains("hi")))
        .expect("the host itself reaches it");
    let done = inside(&stage, "t/web", "echo hi | socat -t 1 - ABSTRACT-CONNECT:a-daemon");
    assert!(!done.stdout.contains("hi"), "{done:?}");
    // Other cgroups, packets past the stack, changes of the host's network.
    for (script, word) in [
        (
            "ls /sys/fs/cgroup/* 2>&1; echo 0 > /sys/fs/cgroup/cgroup.procs; echo 0 > /sys/fs/cgroup/unified/cgroup.procs",
            "",
        ),
        ("socat - INTERFACE:uplink </dev/null", ""),
        ("socat - IP4-SENDTO:203.0.113.9:17 </dev/null", ""),
        ("ip link set uplink down", ""),
        ("ip addr add 192.0.2.1/32 dev lo", ""),
    ] {
        let done = inside(&stage, "t/web", script);
        assert_ne!(done.code(), Some(0), "{script}: {done:?} {word}");
    }
    let link = stage.host.check(&["ip", "-br", "link", "show", "uplink"]).expect("ip").stdout;
    assert!(link.contains("UP"), "{link}");
    assert!(!speaks(&stage, "t/web", &format!("{OUTSIDE}:80")), "still judged");
    // The namespace of a command is the host's, and its address is nobody else's.
    let spoofed = format!("echo x | socat -t 1 - TCP:{HOST}:9090,bind={ELSEWHERE}");
    assert_ne!(inside(&stage, "t/web", &spoofed).code(), Some(0));
}

/// A data store, who asks it, and who asks it for a new connection each time.
const BUSY: &str = "bulkhead: 1
tenants:
  t:
    networks:
      edge: { mode: host }
    workloads:
      db: { labels: { app: db }, run: [redis-server, --port, \"6380\", --save, \"\", --protected-mode, \"no\"] }
      load: { labels: { app: load }, run: [sleep, \"3600\"] }
    policies:
      use: { from: app=load, to: app=db, allow: [6380/tcp] }
";

#[test]
fn connections_within_the_host_begin_and_end_without_a_drop_root() {
    root_or_return!("connections_within_the_host_begin_and_end_without_a_drop_root");
    let stage = Stage::new();
    stage.bulkhead.up(BUSY).expect("applied");
    listens(&stage, 6380);
    for (address, keep) in [("127.0.0.1", "0"), (HOST, "0"), ("127.0.0.1", "1")] {
        let script = format!(
            "timeout 100 redis-benchmark -h {address} -p 6380 -c 20 -n 4000 -k {keep} -t ping_mbulk -q"
        );
        let done = inside(&stage, "t/load", &script);
        assert!(done.stdout.contains("requests per second"), "{done:?}");
    }
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    for workload in status["workloads"].as_array().expect("workloads") {
        assert_eq!(workload["drops"], 0, "{workload}");
        assert!(workload["sent_packets"].as_u64() > Some(10_000), "{workload}");
    }
}

#[test]
fn why_plan_and_status_name_it_as_any_other_root() {
    root_or_return!("why_plan_and_status_name_it_as_any_other_root");
    let stage = ready();
    let allowed = stage.why("t/web", "t/api", "9090/tcp");
    assert_eq!(allowed["verdict"], "allow", "{allowed}");
    assert_eq!(allowed["rule"]["path"], "tenants.t.policies.use", "{allowed}");
    assert_eq!(stage.why("t/api", "t/web", "8080/tcp")["verdict"], "drop");
    assert_eq!(stage.why("world", "t/web", "8080/tcp")["verdict"], "allow");
    assert_eq!(stage.why("host", "t/web", "8080/tcp")["verdict"], "drop");
    assert_eq!(stage.why("t/web", OUTSIDE, "80/tcp")["verdict"], "drop");
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    let all = status["workloads"].as_array().expect("workloads");
    let web: &Value = all.iter().find(|each| each["id"] == "t.web").expect("it is there");
    assert_eq!(web["addresses"][0], "host", "{web}");
    assert!(web["enforced_since"].is_string(), "{web}");
    assert!(reaches(&stage.outside, &format!("{HOST}:8080")));
    let flows = stage.flows(&["--to", "t/web", "--verdict", "allow"]);
    assert_eq!(flows[0]["target"]["address"], HOST, "{}", flows[0]);
    // Datagrams of the outside are judged at the socket as well.
    let reached = probe_udp(&stage.outside, at(&format!("{HOST}:8080")), SILENCE).expect("sent");
    assert_ne!(reached, Reached::Answered);
}

#[test]
fn a_port_that_was_used_before_is_used_again_root() {
    root_or_return!("a_port_that_was_used_before_is_used_again_root");
    let stage = ready();
    let opened = "      out: { from: app=web, to: 203.0.113.0/24, allow: [80/tcp] }\n";
    stage.bulkhead.up(&file(opened)).expect("applied");
    // The one port that connections come from; the kernel takes it again a second after the last one.
    stage.host.sysctl("net.ipv4.ip_local_port_range", "40000 40000").expect("a sysctl");
    stage.host.sysctl("net.ipv4.tcp_tw_reuse", "1").expect("a sysctl");
    let listener = stage.outside.run(|| TcpListener::bind(at(&format!("{OUTSIDE}:80"))));
    let listener = listener.expect("the outside").expect("a listener");
    listener.set_nonblocking(true).expect("a flag");
    let web = Actor::start(&stage, "t/web");
    for turn in 0..4 {
        let connected = || {
            assert_eq!(web.ask("make SOCK_STREAM"), "done");
            web.ask(&format!("connect {OUTSIDE} 80")) == "done"
        };
        wait_until("the port", SOON, connected).expect("it is free again");
        let mut stream = wait_for("a connection", SOON, || listener.accept().ok()).expect("it").0;
        stream.set_nonblocking(false).expect("a flag");
        let spoken = std::thread::scope(|scope| {
            let speaking = scope.spawn(|| web.ask("speak"));
            let mut said = [0; 5];
            let heard =
                stream.set_read_timeout(Some(SOON)).and_then(|()| stream.read_exact(&mut said));
            heard.and_then(|()| stream.write_all(&said)).expect("heard");
            speaking.join().expect("it ends")
        });
        assert_eq!(spoken, "hello", "turn {turn}");
        // The workload has closed and waits; then the other end closes, too.
        assert_eq!(web.ask("make SOCK_STREAM"), "done");
        let waiting = || {
            let argv = ["ss", "-Hn", "state", "fin-wait-2"];
            stage.host.check(&argv).is_ok_and(|done| done.stdout.contains(":40000"))
        };
        wait_until("the connection's end", SOON, waiting).expect("closed on one side");
        drop(stream);
    }
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    let all = status["workloads"].as_array().expect("workloads");
    let web = all.iter().find(|each| each["id"] == "t.web").expect("it is there");
    assert_eq!(web["drops"], 0, "{web}");
}

#[test]
fn programs_that_cannot_be_loaded_refuse_the_file_and_nothing_has_changed_root() {
    root_or_return!("programs_that_cannot_be_loaded_refuse_the_file_and_nothing_has_changed_root");
    let stage = Stage::new();
    let before = "bulkhead: 1\ntenants:\n  t:\n    networks: { n: { mode: bridge, subnets: [10.9.0.0/24] } }\n    workloads: { w: { run: [sleep, \"3600\"] } }\n";
    stage.bulkhead.up(before).expect("applied");
    // A map that these programs have with others is gone: they would be of no use with another one.
    let versions = std::fs::read_dir(&stage.bulkhead.folders().bpffs).expect("pins").flatten();
    for version in versions {
        std::fs::remove_file(version.path().join("maps/ROOMS")).expect("removed");
    }
    let refused = format!("{:#}", stage.bulkhead.up(&file("")).expect_err("refused"));
    assert!(refused.contains("BH0215") && refused.contains("mode host"), "{refused}");
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    let all = status["workloads"].as_array().expect("workloads");
    let ids: Vec<&str> = all.iter().filter_map(|each| each["id"].as_str()).collect();
    assert_eq!(ids, ["t.w"], "what was in force is: {status}");
    assert_eq!(pins(&stage), Vec::<PathBuf>::new());
}
