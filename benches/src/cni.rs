//! A CNI runtime as small as the protocol allows: runs a chain of plugins for one namespace.
//!
//! Protocol: <https://www.cni.dev/docs/spec/> version 1.0.0, sections 2 to 5. Configuration goes in
//! on stdin, parameters in the environment, the result comes out as JSON and is handed on as
//! `prevResult`.

use std::net::IpAddr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use testkit::bulkhead::Bulkhead;
use testkit::{Namespace, run_with_deadline};

/// Where Debian puts the plugins, then where everybody else does.
const PLUGIN_FOLDERS: &[&str] = &["/usr/lib/cni", "/opt/cni/bin"];
/// The reference's plugins.
const PLUGINS: [&str; 3] = ["bridge", "firewall", "host-local"];
/// Version of the protocol.
const VERSION: &str = "1.0.0";
/// Deadline of one plugin.
const DEADLINE: Duration = Duration::from_secs(30);

/// A plugin chain and the host namespace it works in.
#[derive(Debug)]
pub struct Cni {
    host: Namespace,
    plugins: Vec<Value>,
    /// The programs.
    folder: PathBuf,
}

/// What an ADD gave; needed for the DEL.
#[derive(Debug)]
pub struct Attachment {
    result: Value,
    container: String,
    space: Namespace,
}

impl Cni {
    /// The reference chain: `bridge` with `host-local` addresses, then `firewall` over iptables.
    ///
    /// # Errors
    /// When the plugins are not installed.
    pub fn bridge_and_firewall(host: &Namespace, state: &Path) -> Result<Self> {
        let firewall = json!({"type": "firewall", "backend": "iptables"});
        Self::chain(host, vec![bridge(state), firewall], state)
    }

    /// `bulkhead-cni` alone: the port is ours. Attaches to `network` of tenant `bench`.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn ours(bulkhead: &Bulkhead, network: &str, app: &str, state: &Path) -> Result<Self> {
        Self::chain(bulkhead.host(), vec![own(bulkhead, network, app)], state)
    }

    /// `bulkhead-cni` behind `bridge`: its port is taken in place.
    ///
    /// # Errors
    /// When the plugins are not installed, or there is no binary.
    pub fn behind_bridge(
        bulkhead: &Bulkhead,
        network: &str,
        app: &str,
        state: &Path,
    ) -> Result<Self> {
        let plugins = vec![bridge(state), own(bulkhead, network, app)];
        Self::chain(bulkhead.host(), plugins, state)
    }

    fn chain(host: &Namespace, plugins: Vec<Value>, state: &Path) -> Result<Self> {
        Ok(Self { host: host.clone(), plugins, folder: linked(state)? })
    }

    /// The folder with the plugins.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The chain as runtimes read it from a file: a network of this name.
    #[must_use]
    pub fn list(&self, name: &str) -> Value {
        json!({ "cniVersion": VERSION, "name": name, "plugins": self.plugins })
    }

    /// ADD: attaches `space`.
    ///
    /// # Errors
    /// When a plugin fails.
    pub fn add(&self, space: &Namespace) -> Result<Attachment> {
        let container = space.name().to_owned();
        let mut result = Value::Null;
        for plugin in &self.plugins {
            let output = self.call("ADD", plugin, &container, space, &result)?;
            result = serde_json::from_str(&output).context("parse a CNI result")?;
        }
        Ok(Attachment { result, container, space: space.clone() })
    }

    /// DEL, in reverse order.
    ///
    /// # Errors
    /// When a plugin fails.
    pub fn del(&self, attachment: &Attachment) -> Result<()> {
        let Attachment { result, container, space } = attachment;
        for plugin in self.plugins.iter().rev() {
            self.call("DEL", plugin, container, space, result)?;
        }
        Ok(())
    }

    fn call(
        &self,
        verb: &str,
        plugin: &Value,
        container: &str,
        space: &Namespace,
        previous: &Value,
    ) -> Result<String> {
        let kind = plugin["type"].as_str().context("a plugin without a type")?;
        let mut input = plugin.clone();
        input["cniVersion"] = json!(VERSION);
        input["name"] = json!("bench");
        if !previous.is_null() {
            input["prevResult"] = previous.clone();
        }
        let mut command = Command::new(self.folder.join(kind));
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", space.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", &self.folder);
        let input = serde_json::to_vec(&input).context("serialise the configuration")?;
        let done = self.host.run(|| run_with_deadline(&mut command, Some(&input), DEADLINE))??;
        if done.code() != Some(0) {
            bail!("{kind} {verb}: {} {}", done.stdout.trim(), done.stderr.trim());
        }
        Ok(done.stdout)
    }
}

/// The reference plugin with `host-local` addresses.
fn bridge(state: &Path) -> Value {
    json!({
        "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
        "ipam": {
            "type": "host-local", "dataDir": state.join("ipam"),
            "ranges": [[{"subnet": "10.88.0.0/16"}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    })
}

/// Our part of a chain.
fn own(bulkhead: &Bulkhead, network: &str, app: &str) -> Value {
    json!({
        "type": "bulkhead-cni", "tenant": "bench", "network": network, "labels": { "app": app },
        "runDir": bulkhead.folders().run,
    })
}

/// A folder with all plugins: runtimes and chains look into one.
fn linked(state: &Path) -> Result<PathBuf> {
    let theirs = PLUGIN_FOLDERS.iter().map(Path::new).find(|f| f.join("bridge").is_file());
    let theirs = theirs.context("no CNI plugins: install containernetworking-plugins")?;
    let folder = state.join("cni");
    std::fs::create_dir_all(&folder).context("make a folder")?;
    let own = ("bulkhead-cni", testkit::bulkhead::binary()?);
    let all = PLUGINS.map(|name| (name, theirs.join(name)));
    for (name, program) in all.into_iter().chain([own]) {
        let plugin = folder.join(name);
        if !plugin.exists() {
            symlink(program, plugin).context("link a plugin")?;
        }
    }
    Ok(folder)
}

impl Attachment {
    /// The address it was given.
    ///
    /// # Errors
    /// When the result has none.
    pub fn address(&self) -> Result<IpAddr> {
        let cidr = self.result["ips"][0]["address"].as_str().context("a result without address")?;
        let (address, _) = cidr.split_once('/').context("an address without a prefix length")?;
        address.parse().context("parse an address")
    }
}
