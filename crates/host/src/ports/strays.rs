//! Ports that nobody in the file has: which interfaces of this host they are, and what the programs are to do there.
//!
//! A bridge that a network of the file stands on is a [`Street`]. Its other ports are *strays*: whoever is behind them is `unmanaged`. A stray has a
//! number of its own as long as it is there, and the programs are told which network's it is. The bridge itself has a number as well: there, what comes by a port that has
//! no programs yet is judged on its way to the host and to the world.
//!
//! **What is no stray.** A link that leads out of this host (hardware, a tunnel, a VLAN, a patch to another bridge) carries the traffic of others: it is left alone,
//! and the bridge with it, as it sees that traffic, too. A bridge that carries a default route of the host, or is a LAN's, and has no such port has one that cannot be told from a
//! container's: it is left alone as a whole, and that is told.
//! **Limits.** [`Stray::MOST`] at one time; beyond, ports have no programs of their own, are counted, and what they send is judged at the bridge.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use verdict::abi::Stray;

use super::{Interface, Leads};

/// How long a new port on a street that waits stays closed: until then it is known whose it is.
pub const YOUTH: Duration = Duration::from_secs(3);

/// A bridge that a network stands on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Street {
    /// The network's number.
    pub network: u16,
    /// The bridge's name; `None` while nobody can tell, in which case what is there stays.
    pub bridge: Option<String>,
    /// Of which versions the network has subnets, IPv4 first.
    pub subnets: [bool; 2],
    /// Whether a port that comes is closed until it is known whose it is, but no longer than [`YOUTH`].
    pub waits: bool,
    /// Whether the bridge has a port that leads out of this host, whatever it looks like: it carries a default route, or is a LAN's.
    pub leads_out: bool,
}

/// A stray as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StrayState {
    /// The interface's name.
    pub interface: String,
    /// Its network's number.
    pub network: u16,
    /// Whether nothing passes yet.
    pub is_closed: bool,
    /// Whether it is the bridge itself.
    pub is_bridge: bool,
}

/// A place that is to have the programs for what is nobody's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) index: u32,
    pub(super) stray: Stray,
    pub(super) network: u16,
}

/// What a look has found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) wanted: Vec<Wanted>,
    /// Bridges that are left alone though they are in the file, and why.
    pub(super) left: Vec<String>,
    /// Ports for which there was no number.
    pub(super) beyond: usize,
}

/// Finds strays, and remembers when they came.
#[derive(Debug, Default)]
pub(super) struct Strays {
    streets: Vec<Street>,
    /// Interfaces that are known to be somebody's who is not wanted yet: they stay closed.
    held: BTreeSet<String>,
    /// Since when a port of a street that waits is there; `None` since before the first look.
    came: BTreeMap<u32, Option<Instant>>,
    /// When the next port is no longer new.
    due: Option<Instant>,
    has_looked: bool,
}

impl Strays {
    pub(super) fn want(&mut self, streets: Vec<Street>) {
        self.streets = streets;
    }

    /// Whether that is a change.
    pub(super) fn hold(&mut self, held: BTreeSet<String>) -> bool {
        let is_new = self.held != held;
        self.held = held;
        is_new
    }

    pub(super) fn is_idle(&self) -> bool {
        self.streets.is_empty()
    }

    /// When the next port is no longer new.
    pub(super) fn next(&self) -> Option<Instant> {
        self.due
    }

    /// Whether an interface is a bridge of ours, or on one.
    pub(super) fn concerns(
        &self,
        name: &str,
        master: Option<u32>,
        indexes: &BTreeMap<String, u32>,
    ) -> bool {
        let mut bridges = self.streets.iter().filter_map(|street| street.bridge.as_ref());
        bridges.any(|bridge| {
            bridge == name || master.is_some_and(|master| indexes.get(bridge) == Some(&master))
        })
    }

