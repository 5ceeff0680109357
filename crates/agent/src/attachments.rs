//! Workloads that runtimes attached at run time: what is kept of them, and how they get into a document.
//!
//! The agent keeps them beside the document, as it keeps labels that were changed, and merges them into it before it is
//! compiled: planner, questions and the kernel see workloads and know no difference (ADR 0020). Inputs come from the API, from a
//! discovery in the agent, or from the store; every one is checked here, whoever sent it.
//!
//! **Limits.** [`MOST`] attachments, keys of [`KEY`] bytes, [`LABELS`] labels each.

mod published;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Component, Path};
use std::sync::Arc;

use api::{Attach, AttachPort, Error, codes};
use host::linux::adopted::Id;
use ipnet::IpNet;
use jiff::Timestamp;
use model::digest::Digest64;
use model::{CopyOnWrite, LabelKey, LabelValue, Labels, Mode, Name};
use planner::allocate::EndpointLease;
use policy::Document;
use policy::document::{Adopted, Lan, Netns, Network, Port, Start, Subnets, Workload, owner};
use serde::{Deserialize, Serialize};

use crate::fault::refused;

/// Attachments at one time.
pub(crate) const MOST: usize = 8_192;
/// Longest key, in bytes.
const KEY: usize = 256;
/// Labels of one attachment.
const LABELS: usize = 64;
/// Longest path of a namespace, in bytes.
const PATH: usize = 1_024;
/// Longest name of an interface, in bytes: `IFNAMSIZ` without its end.
const INTERFACE: usize = 15;
/// Attachments of one workload.
const SEVERAL: usize = 8;
/// Names that an error lists.
const LISTED: usize = 10;

/// Every attachment, by key.
pub(crate) type All = CopyOnWrite<BTreeMap<String, Kept>>;

/// Labels that a runtime says an attachment has, beside those that it was attached with.
pub(crate) type Told = BTreeMap<String, String>;

/// An attachment as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// As its runtime wanted it.
    pub(crate) attach: Attach,
    /// The name that it has in its tenant.
    pub(crate) workload: Name,
    /// Whether it stands beside another attachment of that workload.
    #[serde(default)]
    pub(crate) further: bool,
    /// Since when.
    pub(crate) since: Timestamp,
    /// The number and the addresses that it was given.
    pub(crate) lease: Option<EndpointLease>,
    /// Which namespace was at its path.
    pub(crate) netns: Option<Id>,
    /// What its runtime says beside: nothing of it stands against the labels that it was attached with.
    #[serde(default)]
    pub(crate) told: Told,
}

