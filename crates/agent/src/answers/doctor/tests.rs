//! What hosts with and without something are told; facts are made up, the judging is real.

use host::linux::bpf::Feature;
use host::linux::probe::{BridgeFilter, Firewalls, ForeignTable, ForwardDrop};

use super::*;

fn feature(name: &'static str, present: bool, required: bool, detail: &str) -> Feature {
    Feature { name, present, required, detail: detail.to_owned(), remedy: None }
}

fn capabilities(features: Vec<Feature>) -> Capabilities {
    Capabilities { hooks: HookKind::Tcx, features }
}

fn able() -> Capabilities {
    capabilities(vec![
        feature("tc programs", true, true, "works"),
        feature("ring buffer", true, true, "works"),
        feature(bpf::TCX_LINKS, true, false, "programs are attached by pinned links"),
    ])
}

fn quiet() -> Report {
    Report {
        kernel: "6.12.1".to_owned(),
        distribution: Some("Debian GNU/Linux 13 (trixie)".to_owned()),
        virtualisation: Some("KVM guest".to_owned()),
        cgroup: CgroupMode::Unified,
        mtu: Some(1500),
        forwards_v4: Some(true),
        forwards_v6: Some(false),
        bridge_filter: BridgeFilter::default(),
        public_addresses: ["198.51.100.7".parse().expect("an address")].into(),
        firewalls: Firewalls::default(),
        exposed: Vec::new(),
    }
}

fn facts(capabilities: Capabilities, report: Result<Report, String>) -> Facts {
    let (name, release) = ("fra-2".to_owned(), "6.12.1".to_owned());
    Facts { name, release, capabilities: Some(capabilities), report, lans: Lans::default() }
}

/// As a person reads it.
fn told(doctor: &Doctor) -> String {
    let path = doctor.kernel_path.as_deref().unwrap_or("-");
    let mut lines = vec![doctor.host.clone(), format!("{} {path}", doctor.enforcement)];
    for finding in &doctor.findings {
        let level = format!("{:?}", finding.level);
        lines.push(format!("{:<11} {level:<7} {} {}", finding.topic, finding.code, finding.text));
        lines.extend(finding.hint.as_ref().map(|hint| format!("  {hint}")));
    }
    lines.join("\n")
}

