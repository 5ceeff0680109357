//! External networks and ports in place: what somebody else made, and what may stand in it.

use std::collections::HashMap;
use std::net::IpAddr;

use model::{Mode, Name, Posture};

use super::Seen;
use crate::codes::Code;
use crate::decode::{Mapping, Val};
use crate::diagnostic::{Diagnostic, Problems};
use crate::document::{Document, External, Port, Start, Subnets, Workload};
use crate::raw::{RawNetwork, RawWorkload};
use crate::scalar::Switch;

/// Who forwards for a network, when that is not us.
pub(super) fn external(
    name: &Val<Name>,
    raw: &RawNetwork,
    problems: &mut Problems<'_>,
) -> Option<External> {
    let given = raw.external.as_ref()?;
    if let Some(mode) = &raw.mode {
        let message = "`external` stands in the place of `mode`";
        problems.push(
            Diagnostic::error(Code::Exclusive, mode.span, message)
                .label("nothing of it would be ours to make")
                .hint("remove one of the two"),
        );
    }
    let segments = raw.segments.as_ref().and_then(|table| table.entries.first());
    if let Some((segment, _)) = segments {
        let message = format!("the external network `{}` cannot have segments", name.value);
        problems.push(
            Diagnostic::error(Code::External, segment.span, message)
                .label("its addresses are given by somebody else")
                .hint("tell its workloads apart by labels"),
        );
    }
    // Of what is wrong here nothing more is to follow.
    let nameless = Some(External::Bridge(String::new()));
    match (&given.bridge, &given.docker) {
        (Some(bridge), None) => Some(External::Bridge(bridge.value.0.clone())),
        (None, Some(docker)) => Some(External::Docker(docker.value.0.clone())),
        (Some(bridge), Some(docker)) => {
            let message = "`bridge` and `docker` exclude each other";
            problems.push(
                Diagnostic::error(Code::Exclusive, docker.span, message)
                    .related(bridge.span, "given here")
                    .hint("`docker` finds the bridge of a network of the engine by itself"),
            );
            nameless
        }
        (None, None) => {
            if !given.given("bridge") && !given.given("docker") {
                let message = format!("the external network `{}` names nothing", name.value);
                problems.push(
                    Diagnostic::error(Code::MissingKey, given.span(), message)
                        .hint("write external: {bridge: NAME}, or external: {docker: NAME}"),
                );
            }
            nameless
        }
    }
}

/// The port that a workload names.
pub(super) fn port(raw: &RawWorkload, problems: &mut Problems<'_>) -> Option<Port> {
    let port = raw.port.as_ref()?;
    let others = [
        raw.run.as_ref().map(|run| ("run", run.span)),
        raw.netns.as_ref().map(|netns| ("netns", netns.span)),
    ];
    for (key, span) in others.into_iter().flatten() {
        let message = format!("`{key}` and `port` exclude each other");
        problems.push(
            Diagnostic::error(Code::Exclusive, span, message)
                .related(port.span(), "given here")
                .hint("a workload with `port:` was started by somebody else; remove the key"),
        );
    }
    for (key, span) in super::workload::runtime_keys(raw) {
        let message = format!("`{key}` is a setting of the built-in runtime");
        problems.push(
            Diagnostic::error(Code::Exclusive, span, message)
                .label("without effect here")
                .hint("a workload with `port:` was started by somebody else; remove the key"),
        );
    }
    Some(Port {
        interface: port.interface.as_ref()?.value.0.clone(),
        mac: port.mac.as_ref()?.value.0,
        dhcp: port.dhcp.as_ref().is_some_and(|dhcp| dhcp.value == Switch::On),
    })
}

