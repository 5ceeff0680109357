//! The real Podman on a lab's host, with folders and an image of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::{Finished, Lab, Namespace, image, run_with_deadline};

/// How long a command of Podman's may take.
const COMMAND: Duration = Duration::from_mins(2);
/// The image: a busybox.
pub const IMAGE: &str = "localhost/busybox:test";

/// Where a runtime looks for CNI plugins, and for the networks that are made of them.
#[derive(Debug, Clone, Copy)]
pub struct Plugins<'a> {
    /// Programs.
    pub bin: &'a Path,
    /// Lists of plugins, a network each.
    pub conf: &'a Path,
}

/// A Podman; dropping it removes its containers.
#[derive(Debug)]
pub struct Podman {
    host: Namespace,
    folder: PathBuf,
}

impl Podman {
    /// Imports the image; `backend` is what makes its networks: `cni` or `netavark`.
    ///
    /// # Errors
    /// When Podman is not there, or does not take the image.
    pub fn start(lab: &Lab, host: &Namespace, plugins: Plugins<'_>, backend: &str) -> Result<Self> {
        let folder = lab.dir().join("podman");
        std::fs::create_dir_all(&folder).context("make Podman's folder")?;
        let settings = format!(
            "[containers]\ndefault_ulimits = []\n[engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\n\
             events_logger = \"file\"\n[network]\nnetwork_backend = \"{backend}\"\nnetwork_config_dir = \"{}\"\n\
             cni_plugin_dirs = [\"{}\", \"/usr/lib/cni\"]\n",
            plugins.conf.display(),
            plugins.bin.display()
        );
        std::fs::write(folder.join("containers.conf"), settings)
            .context("write containers.conf")?;
        let tar = image::pack(&folder)?;
        let podman = Self { host: host.clone(), folder };
        let forever = "CMD [\"/bin/sleep\", \"600\"]";
        podman.podman(&["import", "--change", forever, &tar.display().to_string(), IMAGE])?;
        Ok(podman)
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The command line of a command of Podman's.
    #[must_use]
    pub fn line(&self, argv: &[&str]) -> Vec<String> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let settings = format!("CONTAINERS_CONF={}", at("containers.conf"));
        let (root, run, tmp) = (at("root"), at("run"), at("tmp"));
        let own =
            ["env", &settings, "podman", "--root", &root, "--runroot", &run, "--tmpdir", &tmp];
        let words = own.into_iter().chain(["--storage-driver", "vfs"]).chain(argv.iter().copied());
        words.map(str::to_owned).collect()
    }

    /// A command of Podman's on the lab's host; any exit code is fine.
    ///
    /// # Errors
    /// When there is no Podman, or it takes too long.
    pub fn cli(&self, argv: &[&str]) -> Result<Finished> {
        let line = self.line(argv);
        self.host.run(|| {
            let mut command = Command::new(&line[0]);
            command.args(&line[1..]);
            run_with_deadline(&mut command, None, COMMAND)
        })?
    }

    /// A command of Podman's that must succeed; what it printed.
    ///
    /// # Errors
    /// When it fails; with what it wrote.
    pub fn podman(&self, argv: &[&str]) -> Result<String> {
        let done = self.cli(argv)?.success().with_context(|| format!("podman {argv:?}"))?;
        Ok(done.stdout.trim().to_owned())
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        drop(self.cli(&["rm", "-f", "-a", "-t", "0"]));
    }
}
