//! `also:`: a workload in several networks, what goes together, and what is said of the rest.

use std::fmt::Write as _;

use jiff::Timestamp;
use policy::document::Start;
use policy::{Document, Limits, Source, load};

const NETWORKS: &str = "      front: { subnets: [10.1.0.0/24] }
      back: { subnets: [10.9.0.0/24], segments: { db: { subnet: 10.9.0.0/25 }, ops: { subnet: 10.9.0.128/25 } } }
      twin: { subnets: [10.1.0.0/16] }
      dark: { mode: none }
      lan: { external: { bridge: br0 }, subnets: [192.168.1.0/24] }
";

fn read(workloads: &str, rest: &str) -> Result<Document, String> {
    let text = format!(
        "bulkhead: 1\ntenants:\n  t:\n    networks:\n{NETWORKS}    workloads:\n      web: {{ {workloads} }}\n{rest}"
    );
    let source = Source { name: "f.yaml", text: &text };
    load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH)
        .map(|checked| checked.document)
        .map_err(|list| {
            let mut out = String::new();
            for each in &list.items {
                writeln!(out, "{}: {}", each.code, each.message).expect("a string");
            }
            out
        })
}

#[test]
fn each_attachment_is_an_endpoint_of_the_workload() {
    let also =
        "network: front, also: [{ segment: back/db, address: 10.9.0.5 }], labels: { app: web }";
    let document = read(&format!("{also}, run: [sleep]"), "").expect("correct");
    let [first, second] = [document.workload("t.web"), document.workload("t.web@back")];
    let (first, second) = (first.expect("eth0"), second.expect("eth1"));
    assert_eq!((first.id(), second.id()), ("t.web".to_owned(), "t.web@back".to_owned()));
    assert_eq!((first.label(), second.label()), ("web".to_owned(), "web@back".to_owned()));
    assert_eq!(second.segment.as_ref().map(ToString::to_string).as_deref(), Some("db"));
    assert_eq!((first.v4, second.v4), (None, "10.9.0.5".parse().ok()));
    assert_eq!(first.labels, second.labels);
    assert_ne!(first.identity(), second.identity());
    assert!(matches!(&second.start, Start::Beside(interface) if &**interface == "eth1"));
    assert_eq!(document.workload("t.web@front"), None, "the first one has no other name");

    let document =
        read(&format!("{also}, netns: web"), "").expect("one namespace, not adopted twice");
    let second = document.workload("t.web@back").expect("eth1");
    assert!(matches!(&second.start, Start::Netns(adopted) if &*adopted.interface == "eth1"));
}

#[test]
fn what_does_not_go_together_is_told() {
    let told = |keys: &str| read(keys, "").map(drop).expect_err("refused");
    let web = |also: &str| told(&format!("network: front, also: {also}, netns: web"));
    insta::assert_snapshot!(web("[{ network: front }]"), @"BH0146: `web` is attached to `front` twice");
    insta::assert_snapshot!(web("[{ segment: back/db }, { segment: back/ops }]"), @"BH0146: `web` is attached to `back` twice");
    insta::assert_snapshot!(web("[{ network: back }]"), @"BH0123: the network `back` has several segments");
    insta::assert_snapshot!(web("[{ network: twin }]"), @"BH0146: the networks `front` and `twin` of `web` overlap");
    insta::assert_snapshot!(web("[{ network: dark }]"), @"BH0146: `web` cannot be in `dark` and in others");
    insta::assert_snapshot!(web("[{ network: lan }]"), @"BH0146: `web` cannot be in `lan` and in others");
    insta::assert_snapshot!(web("[{ network: nets }]"), @"BH0120: there is no network `nets`");
    insta::assert_snapshot!(web("[{ address: 10.9.0.5 }]"), @"BH0107: this attachment names no network");
    insta::assert_snapshot!(web("[{ segment: back/db, address: 10.9.0.200 }]"), @"BH0128: `web` cannot have the address 10.9.0.200");
    insta::assert_snapshot!(web("[{ network: back, labels: { app: x } }]"), @r"
    BH0123: the network `back` has several segments
    BH0105: an attachment has no key `labels`
    ");
    let port = "port: { interface: tap0, mac: \"52:54:00:00:00:01\" }, address: [192.168.1.7]";
    insta::assert_snapshot!(told(&format!("network: lan, also: [{{ network: front }}], {port}")), @"BH0146: `web` is a port in place, which leads to one network");
    insta::assert_snapshot!(told("network: dark, also: [{ network: front }], netns: web"), @"BH0146: `web` cannot be in `dark` and in others");
    let many = ["{ segment: back/db }"; 8].join(", ");
    insta::assert_snapshot!(web(&format!("[{many}]")), @"BH0146: `web` has 9 attachments, at most 8 are accepted");
    insta::assert_snapshot!(told("networks: [front, back], netns: web"), @r"
    BH0123: the workload `web` could stand in several networks
    BH0105: a workload has no key `networks`
    ");
}

#[test]
fn a_published_port_leads_to_the_first_one() {
    let rest = "    publish: { site: { port: 443/tcp, to: web:8443, address: 203.0.113.7 } }\n";
    let keys = "network: front, also: [{ segment: back/db }], netns: web";
    assert_eq!(read(keys, rest).expect("correct").publishes.len(), 1);
}
