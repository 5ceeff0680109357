//! The checked, resolved, flattened meaning of a file: what the planner compiles.
//!
//! Made by the loader only after every check has passed, so users of these types need no checks of their own:
//! names resolve, subnets nest and do not overlap, addresses are unique and inside of their segment, rule ids are unique.
//!
//! **Order.** Every list is in the order of the file; [`Policy::order`] is the position among all policies, which breaks
//! ties when several allows match.

mod audit;
mod host;
mod lan;
mod publish;
mod schedule;
mod start;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;
use model::{
    CopyOnWrite, Direction, Identity, Labels, Mode, Name, Peer, PortRange, PortSpec, Posture,
    Postures, RuleId, RuleKind, RuleRef, Subject,
};

pub use audit::{Around, Audit, Place};
pub use host::{Host, Uplink};
pub use lan::Lan;
pub use publish::{FlowLimit, FlowRate, Led, Per, Publish, Unled};
pub use schedule::Schedule;
pub use start::{Adopted, Netns, Port, Restart, Run, Start, User};

/// Everything that one file says. Copies share what neither of them changes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Document {
    /// The file's name as given, for messages.
    pub file: Arc<str>,
    /// What `audit:` says of the whole node.
    pub audit: Audit,
    /// The host's own policy on its uplinks; `None` leaves the host alone.
    pub host: Option<Host>,
    /// What `unmanaged:` says, if anything; see [`Document::unmanaged_posture`].
    pub unmanaged: Option<Posture>,
    /// Tenants.
    pub tenants: Vec<Tenant>,
    /// Networks of all tenants.
    pub networks: Vec<Network>,
    /// Workloads of all tenants.
    pub workloads: CopyOnWrite<Vec<CopyOnWrite<Workload>>>,
    /// Published ports of all tenants. At most one per (host address, protocol, port); an entry without an address takes
    /// the port on every address.
    pub publishes: Vec<Publish>,
    /// Ports of the host that runtimes lead to workloads of external networks, as they say themselves; in ascending order. No file has any: the
    /// agent puts in what it is told.
    pub led: Vec<Led>,
    /// Workloads of external networks of which that is not known yet, in ascending order; from the agent, too.
    pub unled: Vec<Unled>,
    /// Policies of tenants and host-wide ones, in file order.
    pub policies: CopyOnWrite<Vec<Policy>>,
    /// What must hold for every plan.
    pub assertions: Vec<Assertion>,
    /// What people wrote about policies, by the path of their rules: one line of at most 200 characters, without controls.
    pub remarks: CopyOnWrite<BTreeMap<Arc<str>, Arc<str>>>,
}

/// A place in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// Byte after the last one.
    pub end: u32,
    /// 1-based line of the first byte.
    pub line: u32,
    /// 1-based column of the first byte, in characters.
    pub column: u32,
}

/// An isolation domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Unique in the file.
    pub name: Name,
    /// What its `audit:` says.
    pub audit: Audit,
    /// Where its name stands.
    pub span: Span,
}

/// An address space with a mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Whose it is.
    pub tenant: Name,
    /// Unique in the tenant.
    pub name: Name,
    /// How it reaches the rest. Of an external network: `routed`, for its addresses stand in the host's own routing.
    pub mode: Mode,
    /// Who forwards for it, when that is not us. It then has no segments, and its workloads are ports in place.
    pub external: Option<External>,
    /// The LAN that its workloads are present on; there in mode `macvlan`, perhaps in mode `bridge`, else never. It then has
    /// no segments, and the workloads with an address of a version are those that name one.
    pub lan: Option<Lan>,
    /// Subnets of the network; both `None` for mode `none` and for networks of the Docker engine only.
    pub subnets: Subnets,
    /// As whom its workloads are seen outside; empty unless the mode is `nat`.
    pub snat: Snat,
    /// Segments, each inside of `subnets`, not overlapping. Empty: workloads stand directly in the network.
    pub segments: Vec<Segment>,
    /// Posture of workloads directly in the network; without meaning when there are segments.
    pub postures: Postures,
    /// What its `audit:` says.
    pub audit: Audit,
    /// Whether runtimes attach workloads to it at run time.
    pub attach: bool,
    /// Where its name stands.
    pub span: Span,
}

/// Who made an external network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum External {
    /// Whoever made this bridge of the host.
    Bridge(String),
    /// The Docker engine, which calls it this.
    Docker(String),
}

/// A named part of a network with its own posture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Unique in the network.
    pub name: Name,
    /// Its subnets, at least one.
    pub subnets: Subnets,
    /// What happens to flows that no policy names.
    pub postures: Postures,
    /// `profile: sealed`: posture deny both ways, and no audit ever lets a flow pass.
    pub sealed: bool,
    /// What its `audit:` says; nothing when it is sealed.
    pub audit: Audit,
    /// Where its name stands.
    pub span: Span,
}

