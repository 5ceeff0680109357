//! workloads on the LAN of a NIC or a bridge of the host, by policy only; who may not be one there; what
//! is refused and why; and that the NIC is given back as it was.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use testkit::packet::{Frame, Mac, SYN, arp, ip, mac_text, neighbour};
use testkit::server::TcpEcho;
use testkit::{Namespace, Scope, Wire, root_or_return, wait_until};

use crate::stage::{OUTSIDE, SOON, Stage, reaches, serve, settled};

/// Of the workloads.
const WEB: &str = "192.168.50.10";
const WEB6: &str = "fd00:50::10";
const CACHE: &str = "192.168.50.11";
/// Of another machine on the LAN.
const PEER: &str = "192.168.50.20";
const PEER6: &str = "fd00:50::20";
/// Of the LAN's router.
const ROUTER: &str = "192.168.50.1";
const ROUTER6: &str = "fd00:50::1";
/// What follows from the addresses.
const WEB_MAC: Mac = [0x02, 0x62, 0x69, 168, 50, 10];
const CACHE_MAC: Mac = [0x02, 0x62, 0x69, 168, 50, 11];
/// How long something may take that has to be repaired first.
const REPAIRED: Duration = Duration::from_secs(20);

/// A host with a second NIC, `eth1`, on a LAN with a switch that is also its router, and another machine.
struct Town {
    stage: Stage,
    lan: Namespace,
    peer: Namespace,
    web: (Namespace, String),
    cache: (Namespace, String),
}

impl Town {
    fn new() -> Self {
        let mut stage = Stage::without_agent();
        let lan = stage.lab.namespace("lan").expect("the LAN");
        let peer = stage.lab.namespace("peer").expect("another machine");
        for space in [&lan, &peer] {
            space.sysctl("net.ipv6.conf.default.accept_dad", "0").expect("a sysctl");
        }
        let (router, router6) = (format!("{ROUTER}/24"), format!("{ROUTER6}/64"));
        stage.lab.bridge(&lan, "sw0", &[&router, &router6]).expect("the switch");
        for (space, name, port) in [(&stage.host, "eth1", "p1"), (&peer, "eth0", "p2")] {
            stage.lab.veth((space, name), (&lan, port)).expect("a cable");
            lan.ip(&format!("link set {port} master sw0")).expect("a port");
        }
        lan.ip(&format!("addr add {OUTSIDE}/32 dev lo")).expect("an address of the internet");
        peer.address("eth0", &format!("{PEER}/24")).expect("its address");
        peer.address("eth0", &format!("{PEER6}/64")).expect("its address");
        let (web, cache) = (stage.adopted("web"), stage.adopted("cache"));
        Self { stage, lan, peer, web, cache }
    }

