//! Takes apart what files and tools print about a host. Pure, bounded, and quiet about nonsense.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

use crate::network::Transport;

use super::{CgroupMode, ForeignTable, ForwardDrop, Listener};

/// More sockets than this are not looked at.
pub const MAX_SOCKETS: usize = 65_536;

/// More tables or chains than this are not looked at.
pub const MAX_OBJECTS: usize = 10_000;

/// The distribution's name for people, from os-release(5).
#[must_use]
pub fn os_release(text: &str) -> Option<String> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let name = value("PRETTY_NAME").or_else(|| value("NAME"))?;
    let name = name.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.chars().take(100).collect())
}

/// How control groups are mounted, from `proc_pid_mountinfo(5)`.
#[must_use]
pub fn cgroup_mode(mountinfo: &str) -> CgroupMode {
    let (mut v1, mut v2) = (false, false);
    for line in mountinfo.lines() {
        match line.split_once(" - ").and_then(|(_, rest)| rest.split(' ').next()) {
            Some("cgroup") => v1 = true,
            Some("cgroup2") => v2 = true,
            _ => {}
        }
    }
    match (v1, v2) {
        (false, true) => CgroupMode::Unified,
        (true, true) => CgroupMode::Hybrid,
        (true, false) => CgroupMode::Legacy,
        (false, false) => CgroupMode::Absent,
    }
}

/// What a machine says about itself; empty texts where it says nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Machine<'a> {
    /// DMI system vendor.
    pub vendor: &'a str,
    /// DMI product name.
    pub product: &'a str,
    /// `/sys/hypervisor/type`.
    pub hypervisor: &'a str,
    /// systemd's note about the container this runs in.
    pub container: &'a str,
    /// `/proc/cpuinfo`.
    pub cpuinfo: &'a str,
}

/// What the machine is a guest of.
#[must_use]
pub fn virtualisation(machine: &Machine<'_>) -> Option<String> {
    const KNOWN: [(&str, &str); 9] = [
        ("QEMU", "KVM guest"),
        ("KVM", "KVM guest"),
        ("Amazon EC2", "KVM guest (Amazon EC2)"),
        ("Google", "KVM guest (Google)"),
        ("Hetzner", "KVM guest (Hetzner)"),
        ("DigitalOcean", "KVM guest (DigitalOcean)"),
        ("Microsoft", "Hyper-V guest"),
        ("VMware", "VMware guest"),
        ("innotek", "VirtualBox guest"),
    ];
    if !machine.container.is_empty() {
        return Some(format!("{} container", machine.container));
    }
    if machine.hypervisor == "xen" {
        return Some("Xen guest".to_owned());
    }
    let names = |word: &str| machine.vendor.contains(word) || machine.product.contains(word);
    let known = KNOWN.iter().find(|(word, _)| names(word)).map(|(_, guest)| (*guest).to_owned());
    let flags = machine.cpuinfo.lines().find(|line| line.starts_with("flags"));
    let has_flag = flags.is_some_and(|line| line.split(' ').any(|flag| flag == "hypervisor"));
    let is_guest = has_flag || machine.cpuinfo.is_empty();
    known.filter(|_| is_guest).or_else(|| has_flag.then(|| "virtual machine".to_owned()))
}

/// Whether others on the internet could reach this address: not private, shared, local or reserved.
#[must_use]
pub fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => is_public_v4(*v4),
        IpAddr::V6(v6) => is_public_v6(*v6),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    let is_shared = a == 100 && (64..128).contains(&b);
    let is_benchmark = a == 198 && (18..20).contains(&b);
    let is_special = address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_broadcast()
        || address.is_documentation();
    !is_special && !is_shared && !is_benchmark && a != 0 && a < 240
}

/// Global unicast, `2000::/3`, but for documentation.
fn is_public_v6(address: Ipv6Addr) -> bool {
    let [first, second, ..] = address.segments();
    first & 0xe000 == 0x2000 && (first, second) != (0x2001, 0x0db8)
}

/// Sockets that wait for others, from `/proc/net/{tcp,udp}{,6}` (`proc_net_tcp(5)`). The process is
/// yet unknown; the second value is the socket's inode.
#[must_use]
pub fn listening(text: &str, transport: Transport) -> Vec<(Listener, u64)> {
    let lines = text.lines().skip(1).take(MAX_SOCKETS);
    lines.filter_map(|line| listener(line, transport)).collect()
}

fn listener(line: &str, transport: Transport) -> Option<(Listener, u64)> {
    let fields: Vec<&str> = line.split_whitespace().take(10).collect();
    let [_, local, _, state, _, _, _, uid, _, inode] = fields.as_slice() else { return None };
    // TCP_LISTEN is 10; an unconnected UDP socket is in TCP_CLOSE, 7 (net/tcp_states.h).
    let waits = if transport == Transport::Tcp { "0A" } else { "07" };
    if *state != waits {
        return None;
    }
    let (address, port) = local.split_once(':')?;
    let listener = Listener {
        transport: transport.name(),
        address: kernel_address(address)?,
        port: u16::from_str_radix(port, 16).ok()?,
        uid: uid.parse().ok()?,
        process: None,
    };
    Some((listener, inode.parse().ok()?))
}

