//! every tenant leaves with addresses of its own, IPv4 and IPv6, whatever its subnet is.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};

use serde_json::Value;
use testkit::{Namespace, root_or_return, uninterrupted, wait_until};

use crate::stage::{HOST, OUTSIDE, SILENCE, SOON, Stage, at, reaches, serve};

/// An IPv6 address on the internet.
const OUTSIDE_V6: &str = "2001:db8:9::9";
/// The first port that workloads leave from.
const FIRST: u16 = 32_768;
/// How far apart ports are published that are to leave few between them.
const RUN: usize = 1024;

/// A host with more addresses, of both versions.
fn stage() -> Stage {
    let stage = Stage::new();
    let more = "addr add 198.51.100.3/24 dev uplink\naddr add 198.51.100.4/24 dev uplink\n\
        addr add 2001:db8:1::2/64 dev uplink\naddr add 2001:db8:1::3/64 dev uplink\n\
        addr add 2001:db8:1::4/64 dev uplink\nroute add default via 2001:db8:1::1";
    stage.host.ip(more).expect("the host's addresses");
    let outside = "addr add 2001:db8:1::1/64 dev uplink\naddr add 2001:db8:9::9/128 dev lo";
    stage.outside.ip(outside).expect("addresses of the internet");
    stage
}

