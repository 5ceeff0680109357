//! The programs at the cgroup of an endpoint that shares the host's stack (docs/adr/0022-host-mode.md).
//!
//! What they are given differs from what the programs at an interface are: packets begin with their IP header, and calls of a
//! socket have no packet at all. And they run where bottom halves are not disabled, in one process after the other and in interrupts between:
//! memory to work in is claimed, see [`Claim`].

use core::arch::asm;
use core::ptr;

use aya_ebpf::bindings::{__sk_buff, bpf_sock, bpf_sock_addr, bpf_sock_tuple};
use aya_ebpf::helpers::{
    bpf_get_current_cgroup_id, bpf_sk_cgroup_id, bpf_sk_lookup_tcp, bpf_sk_lookup_udp,
    bpf_sk_release, bpf_skb_cgroup_id,
};
use verdict::abi::Addr;
use verdict::packet::{ETHERNET, protocol};
use verdict::{Action, Call, Packet, Reason, Socket, Step, Work};

use crate::env::{Context, Kernel, add};
use crate::skb::Skb;
use crate::{maps, meters, steps};

/// What the kernel makes of a packet or a call (`cgroup/skb`, `cgroup/connect4` and the like).
const ALLOW: i32 = 1;
const REFUSE: i32 = 0;

/// The index of the loopback interface, in every namespace.
const LOOPBACK: u32 = 1;
/// `BPF_F_CURRENT_NETNS`.
const HERE: u64 = u64::MAX;

/// Programs that may be at work at one time on a CPU.
pub(crate) const CLAIMS: u32 = 8;

/// Memory to work in, and how many want it.
#[repr(C)]
pub(crate) struct Room {
    wanted: u64,
    work: Work,
}

/// One of this CPU's [`Room`]s, for one program.
///
/// A program may be interrupted, and its process may give the CPU to another one (it stays on its CPU all the same): who has added itself to a
/// room's number and finds that it is alone has it. Two cannot both find that, as each adds before it looks.
#[derive(Clone, Copy)]
pub(crate) struct Claim(u32);

impl Claim {
    #[inline(always)]
    fn take() -> Option<Self> {
        let number = claim();
        if number < CLAIMS { Some(Self(number)) } else { None }
    }

    #[inline(always)]
    fn give_back(self) {
        let Some(room) = maps::ROOMS.get_ptr_mut(self.0) else { return };
        // SAFETY: a value of the map, which lives as long as that.
        add(unsafe { &raw mut (*room).wanted }, u64::MAX);
    }

    #[inline(always)]
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The memory of a claim that was taken before.
    #[inline(always)]
    pub(crate) fn work(number: u32) -> Option<&'static mut Work> {
        let room = maps::ROOMS.get_ptr_mut(number)?;
        // SAFETY: it is this program's until it is given back; a step that takes it again does so while its caller keeps off.
        unsafe { Some(&mut (*room).work) }
    }
}

/// Number of a room that nobody else has; [`CLAIMS`] when there is none.
///
/// To the verifier it is any number: it would go through the whole program again for each of the rooms.
#[inline(never)]
fn claim() -> u32 {
    for index in 0..CLAIMS {
        let Some(room) = maps::ROOMS.get_ptr_mut(index) else { return CLAIMS };
        // SAFETY: a value of the map, which lives as long as that.
        unsafe {
            let wanted = &raw mut (*room).wanted;
            add(wanted, 1);
            if wanted.read_volatile() == 1 {
                // Read once more: of the first answer the verifier knows that it is 1.
                return hidden(index, wanted.read_volatile());
            }
            add(wanted, u64::MAX);
        }
    }
    CLAIMS
}

/// The same number, of which the verifier knows nothing any more; `unknown` is one of which it never did.
#[inline(always)]
fn hidden(number: u32, unknown: u64) -> u32 {
    let mut hidden = u64::from(number);
    // SAFETY: changes a register, and changes it back.
    unsafe {
        asm!(
            "{0} ^= {1}",
            "{0} ^= {1}",
            inout(reg) hidden,
            in(reg) unknown,
            options(pure, nomem, nostack)
        );
    }
    hidden as u32
}