impl Kept {
    /// Checks what a runtime wants, by itself; [`placed`](Self::placed) checks it against a document.
    ///
    /// # Errors
    /// `BH0230` with what is wrong.
    pub(crate) fn new(attach: &Attach, since: Timestamp) -> Result<Self, Error> {
        let key = attach.key.as_str();
        if key.is_empty() || key.len() > KEY || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
            let shown: String = key.chars().take(40).collect();
            let message = format!(
                "the key `{}` is not 1 to {KEY} printable ASCII characters without spaces",
                shown.escape_debug()
            );
            return Err(refused(codes::ATTACH, message));
        }
        if attach.labels.len() > LABELS {
            let (has, key) = (attach.labels.len(), &attach.key);
            return Err(wrong(key, format!("it has {has} labels, {LABELS} are allowed")));
        }
        let workload = match &attach.name {
            Some(name) => Name::new(name).map_err(|error| wrong(key, error.to_string()))?,
            None => derived(key).map_err(|error| wrong(key, error.to_string()))?,
        };
        let attach = attach.clone();
        let (further, lease, netns, told) = (false, None, None, Told::new());
        let kept = Self { attach, workload, further, since, lease, netns, told };
        kept.labels()?;
        kept.start()?;
        kept.publishes()?;
        Ok(kept)
    }

    /// `<tenant>.<workload>`, of a further attachment `<tenant>.<workload>@<network>`.
    pub(crate) fn id(&self) -> String {
        let (tenant, network) = (&self.attach.tenant, &self.attach.network);
        if self.further {
            format!("{tenant}.{}@{network}", self.workload)
        } else {
            format!("{tenant}.{}", self.workload)
        }
    }

    /// What its link is called in a namespace.
    fn interface(&self) -> Option<&str> {
        match &self.attach.port {
            AttachPort::Netns { interface, .. } => Some(interface),
            AttachPort::Handed { .. } | AttachPort::InPlace { .. } => None,
        }
    }

    /// Takes its place beside other attachments of a workload of this name, if there are some in the same namespace.
    /// `netns` is what is at its path.
    ///
    /// # Errors
    /// `BH0230` when it cannot stand beside one of them.
    pub(crate) fn join(
        &mut self,
        all: &BTreeMap<String, Self>,
        netns: Option<Id>,
        document: &Document,
    ) -> Result<(), Error> {
        let key = self.attach.key.clone();
        let is_sibling = |other: &&Self| {
            other.attach.key != key
                && other.workload == self.workload
                && other.attach.tenant == self.attach.tenant
                && netns.is_some()
                && other.netns == netns
        };
        let siblings: Vec<&Self> = all.values().filter(is_sibling).collect();
        if siblings.len() >= SEVERAL {
            return Err(wrong(&key, format!("its workload has {SEVERAL} attachments already")));
        }
        let network = |of: &Self| {
            let named = |each: &&Network| {
                each.tenant == of.attach.tenant.as_str() && each.name == of.attach.network.as_str()
            };
            document.networks.iter().find(named)
        };
        let own = network(self);
        for other in &siblings {
            let its = &other.attach;
            if other.interface() == self.interface() {
                let name = self.interface().unwrap_or_default();
                return Err(wrong(&key, format!("the attachment {} has `{name}` there", its.key)));
            }
            if its.network == self.attach.network {
                let message = format!("the attachment {} is in {} already", its.key, its.network);
                return Err(wrong(&key, message));
            }
            let meets = |own: &Network, its: &Network| {
                let meets = |net: IpNet| {
                    its.subnets.iter().any(|it| it.contains(&net) || net.contains(&it))
                };
                own.subnets.iter().any(meets)
            };
            if own.zip(network(other)).is_some_and(|(own, its)| meets(own, its)) {
                let message = format!(
                    "the networks {} and {} have addresses in common",
                    self.attach.network, its.network
                );
                return Err(wrong(&key, message));
            }
        }
        // What was the first one stays it, and so does what was not.
        let is_new = || siblings.iter().any(|other| !other.further);
        self.further = all.get(&key).map_or_else(is_new, |before| before.further);
        Ok(())
    }

    /// Where the namespace is that it has a link of ours in.
    pub(crate) fn namespace(&self) -> Option<&Path> {
        match &self.attach.port {
            AttachPort::Netns { path, .. } => Some(Path::new(path)),
            AttachPort::Handed { .. } | AttachPort::InPlace { .. } => None,
        }
    }

    /// The workload that it is in a document.
    ///
    /// # Errors
    /// `BH0230` when the document has no such place, or the place no such address.
    pub(crate) fn placed(&self, document: &Document) -> Result<Workload, Error> {
        let (key, attach) = (self.attach.key.as_str(), &self.attach);
        let known = document.tenants.iter().find(|tenant| tenant.name == attach.tenant.as_str());
        let tenant =
            known.ok_or_else(|| wrong(key, format!("there is no tenant `{}`", attach.tenant)))?;
        let own =
            |each: &&Network| each.tenant == tenant.name && each.name == attach.network.as_str();
        let network = document.networks.iter().find(own).ok_or_else(|| {
            wrong(key, format!("the tenant `{}` has no network `{}`", tenant.name, attach.network))
        })?;
        if let mode @ (Mode::None | Mode::Host) = network.mode {
            let message = format!(
                "the network {} has the mode `{mode}`: nobody attaches to it",
                network.id()
            );
            return Err(wrong(key, message));
        }
        let is_in_place = matches!(self.attach.port, AttachPort::InPlace { .. });
        if is_in_place != network.external.is_some() {
            let message = if is_in_place {
                format!("the network {} is ours, and a port in place is not", network.id())
            } else {
                format!("the network {} is external: ports in place attach to it", network.id())
            };
            return Err(wrong(key, message));
        }
        let (segment, subnets) = self.segment(network)?;
        let (v4, v6) = self.fixed(subnets)?;
        if let Some(lan) = &network.lan {
            self.on_lan(network, lan)?;
        }
        Ok(Workload {
            tenant: tenant.name.clone(),
            name: self.workload.clone(),
            further: self.further,
            network: network.name.clone(),
            segment,
            labels: self.labels()?,
            v4,
            v6,
            start: self.start()?,
            span: network.span,
        })
    }

    /// The segment that it joins, and the subnets there.
    fn segment(&self, network: &Network) -> Result<(Option<Name>, Subnets), Error> {
        let key = self.attach.key.as_str();
        let Some(wanted) = &self.attach.segment else {
            return match network.segments.as_slice() {
                [] => Ok((None, network.subnets)),
                [only] => Ok((Some(only.name.clone()), only.subnets)),
                _ => {
                    let message =
                        format!("the network {} has several segments: name one", network.id());
                    Err(wrong(key, message))
                }
            };
        };
        let found = network.segments.iter().find(|segment| segment.name == wanted.as_str());
        let segment = found.ok_or_else(|| {
            wrong(key, format!("the network {} has no segment `{wanted}`", network.id()))
        })?;
        Ok((Some(segment.name.clone()), segment.subnets))
    }

    /// The addresses that it wants, or has already.
    fn fixed(&self, subnets: Subnets) -> Result<(Option<Ipv4Addr>, Option<Ipv6Addr>), Error> {
        let key = self.attach.key.as_str();
        let (mut v4, mut v6) = (None, None);
        for address in &self.attach.addresses {
            // The engine gives addresses of networks whose subnets the file leaves to it.
            if !subnets.is_empty() && !subnets.contains(*address) {
                let shown: Vec<String> = subnets.iter().map(|net| net.to_string()).collect();
                let message = format!("{address} is not in {}", shown.join(" or "));
                return Err(wrong(key, message));
            }
            let is_in_place = matches!(self.attach.port, AttachPort::InPlace { .. });
            if !is_in_place && is_reserved(*address, subnets) {
                let message =
                    format!("{address} is the network's own: its first, second or last address");
                return Err(wrong(key, message));
            }
            let twice = match address {
                IpAddr::V4(address) => v4.replace(*address).is_some(),
                IpAddr::V6(address) => v6.replace(*address).is_some(),
            };
            if twice {
                return Err(wrong(key, "it wants two addresses of one version".to_owned()));
            }
        }
        Ok((v4, v6))
    }

    /// On a LAN nobody is given an address, and nobody takes its router's.
    fn on_lan(&self, network: &Network, lan: &Lan) -> Result<(), Error> {
        let key = self.attach.key.as_str();
        if self.attach.addresses.is_empty() {
            let (id, uplink) = (network.id(), &lan.uplink);
            let message = format!(
                "the network {id} is on the LAN of {uplink}, where no address is given out: name one"
            );
            return Err(wrong(key, message));
        }
        match self.attach.addresses.iter().find(|address| lan.is_gateway(**address)) {
            Some(taken) => {
                Err(wrong(key, format!("{taken} is the gateway of the network {}", network.id())))
            }
            None => Ok(()),
        }
    }

    fn labels(&self) -> Result<Labels, Error> {
        let key = self.attach.key.as_str();
        let pair = |(name, value): (&String, &String)| {
            let bad = |error: &dyn std::error::Error| wrong(key, format!("label {name}: {error}"));
            let name = LabelKey::new(name).map_err(|error| bad(&error))?;
            Ok((name, LabelValue::new(value).map_err(|error| bad(&error))?))
        };
        let own = &self.attach.labels;
        let told = self.told.iter().filter(|(name, _)| !own.contains_key(*name));
        own.iter().chain(told.take(LABELS)).map(pair).collect()
    }

    fn start(&self) -> Result<Start, Error> {
        let key = self.attach.key.as_str();
        match &self.attach.port {
            AttachPort::Netns { path, interface } => {
                let is_plain =
                    |part: Component<'_>| matches!(part, Component::RootDir | Component::Normal(_));
                let at = Path::new(path);
                let is_path = at.is_absolute()
                    && path.len() <= PATH
                    && !path.contains('\0')
                    && at.components().all(is_plain);
                if !is_path {
                    let message = format!(
                        "a namespace has an absolute path without `..`, of at most {PATH} bytes"
                    );
                    return Err(wrong(key, message));
                }
                check_interface(key, interface)?;
                let netns = Netns::Path(path.clone());
                Ok(Start::Netns(Adopted { netns, interface: Arc::from(interface.as_str()) }))
            }
            AttachPort::Handed { interface, closed } => {
                check_interface(key, interface)?;
                let netns = Netns::Handed { open: !closed };
                Ok(Start::Netns(Adopted { netns, interface: Arc::from(interface.as_str()) }))
            }
            AttachPort::InPlace { interface, mac, dhcp } => {
                check_interface(key, interface)?;
                let mac = policy::mac(mac).map_err(|why| wrong(key, why))?;
                Ok(Start::Port(Port { interface: interface.clone(), mac, dhcp: *dhcp }))
            }
        }
    }

    /// The addresses of its lease.
    fn leased(&self) -> impl Iterator<Item = IpAddr> {
        let lease = self.lease.iter();
        lease.flat_map(|lease| lease.v4.map(IpAddr::V4).into_iter().chain(lease.v6.map(IpAddr::V6)))
    }
}

