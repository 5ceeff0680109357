//! Every mode of a network, side by side on one host, from one file.

use std::net::{IpAddr, TcpListener};
use std::time::Instant;

use testkit::{Namespace, root_or_return, wait_until};

use crate::stage::{HOST, OUTSIDE, SOON, Stage, at, inside, reaches, serve};

/// What a workload of a tenant may do: be asked at 80 by `client`, and ask the world at 80.
const RULES: &str = "    policies:
      use: { from: app=client, to: app=web, allow: [80/tcp] }
      out: { from: app=web, to: world, allow: [80/tcp] }
";
/// A machine on the LAN, and the workload there.
const PEER: &str = "192.168.50.20";
const PRESENT: &str = "192.168.50.10";
/// Connections whose median is told.
const ROUNDS: usize = 21;

/// Two workloads in a network of their own.
struct Pair {
    mode: &'static str,
    web: Namespace,
    client: Namespace,
    address: String,
}

impl Pair {
    fn new(stage: &mut Stage, mode: &'static str, third: u8, text: &mut String) -> Self {
        let (web, client) =
            (stage.adopted(&format!("{mode}-web")), stage.adopted(&format!("{mode}-client")));
        let address = format!("10.{third}.0.10");
        let of_this = format!(
            "  {mode}:
    networks: {{ main: {{ mode: {mode}, subnets: [10.{third}.0.0/24] }} }}
    workloads:
      web: {{ labels: {{ app: web }}, address: [{address}], netns: {} }}
      client: {{ labels: {{ app: client }}, netns: {} }}
{RULES}",
            web.1, client.1
        );
        text.push_str(&of_this);
        Self { mode, web: web.0, client: client.0, address }
    }

    /// Policy holds between the two; the median of a connection between them, in µs.
    fn is_by_policy(&self) -> u128 {
        let _servers = serve(&self.web, &self.address, &[80, 81]);
        let open = format!("{}:80", self.address);
        wait_until(self.mode, SOON, || reaches(&self.client, &open))
            .expect("what a policy names passes");
        assert!(
            !reaches(&self.client, &format!("{}:81", self.address)),
            "{}: the rest does not",
            self.mode
        );
        a_connection(&self.client, &open)
    }
}

/// The median of a connection to `to`, in µs.
fn a_connection(from: &Namespace, to: &str) -> u128 {
    let to = at(to);
    let connect = || {
        let began = Instant::now();
        std::net::TcpStream::connect(to).expect("connected");
        began.elapsed().as_micros()
    };
    let mut times: Vec<u128> =
        from.run(|| (0..ROUNDS).map(|_| connect()).collect()).expect("the client");
    times.sort_unstable();
    times[ROUNDS / 2]
}

