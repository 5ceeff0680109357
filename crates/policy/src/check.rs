//! From raw values to the document: resolve every name, check every address, number every rule.
//!
//! Each part reports what it finds and goes on with what is left, so that one mistake does not hide the others. The
//! document that comes out is complete only if nothing was reported.

mod also;
mod assertion;
mod audit;
mod countries;
mod external;
mod host;
mod host_address;
mod lan;
mod network;
mod place;
mod policy;
mod processes;
mod publish;
mod sets;
mod vocabulary;
mod workload;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use model::{Name, PortSpec, RuleId, RuleKind, RuleRef};

use crate::Limits;
use crate::codes::Code;
use crate::decode::{Table, habits};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, Policy, Scope, Span, Tenant, wanted_rule_id};
use crate::geo::Lookup;
use crate::nearest::did_you_mean;
use crate::raw::{RawFile, RawTenant};
use crate::scalar::PortWord;

use vocabulary::Vocabulary;

/// How a warning about a port name that nothing uses begins; the name and a backtick follow.
pub(crate) const UNUSED_PORT: &str = "no policy uses the port name `";

/// The set that a peer stands for, if it is one.
pub(crate) fn names_set(peer: &model::Peer) -> Option<&str> {
    match sets::mention(peer) {
        sets::Mention::Of(name) => Some(name),
        _ => None,
    }
}

/// Named ports and which of them were used.
#[derive(Default)]
struct Ports {
    named: BTreeMap<Name, (Span, Vec<PortSpec>)>,
    used: HashSet<Name>,
    /// How many ports all lists of policies stand for.
    expanded: usize,
    /// The most that they may.
    most: usize,
    /// How many networks of countries all policies and assertions stand for.
    of_countries: usize,
}

/// Resolves and checks a whole file.
pub(crate) fn check(
    raw: &RawFile,
    file: &Arc<str>,
    limits: &Limits,
    lookup: &Lookup<'_>,
    problems: &mut Problems<'_>,
) -> Document {
    let mut document = Document { file: Arc::clone(file), ..Document::default() };
    document.audit = audit::audit(raw.audit.as_ref(), problems);
    document.host = host::host(raw.host.as_ref(), problems);
    document.unmanaged = raw.unmanaged.as_ref().map(|posture| posture.value);
    let mut ports = Ports::read(raw, problems);
    ports.most = limits.values;
    let tenants = raw.tenants.as_ref().map_or(&[][..], |table| table.entries.as_slice());
    counts(raw, limits, problems);
    let vocabulary = Vocabulary::of(raw);
    let countries = countries::countries(raw, lookup, problems);
    let given = sets::Given { raw, vocabulary: &vocabulary, countries: &countries };
    let mut sets = sets::Sets::read(given, limits.values, problems);
    for (name, tenant) in tenants {
        let said = tenant.as_ref().and_then(|tenant| tenant.audit.as_ref());
        let audit = audit::audit(said, problems);
        document.tenants.push(Tenant { name: name.value.clone(), audit, span: name.span });
        let Some(tenant) = tenant else { continue };
        network::networks(&name.value, tenant, &mut document, problems);
        workload::workloads(&name.value, tenant, &mut document, problems);
        publish::publishes(&name.value, tenant, &mut sets, &mut document, problems);
    }
    network::routed_overlaps(&document, problems);
    host_address::routed(&document, problems);
    workload::addresses(&document, problems);
    lan::addresses(&document, problems);
    external::ports(&document, problems);
    external::unmanaged(raw.unmanaged.as_ref(), &document, problems);
    publish::conflicts(&document, problems);
    let (vocabulary, ports, sets) = (&vocabulary, &mut ports, &mut sets);
    let mut policies = policy::Reader { vocabulary, ports, sets, problems };
    for (name, tenant) in tenants {
        let Some(tenant) = tenant else { continue };
        let scope = Scope::Tenant(name.value.clone());
        policies.policies(&scope, tenant.policies.as_ref(), &mut document);
        policies.assertions(&scope, tenant.assert.as_ref(), &mut document);
    }
    policies.policies(&Scope::Host, raw.policies.as_ref(), &mut document);
    policies.assertions(&Scope::Host, raw.assert.as_ref(), &mut document);
    processes::accounts(&document, problems);
    ports.report_unused(problems);
    sets.report_unused(raw, problems);
    document.policies.sort_by_key(|policy| policy.span);
    document.assertions.sort_by_key(|assertion| assertion.span);
    number_rules(&mut document.policies, file);
    document
}

/// Refuses files with more entries than the host has numbers for.
fn counts(raw: &RawFile, limits: &Limits, problems: &mut Problems<'_>) {
    fn sum<V>(raw: &RawFile, table: impl Fn(&RawTenant) -> Option<&Table<Name, V>>) -> usize {
        let tenants = raw.tenants.iter().flat_map(|table| &table.entries);
        tenants
            .filter_map(|(_, tenant)| table(tenant.as_ref()?))
            .map(|table| table.entries.len())
            .sum()
    }
    let host = raw.policies.as_ref().map_or(0, |table| table.entries.len());
    for (what, found, most) in [
        ("tenants", raw.tenants.as_ref().map_or(0, |table| table.entries.len()), limits.tenants),
        ("networks", sum(raw, |tenant| tenant.networks.as_ref()), limits.networks),
        ("workloads", sum(raw, |tenant| tenant.workloads.as_ref()), limits.workloads),
        ("policies", host + sum(raw, |tenant| tenant.policies.as_ref()), limits.policies),
    ] {
        if found > most {
            let message = format!("the file has {found} {what}, at most {most} are accepted");
            problems.push(Diagnostic::new(Code::Limit, crate::Severity::Error, None, message));
        }
    }
}

