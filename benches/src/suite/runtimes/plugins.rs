//! What attaches by CNI: plugins that are called as the protocol has it, Podman with its CNI backend, and `ctr run --cni`.
//!
//! Plugins alone: a namespace is made, the chain is called, and a datagram is sent until its echo comes. A runtime: a container is
//! run whose only work is one connection; the time is that of the whole command, with the container's end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};
use testkit::bulkhead::Bulkhead;
use testkit::containerd::Containerd;
use testkit::podman::{IMAGE, Plugins, Podman};
use testkit::server::{TcpEcho, UdpEcho};
use testkit::{Finished, Lab, Namespace};

use super::super::Run;
use super::super::attach::{first_packet, ms};
use super::{TIMES, Way, in_turns};
use crate::cni::Cni;
use crate::load::ALLOWED_PORTS;

/// Namespaces of each way without a runtime.
const PODS: usize = 100;
/// The network, for whoever calls the plugins.
const NETWORK: &str = "bench";

/// Who attaches: the reference, we alone, or we behind the reference's bridge.
#[derive(Debug, Clone, Copy)]
enum Chain {
    BridgeAndFirewall,
    Ours,
    BehindBridge,
}

const CHAINS: [Chain; 3] = [Chain::BridgeAndFirewall, Chain::Ours, Chain::BehindBridge];

/// A host with a chain of plugins and a server that was attached by it.
struct Plugged {
    clients: Cni,
    at: SocketAddr,
    _echoes: (UdpEcho, TcpEcho),
    _bulkhead: Option<Bulkhead>,
    space: Namespace,
    lab: Lab,
}

impl Plugged {
    fn stand(chain: Chain) -> Result<Self> {
        let mut lab = Lab::new()?;
        let host = lab.namespace("host")?;
        host.sysctl("net.ipv4.ip_forward", "1")?;
        let (clients, servers, bulkhead) = chain.make(&lab, &host)?;
        let server = lab.bare_namespace("server")?;
        let at = SocketAddr::new(servers.add(&server)?.address()?, *ALLOWED_PORTS.start());
        let echoes = (UdpEcho::start(&server, at)?, TcpEcho::start(&server, at)?);
        Ok(Self { clients, at, _echoes: echoes, _bulkhead: bulkhead, space: host, lab })
    }

    /// Gives a runtime the network: the folder with its configuration.
    fn configured(&self) -> Result<PathBuf> {
        let conf = self.lab.dir().join("net.d");
        std::fs::create_dir_all(&conf).context("make a folder")?;
        let list = self.clients.list(NETWORK).to_string();
        std::fs::write(conf.join("10-bench.conflist"), list).context("write a network")?;
        Ok(conf)
    }

    /// What a client runs: it ends with its input, which `ctr` keeps open, and in success only when it was connected.
    fn client(&self) -> [String; 3] {
        let (address, port) = (self.at.ip(), self.at.port());
        let ask = format!("exec nc -w 10 {address} {port} </dev/null");
        ["sh".to_owned(), "-c".to_owned(), ask]
    }
}

impl Chain {
    fn make(self, lab: &Lab, host: &Namespace) -> Result<(Cni, Cni, Option<Bulkhead>)> {
        let network = match self {
            Self::BridgeAndFirewall => {
                host.sysctl("net.bridge.bridge-nf-call-iptables", "1")?;
                host.check(&["iptables", "-P", "FORWARD", "DROP"])?;
                let chain = || Cni::bridge_and_firewall(host, lab.dir());
                return Ok((chain()?, chain()?, None));
            }
            Self::Ours => "mode: bridge",
            Self::BehindBridge => "external: { bridge: cni0 }",
        };
        let bulkhead = Bulkhead::start(lab, host)?;
        let port = ALLOWED_PORTS.start();
        bulkhead.up(&format!(
            "bulkhead: 1\ntenants:\n  bench:\n    networks: {{ pods: {{ {network}, subnets: [10.88.0.0/16], attach: true }} }}\n    \
             policies: {{ use: {{ from: app=client, to: app=server, allow: [{port}/udp, {port}/tcp] }} }}\n"
        ))?;
        let make = match self {
            Self::Ours => Cni::ours,
            Self::BridgeAndFirewall | Self::BehindBridge => Cni::behind_bridge,
        };
        let chain = |app| make(&bulkhead, "pods", app, lab.dir());
        Ok((chain("client")?, chain("server")?, Some(bulkhead)))
    }
}

