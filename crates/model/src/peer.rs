//! One side of a rule: a selector, an address range, or one of the words that stand alone.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::selector::{ParseError, parse_error};
use crate::{HostProcesses, Selector};

/// Why a text is not a [`Peer`].
pub type PeerError = ParseError;

/// Who a rule is about. A rule has one list of these for each side; one of the list must match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Peer {
    /// Workloads by labels and place. Inside a tenant only that tenant's workloads.
    Selector(Selector),
    /// Addresses without an identity of their own: never an endpoint and never the host. Host bits are zero.
    Cidr(IpNet),
    /// The host itself.
    Host,
    /// Some of the host's processes, by the account that they run under. Told apart in what leaves by the host's uplinks.
    Processes(HostProcesses),
    /// Every address that is not an endpoint, not in a network's subnet and not the host.
    World,
    /// An address in a network's subnet that no endpoint owns.
    Unmanaged,
    /// Every endpoint and every address. In a rule of a tenant the endpoints are those of that tenant: a tenant's rule
    /// never speaks for another tenant's workloads.
    Any,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Selector(selector) => fmt::Display::fmt(selector, f),
            Self::Cidr(net) if net.prefix_len() == net.max_prefix_len() => {
                fmt::Display::fmt(&net.addr(), f)
            }
            Self::Cidr(net) => fmt::Display::fmt(net, f),
            Self::Host => f.write_str("host"),
            Self::Processes(processes) => fmt::Display::fmt(processes, f),
            Self::World => f.write_str("world"),
            Self::Unmanaged => f.write_str("unmanaged"),
            Self::Any => f.write_str("any"),
        }
    }
}

impl FromStr for Peer {
    type Err = PeerError;

    fn from_str(text: &str) -> Result<Self, PeerError> {
        let bare = text.trim();
        let from = text.len() - text.trim_start().len();
        match bare {
            "host" => return Ok(Self::Host),
            "world" => return Ok(Self::World),
            "unmanaged" => return Ok(Self::Unmanaged),
            "any" => return Ok(Self::Any),
            _ => {}
        }
        if bare.starts_with("host ") {
            return text.parse().map(Self::Processes);
        }
        if looks_like_address(bare) {
            return cidr(bare).map(Self::Cidr).map_err(|error| error.shifted(from));
        }
        text.parse().map(Self::Selector)
    }
}

/// Labels begin with a letter and have no colon before their `=`, so the two never meet.
fn looks_like_address(text: &str) -> bool {
    let colons = text.bytes().filter(|b| *b == b':').count();
    text.starts_with(|c: char| c.is_ascii_digit())
        || text.contains("::")
        || (colons >= 2 && text.bytes().all(|b| b.is_ascii_hexdigit() || b":./".contains(&b)))
}

fn cidr(text: &str) -> Result<IpNet, PeerError> {
    let whole = 0..text.len();
    let net = match text.split_once('/') {
        None => match text.parse::<IpAddr>() {
            Ok(address) => return unmapped(text, IpNet::from(address)),
            Err(_) => return Err(parse_error(format!("`{text}` is not an IP address"), whole)),
        },
        Some((address, prefix)) => {
            let Ok(parsed) = address.parse::<IpAddr>() else {
                let message = format!("`{address}` is not an IP address");
                return Err(parse_error(message, 0..address.len()));
            };
            let most = if parsed.is_ipv4() { 32 } else { 128 };
            let length =
                prefix.parse::<u8>().ok().filter(|_| prefix.bytes().all(|b| b.is_ascii_digit()));
            let Some(net) = length.and_then(|length| IpNet::new(parsed, length).ok()) else {
                let message = format!("`{prefix}` is not a prefix length from 0 to {most}");
                return Err(parse_error(message, address.len() + 1..text.len()));
            };
            net
        }
    };
    if net.addr() != net.network() {
        let message = format!("`{text}` has bits set after its prefix");
        return Err(
            parse_error(message, whole).with_hint(format!("the network is {}", net.trunc()))
        );
    }
    unmapped(text, net)
}

/// Refuses IPv6 texts that stand for IPv4 (`::ffff:0:0/96`): no packet carries such an address, and the tables keep IPv4
/// there, so that the range would be another one's.
fn unmapped(text: &str, net: IpNet) -> Result<IpNet, PeerError> {
    let IpNet::V6(v6) = net else { return Ok(net) };
    let Some((v4, length)) = v6.network().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96))
    else {
        return Ok(net);
    };
    let message = format!("`{text}` stands for IPv4 addresses");
    let instead = if length == 32 { v4.to_string() } else { format!("{v4}/{length}") };
    Err(parse_error(message, 0..text.len()).with_hint(format!("write {instead}")))
}

impl Serialize for Peer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Peer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_prints_as_it_is_written() {
        for text in [
            "app=web, tier=front",
            "10.0.0.0/8",
            "192.0.2.7",
            "fd00::/8",
            "::/0",
            "2001:db8::1",
            "host",
            "any",
        ] {
            let peer: Peer = text.parse().expect(text);
            assert_eq!(peer.to_string(), text);
        }
        assert_eq!("abcd::/16".parse::<Peer>().expect("cidr").to_string(), "abcd::/16");
    }

    #[test]
    fn bad_ranges_are_explained() {
        let text = |text: &str| {
            let error = text.parse::<Peer>().expect_err(text);
            format!(
                "{}..{} {} {}",
                error.at.start,
                error.at.end,
                error.message,
                error.hint.unwrap_or_default()
            )
        };
        insta::assert_snapshot!(text("10.0.0.1/8"), @"0..10 `10.0.0.1/8` has bits set after its prefix the network is 10.0.0.0/8");
        insta::assert_snapshot!(text("10.0.0.0/33"), @"9..11 `33` is not a prefix length from 0 to 32");
        insta::assert_snapshot!(text("::ffff:10.0.0.0/104"), @"0..19 `::ffff:10.0.0.0/104` stands for IPv4 addresses write 10.0.0.0/8");
        insta::assert_snapshot!(text("::ffff:c000:207"), @"0..15 `::ffff:c000:207` stands for IPv4 addresses write 192.0.2.7");
        insta::assert_snapshot!(text("10.0.0"), @"0..6 `10.0.0` is not an IP address");
        insta::assert_snapshot!(text("fd00::/+8"), @"7..9 `+8` is not a prefix length from 0 to 128");
        insta::assert_snapshot!(text("world, app=web"), @"0..5 `world` stands alone, it is not part of a selector write it as an entry of its own: [world, app=web]");
    }
}
