//! The nftables table `inet bulkhead`: address translation for `nat` and `publish`, as data.
//!
//! [`render`] builds the table a router or the host should have; [`table`] replaces it in one
//! transaction with `nft -j -f -` and reads it back. Rules are few types that each know their JSON
//! (libnftables-json(5)) and their `nft` words, so that a test reads like a terminal.
//!
//! **Drift.** The table carries a chain without a hook, `fingerprint`, whose rule comments hold the
//! hash of what we asked for and the hash of what `nft` listed right afterwards. A table whose
//! listing still has that hash was not touched; nothing needs to be remembered elsewhere, and the
//! different spellings of `nft` versions do not matter. A table is listed when the kernel's number of
//! committed transactions is another than at the last listing ([`table::Watch`]).

pub mod edge;
mod generation;
pub mod lan;
mod leaving;
pub mod monitor;
pub mod render;
pub mod table;
mod words;

use ipnet::IpNet;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use std::net::IpAddr;

use crate::network::Transport;

/// The family of our table.
pub const FAMILY: &str = "inet";

/// The name of our table.
pub const TABLE: &str = "bulkhead";

/// One of our tables: all have the same name, and a namespace has at most one of each family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableId {
    /// `inet`, `bridge` or `netdev`.
    pub family: &'static str,
    /// [`TABLE`].
    pub name: &'static str,
}

impl TableId {
    /// Address translation and guards, in routers and on the host.
    pub const INET: Self = Self { family: FAMILY, name: TABLE };
    /// The edge of a router to a LAN.
    pub const BRIDGE: Self = Self { family: "bridge", name: TABLE };
    /// The edge of the host's NICs.
    pub const NETDEV: Self = Self { family: "netdev", name: TABLE };
}

/// The chain that identifies a table's contents.
pub(crate) const FINGERPRINT: &str = "fingerprint";

/// Our table as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableState {
    /// [`Ruleset::hash`] of what was asked for; `None` when the table does not say.
    pub wanted: Option<String>,
    /// Whether it is still as `nft` listed it right after it was made.
    pub is_intact: bool,
}

impl TableState {
    /// Whether the table is exactly `ruleset`.
    #[must_use]
    pub fn is(&self, ruleset: &Ruleset) -> bool {
        self.has_hash(&ruleset.hash())
    }

    /// Whether the table is exactly what has this hash.
    #[must_use]
    pub fn has_hash(&self, hash: &str) -> bool {
        self.is_intact && self.wanted.as_deref() == Some(hash)
    }
}

/// A whole table. Chains without rules are not made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ruleset {
    /// In the order they are made.
    pub chains: Vec<Chain>,
}

impl Ruleset {
    /// 16 hexadecimal digits that change with any change of the rules.
    #[must_use]
    pub fn hash(&self) -> String {
        digest(&Value::Array(self.objects()))
    }

    /// Whether there is no rule at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.chains.iter().all(|chain| chain.rules.is_empty())
    }

    /// Chains and rules as JSON objects, in order.
    fn objects(&self) -> Vec<Value> {
        let used = || self.chains.iter().filter(|chain| !chain.rules.is_empty());
        let rules = used().flat_map(|chain| chain.rules.iter().map(|rule| rule.json(chain.name)));
        used().map(Chain::json).chain(rules).collect()
    }

    /// The transaction that puts this table in place of whatever is there.
    #[must_use]
    pub fn transaction(&self) -> Value {
        table_transaction(TableId::INET, &self.hash(), self.objects())
    }
}

/// The transaction that puts a table with these objects in place of whatever is there.
fn table_transaction(id: TableId, hash: &str, objects: Vec<Value>) -> Value {
    let TableId { family, name } = id;
    let table = json!({ "table": { "family": family, "name": name } });
    let mut steps = vec![
        json!({ "add": table.clone() }),
        json!({ "delete": table.clone() }),
        json!({ "add": table }),
        json!({ "add": { "chain": { "family": family, "table": name, "name": FINGERPRINT } } }),
        json!({ "add": fingerprint_rule(id, &format!("wanted {hash}")) }),
    ];
    steps.extend(objects.into_iter().map(|object| json!({ "add": object })));
    json!({ "nftables": steps })
}

/// A rule of the chain `fingerprint`.
pub(crate) fn fingerprint_rule(id: TableId, comment: &str) -> Value {
    json!({ "rule": {
        "family": id.family, "table": id.name, "chain": FINGERPRINT,
        "comment": comment, "expr": [{ "return": null }],
    } })
}