/// The plugins, called by ourselves.
struct Called {
    name: &'static str,
    host: Plugged,
}

impl Way for Called {
    fn name(&self) -> &'static str {
        self.name
    }

    fn one(&mut self, number: usize) -> Result<f64> {
        let start = Instant::now();
        let space = self.host.lab.bare_namespace(&format!("w{number}"))?;
        self.host.clients.add(&space)?;
        first_packet(&space, self.host.at)?;
        Ok(ms(start))
    }
}

pub(super) fn alone(run: &mut Run) -> Result<()> {
    let names = ["CNI bridge + firewall", "bulkhead-cni", "CNI bridge + bulkhead-cni"];
    let ways: Result<Vec<Called>> = names
        .into_iter()
        .zip(CHAINS)
        .map(|(name, chain)| Ok(Called { name, host: Plugged::stand(chain)? }))
        .collect();
    in_turns(run, &mut ways?, PODS, "from before the namespace is made")
}

/// The plugins, called by a runtime.
struct Started<R> {
    name: &'static str,
    // Ends before its host does.
    by: R,
    host: Plugged,
    run: fn(&R, usize, &[String]) -> Result<Finished>,
}

impl<R> Way for Started<R> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn one(&mut self, number: usize) -> Result<f64> {
        let start = Instant::now();
        (self.run)(&self.by, number, &self.host.client())?.success()?;
        Ok(ms(start))
    }
}

pub(super) fn under_podman(run: &mut Run) -> Result<()> {
    let names =
        ["podman, CNI bridge + firewall", "podman, bulkhead-cni", "podman, bridge + bulkhead-cni"];
    let stand = |(name, chain)| {
        let host = Plugged::stand(chain)?;
        let by = podman(&host)?;
        let run: fn(&Podman, usize, &[String]) -> Result<Finished> = |podman, _, client| {
            let mut line = vec!["run", "--rm", "--network", NETWORK, IMAGE];
            line.extend(client.iter().map(String::as_str));
            podman.cli(&line)
        };
        Ok(Started { name, by, host, run })
    };
    let ways: Result<Vec<_>> = names.into_iter().zip(CHAINS).map(stand).collect();
    in_turns(run, &mut ways?, TIMES, "a whole podman run --rm with one connection")
}

fn podman(host: &Plugged) -> Result<Podman> {
    let conf = host.configured()?;
    let plugins = Plugins { bin: host.clients.folder(), conf: &conf };
    Podman::start(&host.lab, &host.space, plugins, "cni")
}

pub(super) fn under_containerd(run: &mut Run) -> Result<()> {
    let names = [
        "ctr --cni, bridge + firewall",
        "ctr --cni, bulkhead-cni",
        "ctr --cni, bridge + bulkhead-cni",
    ];
    let stand = |(name, chain)| {
        let host = Plugged::stand(chain)?;
        let conf = host.configured()?;
        let plugins = Plugins { bin: host.clients.folder(), conf: &conf };
        let by = Containerd::start(&host.lab, &host.space, plugins, &podman(&host)?)?;
        let run: fn(&Containerd, usize, &[String]) -> Result<Finished> =
            |daemon, number, client| {
                let name = format!("c{number}");
                let mut line =
                    vec!["run", "--rm", "--cni", "--snapshotter", "native", IMAGE, &name];
                line.extend(client.iter().map(String::as_str));
                daemon.ctr("", &line)
            };
        Ok(Started { name, by, host, run })
    };
    let ways: Result<Vec<_>> = names.into_iter().zip(CHAINS).map(stand).collect();
    in_turns(run, &mut ways?, TIMES, "a whole ctr run --rm --cni with one connection")
}