    /// The file with `network`'s keys beside subnets and gateway.
    fn file(&self, network: &str) -> String {
        format!(
            "bulkhead: 1
tenants:
  t:
    networks:
      lan: {{ {network}, subnets: [192.168.50.0/24, \"fd00:50::/64\"], gateway: [{ROUTER}, \"{ROUTER6}\"] }}
    workloads:
      web: {{ address: [{WEB}, \"{WEB6}\"], netns: {} }}
      cache: {{ address: [{CACHE}], netns: {} }}
    policies:
      visit: {{ from: [{PEER}, \"{PEER6}\"], to: workload=web, allow: [80/tcp, 53/udp] }}
      fill: {{ from: workload=cache, to: workload=web, allow: [80/tcp] }}
      out: {{ from: workload=web, to: world, allow: [443/tcp] }}
",
            self.web.1, self.cache.1
        )
    }

    fn start(&mut self) {
        self.stage.bulkhead.start_agent().expect("the agent starts");
    }

    /// What `up` says when it refuses.
    fn refused(&self, network: &str) -> String {
        let path = self.stage.lab.dir().join("refused.yaml");
        std::fs::write(&path, self.file(network)).expect("a file");
        let done =
            self.stage.bulkhead.cli(&["up", path.to_str().expect("UTF-8")]).expect("up runs");
        assert_eq!(done.code(), Some(1), "{network}: {}", done.stdout);
        assert!(done.stderr.contains("error[BH0270]"), "{network}: {}", done.stderr);
        done.stderr
    }

    /// Servers of both workloads and of the router.
    fn servers(&self) -> Vec<TcpEcho> {
        let mut all = serve(&self.web.0, WEB, &[80, 81]);
        all.extend(serve(&self.web.0, WEB6, &[80, 81]));
        all.extend(serve(&self.lan, ROUTER, &[443, 444]));
        all.extend(serve(&self.lan, OUTSIDE, &[443]));
        all
    }

    /// Who is on the LAN reaches who policy says, by IPv4 and IPv6, and nobody else.
    fn is_by_policy(&self) {
        let up = wait_until("the LAN", SOON, || reaches(&self.peer, &format!("{WEB}:80")));
        up.expect("the machine on the LAN reaches the workload");
        assert!(reaches(&self.peer, &format!("[{WEB6}]:80")), "by IPv6");
        assert!(!reaches(&self.peer, &format!("{WEB}:81")), "a port that no policy names");
        assert!(!reaches(&self.peer, &format!("[{WEB6}]:81")));
        assert!(!reaches(&self.lan, &format!("{WEB}:80")), "a machine that no policy names");
        assert!(!reaches(&self.lan, &format!("[{WEB6}]:80")));
        assert!(reaches(&self.web.0, &format!("{ROUTER}:443")), "out onto the LAN");
        assert!(!reaches(&self.web.0, &format!("{ROUTER}:444")));
        assert!(reaches(&self.web.0, &format!("{OUTSIDE}:443")), "and beyond, by its router");
        assert!(!reaches(&self.cache.0, &format!("{ROUTER}:443")));
        assert!(reaches(&self.cache.0, &format!("{WEB}:80")), "one workload the other");
    }

    /// The MAC that a machine knows for an address.
    fn knows(space: &Namespace, address: &str) -> String {
        let shown = space.check(&["ip", "neigh", "show", address]).expect("ip").stdout;
        let mac = shown.split_whitespace().skip_while(|word| *word != "lladdr").nth(1);
        mac.unwrap_or_default().to_owned()
    }
}

fn has(wire: &Wire, wanted: impl FnMut(&[u8]) -> bool) -> bool {
    wire.next(Duration::from_millis(300), wanted).expect("the wire works").is_some()
}

#[test]
fn r008_workloads_are_on_the_lan_of_a_shared_nic_by_policy_only_root() {
    root_or_return!("r008_workloads_are_on_the_lan_of_a_shared_nic_by_policy_only_root");
    let mut town = Town::new();
    town.stage.host.ip("addr add 192.168.50.2/24 dev eth1").expect("the host is on the LAN, too");
    let before = settled(&Scope::of(&town.stage.host));
    town.start();
    town.stage.bulkhead.up(&town.file("mode: bridge, uplink: eth1")).expect("applied");
    let _servers = town.servers();
    town.is_by_policy();
    assert_eq!(Town::knows(&town.peer, WEB), "02:62:69:a8:32:0a", "a MAC of its own");

    // The NIC is still the host's.
    let _own = serve(&town.stage.host, "192.168.50.2", &[22]);
    assert!(reaches(&town.peer, "192.168.50.2:22"));
    assert_ne!(Town::knows(&town.peer, "192.168.50.2"), "02:62:69:a8:32:0a");

    let why = town.stage.why("t/cache", "world", "tcp/443");
    assert_eq!(why["verdict"], "drop", "{why}");
    let why = town.stage.bulkhead.cli_json(&["why", PEER, "t/web", "tcp/80", "--walk"]);
    let why = why.expect("why answers").to_string();
    assert!(why.contains("on the LAN of eth1"), "{why}");

    // What is taken away comes back.
    town.stage.host.ip("link del bl1").expect("deleted");
    let back = || reaches(&town.peer, &format!("{WEB}:80"));
    wait_until("the way onto the LAN", REPAIRED, back).expect("repaired");
    town.stage.host.nft("flush ruleset").expect("flushed");
    wait_until("the table of the NIC", REPAIRED, back).expect("repaired");

    town.stage.bulkhead.down_clean().expect("down --clean");
    before.assert_same(&settled(&Scope::of(&town.stage.host)));
    let macs = town.stage.host.check(&["bridge", "fdb", "show", "dev", "eth1"]).expect("bridge");
    assert!(!macs.stdout.contains("02:62:6"), "{}", macs.stdout);
    assert!(reaches(&town.peer, "192.168.50.2:22"), "as it was");
}

#[test]
fn r011_a_bridge_of_the_host_is_an_external_switch_root() {
    root_or_return!("r011_a_bridge_of_the_host_is_an_external_switch_root");
    let mut town = Town::new();
    let host = &town.stage.host;
    town.stage.lab.bridge(host, "br-lan", &["192.168.50.2/24"]).expect("a bridge");
    host.ip("link set eth1 master br-lan").expect("the NIC is on it");
    let before = settled(&Scope::of(host));
    town.start();
    let told = town.refused("mode: bridge, uplink: eth1");
    assert!(told.contains("a part of br-lan") && told.contains("write `uplink: br-lan`"), "{told}");
    town.stage.bulkhead.up(&town.file("mode: bridge, uplink: br-lan")).expect("applied");
    let _servers = town.servers();
    town.is_by_policy();
    // Without an uplink the same network is internal: nobody outside is reached, nor reaches it.
    let internal =
        town.file("mode: bridge").replace(&format!(", gateway: [{ROUTER}, \"{ROUTER6}\"]"), "");
    town.stage.bulkhead.up(&internal).expect("applied");
    assert!(!reaches(&town.peer, &format!("{WEB}:80")));
    assert!(reaches(&town.cache.0, &format!("{WEB}:80")), "inside of it all is as before");
    town.stage.bulkhead.down_clean().expect("down --clean");
    before.assert_same(&settled(&Scope::of(&town.stage.host)));
}

#[test]
fn nobody_on_the_lan_is_a_workload_and_no_workload_is_somebody_else_there_root() {
    root_or_return!("nobody_on_the_lan_is_a_workload_and_no_workload_is_somebody_else_there_root");
    let mut town = Town::new();
    town.start();
    town.stage.bulkhead.up(&town.file("mode: bridge, uplink: eth1")).expect("applied");
    let _servers = town.servers();
    town.is_by_policy();
    let attacker = Wire::open(&town.peer, "eth0").expect("the attacker's wire");
    let inside = Wire::open(&town.web.0, "eth0").expect("the workload's wire");
    let own = town.peer.mac("eth0").expect("a MAC");
    let v4 = |text: &str| text.parse::<Ipv4Addr>().expect("an IPv4 address");
    let v6 = |text: &str| text.parse::<Ipv6Addr>().expect("an IPv6 address");

    // With the address of a workload that may: dropped by the receiver, and told.
    let forged = Frame::new(own, WEB_MAC).ip(ip(CACHE), ip(WEB)).tcp(5555, 80, SYN).bytes();
    attacker.send(&forged).expect("sent");
    assert!(!has(&inside, |seen| seen == forged), "a forged packet arrived");
    let told = wait_until("BH-D012", SOON, || {
        let flows = town.stage.flows(&["--verdict", "drop", "-n", "1000"]);
        flows.iter().any(|flow| flow["reason"]["code"] == "BH-D012")
    });
    told.expect("the drop is recorded with its reason");

    // With its MAC, in ARP and in neighbour discovery: never inside, and nothing moves.
    let liar = arp::Party { mac: own, ip: v4(CACHE) };
    let web = arp::Party { mac: WEB_MAC, ip: v4(WEB) };
    let stolen = Frame::new(CACHE_MAC, WEB_MAC).ip(ip(PEER), ip(WEB)).tcp(5556, 80, SYN).bytes();
    let prefix = v6("fd00:66::");
    for (what, frame) in [
        ("an ARP answer", arp::reply(liar, web)),
        ("an ARP announcement", arp::gratuitous(liar)),
        ("a stolen MAC", stolen),
        ("an advertisement", neighbour::advertisement(own, WEB_MAC, v6(PEER6), v6(WEB6), v6(WEB6))),
        ("a router", neighbour::router_advertisement(own, v6("fe80::66"), prefix)),
    ] {
        inside.forget().expect("forgotten");
        attacker.send(&frame).expect("sent");
        assert!(!has(&inside, |seen| seen == frame), "{what} arrived");
    }
    assert!(reaches(&town.cache.0, &format!("{WEB}:80")), "the workloads still find each other");
    assert!(reaches(&town.peer, &format!("{WEB}:80")), "and the LAN finds them");

    // The other way: a workload with root in its namespace.
    let workload = Wire::open(&town.web.0, "eth0").expect("the workload's wire");
    let outside = Wire::open(&town.peer, "eth0").expect("the machine's wire");
    let router = arp::Party { mac: WEB_MAC, ip: v4(ROUTER) };
    let poison = Frame::new(WEB_MAC, own).ip(ip(ROUTER), ip(PEER)).udp(53, 5353).bytes();
    let masked = Frame::new([2, 0, 0, 0, 0, 9], own).ip(ip(WEB), ip(PEER)).udp(443, 5353).bytes();
    for (what, frame) in
        [("the router's ARP", arp::gratuitous(router)), ("its address", poison), ("a MAC", masked)]
    {
        workload.send(&frame).expect("sent");
        assert!(!has(&outside, |seen| seen == frame), "{what} left");
    }
    let told = wait_until("BH-D013", SOON, || {
        let flows = town.stage.flows(&["--verdict", "drop", "-n", "1000"]);
        flows.iter().any(|flow| flow["reason"]["code"] == "BH-D013")
    });
    told.expect("ARP spoofing is recorded");
}

#[test]
fn r008_a_provider_that_filters_foreign_macs_is_found_and_refused_root() {
    root_or_return!("r008_a_provider_that_filters_foreign_macs_is_found_and_refused_root");
    let mut town = Town::new();
    let doctor = |town: &Town, expected: i32| {
        let argv = ["doctor", "--probe-uplink", "eth1", "--ask", ROUTER];
        let done = town.stage.bulkhead.cli(&argv).expect("doctor runs");
        assert_eq!(done.code(), Some(expected), "{}{}", done.stdout, done.stderr);
        done.stdout
    };
    let transparent = "mode: macvlan, uplink: eth1";
    town.start();
    let told = town.refused(transparent);
    assert!(told.contains("bulkhead doctor --probe-uplink eth1"), "{told}");
    let told = town.stage.bulkhead.cli(&["doctor", "--probe-uplink", "eth1"]).expect("doctor runs");
    assert!(told.stderr.contains("--ask ADDRESS"), "nobody to ask: {}", told.stderr);

    // As a provider does it.
    let nic = town.stage.host.mac("eth1").expect("a MAC");
    town.lan
        .nft(&format!(
            "table bridge provider {{\nchain ports {{\ntype filter hook prerouting priority -200;\n\
             iifname p1 ether saddr != {} drop\n}}\n}}",
            mac_text(nic)
        ))
        .expect("a filter");
    let watch = Wire::open(&town.stage.host, "eth1").expect("the NIC's wire");
    let told = doctor(&town, 3);
    assert!(told.contains("no frames of foreign MACs") && told.contains("BH-H061"), "{told}");
    let sent = watch.collect(Duration::from_millis(50), |seen| {
        seen.get(..6) == Some(&[0xff; 6][..]) && seen.get(12..14) == Some(&[8, 6][..])
    });
    let sent = sent.expect("captured");
    assert!((1..=3).contains(&sent.len()), "{} probes", sent.len());
    assert!(sent.iter().all(|frame| frame[28..32] == [0; 4]), "none claims an address");
    for network in [transparent, "mode: bridge, uplink: eth1"] {
        let told = town.refused(network);
        assert!(told.contains("filters foreign MACs"), "{told}");
    }

    town.lan.nft("delete table bridge provider").expect("no filter");
    let told = doctor(&town, 0);
    assert!(told.contains("eth1 passes frames of foreign MACs both ways"), "{told}");
    town.stage.bulkhead.up(&town.file(transparent)).expect("applied");
    let _servers = town.servers();
    town.is_by_policy();

    // Where nobody answers nothing is known.
    let silent = ["doctor", "--probe-uplink", "eth1", "--ask", "192.168.50.99"];
    let done = town.stage.bulkhead.cli(&silent).expect("doctor runs");
    assert_eq!(done.code(), Some(3));
    assert!(done.stdout.contains("nobody answered"), "{}", done.stdout);
}

#[test]
fn r015_an_uplink_that_cannot_carry_it_is_refused_with_the_reason_root() {
    root_or_return!("r015_an_uplink_that_cannot_carry_it_is_refused_with_the_reason_root");
    let mut town = Town::new();
    town.start();
    let before = settled(&Scope::of(&town.stage.host));
    assert!(town.refused("mode: bridge, uplink: eth7").contains("has no such interface"));
    assert!(town.refused("mode: bridge, uplink: lo").contains("no Ethernet interface"));
    town.stage.lab.bridge(&town.stage.host, "br7", &[]).expect("a bridge");
    assert!(town.refused("mode: macvlan, uplink: br7").contains("shares a NIC"));
    assert!(town.refused("mode: bridge, uplink: br7, vlan: 7").contains("where the wire is"));
    town.stage.host.ip("link del br7").expect("no bridge");
    town.stage.host.ip("link set eth1 down").expect("down");
    let told = town.refused("mode: bridge, uplink: eth1");
    assert!(told.contains("eth1 is down") && told.contains("ip link set dev eth1 up"), "{told}");
    town.stage.host.ip("link set eth1 up").expect("up");
    // Frames with a tag are shown in a guest, whose kernel has 802.1Q: ./dev test kernels.
    let doctor = town.stage.bulkhead.cli(&["doctor"]).expect("doctor runs");
    if doctor.stdout.contains("no 802.1Q in this kernel") {
        let told = town.refused("mode: bridge, uplink: eth1, vlan: 100");
        assert!(told.contains("this kernel has no 802.1Q (CONFIG_VLAN_8021Q"), "{told}");
    }
    before.assert_same(&settled(&Scope::of(&town.stage.host)));
}
