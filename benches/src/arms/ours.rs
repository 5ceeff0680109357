//! Our own arm: the real binary, an agent in a "host" namespace, adopted namespaces as workloads.
//!
//! Policy, connection tracking and flow events are on, as they always are: there is no switch to
//! turn them off.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use testkit::bulkhead::Bulkhead;
use testkit::{Lab, Namespace};

use super::shape::{IDENTITIES, Rules, Shape, Target, identity};
use super::uplink::{SERVER, world};
use crate::arm::{Arm, Route};
use crate::load::ALLOWED_PORTS;

/// Two workloads of one network, or one workload and the world behind a routing host.
#[derive(Debug)]
pub struct Ours {
    name: String,
    route: Route,
    far: Vec<Namespace>,
    bulkhead: Bulkhead,
    _lab: Lab,
}

impl Ours {
    /// Two workloads of one network; one policy allows the ports of the load.
    ///
    /// # Errors
    /// When the agent does not come up or refuses the file.
    pub fn stand() -> Result<Self> {
        Self::pair(crate::suite::OURS.to_owned(), 0, |client, server, _| {
            pair_file(client, server, &allow_load("app=client", "app=server"))
        })
    }

    /// One workload with rules to what they are about: addresses of the world, or other workloads. The last rule is the
    /// load's.
    ///
    /// # Errors
    /// When the agent does not come up or refuses the file.
    pub fn stand_rules(rules: Rules) -> Result<Self> {
        let name = format!("{} {rules}", crate::suite::OURS);
        if rules.shape == Shape::Identity {
            return Self::pair(name, IDENTITIES, |client, server, far| {
                identity_file(client, server, far, rules.count)
            });
        }
        let mut lab = Lab::new()?;
        let (host, client) = (lab.namespace("host")?, lab.namespace("client")?);
        let server = world(&mut lab, &host, "10.77.0.0/16")?;
        let bulkhead = Bulkhead::start(&lab, &host)?;
        bulkhead.up(&rules_file(&client, rules))?;
        let (client_address, address) = ([10, 77, 0, 2].into(), SERVER.into());
        let far = vec![server.clone()];
        let route = Route { client, cgroup: None, client_address, server, address };
        Ok(Self { name, route, far, bulkhead, _lab: lab })
    }

