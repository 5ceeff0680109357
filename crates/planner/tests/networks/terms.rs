//! `publish:` on an external network: its runtime leads the port, and the file says for whom, until when and how much.

use jiff::Timestamp;
use model::Transport;
use planner::{Allocations, Bundle, Compiler, Facts, HostPlane, compile};
use policy::Document;
use policy::document::{Led, Unled};
use proptest::prelude::*;
use verdict::abi::{Addr, HOST_NETWORK, Ports, Verdict};
use verdict::native::{Simulation, Tables};
use verdict::{Judgement, Question};

use crate::{address, host, load};

const FILE: &str = r#"bulkhead: 1
tenants:
  t:
    networks:
      lan: { external: { bridge: br0 }, subnets: [172.18.0.0/24] }
      main: { mode: routed, subnets: [10.0.1.0/24] }
    workloads:
      web: { network: lan, port: { interface: v0, mac: "52:54:00:00:00:01" }, address: [172.18.0.2] }
      db: { network: lan, port: { interface: v1, mac: "52:54:00:00:00:02" }, address: [172.18.0.3] }
      near: { network: lan, port: { interface: v2, mac: "52:54:00:00:00:03" }, address: [172.18.0.4] }
      ours: { network: main, address: [10.0.1.9], netns: ours }
    publish:
      site: { port: 8080/tcp, to: web:80 PUBLISH }
    policies:
      in: { from: [world, host, unmanaged, workload=near, workload=ours], to: [workload=web, workload=db], allow: [80/tcp, 81/tcp] }
      never: { from: 203.0.113.66, to: workload=web, deny: [80/tcp] }
"#;

fn facts(now: &str) -> Facts {
    let now = now.parse().expect("a time");
    Facts { now, ..host(&["192.0.2.10", "172.18.0.1"]) }
}

/// The file with these keys of the entry, and what the runtime says that it leads.
fn document(publish: &str, led: &[(u16, &str, u16)]) -> Document {
    let mut document = load(&FILE.replace("PUBLISH", publish));
    let one = |(port, workload, to): &(u16, &str, u16)| Led {
        tenant: document.tenants[0].name.clone(),
        workload: workload.parse().expect("a name"),
        network: document.networks[0].name.clone(),
        transport: Transport::Tcp,
        port: *port,
        to: *to,
        address: None,
    };
    document.led = led.iter().map(one).collect();
    document
}

/// The same, and of this workload it is not known yet.
fn awaited(mut document: Document, workload: &str) -> Document {
    let (tenant, network) = (document.tenants[0].name.clone(), document.networks[0].name.clone());
    let workload = workload.parse().expect("a name");
    document.unled.push(Unled { tenant, workload, network });
    document
}

fn made(document: &Document, now: &str) -> Bundle {
    let bundle = compile(document, &Allocations::default(), &facts(now)).expect("compiles");
    crate::sound(&bundle);
    bundle
}

fn judged(tables: &Tables, bundle: &Bundle, from: &str, to: (&str, u16)) -> Judgement {
    let router = bundle.routers.iter().find(|router| router.name == "lan").expect("a network");
    let question = Question {
        source: Addr::from(address(from)),
        target: Addr::from(address(to.0)),
        network: router.number.into(),
        ports: Ports { source: 40_000, target: to.1 },
        protocol: 6,
    };
    let mut judgement = Judgement::default();
    verdict::judge(&Simulation::new(tables), &question, 0, &mut judgement);
    judgement
}

const WEB: (&str, u16) = ("172.18.0.2", 80);
const WORLD: &str = "203.0.113.1";
const HOST: &str = "172.18.0.1";
const NEAR: &str = "172.18.0.4";
const OURS: &str = "10.0.1.9";
const NOBODY: &str = "172.18.0.77";

/// Who of them reaches a port.
fn who(bundle: &Bundle, to: (&str, u16)) -> Vec<&'static str> {
    let all = [WORLD, "198.51.100.7", HOST, NEAR, OURS, NOBODY];
    let passes = |from: &&&str| judged(&bundle.tables, bundle, from, to).verdict != Verdict::Drop;
    all.iter().filter(passes).copied().collect()
}

const NOW: &str = "2026-11-23T00:00:00Z";

#[test]
fn a_port_is_open_to_its_sources_and_to_workloads_as_policy_says() {
    let everybody = [WORLD, "198.51.100.7", HOST, NEAR, OURS, NOBODY];
    let open = made(&document("", &[]), NOW);
    assert_eq!(who(&open, WEB), everybody);
    let narrow = made(&document(", from: 198.51.100.0/24", &[]), NOW);
    assert_eq!(who(&narrow, WEB), ["198.51.100.7", NEAR, OURS]);
    assert_eq!(who(&narrow, ("172.18.0.2", 81)), everybody, "another port is not meant");
    assert_eq!(who(&narrow, ("172.18.0.3", 80)), everybody, "nor is another workload");
    let refused = judged(&narrow.tables, &narrow, WORLD, WEB);
    let rule = &narrow.rules[&refused.ingress_rule];
    assert_eq!((&*rule.path, rule.name(), rule.line), ("tenants.t.publish.site", "site", 13));
    let hosts = made(&document(", from: [host, 198.51.100.0/24]", &[]), NOW);
    assert_eq!(who(&hosts, WEB), ["198.51.100.7", HOST, NEAR, OURS]);
    // A range does not hold the host, though the address of its proxy lies in it.
    let wide = made(&document(", from: 172.16.0.0/12", &[]), NOW);
    assert_eq!(who(&wide, WEB), [NEAR, OURS, NOBODY]);
}

