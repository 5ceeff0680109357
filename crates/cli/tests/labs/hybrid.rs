//! R-009, R-014: one workload in several networks. Each attachment has a policy of its own, answers leave where their
//! question came in, nothing goes from one network to the other, and two planes leave less to reach than one.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use serde_json::Value;
use testkit::packet::{Frame, SYN, ip, mac_text};
use testkit::server::{Reached, TcpEcho, UdpEcho, probe_tcp, probe_tcp_from, probe_udp_from};
use testkit::{Namespace, Wire, root_or_return, wait_until};

use crate::stage::{OUTSIDE, SILENCE, SOON, Stage, at, reaches, serve};

/// Of `web` in `front` and in `back`, of a neighbour in each, and of the gateways.
const WEB: &str = "10.1.0.5";
const WEB_BACK: &str = "10.9.0.5";
const WEB_BACK6: &str = "fd00:9::5";
const PEER: &str = "10.1.0.9";
const DB: &str = "10.9.0.7";
const DB6: &str = "fd00:9::7";

/// `web` with a public and an internal interface, a neighbour in each of its networks.
struct Two {
    stage: Stage,
    web: Namespace,
    peer: Namespace,
    db: Namespace,
    file: String,
}

/// The networks in these modes, with these policies.
fn two(front: &str, back: &str, policies: &str) -> Two {
    let mut stage = Stage::new();
    let (web, web_path) = stage.adopted("web");
    let (peer, peer_path) = stage.adopted("peer");
    let (db, db_path) = stage.adopted("db");
    let file = format!(
        "bulkhead: 1
tenants:
  t:
    networks:
      front: {{ mode: {front}, subnets: [10.1.0.0/24, \"fd00:1::/64\"] }}
      back:  {{ mode: {back}, subnets: [10.9.0.0/24, \"fd00:9::/64\"] }}
    workloads:
      web:
        network: front
        address: [{WEB}, \"fd00:1::5\"]
        also: [{{ network: back, address: [{WEB_BACK}, \"{WEB_BACK6}\"] }}]
        labels: {{ app: web }}
        netns: {web_path}
      peer: {{ network: front, address: [{PEER}, \"fd00:1::9\"], labels: {{ app: peer }}, netns: {peer_path} }}
      db: {{ network: back, address: [{DB}, \"{DB6}\"], labels: {{ app: db }}, netns: {db_path} }}
    publish:
      site: {{ port: 443/tcp, to: web:8443 }}
    policies:
{policies}"
    );
    stage.bulkhead.up(&file).expect("applied");
    Two { stage, web, peer, db, file }
}

/// What a public and an internal interface are for.
const POLICIES: &str =
    "      site: { from: world, to: \"app=web, network=front\", allow: [8443/tcp] }
      peers: { from: app=peer, to: \"app=web, network=front\", allow: [80/tcp] }
      use-db: { from: \"app=web, network=back\", to: app=db, allow: [6379/tcp, 53/udp] }
      from-db: { from: app=db, to: \"app=web, network=back\", allow: [9000/tcp] }
      updates: { from: \"app=web, network=front\", to: world, allow: [80/tcp] }
      roam: { from: app=peer, to: [world, unmanaged], allow: [any] }
";

/// From an address of a namespace, whatever its routes prefer.
fn reaches_from(space: &Namespace, own: &str, to: &str) -> bool {
    let own = SocketAddr::new(own.parse().expect("an address"), 0);
    probe_tcp_from(space, Some(own), at(to), SILENCE).expect("the probe runs") == Reached::Answered
}

/// Routing rules, one line each.
fn rules(space: &Namespace) -> Vec<String> {
    let mut found = Vec::new();
    for family in ["-4", "-6"] {
        let done = space.check(&["ip", family, "rule", "show"]).expect("ip rule");
        found.extend(
            done.stdout
                .lines()
                .filter(|line| line.contains("from 10.") || line.contains("from fd00"))
                .map(str::to_owned),
        );
    }
    found
}

#[test]
fn each_interface_of_a_workload_has_its_own_policy_root() {
    root_or_return!("each_interface_of_a_workload_has_its_own_policy_root");
    let two = two("nat", "bridge", POLICIES);
    let Two { stage, web, peer, db, .. } = &two;
    let _outside = serve(&stage.outside, OUTSIDE, &[80, 81]);
    let front = serve(web, WEB, &[80, 8443, 9000]);
    let _back = serve(web, WEB_BACK, &[80, 9000]);
    let _back6 = serve(web, WEB_BACK6, &[9000]);
    let _db = serve(db, DB, &[6379, 22]);
    let _db6 = serve(db, DB6, &[6379]);
    let _names = UdpEcho::start(db, at("10.9.0.7:53")).expect("a server");

    // Outwards: the public interface by default, the internal one to its own network.
    assert!(reaches(web, &format!("{OUTSIDE}:80")));
    assert!(!reaches(web, &format!("{OUTSIDE}:81")), "no rule");
    assert!(reaches(web, &format!("{DB}:6379")));
    assert!(reaches(web, &format!("[{DB6}]:6379")));
    assert!(!reaches(web, &format!("{DB}:22")), "no rule");
    let own = SocketAddr::new(WEB_BACK.parse().expect("an address"), 0);
    let asked = probe_udp_from(web, Some(own), at("10.9.0.7:53"), SILENCE).expect("a probe");
    assert_eq!(asked, Reached::Answered);
    // The internal network leads nowhere else, whatever a process binds to.
    assert!(!reaches_from(web, WEB_BACK, &format!("{OUTSIDE}:80")));
    // The public address is not spoken with in the internal network.
    assert!(!reaches_from(web, WEB, &format!("{DB}:6379")));

    // Inwards: what is open on the one is closed on the other.
    assert!(reaches(peer, &format!("{WEB}:80")));
    assert!(!reaches(peer, &format!("{WEB}:9000")));
    assert!(reaches(db, &format!("{WEB_BACK}:9000")));
    assert!(reaches(db, &format!("[{WEB_BACK6}]:9000")));
    assert!(!reaches(db, &format!("{WEB_BACK}:80")));
    assert!(!reaches(db, &format!("{WEB}:80")), "an internal network has no way to the other");
    // A published port comes in by the public one, and its answer leaves there.
    let before = front[1].accepted();
    assert!(reaches(&stage.outside, "198.51.100.2:443"));
    assert_eq!(front[1].accepted(), before + 1);
    told_apart(stage);
}

/// That everybody says which attachment is meant.
fn told_apart(stage: &Stage) {
    let why = stage.why("web", "db", "tcp/6379");
    assert_eq!(
        (why["verdict"].as_str(), why["from"]["name"].as_str()),
        (Some("allow"), Some("t/web@back"))
    );
    let why = stage.why("web", "world", "tcp/80");
    assert_eq!(
        (why["verdict"].as_str(), why["from"]["name"].as_str()),
        (Some("allow"), Some("t/web"))
    );
    let why = stage.why("web@back", "world", "tcp/80");
    assert_eq!(why["verdict"].as_str(), Some("drop"), "{why}");
    assert_eq!(stage.why("peer", "web", "tcp/9000")["verdict"].as_str(), Some("drop"));
    let flows = stage.flows(&["--from", "t/web@back", "--to", "t/db"]);
    assert!(flows.iter().all(|flow| flow["source"]["workload"] == "t.web@back"), "{flows:?}");
    let flows = stage.flows(&["--from", "web", "-n", "1000"]);
    let of = |name: &str| flows.iter().any(|flow| flow["source"]["workload"] == name);
    assert!(of("t.web") && of("t.web@back"), "the workload's name means both: {flows:?}");
    let status = stage.bulkhead.cli_json(&["status"]).expect("a status");
    let ids: Vec<&str> = status["workloads"]
        .as_array()
        .expect("workloads")
        .iter()
        .filter_map(|each| each["id"].as_str())
        .collect();
    assert_eq!(ids, ["t.db", "t.peer", "t.web", "t.web@back"]);
    for (from, to, service) in
        [("web", "db", "tcp/6379"), ("web@back", "db", "tcp/22"), ("db", "web", "tcp/9000")]
    {
        let probe = stage.bulkhead.cli_json(&["probe", from, to, service]).expect("a probe");
        assert_eq!(probe["agrees"], Value::Bool(true), "{probe}");
    }
}

#[test]
fn answers_leave_by_the_interface_that_asked_root() {
    root_or_return!("answers_leave_by_the_interface_that_asked_root");
    // Both networks have ways to each other, so that a question may come in at either interface.
    let two = two(
        "routed",
        "routed",
        "      all: { from: app=db, to: app=web, allow: [80/tcp] }\n      back: { from: app=peer, to: app=web, allow: [80/tcp] }\n",
    );
    let Two { web, peer, db, .. } = &two;
    let _servers = [
        serve(web, WEB, &[80]),
        serve(web, WEB_BACK, &[80]),
        serve(web, "fd00:1::5", &[80]),
        serve(web, WEB_BACK6, &[80]),
    ];
    for rp_filter in ["0", "1", "2"] {
        web.sysctl("net.ipv4.conf.all.rp_filter", rp_filter).expect("a sysctl");
        for from in [db, peer] {
            for to in [WEB, WEB_BACK, "[fd00:1::5]", "[fd00:9::5]"] {
                assert!(
                    reaches(from, &format!("{to}:80")),
                    "{} to {to}, rp_filter {rp_filter}",
                    from.name()
                );
            }
        }
    }
    let wanted = rules(web);
    assert_eq!(wanted.len(), 4, "{wanted:?}");
    // Without them the answer would leave by the interface that is nearer, with the other one's address: the test can fail.
    web.ip("rule flush\nrule add pref 32766 lookup main\nrule add pref 0 lookup local")
        .expect("no rules");
    assert!(!reaches(db, &format!("{WEB}:80")));
    // And they come back by themselves.
    two.stage.bulkhead.up(&two.file).expect("applied");
    assert_eq!(rules(web).iter().filter(|rule| rule.contains("10.")).count(), 2);
    assert!(reaches(db, &format!("{WEB}:80")));
}

#[test]
fn nothing_is_forwarded_between_the_two_root() {
    root_or_return!("nothing_is_forwarded_between_the_two_root");
    let two = two("nat", "bridge", POLICIES);
    let Two { stage, web, peer, db, .. } = &two;
    let value =
        |key: &str| web.check(&["sysctl", "-n", key]).expect("a sysctl").stdout.trim().to_owned();
    for link in ["eth0", "eth1"] {
        assert_eq!(value(&format!("net.ipv4.conf.{link}.forwarding")), "0");
        assert_eq!(value(&format!("net.ipv6.conf.{link}.forwarding")), "0");
    }
    // Whoever has root in the workload turns everything on.
    for key in ["net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"] {
        web.sysctl(key, "1").expect("a sysctl");
    }
    for link in ["all", "eth0", "eth1"] {
        web.sysctl(&format!("net.ipv4.conf.{link}.rp_filter"), "0").expect("a sysctl");
    }
    let _db = serve(db, DB, &[80]);
    let _web = serve(web, WEB_BACK, &[80]);
    let watch = Wire::open(db, "eth0").expect("the far side");
    let (own, gate) = (peer.mac("eth0").expect("a MAC"), web.mac("eth0").expect("a MAC"));
    // The neighbour in front takes the workload for its router: to db, and to the workload's own other address.
    peer.ip(&format!("route add 10.9.0.0/24 via {WEB}")).expect("a route");
    peer.ip(&format!("neigh replace {WEB} lladdr {} dev eth0", mac_text(gate)))
        .expect("a neighbour");
    assert!(!reaches(peer, &format!("{DB}:80")));
    assert!(!reaches(peer, &format!("{WEB_BACK}:80")), "an address of the other interface");
    let wire = Wire::open(peer, "eth0").expect("a wire");
    for port in 1000..1020 {
        let frame = Frame::new(own, gate).ip(ip(PEER), ip(DB)).tcp(port, 80, SYN).bytes();
        wire.send(&frame).expect("sent");
    }
    // And root in the workload sends what it would have forwarded by hand.
    let back = Wire::open(web, "eth1").expect("a wire");
    let (from, to) = (web.mac("eth1").expect("a MAC"), db.mac("eth0").expect("a MAC"));
    for (source, port) in [(PEER, 80), (WEB, 6379)] {
        let frame = Frame::new(from, to).ip(ip(source), ip(DB)).tcp(4000, port, SYN).bytes();
        back.send(&frame).expect("sent");
    }
    let foreign = |frame: &[u8]| {
        frame.len() > 30
            && frame[12..14] == [8, 0]
            && [PEER, WEB].iter().any(|each| ip(each) == ip(&source_of(frame)))
    };
    assert_eq!(watch.next(SILENCE, foreign).expect("a watch"), None);
    let seen = |code: &str| {
        wait_until(code, SOON, || {
            let flows = stage.flows(&["--verdict", "drop", "-n", "1000"]);
            flows.iter().any(|flow| flow["reason"]["code"] == code)
        })
        .unwrap_or_else(|cause| panic!("{code}: {cause}"));
    };
    seen("BH-D012");
    seen("BH-D017");
    // What is allowed goes on.
    let _redis = serve(db, DB, &[6379]);
    assert!(reaches(web, &format!("{DB}:6379")));
}

/// The source of an IPv4 frame.
fn source_of(frame: &[u8]) -> String {
    let octets: Vec<String> = frame[26..30].iter().map(ToString::to_string).collect();
    octets.join(".")
}

#[test]
fn an_agent_that_was_killed_takes_both_interfaces_over_root() {
    root_or_return!("an_agent_that_was_killed_takes_both_interfaces_over_root");
    let mut stage = Stage::new();
    let (db, db_path) = stage.adopted("db");
    let file = |also: &str| {
        format!(
            "bulkhead: 1
tenants:
  t:
    networks:
      front: {{ mode: nat, subnets: [10.1.0.0/24, \"fd00:1::/64\"] }}
      back: {{ mode: bridge, subnets: [10.9.0.0/24] }}
    workloads:
      web: {{ network: front, address: [{WEB}], {also}labels: {{ app: web }}, run: [sleep, \"3600\"] }}
      db: {{ network: back, address: [{DB}], labels: {{ app: db }}, netns: {db_path} }}
    policies:
      use-db: {{ from: app=web, to: app=db, allow: [6379/tcp] }}
"
        )
    };
    let both = file(&format!("also: [{{ network: back, address: {WEB_BACK} }}], "));
    stage.bulkhead.up(&both).expect("applied");
    let pin = stage.bulkhead.folders().run.join("netns/t.web");
    let web = Namespace::open("web", &pin).expect("its namespace");
    let _db = serve(&db, DB, &[6379, 22]);
    let links = |web: &Namespace| web.check(&["ip", "-br", "link"]).expect("links").stdout;
    assert_eq!(
        web.check(&["sysctl", "-n", "net.ipv4.ip_forward"]).expect("a sysctl").stdout.trim(),
        "0"
    );
    let hosts =
        stage.bulkhead.cli(&["exec", "web", "--", "cat", "/etc/hosts"]).expect("exec").stdout;
    for line in [format!("{DB} db"), format!("{WEB} web"), format!("{WEB_BACK} web")] {
        let words: Vec<&str> = line.split(' ').collect();
        let is_there =
            hosts.lines().any(|found| found.split_whitespace().take(2).eq(words.iter().copied()));
        assert!(is_there, "{line:?} in {hosts}");
    }
    let before = (links(&web), rules(&web));
    assert!(before.0.contains("eth0") && before.0.contains("eth1"), "{before:?}");
    assert_eq!(before.1.len(), 3, "{before:?}");
    assert!(reaches(&web, &format!("{DB}:6379")));
    let pid = |stage: &Stage| {
        stage.bulkhead.cli_json(&["status"]).expect("a status")["workloads"][1]["pid"].clone()
    };
    let process = pid(&stage);

    stage.bulkhead.kill_agent().expect("killed");
    assert!(reaches(&web, &format!("{DB}:6379")), "without an agent");
    assert!(!reaches(&web, &format!("{DB}:22")), "without an agent");
    stage.bulkhead.start_agent().expect("it starts");
    wait_until("both are enforced", SOON, || {
        let status = stage.bulkhead.cli_json(&["status"]).unwrap_or_default();
        let all = status["workloads"].as_array().cloned().unwrap_or_default();
        all.len() == 3 && all.iter().all(|each| !each["enforced_since"].is_null())
    })
    .expect("enforced");
    assert_eq!((links(&web), rules(&web)), before, "nothing was made again");
    assert!(reaches(&web, &format!("{DB}:6379")));
    assert!(!reaches(&web, &format!("{DB}:22")));

    // One less and one more, while its process goes on.
    stage.bulkhead.up(&file("")).expect("applied");
    assert!(!links(&web).contains("eth1"));
    assert_eq!(rules(&web), Vec::<String>::new());
    stage.bulkhead.up(&both).expect("applied");
    assert_eq!(rules(&web).len(), 3);
    assert!(reaches(&web, &format!("{DB}:6379")));
    assert_eq!(pid(&stage), process, "it was not started again");
}

/// Who is in which plane, and the ports of each.
const MEMBERS: [(&str, bool, bool); 4] =
    [("client", true, false), ("web", true, true), ("db", true, true), ("ops", false, true)];
const SERVICE: u16 = 80;
const MANAGEMENT: u16 = 22;

/// What of a world can be reached.
struct Plane {
    stage: Stage,
    spaces: Vec<(String, Namespace)>,
    addresses: Vec<(String, String)>,
    _servers: Vec<TcpEcho>,
}

impl Plane {
    /// Brings up workloads with their places, all of which serve both ports at every address.
    fn new(
        networks: &str,
        policies: &str,
        place: impl Fn(usize) -> Vec<(&'static str, String)>,
    ) -> Self {
        let mut stage = Stage::new();
        let (mut text, mut spaces, mut addresses) = (String::new(), Vec::new(), Vec::new());
        for (number, (name, ..)) in MEMBERS.iter().enumerate() {
            let (space, path) = stage.adopted(name);
            let places = place(number);
            let keys = |(network, address): &(&str, String)| {
                format!("network: {network}, address: {address}")
            };
            let also: Vec<String> =
                places[1..].iter().map(|each| format!("{{ {} }}", keys(each))).collect();
            text += &format!(
                "      {name}: {{ {}, also: [{}], netns: {path} }}\n",
                keys(&places[0]),
                also.join(", ")
            );
            addresses
                .extend(places.iter().map(|(_, address)| ((*name).to_owned(), address.clone())));
            spaces.push(((*name).to_owned(), space));
        }
        let file = format!(
            "bulkhead: 1\ntenants:\n  t:\n    networks:\n{networks}    workloads:\n{text}    policies:\n{policies}"
        );
        stage.bulkhead.up(&file.replace("also: [], ", "")).expect("applied");
        let mut servers = Vec::new();
        for (name, address) in &addresses {
            let (_, space) = spaces.iter().find(|(of, _)| of == name).expect("its namespace");
            servers.extend(serve(space, address, &[SERVICE, MANAGEMENT]));
        }
        Self { stage, spaces, addresses, _servers: servers }
    }

    /// Triples that real connections reach: source, target, port.
    fn probed(&self) -> BTreeSet<(String, String, u16)> {
        let mut found = BTreeSet::new();
        for (from, space) in &self.spaces {
            for (to, address) in self.addresses.iter().filter(|(to, _)| to != from) {
                for port in [SERVICE, MANAGEMENT] {
                    let target = at(&format!("{address}:{port}"));
                    if probe_tcp(space, target, SILENCE).expect("a probe") == Reached::Answered {
                        found.insert((from.clone(), to.clone(), port));
                    }
                }
            }
        }
        found
    }

    /// The same, as the matrix declares it.
    fn declared(&self) -> BTreeSet<(String, String, u16)> {
        let matrix = self.stage.bulkhead.cli_json(&["matrix"]).expect("a matrix");
        let matrix = if matrix["matrix"].is_object() { &matrix["matrix"] } else { &matrix };
        let owner = |at: &Value| {
            let at = usize::try_from(at.as_u64()?).ok()?;
            let id = matrix["parties"][at]["workload"].as_str()?;
            let name = id.strip_prefix("t.")?;
            Some(name.split('@').next().unwrap_or(name).to_owned())
        };
        let cells = matrix["cells"].as_array().expect("cells").iter();
        let triples = cells.flat_map(|cell| {
            let ends = owner(&cell["from"]).zip(owner(&cell["to"]));
            let services = cell["service"].as_str().unwrap_or_default().split(',');
            let ports =
                services.filter_map(|each| each.trim().trim_end_matches("/tcp").parse().ok());
            ends.into_iter()
                .flat_map(|(from, to)| {
                    ports.clone().map(move |port| (from.clone(), to.clone(), port))
                })
                .collect::<Vec<_>>()
        });
        triples.collect()
    }

    /// Who falls with a workload, and at which hop.
    fn falls_with(&self, name: &str) -> BTreeSet<(String, u64)> {
        let radius =
            self.stage.bulkhead.cli_json(&["policy", "blast-radius", name]).expect("a radius");
        let all = radius["before"]["reached"].as_array().expect("reached").iter();
        all.filter_map(|each| {
            let name = each["workload"].as_str()?.strip_prefix("t.")?;
            Some((name.split('@').next()?.to_owned(), each["hop"].as_u64()?))
        })
        .collect()
    }
}

#[test]
fn two_planes_leave_less_to_reach_than_one_root() {
    root_or_return!("two_planes_leave_less_to_reach_than_one_root");
    let flat = Plane::new(
        "      flat: { mode: bridge, subnets: [10.5.0.0/24] }\n",
        "      all: { from: network=flat, to: network=flat, allow: [80/tcp, 22/tcp] }\n",
        |number| vec![("flat", format!("10.5.0.{}", number + 10))],
    );
    let before = flat.probed();
    assert_eq!(before, flat.declared());
    assert_eq!(before.len(), 4 * 3 * 2, "everybody, everywhere");
    let everybody = ["db", "ops", "web"].map(|name| (name.to_owned(), 1));
    assert_eq!(flat.falls_with("client"), BTreeSet::from(everybody));
    drop(flat);

    let dual = Plane::new(
        "      service: { mode: bridge, subnets: [10.1.0.0/24] }\n      management: { mode: bridge, subnets: [10.9.0.0/24] }\n",
        "      service: { from: network=service, to: network=service, allow: [80/tcp] }\n      management: { from: network=management, to: network=management, allow: [22/tcp] }\n",
        |number| {
            let (_, service, management) = MEMBERS[number];
            let mut places = Vec::new();
            if service {
                places.push(("service", format!("10.1.0.{}", number + 10)));
            }
            if management {
                places.push(("management", format!("10.9.0.{}", number + 10)));
            }
            places
        },
    );
    let after = dual.probed();
    assert_eq!(after, dual.declared());
    // Three in each plane, one port each.
    assert_eq!(after.len(), 3 * 2 + 3 * 2);
    println!(
        "R-014: {} reachable triples on one bridge, {} on two planes",
        before.len(),
        after.len()
    );
    assert!(after.iter().all(|(from, to, _)| (from.as_str(), to.as_str()) != ("client", "ops")));
    // Nobody forwards, but who has a workload in both planes has both: it is told, hop by hop.
    let wanted = [("db", 1), ("web", 1), ("ops", 2)].map(|(name, hop)| (name.to_owned(), hop));
    assert_eq!(dual.falls_with("client"), BTreeSet::from(wanted));
}

#[test]
fn a_container_gets_a_second_interface_at_run_time_and_nobody_elses_root() {
    root_or_return!("a_container_gets_a_second_interface_at_run_time_and_nobody_elses_root");
    let mut stage = Stage::new();
    let (db, db_path) = stage.adopted("db");
    let (pod, pod_path) = stage.adopted("pod");
    let (other, other_path) = stage.adopted("other");
    stage
        .bulkhead
        .up(&format!(
            "bulkhead: 1
tenants:
  t:
    networks:
      front: {{ mode: nat, subnets: [10.1.0.0/24], attach: true }}
      back: {{ mode: bridge, subnets: [10.9.0.0/24], attach: true }}
      twin: {{ mode: bridge, subnets: [10.1.0.0/25], attach: true }}
    workloads:
      db: {{ network: back, address: [{DB}], labels: {{ app: db }}, netns: {db_path} }}
    policies:
      use-db: {{ from: app=pod, to: app=db, allow: [6379/tcp] }}
"
        ))
        .expect("applied");
    let _db = serve(&db, DB, &[6379]);
    let attach = |path: &str, network: &str, name: &str, interface: &str| {
        let line = format!(
            "attach {path} --network {network} --name {name} --label app=pod --interface {interface}"
        );
        let argv: Vec<&str> = line.split(' ').collect();
        stage.bulkhead.cli(&argv).expect("it runs")
    };
    assert_eq!(attach(&pod_path, "t/front", "pod", "eth0").code(), Some(0));
    assert!(!reaches(&pod, &format!("{DB}:6379")), "not there yet");
    let done = attach(&pod_path, "t/back", "pod", "net1");
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(done.stdout.contains("t/pod@back is attached"), "{}", done.stdout);
    assert!(reaches(&pod, &format!("{DB}:6379")));
    assert_eq!(rules(&pod).len(), 2);
    let routes = pod.check(&["ip", "route", "show", "default"]).expect("routes").stdout;
    assert!(routes.contains("eth0") && !routes.contains("net1"), "{routes}");
    assert_eq!(attach(&pod_path, "t/back", "pod", "net1").code(), Some(0), "asked twice");

    // Neither a foreign workload in this namespace, nor this one's name in another; no network twice, no interface twice,
    // no addresses in common.
    for (path, network, name, interface) in [
        (&pod_path, "t/back", "stranger", "net2"),
        (&other_path, "t/back", "pod", "eth0"),
        (&pod_path, "t/back", "pod", "net2"),
        (&pod_path, "t/twin", "pod", "net1"),
        (&pod_path, "t/twin", "pod", "net2"),
    ] {
        let done = attach(path, network, name, interface);
        assert_eq!(done.code(), Some(1), "{network} {name} {interface}: {done:?}");
    }
    assert!(!other.check(&["ip", "-br", "link"]).expect("links").stdout.contains("eth0"));

    stage.bulkhead.kill_agent().expect("killed");
    stage.bulkhead.start_agent().expect("it starts");
    wait_until("both are attached", SOON, || {
        let all = stage.bulkhead.cli_json(&["attachments"]).unwrap_or_default();
        all["attachments"].as_array().is_some_and(|all| all.len() == 2)
    })
    .expect("both");
    assert!(reaches(&pod, &format!("{DB}:6379")));

    // The first one goes before the second: that stays what it is.
    for interface in ["eth0", "net1"] {
        let key = format!("attached{pod_path}/{interface}");
        stage.bulkhead.cli(&["detach", &key]).expect("it runs").success().expect("detached");
    }
    assert_eq!(rules(&pod), Vec::<String>::new());
    let links = pod.check(&["ip", "-br", "link"]).expect("links").stdout;
    assert!(!links.contains("eth0") && !links.contains("net1"), "{links}");
}
