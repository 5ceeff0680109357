//! What the sides of a change are called: in the words of the policy, else by segment, by label, by name.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fmt;

use ipnet::IpNet;
use model::{LabelKey, LabelValue, Mode, Name, Peer, RuleRef};
use policy::Document;
use policy::document::{Policy, Workload};
use rustc_hash::{FxHashMap, FxHashSet};

use crate::nodes::{Node, Party};
use crate::objects::{has_many_tenants, tenant};
use crate::report::{Change, ChangeKind};

/// Most things that are named one by one on a side.
const NAMED: usize = 4;
/// Questions whether a selector is about a workload, in one report: a tenth of a second each million. Beyond that a side is
/// called by the words of its policy.
const MATCHES: usize = 5_000_000;
/// Parties that are looked at for words, in one report: a second each two million. Beyond that a long side is called by a few
/// of its names.
const LOOKS: usize = 2_000_000;

/// Where a party stands, for pictures.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Area {
    /// A segment; a network when it has none.
    Segment {
        /// Whose it is.
        tenant: Name,
        /// Its network.
        network: Name,
        /// The segment, unless the network has none.
        segment: Option<Name>,
    },
    /// What is no workload; a range stands for itself.
    Zone(Party),
}

impl Area {
    /// Where a workload stands.
    #[must_use]
    pub fn of(workload: &Workload) -> Self {
        Self::Segment {
            tenant: workload.tenant.clone(),
            network: workload.network.clone(),
            segment: workload.segment.clone(),
        }
    }
}

/// `shop/main/front`, `shop/main`, `world`.
impl fmt::Display for Area {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Segment { tenant, network, segment: Some(segment) } => {
                write!(f, "{tenant}/{network}/{segment}")
            }
            Self::Segment { tenant, network, segment: None } => write!(f, "{tenant}/{network}"),
            Self::Zone(party) => party.fmt(f),
        }
    }
}

/// Rule numbers of both documents to what people wrote.
pub(super) struct Names<'d> {
    rules: FxHashMap<u32, (&'d Policy, &'d RuleRef)>,
    before: FxHashMap<u32, (&'d Policy, &'d RuleRef)>,
    /// Whether peers say whose they are.
    are_many: bool,
}

impl<'d> Names<'d> {
    pub(super) fn new(old: Option<&'d Document>, new: &'d Document) -> Self {
        let table = |document: &'d Document| {
            let rules = document
                .policies
                .iter()
                .flat_map(|policy| policy.rules().map(move |rule| (rule.id.0, (policy, rule))));
            rules.collect::<FxHashMap<_, _>>()
        };
        let are_many = has_many_tenants(new) || old.is_some_and(has_many_tenants);
        Self { rules: table(new), before: old.map(table).unwrap_or_default(), are_many }
    }

    /// One side of a policy: `app=web`, or `shop/app=web` when there are other tenants.
    fn side(&self, policy: &Policy, peers: &[Peer]) -> String {
        let tenant = tenant(&policy.scope).filter(|_| self.are_many);
        let text = |peer: &Peer| match (tenant, peer) {
            (Some(tenant), Peer::Selector(_) | Peer::Any) => format!("{tenant}/{peer}"),
            _ => peer.to_string(),
        };
        let texts: Vec<String> = peers.iter().map(text).collect();
        if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) }
    }

    /// The rule of a change, by its number; 0 is none.
    pub(super) fn get(&self, id: u32, kind: ChangeKind) -> Option<(&'d Policy, &'d RuleRef)> {
        let table = if kind == ChangeKind::Lost { &self.before } else { &self.rules };
        table.get(&id).copied()
    }

    /// A rule of the new document.
    pub(super) fn new_rule(&self, id: u32) -> Option<&'d RuleRef> {
        self.rules.get(&id).map(|(_, rule)| *rule)
    }
}

/// Everybody of one document who is on a network.
#[derive(Default)]
struct People<'d> {
    by_id: FxHashMap<String, &'d Workload>,
    tenants: FxHashMap<&'d Name, usize>,
    segments: FxHashMap<Segment<'d>, usize>,
    labels: FxHashMap<Label<'d>, usize>,
}

/// Tenant, network and segment.
type Segment<'d> = (&'d Name, &'d Name, Option<&'d Name>);
/// A label of a tenant's workloads.
type Label<'d> = (&'d Name, &'d LabelKey, &'d LabelValue);

fn segment(workload: &Workload) -> Segment<'_> {
    (&workload.tenant, &workload.network, workload.segment.as_ref())
}

impl<'d> People<'d> {
    fn new(document: &'d Document) -> Self {
        let apart: FxHashSet<(&Name, &Name)> = document
            .networks
            .iter()
            .filter(|network| network.mode == Mode::None)
            .map(|network| (&network.tenant, &network.name))
            .collect();
        let mut this = Self::default();
        for workload in &document.workloads {
            if apart.contains(&(&workload.tenant, &workload.network)) {
                continue;
            }
            this.by_id.insert(workload.id(), workload);
            *this.tenants.entry(&workload.tenant).or_default() += 1;
            *this.segments.entry(segment(workload)).or_default() += 1;
            for (key, value) in &workload.labels {
                *this.labels.entry((&workload.tenant, key, value)).or_default() += 1;
            }
        }
        this
    }

