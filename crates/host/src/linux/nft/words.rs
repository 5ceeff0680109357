//! How a ruleset reads at a terminal: the words of `nft list table`.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::{Action, Chain, FAMILY, Family, Match, Rule, Ruleset, TABLE};

impl fmt::Display for Ruleset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "table {FAMILY} {TABLE} {{")?;
        for chain in self.chains.iter().filter(|chain| !chain.rules.is_empty()) {
            chain.fmt(f)?;
        }
        writeln!(f, "}}")
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, kind, hook, priority, rules } = self;
        writeln!(f, "\tchain {name} {{")?;
        writeln!(f, "\t\ttype {kind} hook {hook} priority {priority}; policy accept;")?;
        for rule in rules {
            writeln!(f, "\t\t{rule}")?;
        }
        writeln!(f, "\t}}")
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for condition in &self.matches {
            write!(f, "{condition} ")?;
        }
        self.action.fmt(f)?;
        if self.comment.is_empty() {
            return Ok(());
        }
        write!(f, " comment \"{}\"", self.comment)
    }
}

impl fmt::Display for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::IifNamed(name) => write!(f, "iifname \"{name}\""),
            Self::OifNamed(name) => write!(f, "oifname \"{name}\""),
            Self::Iif(name) => write!(f, "iifname \"{name}\""),
            Self::IifNot(name) => write!(f, "iifname != \"{name}\""),
            Self::Oif(name) => write!(f, "oifname \"{name}\""),
            Self::OifNot(name) => write!(f, "oifname != \"{name}\""),
            Self::Family(Family::V4) => f.write_str("meta nfproto ipv4"),
            Self::Family(Family::V6) => f.write_str("meta nfproto ipv6"),
            Self::Source(nets) => write_nets(f, "saddr", nets),
            Self::Destination(nets) => write_nets(f, "daddr", nets),
            Self::DestinationNot(address) => {
                write!(f, "{} daddr != {address}", Family::of(*address).name())
            }
            Self::DestinationLocal => f.write_str("fib daddr type local"),
            Self::SourceLocal => f.write_str("fib saddr type local"),
            Self::SourceAstray => f.write_str("fib saddr . iif oif 0"),
            Self::NeighbourDiscovery => f.write_str("icmpv6 type 133-137"),
            Self::Transport(transport) => write!(f, "meta l4proto {}", transport.name()),
            Self::SourcePort(transport, port) => write!(f, "{} sport {port}", transport.name()),
            Self::Port(transport, first, last) => {
                write!(f, "{} dport {}", transport.name(), range((*first, *last)))
            }
            Self::Translated => f.write_str("ct status dnat"),
            Self::Established => f.write_str("ct state established,related"),
        }
    }
}

fn write_nets(f: &mut fmt::Formatter<'_>, field: &str, nets: &[IpNet]) -> fmt::Result {
    let family = nets.first().map_or(Family::V4, |net| Family::of(net.addr()));
    let text = |net: &IpNet| {
        let is_host = net.prefix_len() == net.max_prefix_len();
        if is_host { net.addr().to_string() } else { net.to_string() }
    };
    write!(f, "{} {field} ", family.name())?;
    match nets {
        [net] => f.write_str(&text(net)),
        _ => write!(f, "{{ {} }}", nets.iter().map(text).collect::<Vec<_>>().join(", ")),
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accept => f.write_str("accept"),
            Self::Refuse => f.write_str("counter drop"),
            Self::Drop => f.write_str("drop"),
            Self::Masquerade(None) => f.write_str("masquerade"),
            Self::Masquerade(Some(ports)) => write!(f, "masquerade to :{}", range(*ports)),
            Self::Snat(to, None) => write!(f, "snat {} to {to}", Family::of(*to).name()),
            Self::Snat(to, Some(ports)) => {
                let family = Family::of(*to).name();
                write!(f, "snat {family} to {}:{}", bracketed(*to), range(*ports))
            }
            Self::Dnat(to, None) => write!(f, "dnat {} to {to}", Family::of(*to).name()),
            Self::Dnat(to, Some(port)) => {
                write!(f, "dnat {} to {}:{port}", Family::of(*to).name(), bracketed(*to))
            }
        }
    }
}

/// An address in front of a port.
fn bracketed(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("[{v6}]"),
    }
}

/// Ports, first and last.
fn range((first, last): (u16, u16)) -> String {
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}
