//! Parsers on texts captured from rented servers.

use std::net::IpAddr;

use serde_json::json;

use super::parse::{
    Legacy, Machine, cgroup_mode, foreign_tables, forward_drops, has_chain, iptables_save,
    is_public, listening, os_release, passes_us, ufw_enabled, virtualisation,
};
use super::{CgroupMode, listeners};
use crate::network::Transport;

const TCP: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 17321 1 0 100 0 0 10 0
   1: 0100007F:0CEA 00000000:0000 0A 00000000:00000000 00:00000000 00000000   112        0 19544 1 0 100 0 0 10 0
   2: 0701A8C0:0016 0201A8C0:D2F0 01 00000000:00000000 02:000A7B1E 00000000     0        0 40412 4 0 20 4 30 10 -1
";

const TCP6: &str = "\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000000000000000000000000000:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 22001 1 0 100 0 0 10 0
   1: 0000000000000000FFFF00000100007F:1F90 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000 00000000    33        0 22002 1 0 100 0 0 10 0
";

#[test]
fn listening_sockets_are_told_from_connected_ones() {
    let found = listening(TCP, Transport::Tcp);
    let lines: Vec<String> = found
        .iter()
        .map(|(l, inode)| format!("{}:{} {} {inode}", l.address, l.port, l.uid))
        .collect();
    assert_eq!(lines, ["0.0.0.0:22 0 17321", "127.0.0.1:3306 112 19544"]);
    assert!(found[1].0.is_local());
    let six = listening(TCP6, Transport::Tcp);
    assert_eq!(six[0].0.address, "::".parse::<IpAddr>().expect("v6"));
    assert!(six[1].0.is_local(), "a mapped loopback address is loopback");
}

#[test]
fn nonsense_is_skipped() {
    for text in ["", "x", "head\n0: zz:16 0:0 0A", "head\n   0: 0000:0016 0:0 0A a b c d e f g\n"] {
        assert!(listening(text, Transport::Tcp).is_empty(), "{text:?}");
    }
    assert!(foreign_tables(&json!({ "nftables": 3 })).is_empty());
    assert!(forward_drops(&json!(null)).is_empty());
    assert_eq!(os_release("PRETTY_NAME=\"\""), None);
}

