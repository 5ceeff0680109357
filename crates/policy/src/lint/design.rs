//! The design as a whole: parts without inner walls, ways out for everything, workloads that everything hangs on.
//!
//! **Limits.** What is told is what the file says, not what runs: a single workload may be several machines behind one address,
//! and a deny elsewhere may narrow what a rule or a posture opens.

use std::collections::{BTreeMap, HashMap};

use model::{Mode, Name, Peer, PortRange, PortSpec, Posture, Postures, Transport};

use super::sides::{Index, Side};
use super::{Budget, Resolved};
use crate::codes::Code;
use crate::diagnostic::{Diagnostic, Problems, Severity};
use crate::document::{Claim, Document, Network, Span};

/// Segments that one side of a policy may have for its ways to be looked at.
const MAX_PLACES: usize = 32;

/// A segment, or a network without segments, with its workloads.
struct Place<'d> {
    network: &'d Network,
    what: &'static str,
    name: &'d Name,
    span: Span,
    postures: Postures,
    workloads: usize,
}

/// Everything that has workloads, and where each workload stands.
struct Map<'d> {
    places: Vec<Place<'d>>,
    /// By workload.
    of: Vec<Option<u32>>,
}

impl<'d> Map<'d> {
    fn new(document: &'d Document) -> Self {
        let mut known: HashMap<(&Name, &Name, Option<&Name>), u32> = HashMap::new();
        let mut places: Vec<Place<'_>> = Vec::new();
        for network in &document.networks {
            let mut add = |segment: Option<&'d Name>, place: Place<'d>| {
                let at = u32::try_from(places.len()).unwrap_or(u32::MAX);
                known.insert((&network.tenant, &network.name, segment), at);
                places.push(place);
            };
            if network.segments.is_empty() {
                let (name, span, postures) = (&network.name, network.span, network.postures);
                add(None, Place { network, what: "network", name, span, postures, workloads: 0 });
            }
            for each in &network.segments {
                let (name, span, postures) = (&each.name, each.span, each.postures);
                let place = Place { network, what: "segment", name, span, postures, workloads: 0 };
                add(Some(name), place);
            }
        }
        let of: Vec<Option<u32>> = document
            .workloads
            .iter()
            .map(|w| known.get(&(&w.tenant, &w.network, w.segment.as_ref())).copied())
            .collect();
        for at in of.iter().flatten() {
            if let Some(place) = places.get_mut(*at as usize) {
                place.workloads += 1;
            }
        }
        Self { places, of }
    }

    fn place(&self, workload: u32) -> Option<(u32, &Place<'d>)> {
        let at = self.of.get(workload as usize).copied().flatten()?;
        self.places.get(at as usize).map(|place| (at, place))
    }
}

/// Looks at the whole.
pub(super) fn design(
    document: &Document,
    index: &mut Index<'_>,
    resolved: &[Resolved<'_>],
    budget: &mut Budget,
    problems: &mut Problems<'_>,
) {
    let map = Map::new(document);
    // Manifests beside the file say what is closed: they need postures that are open.
    if document.policies.iter().all(|policy| policy.standing.origin.is_none()) {
        postures(&map, problems);
    }
    for rule in resolved.iter().filter(|rule| opens(rule)) {
        let steps = rule.from.workloads.len() + rule.to.workloads.len();
        if !budget.spend(steps) {
            return;
        }
        flat(&map, rule, problems);
        outwards(&map, rule, problems);
    }
    bridges(document, &map, resolved, budget, problems);
    idle(document, index, budget, problems);
}

/// Whether a rule allows whatever protocol or port there is, from now on and for certain.
fn opens(rule: &Resolved<'_>) -> bool {
    let whole = |spec: &PortSpec| {
        matches!(spec, PortSpec::Any | PortSpec::Ports(Transport::Tcp, PortRange::ALL))
    };
    !rule.policy.audit && rule.source_ports.is_empty() && rule.policy.allow.iter().any(whole)
}

/// Whether what workloads of a network send gets to the world.
fn leads_out(network: &Network) -> bool {
    matches!(network.mode, Mode::Nat | Mode::Routed | Mode::Host) || network.lan.is_some()
}

/// Places that are open by themselves.
fn postures(map: &Map<'_>, problems: &mut Problems<'_>) {
    for place in &map.places {
        let Postures { ingress, egress } = place.postures;
        let Place { what, name, .. } = place;
        let leads_out = leads_out(place.network);
        if place.workloads > 1 && (ingress, egress) == (Posture::Allow, Posture::Allow) {
            let message = format!("the {what} `{name}` has no walls inside");
            problems.push(
                Diagnostic::new(Code::FlatSegment, Severity::Warning, Some(place.span), message)
                    .label(format!("each of its {} workloads reaches every other", place.workloads))
                    .hint("take the posture out and allow what is needed; `audit` instead of `allow` shows what that is"),
            );
        }
        if place.workloads > 0 && leads_out && egress == Posture::Allow {
            let message = format!("the {what} `{name}` may reach the whole world");
            problems.push(
                Diagnostic::new(Code::OpenEgress, Severity::Warning, Some(place.span), message)
                    .label("its posture lets everything out")
                    .hint("name what is needed: { from: .., to: world, allow: [443/tcp] }"),
            );
        }
    }
}

/// A rule that opens a whole place to itself.
fn flat(map: &Map<'_>, rule: &Resolved<'_>, problems: &mut Problems<'_>) {
    if !rule.policy.allow.contains(&PortSpec::Any) {
        return;
    }
    let mut both: BTreeMap<u32, usize> = BTreeMap::new();
    let mut targets = rule.to.workloads.iter().peekable();
    for workload in &*rule.from.workloads {
        while targets.next_if(|target| *target < workload).is_some() {}
        if targets.peek() == Some(&workload)
            && let Some((at, _)) = map.place(*workload)
        {
            *both.entry(at).or_default() += 1;
        }
    }
    let whole = both.into_iter().find_map(|(at, count)| {
        let place = map.places.get(at as usize)?;
        (count > 1 && count == place.workloads && place.network.mode != Mode::None).then_some(place)
    });
    if let Some(Place { what, name, workloads, .. }) = whole {
        let message =
            format!("the policy `{}` leaves no walls in the {what} `{name}`", rule.policy.name);
        problems.push(
            Diagnostic::warning(Code::FlatSegment, rule.policy.span, message)
                .label(format!(
                    "each of the {workloads} workloads there reaches every other, with everything"
                ))
                .hint("name who needs whom, and the ports"),
        );
    }
}

/// A rule that lets workloads out to everywhere.
fn outwards(map: &Map<'_>, rule: &Resolved<'_>, problems: &mut Problems<'_>) {
    let Side { world, everywhere, cidrs, .. } = &rule.to;
    let everything = *world || *everywhere || cidrs.iter().any(|net| net.prefix_len() == 0);
    if !everything {
        return;
    }
    let out = |at: &&u32| map.place(**at).is_some_and(|(_, place)| leads_out(place.network));
    let leaving = rule.from.workloads.iter().filter(out).count();
    if leaving > 0 {
        let message =
            format!("the policy `{}` lets everything out to the whole world", rule.policy.name);
        let who =
            if leaving == 1 { "1 workload".to_owned() } else { format!("{leaving} workloads") };
        problems.push(
            Diagnostic::warning(Code::OpenEgress, rule.policy.span, message)
                .label(format!("{who} may reach any address there is, at any port"))
                .hint("name the ports, and the addresses if they are known: what is taken over calls home"),
        );
    }
}

/// One, or more than one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Who {
    One(u32),
    Many,
}