/// A packet at a cgroup. To the evaluator, 14 bytes come before its first one.
#[derive(Clone, Copy)]
pub(crate) struct Inet {
    skb: Skb,
    room: u32,
}

impl Inet {
    #[inline(always)]
    pub(crate) fn new(raw: *mut __sk_buff, room: u32) -> Self {
        Self { skb: Skb::from_raw(raw), room }
    }
}

impl Context for Inet {
    const ALONE: bool = false;

    #[inline(always)]
    fn call(self, step: Step) -> u32 {
        steps::inet::call(step, self.skb.raw(), self.room)
    }
}

impl crate::env::Room for Inet {
    #[inline(always)]
    fn room(self) -> Option<&'static mut Work> {
        Claim::work(self.room)
    }
}

impl Packet for Inet {
    #[inline(always)]
    fn len(&self) -> u32 {
        self.skb.len().wrapping_add(ETHERNET)
    }

    #[inline(always)]
    fn stays(&self) -> bool {
        self.skb.ifindex() == LOOPBACK
    }

    #[inline(always)]
    fn holder(&self, near: Socket, far: Socket, number: u8) -> Option<u32> {
        let mut tuple = [0_u32; 9];
        let ports = u32::from(near.port.to_be()) | u32::from(far.port.to_be()) << 16;
        let bytes = if near.addr.is_v4() {
            [tuple[0], tuple[1], tuple[2]] = [near.addr.0[3], far.addr.0[3], ports];
            12
        } else {
            [tuple[0], tuple[1], tuple[2], tuple[3]] = near.addr.0;
            [tuple[4], tuple[5], tuple[6], tuple[7]] = far.addr.0;
            tuple[8] = ports;
            36
        };
        owner(self.skb.raw(), &mut tuple, bytes, number)
    }

    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        self.skb.load(offset.wrapping_sub(ETHERNET))
    }

    #[inline(always)]
    fn plain(&self, number: u32) -> u32 {
        self.skb.plain(number)
    }

    #[inline(always)]
    fn copy<const N: usize>(&self, offset: u32, len: u32, to: &mut [u8; N]) -> bool {
        self.skb.copy(offset.wrapping_sub(ETHERNET), len, to)
    }
}

/// The endpoint whose socket receives what a tuple says; 0 when it is another socket, nothing when there is none.
#[inline(always)]
fn owner(
    skb: *mut __sk_buff,
    tuple: &mut [u32; 9],
    bytes: u32,
    number: u8,
) -> Option<u32> {
    let tuple: *mut bpf_sock_tuple = tuple.as_mut_ptr().cast();
    // SAFETY: a valid context, and a tuple of that many bytes; a socket that was found is given back.
    let cgroup = unsafe {
        let socket: *mut bpf_sock = if number == protocol::TCP {
            bpf_sk_lookup_tcp(skb.cast(), tuple, bytes, HERE, 0)
        } else {
            bpf_sk_lookup_udp(skb.cast(), tuple, bytes, HERE, 0)
        };
        if socket.is_null() {
            return None;
        }
        let cgroup = bpf_sk_cgroup_id(socket.cast());
        bpf_sk_release(socket.cast());
        cgroup
    };
    Some(endpoint_of(cgroup))
}

/// The number of the endpoint whose cgroup it is; 0 when it is nobody's.
#[inline(always)]
fn endpoint_of(cgroup: u64) -> u32 {
    // SAFETY: the number is copied at once.
    unsafe { maps::CGROUPS.get(&cgroup) }.copied().unwrap_or(0)
}

/// Judges a packet at the cgroup of its socket.
#[inline(always)]
pub(crate) fn judge(raw: *mut __sk_buff, sent: bool) -> i32 {
    // SAFETY: a valid context.
    let number = endpoint_of(unsafe { bpf_skb_cgroup_id(raw) });
    let Some(claim) = Claim::take() else { return refused(number, Reason::TableFull) };
    let packet = Inet::new(raw, claim.number());
    let answer = match Kernel::at(packet) {
        Some((env, work)) => {
            answer(number, verdict::at_cgroup(&env, &packet, number, sent, work))
        }
        None => REFUSE,
    };
    claim.give_back();
    answer
}

