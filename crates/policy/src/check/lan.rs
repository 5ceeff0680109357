//! Networks that are present on a LAN: what such a network needs, and what it cannot have.
//!
//! The LAN has machines that the file does not know. So its workloads say their addresses, nothing is given out, and its
//! routers are named and not made.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use model::{Mode, Name};

use crate::codes::Code;
use crate::decode::{Mapping, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, Lan, Start, Subnets, Workload};
use crate::raw::RawNetwork;

/// The LAN of a network, if it has one.
pub(super) fn lan(
    name: &Val<Name>,
    mode: Mode,
    subnets: &Subnets,
    raw: &RawNetwork,
    problems: &mut Problems<'_>,
) -> Option<Lan> {
    let Some(uplink) = &raw.uplink else {
        without(name, mode, raw, problems);
        return None;
    };
    if raw.external.is_some() {
        let message = "`uplink` and `external` exclude each other";
        problems.push(
            Diagnostic::error(Code::Exclusive, uplink.span, message)
                .label("an external network is where whoever made it has put it")
                .hint("remove one of the two"),
        );
    } else if !matches!(mode, Mode::Bridge | Mode::Macvlan) {
        let message = format!("a network of mode `{mode}` has no uplink of its own");
        problems.push(
            Diagnostic::error(Code::Mode, uplink.span, message)
                .label("workloads are present on the LAN of an interface in modes `bridge` and `macvlan`")
                .hint("remove this, or write `mode: bridge`"),
        );
    }
    let segments = raw.segments.as_ref().and_then(|table| table.entries.first());
    if let Some((segment, _)) = segments {
        let message = format!("the network `{}` is on a LAN and cannot have segments", name.value);
        problems.push(
            Diagnostic::error(Code::Uplink, segment.span, message)
                .label("the LAN has one subnet, whoever is on it")
                .hint("tell its workloads apart by labels"),
        );
    }
    let mut lan = Lan {
        uplink: Arc::from(uplink.value.0.as_str()),
        vlan: raw.vlan.as_ref().map(|vlan| vlan.value.0),
        gateway_v4: None,
        gateway_v6: None,
    };
    for gateway in raw.gateway.iter().flat_map(|list| &list.items) {
        add_gateway(&mut lan, gateway, subnets, problems);
    }
    Some(lan)
}

/// What has no meaning without an uplink, and the mode that is nothing without one.
fn without(name: &Val<Name>, mode: Mode, raw: &RawNetwork, problems: &mut Problems<'_>) {
    let stray = [
        ("vlan", raw.vlan.as_ref().map(|vlan| vlan.span)),
        ("gateway", raw.gateway.as_ref().map(|list| list.span)),
    ];
    if raw.given("uplink") {
        return;
    }
    for (key, span) in stray {
        let Some(span) = span else { continue };
        let message = format!("`{key}` is about the LAN of an uplink, and there is none");
        let hint = match key {
            "vlan" => {
                "write `uplink: NAME` beside it. To keep workloads apart on this host nothing needs a VLAN: give them networks of their own"
            }
            _ => {
                "the gateway of a network without an uplink is the first address of its subnet; remove this, or write `uplink: NAME`"
            }
        };
        problems.push(Diagnostic::error(Code::Uplink, span, message).hint(hint));
    }
    if mode == Mode::Macvlan {
        let message = format!("the network `{}` has mode `macvlan` and no uplink", name.value);
        problems.push(
            Diagnostic::error(Code::MissingKey, name.span, message)
                .label("on which LAN are its workloads to be?")
                .hint("write for example `uplink: eth1`"),
        );
    }
}

fn add_gateway(
    lan: &mut Lan,
    gateway: &Val<IpAddr>,
    subnets: &Subnets,
    problems: &mut Problems<'_>,
) {
    let (version, first) = match gateway.value {
        IpAddr::V4(v4) => ("IPv4", lan.gateway_v4.replace(v4).is_none()),
        IpAddr::V6(v6) => ("IPv6", lan.gateway_v6.replace(v6).is_none()),
    };
    let refuse = |message: String, label: String| {
        Diagnostic::error(Code::Uplink, gateway.span, message).label(label)
    };
    let address = gateway.value;
    if !first {
        let label = "workloads have one default route of each version".to_owned();
        problems.push(refuse(format!("a network has at most one {version} gateway"), label));
    } else if let Err(why) = may_be_gateway(address, subnets) {
        problems.push(refuse(format!("{address} cannot be the gateway of this network"), why));
    }
}