impl Ports {
    fn read(raw: &RawFile, problems: &mut Problems<'_>) -> Self {
        let mut ports = Self::default();
        for (name, words) in raw.ports.iter().flat_map(|table| &table.entries) {
            if name.value.as_str().parse::<PortSpec>().is_ok() {
                let message =
                    format!("`{}` is a word of the port language and cannot be a name", name.value);
                problems.push(
                    Diagnostic::error(Code::Name, name.span, message).hint("choose another name"),
                );
                continue;
            }
            if let Some(words) = words.as_ref().filter(|words| words.written > policy::MAX_ENTRIES)
            {
                problems.push(policy::too_long(words.written, words.span));
                continue;
            }
            let mut specs = Vec::new();
            for word in words.iter().flat_map(|words| &words.items) {
                match &word.value {
                    PortWord::Spec(spec) => specs.push(*spec),
                    PortWord::Named(other) => problems.push(
                        Diagnostic::error(
                            Code::Port,
                            word.span,
                            format!("`{other}` is not a port"),
                        )
                        .hint("a named port lists ports such as 80/tcp, not other names"),
                    ),
                }
            }
            ports.named.insert(name.value.clone(), (name.span, specs));
        }
        ports
    }

    /// The ports behind a word; nothing after a problem was reported.
    fn resolve(
        &mut self,
        word: &PortWord,
        span: Span,
        problems: &mut Problems<'_>,
    ) -> Vec<PortSpec> {
        let name = match word {
            PortWord::Spec(spec) => return vec![*spec],
            PortWord::Named(name) => name,
        };
        if let Some((_, specs)) = self.named.get(name) {
            self.used.insert(name.clone());
            return specs.clone();
        }
        let hint =
            did_you_mean(name.as_str(), self.named.keys().map(Name::as_str)).unwrap_or_else(|| {
                let usual = habits::usual_port(name.as_str());
                habits::instead_of_port(name.as_str()).unwrap_or_else(|| {
                    format!("define it: `ports: {{ {name}: {usual} }}`, or write the port itself")
                })
            });
        problems.push(
            Diagnostic::error(Code::UnknownPort, span, format!("there is no port named `{name}`"))
                .hint(hint),
        );
        Vec::new()
    }

    fn report_unused(&self, problems: &mut Problems<'_>) {
        for (name, (span, _)) in &self.named {
            if !self.used.contains(name) {
                let message = format!("{UNUSED_PORT}{name}`");
                problems.push(Diagnostic::warning(Code::Unused, *span, message));
            }
        }
    }
}

/// Gives every policy its position and every rule its number: derived from its path, or the next free one.
fn number_rules(policies: &mut [Policy], file: &Arc<str>) {
    let mut taken: HashSet<RuleId> = HashSet::with_capacity(policies.len());
    for (order, policy) in policies.iter_mut().enumerate() {
        policy.order = u32::try_from(order).unwrap_or(u32::MAX);
        let path: Arc<str> = Arc::from(crate::document::policy_path(&policy.scope, &policy.name));
        let mut rule = |kind: RuleKind| {
            let mut id = wanted_rule_id(&path, kind);
            while !taken.insert(id) {
                id = RuleId(id.0.checked_add(1).unwrap_or(1));
            }
            RuleRef {
                id,
                path: Arc::clone(&path),
                file: Arc::clone(file),
                line: policy.span.line,
                column: policy.span.column,
                kind,
            }
        };
        policy.allow_rule = (!policy.allow.is_empty()).then(|| rule(RuleKind::Allow));
        policy.deny_rule = (!policy.deny.is_empty()).then(|| rule(RuleKind::Deny));
        policy.audit_rule = policy.audit.then(|| rule(RuleKind::Audit));
    }
}

/// An empty list is an error: it looks like "everything" to one reader and like "nothing" to another.
fn empty_list(span: Span, hint: &str) -> Diagnostic {
    Diagnostic::error(Code::Value, span, "an empty list says nothing").hint(hint)
}

/// The finding for a name that is not defined.
fn unknown<'a>(
    what: &str,
    name: &str,
    span: Span,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> Diagnostic {
    let hint = did_you_mean(name, known.clone()).or_else(|| {
        let mut words: Vec<&str> = known.into_iter().take(9).collect();
        words.sort_unstable();
        match words.len() {
            0 => Some(format!("no {what} is defined here")),
            1..=8 => Some(format!("defined: {}", words.join(", "))),
            _ => None,
        }
    });
    Diagnostic::error(Code::Unknown, span, format!("there is no {what} `{name}`")).maybe_hint(hint)
}

/// Two or more values for one thing of which there may be one.
type Seen<K> = HashMap<K, Span>;
