//! icmp types by name, for IPv4 and IPv6 together, and by number for one of them.
//!
//! Numbers: IANA "ICMP Type Numbers" (RFC 792 and later) and "`ICMPv6` type Numbers" (RFC 4443, RFC 4861).

use std::fmt;

use super::{PortError, Proto};
use crate::selector::parse_error;

/// Which icmp messages a port spec means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IcmpMatch {
    /// `icmp`: every type of both versions.
    All,
    /// `icmp/echo-request`: the type of that name in each version that has it.
    Named(IcmpName),
    /// `icmp/3` or `icmp/3/4`: `ICMPv4` type and code.
    V4(u8, Option<u8>),
    /// `icmp6/2` or `icmp6/2/0`: `ICMPv6` type and code.
    V6(u8, Option<u8>),
}

/// What an [`IcmpMatch`] covers in one version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IcmpCover {
    /// Every type and code.
    All,
    /// One type with every code.
    Type(u8),
    /// One type and one code.
    Code(u8, u8),
}

/// A name for a type of `ICMPv4`, `ICMPv6` or both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IcmpName {
    /// 8 / 128.
    EchoRequest,
    /// 0 / 129.
    EchoReply,
    /// 3 / 1.
    DestinationUnreachable,
    /// 3 code 4 / 2: what path MTU discovery needs.
    PacketTooBig,
    /// 11 / 3.
    TimeExceeded,
    /// 12 / 4.
    ParameterProblem,
    /// 5 / 137.
    Redirect,
    /// 10 / 133.
    RouterSolicitation,
    /// 9 / 134.
    RouterAdvertisement,
    /// 135 in IPv6 only.
    NeighbourSolicitation,
    /// 136 in IPv6 only.
    NeighbourAdvertisement,
    /// 13 in IPv4 only.
    TimestampRequest,
    /// 14 in IPv4 only.
    TimestampReply,
}

impl IcmpName {
    /// Every name.
    pub const ALL: [Self; 13] = [
        Self::EchoRequest,
        Self::EchoReply,
        Self::DestinationUnreachable,
        Self::PacketTooBig,
        Self::TimeExceeded,
        Self::ParameterProblem,
        Self::Redirect,
        Self::RouterSolicitation,
        Self::RouterAdvertisement,
        Self::NeighbourSolicitation,
        Self::NeighbourAdvertisement,
        Self::TimestampRequest,
        Self::TimestampReply,
    ];

    /// The word in the file, what it covers in IPv4, what it covers in IPv6.
    fn row(self) -> (&'static str, Option<IcmpCover>, Option<IcmpCover>) {
        use IcmpCover::{Code, Type};
        match self {
            Self::EchoRequest => ("echo-request", Some(Type(8)), Some(Type(128))),
            Self::EchoReply => ("echo-reply", Some(Type(0)), Some(Type(129))),
            Self::DestinationUnreachable => {
                ("destination-unreachable", Some(Type(3)), Some(Type(1)))
            }
            Self::PacketTooBig => ("packet-too-big", Some(Code(3, 4)), Some(Type(2))),
            Self::TimeExceeded => ("time-exceeded", Some(Type(11)), Some(Type(3))),
            Self::ParameterProblem => ("parameter-problem", Some(Type(12)), Some(Type(4))),
            Self::Redirect => ("redirect", Some(Type(5)), Some(Type(137))),
            Self::RouterSolicitation => ("router-solicitation", Some(Type(10)), Some(Type(133))),
            Self::RouterAdvertisement => ("router-advertisement", Some(Type(9)), Some(Type(134))),
            Self::NeighbourSolicitation => ("neighbour-solicitation", None, Some(Type(135))),
            Self::NeighbourAdvertisement => ("neighbour-advertisement", None, Some(Type(136))),
            Self::TimestampRequest => ("timestamp-request", Some(Type(13)), None),
            Self::TimestampReply => ("timestamp-reply", Some(Type(14)), None),
        }
    }

    /// The word in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().0
    }
}

impl IcmpMatch {
    /// What is covered of `ICMPv4`, if anything.
    #[must_use]
    pub fn v4(self) -> Option<IcmpCover> {
        match self {
            Self::All => Some(IcmpCover::All),
            Self::Named(name) => name.row().1,
            Self::V4(kind, code) => Some(IcmpCover::of(kind, code)),
            Self::V6(..) => None,
        }
    }

