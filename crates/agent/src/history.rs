//! The historian: writes flow records, the flow store and the rules' counts to the disk every few seconds, and reads them back once, at
//! the start.
//!
//! So `observe`, `why`, `plan` and `policy rules` know after a restart what was seen before it. Writing is behind and never in the way:
//! records wait in the ring, at most [`BATCH`] are written in one transaction, and records that the ring had to forget
//! before their turn are missing on the disk. A crash loses the last seconds. The flow store counts every record as it
//! comes, whatever the ring forgets: see [`hours`].

pub(crate) mod hours;

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use flow::{Filter, RuleTally};
use host::linux::bpf::Origin;
use jiff::Timestamp;

use self::hours::Writer;
use crate::saved::Store;
use crate::shared::Shared;

/// How often records are written.
const INTERVAL: Duration = Duration::from_secs(3);
/// Records in one transaction.
const BATCH: usize = 2_048;
/// Records that are read back at the start.
const RECALLED: usize = 16_384;

/// Puts what was recorded before this start into the ring, and goes on counting. Without it the agent knows less, and works.
///
/// Counts begin anew with the kernel's own, which is when its maps are made.
pub(crate) fn recall(shared: &Shared, store: &Store, origin: Origin) {
    let known = match store.tally() {
        Ok(known) => known.filter(|_| origin != Origin::Fresh),
        Err(error) => {
            complain(&error);
            None
        }
    };
    shared.flows().tally = known.unwrap_or_else(|| RuleTally::new(Timestamp::now()));
    match store.history(RECALLED) {
        Ok(records) => {
            let mut flows = shared.flows();
            for record in records {
                flows.ring.push(record);
            }
        }
        Err(error) => complain(&error),
    }
}

/// Writes records newer than `written` until the other end of `ended` is gone; then what is left.
pub(crate) fn run(
    shared: &Shared,
    store: &Store,
    mut writer: Option<Writer>,
    mut written: u64,
    ended: &Receiver<()>,
) {
    let mut counted = RuleTally::default();
    loop {
        let ends = ended.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout);
        while let Some(last) = write(shared, store, written) {
            written = last;
        }
        count(shared, store, &mut counted);
        if let Some(writer) = &mut writer {
            writer.write(shared, ends);
        }
        if ends {
            if let Some(writer) = &writer {
                writer.sync();
            }
            if let Err(error) = store.sync() {
                complain(&error);
            }
            return;
        }
    }
}

/// Writes one batch; the number of its last record. `None` when there is nothing to write. A batch that cannot be written
/// is told and left out.
fn write(shared: &Shared, store: &Store, written: u64) -> Option<u64> {
    let batch = shared.flows().ring.after(written, &Filter::default(), BATCH);
    let last = batch.last()?.number;
    if let Err(error) = store.append(&batch) {
        complain(&error);
    }
    Some(last)
}

/// Writes what rules decided, when that is more than was written last.
fn count(shared: &Shared, store: &Store, counted: &mut RuleTally) {
    let tally = shared.flows().tally.clone();
    if tally == *counted {
        return;
    }
    match store.keep_tally(&tally) {
        Ok(()) => *counted = tally,
        Err(error) => complain(&error),
    }
}

fn complain(error: &api::Error) {
    let cause = error.cause.as_deref().unwrap_or_default();
    tracing::warn!("{error} {cause}");
}
