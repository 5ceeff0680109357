//! What dockerd says to a network and address driver, and what it wants to hear (libnetwork's `docs/remote.md` and `docs/ipam.md`).
//!
//! Only the words: what they mean is up to the agent. Everything here comes from a program that may be wrong or somebody else, so
//! ids, addresses and options are checked where they are read.

use std::collections::BTreeMap;
use std::net::IpAddr;

use ipnet::IpNet;
use model::Transport;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Most bytes of a message.
pub const MAX_MESSAGE: usize = 256 << 10;
/// Most ports that one container may publish.
pub const MAX_PORTS: usize = 256;
/// Where options of `docker network create -o` are.
const GENERIC: &str = "com.docker.network.generic";
/// `docker network create --internal`.
const INTERNAL: &str = "com.docker.network.internal";
/// `docker run -p`.
const PORTS: &str = "com.docker.network.portmap";
/// What an address is for.
const PURPOSE: &str = "RequestAddressType";
/// It is for the gateway.
const GATEWAY: &str = "com.docker.network.gateway";
/// Digits of an id of Docker's.
const ID: usize = 64;
/// Longest text of an option that is shown.
const SHOWN: usize = 64;

/// What is wrong with a message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Wrong {
    /// It is not JSON of the right form.
    #[error("the message is not what this call is made with: {0}")]
    Form(String),
    /// An id is none.
    #[error("{0:?} is no id of Docker's: 64 digits of 0-9 and a-f")]
    Id(String),
    /// An address is none.
    #[error("{0:?} is no address")]
    Address(String),
    /// A published port cannot be had.
    #[error("{0}")]
    Port(String),
}

/// A name that Docker made: 64 hexadecimal digits, and nothing that could be a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(String);

impl Id {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as Docker shows it to people.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl TryFrom<String> for Id {
    type Error = Wrong;

    fn try_from(text: String) -> Result<Self, Wrong> {
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == ID && text.bytes().all(is_digit) {
            return Ok(Self(text));
        }
        Err(Wrong::Id(text.chars().take(SHOWN).collect()))
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0
    }
}

/// Reads a message. An empty one is one without fields.
///
/// # Errors
/// [`Wrong::Form`] with what is wrong with it.
pub fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Wrong> {
    let bytes = bytes.trim_ascii();
    let bytes = if bytes.is_empty() || bytes == b"null" { b"{}" } else { bytes };
    // A list would be taken for the fields in their order.
    if bytes.first() != Some(&b'{') {
        return Err(Wrong::Form("it is no JSON object".to_owned()));
    }
    serde_json::from_slice(bytes).map_err(|error| Wrong::Form(error.to_string()))
}

/// `null` as if it were not there.
fn or_none<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// `NetworkDriver.CreateNetwork`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateNetwork {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network: Id,
    #[serde(default, deserialize_with = "or_none")]
    options: Map<String, Value>,
    #[serde(default, rename = "IPv4Data", deserialize_with = "or_none")]
    v4: Vec<PoolData>,
    #[serde(default, rename = "IPv6Data", deserialize_with = "or_none")]
    v6: Vec<PoolData>,
}

/// A pool of a network that is created.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct PoolData {
    /// `10.0.1.0/24`.
    #[serde(deserialize_with = "or_none")]
    pub pool: String,
    /// `10.0.1.1/24`.
    #[serde(deserialize_with = "or_none")]
    pub gateway: String,
}

impl CreateNetwork {
    /// An option of `docker network create -o`.
    #[must_use]
    pub fn option(&self, name: &str) -> Option<&str> {
        self.options.get(GENERIC)?.get(name)?.as_str()
    }

    /// Names of options that begin with `prefix`.
    pub fn options<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        let all = self.options.get(GENERIC).and_then(Value::as_object);
        all.into_iter()
            .flat_map(Map::keys)
            .map(String::as_str)
            .filter(move |name| name.starts_with(prefix))
    }

    /// `--internal`.
    #[must_use]
    pub fn is_internal(&self) -> bool {
        match self.options.get(INTERNAL) {
            Some(Value::Bool(is)) => *is,
            Some(Value::String(text)) => text == "true",
            _ => false,
        }
    }

    /// Pools with their gateways, IPv4 first.
    pub fn pools(&self) -> impl Iterator<Item = &PoolData> {
        self.v4.iter().chain(&self.v6)
    }
}