/// An address as the kernel prints it: words of 32 bits in the host's byte order.
fn kernel_address(text: &str) -> Option<IpAddr> {
    let word = |at: usize| {
        let digits = text.get(at * 8..at * 8 + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Some(IpAddr::from(bytes).to_canonical())
        }
        _ => None,
    }
}

/// Tables of others, from `nft -j list tables`.
#[must_use]
pub fn foreign_tables(listing: &Value) -> Vec<ForeignTable> {
    let tables = objects(listing, "table").filter_map(|table| {
        let text = |key: &str| table[key].as_str().map(str::to_owned);
        Some(ForeignTable { family: text("family")?, name: text("name")? })
    });
    let is_ours = |table: &ForeignTable| {
        matches!(&*table.family, "inet" | "netdev") && table.name == "bulkhead"
    };
    tables.filter(|table| !is_ours(table)).collect()
}

/// Chains of others at the forward hook whose policy is to drop, from `nft -j list chains`.
#[must_use]
pub fn forward_drops(listing: &Value) -> Vec<ForwardDrop> {
    let chains = objects(listing, "chain")
        .filter(|chain| chain["hook"] == "forward" && chain["policy"] == "drop");
    let chains = chains.filter_map(|chain| {
        let text = |key: &str| chain[key].as_str().map(str::to_owned);
        Some(ForwardDrop {
            family: text("family")?,
            table: text("table")?,
            chain: text("name")?,
            passes_us: false,
        })
    });
    chains.collect()
}

/// Whether a chain, or the chain that Docker keeps for operators beside it, accepts whatever enters by our links (`bt*`)
/// and whatever leaves by them, from `nft -j list table`.
#[must_use]
pub fn passes_us(listing: &Value, chain: &str) -> bool {
    let accepts = |key: &str| {
        objects(listing, "rule").any(|rule| {
            (rule["chain"] == chain || rule["chain"] == "DOCKER-USER") && accepts_links(rule, key)
        })
    };
    accepts("iifname") && accepts("oifname")
}

/// Whether a rule accepts all that its interface `key` names ours, and asks for nothing else.
fn accepts_links(rule: &Value, key: &str) -> bool {
    let Some(parts) = rule["expr"].as_array() else { return false };
    let (mut ours, mut accepts) = (false, false);
    for part in parts {
        if let Some(condition) = part.get("match") {
            let is_ours = condition["op"] == "=="
                && condition["left"]["meta"]["key"] == key
                && condition["right"] == "bt*";
            if !is_ours {
                return false;
            }
            ours = true;
        } else if part.get("accept").is_some() {
            accepts = true;
        } else if part.get("counter").is_none() {
            return false;
        }
    }
    ours && accepts
}

/// Whether a chain of that name exists in any table, from `nft -j list chains`.
#[must_use]
pub fn has_chain(listing: &Value, name: &str) -> bool {
    objects(listing, "chain").any(|chain| chain["name"] == name)
}

fn objects<'a>(listing: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = listing["nftables"].as_array().into_iter().flatten();
    all.filter_map(move |object| object.get(kind)).take(MAX_OBJECTS)
}

/// What the old iptables holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Legacy {
    /// Number of rules.
    pub rules: usize,
    /// Whether forwarding is dropped by default.
    pub drops: bool,
    /// Whether rules let everything pass that enters or leaves by our links.
    pub passes_us: bool,
}

/// Reads what `iptables-save` prints.
#[must_use]
pub fn iptables_save(text: &str) -> Legacy {
    let rules = text.lines().filter(|line| line.starts_with("-A ")).count();
    let mut table = "";
    let (mut drops, mut passes) = (false, [false; 2]);
    for line in text.lines() {
        if let Some(name) = line.strip_prefix('*') {
            table = name;
        }
        if table != "filter" {
            continue;
        }
        drops |= line.starts_with(":FORWARD DROP");
        for (passes, option) in passes.iter_mut().zip(["-i", "-o"]) {
            let accepts =
                |chain: &str| line.trim_end() == format!("-A {chain} {option} bt+ -j ACCEPT");
            *passes |= accepts("FORWARD") || accepts("DOCKER-USER");
        }
    }
    Legacy { rules, drops, passes_us: passes == [true; 2] }
}

/// Whether ufw is switched on, from `/etc/ufw/ufw.conf`.
#[must_use]
pub fn ufw_enabled(text: &str) -> bool {
    text.lines().any(|line| line.trim().eq_ignore_ascii_case("ENABLED=yes"))
}
