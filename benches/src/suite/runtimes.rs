//! B7r: from nothing to the first answer for what runtimes start: through `bulkhead-cni`, and under Docker.
//!
//! CNI: a namespace is made, the chain of plugins is called as a runtime calls it, and a datagram is sent until its echo comes. Docker: a
//! container is run whose only work is one connection; the time is that of the whole command, with the container's end. The ways of a
//! family take turns, and each has a host of its own; that of the peer has no agent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use testkit::bulkhead::Bulkhead;
use testkit::docker::{Engine, IMAGE};
use testkit::server::UdpEcho;
use testkit::{Lab, Namespace, wait_until};

use super::Run;
use super::attach::{calm, first_packet, ms};
use crate::cni::Cni;
use crate::load::ALLOWED_PORTS;
use crate::report::Goal;
use crate::stats::percentile;

/// Row of this module.
pub const ID: &str = "B7r";
/// Namespaces of each way over CNI.
const PODS: usize = 100;
/// Containers of each way under Docker.
const CONTAINERS: usize = 30;
/// How long a server may take to answer.
const READY: Duration = Duration::from_secs(20);
/// Where dockerd looks for drivers.
const DRIVERS: &str = "/run/docker/plugins";
/// Networks of Docker's.
const PLAIN: &str = "plain";
const IN_PLACE: &str = "in-place";
const DRIVER: &str = "driver";

/// Runs it; part of the full list.
///
/// # Errors
/// When a namespace cannot be made.
pub fn run(run: &mut Run) -> Result<()> {
    if run.quick {
        return Ok(());
    }
    eprintln!("{ID}: attach to first packet, by runtimes");
    if let Err(cause) = over_cni(run) {
        run.report.gap(ID, "CNI", format!("{cause:#}"));
    }
    calm(Duration::from_mins(1))?;
    if let Err(cause) = under_docker(run) {
        run.report.gap(ID, "Docker", format!("{cause:#}"));
    }
    Ok(())
}

/// A host with a chain of plugins and a server that was attached by it.
struct Attached {
    name: &'static str,
    cni: Cni,
    at: SocketAddr,
    _echo: UdpEcho,
    _bulkhead: Option<Bulkhead>,
    lab: Lab,
}

impl Attached {
    fn stand(
        name: &'static str,
        make: impl FnOnce(&mut Lab, &Namespace) -> Result<(Cni, Cni, Option<Bulkhead>)>,
    ) -> Result<Self> {
        let mut lab = Lab::new()?;
        let host = lab.namespace("host")?;
        host.sysctl("net.ipv4.ip_forward", "1")?;
        let (clients, servers, bulkhead) = make(&mut lab, &host)?;
        let server = lab.bare_namespace("server")?;
        let at = SocketAddr::new(servers.add(&server)?.address()?, *ALLOWED_PORTS.start());
        let echo = UdpEcho::start(&server, at)?;
        Ok(Self { name, cni: clients, at, _echo: echo, _bulkhead: bulkhead, lab })
    }

    fn one(&mut self, number: usize) -> Result<f64> {
        let start = Instant::now();
        let space = self.lab.bare_namespace(&format!("w{number}"))?;
        self.cni.add(&space)?;
        first_packet(&space, self.at)?;
        Ok(ms(start))
    }
}

fn over_cni(run: &mut Run) -> Result<()> {
    let reference = |lab: &mut Lab, host: &Namespace| {
        host.sysctl("net.bridge.bridge-nf-call-iptables", "1")?;
        host.check(&["iptables", "-P", "FORWARD", "DROP"])?;
        let chain = || Cni::bridge_and_firewall(host, lab.dir());
        Ok((chain()?, chain()?, None))
    };
    let port = ALLOWED_PORTS.start();
    let file = |network: &str| {
        format!(
            "bulkhead: 1\ntenants:\n  bench:\n    networks: {{ pods: {{ {network}, subnets: [10.88.0.0/16], attach: true }} }}\n    \
             policies: {{ use: {{ from: app=client, to: app=server, allow: [{port}/udp] }} }}\n"
        )
    };
    let own = |lab: &mut Lab, host: &Namespace| {
        let bulkhead = Bulkhead::start(lab, host)?;
        bulkhead.up(&file("mode: bridge"))?;
        let chain = |app| Cni::ours(&bulkhead, "pods", app, lab.dir());
        Ok((chain("client")?, chain("server")?, Some(bulkhead)))
    };
    let behind = |lab: &mut Lab, host: &Namespace| {
        let bulkhead = Bulkhead::start(lab, host)?;
        bulkhead.up(&file("external: { bridge: cni0 }"))?;
        let chain = |app| Cni::behind_bridge(&bulkhead, "pods", app, lab.dir());
        Ok((chain("client")?, chain("server")?, Some(bulkhead)))
    };
    let mut ways = [
        Attached::stand("CNI bridge + firewall", reference)?,
        Attached::stand("bulkhead-cni", own)?,
        Attached::stand("CNI bridge + bulkhead-cni", behind)?,
    ];
    let mut millis = [const { Vec::new() }; 3];
    for number in 0..PODS {
        for (way, millis) in ways.iter_mut().zip(&mut millis) {
            millis.push(way.one(number).with_context(|| way.name)?);
        }
    }
    for (way, millis) in ways.iter().zip(&millis) {
        told(run, way.name, millis, "ms, from before the namespace is made");
    }
    Ok(())
}

