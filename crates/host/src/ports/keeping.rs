//! Compares the ports that are wanted with those that are attached, and does what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::Instant;

use verdict::abi::{Stray, UPLINKS};

use super::strays::{Found, Strays, Wanted};
use super::{Floor, Interface, PortDesired, PortState, StrayState, Street, number_of};

/// What one pass did.
#[derive(Debug, Default)]
pub struct Pass {
    /// Steps that worked, in order.
    pub done: Vec<String>,
    /// What could not be done, one sentence each. An interface that is not there is none of these.
    pub failed: Vec<String>,
}

/// Keeps ports attached. Remembers what is wanted and how each port is.
#[derive(Debug)]
pub struct Keeping<F> {
    floor: F,
    /// By number.
    wanted: BTreeMap<u32, String>,
    states: BTreeMap<u32, PortState>,
    /// What interfaces are by index, as the kernel was told.
    known: BTreeMap<u32, u32>,
    /// Ports that nobody in the file has, by their index.
    strays: Strays,
    stray_states: BTreeMap<u32, StrayState>,
    /// What of them is not judged, one sentence each.
    notes: Vec<String>,
    /// Ports for which there was no number.
    beyond: usize,
    /// Indexes by name in the last look.
    indexes: BTreeMap<String, u32>,
}

impl<F: Floor> Keeping<F> {
    /// Nothing is wanted, and nothing is looked at, before the first pass.
    pub fn new(floor: F) -> Self {
        let (wanted, states, known) = Default::default();
        let (strays, stray_states, indexes) = Default::default();
        let (notes, beyond) = Default::default();
        Self { floor, wanted, states, known, strays, stray_states, notes, beyond, indexes }
    }

    /// Says what is wanted from now on. The next pass brings it about.
    pub fn want(&mut self, ports: impl IntoIterator<Item = PortDesired>) {
        self.wanted = ports.into_iter().map(|port| (port.number, port.interface)).collect();
        self.states.retain(|number, _| self.wanted.contains_key(number));
    }

    /// Says on which bridges ports that nobody has are judged as such. The next pass brings it about.
    pub fn watch(&mut self, streets: Vec<Street>) {
        self.strays.want(streets);
    }

    /// Says which ports of such bridges are somebody's who is not wanted yet: they stay closed. Whether that is a change.
    pub fn hold(&mut self, held: BTreeSet<String>) -> bool {
        self.strays.hold(held)
    }