/// At most one IPv4 and one IPv6 subnet. The gateway is the first address of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subnets {
    /// IPv4, prefix at most /30.
    pub v4: Option<Ipv4Net>,
    /// IPv6, prefix at most /126.
    pub v6: Option<Ipv6Net>,
}

/// The host's addresses that a network of mode `nat` leaves with. Without one of a version, that version is masqueraded:
/// it leaves with the address of the link that it leaves by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Snat {
    /// For IPv4; the network then has an IPv4 subnet.
    pub v4: Option<Ipv4Addr>,
    /// For IPv6; the network then has an IPv6 subnet.
    pub v6: Option<Ipv6Addr>,
}

/// A container, virtual machine or process group in one network: an endpoint. One with several attachments stands in the
/// document once for each, the first one first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Workload {
    /// Whose it is.
    pub tenant: Name,
    /// Unique in the tenant, but for further attachments.
    pub name: Name,
    /// Whether it is an attachment beside the first one of this name: its id names the network, too.
    pub further: bool,
    /// A network of the tenant; no other attachment of the workload is in it.
    pub network: Name,
    /// A segment of the network; `None` exactly when the network has no segments.
    pub segment: Option<Name>,
    /// Labels.
    pub labels: Labels,
    /// Fixed IPv4 address inside of the segment, neither its gateway nor its network or broadcast address.
    pub v4: Option<Ipv4Addr>,
    /// Fixed IPv6 address inside of the segment, neither its gateway nor the subnet-router anycast address.
    pub v6: Option<Ipv6Addr>,
    /// How its network namespace comes to be.
    pub start: Start,
    /// Where its name stands.
    pub span: Span,
}

/// Whose workloads the selectors of a policy or assertion may match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Those of every tenant: a policy at the top level of the file.
    Host,
    /// Those of one tenant. Also limits [`Peer::Any`] to that tenant's endpoints (and all addresses).
    Tenant(Name),
}

/// One policy: for every pair of `from` and `to`, what is allowed and what is denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Whose workloads its selectors can match.
    pub scope: Scope,
    /// Unique in its scope.
    pub name: Name,
    /// Position among all policies of the document, from 0.
    pub order: u32,
    /// Sources: one of these matches. Never empty.
    pub from: Vec<Peer>,
    /// Destinations: one of these matches. Never empty.
    pub to: Vec<Peer>,
    /// What is allowed; named ports are resolved. May be empty when `deny` is not.
    pub allow: Vec<PortSpec>,
    /// What is denied. May be empty when `allow` is not.
    pub deny: Vec<PortSpec>,
    /// Source ports to which all of `allow` and `deny` is limited; empty is every source port. When there are some, the
    /// loader has refused icmp entries and written `any` out as tcp, udp and sctp.
    pub source_ports: Vec<PortRange>,
    /// `mode: audit`: nothing of this policy drops; it records.
    pub audit: bool,
    /// From this moment on the policy does not exist.
    pub until: Option<Timestamp>,
    /// Outside of it the policy does not exist.
    pub schedule: Option<Schedule>,
    /// The rule that `allow` makes; there exactly when `allow` is not empty.
    pub allow_rule: Option<RuleRef>,
    /// The rule that `deny` makes; there exactly when `deny` is not empty.
    pub deny_rule: Option<RuleRef>,
    /// The rule that names this policy when it lets pass what its ports do not match; there exactly when `audit`.
    pub audit_rule: Option<RuleRef>,
    /// Its place among policies of other kinds; native policies all have the default.
    pub standing: Standing,
    /// Where its name stands.
    pub span: Span,
}

/// What only policies that were taken over from elsewhere say: see ADR 0016.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Standing {
    /// The ends of a flow for which it speaks.
    pub ends: Ends,
    /// Whether its subjects have posture deny in the direction of `ends`, whatever their segment says. Without effect in a
    /// policy with `mode: audit`.
    pub isolates: bool,
    /// Before and after which other policies it is asked. Policies of other tiers than the ordinary one are enforced, never
    /// audited.
    pub tier: Tier,
    /// Ports for which the administrator's tier leaves the decision to the ordinary one.
    pub pass: Vec<PortSpec>,
    /// Where it was taken over from; `None` for policies of the document's own file.
    pub origin: Option<Origin>,
}

/// Where a policy stands that is not in the document's own file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The file's name as given.
    pub file: Arc<str>,
    /// What it is called there, for example `shop/allow-web`.
    pub path: Arc<str>,
}

/// The ends of a flow for which a policy speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Ends {
    /// For its sources' egress and its destinations' ingress.
    #[default]
    Both,
    /// For the egress of its sources alone.
    Egress,
    /// For the ingress of its destinations alone.
    Ingress,
}

