//! What a native file says to Kubernetes policies beside it: what a namespace is, and named ports of workloads.

use model::{ParseError, PortSpec, Transport};
use schemars::{Schema, json_schema};

use super::{whole, word};
use crate::codes::Code;
use crate::decode::FromText;

/// What a namespace is: a tenant or a segment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NamespaceIs {
    pub(crate) is_segment: bool,
}

impl FromText for NamespaceIs {
    const CODE: Code = Code::Value;
    const WHAT: &'static str = "tenant or segment";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let words =
            [("tenant", Self { is_segment: false }), ("segment", Self { is_segment: true })];
        word(text, "what a namespace can be", &words)
    }

    fn schema() -> Schema {
        json_schema!({ "enum": ["tenant", "segment"], "default": "tenant" })
    }
}

/// The name of a port of a container: at most 15 lower-case letters, digits and dashes, at least one letter (RFC 6335,
/// section 5.1).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ContainerPortName(String);

impl ContainerPortName {
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromText for ContainerPortName {
    const CODE: Code = Code::Name;
    const WHAT: &'static str = "the name of a port";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        let is_fine = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let has_letter = text.bytes().any(|b| b.is_ascii_lowercase());
        if text.len() <= 15 && has_letter && text.bytes().all(is_fine) {
            return Ok(Self(text.to_owned()));
        }
        Err(whole(format!("`{text}` is not the name of a port"), text)
            .with_hint("at most 15 lower-case letters, digits and dashes, for example http"))
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[a-z0-9-]{1,15}$" })
    }
}

/// One port of a workload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ContainerPort {
    pub(crate) transport: Transport,
    pub(crate) port: u16,
}

impl FromText for ContainerPort {
    const CODE: Code = Code::Port;
    const WHAT: &'static str = "a port";

    fn from_text(text: &str) -> Result<Self, ParseError> {
        match text.parse::<PortSpec>()? {
            PortSpec::Ports(transport, range)
                if range.first() == range.last() && range.first() > 0 =>
            {
                Ok(Self { transport, port: range.first() })
            }
            _ => Err(whole("a name stands for exactly one port", text)
                .with_hint("write for example 8080/tcp")),
        }
    }

    fn schema() -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{1,5}/(tcp|udp|sctp)$" })
    }
}