#[inline(always)]
fn answer(number: u32, action: Action) -> i32 {
    match action {
        Action::Pass | Action::Deliver(_) => ALLOW,
        Action::Drop(Reason::UnknownEndpoint) => refused(number, Reason::UnknownEndpoint),
        Action::Drop(_) => REFUSE,
    }
}

/// Counts a drop that has no report.
#[inline(always)]
fn refused(number: u32, reason: Reason) -> i32 {
    meters::count_drop(number, reason as u32);
    REFUSE
}

/// A call of a socket: there is no packet yet.
#[derive(Clone, Copy)]
pub(crate) struct Asked {
    raw: *mut bpf_sock_addr,
    room: u32,
}

impl Asked {
    #[inline(always)]
    pub(crate) fn new(raw: *mut bpf_sock_addr, room: u32) -> Self {
        Self { raw, room }
    }
}

impl Context for Asked {
    const ALONE: bool = false;

    #[inline(always)]
    fn call(self, step: Step) -> u32 {
        steps::asked::call(step, self.raw, self.room)
    }
}

impl crate::env::Room for Asked {
    #[inline(always)]
    fn room(self) -> Option<&'static mut Work> {
        Claim::work(self.room)
    }
}

impl Packet for Asked {
    #[inline(always)]
    fn len(&self) -> u32 {
        0
    }

    #[inline(always)]
    fn load<const N: usize>(&self, _offset: u32) -> Option<[u8; N]> {
        None
    }

    #[inline(always)]
    fn copy<const N: usize>(&self, _offset: u32, _len: u32, _to: &mut [u8; N]) -> bool {
        false
    }
}

/// What a program asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Connect,
    Send,
    Bind,
}

/// Judges a call before the kernel serves it.
#[inline(always)]
pub(crate) fn ask(raw: *mut bpf_sock_addr, v6: bool, wish: Wish) -> i32 {
    // SAFETY: the helper takes nothing.
    let number = endpoint_of(unsafe { bpf_get_current_cgroup_id() });
    let bound = bound(raw);
    // A socket that has its port has been asked about; its packets are judged.
    if wish == Wish::Send && bound != 0 {
        return ALLOW;
    }
    let Some(claim) = Claim::take() else { return refused(number, Reason::TableFull) };
    let context = Asked::new(raw, claim.number());
    let answer = match Kernel::at(context) {
        Some((env, work)) => {
            let call = call(raw, v6, bound);
            let action = if wish == Wish::Bind {
                verdict::at_bind(&env, &context, number, &call, work)
            } else {
                verdict::at_connect(&env, &context, number, &call, work)
            };
            answer(number, action)
        }
        None => REFUSE,
    };
    claim.give_back();
    answer
}

/// The port that a socket is bound to, host order; 0 without one.
#[inline(always)]
fn bound(raw: *mut bpf_sock_addr) -> u16 {
    // SAFETY: a valid context, which has its socket; both are read as the verifier allows.
    unsafe {
        let socket = (*raw).__bindgen_anon_1.sk;
        if socket.is_null() { 0 } else { ptr::addr_of!((*socket).src_port).read_volatile() as u16 }
    }
}

#[inline(always)]
fn call(raw: *mut bpf_sock_addr, v6: bool, bound: u16) -> Call {
    // SAFETY: a valid context; fields of the family of the hook, read by words.
    let (addr, port, number) = unsafe {
        let addr = if v6 {
            let words = &raw const (*raw).user_ip6;
            let words = words.cast::<u32>();
            Addr([
                words.read_volatile(),
                words.add(1).read_volatile(),
                words.add(2).read_volatile(),
                words.add(3).read_volatile(),
            ])
        } else {
            let word = ptr::addr_of!((*raw).user_ip4).read_volatile();
            Addr([0, 0, 0x0000_ffff_u32.to_be(), word])
        };
        let port = ptr::addr_of!((*raw).user_port).read_volatile();
        (addr, port, ptr::addr_of!((*raw).protocol).read_volatile())
    };
    let to = Socket { addr, port: u16::from_be(port as u16) };
    Call { to, bound, protocol: number as u8 }
}

/// Makes the compiler pass a context to steps that do not look at it: the verifier wants one.
#[inline(always)]
pub(crate) fn used<T>(mut context: *mut T) -> *mut T {
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) context, options(nostack)) };
    context
}