/// Tenants `t0`, `t1`, ... with the same subnets and one workload each.
fn tenants(paths: &[String], snat: &[&str]) -> String {
    let mut text = "bulkhead: 1\ntenants:\n".to_owned();
    for (number, (path, snat)) in paths.iter().zip(snat).enumerate() {
        text += &format!(
            "  t{number}:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16, \"fd00:5::/48\"]{snat} }} }}
    workloads:
      w: {{ address: [10.0.1.10, \"fd00:5::10\"], netns: {path} }}
    policies:
      out: {{ from: workload=w, to: [world, host], allow: [tcp, udp] }}
"
        );
    }
    text
}

fn listen(space: &Namespace, to: &str) -> TcpListener {
    space.run(|| TcpListener::bind(at(to))).expect("the namespace").expect("a server")
}

/// Connects and tells as whom the server sees it; the connection stays open.
fn seen(from: &Namespace, server: &TcpListener) -> (IpAddr, TcpStream, TcpStream) {
    let to = server.local_addr().expect("an address");
    let near = from.run(|| TcpStream::connect(to)).expect("the namespace").expect("connected");
    let (far, peer) = server.accept().expect("a client");
    for stream in [&near, &far] {
        stream.set_read_timeout(Some(SOON)).expect("a timeout");
    }
    (peer.ip(), near, far)
}

fn who(from: &Namespace, servers: &[TcpListener]) -> Vec<String> {
    servers.iter().map(|server| seen(from, server).0.to_string()).collect()
}

/// Whether bytes pass both ways.
fn is_alive(near: &mut TcpStream, far: &mut TcpStream) -> bool {
    let mut byte = [0];
    near.write_all(b"a").is_ok()
        && far.read_exact(&mut byte).is_ok()
        && far.write_all(b"b").is_ok()
        && near.read_exact(&mut byte).is_ok()
}

/// How many steps the last `up` took in the network.
fn up(stage: &Stage, text: &str) -> Value {
    let file = stage.lab.dir().join("next.yaml");
    std::fs::write(&file, text).expect("written");
    stage.bulkhead.cli_json(&["up", file.to_str().expect("a path")]).expect("applied")
}

#[test]
fn r004_each_tenant_leaves_with_its_own_addresses_root() {
    root_or_return!("r004_each_tenant_leaves_with_its_own_addresses_root");
    let mut stage = stage();
    let (spaces, paths): (Vec<Namespace>, Vec<String>) =
        ["a", "b", "c"].iter().map(|name| stage.adopted(name)).unzip();
    let own = ", snat: [198.51.100.3, \"2001:db8:1::3\"]";
    let other = ", snat: [198.51.100.4, \"2001:db8:1::4\"]";
    stage.bulkhead.up(&tenants(&paths, &[own, other, ", snat: 198.51.100.4"])).expect("applied");
    let to = [format!("{OUTSIDE}:80"), format!("[{OUTSIDE_V6}]:80")];
    let servers = to.each_ref().map(|to| listen(&stage.outside, to));
    assert_eq!(who(&spaces[0], &servers), ["198.51.100.3", "2001:db8:1::3"]);
    assert_eq!(who(&spaces[1], &servers), ["198.51.100.4", "2001:db8:1::4"]);
    let [v4, v6] = <[String; 2]>::try_from(who(&spaces[2], &servers)).expect("two");
    assert_eq!(v4, "198.51.100.4", "two networks may share one");
    assert!(v6.starts_with("2001:db8:1::"), "masqueraded: {v6}");

    // A change applies to the host's table alone, and to what is opened from then on.
    let (before, mut near, mut far) = seen(&spaces[0], &servers[0]);
    let links = || -> Vec<(String, u64)> {
        let shown = stage.host.check(&["ip", "-j", "link"]).expect("ip").stdout;
        let shown: Vec<Value> = serde_json::from_str(&shown).expect("JSON");
        let one =
            |link: &Value| (link["ifname"].to_string(), link["ifindex"].as_u64().unwrap_or(0));
        shown.iter().map(one).collect()
    };
    let routers = links();
    let swapped = tenants(&paths, &[other, own, ""]);
    let file = stage.lab.dir().join("swapped.yaml");
    std::fs::write(&file, &swapped).expect("written");
    let plan = stage.bulkhead.cli(&["plan", file.to_str().expect("a path")]).expect("plan runs");
    assert!(plan.stdout.contains("t0/main") && plan.stdout.contains("t1/main"), "{}", plan.stdout);
    let outcome = up(&stage, &swapped);
    let steps = outcome["outcome"]["steps"].as_array().or(outcome["steps"].as_array());
    let network = steps.into_iter().flatten().find(|step| step["name"] == "network");
    assert_eq!(network.expect("a step")["changes"], 1, "{outcome}");
    assert_eq!(links(), routers, "nothing was taken down");
    assert_eq!(who(&spaces[0], &servers), ["198.51.100.4", "2001:db8:1::4"]);
    assert_eq!(who(&spaces[1], &servers), ["198.51.100.3", "2001:db8:1::3"]);
    assert_eq!(who(&spaces[2], &servers[..1]), [HOST]);
    assert_eq!(before.to_string(), "198.51.100.3");
    assert!(is_alive(&mut near, &mut far), "what was open goes on with what it had");
    stage.host.check(&["conntrack", "-D", "-s", "169.254.64.0/19"]).expect("forgotten");
    assert!(!is_alive(&mut near, &mut far), "unless it is made to end");
}

#[test]
fn r004_an_address_that_the_host_lacks_is_told_until_it_comes_root() {
    root_or_return!("r004_an_address_that_the_host_lacks_is_told_until_it_comes_root");
    let mut stage = stage();
    let (space, path) = stage.adopted("a");
    let mut text = tenants(&[path], &[", snat: 198.51.100.77"]);
    text += "      in: { from: world, to: workload=w, allow: [80/tcp] }\n";
    text += "    publish: { site: { port: 8080/tcp, to: \"w:80\", address: 198.51.100.88 } }\n";
    let file = stage.lab.dir().join("strays.yaml");
    std::fs::write(&file, &text).expect("written");
    let done = stage.bulkhead.cli(&["up", file.to_str().expect("a path")]).expect("up runs");
    let told = format!("{}{}", done.stdout, done.stderr);
    assert!(done.status.success(), "{told}");
    assert_eq!(told.matches("warning[BH0160]").count(), 2, "{told}");
    let warnings = || {
        let status = stage.bulkhead.cli_json(&["status"]).expect("status");
        let all = status["agent"]["warnings"].as_array().expect("a list");
        all.iter().filter_map(Value::as_str).map(str::to_owned).collect::<Vec<String>>()
    };
    let about = |address: &str| warnings().iter().any(|each| each.contains(address));
    assert!(about("198.51.100.77") && about("198.51.100.88"), "{:?}", warnings());
    let server = listen(&stage.outside, &format!("{OUTSIDE}:80"));
    let _site = serve(&space, "10.0.1.10", &[80]);
    assert!(!reaches(&stage.outside, "198.51.100.88:8080"), "it leads nowhere");
    assert!(!reaches(&space, &format!("{OUTSIDE}:80")), "no answer finds its way");

    // Routed to the host, as some providers do, it is enough that the table knows it.
    for address in ["198.51.100.77", "198.51.100.88"] {
        stage.outside.ip(&format!("route add {address}/32 via {HOST}")).expect("a route");
    }
    assert!(reaches(&stage.outside, "198.51.100.88:8080"));
    let (from, ..) = seen(&space, &server);
    assert_eq!(from.to_string(), "198.51.100.77");
    stage.outside.ip("route del 198.51.100.77/32").expect("no route");

    stage.host.ip("addr add 198.51.100.77/24 dev uplink").expect("an address");
    assert!(!about("198.51.100.77") && about("198.51.100.88"), "{:?}", warnings());
    assert_eq!(seen(&space, &server).0.to_string(), "198.51.100.77", "without another up");
    stage.host.ip("addr del 198.51.100.77/24 dev uplink").expect("no address");
    assert!(about("198.51.100.77"));
}

/// A site and clients in its own and in another network, both with addresses of their own.
fn site(near: &str, far: &str, web: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  t:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16], snat: 198.51.100.3 }} }}
    workloads:
      web: {{ address: [10.0.1.10], netns: {web} }}
      client: {{ address: [10.0.1.20], netns: {near} }}
    publish:
      site: {{ port: 8080/tcp, to: \"web:80\" }}
      own: {{ port: 8081/tcp, to: \"web:80\", address: 198.51.100.3 }}
    policies:
      in: {{ from: [world, host, unmanaged], to: workload=web, allow: [80/tcp] }}
      out: {{ from: any, to: [world, host], allow: [tcp, udp] }}
  u:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16], snat: 198.51.100.4 }} }}
    workloads:
      client: {{ address: [10.0.1.10], netns: {far} }}
    policies:
      out: {{ from: any, to: [world, host], allow: [tcp, udp] }}
