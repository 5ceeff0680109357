//! Working memory for one packet.

use crate::abi::{Event, FlowEntry, FlowKey};
use crate::judge::{Judgement, Question};
use crate::packet::{Frame, Header};
use crate::tcp;

/// Working memory for one packet. The kernel keeps it outside of its 512 bytes of stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Where the packet was met.
    pub hook: Hook,
    /// The Ethernet header.
    pub frame: Frame,
    /// Network and transport headers.
    pub header: Header,
    /// The flow's key.
    pub key: FlowKey,
    /// A new or ended flow.
    pub entry: FlowEntry,
    /// The question that is put to the policy, or the flow that an ICMP error quotes.
    pub question: Question,
    /// The policy's answer.
    pub judgement: Judgement,
    /// The report.
    pub event: Event,
    /// The options of a SYN.
    pub options: tcp::Options,
}

/// Where and when the packet was met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is asked by itself, and a byte is the fastest to ask"
)]
pub struct Hook {
    /// The live policy version.
    pub epoch: u64,
    /// Number of the endpoint at whose hook it is.
    pub endpoint: u32,
    /// The endpoint's network.
    pub network: u32,
    /// The endpoint's tenant.
    pub tenant: u32,
    /// Now, in jiffies.
    pub now: u32,
    /// The endpoint sent the packet; otherwise it is to receive it.
    pub sent: bool,
    /// The endpoint is one in place, see [`crate::abi::Endpoint::IN_PLACE`].
    pub in_place: bool,
    /// The endpoint is the host, and the hook one of an uplink, see [`crate::abi::Endpoint::UPLINK`].
    pub uplink: bool,
    /// Rules tell processes of the host apart at this uplink, see [`crate::account`].
    pub accounts: bool,
    /// The endpoint shares the host's stack, see [`crate::abi::Endpoint::HOSTED`].
    pub hosted: bool,
    /// The port is nobody's in the file, see [`crate::abi::Endpoint::UNMANAGED`].
    pub unmanaged: bool,
    /// What the port is then: [`crate::abi::Stray`] as a number.
    pub stray: u32,
}
