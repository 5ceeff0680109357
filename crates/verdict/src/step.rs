//! The steps of a decision: parts that the kernel's verifier looks at once and for all.
//!
//! The verifier walks a program along every path, and into an ordinary function again for every call of it. A step is a
//! *global* function there (kernel 5.6 and later, `btf_prepare_func_args`): walked once, for any caller. In return it takes
//! nothing but the packet and answers with a number; everything else it finds and leaves in [`Work`]. So what is rare or
//! long is a step, and the path of an established flow is not. On the host a step is a plain call.

use crate::abi::Verdict;
use crate::flow;
use crate::judge::judge;
use crate::packet::{self, Packet};
use crate::work::Work;
use crate::{Action, Env, Reason, guard, hosted, limit, related, report, tcp, unmanaged, uplink};

/// A part of a decision. See [`Env::step`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Reads an IPv6 header and what follows it.
    Ipv6,
    /// Reads an IPv4 packet's transport header.
    Transport,
    /// Checks an ARP packet that the endpoint sends.
    Arp,
    /// Checks a neighbour discovery packet that the endpoint sends.
    Discovery,
    /// Tells of a packet at an uplink whose it is, and reads its headers; answers with 1 when it goes on unjudged.
    Uplink,
    /// Reads a packet at the cgroup of an endpoint of the host's stack, and tells whose its ends are; answers with 1 when it goes on
    /// unjudged.
    Hosted,
    /// Tells of a packet at a port that nobody in the file has whether it is judged by the posture for these; answers with 1 when it goes on
    /// unjudged, and with 2 when it ends without a report.
    Unmanaged,
    /// Reads the window scale of a SYN; answers with the shift count, or stops when there is none.
    Scale,
    /// Judges the first packet of a flow.
    Open,
    /// Judges an ICMP error.
    Related,
    /// Puts the question to the policy; stops when the answer is a drop.
    Judge,
    /// Counts a flow that begins at a published port; stops when its limit is used up.
    Limit,
    /// Drops a packet that policy was not asked about.
    Reject,
    /// Ends a flow that the policy no longer allows.
    Revoke,
    /// Reports the end of a flow.
    End,
    /// Hands the report over.
    Report,
}

/// The answer of a step that ends the packet's way; the reason stands in [`Work::judgement`].
pub const STOP: u32 = u32::MAX;
/// The answer of a step after which the packet goes on.
pub(crate) const GO_ON: u32 = 0;
/// The answer of [`Step::Uplink`], [`Step::Hosted`] and [`Step::Unmanaged`] for a packet that is not judged.
pub(crate) const GO_BY: u32 = 1;
/// The answer of [`Step::Unmanaged`] for a packet that ends here without a report.
pub(crate) const GO_NOWHERE: u32 = 2;

impl Step {
    /// Takes the step. The answer is 0 to go on, [`STOP`] or a number that the step defines.
    #[inline(always)]
    pub fn run<E: Env, P: Packet + ?Sized>(self, env: &E, packet: &P, work: &mut Work) -> u32 {
        match self {
            Self::Ipv6 => checked(packet::ipv6(packet, &mut work.header), work),
            Self::Transport => checked(packet::transport(packet, &mut work.header), work),
            Self::Arp => match env.endpoint(work.hook.endpoint) {
                Some(endpoint) => {
                    checked(guard::arp(packet, endpoint, &mut work.header).map(drop), work)
                }
                None => STOP,
            },
            Self::Discovery => match env.endpoint(work.hook.endpoint) {
                Some(endpoint) => {
                    checked(guard::discovery(packet, endpoint, &work.header).map(drop), work)
                }
                None => STOP,
            },
            Self::Uplink => {
                let kind = uplink::at_home(env, packet, work);
                whose(kind, work)
            }
            Self::Hosted => {
                let kind = hosted::ends(env, packet, work);
                whose(kind, work)
            }
            Self::Unmanaged => match unmanaged::whose(env, packet, work) {
                Ok(unmanaged::Kind::Judged) => GO_ON,
                Ok(unmanaged::Kind::Other) => GO_BY,
                Ok(unmanaged::Kind::Closed) => GO_NOWHERE,
                Err(reason) => {
                    work.judgement.reason = reason;
                    STOP
                }
            },
            Self::Scale => tcp::scale(packet, work).map_or(STOP, u32::from),
            Self::Open => acted(flow::open(env, packet, work)),
            Self::Related => acted(related::related(env, packet, work)),
            Self::Judge => {
                judge(env, &work.question, work.hook.epoch, &mut work.judgement);
                if work.judgement.verdict == Verdict::Drop { STOP } else { GO_ON }
            }
            Self::Limit => {
                if limit::admits(env, &work.question, work.hook.endpoint, work.hook.now) {
                    GO_ON
                } else {
                    STOP
                }
            }
            Self::Reject => acted(report::turn_away(env, packet, work)),
            Self::Revoke => acted(flow::revoke(env, packet, work)),
            Self::End => {
                report::report_end(env, packet, work, Reason::None);
                GO_ON
            }
            Self::Report => {
                env.report(&work.event);
                GO_ON
            }
        }
    }
}

/// The answer for a check.
#[inline(always)]
fn checked(checked: Result<(), Reason>, work: &mut Work) -> u32 {
    whose(checked.map(|()| uplink::Kind::Host), work)
}

/// The answer that tells whose a packet is.
#[inline(always)]
fn whose(found: Result<uplink::Kind, Reason>, work: &mut Work) -> u32 {
    match found {
        Ok(uplink::Kind::Host) => GO_ON,
        Ok(uplink::Kind::Other) => GO_BY,
        Err(reason) => {
            work.judgement.reason = reason;
            STOP
        }
    }
}

/// The answer for an action; [`action`] turns it back.
#[inline(always)]
fn acted(action: Action) -> u32 {
    match action {
        Action::Pass => GO_ON,
        Action::Deliver(target) => target,
        Action::Drop(_) => STOP,
    }
}

/// The action that a step has answered with.
#[inline(always)]
pub(crate) fn action(answer: u32, work: &Work) -> Action {
    match answer {
        GO_ON => Action::Pass,
        STOP => Action::Drop(work.judgement.reason),
        target => Action::Deliver(target),
    }
}
