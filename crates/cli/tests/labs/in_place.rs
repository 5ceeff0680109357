//! Ports in place: veths that somebody else made, on a bridge that somebody else made, are enforced where they are.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, SystemTime};

use serde_json::Value;
use testkit::packet::{Frame, Mac, SYN, ip, mac_text};
use testkit::server::UdpEcho;
use testkit::{Namespace, Scope, Wire, root_or_return, uninterrupted, wait_for, wait_until};

use crate::stage::{SOON, Stage, at, reaches, serve, settled};

/// The bridge's address on the host.
const GATEWAY: &str = "10.99.0.1";
const A: &str = "10.99.0.10";
const B: &str = "10.99.0.20";
const NEIGHBOUR: &str = "10.99.0.30";

/// A foreign bridge on the host with two workloads and a neighbour that nobody manages.
struct Street {
    stage: Stage,
    a: Namespace,
    b: Namespace,
    neighbour: Namespace,
}

impl Street {
    fn new() -> Self {
        let mut street = Self::without_agent();
        street.stage.bulkhead.start_agent().expect("the agent starts");
        street
    }

    fn without_agent() -> Self {
        let mut stage = Stage::without_agent();
        let spaces = ["a", "b", "n"].map(|name| stage.lab.namespace(name).expect("a namespace"));
        let gateway = format!("{GATEWAY}/24");
        stage.lab.bridge(&stage.host, "br9", &[&gateway]).expect("a bridge");
        for (space, address) in spaces.iter().zip([A, B, NEIGHBOUR]) {
            plug(&stage, space, address);
        }
        let [a, b, neighbour] = spaces;
        Self { stage, a, b, neighbour }
    }

