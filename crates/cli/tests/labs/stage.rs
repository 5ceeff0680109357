//! A host with an uplink, an outside, workloads in namespaces, and the agent.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use testkit::bulkhead::Bulkhead;
use testkit::server::{Reached, TcpEcho, probe_tcp};
use testkit::{Finished, Lab, Namespace, Scope, Snapshot, wait_for, wait_until};

/// How long a probe waits before it counts as dropped.
pub(crate) const SILENCE: Duration = Duration::from_millis(400);
/// How long something may take to show.
pub(crate) const SOON: Duration = Duration::from_secs(5);
/// The host's own address.
pub(crate) const HOST: &str = "198.51.100.2";
/// An address on the internet.
pub(crate) const OUTSIDE: &str = "203.0.113.9";
/// Another one.
pub(crate) const ELSEWHERE: &str = "192.0.2.77";

/// Everything a lab needs. Fields drop in this order: agent first, namespaces last.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) bulkhead: Bulkhead,
    pub(crate) outside: Namespace,
    pub(crate) host: Namespace,
    pub(crate) lab: Lab,
}

impl Stage {
    /// A host with an agent that enforces nothing yet.
    pub(crate) fn new() -> Self {
        let mut stage = Self::without_agent();
        stage.bulkhead.start_agent().expect("the agent starts");
        stage
    }

    /// A host with the folders of an agent, but none running.
    pub(crate) fn without_agent() -> Self {
        let mut lab = Lab::new().expect("a lab");
        let host = lab.namespace("host").expect("the host");
        let outside = lab.namespace("outside").expect("the outside");
        for space in [&host, &outside] {
            // Link-local addresses are there at once, so that snapshots compare.
            space.sysctl("net.ipv6.conf.default.accept_dad", "0").expect("a sysctl");
        }
        lab.veth((&host, "uplink"), (&outside, "uplink")).expect("the uplink");
        host.ip(&format!("addr add {HOST}/24 dev uplink\nroute add default via 198.51.100.1"))
            .expect("the host's address");
        outside
            .ip(&format!(
                "addr add 198.51.100.1/24 dev uplink\naddr add {OUTSIDE}/32 dev lo\n\
                 addr add {ELSEWHERE}/32 dev lo\nlink set uplink up"
            ))
            .expect("addresses of the internet");
        let bulkhead = Bulkhead::prepare(&lab, &host).expect("folders");
        Self { bulkhead, outside, host, lab }
    }

    /// A namespace that a workload with `netns:` adopts; returns it and its path for the file.
    pub(crate) fn adopted(&mut self, name: &str) -> (Namespace, String) {
        let space = self.lab.namespace(name).expect("a workload's namespace");
        let path = space.path().display().to_string();
        (space, path)
    }

    /// Brings up a tenant `t` that has one network `main`, described by `network`, workloads in adopted namespaces, each
    /// with its name and its other keys, and `rest`: whole lines as the tenant's keys stand in the file.
    pub(crate) fn tenant<const N: usize>(
        &mut self,
        network: &str,
        workloads: [(&str, &str); N],
        rest: &str,
    ) -> [Namespace; N] {
        let mut text = format!(
            "bulkhead: 1\ntenants:\n  t:\n    networks: {{ main: {{ {network} }} }}\n    workloads:\n"
        );
        let spaces = workloads.map(|(name, keys)| {
            let (space, path) = self.adopted(name);
            text.extend([format!("      {name}: {{ {keys}, netns: {path} }}\n")]);
            space
        });
        text += rest;
        self.bulkhead.up(&text).expect("applied");
        spaces
    }

    /// Flow records that match, newest last, waiting until there is one.
    pub(crate) fn flows(&self, filter: &[&str]) -> Vec<Value> {
        let argv: Vec<&str> = ["observe", "--json"].iter().chain(filter).copied().collect();
        let look = || {
            let done = self.bulkhead.cli(&argv).ok()?.success().ok()?;
            let records: Vec<Value> =
                done.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            (!records.is_empty()).then_some(records)
        };
        wait_for(&format!("flows {filter:?}"), SOON, look).expect("a flow record")
    }

    /// The answer to `why`, as JSON.
    pub(crate) fn why(&self, from: &str, to: &str, service: &str) -> Value {
        self.bulkhead.cli_json(&["why", from, to, service]).expect("why answers")
    }

    /// The code of the newest drop between two parties.
    pub(crate) fn drop_code(&self, from: &str, to: &str) -> String {
        let flows = self.flows(&["--verdict", "drop", "--from", from, "--to", to]);
        let newest = flows.last().expect("at least one");
        newest["reason"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

/// A scope's state once it has settled: carrier and addresses of new links take a moment.
pub(crate) fn settled(scope: &Scope) -> Snapshot {
    let mut last = scope.snapshot().expect("a snapshot");
    let quiet = Duration::from_millis(1200);
    let mut since = Instant::now();
    let settled = wait_until("a settled host", Duration::from_secs(15), || {
        let now = scope.snapshot().expect("a snapshot");
        if now != last {
            last = now;
            since = Instant::now();
        }
        since.elapsed() >= quiet
    });
    settled.expect("the host settles");
    last
}

/// `10.0.1.2:80` as a socket address.
pub(crate) fn at(text: &str) -> SocketAddr {
    text.parse().expect("ADDRESS:PORT")
}

/// Whether a TCP echo server answers.
pub(crate) fn reaches(from: &Namespace, to: &str) -> bool {
    probe_tcp(from, at(to), SILENCE).expect("the probe runs") == Reached::Answered
}

/// TCP echo servers on several ports of one address.
pub(crate) fn serve(space: &Namespace, address: &str, ports: &[u16]) -> Vec<TcpEcho> {
    let start = |port: &u16| {
        let to = SocketAddr::new(address.parse().expect("an address"), *port);
        TcpEcho::start(space, to).expect("an echo server")
    };
    ports.iter().map(start).collect()
}

/// Runs a command in a workload to its end.
pub(crate) fn inside(stage: &Stage, workload: &str, script: &str) -> Finished {
    let argv = ["exec", workload, "--", "sh", "-c", script];
    stage.bulkhead.cli(&argv).expect("exec runs")
}
