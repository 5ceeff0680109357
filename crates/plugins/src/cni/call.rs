//! A call of a runtime: the environment and the configuration, understood and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use api::{Attach, AttachPort};

use super::configuration::{Configuration, PrevResult, address};
use super::error::Failure;
use super::ports;
use crate::names;

/// Longest id of a container, in bytes.
const CONTAINER: usize = 128;
/// Longest name of a network, in bytes.
const NETWORK: usize = 64;
/// Longest `CNI_ARGS`, and longest path, in bytes.
const LONG: usize = 4_096;
/// The folder of the agent's socket, when nothing else is said.
const RUN_DIR: &str = "/run/bulkhead";
/// The pod's annotation with labels, `app=web,tier=front`.
const LABELS: &str = "bulkhead/labels";
/// Arguments of CRI and podman, and the labels that they become.
const IDENTITY: [(&str, &str); 3] = [
    ("K8S_POD_NAME", "io.kubernetes.pod.name"),
    ("K8S_POD_NAMESPACE", "io.kubernetes.pod.namespace"),
    ("K8S_POD_UID", "io.kubernetes.pod.uid"),
];

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// A container comes.
    Add,
    /// A container goes.
    Del,
    /// A container is looked at.
    Check,
    /// What is not named goes.
    Gc,
    /// Which versions are understood.
    Version,
    /// Whether containers can come.
    Status,
}

/// One call, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// What is to be done.
    pub verb: Verb,
    /// The network.
    pub configuration: Configuration,
    container: String,
    interface: String,
    /// Empty when it is gone already.
    netns: String,
    args: BTreeMap<String, String>,
    run_dir: PathBuf,
}

impl Call {
    /// Understands the environment and the configuration; nothing is touched.
    ///
    /// # Errors
    /// With the number that the specification has for it.
    pub fn new(variable: &dyn Fn(&str) -> Option<String>, input: &[u8]) -> Result<Self, Failure> {
        let read = |name: &str| variable(name).unwrap_or_default();
        let verb = match read("CNI_COMMAND").as_str() {
            "ADD" => Verb::Add,
            "DEL" => Verb::Del,
            "CHECK" => Verb::Check,
            "GC" => Verb::Gc,
            "VERSION" => Verb::Version,
            "STATUS" => Verb::Status,
            other => {
                let shown: String = other.chars().take(20).collect();
                return Err(Failure::environment(format!("CNI_COMMAND is {shown:?}")));
            }
        };
        let configuration = Configuration::parse(input)?;
        let run_dir = configuration.run_dir.clone().or_else(|| variable("BULKHEAD_RUN_DIR"));
        let run_dir = PathBuf::from(run_dir.unwrap_or_else(|| RUN_DIR.to_owned()));
        if !run_dir.is_absolute() {
            return Err(Failure::configuration("runDir is no absolute path"));
        }
        let call = Self {
            verb,
            configuration,
            container: read("CNI_CONTAINERID"),
            interface: read("CNI_IFNAME"),
            netns: read("CNI_NETNS"),
            args: args(&read("CNI_ARGS"))?,
            run_dir,
        };
        call.check()?;
        Ok(call)
    }

    fn check(&self) -> Result<(), Failure> {
        if self.verb == Verb::Version || self.verb == Verb::Status {
            return Ok(());
        }
        let name = &self.configuration.name;
        if !names::is_id(name, NETWORK) {
            let message =
                format!("the network's name is not 1 to {NETWORK} of a-z, A-Z, 0-9, _, . and -");
            return Err(Failure::configuration(message));
        }
        if self.verb == Verb::Gc {
            return Ok(());
        }
        if !names::is_id(&self.container, CONTAINER) {
            let message =
                format!("CNI_CONTAINERID is not 1 to {CONTAINER} of a-z, A-Z, 0-9, _, . and -");
            return Err(Failure::environment(message));
        }
        let is_fine = |byte: u8| byte.is_ascii_graphic() && byte != b'/' && byte != b':';
        let interface = self.interface.as_str();
        if !(1..=15).contains(&interface.len())
            || !interface.bytes().all(is_fine)
            || matches!(interface, "." | ".." | "lo")
        {
            return Err(Failure::environment("CNI_IFNAME is no name of an interface"));
        }
        let needs_netns = matches!(self.verb, Verb::Add | Verb::Check);
        let is_path = Path::new(&self.netns).is_absolute()
            && self.netns.len() <= LONG
            && !self.netns.contains("/../")
            && !self.netns.contains('\0');
        if needs_netns && !is_path {
            return Err(Failure::environment("CNI_NETNS is no absolute path of a namespace"));
        }
        Ok(())
    }

    /// The agent's socket.
    pub(super) fn socket(&self) -> PathBuf {
        self.run_dir.join(api::SOCKET)
    }

    /// What the agent is to call this attachment.
    ///
    /// # Errors
    /// None but those of a call that has no container.
    pub(super) fn key(&self) -> Result<String, Failure> {
        if self.container.is_empty() {
            return Err(Failure::environment("CNI_CONTAINERID is missing"));
        }
        Ok(format!("{}{}/{}", self.network_prefix(), self.container, self.interface))
    }

    /// How keys of this network begin.
    pub(super) fn network_prefix(&self) -> String {
        format!("cni/{}/", self.configuration.name)
    }