/// A message about one network: `DeleteNetwork`.
#[derive(Debug, Clone, Deserialize)]
pub struct OneNetwork {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network: Id,
}

/// A message about one endpoint: `Join`, `EndpointOperInfo`, `DeleteEndpoint`, `Leave`, `RevokeExternalConnectivity`.
#[derive(Debug, Clone, Deserialize)]
pub struct OneEndpoint {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network: Id,
    /// The endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint: Id,
}

/// `NetworkDriver.CreateEndpoint`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CreateEndpoint {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network: Id,
    /// The endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint: Id,
    #[serde(default, deserialize_with = "or_none")]
    interface: Interface,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Interface {
    #[serde(deserialize_with = "or_none")]
    address: String,
    #[serde(rename = "AddressIPv6", deserialize_with = "or_none")]
    address_v6: String,
    #[serde(deserialize_with = "or_none")]
    mac_address: String,
}

impl CreateEndpoint {
    /// Its addresses with the length of their prefix, IPv4 first.
    ///
    /// # Errors
    /// [`Wrong::Address`].
    pub fn addresses(&self) -> Result<Vec<IpNet>, Wrong> {
        let both = [&self.interface.address, &self.interface.address_v6];
        let given = both.into_iter().filter(|text| !text.is_empty());
        given.map(|text| text.parse().map_err(|_| Wrong::Address(shown(text)))).collect()
    }

    /// The MAC that somebody wants it to have.
    #[must_use]
    pub fn mac(&self) -> Option<&str> {
        Some(self.interface.mac_address.as_str()).filter(|mac| !mac.is_empty())
    }
}

/// `NetworkDriver.ProgramExternalConnectivity`.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct External {
    /// The network.
    #[serde(rename = "NetworkID")]
    pub network: Id,
    /// The endpoint.
    #[serde(rename = "EndpointID")]
    pub endpoint: Id,
    #[serde(default, deserialize_with = "or_none")]
    options: Map<String, Value>,
}

/// A port of the host that is to lead to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Published {
    /// Protocol.
    pub transport: Transport,
    /// The host's address; `None` for all.
    pub address: Option<IpAddr>,
    /// The host's port.
    pub public: u16,
    /// The container's port.
    pub private: u16,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Binding {
    proto: u8,
    port: u16,
    #[serde(default, rename = "HostIP", deserialize_with = "or_none")]
    host_ip: String,
    #[serde(default)]
    host_port: u16,
    #[serde(default)]
    host_port_end: u16,
}

impl External {
    /// What `docker run -p` asks for.
    ///
    /// # Errors
    /// [`Wrong::Form`], [`Wrong::Address`], and [`Wrong::Port`] for what cannot be had.
    pub fn ports(&self) -> Result<Vec<Published>, Wrong> {
        let all = match self.options.get(PORTS) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(all)) => all,
            Some(_) => return Err(Wrong::Form(format!("{PORTS} is no list"))),
        };
        if all.len() > MAX_PORTS {
            let text =
                format!("a container publishes at most {MAX_PORTS} ports here, not {}", all.len());
            return Err(Wrong::Port(text));
        }
        let mut ports = Vec::new();
        for each in all {
            let binding = Binding::deserialize(each);
            ports.push(published(&binding.map_err(|error| Wrong::Form(error.to_string()))?)?);
        }
        ports.sort_unstable();
        ports.dedup();
        Ok(ports)
    }
}

fn published(binding: &Binding) -> Result<Published, Wrong> {
    let (name, transport) = match binding.proto {
        6 => ("tcp", Transport::Tcp),
        17 => ("udp", Transport::Udp),
        132 => ("sctp", Transport::Sctp),
        other => return Err(Wrong::Port(format!("protocol {other} has no ports to publish"))),
    };
    let (public, private) = (binding.host_port, binding.port);
    if public == 0 || private == 0 {
        let text = format!(
            "port {private}/{name} is published without a port of the host: write -p PORT:{private}; -P and -p {private} are not supported, \
             because dockerd does not ask a driver which port it took"
        );
        return Err(Wrong::Port(text));
    }
    if binding.host_port_end != 0 && binding.host_port_end != public {
        let text = format!(
            "port {private}/{name} is published on one of {public} to {}: name one, -p {public}:{private}",
            binding.host_port_end
        );
        return Err(Wrong::Port(text));
    }
    let address = match binding.host_ip.as_str() {
        "" => None,
        text => Some(text.parse::<IpAddr>().map_err(|_| Wrong::Address(shown(text)))?),
    };
    let address = address.filter(|address| !address.is_unspecified());
    Ok(Published { transport, address, public, private })
}