/// The number of the ruleset of a namespace; `None` when the kernel does not tell.
pub(crate) fn generation(ns: &crate::linux::netns::NetNs) -> Option<u32> {
    generation::Generations::open_in(ns).ok()?.read().ok()
}

/// The first 16 hexadecimal digits of the SHA-256 of `value`'s text.
pub(crate) fn digest(value: &Value) -> String {
    let hash = Sha256::digest(value.to_string().as_bytes());
    let front = hash.first_chunk().copied().unwrap_or_default();
    format!("{:016x}", u64::from_be_bytes(front))
}

/// A base chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// `nat` or `filter`.
    pub kind: &'static str,
    /// `prerouting`, `forward`, ...
    pub hook: &'static str,
    /// As `nft` numbers them: -300 raw, -100 dstnat, 0 filter, 100 srcnat.
    pub priority: i32,
    /// In order.
    pub rules: Vec<Rule>,
}

impl Chain {
    fn json(&self) -> Value {
        json!({ "chain": {
            "family": FAMILY, "table": TABLE, "name": self.name,
            "type": self.kind, "hook": self.hook, "prio": self.priority, "policy": "accept",
        } })
    }
}

/// One rule: all of the matches must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// In order.
    pub matches: Vec<Match>,
    /// What then happens.
    pub action: Action,
    /// What it is there for; empty for none.
    pub comment: String,
}

impl Rule {
    fn json(&self, chain: &str) -> Value {
        let mut expr: Vec<Value> = self.matches.iter().map(Match::json).collect();
        expr.extend(self.action.json());
        let mut rule = json!({
            "family": FAMILY, "table": TABLE, "chain": chain, "expr": expr,
        });
        if !self.comment.is_empty() {
            rule["comment"] = self.comment.clone().into();
        }
        json!({ "rule": rule })
    }
}

/// IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `ip`.
    V4,
    /// `ip6`.
    V6,
}