/// In which order policies are asked; the first tier in which one matches decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Tier {
    /// What `publish:` says of ports that somebody else publishes, in ascending order: the first one that matches drops, or leaves the
    /// decision to all others.
    Published(u32),
    /// The administrator's rules, in ascending order: the first one that matches decides.
    Admin(u32),
    /// All rules together: a deny beats an allow. Where one of these policies isolates, nobody is asked after it.
    #[default]
    Ordinary,
    /// The administrator's rules for what nobody else decides, in ascending order.
    Baseline(u32),
}

/// What must hold for every plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assertion {
    /// Whose workloads its selectors can match.
    pub scope: Scope,
    /// What is claimed.
    pub claim: Claim,
    /// Sources, at least one. Of [`Claim::Isolated`]: the group, one selector.
    pub from: Vec<Peer>,
    /// Destinations, at least one. Of [`Claim::Isolated`]: who may cross the border nevertheless; often nobody.
    pub to: Vec<Peer>,
    /// Ports; empty is every protocol and port.
    pub ports: Vec<PortSpec>,
    /// As written, for messages: `world -> segment=data`.
    pub text: String,
    /// Where the text stands.
    pub span: Span,
}

/// What an assertion claims.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// No source reaches a destination.
    Never,
    /// Nobody but the sources reaches a destination.
    Only,
    /// Every source reaches every destination with every flow that is named.
    Always,
    /// Nothing passes between the group and anybody outside of it, in either direction.
    Isolated,
}

impl Claim {
    /// The key in the file.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::Only => "only",
            Self::Always => "always",
            Self::Isolated => "isolated",
        }
    }
}

impl Document {
    /// The network of this tenant with this name.
    #[must_use]
    pub fn network(&self, tenant: &Name, name: &Name) -> Option<&Network> {
        self.networks.iter().find(|network| network.tenant == *tenant && network.name == *name)
    }

    /// Whether there are workloads that the file does not name: some network says `attach: true`, or is Docker's.
    #[must_use]
    pub fn is_attached_to(&self) -> bool {
        let is_docker = |network: &Network| matches!(network.external, Some(External::Docker(_)));
        self.networks.iter().any(|network| network.attach || is_docker(network))
    }

    /// The workload with this id, `<tenant>.<workload>` or `<tenant>.<workload>@<network>`.
    #[must_use]
    pub fn workload(&self, id: &str) -> Option<&Workload> {
        let (tenant, name) = id.split_once('.')?;
        let (name, network) = name.split_once('@').map_or((name, None), |(a, b)| (a, Some(b)));
        let mut workloads = self.workloads.iter().map(|workload| &**workload);
        workloads.find(|workload| {
            workload.tenant == tenant
                && workload.name == name
                && workload.further == network.is_some()
                && network.is_none_or(|network| workload.network == network)
        })
    }

    /// What happens to what addresses of external networks send that are nobody's workload.
    #[must_use]
    pub fn unmanaged_posture(&self) -> Posture {
        self.unmanaged.unwrap_or(Posture::Audit)
    }

    /// The comment on the policy with this path.
    #[must_use]
    pub fn remark(&self, path: &str) -> Option<&str> {
        self.remarks.get(path).map(|said| &**said)
    }

    /// Every rule of every policy, in file order: the table behind the rule ids in map entries and flow events.
    pub fn rules(&self) -> impl Iterator<Item = &RuleRef> {
        self.policies.iter().flat_map(Policy::rules)
    }
}

impl Network {
    /// `<tenant>.<network>`.
    #[must_use]
    pub fn id(&self) -> String {
        format!("{}.{}", self.tenant, self.name)
    }

    /// The segment with this name.
    #[must_use]
    pub fn segment(&self, name: &Name) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.name == *name)
    }
}

impl Subnets {
    /// Whether there is neither.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_none() && self.v6.is_none()
    }

    /// The one or two subnets, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> {
        self.v4.map(IpNet::V4).into_iter().chain(self.v6.map(IpNet::V6))
    }

    /// The gateway's IPv4 address: the first after the network address.
    #[must_use]
    pub fn gateway_v4(&self) -> Option<Ipv4Addr> {
        self.v4.map(|net| Ipv4Addr::from_bits(net.network().to_bits().saturating_add(1)))
    }

    /// The gateway's IPv6 address: the first after the subnet-router anycast address.
    #[must_use]
    pub fn gateway_v6(&self) -> Option<Ipv6Addr> {
        self.v6.map(|net| Ipv6Addr::from_bits(net.network().to_bits().saturating_add(1)))
    }

    /// Whether the address is in one of them.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(v4) => self.v4.is_some_and(|net| net.contains(&v4)),
            IpAddr::V6(v6) => self.v6.is_some_and(|net| net.contains(&v6)),
        }
    }
}

