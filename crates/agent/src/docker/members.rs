//! Which container is behind which port of a bridge, and the attachment that follows. Pure.
//!
//! A member is matched with a port by the MAC of the port's far end, once it is inside of the container; before that, when it is
//! the only member without a port and there is only one port without a member. **Failure.** A wrong guess lets nothing
//! through: programs drop what does not come from the member's own MAC and addresses; and the next look corrects it.
//!
//! **A container says nothing about itself.** What is inside may have any MAC, so a MAC alone takes nothing over:
//! - what was matched by MAC stays so while both are there;
//! - what is in force stays with its member while both are there, also for an agent that starts again, and whatever its MAC is now: who
//!   changes it can neither slip off its policy nor take another's port;
//! - a port that was there when every member had its own (a *stranger*) is none of a member that comes later, as long as there are others.

use std::collections::{BTreeMap, BTreeSet};

use api::{Attach, AttachPort, AttachPublish};
use host::linux::bridge::BridgePort;
use host::network::Mac;
use model::{Name, Transport};
use runtimes::docker::{Container, Member, Naming, Network, Port, workload_labels};

/// Ports of one attachment that are told.
const PORTS: usize = 256;

/// Where containers of one network of Docker's go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) tenant: String,
    pub(super) network: String,
    /// Docker's name of it.
    pub(super) docker: String,
}

impl Place {
    pub(super) fn key(&self) -> (String, String) {
        (self.tenant.clone(), self.network.clone())
    }

    /// The key of a container's attachment.
    fn of(&self, container: &str) -> String {
        format!("docker/{container}/{}", self.docker)
    }

    /// The container of an attachment.
    fn container<'k>(&self, key: &'k str) -> Option<&'k str> {
        let (container, docker) = key.strip_prefix("docker/")?.split_once('/')?;
        (docker == self.docker).then_some(container)
    }

    /// Whether an attachment was made by the discovery.
    pub(super) fn owns(key: &str) -> bool {
        key.starts_with("docker/")
    }
}

/// What is remembered of a network between two looks.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// Index of the port by the member's endpoint, matched by MAC.
    ports: BTreeMap<String, u32>,
    /// Index of the port by the member's endpoint, as it is in force.
    held: BTreeMap<String, u32>,
    /// What Docker said last that it leads there, by the member's endpoint.
    led: BTreeMap<String, Vec<AttachPublish>>,
    /// Ports that were nobody's in the last look, and in more than one.
    idle: BTreeSet<u32>,
    strangers: BTreeSet<u32>,
    naming: Naming,
}

