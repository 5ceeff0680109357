//! `netavark-bulkhead`: a driver for Podman's netavark, plugin API 1.0.0.
//!
//! `podman network create -d netavark-bulkhead -o tenant=shop -o network=pods NAME` names a network of the file in force;
//! containers of that Podman network join it. See <https://github.com/containers/netavark/blob/main/plugin-API.md>.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::IpAddr;
use std::path::Path;

use api::{Attach, AttachPort, Attached, Error};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{attaching, names};

/// Version of the protocol.
const API: &str = "1.0.0";
/// Longest id of a container, and longest path of a namespace, in bytes.
const CONTAINER: usize = 128;
const PATH: usize = 4_096;
/// Longest name of a network, in bytes.
const NETWORK: usize = 64;
/// Options of a network.
const OPTIONS: [&str; 4] = ["tenant", "network", "segment", "labels"];

/// What a container is set up with.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Setup {
    container_id: String,
    #[serde(default)]
    container_name: String,
    #[serde(default)]
    port_mappings: Option<Vec<Value>>,
    network: Network,
    network_options: PerNetwork,
}

/// A network as Podman keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Network {
    name: String,
    #[serde(default, deserialize_with = "or_none")]
    options: BTreeMap<String, String>,
}

/// Options that are absent or `null` are none.
fn or_none<'d, D: serde::Deserializer<'d>>(input: D) -> Result<BTreeMap<String, String>, D::Error> {
    Option::deserialize(input).map(Option::unwrap_or_default)
}

/// What a container wants of a network.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct PerNetwork {
    interface_name: String,
    #[serde(default)]
    static_ips: Option<Vec<IpAddr>>,
    #[serde(default)]
    static_mac: Option<String>,
}

/// Serves one call: `arguments` are those behind the program's name, `socket` is the agent's. Returns
/// the exit code.
pub fn run(arguments: &[String], socket: &Path, input: impl Read, mut output: impl Write) -> u8 {
    let (answer, code) = match answer(arguments, socket, input) {
        Ok(answer) => (answer, 0),
        Err(why) => (Some(json!({ "error": why })), 1),
    };
    // A runtime that does not listen has its answer in the exit code.
    let _deaf = answer.map(|answer| writeln!(output, "{answer}"));
    code
}

fn answer(arguments: &[String], socket: &Path, input: impl Read) -> Result<Option<Value>, String> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let message = || crate::read(input).ok_or("the message cannot be read or is larger than 1 MiB");
    match words.as_slice() {
        ["info"] => Ok(Some(json!({ "version": env!("CARGO_PKG_VERSION"), "api_version": API }))),
        ["create"] => created(&message()?).map(Some),
        ["setup", netns] => {
            let setup = understood(&message()?)?;
            let attached = attaching::attach(socket, &attach(&setup, netns)?);
            attached.map(|attached| Some(status(&attached))).map_err(|error| words_of(&error))
        }
        ["teardown", _] => {
            let setup = understood(&message()?)?;
            attaching::detach(socket, &key(&setup)).map_err(|error| words_of(&error))?;
            Ok(None)
        }
        _ => Err("netavark calls: create, setup NETNS, teardown NETNS or info".to_owned()),
    }
}

fn words_of(error: &Error) -> String {
    let cause = error.cause.iter().map(|cause| format!("; cause: {cause}"));
    let hint = error.hint.iter().map(|hint| format!("; hint: {hint}"));
    let below: String = cause.chain(hint).collect();
    format!("{} ({}){below}", error.message, error.code)
}

/// A network that is made: its options are looked at, and what Podman would make itself is refused.
fn created(bytes: &[u8]) -> Result<Value, String> {
    let mut network: Map<String, Value> = serde_json::from_slice(bytes)
        .map_err(|error| format!("the network is not understood: {error}"))?;
    let known = Network::deserialize(Value::Object(network.clone()));
    let known = known.map_err(|error| format!("the network is not understood: {error}"))?;
    place(&known)?;
    let given = |field: &str| {
        network.get(field).and_then(Value::as_array).is_some_and(|all| !all.is_empty())
    };
    if given("subnets") {
        return Err("the subnets are those of the file in force: leave --subnet out".to_owned());
    }
    network.insert("ipam_options".to_owned(), json!({ "driver": "bulkhead" }));
    network.insert("dns_enabled".to_owned(), false.into());
    Ok(Value::Object(network))
}

