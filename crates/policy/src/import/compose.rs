//! Docker compose files: services become workloads, those that share a network may speak, published ports are published.
//!
//! All of it is one network here: who may speak with whom is said by policies, over a label for each network of the file.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use model::Name;

use super::{
    Format, ImportError, Imported, MAX_REPORTS, MAX_RULES, Skipped, shown, too_much, write,
};
use crate::Limits;
use crate::diagnostic::Problems;
use crate::document::Span;
use crate::tree::{self, Node, Value};

const WHAT: &str = "a compose file";

/// Most ports of one range.
const MAX_RANGE: u16 = 100;

#[derive(Default)]
struct Compose {
    services: Vec<Service>,
    networks: BTreeMap<String, Network>,
    /// Docker's own network, when a service is on it.
    bridge: Option<String>,
    skipped: Vec<Skipped>,
}

/// What the members of a network may do.
#[derive(Debug, Clone, Copy)]
struct Network {
    /// Whether they may speak with each other.
    speaks: bool,
    /// Whether it leads out, over IPv4 and IPv6.
    leads_out: [bool; 2],
    /// Whether ports of the host lead into it.
    publishes: bool,
}

impl Network {
    /// As Docker makes one of which nothing is said.
    const PLAIN: Self = Self { speaks: true, leads_out: [true, false], publishes: true };
    /// One of which nothing is known.
    const CLOSED: Self = Self { speaks: false, leads_out: [false, false], publishes: false };
}

struct Service {
    name: Name,
    line: u32,
    networks: BTreeSet<String>,
    ports: Vec<Port>,
    alone: bool,
}

struct Port {
    line: u32,
    address: Option<String>,
    host: u16,
    own: u16,
    protocol: &'static str,
}

/// Makes a native file.
pub(super) fn import(name: &str, text: &str) -> Result<Imported, ImportError> {
    let limits = Limits { depth: 32, ..Limits::for_bytes(text.len().max(4096)) };
    let mut problems = Problems::new(text, 10);
    let root = tree::read(text, &limits, &mut problems);
    let not = |line: u32, why: String| ImportError::NotThat { line, what: WHAT, why };
    let Some(root) = root.filter(|_| problems.errors() == 0) else {
        let found = problems.finish(name.into());
        let first = found.items.first();
        let line = first.and_then(|item| item.span).map_or(0, |span| span.line);
        return Err(not(line, first.map_or_else(String::new, |item| item.message.clone())));
    };
    let Some(services) = get(&root, "services") else {
        return Err(not(root.span.line, "it has no `services`".to_owned()));
    };
    let mut compose = Compose::default();
    compose.networks(get(&root, "networks"));
    for (key, span, node) in entries(services) {
        if compose.services.len() >= MAX_RULES.min(limits.workloads) {
            return Err(too_much("it has too many services"));
        }
        compose.service(key, span, node);
    }
    for (key, span, _) in entries(&root) {
        if !matches!(
            key,
            "services" | "networks" | "version" | "name" | "volumes" | "configs" | "secrets"
        ) && !key.starts_with("x-")
        {
            compose.tell(span, key, "it is not read: what it adds is missing");
        }
    }
    Ok(compose.write(name))
}

fn entries<'n>(node: &'n Node<'_>) -> impl Iterator<Item = (&'n str, Span, &'n Node<'n>)> {
    let entries = match &node.value {
        Value::Map(entries) => entries.as_slice(),
        _ => &[],
    };
    entries.iter().map(|(key, node)| (&*key.text, key.span, node))
}

fn get<'n>(node: &'n Node<'_>, key: &str) -> Option<&'n Node<'n>> {
    entries(node).find(|(name, ..)| *name == key).map(|(_, _, node)| node)
}

