//! Every port of the host that can be reached: published by the file, by Docker, or opened by a process; and whether policy lets the
//! world in, by the planner's exact look at the tables in force.
//!
//! A port of Docker's is reached on two ways. Its address translation leaves the client's address as it is: policy sees the world.
//! `docker-proxy`, which takes what is not translated (IPv6 without `ip6tables`), connects by itself: policy sees the host. So a port
//! that only the proxy serves lets the world in exactly when policy lets the host in, and is told so. Which of them serves a port is read
//! from the rules and the sockets that are there, never assumed; rules that lead ports elsewhere without Docker (CNI's `portmap`,
//! Podman, people) are told as well.

mod hosted;
mod served;
mod terms;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use api::{OpenPort, Opener, PUBLISHES_SCHEMA, Publishes, RuleAt, Verdict, Why, WhyRequest, World};
use flow::Resolver as _;
use host::linux::probe::{Listener, listeners};
use host::linux::walk::{Translations, translations};
use ipnet::IpNet;
use model::{Mode, Proto, RuleId, Transport};
use planner::{Party, Span, Ways};
use runtimes::docker::{Container, Port};

use crate::force::Force;
use crate::shared::Shared;

use hosted::Hosted;
use served::{Rules, Way};
pub(crate) use terms::{findings, misled};

use super::flows::moment;
use super::{person, rule_at, why};

/// Ports in one answer.
const MOST: usize = 65_536;
/// Ranges of one port.
const RANGES: usize = 32;
/// Services that the host's own policy is asked about.
const ASKED: usize = 512;
/// What Docker's own process is called.
const PROXY: &str = "docker-proxy";

/// Of Podman: it listens at the ports of a container for nobody, so that none else takes them.
const HOLDER: &str = "conmon";

/// What Docker says of its ports.
pub(crate) type Asked = Result<Vec<Container>, String>;

/// The ports, in the network namespace of the calling thread. `docker` is `None` when there is no Docker to ask.
pub(crate) fn publishes(shared: &Shared, docker: Option<Asked>) -> Publishes {
    let force = shared.force();
    let mut warnings = Vec::new();
    let containers = match docker {
        None => Vec::new(),
        Some(Ok(containers)) => containers,
        Some(Err(why)) => {
            warnings.push(format!("Docker's ports are not known: {why}"));
            Vec::new()
        }
    };
    let rules = translations();
    for program in &rules.gaps {
        warnings.push(format!(
            "{program} did not tell its rules: ports that others lead elsewhere may be missing"
        ));
    }
    let hosted = Hosted::now(shared, force.as_deref());
    let mut ports = listed(force.as_deref(), &containers, listeners(), &rules, &hosted);
    if force.is_some_and(|force| force.wanted.document.host.is_some()) {
        before_the_host(shared, &mut ports);
    }
    if ports.len() > MOST {
        warnings.push(format!("{} more ports are left out", ports.len() - MOST));
        ports.truncate(MOST);
    }
    Publishes { schema: PUBLISHES_SCHEMA.to_owned(), ports, warnings }
}

/// The host's own policy stands before its sockets and before what Docker publishes.
fn before_the_host(shared: &Shared, ports: &mut [OpenPort]) {
    let mut known: BTreeMap<String, Option<Why>> = BTreeMap::new();
    for port in ports.iter_mut() {
        if port.opener == Opener::Bulkhead || matches!(port.world, World::Local | World::Drop) {
            continue;
        }
        let service = format!("{}/{}", port.protocol, port.port);
        if known.len() >= ASKED && !known.contains_key(&service) {
            continue;
        }
        let why = known.entry(service).or_insert_with_key(|service| {
            let request = WhyRequest {
                from: "world".to_owned(),
                to: "host".to_owned(),
                service: service.clone(),
                ..WhyRequest::default()
            };
            why::why(shared, &request).ok()
        });
        let Some(why) = why else { continue };
        // A workload on the host's stack has a policy of its own as well: both have to let it in.
        let is_process = port.opener == Opener::Process && port.to.is_none();
        match why.verdict {
            Verdict::Drop => {
                port.world = World::Drop;
                "the host's own policy does not let the world in".clone_into(&mut port.text);
                port.rule.clone_from(&why.rule);
            }
            Verdict::Audit if is_process => {
                port.world = World::Audit;
                "passes the host's own policy, and is recorded: it is audited"
                    .clone_into(&mut port.text);
            }
            Verdict::Allow if is_process => {
                port.world = World::Allow;
                "the host's own policy lets the world in".clone_into(&mut port.text);
                port.rule.clone_from(&why.rule);
            }
            Verdict::Allow | Verdict::Audit => {}
        }
    }
}