/// Where containers of a network join, and with which labels.
struct Place<'n> {
    tenant: &'n str,
    network: &'n str,
    segment: Option<&'n str>,
    labels: BTreeMap<String, String>,
}

/// What the options name.
fn place(network: &Network) -> Result<Place<'_>, String> {
    if !names::is_id(&network.name, NETWORK) {
        return Err("the network's name is not 1 to 64 of a-z, A-Z, 0-9, _, . and -".to_owned());
    }
    let options = &network.options;
    if let Some(other) = options.keys().find(|key| !OPTIONS.contains(&key.as_str())) {
        let shown: String = other.chars().take(40).collect();
        return Err(format!("there is no option {shown:?}; there are {}", OPTIONS.join(", ")));
    }
    let option = |name: &str| {
        let found = options.get(name).map(String::as_str).filter(|value| !value.is_empty());
        found.ok_or_else(|| {
            format!("the option `{name}` is missing: -o {name}=NAME, as in the file in force")
        })
    };
    let labels = names::labels(options.get("labels").map_or("", String::as_str))?;
    let (tenant, segment) = (option("tenant")?, option("segment").ok());
    Ok(Place { tenant, network: option("network")?, segment, labels })
}

fn understood(bytes: &[u8]) -> Result<Setup, String> {
    let setup: Setup = serde_json::from_slice(bytes)
        .map_err(|error| format!("the message is not understood: {error}"))?;
    if !names::is_id(&setup.container_id, CONTAINER) {
        return Err(
            "the container's id has other characters than letters, digits, _, . and -".to_owned()
        );
    }
    // Parts of the key, which no other network or container can have.
    let interface = setup.network_options.interface_name.as_str();
    let is_fine = |byte: u8| byte.is_ascii_graphic() && byte != b'/';
    if !names::is_id(&setup.network.name, NETWORK)
        || !(1..=15).contains(&interface.len())
        || !interface.bytes().all(is_fine)
    {
        return Err("the network or its interface has another name than Podman gives".to_owned());
    }
    Ok(setup)
}

fn key(setup: &Setup) -> String {
    let (network, options) = (&setup.network.name, &setup.network_options);
    format!("netavark/{network}/{}/{}", setup.container_id, options.interface_name)
}

fn attach(setup: &Setup, netns: &str) -> Result<Attach, String> {
    if !netns.starts_with('/') || netns.len() > PATH || netns.contains('\0') {
        return Err("the namespace is no absolute path".to_owned());
    }
    let Place { tenant, network, segment, labels } = place(&setup.network)?;
    let options = &setup.network_options;
    if setup.port_mappings.as_ref().is_some_and(|ports| !ports.is_empty()) {
        return Err(
            "ports are published in Bulkhead's file (`publish:`): leave --publish out".to_owned()
        );
    }
    if options.static_mac.as_ref().is_some_and(|mac| !mac.is_empty()) {
        return Err("the MAC address is the endpoint's own: leave --mac-address out".to_owned());
    }
    let name =
        if setup.container_name.is_empty() { &setup.container_id } else { &setup.container_name };
    Ok(Attach {
        key: key(setup),
        tenant: tenant.to_owned(),
        network: network.to_owned(),
        segment: segment.map(str::to_owned),
        name: Some(names::workload(name)),
        labels,
        addresses: options.static_ips.clone().unwrap_or_default(),
        port: AttachPort::Netns {
            path: netns.to_owned(),
            interface: options.interface_name.clone(),
        },
        publish: Vec::new(),
        publish_pending: false,
    })
}

/// What Podman keeps of a container's interface.
fn status(attached: &Attached) -> Value {
    let subnets = attached.addresses.iter().map(|at| {
        json!({
            "ipnet": format!("{}/{}", at.address, at.prefix),
            "gateway": at.gateway.map(|gateway| gateway.to_string()),
        })
    });
    let subnets: Vec<Value> = subnets.collect();
    let interface = json!({ "mac_address": attached.mac, "subnets": subnets });
    let interfaces: Map<String, Value> =
        [(attached.interface.clone(), interface)].into_iter().collect();
    json!({
        "dns_search_domains": [],
        "dns_server_ips": [],
        "interfaces": interfaces,
    })
}

#[cfg(test)]
mod tests;
