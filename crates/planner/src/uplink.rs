//! The host as an endpoint on its uplinks: a plane of its own beside those of the networks (docs/adr/0021-host-policy.md).
//!
//! It is compiled apart from the networks and entered into a bundle that is finished: rows, classes and port sets are named by their
//! content, so that what both have is the same. The document whose host part it is need not be the bundle's own: while a
//! change of the host part is not confirmed and was rolled back, it is an older one.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;
use model::{
    Direction, Name, Peer as Side, PortRange, PortSpec, Posture, Postures, RuleId, RuleKind,
    RuleRef,
};
use policy::Document;
use policy::document::{Around, Audit, Host, Publish, Scope, Span, Uplink, wanted_rule_id};
use verdict::abi::{
    Addr, Config, Endpoint, HOST_ENDPOINT, HOST_NETWORK, HOST_TENANT, PeerKey, PrefixKey, UPLINKS,
};
use verdict::native::Tables;

use crate::PlanErrors;
use crate::bundle::{Bundle, Facts, Router};
use crate::compiler::{digest, effect, is_single, peer};
use crate::engine::{Engine, Plane, Rule};
use crate::matchers::{MatcherId, Zone};
use crate::peers::{self, Surroundings, TRANSIT_V4, TRANSIT_V6};
use crate::ports::{Effect, Ground};

mod accounts;

pub use accounts::Accounts;

/// What the host does on its uplinks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPlane {
    /// Number of the host part, see [`Document::host_part`].
    pub part: u64,
    /// Interfaces by name; empty are those that carry a default route.
    pub uplinks: Vec<Uplink>,
    /// Accounts whose processes rules tell apart.
    pub accounts: Accounts,
    /// Its entries alone.
    pub tables: Tables,
    /// The rules that they name.
    pub rules: BTreeMap<u32, RuleRef>,
}

impl HostPlane {
    /// Compiles the host part of `of`, and the published ports of `routers`; `None` when there is no `host:`.
    ///
    /// # Errors
    ///
    /// Collisions of numbers.
    pub fn new(
        of: &Document,
        routers: &[Router],
        publishes: &[Publish],
        facts: &Facts,
    ) -> Result<Option<Self>, PlanErrors> {
        let Some(host) = &of.host else { return Ok(None) };
        let mut draft =
            Draft { engine: Engine::default(), tables: Tables::default(), rules: BTreeMap::new() };
        draft.policies(of, facts);
        draft.publishes(&of.file, publishes, facts.now);
        draft.engine.planes.push(Plane::default());
        draft.place(&surroundings(routers, facts));
        let accounts = Accounts::new(of.accounts());
        draft.arm(grounds(of, host, facts), facts, (host, &accounts));
        if !draft.engine.errors.is_empty() {
            return Err(PlanErrors(draft.engine.errors));
        }
        let (part, uplinks) = (of.host_part(), host.uplinks.clone());
        Ok(Some(Self { part, uplinks, accounts, tables: draft.tables, rules: draft.rules }))
    }

    /// Compiles the host part of a document, with its own published ports, and enters it into its bundle.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn complete(
        document: &Document,
        bundle: &mut Bundle,
        facts: &Facts,
    ) -> Result<(), PlanErrors> {
        if let Some(plane) = Self::new(document, &bundle.routers, &document.publishes, facts)? {
            plane.enter(bundle);
        }
        Ok(())
    }

    /// The bundle of a host that is left alone, with entries for its uplinks that let everything pass, for questions about them; `None`
    /// when it has a policy there.
    pub(crate) fn opened(bundle: &Bundle) -> Option<Bundle> {
        if bundle.tables.endpoints.contains_key(&HOST_ENDPOINT) {
            return None;
        }
        let mut draft =
            Draft { engine: Engine::default(), tables: Tables::default(), rules: BTreeMap::new() };
        draft.engine.planes.push(Plane::default());
        let facts =
            Facts { addresses: Vec::new(), now: Timestamp::UNIX_EPOCH, jiffies_per_second: 1 };
        draft.place(&surroundings(&bundle.routers, &facts));
        let postures = Postures { ingress: Posture::Allow, egress: Posture::Allow };
        let host = Host {
            uplinks: Vec::new(),
            postures,
            audit: Audit::default(),
            confined: Vec::new(),
            span: Span::default(),
        };
        let (of, accounts) = (Document::default(), Accounts::default());
        draft.arm(grounds(&of, &host, &facts), &facts, (&host, &accounts));
        let (tables, rules) = (draft.tables, draft.rules);
        let plane = Self { part: 0, uplinks: Vec::new(), accounts, tables, rules };
        let mut opened = bundle.clone();
        plane.enter(&mut opened);
        Some(opened)
    }

    /// Enters the host into a bundle.
    pub fn enter(&self, bundle: &mut Bundle) {
        bundle.accounts = self.accounts.clone();
        let into = &mut bundle.tables;
        into.config.flags |= Config::HOST;
        into.endpoints.extend(self.tables.endpoints.iter().map(|(key, value)| (*key, *value)));
        into.exact.extend(self.tables.exact.iter().map(|(key, value)| (*key, *value)));
        for (key, value) in self.tables.prefixes.iter() {
            into.prefixes.insert(*key, *value);
        }
        into.rows.extend(self.tables.rows.iter().map(|(key, value)| (*key, *value)));
        into.ports.extend(self.tables.ports.iter().map(|(key, value)| (*key, *value)));
        for (number, rule) in &self.rules {
            if !bundle.rules.contains_key(number) {
                bundle.rules.insert(*number, rule.clone());
            }
        }
    }
}

