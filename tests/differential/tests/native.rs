//! A million packets through the shared evaluator on the host, against the oracle.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use differential::run;

/// Verdicts to compare. Change it with `BULKHEAD_CASES`.
const CASES: usize = 1_000_000;
/// Packets for each policy version of a case.
const STEPS: usize = 120;

#[test]
fn every_verdict_is_what_the_file_says() {
    let wanted = std::env::var("BULKHEAD_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(CASES);
    let first = std::env::var("BULKHEAD_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let (next, compared) = (AtomicU64::new(first), AtomicUsize::new(0));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while compared.load(Ordering::Relaxed) < wanted {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    match run::native(seed, STEPS) {
                        Ok(count) => compared.fetch_add(count, Ordering::Relaxed),
                        Err(text) => panic!("{text}"),
                    };
                }
            });
        }
    });
    let (cases, seeds) = (compared.into_inner(), next.into_inner() - first);
    println!("{cases} verdicts over {seeds} documents agree");
}