"
    )
}

#[test]
fn r004_published_ports_are_reached_from_networks_with_addresses_of_their_own_root() {
    root_or_return!(
        "r004_published_ports_are_reached_from_networks_with_addresses_of_their_own_root"
    );
    let mut stage = stage();
    let (web, web_path) = stage.adopted("web");
    let (near, near_path) = stage.adopted("near");
    let (far, far_path) = stage.adopted("far");
    stage.bulkhead.up(&site(&near_path, &far_path, &web_path)).expect("applied");
    let _server = serve(&web, "10.0.1.10", &[80]);
    for (who, client) in [("own", &near), ("other", &far), ("outside", &stage.outside)] {
        for address in [HOST, "198.51.100.3", "198.51.100.4"] {
            assert!(reaches(client, &format!("{address}:8080")), "{who} network, {address}");
            let is_its = address == "198.51.100.3";
            assert_eq!(reaches(client, &format!("{address}:8081")), is_its, "{who}, {address}");
        }
    }
}

/// `t0` is to take what is published for `t1`, on the address that it leaves with.
fn thief(paths: &[String], snat: &str) -> String {
    let mut text = tenants(paths, &[snat, ""]);
    text += "      in: { from: world, to: workload=w, allow: [udp] }\n";
    for port in [5060, 40_000] {
        let entry = format!("p{port}: {{ port: {port}/udp, to: \"w:{port}\" }}");
        text += &(if port == 5060 { "    publish:\n      " } else { "      " }.to_owned()
            + &entry
            + "\n");
    }
    text
}

fn udp(space: &Namespace, address: &str) -> UdpSocket {
    let socket = space.run(|| UdpSocket::bind(at(address))).expect("the namespace");
    let socket = socket.expect("a socket");
    socket.set_read_timeout(Some(SILENCE)).expect("a timeout");
    socket
}

