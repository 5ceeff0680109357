//! Ends of containers: made, joined, published, left and deleted, each call as often as Docker likes.

use std::net::IpAddr;
use std::time::Instant;

use api::{Attach, AttachPort, AttachPublish};
use runtimes::docker::driver::{
    self as wire, CreateEndpoint, External, Id, OneEndpoint, Published,
};
use runtimes::docker::{Container, workload_labels};
use serde_json::json;

use crate::attachments::Told;
use crate::fault::sentence;
use crate::force::Force;
use crate::keeper::Command;

use super::held::{ENDPOINTS, Endpoint, Held, Network};
use super::{Answer, Driver, address, done, identity, message, told};

/// The key of an end's attachment. The discovery of Docker's own networks uses others.
pub(super) fn key(endpoint: &str) -> String {
    format!("docker-driver/{endpoint}")
}

/// What an end's link is called on the host until dockerd moves it.
fn interface(endpoint: &Id) -> String {
    format!("bd{}", endpoint.short())
}

impl Driver {
    pub(super) fn create_endpoint(&self, body: &[u8]) -> Answer {
        let call: CreateEndpoint = message(body)?;
        let force = self.force()?;
        let nets = call.addresses().map_err(|wrong| wrong.to_string())?;
        if call.mac().is_some() {
            return Err("--mac-address is not supported: the MAC of a container is made from the number of its endpoint".to_owned());
        }
        self.ledger.change(|held| {
            let network = known(held, &call.network)?;
            let document = &force.wanted.document;
            for net in &nets {
                let pool = network.place.pool(document, net.addr().is_ipv6())?;
                pool.refuses(net.addr()).map_or(Ok(()), Err)?;
            }
            if nets.is_empty() {
                return Err("an end of a network needs an address".to_owned());
            }
            let id = call.endpoint.as_str();
            if held.endpoints.len() >= ENDPOINTS && !held.endpoints.contains_key(id) {
                return Err(format!(
                    "there are {ENDPOINTS} ends of containers, which is as many as there may be"
                ));
            }
            let addresses = nets.iter().map(ipnet::IpNet::addr).collect();
            let new = Endpoint {
                network: call.network.clone(),
                addresses,
                joined: false,
                ports: Vec::new(),
            };
            held.endpoints.entry(id.to_owned()).or_insert(new);
            Ok(())
        })?;
        // An empty one leaves all as it was asked for.
        Ok(json!({ "Interface": {} }))
    }

    pub(super) fn endpoint_info(&self, body: &[u8]) -> Answer {
        let call: OneEndpoint = message(body)?;
        self.end(&call.network, &call.endpoint)?;
        Ok(json!({ "Value": {} }))
    }

    pub(super) async fn join(&self, body: &[u8]) -> Answer {
        let call: OneEndpoint = message(body)?;
        let began = Instant::now();
        let (network, _) = self.end(&call.network, &call.endpoint)?;
        let client = self.client.clone().with_patience(identity::PATIENCE);
        let found = identity::find(&client, &call.network, &call.endpoint).await;
        let asked = began.elapsed();
        let container = found.unwrap_or_else(|error| {
            tracing::warn!("who joins {} is asked again: {}", network.place, sentence(&error));
            None
        });
        let turn = self.turn.lock().await;
        // It may have ended meanwhile.
        let (network, endpoint) = self.end(&call.network, &call.endpoint)?;
        let force = self.force()?;
        Self::is_free(&network, &endpoint, &key(call.endpoint.as_str()), &force)?;
        let attach = wanted(&call.endpoint, &network, &endpoint, container.as_ref(), &force);
        let attached = self.attach(attach).await?;
        self.ledger.change(|held| {
            let Some(endpoint) = held.endpoints.get_mut(call.endpoint.as_str()) else {
                return Ok(());
            };
            endpoint.joined = true;
            Ok(())
        })?;
        drop(turn);
        tracing::info!(
            workload = attached.workload,
            known = container.is_some(),
            asked_us = asked.as_micros(),
            took_us = began.elapsed().as_micros(),
            "a container of Docker joins {}",
            network.place
        );
        if container.is_none() {
            self.unknown.notify_one();
        }
        let gateway = |is_v6: bool| {
            let has = endpoint.addresses.iter().any(|address| address.is_ipv6() == is_v6);
            let pool = network.place.pool(&force.wanted.document, is_v6).ok();
            pool.filter(|_| has && !network.internal).map(|pool| pool.gateway)
        };
        Ok(wire::joined(&interface(&call.endpoint), [gateway(false), gateway(true)]))
    }

    pub(super) async fn leave(&self, body: &[u8]) -> Answer {
        let call: OneEndpoint = message(body)?;
        let _turn = self.turn.lock().await;
        self.detach(call.endpoint.as_str()).await?;
        self.ledger.change(|held| {
            if let Some(endpoint) = held.endpoints.get_mut(call.endpoint.as_str()) {
                endpoint.joined = false;
                endpoint.ports.clear();
            }
            Ok(())
        })?;
        Ok(done())
    }