    /// How many workloads of these networks a policy means by its peers.
    fn meant(
        &self,
        policy: &Policy,
        peers: &[Peer],
        networks: &FxHashSet<(&Name, &Name)>,
    ) -> usize {
        let is_meant = |workload: &&&Workload| {
            networks.contains(&(&workload.tenant, &workload.network))
                && policy.scope.includes(&workload.tenant)
                && peers.iter().any(|peer| match peer {
                    Peer::Selector(selector) => selector.matches(&workload.subject()),
                    Peer::Any => true,
                    _ => false,
                })
        };
        self.by_id.values().filter(is_meant).count()
    }

    /// Names workloads: whole tenants and segments first, then what one label says, then one by one.
    fn cover(&self, mut left: Vec<&'d Workload>, are_many: bool) -> Vec<String> {
        let mut words = Vec::new();
        let of = |tenant: &Name, text: String| {
            if are_many { format!("{tenant}/{text}") } else { text }
        };
        let tenants: BTreeSet<&Name> = left.iter().map(|each| &each.tenant).collect();
        for tenant in tenants {
            let parts = self.segments.keys().filter(|(owner, ..)| *owner == tenant).count();
            let all = self.tenants.get(tenant).copied().filter(|_| parts > 1);
            if take(&mut left, all, |each| each.tenant == *tenant) {
                words.push(format!("tenant={tenant}"));
            }
        }
        let segments: BTreeSet<Segment<'_>> = left.iter().map(|each| segment(each)).collect();
        for key in segments {
            let (tenant, network, name) = key;
            if take(&mut left, self.segments.get(&key).copied(), |each| segment(each) == key) {
                let network = || format!("network={network}");
                let word = name.map_or_else(network, |name| format!("segment={name}"));
                words.push(of(tenant, word));
            }
        }
        self.labelled(&mut left, |tenant, text| words.push(of(tenant, text)));
        words.extend(left.iter().map(|each| format!("{}/{}", each.tenant, each.name)));
        words
    }

    /// Takes out those that one label says, label by label in order, each when it has several and all of them are there.
    fn labelled(&self, left: &mut Vec<&'d Workload>, mut word: impl FnMut(&Name, String)) {
        let own = |each: &'d Workload| {
            each.labels.iter().map(move |(key, value)| (&each.tenant, key, value))
        };
        let mut here: FxHashMap<Label<'_>, Vec<usize>> = FxHashMap::default();
        for (at, each) in left.iter().enumerate() {
            for label in own(each) {
                here.entry(label).or_default().push(at);
            }
        }
        let mut whole: Vec<(Label<'_>, Vec<usize>)> = here
            .into_iter()
            .filter(|(label, all)| all.len() > 1 && self.labels.get(label) == Some(&all.len()))
            .collect();
        whole.sort_unstable();
        let mut gone = vec![false; left.len()];
        for ((tenant, key, value), all) in whole {
            if all.iter().any(|at| gone.get(*at) != Some(&false)) {
                continue;
            }
            for at in all {
                if let Some(gone) = gone.get_mut(at) {
                    *gone = true;
                }
            }
            word(tenant, format!("{key}={value}"));
        }
        let mut gone = gone.into_iter();
        left.retain(|_| gone.next() == Some(false));
    }
}

/// Takes out those that are in a part, when the part has several and all of them are there.
fn take(left: &mut Vec<&Workload>, all: Option<usize>, is_in: impl Fn(&Workload) -> bool) -> bool {
    let here = left.iter().filter(|each| is_in(each)).count();
    let is_whole = here > 1 && Some(here) == all;
    if is_whole {
        left.retain(|each| !is_in(each));
    }
    is_whole
}

/// Everybody before and after.
pub(super) struct Population<'d> {
    before: People<'d>,
    after: People<'d>,
    /// Ranges of the world that rules name.
    ranges: BTreeSet<IpNet>,
    matches: Cell<usize>,
    looks: Cell<usize>,
}

impl<'d> Population<'d> {
    pub(super) fn new(old: Option<&'d Document>, new: &'d Document, nodes: &[Node]) -> Self {
        let range = |party: &Party| match party {
            Party::World(net) => *net,
            _ => None,
        };
        Self {
            before: old.map(People::new).unwrap_or_default(),
            after: People::new(new),
            ranges: nodes.iter().flat_map(|node| &node.members).filter_map(range).collect(),
            matches: Cell::new(MATCHES),
            looks: Cell::new(LOOKS),
        }
    }