/// All kinds together, in order.
fn listed(
    force: Option<&Force>,
    containers: &[Container],
    sockets: Vec<Listener>,
    translations: &Translations,
    hosted: &Hosted,
) -> Vec<OpenPort> {
    let targets = translations.found.iter().filter_map(|rule| rule.to).collect();
    let view = View::new(force, containers, &targets, hosted);
    let mut rules = Rules::new(&translations.found, translations.gaps.is_empty());
    let mut ports = view.ours();
    let docker = view.docker(&mut rules, &sockets);
    ports.extend(view.idle());
    ports.extend(rules.others(&view));
    let proxied: BTreeSet<(String, u16)> =
        docker.iter().map(|port| (port.protocol.clone(), port.port)).collect();
    ports.extend(docker);
    for socket in sockets {
        let key = (socket.transport.to_owned(), socket.port);
        // Docker's own entry speaks of its proxy, and a rule's of what holds the port for it.
        let is_told = match socket.process.as_deref() {
            Some(PROXY) => proxied.contains(&key),
            Some(HOLDER) => socket.uid == 0 && rules.lead(&socket),
            _ => false,
        };
        if !is_told {
            ports.push(view.of_socket(&socket, hosted));
        }
    }
    ports.sort_by(|a, b| {
        (a.port, &a.protocol, a.opener, &a.address).cmp(&(
            b.port,
            &b.protocol,
            b.opener,
            &b.address,
        ))
    });
    ports.dedup();
    ports
}

fn of_socket(socket: &Listener) -> OpenPort {
    let (world, text) = if socket.is_local() {
        (World::Local, "bound to loopback: this host alone")
    } else {
        (World::Open, "a process of the host listens")
    };
    OpenPort {
        protocol: socket.transport.to_owned(),
        address: socket.address.to_string(),
        port: socket.port,
        opener: Opener::Process,
        name: socket.process.clone(),
        uid: Some(socket.uid),
        world,
        text: text.to_owned(),
        ..OpenPort::default()
    }
}

/// What is in force, and what the world may send.
struct View<'f> {
    force: Option<&'f Force>,
    containers: &'f [Container],
    /// Ids of workloads by container.
    workloads: BTreeMap<&'f str, Vec<String>>,
    ways: BTreeMap<Arc<str>, Ways>,
}

impl<'f> View<'f> {
    /// `targets` are the addresses that rules of others lead to.
    fn new(
        force: Option<&'f Force>,
        containers: &'f [Container],
        targets: &BTreeSet<IpAddr>,
        hosted: &Hosted,
    ) -> Self {
        let mut workloads: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for (key, kept) in force.iter().flat_map(|force| force.wanted.attachments.iter()) {
            let container = key.strip_prefix("docker/").and_then(|rest| rest.split('/').next());
            if let Some(container) = container {
                workloads.entry(container).or_default().push(kept.id());
            }
        }
        // Rules of others may lead to any workload whose addresses the host knows.
        let routed = force.iter().flat_map(|force| &force.wanted.bundle.routers);
        let routed = routed.filter(|router| router.mode == Mode::Routed);
        let led_to = routed.flat_map(|router| &router.endpoints);
        let led_to =
            led_to.filter(|at| at.addresses.iter().any(|net| targets.contains(&net.addr())));
        let led_to = led_to.map(|at| Arc::clone(&at.workload));
        let wanted = workloads.values().flatten().map(|id| Arc::from(id.as_str())).chain(led_to);
        let published = force.iter().flat_map(|force| &force.wanted.bundle.routers);
        let published = published.flat_map(|router| &router.publishes);
        let wanted = wanted.chain(published.map(|publish| Arc::clone(&publish.workload)));
        let wanted = wanted.chain(hosted.workloads()).collect();
        let ways = force.map(|force| planner::from_world(&force.wanted.bundle, &wanted));
        Self { force, containers, workloads, ways: ways.unwrap_or_default() }
    }