    /// When a pass is due, though nothing has changed: a new port has been there long enough.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.strays.next()
    }

    /// Ports that nobody has, as they are, with the bridges that they are on.
    pub fn strays(&self) -> impl Iterator<Item = &StrayState> {
        self.stray_states.values()
    }

    /// What of such ports is not judged, one sentence each. It is no failure of a pass: nothing that was asked for is missing.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Ports that nobody has, beyond [`Stray::MOST`]: they have no programs of their own.
    #[must_use]
    pub fn beyond(&self) -> usize {
        self.beyond
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.wanted.is_empty() && self.strays.is_idle()
    }

    /// How a port is; `None` when it is not wanted, or was not looked at yet.
    #[must_use]
    pub fn state(&self, number: u32) -> Option<&PortState> {
        self.states.get(&number)
    }

    /// The kernel that is kept.
    pub fn floor(&mut self) -> &mut F {
        &mut self.floor
    }

    /// Whether an interface that came, changed or went is one to look at; `master` is the index of the bridge that it is on.
    #[must_use]
    pub fn concerns(&self, index: u32, name: &str, master: Option<u32>) -> bool {
        self.known.contains_key(&index)
            || self.wanted.values().any(|wanted| wanted == name)
            || self.strays.concerns(name, master, &self.indexes)
    }

    /// Reads everything, and brings about what is wanted.
    pub fn pass(&mut self) -> Pass {
        self.pass_at(Instant::now())
    }

    /// As [`Keeping::pass`], at a moment.
    pub fn pass_at(&mut self, now: Instant) -> Pass {
        let mut pass = Pass::default();
        let looked = self.floor.known().and_then(|known| Ok((known, self.floor.interfaces()?)));
        match looked {
            Ok((known, interfaces)) => {
                self.known = known;
                let mut targets = self.targets(&interfaces);
                let taken = targets.values().copied().collect();
                let found = self.strays.find(&self.known, &interfaces, &taken, now);
                targets.extend(found.wanted.iter().map(|each| (each.stray.number(), each.index)));
                self.indexes =
                    interfaces.iter().map(|(name, each)| (name.clone(), each.index)).collect();
                let values = found.wanted.iter().map(|each| (each.index, each.stray.value()));
                self.take_off(&targets, &values.collect(), &interfaces, &mut pass);
                for (number, name) in self.wanted.clone() {
                    let state = self.put_on(number, &name, &targets, &interfaces, &mut pass);
                    self.states.insert(number, state);
                }
                self.put_on_strays(found, &interfaces, &mut pass);
            }
            Err(error) => pass.failed.push(format!("look at the interfaces of the host: {error}")),
        }
        pass
    }

    /// The interface of each port: the one with its name, or the one that had it when it was attached and has our programs since. No interface
    /// is two ports'; the one with the lower number has it.
    fn targets(&mut self, interfaces: &BTreeMap<String, Interface>) -> BTreeMap<u32, u32> {
        let there: BTreeSet<u32> = interfaces.values().map(|each| each.index).collect();
        let mut taken = BTreeSet::new();
        let mut targets = BTreeMap::new();
        for (number, name) in &self.wanted {
            if let Some(found) = interfaces.get(name)
                && taken.insert(found.index)
            {
                targets.insert(*number, found.index);
            }
        }
        for (index, value) in &self.known {
            let number = &number_of(*value);
            let is_lost = self.wanted.contains_key(number) && !targets.contains_key(number);
            // Should it not be known, nobody is let go.
            let is_same = |floor: &mut F| floor.is_marked(*index, *number).unwrap_or(true);
            if is_lost && there.contains(index) && is_same(&mut self.floor) && taken.insert(*index)
            {
                targets.insert(*number, *index);
            }
        }
        targets
    }

    /// Lets go of interfaces that are no port's any more, and hands those over that are another one's. `values` is what the programs are told of strays, by index.
    fn take_off(
        &mut self,
        targets: &BTreeMap<u32, u32>,
        values: &BTreeMap<u32, u32>,
        interfaces: &BTreeMap<String, Interface>,
        pass: &mut Pass,
    ) {
        let owners: BTreeMap<u32, u32> =
            targets.iter().map(|(number, index)| (*index, *number)).collect();
        for (index, value) in self.known.clone() {
            let (name, number) = (name_of(interfaces, index), number_of(value));
            let (what, done) = match owners.get(&index) {
                Some(owner) if *owner == number => continue,
                Some(owner) => {
                    let what = format!("{} takes {name} over from {}", who(*owner), who(number));
                    let value = values.get(&index).copied().unwrap_or(*owner);
                    self.known.insert(index, value);
                    (what, self.floor.hand_over(index, number, value))
                }
                None => {
                    let what = format!("detach {} from {name}", who(number));
                    let done = self.floor.detach(index, number);
                    let done = done.and_then(|()| self.floor.leave(index));
                    if done.is_ok() {
                        self.known.remove(&index);
                    }
                    (what, done)
                }
            };
            told(pass, what, done);
        }
    }

    fn put_on(
        &mut self,
        number: u32,
        name: &str,
        targets: &BTreeMap<u32, u32>,
        interfaces: &BTreeMap<String, Interface>,
        pass: &mut Pass,
    ) -> PortState {
        let Some(index) = targets.get(&number).copied() else {
            if interfaces.contains_key(name) {
                return PortState::Refused(format!("{name} is another workload's"));
            }
            return PortState::NoInterface;
        };
        let interface = name_of(interfaces, index);
        let found = interfaces.values().find(|each| each.index == index);
        let (fits, why) = if number >= UPLINKS {
            (
                found.is_some_and(|each| each.is_uplink),
                "is no uplink: it is no Ethernet link, or ours",
            )
        } else {
            let why = "leads to no workload: it is a bridge, or not to be taken";
            (found.is_some_and(|each| each.is_port), why)
        };
        if !fits {
            let message = format!("{interface} {why}");
            pass.failed.push(message.clone());
            return PortState::Refused(message);
        }
        self.put(index, number, interface, pass)
    }

    /// Tells the programs what a place is, and attaches them.
    fn put(&mut self, index: u32, value: u32, interface: String, pass: &mut Pass) -> PortState {
        let number = number_of(value);
        let what = format!("attach {} to {interface}", who(number));
        if self.known.get(&index) != Some(&value) {
            if let Err(error) = self.floor.enter(index, value) {
                return refused(pass, &what, &error);
            }
            self.known.insert(index, value);
        }
        if let Some(since) = self.floor.attached(index, number) {
            return PortState::Enforced { interface, index, since };
        }
        if let Err(error) = self.floor.attach(index, number) {
            return refused(pass, &what, &error);
        }
        pass.done.push(what);
        match self.floor.attached(index, number) {
            Some(since) => PortState::Enforced { interface, index, since },
            // It went while it was attached: the next event tells.
            None => PortState::NoInterface,
        }
    }
}

/// Ports that nobody in the file has.
impl<F: Floor> Keeping<F> {
    fn put_on_strays(
        &mut self,
        found: Found,
        interfaces: &BTreeMap<String, Interface>,
        pass: &mut Pass,
    ) {
        let mut notes = Pass { failed: found.left, ..Pass::default() };
        self.stray_states.clear();
        for Wanted { index, stray, network } in found.wanted {
            let interface = name_of(interfaces, index);
            if let PortState::NoInterface =
                self.put(index, stray.value(), interface.clone(), &mut notes)
            {
                continue;
            }
            let (is_closed, is_bridge) = (stray.network() == 0, stray.is_bridge());
            let state = StrayState { interface, network, is_closed, is_bridge };
            self.stray_states.insert(index, state);
        }
        self.beyond = found.beyond;
        if found.beyond > 0 {
            notes.failed.push(format!(
                "{} more ports than {} are nobody's: of those, only what they send to the host and beyond is judged",
                found.beyond,
                Stray::MOST
            ));
        }
        pass.done.append(&mut notes.done);
        self.notes = notes.failed;
    }
}

/// Who has a number, in words.
fn who(number: u32) -> String {
    if number >= Stray::FIRST { "unmanaged".to_owned() } else { format!("endpoint {number}") }
}

fn name_of(interfaces: &BTreeMap<String, Interface>, index: u32) -> String {
    let named = interfaces.iter().find(|(_, each)| each.index == index);
    named.map_or_else(|| format!("interface {index}, which is gone"), |(name, _)| name.clone())
}

fn told(pass: &mut Pass, what: String, done: io::Result<()>) {
    match done {
        Ok(()) => pass.done.push(what),
        Err(error) => pass.failed.push(format!("{what}: {error}")),
    }
}

/// An interface may go at any time; that is not a failure.
fn refused(pass: &mut Pass, what: &str, error: &io::Error) -> PortState {
    if matches!(error.raw_os_error(), Some(libc::ENODEV | libc::ENXIO)) {
        return PortState::NoInterface;
    }
    let message = format!("{what}: {error}");
    pass.failed.push(message.clone());
    PortState::Refused(message)
}
