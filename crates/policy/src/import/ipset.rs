//! Words that several sources share: addresses, protocols, icmp types, states of connections.

use std::net::IpAddr;

use ipnet::IpNet;

use super::space::Range;
use super::walk::Condition;

/// An address, a network or `first-last`, as a range; `None` when it is something else.
pub(super) fn range(text: &str) -> Option<(bool, Range)> {
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (first.parse::<IpAddr>().ok()?, last.parse::<IpAddr>().ok()?);
        let same = first.is_ipv6() == last.is_ipv6() && first <= last;
        return same.then(|| (first.is_ipv6(), (bits(first), bits(last))));
    }
    if let Ok(net) = text.parse::<IpNet>() {
        return Some((net.addr().is_ipv6(), (bits(net.network()), bits(net.broadcast()))));
    }
    // 10.0.0.0/255.0.0.0
    if let Some((address, mask)) = text.split_once('/') {
        let net = IpNet::with_netmask(address.parse().ok()?, mask.parse().ok()?).ok()?;
        return Some((net.addr().is_ipv6(), (bits(net.network()), bits(net.broadcast()))));
    }
    let address: IpAddr = text.parse().ok()?;
    Some((address.is_ipv6(), (bits(address), bits(address))))
}

pub(super) fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// The number of a protocol.
pub(super) fn proto(text: &str) -> Option<u128> {
    Some(match text {
        "icmp" => 1,
        "igmp" => 2,
        "tcp" => 6,
        "udp" => 17,
        "dccp" => 33,
        "gre" => 47,
        "esp" => 50,
        "ah" => 51,
        "icmpv6" | "ipv6-icmp" => 58,
        "sctp" => 132,
        "udplite" => 136,
        number => u128::from(number.parse::<u8>().ok()?),
    })
}

/// Protocols whose header begins with ports.
pub(super) const WITH_PORTS: [Range; 5] = [(6, 6), (17, 17), (33, 33), (132, 132), (136, 136)];

/// `80`, `8000:8080` or, with another sign, `8000-8080`.
pub(super) fn ports(text: &str, sign: char) -> Option<Range> {
    let number = |text: &str| text.parse::<u16>().ok().map(u128::from);
    match text.split_once(sign) {
        Some((first, last)) => {
            let first = if first.is_empty() { 0 } else { number(first)? };
            let last = if last.is_empty() { 65_535 } else { number(last)? };
            (first <= last).then_some((first, last))
        }
        None => number(text).map(|port| (port, port)),
    }
}

/// Type, or type and code, of icmp as a range of ports.
pub(super) fn icmp(kind: u8, code: Option<u8>) -> Range {
    let kind = u128::from(kind) << 8;
    code.map_or((kind, kind | 0xff), |code| (kind | u128::from(code), kind | u128::from(code)))
}

/// The type with this name.
pub(super) fn icmp_name(name: &str, v6: bool) -> Option<u8> {
    Some(match (name, v6) {
        ("echo-reply" | "pong", false) => 0,
        ("redirect", false) => 5,
        ("router-advertisement", false) => 9,
        ("router-solicitation", false) => 10,
        ("time-exceeded", false) => 11,
        ("parameter-problem", false) => 12,
        ("timestamp-request", false) => 13,
        ("timestamp-reply", false) => 14,
        ("destination-unreachable", true) => 1,
        ("packet-too-big", true) => 2,
        ("destination-unreachable", false) | ("time-exceeded", true) => 3,
        ("source-quench", false) | ("parameter-problem", true) => 4,
        ("echo-request", false) => 8,
        ("echo-request", true) => 128,
        ("echo-reply", true) => 129,
        ("mld-listener-query", true) => 130,
        ("mld-listener-report", true) => 131,
        ("mld-listener-done" | "mld-listener-reduction", true) => 132,
        ("nd-router-solicit", true) => 133,
        ("nd-router-advert", true) => 134,
        ("nd-neighbor-solicit", true) => 135,
        ("nd-neighbor-advert", true) => 136,
        ("nd-redirect", true) => 137,
        ("mld2-listener-report", true) => 143,
        _ => return name.parse().ok(),
    })
}

/// Whether the first packet of a flow is in one of these states, when it is tracked and when it is not.
pub(super) fn states<'s>(words: impl Iterator<Item = &'s str>, not: bool) -> Condition {
    let (mut is_new, mut is_untracked, mut other) = (false, false, None);
    for word in words {
        match word.to_ascii_lowercase().as_str() {
            "new" => is_new = true,
            "untracked" => is_untracked = true,
            "established" | "related" | "invalid" => {}
            word => other = Some(word.to_owned()),
        }
    }
    match other {
        Some(word) => Condition::Unknown(format!("the state {}", super::shown(&word))),
        None => Condition::State { new: is_new != not, untracked: is_untracked != not },
    }
}