/// The modes that are no pair in a network of its own: on a LAN, hybrid, host and none.
fn others(present: &str, both: &str) -> String {
    format!(
        "  lan:
    networks: {{ main: {{ mode: bridge, uplink: lan0, subnets: [192.168.50.0/24], gateway: 192.168.50.1 }} }}
    workloads:
      web: {{ labels: {{ app: web }}, address: [{PRESENT}], netns: {present} }}
    policies:
      visit: {{ from: {PEER}, to: app=web, allow: [80/tcp] }}
  hybrid:
    networks:
      front: {{ mode: nat, subnets: [10.4.0.0/24] }}
      back: {{ mode: bridge, subnets: [10.5.0.0/24] }}
    workloads:
      web: {{ network: front, also: [{{ network: back }}], labels: {{ app: web }}, netns: {both} }}
    policies:
      out: {{ from: \"app=web, network=front\", to: world, allow: [80/tcp] }}
  stack:
    networks: {{ main: {{ mode: host }} }}
    workloads:
      web: {{ labels: {{ app: web }}, run: [socat, -d, \"TCP-LISTEN:8080,fork,reuseaddr\", \"EXEC:cat\"] }}
    policies:
      visit: {{ from: world, to: app=web, allow: [8080/tcp] }}
  alone:
    networks: {{ main: {{ mode: none }} }}
    workloads:
      web: {{ run: [sleep, \"600\"] }}
"
    )
}

/// With which address `from` comes to a listener of the outside; nothing when it does not.
fn seen_as(
    outside: &Namespace,
    listener: &TcpListener,
    from: &Namespace,
    to: &str,
) -> Option<IpAddr> {
    listener.set_nonblocking(true).expect("a listener");
    let reached = reaches_quickly(from, to);
    let mut seen = None;
    let accepted = outside.run(|| {
        while let Ok((_, peer)) = listener.accept() {
            seen = Some(peer.ip());
        }
        seen
    });
    accepted.expect("the outside").filter(|_| reached)
}

fn reaches_quickly(from: &Namespace, to: &str) -> bool {
    let to = at(to);
    let connect = || std::net::TcpStream::connect_timeout(&to, crate::stage::SILENCE).is_ok();
    from.run(connect).expect("the source")
}

/// A hybrid has an interface in each of its networks, and forwards nothing.
fn has_both(both: &Namespace) {
    let routes = both.check(&["ip", "-br", "addr"]).expect("ip").stdout;
    assert!(routes.contains("10.4.0.") && routes.contains("10.5.0."), "{routes}");
    assert_eq!(
        both.check(&["cat", "/proc/sys/net/ipv4/ip_forward"]).expect("a sysctl").stdout.trim(),
        "0"
    );
}

/// On the host's stack policy holds at the cgroup; in mode none there is nobody.
fn without_a_link_of_their_own(stage: &Stage) {
    wait_until("a listener", SOON, || reaches(&stage.outside, &format!("{HOST}:8080")))
        .expect("by the host's address");
    let script =
        format!("echo | timeout 2 socat -t 1 - TCP:{OUTSIDE}:80,connect-timeout=1 && echo reached");
    assert!(
        !inside(stage, "stack/web", &script).stdout.contains("reached"),
        "no policy lets it out"
    );
    let median = a_connection(&stage.outside, &format!("{HOST}:8080"));
    println!(
        "runtime mode host: the host's stack and addresses, judged at its cgroup, in and out; a connection from the world {median} µs"
    );

    let shown = inside(stage, "alone/web", "cat /proc/net/dev");
    assert!(!shown.stdout.contains("eth") && !shown.stdout.contains("uplink"), "{shown:?}");
    assert!(!inside(stage, "alone/web", &script).stdout.contains("reached"));
    println!("runtime mode none: loopback alone, nothing in and nothing out");
}

/// Mode macvlan wants proof that the LAN takes MAC addresses of others.
fn transparent_is_refused(stage: &Stage, text: &str) {
    let path = stage.lab.dir().join("transparent.yaml");
    let macvlan = text.replace("mode: bridge, uplink: lan0", "mode: macvlan, uplink: lan0");
    std::fs::write(&path, macvlan).expect("written");
    let refused = stage.bulkhead.cli(&["up", path.to_str().expect("UTF-8")]).expect("up runs");
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    assert!(refused.stderr.contains("BH0270"), "{refused:?}");
    let why = refused.stderr.lines().next().unwrap_or_default();
    println!("runtime mode macvlan: refused without proof that the LAN takes foreign MACs: {why}");
}

#[test]
fn every_mode_holds_beside_the_others_root() {
    root_or_return!("every_mode_holds_beside_the_others_root");
    let mut stage = Stage::new();
    let peer = stage.lab.namespace("peer").expect("a machine on the LAN");
    stage.lab.veth((&stage.host, "lan0"), (&peer, "eth0")).expect("the LAN");
    peer.address("eth0", &format!("{PEER}/24")).expect("its address");
    let mut text = "bulkhead: 1\ntenants:\n".to_owned();
    let [nat, bridge, routed] = [("nat", 1), ("bridge", 2), ("routed", 3)]
        .map(|(mode, third)| Pair::new(&mut stage, mode, third, &mut text));
    let (present, both) = (stage.adopted("present"), stage.adopted("both"));
    text.push_str(&others(&present.1, &both.1));
    stage.outside.ip("route add 10.3.0.0/24 via 198.51.100.2").expect("a route");
    let began = Instant::now();
    stage.bulkhead.up(&text).expect("applied");
    let applied = began.elapsed().as_millis();
    println!(
        "runtime modes: eight networks of every mode from one file, applied in {applied} ms; connections are medians of {ROUNDS}"
    );
    let outside = stage.outside.run(|| TcpListener::bind(format!("{OUTSIDE}:80")).expect("bound"));
    let outside = outside.expect("the outside");
    let to = format!("{OUTSIDE}:80");
    let host: IpAddr = HOST.parse().expect("an address");
    for (pair, expected) in [
        (&nat, Some(host)),
        (&bridge, None),
        (&routed, Some(routed.address.parse().expect("an address"))),
    ] {
        let median = pair.is_by_policy();
        assert_eq!(seen_as(&stage.outside, &outside, &pair.web, &to), expected, "{}", pair.mode);
        let seen = expected
            .map_or_else(|| "does not leave".to_owned(), |address| format!("leaves as {address}"));
        println!(
            "runtime mode {}: by policy between workloads, {seen}; a connection {median} µs",
            pair.mode
        );
    }
    // One network does not reach into another, whatever their modes.
    assert!(!reaches(&nat.client, &format!("{}:80", bridge.address)));
    assert!(!reaches(&bridge.client, &format!("{}:80", routed.address)));

    let _present = serve(&present.0, PRESENT, &[80, 81]);
    wait_until("the LAN", SOON, || reaches(&peer, &format!("{PRESENT}:80"))).expect("on the LAN");
    assert!(!reaches(&peer, &format!("{PRESENT}:81")));
    let median = a_connection(&peer, &format!("{PRESENT}:80"));
    println!(
        "runtime mode bridge, uplink: on the LAN of a NIC with an address of its own, by policy only; a connection {median} µs"
    );

    assert_eq!(seen_as(&stage.outside, &outside, &both.0, &to), Some(host));
    has_both(&both.0);
    let median = a_connection(&both.0, &to);
    println!(
        "runtime mode hybrid: two networks, each interface by its own policy, nothing forwarded; a connection to the world {median} µs"
    );

    without_a_link_of_their_own(&stage);
    transparent_is_refused(&stage, &text);
}
