//! Who is meant: names of people to workloads, networks and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use api::{Error, Party, PartyKind, codes};
use model::{Identity, Mode};
use planner::{Attachment, Bundle, Router};
use policy::Document;
use policy::explain::End;
use verdict::abi::{Addr, PeerKey};
use verdict::native::Tables;

use crate::fault::refused;

use super::person;

/// Who somebody is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Who {
    /// A workload by id.
    Workload(Arc<str>),
    /// The host.
    Host,
    /// An account of the host, by the number of the endpoint that stands for it.
    Account(u32),
    /// Anybody outside.
    World,
    /// An address, whoever has it.
    Address(IpAddr),
}

/// Reads `shop/web`, `shop.web`, `web`, `host`, `world`, or an address.
///
/// # Errors
/// `BH0211` when nobody has the name, or workloads of several tenants do.
pub(crate) fn who(bundle: &Bundle, text: &str) -> Result<Who, Error> {
    match text {
        "host" => return Ok(Who::Host),
        "world" => return Ok(Who::World),
        _ => {}
    }
    if let Ok(processes) = text.parse() {
        let number = bundle.accounts.number(&processes);
        return number.map(Who::Account).ok_or_else(|| {
            refused(codes::UNKNOWN_PARTY, format!("no rule in force names `{processes}`"))
                .with_hint("to the rules in force it is `host`")
        });
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse() {
        return Ok(Who::Address(address));
    }
    workload_id(bundle, text).map(Who::Workload)
}

/// Who is meant at both ends. A workload that is named without a network is meant at the attachment that the other end is met
/// at: in a network that both share, or in whose subnets the address is; else at its first.
///
/// # Errors
/// As [`who`].
pub(crate) fn pair(bundle: &Bundle, from: &str, to: &str) -> Result<(Who, Who), Error> {
    let (source, target) = match (who(bundle, from)?, who(bundle, to)?) {
        // Told apart at the uplinks alone, and there in what they send.
        (source, Who::Account(_)) => (source, Who::Host),
        (Who::Account(_), target @ Who::Workload(_)) => (Who::Host, target),
        both => both,
    };
    let seats = |text: &str, who: &Who| -> Vec<Arc<str>> {
        match who {
            Who::Workload(id) if text.contains('@') => vec![Arc::clone(id)],
            Who::Workload(id) => bundle.attachments(id).map(|(id, _)| Arc::clone(id)).collect(),
            _ => Vec::new(),
        }
    };
    let (sources, targets) = (seats(from, &source), seats(to, &target));
    let network = |id: &Arc<str>| bundle.attachment(id).map(|(router, _)| router.number);
    let holds = |id: &Arc<str>, address: &IpAddr| {
        let router = bundle.attachment(id).map(|(router, _)| router);
        router.is_some_and(|router| router.subnets.iter().any(|net| net.contains(address)))
    };
    let met = match (&source, &target) {
        (Who::Address(address), _) => {
            let found = targets.iter().find(|id| holds(id, address));
            found.map(|id| (source.clone(), Who::Workload(Arc::clone(id))))
        }
        (_, Who::Address(address)) => {
            let found = sources.iter().find(|id| holds(id, address));
            found.map(|id| (Who::Workload(Arc::clone(id)), target.clone()))
        }
        _ => sources.iter().find_map(|one| {
            let here = network(one);
            let other = targets.iter().find(|other| here.is_some() && network(other) == here)?;
            Some((Who::Workload(Arc::clone(one)), Who::Workload(Arc::clone(other))))
        }),
    };
    Ok(met.unwrap_or((source, target)))
}

/// The id of the workload that is meant.
///
/// # Errors
/// As [`who`].
pub(crate) fn workload_id(bundle: &Bundle, text: &str) -> Result<Arc<str>, Error> {
    let id = text.replacen('/', ".", 1);
    if let Some((id, _)) = bundle.workloads.get_key_value(id.as_str()) {
        return Ok(Arc::clone(id));
    }
    let is_named = |id: &str| id.split_once('.').is_some_and(|(_, name)| name == text);
    let named = bundle.workloads.iter().filter(|(id, _)| is_named(id));
    let ids: Vec<&Arc<str>> = named.map(|(id, _)| id).collect();
    match ids.as_slice() {
        [id] => Ok(Arc::clone(id)),
        [] => Err(unknown(text)),
        many => {
            let all: Vec<String> = many.iter().map(|id| person(id)).collect();
            let message = format!("`{text}` is the name of {} workloads", many.len());
            Err(refused(codes::UNKNOWN_PARTY, message)
                .with_hint(format!("say which: {}", all.join(", "))))
        }
    }
}

/// Nobody has this name.
pub(crate) fn unknown(text: &str) -> Error {
    refused(codes::UNKNOWN_PARTY, format!("there is no workload `{text}`"))
}

/// The address of an attachment in one version of IP.
pub(crate) fn address(at: &Attachment, v6: bool) -> Option<IpAddr> {
    // One that stands for all addresses of the host stands for both.
    let first = at.addresses.first().map(ipnet::IpNet::addr);
    if let Some(stands) = first.filter(|first| Addr::from(*first).is_hosted()) {
        return Some(stands);
    }
    at.addresses.iter().map(ipnet::IpNet::addr).find(|address| address.is_ipv6() == v6)
}

/// The gateway that the host has in a workload's segment, in one version of IP.
pub(crate) fn gateway(at: &Attachment, v6: bool) -> Option<IpAddr> {
    if at.addresses.iter().any(|own| Addr::from(own.addr()).is_hosted()) {
        return Some(loopback(v6));
    }
    if v6 { at.gateway_v6.map(IpAddr::V6) } else { at.gateway_v4.map(IpAddr::V4) }
}

/// The address that the host itself sends from into a network.
pub(crate) fn transit(tables: &Tables, router: &Router, v6: bool) -> IpAddr {
    let transit: IpAddr =
        if v6 { router.transit.host_v6.into() } else { router.transit.host_v4.into() };
    if router.mode == Mode::Host {
        return loopback(v6);
    }
    if router.external.is_none() && router.lan.is_none() {
        return transit;
    }
    // Into a network that somebody else forwards for, and onto a LAN, it sends with its address there, if it has one.
    let own = tables.exact.iter().filter(|(key, peer)| {
        key.network == u32::from(router.number) && peer.identity[0] == Identity::HOST.0
    });
    let own = own.map(|(key, _)| IpAddr::from(key.addr)).filter(|own| own.is_ipv6() == v6);
    let is_elsewhere = |own: &IpAddr| !router.subnets.iter().any(|net| net.contains(own));
    own.min_by_key(|own| (is_elsewhere(own), *own)).unwrap_or(transit)
}

/// Where the host is to whom shares its stack.
fn loopback(v6: bool) -> IpAddr {
    if v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

/// An address of the world that no prefix narrower than "everything" speaks of, as seen from a network.
pub(crate) fn world(tables: &Tables, network: u16, v6: bool) -> IpAddr {
    // Blocks for documentation: RFC 5737, RFC 3849 and RFC 9637.
    let v4 = [[203, 0, 113, 1], [198, 51, 100, 1], [192, 0, 2, 1]].map(IpAddr::from);
    let six =
        [0x2001_0db8_u128 << 96 | 1, 0x3fff_u128 << 112 | 1].map(|bits| IpAddr::V6(bits.into()));
    let candidates = if v6 { six.as_slice() } else { v4.as_slice() };
    let narrowness = |address: &&IpAddr| prefix_length(tables, network, **address);
    let widest = candidates.iter().min_by_key(narrowness);
    widest.copied().unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED))
}

