//! Protocols, port ranges and icmp types as policies name them: `80/tcp`, `8000-8999/udp`, `icmp/echo-request`, `any`.

mod icmp;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::selector::{ParseError, parse_error};

pub use icmp::{IcmpCover, IcmpMatch, IcmpName};

/// Why a text is not a [`PortSpec`] or [`PortRange`].
pub type PortError = ParseError;

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// TCP, protocol 6.
    Tcp,
    /// UDP, protocol 17.
    Udp,
    /// SCTP, protocol 132.
    Sctp,
}

/// The protocol of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Proto {
    /// TCP, protocol 6.
    Tcp,
    /// UDP, protocol 17.
    Udp,
    /// SCTP, protocol 132.
    Sctp,
    /// `ICMPv4`, protocol 1.
    Icmp,
    /// `ICMPv6`, protocol 58.
    Icmp6,
    /// Any other IP protocol: only `any` in a policy matches it.
    Other(u8),
}

/// An inclusive range of ports; `first <= last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// What a policy allows or denies on the destination's side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortSpec {
    /// Every protocol and port.
    Any,
    /// Destination ports of one protocol; all of them prints as the protocol alone.
    Ports(Transport, PortRange),
    /// Types of `ICMPv4` and `ICMPv6`.
    Icmp(IcmpMatch),
}

impl Transport {
    /// Every protocol with ports.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|transport| transport.as_str() == word)
    }
}

impl Proto {
    /// The protocol's number in the IP header.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Icmp => 1,
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Icmp6 => 58,
            Self::Sctp => 132,
            Self::Other(number) => number,
        }
    }

    /// The protocol with this number.
    #[must_use]
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::Icmp,
            6 => Self::Tcp,
            17 => Self::Udp,
            58 => Self::Icmp6,
            132 => Self::Sctp,
            other => Self::Other(other),
        }
    }

    /// The same protocol, if it has ports.
    #[must_use]
    pub fn transport(self) -> Option<Transport> {
        match self {
            Self::Tcp => Some(Transport::Tcp),
            Self::Udp => Some(Transport::Udp),
            Self::Sctp => Some(Transport::Sctp),
            Self::Icmp | Self::Icmp6 | Self::Other(_) => None,
        }
    }
}

impl From<Transport> for Proto {
    fn from(transport: Transport) -> Self {
        match transport {
            Transport::Tcp => Self::Tcp,
            Transport::Udp => Self::Udp,
            Transport::Sctp => Self::Sctp,
        }
    }
}

impl PortRange {
    /// All ports.
    pub const ALL: Self = Self { first: 0, last: u16::MAX };

    /// A range; `None` if `first > last`.
    #[must_use]
    pub fn new(first: u16, last: u16) -> Option<Self> {
        (first <= last).then_some(Self { first, last })
    }

    /// One port.
    #[must_use]
    pub fn single(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// The lowest port.
    #[must_use]
    pub fn first(self) -> u16 {
        self.first
    }

    /// The highest port.
    #[must_use]
    pub fn last(self) -> u16 {
        self.last
    }

    /// Whether the port is inside.
    #[must_use]
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether every port of `other` is inside.
    #[must_use]
    pub fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether the two have a port in common.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl PortSpec {
    /// Whether a flow with this protocol and destination port (icmp: type in the high byte, code in the low) matches.
    #[must_use]
    pub fn matches(&self, proto: Proto, port: u16) -> bool {
        match self {
            Self::Any => true,
            Self::Ports(transport, range) => {
                Proto::from(*transport) == proto && range.contains(port)
            }
            Self::Icmp(icmp) => icmp.matches(proto, port),
        }
    }

    /// Whether every flow that `other` matches is matched by this too.
    #[must_use]
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) => true,
            (Self::Ports(a, wide), Self::Ports(b, narrow)) => a == b && wide.covers(*narrow),
            (Self::Icmp(wide), Self::Icmp(narrow)) => wide.covers(*narrow),
            _ => false,
        }
    }

    /// Whether some flow is matched by both.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::Ports(a, one), Self::Ports(b, two)) => a == b && one.overlaps(*two),
            (Self::Icmp(one), Self::Icmp(two)) => one.overlaps(*two),
            _ => false,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Display for Proto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Icmp => f.pad("icmp"),
            Self::Icmp6 => f.pad("icmp6"),
            Self::Other(number) => f.pad(&format!("ip/{number}")),
            ported => f.pad(ported.transport().map_or("", Transport::as_str)),
        }
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any"),
            Self::Ports(transport, PortRange::ALL) => fmt::Display::fmt(transport, f),
            Self::Ports(transport, range) => write!(f, "{range}/{transport}"),
            Self::Icmp(icmp) => fmt::Display::fmt(icmp, f),
        }
    }
}

impl FromStr for PortRange {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first, 0)?, number(last, first.len() + 1)?),
            None => (number(text, 0)?, number(text, 0)?),
        };
        Self::new(first, last).ok_or_else(|| {
            parse_error(format!("the range {text} is empty"), 0..text.len())
                .with_hint(format!("did you mean {last}-{first}?"))
        })
    }
}

fn number(text: &str, at: usize) -> Result<u16, PortError> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    if text.is_empty() {
        return Err(parse_error("a port is missing here", at..at));
    }
    text.parse::<u16>().ok().filter(|_| digits).ok_or_else(|| {
        parse_error(format!("`{text}` is not a port from 0 to 65535"), at..at + text.len())
    })
}

impl FromStr for PortSpec {
    type Err = PortError;

    fn from_str(text: &str) -> Result<Self, PortError> {
        if text == "any" {
            return Ok(Self::Any);
        }
        if let Some(transport) = Transport::from_word(text) {
            return Ok(Self::Ports(transport, PortRange::ALL));
        }
        if let Some(icmp) = icmp::parse(text) {
            return icmp.map(Self::Icmp);
        }
        let Some((ports, proto)) = text.split_once('/') else {
            let error = parse_error(format!("`{text}` is not a port"), 0..text.len());
            return Err(if text.starts_with(|c: char| c.is_ascii_digit()) {
                error.with_hint(format!("name the protocol: {text}/tcp"))
            } else {
                error.with_hint("a port is 80/tcp, 8000-8999/udp, icmp/echo-request, tcp, any, or a name from `ports:`")
            });
        };
        if let (Some(_), true) = (Transport::from_word(ports), PortRange::from_str(proto).is_ok()) {
            return Err(parse_error("the port stands before the protocol", 0..text.len())
                .with_hint(format!("write {proto}/{ports}")));
        }
        let Some(transport) = Transport::from_word(proto) else {
            return Err(parse_error(
                format!("`{proto}` is not a protocol with ports"),
                ports.len() + 1..text.len(),
            )
            .with_hint("protocols with ports are tcp, udp and sctp"));
        };
        ports.parse().map(|range| Self::Ports(transport, range))
    }
}

macro_rules! serde_as_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(PortRange, PortSpec);

#[cfg(test)]
mod tests;