    /// What is covered of `ICMPv6`, if anything.
    #[must_use]
    pub fn v6(self) -> Option<IcmpCover> {
        match self {
            Self::All => Some(IcmpCover::All),
            Self::Named(name) => name.row().2,
            Self::V6(kind, code) => Some(IcmpCover::of(kind, code)),
            Self::V4(..) => None,
        }
    }

    /// Whether a message with `type << 8 | code` matches.
    #[must_use]
    pub fn matches(self, proto: Proto, type_and_code: u16) -> bool {
        let cover = match proto {
            Proto::Icmp => self.v4(),
            Proto::Icmp6 => self.v6(),
            _ => None,
        };
        let [kind, code] = type_and_code.to_be_bytes();
        cover.is_some_and(|cover| cover.covers(IcmpCover::Code(kind, code)))
    }

    pub(super) fn covers(self, other: Self) -> bool {
        let inside = |wide: Option<IcmpCover>, narrow: Option<IcmpCover>| match (wide, narrow) {
            (_, None) => true,
            (Some(wide), Some(narrow)) => wide.covers(narrow),
            (None, Some(_)) => false,
        };
        inside(self.v4(), other.v4()) && inside(self.v6(), other.v6())
    }

    pub(super) fn overlaps(self, other: Self) -> bool {
        let meet = |one: Option<IcmpCover>, two: Option<IcmpCover>| {
            one.zip(two).is_some_and(|(one, two)| one.covers(two) || two.covers(one))
        };
        meet(self.v4(), other.v4()) || meet(self.v6(), other.v6())
    }
}

impl IcmpCover {
    fn of(kind: u8, code: Option<u8>) -> Self {
        code.map_or(Self::Type(kind), |code| Self::Code(kind, code))
    }

    fn covers(self, other: Self) -> bool {
        match (self, other) {
            (Self::All, _) => true,
            (Self::Type(a), Self::Type(b) | Self::Code(b, _)) => a == b,
            (Self::Code(..), Self::Code(..)) => self == other,
            _ => false,
        }
    }
}

impl fmt::Display for IcmpMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("icmp"),
            Self::Named(name) => write!(f, "icmp/{}", name.as_str()),
            Self::V4(kind, None) => write!(f, "icmp/{kind}"),
            Self::V4(kind, Some(code)) => write!(f, "icmp/{kind}/{code}"),
            Self::V6(kind, None) => write!(f, "icmp6/{kind}"),
            Self::V6(kind, Some(code)) => write!(f, "icmp6/{kind}/{code}"),
        }
    }
}

/// Parses what begins with `icmp` or `icmp6`; `None` for everything else.
pub(super) fn parse(text: &str) -> Option<Result<IcmpMatch, PortError>> {
    if text == "icmp" {
        return Some(Ok(IcmpMatch::All));
    }
    if let Some(rest) = text.strip_prefix("icmp6/") {
        return Some(numbers(rest, 6).map(|(kind, code)| IcmpMatch::V6(kind, code)));
    }
    let rest = text.strip_prefix("icmp/")?;
    if let Some(name) = IcmpName::ALL.into_iter().find(|name| name.as_str() == rest) {
        return Some(Ok(IcmpMatch::Named(name)));
    }
    if rest.starts_with(|c: char| c.is_ascii_digit()) {
        return Some(numbers(rest, 5).map(|(kind, code)| IcmpMatch::V4(kind, code)));
    }
    let known: Vec<_> = IcmpName::ALL.into_iter().map(IcmpName::as_str).collect();
    Some(Err(parse_error(format!("`{rest}` is not an icmp type"), 5..text.len())
        .with_hint(format!("known: {}, or a number such as icmp/3/4", known.join(", ")))))
}

fn numbers(text: &str, at: usize) -> Result<(u8, Option<u8>), PortError> {
    let number = |text: &str, what: &str, at: usize| {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<u8>().ok().filter(|_| digits).ok_or_else(|| {
            let message = format!("`{text}` is not an icmp {what} from 0 to 255");
            parse_error(message, at..at + text.len())
        })
    };
    match text.split_once('/') {
        None => Ok((number(text, "type", at)?, None)),
        Some((kind, code)) => {
            Ok((number(kind, "type", at)?, Some(number(code, "code", at + kind.len() + 1)?)))
        }
    }
}