fn text<'n>(node: &'n Node<'_>) -> Option<&'n str> {
    match &node.value {
        Value::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}

impl Compose {
    fn tell(&mut self, span: Span, source: &str, reason: impl Into<String>) {
        self.skipped.push(Skipped {
            line: span.line,
            source: shown(source),
            reason: reason.into(),
        });
    }

    fn networks(&mut self, node: Option<&Node<'_>>) {
        self.networks.insert("default".to_owned(), Network::PLAIN);
        for (name, span, body) in node.into_iter().flat_map(entries) {
            let network = self.network(name, span, body);
            self.networks.insert(name.to_owned(), network);
        }
    }

    fn network(&mut self, name: &str, span: Span, body: &Node<'_>) -> Network {
        let flag = |key: &str| get(body, key).map(|node| text(node).unwrap_or(""));
        if flag("external").is_some_and(|word| word != "false") {
            let reason = "an external network: what it is and who else is on it is not known: nothing is allowed on it, and nothing published into it";
            self.tell(span, name, reason);
            return Network::CLOSED;
        }
        if let Some(driver) = get(body, "driver").map(|node| text(node).unwrap_or(""))
            && !matches!(driver, "bridge" | "overlay")
        {
            let reason = format!(
                "the driver {}: nothing is allowed on this network, and nothing published into it",
                shown(driver)
            );
            self.tell(span, name, reason);
            return Network::CLOSED;
        }
        let mut network = Network::PLAIN;
        network.leads_out = [
            matches!(flag("enable_ipv4"), None | Some("true")),
            flag("enable_ipv6") == Some("true"),
        ];
        match flag("internal") {
            None | Some("false") => {}
            Some(word) => {
                network.leads_out = [false, false];
                network.publishes = false;
                if word != "true" {
                    let reason = "`internal` is neither true nor false: taken for true";
                    self.tell(span, name, reason);
                }
            }
        }
        for (key, at, value) in get(body, "driver_opts").into_iter().flat_map(entries) {
            if key == "com.docker.network.bridge.enable_icc" {
                network.speaks &= text(value) == Some("true");
            } else if key.contains("masquerade") {
                network.leads_out = [false, false];
                self.tell(at, key, "how it leads out is not known: nothing may leave it");
            } else if key.contains("gateway_mode") {
                network.leads_out = [false, false];
                network.publishes = false;
                let reason = "how it leads out is not known: nothing may leave it, and nothing is published into it";
                self.tell(at, key, reason);
            } else if key.contains("host_binding") {
                network.publishes = false;
                self.tell(at, key, "it is not read: nothing is published into this network");
            }
        }
        network
    }

    /// The network of `network_mode: bridge`, which is none of the file's: its name is free there.
    fn bridge(&mut self) -> String {
        if let Some(name) = &self.bridge {
            return name.clone();
        }
        let mut name = "bridge".to_owned();
        let mut number = 2;
        while self.networks.contains_key(&name) {
            name = format!("bridge-{number}");
            number += 1;
        }
        self.networks.insert(name.clone(), Network::PLAIN);
        self.bridge = Some(name.clone());
        name
    }

    fn service(&mut self, key: &str, span: Span, body: &Node<'_>) {
        let Some(name) = workload_name(key) else {
            return self.tell(span, key, "not a name that a workload can have: it is missing");
        };
        if self.services.iter().any(|other| other.name == name) {
            return self.tell(
                span,
                key,
                format!("another service is called {name} here: this one is missing"),
            );
        }
        for word in ["deploy", "scale"] {
            if get(body, word).is_some() {
                self.tell(span, key, format!("`{word}` is not read"));
            }
        }
        let mut service = Service {
            name,
            line: span.line,
            networks: BTreeSet::new(),
            ports: Vec::new(),
            alone: false,
        };
        match get(body, "network_mode").map(|node| text(node).unwrap_or("")) {
            _ if get(body, "extends").is_some() => {
                service.alone = true;
                let reason = "`extends` is not read, so its networks are not known: it is imported without any network";
                self.tell(span, key, reason);
            }
            None => self.members(&mut service, get(body, "networks"), span, key),
            Some("bridge") => {
                service.networks.insert(self.bridge());
            }
            Some("none") => service.alone = true,
            Some(mode) => {
                service.alone = true;
                self.tell(
                    span,
                    key,
                    format!("network_mode {}: it is imported without any network", shown(mode)),
                );
            }
        }
        if !service.alone {
            self.ports(&mut service, get(body, "ports"));
        }
        self.services.push(service);
    }

    fn members(&mut self, service: &mut Service, node: Option<&Node<'_>>, span: Span, key: &str) {
        let names: Vec<String> = match node.map(|node| &node.value) {
            None | Some(Value::Null) => vec!["default".to_owned()],
            Some(Value::List(items)) => items.iter().filter_map(text).map(str::to_owned).collect(),
            Some(Value::Map(entries)) => {
                entries.iter().map(|(key, _)| key.text.to_string()).collect()
            }
            Some(_) => Vec::new(),
        };
        for name in names {
            if !self.networks.contains_key(&name) {
                self.tell(
                    span,
                    key,
                    format!("the network {} is not defined: it is not in it", shown(&name)),
                );
            } else if label(&name).is_none() {
                self.tell(
                    span,
                    key,
                    format!("the network {} has no name that a label can have", shown(&name)),
                );
            } else {
                service.networks.insert(name);
            }
        }
    }

    fn ports(&mut self, service: &mut Service, node: Option<&Node<'_>>) {
        let Some(node) = node else { return };
        let Value::List(items) = &node.value else { return };
        let of = |name: &String| self.networks.get(name).is_some_and(|each| each.publishes);
        if !items.is_empty() && !service.networks.iter().any(of) {
            let reason = "ports of the host lead into none of its networks: nothing is published";
            return self.tell(node.span, service.name.as_str(), reason);
        }
        for item in items {
            let found = match &item.value {
                Value::Scalar(scalar) => short(&scalar.text),
                Value::Map(_) => long(item),
                _ => None,
            };
            if let Some(ports) = found {
                let line = item.span.line;
                service.ports.extend(ports.into_iter().map(|port| Port { line, ..port }));
            } else {
                let source = text(item).unwrap_or("a published port");
                self.tell(item.span, source, "not understood as HOST:PORT/PROTOCOL: it is not published, and nothing may come in by it");
            }
        }
    }

    fn write(mut self, name: &str) -> Imported {
        let mut parts = Parts::default();
        for (network, Network { speaks, leads_out, .. }) in &self.networks {
            let members =
                self.services.iter().filter(|each| each.networks.contains(network)).count();
            let Some(label) = label(network).filter(|_| members > 0) else { continue };
            if *speaks && members > 1 {
                let what =
                    format!("services of the network {} speak with each other", shown(network));
                let ends = format!("from: {label}=yes, to: {label}=yes");
                parts.policy(&format!("net-{}", plain(network)), &what, &ends, "any");
            }
            let to = match leads_out {
                [true, true] => Some("world"),
                [true, false] => Some("0.0.0.0/0"),
                [false, true] => Some("\"::/0\""),
                [false, false] => None,
            };
            if let Some(to) = to {
                let what = format!("the network {} leads out", shown(network));
                let ends = format!("from: {label}=yes, to: {to}");
                parts.policy(&format!("out-{}", plain(network)), &what, &ends, "any");
            }
        }
        let mut taken: BTreeSet<(u16, &str)> = BTreeSet::new();
        for service in &self.services {
            parts.workload(service);
            for port in &service.ports {
                // Of one network only one service can have a port of the host, whatever the address.
                if taken.insert((port.host, port.protocol)) {
                    parts.published(service, port);
                    continue;
                }
                let source = format!("{}:{}/{}", port.host, port.own, port.protocol);
                let reason = "another service has this port of the host: it is not published";
                let reason = reason.to_owned();
                self.skipped.push(Skipped { line: port.line, source, reason });
            }
        }
        self.finish(name, &parts)
    }

    fn finish(mut self, name: &str, parts: &Parts) -> Imported {
        let rules = self.services.len();
        let omitted = self.skipped.len().saturating_sub(MAX_REPORTS);
        self.skipped.sort_by_key(|each| each.line);
        self.skipped.truncate(MAX_REPORTS);
        let mut out = write::head(name, Format::Compose, rules, &self.skipped, omitted);
        out += "# Networks of the compose file are labels here. Bulkhead adopts namespaces: put each container's own in `netns:`.\n";
        out += "bulkhead: 1\ntenants:\n  imported:\n    networks:\n";
        out += "      main: { mode: nat, subnets: [10.96.0.0/16, \"fd00:96::/64\"] }\n";
        if self.services.iter().any(|each| each.alone) {
            out += "      alone: { mode: none }\n";
        }
        for (key, part) in [
            ("workloads", &parts.workloads),
            ("publish", &parts.publish),
            ("policies", &parts.policies),
        ] {
            if !part.is_empty() {
                let _ = write!(out, "    {key}:\n{part}");
            }
        }
        Imported { text: out, rules, policies: parts.count, skipped: self.skipped, omitted }
    }
}

/// The lines of a file.
#[derive(Default)]
struct Parts {
    policies: String,
    workloads: String,
    publish: String,
    count: usize,
    names: BTreeSet<String>,
}

impl Parts {
    fn policy(&mut self, wanted: &str, what: &str, ends: &str, ports: &str) {
        self.count += 1;
        let name = unique(wanted, &mut self.names);
        let _ =
            writeln!(self.policies, "      # {what}\n      {name}: {{ {ends}, allow: [{ports}] }}");
    }

    fn workload(&mut self, service: &Service) {
        let labels = service.networks.iter().filter_map(|name| label(name));
        let labels = labels.map(|label| format!("{label}: \"yes\""));
        let labels: Vec<String> =
            std::iter::once(format!("service: {}", service.name)).chain(labels).collect();
        let network = if service.alone { "alone" } else { "main" };
        let (own, line, labels) = (&service.name, service.line, labels.join(", "));
        let _ = writeln!(
            self.workloads,
            "      # line {line}\n      {own}: {{ network: {network}, labels: {{ {labels} }}, netns: {own} }}"
        );
    }

    fn published(&mut self, service: &Service, port: &Port) {
        let Port { line, address, host, own: target, protocol } = port;
        let own = &service.name;
        let address = address.as_ref().map(|text| format!(", address: \"{text}\""));
        let address = address.unwrap_or_default();
        let entry = format!("in-{host}-{protocol}");
        let _ = writeln!(
            self.publish,
            "      # line {line}\n      {entry}: {{ port: {host}/{protocol}, to: {own}:{target}{address} }}"
        );
        let ends = format!("from: world, to: workload={own}");
        let ports = format!("{target}/{protocol}");
        self.policy(&entry, &format!("line {line}: published"), &ends, &ports);
    }
}

/// The label that stands for a network.
fn label(network: &str) -> Option<String> {
    let text = format!("net.{network}");
    model::LabelKey::new(&text).ok()?;
    Some(text)
}

/// A name of ours that is most like it.
fn plain(text: &str) -> String {
    let fine = |c: char| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' };
    let text: String = text.to_ascii_lowercase().chars().map(fine).take(18).collect();
    format!("{}-net", text.trim_matches('-')).trim_start_matches('-').to_owned()
}

/// The service's name as that of a workload: `_`, `.` and upper case are what ours may not have.
fn workload_name(key: &str) -> Option<Name> {
    let text: String = key.to_ascii_lowercase().replace(['_', '.'], "-");
    Name::new(&text).ok()
}

fn unique(wanted: &str, used: &mut BTreeSet<String>) -> String {
    let mut name = wanted.to_owned();
    let mut number = 2;
    while !used.insert(name.clone()) {
        name = format!("{wanted}-{number}");
        number += 1;
    }
    name
}

/// `8080:80`, `127.0.0.1:8080:80/udp`, `[::1]:80:80`, `3000-3005:3000-3005`.
fn short(text: &str) -> Option<Vec<Port>> {
    let (ports, protocol) = match text.split_once('/') {
        Some((ports, word)) => (ports, protocol(word)?),
        None => (text, "tcp"),
    };
    let (front, own) = ports.rsplit_once(':')?;
    let (address, host) = match front.rsplit_once(':') {
        Some((address, host)) => (Some(address.trim_matches(['[', ']'])), host),
        None => (None, front),
    };
    pairs(address, host, own, protocol)
}

/// `{ target: 80, published: "8080", protocol: tcp, host_ip: 127.0.0.1 }`.
fn long(node: &Node<'_>) -> Option<Vec<Port>> {
    let field = |key: &str| get(node, key).map(|node| text(node).unwrap_or(""));
    let protocol = protocol(field("protocol").unwrap_or("tcp"))?;
    pairs(field("host_ip"), field("published")?, field("target")?, protocol)
}

fn protocol(word: &str) -> Option<&'static str> {
    ["tcp", "udp", "sctp"].into_iter().find(|each| *each == word)
}

fn pairs(
    address: Option<&str>,
    host: &str,
    own: &str,
    protocol: &'static str,
) -> Option<Vec<Port>> {
    let range = |text: &str| -> Option<(u16, u16)> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        (0 < first && first <= last && last - first < MAX_RANGE).then_some((first, last))
    };
    let (host, own) = (range(host)?, range(own)?);
    if host.1 - host.0 != own.1 - own.0 {
        return None;
    }
    let address = match address.filter(|text| !matches!(*text, "0.0.0.0" | "::" | "")) {
        Some(text) => Some(text.parse::<std::net::IpAddr>().ok()?.to_string()),
        None => None,
    };
    let all = (host.0..=host.1).zip(own.0..=own.1);
    Some(
        all.map(|(host, own)| Port { line: 0, address: address.clone(), host, own, protocol })
            .collect(),
    )
}