    /// What a side is called; `was`: as of the old document.
    pub(super) fn words(
        &self,
        was: bool,
        side: &[&Party],
        peers: Option<(&Policy, &[Peer])>,
        names: &Names<'_>,
    ) -> String {
        if side.len() > NAMED + 1 && self.looks.get() == 0 {
            let told = side.iter().take(NAMED).map(|party| match party {
                Party::Workload(id) => id.replacen('.', "/", 1),
                zone => zone.to_string(),
            });
            return few(&told.collect::<Vec<_>>(), side.len() - NAMED);
        }
        self.looks.set(self.looks.get().saturating_sub(side.len()));
        let people = if was { &self.before } else { &self.after };
        let mut workloads: Vec<&Workload> = Vec::new();
        let mut zones: Vec<&Party> = Vec::new();
        let mut nameless: Vec<String> = Vec::new();
        for party in side {
            match party {
                Party::Workload(id) => match people.by_id.get(&**id) {
                    Some(workload) => workloads.push(workload),
                    None => nameless.push(id.replacen('.', "/", 1)),
                },
                zone => zones.push(zone),
            }
        }
        if let Some((policy, peers)) = peers
            && nameless.is_empty()
            && has_zones(peers, &zones)
            && self.is_whole(people, policy, peers, &workloads)
        {
            return names.side(policy, peers);
        }
        let mut words = people.cover(workloads, names.are_many);
        words.extend(nameless);
        words.extend(self.zones(&zones));
        listed(&words)
    }

    /// Whether these are all workloads of their networks that a policy means.
    fn is_whole(
        &self,
        people: &People<'_>,
        policy: &Policy,
        peers: &[Peer],
        workloads: &[&Workload],
    ) -> bool {
        let is_about = |peer: &Peer| matches!(peer, Peer::Selector(_) | Peer::Any);
        if workloads.is_empty() {
            return !peers.iter().any(is_about);
        }
        let left = self.matches.get();
        if left == 0 {
            return true;
        }
        self.matches.set(left.saturating_sub(people.by_id.len()));
        let networks = workloads.iter().map(|each| (&each.tenant, &each.network)).collect();
        people.meant(policy, peers, &networks) == workloads.len()
    }

    /// The words for what is no workload: the world is all of it when no range of it is missing.
    fn zones(&self, zones: &[&Party]) -> Vec<String> {
        let ranges = zones.iter().filter(|zone| matches!(zone, Party::World(Some(_)))).count();
        let is_whole = ranges == self.ranges.len() && zones.contains(&&Party::World(None));
        let is_told = |zone: &&&Party| !is_whole || !matches!(zone, Party::World(Some(_)));
        zones.iter().filter(is_told).map(ToString::to_string).collect()
    }

    /// Where the sides stand.
    pub(super) fn between(&self, sides: &[Vec<&Party>; 2]) -> Vec<(Area, Area)> {
        let [from, to] = sides.each_ref().map(|side| {
            // Neighbours often stand in the same place.
            let mut last = None;
            let mut areas = BTreeSet::new();
            // Of a long side, when there are too many of them, those that are listed.
            let most = if self.looks.get() == 0 { Change::PARTIES } else { usize::MAX };
            for party in side.iter().take(most) {
                let place = self.workload(party).map(segment);
                if place.is_none() || place != last {
                    areas.extend(self.area(party));
                }
                last = place;
            }
            areas
        });
        let pairs = from.iter().flat_map(|from| to.iter().map(|to| (from.clone(), to.clone())));
        pairs.take(Change::AREAS).collect()
    }

    fn area(&self, party: &Party) -> Option<Area> {
        match party {
            Party::Workload(_) => self.workload(party).map(Area::of),
            zone => Some(Area::Zone(zone.clone())),
        }
    }

    fn workload(&self, party: &Party) -> Option<&'d Workload> {
        let Party::Workload(id) = party else { return None };
        self.after.by_id.get(&**id).or_else(|| self.before.by_id.get(&**id)).copied()
    }
}

/// Whether every word of a policy that is no selector is among the zones.
fn has_zones(peers: &[Peer], zones: &[&Party]) -> bool {
    peers.iter().all(|peer| match peer {
        Peer::Host => zones.contains(&&Party::Host),
        Peer::World => zones.iter().any(|zone| matches!(zone, Party::World(_))),
        Peer::Unmanaged => zones.iter().any(|zone| matches!(zone, Party::Unmanaged(_))),
        Peer::Cidr(range) => zones.iter().any(|zone| match zone {
            Party::World(Some(net)) | Party::Unmanaged(Some(net)) => range.contains(net),
            _ => false,
        }),
        Peer::Any => [Party::Host, Party::World(None)].iter().all(|zone| zones.contains(&zone)),
        // Told apart at the uplinks, where no workload is a party.
        Peer::Selector(_) | Peer::Processes(_) => true,
    })
}

fn listed(words: &[String]) -> String {
    match words {
        [one] => one.clone(),
        few if few.len() <= NAMED + 1 => format!("[{}]", few.join(", ")),
        many => {
            let (named, rest) = many.split_at(NAMED);
            few(named, rest.len())
        }
    }
}

fn few(named: &[String], more: usize) -> String {
    format!("[{} and {more} more]", named.join(", "))
}