#[test]
fn terms_only_close_what_policies_open() {
    let text =
        FILE.replace("world, host, unmanaged, ", "").replace("PUBLISH", ", from: 203.0.113.0/24");
    let closed = made(&load(&text), NOW);
    assert_eq!(who(&closed, WEB), [NEAR, OURS], "an entry opens nothing");
    let denied = made(&document(", from: 203.0.113.0/24", &[]), NOW);
    let verdict = judged(&denied.tables, &denied, "203.0.113.66", WEB).verdict;
    assert_eq!(verdict, Verdict::Drop, "and takes no deny away");
    assert_eq!(who(&denied, WEB), [WORLD, NEAR, OURS]);
}

#[test]
fn when_its_time_is_over_a_port_is_closed_though_the_runtime_leads_it() {
    let document = document(", until: 2026-12-31", &[]);
    let before = made(&document, NOW);
    assert_eq!(who(&before, WEB).len(), 6);
    assert_eq!(before.expires, Some("2027-01-01T00:00:00Z".parse().expect("a time")));
    let after = made(&document, "2027-01-01T00:00:00Z");
    assert_eq!(who(&after, WEB), [NEAR, OURS]);
    // A compiler that goes on through the moment comes to the same.
    let mut compiler =
        Compiler::new(document.clone(), &Allocations::default(), &facts(NOW)).expect("compiles");
    compiler.update(document, &facts("2027-01-01T00:00:00Z")).expect("updated");
    assert_eq!(*compiler.bundle(), after);
}

#[test]
fn whoever_has_the_port_of_the_host_has_its_terms() {
    let narrow = ", from: 198.51.100.0/24, limit: 5/s";
    // The runtime leads 8080 to another container, and on another port.
    let led = made(&document(narrow, &[(8080, "db", 81)]), NOW);
    assert_eq!(who(&led, ("172.18.0.3", 81)), ["198.51.100.7", NEAR, OURS]);
    assert_eq!(who(&led, WEB), ["198.51.100.7", NEAR, OURS], "and where the file says, as well");
    assert_eq!(who(&led, ("172.18.0.3", 80)).len(), 6);
    assert_eq!(led.tables.limits.len(), 2, "the limit goes with it");
    let other = made(&document(narrow, &[(8081, "db", 81)]), NOW);
    assert_eq!(who(&other, ("172.18.0.3", 81)).len(), 6, "a port that the file does not name");
}

#[test]
fn until_it_is_known_what_leads_to_a_workload_nobody_but_workloads_reaches_it() {
    let narrow = ", from: 198.51.100.0/24";
    let starting = made(&awaited(document(narrow, &[]), "db"), NOW);
    for port in [80, 81] {
        assert_eq!(who(&starting, ("172.18.0.3", port)), [NEAR, OURS]);
    }
    let refused = judged(&starting.tables, &starting, WORLD, ("172.18.0.3", 81));
    assert_eq!(&*starting.rules[&refused.ingress_rule].path, "tenants.t.publish.site");
    assert_eq!(who(&starting, WEB), ["198.51.100.7", NEAR, OURS], "others are as they were");
    // Where the file says it leads, those who are named are let in all the time.
    let own = made(&awaited(document(narrow, &[]), "web"), NOW);
    assert_eq!(who(&own, WEB), ["198.51.100.7", NEAR, OURS]);
    assert_eq!(who(&own, ("172.18.0.2", 81)), [NEAR, OURS]);
    for entry in [", limit: 5/s", ", until: 2026-01-01", ", from: host"] {
        let waits = made(&awaited(document(entry, &[]), "db"), NOW);
        assert_eq!(who(&waits, ("172.18.0.3", 81)), [NEAR, OURS], "{entry}");
    }
    for entry in ["", ", until: 2026-12-31", ", owner: ops"] {
        let open = made(&awaited(document(entry, &[]), "db"), NOW);
        assert_eq!(
            who(&open, ("172.18.0.3", 81)).len(),
            6,
            "there is nothing to wait for: {entry}"
        );
    }
}

#[test]
fn nothing_of_it_is_ours_to_lead_and_the_hosts_own_policy_opens_the_port() {
    let bundle = made(&document(", from: 198.51.100.0/24, limit: 5/s", &[]), NOW);
    assert!(bundle.routers.iter().all(|router| router.publishes.is_empty()));
    assert_eq!(bundle.terms.len(), 1);
    let (_, at) = bundle.attachment("t.web").expect("attached");
    let keys: Vec<(u32, u16)> =
        bundle.tables.limits.keys().map(|key| (key.endpoint, key.port)).collect();
    assert_eq!(keys, [(at.number.into(), 80)]);
}