#[test]
fn a_good_host_is_told_all_that_was_looked_at() {
    insta::assert_snapshot!(told(&assess(&facts(able(), Ok(quiet())))), @r"
    host fra-2 · kernel 6.12.1 · Debian GNU/Linux 13 (trixie) · KVM guest · public 198.51.100.7 · MTU 1500
    full tcx
    enforcement Good    BH-H001 tc programs: works
    enforcement Good    BH-H001 ring buffer: works
    hooks       Good    BH-H004 TCX: programs are attached by pinned links
    cgroups     Good    BH-H010 version 2
    nftables    Good    BH-H011 `nft` answers
    others      Good    BH-H015 none found
    forwarding  Good    BH-H012 IPv4 on, IPv6 off (switched on when a network needs it)
    bridge-nf   Good    BH-H013 off: br_netfilter is not loaded
    mtu         Good    BH-H020 1500 bytes
    exposure    Good    BH-H030 no port of the host is reachable
    ");
}

#[test]
fn a_kernel_without_a_needed_feature_is_refused_with_the_reason() {
    let lacking = capabilities(vec![
        feature("tc programs", true, true, "works"),
        feature("ring buffer", false, true, "flows and drops cannot be reported: not supported"),
        Feature {
            remedy: Some("raise the limit"),
            ..feature("memory for maps", false, true, "the maps do not fit: not permitted")
        },
    ]);
    let doctor = assess(&facts(lacking, Ok(quiet())));
    assert_eq!(doctor.enforcement, "none");
    assert_eq!(doctor.kernel_path, None, "no way of attaching is promised");
    assert!(doctor.findings.iter().all(|finding| finding.code != "BH-H004"));
    let blockers = doctor.findings.iter().filter(|finding| finding.level == Level::Blocker);
    let blockers: Vec<_> =
        blockers.map(|each| (each.text.as_str(), each.hint.as_deref().unwrap_or(""))).collect();
    let kernel =
        "a kernel from 5.10 on has everything that is needed; one with PREEMPT_RT is not supported";
    assert_eq!(
        blockers,
        [
            ("ring buffer: flows and drops cannot be reported: not supported", kernel),
            ("memory for maps: the maps do not fit: not permitted", "raise the limit"),
        ]
    );
}

#[test]
fn an_older_kernel_is_told_which_way_programs_are_attached() {
    let older = Capabilities { hooks: HookKind::Clsact, ..able() };
    let doctor = assess(&facts(older, Ok(quiet())));
    assert_eq!(
        (doctor.enforcement.as_str(), doctor.kernel_path.as_deref()),
        ("full", Some("clsact"))
    );
    assert!(told(&doctor).contains("BH-H004 clsact"), "{}", told(&doctor));
}

#[test]
fn what_gets_in_the_way_is_said_with_the_remedy() {
    let drop = |family: &str, chain: &str, passes_us| ForwardDrop {
        family: family.to_owned(),
        table: "filter".to_owned(),
        chain: chain.to_owned(),
        passes_us,
    };
    let firewalls = Firewalls {
        docker: true,
        has_docker_user: true,
        ufw: Some(false),
        foreign_tables: vec![ForeignTable { family: "ip".to_owned(), name: "filter".to_owned() }],
        forward_drops: vec![
            drop("ip", "FORWARD", false),
            drop("ip6", "FORWARD", true),
            drop("inet", "forward", false),
        ],
        ..Firewalls::default()
    };
    let report = Report {
        virtualisation: Some("virtual machine".to_owned()),
        cgroup: CgroupMode::Absent,
        mtu: Some(1200),
        forwards_v6: None,
        bridge_filter: BridgeFilter { ipv4: Some(true), ipv6: Some(true), arp: Some(false) },
        firewalls: firewalls.clone(),
        exposed: vec![Listener {
            transport: "tcp",
            address: "0.0.0.0".parse().expect("an address"),
            port: 2375,
            uid: 0,
            process: Some("dockerd".to_owned()),
        }],
        ..quiet()
    };
    let doctor = assess(&facts(able(), Ok(report)));
    insta::assert_snapshot!(told(&doctor), @r"
    host fra-2 · kernel 6.12.1 · Debian GNU/Linux 13 (trixie) · virtual machine · public 198.51.100.7 · MTU 1200
    restricted tcx
    enforcement Good    BH-H001 tc programs: works
    enforcement Good    BH-H001 ring buffer: works
    hooks       Good    BH-H004 TCX: programs are attached by pinned links
    cgroups     Warning BH-H010 not mounted: workloads cannot be bounded
      mount cgroup2 at /sys/fs/cgroup
    nftables    Good    BH-H011 `nft` answers
    others      Warning BH-H014 the chain ip filter FORWARD drops forwarded packets that it does not name: networks of mode nat and routed do not reach the world, published ports are not reached from outside
      iptables -I DOCKER-USER -i bt+ -j ACCEPT; iptables -I DOCKER-USER -o bt+ -j ACCEPT
    others      Good    BH-H014 the chain ip6 filter FORWARD drops what it does not name, and lets our links (bt*) pass
    others      Warning BH-H014 the chain inet filter forward drops forwarded packets that it does not name: networks of mode nat and routed do not reach the world, published ports are not reached from outside
      nft insert rule inet filter forward iifname 'bt*' accept; nft insert rule inet filter forward oifname 'bt*' accept
    others      Note    BH-H015 docker, ufw inactive, table ip filter
    forwarding  Good    BH-H012 IPv4 on, IPv6 not there
    bridge-nf   Note    BH-H013 on for iptables, ip6tables in the host's namespace; our bridges stand in others, where it is off
    mtu         Warning BH-H020 1200 bytes: too few for IPv6, which needs 1280
      raise the MTU of the host's link to at least 1280
    exposure    Note    BH-H030 1 port listens to others: 2375/tcp (dockerd)
    ");
    let facts = doctor.facts.expect("the host was read");
    assert_eq!(facts.forward_drops, ["ip filter FORWARD", "inet filter forward"]);
    assert_eq!(facts.forwarding, Forwarding { ipv4: Some(true), ipv6: None });
    // IPv4 meets two of the chains, IPv6 the one that stands for both.
    let met = |v6| firewalls::in_the_way(&firewalls, v6).len();
    assert_eq!((met(Some(false)), met(Some(true)), met(None)), (2, 1, 2));
}

#[test]
fn a_host_that_cannot_be_read_is_refused_too() {
    let doctor = assess(&facts(able(), Err("open netlink: not permitted".to_owned())));
    assert_eq!((doctor.enforcement.as_str(), &doctor.facts), ("none", &None));
    assert_eq!(doctor.host, "host fra-2 · kernel 6.12.1");
}

#[test]
fn who_may_not_look_is_told_so_and_not_that_everything_is_missing() {
    let (name, release) = ("fra-2".to_owned(), "6.12.1".to_owned());
    let report = Err("make a folder: not permitted".to_owned());
    let doctor =
        assess(&Facts { name, release, capabilities: None, report, lans: Lans::default() });
    assert_eq!((doctor.enforcement.as_str(), doctor.kernel_path.as_deref()), ("none", None));
    let told: Vec<_> =
        doctor.findings.iter().map(|each| (each.code.as_str(), each.level)).collect();
    assert_eq!(told, [("BH-H003", Level::Blocker)]);
}
