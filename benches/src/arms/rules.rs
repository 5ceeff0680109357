//! The same rules in every peer's words: fillers ([`super::shape`]), then the one rule for the load, last.
//!
//! Connection tracking accepts established flows first, as every firewall of the peers' kind does.

use std::fmt::Write as _;
use std::net::IpAddr;

use super::shape::{Rules, Shape};
use crate::load::ALLOWED_PORTS;

/// The two ends that the last rule names.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    /// Source of the allowed flow.
    pub client: IpAddr,
    /// Its destination.
    pub server: IpAddr,
}

fn port_range(separator: char) -> String {
    format!("{}{separator}{}", ALLOWED_PORTS.start(), ALLOWED_PORTS.end())
}

/// An nft ruleset that judges by lookup in one set of (address, protocol, port) elements.
///
/// The set is a hash where all rules name single addresses and ports, and else one of intervals.
#[must_use]
pub fn nft_set(ends: Ends, rules: Rules) -> String {
    let mut elements = String::new();
    for target in rules.fillers() {
        let address = match target.bits {
            32 => target.address.to_string(),
            _ => target.prefix(),
        };
        _ = write!(elements, "{address} . tcp . {}, ", target.port_text('-'));
    }
    let server = ends.server;
    let hashed = rules.shape == Shape::Identity;
    for protocol in ["tcp", "udp"] {
        if hashed {
            for port in ALLOWED_PORTS {
                _ = write!(elements, "{server} . {protocol} . {port}, ");
            }
        } else {
            _ = write!(elements, "{server} . {protocol} . {}, ", port_range('-'));
        }
    }
    let flags = if hashed { "" } else { "flags interval; " };
    let elements = elements.trim_end_matches(", ");
    format!(
        "table inet peer {{
  set allowed {{ type ipv4_addr . inet_proto . inet_service; {flags}elements = {{ {elements} }}; }}
  chain forward {{ type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr {} ip daddr . meta l4proto . th dport @allowed accept
  }}
}}",
        ends.client
    )
}

/// An nft ruleset of linear rules.
#[must_use]
pub fn nft_linear(ends: Ends, rules: Rules) -> String {
    let mut lines = String::new();
    for target in rules.fillers() {
        _ = writeln!(
            lines,
            "    ip saddr {} ip daddr {} tcp dport {} accept",
            ends.client,
            target.prefix(),
            target.port_text('-')
        );
    }
    let (Ends { client, server }, range) = (ends, port_range('-'));
    format!(
        "table inet peer {{
  chain forward {{ type filter hook forward priority filter; policy drop;
    ct state established,related accept
{lines}    ip saddr {client} ip daddr {server} meta l4proto {{ tcp, udp }} th dport {range} accept
  }}
}}"
    )
}

/// Input for `iptables-restore` of linear rules.
#[must_use]
pub fn iptables_linear(ends: Ends, rules: Rules) -> String {
    let mut lines = String::new();
    for target in rules.fillers() {
        _ = writeln!(
            lines,
            "-A FORWARD -s {}/32 -d {} -p tcp -m tcp --dport {} -j ACCEPT",
            ends.client,
            target.prefix(),
            target.port_text(':')
        );
    }
    let (Ends { client, server }, range) = (ends, port_range(':'));
    for protocol in ["tcp", "udp"] {
        _ = writeln!(
            lines,
            "-A FORWARD -s {client}/32 -d {server}/32 -p {protocol} -m {protocol} --dport {range} -j ACCEPT"
        );
    }
    format!(
        "*filter\n:FORWARD DROP [0:0]\n\
         -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n{lines}COMMIT\n"
    )
}

/// Input for `ipset restore`: one hash of (address or prefix, port); a range is as many elements as it has ports.
#[must_use]
pub fn ipset(ends: Ends, rules: Rules) -> String {
    let kind = if rules.shape == Shape::Cidr { "net" } else { "ip" };
    let mut text = format!("create allowed hash:{kind},port maxelem 4194304\n");
    for target in rules.fillers() {
        let address = match rules.shape {
            Shape::Cidr => target.prefix(),
            _ => target.address.to_string(),
        };
        _ = writeln!(text, "add allowed {address},tcp:{}", target.port_text('-'));
    }
    for protocol in ["tcp", "udp"] {
        _ = writeln!(text, "add allowed {},{protocol}:{}", ends.server, port_range('-'));
    }
    text
}

/// Input for `iptables-restore` that asks that set.
#[must_use]
pub fn iptables_ipset(ends: Ends) -> String {
    format!(
        "*filter\n:FORWARD DROP [0:0]\n\
         -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n\
         -A FORWARD -s {}/32 -m set --match-set allowed dst,dst -j ACCEPT\nCOMMIT\n",
        ends.client
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_rule_is_the_one_that_matches() {
        let ends = Ends { client: [10, 77, 0, 2].into(), server: [10, 77, 0, 3].into() };
        let rules = nft_linear(ends, Rules::by_address(10));
        let accepts: Vec<&str> = rules.lines().filter(|l| l.contains("ip daddr")).collect();
        assert_eq!(accepts.len(), 10);
        assert!(accepts[9].contains("10.77.0.3") && accepts[8].contains("198.18."));
        assert_eq!(
            iptables_linear(ends, Rules::by_address(10)).matches("-s 10.77.0.2").count(),
            11
        );
    }

    #[test]
    fn every_shape_has_its_own_words() {
        let ends = Ends { client: [10, 77, 0, 2].into(), server: [10, 77, 0, 3].into() };
        let of = |shape| Rules { shape, count: 3 };
        let cidr = iptables_linear(ends, of(Shape::Cidr));
        assert!(cidr.contains("-d 100.64.0.32/31 -p tcp -m tcp --dport 10037 -j"), "{cidr}");
        assert!(ipset(ends, of(Shape::Cidr)).contains("hash:net,port"));
        let identity = nft_set(ends, of(Shape::Identity));
        assert!(identity.contains("10.77.0.11 . tcp . 10000, 10.77.0.3 . tcp . 7000, "));
        assert!(!identity.contains("interval"));
        let range = nft_set(ends, of(Shape::PortRange));
        assert!(range.contains("flags interval") && range.contains(". 10000-10011, "), "{range}");
    }
}
