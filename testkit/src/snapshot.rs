//! What a host looks like, as sorted lines, so that "leaves nothing behind" can be proven.
//!
//! Two [`Snapshot`]s of the same [`Scope`] are compared by [`Snapshot::diff`]: an empty text means
//! equal. Values that change by themselves (lifetimes, learned neighbours, counters) are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::Result;
use serde_json::Value;

use crate::Namespace;
use crate::lab::processes_inside;

/// JSON fields that change without anybody doing anything.
const VOLATILE: &[&str] = &[
    "valid_life_time",
    "preferred_life_time",
    "used",
    "confirmed",
    "updated",
    "probes",
    "expires",
    "handle",
    "packets",
    "bytes",
    "index",
];
/// Trees of sysctls that networking tools write.
const SYSCTL_TREES: &[&str] = &["net/ipv4", "net/ipv6", "net/bridge", "net/netfilter", "net/core"];
/// Sysctls that count or are random.
const VOLATILE_SYSCTLS: &[&str] =
    &["nf_conntrack_count", "tcp_fastopen_key", "fs.file-nr", "random", "nf_conntrack_hash"];
/// Deepest folder of a tree that is looked into.
const DEEPEST: usize = 12;

/// What a snapshot looks at.
#[derive(Clone, Debug)]
pub struct Scope {
    space: Namespace,
    trees: Vec<PathBuf>,
}

impl Scope {
    /// The network state of `space` and the processes in it.
    #[must_use]
    pub fn of(space: &Namespace) -> Self {
        Self { space: space.clone(), trees: Vec::new() }
    }

    /// Also the names in this folder and the mounts at or below it: bpffs, a cgroup, a run folder.
    #[must_use]
    pub fn with_tree(mut self, path: impl Into<PathBuf>) -> Self {
        self.trees.push(path.into());
        self
    }

    /// Looks.
    ///
    /// # Errors
    /// When `ip` or `nft` cannot be run in the namespace.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let mut sections = BTreeMap::new();
        for what in ["link", "addr", "route", "-6 route", "rule", "-6 rule", "neigh"] {
            sections.insert(format!("ip {what}"), self.ip_lines(what)?);
        }
        sections.insert("nft".to_owned(), self.nft_lines()?);
        sections.insert("sysctl".to_owned(), self.space.run(sysctl_lines)?);
        sections.insert("process".to_owned(), self.process_lines()?);
        for tree in &self.trees {
            let name = tree.display();
            sections.insert(format!("tree {name}"), tree_lines(tree));
            sections.insert(format!("mounts {name}"), mount_lines(tree));
        }
        Ok(Snapshot { sections })
    }

    fn ip_lines(&self, what: &str) -> Result<BTreeSet<String>> {
        let mut argv = vec!["ip", "-j"];
        argv.extend(what.split(' '));
        argv.push("show");
        if what.ends_with("route") {
            argv.extend(["table", "all"]);
        }
        let lines = json_lines(&self.space.check(&argv)?.stdout);
        if what != "neigh" {
            return Ok(lines);
        }
        Ok(lines.into_iter().filter(|line| line.contains("PERMANENT")).collect())
    }

    fn nft_lines(&self) -> Result<BTreeSet<String>> {
        let shown = self.space.check(&["nft", "-j", "list", "ruleset"])?.stdout;
        let mut ruleset: Value = serde_json::from_str(&shown)?;
        let objects = ruleset["nftables"].take();
        let Value::Array(objects) = objects else { return Ok(BTreeSet::new()) };
        let objects = objects.into_iter().filter(|object| object.get("metainfo").is_none());
        Ok(objects.map(stable_line).collect())
    }

    fn process_lines(&self) -> Result<BTreeSet<String>> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let pids = processes_inside(self.space.inode()?);
        let lines = pids.into_iter().filter(|pid| *pid != own).filter_map(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
            Some(format!("{pid} {}", name.trim()))
        });
        Ok(lines.collect())
    }
}

/// The state of a [`Scope`] at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    sections: BTreeMap<String, BTreeSet<String>>,
}