impl Memory {
    /// Takes over what is in force, which an agent that ran before may have attached.
    pub(super) fn recall<'a>(
        &mut self,
        place: &Place,
        network: &Network,
        ports: &[BridgePort],
        attached: impl Iterator<Item = &'a Attach>,
    ) {
        self.held.clear();
        for attach in attached {
            let Some(container) = place.container(&attach.key) else { continue };
            if let Some(name) = attach.name.as_ref().and_then(|name| Name::new(name).ok()) {
                self.naming.remember(container, name);
            }
            let AttachPort::InPlace { interface, mac, .. } = &attach.port else { continue };
            let member = network.members.iter().find(|member| member.container == container);
            let port = ports.iter().find(|port| port.name == *interface && port.is_far_away);
            if let (Some(member), Some(port)) = (member, port)
                && Mac(member.mac).to_string() == *mac
            {
                self.held.insert(member.endpoint.clone(), port.index);
            }
        }
    }

    /// The attachments of a network's members, and whether one of them is being started. `named` are the ports of the host that the file speaks of: what
    /// leads to a container is waited for where it speaks of some.
    pub(super) fn attachments(
        &mut self,
        place: &Place,
        network: &Network,
        containers: &BTreeMap<&str, &Container>,
        ports: &[BridgePort],
        is_taken: impl Fn(&str, &str) -> bool,
        named: &BTreeSet<(Transport, u16)>,
    ) -> (Vec<Attach>, bool) {
        let is_named = |port: &Port| named.contains(&(port.transport, port.public));
        self.led.retain(|end, _| network.members.iter().any(|member| member.endpoint == *end));
        let (matched, is_starting) = self.matched(&network.members, ports);
        self.naming.retain(|id| containers.contains_key(id));
        let mut all = Vec::new();
        for (member, port) in matched {
            let Some(container) = containers.get(member.container.as_str()) else { continue };
            let key = place.of(&member.container);
            let name = self.naming.name(container, |name| is_taken(name.as_str(), &key));
            let labels = workload_labels(container).into_iter();
            if let Some(ports) = container.led_to(&member.endpoint) {
                self.led.insert(member.endpoint.clone(), led(ports, &is_named));
            }
            // What was said once of an end holds while it is there, whatever a dockerd that starts again does not say yet.
            let publish = self.led.get(&member.endpoint).cloned();
            all.push(Attach {
                key,
                tenant: place.tenant.clone(),
                network: place.network.clone(),
                segment: None,
                name: name.map(|name| name.to_string()),
                labels: labels.map(|(key, value)| (key.to_string(), value.to_string())).collect(),
                addresses: member.addresses.clone(),
                port: AttachPort::InPlace {
                    interface: port.name.clone(),
                    mac: Mac(member.mac).to_string(),
                    dhcp: false,
                },
                publish_pending: publish.is_none() && !named.is_empty(),
                publish: publish.unwrap_or_default(),
            });
        }
        (all, is_starting)
    }

    /// Members with their ports.
    fn matched<'a>(
        &mut self,
        members: &'a [Member],
        ports: &'a [BridgePort],
    ) -> (Vec<(&'a Member, &'a BridgePort)>, bool) {
        let by_index: BTreeMap<u32, &BridgePort> =
            ports.iter().map(|port| (port.index, port)).collect();
        let there: BTreeSet<&str> = members.iter().map(|member| member.endpoint.as_str()).collect();
        self.ports.retain(|endpoint, index| {
            there.contains(endpoint.as_str()) && by_index.contains_key(index)
        });
        for known in [&mut self.idle, &mut self.strangers] {
            known.retain(|index| by_index.contains_key(index));
        }
        // Who finds its own sets free what it held: that is looked at again.
        for _ in 0..2 {
            for member in members {
                self.find(member, ports);
            }
        }
        let mut all = self.ports.clone();
        for (endpoint, index) in &self.held {
            let is_free = !all.contains_key(endpoint) && !all.values().any(|taken| taken == index);
            if is_free && there.contains(endpoint.as_str()) && by_index.contains_key(index) {
                all.insert(endpoint.clone(), *index);
            }
        }
        self.note_strangers(members, ports);
        let find = |member: &Member| by_index.get(all.get(&member.endpoint)?).copied();
        let mut matched: Vec<_> =
            members.iter().filter_map(|member| Some((member, find(member)?))).collect();
        let taken: BTreeSet<u32> = all.values().copied().collect();
        let mut lone = members.iter().filter(|member| !all.contains_key(&member.endpoint));
        let mut free = veths(ports)
            .filter(|port| !taken.contains(&port.index) && !self.strangers.contains(&port.index));
        let (member, port) = (lone.next(), free.next());
        let is_starting = member.is_some() && port.is_some();
        if let (Some(member), Some(port)) = (member, port)
            && lone.next().is_none()
            && free.next().is_none()
        {
            matched.push((member, port));
        }
        (matched, is_starting)
    }

    /// Finds the port of a member by its MAC, if it has none yet and there is exactly one that it can be.
    fn find(&mut self, member: &Member, ports: &[BridgePort]) {
        if self.ports.contains_key(&member.endpoint) {
            return;
        }
        let mut taken: BTreeSet<u32> = self.ports.values().copied().collect();
        let others = self.held.iter().filter(|(endpoint, _)| {
            **endpoint != member.endpoint && !self.ports.contains_key(*endpoint)
        });
        taken.extend(others.map(|(_, index)| *index));
        let free: Vec<&BridgePort> =
            veths(ports).filter(|port| !taken.contains(&port.index)).collect();
        let is_stranger = |port: &BridgePort| self.strangers.contains(&port.index);
        let are_all = free.iter().all(|port| is_stranger(port));
        let mut same = free.into_iter().filter(|port| {
            port.is_far_away
                && port.far_mac == Some(Mac(member.mac))
                && (are_all || !is_stranger(port))
        });
        if let (Some(port), None) = (same.next(), same.next()) {
            self.ports.insert(member.endpoint.clone(), port.index);
        }
    }

    /// When every member has its port, what is left is nobody's. Docker tells of a member before its link is inside, so what is seen like that
    /// twice was there before any member that is told of later.
    fn note_strangers(&mut self, members: &[Member], ports: &[BridgePort]) {
        let are_known = members.iter().all(|member| self.ports.contains_key(&member.endpoint));
        let taken: BTreeSet<u32> = self.ports.values().copied().collect();
        let left = veths(ports).filter(|port| port.is_far_away && !taken.contains(&port.index));
        let left: BTreeSet<u32> = left.map(|port| port.index).filter(|_| are_known).collect();
        self.strangers.extend(self.idle.intersection(&left));
        self.idle = left;
    }
}

/// The ports that Docker leads to a container; of more than there may be, those that the file names come first.
fn led(ports: &[Port], is_named: &impl Fn(&Port) -> bool) -> Vec<AttachPublish> {
    let one = |port: &Port| AttachPublish {
        transport: port.transport.to_string(),
        port: port.public,
        to: port.private,
        address: Some(port.address).filter(|address| !address.is_unspecified()),
    };
    let mut all: Vec<&Port> = ports.iter().collect();
    all.sort_by_key(|port| (!is_named(port), **port));
    let mut told: Vec<AttachPublish> = Vec::new();
    for port in all.into_iter().map(one) {
        // For all addresses of one version and of the other it is one.
        if told.len() < PORTS && told.last() != Some(&port) && !told.contains(&port) {
            told.push(port);
        }
    }
    told.sort_by(|a, b| {
        let key = |it: &AttachPublish| (it.port, it.transport.clone(), it.to, it.address);
        key(a).cmp(&key(b))
    });
    told
}

/// Ports that can lead to a container: an uplink of the bridge, or the TAP of a machine, does not.
fn veths(ports: &[BridgePort]) -> impl Iterator<Item = &BridgePort> {
    ports.iter().filter(|port| port.far_mac.is_some() || port.is_far_away)
}

#[cfg(test)]
mod tests;