    /// A file in which `policies` stand; each port is held to the MAC address that it has now.
    fn file(&self, policies: &str) -> String {
        let [a, b] = [&self.a, &self.b].map(|space| mac_text(mac(space)));
        format!(
            "bulkhead: 1
tenants:
  t:
    networks:
      lan: {{ external: {{ bridge: br9 }}, subnets: [10.99.0.0/24] }}
    workloads:
      a: {{ port: {{ interface: va, mac: \"{a}\" }}, address: [{A}] }}
      b: {{ port: {{ interface: vb, mac: \"{b}\" }}, address: [{B}] }}
    policies:
{policies}"
        )
    }

    fn workload(&self, id: &str) -> Value {
        let status = self.stage.bulkhead.cli_json(&["status"]).expect("a status");
        let all = status["workloads"].as_array().expect("workloads");
        all.iter().find(|each| each["id"] == id).expect("the workload").clone()
    }

    /// Waits until a workload's port is enforced; since when it is.
    fn enforced(&self, id: &str) -> SystemTime {
        let look = || {
            let since = self.workload(id)["enforced_since"].as_str()?.parse().ok();
            since.map(|since: jiff::Timestamp| since.into())
        };
        wait_for("an enforced port", SOON, look).expect("it is enforced")
    }
}

const WEB: &str = "      web: { from: workload=a, to: workload=b, allow: [80/tcp] }\n";
const UP: &str = "      up: { from: workload=a, to: host, allow: [53/udp] }\n";

/// Puts a namespace on the bridge, as a runtime does: a veth, its port, addresses, up.
pub(crate) fn plug(stage: &Stage, space: &Namespace, address: &str) {
    let port = format!("v{}", space.name().rsplit(['.', '-']).next().expect("a name"));
    stage.lab.veth((&stage.host, &port), (space, "eth0")).expect("a veth");
    stage.host.ip(&format!("link set {port} master br9")).expect("a port");
    space.address("eth0", &format!("{address}/24")).expect("an address");
}

pub(crate) fn mac(space: &Namespace) -> Mac {
    space.mac("eth0").expect("a MAC address")
}

/// Whether the echo comes back.
fn echoes(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut buffer).is_ok()
}

#[test]
fn policy_holds_both_ways_and_the_bridge_stays_as_it_was_root() {
    root_or_return!("policy_holds_both_ways_and_the_bridge_stays_as_it_was_root");
    let mut street = Street::without_agent();
    let _web = serve(&street.b, B, &[80, 81]);
    let _back = serve(&street.a, A, &[80]);
    let _host = serve(&street.stage.host, GATEWAY, &[80]);
    assert!(reaches(&street.b, &format!("{A}:80")), "as it was made, everybody reaches everybody");
    let before = settled(&Scope::of(&street.stage.host));
    street.stage.bulkhead.start_agent().expect("the agent starts");

    street.stage.bulkhead.up(&street.file(WEB)).expect("applied");
    assert!(reaches(&street.a, &format!("{B}:80")));
    assert!(!reaches(&street.a, &format!("{B}:81")), "another port");
    assert!(!reaches(&street.b, &format!("{A}:80")), "the other way");
    assert!(!reaches(&street.a, &format!("{GATEWAY}:80")), "the host");
    assert!(!reaches(&street.stage.host, &format!("{B}:80")), "from the host");
    assert!(
        !reaches(&street.neighbour, &format!("{B}:80")),
        "from a neighbour that nobody manages"
    );
    assert!(!reaches(&street.b, &format!("{NEIGHBOUR}:80")));
    assert_eq!(street.stage.drop_code("t/b", "t/a"), "BH-D002");
    assert_eq!(street.stage.drop_code("unmanaged", "t/b"), "BH-D002");
    let why = street.stage.why("t/a", "t/b", "80/tcp");
    assert_eq!(why["verdict"], "allow", "{why}");
    let why = street.stage.why("host", "t/b", "80/tcp");
    assert_eq!((&why["verdict"], &why["from"]["kind"]), (&"drop".into(), &"host".into()), "{why}");
    assert!(street.workload("t.a")["enforced_since"].is_string());

    street.stage.bulkhead.down_clean().expect("taken down");
    assert!(reaches(&street.b, &format!("{A}:80")), "as before");
    assert_eq!(before.diff(&settled(&Scope::of(&street.stage.host))), "");
}

#[test]
fn nobody_speaks_for_a_port_in_place_root() {
    root_or_return!("nobody_speaks_for_a_port_in_place_root");
    let street = Street::new();
    let server = UdpEcho::start(&street.b, at(&format!("{B}:53"))).expect("a server");
    let dns = "      dns: { from: workload=a, to: workload=b, allow: [53/udp] }\n";
    street.stage.bulkhead.up(&street.file(dns)).expect("applied");
    let client = street.a.run(|| UdpSocket::bind(format!("{A}:4000"))).expect("in").expect("bound");
    let answered = || {
        client.set_read_timeout(Some(Duration::from_millis(300))).expect("a timeout");
        let sent = client.send_to(b"x", format!("{B}:53")).is_ok();
        sent && uninterrupted(|| client.recv(&mut [0; 4])).is_ok()
    };
    assert!(wait_until("an answer", SOON, answered).is_ok());
    let seen = server.received();
    // A neighbour that knows all of it, its MAC address included, joins the live flow and opens another one.
    let wire = Wire::open(&street.neighbour, "eth0").expect("a wire");
    let forged = |port| Frame::new(mac(&street.a), mac(&street.b)).ip(ip(A), ip(B)).udp(port, 53);
    for port in [4000, 4001] {
        wire.send(&forged(port).bytes()).expect("sent");
    }
    let code = || street.stage.drop_code("unmanaged", "t/b") == "BH-D011";
    wait_until("a forged source", SOON, code).expect("it is told, and whose port it was");
    assert_eq!(server.received(), seen, "nothing of it arrived");
    // And a workload with the address of another one.
    let wire = Wire::open(&street.b, "eth0").expect("a wire");
    let lie = Frame::new(mac(&street.b), mac(&street.neighbour)).ip(ip(A), ip(NEIGHBOUR));
    wire.send(&lie.tcp(9, 9, SYN).bytes()).expect("sent");
    let told = || {
        let flows = street.stage.flows(&["--verdict", "drop", "-n", "1000"]);
        flows
            .iter()
            .any(|flow| flow["reason"]["code"] == "BH-D012" && flow["source"]["address"] == A)
    };
    wait_until("a lie", SOON, told).expect("it is told");
    assert!(wait_until("an answer", SOON, answered).is_ok(), "the bridge has learned where a is");
}

#[test]
fn a_deny_cuts_a_live_flow_and_an_agent_that_is_killed_changes_nothing_root() {
    root_or_return!("a_deny_cuts_a_live_flow_and_an_agent_that_is_killed_changes_nothing_root");
    let mut street = Street::new();
    let _web = serve(&street.b, B, &[80, 81]);
    street.stage.bulkhead.up(&street.file(WEB)).expect("applied");
    let connect = || TcpStream::connect(at(&format!("{B}:80")));
    let mut live = street.a.run(connect).expect("in").expect("connected");
    live.set_read_timeout(Some(Duration::from_millis(700))).expect("a timeout");
    assert!(echoes(&mut live));

    street.stage.bulkhead.kill_agent().expect("killed");
    assert!(echoes(&mut live), "what is allowed goes on");
    assert!(reaches(&street.a, &format!("{B}:80")), "new flows too");
    assert!(!reaches(&street.a, &format!("{B}:81")), "and nothing else");
    street.stage.bulkhead.start_agent().expect("started again");
    assert!(echoes(&mut live));
    let first = street.enforced("t.a");
    let deny = format!("{WEB}      no: {{ from: workload=a, to: workload=b, deny: [any] }}\n");
    street.stage.bulkhead.up(&street.file(&deny)).expect("applied");
    assert!(!echoes(&mut live), "the flow is cut");
    assert!(!reaches(&street.a, &format!("{B}:80")));
    assert_eq!(street.enforced("t.a"), first, "enforced since then without a gap");
}

#[test]
fn an_interface_that_is_made_again_is_enforced_again_root() {
    root_or_return!("an_interface_that_is_made_again_is_enforced_again_root");
    let street = Street::new();
    let host = &street.stage.host;
    let server = UdpEcho::start(host, at(&format!("{GATEWAY}:54"))).expect("a server");
    let near = UdpEcho::start(&street.b, at(&format!("{B}:54"))).expect("a server");
    street.stage.bulkhead.up(&street.file(UP)).expect("applied");
    let own = mac_text(mac(&street.a));
    host.ip("link delete va").expect("deleted");
    let gone = || {
        street.workload("t.a")["detail"].as_str().is_some_and(|it| it.contains("no interface va"))
    };
    wait_until("no interface", SOON, gone).expect("status says so");
    assert!(street.workload("t.a")["enforced_since"].is_null());
    assert_eq!(street.workload("t.a")["state"], "pending");

    // As a runtime does it, and the workload speaks at once: what policy denies, to the host and to a neighbour.
    let peer = street.a.path().display();
    host.ip(&format!("link add va type veth peer name eth0 netns {peer}")).expect("made again");
    street.a.ip(&format!("link set eth0 address {own} up")).expect("up");
    street.a.address("eth0", &format!("{A}/24")).expect("an address");
    let client = street.a.run(|| UdpSocket::bind("0.0.0.0:0")).expect("in").expect("bound");
    let open = SystemTime::now();
    host.ip("link set va master br9 up").expect("a port");
    let judged = || {
        let _refused = client.send_to(b"x", format!("{GATEWAY}:54"));
        let _refused = client.send_to(b"x", format!("{B}:54"));
        let workload = street.workload("t.a");
        workload["enforced_since"].is_string() && workload["drops"].as_u64() > Some(0)
    };
    wait_until("a judged port", SOON, judged).expect("it is judged");
    let gap = street.enforced("t.a").duration_since(open).unwrap_or_default();
    let leaked = server.received();
    assert!(gap < Duration::from_secs(1), "{gap:?}");
    for _ in 0..20 {
        let _refused = client.send_to(b"x", format!("{GATEWAY}:54"));
    }
    assert_eq!(server.received(), leaked, "nothing passes any more");
    assert_eq!(
        near.received(),
        0,
        "a port that is enforced takes nothing from one that is not yet"
    );
    println!(
        "made again: judged {} ms after it was a port, {leaked} denied packets to the host before",
        gap.as_millis()
    );

    // Renamed, it stays what it is.
    host.ip("link set va down\nlink set va name old\nlink set old up").expect("renamed");
    let renamed = || street.workload("t.a")["detail"].as_str().is_some_and(|it| it.contains("old"));
    wait_until("another name", SOON, renamed).expect("status says so");
    let _refused = client.send_to(b"x", format!("{GATEWAY}:54"));
    assert_eq!(server.received(), leaked);
}
