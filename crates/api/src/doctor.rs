//! What this host can promise, what it cannot, and why.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Works with a restriction.
    Warning,
    /// Enforcement is refused until this is repaired.
    Blocker,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// `BH-H0nn`.
    pub code: String,
    /// How much it matters.
    pub level: Level,
    /// What was looked at: `enforcement`, `nftables`, `forwarding`, ….
    pub topic: String,
    /// What was found.
    pub text: String,
    /// What it means for the product's promises, or what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// Answer of `GET /v1/doctor`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// `bulkhead.doctor/1`.
    pub schema: String,
    /// The first line: host name, kernel, distribution, kind of machine.
    pub host: String,
    /// `full`, `restricted` or `none`.
    pub enforcement: String,
    /// `tcx` or `clsact`; absent when neither works.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_path: Option<String>,
    /// What the host is, as values; absent when it could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<HostFacts>,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

/// What a host is, for programs: the values behind the findings.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct HostFacts {
    /// As `uname -r` prints it.
    pub kernel: String,
    /// As the distribution calls itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distribution: Option<String>,
    /// `KVM guest`, `lxc container`, `virtual machine`; absent on hardware, or when it hides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// `unified`, `hybrid`, `legacy` or `absent`.
    pub cgroups: String,
    /// Of the default route's link, in bytes; absent without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// Whether the host forwards.
    pub forwarding: Forwarding,
    /// Whether frames that the host bridges are shown to netfilter.
    pub bridge_nf: BridgeNf,
    /// Who else filters packets here: `docker`, `ufw active`, `table ip filter`.
    pub firewalls: Vec<String>,
    /// Chains of others that drop what the networks forward: `ip filter FORWARD`.
    pub forward_drops: Vec<String>,
    /// Addresses that the internet can reach, as far as the host knows.
    pub public_addresses: Vec<String>,
}

/// Whether a host forwards packets; absent without that version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Forwarding {
    /// `net.ipv4.ip_forward`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<bool>,
    /// `net.ipv6.conf.all.forwarding`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
}

/// `net.bridge.bridge-nf-call-*`; absent when `br_netfilter` is not loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct BridgeNf {
    /// Shown to iptables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv4: Option<bool>,
    /// Shown to ip6tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<bool>,
    /// Shown to arptables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arp: Option<bool>,
}

impl Doctor {
    /// Value of [`Doctor::schema`].
    pub const SCHEMA: &str = "bulkhead.doctor/1";
}
