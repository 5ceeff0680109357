//! `doctor`: what this host can promise, what it cannot, and why.
//!
//! Facts are gathered first ([`Facts::gather`]) and judged by a pure function ([`assess`]), so that what a host without
//! some feature is told can be tested on one that has it.

mod codes;
pub(crate) mod firewalls;
mod lans;
#[cfg(test)]
mod tests;

use std::path::Path;

use api::{BridgeNf, Doctor, Finding, Forwarding, HostFacts, Level};
use host::linux::bpf::{self, Capabilities, HookKind};
use host::linux::kernel::Linux;
use host::linux::probe::{self, CgroupMode, Listener, Report};

use crate::fault::sentence;

use super::status::hook_name;

pub(crate) use codes::explanations;
use lans::Lans;

/// The least MTU that carries IPv6, in bytes (RFC 8200 §5).
const IPV6_MTU: u32 = 1280;

/// What was found out about a host.
#[derive(Debug)]
struct Facts {
    /// Its name.
    name: String,
    /// Its kernel's release.
    release: String,
    /// What the kernel can do for the programs; `None` when this process may not try it out.
    capabilities: Option<Capabilities>,
    /// Everything else; an error in words when the network could not be read.
    report: Result<Report, String>,
    /// What its links are good for as ways onto LANs.
    lans: Lans,
}

/// Examines this host, with or without a running agent; changes nothing.
#[must_use]
pub fn examine(run_dir: &Path, state_dir: &Path, _bpffs: &Path) -> Doctor {
    assess(&Facts::gather(run_dir, state_dir))
}

impl Facts {
    fn gather(run_dir: &Path, state_dir: &Path) -> Self {
        let system = rustix::system::uname();
        Self {
            name: system.nodename().to_string_lossy().into_owned(),
            release: system.release().to_string_lossy().into_owned(),
            capabilities: bpf::may_probe().then(bpf::probe),
            report: report(run_dir),
            lans: Lans::gather(state_dir),
        }
    }
}

/// Reads the host; a run folder that had to be made for that goes again.
fn report(run_dir: &Path) -> Result<Report, String> {
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

/// Says what the facts mean.
fn assess(facts: &Facts) -> Doctor {
    let Some(capabilities) = &facts.capabilities else { return unprivileged(facts) };
    let mut findings = features(capabilities);
    let can_enforce = capabilities.missing().count() == 0;
    if can_enforce {
        findings.push(hooks(capabilities.hooks));
    }
    match &facts.report {
        Ok(report) => {
            about(report, &mut findings);
            findings.extend(facts.lans.findings());
        }
        Err(text) => findings.push(finding("BH-H003", Level::Blocker, text)),
    }
    let worst = findings.iter().map(|finding| finding.level).max();
    let enforcement = match worst {
        Some(Level::Blocker) => "none",
        Some(Level::Warning) => "restricted",
        _ => "full",
    };
    Doctor {
        schema: Doctor::SCHEMA.to_owned(),
        host: headline(facts),
        enforcement: enforcement.to_owned(),
        kernel_path: can_enforce.then(|| hook_name(capabilities.hooks).to_owned()),
        facts: facts.report.as_ref().ok().map(for_programs),
        findings,
    }
}

/// The answer of a process that may not look: nothing is known, so nothing is promised.
fn unprivileged(facts: &Facts) -> Doctor {
    let text =
        "this process may not load programs or see the host's network: nothing could be tried";
    Doctor {
        schema: Doctor::SCHEMA.to_owned(),
        host: headline(facts),
        enforcement: "none".to_owned(),
        kernel_path: None,
        facts: None,
        findings: vec![finding("BH-H003", Level::Blocker, text)],
    }
}

/// A finding with what is documented about its code.
pub(crate) fn finding(code: &str, level: Level, text: impl Into<String>) -> Finding {
    let known = codes::CODES.iter().find(|known| known.0 == code);
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
        let found = finding(code, level, format!("{}: {}", feature.name, feature.detail));
        match feature.remedy.filter(|_| !feature.present) {
            Some(remedy) => Finding { hint: Some(remedy.to_owned()), ..found },
            None => found,
        }
    };
    // How programs are attached has a line of its own.
    let told = capabilities.features.iter().filter(|feature| feature.name != bpf::TCX_LINKS);
    told.map(one).collect()
}