    /// Keys that a garbage collection is to leave.
    ///
    /// # Errors
    /// Number 7 when the runtime does not say which.
    pub(super) fn valid_keys(&self) -> Result<BTreeSet<String>, Failure> {
        let listed = self.configuration.valid.as_ref();
        let valid = listed.ok_or_else(|| {
            Failure::configuration("GC without `cni.dev/valid-attachments` would end everything")
        })?;
        let prefix = self.network_prefix();
        Ok(valid.iter().map(|each| format!("{prefix}{}/{}", each.container, each.ifname)).collect())
    }

    /// What the agent is asked for.
    ///
    /// # Errors
    /// Number 2 or 7 with what the configuration lacks or asks too much.
    pub(super) fn attach(&self) -> Result<Attach, Failure> {
        let own = &self.configuration;
        for (field, value) in [("tenant", &own.tenant), ("network", &own.network)] {
            if value.is_empty() {
                let message =
                    format!("the configuration has no `{field}`: name one of the file in force");
                return Err(Failure::configuration(message));
            }
        }
        let (port, addresses) = match own.prev_result.as_ref() {
            Some(prev) => self.in_place(prev)?,
            None => (self.ours(), self.wished()?),
        };
        // Chained, `portmap` makes them, and the file may say for whom.
        let publish = match own.prev_result {
            None => ports::published(&own.runtime_config.ports)?,
            Some(_) => ports::heard(&own.runtime_config.ports),
        };
        Ok(Attach {
            key: self.key()?,
            tenant: own.tenant.clone(),
            network: own.network.clone(),
            segment: own.segment.clone(),
            name: Some(self.name()),
            labels: self.labels()?,
            addresses,
            port,
            publish,
            publish_pending: false,
        })
    }

    fn ours(&self) -> AttachPort {
        AttachPort::Netns { path: self.netns.clone(), interface: self.interface.clone() }
    }

    /// The addresses that the runtime wants.
    fn wished(&self) -> Result<Vec<std::net::IpAddr>, Failure> {
        let wish = |text: &String| {
            address(text).ok_or_else(|| {
                let shown: String = text.chars().take(50).collect();
                Failure::configuration(format!("{shown:?} under `ips` is no address"))
            })
        };
        self.configuration.runtime_config.ips.iter().map(wish).collect()
    }

    /// The interface on the host that a plugin before this one made.
    fn in_place(&self, prev: &PrevResult) -> Result<(AttachPort, Vec<std::net::IpAddr>), Failure> {
        let inside = prev.interfaces.iter();
        let mut inside =
            inside.filter(|each| !each.sandbox.is_empty() && each.name == self.interface);
        let inside = inside.next_back().ok_or_else(|| {
            let name = &self.interface;
            Failure::configuration(format!(
                "the plugin before this one made no `{name}` in the container"
            ))
        })?;
        // `bridge` names the bridge first and then the port.
        let mut ports = prev.interfaces.iter().filter(|each| each.sandbox.is_empty());
        let port =
            ports.next_back().filter(|each| names::is_id(&each.name, 15)).ok_or_else(|| {
                Failure::configuration("the plugin before this one made no interface on the host")
            })?;
        let port = AttachPort::InPlace {
            interface: port.name.clone(),
            mac: inside.mac.clone(),
            dhcp: false,
        };
        Ok((port, self.configuration.prev_result_addresses()))
    }

    /// The pod's name, else the container's.
    fn name(&self) -> String {
        let is_number =
            self.container.len() >= 32 && self.container.bytes().all(|b| b.is_ascii_hexdigit());
        match self.args.get("K8S_POD_NAME").filter(|name| !name.is_empty()) {
            Some(name) => names::workload(name),
            None if is_number => {
                format!("c-{}", self.container.get(..12).unwrap_or_default().to_ascii_lowercase())
            }
            None => names::workload(&self.container),
        }
    }

    /// Those of the network, of the pod's annotation, and who it is. The network's are not to be changed by a pod.
    fn labels(&self) -> Result<BTreeMap<String, String>, Failure> {
        let own = &self.configuration;
        let mut labels = BTreeMap::new();
        if let Some(text) = own.runtime_config.annotations.get(LABELS) {
            labels = names::claimed(text)
                .map_err(|why| Failure::configuration(format!("the annotation {LABELS}: {why}")))?;
        }
        for (arg, label) in IDENTITY {
            if let Some(value) = self.args.get(arg).filter(|value| !value.is_empty()) {
                labels.insert(label.to_owned(), names::value(value));
            }
        }
        labels.extend(own.labels.clone());
        Ok(labels)
    }

    /// The namespace, as the runtime calls it.
    pub(super) fn netns(&self) -> &str {
        &self.netns
    }
}

/// `K8S_POD_NAME=web;IgnoreUnknown=1`.
fn args(text: &str) -> Result<BTreeMap<String, String>, Failure> {
    if text.len() > LONG {
        return Err(Failure::environment(format!("CNI_ARGS is longer than {LONG} bytes")));
    }
    let pairs = text.split(';').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let pair = part.split_once('=');
        pair.map(|(key, value)| (key.to_owned(), value.to_owned()))
            .ok_or_else(|| Failure::environment("CNI_ARGS is not KEY=VALUE;KEY=VALUE"))
    };
    pairs.map(pair).collect()
}
