//! Looks ahead: do the connections by which this host is managed survive a change of the host part?
//!
//! Every established connection of an SSH daemon, and a new one by the same way, is put to the tables that are to come, by the same code
//! that the kernel runs. What would be cut is told with the packet, what drops it, and the line that would keep it.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use api::{Error, codes};
use host::linux::probe::{Listener, listeners};
use planner::Bundle;
use verdict::Question;
use verdict::abi::{Addr, HOST_NETWORK, Ports, Verdict};
use verdict::packet::protocol;

use crate::answers::judge::Judge;
use crate::fault::refused;

use super::session::{Established, Origin, established};

/// Daemons whose connections must survive.
const DAEMONS: [&str; 2] = ["sshd", "dropbear"];
/// Connections that are told one by one.
const TOLD: usize = 5;

/// A way by which somebody manages this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Way {
    /// Who.
    pub(crate) remote: SocketAddr,
    /// The host's end.
    pub(crate) local: SocketAddr,
    /// Whether the change itself came by it.
    pub(crate) own: bool,
}

/// The ways by which this host is managed now: connections of its SSH daemons, and the one that the change came by.
pub(crate) fn ways(by: &Origin) -> Vec<Way> {
    let ports = listeners().iter().filter(|each| is_daemon(each)).map(|each| each.port).collect();
    of(&established(Path::new("/proc/thread-self")), &ports, by)
}

/// Whether an SSH daemon waits at a socket. It is root's: anybody else's process may be called so, and would have a say in what the
/// host's policy must leave open.
fn is_daemon(socket: &Listener) -> bool {
    let is_named = |name: &String| DAEMONS.iter().any(|daemon| name.starts_with(daemon));
    socket.uid == 0 && socket.transport == "tcp" && socket.process.as_ref().is_some_and(is_named)
}

fn of(all: &[Established], ports: &BTreeSet<u16>, by: &Origin) -> Vec<Way> {
    let own = match by {
        Origin::Ssh { remote, local, .. } => Some((*remote, *local)),
        _ => None,
    };
    let known = all.iter().filter(|each| ports.contains(&each.local.port()));
    let known = known.map(|each| (each.remote, each.local)).chain(own);
    let outside = known.filter(|(remote, _)| !remote.ip().is_loopback());
    let ways: BTreeSet<Way> = outside
        .map(|(remote, local)| Way { remote, local, own: own == Some((remote, local)) })
        .collect();
    ways.into_iter().collect()
}

/// Holds a bundle to the ways by which this host is managed.
///
/// # Errors
/// `BH0250` with a counterexample when one of them would be cut.
pub(crate) fn prove(bundle: &Bundle, file: &str, ways: &[Way]) -> Result<(), Error> {
    let cut: Vec<String> =
        ways.iter().filter_map(|way| counterexample(bundle, file, *way)).collect();
    let Some(first) = cut.first() else { return Ok(()) };
    let example = ways.iter().find(|way| counterexample(bundle, file, **way).is_some());
    let line = example.map(|way| keeping(way.remote.ip(), way.local.port())).unwrap_or_default();
    let more = match cut.len() {
        1 => String::new(),
        count => format!(" ({count} in all)"),
    };
    let mut error = refused(
        codes::CUTS,
        format!(
            "the host's policy would cut a connection by which this host is managed{more}: {first}"
        ),
    );
    error.cause = (cut.len() > 1)
        .then(|| cut.iter().skip(1).take(TOLD).cloned().collect::<Vec<_>>().join("; "));
    Err(error.with_hint(format!(
        "add to `policies:` at the top of the file  {line}  or go on with --cut-connections; it comes back by itself when nobody confirms"
    )))
}

/// The packet that would be dropped, and by what; nothing when the way stays open.
fn counterexample(bundle: &Bundle, file: &str, way: Way) -> Option<String> {
    let judge = Judge::new(&bundle.tables);
    let question = Question {
        source: Addr::from(way.remote.ip().to_canonical()),
        target: Addr::from(way.local.ip().to_canonical()),
        network: HOST_NETWORK,
        ports: Ports { source: way.remote.port(), target: way.local.port() },
        protocol: protocol::TCP,
    };
    let own = if way.own { ", over which this change came," } else { "" };
    let packet = format!("{} → {}/tcp{own}", way.remote, way.local);
    let published = bundle.routers.iter().flat_map(|router| router.publishes.iter());
    let mut taken = published.filter(|publish| {
        let here = publish.address.is_none_or(|address| address == way.local.ip());
        let for_it = publish.from.is_empty()
            || publish.from.iter().any(|net| net.contains(&way.remote.ip()));
        here && for_it
            && publish.transport == model::Transport::Tcp
            && publish.port == way.local.port()
    });
    if let Some(publish) = taken.next() {
        let (name, to) = (&publish.name, &publish.workload);
        return Some(format!(
            "{packet} a new one would go to the workload {to}, by the published port {name}"
        ));
    }
    let judgement = judge.judge(&question);
    if judgement.verdict != Verdict::Drop {
        return None;
    }
    let by = match bundle.rules.get(&judgement.ingress_rule) {
        Some(rule) => format!("{}  {}:{}:{}", rule.path, rule.file, rule.line, rule.column),
        None => format!("the posture of the host  {file}: no policy lets it in"),
    };
    Some(format!("{packet} is dropped by {by}"))
}

/// The one line that would keep a way open.
fn keeping(remote: IpAddr, port: u16) -> String {
    let remote = remote.to_canonical();
    format!("manage-{port}: {{ from: {remote}, to: host, allow: [{port}/tcp] }}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn connections_of_ssh_daemons_and_the_one_of_the_change_are_ways() {
        let connection = |local: &str, remote: &str| Established {
            local: at(local),
            remote: at(remote),
            inode: 1,
        };
        let all = [
            connection("198.51.100.2:22", "203.0.113.9:40000"),
            connection("198.51.100.2:443", "203.0.113.9:40001"),
            connection("127.0.0.1:22", "127.0.0.1:40002"),
        ];
        let by = Origin::Ssh {
            remote: at("192.0.2.7:50000"),
            local: at("198.51.100.2:2222"),
            began_ms: 0,
        };
        let ways = of(&all, &BTreeSet::from([22]), &by);
        let told: Vec<(String, bool)> =
            ways.iter().map(|way| (way.remote.to_string(), way.own)).collect();
        assert_eq!(
            told,
            [("192.0.2.7:50000".to_owned(), true), ("203.0.113.9:40000".to_owned(), false)]
        );
        assert!(of(&all, &BTreeSet::new(), &Origin::Apart).is_empty());
    }

    #[test]
    fn a_process_of_a_user_that_is_called_sshd_has_no_say() {
        let socket = |uid, name: &str| Listener {
            transport: "tcp",
            address: IpAddr::from([0, 0, 0, 0]),
            port: 2222,
            uid,
            process: Some(name.to_owned()),
        };
        assert!(is_daemon(&socket(0, "sshd")) && is_daemon(&socket(0, "dropbear")));
        assert!(!is_daemon(&socket(1000, "sshd")), "anybody may call a process so");
        assert!(!is_daemon(&socket(0, "nginx")));
    }

    #[test]
    fn the_line_that_keeps_a_way_open_is_a_policy() {
        let line = keeping(at("[::ffff:203.0.113.9]:1").ip(), 22);
        assert_eq!(line, "manage-22: { from: 203.0.113.9, to: host, allow: [22/tcp] }");
    }
}