/// Whether a workload and its network go together.
pub(super) fn place(
    made: &Workload,
    raw: &RawWorkload,
    document: &Document,
    problems: &mut Problems<'_>,
) {
    let Some(network) = document.network(&made.tenant, &made.network) else { return };
    match (&made.start, &network.external) {
        (Start::Port(_), None) => {
            let message = format!("`{}` is a port in place, and its network is ours", made.name);
            let span = raw.port.as_ref().map_or(made.span, Mapping::span);
            problems.push(
                Diagnostic::error(Code::External, span, message)
                    .related(network.span, "this network")
                    .hint("write external: {bridge: NAME} in the network that the interface is in"),
            );
        }
        (Start::Port(_), Some(_)) if !raw.given("address") => {
            let message = format!("the port of `{}` has no address", made.name);
            problems.push(
                Diagnostic::error(Code::MissingKey, made.span, message)
                    .label("whoever made it has given it one")
                    .hint("write address: [..] as the workload has it"),
            );
        }
        (Start::Run(_) | Start::Netns(_), Some(_)) => {
            let message = format!("`{}` cannot be put into an external network", made.name);
            problems.push(
                Diagnostic::error(Code::External, made.span, message)
                    .related(network.span, "somebody else forwards for it")
                    .hint(
                        "write port: {interface: NAME, mac: ...}, or choose a network with a mode",
                    ),
            );
        }
        (Start::Netns(_), None) if network.mode == Mode::Host => {
            let message = format!(
                "`{}` has a namespace of its own, and its network is the host's",
                made.name
            );
            let span = raw.netns.as_ref().map_or(made.span, |netns| netns.span);
            problems.push(
                Diagnostic::error(Code::Mode, span, message)
                    .related(network.span, "this network has mode `host`")
                    .hint("write run: [..]: what Bulkhead starts is judged by its cgroup"),
            );
        }
        _ => {}
    }
}

/// Whether a workload of an external network may have the address. What the gateway is, we do not know.
pub(super) fn usable(address: IpAddr, subnets: &Subnets) -> Result<(), String> {
    if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
        return Err("nobody can have this address".to_owned());
    }
    let net = match address {
        IpAddr::V4(_) => subnets.v4.map(ipnet::IpNet::V4),
        IpAddr::V6(_) => subnets.v6.map(ipnet::IpNet::V6),
    };
    match net {
        None if subnets.is_empty() => Ok(()),
        None => Err("there is no subnet of this version".to_owned()),
        Some(net) if !net.contains(&address) => Err(format!("the subnet is {net}")),
        Some(net)
            if address == net.network() || address.is_ipv4() && address == net.broadcast() =>
        {
            Err("this is not the address of one interface".to_owned())
        }
        Some(_) => Ok(()),
    }
}

/// Interfaces and hardware addresses that two workloads have.
pub(super) fn ports(document: &Document, problems: &mut Problems<'_>) {
    let mut interfaces: Seen<&str> = HashMap::new();
    let mut macs: Seen<(&Name, &Name, [u8; 6])> = HashMap::new();
    for workload in &document.workloads {
        let Start::Port(port) = &workload.start else { continue };
        let interface = interfaces.insert(port.interface.as_str(), workload.span);
        let mac = (&workload.tenant, &workload.network, port.mac);
        let mac = macs.insert(mac, workload.span);
        let what = [
            (interface, format!("the interface `{}`", port.interface)),
            (mac, "the MAC address".to_owned()),
        ];
        for (first, what) in what {
            let Some(first) = first else { continue };
            let message = format!("{what} of `{}` is another workload's", workload.name);
            problems.push(
                Diagnostic::error(Code::PortTwice, workload.span, message)
                    .related(first, "it is this one's"),
            );
        }
    }
}

/// A posture for nobody.
pub(super) fn unmanaged(
    given: Option<&Val<Posture>>,
    document: &Document,
    problems: &mut Problems<'_>,
) {
    let Some(given) = given else { return };
    if document.networks.iter().all(|network| network.external.is_none() && network.lan.is_none()) {
        let message = "`unmanaged` is about bridges of others, and no network stands on one";
        problems.push(Diagnostic::warning(Code::Unused, given.span, message));
    }
}
