//! Protocol and port of a question, as people write them: `tcp/5432`, `5432/tcp`, `icmp`, `icmp/3/4`.

use api::{Error, codes};
use model::{IcmpCover, IcmpMatch, IcmpName, PortRange, PortSpec, Proto, Transport};

use crate::fault::refused;

/// What is asked about. ICMP is a number only together with a version of IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A port.
    Port(Transport, u16),
    /// A type of ICMP.
    Icmp(IcmpMatch),
}

impl Asked {
    /// Reads what people write.
    ///
    /// # Errors
    /// `BH0204` with an example.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let turned = text.split_once('/').map(|(one, other)| format!("{other}/{one}"));
        let specs = [Some(text), turned.as_deref()].into_iter().flatten();
        let known = specs.filter_map(|text| text.parse::<PortSpec>().ok()).find_map(Self::of);
        known.ok_or_else(|| {
            refused(codes::BAD_REQUEST, format!("`{text}` names no protocol and port"))
                .with_hint("write tcp/5432, udp/53, sctp/3868, icmp, or icmp/3/4")
        })
    }

    fn of(spec: PortSpec) -> Option<Self> {
        match spec {
            PortSpec::Ports(transport, range) if range == PortRange::single(range.first()) => {
                Some(Self::Port(transport, range.first()))
            }
            PortSpec::Icmp(IcmpMatch::All) => {
                Some(Self::Icmp(IcmpMatch::Named(IcmpName::EchoRequest)))
            }
            PortSpec::Icmp(icmp) => Some(Self::Icmp(icmp)),
            PortSpec::Ports(..) | PortSpec::Any => None,
        }
    }

    /// Protocol and destination port (ICMP: type and code) in a version of IP; `None` when it has no such thing.
    pub(crate) fn numbers(self, v6: bool) -> Option<(Proto, u16)> {
        let icmp = match self {
            Self::Port(transport, port) => return Some((transport.into(), port)),
            Self::Icmp(icmp) => icmp,
        };
        let (proto, cover) = if v6 { (Proto::Icmp6, icmp.v6()) } else { (Proto::Icmp, icmp.v4()) };
        let number = match cover? {
            IcmpCover::All => return None,
            IcmpCover::Type(kind) => u16::from_be_bytes([kind, 0]),
            IcmpCover::Code(kind, code) => u16::from_be_bytes([kind, code]),
        };
        Some((proto, number))
    }

    /// `5432/tcp`, `icmp/echo-request`.
    pub(crate) fn text(self) -> String {
        match self {
            Self::Port(transport, port) => format!("{port}/{transport}"),
            Self::Icmp(icmp) => icmp.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_orders_mean_the_same() {
        for text in ["tcp/5432", "5432/tcp"] {
            assert_eq!(Asked::parse(text).expect(text), Asked::Port(Transport::Tcp, 5432));
        }
        let ping = Asked::parse("icmp").expect("icmp");
        assert_eq!(ping.numbers(false), Some((Proto::Icmp, 8 << 8)));
        assert_eq!(ping.numbers(true), Some((Proto::Icmp6, 128 << 8)));
        assert_eq!(ping.text(), "icmp/echo-request");
        let too_big = Asked::parse("icmp/3/4").expect("icmp/3/4");
        assert_eq!(too_big.numbers(false), Some((Proto::Icmp, 0x0304)));
        assert_eq!(too_big.numbers(true), None);
    }

    #[test]
    fn ranges_and_nonsense_are_refused_with_an_example() {
        for text in ["tcp", "1-2/tcp", "any", "5432", ""] {
            let error = Asked::parse(text).expect_err(text);
            assert!(error.hint.is_some_and(|hint| hint.contains("tcp/5432")), "{text}");
        }
    }
}
