//! Flow records: the kernel's events with names, times and rules, merged, kept in a bounded ring, and shown as a line.
//!
//! The agent reads [`verdict::abi::Event`]s from the ring buffer and gives each to a [`Decoder`], which asks a [`Resolver`]
//! for names and a [`Clock`] for times. An [`Aggregator`] merges repeated drops, a [`Ring`] keeps the newest records, an
//! [`hours::Hour`] counts all of an hour for the flow store, and [`Line`] is what a person sees of one. Everything here is pure: time comes in as an argument.
//!
//! **Limits.** Every collection has a capacity and a counter at it; what is merged or left out is counted, never lost
//! in silence.

mod aggregate;
mod clock;
mod decode;
mod filter;
pub mod hours;
mod line;
pub mod reason;
mod record;
mod ring;
mod tally;
#[cfg(test)]
mod tests;

pub use aggregate::Aggregator;
pub use clock::Clock;
pub use decode::{Decoder, Resolver};
pub use filter::{Filter, Labelled, Party};
pub use line::Line;
pub use record::{Decision, End, Kind, Protocol, Record};
pub use ring::{Ring, Seen};
pub use tally::{RuleCount, RuleTally};
