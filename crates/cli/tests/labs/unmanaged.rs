//! What is on a bridge of the file and nobody's in it: recorded or closed, never somebody else, from its first packet on, with and without an agent.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::packet::{Frame, Mac, SYN, arp, ip, mac_text};
use testkit::server::UdpEcho;
use testkit::{Namespace, Wire, root_or_return, uninterrupted, wait_for, wait_until};

use crate::in_place::{mac, plug};
use crate::published::counted;
use crate::stage::{HOST, OUTSIDE, SOON, Stage, at, reaches, serve};

const GATEWAY: &str = "10.99.0.1";
const A: &str = "10.99.0.10";
const M: &str = "10.99.0.30";
const N: &str = "10.99.0.31";

/// A foreign bridge with one workload and two strangers, from where the world is reached and reaches.
struct Street {
    stage: Stage,
    a: Namespace,
    m: Namespace,
    n: Namespace,
}

impl Street {
    fn new() -> Self {
        let mut stage = Stage::new();
        let spaces = ["a", "m", "n"].map(|name| stage.lab.namespace(name).expect("a namespace"));
        let gateway = format!("{GATEWAY}/24");
        stage.lab.bridge(&stage.host, "br9", &[&gateway]).expect("a bridge");
        stage.host.sysctl("net.ipv4.ip_forward", "1").expect("a sysctl");
        stage.outside.ip(&format!("route add 10.99.0.0/16 via {HOST}")).expect("a route");
        for (space, address) in spaces.iter().zip([A, M, N]) {
            plug(&stage, space, address);
            space.ip(&format!("route add default via {GATEWAY}")).expect("a way out");
        }
        let [a, m, n] = spaces;
        Self { stage, a, m, n }
    }