    /// Two workloads of one network, and `more` that rules are about.
    fn pair(
        name: String,
        more: u8,
        file: impl FnOnce(&Namespace, &Namespace, &[Namespace]) -> String,
    ) -> Result<Self> {
        let mut lab = Lab::new()?;
        let host = lab.namespace("host")?;
        let (client, server) = (lab.namespace("client")?, lab.namespace("server")?);
        let far: Result<Vec<_>> = (0..more).map(|at| lab.namespace(&format!("t{at}"))).collect();
        let mut far = far?;
        let bulkhead = Bulkhead::start(&lab, &host)?;
        bulkhead.up(&file(&client, &server, &far))?;
        if far.is_empty() {
            far.push(server.clone());
        }
        let (client_address, address) = ([10, 77, 0, 2].into(), [10, 77, 0, 3].into());
        let route = Route { client, cgroup: None, client_address, server, address };
        Ok(Self { name, route, far, bulkhead, _lab: lab })
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
    file_of([&workload("client", client, 2), &workload("server", server, 3), ""], policies)
}

/// A file with these workloads in one network (indented lines, as `policies`).
fn file_of(workloads: [&str; 3], policies: &str) -> String {
    format!(
        "bulkhead: 1
tenants:
  bench:
    networks:
      main: {{ mode: bridge, subnets: [10.77.0.0/16] }}
    workloads:
{}    policies:
{policies}",
        workloads.concat(),
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

/// A file with one workload and rules to addresses of the world.
#[must_use]
pub fn rules_file(client: &Namespace, rules: Rules) -> String {
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
        fillers_to_world(rules),
        allow_load("app=client", &format!("{server}/32")),
    )
}

/// Filler rules to addresses of the world: where ports recur, one policy a port with its prefixes in one list; else one
/// policy an address with its ports in one list.
#[must_use]
pub fn fillers_to_world(rules: Rules) -> String {
    let by_address = rules.shape == Shape::PortRange;
    let mut lists = std::collections::BTreeMap::<String, Vec<String>>::new();
    for target in rules.fillers() {
        let (prefix, ports) = (target.prefix(), port_spec(&target));
        let (key, item) = if by_address { (prefix, ports) } else { (ports, prefix) };
        lists.entry(key).or_default().push(item);
    }
    let mut text = String::new();
    for (number, (key, items)) in lists.into_iter().enumerate() {
        let items = items.join(", ");
        let (to, allow) = if by_address { (key, items) } else { (items, key) };
        _ = writeln!(
            text,
            "      filler-{number}: {{ from: app=client, to: [{to}], allow: [{allow}] }}"
        );
    }
    text
}

/// A file with one policy a rule, by label, to the workloads `far`.
#[must_use]
pub fn identity_file(
    client: &Namespace,
    server: &Namespace,
    far: &[Namespace],
    count: u32,
) -> String {
    let mut workloads = String::new();
    for (at, space) in (0..).zip(far) {
        let (path, address) = (space.path().display(), identity(at));
        _ = writeln!(
            workloads,
            "      t{at}: {{ netns: {path}, labels: {{ app: target, role: r{at} }}, address: [{address}] }}"
        );
    }
    let mut policies = String::new();
    for (number, target) in (Rules { shape: Shape::Identity, count }).fillers().enumerate() {
        let (role, port) = (target.far, port_spec(&target));
        _ = writeln!(
            policies,
            "      filler-{number}: {{ from: app=client, to: role=r{role}, allow: [{port}] }}"
        );
    }
    policies.push_str(&allow_load("app=client", "app=server"));
    file_of([&workload("client", client, 2), &workload("server", server, 3), &workloads], &policies)
}

fn port_spec(target: &Target) -> String {
    format!("{}/tcp", target.port_text('-'))
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
    fn far(&self) -> &[Namespace] {
        &self.far
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
        for count in [1, 10, 100, 251] {
            let fillers = count as usize - 1;
            let text = fillers_to_world(Rules::by_address(count));
            assert_eq!(text.matches("198.18.").count(), fillers);
            let text = fillers_to_world(Rules { shape: Shape::Cidr, count });
            assert_eq!(text.matches("100.64.").count(), fillers);
            let text = fillers_to_world(Rules { shape: Shape::PortRange, count });
            assert_eq!(text.matches("/tcp").count(), fillers);
        }
        let text = fillers_to_world(Rules::by_address(102));
        let list = "to: [198.18.0.1/32, 198.18.0.51/32], allow: [10000/tcp] }";
        assert!(text.contains(list), "{text}");
        let text = fillers_to_world(Rules { shape: Shape::PortRange, count: 3 });
        let list = "to: [198.18.0.1/32], allow: [10000-10011/tcp, 10592-10603/tcp] }";
        assert!(text.contains(list), "{text}");
    }

    #[test]
    fn every_shape_is_a_correct_file_with_all_its_rules() {
        let space = Namespace::open("self", std::path::Path::new("/proc/self/ns/net"))
            .expect("a namespace has a path");
        let far = vec![space.clone(); IDENTITIES.into()];
        let count = 200;
        let files = [
            (rules_file(&space, Rules::by_address(count)), 101),
            (rules_file(&space, Rules { shape: Shape::Cidr, count }), 101),
            (rules_file(&space, Rules { shape: Shape::PortRange, count }), 2),
            (identity_file(&space, &space, &far, count), 200),
        ];
        for (number, (mut text, policies)) in files.into_iter().enumerate() {
            // A namespace may be adopted only once.
            for at in 0..20 {
                text = text.replacen("/proc/self/ns/net,", &format!("/run/netns/n{at},"), 1);
            }
            let source = policy::Source { name: "bench.yaml", text: &text };
            let limits = policy::Limits::for_bytes(policy::Limits::MAX_BYTES);
            let checked = policy::load(&source, &|_| None, &limits, jiff::Timestamp::UNIX_EPOCH)
                .unwrap_or_else(|cause| panic!("file {number}: {cause:?}"));
            assert_eq!(checked.document.policies.len(), policies, "file {number}");
        }
    }
}
