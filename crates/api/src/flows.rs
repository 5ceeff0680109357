//! Flow records as the API carries them, and lines of a workload's log.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{Reason, RuleAt, Verdict};

/// What a record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum FlowKind {
    /// The first packet of a flow passed.
    Open,
    /// One or more packets were dropped.
    Drop,
    /// A flow ended.
    Close,
}

/// One flow event. One line of the NDJSON stream of `GET /v1/flows?follow=true`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Flow {
    /// Its number since the agent started; grows by one per record.
    pub number: u64,
    /// When, RFC 3339 with milliseconds. For merged drops: the newest.
    pub time: String,
    /// What the record is about.
    pub kind: FlowKind,
    /// What was decided.
    pub verdict: Verdict,
    /// Why it was dropped, or would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// The rule that decided; absent when a default did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAt>,
    /// The scope whose `audit:` let it pass, as far as it is still in force: `the node`, `tenant shop`, ….
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// The network, `<tenant>.<network>`.
    pub network: String,
    /// Who opened it, or sent the packet.
    pub source: FlowEnd,
    /// To whom.
    pub target: FlowEnd,
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmp6`, `arp`, `ip/NN`.
    pub protocol: String,
    /// ICMP: type and code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub icmp: Option<[u8; 2]>,
    /// `egress` when the source's endpoint decided, `ingress` when the target's did.
    pub direction: String,
    /// How many events like it this record stands for.
    pub repeats: u64,
    /// Since when it repeats, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Packets and bytes from the originator, then from the responder; flows only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<[[u64; 2]; 2]>,
    /// How long the flow lived, in milliseconds; ended flows only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// The same as a person reads it.
    pub line: FlowLine,
}

/// One end of a flow.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct FlowEnd {
    /// Its address.
    pub address: String,
    /// Its port, for protocols that have ports.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// The workload, `<tenant>.<workload>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// The identity in words: `app=web`, `world`, `host`, a CIDR.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
}

/// The cells of one line of `bulkhead observe`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct FlowLine {
    /// `10:04:11.482`, in UTC.
    pub time: String,
    /// `drop`, `allow`, `audit`, `close`.
    pub verdict: String,
    /// `shop/scanner:51544`.
    pub source: String,
    /// `shop/db:6379/tcp`, or `shop/web   arp`.
    pub target: String,
    /// `default deny`, `web-to-db shop.yaml:24:5`, `spoofed: …`.
    pub because: String,
    /// `BH-D002`, or nothing.
    pub code: String,
    /// `×128`, or nothing.
    pub repeats: String,
}

/// Query of `GET /v1/flows`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct FlowQuery {
    /// Only from this workload (`shop/web`, `shop.web`, `web`), address, prefix, or identity (`world`, `app=web`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only to this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Only `allow`, `drop` or `audit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// At most this many of the newest records (default 100; more than 10,000 are refused).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
    /// Go on with every new record as NDJSON until the caller hangs up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
}

/// Query of `GET /v1/logs/{id}`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct LogQuery {
    /// Go on with every new line until the caller hangs up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
    /// Start with the newest lines, this many (default: everything that is kept).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lines: Option<u32>,
}

/// A line that a workload wrote. One line of the NDJSON stream of `GET /v1/logs/{id}`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// The line without its newline; bytes that are not UTF-8 are replaced.
    pub text: String,
}
