//! The steps of the evaluator as global functions, which the verifier walks once each.
//!
//! What makes a function global is that its name is kept (`no_mangle`) and its BTF says so; it may
//! take the context and numbers, nothing else (kernel 5.6 and later).

use core::arch::asm;

use aya_ebpf::bindings::__sk_buff;
use verdict::{STOP, Step};

use crate::env::Kernel;
use crate::skb::Skb;

/// Makes the compiler pass the context to steps that do not look at it, too: the verifier wants one.
#[inline(always)]
fn used(mut skb: *mut __sk_buff) -> *mut __sk_buff {
    // SAFETY: moves a register to itself.
    unsafe { asm!("{0} = {0}", inout(reg) skb, options(nostack)) };
    skb
}

/// Makes a function of each step, and the call of it.
macro_rules! steps {
    ($($name:ident is $step:ident,)*) => {
        $(
            /// A step; never called but by [`call`].
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name(skb: *mut __sk_buff) -> u32 {
                let packet = Skb::from_raw(used(skb));
                let Some((env, work)) = Kernel::of(packet) else { return STOP };
                Step::$step.run(&env, &packet, work)
            }
        )*

        /// Calls the function of a step.
        #[inline(always)]
        pub(crate) fn call(step: Step, packet: Skb) -> u32 {
            match step {
                $(Step::$step => $name(packet.raw()),)*
                // Never taken at an interface.
                Step::Hosted => STOP,
            }
        }
    };
}

/// The same for programs at cgroups, whose working memory is told by its number.
macro_rules! steps_in {
    ($kind:ident of $raw:ty: $($name:ident is $step:ident,)*) => {
        use super::{Kernel, STOP, Step};
        use crate::hosted::{$kind, used};

        $(
            /// A step; never called but by [`call`].
            #[unsafe(no_mangle)]
            #[inline(never)]
            extern "C" fn $name(raw: *mut $raw, room: u32) -> u32 {
                let context = $kind::new(used(raw), room);
                let Some((env, work)) = Kernel::at(context) else { return STOP };
                Step::$step.run(&env, &context, work)
            }
        )*

        /// Calls the function of a step; those that this kind of program has no use for end the way.
        #[inline(always)]
        pub(crate) fn call(step: Step, raw: *mut $raw, room: u32) -> u32 {
            match step {
                $(Step::$step => $name(raw, room),)*
                _ => STOP,
            }
        }
    };
}

steps! {
    step_ipv6 is Ipv6,
    step_transport is Transport,
    step_arp is Arp,
    step_discovery is Discovery,
    step_uplink is Uplink,
    step_unmanaged is Unmanaged,
    step_scale is Scale,
    step_open is Open,
    step_related is Related,
    step_judge is Judge,
    step_limit is Limit,
    step_reject is Reject,
    step_revoke is Revoke,
    step_end is End,
    step_report is Report,
}

/// Steps of packets at cgroups.
pub(crate) mod inet {
    steps_in! { Inet of aya_ebpf::bindings::__sk_buff:
        inet_ipv6 is Ipv6,
        inet_transport is Transport,
        inet_hosted is Hosted,
        inet_scale is Scale,
        inet_open is Open,
        inet_related is Related,
        inet_judge is Judge,
        inet_reject is Reject,
        inet_revoke is Revoke,
        inet_end is End,
        inet_report is Report,
    }
}

/// Steps of calls of sockets.
pub(crate) mod asked {
    steps_in! { Asked of aya_ebpf::bindings::bpf_sock_addr:
        asked_judge is Judge,
        asked_report is Report,
    }
}
