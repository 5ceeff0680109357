//! Ports over a kernel in memory that keeps a log.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::time::SystemTime;

use verdict::abi::Stray;

use super::{Floor, Interface, Keeping, Leads, PortDesired, PortState, number_of};

mod strays;

#[derive(Debug, Default)]
struct Fake {
    interfaces: BTreeMap<String, Interface>,
    known: BTreeMap<u32, u32>,
    programs: BTreeSet<(u32, u32)>,
    log: Vec<String>,
    /// Attaching is refused.
    refuses: bool,
}

impl Fake {
    fn add(&mut self, name: &str, index: u32) {
        self.interfaces.insert(name.to_owned(), link(index, Leads::Guest, None));
    }

    /// As the kernel: programs end with their interface.
    fn delete(&mut self, name: &str) {
        if let Some(gone) = self.interfaces.remove(name) {
            self.programs.retain(|(index, _)| *index != gone.index);
        }
    }
}

impl Floor for Fake {
    fn interfaces(&mut self) -> io::Result<BTreeMap<String, Interface>> {
        Ok(self.interfaces.clone())
    }

    fn known(&mut self) -> io::Result<BTreeMap<u32, u32>> {
        Ok(self.known.clone())
    }

    fn attached(&mut self, index: u32, number: u32) -> Option<SystemTime> {
        self.programs.contains(&(index, number)).then_some(SystemTime::UNIX_EPOCH)
    }

    fn is_marked(&mut self, index: u32, number: u32) -> io::Result<bool> {
        Ok(self.programs.contains(&(index, number)))
    }

    fn enter(&mut self, index: u32, value: u32) -> io::Result<()> {
        self.log.push(format!("enter {index} {}", shown(value)));
        self.known.insert(index, value);
        Ok(())
    }

    fn attach(&mut self, index: u32, number: u32) -> io::Result<()> {
        if self.refuses {
            return Err(io::Error::from_raw_os_error(libc::EPERM));
        }
        let known = self.known.get(&index).copied().map(number_of);
        assert_eq!(known, Some(number), "a program that finds nobody drops");
        self.log.push(format!("attach {index} {number}"));
        self.programs.insert((index, number));
        Ok(())
    }

    fn hand_over(&mut self, index: u32, from: u32, to: u32) -> io::Result<()> {
        self.log.push(format!("hand over {index} {from} {}", shown(to)));
        self.known.insert(index, to);
        // As the kernel: who has other programs has to be attached again.
        let is_stray = |number: u32| number >= Stray::FIRST;
        if self.programs.remove(&(index, from)) && is_stray(from) == is_stray(number_of(to)) {
            self.programs.insert((index, number_of(to)));
        }
        Ok(())
    }

    fn detach(&mut self, index: u32, number: u32) -> io::Result<()> {
        self.log.push(format!("detach {index} {number}"));
        self.programs.remove(&(index, number));
        Ok(())
    }

    fn leave(&mut self, index: u32) -> io::Result<()> {
        assert!(self.programs.iter().all(|(at, _)| *at != index), "forgotten while it is attached");
        self.log.push(format!("leave {index}"));
        self.known.remove(&index);
        Ok(())
    }
}

fn link(index: u32, leads: Leads, master: Option<u32>) -> Interface {
    let is_uplink = leads != Leads::Ours;
    let is_port = is_uplink && leads != Leads::Bridge;
    Interface { index, is_port, is_uplink, leads, master }
}

/// A value as a person reads it: `7`, `16384@3` in network 3, `16384@3b` of its bridge, `16384@closed`.
fn shown(value: u32) -> String {
    let Some(stray) = Stray::read(value) else { return value.to_string() };
    let (number, network) = (stray.number(), stray.network());
    match (network, stray.is_bridge()) {
        (0, _) => format!("{number}@closed"),
        (_, true) => format!("{number}@{network}b"),
        (_, false) => format!("{number}@{network}"),
    }
}

fn port(number: u32, interface: &str) -> PortDesired {
    PortDesired { number, interface: interface.to_owned() }
}

fn keeping(interfaces: &[(&str, u32)], wanted: &[(u32, &str)]) -> Keeping<Fake> {
    let mut floor = Fake::default();
    for (name, index) in interfaces {
        floor.add(name, *index);
    }
    let mut keeping = Keeping::new(floor);
    keeping.want(wanted.iter().map(|(number, name)| port(*number, name)));
    keeping
}

fn log(keeping: &mut Keeping<Fake>) -> Vec<String> {
    let pass = keeping.pass();
    assert!(pass.failed.is_empty(), "{:?}", pass.failed);
    std::mem::take(&mut keeping.floor().log)
}

fn enforced(interface: &str, index: u32) -> PortState {
    let (interface, since) = (interface.to_owned(), SystemTime::UNIX_EPOCH);
    PortState::Enforced { interface, index, since }
}

#[test]
fn a_port_is_attached_when_its_interface_is_there_and_once() {
    let mut keeping = keeping(&[("eth0", 2)], &[(7, "tap0")]);
    assert!(log(&mut keeping).is_empty());
    assert_eq!(keeping.state(7), Some(&PortState::NoInterface));
    keeping.floor().add("tap0", 9);
    assert!(keeping.concerns(9, "tap0", None) && !keeping.concerns(2, "eth0", None));
    assert_eq!(log(&mut keeping), ["enter 9 7", "attach 9 7"]);
    assert_eq!(keeping.state(7), Some(&enforced("tap0", 9)));
    assert!(log(&mut keeping).is_empty(), "nothing is left to do");
}

