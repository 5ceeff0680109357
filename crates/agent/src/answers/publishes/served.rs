//! By which way a port of Docker's is served, and which rules of others lead to ports that Docker does not speak of.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use api::{OpenPort, Opener, World};
use host::linux::probe::Listener;
use host::linux::walk::Translation;
use host::network::Transport as Spoken;
use model::Transport;
use runtimes::docker::Port;

use super::{PROXY, View};

/// How a port of Docker's is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// A rule translates it: policy sees the client.
    Translated,
    /// `docker-proxy` listens: policy sees the host.
    Proxied,
    /// Nobody does, as far as rules and sockets tell.
    Nobody,
    /// Rules could not be read.
    Unknown,
}

/// Rules of others, and which of them a port of Docker's has been found for.
pub(super) struct Rules<'r> {
    all: &'r [Translation],
    is_whole: bool,
    told: BTreeSet<usize>,
}

impl<'r> Rules<'r> {
    /// `is_whole` tells whether every program answered.
    pub(super) fn new(all: &'r [Translation], is_whole: bool) -> Self {
        Self { all, is_whole, told: BTreeSet::new() }
    }

    /// By which way a port of Docker's is served.
    pub(super) fn way(&mut self, port: &Port, sockets: &[Listener]) -> Way {
        let transport = spoken(port.transport);
        let leads = |rule: &Translation| {
            rule.concerns(transport, port.address, port.public)
                && rule.to.is_some()
                && rule.to_port.is_none_or(|to| to == port.private)
        };
        let found = self.all.iter().enumerate().find(|(_, rule)| leads(rule));
        if let Some((at, _)) = found {
            self.told.insert(at);
            return Way::Translated;
        }
        let is_proxy = |socket: &&Listener| {
            socket.process.as_deref() == Some(PROXY)
                && socket.transport == transport.name()
                && socket.port == port.public
                && socket.address.is_ipv6() == port.address.is_ipv6()
        };
        match sockets.iter().find(is_proxy) {
            Some(_) => Way::Proxied,
            None if self.is_whole => Way::Nobody,
            None => Way::Unknown,
        }
    }

    /// Whether a rule leads elsewhere whatever comes to a socket.
    pub(super) fn lead(&self, socket: &Listener) -> bool {
        let is_it = |rule: &Translation| {
            rule.to.is_some()
                && rule.transport.name() == socket.transport
                && rule.concerns(rule.transport, socket.address, socket.port)
        };
        self.all.iter().any(is_it)
    }

    /// The ports that others' rules lead elsewhere and no port of Docker's is.
    pub(super) fn others(&self, view: &View<'_>) -> Vec<OpenPort> {
        let rest = self.all.iter().enumerate().filter(|(at, _)| !self.told.contains(at));
        rest.map(|(_, rule)| other(rule, view)).collect()
    }
}

fn spoken(transport: Transport) -> Spoken {
    match transport {
        Transport::Tcp => Spoken::Tcp,
        Transport::Udp => Spoken::Udp,
        Transport::Sctp => Spoken::Sctp,
    }
}

/// Who wrote a rule, by the chain that it is in: these programs make chains of their own names.
fn writer(rule: &Translation) -> Opener {
    let chain = rule.place.rsplit(' ').next().unwrap_or_default();
    if chain.starts_with("CNI-") {
        Opener::Cni
    } else if chain.starts_with("NETAVARK-") {
        Opener::Podman
    } else if chain.starts_with("DOCKER") {
        Opener::Docker
    } else {
        Opener::Rule
    }
}

/// All addresses of a version.
fn any(v6: Option<bool>) -> IpAddr {
    if v6 == Some(true) { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() }
}

fn other(rule: &Translation, view: &View<'_>) -> OpenPort {
    let (first, last) = (*rule.ports.start(), *rule.ports.end());
    let target = |to: IpAddr| {
        let port = rule.to_port.unwrap_or(first);
        if to.is_ipv6() { format!("[{to}]:{port}") } else { format!("{to}:{port}") }
    };
    let address = match (rule.address, rule.v6) {
        (Some(net), _) if net.prefix_len() == net.max_prefix_len() => net.addr().to_string(),
        (Some(net), _) => net.to_string(),
        (None, Some(true)) => "::".to_owned(),
        (None, Some(false)) => "0.0.0.0".to_owned(),
        (None, None) => "*".to_owned(),
    };
    let found = OpenPort {
        protocol: rule.transport.name().to_owned(),
        address,
        port: first,
        last: (last > first).then_some(last),
        opener: writer(rule),
        name: rule.comment.clone().or_else(|| Some(rule.place.clone())),
        to: rule.to.map(target),
        ..OpenPort::default()
    };
    if rule.address.is_some_and(|net| net.addr().is_loopback()) {
        return super::local(found);
    }
    let port = rule.to_port.unwrap_or(first);
    if let Some(id) = rule.to.and_then(|to| view.workload_at(to)) {
        let to = Some(format!("{}:{port}", super::person(&id)));
        let transport = match rule.transport {
            Spoken::Tcp => Transport::Tcp,
            Spoken::Udp => Transport::Udp,
            Spoken::Sctp => Transport::Sctp,
        };
        let judged = view.judged(OpenPort { to, ..found }, &id, transport, port, &[]);
        let address = rule.address.map_or(any(rule.v6), |net| net.addr());
        return view.with_terms(judged, &id, (transport, address, first));
    }
    let text = if rule.to.is_some() {
        "a rule leads it to an address that is no workload's: nothing of Bulkhead's is before it"
    } else {
        "a rule leads it to this host"
    };
    OpenPort { world: World::Open, text: text.to_owned(), ..found }
}
