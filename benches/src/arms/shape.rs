//! What rules of a benchmark are about: the same list for us and for every peer.
//!
//! A rule allows one range of tcp ports at one target. The rules of a list are disjoint and have a gap between
//! them, so that nobody can merge neighbours; beside every target is an address or a port that no rule names.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::stats::SplitMix;

/// What tells the targets of a list apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Single addresses, two rules each, and one of a hundred ports.
    Address,
    /// Prefixes of 27 to 32 bits, one rule each, and one of a hundred ports.
    Cidr,
    /// Workloads, [`IDENTITIES`] of them however many rules there are, and one port a rule.
    Identity,
    /// Ranges of 12 ports, 500 an address.
    PortRange,
}

/// A list of rules: fillers, then the one of the load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// What they are about.
    pub shape: Shape,
    /// How many, the last one included.
    pub count: u32,
}

/// Workloads that rules of [`Shape::Identity`] are about.
pub const IDENTITIES: u8 = 8;
/// Last byte of the first one's address in 10.77.0.0/16.
const FIRST_IDENTITY: u8 = 10;
/// No filler's port is below this one.
pub const FIRST_PORT: u16 = 10_000;
/// Different ports where ports recur.
const PORTS: u32 = 100;
/// Prime to [`PORTS`] and to [`RANGES`], and far from 1: neighbours differ.
const STRIDE: u32 = 37;
/// Ports from one rule of a workload to the next.
const SPACING: u32 = 4;
/// Ranges of ports at one address.
const RANGES: u32 = 500;
/// Ports from one range to the next, of which [`RANGE_PORTS`] are allowed.
const SLOT_PORTS: u32 = 16;
/// Ports of a range: two blocks of different lengths cover it.
const RANGE_PORTS: u16 = 12;

/// The target of one rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its first address.
    pub address: Ipv4Addr,
    /// Length of its prefix.
    pub bits: u8,
    /// First and last allowed port.
    pub ports: (u16, u16),
    /// Which of the arm's far ends has the address.
    pub far: u8,
    /// An address and port right beside it that no rule names.
    pub beside: SocketAddr,
}

impl Shape {
    /// The shapes of the row about numbers of rules.
    pub const SCALED: [Self; 3] = [Self::Cidr, Self::Identity, Self::PortRange];

    /// How tables call it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Cidr => "cidr",
            Self::Identity => "identity",
            Self::PortRange => "port range",
        }
    }

    /// Target of filler `number`.
    #[must_use]
    pub fn target(self, number: u32) -> Target {
        let recurring = FIRST_PORT + narrow(number * STRIDE % PORTS);
        let benchmark = u32::from(Ipv4Addr::new(198, 18, 0, 1));
        match self {
            Self::Address => network(benchmark + number / 2, 32, recurring),
            Self::Cidr => {
                let shared = u32::from(Ipv4Addr::new(100, 64, 0, 0));
                network(shared + 32 * number, 32 - number % 6, recurring)
            }
            Self::Identity => {
                let far = u8::try_from(number % u32::from(IDENTITIES)).unwrap_or_default();
                let port = FIRST_PORT + narrow(number / u32::from(IDENTITIES) * SPACING);
                Target { far, ..ports(identity(far), port, port) }
            }
            Self::PortRange => {
                let slot = number * STRIDE % RANGES;
                let first = FIRST_PORT + narrow(SLOT_PORTS * slot);
                ports((benchmark + number / RANGES).into(), first, first + RANGE_PORTS - 1)
            }
        }
    }
}

/// Address of one of the workloads that rules are about.
#[must_use]
pub fn identity(far: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, FIRST_IDENTITY + far)
}

/// One port at a prefix; right behind the prefix no rule names that port.
fn network(first: u32, bits: u32, port: u16) -> Target {
    let behind = Ipv4Addr::from(first + (1 << (32 - bits)));
    Target {
        address: first.into(),
        bits: u8::try_from(bits).unwrap_or(32),
        ports: (port, port),
        far: 0,
        beside: SocketAddr::new(behind.into(), port),
    }
}

/// Some ports at an address; the next port no rule names.
fn ports(address: Ipv4Addr, first: u16, last: u16) -> Target {
    let beside = SocketAddr::new(address.into(), last + 1);
    Target { address, bits: 32, ports: (first, last), far: 0, beside }
}

fn narrow(number: u32) -> u16 {
    u16::try_from(number).unwrap_or_default()
}

impl Rules {
    /// The rule of the load alone.
    pub const ONE: Self = Self { shape: Shape::Address, count: 1 };

