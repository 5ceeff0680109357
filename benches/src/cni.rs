//! A CNI runtime as small as the protocol allows: runs a chain of plugins for one namespace.
//!
//! Protocol: <https://www.cni.dev/docs/spec/> version 1.0.0, sections 2 to 5. Configuration goes in
//! on stdin, parameters in the environment, the result comes out as JSON and is handed on as
//! `prevResult`.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
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
        let folder = PLUGIN_FOLDERS.iter().map(PathBuf::from).find(|f| f.join("bridge").is_file());
        let folder = folder.context("no CNI plugins: install containernetworking-plugins")?;
        let plugins = vec![
            json!({
                "type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false,
                "ipam": {
                    "type": "host-local", "dataDir": state.join("ipam"),
                    "ranges": [[{"subnet": "10.88.0.0/16"}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            }),
            json!({"type": "firewall", "backend": "iptables"}),
        ];
        Ok(Self { host: host.clone(), plugins, folder })
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
