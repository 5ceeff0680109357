//! Ports of the host that lead to attached workloads: what the file says with `publish:` for its own.
//!
//! They open nothing: a policy still has to let the client in. A port that somebody has already is refused, never shared. Of a port in place they
//! are what its runtime does by itself: the terms of `publish:` hold where they lead.

use std::net::IpAddr;

use api::{AttachPort, AttachPublish, Error};
use model::digest::Digest64;
use model::{Name, Transport};
use policy::Document;
use policy::document::{FlowLimit, Led, Publish, Span, Unled};

use super::{Kept, wrong};

/// Ports of one attachment.
const MOST: usize = 256;

impl Kept {
    /// Its published ports, checked by themselves.
    pub(super) fn publishes(&self) -> Result<Vec<Publish>, Error> {
        let key = self.attach.key.as_str();
        let all = &self.attach.publish;
        if all.len() > MOST {
            return Err(wrong(
                key,
                format!("it publishes {} ports, {MOST} are allowed", all.len()),
            ));
        }
        let tenant =
            Name::new(&self.attach.tenant).map_err(|error| wrong(key, error.to_string()))?;
        let one = |publish: &AttachPublish| {
            let (name, transport) = named(publish).map_err(|why| wrong(key, why))?;
            Ok(Publish {
                tenant: tenant.clone(),
                name,
                address: publish.address,
                transport,
                port: publish.port,
                workload: self.workload.clone(),
                workload_port: publish.to,
                from: Vec::new(),
                host: false,
                owner: None,
                until: None,
                limit: FlowLimit::default(),
                span: Span::default(),
            })
        };
        all.iter().map(one).collect()
    }

    /// Puts its published ports into a document that it is placed in.
    ///
    /// # Errors
    /// `BH0230` when somebody has one of them.
    pub(crate) fn publish(&self, document: &mut Document) -> Result<(), Error> {
        let key = self.attach.key.as_str();
        if matches!(self.attach.port, AttachPort::InPlace { .. }) {
            document.led.extend(self.led()?);
            document.led.sort_unstable();
            if self.attach.publish_pending {
                document.unled.push(self.unled()?);
                document.unled.sort_unstable();
            }
            return Ok(());
        }
        for mut publish in self.publishes()? {
            let workload = document.workload(&self.id());
            publish.span = workload.map(|workload| workload.span).unwrap_or_default();
            if let Some(other) =
                document.publishes.iter().find(|other| is_taken(document, &publish, other))
            {
                let (port, transport) = (publish.port, publish.transport);
                let whose = format!("{}/{}", other.tenant, other.workload);
                return Err(wrong(
                    key,
                    format!("the host's port {port}/{transport} leads to {whose} already"),
                ));
            }
            document.publishes.push(publish);
        }
        Ok(())
    }

    /// What its runtime leads to it.
    fn led(&self) -> Result<Vec<Led>, Error> {
        let network = self.name(&self.attach.network)?;
        let led = |publish: Publish| Led {
            tenant: publish.tenant,
            workload: publish.workload,
            network: network.clone(),
            transport: publish.transport,
            port: publish.port,
            to: publish.workload_port,
            address: publish.address,
        };
        Ok(self.publishes()?.into_iter().map(led).collect())
    }

    /// Itself, of which its runtime does not say what it leads there.
    fn unled(&self) -> Result<Unled, Error> {
        let (tenant, network) = (self.name(&self.attach.tenant)?, self.name(&self.attach.network)?);
        Ok(Unled { tenant, workload: self.workload.clone(), network })
    }

    fn name(&self, text: &str) -> Result<Name, Error> {
        Name::new(text).map_err(|error| wrong(&self.attach.key, error.to_string()))
    }

    /// Takes its published ports out of a document.
    pub(crate) fn unpublish(&self, document: &mut Document) {
        if matches!(self.attach.port, AttachPort::InPlace { .. }) {
            let (tenant, network) = (self.attach.tenant.as_str(), self.attach.network.as_str());
            document.led.retain(|led| {
                led.tenant != tenant || led.network != network || led.workload != self.workload
            });
            document.unled.retain(|unled| {
                let is_there = unled.tenant == tenant && unled.network == network;
                !is_there || unled.workload != self.workload
            });
            return;
        }
        let is_own = |publish: &Publish| {
            publish.tenant == self.attach.tenant.as_str() && publish.workload == self.workload
        };
        document.publishes.retain(|publish| !is_own(publish));
    }
}

fn named(publish: &AttachPublish) -> Result<(Name, Transport), String> {
    let AttachPublish { transport, port, to, address } = publish;
    let known = [Transport::Tcp, Transport::Udp, Transport::Sctp];
    let Some(transport) = known.into_iter().find(|known| known.as_str() == transport) else {
        let shown: String = transport.chars().take(16).collect();
        return Err(format!("`{}` is neither tcp, udp nor sctp", shown.escape_debug()));
    };
    if *port == 0 || *to == 0 {
        return Err("there is no port 0 to publish".to_owned());
    }
    let name = match address {
        None => format!("attached-{port}-{transport}"),
        Some(address) => {
            let mut digest = Digest64::new("published");
            digest.text(&address.to_string());
            format!("attached-{port}-{transport}-{:06x}", digest.finish() >> 40)
        }
    };
    Ok((Name::new(&name).map_err(|error| error.to_string())?, transport))
}

/// Whether two entries want the same port of the same address, or, in one network, where the host's address is no longer known, of any.
fn is_taken(document: &Document, one: &Publish, other: &Publish) -> bool {
    let network = |of: &Publish| {
        let id = format!("{}.{}", of.tenant, of.workload);
        document.workload(&id).map(|workload| workload.network.clone())
    };
    let meets = |one: Option<IpAddr>, other: Option<IpAddr>| {
        one.is_none() || other.is_none() || one == other
    };
    let is_same_version =
        one.address.map(|at| at.is_ipv4()) == other.address.map(|at| at.is_ipv4());
    one.transport == other.transport
        && one.port == other.port
        && (meets(one.address, other.address)
            || (is_same_version && one.tenant == other.tenant && network(one) == network(other)))
}
