//! Tables at the edge to a LAN: frames before anything of IP has seen them.
//!
//! A router whose network is on a LAN has one of family `bridge`: it looks at what comes from the LAN and lets in frames for
//! its endpoints, and questions about them. A host whose NIC leads to that LAN has one of family `netdev`: it takes these
//! frames out of what the NIC receives and leaves all else to the host ([ADR 0024](../../../../../docs/adr/0024-edge.md)).
//! [`super::table`] replaces and reads them as it does `inet bulkhead`.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use serde_json::{Value, json};

use crate::network::Mac;

use super::{TABLE, TableId, digest, table_transaction};

/// Neighbour solicitation (RFC 4861, section 4.3).
pub(super) const SOLICITATION: u8 = 135;
/// Neighbour advertisement (section 4.4).
pub(super) const ADVERTISEMENT: u8 = 136;

/// A whole table of one of the two families.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeTable {
    /// `bridge` or `netdev`.
    pub family: &'static str,
    /// In the order they are made.
    pub chains: Vec<EdgeChain>,
}

/// A base chain of type `filter`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeChain {
    /// Its name.
    pub name: String,
    /// `prerouting`, `output` or `ingress`.
    pub hook: &'static str,
    /// At `ingress`: the link.
    pub device: Option<String>,
    /// In order.
    pub rules: Vec<EdgeRule>,
}

/// One rule: all of the matches must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeRule {
    /// In order.
    pub matches: Vec<EdgeMatch>,
    /// What then happens.
    pub action: EdgeAction,
    /// What it is there for; empty for none.
    pub comment: &'static str,
}

/// One condition. Lists are not empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeMatch {
    /// The link it came in by.
    Iif(&'static str),
    /// The link it goes out by.
    Oif(&'static str),
    /// From one of these.
    MacSource(Vec<Mac>),
    /// To one of these.
    MacTarget(Vec<Mac>),
    /// ARP that says who has one of these addresses.
    ArpSender(Vec<Ipv4Addr>),
    /// ARP about one of these addresses.
    ArpTarget(Vec<Ipv4Addr>),
    /// From one of these addresses.
    Source(Vec<Ipv6Addr>),
    /// ICMPv6 of these types, first and last.
    Icmp6(u8, u8),
    /// Neighbour discovery about one of these addresses; behind a match of its type (RFC 4861: eight bytes into it).
    Discovered(Vec<Ipv6Addr>),
}

/// What happens to a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeAction {
    /// Let it pass.
    Accept,
    /// Drop it.
    Drop,
    /// Drop it, and count it: it should not be there.
    Refuse,
    /// Send it by another link.
    Forward(String),
    /// Send a copy by another link.
    Copy(String),
}

impl EdgeTable {
    /// 16 hexadecimal digits that change with any change of the rules.
    #[must_use]
    pub fn hash(&self) -> String {
        digest(&Value::Array(self.objects()))
    }

    /// Which table it is.
    #[must_use]
    pub const fn id(&self) -> TableId {
        TableId { family: self.family, name: TABLE }
    }

    /// The transaction that puts this table in place of whatever is there.
    pub(crate) fn transaction(&self) -> Value {
        table_transaction(self.id(), &self.hash(), self.objects())
    }

    fn objects(&self) -> Vec<Value> {
        let family = self.family;
        let rules = self
            .chains
            .iter()
            .flat_map(|chain| chain.rules.iter().map(move |rule| rule.json(family, &chain.name)));
        self.chains.iter().map(|chain| chain.json(family)).chain(rules).collect()
    }
}

impl EdgeChain {
    fn json(&self, family: &str) -> Value {
        let mut chain = json!({
            "family": family, "table": TABLE, "name": self.name,
            "type": "filter", "hook": self.hook, "prio": -300, "policy": "accept",
        });
        if let Some(device) = &self.device {
            chain["dev"] = device.clone().into();
        }
        json!({ "chain": chain })
    }
}

impl EdgeRule {
    fn json(&self, family: &str, chain: &str) -> Value {
        let mut expr: Vec<Value> = self.matches.iter().map(EdgeMatch::json).collect();
        expr.extend(self.action.json());
        let mut rule = json!({ "family": family, "table": TABLE, "chain": chain, "expr": expr });
        if !self.comment.is_empty() {
            rule["comment"] = self.comment.into();
        }
        json!({ "rule": rule })
    }
}

