//! Docker: a container is run whose only work is one connection; the time is that of the whole command, with the container's end.

use std::time::Instant;

use anyhow::{Result, bail};
use testkit::bulkhead::Bulkhead;
use testkit::docker::{Engine, IMAGE};
use testkit::{Lab, wait_until};

use super::super::Run;
use super::super::attach::ms;
use super::{READY, TIMES, Way, in_turns};

/// Where dockerd looks for drivers.
const DRIVERS: &str = "/run/docker/plugins";
/// Networks of Docker's.
const PLAIN: &str = "plain";
const IN_PLACE: &str = "in-place";
const DRIVER: &str = "driver";

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
        wait_until("an answer", READY, || made.run().is_ok())?;
        Ok(made)
    }

    fn run(&self) -> Result<f64> {
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

impl Way for Network<'_> {
    fn name(&self) -> &'static str {
        self.name
    }

    fn one(&mut self, _number: usize) -> Result<f64> {
        self.run()
    }
}

pub(super) fn run(run: &mut Run) -> Result<()> {
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
    let mut ways = [
        Network::stand("docker bridge, no agent", &plain, PLAIN)?,
        Network::stand("docker bridge, enforced in place", &engine, IN_PLACE)?,
        Network::stand("docker network create -d bulkhead", &engine, DRIVER)?,
    ];
    in_turns(run, &mut ways, TIMES, "a whole docker run --rm with one connection")
}