/// A refusal of one attachment.
fn wrong(key: &str, why: String) -> Error {
    let mut error = refused(codes::ATTACH, format!("`{key}` cannot be attached"));
    error.cause = Some(why);
    error
}

fn check_interface(key: &str, name: &str) -> Result<(), Error> {
    let is_fine = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    let is_name = (1..=INTERFACE).contains(&name.len())
        && name.bytes().all(is_fine)
        && !matches!(name, "." | ".." | "lo");
    if is_name {
        return Ok(());
    }
    Err(wrong(key, format!("`{}` is no name of an interface", name.escape_debug())))
}

/// A name made of a key: what kind of runtime it is, and a number that no other key has.
fn derived(key: &str) -> Result<Name, model::NameError> {
    let kind: String = key
        .chars()
        .take_while(|char| *char != '/')
        .filter(char::is_ascii_lowercase)
        .take(12)
        .collect();
    let kind = if kind.is_empty() { "attached" } else { &kind };
    let mut digest = Digest64::new("attachment");
    digest.text(key);
    Name::new(&format!("{kind}-{:012x}", digest.finish() >> 16))
}

/// Whether an address is one that no workload may have.
fn is_reserved(address: IpAddr, subnets: Subnets) -> bool {
    let gateways = [subnets.gateway_v4().map(IpAddr::V4), subnets.gateway_v6().map(IpAddr::V6)];
    let is_edge = |net: IpNet| {
        net.network() == address || (net.addr().is_ipv4() && net.broadcast() == address)
    };
    gateways.contains(&Some(address)) || subnets.iter().any(is_edge)
}