impl Snapshot {
    /// What `later` lacks (`-`) and what it has more (`+`), a line each; empty when equal.
    #[must_use]
    pub fn diff(&self, later: &Self) -> String {
        let empty = BTreeSet::new();
        let names: BTreeSet<_> = self.sections.keys().chain(later.sections.keys()).collect();
        let mut text = String::new();
        for name in names {
            let before = self.sections.get(name).unwrap_or(&empty);
            let after = later.sections.get(name).unwrap_or(&empty);
            for (sign, lines) in [("-", before.difference(after)), ("+", after.difference(before))]
            {
                for line in lines {
                    text.extend([sign, " ", name.as_str(), ": ", line.as_str(), "\n"]);
                }
            }
        }
        text
    }

    /// Panics with the difference when `later` is not equal.
    ///
    /// # Panics
    /// When anything was left behind or is missing.
    pub fn assert_same(&self, later: &Self) {
        let diff = self.diff(later);
        assert!(diff.is_empty(), "the host is not as it was before:\n{diff}");
    }
}

/// A JSON array as one stable line an element.
fn json_lines(text: &str) -> BTreeSet<String> {
    match serde_json::from_str(text) {
        Ok(Value::Array(items)) => items.into_iter().map(stable_line).collect(),
        _ => BTreeSet::new(),
    }
}

fn stable_line(mut value: Value) -> String {
    strip(&mut value);
    value.to_string()
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|key, _| !VOLATILE.contains(&key.as_str()));
            map.values_mut().for_each(strip);
        }
        Value::Array(items) => items.iter_mut().for_each(strip),
        _ => {}
    }
}

fn sysctl_lines() -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    for tree in SYSCTL_TREES {
        walk(&Path::new("/proc/sys").join(tree), DEEPEST, &mut |path, is_dir| {
            let name = path.strip_prefix("/proc/sys").unwrap_or(path).display().to_string();
            if is_dir || VOLATILE_SYSCTLS.iter().any(|v| name.contains(v)) {
                return;
            }
            if let Ok(value) = std::fs::read_to_string(path) {
                lines.insert(format!("{name} = {}", value.trim()));
            }
        });
    }
    lines
}

fn tree_lines(root: &Path) -> BTreeSet<String> {
    let mut lines = BTreeSet::new();
    walk(root, DEEPEST, &mut |path, is_dir| {
        let slash = if is_dir { "/" } else { "" };
        lines.insert(format!("{}{slash}", path.display()));
    });
    lines
}

/// Mount points at or below `root` with their type.
fn mount_lines(root: &Path) -> BTreeSet<String> {
    let Ok(table) = std::fs::read_to_string("/proc/self/mountinfo") else { return BTreeSet::new() };
    let points = table.lines().filter_map(|line| {
        let point = line.split(' ').nth(4)?;
        let kind = line.split(" - ").nth(1)?.split(' ').next()?;
        Path::new(point).starts_with(root).then(|| format!("{point} {kind}"))
    });
    points.collect()
}

fn walk(folder: &Path, depth: usize, visit: &mut impl FnMut(&Path, bool)) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        visit(&entry.path(), is_dir);
        if is_dir && depth > 0 {
            walk(&entry.path(), depth - 1, visit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lab;

    #[test]
    fn a_snapshot_sees_what_changed_and_only_that_root() {
        crate::root_or_return!("a_snapshot_sees_what_changed_and_only_that_root");
        let mut lab = Lab::new().expect("a lab");
        let (a, b) = (lab.namespace("a").expect("a"), lab.namespace("b").expect("b"));
        let scope = Scope::of(&a).with_tree(lab.dir());
        let before = scope.snapshot().expect("a snapshot");
        before.assert_same(&scope.snapshot().expect("a snapshot"));
        lab.veth((&a, "eth0"), (&b, "eth0")).expect("a pair");
        a.address("eth0", "10.0.0.1/24").expect("an address");
        a.sysctl("net.ipv4.ip_forward", "1").expect("a sysctl");
        a.nft("table inet mine { }").expect("a table");
        std::fs::write(lab.dir().join("left"), "").expect("a file");
        let diff = before.diff(&scope.snapshot().expect("a snapshot"));
        for part in ["ip link", "10.0.0.1", "net/ipv4/ip_forward = 1", "mine", "/left", "ip route"]
        {
            assert!(diff.contains(part), "{part} is missing in\n{diff}");
        }
        a.ip("link del eth0").expect("delete");
        a.sysctl("net.ipv4.ip_forward", "0").expect("a sysctl");
        a.nft("delete table inet mine").expect("delete");
        std::fs::remove_file(lab.dir().join("left")).expect("delete");
        before.assert_same(&scope.snapshot().expect("a snapshot"));
    }
}
