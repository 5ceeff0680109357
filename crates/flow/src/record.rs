//! One flow event with everything resolved.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use model::RuleRef;
use serde::{Deserialize, Serialize};
use verdict::abi::Mac;
use verdict::{Reason, packet};

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The first packet of a flow passed.
    Open,
    /// A packet was dropped.
    Drop,
    /// A flow ended.
    Close,
}

/// What was decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Decision {
    /// It passed.
    Allow,
    /// It was dropped.
    Drop,
    /// It passed, and would have been dropped.
    Audit,
}

impl Decision {
    /// `allow`, `drop` or `audit`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Drop => "drop",
            Self::Audit => "audit",
        }
    }
}

/// The protocol of a packet, address resolution included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// IPv4 or IPv6 with this protocol number.
    Ip(u8),
    /// ARP.
    Arp,
    /// Another `EtherType`, or a frame that could not be read.
    Frame(u16),
}

impl Protocol {
    /// Whether it has ports.
    #[must_use]
    pub fn has_ports(self) -> bool {
        use packet::protocol::{SCTP, TCP, UDP};
        matches!(self, Self::Ip(TCP | UDP | SCTP))
    }

    /// Whether it is ICMP of either family.
    #[must_use]
    pub fn is_icmp(self) -> bool {
        matches!(self, Self::Ip(packet::protocol::ICMP | packet::protocol::ICMPV6))
    }
}

/// `tcp`, `icmp6`, `ip/47`, `arp`, `ethertype 0x88cc`.
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Ip(number) => fmt::Display::fmt(&model::Proto::from_number(number), f),
            Self::Arp => f.pad("arp"),
            Self::Frame(ethertype) => f.pad(&format!("ethertype {ethertype:#06x}")),
        }
    }
}

/// One end of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Its address; unspecified when the packet had none.
    pub address: IpAddr,
    /// Its port; 0 for protocols without ports.
    pub port: u16,
    /// The workload that it is, `<tenant>.<workload>`.
    pub workload: Option<Arc<str>>,
    /// The workload that owns the address, when that is another one: a forged source.
    pub owner: Option<Arc<str>>,
    /// The identity's number when it was judged, else 0.
    pub identity: u64,
    /// The identity in words: `app=web`, `world`, a CIDR.
    pub identity_text: Option<Arc<str>>,
}

/// One flow event. Its serialized form is for storing, and names the reason by its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Given by the ring, from 1; 0 before that.
    pub number: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What it is about.
    pub kind: Kind,
    /// What was decided.
    pub decision: Decision,
    /// Why it was dropped or would have been; [`Reason::None`] otherwise.
    #[serde(with = "reason")]
    pub reason: Reason,
    /// The rule that decided; `None` for a default.
    pub rule: Option<RuleRef>,
    /// Number of the rule that decided; may be unknown to the resolver by now.
    pub rule_id: u32,
    /// The network, `<tenant>.<network>`.
    pub network: Arc<str>,
    /// The workload at whose endpoint it happened, `<tenant>.<workload>`.
    pub endpoint: Option<Arc<str>>,
    /// Who opened it, or sent the packet.
    pub source: End,
    /// To whom.
    pub target: End,
    /// The protocol.
    pub protocol: Protocol,
    /// ICMP: type and code.
    pub icmp: Option<[u8; 2]>,
    /// Whether the target's side decided.
    pub ingress: bool,
    /// The source MAC address that the packet claimed.
    pub mac: Mac,
    /// The low half of the epoch that it was judged under.
    pub epoch: u32,
    /// How many events it stands for, at least 1.
    pub repeats: u64,
    /// The first of them, when there are more.
    pub since: Option<Timestamp>,
    /// `[packets, bytes]` from the originator, then from the responder.
    pub counts: Option<[[u64; 2]; 2]>,
    /// How long the flow lived, in milliseconds; ended flows only.
    pub duration_ms: Option<u64>,
}

/// A reason as its number.
mod reason {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;
    use verdict::Reason;

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "the shape that serde asks for")]
    pub(super) fn serialize<S: Serializer>(reason: &Reason, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(reason.code())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Reason, D::Error> {
        let code = u8::deserialize(from)?;
        Reason::from_code(code).ok_or_else(|| D::Error::custom("an unknown reason"))
    }
}

impl Record {
    /// `6379/tcp`, `icmp/8/0`, `arp`.
    #[must_use]
    pub fn service(&self) -> String {
        match self.icmp {
            Some([kind, code]) => format!("{}/{kind}/{code}", self.protocol),
            None if self.protocol.has_ports() => format!("{}/{}", self.target.port, self.protocol),
            None => self.protocol.to_string(),
        }
    }
}