    pub(super) async fn delete_endpoint(&self, body: &[u8]) -> Answer {
        let call: OneEndpoint = message(body)?;
        self.forget_endpoint(call.endpoint.as_str()).await?;
        Ok(done())
    }

    /// Ends an end, whether it was left or not.
    pub(super) async fn forget_endpoint(&self, id: &str) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        self.detach(id).await?;
        self.ledger.change(|held| {
            held.endpoints.remove(id);
            Ok(())
        })
    }

    pub(super) async fn publish(&self, body: &[u8]) -> Answer {
        let call: External = message(body)?;
        let ports = call.ports().map_err(|wrong| wrong.to_string())?;
        self.set_ports(&call.network, &call.endpoint, ports).await?;
        Ok(done())
    }

    pub(super) async fn revoke(&self, body: &[u8]) -> Answer {
        let call: OneEndpoint = message(body)?;
        if self.ledger.read().endpoints.contains_key(call.endpoint.as_str()) {
            self.set_ports(&call.network, &call.endpoint, Vec::new()).await?;
        }
        Ok(done())
    }

    /// Lets these ports of the host, and no others, lead to an end.
    async fn set_ports(&self, network: &Id, id: &Id, ports: Vec<Published>) -> Result<(), String> {
        let _turn = self.turn.lock().await;
        let (_, endpoint) = self.end(network, id)?;
        if endpoint.ports == ports {
            return Ok(());
        }
        let force = self.force()?;
        if let Some(kept) = force.wanted.attachments.get(&key(id.as_str())) {
            let publish = ports.iter().map(port).collect();
            self.attach(Attach { publish, ..kept.attach.clone() }).await?;
        }
        self.ledger.change(|held| {
            let Some(endpoint) = held.endpoints.get_mut(id.as_str()) else { return Ok(()) };
            endpoint.ports = ports;
            Ok(())
        })
    }

    /// An end and its network.
    pub(super) fn end(&self, network: &Id, id: &Id) -> Result<(Network, Endpoint), String> {
        let held = self.ledger.read();
        let found = known(&held, network)?.clone();
        let endpoint = held.endpoints.get(id.as_str()).filter(|end| end.network == *network);
        let endpoint = endpoint.cloned().ok_or_else(|| {
            let (id, network) = (id.short(), network.short());
            format!("there is no end {id} in the network {network} here: docker network disconnect -f it, and connect it again")
        })?;
        Ok((found, endpoint))
    }

    /// Nobody else may have an end's addresses: a workload of the file's that was given one since would lose it.
    fn is_free(
        network: &Network,
        endpoint: &Endpoint,
        key: &str,
        force: &Force,
    ) -> Result<(), String> {
        let own = force.wanted.attachments.get(key).map(crate::attachments::Kept::id);
        let leased = address::leased(&network.place, force, own.as_deref());
        match endpoint.addresses.iter().find(|address| leased.contains(*address)) {
            None => Ok(()),
            Some(address) => Err(format!(
                "{address} was given to another workload of {} meanwhile: start the container again",
                network.place
            )),
        }
    }

    /// Attaches, with the keeper's words for why not.
    pub(super) async fn attach(&self, attach: Attach) -> Result<api::Attached, String> {
        let asked =
            self.shared.commands.ask(|reply| Command::Attach(Box::new(attach), Told::new(), reply));
        asked.await.map_err(|error| told(&error))
    }

    /// Ends the attachment of an end, if there is one.
    pub(super) async fn detach(&self, endpoint: &str) -> Result<(), String> {
        let key = key(endpoint);
        let asked = self.shared.commands.ask(|reply| Command::Detach(key, reply));
        asked.await.map(drop).map_err(|error| told(&error))
    }
}

/// The network of an id.
fn known<'h>(held: &'h Held, id: &Id) -> Result<&'h Network, String> {
    held.networks.get(id.as_str()).ok_or_else(|| {
        format!(
            "the network {} is not known here; it was made with another state folder, or before `down --clean`: docker network rm it, and create it again",
            id.short()
        )
    })
}

/// What is attached for an end: with nothing known of its container, closed.
pub(super) fn wanted(
    id: &Id,
    network: &Network,
    endpoint: &Endpoint,
    container: Option<&Container>,
    force: &Force,
) -> Attach {
    let (place, key) = (&network.place, key(id.as_str()));
    let name = container.and_then(|container| identity::name(container, place, &key, force));
    let labels = container.map(workload_labels).unwrap_or_default();
    let addresses: Vec<IpAddr> = endpoint.addresses.clone();
    Attach {
        tenant: place.tenant.to_string(),
        network: place.network.to_string(),
        segment: place.segment.as_ref().map(ToString::to_string),
        name: name.map(|name| name.to_string()),
        labels: labels.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect(),
        addresses,
        port: AttachPort::Handed { interface: interface(id), closed: container.is_none() },
        publish: endpoint.ports.iter().map(port).collect(),
        publish_pending: false,
        key,
    }
}

fn port(published: &Published) -> AttachPublish {
    let Published { transport, address, public, private } = *published;
    AttachPublish { transport: transport.to_string(), port: public, to: private, address }
}