fn told(run: &mut Run, name: &str, millis: &[f64], what: &str) {
    let note = format!("{what}; {} times", millis.len());
    for (word, part) in [("p50", 0.5), ("p99", 0.99)] {
        let value = percentile(millis, part);
        run.report.single(ID, &format!("{name}: {word}"), value, Goal::None, &note);
    }
}

/// A dockerd's network with a container that serves, and what a client's command begins with.
struct Network<'a> {
    name: &'static str,
    engine: &'a Engine,
    on: &'static str,
    server: String,
}

impl<'a> Network<'a> {
    fn stand(name: &'static str, engine: &'a Engine, on: &'static str) -> Result<Self> {
        let label = ["-l", "app=server"];
        let mut line = vec!["run", "-d", "--network", on];
        line.extend(label);
        line.extend([IMAGE, "/bin/httpd", "-f", "-p", "80"]);
        let id = engine.docker(&line)?;
        let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let server = engine.docker(&["inspect", "-f", format, &id])?;
        let made = Self { name, engine, on, server };
        // The first one also waits for the server.
        wait_until("an answer", READY, || made.one().is_ok())?;
        Ok(made)
    }

    fn one(&self) -> Result<f64> {
        let start = Instant::now();
        let mut line = vec!["run", "--rm", "--network", self.on, "-l", "app=client", IMAGE];
        // It ends with its input, and in success only when it was connected.
        line.extend(["/bin/nc", "-w", "10", &self.server, "80"]);
        let done = self.engine.cli(&line)?;
        let took = ms(start);
        if done.code() != Some(0) {
            bail!("{}: {}", self.name, done.stderr.trim());
        }
        Ok(took)
    }
}

fn under_docker(run: &mut Run) -> Result<()> {
    let mut bare = Lab::new()?;
    let host = bare.namespace("host")?;
    let plain = Engine::start(&bare, &host, &[])?;
    plain.docker(&["network", "create", PLAIN])?;

    let mut lab = Lab::new()?;
    let host = lab.namespace("host")?;
    let name = format!("bulkhead-bench-{}", std::process::id());
    let socket = std::path::Path::new(DRIVERS).join(format!("{name}.sock"));
    let engine = Engine::start(&lab, &host, &[])?;
    engine.docker(&["network", "create", "--subnet", "10.89.0.0/16", IN_PLACE])?;
    let mut bulkhead = Bulkhead::prepare(&lab, &host)?;
    let docker = engine.socket().display().to_string();
    bulkhead.agent_options(&[
        "--docker",
        &docker,
        &format!("--docker-driver={}", socket.display()),
    ]);
    bulkhead.start_agent()?;
    let policy = "policies: { use: { from: app=client, to: app=server, allow: [80/tcp] } }";
    bulkhead.up(&format!(
        "bulkhead: 1\ntenants:\n  one:\n    networks: {{ lan: {{ external: {{ docker: {IN_PLACE} }} }} }}\n    {policy}\n  \
         two:\n    networks: {{ own: {{ mode: bridge, subnets: [10.90.0.0/16], attach: true }} }}\n    {policy}\n"
    ))?;
    wait_until("the driver", READY, || socket.exists())?;
    let option = "bulkhead.network=two/own";
    engine.docker(&[
        "network",
        "create",
        "-d",
        &name,
        "-o",
        option,
        "--ipam-driver",
        &name,
        "--ipam-opt",
        option,
        DRIVER,
    ])?;
    let ways = [
        Network::stand("docker bridge, no agent", &plain, PLAIN)?,
        Network::stand("docker bridge, enforced in place", &engine, IN_PLACE)?,
        Network::stand("docker network create -d bulkhead", &engine, DRIVER)?,
    ];
    let mut millis = [const { Vec::new() }; 3];
    for _ in 0..CONTAINERS {
        for (way, millis) in ways.iter().zip(&mut millis) {
            millis.push(way.one()?);
        }
    }
    for (way, millis) in ways.iter().zip(&millis) {
        told(run, way.name, millis, "ms, a whole docker run --rm with one connection");
    }
    Ok(())
}
