//! `doctor`: what this host can promise, what it cannot, and why.

use std::path::Path;

use api::{Doctor, Finding, Level};
use host::linux::bpf::{self, Capabilities};
use host::linux::kernel::Linux;
use host::linux::probe::{self, CgroupMode, Firewalls, ForwardDrop, Listener, Report};

use crate::explain::Explanation;
use crate::fault::sentence;

use super::status::hook_name;

/// Every kind of finding: code, topic, title, meaning, what to do.
const CODES: &[(&str, &str, &str, &str, &str)] = &[
    (
        "BH-H001",
        "enforcement",
        "kernel features",
        "What the packet programs need of the kernel, found out by trying.",
        "a kernel from 5.10 on has everything that is needed",
    ),
    (
        "BH-H002",
        "enforcement",
        "optional kernel features",
        "Features that make something better or faster; everything works without them.",
        "nothing has to be done",
    ),
    (
        "BH-H003",
        "enforcement",
        "host network",
        "The network of this host could not be read; the agent needs root and netlink.",
        "run it as root",
    ),
    (
        "BH-H010",
        "cgroups",
        "control groups",
        "Workloads of `run:` are put into control groups to bound and end them.",
        "mount cgroup2 at /sys/fs/cgroup",
    ),
    (
        "BH-H011",
        "nftables",
        "nftables",
        "Address translation and published ports need the `nft` command and nf_tables in the kernel.",
        "apt install nftables",
    ),
    (
        "BH-H012",
        "forwarding",
        "forwarding",
        "Packets between networks and the world are forwarded by the host; Bulkhead switches it on when a network needs it, and back off when it leaves.",
        "nothing has to be done",
    ),
    (
        "BH-H013",
        "bridge-nf",
        "bridged frames in other firewalls",
        "With bridge-nf on, frames on our bridges are shown to iptables too. Our bridges stand in namespaces of their own, where it is off.",
        "nothing has to be done",
    ),
    (
        "BH-H014",
        "others",
        "a firewall drops forwarded packets",
        "Another firewall has a chain on forward whose policy is drop: what leaves or enters the networks is dropped there, though Bulkhead allows it.",
        "iptables -I DOCKER-USER -i bt+ -j ACCEPT; iptables -I DOCKER-USER -o bt+ -j ACCEPT; without Docker the same in FORWARD",
    ),
    (
        "BH-H015",
        "others",
        "other firewalls",
        "Other tools that manage packet filters on this host. Bulkhead touches its own tables only.",
        "nothing has to be done",
    ),
    (
        "BH-H020",
        "mtu",
        "MTU",
        "Links of workloads get the MTU of the host's link to the world.",
        "nothing has to be done",
    ),
    (
        "BH-H030",
        "exposure",
        "ports reachable from outside",
        "Sockets of the host itself that wait on other addresses than loopback. Bulkhead guards workloads, not yet the host.",
        "bind what is not for others to 127.0.0.1",
    ),
];

/// Documentation of the findings.
pub(crate) fn explanations() -> impl Iterator<Item = Explanation> {
    CODES.iter().map(|(code, _, title, text, hint)| Explanation {
        code: (*code).to_owned(),
        title: (*title).to_owned(),
        text: (*text).to_owned(),
        hint: Some((*hint).to_owned()),
    })
}

/// Examines this host, with or without a running agent; changes nothing.
#[must_use]
pub fn examine(run_dir: &Path, _state_dir: &Path, _bpffs: &Path) -> Doctor {
    let capabilities = bpf::probe();
    let mut findings = features(&capabilities);
    let missing = capabilities.missing().count() > 0;
    let mut host = format!("kernel {}", rustix::system::uname().release().to_string_lossy());
    match facts(run_dir) {
        Ok(report) => {
            host = headline(&report);
            about(&report, &mut findings);
        }
        Err(text) => findings.push(finding("BH-H003", Level::Blocker, text)),
    }
    let blocked = findings.iter().any(|finding| finding.level == Level::Blocker);
    let warned = findings.iter().any(|finding| finding.level == Level::Warning);
    let enforcement = match (blocked, warned) {
        (true, _) => "none",
        (false, true) => "restricted",
        (false, false) => "full",
    };
    Doctor {
        schema: Doctor::SCHEMA.to_owned(),
        host,
        enforcement: enforcement.to_owned(),
        kernel_path: (!missing).then(|| hook_name(capabilities.hooks).to_owned()),
        findings,
    }
}

/// Reads the facts; a run folder that had to be made for that goes again.
fn facts(run_dir: &Path) -> Result<Report, String> {
    let existed = run_dir.exists();
    let report = match Linux::open(run_dir) {
        Ok(mut linux) => Ok(probe::report(&mut linux)),
        Err(error) => Err(sentence(&error)),
    };
    if !existed {
        // Nothing is in them, or they are somebody else's by now.
        let _kept = std::fs::remove_dir(run_dir.join("netns"));
        let _kept = std::fs::remove_dir(run_dir);
    }
    report
}

fn finding(code: &str, level: Level, text: impl Into<String>) -> Finding {
    let known = CODES.iter().find(|known| known.0 == code);
    let hint = known.map(|known| known.4).filter(|_| level >= Level::Warning);
    Finding {
        code: code.to_owned(),
        level,
        topic: known.map_or("host", |known| known.1).to_owned(),
        text: text.into(),
        hint: hint.map(str::to_owned),
    }
}