/// A plane in the making.
struct Draft {
    engine: Engine,
    tables: Tables,
    rules: BTreeMap<u32, RuleRef>,
}

impl Draft {
    fn policies(&mut self, of: &Document, facts: &Facts) {
        let policies = of.policies.iter().filter(|policy| policy.is_about_host());
        for policy in policies.filter(|policy| !policy.is_absent(facts.now)) {
            self.rules.extend(policy.rules().map(|rule| (rule.id.0, rule.clone())));
            let isolates = policy.standing.isolates && !policy.audit;
            let speaks = Direction::ALL.map(|direction| policy.standing.ends.covers(direction));
            let [ingress, egress] = match Direction::ALL {
                [Direction::Ingress, _] => speaks,
                _ => [speaks[1], speaks[0]],
            };
            let sides = [(&policy.from, egress), (&policy.to, ingress)];
            let effect = effect(policy);
            let rule = (policy.order, effect, isolates);
            self.rule(rule, sides, |engine, sides| digest(engine, policy, sides));
        }
    }

    /// A published port is open for whom it exists, as long as it does.
    fn publishes(&mut self, file: &Arc<str>, publishes: &[Publish], now: Timestamp) {
        // What exists for the host alone is nobody's at an uplink.
        let is_here =
            |it: &Publish| !it.is_expired(now) && (it.is_for_all() || !it.from.is_empty());
        for (at, publish) in (0_u32..).zip(publishes).filter(|(_, it)| is_here(it)) {
            let path: Arc<str> =
                format!("tenants.{}.publish.{}", publish.tenant, publish.name).into();
            let mut id = wanted_rule_id(&path, RuleKind::Allow);
            while self.rules.contains_key(&id.0) {
                id = RuleId(id.0.checked_add(1).unwrap_or(1));
            }
            let (file, kind) = (Arc::clone(file), RuleKind::Allow);
            let (line, column) = (publish.span.line, publish.span.column);
            self.rules.insert(id.0, RuleRef { id, path, file, line, column, kind });
            let from = if publish.from.is_empty() {
                vec![Side::Any]
            } else {
                publish.from.iter().copied().map(Side::Cidr).collect()
            };
            let allow = vec![PortSpec::Ports(publish.transport, PortRange::single(publish.port))];
            let effect = Effect {
                audit: false,
                allow: (allow, id.0),
                deny: (Vec::new(), 0),
                rest: 0,
                sources: Vec::new(),
                tier: policy::document::Tier::Ordinary,
                pass: Vec::new(),
            };
            // After every policy of the file: a policy that allows the same names the flow.
            let order = (u32::MAX / 2).saturating_add(at);
            let host = vec![Side::Host];
            let sides = [(&from, false), (&host, true)];
            self.rule((order, effect, false), sides, |engine, sides| {
                let mut digest = model::digest::Digest64::new("published");
                digest.text(&id.0.to_string()).text(&publish.port.to_string());
                for matcher in sides.iter().flatten().filter_map(|id| engine.matchers.get(*id)) {
                    digest.text(&matcher.digest.to_string());
                }
                digest.finish()
            });
        }
    }

