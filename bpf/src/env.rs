//! The evaluator's tables, standing on the kernel's maps.

use core::arch::asm;
use core::ops::{Deref, DerefMut};
use core::ptr;

use aya_ebpf::helpers::bpf_jiffies64;
use verdict::abi::{
    Config, Endpoint, Event, FlowEntry, FlowKey, FragmentKey, Peer, PeerKey, PortEntry, PortKey,
    Ports, Row, RowKey, UNMANAGED_ENDPOINT,
};
use verdict::meters::{Limit, LimitKey, Meter, MeterKey};
use verdict::{Env, Full, Packet, Reason, Step, Work};

use crate::skb::Skb;
use crate::{maps, meters, steps};

/// `BPF_NOEXIST`.
const NEW: u64 = 1;
/// `BPF_EXIST`.
const REPLACE: u64 = 2;

/// What a program was called with: how it takes steps.
pub(crate) trait Context: Copy {
    /// Whether no other program runs on the CPU until this one ends.
    const ALONE: bool;

    /// Calls the function of a step.
    fn call(self, step: Step) -> u32;
}

impl Context for Skb {
    const ALONE: bool = true;

    #[inline(always)]
    fn call(self, step: Step) -> u32 {
        steps::call(step, self)
    }
}

/// The tables during one packet.
pub(crate) struct Kernel<C> {
    config: &'static Config,
    context: C,
}

impl<C: Room> Kernel<C> {
    /// The tables and the working memory that a context has claimed.
    #[inline(always)]
    pub(crate) fn at(context: C) -> Option<(Self, &'static mut Work)> {
        let config = maps::CONFIG.get_ptr(0)?;
        let work = context.room()?;
        // SAFETY: a value of an array, which lives as long as the map; the agent stores whole words into it.
        unsafe { Some((Self { config: &*config, context }, work)) }
    }
}

/// A context with working memory of its own.
pub(crate) trait Room: Context {
    /// That memory.
    fn room(self) -> Option<&'static mut Work>;
}

impl Kernel<Skb> {
    /// The tables and the working memory of a packet.
    #[inline(always)]
    pub(crate) fn of(skb: Skb) -> Option<(Self, &'static mut Work)> {
        let config = maps::CONFIG.get_ptr(0)?;
        let work = maps::SCRATCH.get_ptr_mut(0)?;
        // SAFETY: values of arrays live as long as the map. The agent stores whole words into the
        // first. The second is this CPU's: a program runs to its end before another one starts on
        // the same CPU at these hooks, both of which run with bottom halves disabled; and a step
        // that takes it again does so while its caller keeps off (see [`Env::step`] below).
        unsafe { Some((Self { config: &*config, context: skb }, &mut *work)) }
    }
}

/// A live value of a map: a connection, a bucket.
pub(crate) struct Live<T>(*mut T);

impl<T> Deref for Live<T> {
    type Target = T;

    #[inline(always)]
    fn deref(&self) -> &T {
        // SAFETY: a value that the map returned; the kernel keeps its memory until the program
        // ends. Another CPU may write to it at the same time: every field is a plain number.
        unsafe { &*self.0 }
    }
}

impl<T> DerefMut for Live<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
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

impl<C: Context> Env for Kernel<C> {
    type Flow<'a>
        = Live<FlowEntry>
    where
        Self: 'a;
    type Bucket<'a>
        = Live<Meter>
    where
        Self: 'a;

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
    fn flow(&self, key: &FlowKey) -> Option<Live<FlowEntry>> {
        maps::FLOWS.get_ptr_mut(key).map(Live)
    }

    #[inline(always)]
    fn open(&self, tenant: u32, key: &FlowKey, entry: &FlowEntry) -> Result<(), Full> {
        let budget = maps::BUDGETS.get_ptr_mut(tenant).ok_or(Full)?;
        // SAFETY: a value of an array, read and counted word by word.
        let (left, opened) = unsafe {
            let used = (*budget).opened.wrapping_sub((*budget).removed);
            let used = used.wrapping_sub((*budget).released);
            // Below nothing when somebody emptied the map while flows were open: that must not shut everybody out.
            ((used as i64) < (*budget).limit as i64, &raw mut (*budget).opened)
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
    fn pair(&self, key: &FlowKey) -> u64 {
        // SAFETY: copied at once; an element that was reused meanwhile is another flow's, whose ends are on this host as well.
        unsafe { maps::PAIRS.get(key) }.copied().unwrap_or(0)
    }

    #[inline(always)]
    fn remember_pair(&self, key: &FlowKey, pair: u64) {
        // A full LRU table makes room.
        let _ = maps::PAIRS.insert(key, &pair, 0);
    }

    #[inline(always)]
    fn limit(&self, key: &LimitKey) -> Option<&Limit> {
        // SAFETY: copied at once. An element that was reused meanwhile is the limit of another port, for one flow.
        unsafe { maps::LIMITS.get(key) }
    }

    #[inline(always)]
    fn bucket(&self, key: &MeterKey, now: u32) -> Option<Live<Meter>> {
        if let Some(meter) = maps::METERS.get_ptr_mut(key) {
            return Some(Live(meter));
        }
        // Another CPU may be faster with it; a table without room is told by the second look.
        let _ = maps::METERS.insert(key, Meter { taken: 0, since: now, pad: 0 }, NEW);
        maps::METERS.get_ptr_mut(key).map(Live)
    }

    #[inline(always)]
    fn add(counter: &mut u64, by: u64) {
        add(counter, by);
    }

    #[inline(always)]
    fn count(&self, endpoint: u32, sent: bool, bytes: u32) {
        meters::count::<C>(endpoint, sent, bytes);
    }

    #[inline(always)]
    fn report(&self, event: &Event) {
        meters::report(event, self.config.report_interval);
    }

    #[inline(always)]
    fn lose(&self) {
        meters::lose();
        meters::count_drop(UNMANAGED_ENDPOINT, u32::from(Reason::None.code()));
    }

    #[inline(always)]
    fn step<P: Packet + ?Sized>(&self, step: Step, _packet: &P, work: &mut Work) -> u32 {
        handed_over(work);
        let answer = self.context.call(step);
        handed_over(work);
        answer
    }
}

/// Makes the compiler write out what it holds of `work`, and read it again afterwards.
#[inline(always)]
fn handed_over(work: &mut Work) {
    // SAFETY: moves a register to itself; for the compiler, the memory may be read and written.
    unsafe { asm!("{0} = {0}", inout(reg) ptr::from_mut(work) => _, options(nostack)) };
}
