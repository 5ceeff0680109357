//! What this host is and what else runs on it: the facts behind `bulkhead doctor`.
//!
//! Reading is here and never fails as a whole: what cannot be read is absent from the [`Report`]. Texts
//! are taken apart in [`parse`], with limits, since some of them are written by others. Packet program
//! features are probed where the programs are loaded.

mod firewalls;
mod listeners;
pub mod parse;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

pub use firewalls::{Firewalls, ForeignTable, ForwardDrop, firewalls};
pub use listeners::{Listener, listeners};

use super::kernel::{Linux, own_addresses};
use super::sysctl;

/// The longest file that is read, bytes.
const MAX_FILE_BYTES: u64 = 8 << 20;

/// How control groups are mounted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CgroupMode {
    /// Version 2 only.
    Unified,
    /// Controllers of version 1, and version 2 beside them.
    Hybrid,
    /// Version 1 only.
    Legacy,
    /// Not mounted.
    Absent,
}

/// Whether bridged frames are shown to netfilter, which lets other firewalls drop them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct BridgeFilter {
    /// `bridge-nf-call-iptables`; `None` when `br_netfilter` is not loaded.
    pub ipv4: Option<bool>,
    /// `bridge-nf-call-ip6tables`.
    pub ipv6: Option<bool>,
    /// `bridge-nf-call-arptables`.
    pub arp: Option<bool>,
}

/// The facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// As `uname -r` prints it.
    pub kernel: String,
    /// `PRETTY_NAME` of os-release.
    pub distribution: Option<String>,
    /// What this machine is: `KVM guest`, `lxc container`, `virtual machine`; `None` on hardware, or when it hides it.
    pub virtualisation: Option<String>,
    /// How control groups are mounted.
    pub cgroup: CgroupMode,
    /// Of the default route's link, bytes.
    pub mtu: Option<u32>,
    /// Whether the host forwards IPv4; `None` without IPv4.
    pub forwards_v4: Option<bool>,
    /// Whether the host forwards IPv6; `None` without IPv6.
    pub forwards_v6: Option<bool>,
    /// Whether bridged frames pass netfilter in the host's namespace.
    pub bridge_filter: BridgeFilter,
    /// Addresses of this host that the internet can reach, as far as the host knows.
    pub public_addresses: BTreeSet<IpAddr>,
    /// Other firewalls.
    pub firewalls: Firewalls,
    /// Sockets that wait for others, on any address but loopback.
    pub exposed: Vec<Listener>,
}

/// Reads everything, from the calling thread's network namespace.
pub fn report(linux: &mut Linux) -> Report {
    let file = |path: &str| read(Path::new(path)).unwrap_or_default();
    let switch = |key: &str| sysctl::read(key).ok().flatten().map(|value| value != "0");
    let own = own_addresses().unwrap_or_default();
    Report {
        kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
        distribution: parse::os_release(&file("/etc/os-release")),
        virtualisation: virtualisation(),
        cgroup: parse::cgroup_mode(&file("/proc/self/mountinfo")),
        mtu: linux.default_mtu().ok().flatten(),
        forwards_v4: switch("net/ipv4/ip_forward"),
        forwards_v6: switch("net/ipv6/conf/all/forwarding"),
        bridge_filter: BridgeFilter {
            ipv4: switch("net/bridge/bridge-nf-call-iptables"),
            ipv6: switch("net/bridge/bridge-nf-call-ip6tables"),
            arp: switch("net/bridge/bridge-nf-call-arptables"),
        },
        public_addresses: own.into_iter().filter(parse::is_public).collect(),
        firewalls: firewalls(),
        exposed: listeners().into_iter().filter(|listener| !listener.is_local()).collect(),
    }
}

fn virtualisation() -> Option<String> {
    let file = |path: &str| read(Path::new(path)).unwrap_or_default();
    parse::virtualisation(&parse::Machine {
        vendor: file("/sys/class/dmi/id/sys_vendor").trim(),
        product: file("/sys/class/dmi/id/product_name").trim(),
        hypervisor: file("/sys/hypervisor/type").trim(),
        container: file("/run/systemd/container").trim(),
        cpuinfo: &file("/proc/cpuinfo"),
    })
}

/// Reads a text file up to the limit; `None` when it cannot be read.
fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).ok()?.take(MAX_FILE_BYTES).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
