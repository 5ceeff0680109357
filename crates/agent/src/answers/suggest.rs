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
use policy::Document;
use policy::document::{Policy, Scope};
use policy::rewrite::{Entry, Policies};

use crate::fault::refused;
use crate::force::Wanted;
use crate::shared::Shared;

use super::replay::{self, Records};
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
    ground: &(planner::Allocations, planner::Facts),
    turn: &replay::Turn,
) -> Result<Suggestion, Error> {
    let force = shared.forced()?;
    let wanted = &force.wanted;
    let about = query.workload.as_deref().map(|text| party::workload_id(&wanted.bundle, text));
    let about = about.transpose()?;
    let records = replay::records(shared, query.since_s)?;
    let records = Records { turn: Some(turn.clone()), ..records };
    let (observed, read) = Observed::collect(&records, &wanted.bundle);
    let period = records.period(&read);
    let mut made = made(wanted, &observed, about.as_ref(), &period)?;
    let left = broken(&made.yaml, wanted, &records, about.as_ref(), ground)?;
    if !left.is_empty() {
        made.left_out.extend(left.iter().cloned());
        let lines: Vec<String> = left.iter().map(|line| format!("Left out: {line}.")).collect();
        made.yaml.insert_str(0, &words::comments(&lines));
    }
    Ok(Suggestion { generation: force.generation, period, ..made })
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
    for tenant in &document.tenants {
        let flows = observed.of(&tenant.name, about);
        suggestion.flows += flows.iter().map(|(_, evidence)| evidence.flows()).sum::<u64>();
        let taken = new.kept(&tenant.name);
        let written = words::entries(document, &tenant.name, &exact::rectangles(&flows), taken);
        suggestion.policies += written.entries.len() as u64;
        suggestion.wider.extend(written.wider);
        new.all.insert(tenant.name.to_string(), written.entries);
    }
    suggestion.left_out = observed.left_out();
    suggestion.left_out.extend(new.loose());
    let text = policy::rewrite::with_policies(&wanted.request.source.text, &new);
    let text = text.ok_or_else(|| {
        refused(codes::COMPILE, "the file in force is none whose policies can be replaced")
    })?;
    let head = words::head(document, about.map(|id| person(id)).as_deref(), period, &suggestion);
    suggestion.yaml = head + &text;
    Ok(suggestion)
}

/// What the suggestion would break of the same records: nothing, or it is told.
fn broken(
    yaml: &str,
    wanted: &Wanted,
    records: &Records,
    about: Option<&Arc<str>>,
    (allocations, facts): &(planner::Allocations, planner::Facts),
) -> Result<Vec<String>, Error> {
    let name = format!("suggestion for {}", wanted.request.source.name);
    let source = api::Source { name, text: yaml.to_owned() };
    let request = DocumentRequest { source, ..(*wanted.request).clone() };
    let base = crate::prepare::Base::Allocations(allocations);
    let (new, _) = crate::prepare::prepare(&Arc::new(request), &wanted.relabelled, base, facts)?;
    let (found, _) = replay::judged(records, None, &new);
    let of_it = |key: &replay::Key| {
        about.is_none_or(|id| [&key.from, &key.to].into_iter().any(|end| **end == *person(id)))
    };
    let mut lines: Vec<String> = found
        .groups()
        .filter(|(key, _)| key.class == replay::Class::Breaks && of_it(key))
        .map(|(key, group)| {
            let service = replay::service(key.protocol, key.port);
            let (from, to, flows) = (&key.from, &key.to, words::count(group.flows(), "flow"));
            format!("{from} → {to} {service}: {flows}, which no policy of a file can name exactly")
        })
        .collect();
    lines.sort();
    let more = lines.len().saturating_sub(BROKEN);
    lines.truncate(BROKEN);
    if more > 0 {
        lines.push(format!("and {more} more of their kind"));
    }
    Ok(lines)
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

impl Policies for New<'_> {
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
