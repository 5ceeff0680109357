//! The tightest policy that passes what was observed: the file in force with other policies, and the evidence beside each.
//!
//! What passed is collected from the flow store ([`observed`]), put together to as few policies as say exactly that ([`exact`]), and
//! written into the text of the file in force ([`policy::rewrite`]). The result is loaded, compiled, and judged by the same records
//! before anybody sees it: what it would break is told as left out. Nothing is applied.

mod exact;
mod observed;
mod selectors;
#[cfg(test)]
mod tests;
mod words;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::{DocumentRequest, Error, SuggestQuery, Suggestion, codes};
use model::Name;
use planner::HostPlane;
use policy::Document;
use policy::document::{Policy, Scope, Workload};
use policy::rewrite::{Entry, Policies};

use crate::fault::refused;
use crate::force::Wanted;
use crate::prepare::Ground;
use crate::shared::Shared;

use super::replay::{self, Lens, Records};
use super::{party, person};
use observed::Observed;

/// Lines of what a suggestion would break that are told.
const BROKEN: usize = 20;

/// Suggests policies for what was observed.
///
/// # Errors
/// `BH0216` without a document, `BH0211` for an unknown workload, `BH0214` when the flow store cannot be read, `BH0207` when the file in force is none
/// whose policies can be replaced.
pub(crate) fn suggest(
    shared: &Shared,
    query: &SuggestQuery,
    ground: &Ground,
    turn: &replay::Turn,
) -> Result<Suggestion, Error> {
    let force = shared.forced()?;
    let wanted = &as_filed(&force.wanted, ground)?;
    let about = query.workload.as_deref().map(|text| party::workload_id(&wanted.bundle, text));
    let about = about.transpose()?;
    let records = replay::records(shared, query.since_s)?;
    let records = Records { turn: Some(turn.clone()), ..records };
    let (observed, read) = Observed::collect(&records, &wanted.bundle);
    let period = records.period(&read);
    let mut made = made(wanted, &observed, about.as_ref(), &period)?;
    let relabelled = force.wanted.relabelled.len();
    if relabelled > 0 {
        let whose = words::count(relabelled as u64, "workload");
        made.left_out.push(format!("labels that {whose} got while running: the file's were used"));
    }
    let made = proved(made, wanted, &records, about.as_ref(), ground)?;
    Ok(Suggestion { generation: force.generation, period, ..made })
}

/// What the file in force says by itself: labels that were changed at runtime are not in its text, which is what is written anew.
fn as_filed(wanted: &Wanted, ground: &Ground) -> Result<Wanted, Error> {
    if wanted.relabelled.is_empty() {
        return Ok(wanted.clone());
    }
    ground.prepare(&wanted.request)
}

/// Judges the records by a suggestion and checks the assertions of the file; what does not hold is told, in the file too.
fn proved(
    mut made: Suggestion,
    wanted: &Wanted,
    records: &Records,
    about: Option<&Arc<str>>,
    ground: &Ground,
) -> Result<Suggestion, Error> {
    let name = format!("suggestion for {}", wanted.request.source.name);
    let source = api::Source { name, text: made.yaml.clone() };
    let request = DocumentRequest { source, ..(*wanted.request).clone() };
    let new = ground.prepare(&Arc::new(request))?;
    let left = broken(&new, wanted, records, about);
    let mut bundle = new.bundle.clone();
    HostPlane::complete(&new.document, &mut bundle, &ground.facts)
        .map_err(|errors| refused(codes::COMPILE, errors.to_string()))?;
    made.unproved = planner::prove(&new.document, &bundle)
        .iter()
        .filter(|outcome| outcome.broken.is_some())
        .map(|outcome| format!("{}: {}", outcome.claim.as_str(), outcome.text))
        .collect();
    let unproved = made.unproved.iter();
    let lines = unproved.map(|text| format!("Assertion that does not hold: {text}."));
    let lines = lines.chain(left.iter().map(|line| format!("Left out: {line}.")));
    let lines: Vec<String> = lines.collect();
    made.yaml.insert_str(0, &words::comments(&lines));
    made.left_out.extend(left);
    Ok(made)
}

