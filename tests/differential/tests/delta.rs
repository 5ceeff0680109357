//! A compiler that follows changes has the bundle of a fresh compilation, and every bundle is sound.

use differential::generate::{document, edit, facts};
use differential::oracle::{Answer, Flow, Scene};
use differential::rng::Rng;
use model::Proto;
use planner::{Allocations, Bundle, Compiler, Limits, Party};
use policy::Document;

const SEEDS: u64 = 400;

/// What the generator's documents need at most.
const ROOM: Limits =
    Limits { exact: 1 << 12, prefixes: 1 << 12, rows: 1 << 16, ports: 1 << 16, limits: 1 << 12 };

fn fresh(doc: &Document, allocations: &Allocations) -> Bundle {
    planner::compile(doc, allocations, &facts()).expect("the generator's documents compile")
}

fn same(seed: u64, what: &str, compiler: &Compiler, before: &Allocations) {
    let expected = fresh(compiler.document(), before);
    let bundle = compiler.bundle();
    assert_eq!(bundle.tables.exact, expected.tables.exact, "seed {seed}: exact after {what}");
    assert_eq!(bundle.tables.prefixes, expected.tables.prefixes, "seed {seed}: {what}");
    assert_eq!(bundle.tables.rows, expected.tables.rows, "seed {seed}: rows after {what}");
    assert_eq!(bundle.tables.ports, expected.tables.ports, "seed {seed}: ports after {what}");
    assert_eq!(bundle.tables.endpoints, expected.tables.endpoints, "seed {seed}: {what}");
    assert_eq!(bundle.rules, expected.rules, "seed {seed}: rules after {what}");
    assert_eq!(bundle.workloads, expected.workloads, "seed {seed}: workloads after {what}");
    assert_eq!(bundle.identities, expected.identities, "seed {seed}: identities after {what}");
    assert_eq!(bundle.expires, expected.expires, "seed {seed}: expiry after {what}");
    assert_eq!(*bundle, expected, "seed {seed}: bundle after {what}");
    let faults = planner::check(bundle, &ROOM);
    assert!(faults.is_empty(), "seed {seed}: {faults:?}");
}

/// The same document with a workload more, a workload less, or both: what runtimes do to it.
fn moved(rng: &mut Rng, document: &Document) -> Document {
    let mut next = document.clone();
    let published = |id: &str| {
        let mut publishes = document.publishes.iter();
        publishes.any(|each| format!("{}.{}", each.tenant, each.workload) == id)
    };
    if rng.below(3) > 0 && !next.workloads.is_empty() {
        let mut twin = rng.pick(&next.workloads).clone();
        let name = format!("twin{}", rng.below(4));
        twin.name = model::Name::new(&name).expect("a name");
        (twin.v4, twin.v6) = (None, None);
        if document.workload(&twin.id()).is_none() {
            let at = rng.below(next.workloads.len() + 1);
            next.workloads.insert(at, twin);
        }
    }
    if rng.below(3) > 0 && next.workloads.len() > 1 {
        let at = rng.below(next.workloads.len());
        if !published(&next.workloads[at].id()) {
            next.workloads.remove(at);
        }
    }
    next
}

#[test]
fn following_changes_equals_compiling_anew() {
    for seed in 1..=SEEDS {
        let mut rng = Rng::new(seed);
        let doc = document(&mut rng);
        let mut compiler = Compiler::new(doc, &Allocations::default(), &facts()).expect("compiles");
        same(seed, "nothing", &compiler, &Allocations::default());
        for _ in 0..6 {
            let before = compiler.bundle().allocations.clone();
            let next = edit(&mut rng, compiler.document());
            let what = match rng.below(5) {
                4 => {
                    let next = moved(&mut rng, compiler.document());
                    compiler.update(next, &facts()).expect("updates");
                    "coming and going"
                }
                0 => {
                    compiler.update(next, &facts()).expect("updates");
                    "update"
                }
                1 => {
                    let workload = rng.pick(&next.workloads).clone();
                    compiler.relabel(&workload.id(), workload.labels.clone()).expect("relabels");
                    "relabel"
                }
                2 => match next.policies.first() {
                    Some(policy) => {
                        compiler.replace_policy(policy.clone()).expect("replaces");
                        "replace"
                    }
                    None => "nothing",
                },
                _ => match compiler.document().policies.last().cloned() {
                    Some(policy) => {
                        compiler.remove(&policy.scope, &policy.name).expect("removes");
                        "remove"
                    }
                    None => "nothing",
                },
            };
            same(seed, what, &compiler, &before);
        }
    }
}

/// What the reachability says of one port is what the oracle says of a flow to it.
#[test]
fn reachability_is_exact() {
    for seed in 1..=SEEDS {
        let mut rng = Rng::new(seed);
        let doc = document(&mut rng);
        let bundle = fresh(&doc, &Allocations::default());
        let scene = Scene::new(&doc, &bundle, &facts());
        // Without anybody who has a network there is nothing to ask.
        for _ in 0..if scene.seats.is_empty() { 0 } else { 20 } {
            let (a, b) = (rng.below(scene.seats.len()), rng.below(scene.seats.len()));
            let (from, to) = (scene.seats[a], scene.seats[b]);
            let Some((source, target)) = from.v4.zip(to.v4).or(from.v6.zip(to.v6)) else {
                continue;
            };
            if a == b || from.network != to.network {
                continue;
            }
            let party =
                |at: usize| Party::Workload(doc.workloads[scene.seats[at].workload].id().into());
            let spans = planner::between(&bundle, &party(a), &party(b));
            for _ in 0..30 {
                let port = *rng.pick(&differential::generate::PORTS);
                let (protocol, sport) = (*rng.pick(&[6, 17, 132]), rng.word());
                let (network, ports) = (from.network, (sport, port));
                let flow = Flow { network, source, target, protocol, ports };
                let passes = scene
                    .judge(&flow)
                    .is_some_and(|opinion| !matches!(opinion.answer, Answer::Drop(_)));
                let said = spans.iter().any(|span| {
                    span.protocol == Proto::from_number(protocol)
                        && (span.ports.0..=span.ports.1).contains(&port)
                        && span.sources.is_none_or(|(first, last)| (first..=last).contains(&sport))
                });
                assert_eq!(said, passes, "seed {seed}: {flow:?} {spans:?}");
            }
        }
    }
}
