//! A change of the host part waits for a confirmation over a new connection, or goes back by itself (docs/adr/0021-host-policy.md).
//!
//! [`ledger`] is what is remembered: what was confirmed last and what waits. [`session`] tells whether a confirmation proves anything.
//! [`dead_man`] is the process that brings back what was confirmed when nobody confirms. [`proof`] looks ahead: would the
//! connections by which this host is managed survive?

pub(crate) mod dead_man;
pub(crate) mod ledger;
pub(crate) mod proof;
pub(crate) mod session;

use std::time::Duration;

use session::Origin;

/// How a change of the host part is to be made.
#[derive(Debug, Clone)]
pub(crate) struct Manner {
    /// How long it waits for its confirmation.
    pub(crate) within: Duration,
    /// Whether connections by which the host is managed may be cut.
    pub(crate) may_cut: bool,
    /// Who makes it.
    pub(crate) by: Origin,
    /// Nobody makes it: the agent applies the file in force again, with the host part that is in force.
    pub(crate) again: bool,
}

impl Manner {
    /// For a file that is in force already and that the agent applies again by itself.
    pub(crate) fn of_the_agent() -> Self {
        Self { within: Duration::from_mins(1), may_cut: false, by: Origin::Apart, again: true }
    }
}

/// Shortest and longest time to confirm in.
pub(crate) const WITHIN: std::ops::RangeInclusive<u32> = 5..=3600;
