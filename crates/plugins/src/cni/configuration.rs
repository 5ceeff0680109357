//! A network's configuration as the runtime passes it on standard input.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::error::Failure;

/// Interfaces, addresses and attachments of one message that are read.
const MANY: usize = 4_096;

/// Ours of the configuration, and what the specification has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Configuration {
    /// Version of the specification.
    #[serde(default)]
    cni_version: String,
    /// The name of the network in the runtime.
    #[serde(default)]
    pub name: String,
    /// A tenant of the file in force.
    #[serde(default)]
    pub tenant: String,
    /// A network of the tenant.
    #[serde(default)]
    pub network: String,
    /// A segment of the network.
    #[serde(default)]
    pub segment: Option<String>,
    /// Labels of every workload that comes this way.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// The agent's run folder.
    #[serde(default)]
    pub run_dir: Option<String>,
    /// What the runtime knows of this container.
    #[serde(default)]
    pub runtime_config: RuntimeConfig,
    /// What the plugin before this one answered, as it came: it is passed on.
    #[serde(default, rename = "prevResult")]
    pub prev_result_text: Option<serde_json::Value>,
    /// What of that matters here.
    #[serde(skip)]
    pub prev_result: Option<PrevResult>,
    /// GC: attachments that are not to be ended.
    #[serde(default, rename = "cni.dev/valid-attachments")]
    pub valid: Option<Vec<Valid>>,
}

/// What the runtime knows of a container, where the configuration asks for it by `capabilities`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct RuntimeConfig {
    /// Annotations of a pod.
    #[serde(default, rename = "io.kubernetes.cri.pod-annotations")]
    pub annotations: BTreeMap<String, String>,
    /// Addresses that it is to have, with or without a prefix length.
    #[serde(default)]
    pub ips: Vec<String>,
    /// Ports to publish, see [`super::ports`].
    #[serde(default, rename = "portMappings")]
    pub ports: Vec<serde_json::Value>,
}

/// What the plugin before this one answered.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
pub struct PrevResult {
    /// Interfaces, on the host and in the container.
    #[serde(default)]
    pub interfaces: Vec<Interface>,
    /// Addresses.
    #[serde(default)]
    pub ips: Vec<Ip>,
}

/// An interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its MAC address.
    #[serde(default)]
    pub mac: String,
    /// The namespace that it is in; empty on the host.
    #[serde(default)]
    pub sandbox: String,
}

/// An address of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ip {
    /// With its prefix length.
    pub address: String,
}

/// An attachment that is to stay.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Valid {
    /// The container.
    #[serde(rename = "containerID")]
    pub container: String,
    /// The interface inside.
    pub ifname: String,
}

/// The version that a message names, as far as it can be read.
pub(super) fn version(bytes: &[u8]) -> String {
    #[derive(Deserialize)]
    struct Head {
        #[serde(default, rename = "cniVersion")]
        version: String,
    }
    serde_json::from_slice::<Head>(bytes).map(|head| head.version).unwrap_or_default()
}

impl Configuration {
    /// Understands a message.
    ///
    /// # Errors
    /// Number 6 when it is no configuration, 1 when it is of another version, 7 when there is too much of something.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Failure> {
        // A list would be taken for the fields in their order.
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Err(Failure::decode("the configuration is no JSON object"));
        }
        let wrong = |what: &str, error: &serde_json::Error| {
            Failure::decode(format!("{what} is not understood: {error}"))
        };
        let mut parsed: Self =
            serde_json::from_slice(bytes).map_err(|error| wrong("the configuration", &error))?;
        if let Some(prev) = &parsed.prev_result_text {
            let prev = PrevResult::deserialize(prev);
            parsed.prev_result = Some(prev.map_err(|error| wrong("prevResult", &error))?);
        }
        if !super::VERSIONS.contains(&parsed.cni_version.as_str()) {
            return Err(Failure::version(&parsed.cni_version));
        }
        let prev = parsed.prev_result.as_ref();
        let most = [
            prev.map_or(0, |prev| prev.interfaces.len().max(prev.ips.len())),
            parsed.valid.as_ref().map_or(0, Vec::len),
            parsed.runtime_config.ips.len(),
        ];
        if most.into_iter().any(|number| number > MANY) {
            return Err(Failure::configuration(format!("a list has more than {MANY} entries")));
        }
        Ok(parsed)
    }

    /// The version of the specification.
    pub(super) fn version(&self) -> &str {
        &self.cni_version
    }

    /// Addresses that the plugin before this one, or this one at another time, has given.
    pub(super) fn prev_result_addresses(&self) -> Vec<IpAddr> {
        let ips = self.prev_result.iter().flat_map(|prev| &prev.ips);
        ips.filter_map(|ip| address(&ip.address)).collect()
    }
}

/// An address with or without a prefix length.
pub(super) fn address(text: &str) -> Option<IpAddr> {
    text.split_once('/').map_or(text, |(address, _)| address).parse().ok()
}
