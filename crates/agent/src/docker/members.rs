//! Which container is behind which port of a bridge, and the attachment that follows. Pure.
//!
//! A member is matched with a port by the MAC of the port's far end, once it is inside of the container; before that, when it is
//! the only member without a port and there is only one port without a member. **Failure.** A wrong guess lets nothing
//! through: programs drop what does not come from the member's own MAC and addresses; and the next look corrects it.
//! What was matched by MAC stays so while both are there, so a container that changes its MAC to another's takes nothing over.

use std::collections::{BTreeMap, BTreeSet};

use api::{Attach, AttachPort};
use host::linux::bridge::BridgePort;
use host::network::Mac;
use model::Name;
use runtimes::docker::{Container, Member, Naming, Network, workload_labels};

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
                && port.far_mac == Some(Mac(member.mac))
            {
                self.ports.entry(member.endpoint.clone()).or_insert(port.index);
            }
        }
    }

    /// The attachments of a network's members, and whether one of them is being started.
    pub(super) fn attachments(
        &mut self,
        place: &Place,
        network: &Network,
        containers: &BTreeMap<&str, &Container>,
        ports: &[BridgePort],
        is_taken: impl Fn(&str, &str) -> bool,
    ) -> (Vec<Attach>, bool) {
        let (matched, is_starting) = self.matched(&network.members, ports);
        self.naming.retain(|id| containers.contains_key(id));
        let mut all = Vec::new();
        for (member, port) in matched {
            let Some(container) = containers.get(member.container.as_str()) else { continue };
            let key = place.of(&member.container);
            let name = self.naming.name(container, |name| is_taken(name.as_str(), &key));
            let labels = workload_labels(container).into_iter();
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
        for member in members {
            if self.ports.contains_key(&member.endpoint) {
                continue;
            }
            let taken: BTreeSet<u32> = self.ports.values().copied().collect();
            let mut same = ports.iter().filter(|port| {
                port.is_far_away
                    && port.far_mac == Some(Mac(member.mac))
                    && !taken.contains(&port.index)
            });
            if let (Some(port), None) = (same.next(), same.next()) {
                self.ports.insert(member.endpoint.clone(), port.index);
            }
        }
        let find = |member: &Member| by_index.get(self.ports.get(&member.endpoint)?).copied();
        let mut matched: Vec<_> =
            members.iter().filter_map(|member| Some((member, find(member)?))).collect();
        let taken: BTreeSet<u32> = self.ports.values().copied().collect();
        let mut lone = members.iter().filter(|member| !self.ports.contains_key(&member.endpoint));
        let mut free = ports.iter().filter(|port| !taken.contains(&port.index));
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
}

#[cfg(test)]
mod tests;