    /// Adds a rule with its sides, and whether it speaks for the end that each of them is.
    fn rule(
        &mut self,
        (order, effect, isolates): (u32, Effect, bool),
        sides: [(&Vec<Side>, bool); 2],
        digest: impl FnOnce(&Engine, &[Vec<MatcherId>; 2]) -> u64,
    ) {
        let empty = [Vec::new(), Vec::new()];
        let id = self.engine.put_rule(Rule { order, sides: empty, effect, isolates, digest: 0 });
        let mut ids = [Vec::new(), Vec::new()];
        for (at, ((peers, speaks), ids)) in sides.into_iter().zip(&mut ids).enumerate() {
            for peer in peers {
                match self.engine.matchers.add(&Scope::Host, peer, id, (at, speaks)) {
                    Ok((matcher, _)) => ids.push(matcher),
                    Err(error) => self.engine.errors.push(error),
                }
            }
        }
        let digest = digest(&self.engine, &ids);
        if let Some(Some(rule)) = self.engine.rules.get_mut(id as usize) {
            rule.sides = ids;
            rule.digest = digest;
        }
    }

    /// Says who stands behind every address.
    fn place(&mut self, around: &Surroundings) {
        let Ok(nobody) = Name::new("host") else { return };
        for piece in peers::pieces(around, &self.engine.matchers, &nobody) {
            let class = self.engine.class(&piece.matchers);
            self.engine.class_up(&mut self.tables, 0, class);
            let (identity, number) = match piece.zone {
                Zone::Host => (model::Identity::HOST, HOST_ENDPOINT),
                Zone::Unmanaged => (model::Identity::UNMANAGED, 0),
                Zone::World => (model::Identity::WORLD, 0),
            };
            let peer = peer(self.engine.class_number(class), identity.0, number);
            let key = PeerKey { network: HOST_NETWORK, addr: Addr::from(piece.net.addr()) };
            if is_single(&piece.net) {
                self.tables.exact.insert(key, peer);
            } else {
                let len = 32 + peers::bits(&piece.net);
                self.tables.prefixes.insert(PrefixKey { len, key }, peer);
            }
        }
    }

    /// Gives the host its slots and its entry among the endpoints.
    fn arm(&mut self, grounds: [Ground; 2], facts: &Facts, (host, accounts): (&Host, &Accounts)) {
        let all = 0..u32::try_from(self.engine.matchers.len()).unwrap_or(u32::MAX);
        let is_host = |id: &MatcherId| {
            self.engine.matchers.get(*id).is_some_and(|matcher| matcher.matches_zone(Zone::Host))
        };
        let matchers: Vec<MatcherId> = all.filter(is_host).collect();
        let slots = [(false, grounds[0]), (true, grounds[1])].map(|(ingress, ground)| {
            let slot = self.engine.slot(&matchers, ingress, ground);
            if let Some(slot) = slot {
                self.engine.slot_up(&mut self.tables, 0, slot);
            }
            self.engine.slot_number(slot)
        });
        let postures = grounds.map(|ground| ground.posture() as u8);
        let first = |is_v4: bool| facts.addresses.iter().find(|each| each.is_ipv4() == is_v4);
        let told_apart = if accounts.is_empty() { 0 } else { Endpoint::ACCOUNTS };
        let entry = Endpoint {
            slots: [slots, slots],
            v4: first(true).map_or(Addr::v4([0; 4]), |address| Addr::from(*address)),
            v6: first(false).map_or(Addr::UNSPECIFIED, |address| Addr::from(*address)),
            network: HOST_NETWORK,
            tenant: HOST_TENANT,
            posture: [postures, postures],
            flags: Endpoint::UPLINK | told_apart,
            ..Endpoint::default()
        };
        self.accounts(accounts, host, (entry, &matchers), grounds[0]);
        self.tables.endpoints.extend((UPLINKS..=HOST_ENDPOINT).map(|number| (number, entry)));
    }
}

/// What the uplinks see: the host's addresses, also the one that it has when it has none, and managed subnets behind it.
fn surroundings(routers: &[Router], facts: &Facts) -> Surroundings {
    let mut host = facts.addresses.clone();
    host.push(IpAddr::from([0; 4]));
    host.push(IpAddr::from([0_u16; 8]));
    let routed = routers.iter().filter(|router| router.mode == model::Mode::Routed);
    let mut foreign: Vec<IpNet> = routed.flat_map(|router| router.subnets.clone()).collect();
    foreign.push(IpNet::V4(TRANSIT_V4));
    foreign.push(IpNet::V6(TRANSIT_V6));
    Surroundings { host, foreign, ..Surroundings::default() }
}

/// Posture and audit of the host, egress first.
fn grounds(of: &Document, host: &Host, facts: &Facts) -> [Ground; 2] {
    let around = Around::new([of.audit, host.audit], None, None);
    [Direction::Egress, Direction::Ingress].map(|direction| Ground {
        posture: host.postures.of(direction),
        sealed: false,
        isolated: false,
        audited: around.is_audited(direction, facts.now),
    })
}

#[cfg(test)]
mod tests;
