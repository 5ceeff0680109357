//! Ten thousand workloads and a hundred thousand policies compile at once, and change at once.

use std::time::{Duration, Instant};

use differential::{generate::facts, large};
use model::Posture;
use planner::{Allocations, Compiler, PlanReport};
use policy::Document;

/// Bounds that only another order of growth breaks; how fast it is, the benchmarks say.
const WHOLE: Duration = Duration::from_mins(2);
/// A plan, the first one or of a change.
const PLAN: Duration = Duration::from_mins(2);
/// Median of the changes.
const CHANGE: Duration = Duration::from_secs(2);

#[test]
fn large_documents_compile_and_change_quickly() {
    let doc = large::document(10_000, 100_000);
    let started = Instant::now();
    let mut compiler = Compiler::new(doc, &Allocations::default(), &facts()).expect("compiles");
    let whole = started.elapsed();
    let tables = &compiler.bundle().tables;
    println!(
        "10,000 workloads, 100,000 policies: {whole:?}; {} rows, {} ports, {} exact, {} prefixes",
        tables.rows.len(),
        tables.ports.len(),
        tables.exact.len(),
        tables.prefixes.len()
    );
    let mut changes = Vec::new();
    for at in 0..41 {
        let id = format!("t{}.w{}", at % 20, at * 3);
        let started = Instant::now();
        compiler.relabel(&id, large::labels(at, (at + 1) % 3)).expect("relabels");
        changes.push(started.elapsed());
    }
    changes.sort_unstable();
    println!("one label: median {:?}, worst {:?}", changes[20], changes[40]);
    let mut policies = Vec::new();
    for at in 0..41 {
        let mut policy = compiler.document().policies[at * 977].clone();
        policy.allow = vec!["7777/udp".parse().expect("a port")];
        let started = Instant::now();
        compiler.replace_policy(policy).expect("replaces");
        policies.push(started.elapsed());
    }
    policies.sort_unstable();
    println!("one policy: median {:?}, worst {:?}", policies[20], policies[40]);
    assert!(whole < WHOLE, "{whole:?}");
    assert!(changes[20] < CHANGE && policies[20] < CHANGE, "{changes:?} {policies:?}");
}

/// The reports of a first plan and of one changed policy, and how long they took.
fn plans(what: &str, doc: &Document) -> [PlanReport; 2] {
    let before = planner::compile(doc, &Allocations::default(), &facts()).expect("compiles");
    let started = Instant::now();
    let first = planner::diff(None, (doc, &before));
    let whole = started.elapsed();
    let mut next = doc.clone();
    next.policies[0].allow = vec!["7777/udp".parse().expect("a port")];
    let after = planner::compile(&next, &before.allocations, &facts()).expect("compiles");
    let started = Instant::now();
    let second = planner::diff(Some((doc, &before)), (&next, &after));
    let change = started.elapsed();
    println!("{what}: first {whole:?} ({} left out), change {change:?}", first.omitted);
    assert_eq!((first.uncompared, second.uncompared), (0, 0), "{what}");
    assert!(whole < PLAN && change < PLAN, "{what}: {whole:?} {change:?}");
    [first, second]
}

#[test]
fn plans_of_large_documents_are_quick() {
    let [_, change] =
        plans("10,000 workloads, 100,000 policies", &large::document(10_000, 100_000));
    assert_eq!((change.connections.len(), change.omitted), (2, 0), "{:?}", change.connections);
    let [first, change] = plans("1 workload, 100,000 addresses", &large::addresses(100_000));
    assert_eq!((first.connections.len(), first.omitted), (2_000, 98_000));
    assert_eq!((change.connections.len(), change.omitted), (2, 0), "{:?}", change.connections);
}

/// How long the plan takes in which everybody may open everything.
fn opening(what: &str, doc: &Document) -> PlanReport {
    let before = planner::compile(doc, &Allocations::default(), &facts()).expect("compiles");
    let mut next = doc.clone();
    for network in &mut next.networks {
        network.postures.egress = Posture::Allow;
        network.postures.ingress = Posture::Allow;
    }
    let after = planner::compile(&next, &before.allocations, &facts()).expect("compiles");
    let started = Instant::now();
    let report = planner::diff(Some((doc, &before)), (&next, &after));
    let took = started.elapsed();
    let pairs: usize = report.connections.iter().map(|line| line.pairs).sum();
    let (lines, omitted) = (report.connections.len(), report.omitted);
    println!("{what}, all open: {took:?}; {lines} lines for {pairs} pairs, {omitted} beyond");
    assert!(took < PLAN, "{what}: {took:?}");
    report
}

#[test]
fn nothing_is_left_uncompared_when_everything_opens() {
    let tenants = opening("10,000 workloads, 100,000 policies", &large::document(10_000, 100_000));
    assert_eq!(tenants.uncompared, 0);
    let flat = opening("10,000 workloads of one network", &large::flat(10_000, 100_000));
    assert_eq!(flat.uncompared, 0);
    let pairs: usize = flat.connections.iter().map(|line| line.pairs).sum();
    assert!(pairs + flat.omitted >= 9_999 * 10_000, "each pair of workloads changes");
}
