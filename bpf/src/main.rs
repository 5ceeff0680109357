//! The kernel programs: the shared evaluator (`verdict`) at both hooks of every endpoint.
//!
//! [`from_endpoint`] sits at the tc ingress of an endpoint's port and judges what the
//! endpoint sends; [`to_endpoint`] sits at its tc egress and judges what it is to receive. Both work
//! as TCX programs and as clsact filters in direct-action mode, whose return codes are the same
//! numbers. Endpoints that share the host's stack have programs at their cgroup instead, [`sent_by_socket`] and its neighbours. The agent's loader (`host::linux::bpf`) fills the maps and drains the reports.
//!
//! **Failure.** Whatever the programs cannot decide is dropped, never passed.
//! **Limits.** Kernel 5.10 and later; no helper, map type or instruction that is newer.

#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]

mod deliver;
mod env;
mod hosted;
mod maps;
mod meters;
mod skb;
mod steps;

use aya_ebpf::helpers::{bpf_jiffies64, bpf_redirect, bpf_redirect_peer};
use aya_ebpf::macros::{cgroup_skb, cgroup_sock_addr, classifier};
use aya_ebpf::programs::{SkBuffContext, SockAddrContext, TcContext};
use verdict::abi::{HOST_ENDPOINT, IFINDEX_BASE, MAX_ENDPOINTS, Stray, UNMANAGED_ENDPOINT};
use verdict::{Action, Reason};

use env::Kernel;
use hosted::Wish;
use skb::Skb;

/// `TC_ACT_OK`, `TCX_PASS`.
const PASS: i32 = 0;
/// `TC_ACT_SHOT`, `TCX_DROP`.
const DROP: i32 = 2;

/// The index of no interface.
const NOWHERE: u32 = i32::MAX as u32;

/// What is left in a packet that a program at a port in place has let through, for the one at the bridge (`tc_index`).
const JUDGED: u32 = 0xb14d;

/// Whether an interface is one that we have made.
#[inline(always)]
fn is_ours(index: u32) -> bool {
    index.wrapping_sub(IFINDEX_BASE) < MAX_ENDPOINTS
}

/// What an interface in place is, see [`Stray`]; 0 when it is nothing to us.
#[inline(always)]
fn place_at(index: u32) -> u32 {
    // SAFETY: the number is copied at once.
    unsafe { maps::PORTS_IN_PLACE.get(&index) }.copied().unwrap_or(0)
}

/// The number of the endpoint whose interface has an index; 0 when nobody's has.
#[inline(always)]
fn endpoint_at(index: u32) -> u32 {
    if is_ours(index) {
        return index.wrapping_sub(IFINDEX_BASE);
    }
    let place = place_at(index);
    if Stray::read(place).is_some() { UNMANAGED_ENDPOINT } else { place }
}

/// The same for the hook of a workload: a port that is about to become one, or is none any more, has no endpoint.
#[inline(always)]
fn workload_at(index: u32) -> u32 {
    let number = endpoint_at(index);
    if number == UNMANAGED_ENDPOINT { 0 } else { number }
}

/// Lets through what a port in place has judged.
#[inline(always)]
fn passed(packet: Skb) -> i32 {
    if !is_ours(packet.ifindex()) {
        packet.mark(JUDGED);
    }
    PASS
}

/// Judges a packet that the endpoint sends.
#[classifier]
pub fn from_endpoint(context: TcContext) -> i32 {
    let packet = Skb::new(&context);
    let Some((env, work)) = Kernel::of(packet) else { return DROP };
    let number = workload_at(packet.ifindex());
    match verdict::from_endpoint(&env, &packet, number, work) {
        Action::Pass => passed(packet),
        Action::Deliver(target) => deliver::to_peer(&env, packet, target, work),
        Action::Drop(reason) => dropped(number, reason),
    }
}

