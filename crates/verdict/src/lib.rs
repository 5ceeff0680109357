//! The one rule evaluator: decides whether a packet may pass, in the kernel and on the host.
//!
//! The kernel programs (`bpf/`) and everything on the host that answers "may this packet pass"
//! (plan, why, replay, tests) run this code. It is generic over two traits: [`Packet`] reads bytes,
//! [`Env`] reads and writes tables. It allocates nothing, never panics and holds no state.
//!
//! **Order** of a packet that an endpoint sends: guard (MAC, ARP, ND, address, DHCP, RA), connection
//! table, and for a new flow or an older epoch the policy of both ends ([`judge`]).
//!
//! **Limits.** IPv6 extension headers: [`packet::MAX_EXTENSIONS`]. IPv4 options are refused. Later
//! fragments need their first fragment to have passed before them.

#![cfg_attr(not(feature = "native"), no_std)]
#![expect(
    clippy::inline_always,
    reason = "the kernel's 512 bytes of stack and its call depth decide what is a call"
)]

pub mod abi;
pub mod account;
mod connections;
mod flow;
mod guard;
mod hosted;
mod judge;
mod limit;
pub mod meters;
#[cfg(feature = "native")]
pub mod native;
pub mod packet;
mod reason;
mod related;
mod report;
mod sctp;
#[cfg(feature = "native")]
mod shards;
mod step;
mod stray;
mod tcp;
#[cfg(all(test, feature = "native"))]
mod tests;
mod unmanaged;
mod uplink;
mod work;

use core::ops::DerefMut;

use abi::{Config, Endpoint, Event, FlowEntry, FlowKey, FragmentKey, PeerKey, PortEntry, PortKey};
use abi::{Peer, Ports, Row, RowKey};
use meters::{Limit, LimitKey, Meter, MeterKey};

pub use account::asked;
pub use flow::{from_endpoint, question, to_endpoint};
pub use hosted::{Call, at_bind, at_cgroup, at_connect};
pub use judge::{Judgement, Question, judge};
pub use packet::{Packet, Socket};
pub use reason::Reason;
pub use report::ended;
pub use step::{STOP, Step};
pub use unmanaged::at_place;
pub use uplink::at_uplink;
pub use work::{Hook, Work};

/// What becomes of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Goes on to the bridge, the router or the endpoint.
    Pass,
    /// Goes straight to the endpoint with this number, without bridge and router.
    Deliver(u32),
    /// Ends here.
    Drop(Reason),
}

/// The connection table refused a new entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The tables and the clock a decision reads, and the connection table it writes.
///
/// The kernel's implementation stands on BPF maps, the host's on [`native::Tables`].
pub trait Env: Sized {
    /// A handle to a live connection table entry.
    type Flow<'a>: DerefMut<Target = FlowEntry>
    where
        Self: 'a;

    /// A handle to a bucket of a limit.
    type Bucket<'a>: DerefMut<Target = Meter>
    where
        Self: 'a;

    /// The node's configuration, with the current epoch.
    fn config(&self) -> &Config;
    /// The live policy version. Read once for a packet.
    fn epoch(&self) -> u64;
    /// Now, in jiffies.
    fn now(&self) -> u32;
    /// The endpoint with this number.
    fn endpoint(&self, number: u32) -> Option<&Endpoint>;
    /// The peer with exactly this address.
    fn exact(&self, key: &PeerKey) -> Option<&Peer>;
    /// The peer with the longest prefix that holds this address.
    fn prefix(&self, key: &PeerKey) -> Option<&Peer>;
    /// What a slot says of a peer class.
    fn row(&self, key: &RowKey) -> Option<&Row>;
    /// What a port set says of an aligned block of ports.
    fn port(&self, key: &PortKey) -> Option<&PortEntry>;
    /// The connection table entry of a flow.
    fn flow(&self, key: &FlowKey) -> Option<Self::Flow<'_>>;
    /// Takes one entry from the tenant's budget and writes `entry` over whatever stands there.
    ///
    /// # Errors
    ///
    /// [`Full`] when the tenant's budget or the table is used up; nothing is written.
    fn open(&self, tenant: u32, key: &FlowKey, entry: &FlowEntry) -> Result<(), Full>;
    /// Removes an entry and gives it back to the tenant's budget.
    fn close(&self, tenant: u32, key: &FlowKey);
    /// The ports that the first fragment of this datagram carried.
    fn fragment(&self, key: &FragmentKey) -> Option<Ports>;
    /// Remembers the ports of a first fragment that passed.
    fn remember_fragment(&self, key: &FragmentKey, ports: Ports);
    /// Whose the two ends of a flow within this host were when it began, the number of the key's `low` side in the low half; 0 when that
    /// is not known.
    fn pair(&self, key: &FlowKey) -> u64 {
        let _ = key;
        0
    }
    /// Remembers that.
    fn remember_pair(&self, key: &FlowKey, pair: u64) {
        let _ = (key, pair);
    }
    /// What limits the flows that begin at a published port.
    fn limit(&self, key: &LimitKey) -> Option<&Limit>;
    /// A bucket, full when it is new; `None` when there is no room for it.
    fn bucket(&self, key: &MeterKey, now: u32) -> Option<Self::Bucket<'_>>;
    /// Adds to a shared counter. Atomic in the kernel.
    fn add(counter: &mut u64, by: u64);
    /// Counts a passed packet for an endpoint; `sent` tells its direction.
    fn count(&self, endpoint: u32, sent: bool, bytes: u32);
    /// Reports a flow event. May be lost, and then is counted as lost.
    fn report(&self, event: &Event);
    /// Counts a flow of a port that nobody in the file has that passes without an entry and without a report.
    fn lose(&self) {}
    /// Takes a step of the decision about `packet`; the kernel makes a call of its own of it.
    fn step<P: Packet + ?Sized>(&self, step: Step, packet: &P, work: &mut Work) -> u32 {
        step.run(self, packet, work)
    }
}
