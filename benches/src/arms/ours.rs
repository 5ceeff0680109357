//! Our own arm: the real binary, an agent in a "host" namespace, adopted namespaces as workloads.
//!
//! Policy, connection tracking and flow events are on, as they always are: there is no switch to
//! turn them off.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use testkit::bulkhead::Bulkhead;
use testkit::{Lab, Namespace};

use super::rules::filler;
use super::uplink::{SERVER, world};
use crate::arm::{Arm, Route};
use crate::load::ALLOWED_PORTS;

/// Two workloads of one network, or one workload and the world behind a routing host.
#[derive(Debug)]
pub struct Ours {
    name: String,
    route: Route,
    bulkhead: Bulkhead,
    _lab: Lab,
}

impl Ours {
    /// Two workloads of one network; one policy allows the ports of the load.
    ///
    /// # Errors
    /// When the agent does not come up or refuses the file.
    pub fn stand() -> Result<Self> {
        let mut lab = Lab::new()?;
        let host = lab.namespace("host")?;
        let (client, server) = (lab.namespace("client")?, lab.namespace("server")?);
        let bulkhead = Bulkhead::start(&lab, &host)?;
        bulkhead.up(&pair_file(&client, &server, &allow_load("app=client", "app=server")))?;
        let (client_address, address) = ([10, 77, 0, 2].into(), [10, 77, 0, 3].into());
        let route = Route { client, client_address, server, address };
        Ok(Self { name: crate::suite::OURS.to_owned(), route, bulkhead, _lab: lab })
    }

    /// One workload that reaches the world through `count` rules, the last of which is the load's.
    ///
    /// # Errors
    /// When the agent does not come up or refuses the file.
    pub fn stand_uplink(count: u32) -> Result<Self> {
        let mut lab = Lab::new()?;
        let (host, client) = (lab.namespace("host")?, lab.namespace("client")?);
        let server = world(&mut lab, &host, "10.77.0.0/16")?;
        let bulkhead = Bulkhead::start(&lab, &host)?;
        bulkhead.up(&uplink_file(&client, count))?;
        let (client_address, address) = ([10, 77, 0, 2].into(), SERVER.into());
        let route = Route { client, client_address, server, address };
        Ok(Self { name: format!("{} {count}", crate::suite::OURS), route, bulkhead, _lab: lab })
    }

    /// The agent under it.
    #[must_use]
    pub fn bulkhead(&self) -> &Bulkhead {
        &self.bulkhead
    }

    /// The namespace of the bench's network: its bridge and the host side of its endpoints.
    ///
    /// # Errors
    /// When the agent did not make it.
    pub fn router(&self) -> Result<Namespace> {
        let path = self.bulkhead.folders().run.join("netns/bench.main.router");
        Namespace::open("bench.main", &path)
    }

    /// Where one of our programs is pinned, by its name in the object.
    ///
    /// # Errors
    /// When there is no such pin.
    pub fn pinned_program(&self, name: &str) -> Result<PathBuf> {
        find(&self.bulkhead.folders().bpffs, name, 4)
            .with_context(|| format!("no program {name} is pinned"))
    }
}

/// The first path below `folder` that ends in `programs/<anything>/<name>`.
fn find(folder: &std::path::Path, name: &str, depth: usize) -> Option<PathBuf> {
    let entries: Vec<PathBuf> =
        std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
    let is_program = |path: &PathBuf| {
        path.ends_with(name) && path.components().any(|part| part.as_os_str() == "programs")
    };
    if let Some(found) = entries.iter().find(|path| is_program(path)) {
        return Some(found.clone());
    }
    let folders = entries.iter().filter(|path| depth > 0 && path.is_dir());
    folders.into_iter().find_map(|path| find(path, name, depth - 1))
}

/// A file with two workloads in one network and `policies` (indented lines).
#[must_use]
pub fn pair_file(client: &Namespace, server: &Namespace, policies: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  bench:
    networks:
      main: {{ mode: bridge, subnets: [10.77.0.0/16] }}
    workloads:
{}{}    policies:
{policies}",
        workload("client", client, 2),
        workload("server", server, 3),
    )
}

/// The policy line that allows the load from `source` to `target`.
#[must_use]
pub fn allow_load(source: &str, target: &str) -> String {
    let (first, last) = (ALLOWED_PORTS.start(), ALLOWED_PORTS.end());
    format!(
        "      load: {{ from: {source}, to: {target}, allow: [{first}-{last}/tcp, {first}-{last}/udp] }}\n"
    )
}

/// A file with one workload and `count` rules to addresses of the world.
#[must_use]
pub fn uplink_file(client: &Namespace, count: u32) -> String {
    let server = std::net::Ipv4Addr::from(SERVER);
    format!(
        "bulkhead: 1
tenants:
  bench:
    networks:
      main: {{ mode: routed, subnets: [10.77.0.0/16] }}
    workloads:
{}    policies:
{}{}",
        workload("client", client, 2),
        filler_policies(count.saturating_sub(1)),
        allow_load("app=client", &format!("{server}/32")),
    )
}

/// `count` filler rules: one policy a port, its addresses in one list.
#[must_use]
pub fn filler_policies(count: u32) -> String {
    let mut targets = std::collections::BTreeMap::<u16, Vec<String>>::new();
    for (address, port) in (0..count).map(filler) {
        targets.entry(port).or_default().push(format!("{address}/32"));
    }
    let mut text = String::new();
    for (port, addresses) in targets {
        let to = addresses.join(", ");
        _ = writeln!(
            text,
            "      filler-{port}: {{ from: app=client, to: [{to}], allow: [{port}/tcp] }}"
        );
    }
    text
}

fn workload(name: &str, space: &Namespace, last: u8) -> String {
    let path = space.path().display();
    format!(
        "      {name}: {{ netns: {path}, labels: {{ app: {name} }}, address: [10.77.0.{last}] }}\n"
    )
}

impl Arm for Ours {
    fn name(&self) -> &str {
        &self.name
    }
    fn route(&self) -> &Route {
        &self.route
    }
    fn enforces(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_filler_rules_as_asked_for() {
        for count in [0, 9, 99, 250] {
            let text = filler_policies(count);
            assert_eq!(text.matches("198.18.").count(), count as usize);
        }
        assert!(filler_policies(101).contains(
            "filler-2000: { from: app=client, to: [198.18.0.1/32, 198.18.0.51/32], allow: [2000/tcp] }"
        ));
    }
}
