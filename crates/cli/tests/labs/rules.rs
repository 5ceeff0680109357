//! The requirements on rules, word for word: R-030 the five-tuple, R-033 both directions, ports and ranges of addresses, R-037
//! a test environment with permissions that end, R-049 a host without ICMP rules whose path MTU works all the same.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use testkit::server::{Reached, probe_tcp_from, probe_udp};
use testkit::{Namespace, root_or_return, wait_until};

use crate::stage::{ELSEWHERE, HOST, OUTSIDE, SILENCE, SOON, Stage, at, reaches, serve};

#[test]
fn r030_a_rule_has_all_of_the_five_tuple_root() {
    root_or_return!("r030_a_rule_has_all_of_the_five_tuple_root");
    let mut stage = Stage::new();
    let [a, c, b] = stage.tenant(
        "mode: nat, subnets: [10.0.1.0/24]",
        [
            ("a", "address: [10.0.1.10]"),
            ("c", "address: [10.0.1.11]"),
            ("b", "address: [10.0.1.20]"),
        ],
        "    policies:
      tuple: { from: workload=a, to: workload=b, allow: [8000-8001/tcp], source-ports: [4000-4001] }
",
    );
    let _servers = serve(&b, "10.0.1.20", &[8000, 8001, 8002]);
    // Source address, source port, destination port; then the protocol.
    let tried = |from: &Namespace, own: &str, source: u16, port: u16| {
        let from_address = SocketAddr::new(own.parse().expect("an address"), source);
        let to = SocketAddr::new("10.0.1.20".parse().expect("an address"), port);
        probe_tcp_from(from, Some(from_address), to, SILENCE).expect("a probe") == Reached::Answered
    };
    assert!(tried(&a, "10.0.1.10", 4000, 8000));
    assert!(tried(&a, "10.0.1.10", 4001, 8001));
    assert!(!tried(&a, "10.0.1.10", 4002, 8000), "another source port");
    assert!(!tried(&a, "10.0.1.10", 4000, 8002), "another destination port");
    assert!(!tried(&c, "10.0.1.11", 4000, 8000), "another source");
    let udp = probe_udp(&a, at("10.0.1.20:8000"), SILENCE).expect("a probe");
    assert_eq!(udp, Reached::Silence, "another protocol");
}