impl EdgeMatch {
    fn json(&self) -> Value {
        let meta = |key: &str| json!({ "meta": { "key": key } });
        let field = |protocol: &str, field: &str| json!({ "payload": { "protocol": protocol, "field": field } });
        let (left, right) = match self {
            Self::Iif(name) => (meta("iifname"), json!(name)),
            Self::Oif(name) => (meta("oifname"), json!(name)),
            Self::MacSource(macs) => (field("ether", "saddr"), set(macs)),
            Self::MacTarget(macs) => (field("ether", "daddr"), set(macs)),
            Self::ArpSender(addresses) => (field("arp", "saddr ip"), set(addresses)),
            Self::ArpTarget(addresses) => (field("arp", "daddr ip"), set(addresses)),
            Self::Source(addresses) => (field("ip6", "saddr"), set(addresses)),
            Self::Icmp6(first, last) if first == last => (field("icmpv6", "type"), json!(first)),
            Self::Icmp6(first, last) => {
                (field("icmpv6", "type"), json!({ "range": [first, last] }))
            }
            Self::Discovered(addresses) => {
                let raw = json!({ "payload": { "base": "th", "offset": 64, "len": 128 } });
                (raw, set(&numbers(addresses)))
            }
        };
        json!({ "match": { "op": "==", "left": left, "right": right } })
    }
}

fn numbers(addresses: &[Ipv6Addr]) -> Vec<String> {
    addresses.iter().map(|address| format!("0x{:032x}", address.to_bits())).collect()
}

/// One alone is no set to some versions of `nft`.
fn set<T: ToString>(items: &[T]) -> Value {
    match items {
        [one] => json!(one.to_string()),
        _ => json!({ "set": items.iter().map(T::to_string).collect::<Vec<_>>() }),
    }
}

impl EdgeAction {
    fn json(&self) -> Vec<Value> {
        match self {
            Self::Accept => vec![json!({ "accept": null })],
            Self::Drop => vec![json!({ "drop": null })],
            Self::Refuse => vec![json!({ "counter": null }), json!({ "drop": null })],
            Self::Forward(link) => vec![json!({ "fwd": { "dev": link } })],
            Self::Copy(link) => vec![json!({ "dup": { "addr": link } })],
        }
    }
}

impl fmt::Display for EdgeTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {} {TABLE} {{", self.family)?;
        for chain in &self.chains {
            writeln!(f, "\tchain {} {{", chain.name)?;
            write!(f, "\t\ttype filter hook {}", chain.hook)?;
            if let Some(device) = &chain.device {
                write!(f, " device \"{device}\"")?;
            }
            writeln!(f, " priority -300; policy accept;")?;
            for rule in &chain.rules {
                writeln!(f, "\t\t{rule}")?;
            }
            writeln!(f, "\t}}")?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for EdgeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        match &self.action {
            EdgeAction::Accept => f.write_str("accept"),
            EdgeAction::Drop => f.write_str("drop"),
            EdgeAction::Refuse => f.write_str("counter drop"),
            EdgeAction::Forward(link) => write!(f, "fwd to \"{link}\""),
            EdgeAction::Copy(link) => write!(f, "dup to \"{link}\""),
        }?;
        if self.comment.is_empty() { Ok(()) } else { write!(f, " comment \"{}\"", self.comment) }
    }
}

impl fmt::Display for EdgeMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Iif(name) => write!(f, "iifname \"{name}\""),
            Self::Oif(name) => write!(f, "oifname \"{name}\""),
            Self::MacSource(macs) => write!(f, "ether saddr {}", words(macs)),
            Self::MacTarget(macs) => write!(f, "ether daddr {}", words(macs)),
            Self::ArpSender(addresses) => write!(f, "arp saddr ip {}", words(addresses)),
            Self::ArpTarget(addresses) => write!(f, "arp daddr ip {}", words(addresses)),
            Self::Source(addresses) => write!(f, "ip6 saddr {}", words(addresses)),
            Self::Icmp6(first, last) if first == last => write!(f, "icmpv6 type {first}"),
            Self::Icmp6(first, last) => write!(f, "icmpv6 type {first}-{last}"),
            Self::Discovered(addresses) => write!(f, "@th,64,128 {}", words(&numbers(addresses))),
        }
    }
}

fn words<T: ToString>(items: &[T]) -> String {
    match items {
        [one] => one.to_string(),
        _ => format!("{{ {} }}", items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")),
    }
}
