//! Reads the rules of other firewalls in a namespace: nftables, and the older iptables where it is in use.
//!
//! Both are read by the host's own programs, which get two seconds and four megabytes each. Whoever may write rules in a
//! namespace of his own may write very many: beyond these bounds the answer is that it is not known.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::linux::netns::NetNs;
use crate::linux::nft::{self, FAMILY, TABLE};
use crate::linux::sysctl;

use super::budget::Budget;
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
    /// There are too many rules, or they ask too much.
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
    /// What they do with a packet at a hook: [`Fate::Lost`] when that is not found out by `until`, or takes too many steps.
    #[must_use]
    pub fn fate(&self, hook: Hook, packet: &Packet, until: Instant) -> Fate {
        filter::fate(&self.tables, hook, packet, until)
    }

    /// Whether there are no rules at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.gaps.is_empty()
    }

    /// Keeps what one program told, or that it was too much: a part of the rules would tell lies.
    fn keep(&mut self, program: &'static str, tables: Vec<Table>, budget: &Budget) {
        if budget.is_over() {
            self.gaps.push((program, Gap::Large));
        } else {
            self.tables.extend(tables);
        }
    }

    /// From the JSON of `nft list ruleset`, for tests.
    #[cfg(test)]
    pub(super) fn of(listing: &serde_json::Value) -> Self {
        let (mut firewall, mut budget) = (Self::default(), Budget::default());
        let found = nftables::tables(listing, &mut budget);
        firewall.keep("nft", found.native, &budget);
        firewall
    }

    /// From the text of `iptables-save`, for tests.
    #[cfg(test)]
    pub(super) fn saved(text: &str) -> Self {
        let (mut firewall, mut budget) = (Self::default(), Budget::default());
        let tables = iptables::tables(text, false, None, &mut budget);
        firewall.keep("iptables-legacy-save", tables, &budget);
        firewall
    }
}

/// Reads the rules of one namespace.
struct Reading<'n> {
    ns: &'n NetNs,
    until: Instant,
    budget: Budget,
    firewall: Firewall,
}

/// Reads everything but our own table. Programs that would not end by `until` are ended or not begun.
pub(super) fn read(ns: &NetNs, until: Instant) -> Firewall {
    let firewall = Firewall::default();
    let mut reading = Reading { ns, until, budget: Budget::default(), firewall };
    // Without that number it is listed.
    if nft::generation(ns).is_none_or(|generation| generation > UNTOUCHED) {
        reading.nftables();
    }
    for (file, program, v6) in [
        ("net/ip_tables_names", "iptables-legacy-save", false),
        ("net/ip6_tables_names", "ip6tables-legacy-save", true),
    ] {
        if is_in_use(ns, file) {
            reading.iptables(program, v6, None);
        }
    }
    reading.firewall
}

impl Reading<'_> {
    fn nftables(&mut self) {
        let Some(text) = self.run("nft", &["-j", "list", "ruleset"]) else { return };
        let Ok(listing) = serde_json::from_slice(&text) else {
            self.firewall.gaps.push(("nft", Gap::Failed));
            return;
        };
        drop(text);
        let found = nftables::tables(&listing, &mut self.budget);
        drop(listing);
        self.firewall.keep("nft", found.native, &self.budget);
        // What `nft` cannot say of rules that iptables wrote, iptables can.
        for (v6, program) in [(false, "iptables-nft-save"), (true, "ip6tables-nft-save")] {
            let theirs = found.foreign.iter().filter(|(six, _)| *six == v6);
            let names: Vec<&str> = theirs.map(|(_, name)| &**name).collect();
            if !names.is_empty() {
                self.iptables(program, v6, Some(&names));
            }
        }
    }

    fn iptables(&mut self, program: &'static str, v6: bool, only: Option<&[&str]>) {
        if self.budget.is_over() {
            return;
        }
        let Some(text) = self.run(program, &[]) else { return };
        let text = String::from_utf8_lossy(&text);
        let tables = iptables::tables(&text, v6, only, &mut self.budget);
        self.firewall.keep(program, tables, &self.budget);
    }

    fn run(&mut self, program: &'static str, arguments: &[&str]) -> Option<Vec<u8>> {
        let patience = PATIENCE.min(self.until.saturating_duration_since(Instant::now()));
        if patience.is_zero() {
            self.firewall.gaps.push((program, Gap::Late));
            return None;
        }
        let mut command = Command::new(program);
        let ran = nft::table::ask(self.ns, command.args(arguments), patience, MAX_BYTES);
        let gap = match ran {
            Ok(Some(bytes))
                if u64::try_from(bytes.len()).is_ok_and(|length| length < MAX_BYTES) =>
            {
                return Some(bytes);
            }
            Ok(Some(_)) => Gap::Large,
            Ok(None) => Gap::Late,
            Err(_) => Gap::Failed,
        };
        self.firewall.gaps.push((program, gap));
        None
    }
}

/// Whether the kernel has tables of the older iptables here: asking by its own program would make them.
fn is_in_use(ns: &NetNs, file: &str) -> bool {
    let path = Path::new("/proc/thread-self").join(file);
    let names = ns.visit(|| sysctl::small_file(&path));
    names.ok().and_then(Result::ok).is_some_and(|names| !names.trim().is_empty())
}

/// Whether a table is our own.
pub(super) fn is_ours(family: &str, name: &str) -> bool {
    [FAMILY, "netdev", "bridge"].contains(&family) && name == TABLE
}
