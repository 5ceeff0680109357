//! Compares the ports that are wanted with those that are attached, and does what is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use verdict::abi::UPLINKS;

use super::{Floor, Interface, PortDesired, PortState};

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
    /// Endpoint by index, as the kernel was told.
    known: BTreeMap<u32, u32>,
}

impl<F: Floor> Keeping<F> {
    /// Nothing is wanted, and nothing is looked at, before the first pass.
    pub fn new(floor: F) -> Self {
        let (wanted, states, known) = Default::default();
        Self { floor, wanted, states, known }
    }

    /// Says what is wanted from now on. The next pass brings it about.
    pub fn want(&mut self, ports: impl IntoIterator<Item = PortDesired>) {
        self.wanted = ports.into_iter().map(|port| (port.number, port.interface)).collect();
        self.states.retain(|number, _| self.wanted.contains_key(number));
    }

    /// Whether nothing is wanted.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.wanted.is_empty()
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

    /// Whether an interface that came, changed or went is one to look at.
    #[must_use]
    pub fn concerns(&self, index: u32, name: &str) -> bool {
        self.known.contains_key(&index) || self.wanted.values().any(|wanted| wanted == name)
    }

    /// Reads everything, and brings about what is wanted.
    pub fn pass(&mut self) -> Pass {
        let mut pass = Pass::default();
        let looked = self.floor.known().and_then(|known| Ok((known, self.floor.interfaces()?)));
        match looked {
            Ok((known, interfaces)) => {
                self.known = known;
                let targets = self.targets(&interfaces);
                self.take_off(&targets, &interfaces, &mut pass);
                for (number, name) in self.wanted.clone() {
                    let state = self.put_on(number, &name, &targets, &interfaces, &mut pass);
                    self.states.insert(number, state);
                }
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
        for (index, number) in &self.known {
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

    /// Lets go of interfaces that are no port's any more, and hands those over that are another one's.
    fn take_off(
        &mut self,
        targets: &BTreeMap<u32, u32>,
        interfaces: &BTreeMap<String, Interface>,
        pass: &mut Pass,
    ) {
        let owners: BTreeMap<u32, u32> =
            targets.iter().map(|(number, index)| (*index, *number)).collect();
        for (index, number) in self.known.clone() {
            let name = name_of(interfaces, index);
            let (what, done) = match owners.get(&index) {
                Some(owner) if *owner == number => continue,
                Some(owner) => {
                    let what = format!("endpoint {owner} takes {name} over from endpoint {number}");
                    self.known.insert(index, *owner);
                    (what, self.floor.hand_over(index, number, *owner))
                }
                None => {
                    let what = format!("detach endpoint {number} from {name}");
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
        let what = format!("attach endpoint {number} to {interface}");
        if self.known.get(&index) != Some(&number) {
            if let Err(error) = self.floor.enter(index, number) {
                return refused(pass, &what, &error);
            }
            self.known.insert(index, number);
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