/// Length of the longest prefix that holds an address, in bits; 0 when none does.
fn prefix_length(tables: &Tables, network: u16, address: IpAddr) -> u32 {
    let key = PeerKey { network: network.into(), addr: Addr::from(address) };
    let holding = tables
        .prefixes
        .iter()
        .filter(|(prefix, _)| verdict::native::masked(key, prefix.len) == **prefix);
    holding.map(|(prefix, _)| prefix.len).max().unwrap_or_default()
}

/// The identity that the tables give an address.
fn identity(tables: &Tables, network: u32, address: IpAddr) -> Identity {
    let network = u16::try_from(network).unwrap_or_default();
    planner::identity_at(tables, network, address).unwrap_or(Identity(0))
}

/// What somebody is to the rules.
pub(crate) fn end<'d>(
    document: &'d Document,
    bundle: &'d Bundle,
    network: u32,
    address: IpAddr,
) -> End<'d> {
    let number = u16::try_from(network).unwrap_or_default();
    let owner = bundle.workload_at(number, address);
    if let Some(workload) = owner.and_then(|id| document.workload(id)) {
        return End::Workload(workload.subject());
    }
    match identity(&bundle.tables, network, address) {
        Identity::HOST => match Addr::from(address).host_of() {
            Some((number, _)) => bundle.accounts.alone(number).map_or(End::Host, End::Account),
            None => End::Host,
        },
        Identity::UNMANAGED => End::Unmanaged(address),
        _ => End::World(address),
    }
}

/// An end of a question for the answer.
pub(crate) fn shown(end: &End<'_>, bundle: &Bundle, network: u32, address: IpAddr) -> Party {
    let identity = identity(&bundle.tables, network, address).to_string();
    let mut party = Party { address: address.to_string(), identity, ..Party::default() };
    match end {
        End::Workload(subject) => {
            let number = u16::try_from(network).unwrap_or_default();
            let id = bundle.workload_at(number, address).map_or_else(
                || format!("{}.{}", subject.tenant, subject.workload),
                ToString::to_string,
            );
            party.kind = PartyKind::Workload;
            party.name = person(&id);
            party.network = Some(format!("{}.{}", subject.tenant, subject.network));
            party.segment = subject.segment.map(ToString::to_string);
            let labels = subject.labels.iter();
            party.labels =
                labels.map(|(key, value)| (key.to_string(), value.to_string())).collect();
            party.workload = Some(id);
        }
        End::Host => {
            party.kind = PartyKind::Host;
            "host".clone_into(&mut party.name);
        }
        End::Account(processes) => {
            party.kind = PartyKind::Host;
            party.name = processes.to_string();
        }
        End::World(address) => {
            party.kind = PartyKind::World;
            party.name = address.to_string();
        }
        End::Unmanaged(address) => {
            party.kind = PartyKind::Unmanaged;
            party.name = address.to_string();
        }
    }
    party
}