    /// What there is: `known` are the values that the programs have now, `taken` the interfaces of workloads and uplinks.
    pub(super) fn find(
        &mut self,
        known: &BTreeMap<u32, u32>,
        interfaces: &BTreeMap<String, Interface>,
        taken: &BTreeSet<u32>,
        now: Instant,
    ) -> Found {
        let mut found = Found::default();
        let mut numbers = Numbers::of(known);
        self.due = None;
        let mut seen = BTreeSet::new();
        for street in self.streets.clone() {
            let Some(bridge) = &street.bridge else {
                keep(&street, known, interfaces, taken, &mut found);
                continue;
            };
            let Some(own) = interfaces.get(bridge).filter(|own| own.leads == Leads::Bridge) else {
                continue;
            };
            let ports = || interfaces.iter().filter(|(_, port)| port.master == Some(own.index));
            let leads_out = ports().any(|(_, port)| port.leads == Leads::Out);
            if street.leads_out && !leads_out {
                found.left.push(format!(
                    "one of the ports of {bridge} leads out of this host, and it cannot be told which: what is nobody's on it is not judged"
                ));
                continue;
            }
            // What comes by a leg of ours was judged behind it, and has no mark.
            let has_ours = ports().any(|(_, port)| port.leads == Leads::Ours);
            if !leads_out
                && !has_ours
                && !taken.contains(&own.index)
                && seen.insert(own.index)
                && let Some(number) = numbers.of_index(own.index)
            {
                let stray = Stray::bridge(number, street.network, street.subnets);
                found.wanted.push(Wanted { index: own.index, stray, network: street.network });
            }
            for (name, port) in ports().filter(|(_, port)| port.leads == Leads::Guest) {
                if taken.contains(&port.index) || !seen.insert(port.index) {
                    continue;
                }
                let Some(number) = numbers.of_index(port.index) else {
                    found.beyond += 1;
                    continue;
                };
                let is_closed = self.is_closed(&street, name, port.index, known, now);
                let stray = if is_closed {
                    Stray::closed(number)
                } else {
                    Stray::open(number, street.network, street.subnets)
                };
                found.wanted.push(Wanted { index: port.index, stray, network: street.network });
            }
        }
        self.came.retain(|index, _| seen.contains(index));
        self.has_looked = true;
        found
    }

    /// Whether a port stays closed: it has just come and may be a container that is not known yet, or it is known and waits for its attachment.
    fn is_closed(
        &mut self,
        street: &Street,
        name: &str,
        index: u32,
        known: &BTreeMap<u32, u32>,
        now: Instant,
    ) -> bool {
        if !street.waits {
            return false;
        }
        // What an agent before this one had closed has just come, and what it had opened has not.
        let before = known.get(&index).and_then(|value| Stray::read(*value));
        let is_new = before.map_or(self.has_looked, |stray| stray.network() == 0);
        let Some(came) = *self.came.entry(index).or_insert(is_new.then_some(now)) else {
            return false;
        };
        let due = came + YOUTH;
        if due > now {
            self.due = self.due.into_iter().chain([due]).min();
        }
        due > now || self.held.contains(name)
    }
}

/// While nobody can tell which bridge a network stands on, what is attached for it stays as it is.
fn keep(
    street: &Street,
    known: &BTreeMap<u32, u32>,
    interfaces: &BTreeMap<String, Interface>,
    taken: &BTreeSet<u32>,
    found: &mut Found,
) {
    let there: BTreeSet<u32> = interfaces.values().map(|each| each.index).collect();
    for (index, value) in known {
        let Some(stray) = Stray::read(*value) else { continue };
        let is_its = stray.network() == u32::from(street.network) || stray.network() == 0;
        let is_free =
            !taken.contains(index) && !found.wanted.iter().any(|wanted| wanted.index == *index);
        if is_its && is_free && there.contains(index) {
            found.wanted.push(Wanted { index: *index, stray, network: street.network });
        }
    }
}

/// The numbers of strays.
struct Numbers {
    by_index: BTreeMap<u32, u32>,
    taken: BTreeSet<u32>,
    next: u32,
}

impl Numbers {
    fn of(known: &BTreeMap<u32, u32>) -> Self {
        let strays = known
            .iter()
            .filter_map(|(index, value)| Stray::read(*value).map(|stray| (*index, stray.number())));
        let by_index: BTreeMap<u32, u32> = strays.collect();
        let taken = by_index.values().copied().collect();
        Self { by_index, taken, next: Stray::FIRST }
    }

    /// The number that an interface has, or a free one; `None` when there is none left.
    fn of_index(&mut self, index: u32) -> Option<u32> {
        if let Some(number) = self.by_index.get(&index) {
            return Some(*number);
        }
        let end = Stray::FIRST + Stray::MOST;
        let number = (self.next..end).find(|number| !self.taken.contains(number))?;
        self.next = number + 1;
        self.taken.insert(number);
        self.by_index.insert(index, number);
        Some(number)
    }
}
