//! Ten thousand workloads and a hundred thousand policies compile at once, and change at once.

use std::time::{Duration, Instant};

use differential::{generate::facts, large};
use planner::{Allocations, Compiler};

/// Generous: a busy machine and a build without link-time optimisation must pass too.
const WHOLE: Duration = Duration::from_secs(8);
/// Median of the changes.
const CHANGE: Duration = Duration::from_millis(60);

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
