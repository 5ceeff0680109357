//! Every rule and how often it decided.

use std::collections::HashMap;

use api::{Error, RuleCount, Rules, codes};
use policy::document::Policy;

use crate::fault::failed;
use crate::shared::Shared;

use super::flows::moment;
use super::{remark, rule_at};

/// Rules in file order. Flows and drops are the kernel's counts, what was only recorded is counted from flow
/// events; neither begins anew when the agent does.
///
/// # Errors
/// `BH0216` without a document, `BH0215` when the kernel does not tell.
pub(crate) fn rules(shared: &Shared) -> Result<Rules, Error> {
    counted(shared, usize::MAX)
}

/// As [`rules`], of the first rules only, `most` of them.
///
/// # Errors
/// As [`rules`].
pub(crate) fn counted(shared: &Shared, most: usize) -> Result<Rules, Error> {
    let force = shared.forced()?;
    let counts = shared.meters.rules();
    let counts =
        counts.map_err(|error| failed(codes::DATAPATH, "read the rules' counters", &error))?;
    let counts: HashMap<u32, _> = counts.into_iter().collect();
    let now = jiff::Timestamp::now();
    let flows = shared.flows();
    let policies = &force.wanted.document.policies;
    let rules = policies.iter().flat_map(|policy| {
        let pause = pause(policy, now);
        policy.rules().map(|rule| (policy.is_expired(now), pause.clone(), rule)).collect::<Vec<_>>()
    });
    let commented = |rule| {
        let mut rule = rule_at(rule);
        remark(&force.wanted.document, &mut rule);
        rule
    };
    let rules = rules.take(most).map(|(expired, pause, rule)| {
        let seen = flows.tally.of(rule.id.0);
        let count = counts.get(&rule.id.0).copied().unwrap_or_default();
        RuleCount {
            rule: commented(rule),
            expired,
            pause,
            flows: count.flows,
            drops: count.drops,
            audits: seen.audits,
            last: seen.last.map(moment),
        }
    });
    let since = flows.tally.since().map(moment);
    Ok(Rules { generation: force.generation, since, rules: rules.collect() })
}

/// That a policy is outside its schedule, and when it opens next; nothing of one that has ended.
pub(crate) fn pause(policy: &Policy, now: jiff::Timestamp) -> Option<String> {
    let schedule = policy.schedule.as_ref().filter(|times| !times.contains(now))?;
    (!policy.is_expired(now)).then(|| schedule.pause(now))
}
