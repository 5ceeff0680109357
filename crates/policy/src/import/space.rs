//! Sets of first packets: unions of boxes over IP version, protocol, the peer's address and the destination port.

use super::{ImportError, too_much};

/// Set operations that an import may take, counted in pairs of boxes that are compared.
const BUDGET: u64 = 600_000_000;
/// What it takes to cut a box, in comparisons.
const CUT: usize = 16;
/// Most boxes of one set.
const MAX_BOXES: usize = 20_000;

/// What is left of the work that an import may do.
#[derive(Debug)]
pub(super) struct Budget(u64);

impl Default for Budget {
    fn default() -> Self {
        Self(BUDGET)
    }
}

impl Budget {
    fn spend(&mut self, steps: usize) -> Result<(), ImportError> {
        self.0 = self.0.saturating_sub(steps as u64 + 1);
        if self.0 == 0 { Err(overlaps()) } else { Ok(()) }
    }
}

/// First and last of a dimension.
pub(super) type Range = (u128, u128);

/// The dimensions of a box.
pub(super) const PROTO: usize = 0;
pub(super) const PEER: usize = 1;
pub(super) const PORT: usize = 2;

/// Packets of one IP version; of icmp the port is type and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Packets {
    pub(super) v6: bool,
    pub(super) sides: [Range; 3],
}

impl Packets {
    /// All of one IP version.
    pub(super) fn all(v6: bool) -> Self {
        let last = if v6 { u128::MAX } else { u128::from(u32::MAX) };
        Self { v6, sides: [(0, 255), (0, last), (0, 65_535)] }
    }

    /// Those with one dimension narrowed.
    pub(super) fn with(v6: bool, side: usize, range: Range) -> Self {
        let mut this = Self::all(v6);
        if let Some(place) = this.sides.get_mut(side) {
            *place = range;
        }
        this
    }

    /// Whether some packet is in both.
    fn meets(&self, other: &Self) -> bool {
        let mut sides = self.sides.iter().zip(&other.sides);
        self.v6 == other.v6 && sides.all(|(own, theirs)| own.0 <= theirs.1 && theirs.0 <= own.1)
    }

    fn and(&self, other: &Self) -> Option<Self> {
        let mut out = *self;
        for (own, theirs) in out.sides.iter_mut().zip(&other.sides) {
            *own = (own.0.max(theirs.0), own.1.min(theirs.1));
        }
        (self.v6 == other.v6 && out.sides.iter().all(|(first, last)| first <= last)).then_some(out)
    }

    /// What is left without another box.
    fn minus(&self, other: &Self, out: &mut Vec<Self>) {
        let Some(common) = self.and(other) else { return out.push(*self) };
        let mut rest = *self;
        for side in [PROTO, PEER, PORT] {
            let (Some(own), Some(cut)) = (rest.sides.get(side).copied(), common.sides.get(side))
            else {
                continue;
            };
            let mut keep = |range: Range| {
                let mut part = rest;
                if let Some(place) = part.sides.get_mut(side) {
                    *place = range;
                    out.push(part);
                }
            };
            if own.0 < cut.0 {
                keep((own.0, cut.0 - 1));
            }
            if cut.1 < own.1 {
                keep((cut.1 + 1, own.1));
            }
            if let Some(place) = rest.sides.get_mut(side) {
                *place = *cut;
            }
        }
    }
}

/// A union of boxes, possibly overlapping.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Set(pub(super) Vec<Packets>);

impl Set {
    /// Every packet of both IP versions.
    pub(super) fn all() -> Self {
        Self(vec![Packets::all(false), Packets::all(true)])
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn and(&self, other: &Self, budget: &mut Budget) -> Result<Self, ImportError> {
        budget.spend(self.0.len() * other.0.len())?;
        let pairs = self.0.iter().flat_map(|one| other.0.iter().filter_map(|two| one.and(two)));
        bounded(pairs.collect())
    }

    pub(super) fn minus(&self, other: &Self, budget: &mut Budget) -> Result<Self, ImportError> {
        let mut left = self.0.clone();
        let mut parts = Vec::new();
        for cut in &other.0 {
            budget.spend(left.len())?;
            let mut at = 0;
            while let Some(own) = left.get(at).copied() {
                if own.meets(cut) {
                    left.swap_remove(at);
                    own.minus(cut, &mut parts);
                } else {
                    at += 1;
                }
            }
            budget.spend(parts.len() * CUT)?;
            left.append(&mut parts);
            if left.len() > MAX_BOXES {
                return Err(overlaps());
            }
        }
        Ok(Self(left))
    }

    /// Adds another set, what is new of it.
    pub(super) fn add(&mut self, other: &Self, budget: &mut Budget) -> Result<(), ImportError> {
        let new = other.minus(self, budget)?;
        self.0.extend(new.0);
        *self = bounded(std::mem::take(&mut self.0))?;
        Ok(())
    }

    /// Those of one IP version.
    pub(super) fn of(&self, v6: bool) -> Self {
        Self(self.0.iter().filter(|each| each.v6 == v6).copied().collect())
    }
}

fn bounded(boxes: Vec<Packets>) -> Result<Set, ImportError> {
    if boxes.len() > MAX_BOXES {
        return Err(overlaps());
    }
    Ok(Set(boxes))
}

fn overlaps() -> ImportError {
    too_much(
        "its rules overlap too much; some thousands that each name addresses are possible, sets of addresses make them fewer",
    )
}
