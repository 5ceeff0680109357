//! Passes over a part of the network: as good as a whole one for what changed, and blind to the rest.

use std::collections::BTreeMap;

use super::*;

/// Four workloads in two networks, one without any.
pub(super) fn town() -> Desired {
    let mut desired = shop();
    desired.routers[0].endpoints.push(endpoint(3, "cache"));
    let mut bank = shop().routers.remove(0);
    bank.number = NetworkNumber::new(4).expect("in range");
    bank.name = NsName::router("bank", "main").expect("a name");
    bank.publishes.clear();
    let mut teller = endpoint(7, "teller");
    teller.workload = NsName::workload("bank", "teller").expect("a name");
    bank.endpoints = vec![teller];
    desired.routers.push(bank);
    let safe = NsName::workload("bank", "safe").expect("a name");
    desired.isolated.push(IsolatedDesired { workload: safe });
    desired
}

impl Bench {
    /// Runs a pass over what differs from `before`.
    fn change(&mut self, before: &Desired, desired: &Desired) -> Outcome {
        self.kernel.clear_log();
        let scope = Scope::between(before, desired);
        let outcome = reconcile_in(&mut self.kernel, &mut self.programs, desired, &scope);
        outcome.expect("readable")
    }
}

/// A change: what it is, and how it is made.
type Edit = (&'static str, fn(&mut Desired));

/// Every kind of change that an `up` can make, as (what, edit).
pub(super) fn changes() -> Vec<Edit> {
    vec![
        ("nothing", |_| {}),
        ("a workload comes", |town| town.routers[0].endpoints.push(endpoint(9, "new"))),
        ("a workload goes", |town| drop(town.routers[0].endpoints.remove(1))),
        ("all workloads of a network go", |town| town.routers[0].endpoints.clear()),
        ("an address changes", |town| {
            town.routers[0].endpoints[0].addresses =
                vec!["10.0.1.200/24".parse().expect("an address")];
        }),
        ("a number goes to another workload", |town| {
            town.routers[0].endpoints[0] = endpoint(1, "other");
        }),
        ("a number goes to another network", |town| {
            let mut moved = town.routers[0].endpoints.remove(0);
            moved.workload = NsName::workload("bank", "web").expect("a name");
            town.routers[1].endpoints.push(moved);
        }),
        ("a published port goes", |town| town.routers[0].publishes.clear()),
        ("a network leaves with another address", |town| {
            town.routers[0].snat = vec![[198, 51, 100, 3].into()];
        }),
        ("a network goes", |town| drop(town.routers.remove(0))),
        ("another network goes", |town| drop(town.routers.remove(1))),
        ("a network changes its mode", |town| town.routers[0].mode = Mode::Bridge),
        ("links get another MTU", |town| {
            town.routers[0].mtu = 1400;
            town.routers[0].endpoints.iter_mut().for_each(|endpoint| endpoint.mtu = 1400);
        }),
        ("a workload loses its network", |town| {
            let gone = town.routers[0].endpoints.remove(0);
            town.isolated.push(IsolatedDesired { workload: gone.workload });
        }),
        ("a workload without network goes", |town| town.isolated.clear()),
        ("everything goes", |town| *town = Desired::default()),
    ]
}

/// The same with a workload that is in both networks.
fn with_both() -> Desired {
    let mut desired = town();
    let mut first = endpoint(11, "both");
    first.several = true;
    let mut further = endpoint(12, "both");
    (further.several, further.further) = (true, true);
    "eth1".clone_into(&mut further.interface);
    desired.routers[0].endpoints.push(first);
    desired.routers[1].endpoints.push(further);
    desired
}

/// Says of each endpoint whether its workload has others, as the planner does.
fn count(desired: &mut Desired) {
    let endpoints = || desired.routers.iter().flat_map(|router| &router.endpoints);
    let mut known: BTreeMap<NsName, usize> = BTreeMap::new();
    for endpoint in endpoints() {
        *known.entry(endpoint.workload.clone()).or_default() += 1;
    }
    for endpoint in desired.routers.iter_mut().flat_map(|router| &mut router.endpoints) {
        endpoint.several = known.get(&endpoint.workload).is_some_and(|number| *number > 1);
    }
}

#[test]
fn a_workload_in_two_networks_is_whole_whichever_part_is_looked_at() {
    let mut bench = Bench::new();
    let desired = with_both();
    bench.pass(&desired);
    let both = workload("both");
    let state = bench.kernel.namespaces.get(&both).expect("one namespace").clone();
    assert_eq!(state.links.keys().collect::<Vec<_>>(), ["eth0", "eth1"]);
    assert_eq!(state.rules.len(), 2);
    let default: Vec<_> = state.routes.iter().filter(|route| route.to.prefix_len() == 0).collect();
    let main: Vec<_> = default.iter().filter(|route| route.table.is_none()).collect();
    assert_eq!(main.iter().map(|route| &*route.dev).collect::<Vec<_>>(), ["eth0"]);
    assert_eq!(default.len(), 3, "one in each table");
    for scope in Scope::parts(&desired, 1) {
        let outcome = reconcile_in(&mut bench.kernel, &mut bench.programs, &desired, &scope);
        let outcome = outcome.expect("readable");
        assert!(outcome.is_quiet(), "{:#?}", outcome.done);
    }
    // What was spoiled at the one comes back, and nothing happens to the other.
    let spoiled = bench.kernel.namespaces.get_mut(&both).expect("it");
    spoiled.rules.clear();
    spoiled.routes.retain(|route| route.table.is_none());
    for scope in Scope::parts(&desired, 1) {
        let outcome = reconcile_in(&mut bench.kernel, &mut bench.programs, &desired, &scope);
        assert!(outcome.expect("readable").failed.is_empty());
    }
    assert_eq!(bench.kernel.namespaces.get(&both), Some(&state));
    // One of them goes.
    let mut one = with_both();
    one.routers[1].endpoints.pop();
    one.routers[0].endpoints.last_mut().expect("the first").several = false;
    bench.change(&desired, &one);
    let left = bench.kernel.namespaces.get(&both).expect("it stays");
    assert_eq!((left.links.len(), left.rules.len(), left.routes.len()), (1, 0, 1));
    assert!(bench.pass(&one).is_quiet());
}

#[test]
fn a_change_leaves_nothing_to_do_and_can_be_taken_back() {
    for ((what, edit), both) in changes().into_iter().flat_map(|each| [(each, false), (each, true)])
    {
        let world = if both { with_both } else { town };
        let mut bench = Bench::new();
        let (before, mut after) = (world(), world());
        edit(&mut after);
        count(&mut after);
        bench.pass(&before);
        let picture = bench.kernel.to_string();

        let outcome = bench.change(&before, &after);
        assert!(outcome.failed.is_empty(), "{what}: {:#?}", outcome.failed);
        let rest = bench.pass(&after);
        assert!(rest.is_quiet(), "{what}: a whole pass still found {:#?}", rest.done);

        let outcome = bench.change(&after, &before);
        assert!(outcome.failed.is_empty(), "{what}, back: {:#?}", outcome.failed);
        let rest = bench.pass(&before);
        assert!(rest.is_quiet(), "{what}, back: a whole pass still found {:#?}", rest.done);
        assert_eq!(without_indices(&bench.kernel.to_string()), without_indices(&picture), "{what}");
    }
}

/// The picture without the numbers of transit links, which the kernel chooses.
fn without_indices(picture: &str) -> String {
    let words = picture.lines().map(|line| {
        let line = line.split_once(": ").map_or(line, |(_, rest)| rest);
        line.split_once(" peer ").map_or(line, |(front, _)| front)
    });
    words.collect::<Vec<_>>().join("\n")
}

#[test]
fn one_new_workload_reads_its_own_namespace_and_its_router() {
    let mut bench = Bench::new();
    let (before, mut after) = (town(), town());
    bench.pass(&before);
    after.routers[0].endpoints.push(endpoint(9, "new"));
    bench.kernel.looks.clear();
    let outcome = bench.change(&before, &after);
    assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    assert_eq!(bench.kernel.looks, [Ns::Host, router(), workload("new")]);
    assert!(outcome.done.iter().all(|step| !step.contains("bank")), "{:#?}", outcome.done);
}

#[test]
fn what_others_spoil_elsewhere_is_left_to_a_whole_pass() {
    let mut bench = Bench::new();
    let (before, mut after) = (town(), town());
    bench.pass(&before);
    let picture = bench.kernel.to_string();
    let teller = Ns::Ours(NsName::workload("bank", "teller").expect("a name"));
    bench.kernel.namespaces.get_mut(&teller).expect("a workload").routes.clear();
    after.routers[0].endpoints.push(endpoint(9, "new"));
    bench.change(&before, &after);
    bench.change(&after, &before);
    assert_ne!(bench.kernel.to_string(), picture, "a part says nothing about the rest");
    bench.pass(&before);
    assert_eq!(bench.kernel.to_string(), picture);
}

#[test]
fn bit_by_bit_is_as_good_as_at_once() {
    let mut bench = Bench::new();
    bench.pass(&town());
    let picture = bench.kernel.to_string();
    // Something foreign in a router, something lost in a workload, something that nobody wants any more.
    let parts = Scope::parts(&town(), 2);
    assert_eq!(parts.len(), 4, "frames, two and one of a network, one of the other");
    let mut more = town();
    more.routers[0].endpoints.push(endpoint(9, "stray"));
    bench.pass(&more);
    let web = bench.kernel.namespaces.get_mut(&workload("web")).expect("a workload");
    web.routes.clear();
    bench.kernel.tables.get_mut(&router()).expect("a table").1 = false;
    for scope in &parts {
        let outcome =
            reconcile_in(&mut bench.kernel, &mut bench.programs, &town(), scope).expect("readable");
        assert!(outcome.failed.is_empty(), "{:#?}", outcome.failed);
    }
    assert_eq!(bench.kernel.to_string(), picture);
    bench.quiet(&town());
}

#[test]
fn many_that_go_are_deleted_in_one_request() {
    let mut bench = Bench::new();
    let (before, mut after) = (town(), town());
    bench.pass(&before);
    after.routers[0].endpoints.truncate(1);
    let done = bench.change(&before, &after).done;
    let deletions: Vec<_> = done.iter().filter(|step| step.contains(" link delete")).collect();
    assert_eq!(deletions, ["ip -n shop.main.router link delete group # bh2 bh3"]);
    assert_eq!(bench.programs.attached.len(), 2, "programs of those that stay");
}
