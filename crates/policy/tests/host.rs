//! `host:`: what it says, its defaults, its mistakes, and what counts as a change of the host part.

use jiff::Timestamp;
use model::Posture;
use policy::{Document, Limits, Source};

fn load(text: &str) -> Result<Document, String> {
    let source = Source { name: "host.yaml", text };
    match policy::load(&source, &|_| None, &Limits::default(), Timestamp::UNIX_EPOCH) {
        Ok(checked) => Ok(checked.document),
        Err(found) => Err(found.render(false)),
    }
}

fn part(text: &str) -> u64 {
    load(&format!("bulkhead: 1\n{text}")).expect("correct").host_part()
}

#[test]
fn the_host_denies_what_it_receives_and_sends_freely() {
    let document = load("bulkhead: 1\nhost: {}\n").expect("correct");
    let host = document.host.expect("a host part");
    assert_eq!((host.postures.ingress, host.postures.egress), (Posture::Deny, Posture::Allow));
    assert!(host.uplinks.is_empty());
    let text = "bulkhead: 1\nhost: { interfaces: [eth0, wlan0], posture: { egress: deny } }\n";
    let host = load(text).expect("correct").host.expect("a host part");
    assert_eq!((host.postures.ingress, host.postures.egress), (Posture::Deny, Posture::Deny));
    assert_eq!(host.uplinks.iter().map(ToString::to_string).collect::<Vec<_>>(), ["eth0", "wlan0"]);
}

#[test]
fn what_is_no_uplink_is_refused() {
    for (text, says) in [
        ("interfaces: lo", "talks to itself"),
        ("interfaces: []", "an empty list"),
        ("interfaces: [eth0, eth0]", "named twice"),
        ("interfaces: an-interface-too-long", "not the name of an interface"),
        ("interfaces: ../x", "not the name of an interface"),
    ] {
        let found = load(&format!("bulkhead: 1\nhost: {{ {text} }}\n")).expect_err(text);
        assert!(found.contains(says), "{text}: {found}");
    }
}

#[test]
fn the_host_part_is_what_is_said_of_the_host_and_nothing_else() {
    let ssh = "ssh: { from: 198.51.100.0/24, to: host, allow: [22/tcp] }";
    let base = part(&format!("host: {{}}\npolicies:\n  {ssh}\n"));
    assert_eq!(part("policies: {}\n"), 0, "no host part without the section");
    // Its place in the file, other policies and tenants are not it.
    let moved = "tenants:\n  t:\n    networks: { n: { subnets: [10.0.0.0/24] } }\n    workloads: { w: { netns: w } }\n    policies: { dns: { from: workload=w, to: host, allow: [53/udp] } }\n";
    assert_eq!(base, part(&format!("# first\nhost: {{}}\n{moved}policies:\n\n  {ssh}\n")));
    for other in [
        format!("host: {{ interfaces: eth1 }}\npolicies:\n  {ssh}\n"),
        format!("host: {{ posture: {{ ingress: audit }} }}\npolicies:\n  {ssh}\n"),
        format!("host: {{ audit: {{ ingress: true }} }}\npolicies:\n  {ssh}\n"),
        format!("audit: {{ ingress: true }}\nhost: {{}}\npolicies:\n  {ssh}\n"),
        "host: {}\npolicies:\n  ssh: { from: 198.51.100.0/24, to: host, allow: [2222/tcp] }\n"
            .to_owned(),
        "host: {}\npolicies:\n  ssh: { from: any, to: host, allow: [22/tcp] }\n".to_owned(),
        "host: {}\n".to_owned(),
    ] {
        assert_ne!(base, part(&other), "{other}");
    }
}
