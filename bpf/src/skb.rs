//! A packet as the kernel hands it over.
//!
//! Headers are read straight from the packet's linear part, which holds them nearly always; what
//! lies behind it is copied out by a helper.

use core::arch::asm;
use core::mem::MaybeUninit;
use core::ptr;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{
    bpf_get_socket_uid, bpf_skb_ancestor_cgroup_id, bpf_skb_cgroup_id, bpf_skb_change_type,
    bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use aya_ebpf::programs::TcContext;
use verdict::{Packet, account};

use crate::maps;

/// `PACKET_HOST`: for this machine.
const PACKET_HOST: u32 = 0;
/// Offsets with more bits are left to the helper: the verifier wants a bound.
const DIRECT_BITS: u32 = 12;

/// One load at any address: the compiler would split it, processors with eBPF do not mind.
macro_rules! word {
    ($address:expr, $register:ident, $width:literal) => {{
        let word: u64;
        asm!(
            concat!("{0} = *(", $width, " *)({1} + 0)"),
            out(reg) word,
            in(reg) $address,
            options(pure, readonly, nostack)
        );
        word as $register
    }};
}

/// One packet.
#[derive(Clone, Copy)]
pub(crate) struct Skb {
    raw: *mut __sk_buff,
}

impl Skb {
    #[inline(always)]
    pub(crate) fn new(context: &TcContext) -> Self {
        Self { raw: context.skb.skb }
    }

    /// The packet as helpers and steps take it.
    #[inline(always)]
    pub(crate) fn raw(&self) -> *mut __sk_buff {
        self.raw
    }

    #[inline(always)]
    pub(crate) fn from_raw(raw: *mut __sk_buff) -> Self {
        Self { raw }
    }

    /// The interface at whose hook the packet is.
    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: the kernel passes a valid context.
        unsafe { (*self.raw).ifindex }
    }

    /// Makes the receiving stack take the packet although its frame was for somebody else.
    #[inline(always)]
    pub(crate) fn accept(&self) {
        // SAFETY: a valid context; the helper refuses what it does not like.
        unsafe { bpf_skb_change_type(self.raw, PACKET_HOST) };
    }

    /// Leaves a number in the packet for a program behind this one. What a program says as its class becomes the packet's `tc_index` when it lets it
    /// pass (`tcf_classify` and `tcx_action_code` of the kernel), which stays until another such program lets it pass.
    #[inline(always)]
    pub(crate) fn mark(&self, mark: u32) {
        // SAFETY: a valid context; programs at tc hooks may write the field.
        unsafe { ptr::addr_of_mut!((*self.raw).tc_classid).write_volatile(mark) };
    }

    /// Whether that number is in the packet.
    #[inline(always)]
    pub(crate) fn is_marked(&self, mark: u32) -> bool {
        // SAFETY: a valid context.
        unsafe { ptr::addr_of!((*self.raw).tc_index).read_volatile() == mark }
    }

    /// Writes bytes into the packet; whether that worked.
    #[inline(always)]
    pub(crate) fn store<const N: usize>(&self, offset: u32, bytes: &[u8; N], flags: u64) -> bool {
        // SAFETY: a valid context; the helper checks the range and copies `N` bytes.
        unsafe {
            bpf_skb_store_bytes(self.raw, offset, bytes.as_ptr().cast(), N as u32, flags) == 0
        }
    }
}

impl Packet for Skb {
    #[inline(always)]
    fn entered(&self) -> u32 {
        // SAFETY: the kernel passes a valid context.
        crate::endpoint_at(unsafe { (*self.raw).ingress_ifindex })
    }

    #[inline(always)]
    fn has_socket(&self) -> bool {
        // SAFETY: the kernel passes a valid context; the pointer is compared, not followed.
        unsafe { !(*self.raw).__bindgen_anon_2.sk.is_null() }
    }

    #[inline(always)]
    fn account(&self) -> u32 {
        // SAFETY: the kernel passes a valid context; what is found is copied at once.
        unsafe {
            let user = bpf_get_socket_uid(self.raw);
            let user = maps::USERS.get(&user).copied().unwrap_or(0);
            account::number(user, service(self.raw))
        }
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        // SAFETY: the kernel passes a valid context.
        unsafe { (*self.raw).len }
    }

    #[inline(always)]
    fn is_tagged(&self) -> bool {
        // SAFETY: the kernel passes a valid context.
        unsafe { (*self.raw).vlan_present != 0 }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        let mut bytes = MaybeUninit::<Aligned<N>>::uninit();
        let to = bytes.as_mut_ptr().cast::<u8>();
        // SAFETY: a valid context and a buffer of `N` bytes, all of which are written when either of
        // the two says so.
        unsafe {
            if direct::<N>(self.raw, offset, to)
                || bpf_skb_load_bytes(self.raw.cast(), offset, to.cast(), N as u32) == 0
            {
                return Some(taken(kept(bytes.as_ptr()).cast()));
            }
        }
        None
    }

    #[inline(always)]
    fn plain(&self, number: u32) -> u32 {
        let mut plain = number as usize;
        // SAFETY: changes a register, and changes it back. The length is any number to the verifier.
        unsafe {
            asm!(
                "{0} ^= {1}",
                "{0} ^= {1}",
                inout(reg) plain,
                in(reg) self.len() as usize,
                options(pure, nomem, nostack)
            );
        }
        plain as u32
    }