fn may_be_gateway(address: IpAddr, subnets: &Subnets) -> Result<(), String> {
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err("nobody can have this address".to_owned());
    }
    if matches!(address, IpAddr::V6(v6) if v6.is_unicast_link_local()) && subnets.v6.is_some() {
        return Ok(());
    }
    inside(address, subnets)
}

/// Whether the address is one of an interface in these subnets.
fn inside(address: IpAddr, subnets: &Subnets) -> Result<(), String> {
    let net = match address {
        IpAddr::V4(_) => subnets.v4.map(IpNet::V4),
        IpAddr::V6(_) => subnets.v6.map(IpNet::V6),
    };
    let Some(net) = net else { return Err("there is no subnet of this version".to_owned()) };
    if !net.contains(&address) {
        return Err(format!("the subnet is {net}"));
    }
    if address == net.network() || address.is_ipv4() && address == net.broadcast() {
        return Err("this is not the address of one interface".to_owned());
    }
    Ok(())
}

/// Whether a workload on the LAN may have the address.
pub(super) fn usable(address: IpAddr, lan: &Lan, subnets: &Subnets) -> Result<(), String> {
    if lan.is_gateway(address) {
        return Err("this is the address of the LAN's gateway".to_owned());
    }
    inside(address, subnets)
}

/// Whether a workload and its network go together.
pub(super) fn place(
    made: &Workload,
    has_address: bool,
    document: &Document,
    problems: &mut Problems<'_>,
) {
    let Some(network) = document.network(&made.tenant, &made.network) else { return };
    let Some(lan) = &network.lan else { return };
    if !has_address && !matches!(made.start, Start::Port(_)) {
        let message = format!("`{}` is on the LAN of {} and has no address", made.name, lan.uplink);
        problems.push(
            Diagnostic::error(Code::MissingKey, made.span, message)
                .label("others have addresses there that this file does not know, so none is given out")
                .related(network.span, "this network")
                .hint("write address: [..] with one that is free on the LAN"),
        );
    }
}

/// Addresses that two workloads have on the same LAN, and such that their MACs would be the same.
pub(super) fn addresses(document: &Document, problems: &mut Problems<'_>) {
    let mut lans: HashMap<(&Name, &Name), &Lan> = HashMap::new();
    for network in &document.networks {
        if let Some(lan) = &network.lan {
            lans.insert((&network.tenant, &network.name), lan);
        }
    }
    let mut used: HashMap<(&str, Option<u16>, IpAddr), &Workload> = HashMap::new();
    let mut macs: HashMap<(&str, Option<u16>, [u8; 3]), &Workload> = HashMap::new();
    for workload in &document.workloads {
        let Some(lan) = lans.get(&(&workload.tenant, &workload.network)) else { continue };
        let own = || workload.v4.map(IpAddr::V4).into_iter().chain(workload.v6.map(IpAddr::V6));
        let first = own().find_map(|own| {
            used.insert((&lan.uplink, lan.vlan, own), workload).map(|first| (first, own))
        });
        let end = own().next().map(end_of);
        let same = end.and_then(|end| macs.insert((&lan.uplink, lan.vlan, end), workload));
        let (first, message) = match (first, same) {
            // In one network that has been told.
            (Some((first, _)), _)
                if (&first.tenant, &first.network) == (&workload.tenant, &workload.network) =>
            {
                continue;
            }
            (Some((first, address)), _) => {
                (first, format!("{address} is used twice on the LAN of {}", lan.place()))
            }
            (None, Some(first)) => {
                let text = "two workloads would have the same MAC on the LAN of";
                (first, format!("{text} {}: their addresses end alike", lan.place()))
            }
            (None, None) => continue,
        };
        problems.push(
            Diagnostic::error(Code::DuplicateAddress, workload.span, message)
                .label("this workload")
                .related(first.span, "and this one"),
        );
    }
}

/// The last three bytes, which a workload's MAC on a LAN is made of.
fn end_of(address: IpAddr) -> [u8; 3] {
    let [.., a, b, c] = match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    [a, b, c]
}
