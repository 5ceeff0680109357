//! The same rules in every peer's words: filler targets, then the one rule for the load, last.
//!
//! Filler i is (address, port): an address of 198.18.0.0/15, the range for benchmarks (RFC 2544), and one
//! of a hundred ports, two rules an address. Connection tracking
//! accepts established flows first, as every firewall of the peers' kind does.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr};

use crate::load::ALLOWED_PORTS;

/// Different ports among the fillers.
pub const PORTS: u16 = 100;
/// Port of the first filler.
pub const FIRST_PORT: u16 = 2000;
/// The network all fillers are in, and the server of a routed arm.
pub const WORLD: &str = "198.18.0.0/15";

/// Target of filler rule `i`: two rules an address, with ports that its neighbours do not have, so
/// that no compiler can put neighbours together.
#[must_use]
pub fn filler(i: u32) -> (Ipv4Addr, u16) {
    let base = u32::from(Ipv4Addr::new(198, 18, 0, 1));
    let port = u16::try_from(i * STRIDE % u32::from(PORTS)).unwrap_or_default();
    (Ipv4Addr::from(base + i / 2), FIRST_PORT + port)
}

/// Prime to [`PORTS`], and far from 1: neighbours differ.
const STRIDE: u32 = 37;

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

/// An nft ruleset that judges by lookup in one set of `count` (address, protocol, port) elements.
#[must_use]
pub fn nft_set(ends: Ends, count: u32) -> String {
    let mut elements = String::new();
    for i in 0..count.saturating_sub(1) {
        let (address, port) = filler(i);
        _ = write!(elements, "{address} . tcp . {port}, ");
    }
    let range = port_range('-');
    let server = ends.server;
    _ = write!(elements, "{server} . tcp . {range}, {server} . udp . {range}");
    format!(
        "table inet peer {{
  set allowed {{ type ipv4_addr . inet_proto . inet_service; flags interval; elements = {{ {elements} }}; }}
  chain forward {{ type filter hook forward priority filter; policy drop;
    ct state established,related accept
    ip saddr {} ip daddr . meta l4proto . th dport @allowed accept
  }}
}}",
        ends.client
    )
}

/// An nft ruleset of `count` linear rules.
#[must_use]
pub fn nft_linear(ends: Ends, count: u32) -> String {
    let mut rules = String::new();
    for i in 0..count.saturating_sub(1) {
        let (address, port) = filler(i);
        _ = writeln!(
            rules,
            "    ip saddr {} ip daddr {address} tcp dport {port} accept",
            ends.client
        );
    }
    let (Ends { client, server }, range) = (ends, port_range('-'));
    format!(
        "table inet peer {{
  chain forward {{ type filter hook forward priority filter; policy drop;
    ct state established,related accept
{rules}    ip saddr {client} ip daddr {server} meta l4proto {{ tcp, udp }} th dport {range} accept
  }}
}}"
    )
}

/// Input for `iptables-restore` of `count` linear rules.
#[must_use]
pub fn iptables_linear(ends: Ends, count: u32) -> String {
    let mut rules = String::new();
    for i in 0..count.saturating_sub(1) {
        let (address, port) = filler(i);
        _ = writeln!(
            rules,
            "-A FORWARD -s {}/32 -d {address}/32 -p tcp -m tcp --dport {port} -j ACCEPT",
            ends.client
        );
    }
    let (Ends { client, server }, range) = (ends, port_range(':'));
    for protocol in ["tcp", "udp"] {
        _ = writeln!(
            rules,
            "-A FORWARD -s {client}/32 -d {server}/32 -p {protocol} -m {protocol} --dport {range} -j ACCEPT"
        );
    }
    format!(
        "*filter\n:FORWARD DROP [0:0]\n\
         -A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT\n{rules}COMMIT\n"
    )
}

/// Input for `ipset restore`: one hash of (address, port) with `count` elements.
#[must_use]
pub fn ipset(ends: Ends, count: u32) -> String {
    let mut text = String::from("create allowed hash:ip,port maxelem 1048576\n");
    for i in 0..count.saturating_sub(1) {
        let (address, port) = filler(i);
        _ = writeln!(text, "add allowed {address},tcp:{port}");
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
    fn fillers_are_distinct_and_the_last_rule_is_the_one_that_matches() {
        let fillers: std::collections::BTreeSet<_> = (0..100_000).map(filler).collect();
        assert_eq!(fillers.len(), 100_000);
        let ends = Ends { client: [10, 77, 0, 2].into(), server: [10, 77, 0, 3].into() };
        let rules = nft_linear(ends, 10);
        let accepts: Vec<&str> = rules.lines().filter(|l| l.contains("ip daddr")).collect();
        assert_eq!(accepts.len(), 10);
        assert!(accepts[9].contains("10.77.0.3") && accepts[8].contains("198.18."));
        assert_eq!(iptables_linear(ends, 10).matches("-s 10.77.0.2").count(), 11);
    }
}
