//! The uplinks of this host: those that the file names, or those that carry a default route.

use std::collections::BTreeSet;
use std::fs;

use planner::HostPlane;
use verdict::abi::{HOST_ENDPOINT, UPLINKS};

/// More uplinks than this have no number.
pub(crate) const MOST: usize = (HOST_ENDPOINT - UPLINKS + 1) as usize;
/// Lines of a table of routes that are looked at.
const MAX_ROUTES: usize = 65_536;
/// `RTF_UP` without `RTF_REJECT` (`linux/route.h`, `linux/ipv6_route.h`).
const UP: u32 = 1;
const REJECT: u32 = 0x200;

/// The uplinks by name, at most [`MOST`]; none without a host part.
pub(crate) fn of(plane: Option<&HostPlane>) -> Vec<String> {
    let Some(plane) = plane else { return Vec::new() };
    if !plane.uplinks.is_empty() {
        return plane.uplinks.iter().take(MOST).map(ToString::to_string).collect();
    }
    default_links().into_iter().take(MOST).collect()
}

/// The links that carry a default route, IPv4 or IPv6, in the namespace of the calling thread.
pub(crate) fn default_links() -> BTreeSet<String> {
    let read = |name: &str| {
        fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default()
    };
    let (v4, v6) = (read("route"), read("ipv6_route"));
    let v4 = v4.lines().skip(1).take(MAX_ROUTES).filter_map(v4_default);
    v4.chain(v6.lines().take(MAX_ROUTES).filter_map(v6_default)).map(str::to_owned).collect()
}

/// Why an interface cannot be a workload's port, if it cannot: who takes it would cut the host off.
pub(crate) fn refuses(interface: &str) -> Option<String> {
    let carries = default_links().contains(interface);
    carries.then(|| {
        format!("{interface} carries a default route of this host: it leads to no workload")
    })
}

/// `eth0 00000000 0102A8C0 0003 0 0 100 00000000 ...`
fn v4_default(line: &str) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let is_zero = |at: usize| fields.get(at) == Some(&"00000000");
    let flags = u32::from_str_radix(fields.get(3)?, 16).ok()?;
    let name = *fields.first()?;
    (is_zero(1) && is_zero(7) && flags & (UP | REJECT) == UP && name != "lo").then_some(name)
}

/// Target, its prefix length, source, its prefix length, next hop, metric, references, uses, flags, link.
fn v6_default(line: &str) -> Option<&str> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let any = fields.first()?.bytes().all(|byte| byte == b'0') && fields.get(1) == Some(&"00");
    let flags = u32::from_str_radix(fields.get(8)?, 16).ok()?;
    let name = *fields.get(9)?;
    (any && flags & (UP | REJECT) == UP && name != "lo").then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_with_a_default_route_are_found() {
        let v4 = "eth0\t00000000\t016433C6\t0003\t0\t0\t0\t00000000\t0\t0\t0";
        assert_eq!(v4_default(v4), Some("eth0"));
        assert_eq!(v4_default(&v4.replacen("00000000", "0064A8C0", 1)), None);
        assert_eq!(v4_default(&v4.replace("0003", "0201")), None, "an unreachable route");
        let zero = "0".repeat(32);
        let v6 = format!("{zero} 00 {zero} 00 fe80{} 00000400 1 0 00000003 eth1", "0".repeat(28));
        assert_eq!(v6_default(&v6), Some("eth1"));
        assert_eq!(v6_default(&v6.replace("eth1", "lo")), None);
        assert_eq!(v6_default(&v6.replacen(" 00 ", " 40 ", 1)), None);
    }
}