/// The file for what was observed, and what is to be known of it.
fn made(
    wanted: &Wanted,
    observed: &Observed,
    about: Option<&Arc<str>>,
    period: &api::Period,
) -> Result<Suggestion, Error> {
    let document = &wanted.document;
    let mut new = New { document, about: about.cloned(), all: BTreeMap::new() };
    let mut suggestion =
        Suggestion { schema: Suggestion::SCHEMA.to_owned(), ..Suggestion::default() };
    let mut unnamed = Vec::new();
    for tenant in &document.tenants {
        let flows = observed.of(&tenant.name, about);
        suggestion.flows += flows.iter().map(|(_, evidence)| evidence.flows()).sum::<u64>();
        let taken = new.kept(&tenant.name);
        let written = words::entries(document, &tenant.name, &exact::rectangles(&flows), taken);
        suggestion.policies += written.entries.len() as u64;
        suggestion.wider.extend(written.wider);
        unnamed.extend(written.named);
        new.all.insert(tenant.name.to_string(), written.entries);
    }
    suggestion.left_out = observed.left_out();
    suggestion.left_out.extend(unnamed);
    suggestion.left_out.extend(new.loose());
    let text = policy::rewrite::with_policies(&wanted.request.source.text, &new);
    let policy::rewrite::Rewritten { text, open } = text.ok_or_else(|| {
        refused(codes::COMPILE, "the file in force is none whose policies can be replaced")
    })?;
    suggestion.left_out.extend(new.open(&open));
    let head = words::head(document, about.map(|id| person(id)).as_deref(), period, &suggestion);
    suggestion.yaml = head + &text;
    Ok(suggestion)
}

/// What the suggestion would break of the same records, whoever spoke: nothing, or it is told. Flows of others that the file in force ends already
/// are not the suggestion's doing.
fn broken(
    new: &Wanted,
    wanted: &Wanted,
    records: &Records,
    about: Option<&Arc<str>>,
) -> Vec<String> {
    let old = about.map(|_| Lens::new(&wanted.bundle));
    let (found, _) = replay::scan(records, old.as_ref(), &Lens::new(&new.bundle));
    let of_it = |key: &replay::Key| {
        about.is_none_or(|id| [&key.from, &key.to].into_iter().any(|end| **end == *person(id)))
    };
    let mut lines: Vec<String> = found
        .groups()
        .filter(|(key, _)| {
            key.class == replay::Class::Breaks
                || key.class == replay::Class::EndedAlready && of_it(key)
        })
        .map(|(key, group)| {
            let service = replay::service(key.protocol, key.port);
            let (from, to, flows) = (&key.from, &key.to, words::count(group.flows(), "flow"));
            let why = if of_it(key) {
                "no policy of a file can name exactly"
            } else {
                "others have, and this suggestion would drop"
            };
            format!("{from} → {to} {service}: {flows}, which {why}")
        })
        .collect();
    lines.sort();
    let more = lines.len().saturating_sub(BROKEN);
    lines.truncate(BROKEN);
    if more > 0 {
        lines.push(format!("and {more} more of their kind"));
    }
    lines
}

/// The new policies of each tenant, and which of the old ones stay.
struct New<'d> {
    document: &'d Document,
    about: Option<Arc<str>>,
    all: BTreeMap<String, Vec<Entry>>,
}