#[test]
fn distributions_are_named_as_they_name_themselves() {
    let debian = "PRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nNAME=\"Debian GNU/Linux\"\n";
    assert_eq!(os_release(debian).as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
    assert_eq!(os_release("NAME=Alpine\n").as_deref(), Some("Alpine"));
}

#[test]
fn cgroup_modes_are_told_apart() {
    let v2 = "31 24 0:27 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate";
    let v1 = "34 31 0:30 / /sys/fs/cgroup/cpu rw,nosuid shared:12 - cgroup cgroup rw,cpu";
    assert_eq!(cgroup_mode(v2), CgroupMode::Unified);
    assert_eq!(cgroup_mode(v1), CgroupMode::Legacy);
    assert_eq!(cgroup_mode(&format!("{v1}\n{v2}")), CgroupMode::Hybrid);
    assert_eq!(cgroup_mode("22 1 8:1 / / rw - ext4 /dev/sda1 rw"), CgroupMode::Absent);
}

#[test]
fn guests_are_recognised() {
    let guest = |vendor, product, cpuinfo| {
        virtualisation(&Machine { vendor, product, cpuinfo, ..Machine::default() })
    };
    let flag = "flags\t\t: fpu vme hypervisor lahf_lm";
    assert_eq!(guest("QEMU", "Standard PC", flag).as_deref(), Some("KVM guest"));
    assert_eq!(guest("Hetzner", "vServer", flag).as_deref(), Some("KVM guest (Hetzner)"));
    assert_eq!(guest("", "", flag).as_deref(), Some("virtual machine"));
    // A dedicated server of a firm that also rents virtual ones.
    assert_eq!(guest("Hetzner", "AX41", "flags\t\t: fpu vme"), None);
    let container = Machine { container: "lxc", ..Machine::default() };
    assert_eq!(virtualisation(&container).as_deref(), Some("lxc container"));
}

#[test]
fn public_addresses_are_those_others_can_reach() {
    let public = ["198.20.5.1", "8.8.8.8", "2a01:4f8::1", "100.128.0.1"];
    let others = [
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.1.1",
        "192.0.2.1",
        "198.18.5.1",
        "0.0.0.0",
        "255.255.255.255",
        "240.0.0.1",
        "fd00::1",
        "fe80::1",
        "::1",
        "2001:db8::1",
    ];
    for text in public {
        assert!(is_public(&text.parse().expect("an address")), "{text}");
    }
    for text in others {
        assert!(!is_public(&text.parse().expect("an address")), "{text}");
    }
}

#[test]
fn dockers_rules_are_found() {
    let chain = |name: &str, hook: &str, policy: &str| json!({ "chain": { "family": "ip", "table": "filter", "name": name, "hook": hook, "policy": policy } });
    let chains = json!({ "nftables": [
        { "metainfo": { "version": "1.0.6" } },
        chain("INPUT", "input", "accept"),
        chain("FORWARD", "forward", "drop"),
        { "chain": { "family": "ip", "table": "filter", "name": "DOCKER-USER" } },
    ] });
    let drops = forward_drops(&chains);
    assert_eq!(drops.len(), 1);
    assert_eq!((drops[0].table.as_str(), drops[0].chain.as_str()), ("filter", "FORWARD"));
    assert!(has_chain(&chains, "DOCKER-USER"));
    let tables = json!({ "nftables": [
        { "table": { "family": "inet", "name": "bulkhead" } },
        { "table": { "family": "ip", "name": "filter" } },
    ] });
    assert_eq!(foreign_tables(&tables).len(), 1);
}

#[test]
fn rules_that_let_our_links_pass_are_recognised() {
    let rule = |chain: &str, key: &str, rest: serde_json::Value| {
        let link =
            json!({ "match": { "op": "==", "left": { "meta": { "key": key } }, "right": "bt*" } });
        json!({ "rule": { "family": "ip", "table": "filter", "chain": chain, "expr": [link, rest, { "accept": null }] } })
    };
    let counter = || json!({ "counter": { "packets": 0, "bytes": 0 } });
    let narrower = || json!({ "match": { "op": "==", "left": { "payload": { "protocol": "ip", "field": "daddr" } }, "right": "10.0.0.1" } });
    let listing = |rules: [serde_json::Value; 2]| json!({ "nftables": rules });
    let user = |key: &str| rule("DOCKER-USER", key, counter());
    assert!(passes_us(&listing([user("iifname"), user("oifname")]), "FORWARD"));
    assert!(passes_us(&listing([rule("F", "iifname", counter()), user("oifname")]), "F"));
    assert!(!passes_us(&listing([user("iifname"), user("iifname")]), "FORWARD"), "one way");
    let one = rule("DOCKER-USER", "oifname", narrower());
    assert!(!passes_us(&listing([user("iifname"), one]), "FORWARD"), "only some of it");
    assert!(!passes_us(&listing([rule("OTHER", "iifname", counter()), user("oifname")]), "F"));
}

#[test]
fn the_old_iptables_is_counted() {
    let text = "*nat\n:PREROUTING ACCEPT [0:0]\n-A PREROUTING -j X\nCOMMIT\n\
                *filter\n:FORWARD DROP [0:0]\n-A FORWARD -j DOCKER-USER\nCOMMIT\n";
    let found = iptables_save(text);
    assert_eq!((found.rules, found.drops, found.passes_us), (2, true, false));
    assert_eq!(iptables_save("*filter\n:FORWARD ACCEPT [0:0]\n"), Legacy::default());
    let rules = "-A DOCKER-USER -i bt+ -j ACCEPT\n-A DOCKER-USER -o bt+ -j ACCEPT\nCOMMIT\n";
    let open = format!("*filter\n:FORWARD DROP [0:0]\n{rules}");
    assert!(iptables_save(&open).passes_us);
    assert!(!iptables_save(&open.replace("-o bt+", "-o bt1")).passes_us);
    assert!(!iptables_save(&open.replace("*filter", "*mangle")).passes_us);
}

#[test]
fn ufw_is_on_when_it_says_so() {
    assert!(ufw_enabled("# /etc/ufw/ufw.conf\nENABLED=yes\nLOGLEVEL=low\n"));
    assert!(!ufw_enabled("ENABLED=no\n"));
    assert!(!ufw_enabled("#ENABLED=yes\n"));
}

#[test]
fn a_socket_of_this_process_is_found_with_its_name() {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let port = socket.local_addr().expect("an address").port();
    let found = listeners().into_iter().find(|listener| listener.port == port);
    let found = found.expect("the socket is listed");
    assert!(found.process.is_some() && found.is_local());
}