/// `IpamDriver.RequestPool`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RequestPool {
    /// The subnet that is wished for, or nothing.
    #[serde(deserialize_with = "or_none")]
    pub pool: String,
    /// `--ip-range`.
    #[serde(deserialize_with = "or_none")]
    pub sub_pool: String,
    /// Options of `--ipam-opt`.
    #[serde(deserialize_with = "or_none")]
    pub options: BTreeMap<String, String>,
    /// Whether it is to be one of IPv6.
    pub v6: bool,
}

/// `IpamDriver.ReleasePool`.
#[derive(Debug, Clone, Deserialize)]
pub struct ReleasePool {
    /// The pool.
    #[serde(rename = "PoolID")]
    pub pool: String,
}

/// `IpamDriver.RequestAddress` and `IpamDriver.ReleaseAddress`.
#[derive(Debug, Clone, Deserialize)]
pub struct PoolAddress {
    /// The pool.
    #[serde(rename = "PoolID")]
    pub pool: String,
    #[serde(default, rename = "Address", deserialize_with = "or_none")]
    address: String,
    #[serde(default, rename = "Options", deserialize_with = "or_none")]
    options: BTreeMap<String, String>,
}

impl PoolAddress {
    /// The address that is meant; `None` for any.
    ///
    /// # Errors
    /// [`Wrong::Address`].
    pub fn address(&self) -> Result<Option<IpAddr>, Wrong> {
        match self.address.as_str() {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| Wrong::Address(shown(text))),
        }
    }

    /// Whether it is for the gateway.
    #[must_use]
    pub fn is_for_gateway(&self) -> bool {
        self.options.get(PURPOSE).is_some_and(|purpose| purpose == GATEWAY)
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// Answer of `Plugin.Activate`.
#[must_use]
pub fn activated() -> Value {
    serde_json::json!({ "Implements": ["NetworkDriver", "IpamDriver"] })
}

/// Answer of `NetworkDriver.GetCapabilities`: networks of this host only.
#[must_use]
pub fn network_capabilities() -> Value {
    serde_json::json!({ "Scope": "local", "ConnectivityScope": "local" })
}

/// Answer of `IpamDriver.GetCapabilities`: what was given is remembered here.
#[must_use]
pub fn address_capabilities() -> Value {
    serde_json::json!({ "RequiresMACAddress": false, "RequiresRequestReplay": false })
}

/// Answer of `IpamDriver.GetDefaultAddressSpaces`.
#[must_use]
pub fn address_spaces() -> Value {
    serde_json::json!({
        "LocalDefaultAddressSpace": "bulkhead-local",
        "GlobalDefaultAddressSpace": "bulkhead-global",
    })
}

/// Answer of `IpamDriver.RequestPool`.
#[must_use]
pub fn pool(id: &str, subnet: IpNet, gateway: IpNet) -> Value {
    serde_json::json!({ "PoolID": id, "Pool": subnet.to_string(), "Data": { GATEWAY: gateway.to_string() } })
}

/// Answer of `IpamDriver.RequestAddress`.
#[must_use]
pub fn address(address: IpNet) -> Value {
    serde_json::json!({ "Address": address.to_string(), "Data": {} })
}

/// Answer of `NetworkDriver.Join`: this interface of the host is moved into the container and called `eth` and a number there.
#[must_use]
pub fn joined(interface: &str, gateways: [Option<IpAddr>; 2]) -> Value {
    let [v4, v6] = gateways.map(|gateway| gateway.map(|gateway| gateway.to_string()));
    serde_json::json!({
        "InterfaceName": { "SrcName": interface, "DstPrefix": "eth" },
        "Gateway": v4.unwrap_or_default(),
        "GatewayIPv6": v6.unwrap_or_default(),
        // Otherwise a container without an IPv4 gateway is given one of Docker's own.
        "DisableGatewayService": true,
    })
}

/// A refusal, as dockerd shows it to people.
#[must_use]
pub fn refusal(why: &str) -> Value {
    serde_json::json!({ "Err": why })
}

#[cfg(test)]
mod tests;
