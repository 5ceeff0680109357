//! The leg of a router onto a LAN of the host, by what the uplink is.
//!
//! | uplink | leg |
//! |---|---|
//! | any, with a VLAN | a link of type `vlan` on the uplink, made in the router: the host sees none of its frames |
//! | a bridge | a veth pair, its far end a port of that bridge |
//! | another link | a veth pair, and a table of nftables that moves frames for our MACs between its far end and the link |
//!
//! In every case the leg is a port of the router's bridge that learns nothing and to which every unknown MAC leads, so that
//! nobody out there can take the place of an endpoint in the bridge's table. The uplink stays where it is, with its addresses;
//! nothing of it is changed but, on a NIC, the list of MACs that it takes ([ADR 0024](../../../../docs/adr/0024-edge.md)).

use super::script::{BRIDGE, router_ns};
use super::{
    Desired, LanDesired, NetworkNumber, Ns, Observed, Op, PortFlags, RouterDesired, Step, Unit,
    VethSpec, VlanSpec,
};
use crate::linux::nft::lan as tables;

/// The router's link to the LAN.
pub(super) const LAN: &str = "lan0";

/// What an uplink is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leg {
    Vlan(u16),
    Bridge,
    Nic,
}

fn leg_of(lan: &LanDesired, observed: &Observed) -> Leg {
    let uplink = observed.states.get(&Ns::Host).and_then(|host| host.links.get(&lan.uplink));
    match lan.vlan {
        Some(id) => Leg::Vlan(id),
        None if uplink.is_some_and(|link| link.kind == "bridge") => Leg::Bridge,
        None => Leg::Nic,
    }
}

/// The MTU of a router's links, bytes: no more than its LAN carries.
pub(super) fn mtu(router: &RouterDesired, wanted: u32, observed: &Observed) -> u32 {
    let uplink = router.lan.as_ref().and_then(|lan| {
        observed.states.get(&Ns::Host)?.links.get(&lan.uplink).map(|link| link.mtu)
    });
    uplink.map_or(wanted, |uplink| uplink.min(wanted))
}

/// What makes the leg of a router; nothing for one without a LAN.
pub(super) fn unit(router: &RouterDesired, observed: &Observed) -> Option<Unit> {
    let lan = router.lan.as_ref()?;
    let ns = router_ns(router);
    let mtu = mtu(router, router.mtu, observed);
    let far = router.number.lan_link_name();
    let mut ops = vec![Op::EdgeReplace { ns: ns.clone(), table: tables::router(router, lan) }];
    let kind = leg_of(lan, observed);
    if let Leg::Vlan(id) = kind {
        ops.push(Op::VlanAdd(VlanSpec {
            ns: ns.clone(),
            link: LAN.to_owned(),
            master: BRIDGE.to_owned(),
            parent: lan.uplink.clone(),
            id,
            mtu,
        }));
    } else {
        ops.push(Op::VethAdd(veth(router, mtu)));
        ops.push(Op::LinkMtu { ns: Ns::Host, link: far.clone(), mtu });
        ops.push(Op::LinkSysctl {
            ns: Ns::Host,
            key: format!("net/ipv6/conf/{far}/disable_ipv6"),
            value: "1".to_owned(),
        });
    }
    // After the link, which may be of another kind than the one that was there.
    ops.push(Op::LinkMtu { ns: ns.clone(), link: LAN.to_owned(), mtu });
    ops.push(Op::PortSet { ns: ns.clone(), link: LAN.to_owned(), flags: PortFlags::LAN });
    match kind {
        Leg::Vlan(_) => {}
        Leg::Bridge => {
            ops.push(Op::LinkMaster {
                ns: Ns::Host,
                link: far.clone(),
                master: lan.uplink.clone(),
            });
        }
        Leg::Nic => ops.extend(router.endpoints.iter().map(|endpoint| Op::UnicastAdd {
            ns: Ns::Host,
            link: lan.uplink.clone(),
            mac: endpoint.mac,
        })),
    }
    if !matches!(kind, Leg::Vlan(_)) {
        ops.push(Op::LinkUp { ns: Ns::Host, link: far, up: true });
    }
    ops.push(Op::LinkUp { ns, link: LAN.to_owned(), up: true });
    let steps = ops.into_iter().map(Step::Kernel).collect();
    Some(Unit { subject: format!("LAN of {}", router.name), steps })
}

fn veth(router: &RouterDesired, mtu: u32) -> VethSpec {
    let [router_mac, host_mac] = router.number.lan_macs();
    VethSpec {
        ns: router_ns(router),
        link: LAN.to_owned(),
        index: None,
        mac: router_mac,
        master: Some(BRIDGE.to_owned()),
        peer_ns: Ns::Host,
        peer_link: router.number.lan_link_name(),
        // The host's table names it by its index, so that it has to be the same when it is made again.
        peer_index: Some(router.number.lan_ifindex()),
        peer_mac: host_mac,
        mtu,
    }
}

/// Bridges that are looked at.
const BRIDGES: usize = 1_024;

/// The bridges of the host, whoever made them: what is bridged was bridged before us.
pub(super) fn bridges(observed: &Observed) -> Vec<String> {
    let links = observed.states.get(&Ns::Host).into_iter().flat_map(|host| &host.links);
    let bridges = links.filter(|(_, link)| link.kind == "bridge");
    bridges.map(|(name, _)| name.clone()).take(BRIDGES).collect()
}

/// The host's table for all LANs of NICs; nothing without any.
pub(super) fn host_unit(desired: &Desired, observed: &Observed) -> Option<Unit> {
    let of_nics = desired.routers.iter().filter_map(|router| {
        let lan = router.lan.as_ref()?;
        (leg_of(lan, observed) == Leg::Nic).then_some((router, lan))
    });
    let table = tables::host(of_nics)?;
    let step = Step::Kernel(Op::EdgeReplace { ns: Ns::Host, table });
    Some(Unit { subject: "LANs".to_owned(), steps: vec![step] })
}

/// Whether a router's edge table may be there, or the host's, so that it has to be read.
pub(super) fn is_edge(ns: &Ns, desired: &Desired, observed: &Observed) -> bool {
    let links = observed.states.get(ns).map(|state| &state.links);
    if ns == &Ns::Host {
        let is_leg = |name: &String| NetworkNumber::from_lan_link_name(name).is_some();
        desired.routers.is_empty()
            || desired.routers.iter().any(|router| router.lan.is_some())
            || links.is_some_and(|links| links.keys().any(is_leg))
    } else {
        let wanted = |router: &&RouterDesired| router_ns(router) == *ns;
        desired.routers.iter().find(wanted).is_some_and(|router| router.lan.is_some())
            || links.is_some_and(|links| links.contains_key(LAN))
    }
}
