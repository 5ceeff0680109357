//! The nouns of the product: names, labels, selectors, identities, ports, rules.
//!
//! Everything here is a value: parsed once at the edge, compared, printed, hashed. The policy loader makes them from
//! people's files, the planner compiles them, the agent and the API carry them. Whatever parses from text prints back to
//! a text that parses to the same value.

mod copy_on_write;
pub mod digest;
mod identity;
mod labels;
mod name;
mod network;
mod peer;
mod port;
mod process;
mod rule;
mod selector;

pub use copy_on_write::CopyOnWrite;
pub use identity::Identity;
pub use labels::{LabelError, LabelKey, LabelValue, Labels};
pub use name::{Name, NameError};
pub use network::{Direction, Generation, Mode, Posture, Postures};
pub use peer::{Peer, PeerError};
pub use port::{IcmpCover, IcmpMatch, IcmpName, PortError, PortRange, PortSpec, Proto, Transport};
pub use process::{Account, AccountName, HostProcesses};
pub use rule::{RuleId, RuleKind, RuleRef};
pub use selector::{Field, Op, ParseError, Selector, Subject, Term};
