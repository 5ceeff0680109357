//! Where a pass may be killed: after any of its steps, no link that is up is without its programs.

use super::parts::{changes, town};
use super::*;

/// The plan of a pass from what is there to `desired`.
fn plan(bench: &mut Bench, desired: &Desired) -> Plan {
    let seen = observe(&mut bench.kernel, &mut bench.programs, desired, &Scope::All);
    Plan::diff(desired, &seen.expect("readable").0)
}

/// The first `count` steps of a plan, as an agent that is killed then has done them.
fn beginning(plan: &Plan, mut count: usize) -> Plan {
    let mut units = plan.units.clone();
    for unit in &mut units {
        unit.steps.truncate(count);
        count -= unit.steps.len();
    }
    Plan { units }
}

/// Links of endpoints that are up and let packets pass unjudged.
fn open_links(bench: &Bench) -> Vec<String> {
    let links = bench.kernel.namespaces.values().flat_map(|state| &state.links);
    let open = links.filter(|(name, link)| {
        let number = EndpointNumber::from_link_name(name);
        number.is_some_and(|number| link.up && !bench.programs.attached.contains(&number))
    });
    open.map(|(name, _)| name.clone()).collect()
}

#[test]
fn an_agent_that_is_killed_anywhere_leaves_no_link_open() {
    for (what, edit) in changes() {
        let (before, mut after) = (town(), town());
        edit(&mut after);
        for (from, to) in [(&before, &after), (&after, &before)] {
            let mut whole = Bench::new();
            whole.pass(from);
            let plan = plan(&mut whole, to);
            for killed in 0..=plan.len() {
                let mut bench = whole.clone();
                apply(&mut bench.kernel, &mut bench.programs, &beginning(&plan, killed));
                let open = open_links(&bench);
                assert!(open.is_empty(), "{what}: {open:?} after {killed} of {}", plan.len());
            }
        }
    }
}

#[test]
fn a_link_that_cannot_be_deleted_keeps_its_programs() {
    for left in [0, 1] {
        let mut bench = Bench::new();
        bench.pass(&town());
        let mut desired = town();
        desired.routers[0].endpoints.truncate(left + 1);
        bench.kernel.refuse = Some(" link delete".to_owned());
        assert_eq!(bench.pass(&desired).failed.len(), 1);
        assert_eq!(open_links(&bench), Vec::<String>::new());
    }
}