    /// What the file publishes.
    fn ours(&self) -> Vec<OpenPort> {
        let routers = self.force.iter().flat_map(|force| &force.wanted.bundle.routers);
        let publishes =
            routers.flat_map(|router| router.publishes.iter().map(move |it| (router, it)));
        let told = publishes.map(|(router, publish)| {
            let narrow = &publish.from;
            let port = OpenPort {
                protocol: publish.transport.to_string(),
                address: publish.address.map_or_else(|| "*".to_owned(), |it| it.to_string()),
                port: publish.port,
                opener: Opener::Bulkhead,
                name: Some(format!("{}/{}", router.tenant, publish.name)),
                to: Some(format!("{}:{}", person(&publish.workload), publish.target_port)),
                owner: publish.owner.as_deref().map(str::to_owned),
                until: publish.until.map(moment),
                limit: (!publish.limit.is_none()).then(|| publish.limit.to_string()),
                ..OpenPort::default()
            };
            if publish.address.is_some_and(|address| address.is_loopback()) {
                return local(port);
            }
            self.judged(port, &publish.workload, publish.transport, publish.target_port, narrow)
        });
        told.collect()
    }

    /// What a process listens on: the host, or a workload on the host's own stack.
    fn of_socket(&self, socket: &Listener, hosted: &Hosted) -> OpenPort {
        let port = of_socket(socket);
        let Some(id) = hosted.owner(socket) else { return port };
        let port = OpenPort { to: Some(format!("{}:{}", person(id), socket.port)), ..port };
        if port.world == World::Local {
            return port;
        }
        let transport = if socket.transport == "udp" { Transport::Udp } else { Transport::Tcp };
        // `::` takes both versions.
        let address = port.address.clone();
        let any = OpenPort { address: "*".to_owned(), ..port };
        OpenPort { address, ..self.judged(any, id, transport, socket.port, &[]) }
    }

    /// What Docker publishes.
    fn docker(&self, rules: &mut Rules<'_>, sockets: &[Listener]) -> Vec<OpenPort> {
        let all = self.containers.iter().flat_map(|it| it.ports.iter().map(move |port| (it, port)));
        all.map(|(container, port)| self.of_docker(container, port, rules.way(port, sockets)))
            .collect()
    }

    fn of_docker(&self, container: &Container, port: &Port, way: Way) -> OpenPort {
        let found = OpenPort {
            protocol: port.transport.to_string(),
            address: port.address.to_string(),
            port: port.public,
            opener: Opener::Docker,
            name: Some(shown(&container.name)),
            ..OpenPort::default()
        };
        if port.address.is_loopback() {
            return local(found);
        }
        if way == Way::Nobody {
            let text = "neither a rule nor docker-proxy serves it now";
            return OpenPort { world: World::Drop, text: text.to_owned(), ..found };
        }
        let Some(ids) = self.workloads.get(container.id.as_str()) else {
            let text =
                "no network of the file has the container: nothing of Bulkhead's is before it";
            return OpenPort { world: World::Open, text: text.to_owned(), ..found };
        };
        // In several networks, Docker leads to the address in one of them: the most open one is told.
        let each = ids.iter().map(|id| {
            let to = Some(format!("{}:{}", person(id), port.private));
            let entry = OpenPort { to, ..found.clone() };
            let is_proxied = match way {
                Way::Proxied => true,
                Way::Unknown => self.has_no_v6(id) && port.address.is_ipv6(),
                Way::Translated | Way::Nobody => false,
            };
            let entry = if is_proxied {
                self.through_proxy(entry, id, port)
            } else {
                self.judged(entry, id, port.transport, port.private, &[])
            };
            self.with_terms(entry, id, (port.transport, port.address, port.public))
        });
        each.min_by_key(|entry| entry.world).unwrap_or(found)
    }

    /// Whether a container has no IPv6 address, so that only `docker-proxy` can serve a port of that version.
    fn has_no_v6(&self, id: &str) -> bool {
        let attachment = self.force.and_then(|force| force.wanted.bundle.attachment(id));
        attachment.is_none_or(|(_, at)| at.addresses.iter().all(|net| net.addr().is_ipv4()))
    }