    /// `count` rules by address and port.
    #[must_use]
    pub fn by_address(count: u32) -> Self {
        Self { shape: Shape::Address, count }
    }

    /// The targets of all fillers, in the order of the list.
    pub fn fillers(self) -> impl Iterator<Item = Target> {
        (0..self.count.saturating_sub(1)).map(move |number| self.shape.target(number))
    }

    /// Any address and port of any filler, and the far end that has it.
    pub fn random(self, random: &mut SplitMix) -> (SocketAddr, usize) {
        let mut below =
            |bound: u32| u32::try_from(random.below(u64::from(bound))).unwrap_or_default();
        let target = self.shape.target(below(self.count.saturating_sub(1)));
        let offset = below(1 << (32 - u32::from(target.bits)));
        let address = Ipv4Addr::from(u32::from(target.address) + offset);
        let (first, last) = target.ports;
        let port = first + narrow(below(u32::from(last - first) + 1));
        (SocketAddr::new(IpAddr::V4(address), port), target.far.into())
    }
}

impl std::fmt::Display for Rules {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.shape.name(), self.count)
    }
}

impl Target {
    /// Its prefix.
    #[must_use]
    pub fn prefix(&self) -> String {
        format!("{}/{}", self.address, self.bits)
    }

    /// Its ports, with this between the first and the last one.
    #[must_use]
    pub fn port_text(&self, separator: char) -> String {
        match self.ports {
            (first, last) if first == last => first.to_string(),
            (first, last) => format!("{first}{separator}{last}"),
        }
    }

    /// Its first address and port.
    #[must_use]
    pub fn at(&self) -> SocketAddr {
        SocketAddr::new(self.address.into(), self.ports.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const ALL: [Shape; 4] = [Shape::Address, Shape::Cidr, Shape::Identity, Shape::PortRange];
    const MOST: u32 = 100_000;

    /// Blocks of (address, port) that targets cover, first to last, by number.
    fn blocks(target: Target) -> [u64; 2] {
        let last = u32::from(target.address) + ((1 << (32 - target.bits)) - 1);
        [u64::from(u32::from(target.address)), u64::from(last)]
    }

    #[test]
    fn no_two_rules_meet_or_touch() {
        for shape in ALL {
            let mut by_port = BTreeMap::<(u64, u16), u16>::new();
            for target in (Rules { shape, count: MOST }).fillers() {
                let [first, last] = blocks(target);
                for address in first..=last {
                    by_port.insert((address, target.ports.0), target.ports.1);
                }
            }
            let mut before: Option<((u64, u16), u16)> = None;
            for ((address, first), last) in by_port {
                if let Some(((other, _), end)) = before.filter(|((other, _), _)| *other == address)
                {
                    assert!(first > end + u16::from(shape != Shape::Address), "{shape:?} {other}");
                }
                before = Some(((address, first), last));
            }
        }
    }

    #[test]
    fn what_is_beside_a_target_is_named_by_no_rule() {
        for shape in ALL {
            let names = |target: Target, at: SocketAddr| {
                let IpAddr::V4(address) = at.ip() else { return false };
                let [first, last] = blocks(target);
                (first..=last).contains(&u64::from(u32::from(address)))
                    && (target.ports.0..=target.ports.1).contains(&at.port())
            };
            let rules = Rules { shape, count: 1_200 };
            for target in rules.fillers() {
                assert!(names(target, target.at()));
                assert!(!rules.fillers().any(|other| names(other, target.beside)), "{target:?}");
            }
            let mut random = SplitMix(1);
            for _ in 0..200 {
                let (at, far) = rules.random(&mut random);
                let of = |target: &Target| names(*target, at) && usize::from(target.far) == far;
                assert_eq!(rules.fillers().filter(of).count(), 1, "{at}");
            }
        }
    }

    #[test]
    fn prefixes_have_six_lengths_and_the_most_rules_fit() {
        let rules = Rules { shape: Shape::Cidr, count: MOST };
        let lengths: std::collections::BTreeSet<u8> = rules.fillers().map(|t| t.bits).collect();
        assert_eq!(lengths, (27..=32).collect());
        for shape in ALL {
            let targets = Rules { shape, count: MOST }.fillers();
            let keys: std::collections::BTreeSet<_> =
                targets.map(|target| (target.address, target.bits, target.ports)).collect();
            assert_eq!(keys.len(), MOST as usize - 1, "{shape:?}");
        }
    }
}