impl Who {
    fn and(one: Option<Self>, other: Self) -> Self {
        match (one, other) {
            (None, other) => other,
            (Some(Self::One(a)), Self::One(b)) if a == b => other,
            _ => Self::Many,
        }
    }
}

/// Places between which everything goes through one workload.
fn bridges(
    document: &Document,
    map: &Map<'_>,
    resolved: &[Resolved<'_>],
    budget: &mut Budget,
    problems: &mut Problems<'_>,
) {
    let mut ways: BTreeMap<(u32, u32), (Who, Who)> = BTreeMap::new();
    for rule in resolved.iter().filter(|rule| !rule.policy.allow.is_empty() || rule.policy.audit) {
        if !budget.spend(rule.from.workloads.len() + rule.to.workloads.len()) {
            return;
        }
        let [from, to] = [&rule.from, &rule.to].map(|side| grouped(map, side));
        if from.len() > MAX_PLACES || to.len() > MAX_PLACES {
            // Too many to be a bridge; it ends the search for one where it could be.
            return;
        }
        for (a, source) in &from {
            for (b, target) in to.iter().filter(|(b, _)| *b != a) {
                let known = ways.get(&(*a, *b)).copied();
                let sources = Who::and(known.map(|(one, _)| one), *source);
                let targets = Who::and(known.map(|(_, one)| one), *target);
                ways.insert((*a, *b), (sources, targets));
            }
        }
    }
    for ((a, b), (sources, targets)) in ways {
        let (Who::One(bridge), Who::Many) = (sources, targets) else { continue };
        let pair = map.places.get(a as usize).zip(map.places.get(b as usize));
        let Some((from, to)) = pair.filter(|(from, _)| from.workloads > 1) else { continue };
        let same = std::ptr::eq(from.network, to.network);
        let open = from.postures.egress != Posture::Deny && to.postures.ingress != Posture::Deny;
        let Some(workload) = document.workloads.get(bridge as usize) else { continue };
        if same && !open {
            let message = format!(
                "everything from `{}` to `{}` goes through `{}`",
                from.name, to.name, workload.name
            );
            problems.push(
                Diagnostic::new(Code::SinglePoint, Severity::Note, Some(workload.span), message)
                    .label("when this one stops, nobody there has a way")
                    .hint("give it a second one beside it, with the same labels, if the way must not break"),
            );
        }
    }
}

/// The places of one side, and who of each.
fn grouped(map: &Map<'_>, side: &Side) -> BTreeMap<u32, Who> {
    let mut all: BTreeMap<u32, Who> = BTreeMap::new();
    for workload in &*side.workloads {
        if let Some((at, _)) = map.place(*workload) {
            let known = all.get(&at).copied();
            all.insert(at, Who::and(known, Who::One(*workload)));
        }
        if all.len() > MAX_PLACES {
            break;
        }
    }
    all
}

/// Assertions that speak of nobody, and therefore hold or break whatever the policies say.
fn idle(
    document: &Document,
    index: &mut Index<'_>,
    budget: &mut Budget,
    problems: &mut Problems<'_>,
) {
    for assertion in &document.assertions {
        let both = [&assertion.from, &assertion.to];
        let sides = if assertion.claim == Claim::Isolated { &both[..1] } else { &both[..] };
        for peers in sides {
            let Some(side) = index.side(&assertion.scope, peers, budget) else { return };
            if !side.is_empty() || peers.iter().any(|peer| matches!(peer, Peer::Processes(_))) {
                continue;
            }
            let shown: Vec<String> = peers.iter().map(ToString::to_string).take(4).collect();
            let message = format!("the assertion `{}` speaks of nobody", assertion.text);
            problems.push(
                Diagnostic::warning(Code::IdleAssertion, assertion.span, message)
                    .label("it says nothing about any flow")
                    .hint(format!("no workload is selected by `{}`", shown.join("` or `"))),
            );
            break;
        }
    }
}
