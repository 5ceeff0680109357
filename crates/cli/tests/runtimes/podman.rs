//! The real Podman with its CNI backend, on a lab's host.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use testkit::{Finished, root_or_return, run_with_deadline};

use crate::cni::{DB, Plugged};
use crate::docker::find;

/// How long a command of Podman's may take.
const COMMAND: Duration = Duration::from_mins(2);
/// The image: a busybox.
pub(crate) const IMAGE: &str = "localhost/busybox:test";
/// Containers that are measured.
const RUNS: usize = 7;

/// Podman with folders of its own; dropping it removes its containers.
pub(crate) struct Podman {
    pub(crate) folder: PathBuf,
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
        let folder = plugged.stage.lab.dir().join("podman");
        std::fs::create_dir_all(folder.join("image/bin")).context("make Podman's folder")?;
        let settings = format!(
            "[containers]\ndefault_ulimits = []\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\n\
             events_logger = \"file\"\n[network]\nnetwork_backend = \"{backend}\"\nnetwork_config_dir = \"{}\"\n\
             cni_plugin_dirs = [\"{}\", \"/usr/lib/cni\"]\n",
            plugged.conf.display(),
            plugged.bin.display()
        );
        std::fs::write(folder.join("containers.conf"), settings)
            .context("write containers.conf")?;
        let busybox = find("busybox").context("there is no busybox")?;
        std::fs::copy(busybox, folder.join("image/bin/busybox")).context("copy busybox")?;
        for applet in ["sh", "nc", "sleep", "ip", "cat"] {
            std::os::unix::fs::symlink("busybox", folder.join("image/bin").join(applet))
                .context("link an applet")?;
        }
        let (image, tar) = (folder.join("image"), folder.join("image.tar"));
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(&image).arg("-cf").arg(&tar).arg("bin");
        run_with_deadline(&mut pack, None, COMMAND)?.success()?;
        let podman = Self { folder, plugged };
        let forever = "CMD [\"/bin/sleep\", \"600\"]";
        podman.podman(&["import", "--change", forever, &tar.display().to_string(), IMAGE])?;
        Ok(podman)
    }

    /// The host that it runs on.
    pub(crate) fn plugged(&self) -> &Plugged {
        &self.plugged
    }

    /// The command line of a command of Podman's.
    pub(crate) fn line(&self, argv: &[&str]) -> Vec<String> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let mut line = vec!["env".to_owned(), format!("CONTAINERS_CONF={}", at("containers.conf"))];
        line.extend(["podman", "--root"].map(str::to_owned));
        line.extend([
            at("root"),
            "--runroot".to_owned(),
            at("run"),
            "--tmpdir".to_owned(),
            at("tmp"),
        ]);
        line.extend(
            ["--storage-driver", "vfs"].into_iter().chain(argv.iter().copied()).map(str::to_owned),
        );
        line
    }

    /// A command of Podman's on the lab's host; any exit code is fine.
    pub(crate) fn cli(&self, argv: &[&str]) -> Result<Finished> {
        let line = self.line(argv);
        self.plugged.stage.host.run(|| {
            let mut command = Command::new(&line[0]);
            command.args(&line[1..]);
            run_with_deadline(&mut command, None, COMMAND)
        })?
    }

    /// A command of Podman's that must succeed; what it printed.
    pub(crate) fn podman(&self, argv: &[&str]) -> Result<String> {
        let done = self.cli(argv)?.success().with_context(|| format!("podman {argv:?}"))?;
        Ok(done.stdout.trim().to_owned())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.cli(&["rm", "-f", "-a", "-t", "0"]));
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
