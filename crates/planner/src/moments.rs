//! The times ahead at which another set of policies is in force: what holds now need not hold then.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use policy::Document;

/// How far ahead schedules are followed: every combination of days and hours comes round in a week, and in the week of a
/// change of offset.
const AHEAD: SignedDuration = SignedDuration::from_hours(24 * 15);
/// Most questions whether a policy exists at a time: a tenth of a second.
const QUESTIONS: usize = 200_000;

/// For each set of policies and audits that will be in force and is not now, the first moment at which it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Moments {
    /// In ascending order.
    pub moments: Vec<Timestamp>,
    /// Whether there may be more than these within the time that is looked at.
    pub is_cut: bool,
}

/// Looks ahead: fifteen days for schedules, and to every end that the file names.
#[must_use]
pub fn moments(document: &Document, now: Timestamp) -> Moments {
    let changing: Vec<_> =
        document.policies.iter().filter(|policy| policy.next_change(now).is_some()).collect();
    let audits = document.audits().filter_map(|(_, audit)| audit.until);
    let published = document.publishes.iter().filter_map(|publish| publish.until);
    let ends: Vec<Timestamp> = audits.chain(published).collect();
    let state = |at: Timestamp| -> Vec<bool> {
        let policies = changing.iter().map(|policy| policy.is_absent(at));
        policies.chain(ends.iter().map(|end| *end <= at)).collect()
    };
    let width = changing.len() + ends.len();
    let mut found = Moments::default();
    if width == 0 {
        return found;
    }
    let mut seen: BTreeSet<Vec<bool>> = BTreeSet::from([state(now)]);
    let mut steps = QUESTIONS / width;
    let far = changing.iter().filter_map(|policy| policy.until).chain(ends.iter().copied());
    let far: BTreeSet<Timestamp> = far.filter(|end| *end > now).collect();
    // After each end that lies beyond the days that are followed, only these ends are looked at.
    let mut at = now;
    loop {
        let next = changing.iter().filter_map(|policy| policy.next_change(at));
        let next = next.filter(|next| *next <= now + AHEAD).chain(far.range(at..).copied());
        let Some(next) = next.filter(|next| *next > at).min() else { return found };
        if steps == 0 {
            found.is_cut = true;
            return found;
        }
        steps -= 1;
        at = next;
        if seen.insert(state(at)) {
            found.moments.push(at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(policies: &str) -> String {
        let text = format!(
            "bulkhead: 1
tenants:
  t:
    networks: {{ main: {{ mode: nat, subnets: [10.0.0.0/16] }} }}
    workloads:
      a: {{ labels: {{ app: a }}, netns: a }}
      b: {{ labels: {{ app: b }}, netns: b }}
    policies:
{policies}"
        );
        // A Sunday.
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().expect("a time");
        let source = policy::Source { name: "f.yaml", text: &text };
        let checked = policy::load(&source, &|_| None, &policy::Limits::default(), now);
        let document = checked.unwrap_or_else(|found| panic!("{found}")).document;
        let found = moments(&document, now);
        let times: Vec<String> = found.moments.iter().map(ToString::to_string).collect();
        format!("{} {}", times.join(" "), if found.is_cut { "cut" } else { "all" })
    }

    #[test]
    fn each_set_of_policies_comes_once() {
        let plain = "      x: { from: app=a, to: app=b, allow: [80/tcp] }\n";
        assert_eq!(shown(plain), " all");
        let work = "      w: { from: app=a, to: app=b, allow: [81/tcp], schedule: { days: mon-fri, hours: 08:00-18:00, zone: UTC } }\n";
        assert_eq!(shown(&[plain, work].concat()), "2026-11-23T08:00:00Z all");
        let late = "      l: { from: app=b, to: app=a, allow: [82/tcp], schedule: { hours: 17:00-20:00, zone: UTC } }\n";
        // The late one alone, today; the work alone; both.
        let both = "2026-11-22T17:00:00Z 2026-11-23T08:00:00Z 2026-11-23T17:00:00Z all";
        assert_eq!(shown(&[work, late].concat()), both);
        let until = "      u: { from: app=b, to: app=a, deny: [any], until: 2027-06-30 }\n";
        assert_eq!(shown(&[plain, until].concat()), "2027-07-01T00:00:00Z all");
    }
}
