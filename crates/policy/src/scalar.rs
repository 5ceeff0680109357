//! The single values of the file: what each accepts, how its mistakes read, what the schema says.

mod border;
mod clock;
mod kubernetes;
mod place;
mod program;
mod publish;
mod statement;
mod until;
mod vlan;

use std::net::IpAddr;

use ipnet::IpNet;
use model::{
    LabelError, LabelKey, LabelValue, Mode, Name, NameError, ParseError, Peer, PortRange, PortSpec,
    Posture, Transport,
};
use schemars::{Schema, json_schema};

use crate::codes::Code;
use crate::decode::{FromText, habits};
use crate::document::Restart;
use crate::nearest::did_you_mean;
use crate::tree::Value;

pub(crate) use border::{Border, Group};
pub(crate) use clock::{Days, Hours, Zone};
pub(crate) use kubernetes::{ContainerPort, ContainerPortName, NamespaceIs};
pub use place::mac;
pub(crate) use place::{DockerNetwork, InterfaceName, MacAddress};
pub(crate) use program::{AbsolutePath, Argument, EnvKey, EnvValue, SchemaAddress, VariableName};
pub(crate) use publish::{Flows, Owner};
pub(crate) use statement::Statement;
pub(crate) use until::Until;
pub(crate) use vlan::VlanId;

const NAME_PATTERN: &str = "^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$";

fn whole(message: impl Into<String>, text: &str) -> ParseError {
    ParseError::new(message, 0..text.len())
}

/// One of a few words.
fn word<T: Copy>(text: &str, what: &str, words: &[(&str, T)]) -> Result<T, ParseError> {
    if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
        return Ok(*value);
    }
    let all: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    let mut error = whole(format!("`{text}` is not {what}"), text);
    error.hint =
        did_you_mean(text, all.iter().copied()).or(Some(format!("known: {}", all.join(", "))));
    Err(error)
}

impl FromText for Name {
    const CODE: Code = Code::Name;
    const WHAT: &'static str = "a name";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        Self::new(text).map_err(|error| {
            let at = match &error {
                NameError::BadCharacter { at, found } => *at..*at + found.len_utf8(),
                NameError::Empty | NameError::TooLong { .. } => 0..text.len(),
            };
            ParseError::new(error.to_string(), at).with_hint(
                "names are lower-case letters, digits and dashes, and begin with a letter",
            )
        })
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": NAME_PATTERN })
    }
}

fn label_error(error: &LabelError, text: &str) -> ParseError {
    let at = match error {
        LabelError::BadCharacter { at, found, .. } => *at..*at + found.len_utf8(),
        _ => 0..text.len(),
    };
    ParseError::new(error.to_string(), at)
}

impl FromText for LabelKey {
    const CODE: Code = Code::Label;
    const WHAT: &'static str = "a label key";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        Self::new(text).map_err(|error| label_error(&error, text))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Za-z]([A-Za-z0-9._/-]*[A-Za-z0-9])?$", "maxLength": 317 })
    }
}

impl FromText for LabelValue {
    const CODE: Code = Code::Label;
    const WHAT: &'static str = "a label value";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        Self::new(text).map_err(|error| label_error(&error, text))
    }

    fn schema() -> Schema {
        json_schema!({ "type": ["string", "number", "boolean"] })
    }

    fn instead_of(value: &Value<'_>) -> Option<String> {
        Some(match value {
            Value::Null => "write \"\" for an empty value".to_owned(),
            _ => "a label has one value; another label says another thing".to_owned(),
        })
    }
}

impl FromText for Peer {
    const CODE: Code = Code::Selector;
    const WHAT: &'static str = "a selector in one string";

    fn code(text: &str) -> Code {
        let address =
            text.contains("::") || text.trim_start().starts_with(|c: char| c.is_ascii_digit());
        if address { Code::Address } else { Self::CODE }
    }

    fn from_text(text: &str) -> Result<Self, ParseError> {
        if habits::is_part_of_host(text) {
            return text.parse().map(Self::Processes);
        }
        text.parse().map_err(|error: ParseError| match habits::instead_of_peer(text) {
            Some(hint) if error.hint.is_none() => error.with_hint(hint),
            _ if text.contains(" or ") || text.contains("||") => {
                error.with_hint("alternatives are a list: [app=web, role=ops]")
            }
            _ => error,
        })
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "examples": ["app=web", "app=api, tier in (front, edge)", "segment=data", "10.0.0.0/8", "world", "host", "any"],
        })
    }

    fn instead_of(value: &Value<'_>) -> Option<String> {
        let Value::Map(entries) = value else { return None };
        let mut terms: Vec<String> = Vec::new();
        for (key, node) in entries {
            match &node.value {
                Value::Scalar(scalar) if key.text == "cidr" => terms.push(scalar.text.to_string()),
                Value::Scalar(scalar) => terms.push(format!("{}={}", key.text, scalar.text)),
                // `matchLabels: { app: web }`, `podSelector: ..`, `ipBlock: { cidr: .. }`
                inner @ Value::Map(_) => terms.extend(Self::instead_of(inner).and_then(|inner| {
                    let inner = inner.strip_prefix("write \"")?.strip_suffix('"')?;
                    Some(inner.to_owned())
                })),
                _ => terms.push(key.text.clone().into_owned()),
            }
        }
        Some(format!("write \"{}\"", terms.join(", ")))
    }
}

