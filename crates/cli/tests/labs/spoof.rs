//! Attackers with root inside a workload: forged ARP, ND, MAC and IP addresses, DHCP, router
//! advertisements, fragments; frames by hand, and arpspoof, nmap and hping3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::process::Command;
use std::time::Duration;

use testkit::packet::{Frame, Mac, SYN, arp, dhcp, extension, ip, mac_text, neighbour};
use testkit::{Namespace, Wire, root_or_return, wait_until};

use crate::stage::{OUTSIDE, SOON, Stage, reaches, serve};

const VICTIM: &str = "10.0.1.10";
const VICTIM6: &str = "fd00:5::10";
const ATTACKER: &str = "10.0.1.66";
const ATTACKER6: &str = "fd00:5::66";
const DB: &str = "10.0.1.20";

struct Street {
    stage: Stage,
    victim: Namespace,
    attacker: Namespace,
    db: Namespace,
}

/// Victim, attacker and db in one network; victim and attacker may reach db:80, nobody the victim.
fn street() -> Street {
    let mut stage = Stage::new();
    let (victim, victim_path) = stage.adopted("victim");
    let (attacker, attacker_path) = stage.adopted("attacker");
    let (db, db_path) = stage.adopted("db");
    stage
        .bulkhead
        .up(&format!(
            "bulkhead: 1
tenants:
  town:
    networks:
      main: {{ mode: bridge, subnets: [10.0.1.0/24, \"fd00:5::/64\"] }}
    workloads:
      victim: {{ address: [{VICTIM}, \"{VICTIM6}\"], labels: {{ app: v }}, netns: {victim_path} }}
      attacker: {{ address: [{ATTACKER}, \"{ATTACKER6}\"], labels: {{ app: a }}, netns: {attacker_path} }}
      db: {{ address: [{DB}], labels: {{ app: db }}, netns: {db_path} }}
    policies:
      use-db: {{ from: [app=v, app=a], to: app=db, allow: [80/tcp, 53/udp] }}
"
        ))
        .expect("applied");
    Street { stage, victim, attacker, db }
}

impl Street {
    /// Sends frames from the attacker's own interface; nothing of them may reach `witness`.
    fn attack(&self, witness: &Namespace, what: &str, frames: &[Vec<u8>], code: &str) {
        let wire = Wire::open(&self.attacker, "eth0").expect("the attacker's wire");
        let watch = Wire::open(witness, "eth0").expect("the witness's wire");
        for frame in frames {
            wire.send(frame).expect("sent");
        }
        let arrived = watch
            .next(Duration::from_millis(300), |seen| frames.iter().any(|f| ends_alike(f, seen)))
            .expect("the watch works");
        assert!(arrived.is_none(), "{what} arrived");
        self.await_code(what, code);
    }

    /// Waits until a drop with this code is in the flow history.
    fn await_code(&self, what: &str, code: &str) {
        let seen = wait_until(code, SOON, || {
            let flows = self.stage.flows(&["--verdict", "drop", "-n", "1000"]);
            flows.iter().any(|flow| flow["reason"]["code"] == code)
        });
        seen.unwrap_or_else(|cause| panic!("{what} is not explained: {cause}"));
    }

    fn macs(&self) -> (Mac, Mac) {
        let mac = |space: &Namespace| space.mac("eth0").expect("a MAC address");
        (mac(&self.attacker), mac(&self.victim))
    }
}

/// The same bytes behind the Ethernet header.
fn ends_alike(sent: &[u8], seen: &[u8]) -> bool {
    sent.len() > 20 && seen.len() >= sent.len() && seen[14..sent.len()] == sent[14..]
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().expect("IPv4")
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().expect("IPv6")
}

#[test]
fn forged_frames_go_nowhere_root() {
    root_or_return!("forged_frames_go_nowhere_root");
    let street = street();
    let (own, victim) = street.macs();
    let gateway = arp::Party { mac: own, ip: v4("10.0.1.1") };
    let target = arp::Party { mac: victim, ip: v4(VICTIM) };
    let as_gateway = [arp::gratuitous(gateway), arp::reply(gateway, target)];
    street.attack(&street.victim, "forged ARP", &as_gateway, "BH-D013");

    let lie = neighbour::advertisement(own, victim, v6(ATTACKER6), v6(VICTIM6), v6("fd00:5::1"));
    street.attack(&street.victim, "forged ND", &[lie], "BH-D014");

    let ra = neighbour::router_advertisement(own, v6("fe80::66"), v6("2001:db8::"));
    street.attack(&street.victim, "rogue RA", &[ra], "BH-D016");

    let offer = dhcp::offer(own, v4(ATTACKER), victim, v4(VICTIM), 7);
    street.attack(&street.victim, "rogue DHCP", &[offer], "BH-D015");

    let db_mac = street.db.mac("eth0").expect("a MAC address");
    let from = |source: &str| Frame::new(own, db_mac).ip(ip(source), ip(DB)).tcp(4000, 80, SYN);
    street.attack(&street.db, "a forged source", &[from(VICTIM).bytes()], "BH-D012");
    street.attack(&street.db, "a source of the internet", &[from(OUTSIDE).bytes()], "BH-D012");
    let mac = Frame::new(victim, db_mac).ip(ip(ATTACKER), ip(DB)).tcp(4000, 80, SYN).bytes();
    street.attack(&street.db, "a forged MAC", &[mac], "BH-D011");
}

#[test]
fn odd_packets_are_dropped_by_name_root() {
    root_or_return!("odd_packets_are_dropped_by_name_root");
    let street = street();
    let (own, victim) = street.macs();
    let db_mac = street.db.mac("eth0").expect("a MAC address");
    let to_db = || Frame::new(own, db_mac).ip(ip(ATTACKER), ip(DB));
    let udp = || to_db().udp(4000, 53).payload(&[9; 2000]).fragments(1200, 77);
    street.attack(&street.db, "an orphan fragment", &[udp().remove(1)], "BH-D025");
    let segment = to_db().tcp(4000, 80, SYN);
    let tiny = segment.fragment(0, true, 9, &segment.transport_bytes()[..8]);
    street.attack(&street.db, "a tiny fragment", &[tiny], "BH-D026");
    let options = to_db().ipv4_options(&[131, 7, 4, 10, 0, 1, 1, 0]).tcp(4001, 80, SYN).bytes();
    street.attack(&street.db, "a source route", &[options], "BH-D023");
    let routing = Frame::new(own, victim)
        .ip(ip(ATTACKER6), ip(VICTIM6))
        .extension(extension::ROUTING, &[0; 7])
        .tcp(4000, 80, SYN)
        .bytes();
    street.attack(&street.victim, "a routing header", &[routing], "BH-D024");
    let tagged = to_db().tcp(4002, 80, SYN).vlan(9).bytes();
    street.attack(&street.db, "a VLAN tag", &[tagged], "BH-D020");
}

#[test]
fn whole_datagrams_in_fragments_arrive_root() {
    root_or_return!("whole_datagrams_in_fragments_arrive_root");
    let street = street();
    let (own, _) = street.macs();
    let db_mac = street.db.mac("eth0").expect("a MAC address");
    let wire = Wire::open(&street.attacker, "eth0").expect("a wire");
    let watch = Wire::open(&street.db, "eth0").expect("a wire");
    let parts = Frame::new(own, db_mac)
        .ip(ip(ATTACKER), ip(DB))
        .udp(4000, 53)
        .payload(&[9; 2400])
        .fragments(1200, 78);
    for part in &parts {
        wire.send(part).expect("sent");
    }
    for part in &parts {
        let came = watch.next(SOON, |seen| ends_alike(part, seen)).expect("the watch works");
        assert!(came.is_some(), "a fragment is missing");
    }
}

#[test]
fn real_tools_are_stopped_root() {
    root_or_return!("real_tools_are_stopped_root");
    let street = street();
    let _web = serve(&street.db, DB, &[80]);
    assert!(reaches(&street.victim, "10.0.1.20:80"), "a neighbour table entry for the db");

    // arpspoof tells the victim that the db is at the attacker's MAC.
    let mut spoof = Command::new("arpspoof");
    spoof.args(["-i", "eth0", "-t", VICTIM, DB]);
    let spoof = street.attacker.spawn(&mut spoof).expect("arpspoof starts");
    street.await_code("arpspoof", "BH-D013");
    let table = street.victim.check(&["ip", "neigh", "show", DB]).expect("ip neigh").stdout;
    let attacker_mac = street.attacker.mac("eth0").expect("a MAC");
    assert!(!table.contains(&mac_text(attacker_mac)), "the victim was poisoned: {table}");
    assert!(reaches(&street.victim, "10.0.1.20:80"));
    spoof.stop(SOON).expect("arpspoof ends");

    // hping3 forges the victim's address.
    let forged = ["hping3", "-a", VICTIM, "-S", "-p", "80", "-c", "3", "-i", "u10000", DB];
    let done = street.attacker.command(&forged).expect("hping3 runs");
    assert!(done.stderr.contains("0 packets received"), "{}", done.stderr);

    // nmap sees what policy gives it and nothing else.
    let scan = ["nmap", "-n", "-Pn", "-sT", "--max-retries", "0", "-T4", "-p", "1-200", DB, VICTIM];
    let report = street.attacker.command(&scan).expect("nmap runs").stdout;
    let open: Vec<&str> = report.lines().filter(|line| line.contains("/tcp open")).collect();
    assert_eq!(open.len(), 1, "{report}");
    assert!(open[0].starts_with("80/tcp"), "{report}");
    let asked: IpAddr = ip(VICTIM);
    assert!(report.contains(&asked.to_string()));
}
