//! Waiting until no packet sees what a table said before.
//!
//! Programs run inside of an RCU read-side section. `MEMBARRIER_CMD_GLOBAL` returns after an RCU grace
//! period (kernel/sched/membarrier.c: `synchronize_rcu`); where it is missing or refused, as on
//! machines with `nohz_full`, a grace period is had by replacing an element of a map of maps, for
//! which the kernel waits (kernel/bpf/syscall.c: `maybe_wait_bpf_programs`).

#![expect(unsafe_code, reason = "membarrier(2) has no safe wrapper")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

use super::Error;
use super::sys::{self, MapShape};

/// `MEMBARRIER_CMD_GLOBAL`.
const GLOBAL: libc::c_int = 1;
/// `BPF_MAP_TYPE_ARRAY`, `BPF_MAP_TYPE_ARRAY_OF_MAPS`.
const ARRAY: u32 = 2;
const ARRAY_OF_MAPS: u32 = 12;

/// Waits for a grace period.
pub(super) fn wait() -> Result<(), Error> {
    // SAFETY: the call takes numbers only.
    let result = unsafe { libc::syscall(libc::SYS_membarrier, GLOBAL, 0, 0) };
    if result == 0 { Ok(()) } else { replace_map().map_err(Error::Grace) }
}

fn replace_map() -> io::Result<()> {
    let shape =
        MapShape { kind: ARRAY, key_bytes: 4, value_bytes: 4, entries: 1, ..MapShape::default() };
    let inner = sys::create_map(&shape)?;
    let outer = sys::create_map_of_maps(&MapShape { kind: ARRAY_OF_MAPS, ..shape }, inner.as_fd())?;
    sys::update(outer.as_fd(), &0_u32, &inner.as_raw_fd().cast_unsigned(), 0)
}