#[test]
fn r004_no_tenant_leaves_from_a_published_port_of_another_root() {
    root_or_return!("r004_no_tenant_leaves_from_a_published_port_of_another_root");
    let mut stage = stage();
    let (spaces, paths): (Vec<Namespace>, Vec<String>) =
        ["thief", "owner"].iter().map(|name| stage.adopted(name)).unzip();
    for (snat, address) in [(", snat: 198.51.100.3", "198.51.100.3"), ("", HOST)] {
        stage.bulkhead.up(&thief(&paths, snat)).expect("applied");
        // What was translated stays translated as long as it lives.
        stage.host.check(&["conntrack", "-F"]).expect("forgotten");
        for port in [5060, 40_000] {
            // The peer speaks from the same port as it speaks to, as many do.
            let peer = udp(&stage.outside, &format!("{OUTSIDE}:{port}"));
            let thief = udp(&spaces[0], &format!("10.0.1.10:{port}"));
            let owner = udp(&spaces[1], &format!("10.0.1.10:{port}"));
            thief.send_to(b"mine", (OUTSIDE, port)).expect("sent");
            let mut buffer = [0; 16];
            let (_, from) = uninterrupted(|| peer.recv_from(&mut buffer)).expect("it leaves");
            assert_eq!(from.ip().to_string(), address);
            assert!(from.port() > 32_767 && from.port() != port, "from {from}");
            peer.send_to(b"call", (address, port)).expect("sent");
            let (length, caller) =
                uninterrupted(|| owner.recv_from(&mut buffer)).expect("the owner is called");
            assert_eq!(
                (&buffer[..length], caller),
                (&b"call"[..], at(&format!("{OUTSIDE}:{port}")))
            );
            assert!(
                uninterrupted(|| thief.recv_from(&mut buffer)).is_err(),
                "nothing for the thief"
            );
            owner.send_to(b"hers", (OUTSIDE, port)).expect("sent");
            let (_, caller) = uninterrupted(|| peer.recv_from(&mut buffer)).expect("it leaves");
            assert_eq!(
                caller,
                at(&format!("{}:{port}", if snat.is_empty() { HOST } else { address }))
            );
            peer.send_to(b"back", from).expect("sent");
            assert!(uninterrupted(|| thief.recv_from(&mut buffer)).is_ok(), "but its own answers");
        }
    }
}

#[test]
fn r004_a_tenant_uses_up_the_ports_of_its_own_address_alone_root() {
    root_or_return!("r004_a_tenant_uses_up_the_ports_of_its_own_address_alone_root");
    let mut stage = stage();
    let (spaces, paths): (Vec<Namespace>, Vec<String>) =
        ["apart", "beside", "greedy"].iter().map(|name| stage.adopted(name)).unzip();
    let own = ", snat: 198.51.100.3";
    let mut text = tenants(&paths, &[", snat: 198.51.100.4", own, own]);
    // Published ports leave short runs between them, so that there is little to use up.
    text += "    publish:\n";
    for port in (FIRST..=u16::MAX).step_by(RUN) {
        text += &format!("      p{port}: {{ port: {port}/udp, to: \"w:{port}\" }}\n");
    }
    stage.bulkhead.up(&text).expect("applied");
    let [apart, beside, greedy] = &spaces[..] else { panic!("three") };
    let server = udp(&stage.outside, &format!("{OUTSIDE}:9"));
    let heard = |expected: &str| {
        let mut buffer = [0; 8];
        let begun = std::time::Instant::now();
        while begun.elapsed() < SOON {
            match uninterrupted(|| server.recv_from(&mut buffer)) {
                Ok((length, from)) if &buffer[..length] == expected.as_bytes() => {
                    return Some(from);
                }
                Ok(_) => {}
                Err(_) => return None,
            }
        }
        None
    };
    let say = |space: &Namespace, port: u16, text: &str| {
        let socket = udp(space, &format!("10.0.1.10:{port}"));
        socket.send_to(text.as_bytes(), (OUTSIDE, 9)).map(drop)
    };
    say(beside, 1001, "before").expect("sent");
    assert_eq!(heard("before").map(|from| from.ip().to_string()).as_deref(), Some("198.51.100.3"));
    // Every port of a run once, to one and the same port outside.
    let send_all = || {
        for port in (FIRST..).skip(1).take(RUN - 1) {
            let socket = UdpSocket::bind(("10.0.1.10", port)).expect("a socket");
            socket.send_to(b"greedy", (OUTSIDE, 9)).expect("sent");
        }
    };
    greedy.run(send_all).expect("the namespace");
    let taken = || {
        let count = stage.host.check(&["conntrack", "-C"]).expect("conntrack").stdout;
        count.trim().parse::<usize>().unwrap_or(0) >= RUN - 1
    };
    wait_until("all ports are taken", SOON, taken).expect("all ports are taken");
    assert!(heard("nobody").is_none(), "all of it was heard");
    say(apart, 1002, "apart").expect("sent");
    assert_eq!(heard("apart").map(|from| from.ip().to_string()).as_deref(), Some("198.51.100.4"));
    // Whoever shares the address shares its ports.
    let refused = say(beside, 1002, "beside");
    assert!(refused.is_err() || heard("beside").is_none(), "there was no port left");
}