impl New<'_> {
    /// Names of policies of a tenant that stay.
    fn kept(&self, tenant: &Name) -> Vec<String> {
        let scope = Scope::Tenant(tenant.clone());
        let policies = self.document.policies.iter().filter(|policy| policy.scope == scope);
        policies
            .filter(|policy| self.is_kept(policy))
            .map(|policy| policy.name.to_string())
            .collect()
    }

    /// Without a workload none stays; with one, those that speak for others too, and denies.
    fn is_kept(&self, policy: &Policy) -> bool {
        let Some(about) = &self.about else { return false };
        !(policy.deny.is_empty() && self.is_only(&policy.from, &policy.scope, about)
            || policy.deny.is_empty() && self.is_only(&policy.to, &policy.scope, about))
    }

    /// Whether peers mean one workload and nobody else.
    fn is_only(&self, peers: &[model::Peer], scope: &Scope, about: &str) -> bool {
        let model::Peer::Selector(_) = peers.first().unwrap_or(&model::Peer::Any) else {
            return false;
        };
        let mut found = false;
        for peer in peers {
            let model::Peer::Selector(selector) = peer else { return false };
            for workload in &*self.document.workloads {
                let is_in = match scope {
                    Scope::Host => true,
                    Scope::Tenant(tenant) => workload.tenant == *tenant,
                };
                if is_in && selector.matches(&workload.subject()) {
                    if workload.id() != about {
                        return false;
                    }
                    found = true;
                }
            }
        }
        found
    }

    /// What stays and may let the workload do more than was observed.
    fn loose(&self) -> Vec<String> {
        let Some(about) = &self.about else { return Vec::new() };
        let Some(workload) = self.document.workload(about) else { return Vec::new() };
        let speaks = |policy: &&Policy| {
            let meant = |peer: &model::Peer| match peer {
                model::Peer::Selector(selector) => selector.matches(&workload.subject()),
                model::Peer::Any => true,
                _ => false,
            };
            self.is_kept(policy)
                && !policy.allow.is_empty()
                && policy.scope.includes(&workload.tenant)
                && policy.from.iter().chain(&policy.to).any(meant)
        };
        let loose = self.document.policies.iter().filter(speaks);
        loose
            .map(|policy| {
                let name = person(about);
                format!(
                    "{} stays: it speaks for others too, and may let {name} do more than was seen",
                    policy.name
                )
            })
            .collect()
    }
}

impl New<'_> {
    /// Whether somebody stands in a place, by the names of tenant, network and segment.
    fn stands_in(workload: &Workload, place: &[&str]) -> bool {
        let names = [Some(&workload.tenant), Some(&workload.network), workload.segment.as_ref()];
        place.iter().zip(names).all(|(part, name)| name.is_some_and(|name| name.as_str() == *part))
    }

    /// What lets pass at the workload what no policy names, and stays.
    fn open(&self, places: &[Vec<String>]) -> Vec<String> {
        let Some(about) = &self.about else { return Vec::new() };
        let Some(workload) = self.document.workload(about) else { return Vec::new() };
        let around = places.iter().filter_map(|place| {
            let names: Vec<&str> = place.iter().map(String::as_str).collect();
            let name = match names.as_slice() {
                [] => "the node".to_owned(),
                [tenant] => format!("tenant {tenant}"),
                [tenant, network] => format!("network {tenant}/{network}"),
                [tenant, network, segment, ..] => format!("segment {tenant}/{network}/{segment}"),
            };
            Self::stands_in(workload, &names).then_some(name)
        });
        let told = |place: String| {
            let name = person(about);
            format!(
                "posture and audit of {place} stay: others stand in it too, and what they let pass {name} may do"
            )
        };
        around.map(told).collect()
    }
}

impl Policies for New<'_> {
    /// With a workload, only where nobody else stands.
    fn enforces(&self, place: &[&str]) -> bool {
        let Some(about) = &self.about else { return true };
        let mut standing = self
            .document
            .workloads
            .iter()
            .filter(|workload| Self::stands_in(workload, place))
            .map(|workload| workload.id())
            .peekable();
        standing.peek().is_some() && standing.all(|id| *id == **about)
    }

    fn of(&self, tenant: Option<&str>) -> Vec<Entry> {
        tenant.and_then(|tenant| self.all.get(tenant)).cloned().unwrap_or_default()
    }

    fn stays(&self, tenant: Option<&str>, name: &str) -> bool {
        let is_it = |policy: &&Policy| {
            let scope = match &policy.scope {
                Scope::Host => None,
                Scope::Tenant(tenant) => Some(tenant.as_str()),
            };
            scope == tenant && policy.name.as_str() == name
        };
        self.document.policies.iter().find(is_it).is_some_and(|policy| self.is_kept(policy))
    }
}
