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
/// Deadline of one plugin.
const DEADLINE: Duration = Duration::from_secs(30);

/// A plugin chain and the host namespace it works in.
#[derive(Debug)]
pub struct Cni {
    host: Namespace,
    plugins: Vec<Value>,
    /// Where plugins are looked for, first to last.
    folders: Vec<PathBuf>,
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
        Self::chain(host, vec![bridge(state), firewall])
    }

    /// `bulkhead-cni` alone: the port is ours. Attaches to `network` of tenant `bench`.
    ///
    /// # Errors
    /// When there is no binary.
    pub fn ours(bulkhead: &Bulkhead, network: &str, app: &str, state: &Path) -> Result<Self> {
        let mut cni = Self::chain(bulkhead.host(), vec![own(bulkhead, network, app)])?;
        cni.folders.push(linked(state)?);
        Ok(cni)
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
        let mut cni = Self::chain(bulkhead.host(), plugins)?;
        cni.folders.push(linked(state)?);
        Ok(cni)
    }

    fn chain(host: &Namespace, plugins: Vec<Value>) -> Result<Self> {
        let folder = PLUGIN_FOLDERS.iter().map(PathBuf::from).find(|f| f.join("bridge").is_file());
        let folder = folder.context("no CNI plugins: install containernetworking-plugins")?;
        Ok(Self { host: host.clone(), plugins, folders: vec![folder] })
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
        input["cniVersion"] = json!("1.0.0");
        input["name"] = json!("bench");
        if !previous.is_null() {
            input["prevResult"] = previous.clone();
        }
        let program = self.folders.iter().map(|folder| folder.join(kind)).find(|it| it.exists());
        let mut command = Command::new(program.with_context(|| format!("no plugin {kind}"))?);
        command
            .env("CNI_COMMAND", verb)
            .env("CNI_CONTAINERID", container)
            .env("CNI_NETNS", space.path())
            .env("CNI_IFNAME", "eth0")
            .env("CNI_PATH", std::env::join_paths(&self.folders)?);
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

/// A folder in which the binary has the plugin's name.
fn linked(state: &Path) -> Result<PathBuf> {
    let folder = state.join("cni");
    std::fs::create_dir_all(&folder).context("make a folder")?;
    let plugin = folder.join("bulkhead-cni");
    if !plugin.exists() {
        symlink(testkit::bulkhead::binary()?, plugin).context("link the plugin")?;
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
