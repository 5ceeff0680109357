//! Reads the rules of other firewalls in a namespace: nftables, and the older iptables where it is in use.
//!
//! Both are read by the host's own programs, which get two seconds and four megabytes each. Whoever may write rules in a
//! namespace of his own may write very many: beyond these bounds the answer is that it is not known.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::linux::netns::NetNs;
use crate::linux::nft::{self, FAMILY, TABLE};
use crate::linux::sysctl;

use super::filter::{self, Fate, Hook, Packet, Table};
use super::{iptables, nftables};

/// How long one program may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// More than this is not read of one program, bytes.
const MAX_BYTES: u64 = 4 << 20;
/// The generation of a namespace in which nothing was ever committed (`nft_net_init`).
const UNTOUCHED: u32 = 1;

/// Why some rules are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    /// A program could not be run, or failed.
    Failed,
    /// It took too long.
    Late,
    /// There are too many rules.
    Large,
}

/// The rules of other firewalls in one namespace.
#[derive(Clone, Debug, Default)]
pub struct Firewall {
    tables: Vec<Table>,
    /// What could not be read: the program and why.
    pub gaps: Vec<(&'static str, Gap)>,
}

impl Firewall {
    /// What they do with a packet at a hook.
    #[must_use]
    pub fn fate(&self, hook: Hook, packet: &Packet) -> Fate {
        filter::fate(&self.tables, hook, packet)
    }

    /// Whether there are no rules at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.gaps.is_empty()
    }

    /// From the JSON of `nft list ruleset`, for tests.
    #[cfg(test)]
    pub(super) fn of(listing: &serde_json::Value) -> Self {
        Self { tables: nftables::tables(listing).native, gaps: Vec::new() }
    }

    /// From the text of `iptables-save`, for tests.
    #[cfg(test)]
    pub(super) fn saved(text: &str) -> Self {
        Self { tables: iptables::tables(text, false, None), gaps: Vec::new() }
    }
}

/// Reads everything but our own table.
pub(super) fn read(ns: &NetNs) -> Firewall {
    let mut firewall = Firewall::default();
    // Without that number it is listed.
    if nft::generation(ns).is_none_or(|generation| generation > UNTOUCHED) {
        read_nftables(ns, &mut firewall);
    }
    for (file, program, v6) in [
        ("net/ip_tables_names", "iptables-legacy-save", false),
        ("net/ip6_tables_names", "ip6tables-legacy-save", true),
    ] {
        if is_in_use(ns, file)
            && let Some(text) = run(ns, &mut firewall, program, &[])
        {
            firewall.tables.extend(iptables::tables(&String::from_utf8_lossy(&text), v6, None));
        }
    }
    firewall
}

fn read_nftables(ns: &NetNs, firewall: &mut Firewall) {
    let Some(text) = run(ns, firewall, "nft", &["-j", "list", "ruleset"]) else { return };
    let Ok(listing) = serde_json::from_slice(&text) else {
        firewall.gaps.push(("nft", Gap::Failed));
        return;
    };
    let found = nftables::tables(&listing);
    firewall.tables.extend(found.native);
    // What `nft` cannot say of rules that iptables wrote, iptables can.
    for (v6, program) in [(false, "iptables-nft-save"), (true, "ip6tables-nft-save")] {
        let names: Vec<&str> =
            found.foreign.iter().filter(|(six, _)| *six == v6).map(|(_, name)| &**name).collect();
        if names.is_empty() {
            continue;
        }
        if let Some(text) = run(ns, firewall, program, &[]) {
            let text = String::from_utf8_lossy(&text);
            firewall.tables.extend(iptables::tables(&text, v6, Some(&names)));
        }
    }
}

/// Whether the kernel has tables of the older iptables here: asking by its own program would make them.
fn is_in_use(ns: &NetNs, file: &str) -> bool {
    let path = Path::new("/proc/thread-self").join(file);
    let names = ns.visit(|| sysctl::small_file(&path));
    names.ok().and_then(Result::ok).is_some_and(|names| !names.trim().is_empty())
}

fn run(
    ns: &NetNs,
    firewall: &mut Firewall,
    program: &'static str,
    arguments: &[&str],
) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    let ran = nft::table::ask(ns, command.args(arguments), PATIENCE, MAX_BYTES);
    let gap = match ran {
        Ok(Some(bytes)) if u64::try_from(bytes.len()).is_ok_and(|length| length < MAX_BYTES) => {
            return Some(bytes);
        }
        Ok(Some(_)) => Gap::Large,
        Ok(None) => Gap::Late,
        Err(_) => Gap::Failed,
    };
    firewall.gaps.push((program, gap));
    None
}

/// Whether a table is our own.
pub(super) fn is_ours(family: &str, name: &str) -> bool {
    family == FAMILY && name == TABLE
}