/// Puts attachments into a document, behind its own workloads and in the order of their keys.
///
/// # Errors
/// `BH0231` when the document has no place for some of them any more, names a workload as one of them is named, or gives a
/// workload an address that one of them has.
pub(crate) fn merge(document: &mut Document, all: &BTreeMap<String, Kept>) -> Result<(), Error> {
    if all.is_empty() {
        return Ok(());
    }
    let taken: BTreeMap<String, &Workload> =
        document.workloads.iter().map(|workload| (workload.id(), &**workload)).collect();
    let mut fixed: BTreeMap<(&Name, &Name, IpAddr), &Workload> = BTreeMap::new();
    for workload in &document.workloads {
        let addresses = workload.v4.map(IpAddr::V4).into_iter().chain(workload.v6.map(IpAddr::V6));
        fixed.extend(addresses.map(|at| ((&workload.tenant, &workload.network, at), &**workload)));
    }
    let mut merged = Vec::with_capacity(all.len());
    let mut problems = Vec::new();
    for kept in all.values() {
        match found(kept, document, &taken, &fixed) {
            Ok(workload) => merged.push(workload.into()),
            Err(why) => problems.push(format!(
                "{} ({}): {why}",
                kept.id().replacen('.', "/", 1),
                kept.attach.key
            )),
        }
    }
    if problems.is_empty() {
        document.workloads.extend(merged);
        for kept in all.values() {
            if let Err(error) = kept.publish(document) {
                let why = error.cause.unwrap_or(error.message);
                let id = kept.id().replacen('.', "/", 1);
                problems.push(format!("{id} ({}): {why}", kept.attach.key));
            }
        }
    }
    if problems.is_empty() {
        return Ok(());
    }
    let number = problems.len();
    problems.truncate(LISTED);
    if number > LISTED {
        problems.push(format!("and {} more", number - LISTED));
    }
    let whose = if number == 1 { "an attached workload" } else { "attached workloads" };
    let mut error = refused(codes::ATTACHED, format!("{whose} would lose their place: {number}"));
    error.cause = Some(problems.join("; "));
    Err(error)
}

fn found(
    kept: &Kept,
    document: &Document,
    taken: &BTreeMap<String, &Workload>,
    fixed: &BTreeMap<(&Name, &Name, IpAddr), &Workload>,
) -> Result<Workload, String> {
    let workload = kept.placed(document).map_err(|error| error.cause.unwrap_or(error.message))?;
    if let Some(other) = taken.get(owner(&workload.id())) {
        return Err(format!("the file has a workload of that name in line {}", other.span.line));
    }
    let network = document.network(&workload.tenant, &workload.network);
    let segment = network.and_then(|network| network.segment(workload.segment.as_ref()?));
    let subnets = segment.map(|segment| segment.subnets).or(network.map(|network| network.subnets));
    for address in kept.leased() {
        if subnets.is_some_and(|subnets| !subnets.is_empty() && !subnets.contains(address)) {
            return Err(format!("its address {address} is not in its network any more"));
        }
        let is_in_place = matches!(workload.start, Start::Port(_));
        if !is_in_place && subnets.is_some_and(|subnets| is_reserved(address, subnets)) {
            return Err(format!("its address {address} is now the network's own"));
        }
        let key = (&workload.tenant, &workload.network, address);
        if let Some(other) = fixed.get(&key) {
            let line = other.span.line;
            return Err(format!(
                "the file gives its address {address} to `{}` in line {line}",
                other.name
            ));
        }
    }
    Ok(workload)
}

#[cfg(test)]
mod tests;
