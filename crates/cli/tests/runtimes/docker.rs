//! A real dockerd on a lab's host, as the tests of this part ask it.

use std::ops::{Deref, DerefMut};
use std::path::Path;

use anyhow::Result;
use serde_json::Value;
use testkit::docker;
use testkit::{Lab, Namespace};

pub(crate) use testkit::docker::{IMAGE, find};

/// See [`docker::Engine`].
#[derive(Debug)]
pub(crate) struct Engine(docker::Engine);

impl Deref for Engine {
    type Target = docker::Engine;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl DerefMut for Engine {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// Whether this machine has what a test of Docker needs; says so when not, and panics in CI.
pub(crate) fn is_there(test: &str) -> bool {
    let missing = ["dockerd", "docker", "busybox"].into_iter().find(|name| find(name).is_none());
    let Some(missing) = missing else { return true };
    assert!(std::env::var_os("CI").is_none(), "{test} needs {missing}");
    println!("SKIPPED({missing}): {test}");
    false
}

impl Engine {
    /// Starts dockerd on `host` and imports the image.
    pub(crate) fn start(lab: &Lab, host: &Namespace, options: &[&str]) -> Result<Self> {
        docker::Engine::start(lab, host, options).map(Self)
    }

    /// Runs a container in the background: its name, the network, more options, and its program.
    pub(crate) fn run(&self, name: &str, network: &str, more: &[&str], argv: &[&str]) -> String {
        let mut line = vec!["run", "-d", "--name", name, "--network", network];
        line.extend(more);
        line.push(IMAGE);
        line.extend(argv);
        self.docker(&line).expect("the container starts")
    }

    /// What `docker inspect` says of one thing.
    pub(crate) fn inspect(&self, name: &str) -> Value {
        let text = self.docker(&["inspect", name]).expect("inspected");
        let all: Value = serde_json::from_str(&text).expect("JSON");
        all[0].clone()
    }

    /// The network namespace of a running container.
    pub(crate) fn inside(&self, name: &str) -> Namespace {
        let pid = self.inspect(name)["State"]["Pid"].as_u64().expect("a pid");
        Namespace::open(name, Path::new(&format!("/proc/{pid}/ns/net"))).expect("its namespace")
    }
}

/// Rules of everybody but us, in the words of `iptables-save` and `nft`; counters and comments left out.
pub(crate) fn foreign_rules(host: &Namespace) -> String {
    let mut text = String::new();
    for program in ["iptables-save", "ip6tables-save"] {
        let done = host.check(&[program]).expect("listed");
        text.extend(done.stdout.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let line = line.split(" [").next().unwrap_or_default();
            format!("{line}\n")
        }));
    }
    let tables = host.check(&["nft", "list", "tables"]).expect("listed").stdout;
    for table in tables.lines().filter(|table| *table != "table inet bulkhead") {
        let words: Vec<&str> = ["nft", "-s", "list"].into_iter().chain(table.split(' ')).collect();
        text += &host.check(&words).expect("listed").stdout;
    }
    text
}