#[test]
fn the_hosts_own_policy_opens_the_port_for_those_who_are_named() {
    let judged = |publish: &str, from: &str| {
        let text = FILE.replace("bulkhead: 1\n", "bulkhead: 1\nhost: { interfaces: [eth0] }\n");
        let document = load(&text.replace("PUBLISH", publish));
        let facts = facts(NOW);
        let mut bundle = made(&document, NOW);
        let plane = HostPlane::new(&document, &bundle.routers, &document.publishes, &facts);
        plane.expect("compiles").expect("a host").enter(&mut bundle);
        let question = Question {
            source: Addr::from(address(from)),
            target: Addr::from(address("192.0.2.10")),
            network: HOST_NETWORK,
            ports: Ports { source: 40_000, target: 8080 },
            protocol: 6,
        };
        let mut judgement = Judgement::default();
        verdict::judge(&Simulation::new(&bundle.tables), &question, 0, &mut judgement);
        judgement.verdict != Verdict::Drop
    };
    let narrow = ", from: 198.51.100.0/24";
    assert!(judged("", WORLD) && judged(narrow, "198.51.100.7") && !judged(narrow, WORLD));
    assert!(!judged(", from: host", WORLD), "for the host alone is for nobody at an uplink");
    assert!(!judged(", until: 2026-01-01", WORLD), "nor is what is over");
}

#[test]
fn what_a_runtime_does_not_lead_as_the_file_says_is_told() {
    let told = |led: &[(u16, &str, u16)]| {
        let document = document("", led);
        let all = policy::misled(&document);
        all.first().map(|misled| misled.told.message.clone()).unwrap_or_default()
    };
    assert_eq!(told(&[(8080, "web", 80)]), "");
    assert_eq!(told(&[(8080, "web", 80), (9090, "web", 81)]), "");
    // In two networks a container is two workloads.
    assert_eq!(told(&[(8080, "db", 80), (8080, "web", 80)]), "");
    insta::assert_snapshot!(told(&[(8080, "db", 81)]), @"the published port `t.site` is to lead to web:80, and its runtime leads 8080/tcp to db:81");
    insta::assert_snapshot!(told(&[(9090, "web", 80)]), @"the published port `t.site` is 8080/tcp, and its runtime publishes web:80 as 9090/tcp");
    let other = told(&[(9090, "web", 81)]);
    insta::assert_snapshot!(other, @"the published port `t.site` leads nowhere: the runtime of `web` publishes no 8080/tcp");
    assert_eq!(told(&[]), "", "nobody says what is led to a port of a bridge");
    let starting = awaited(document("", &[(9090, "web", 81)]), "web");
    assert_eq!(policy::misled(&starting), [], "it is not known yet");
    let text = FILE.replace("PUBLISH", "").replace("to: web:80 ", "to: gone:80 ");
    let document = load(&text);
    insta::assert_snapshot!(policy::misled(&document)[0].told.message, @"the published port `t.site` leads nowhere: there is no workload `gone` now");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Attack: by no order of coming and going is a port open to more than a fresh compilation opens it to.
    #[test]
    fn whatever_comes_and_goes_the_terms_are_those_of_a_fresh_compilation(
        steps in proptest::collection::vec((0..4_usize, 0..4_usize, any::<bool>(), any::<bool>()), 1..6)
    ) {
        let entries = ["", ", from: 198.51.100.0/24", ", until: 2026-12-31", ", from: host, limit: 3/s"];
        let leads: [&[(u16, &str, u16)]; 4] =
            [&[], &[(8080, "web", 80)], &[(8080, "db", 81)], &[(8080, "web", 81), (8081, "db", 80)]];
        let facts = facts("2027-01-01T00:00:00Z");
        let mut compiler = Compiler::new(document("", &[]), &Allocations::default(), &facts).expect("compiles");
        for (entry, led, gone, waits) in steps {
            let mut wanted = document(entries[entry], leads[led]);
            if waits {
                wanted = awaited(wanted, "db");
            }
            if gone {
                wanted.workloads.retain(|workload| workload.name != "web");
            }
            compiler.update(wanted.clone(), &facts).expect("updated");
            let fresh = compile(&wanted, &compiler.bundle().allocations, &facts).expect("compiles");
            prop_assert_eq!(compiler.bundle(), &fresh);
        }
    }
}

#[test]
fn times_of_entries_are_times_at_which_it_is_compiled_again() {
    let document = document(", until: 2026-12-31", &[]);
    let moments = planner::moments(&document, NOW.parse().expect("a time"));
    assert_eq!(moments.moments, ["2027-01-01T00:00:00Z".parse::<Timestamp>().expect("a time")]);
}