    #[inline(always)]
    fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
        const { assert!(N.is_power_of_two(), "the length is bounded by a mask") };
        // The verifier wants to see that it is neither nothing nor too much.
        let len = (unlinked(len.wrapping_sub(1)) & (N - 1)) + 1;
        // SAFETY: a valid context and a buffer of `N` bytes, which is at least `len`.
        unsafe {
            bpf_skb_load_bytes(self.raw.cast(), offset, to.as_mut_ptr().cast(), len as u32) == 0
        }
    }
}

/// Bytes that are written and read by words.
#[repr(C, align(8))]
struct Aligned<const N: usize>([u8; N]);

/// Copies `N` bytes from the linear part by words; `false` when they are not all there.
///
/// # Safety
///
/// A valid context; `to` has room for `N` bytes and is aligned to 8.
#[inline(always)]
unsafe fn direct<const N: usize>(raw: *mut __sk_buff, offset: u32, to: *mut u8) -> bool {
    // Neither comparison nor mask may tell the verifier anything of `offset` itself: in a loop over
    // options it would follow every value apart.
    if unlinked(offset) >> DIRECT_BITS != 0 {
        return false;
    }
    // SAFETY: the caller's promise.
    let (data, end) = unsafe { ((*raw).data as usize, (*raw).data_end as usize) };
    let at = opaque(data + (unlinked(offset) & ((1 << DIRECT_BITS) - 1)));
    if opaque(at + N) > end {
        return false;
    }
    let mut done = 0;
    // SAFETY: `N` bytes from `at` on lie in the linear part; the buffer is written at offsets that
    // are multiples of the words' widths.
    unsafe {
        while done + 8 <= N {
            to.add(done).cast::<u64>().write(word!(at + done, u64, "u64"));
            done += 8;
        }
        if done + 4 <= N {
            to.add(done).cast::<u32>().write(word!(at + done, u32, "u32"));
            done += 4;
        }
        if done + 2 <= N {
            to.add(done).cast::<u16>().write(word!(at + done, u16, "u16"));
            done += 2;
        }
        if done < N {
            to.add(done).write(word!(at + done, u8, "u8"));
        }
    }
    true
}

/// Copies `N` bytes out of a buffer by words: what the compiler then does with single bytes becomes operations on words.
///
/// # Safety
///
/// `N` bytes at `from`, which is aligned to 8.
#[inline(always)]
unsafe fn taken<const N: usize>(from: *const u8) -> [u8; N] {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    let to = bytes.as_mut_ptr().cast::<u8>();
    let mut done = 0;
    // SAFETY: the caller's promise; all bytes are written, each word at a multiple of its width.
    unsafe {
        while done + 8 <= N {
            to.add(done).cast::<u64>().write_unaligned(from.add(done).cast::<u64>().read());
            done += 8;
        }
        if done + 4 <= N {
            to.add(done).cast::<u32>().write_unaligned(from.add(done).cast::<u32>().read());
            done += 4;
        }
        if done + 2 <= N {
            to.add(done).cast::<u16>().write_unaligned(from.add(done).cast::<u16>().read());
            done += 2;
        }
        if done < N {
            to.add(done).write(from.add(done).read());
        }
        bytes.assume_init()
    }
}

/// Hides from the compiler how an address came about: what it would make of a comparison of sums is
/// as true, but not what the verifier understands.
#[inline(always)]
fn opaque(mut address: usize) -> usize {
    // SAFETY: moves a register to itself; line information wants an instruction to stand at.
    unsafe { asm!("{0} = {0}", inout(reg) address, options(pure, nomem, nostack)) };
    address
}

/// Makes the compiler keep in memory what a pointer leads to.
#[inline(always)]
fn kept<T>(mut pointer: *const T) -> *const T {
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) pointer, options(readonly, nostack)) };
    pointer
}

/// Copies a number so that the verifier learns nothing of it from what it sees of the copy: an
/// operation, unlike a move, makes a new value.
#[inline(always)]
fn unlinked(number: u32) -> usize {
    let mut copy = number as usize;
    // SAFETY: changes nothing but the register.
    unsafe { asm!("{0} |= 0", inout(reg) copy, options(pure, nomem, nostack)) };
    copy
}

/// How deep below the root of the hierarchy a service's cgroup may be: `system.slice/a.service` is at 2, an instance of a template at 3.
const DEEPEST: i32 = 4;

/// The place of the service whose socket sends a packet; 0 when it is none's. What a service puts into cgroups below its own is its own.
///
/// # Safety
///
/// `raw` is a valid context.
#[inline(always)]
unsafe fn service(raw: *mut __sk_buff) -> u32 {
    // SAFETY: a valid context; what is found is copied at once.
    unsafe {
        if let Some(place) = maps::SERVICES.get(&bpf_skb_cgroup_id(raw)) {
            return *place;
        }
        let mut level = 1;
        while level <= DEEPEST {
            let above = bpf_skb_ancestor_cgroup_id(raw, level);
            if let Some(place) = maps::SERVICES.get(&above) {
                return *place;
            }
            level += 1;
        }
    }
    0
}
