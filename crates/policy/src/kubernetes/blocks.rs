//! Arithmetic of address blocks: networks without others, as networks and as ranges.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

use super::Block;

/// Addresses from the first to the last, both of one IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange {
    /// The first address.
    pub first: IpAddr,
    /// The last address, not lower than the first.
    pub last: IpAddr,
}

/// `192.0.2.0-192.0.2.255`.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Block {
    /// The fewest networks that hold exactly its addresses.
    #[must_use]
    pub fn nets(&self) -> Vec<IpNet> {
        let holes = IpNet::aggregate(&self.except);
        let mut out = Vec::new();
        carve(self.net, &holes, &mut out);
        out
    }

    /// Its addresses as ranges, none of them beside another.
    fn parts(&self) -> Vec<(u128, u128)> {
        let mut parts: Vec<(u128, u128)> = Vec::new();
        for net in self.nets() {
            let (first, last) = (bits(net.network()), bits(net.broadcast()));
            match parts.last_mut() {
                Some(before) if before.1.checked_add(1) == Some(first) => before.1 = last,
                _ => parts.push((first, last)),
            }
        }
        parts
    }
}

/// Adds what is left of a network without the holes, in ascending order.
fn carve(net: IpNet, holes: &[IpNet], out: &mut Vec<IpNet>) {
    if holes.iter().any(|hole| hole.contains(&net)) {
        return;
    }
    let inside: Vec<IpNet> = holes.iter().copied().filter(|hole| net.contains(hole)).collect();
    if inside.is_empty() {
        out.push(net);
        return;
    }
    for half in net.subnets(net.prefix_len() + 1).into_iter().flatten() {
        carve(half, &inside, out);
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn address(is_v4: bool, bits: u128) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if is_v4 => IpAddr::V4(bits.into()),
        _ => IpAddr::V6(bits.into()),
    }
}

/// Cuts all addresses of one IP version where a block begins or ends: every range is inside of the same blocks.
#[must_use]
pub fn ranges<'b>(blocks: impl Iterator<Item = &'b Block>, is_v4: bool) -> Vec<AddressRange> {
    let end = if is_v4 { u128::from(u32::MAX) } else { u128::MAX };
    let mut starts = BTreeSet::from([0]);
    for block in blocks.filter(|block| block.net.addr().is_ipv4() == is_v4) {
        for (first, last) in block.parts() {
            starts.insert(first);
            starts.extend(last.checked_add(1).filter(|next| *next <= end));
        }
    }
    let mut out = Vec::with_capacity(starts.len());
    let mut starts = starts.into_iter().peekable();
    while let Some(first) = starts.next() {
        let last = starts.peek().map_or(end, |next| next - 1);
        out.push(AddressRange { first: address(is_v4, first), last: address(is_v4, last) });
    }
    out
}
