//! A list of ports as a set that tells quickly whether it covers a port, however long the list is.

use model::{PortRange, PortSpec, Transport};

/// What a list of ports stands for.
#[derive(Debug, Clone, Default)]
pub(crate) struct PortSet {
    any: bool,
    /// By [`Transport::ALL`]: sorted and disjoint, neighbours joined.
    ranges: [Vec<PortRange>; 3],
    icmp: Vec<PortSpec>,
}

impl PortSet {
    pub(crate) fn new(ports: &[PortSpec]) -> Self {
        let mut set = Self::default();
        for port in ports {
            match port {
                PortSpec::Any => set.any = true,
                PortSpec::Ports(transport, range) => {
                    let place = Transport::ALL.iter().position(|known| known == transport);
                    if let Some(list) = place.and_then(|place| set.ranges.get_mut(place)) {
                        list.push(*range);
                    }
                }
                PortSpec::Icmp(_) => set.icmp.push(*port),
            }
        }
        for list in &mut set.ranges {
            *list = joined(std::mem::take(list));
        }
        set.icmp.sort_unstable();
        set.icmp.dedup();
        set
    }

    /// Whether every flow that `port` matches is in the set.
    pub(crate) fn covers(&self, port: PortSpec) -> bool {
        if self.any {
            return true;
        }
        let PortSpec::Ports(transport, range) = port else {
            return self.icmp.iter().any(|wide| wide.covers(&port));
        };
        let place = Transport::ALL.iter().position(|known| *known == transport);
        let list = place.and_then(|place| self.ranges.get(place)).map_or(&[][..], Vec::as_slice);
        let after = list.partition_point(|wide| wide.first() <= range.first());
        after.checked_sub(1).and_then(|at| list.get(at)).is_some_and(|wide| wide.covers(range))
    }

    /// What it takes to ask for one port, but for what every question takes.
    pub(crate) fn cost(&self) -> usize {
        self.icmp.len()
    }
}

/// Ranges sorted, and joined where they meet.
pub(crate) fn joined(mut ranges: Vec<PortRange>) -> Vec<PortRange> {
    ranges.sort_unstable();
    let mut out: Vec<PortRange> = Vec::with_capacity(ranges.len().min(8));
    for range in ranges {
        match out.last_mut() {
            Some(last) if u32::from(range.first()) <= u32::from(last.last()) + 1 => {
                let end = last.last().max(range.last());
                *last = PortRange::new(last.first(), end).unwrap_or(*last);
            }
            _ => out.push(range),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(texts: &[&str]) -> Vec<PortSpec> {
        texts.iter().map(|text| text.parse().expect("a port")).collect()
    }

    #[test]
    fn a_set_covers_what_one_or_several_of_its_entries_cover() {
        let set = PortSet::new(&ports(&[
            "80-89/tcp",
            "90-99/tcp",
            "53/udp",
            "icmp/echo-request",
            "200/tcp",
            "85/tcp",
        ]));
        for inside in ["80/tcp", "85-95/tcp", "53/udp", "icmp/8", "200/tcp"] {
            assert!(set.covers(inside.parse().expect("a port")), "{inside}");
        }
        for outside in ["79/tcp", "99-100/tcp", "80/udp", "icmp", "any", "tcp", "icmp/0", "80/sctp"]
        {
            assert!(!set.covers(outside.parse().expect("a port")), "{outside}");
        }
        let any = PortSet::new(&ports(&["any"]));
        assert!(any.covers(PortSpec::Any) && any.covers("icmp/0".parse().expect("a port")));
        assert!(!PortSet::new(&[]).covers(PortSpec::Any));
    }
}
