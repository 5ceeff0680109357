//! The kernel programs: the shared evaluator (`verdict`) at both hooks of every endpoint.
//!
//! [`from_endpoint`] sits at the tc ingress of an endpoint's port and judges what the
//! endpoint sends; [`to_endpoint`] sits at its tc egress and judges what it is to receive. Both work
//! as TCX programs and as clsact filters in direct-action mode, whose return codes are the same
//! numbers. The agent's loader (`host::linux::bpf`) fills the maps and drains the reports.
//!
//! **Failure.** Whatever the programs cannot decide is dropped, never passed.
//! **Limits.** Kernel 5.10 and later; no helper, map type or instruction that is newer.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod deliver;
mod env;
mod maps;
mod meters;
mod skb;
mod steps;

use aya_ebpf::helpers::{bpf_jiffies64, bpf_redirect, bpf_redirect_peer};
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use verdict::abi::{HOST_ENDPOINT, IFINDEX_BASE, MAX_ENDPOINTS};
use verdict::{Action, Reason};

use env::Kernel;
use skb::Skb;

/// `TC_ACT_OK`, `TCX_PASS`.
const PASS: i32 = 0;
/// `TC_ACT_SHOT`, `TCX_DROP`.
const DROP: i32 = 2;

/// The index of no interface.
const NOWHERE: u32 = i32::MAX as u32;

/// The number of the endpoint whose interface has an index; 0 when nobody's has.
#[inline(always)]
fn endpoint_at(index: u32) -> u32 {
    let number = index.wrapping_sub(IFINDEX_BASE);
    if number < MAX_ENDPOINTS {
        return number;
    }
    // SAFETY: the number is copied at once.
    unsafe { maps::PORTS_IN_PLACE.get(&index) }.copied().unwrap_or(0)
}

/// Judges a packet that the endpoint sends.
#[classifier]
pub fn from_endpoint(context: TcContext) -> i32 {
    let packet = Skb::new(&context);
    let Some((env, work)) = Kernel::of(packet) else { return DROP };
    let number = endpoint_at(packet.ifindex());
    match verdict::from_endpoint(&env, &packet, number, work) {
        Action::Pass => PASS,
        Action::Deliver(target) => deliver::to_peer(&env, packet, target, work),
        Action::Drop(reason) => dropped(number, reason),
    }
}

/// Judges a packet that the endpoint is to receive.
#[classifier]
pub fn to_endpoint(context: TcContext) -> i32 {
    let packet = Skb::new(&context);
    let Some((env, work)) = Kernel::of(packet) else { return DROP };
    let number = endpoint_at(packet.ifindex());
    match verdict::to_endpoint(&env, &packet, number, work) {
        Action::Pass | Action::Deliver(_) => PASS,
        Action::Drop(reason) => dropped(number, reason),
    }
}

/// Judges what leaves by an uplink of the host.
#[classifier]
pub fn from_host(context: TcContext) -> i32 {
    at_uplink(&context, true)
}

/// Judges what enters by an uplink of the host.
#[classifier]
pub fn to_host(context: TcContext) -> i32 {
    at_uplink(&context, false)
}

#[inline(always)]
fn at_uplink(context: &TcContext, sent: bool) -> i32 {
    let packet = Skb::new(context);
    let Some((env, work)) = Kernel::of(packet) else { return DROP };
    match verdict::at_uplink(&env, &packet, sent, work) {
        Action::Pass | Action::Deliver(_) => PASS,
        Action::Drop(reason) if !sent => dropped(HOST_ENDPOINT, reason),
        // A drop here is told to the socket, and TCP gives a connection up after 15 of them, 7 s (`tcp_write_err` by
        // `tcp_probe_timer`): one that a wrong policy cuts would not outlive it. So it is lost on the way to nowhere.
        // SAFETY: the helper takes numbers only.
        Action::Drop(_) => unsafe { bpf_redirect(NOWHERE, 0) as i32 },
    }
}

/// Drops are counted where they are reported; a hook without an endpoint has no report.
#[inline(always)]
fn dropped(number: u32, reason: Reason) -> i32 {
    if let Reason::UnknownEndpoint = reason {
        meters::count_drop(number, reason as u32);
    }
    DROP
}

/// Returns the clock that the maps are written with: jiffies, the low 32 bits.
#[classifier]
pub fn clock(_context: TcContext) -> i32 {
    // SAFETY: the helper takes nothing and reads one variable.
    let jiffies = unsafe { bpf_jiffies64() };
    jiffies as u32 as i32
}

/// Does nothing: what a hook costs by itself. For measurements.
#[classifier]
pub fn empty(_context: TcContext) -> i32 {
    PASS
}

/// Hands every packet to the neighbouring endpoint without judging it. For measurements.
#[classifier]
pub fn redirect_peer(context: TcContext) -> i32 {
    let packet = Skb::new(&context);
    packet.accept();
    // SAFETY: the helper takes numbers only.
    unsafe { bpf_redirect_peer(packet.ifindex() ^ 1, 0) as i32 }
}

/// The kernel reserves some helpers for programs under a GPL-compatible licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Never reached: a program in which a panic survives is an endless loop, which the kernel refuses.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