fn hooks(kind: HookKind) -> Finding {
    let text = match kind {
        HookKind::Tcx => "TCX: programs are attached by pinned links",
        HookKind::Clsact => {
            "clsact: programs are attached as filters, since this kernel has no TCX (6.6 and later do)"
        }
    };
    finding("BH-H004", Level::Good, text)
}

/// `host fra-2 · kernel 6.1.0-28 · Debian 12 · KVM guest · public 198.51.100.7 · MTU 1500`
fn headline(facts: &Facts) -> String {
    let mut parts = vec![format!("host {}", facts.name), format!("kernel {}", facts.release)];
    if let Ok(report) = &facts.report {
        parts.extend(report.distribution.clone());
        parts.extend(report.virtualisation.clone());
        parts.extend(report.public_addresses.first().map(|address| format!("public {address}")));
        parts.extend(report.mtu.map(|mtu| format!("MTU {mtu}")));
    }
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
    firewalls::about(&report.firewalls, findings);
    let switch = |value: Option<bool>| match value {
        Some(true) => "on",
        Some(false) => "off (switched on when a network needs it)",
        None => "not there",
    };
    let forwarding =
        format!("IPv4 {}, IPv6 {}", switch(report.forwards_v4), switch(report.forwards_v6));
    findings.push(finding("BH-H012", Level::Good, forwarding));
    findings.push(bridged(report));
    findings.push(match report.mtu {
        None => finding("BH-H020", Level::Good, "no default route: links get 1500 bytes"),
        Some(mtu) if mtu < IPV6_MTU => {
            let text = format!("{mtu} bytes: too few for IPv6, which needs {IPV6_MTU}");
            finding("BH-H020", Level::Warning, text)
        }
        Some(mtu) => finding("BH-H020", Level::Good, format!("{mtu} bytes")),
    });
    findings.push(exposure(&report.exposed));
}

/// Whether frames that the host bridges are shown to netfilter.
fn bridged(report: &Report) -> Finding {
    let filter = report.bridge_filter;
    let switches =
        [("iptables", filter.ipv4), ("ip6tables", filter.ipv6), ("arptables", filter.arp)];
    let on: Vec<_> = switches.iter().filter(|(_, on)| *on == Some(true)).collect();
    if on.is_empty() {
        let is_loaded = switches.iter().any(|(_, on)| on.is_some());
        let text = if is_loaded { "off" } else { "off: br_netfilter is not loaded" };
        return finding("BH-H013", Level::Good, text);
    }
    let names: Vec<&str> = on.into_iter().map(|(name, _)| *name).collect();
    let text = format!(
        "on for {} in the host's namespace; our bridges stand in others, where it is off",
        names.join(", ")
    );
    finding("BH-H013", Level::Note, text)
}

fn exposure(exposed: &[Listener]) -> Finding {
    if exposed.is_empty() {
        return finding("BH-H030", Level::Good, "no port of the host is reachable");
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
    let verb = if ports.len() == 1 { "port listens" } else { "ports listen" };
    let text = format!("{} {verb} to others: {}", ports.len(), ports.join(", "));
    finding("BH-H030", Level::Note, text)
}

/// The same for programs: values in place of sentences.
fn for_programs(report: &Report) -> HostFacts {
    let cgroups = match report.cgroup {
        CgroupMode::Unified => "unified",
        CgroupMode::Hybrid => "hybrid",
        CgroupMode::Legacy => "legacy",
        CgroupMode::Absent => "absent",
    };
    let filter = report.bridge_filter;
    let drops = report.firewalls.forward_drops.iter();
    HostFacts {
        kernel: report.kernel.clone(),
        distribution: report.distribution.clone(),
        machine: report.virtualisation.clone(),
        cgroups: cgroups.to_owned(),
        mtu: report.mtu,
        forwarding: Forwarding { ipv4: report.forwards_v4, ipv6: report.forwards_v6 },
        bridge_nf: BridgeNf { ipv4: filter.ipv4, ipv6: filter.ipv6, arp: filter.arp },
        firewalls: firewalls::names(&report.firewalls),
        forward_drops: drops.filter(|drop| !drop.passes_us).map(firewalls::chain).collect(),
        public_addresses: report.public_addresses.iter().map(ToString::to_string).collect(),
    }
}
