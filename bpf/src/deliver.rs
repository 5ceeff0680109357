//! Hands a packet to an endpoint on this node, past bridge and router.

use aya_ebpf::helpers::bpf_redirect_peer;
use verdict::abi::IFINDEX_BASE;
use verdict::{Env, Packet, Reason, Work, packet};

use crate::env::Kernel;
use crate::skb::Skb;
use crate::{DROP, meters};

/// `BPF_F_RECOMPUTE_CSUM`.
const RECOMPUTE: u64 = 1;

/// Sends the packet into the target's namespace; a routed one as the gateway would send it.
#[inline(never)]
pub(crate) fn to_peer(env: &Kernel<Skb>, skb: Skb, target: u32, work: &Work) -> i32 {
    let Some(receiver) = env.endpoint(target) else { return failed(target) };
    if work.frame.target != receiver.mac {
        let m = receiver.mac;
        let g = receiver.gateway_mac;
        let macs = [m[0], m[1], m[2], m[3], m[4], m[5], g[0], g[1], g[2], g[3], g[4], g[5]];
        if !skb.store(0, &macs, 0) || !hop(skb, work) {
            return failed(target);
        }
    }
    skb.accept();
    // SAFETY: the helper takes numbers only.
    unsafe { bpf_redirect_peer(IFINDEX_BASE + target, 0) as i32 }
}

/// Takes one from the TTL, with its checksum (RFC 1624), or from the hop limit.
#[inline(always)]
fn hop(skb: Skb, work: &Work) -> bool {
    if work.frame.ethertype == packet::IPV6 {
        let offset = packet::ETHERNET + 7;
        return skb.store(offset, &[work.header.hops.wrapping_sub(1)], RECOMPUTE);
    }
    let offset = packet::ETHERNET + 8;
    let Some([ttl, protocol, high, low]) = skb.load::<4>(offset) else { return false };
    let sum = u32::from(u16::from_be_bytes([high, low])) + 0x0100;
    let [high, low] = ((sum + (sum >> 16)) as u16).to_be_bytes();
    skb.store(offset, &[ttl.wrapping_sub(1), protocol, high, low], 0)
}

#[inline(never)]
fn failed(target: u32) -> i32 {
    meters::count_drop(target, Reason::DeliveryFailed as u32);
    DROP
}