impl Snat {
    /// The addresses there are, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> {
        self.v4.map(IpAddr::V4).into_iter().chain(self.v6.map(IpAddr::V6))
    }
}

/// The workload that an id belongs to: `shop.web` of `shop.web@back` and of itself.
#[must_use]
pub fn owner(id: &str) -> &str {
    id.split_once('@').map_or(id, |(owner, _)| owner)
}

impl Workload {
    /// `<tenant>.<workload>`; of a further attachment `<tenant>.<workload>@<network>`.
    #[must_use]
    pub fn id(&self) -> String {
        if self.further {
            format!("{}.{}@{}", self.tenant, self.name, self.network)
        } else {
            format!("{}.{}", self.tenant, self.name)
        }
    }

    /// `<workload>`; of a further attachment `<workload>@<network>`.
    #[must_use]
    pub fn label(&self) -> String {
        if self.further { format!("{}@{}", self.name, self.network) } else { self.name.to_string() }
    }

    /// What selectors see.
    #[must_use]
    pub fn subject(&self) -> Subject<'_> {
        Subject {
            tenant: &self.tenant,
            network: &self.network,
            segment: self.segment.as_ref(),
            workload: &self.name,
            labels: &self.labels,
        }
    }

    /// Its identity, the same on every host.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity::derive(&self.tenant, &self.network, self.segment.as_ref(), &self.labels)
    }
}

impl Ends {
    /// Whether it speaks for this direction of an endpoint.
    #[must_use]
    pub fn covers(self, direction: Direction) -> bool {
        match self {
            Self::Both => true,
            Self::Egress => direction == Direction::Egress,
            Self::Ingress => direction == Direction::Ingress,
        }
    }
}

impl Scope {
    /// Whether selectors in this scope may match endpoints of this tenant.
    #[must_use]
    pub fn includes(&self, tenant: &Name) -> bool {
        match self {
            Self::Host => true,
            Self::Tenant(own) => own == tenant,
        }
    }
}

impl Policy {
    /// The path of the policy in the file, for example `tenants.shop.policies.web-to-db`.
    #[must_use]
    pub fn path(&self) -> Arc<str> {
        match (self.rules().next(), &self.standing.origin) {
            (Some(rule), _) => Arc::clone(&rule.path),
            (None, Some(origin)) => Arc::clone(&origin.path),
            (None, None) => Arc::from(policy_path(&self.scope, &self.name)),
        }
    }

    /// Its one to three rules.
    pub fn rules(&self) -> impl Iterator<Item = &RuleRef> {
        self.allow_rule.iter().chain(&self.deny_rule).chain(&self.audit_rule)
    }

    /// Its rule of this kind.
    #[must_use]
    pub fn rule(&self, kind: RuleKind) -> Option<&RuleRef> {
        match kind {
            RuleKind::Allow => self.allow_rule.as_ref(),
            RuleKind::Deny => self.deny_rule.as_ref(),
            RuleKind::Audit => self.audit_rule.as_ref(),
        }
    }

    /// Whether it does not exist now: it has expired, or this is outside its schedule.
    #[must_use]
    pub fn is_absent(&self, now: Timestamp) -> bool {
        self.is_expired(now) || self.schedule.as_ref().is_some_and(|times| !times.contains(now))
    }

    /// The next moment at which it begins or ceases to exist.
    #[must_use]
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let until = self.until.filter(|until| *until > now);
        let times = self.schedule.as_ref().filter(|_| !self.is_expired(now));
        let change = times.and_then(|times| times.next_change(now));
        until.into_iter().chain(change).min()
    }

    /// Whether its `until` lies in the past: it then does not exist.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.until.is_some_and(|until| until <= now)
    }
}

/// `policies.<name>` or `tenants.<tenant>.policies.<name>`.
#[must_use]
pub fn policy_path(scope: &Scope, name: &Name) -> String {
    match scope {
        Scope::Host => format!("policies.{name}"),
        Scope::Tenant(tenant) => format!("tenants.{tenant}.policies.{name}"),
    }
}

/// The id that a rule gets unless another rule of the document has it already; then the next free number.
///
/// Derived from path and kind, so that an edit elsewhere in the file leaves compiled port sets as they are.
#[must_use]
pub fn wanted_rule_id(path: &str, kind: RuleKind) -> RuleId {
    let mut digest = model::digest::Digest64::new("rule");
    digest.text(path).text(kind.as_str());
    let [_, _, _, _, a, b, c, d] = digest.finish().to_be_bytes();
    RuleId(u32::from_be_bytes([a, b, c, d]).max(1))
}