/// A port, or the name of one or several defined under `ports:`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PortWord {
    Spec(PortSpec),
    Named(Name),
}

/// The error with the hint for what is probably meant, if that is known.
fn better(error: ParseError, text: &str) -> ParseError {
    match habits::instead_of_port(text) {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

impl FromText for PortWord {
    const CODE: Code = Code::Port;
    const WHAT: &'static str = "a port";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        match text.parse() {
            Ok(spec) => Ok(Self::Spec(spec)),
            Err(error) => match Name::new(text) {
                Ok(name) => Ok(Self::Named(name)),
                Err(_) => Err(better(error, text)),
            },
        }
    }

    fn instead_of(value: &Value<'_>) -> Option<String> {
        let Value::Map(entries) = value else { return None };
        let word = |wanted: &str| {
            entries.iter().find(|(key, _)| key.text == wanted).and_then(|(_, node)| {
                match &node.value {
                    Value::Scalar(scalar) => Some(scalar.text.to_ascii_lowercase()),
                    _ => None,
                }
            })
        };
        let port = word("port").or_else(|| word("ports"))?;
        Some(format!("write {port}/{}", word("protocol").unwrap_or_else(|| "tcp".to_owned())))
    }

    fn listed(text: &str) -> String {
        let text = if matches!(text, "true" | "all" | "*" | "yes") { "any" } else { text };
        format!("[{text}]")
    }

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "minLength": 1,
            "examples": ["80/tcp", "8000-8999/tcp", "53/udp", "icmp/echo-request", "icmp/3/4", "tcp", "any", "postgres"],
        })
    }
}

impl FromText for PortRange {
    const CODE: Code = Code::Port;
    const WHAT: &'static str = "a port or range";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        text.parse()
    }

    fn schema() -> Schema {
        json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 0, "maximum": 65535 },
            { "type": "string", "pattern": "^[0-9]+(-[0-9]+)?$" },
        ] })
    }
}

impl FromText for IpNet {
    const CODE: Code = Code::Address;
    const WHAT: &'static str = "a subnet";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        if !text.contains('/') {
            return Err(whole(format!("`{text}` has no prefix length"), text)
                .with_hint("write a subnet such as 10.0.1.0/24"));
        }
        match text.parse::<Peer>() {
            Ok(Peer::Cidr(net)) => Ok(net),
            Err(error) if error.message.starts_with('`') => Err(error),
            Ok(_) | Err(_) => Err(whole(format!("`{text}` is not a subnet"), text)),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9a-fA-F.:]+/[0-9]+$", "examples": ["10.0.1.0/24", "fd00:5::/48"] })
    }
}

impl FromText for IpAddr {
    const CODE: Code = Code::Address;
    const WHAT: &'static str = "an address";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let address: Self =
            text.parse().map_err(|_| whole(format!("`{text}` is not an IP address"), text))?;
        // Refuses what only stands for an address of IPv4, in the words of selectors.
        text.parse::<Peer>().map(|_| address)
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "anyOf": [{ "format": "ipv4" }, { "format": "ipv6" }] })
    }
}

impl FromText for Mode {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "a mode";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        if text == "audit" {
            return Err(whole("`audit` is not the mode of a network", text)
                .with_hint("write audit: { ingress: true, egress: true } beside it"));
        }
        word(text, "a mode", &Self::ALL.map(|mode| (mode.as_str(), mode)))
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["nat", "bridge", "routed", "host", "macvlan", "none"], "default": "bridge" })
    }
}

impl FromText for Posture {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "a posture";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        word(text, "a posture", &Self::ALL.map(|posture| (posture.as_str(), posture)))
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["deny", "audit", "allow"] })
    }
}

/// A small enumeration of the file: words and what they mean.
macro_rules! words {
    ($(#[$doc:meta])* $type:ident, $what:literal, $default:literal: $($word:literal => $variant:ident),+) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $type { $($variant),+ }

        impl FromText for $type {
            const CODE: Code = Code::Value;
            const WHAT: &'static str = $what;

            fn from_text(text: &str) -> Result<Self, ParseError> {
                word(text, $what, &[$(($word, Self::$variant)),+])
            }

            fn schema() -> Schema {
                json_schema!({ "enum": [$($word),+], "default": $default })
            }
        }
    };
}

words! {
    /// Whether a policy drops or records.
    PolicyMode, "a policy mode", "enforce": "enforce" => Enforce, "audit" => Audit
}

/// Whether something holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Switch {
    On,
    Off,
}