    /// A file with `top` at its top; the workload may be asked at 80/tcp by the world and by the host.
    fn up(&self, top: &str) {
        let mac = mac_text(mac(&self.a));
        let file = format!(
            "bulkhead: 1
{top}tenants:
  t:
    networks:
      lan: {{ external: {{ bridge: br9 }}, subnets: [10.99.0.0/24] }}
      side: {{ external: {{ bridge: br8 }}, subnets: [10.99.8.0/24] }}
    workloads:
      a: {{ network: lan, port: {{ interface: va, mac: \"{mac}\" }}, address: [{A}] }}
    policies:
      in: {{ from: [world, host], to: workload=a, allow: [80/tcp, 53/udp] }}
"
        );
        self.stage.bulkhead.up(&file).expect("applied");
    }

    /// What `status` says of what is nobody's.
    fn unmanaged(&self) -> Value {
        let status = self.stage.bulkhead.cli_json(&["status"]).expect("a status");
        status["agent"]["unmanaged"].clone()
    }

    /// The ports that are nobody's, by interface, with their network; those that are closed are left out.
    fn ports(&self) -> Vec<String> {
        let unmanaged = self.unmanaged();
        let ports = unmanaged["ports"].as_array().cloned().unwrap_or_default();
        let shown = ports.iter().filter(|port| port["closed"] == false).map(|port| {
            let [interface, network] = [&port["interface"], &port["network"]];
            format!("{}@{}", interface.as_str().unwrap_or("?"), network.as_str().unwrap_or("?"))
        });
        shown.collect()
    }

    /// Waits until a port is, or is not, among those.
    fn wait(&self, port: &str, is_there: bool) {
        let look = || self.ports().contains(&port.to_owned()) == is_there;
        wait_until(&format!("{port}: {is_there}"), SOON, look).expect("it is as it should be");
    }

    /// Records of what passed between two parties, with their verdicts.
    fn passed(&self, from: &str, to: &str) -> Vec<String> {
        let flows = self.stage.flows(&["--from", from, "--to", to, "-n", "1000"]);
        let opened = flows.iter().filter(|flow| flow["kind"] == "open");
        opened.map(|flow| flow["verdict"].as_str().unwrap_or_default().to_owned()).collect()
    }
}

#[test]
fn what_nobody_has_passes_and_is_recorded_root() {
    root_or_return!("what_nobody_has_passes_and_is_recorded_root");
    let mut street = Street::new();
    let _services = [
        serve(&street.stage.outside, OUTSIDE, &[80, 81]),
        serve(&street.stage.host, GATEWAY, &[80]),
        serve(&street.a, A, &[80]),
        serve(&street.m, M, &[80]),
        serve(&street.n, N, &[80]),
    ];
    street.up("");
    assert_eq!(street.unmanaged()["posture"], "audit");
    assert_eq!(street.ports(), ["br9@t.lan", "vm@t.lan", "vn@t.lan"]);
    assert!(reaches(&street.n, &format!("{OUTSIDE}:80")), "the world");
    assert!(reaches(&street.n, &format!("{GATEWAY}:80")), "the host");
    assert!(reaches(&street.n, &format!("{M}:80")), "its like");
    assert!(reaches(&street.stage.outside, &format!("{N}:80")), "from the world");
    assert!(reaches(&street.stage.host, &format!("{N}:80")), "from the host");
    assert!(!reaches(&street.n, &format!("{A}:80")), "a workload judges by its own policy");
    assert!(!reaches(&street.a, &format!("{N}:80")), "both ways");
    assert!(reaches(&street.stage.outside, &format!("{A}:80")), "the workload's policy holds");
    for (from, to) in [
        ("unmanaged", "world"),
        ("unmanaged", "host"),
        ("unmanaged", "unmanaged"),
        ("world", "unmanaged"),
        ("host", "unmanaged"),
    ] {
        assert_eq!(street.passed(from, to), ["audit"], "{from} to {to}, once");
    }
    assert_eq!(street.stage.drop_code("unmanaged", "t/a"), "BH-D002");
    let text = street.stage.bulkhead.cli(&["status"]).expect("a status").stdout;
    assert!(text.contains("unmanaged: audit; 2 ports (t.lan: vm, vn)"), "{text}");
    let counted = |metric: &str| counted(&street.stage, metric);
    assert_eq!(counted("bulkhead_unmanaged_ports{state=\"open\"}"), 2);
    assert_eq!(counted("bulkhead_unmanaged_ports_refused"), 0);
    assert!(counted("bulkhead_unmanaged_flows_total") >= 5, "one for each of those");
    assert_eq!(counted("bulkhead_unmanaged_flows_unrecorded_total"), 0);
    let doctor = street.stage.bulkhead.cli(&["doctor"]).expect("doctor").stdout;
    assert!(doctor.contains("vm on t.lan and 1 more is nobody's in the file"), "{doctor}");

    // Without an agent as with one; what came meanwhile is judged when it is back, and what is nobody's stays so.
    street.stage.bulkhead.kill_agent().expect("killed");
    assert!(reaches(&street.n, &format!("{OUTSIDE}:81")));
    assert!(!reaches(&street.n, &format!("{A}:80")));
    street.stage.bulkhead.start_agent().expect("started again");
    let told = || {
        let flows = street.stage.flows(&["--from", "unmanaged", "--to", "world"]);
        flows.iter().any(|flow| flow["target"]["port"] == 81)
    };
    wait_until("the record of what happened meanwhile", SOON, told).expect("it is told");
    street.up("unmanaged: allow\n");
    assert!(reaches(&street.n, &format!("{OUTSIDE}:80")));
    let newest = || street.passed("unmanaged", "world").last().is_some_and(|it| it == "allow");
    wait_until("an allowed flow", SOON, newest).expect("it is told");
    street.stage.bulkhead.down_clean().expect("taken down");
    assert!(reaches(&street.n, &format!("{A}:80")), "as it was");
}

/// Flows of ports that are nobody's, at one time.
const FOLLOWED: u16 = 16_384;

#[test]
fn more_flows_than_are_followed_pass_and_are_counted_root() {
    root_or_return!("more_flows_than_are_followed_pass_and_are_counted_root");
    let street = Street::new();
    street.up("");
    let server =
        UdpEcho::start(&street.stage.outside, at(&format!("{OUTSIDE}:53"))).expect("a server");
    let client = street.n.run(|| UdpSocket::bind("0.0.0.0:0")).expect("in").expect("bound");
    client.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let unrecorded = || counted(&street.stage, "bulkhead_unmanaged_flows_unrecorded_total");
    // Each port is a flow. Some end while others begin, and a queue may be full.
    let mut ports = (1..=u16::MAX).filter(|port| *port != 53).cycle();
    let full = || {
        for port in ports.by_ref().take(usize::from(FOLLOWED)) {
            // An error is one that came back for an earlier port.
            let _earlier = client.send_to(b"x", (OUTSIDE, port));
        }
        unrecorded() > 0
    };
    wait_until("more than are followed", SOON * 4, full).expect("they are counted");
    assert!(counted(&street.stage, "bulkhead_unmanaged_flows_total") >= usize::from(FOLLOWED));
    let used = counted(&street.stage, "bulkhead_unmanaged_flow_table_entries");
    assert!(used <= usize::from(FOLLOWED), "{used}");
    let before = server.received();
    let echoes = || client.send_to(b"x", (OUTSIDE, 53)).is_ok() && server.received() > before;
    wait_until("a flow beyond", SOON, echoes).expect("it passes");
    let lost = street.stage.bulkhead.cli_json(&["status"]).expect("it")["agent"].clone();
    assert!(lost["events_lost"].as_u64() >= lost["unmanaged"]["unrecorded"].as_u64(), "{lost}");
    assert_eq!(lost["unmanaged"]["drops"], 0, "nothing is dropped: {lost}");
    let doctor = street.stage.bulkhead.cli(&["doctor"]).expect("doctor").stdout;
    assert!(doctor.contains("passed without a record: at most 16384 such flows"), "{doctor}");
}

#[test]
fn unmanaged_deny_closes_it_to_everybody_and_live_flows_with_it_root() {
    root_or_return!("unmanaged_deny_closes_it_to_everybody_and_live_flows_with_it_root");
    let mut street = Street::new();
    let _services = [
        serve(&street.stage.outside, OUTSIDE, &[80]),
        serve(&street.stage.host, GATEWAY, &[80]),
        serve(&street.a, A, &[80]),
        serve(&street.m, M, &[80]),
        serve(&street.n, N, &[80]),
    ];
    street.up("");
    let server =
        UdpEcho::start(&street.stage.outside, at(&format!("{OUTSIDE}:53"))).expect("a server");
    let client = street.n.run(|| UdpSocket::bind("0.0.0.0:0")).expect("in").expect("bound");
    client.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
    let echoes = || {
        let sent = client.send_to(b"x", format!("{OUTSIDE}:53")).is_ok();
        sent && uninterrupted(|| client.recv(&mut [0; 4])).is_ok()
    };
    assert!(wait_until("an answer", SOON, echoes).is_ok());

    street.up("unmanaged: deny\n");
    let before = server.received();
    assert!(!echoes(), "a live flow is cut");
    assert_eq!(server.received(), before);
    let closed = |street: &Street| {
        assert!(!reaches(&street.n, &format!("{OUTSIDE}:80")), "the world");
        assert!(!reaches(&street.n, &format!("{GATEWAY}:80")), "the host");
        assert!(!reaches(&street.n, &format!("{M}:80")), "its like");
        assert!(!reaches(&street.stage.outside, &format!("{N}:80")), "from the world");
        assert!(!reaches(&street.stage.host, &format!("{N}:80")), "from the host");
        assert!(reaches(&street.stage.outside, &format!("{A}:80")), "the workload's policy holds");
    };
    closed(&street);
    assert_eq!(street.stage.drop_code("unmanaged", "world"), "BH-D002");
    street.stage.bulkhead.kill_agent().expect("killed");
    closed(&street);

    // What comes while no agent runs finds nobody at its port, and the bridge closed on the way to the host and beyond.
    let late = street.stage.lab.namespace("late").expect("a namespace");
    plug(&street.stage, &late, "10.99.0.40");
    late.ip(&format!("route add default via {GATEWAY}")).expect("a way out");
    let wire = Wire::open(&late, "eth0").expect("a wire");
    let gateway = street.stage.host.mac("br9").expect("the bridge's MAC");
    let syn = Frame::new(mac(&late), gateway).ip(ip("10.99.0.40"), ip(OUTSIDE)).udp(9, 53);
    for _ in 0..20 {
        wire.send(&syn.bytes()).expect("sent");
    }
    assert!(!reaches(&late, &format!("{GATEWAY}:80")), "the host");
    assert!(!reaches(&late, &format!("{OUTSIDE}:80")), "the world");
    assert!(!reaches(&late, &format!("{A}:80")), "a workload");
    assert_eq!(server.received(), before);
    street.stage.bulkhead.start_agent().expect("started again");
    street.wait("vlate@t.lan", true);
    closed(&street);
}

#[test]
fn nobody_speaks_for_a_workload_or_the_host_root() {
    root_or_return!("nobody_speaks_for_a_workload_or_the_host_root");
    let street = Street::new();
    street.up("unmanaged: allow\n");
    let server = UdpEcho::start(&street.a, at(&format!("{A}:53"))).expect("a server");
    let neighbour = UdpEcho::start(&street.m, at(&format!("{M}:53"))).expect("a server");
    let own = mac(&street.n);
    let [a, m] = [mac(&street.a), mac(&street.m)];
    let wire = Wire::open(&street.n, "eth0").expect("a wire");
    let datagram = |from: Mac, to: Mac, ends: [&str; 2]| {
        Frame::new(from, to).ip(ip(ends[0]), ip(ends[1])).udp(4000, 53).bytes()
    };
    let party = |mac, text: &str| arp::Party { mac, ip: text.parse().expect("an address") };
    for (what, frame, code) in [
        ("a workload's MAC", datagram(a, m, [N, M]), "BH-D011"),
        ("a workload's address", datagram(own, m, [A, M]), "BH-D012"),
        ("the host's address", datagram(own, a, [GATEWAY, A]), "BH-D012"),
        ("an address of the world", datagram(own, a, [OUTSIDE, A]), "BH-D012"),
        ("who has a workload's address", arp::gratuitous(party(own, A)), "BH-D013"),
        ("who is the gateway", arp::reply(party(own, GATEWAY), party(a, A)), "BH-D013"),
    ] {
        let told = || {
            wire.send(&frame).expect("sent");
            let flows = street.stage.flows(&["--verdict", "drop", "-n", "1000"]);
            flows.iter().any(|flow| {
                flow["reason"]["code"] == code && flow["source"]["identity"] == "unmanaged"
            })
        };
        wait_until(what, SOON, told).unwrap_or_else(|error| panic!("{what}: {error}"));
    }
    assert_eq!((server.received(), neighbour.received()), (0, 0), "nothing of it arrived");
    // With its own name it is heard where it may be: the host's rule is not its.
    assert!(
        wait_until("its own", SOON, || {
            wire.send(&datagram(own, m, [N, M])).expect("sent");
            neighbour.received() > 0
        })
        .is_ok()
    );
    let seen = server.received();
    wire.send(&datagram(own, a, [N, A])).expect("sent");
    wait_for("a drop", SOON, || {
        (street.stage.drop_code("unmanaged", "t/a") == "BH-D002").then_some(())
    })
    .expect("the workload's policy does not name it");
    assert_eq!(server.received(), seen);
    let syn = Frame::new(own, a).ip(ip(N), ip(A)).tcp(9, 22, SYN).bytes();
    wire.send(&syn).expect("sent");
}

#[test]
fn a_new_port_is_judged_from_its_first_packet_to_the_host_and_the_world_root() {
    root_or_return!("a_new_port_is_judged_from_its_first_packet_to_the_host_and_the_world_root");
    let mut street = Street::new();
    street.up("unmanaged: deny\n");
    let host = UdpEcho::start(&street.stage.host, at(&format!("{GATEWAY}:54"))).expect("a server");
    let world =
        UdpEcho::start(&street.stage.outside, at(&format!("{OUTSIDE}:54"))).expect("a server");
    let gateway = street.stage.host.mac("br9").expect("the bridge's MAC");
    let mut gaps = Vec::new();
    for round in 0..5 {
        // It is up and speaks before its port is on the bridge.
        let name = format!("new{round}");
        let space = street.stage.lab.namespace(&name).expect("a namespace");
        let port = format!("v{name}");
        street.stage.lab.veth((&street.stage.host, &port), (&space, "eth0")).expect("a veth");
        space.address("eth0", &format!("10.99.0.{}/24", 50 + round)).expect("an address");
        street.stage.host.ip(&format!("link set {port} up")).expect("up");
        let wire = Wire::open(&space, "eth0").expect("a wire");
        let frame = |to: &str| {
            let from = format!("10.99.0.{}", 50 + round);
            Frame::new(mac(&space), gateway).ip(ip(&from), ip(to)).udp(9, 54).bytes()
        };
        let frames = [frame(GATEWAY), frame(OUTSIDE)];
        let open = Instant::now();
        street.stage.host.ip(&format!("link set {port} master br9")).expect("a port");
        let judged = wait_until("a judged port", SOON, || {
            for frame in &frames {
                wire.send(frame).expect("sent");
            }
            street.ports().contains(&format!("{port}@t.lan"))
        });
        judged.expect("it is judged");
        gaps.push(open.elapsed().as_millis());
    }
    assert_eq!((host.received(), world.received()), (0, 0), "not one packet");
    println!("new ports had programs of their own within {gaps:?} ms, of which `status` took most");
}

#[test]
fn a_port_that_is_renamed_moved_or_leaves_is_what_its_bridge_makes_it_root() {
    root_or_return!("a_port_that_is_renamed_moved_or_leaves_is_what_its_bridge_makes_it_root");
    let street = Street::new();
    let host = &street.stage.host;
    street.stage.lab.bridge(host, "br8", &["10.99.8.1/24"]).expect("a bridge");
    street.stage.lab.bridge(host, "br7", &["10.99.7.1/24"]).expect("a bridge");
    let _web = [serve(host, GATEWAY, &[80]), serve(host, "10.99.8.1", &[80])];
    street.up("unmanaged: deny\n");
    street.wait("vn@t.lan", true);
    host.ip("link set vn down\nlink set vn name other\nlink set other up").expect("renamed");
    street.wait("other@t.lan", true);
    assert!(!reaches(&street.n, &format!("{GATEWAY}:80")), "renamed");
    // With the name of the workload's port it is not the workload: that one's is somewhere else.
    host.ip("link set va nomaster\nlink set other master br8").expect("moved");
    street.wait("other@t.side", true);
    street.n.ip("addr add 10.99.8.31/24 dev eth0").expect("an address");
    assert!(!reaches(&street.n, "10.99.8.1:80"), "moved");
    host.ip("link set other master br7").expect("moved to a bridge that no file knows");
    street.wait("other@t.side", false);
    let free = || {
        let ping = ["ping", "-c", "1", "-W", "1", "10.99.7.1"];
        street.n.ip("addr replace 10.99.7.31/24 dev eth0").is_ok()
            && street.n.command(&ping).is_ok_and(|done| done.success().is_ok())
    };
    wait_until("what is not in the file", SOON, free).expect("it is left alone");
}

#[test]
fn a_flood_of_ports_is_followed_and_forgotten_root() {
    root_or_return!("a_flood_of_ports_is_followed_and_forgotten_root");
    let street = Street::new();
    let host = &street.stage.host;
    street.up("unmanaged: deny\n");
    let each = |line: &dyn Fn(usize) -> String| (0..100).map(line).collect::<Vec<_>>().join("\n");
    host.ip(&each(&|at| format!("link add f{at} type veth peer name g{at}"))).expect("made");
    host.ip(&each(&|at| format!("link set f{at} master br9 up"))).expect("ports");
    let count = || street.ports().iter().filter(|port| port.starts_with('f')).count();
    wait_until("all of them", SOON, || count() == 100).expect("they are judged");
    let _web = serve(&street.a, A, &[80]);
    assert!(reaches(&street.stage.outside, &format!("{A}:80")), "workloads go on");
    host.ip(&each(&|at| format!("link delete f{at}"))).expect("gone");
    wait_until("none of them", SOON, || count() == 0).expect("they are forgotten");
}