fn features(capabilities: &Capabilities) -> Vec<Finding> {
    let one = |feature: &bpf::Feature| {
        let (code, level) = match (feature.required, feature.present) {
            (true, true) => ("BH-H001", Level::Good),
            (true, false) => ("BH-H001", Level::Blocker),
            (false, true) => ("BH-H002", Level::Good),
            (false, false) => ("BH-H002", Level::Note),
        };
        finding(code, level, format!("{}: {}", feature.name, feature.detail))
    };
    capabilities.features.iter().map(one).collect()
}

/// `host fra-2 · kernel 6.1.0-28 · Debian 12 · KVM guest · public 198.51.100.7 · MTU 1500`
fn headline(report: &Report) -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let mut parts = vec![format!("host {name}"), format!("kernel {}", report.kernel)];
    parts.extend(report.distribution.clone());
    parts.extend(report.virtualisation.as_ref().map(|kind| format!("{kind} guest")));
    parts.extend(report.public_addresses.first().map(|address| format!("public {address}")));
    parts.extend(report.mtu.map(|mtu| format!("MTU {mtu}")));
    parts.join(" · ")
}

fn about(report: &Report, findings: &mut Vec<Finding>) {
    let (level, text) = match report.cgroup {
        CgroupMode::Unified => (Level::Good, "version 2"),
        CgroupMode::Hybrid => (Level::Good, "versions 1 and 2 side by side"),
        CgroupMode::Legacy => (Level::Note, "version 1 only"),
        CgroupMode::Absent => (Level::Warning, "not mounted: workloads cannot be bounded"),
    };
    findings.push(finding("BH-H010", level, text));
    nftables(&report.firewalls, findings);
    let switch = |value: Option<bool>| match value {
        Some(true) => "on",
        Some(false) => "off (switched on when a network needs it)",
        None => "not there",
    };
    let forwarding =
        format!("IPv4 {}, IPv6 {}", switch(report.forwards_v4), switch(report.forwards_v6));
    findings.push(finding("BH-H012", Level::Good, forwarding));
    let filtered =
        report.bridge_filter.ipv4 == Some(true) || report.bridge_filter.ipv6 == Some(true);
    let text =
        if filtered { "on in the host's namespace; our bridges are elsewhere" } else { "off" };
    findings.push(finding("BH-H013", if filtered { Level::Note } else { Level::Good }, text));
    let mtu = report
        .mtu
        .map_or("no default route: links get 1500 bytes".to_owned(), |mtu| format!("{mtu} bytes"));
    findings.push(finding("BH-H020", Level::Good, mtu));
    exposure(&report.exposed, findings);
}

fn nftables(firewalls: &Firewalls, findings: &mut Vec<Finding>) {
    if firewalls.nft_failed {
        findings.push(finding("BH-H011", Level::Blocker, "`nft` cannot be run"));
    } else {
        findings.push(finding("BH-H011", Level::Good, "`nft` answers"));
    }
    for drop in &firewalls.forward_drops {
        let chain = format!("{} {} {}", drop.family, drop.table, drop.chain);
        let text = format!("the chain {chain} drops what it does not name");
        let hint = let_pass(drop, firewalls.has_docker_user);
        findings.push(Finding { hint: Some(hint), ..finding("BH-H014", Level::Warning, text) });
    }
    let mut others = Vec::new();
    if firewalls.docker {
        others.push("docker".to_owned());
    }
    if let Some(on) = firewalls.ufw {
        others.push(if on { "ufw active" } else { "ufw inactive" }.to_owned());
    }
    if firewalls.firewalld {
        others.push("firewalld".to_owned());
    }
    let tables = firewalls.foreign_tables.iter();
    others.extend(tables.map(|table| format!("table {} {}", table.family, table.name)));
    if let Some(rules) = firewalls.iptables_legacy_rules.filter(|rules| *rules > 0) {
        others.push(format!("{rules} rules of iptables-legacy"));
    }
    let (level, text) = if others.is_empty() {
        (Level::Good, "none found".to_owned())
    } else {
        (Level::Note, others.join(", "))
    };
    findings.push(finding("BH-H015", level, text));
}

/// The commands that let packets from and to the networks pass another firewall's chain.
fn let_pass(drop: &ForwardDrop, has_docker_user: bool) -> String {
    let tool = match drop.family.as_str() {
        "ip" => "iptables",
        "ip6" => "ip6tables",
        "iptables-legacy" => "iptables-legacy",
        _ => "nft",
    };
    if tool == "nft" || drop.chain != "FORWARD" {
        let rule = format!("nft insert rule {} {} {}", drop.family, drop.table, drop.chain);
        return format!("{rule} iifname 'bt*' accept; {rule} oifname 'bt*' accept");
    }
    let chain = if has_docker_user && tool == "iptables" { "DOCKER-USER" } else { "FORWARD" };
    let rule = format!("{tool} -I {chain}");
    format!("{rule} -i bt+ -j ACCEPT; {rule} -o bt+ -j ACCEPT")
}

fn exposure(exposed: &[Listener], findings: &mut Vec<Finding>) {
    if exposed.is_empty() {
        findings.push(finding("BH-H030", Level::Good, "no port of the host is reachable"));
        return;
    }
    let mut ports: Vec<String> = exposed
        .iter()
        .map(|listener| {
            let who =
                listener.process.as_deref().map_or_else(String::new, |who| format!(" ({who})"));
            format!("{}/{}{who}", listener.port, listener.transport)
        })
        .collect();
    ports.dedup();
    let text = format!("{} listening: {}", ports.len(), ports.join(", "));
    findings.push(finding("BH-H030", Level::Note, text));
}
