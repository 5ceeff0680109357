//! Ports in place: interfaces of the host that somebody else made, with our programs on them.
//!
//! [`Keeping`] brings what is attached to what is wanted. An interface is found by its name; what then counts is its index,
//! which an interface keeps when it is renamed, and which another one of the same name does not have. An index alone says nothing: it may be
//! given again.
//!
//! **Ownership.** Ours are the programs and what remembers them. The interface, its bridge, its addresses and the programs of
//! others on it are never changed.
//! **Order.** The kernel learns whose an index is before programs are attached, and forgets it after they are detached: a
//! program that finds nobody drops. What changes hands is never without programs.
//! **Failure.** A port that cannot be attached is told and tried again with the next pass; the others go on.

mod keeping;
mod strays;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use verdict::abi::Stray;

pub use keeping::{Keeping, Pass};
pub use strays::{StrayState, Street, YOUTH};

/// A port that is wanted: the endpoint with this number is behind the interface of this name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PortDesired {
    /// The endpoint's number, below [`verdict::abi::MAX_ENDPOINTS`].
    pub number: u32,
    /// The interface's name on the host.
    pub interface: String,
}

/// How a port is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortState {
    /// Every packet is judged.
    Enforced {
        /// The interface's name now.
        interface: String,
        /// Its index.
        index: u32,
        /// Since when, without a gap.
        since: SystemTime,
    },
    /// There is no such interface yet, or no more.
    NoInterface,
    /// The interface cannot be taken, or the kernel refused; why, in words.
    Refused(String),
}

/// An interface of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its index.
    pub index: u32,
    /// Whether it can lead to a workload: neither loopback nor a bridge nor one of ours.
    pub is_port: bool,
    /// Whether it can be an uplink of the host: an Ethernet link, a bridge among them, that is none of ours.
    pub is_uplink: bool,
    /// Where it leads.
    pub leads: Leads,
    /// Index of the bridge that it is on.
    pub master: Option<u32>,
}

/// Where an interface leads, as far as that can be told from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leads {
    /// To a container or a machine: a veth or a TAP.
    Guest,
    /// It is a bridge.
    Bridge,
    /// Out of this host, or to another bridge.
    #[default]
    Out,
    /// To something of ours.
    Ours,
}

/// The number under which a place has its programs: of what the programs are told, see [`Stray`].
#[must_use]
pub fn number_of(value: u32) -> u32 {
    Stray::read(value).map_or(value, Stray::number)
}

/// What ports in place ask of a kernel, in the namespace of the host.
pub trait Floor {
    /// Every interface by its name.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn interfaces(&mut self) -> io::Result<BTreeMap<String, Interface>>;

    /// Whose interfaces are, by index, as the programs see it: an endpoint's number, or a [`Stray`].
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn known(&mut self) -> io::Result<BTreeMap<u32, u32>>;

    /// Since when both programs are on the interface for the endpoint; `None` when they are not both there.
    fn attached(&mut self, index: u32, number: u32) -> Option<SystemTime>;

    /// Whether anything of ours is on the interface for the endpoint, be it of an older object or incomplete: what only has the index of an
    /// interface that went has nothing.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn is_marked(&mut self, index: u32, number: u32) -> io::Result<bool>;

    /// Says whose an interface is; before the first attachment, and when it changes hands.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn enter(&mut self, index: u32, value: u32) -> io::Result<()>;

    /// Attaches both programs; what is attached already is replaced without a gap.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn attach(&mut self, index: u32, number: u32) -> io::Result<()>;

    /// Lets what is attached for one number be attached for that of another value, without a gap, and says whose the interface is.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn hand_over(&mut self, index: u32, from: u32, to: u32) -> io::Result<()>;

    /// Takes the programs off, and leaves the interface as it was. No error when it is gone.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn detach(&mut self, index: u32, number: u32) -> io::Result<()>;

    /// Forgets whose an interface was.
    ///
    /// # Errors
    ///
    /// The system's answer.
    fn leave(&mut self, index: u32) -> io::Result<()>;
}
