//! The evaluator's tables, standing on the kernel's maps.

use core::arch::asm;
use core::ops::{Deref, DerefMut};
use core::ptr;

use aya_ebpf::helpers::bpf_jiffies64;
use verdict::abi::{
    Config, Endpoint, Event, FlowEntry, FlowKey, FragmentKey, Peer, PeerKey, PortEntry, PortKey,
    Ports, Row, RowKey,
};
use verdict::{Env, Full};

use crate::{maps, meters};

/// `BPF_NOEXIST`.
const NEW: u64 = 1;
/// `BPF_EXIST`.
const REPLACE: u64 = 2;

/// The tables during one packet.
pub(crate) struct Kernel {
    config: &'static Config,
}

impl Kernel {
    #[inline(always)]
    pub(crate) fn new() -> Option<Self> {
        let config = maps::CONFIG.get_ptr(0)?;
        // SAFETY: a value of an array lives as long as the map; the agent stores whole words.
        Some(Self { config: unsafe { &*config } })
    }
}

/// A live connection table entry.
pub(crate) struct Live(*mut FlowEntry);

impl Deref for Live {
    type Target = FlowEntry;

    #[inline(always)]
    fn deref(&self) -> &FlowEntry {
        // SAFETY: a value that the map returned; the kernel keeps its memory until the program
        // ends. Another CPU may write to it at the same time: every field is a plain number.
        unsafe { &*self.0 }
    }
}

impl DerefMut for Live {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut FlowEntry {
        // SAFETY: as above.
        unsafe { &mut *self.0 }
    }
}

/// Adds to a counter that other CPUs add to; wraps, so adding a negative number takes away.
///
/// Written out because kernels before 5.12 know only this atomic instruction, without a result.
#[inline(always)]
pub(crate) fn add(counter: *mut u64, by: u64) {
    // SAFETY: an aligned field of a map's value; the instruction touches these 8 bytes only.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) by) };
}

impl Env for Kernel {
    type Flow<'a> = Live;

    #[inline(always)]
    fn config(&self) -> &Config {
        self.config
    }

    #[inline(always)]
    fn epoch(&self) -> u64 {
        // SAFETY: an aligned field that the agent changes with one store.
        unsafe { ptr::from_ref(&self.config.epoch).read_volatile() }
    }

    #[inline(always)]
    fn now(&self) -> u32 {
        // SAFETY: the helper takes nothing and reads one variable.
        let jiffies = unsafe { bpf_jiffies64() };
        jiffies as u32
    }

    #[inline(always)]
    fn endpoint(&self, number: u32) -> Option<&Endpoint> {
        maps::ENDPOINTS.get(number)
    }

    #[inline(always)]
    fn exact(&self, key: &PeerKey) -> Option<&Peer> {
        // SAFETY: the number is read at once; elements are not reused before a grace period.
        let number = unsafe { maps::IPCACHE.get(key) }?;
        maps::PEERS.get(*number)
    }

    #[inline(always)]
    fn prefix(&self, key: &PeerKey) -> Option<&Peer> {
        let number = maps::PREFIXES.get(&maps::address(key))?;
        maps::PEERS.get(*number)
    }

    #[inline(always)]
    fn row(&self, key: &RowKey) -> Option<&Row> {
        // SAFETY: rows never change; elements are not reused before a grace period.
        unsafe { maps::POLICY.get(key) }
    }

    #[inline(always)]
    fn port(&self, key: &PortKey) -> Option<&PortEntry> {
        // SAFETY: as for rows.
        unsafe { maps::PORTS.get(key) }
    }

    #[inline(always)]
    fn flow(&self, key: &FlowKey) -> Option<Live> {
        maps::FLOWS.get_ptr_mut(key).map(Live)
    }

    #[inline(always)]
    fn open(&self, tenant: u32, key: &FlowKey, entry: &FlowEntry) -> Result<(), Full> {
        let budget = maps::BUDGETS.get_ptr_mut(tenant).ok_or(Full)?;
        // SAFETY: a value of an array, read and counted word by word.
        let (left, opened) = unsafe {
            let used = (*budget).opened.wrapping_sub((*budget).removed);
            (used.wrapping_sub((*budget).released) < (*budget).limit, &raw mut (*budget).opened)
        };
        if !left {
            return Err(Full);
        }
        if maps::FLOWS.insert(key, entry, NEW).is_ok() {
            add(opened, 1);
            return Ok(());
        }
        // Another CPU was faster with the same flow, or the table is full.
        maps::FLOWS.insert(key, entry, REPLACE).map_err(|_| Full)
    }

    #[inline(always)]
    fn close(&self, tenant: u32, key: &FlowKey) {
        if maps::FLOWS.remove(key).is_err() {
            return;
        }
        if let Some(budget) = maps::BUDGETS.get_ptr_mut(tenant) {
            // SAFETY: a value of an array.
            add(unsafe { &raw mut (*budget).removed }, 1);
        }
    }

    #[inline(always)]
    fn fragment(&self, key: &FragmentKey) -> Option<Ports> {
        // SAFETY: copied at once. An element that was reused meanwhile belongs to a fragmented
        // datagram that passed as well.
        unsafe { maps::FRAGMENTS.get(key) }.copied()
    }

    #[inline(always)]
    fn remember_fragment(&self, key: &FragmentKey, ports: Ports) {
        // A full LRU table makes room; what fails nevertheless costs later fragments their passage.
        let _ = maps::FRAGMENTS.insert(key, ports, 0);
    }

    #[inline(always)]
    fn add(counter: &mut u64, by: u64) {
        add(counter, by);
    }

    #[inline(always)]
    fn count(&self, endpoint: u32, sent: bool, bytes: u32) {
        meters::count(endpoint, sent, bytes);
    }

    #[inline(never)]
    fn report(&self, event: &Event) {
        meters::report(event, self.config.report_interval);
    }
}