    /// The workload that has an address as the host sees it: in a network whose addresses stand in the host's own routing.
    fn workload_at(&self, address: IpAddr) -> Option<Arc<str>> {
        let routers = self.force?.wanted.bundle.routers.iter();
        let routed = routers.filter(|router| router.mode == Mode::Routed);
        let mut ends = routed.flat_map(|router| &router.endpoints);
        let has = |at: &&planner::Attachment| at.addresses.iter().any(|net| net.addr() == address);
        ends.find(has).map(|at| Arc::clone(&at.workload))
    }

    /// The host stands for the world.
    fn through_proxy(&self, port: OpenPort, id: &str, docker: &Port) -> OpenPort {
        let Some(force) = self.force else { return port };
        let target = Party::Workload(Arc::from(id));
        let spans = planner::between(&force.wanted.bundle, &Party::Host, &target);
        let span = spans.iter().find(|span| holds(span, docker.transport, docker.private));
        let Some(span) = span else {
            let text = "docker-proxy connects as the host, and no policy lets the host in";
            return OpenPort { world: World::Drop, text: text.to_owned(), ..port };
        };
        let world = if span.audit { World::Audit } else { World::Allow };
        let text = "docker-proxy connects as the host: whoever lets the host in lets the world in";
        OpenPort { world, rule: self.rule(span), text: text.to_owned(), ..port }
    }

    /// What the tables say of the world and a port of a workload; `narrow` are the only clients that are translated.
    fn judged(
        &self,
        port: OpenPort,
        id: &str,
        transport: Transport,
        private: u16,
        narrow: &[IpNet],
    ) -> OpenPort {
        let ways = self.ways.get(id).map(Vec::as_slice).unwrap_or_default();
        let open = ways.iter().filter_map(|(range, spans)| {
            let span = spans.iter().find(|span| holds(span, transport, private))?;
            Some((*range, *span))
        });
        let version = port.address.parse().ok().map(|at: IpAddr| at.is_ipv6());
        let is_here = |range: &Option<IpNet>| {
            range.zip(version).is_none_or(|(range, v6)| range.addr().is_ipv6() == v6)
        };
        let open: Vec<(Option<IpNet>, Span)> = open.filter(|(range, _)| is_here(range)).collect();
        let Some((_, first)) = open.iter().find(|(range, _)| range.is_none()).or(open.first())
        else {
            let text = "no policy lets the world in";
            return OpenPort { world: World::Drop, text: text.to_owned(), ..port };
        };
        let whole = open.iter().any(|(range, _)| range.is_none());
        let ranges: Vec<IpNet> = if whole {
            narrow.to_vec()
        } else {
            open.iter().filter_map(|(range, _)| *range).collect()
        };
        let is_audited = open.iter().all(|(_, span)| span.audit);
        let (world, text) = match (whole && narrow.is_empty(), is_audited) {
            (_, true) => (World::Audit, "passes, and is recorded: it is audited"),
            (true, false) => (World::Allow, "a policy lets the world in"),
            (false, false) => (World::Some, "a policy lets these ranges in"),
        };
        OpenPort {
            world,
            from: ranges.iter().take(RANGES).map(ToString::to_string).collect(),
            rule: self.rule(first),
            text: text.to_owned(),
            ..port
        }
    }

    fn rule(&self, span: &Span) -> Option<RuleAt> {
        let id = if span.ingress_rule == 0 { span.egress_rule } else { span.ingress_rule };
        let rule = self.force?.names.rule(RuleId(id)).filter(|_| id != 0);
        rule.as_ref().map(rule_at)
    }
}

fn local(port: OpenPort) -> OpenPort {
    let text = "bound to loopback: this host alone".to_owned();
    OpenPort { world: World::Local, text, ..port }
}

fn holds(span: &Span, transport: Transport, port: u16) -> bool {
    span.protocol == Proto::from(transport) && (span.ports.0..=span.ports.1).contains(&port)
}

/// A name that Docker gave, as printable text.
fn shown(name: &str) -> String {
    name.chars().filter(|letter| !letter.is_control()).take(128).collect()
}
