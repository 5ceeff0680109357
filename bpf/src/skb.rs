//! A packet as the kernel hands it over.
//!
//! Headers are read straight from the packet's linear part, which holds them nearly always; what
//! lies behind it is copied out by a helper.

use core::arch::asm;
use core::mem::MaybeUninit;

use aya_ebpf::bindings::__sk_buff;
use aya_ebpf::helpers::{
    bpf_skb_change_type, bpf_skb_load_bytes, bpf_skb_store_bytes,
};
use aya_ebpf::programs::TcContext;
use verdict::Packet;

/// `PACKET_HOST`: for this machine.
const PACKET_HOST: u32 = 0;
/// Offsets above this are left to the helper: the verifier wants a bound.
const MAX_DIRECT: u32 = 1 << 12;

/// One packet.
pub(crate) struct Skb {
    raw: *mut __sk_buff,
}

impl Skb {
    #[inline(always)]
    pub(crate) fn new(context: &TcContext) -> Self {
        Self { raw: context.skb.skb }
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
    fn len(&self) -> u32 {
        // SAFETY: the kernel passes a valid context.
        unsafe { (*self.raw).len }
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // SAFETY: the kernel passes a valid context.
        let (data, end) = unsafe { ((*self.raw).data as usize, (*self.raw).data_end as usize) };
        if offset < MAX_DIRECT {
            let at = opaque(data + offset as usize);
            if opaque(at + N) <= end {
                // SAFETY: `N` bytes from `at` on lie in the linear part; no alignment is assumed.
                return Some(unsafe { (at as *const [u8; N]).read_unaligned() });
            }
        }
        copied(self.raw, offset)
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

/// Copies bytes out of any part of the packet.
#[inline(always)]
fn copied<const N: usize>(raw: *mut __sk_buff, offset: u32) -> Option<[u8; N]> {
    let mut bytes = MaybeUninit::<[u8; N]>::uninit();
    // SAFETY: a valid context; the helper writes all `N` bytes or fails.
    unsafe {
        let failed = bpf_skb_load_bytes(raw.cast(), offset, bytes.as_mut_ptr().cast(), N as u32);
        (failed == 0).then(|| bytes.assume_init())
    }
}
