//! The kernel's policy tables: `host::linux::bpf`, which shows every packet the old version or the new one.

use host::linux::bpf::{Datapath, Error, Outcome};
use verdict::abi::{Endpoint, Posture, UNMANAGED_ENDPOINT, UPLINKS};
use verdict::native::Tables;

use super::Pass;

/// Makes the kernel judge by `tables`.
pub(crate) fn pass(datapath: &mut Datapath, tables: &Tables) -> Pass {
    told(datapath.apply(tables))
}

/// As [`pass`], but reads the maps first; also says how many entries somebody else had changed. `None` when it gave up
/// because `stop` said so.
pub(crate) fn verify(
    datapath: &mut Datapath,
    tables: &Tables,
    stop: &dyn Fn() -> bool,
) -> Option<(Pass, usize)> {
    let outcome = datapath.verify_unless(tables, stop).transpose()?;
    let drift = outcome.as_ref().map_or(0, |outcome| outcome.drift);
    Some((told(outcome), drift))
}

/// What became of an update, as a pass.
pub(crate) fn told(outcome: Result<Outcome, Error>) -> Pass {
    match outcome {
        Ok(outcome) if outcome.is_unchanged() => Pass::default(),
        Ok(outcome) => Pass {
            done: vec![format!(
                "bpf map update: {} entries written, {} removed, epoch {}, in force after {} µs",
                outcome.written,
                outcome.removed,
                outcome.epoch,
                outcome.effective.as_micros()
            )],
            changes: (outcome.written + outcome.removed) as u64,
            failed: Vec::new(),
        },
        Err(error) => Pass::failed(&error),
    }
}

/// The tables in force with the endpoints of `wanted` that they lack, closed: such an endpoint knows its addresses, so the
/// guard works, and has no policy, so nothing passes.
pub(crate) fn with_closed(current: &Tables, wanted: &Tables) -> Tables {
    let mut tables = current.clone();
    if tables.endpoints.is_empty() {
        tables.config = wanted.config;
    }
    for (number, endpoint) in &wanted.endpoints {
        if !tables.endpoints.contains_key(number) {
            // What is nobody's begins with its posture: it has no policy that could be missing.
            if *number == UNMANAGED_ENDPOINT {
                tables.endpoints.insert(*number, *endpoint);
                continue;
            }
            // The host begins open, as it was: whoever manages it is connected already.
            let posture = if *number >= UPLINKS { Posture::Allow as u8 } else { 0 };
            let closed = Endpoint { slots: [[0; 2]; 2], posture: [[posture; 2]; 2], ..*endpoint };
            tables.endpoints.insert(*number, closed);
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_endpoints_begin_closed_and_old_ones_are_left_alone() {
        let endpoint = |slot| Endpoint {
            slots: [[slot; 2]; 2],
            posture: [[2; 2]; 2],
            network: 1,
            ..Endpoint::default()
        };
        let mut current = Tables::default();
        current.endpoints.insert(1, endpoint(7));
        let mut wanted = Tables::default();
        wanted.endpoints.insert(1, endpoint(8));
        wanted.endpoints.insert(2, endpoint(9));
        let tables = with_closed(&current, &wanted);
        assert_eq!(tables.endpoints[&1], endpoint(7));
        assert_eq!(tables.endpoints[&2].slots, [[0; 2]; 2]);
        assert_eq!(tables.endpoints[&2].posture, [[0; 2]; 2]);
        assert_eq!(tables.endpoints[&2].network, 1);
    }
}
