//! The watcher: reads flow events every 20 ms, ends flows that have timed out, and tells who waits for records.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use flow::Decoder;
use host::linux::bpf::{Collector, Events};
use jiff::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use verdict::abi::Event;

use crate::fault::sentence;
use crate::names::Names;
use crate::shared::Shared;

/// How often events are read; the programs wake us earlier when the buffer fills.
const INTERVAL: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
/// How often is looked whether names are known.
const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// How often the next part of the connection table is looked at.
const COLLECT: Duration = Duration::from_millis(500);
/// Events taken in one batch.
const BATCH: usize = 16_384;

/// Reads events until `stop` is set.
pub(crate) fn run(
    shared: &Shared,
    mut events: Events,
    mut collector: Collector,
    stop: &AtomicBool,
) {
    // What the kernel kept while no agent ran is of the document that is being restored: its names are needed first.
    while !shared.named.load(Ordering::Acquire) && !stop.load(Ordering::Relaxed) {
        let _early = poll(&mut [], Some(&PATIENCE));
    }
    let mut batch = Vec::new();
    let mut collected = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        wait(&events);
        events.drain(&mut batch, BATCH);
        if collected.elapsed() >= COLLECT {
            collected = Instant::now();
            match collector.collect(shared.clock().now()) {
                Ok(ended) => batch.extend(ended),
                Err(error) => tracing::warn!("collect ended flows: {}", sentence(&error)),
            }
        }
        take_in(shared, &shared.names(), &batch);
        batch.clear();
    }
}

/// Waits for the interval, or until the buffer is a quarter full. Reading too early does no harm.
fn wait(events: &Events) {
    let mut fds = [PollFd::new(events, PollFlags::IN)];
    let _early = poll(&mut fds, Some(&INTERVAL));
}

fn take_in(shared: &Shared, names: &Names, batch: &[Event]) {
    let now = Timestamp::now();
    let decoder = Decoder { resolver: names, clock: shared.flow_clock() };
    let mut flows = shared.flows();
    for event in batch {
        flows.add(decoder.decode(event), now);
    }
    flows.flush(now);
    let newest = flows.ring.last_number();
    drop(flows);
    shared.newest.send_if_modified(|number| std::mem::replace(number, newest) != newest);
}
