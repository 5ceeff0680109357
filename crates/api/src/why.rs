//! Why a pair may talk or not. The JSON is a versioned schema of its own: `docs/reference/why.md`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Value of [`Why::schema`].
pub const WHY_SCHEMA: &str = "bulkhead.why/1";

/// Body of `POST /v1/why`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WhyRequest {
    /// Who opens the flow: a workload (`shop/web`, or `web` when only one tenant has it), `host`, `world`, or an address. Needed, as are
    /// `to` and `service`, unless `flow` is given.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub from: String,
    /// To whom.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub to: String,
    /// `tcp/5432`, `5432/tcp`, `icmp` (echo request), `icmp/3/4`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub service: String,
    /// Instead of these three: the number of a flow record, as `observe` shows it. Its addresses and ports are asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flow: Option<u64>,
    /// The source port; without one 49152, the first ephemeral port, is assumed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_port: Option<u16>,
    /// Whether the way of the packet is looked at too: links, routes, other firewalls, the service. Takes up to some seconds.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub walk: bool,
}

/// What is decided about a packet.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It passes.
    Allow,
    /// It is dropped.
    Drop,
    /// It passes, and is recorded as one that would have been dropped.
    Audit,
}

impl Verdict {
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

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Why something is dropped, or would have been.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Reason {
    /// `BH-Dnnn`.
    pub code: String,
    /// A few words: `default deny`.
    pub text: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

/// A rule and its place.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct RuleAt {
    /// Its number in tables and flow records.
    pub id: u32,
    /// The policy's own name.
    pub name: String,
    /// For example `tenants.shop.policies.web-to-db`.
    pub path: String,
    /// The file's name as it was given.
    pub file: String,
    /// 1-based line.
    pub line: u32,
    /// 1-based column, in characters.
    pub column: u32,
    /// `allow`, `deny` or `audit`.
    pub kind: String,
    /// The comment on the policy in the file: one line of at most 200 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// What kind of party an end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum PartyKind {
    /// A workload of this node.
    Workload,
    /// The host itself.
    Host,
    /// An address outside of every network.
    #[default]
    World,
    /// An address in a network's subnet that no workload owns.
    Unmanaged,
}

/// One end of the question, resolved.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Party {
    /// What it is.
    pub kind: PartyKind,
    /// As a person writes it: `shop/web`, `world`, `host`, an address.
    pub name: String,
    /// The address that was judged.
    pub address: String,
    /// The workload, `<tenant>.<workload>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// Its network, `<tenant>.<network>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// Its segment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment: Option<String>,
    /// Its labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its identity, 16 hexadecimal digits, or a reserved word.
    pub identity: String,
}

/// Protocol and ports of the question.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Service {
    /// `tcp`, `udp`, `sctp`, `icmp`, `icmp6`, `ip/NN`.
    pub protocol: String,
    /// Destination port; ICMP: type × 256 + code.
    pub port: u16,
    /// Source port that was judged.
    pub source_port: u16,
    /// `6379/tcp`, `icmp/echo-request`.
    pub text: String,
}

/// Where a decision fell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Decided {
    /// The workload at whose endpoint, `<tenant>.<workload>`.
    pub workload: String,
    /// `egress` or `ingress`, relative to that endpoint.
    pub direction: String,
}

/// A rule that would have matched but for one thing or two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct NearMiss {
    /// The rule.
    pub rule: RuleAt,
    /// `egress` or `ingress`: the side it was missed on.
    pub direction: String,
    /// What matches: `source`, `destination`, `port`, `source port`.
    pub matches: Vec<String>,
    /// What does not, as a sentence each: `source wants app=web, this has app=scanner`.
    pub misses: Vec<String>,
    /// Both in one sentence.
    pub text: String,
}

/// The shortest policy that would let the flow pass.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct WouldAllow {
    /// Where in the file it belongs, for example `tenants.shop.policies`.
    pub place: String,
    /// A line for the file: `scanner-to-db: { from: app=scanner, to: app=db, allow: [6379/tcp] }`.
    pub yaml: String,
    /// What else has to change, for example a deny that stands in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How often this was seen on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
pub struct Seen {
    /// How many flows or drops between the two with this destination port.
    pub count: u64,
    /// The first one that is remembered, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// The last one, RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// A way through a port that the host publishes, beside the pair that was asked about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PublishedWay {
    /// Its name: `shop/https`.
    pub publish: String,
    /// The host's port: `443/tcp`.
    pub service: String,
    /// To whom it leads: `shop/web`.
    pub workload: String,
    /// To which port there: `8443/tcp`.
    pub target_service: String,
    /// What is decided about a connection that takes this way: by the source's egress to the host, and by the target's ingress.
    pub verdict: Verdict,
    /// The rule that decided; absent when a default did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAt>,
    /// One sentence: `web-in (shop.yaml:24:5) lets 169.254.64.1 reach {app=web}`.
    pub text: String,
    /// What holds for the published port, as far as the file says something: its limit, its end, its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<String>,
}

/// An entry of the connection table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Connection {
    /// `opening`, `answered`, `established`, `closing`, `closed`, `one-way`, `two-way`, `echo`.
    pub state: String,
    /// `allow`, or `audit`.
    pub verdict: Verdict,
    /// The rule that let it pass, where it is known by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAt>,
    /// Whether it was judged by the policy in force; if not, its next packet is judged again.
    pub is_current: bool,
    /// Seconds since its last packet.
    pub silent_s: u64,
    /// Packets and bytes from the originator, then from the responder.
    pub counts: [[u64; 2]; 2],
}

/// Answer of `POST /v1/why`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// [`WHY_SCHEMA`].
    pub schema: String,
    /// The generation that was asked.
    pub generation: u64,
    /// Who opens the flow.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// Protocol and ports.
    pub service: Service,
    /// What the kernel decides about the first packet.
    pub verdict: Verdict,
    /// Why it is dropped, or would have been.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Where; absent when no endpoint of this node is concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decided: Option<Decided>,
    /// The rule that decided; absent when a default did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<RuleAt>,
    /// The rule that decided at the source's egress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub egress_rule: Option<RuleAt>,
    /// The rule that decided at the target's ingress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress_rule: Option<RuleAt>,
    /// The scope whose `audit:` lets it pass: `the node`, `tenant shop`, `network shop.main`, `segment shop.main/front`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<String>,
    /// One sentence: `no policy lets {app=scanner} reach {app=db}`.
    pub text: String,
    /// The nearest rules, at most 3, the nearest first.
    pub near_misses: Vec<NearMiss>,
    /// What would let it pass; absent when it passes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub would_allow: Option<WouldAllow>,
    /// How often it was seen.
    pub seen: Seen,
    /// Ways from the source to the target, or on from the host's port that was asked about, through published ports; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<PublishedWay>,
    /// What else can stop a flow that passes here, a sentence with its remedy each: other firewalls of the host.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The record that was asked about: what was decided then. The rest of the answer is what would be decided now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recorded: Option<crate::Flow>,
    /// The live connection with these addresses and ports, when the source port was given and there is one: its packets pass by
    /// it, and no rule is asked until the policy changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection: Option<Connection>,
    /// The way of the packet beyond the policy; absent when it was not asked for, or when no packet would be sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub walk: Option<crate::Walk>,
}
