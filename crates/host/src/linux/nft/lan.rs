//! What the tables at the edge to a LAN hold: who may come in from there.
//!
//! Of what the LAN sends, a router takes frames for the MACs of its endpoints, questions about their addresses (which its
//! bridge answers), and what the LAN's routers say of themselves. Nobody outside speaks with the MACs or, in ARP and neighbour
//! discovery, with the addresses of its endpoints. All else ends here: broadcasts of others are no business of workloads.
//! IP packets with a forged source are left to the programs of the receiver, which report them.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::network::{LanDesired, Mac, NetworkNumber, RouterDesired};

use super::edge::{
    ADVERTISEMENT, EdgeAction, EdgeChain, EdgeMatch, EdgeRule, EdgeTable, SOLICITATION,
};

/// The router's link to the LAN.
const LAN: &str = "lan0";
/// All of neighbour discovery, routers and redirects included (RFC 4861, section 4).
const DISCOVERY: (u8, u8) = (133, 137);
/// To everybody on a LAN.
const BROADCAST: Mac = Mac([0xff; 6]);

/// Who a network has on its LAN.
struct Members {
    macs: Vec<Mac>,
    v4: Vec<Ipv4Addr>,
    /// Link-local addresses among them.
    v6: Vec<Ipv6Addr>,
}

impl Members {
    fn of(router: &RouterDesired) -> Self {
        let mut macs = BTreeSet::new();
        let (mut v4, mut v6) = (BTreeSet::new(), BTreeSet::new());
        for endpoint in &router.endpoints {
            macs.insert(endpoint.mac);
            v6.insert(endpoint.mac.link_local());
            for net in &endpoint.addresses {
                match net.addr() {
                    IpAddr::V4(address) => v4.insert(address),
                    IpAddr::V6(address) => v6.insert(address),
                };
            }
        }
        let (macs, v4, v6) =
            (macs.into_iter().collect(), v4.into_iter().collect(), v6.into_iter().collect());
        Self { macs, v4, v6 }
    }
}

/// The table of a router on a LAN.
#[must_use]
pub fn router(router: &RouterDesired, lan: &LanDesired) -> EdgeTable {
    let own = EdgeRule {
        matches: vec![EdgeMatch::Oif(LAN)],
        action: EdgeAction::Drop,
        comment: "a router is nobody on the LAN",
    };
    let chain =
        |name: &str, hook, rules| EdgeChain { name: name.to_owned(), hook, device: None, rules };
    EdgeTable {
        family: "bridge",
        chains: vec![
            chain("lan", "prerouting", entering(router, lan)),
            chain("own", "output", vec![own]),
        ],
    }
}

fn entering(router: &RouterDesired, lan: &LanDesired) -> Vec<EdgeRule> {
    let Members { macs, v4, v6 } = Members::of(router);
    let mut rules = Vec::new();
    let mut add = |matches: Vec<EdgeMatch>, action, comment| {
        let matches = std::iter::once(EdgeMatch::Iif(LAN)).chain(matches).collect();
        rules.push(EdgeRule { matches, action, comment });
    };
    let bridge = router.number.bridge_mac();
    let speaking = macs.iter().copied().chain([bridge]).collect();
    add(vec![EdgeMatch::MacSource(speaking)], EdgeAction::Refuse, "forged MAC");
    if !v4.is_empty() {
        add(vec![EdgeMatch::ArpSender(v4.clone())], EdgeAction::Refuse, "forged ARP");
        add(vec![EdgeMatch::ArpTarget(v4)], EdgeAction::Accept, "");
    }
    if !macs.is_empty() {
        let (first, last) = DISCOVERY;
        let discovery = vec![EdgeMatch::Source(v6.clone()), EdgeMatch::Icmp6(first, last)];
        add(discovery, EdgeAction::Refuse, "forged neighbour discovery");
        let about = |kind| vec![EdgeMatch::Icmp6(kind, kind), EdgeMatch::Discovered(v6.clone())];
        add(about(ADVERTISEMENT), EdgeAction::Refuse, "forged neighbour discovery");
        add(about(SOLICITATION), EdgeAction::Accept, "");
        add(vec![EdgeMatch::MacTarget(macs)], EdgeAction::Accept, "");
    }
    let gateways = || lan.gateways.iter();
    let v4: Vec<Ipv4Addr> = gateways()
        .filter_map(|at| if let IpAddr::V4(at) = at { Some(*at) } else { None })
        .collect();
    if !v4.is_empty() {
        add(vec![EdgeMatch::ArpSender(v4)], EdgeAction::Accept, "");
    }
    add(Vec::new(), EdgeAction::Drop, "");
    rules
}

/// The table of a host with routers whose LAN is that of a NIC; nothing without any. Each with the NIC's name.
#[must_use]
pub fn host<'a>(
    routers: impl Iterator<Item = (&'a RouterDesired, &'a LanDesired)>,
) -> Option<EdgeTable> {
    let chains: Vec<EdgeChain> = routers.flat_map(|(router, lan)| leg(router, lan)).collect();
    (!chains.is_empty()).then_some(EdgeTable { family: "netdev", chains })
}

/// What a NIC receives for a network, and what the network sends by the NIC.
fn leg(router: &RouterDesired, lan: &LanDesired) -> [EdgeChain; 2] {
    let Members { macs, v4, v6 } = Members::of(router);
    let link = NetworkNumber::lan_link_name(router.number);
    let mut rules = Vec::new();
    let mut add = |matches, action| rules.push(EdgeRule { matches, action, comment: "" });
    let copy = || EdgeAction::Copy(link.clone());
    if !macs.is_empty() {
        add(vec![EdgeMatch::MacTarget(macs)], EdgeAction::Forward(link.clone()));
        let asked = vec![EdgeMatch::Icmp6(SOLICITATION, SOLICITATION), EdgeMatch::Discovered(v6)];
        add(asked, copy());
    }
    if !v4.is_empty() {
        add(vec![EdgeMatch::ArpTarget(v4)], copy());
    }
    for gateway in &lan.gateways {
        if let IpAddr::V4(gateway) = gateway {
            let said = vec![
                EdgeMatch::MacTarget(vec![BROADCAST]),
                EdgeMatch::ArpSender(vec![*gateway]),
                EdgeMatch::ArpTarget(vec![*gateway]),
            ];
            add(said, copy());
        }
    }
    let number = router.number.value();
    let back = EdgeRule {
        matches: Vec::new(),
        action: EdgeAction::Forward(lan.uplink.clone()),
        comment: "",
    };
    let chain = |name: String, device: &str, rules| EdgeChain {
        name,
        hook: "ingress",
        device: Some(device.to_owned()),
        rules,
    };
    [
        chain(format!("in{number}"), &lan.uplink, rules),
        chain(format!("out{number}"), &link, vec![back]),
    ]
}