/// Judges a packet that the endpoint is to receive.
#[classifier]
pub fn to_endpoint(context: TcContext) -> i32 {
    let packet = Skb::new(&context);
    let Some((env, work)) = Kernel::of(packet) else { return DROP };
    let number = workload_at(packet.ifindex());
    match verdict::to_endpoint(&env, &packet, number, work) {
        Action::Pass | Action::Deliver(_) => PASS,
        Action::Drop(reason) => dropped(number, reason),
    }
}

/// Judges what leaves by an uplink of the host, or enters by a port that nobody in the file has.
#[classifier]
pub fn from_host(context: TcContext) -> i32 {
    at_place(&context, true)
}

/// Judges what enters by an uplink of the host, or leaves by a port that nobody in the file has.
#[classifier]
pub fn to_host(context: TcContext) -> i32 {
    at_place(&context, false)
}

#[inline(always)]
fn at_place(context: &TcContext, sent: bool) -> i32 {
    let packet = Skb::new(context);
    let Some((env, work)) = Kernel::of(packet) else { return DROP };
    let place = place_at(packet.ifindex());
    let stray = Stray::read(place);
    // What comes to a bridge by a port with programs was judged there.
    if sent && stray.is_some_and(Stray::is_bridge) && packet.is_marked(JUDGED) {
        return PASS;
    }
    match verdict::at_place(&env, &packet, place, sent, work) {
        Action::Pass | Action::Deliver(_) if sent && stray.is_some() => passed(packet),
        Action::Pass | Action::Deliver(_) => PASS,
        Action::Drop(reason) if stray.is_some() => dropped(UNMANAGED_ENDPOINT, reason),
        Action::Drop(reason) if !sent => dropped(HOST_ENDPOINT, reason),
        // A drop here is told to the socket, and TCP gives a connection up after 15 of them, 7 s (`tcp_write_err` by
        // `tcp_probe_timer`): one that a wrong policy cuts would not outlive it. So it is lost on the way to nowhere.
        // SAFETY: the helper takes numbers only.
        Action::Drop(_) => unsafe { bpf_redirect(NOWHERE, 0) as i32 },
    }
}

/// Judges what a socket of an endpoint of the host's stack sends.
#[cgroup_skb(egress)]
pub fn sent_by_socket(context: SkBuffContext) -> i32 {
    hosted::judge(context.skb.skb, true)
}

/// Judges what a socket of an endpoint of the host's stack is to receive.
#[cgroup_skb(ingress)]
pub fn sent_to_socket(context: SkBuffContext) -> i32 {
    hosted::judge(context.skb.skb, false)
}

/// Refuses connections that cannot come about.
#[cgroup_sock_addr(connect4)]
pub fn connect4(context: SockAddrContext) -> i32 {
    hosted::ask(context.sock_addr, false, Wish::Connect)
}

/// Refuses connections that cannot come about.
#[cgroup_sock_addr(connect6)]
pub fn connect6(context: SockAddrContext) -> i32 {
    hosted::ask(context.sock_addr, true, Wish::Connect)
}

/// Refuses datagrams that cannot arrive.
#[cgroup_sock_addr(sendmsg4)]
pub fn sendmsg4(context: SockAddrContext) -> i32 {
    hosted::ask(context.sock_addr, false, Wish::Send)
}

/// Refuses datagrams that cannot arrive.
#[cgroup_sock_addr(sendmsg6)]
pub fn sendmsg6(context: SockAddrContext) -> i32 {
    hosted::ask(context.sock_addr, true, Wish::Send)
}

/// Refuses ports that no rule opens.
#[cgroup_sock_addr(bind4)]
pub fn bind4(context: SockAddrContext) -> i32 {
    hosted::ask(context.sock_addr, false, Wish::Bind)
}

/// Refuses ports that no rule opens.
#[cgroup_sock_addr(bind6)]
pub fn bind6(context: SockAddrContext) -> i32 {
    hosted::ask(context.sock_addr, true, Wish::Bind)
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
