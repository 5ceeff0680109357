//! `bulkhead libvirt-hook`: libvirt's hook for QEMU, which attaches a virtual machine's TAPs before its processor starts.
//!
//! libvirt calls it with the domain's name, an operation and a part of it, and with the domain's description on standard
//! input (<https://libvirt.org/hooks.html>). At `start begin` the TAPs are made and on their bridges, and QEMU is not
//! running yet: what is attached then is judged from the guest's first packet. Who a machine is, its description says, in
//! metadata of ours; a machine without it is none of our business.
//!
//! **Failure.** A machine that cannot be attached does not start: libvirt gives up when this hook fails.
//! **Limits.** A description of [`crate::MAX_INPUT`] bytes and [`NODES`] elements, without a document type; [`PORTS`] interfaces.

use std::collections::BTreeMap;
use std::io::Read;
use std::net::IpAddr;
use std::path::Path;

use api::{Attach, AttachPort, Error, codes};
use roxmltree::{Document, Node, ParsingOptions};

use crate::{attaching, names};

/// The name space of the metadata.
pub const NAMESPACE: &str = "urn:bulkhead:domain:1";
/// Elements of a description.
pub const NODES: u32 = 50_000;
/// Interfaces of a machine that are attached.
pub const PORTS: usize = 32;
/// Labels that every machine has, beside its own.
const DOMAIN: &str = "libvirt/domain";

/// Does what libvirt's call asks for: `arguments` are its own, `input` has the description.
///
/// # Errors
/// `BH0204` when the call or the description is not understood, and what the agent refuses.
pub fn run(socket: &Path, arguments: &[String], input: impl Read) -> Result<(), Error> {
    let [domain, operation, part, ..] = arguments else {
        return Err(wrong("a domain, an operation and its part are missing"));
    };
    let attaches = match (operation.as_str(), part.as_str()) {
        ("start" | "started" | "reconnect", "begin") => true,
        ("stopped" | "release", "end") => false,
        _ => return Ok(()),
    };
    let bytes = crate::read(input);
    let bytes = bytes.ok_or_else(|| wrong("it cannot be read or is larger than 1 MiB"))?;
    let text = str::from_utf8(&bytes).map_err(|error| wrong(&error.to_string()))?;
    for attach in machine(domain, text, attaches)? {
        if attaches {
            attaching::attach(socket, &attach)?;
        } else {
            attaching::detach(socket, &attach.key)?;
        }
    }
    Ok(())
}

fn wrong(why: &str) -> Error {
    let mut error = Error::new(codes::BAD_REQUEST, "the virtual machine is not understood");
    error.cause = Some(why.to_owned());
    error.with_hint("the hook is called by libvirt: /etc/libvirt/hooks/qemu.d/bulkhead")
}

/// What is to be attached or detached of a machine; nothing without metadata of ours.
fn machine(domain: &str, text: &str, attaches: bool) -> Result<Vec<Attach>, Error> {
    let options =
        ParsingOptions { allow_dtd: false, nodes_limit: NODES, ..ParsingOptions::default() };
    let document = Document::parse_with_options(text, options);
    let document = document.map_err(|error| wrong(&error.to_string()))?;
    let root = document.root_element();
    let ours = child(root, "metadata").and_then(|metadata| {
        metadata.children().find(|node| node.has_tag_name((NAMESPACE, "workload")))
    });
    let Some(ours) = ours else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let devices = child(root, "devices").into_iter().flat_map(|devices| devices.children());
    let interfaces = devices.filter(|node| node.has_tag_name("interface"));
    let mut taps = Vec::new();
    for interface in interfaces {
        let mac = child(interface, "mac").and_then(|mac| mac.attribute("address"));
        let tap = child(interface, "target").and_then(|target| target.attribute("dev"));
        // One that has ended has no TAP any more.
        if let Some((mac, tap)) = mac.zip(tap.or((!attaches).then_some(""))) {
            taps.push((mac.to_ascii_lowercase(), tap));
        }
    }
    let ports: Vec<Node<'_, '_>> =
        ours.children().filter(|node| node.has_tag_name((NAMESPACE, "port"))).collect();
    if ports.len() > PORTS {
        return Err(wrong(&format!("its metadata has more than {PORTS} ports")));
    }
    for port in ports {
        let mac = port.attribute("mac").map(str::to_ascii_lowercase);
        let tap = match (&mac, taps.as_slice()) {
            (Some(mac), taps) => taps.iter().find(|(other, _)| other == mac),
            (None, [only]) => Some(only),
            (None, _) => {
                return Err(wrong(
                    "a port of its metadata has no `mac`, and it has not one interface",
                ));
            }
        };
        let Some((mac, tap)) = tap else {
            let message = format!("it has no TAP with the MAC address {}", mac.unwrap_or_default());
            return Err(wrong(&message));
        };
        found.push(attach(domain, (ours, port), mac, tap)?);
    }
    Ok(found)
}