#[test]
fn r033_inbound_and_outbound_by_ranges_of_addresses_root() {
    root_or_return!("r033_inbound_and_outbound_by_ranges_of_addresses_root");
    let mut stage = Stage::new();
    let [app] = stage.tenant(
        "mode: nat, subnets: [10.0.1.0/24]",
        [("app", "address: [10.0.1.10]")],
        "    publish:
      site: { port: 8443/tcp, to: \"app:8443\" }
    policies:
      in: { from: 203.0.113.0/24, to: workload=app, allow: [8443/tcp] }
      out: { from: workload=app, to: 192.0.2.0/24, allow: [25/tcp] }
",
    );
    let _own = serve(&app, "10.0.1.10", &[8443]);
    let _one = serve(&stage.outside, OUTSIDE, &[25]);
    let _other = serve(&stage.outside, ELSEWHERE, &[25, 26]);
    let from = |own: &str| {
        let own = SocketAddr::new(own.parse().expect("an address"), 0);
        let to = at(&format!("{HOST}:8443"));
        probe_tcp_from(&stage.outside, Some(own), to, SILENCE).expect("a probe")
            == Reached::Answered
    };
    assert!(from(OUTSIDE), "in: from the range");
    assert!(!from(ELSEWHERE), "in: from nowhere else");
    assert!(reaches(&app, &format!("{ELSEWHERE}:25")), "out: to the range");
    assert!(!reaches(&app, &format!("{ELSEWHERE}:26")), "out: on its port only");
    assert!(!reaches(&app, &format!("{OUTSIDE}:25")), "out: to nowhere else");
}

/// A moment a few seconds from now, as the file writes it.
fn soon(after: Duration) -> String {
    let after = jiff::SignedDuration::try_from(after).expect("a short time");
    format!("{:.0}", jiff::Timestamp::now() + after)
}

/// Whether the echo comes back on an open connection.
fn echoes(stream: &mut TcpStream) -> bool {
    let mut buffer = [0; 4];
    stream.write_all(b"ping").is_ok() && stream.read_exact(&mut buffer).is_ok()
}

fn connect(from: &Namespace, to: &str) -> TcpStream {
    let stream = from.run(|| TcpStream::connect(at(to))).expect("the namespace");
    let stream = stream.expect("connected");
    stream.set_read_timeout(Some(SOON)).expect("a timeout");
    stream
}

#[test]
fn r037_a_test_environment_has_two_ports_and_permissions_that_end_root() {
    root_or_return!("r037_a_test_environment_has_two_ports_and_permissions_that_end_root");
    let mut stage = Stage::new();
    let until = soon(Duration::from_secs(4));
    let policies = format!(
        "    policies:
      web: {{ from: env=test, to: \"env=test, app=web\", allow: [80/tcp, 443/tcp] }}
      debug: {{ from: env=test, to: app=web, allow: [9229/tcp], until: \"{until}\" }}
"
    );
    let [client, server] = stage.tenant(
        "mode: nat, subnets: [10.0.1.0/24]",
        [
            ("client", "address: [10.0.1.10], labels: { env: test }"),
            ("server", "address: [10.0.1.20], labels: { env: test, app: web }"),
        ],
        &policies,
    );
    let _servers = serve(&server, "10.0.1.20", &[80, 443, 9229, 22]);
    let mut live = connect(&client, "10.0.1.20:9229");
    assert!(echoes(&mut live), "the permission is there for a while");
    let status = stage.bulkhead.cli_json(&["status"]).expect("status");
    assert!(status["agent"]["next_expiry"].is_string(), "and status tells until when: {status}");
    assert!(reaches(&client, "10.0.1.20:80") && reaches(&client, "10.0.1.20:443"));
    assert!(!reaches(&client, "10.0.1.20:22"));
    let ended =
        wait_until("the end of the permission", 3 * SOON, || !reaches(&client, "10.0.1.20:9229"));
    ended.expect("it ends by itself");
    live.set_read_timeout(Some(SILENCE)).expect("a timeout");
    assert!(!echoes(&mut live), "open connections end with it");
    assert!(reaches(&client, "10.0.1.20:80"), "the others stay");
    assert_eq!(stage.why("t/client", "t/server", "tcp/9229")["verdict"], "drop");
}

#[test]
fn r049_without_a_rule_for_icmp_the_path_mtu_is_found_all_the_same_root() {
    root_or_return!("r049_without_a_rule_for_icmp_the_path_mtu_is_found_all_the_same_root");
    let mut stage = Stage::new();
    // A server two hops behind the host, over a link that takes 1280 bytes; it asks for segments as if it took 1500.
    let far = stage.lab.namespace("far").expect("a namespace");
    stage.lab.veth((&stage.outside, "narrow"), (&far, "uplink")).expect("a link");
    stage
        .outside
        .ip("link set narrow mtu 1280 up\naddr add 192.0.2.129/30 dev narrow")
        .expect("an address");
    far.ip("link set uplink mtu 1280 up\naddr add 192.0.2.130/30 dev uplink\nroute add default via 192.0.2.129 advmss 1460")
        .expect("an address");
    stage.outside.sysctl("net.ipv4.ip_forward", "1").expect("a sysctl");
    stage.outside.ip("link set lo up").expect("the loopback");
    let [a] = stage.tenant(
        "mode: nat, subnets: [10.0.1.0/24, \"fd00:5::/64\"]",
        [("a", "address: [10.0.1.10]")],
        "    policies:
      out: { from: workload=a, to: world, allow: [80/tcp] }
",
    );
    let ping = |target: &str| a.command(&["ping", "-c1", "-W1", target]).expect("ping runs").code();
    assert_ne!(ping("192.0.2.130"), Some(0), "ICMP is not allowed");
    let _server = serve(&far, "192.0.2.130", &[80]);
    // Full segments: the first is too large for the narrow link, and the error that says so has to come back.
    let mut stream = connect(&a, "192.0.2.130:80");
    let sent = vec![7; 60_000];
    let mut writer = stream.try_clone().expect("a second handle");
    std::thread::scope(|scope| {
        scope.spawn(|| writer.write_all(&sent).expect("sent"));
        let mut back = vec![0; sent.len()];
        stream.read_exact(&mut back).expect("the path MTU is found");
        assert_eq!(back, sent);
    });
    let route = a.check(&["ip", "-4", "route", "get", "192.0.2.130"]).expect("ip").stdout;
    assert!(route.contains("mtu 1280"), "learned from the error: {route}");
    // Neighbours are found without a rule, too.
    let found = a.check(&["ip", "-6", "neigh", "show", "dev", "eth0"]).expect("ip").stdout;
    assert!(!found.contains("FAILED"), "{found}");
}