impl Family {
    /// The family of an address.
    #[must_use]
    pub const fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "ip",
            Self::V6 => "ip6",
        }
    }
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Match {
    /// The link it came in by; a trailing `*` matches any ending.
    Iif(&'static str),
    /// Any other link than this to come in by.
    IifNot(&'static str),
    /// The link it goes out by.
    Oif(&'static str),
    /// Any other link than this to go out by.
    OifNot(&'static str),
    /// The link of the host that it came in by.
    IifNamed(String),
    /// The link of the host that it goes out by.
    OifNamed(String),
    /// IPv4 or IPv6.
    Family(Family),
    /// The source lies in one of these, all of one family.
    Source(Vec<IpNet>),
    /// The destination lies in one of these, all of one family.
    Destination(Vec<IpNet>),
    /// The destination is not this address.
    DestinationNot(IpAddr),
    /// The destination is an address of this namespace.
    DestinationLocal,
    /// The source is an address of this namespace.
    SourceLocal,
    /// The way back to the source does not lead over the link it came in by.
    SourceAstray,
    /// Neighbour discovery: ICMPv6 types 133 to 137 (RFC 4861, section 4), which never leave their link.
    NeighbourDiscovery,
    /// Transport protocol.
    Transport(Transport),
    /// Transport protocol and source port.
    SourcePort(Transport, u16),
    /// Transport protocol and destination ports, first and last.
    Port(Transport, u16, u16),
    /// The connection's destination was translated.
    Translated,
    /// The packet belongs or relates to a connection that was let through.
    Established,
}

impl Match {
    fn json(&self) -> Value {
        let (op, left, right) = match self {
            Self::IifNamed(name) => ("==", json!({ "meta": { "key": "iifname" } }), json!(name)),
            Self::OifNamed(name) => ("==", json!({ "meta": { "key": "oifname" } }), json!(name)),
            Self::Iif(name) => ("==", json!({ "meta": { "key": "iifname" } }), json!(name)),
            Self::IifNot(name) => ("!=", json!({ "meta": { "key": "iifname" } }), json!(name)),
            Self::Oif(name) => ("==", json!({ "meta": { "key": "oifname" } }), json!(name)),
            Self::OifNot(name) => ("!=", json!({ "meta": { "key": "oifname" } }), json!(name)),
            Self::Family(family) => {
                let name = if *family == Family::V4 { "ipv4" } else { "ipv6" };
                ("==", json!({ "meta": { "key": "nfproto" } }), json!(name))
            }
            Self::Source(nets) => ("==", address_json(nets, "saddr"), nets_json(nets)),
            Self::Destination(nets) => ("==", address_json(nets, "daddr"), nets_json(nets)),
            Self::DestinationNot(address) => {
                let nets = [IpNet::from(*address)];
                ("!=", address_json(&nets, "daddr"), nets_json(&nets))
            }
            Self::DestinationLocal => ("==", fib_json("type", &["daddr"]), json!("local")),
            Self::SourceLocal => ("==", fib_json("type", &["saddr"]), json!("local")),
            Self::SourceAstray => ("==", fib_json("oif", &["saddr", "iif"]), json!(0)),
            Self::NeighbourDiscovery => {
                let left = json!({ "payload": { "protocol": "icmpv6", "field": "type" } });
                ("==", left, json!({ "range": [133, 137] }))
            }
            Self::Transport(transport) => {
                ("==", json!({ "meta": { "key": "l4proto" } }), json!(transport.name()))
            }
            Self::SourcePort(transport, port) => {
                let payload = json!({ "protocol": transport.name(), "field": "sport" });
                ("==", json!({ "payload": payload }), json!(port))
            }
            Self::Port(transport, first, last) => {
                let left = json!({ "payload": { "protocol": transport.name(), "field": "dport" } });
                ("==", left, ports_json((*first, *last)))
            }
            Self::Translated => ("in", json!({ "ct": { "key": "status" } }), json!("dnat")),
            Self::Established => {
                ("in", json!({ "ct": { "key": "state" } }), json!(["established", "related"]))
            }
        };
        json!({ "match": { "op": op, "left": left, "right": right } })
    }
}

fn fib_json(result: &str, flags: &[&str]) -> Value {
    json!({ "fib": { "result": result, "flags": flags } })
}

/// First and last. One alone is no range to some versions of `nft`.
fn ports_json((first, last): (u16, u16)) -> Value {
    if first == last { json!(first) } else { json!({ "range": [first, last] }) }
}

fn address_json(nets: &[IpNet], field: &str) -> Value {
    let family = nets.first().map_or(Family::V4, |net| Family::of(net.addr()));
    json!({ "payload": { "protocol": family.name(), "field": field } })
}

fn nets_json(nets: &[IpNet]) -> Value {
    let one = |net: &IpNet| {
        if net.prefix_len() == net.max_prefix_len() {
            return json!(net.addr().to_string());
        }
        json!({ "prefix": { "addr": net.network().to_string(), "len": net.prefix_len() } })
    };
    match nets {
        [net] => one(net),
        _ => json!({ "set": nets.iter().map(one).collect::<Vec<_>>() }),
    }
}

/// What happens to a packet, or to the connection it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Let it pass this chain.
    Accept,
    /// Drop it.
    Drop,
    /// Drop it, and count it: it should not be there.
    Refuse,
    /// Translate the source to the address of the outgoing link, and its port to one of these, first and last. With ports,
    /// a match must name the transport protocol.
    Masquerade(Option<(u16, u16)>),
    /// Translate the source, and its port as above.
    Snat(IpAddr, Option<(u16, u16)>),
    /// Translate the destination, and its port when one is given.
    Dnat(IpAddr, Option<u16>),
}

impl Action {
    /// The statements of it, in order.
    fn json(&self) -> Vec<Value> {
        let counted = (*self == Self::Refuse).then(|| json!({ "counter": null }));
        counted.into_iter().chain([self.verdict_json()]).collect()
    }

    fn verdict_json(&self) -> Value {
        match self {
            Self::Accept => json!({ "accept": null }),
            Self::Drop | Self::Refuse => json!({ "drop": null }),
            Self::Masquerade(None) => json!({ "masquerade": null }),
            Self::Masquerade(Some(ports)) => {
                json!({ "masquerade": { "port": ports_json(*ports) } })
            }
            Self::Snat(to, ports) => {
                let mut snat = json!({ "family": Family::of(*to).name(), "addr": to.to_string() });
                if let Some(ports) = ports {
                    snat["port"] = ports_json(*ports);
                }
                json!({ "snat": snat })
            }
            Self::Dnat(to, port) => {
                let mut dnat = json!({ "family": Family::of(*to).name(), "addr": to.to_string() });
                if let Some(port) = port {
                    dnat["port"] = (*port).into();
                }
                json!({ "dnat": dnat })
            }
        }
    }
}