fn attach(
    domain: &str,
    (ours, port): (Node<'_, '_>, Node<'_, '_>),
    mac: &str,
    tap: &str,
) -> Result<Attach, Error> {
    let network = port.attribute("network").or_else(|| ours.attribute("network"));
    let network = network.ok_or_else(|| wrong("its metadata names no network"))?;
    let (tenant, network) = network
        .split_once('/')
        .ok_or_else(|| wrong("its metadata names no network as TENANT/NETWORK"))?;
    let mut labels = BTreeMap::new();
    for text in [ours.attribute("labels"), port.attribute("labels")].into_iter().flatten() {
        labels.extend(names::claimed(text).map_err(|why| wrong(&format!("labels: {why}")))?);
    }
    labels.insert(DOMAIN.to_owned(), names::value(domain));
    let addresses = port.attribute("address").unwrap_or_default();
    let addresses: Result<Vec<IpAddr>, _> = addresses.split_whitespace().map(str::parse).collect();
    let name = port.attribute("name").or_else(|| ours.attribute("name")).unwrap_or(domain);
    Ok(Attach {
        key: format!("libvirt/{}/{mac}", names::workload(domain)),
        tenant: tenant.to_owned(),
        network: network.to_owned(),
        segment: None,
        name: Some(names::workload(name)),
        labels,
        addresses: addresses.map_err(|_| wrong("`address` of its metadata holds no addresses"))?,
        port: AttachPort::InPlace {
            interface: tap.to_owned(),
            mac: mac.to_owned(),
            dhcp: port.attribute("dhcp") == Some("true"),
        },
        publish: Vec::new(),
        publish_pending: false,
    })
}

fn child<'a, 'i>(of: Node<'a, 'i>, name: &str) -> Option<Node<'a, 'i>> {
    of.children().find(|node| node.has_tag_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: &str = r"<domain type='kvm' id='3'><name>Web 1</name>
  <metadata><b:workload xmlns:b='urn:bulkhead:domain:1' network='shop/lan' labels='app=web,libvirt/domain=lie'>
    <b:port mac='52:54:00:AA:00:01' address='192.168.122.10 fd00::10' dhcp='true' labels='tier=front'/></b:workload></metadata>
  <devices><disk type='file'/><interface type='network'><mac address='52:54:00:aa:00:01'/>
    <source network='default' bridge='virbr0'/><target dev='vnet4'/></interface></devices></domain>";

    #[test]
    fn a_machine_is_who_its_metadata_says() {
        let found = machine("Web 1", MACHINE, true).expect("understood");
        let [attach] = found.as_slice() else { panic!("{found:?}") };
        assert!(
            attach.key.starts_with("libvirt/web-1-") && attach.key.ends_with("/52:54:00:aa:00:01")
        );
        assert_eq!((attach.tenant.as_str(), attach.network.as_str()), ("shop", "lan"));
        assert_eq!(
            (attach.labels["app"].as_str(), attach.labels["tier"].as_str()),
            ("web", "front")
        );
        assert_ne!(
            attach.labels[DOMAIN], "lie",
            "whose machine it is, is not the metadata's to say"
        );
        assert_eq!(attach.addresses.len(), 2);
        let (interface, mac) = ("vnet4".to_owned(), "52:54:00:aa:00:01".to_owned());
        assert_eq!(attach.port, AttachPort::InPlace { interface, mac, dhcp: true });
    }

    #[test]
    fn a_machine_without_our_metadata_is_left_alone() {
        let other = MACHINE.replace(NAMESPACE, "urn:other");
        assert_eq!(machine("x", &other, true), Ok(Vec::new()));
        let ended = MACHINE.replace("<target dev='vnet4'/>", "");
        assert_eq!(machine("Web 1", &ended, false).expect("understood").len(), 1, "it has ended");
        assert_eq!(machine("x", "<domain/>", true), Ok(Vec::new()));
        let plain = ["a", "prepare", "begin", "-"].map(str::to_owned);
        let nobody = Path::new("/nonexistent");
        assert_eq!(run(nobody, &plain, "not read".as_bytes()), Ok(()), "another operation");
    }

    #[test]
    fn what_cannot_be_attached_does_not_start() {
        for (from, to) in [
            ("52:54:00:AA:00:01", "52:54:00:aa:00:02"),
            ("<target dev='vnet4'/>", ""),
            ("shop/lan", "lan"),
            (" network='shop/lan'", ""),
            ("192.168.122.10", "nobody"),
            ("app=web", "app"),
            ("</domain>", ""),
            ("<domain ", "<!DOCTYPE x [<!ENTITY a 'b'>]><domain "),
        ] {
            let text = MACHINE.replace(from, to);
            assert_ne!(text, MACHINE);
            assert_eq!(
                machine("x", &text, true).expect_err(from).code,
                codes::BAD_REQUEST,
                "{from}"
            );
        }
        let call = ["x", "start"].map(str::to_owned);
        assert!(run(Path::new("/nonexistent"), &call, MACHINE.as_bytes()).is_err());
    }
}
