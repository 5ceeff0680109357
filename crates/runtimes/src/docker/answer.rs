//! The Engine API's answers, as far as they are read, and what they mean. Every key may be missing or `null`: a missing one is no error
//! until it is needed.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use model::Transport;
use serde::{Deserialize, Deserializer};

use super::{Container, End, Error, Member, Network, Port};

/// Members of one network that are read.
pub(super) const MAX_MEMBERS: usize = 16_384;
/// Containers that are read.
pub(super) const MAX_CONTAINERS: usize = 65_536;
/// Labels of one container that are read.
const MAX_LABELS: usize = 1_024;
/// Ports of one container that are read.
const MAX_PORTS: usize = 4_096;
/// Ends of one container that are read.
const MAX_ENDS: usize = 1_024;
/// Longest name of a link (`IFNAMSIZ` less one), bytes.
const MAX_LINK: usize = 15;
/// Docker's names of things, in hexadecimal digits.
const ID: usize = 64;

/// `null` as if it were not there.
fn or_none<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    from: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(from)?.unwrap_or_default())
}

/// `GET /networks/{id}`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct NetworkAnswer {
    #[serde(deserialize_with = "or_none")]
    name: String,
    #[serde(deserialize_with = "or_none")]
    id: String,
    #[serde(deserialize_with = "or_none")]
    driver: String,
    #[serde(rename = "IPAM", deserialize_with = "or_none")]
    ipam: Ipam,
    #[serde(deserialize_with = "or_none")]
    containers: BTreeMap<String, MemberAnswer>,
    #[serde(deserialize_with = "or_none")]
    options: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Ipam {
    #[serde(deserialize_with = "or_none")]
    config: Vec<IpamConfig>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct IpamConfig {
    #[serde(deserialize_with = "or_none")]
    subnet: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct MemberAnswer {
    #[serde(rename = "Name", deserialize_with = "or_none")]
    name: String,
    #[serde(rename = "EndpointID", deserialize_with = "or_none")]
    endpoint: String,
    #[serde(rename = "MacAddress", deserialize_with = "or_none")]
    mac: String,
    #[serde(rename = "IPv4Address", deserialize_with = "or_none")]
    v4: String,
    #[serde(rename = "IPv6Address", deserialize_with = "or_none")]
    v6: String,
}

/// One of `GET /containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ContainerAnswer {
    #[serde(deserialize_with = "or_none")]
    id: String,
    #[serde(deserialize_with = "or_none")]
    names: Vec<String>,
    #[serde(deserialize_with = "or_none")]
    image: String,
    #[serde(rename = "ImageID", deserialize_with = "or_none")]
    image_id: String,
    #[serde(deserialize_with = "or_none")]
    labels: BTreeMap<String, String>,
    #[serde(deserialize_with = "or_none")]
    ports: Vec<PortAnswer>,
    #[serde(deserialize_with = "or_none")]
    state: String,
    #[serde(deserialize_with = "or_none")]
    network_settings: EndsAnswer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct EndsAnswer {
    #[serde(deserialize_with = "or_none")]
    networks: BTreeMap<String, Option<EndAnswer>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct EndAnswer {
    #[serde(rename = "EndpointID", deserialize_with = "or_none")]
    endpoint: String,
}

/// States in which a container's ports are as they are written down.
const RUNS: [&str; 2] = ["running", "paused"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct PortAnswer {
    #[serde(rename = "IP", deserialize_with = "or_none")]
    address: String,
    #[serde(deserialize_with = "or_none")]
    private_port: u16,
    #[serde(deserialize_with = "or_none")]
    public_port: u16,
    #[serde(rename = "Type", deserialize_with = "or_none")]
    transport: String,
}

/// `GET /containers/{id}/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct InspectAnswer {
    #[serde(deserialize_with = "or_none")]
    id: String,
    #[serde(deserialize_with = "or_none")]
    state: StateAnswer,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct StateAnswer {
    #[serde(deserialize_with = "or_none")]
    running: bool,
    #[serde(deserialize_with = "or_none")]
    pid: i64,
}

impl InspectAnswer {
    /// The first process of the container that was asked for by its full id, if it runs.
    pub(super) fn process(self, id: &str) -> Option<u32> {
        let pid = u32::try_from(self.state.pid).ok().filter(|pid| *pid > 0);
        pid.filter(|_| self.id == id && self.state.running)
    }
}

/// `GET /images/{id}/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ImageAnswer {
    #[serde(deserialize_with = "or_none")]
    config: ImageConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct ImageConfig {
    #[serde(deserialize_with = "or_none")]
    labels: BTreeMap<String, String>,
}

impl ImageAnswer {
    /// What the image labels its containers with.
    pub(super) fn labels(self) -> BTreeMap<String, String> {
        self.config.labels
    }
}

/// Whether it is the id of an image: a digest of its configuration, so that it is always the same one.
pub(super) fn is_image(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(is_id)
}

impl NetworkAnswer {
    /// The network that was asked for by `wanted`: Docker also answers to the beginning of an id.
    pub(super) fn understood(self, wanted: &str) -> Result<Network, Error> {
        if self.name != wanted && self.id != wanted || !is_id(&self.id) {
            return Err(Error::NoNetwork { name: wanted.to_owned() });
        }
        let unfit = |why: String| Error::Unfit { name: wanted.to_owned(), why };
        if self.driver != "bridge" {
            let driver: String =
                self.driver.chars().filter(char::is_ascii_graphic).take(32).collect();
            return Err(unfit(format!(
                "its driver is {driver:?}, only `bridge` has a bridge on this host"
            )));
        }
        let given =
            self.options.get("com.docker.network.bridge.name").filter(|name| !name.is_empty());
        let bridge = given.cloned().or_else(|| Some(format!("br-{}", self.id.get(..12)?)));
        let bridge = bridge.filter(|name| is_link(name));
        let bridge = bridge.ok_or_else(|| unfit("its bridge has no name of a link".to_owned()))?;
        let subnets = subnets(&self.ipam.config).map_err(unfit)?;
        let known = self.containers.len();
        let members: Vec<Member> =
            self.containers.into_iter().filter_map(member).take(MAX_MEMBERS).collect();
        let left_out = known - members.len();
        Ok(Network { id: self.id, name: self.name, bridge, subnets, members, left_out })
    }
}

impl NetworkAnswer {
    /// The ends of the network that was asked for by its full id, whatever drives it.
    pub(super) fn ends(self, id: &str) -> Result<Vec<End>, Error> {
        if self.id != id || !is_id(id) {
            return Err(Error::NoNetwork { name: id.to_owned() });
        }
        let end = |(key, answer): (String, MemberAnswer)| {
            let (endpoint, name) = (answer.endpoint, answer.name);
            let container = is_id(&key).then_some(key);
            is_id(&endpoint).then_some(End { endpoint, container, name })
        };
        Ok(self.containers.into_iter().filter_map(end).take(MAX_MEMBERS).collect())
    }
}

fn subnets(configs: &[IpamConfig]) -> Result<Vec<IpNet>, String> {
    let mut found: Vec<IpNet> = Vec::new();
    for config in configs.iter().take(MAX_LINK) {
        let Ok(net) = config.subnet.parse::<IpNet>() else { continue };
        let is_v4 = |net: &IpNet| matches!(net, IpNet::V4(_));
        if found.iter().any(|known| is_v4(known) == is_v4(&net)) {
            return Err("it has two subnets of one family".to_owned());
        }
        found.push(net.trunc());
    }
    if found.is_empty() { Err("it has no subnet".to_owned()) } else { Ok(found) }
}

fn member((container, answer): (String, MemberAnswer)) -> Option<Member> {
    // A name that begins with `ep-` is an end without a container.
    if !is_id(&container) || !is_id(&answer.endpoint) {
        return None;
    }
    let mac = mac(&answer.mac)?;
    let addresses = [answer.v4, answer.v6].into_iter().filter_map(|text| address(&text)).collect();
    Some(Member { container, endpoint: answer.endpoint, mac, addresses })
}

/// `172.18.0.2/16`, or without the length.
fn address(text: &str) -> Option<IpAddr> {
    let address: IpAddr = text.split('/').next()?.parse().ok()?;
    let is_one = !address.is_unspecified() && !address.is_multicast() && !address.is_loopback();
    is_one.then_some(address)
}

/// Six octets of a link address of one interface, not of a group.
fn mac(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for octet in &mut mac {
        let part = parts.next().filter(|part| part.len() == 2 && !part.starts_with('+'))?;
        *octet = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none() && mac != [0; 6] && mac[0] & 1 == 0).then_some(mac)
}

impl ContainerAnswer {
    /// The container; `None` when it has no id.
    pub(super) fn understood(self) -> Option<Container> {
        let name = self.names.iter().find_map(|name| own_name(name)).unwrap_or_default().to_owned();
        let labels = self.labels.into_iter().take(MAX_LABELS).collect();
        let mut ports: Vec<Port> = self.ports.iter().filter_map(port).take(MAX_PORTS).collect();
        ports.sort_unstable();
        ports.dedup();
        let runs = RUNS.contains(&self.state.as_str());
        let ends = self.network_settings.networks.into_values().flatten().map(|end| end.endpoint);
        let settled = ends.filter(|end| runs && is_id(end)).take(MAX_ENDS).collect();
        is_id(&self.id).then_some(Container {
            id: self.id,
            name,
            image: self.image,
            image_id: self.image_id,
            labels,
            image_labels: Vec::new(),
            ports,
            settled,
        })
    }
}

/// A container's own name begins with the only slash; others are links to it.
fn own_name(name: &str) -> Option<&str> {
    let name = name.strip_prefix('/')?;
    (!name.contains('/')).then_some(name)
}

fn port(answer: &PortAnswer) -> Option<Port> {
    let transport = match answer.transport.as_str() {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        "sctp" => Transport::Sctp,
        _ => return None,
    };
    // What is not opened on the host has no public port.
    let address = match answer.address.as_str() {
        "" => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        text => text.parse().ok()?,
    };
    let is_open = answer.public_port != 0 && answer.private_port != 0;
    is_open.then_some(Port {
        transport,
        address,
        public: answer.public_port,
        private: answer.private_port,
    })
}

/// Whether it is a name that Docker, or Podman, gives to a thing.
pub(crate) fn is_id(text: &str) -> bool {
    text.len() == ID && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Whether the kernel would take it as the name of a link (`dev_valid_name` in `net/core/dev.c`).
fn is_link(name: &str) -> bool {
    let is_fine = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
    (1..=MAX_LINK).contains(&name.len()) && name.bytes().all(is_fine) && name != "." && name != ".."
}