impl FromText for Switch {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "`true` or `false`";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let meant = match text {
            "audit" => "write `true` to audit",
            "yes" | "on" => "write `true`",
            "no" | "off" => "write `false`",
            "enforce" | "deny" => "write `false` to enforce",
            _ => "write `true` or `false`",
        };
        word(text, Self::WHAT, &[("true", Self::On), ("false", Self::Off)])
            .map_err(|error| error.with_hint(meant))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

/// A prepared set of postures; there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sealed;

impl FromText for Sealed {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "a profile";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        word(text, "a profile", &[("sealed", Self)])
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["sealed"] })
    }
}

impl FromText for Restart {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "a restart policy";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        word(
            text,
            "a restart policy",
            &[("always", Self::Always), ("on-failure", Self::OnFailure), ("no", Self::No)],
        )
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["always", "on-failure", "no"], "default": "on-failure" })
    }
}

/// The version of the format; there is one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version;

impl FromText for Version {
    const CODE: Code = Code::Version;
    const WHAT: &'static str = "the version";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        match text {
            "1" => Ok(Self),
            _ => Err(whole(format!("version {text} of the file format is not known"), text)
                .with_hint("write `bulkhead: 1`")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "const": 1 })
    }
}

/// A segment, with its network when the name alone is not enough.
#[derive(Debug, Clone)]
pub(crate) struct SegmentRef {
    pub(crate) network: Option<Name>,
    pub(crate) segment: Name,
}

impl FromText for SegmentRef {
    const CODE: Code = Code::Name;
    const WHAT: &'static str = "a segment";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        match text.split_once('/') {
            None => Name::from_text(text).map(|segment| Self { network: None, segment }),
            Some((network, segment)) => Ok(Self {
                network: Some(Name::from_text(network)?),
                segment: Name::from_text(segment)
                    .map_err(|error| error.shifted(network.len() + 1))?,
            }),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9-]+(/[a-z0-9-]+)?$", "examples": ["front", "main/front"] })
    }
}

/// One port of the host.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostPort {
    pub(crate) transport: Transport,
    pub(crate) port: u16,
}

/// `80:80`: both ports of a published one in one text.
fn published(error: ParseError, text: &str) -> ParseError {
    let number = |text: &str| text.parse::<u16>().is_ok();
    match text.rsplit_once(':') {
        Some((host, workload)) if number(workload) => {
            let host = host.rsplit(':').next().unwrap_or(host);
            error.with_hint(format!("write port: {host}/tcp, to: WORKLOAD:{workload}"))
        }
        _ => better(error, text),
    }
}

impl FromText for HostPort {
    const CODE: Code = Code::Port;
    const WHAT: &'static str = "a port";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        match text.parse::<PortSpec>().map_err(|error| published(error, text))? {
            PortSpec::Ports(transport, range)
                if range.first() == range.last() && range.first() > 0 =>
            {
                Ok(Self { transport, port: range.first() })
            }
            _ => Err(whole("exactly one port can be published", text)
                .with_hint("write for example 443/tcp")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]+/(tcp|udp|sctp)$", "examples": ["443/tcp"] })
    }
}

/// Where a published port leads.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) workload: Name,
    pub(crate) port: u16,
}

impl FromText for Target {
    const CODE: Code = Code::Port;
    const WHAT: &'static str = "`workload:port`";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let Some((workload, port)) = text.rsplit_once(':') else {
            return Err(whole("the port of the workload is missing", text)
                .with_hint(format!("write {text}:8080")));
        };
        let at = workload.len() + 1;
        let workload = Name::from_text(workload)?;
        match port.parse::<PortRange>() {
            Ok(range) if range.first() == range.last() && range.first() > 0 => {
                Ok(Self { workload, port: range.first() })
            }
            _ => Err(ParseError::new(
                format!("`{port}` is not a port from 1 to 65535"),
                at..text.len(),
            )
            .with_hint("the protocol is that of `port`: write for example web:8443")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9-]+:[0-9]+$", "examples": ["web:8443"] })
    }
}

/// For whom a published port exists.
#[derive(Debug, Clone)]
pub(crate) enum PublishSource {
    World,
    Net(IpNet),
    /// The host, where somebody else publishes.
    Host,
    /// A set, which is to have nothing but CIDRs.
    Set(Peer),
}

impl FromText for PublishSource {
    const CODE: Code = Code::Address;
    const WHAT: &'static str = "`world` or a CIDR";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        match text.parse::<Peer>() {
            Ok(Peer::World) => Ok(Self::World),
            Ok(Peer::Cidr(net)) => Ok(Self::Net(net)),
            Ok(Peer::Host) => Ok(Self::Host),
            Ok(peer) if crate::check::names_set(&peer).is_some() => Ok(Self::Set(peer)),
            Ok(_) => Err(whole("a published port is limited to `world` or to CIDRs", text)
                .with_hint("who may connect is decided by policies; this only narrows where the port exists")),
            Err(error) => Err(error),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "examples": ["world", "198.51.100.0/24"] })
    }
}
