//! How a ruleset reads at a terminal: the words of `nft list table`.

use std::fmt;

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
            Self::Port(transport, first, last) if first == last => {
                write!(f, "{} dport {first}", transport.name())
            }
            Self::Port(transport, first, last) => {
                write!(f, "{} dport {first}-{last}", transport.name())
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
            Self::Masquerade => f.write_str("masquerade"),
            Self::Snat(to) => write!(f, "snat {} to {to}", Family::of(*to).name()),
            Self::Dnat(to, None) => write!(f, "dnat {} to {to}", Family::of(*to).name()),
            Self::Dnat(to, Some(port)) => match to {
                std::net::IpAddr::V4(to) => write!(f, "dnat ip to {to}:{port}"),
                std::net::IpAddr::V6(to) => write!(f, "dnat ip6 to [{to}]:{port}"),
            },
        }
    }
}
