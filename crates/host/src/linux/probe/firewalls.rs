//! Other firewalls on the host, found by what they leave in the kernel and on disk.

use std::path::Path;
use std::process::{Command, Stdio};

use serde::Serialize;
use serde_json::Value;

use super::{parse, read};

/// A table of somebody else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ForeignTable {
    /// `ip`, `inet`, ...
    pub family: String,
    /// Its name.
    pub name: String,
}

/// A base chain of somebody else that drops what it does not name when the host forwards. What a
/// table of ours accepts is dropped there all the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForwardDrop {
    /// `ip`, `inet`, ...; `iptables-legacy` for rules outside of nftables.
    pub family: String,
    /// The table.
    pub table: String,
    /// The chain.
    pub chain: String,
    /// Whether rules let everything pass that enters or leaves by our links, `bt*`.
    pub passes_us: bool,
}

/// Other firewalls.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each printed by its name")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Firewalls {
    /// Docker's daemon has a socket or rules here.
    pub docker: bool,
    /// The chain into which Docker lets operators write.
    pub has_docker_user: bool,
    /// ufw is installed; `true` when it is switched on.
    pub ufw: Option<bool>,
    /// firewalld is running.
    pub firewalld: bool,
    /// nftables tables of others, iptables-nft's among them.
    pub foreign_tables: Vec<ForeignTable>,
    /// Rules of the old iptables; `None` when it is not in use.
    pub iptables_legacy_rules: Option<usize>,
    /// Chains that drop forwarded packets by default.
    pub forward_drops: Vec<ForwardDrop>,
    /// `nft` could not be asked, so tables and chains are unknown.
    pub nft_failed: bool,
}

/// Looks for other firewalls in the calling thread's network namespace.
#[must_use]
pub fn firewalls() -> Firewalls {
    let tables = nft(&["-j", "list", "tables"]);
    let chains = nft(&["-j", "list", "chains"]);
    let nft_failed = tables.is_none() || chains.is_none();
    let (tables, chains) = (tables.unwrap_or_default(), chains.unwrap_or_default());
    let foreign_tables = parse::foreign_tables(&tables);
    let mut forward_drops = parse::forward_drops(&chains);
    let legacy = legacy();
    for drop in &mut forward_drops {
        let table = nft(&["-j", "list", "table", &drop.family, &drop.table]);
        drop.passes_us = table.is_some_and(|table| parse::passes_us(&table, &drop.chain));
    }
    if let Some(legacy) = legacy.filter(|legacy| legacy.drops) {
        forward_drops.push(ForwardDrop {
            family: "iptables-legacy".to_owned(),
            table: "filter".to_owned(),
            chain: "FORWARD".to_owned(),
            passes_us: legacy.passes_us,
        });
    }
    let has_table = |name: &str| foreign_tables.iter().any(|table| table.name == name);
    Firewalls {
        docker: Path::new("/run/docker.sock").exists() || parse::has_chain(&chains, "DOCKER"),
        has_docker_user: parse::has_chain(&chains, "DOCKER-USER"),
        ufw: read(Path::new("/etc/ufw/ufw.conf")).map(|text| parse::ufw_enabled(&text)),
        firewalld: has_table("firewalld") || Path::new("/run/firewalld").exists(),
        iptables_legacy_rules: legacy.map(|legacy| legacy.rules),
        foreign_tables,
        forward_drops,
        nft_failed,
    }
}

fn nft(arguments: &[&str]) -> Option<Value> {
    serde_json::from_slice(&output("nft", arguments)?).ok()
}

/// Rules of the old iptables, asked for only when the kernel has such tables: asking would make them.
fn legacy() -> Option<parse::Legacy> {
    let names = read(Path::new("/proc/thread-self/net/ip_tables_names"))?;
    if names.trim().is_empty() {
        return None;
    }
    let text = output("iptables-legacy-save", &[])?;
    Some(parse::iptables_save(&String::from_utf8_lossy(&text)))
}

fn output(program: &str, arguments: &[&str]) -> Option<Vec<u8>> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().ok()?;
    output.status.success().then_some(output.stdout)
}
