//! The real Podman with its CNI backend, on a lab's host.

use std::ops::Deref;
use std::time::Duration;

use anyhow::Result;
pub(crate) use testkit::podman::IMAGE;
use testkit::podman::Podman as Engine;
use testkit::root_or_return;

use crate::cni::{DB, Plugged};
use crate::docker::find;

/// How long a container may take to speak.
const COMMAND: Duration = Duration::from_mins(2);
/// Containers that are measured.
const RUNS: usize = 7;

/// Podman on a host where the plugin is ours.
pub(crate) struct Podman {
    engine: Engine,
    pub(crate) plugged: Plugged,
}

/// Whether this machine has the programs that a test needs; says so when not, and panics in CI.
pub(crate) fn are_there(test: &str, programs: &[&str]) -> bool {
    let Some(missing) = programs.iter().find(|name| find(name).is_none()) else { return true };
    assert!(std::env::var_os("CI").is_none(), "{test} needs {missing}");
    println!("SKIPPED({missing}): {test}");
    false
}

impl Podman {
    pub(crate) fn new(plugged: Plugged) -> Result<Self> {
        Self::with_backend(plugged, "cni")
    }

    /// With one of its two network backends.
    pub(crate) fn with_backend(plugged: Plugged, backend: &str) -> Result<Self> {
        let (lab, host) = (&plugged.stage.lab, &plugged.stage.host);
        let engine = Engine::start(lab, host, plugged.plugins(), backend)?;
        Ok(Self { engine, plugged })
    }

    /// The host that it runs on.
    pub(crate) fn plugged(&self) -> &Plugged {
        &self.plugged
    }
}

impl Deref for Podman {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}

#[test]
fn podmans_containers_are_workloads_root() {
    const NAME: &str = "podmans_containers_are_workloads_root";
    root_or_return!(NAME);
    if !are_there(NAME, &["podman", "conmon", "runc", "busybox"]) {
        return;
    }
    let podman = Podman::new(Plugged::new()).expect("Podman");
    let plugged = podman.plugged();
    let ask = |port: u16| format!("echo hello | nc -w 2 {DB} {port}");
    let script = format!("{}; {}; ip -4 addr show dev eth0; exec sleep 600", ask(22), ask(6379));
    podman
        .podman(&["run", "-d", "--name", "web-0", "--network", "pods", IMAGE, "sh", "-c", &script])
        .expect("it starts");
    let said = || podman.podman(&["logs", "web-0"]).unwrap_or_default();
    let told = testkit::wait_for("the container's words", COMMAND, || {
        Some(said()).filter(|text| text.contains("inet "))
    });
    let told = told.expect("it says");
    // Its very first packet asked for a closed port.
    assert_eq!(plugged.closed.accepted(), 0);
    assert_eq!(plugged.allowed.accepted(), 1);
    assert!(told.contains("hello") && told.contains("10.88.7."), "{told}");
    assert_eq!(plugged.stage.drop_code("t/web-0", "t/db"), "BH-D002");
    let own = plugged.stage.bulkhead.cli_json(&["workload", "list", "-l", "app=web"]).expect("it");
    assert_eq!(own[0]["labels"]["io.kubernetes.pod.name"], "web-0");
    let address = own[0]["addresses"][0].as_str().expect("an address").to_owned();
    let inspected = podman.podman(&["inspect", "web-0"]).expect("inspected");
    assert!(inspected.contains(&address), "Podman tells the same address");

    // A restart of the container is the same workload; a killed agent changes nothing.
    podman.podman(&["restart", "-t", "0", "web-0"]).expect("again");
    assert_eq!(plugged.attached().len(), 1);
    let answered = |name: &str, port: u16| {
        podman
            .cli(&["exec", name, "sh", "-c", &ask(port)])
            .is_ok_and(|it| it.stdout.contains("hello"))
    };
    assert!(answered("web-0", 6379) && !answered("web-0", 22));
    for n in 1..=RUNS {
        let name = format!("more-{n}");
        podman
            .podman(&["run", "-d", "--name", &name, "--network", "pods", IMAGE, "sleep", "600"])
            .expect("it starts");
    }
    assert_eq!(plugged.attached().len(), 1 + RUNS);
    podman.podman(&["rm", "-f", "-a", "-t", "0"]).expect("removed");
    plugged.is_empty();
    assert_eq!(plugged.closed.accepted(), 0);
    let ((add, adds), (del, _)) = (plugged.median("ADD"), plugged.median("DEL"));
    println!(
        "runtime podman cni: allowed passes, the rest is dropped from the first packet on, DEL leaves nothing; \
         attach p50 {add:.1} ms of {adds}, detach p50 {del:.1} ms"
    );
}