#[test]
fn an_interface_that_was_made_again_is_attached_again() {
    let mut keeping = keeping(&[("tap0", 9)], &[(7, "tap0")]);
    log(&mut keeping);
    keeping.floor().delete("tap0");
    keeping.floor().add("tap0", 10);
    assert_eq!(log(&mut keeping), ["detach 9 7", "leave 9", "enter 10 7", "attach 10 7"]);
    keeping.floor().delete("tap0");
    assert_eq!(log(&mut keeping), ["detach 10 7", "leave 10"]);
    assert_eq!(keeping.state(7), Some(&PortState::NoInterface));
}

#[test]
fn an_interface_that_was_renamed_stays_attached_until_another_one_has_the_name() {
    let mut keeping = keeping(&[("tap0", 9)], &[(7, "tap0")]);
    log(&mut keeping);
    let renamed = keeping.floor().interfaces.remove("tap0").expect("it is there");
    keeping.floor().interfaces.insert("old".to_owned(), renamed);
    assert!(keeping.concerns(9, "old", None));
    assert!(log(&mut keeping).is_empty());
    assert_eq!(keeping.state(7), Some(&enforced("old", 9)));
    keeping.floor().add("tap0", 10);
    assert_eq!(log(&mut keeping), ["detach 9 7", "leave 9", "enter 10 7", "attach 10 7"]);
}

#[test]
fn what_changes_hands_is_never_without_programs() {
    let mut keeping = keeping(&[("tap0", 9)], &[(7, "tap0")]);
    log(&mut keeping);
    keeping.want([port(8, "tap0")]);
    assert_eq!(log(&mut keeping), ["hand over 9 7 8"]);
    assert_eq!(keeping.state(8), Some(&enforced("tap0", 9)));
    assert_eq!(keeping.state(7), None);
    keeping.want([]);
    assert_eq!(log(&mut keeping), ["detach 9 8", "leave 9"]);
    assert!(keeping.is_idle());
}

#[test]
fn a_new_agent_goes_on_with_what_the_kernel_knows() {
    let mut floor = Fake::default();
    floor.add("tap0", 9);
    floor.add("tap1", 10);
    floor.known = BTreeMap::from([(9, 7), (10, 8)]);
    // The one before was killed between the two steps of the second.
    floor.programs.insert((9, 7));
    let mut keeping = Keeping::new(floor);
    keeping.want([port(7, "tap0"), port(8, "tap1")]);
    assert_eq!(log(&mut keeping), ["attach 10 8"]);
}

#[test]
fn an_interface_with_the_index_of_one_that_went_does_not_become_its_workload() {
    let mut floor = Fake::default();
    // While no agent ran, the port of 7 went, and somebody made another interface that was given its index.
    floor.add("other", 9);
    floor.known = BTreeMap::from([(9, 7)]);
    let mut keeping = Keeping::new(floor);
    keeping.want([port(7, "tap0")]);
    assert_eq!(log(&mut keeping), ["detach 9 7", "leave 9"]);
    assert_eq!(keeping.state(7), Some(&PortState::NoInterface));
    // One that is wanted itself is enforced as itself.
    keeping.floor().known.insert(9, 7);
    keeping.want([port(7, "tap0"), port(8, "other")]);
    assert_eq!(log(&mut keeping), ["hand over 9 7 8", "attach 9 8"]);
    assert_eq!(keeping.state(8), Some(&enforced("other", 9)));
}

#[test]
fn what_leads_to_no_workload_is_refused_and_the_others_go_on() {
    let mut keeping = keeping(&[("br0", 3), ("tap0", 9)], &[(6, "br0"), (7, "tap0"), (8, "tap0")]);
    keeping.floor().interfaces.insert("br0".to_owned(), link(3, Leads::Bridge, None));
    let pass = keeping.pass();
    assert_eq!(pass.failed.len(), 1, "{:?}", pass.failed);
    assert!(matches!(keeping.state(6), Some(PortState::Refused(_))));
    assert_eq!(keeping.state(7), Some(&enforced("tap0", 9)));
    assert!(matches!(keeping.state(8), Some(PortState::Refused(why)) if why.contains("another")));
}

#[test]
fn a_refusal_is_told_and_tried_again() {
    let mut keeping = keeping(&[("tap0", 9)], &[(7, "tap0")]);
    keeping.floor().refuses = true;
    assert_eq!(keeping.pass().failed.len(), 1);
    assert!(matches!(keeping.state(7), Some(PortState::Refused(_))));
    keeping.floor().refuses = false;
    assert_eq!(log(&mut keeping), ["enter 9 7", "attach 9 7"]);
}

#[test]
fn an_uplink_may_be_a_bridge() {
    let mut keeping = keeping(&[], &[(verdict::abi::HOST_ENDPOINT, "br0")]);
    keeping.floor().interfaces.insert("br0".to_owned(), link(3, Leads::Bridge, None));
    assert_eq!(log(&mut keeping), ["enter 3 16383", "attach 3 16383"]);
    keeping.want([port(verdict::abi::HOST_ENDPOINT, "tun0")]);
    let tunnel = Interface { is_uplink: false, ..link(4, Leads::Out, None) };
    keeping.floor().interfaces.insert("tun0".to_owned(), tunnel);
    assert_eq!(keeping.pass().failed.len(), 1);
}
