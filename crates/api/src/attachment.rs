//! Workloads that somebody else starts: attached at run time, beside the file.
//!
//! A runtime attaches a workload under a key of its own; the agent merges it into the document in force, so that every
//! question and every answer sees it as a workload like the others. See ADR 0020.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /v1/attachments`: a workload joins a network. The same key again is the same attachment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Attach {
    /// What its runtime calls it: `cni/<container>/<interface>`, `docker/<container>/<network>`, `libvirt/<domain>/<mac>`.
    /// 1 to 256 printable ASCII characters without spaces.
    pub key: String,
    /// A tenant of the file.
    pub tenant: String,
    /// A network of the tenant.
    pub network: String,
    /// A segment of the network; needed exactly when it has segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// The workload's name, unique in the tenant; without one, a name is made from the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its labels, at most 64.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// In place: the addresses that it has. Ours: the addresses that it wants; without one of a version, one is given.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Where its port is.
    pub port: AttachPort,
    /// Ports of the host that lead to it, at most 256. They open nothing: policies decide. In place they are those that its runtime leads to it
    /// by itself, for which the terms of `publish:` in the file hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<AttachPublish>,
    /// In place: its runtime does not say yet which ports of the host lead to it. Until it does, and where the tenant has an entry of `publish:` that is not
    /// open to everybody, whoever is no workload reaches no port of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub publish_pending: bool,
}

/// A port of the host that leads to an attached workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AttachPublish {
    /// `tcp`, `udp` or `sctp`.
    pub transport: String,
    /// The host's port.
    pub port: u16,
    /// The workload's port.
    pub to: u16,
    /// The host's address; without one, all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
}

/// Where the port of an attachment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum AttachPort {
    /// Ours: a veth from the network's router into a namespace that is there already.
    Netns {
        /// An absolute path of the namespace, as the agent sees it.
        path: String,
        /// What the interface is called inside; `eth0` when nothing is said.
        #[serde(default = "eth0")]
        interface: String,
    },
    /// Ours: a veth from the network's router whose other end is left on the host, down and without addresses, for whoever attaches
    /// it to move into a namespace and to set up there.
    Handed {
        /// What it is called on the host until then.
        interface: String,
        /// Nothing passes, whatever policy says: it is not known yet whose it is.
        #[serde(default)]
        closed: bool,
    },
    /// An interface of the host that somebody else made and bridges.
    InPlace {
        /// Its name on the host.
        interface: String,
        /// The MAC address that the workload has, `52:54:00:12:34:56`.
        mac: String,
        /// Whether it asks for its address by DHCP, which is then let through.
        #[serde(default)]
        dhcp: bool,
    },
}

fn eth0() -> String {
    "eth0".to_owned()
}

/// Answer of `POST /v1/attachments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attached {
    /// The key.
    pub key: String,
    /// `<tenant>.<workload>`.
    pub workload: String,
    /// The endpoint's number.
    pub endpoint: u32,
    /// The interface: inside of the namespace, or on the host when it is in place.
    pub interface: String,
    /// The workload's MAC address.
    pub mac: String,
    /// Its addresses, IPv4 first.
    pub addresses: Vec<AttachedAddress>,
    /// MTU of its interface, in bytes; absent when it is in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The generation in force now.
    pub generation: u64,
    /// Whether it was not attached before.
    pub new: bool,
}

/// An address of an attached workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AttachedAddress {
    /// The address.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Length of its network's prefix, in bits.
    pub prefix: u8,
    /// Next hop of the default route; absent when it is in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub gateway: Option<IpAddr>,
}

/// Answer of `DELETE /v1/attachments/{key}`. A key that is not attached is no error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Detached {
    /// The key.
    pub key: String,
    /// `<tenant>.<workload>`; absent when there was no such attachment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The generation in force now; 0 when there is none.
    pub generation: u64,
}

/// Answer of `GET /v1/attachments`, by key.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Attachments {
    /// All of them.
    pub attachments: Vec<Attachment>,
}

/// A workload that was attached at run time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Attachment {
    /// What its runtime calls it.
    pub key: String,
    /// `<tenant>.<workload>`.
    pub workload: String,
    /// The network that it joined.
    pub network: String,
    /// The segment, when the network has segments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// The labels that it was attached with.
    pub labels: BTreeMap<String, String>,
    /// Where its port is.
    pub port: AttachPort,
    /// The endpoint's number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<u32>,
    /// Its addresses, IPv4 first.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Since when, RFC 3339.
    pub since: String,
}
