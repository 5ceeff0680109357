//! A real dockerd on a lab's host, with a folder, a socket and an image of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::{Finished, Lab, Namespace, Proc, image, run_with_deadline, wait_until};

/// How long dockerd may take to answer.
const START: Duration = Duration::from_mins(1);
/// How long dockerd may take to end.
const END: Duration = Duration::from_secs(30);
/// How long a command of Docker's may take.
const COMMAND: Duration = Duration::from_mins(1);
/// The image: a busybox.
pub const IMAGE: &str = "busybox:test";

/// A dockerd; dropping it ends it with its containers.
#[derive(Debug)]
pub struct Engine {
    host: Namespace,
    folder: PathBuf,
    daemon: Option<Proc>,
    options: Vec<String>,
}

/// A program of this machine.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

impl Engine {
    /// Starts dockerd on `host` and imports the image.
    ///
    /// # Errors
    /// When dockerd is not there, or does not come up.
    pub fn start(lab: &Lab, host: &Namespace, options: &[&str]) -> Result<Self> {
        let folder = lab.dir().join("docker");
        std::fs::create_dir_all(&folder).context("make Docker's folder")?;
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut engine = Self { host: host.clone(), folder, daemon: None, options };
        engine.begin()?;
        engine.import()?;
        Ok(engine)
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// Starts the daemon (again) and waits until it answers.
    ///
    /// # Errors
    /// When it does not come up.
    pub fn begin(&mut self) -> Result<()> {
        let at = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new(find("dockerd").context("there is no dockerd")?);
        command.args(["--data-root", &at("root"), "--exec-root", &at("run")]);
        command.args(["--pidfile", &at("pid"), "-H", &format!("unix://{}", at("docker.sock"))]);
        command.args(["--config-file", &at("daemon.json")]).args(&self.options);
        std::fs::write(at("daemon.json"), "{}").context("write daemon.json")?;
        let daemon = self.host.spawn(&mut command)?;
        let waited = wait_until("dockerd", START, || {
            self.cli(&["version"]).is_ok_and(|done| done.status.success())
        });
        if waited.is_err() {
            let (_, log) = daemon.output_so_far()?;
            bail!("dockerd did not come up: {log}");
        }
        self.daemon = Some(daemon);
        Ok(())
    }

    /// Ends the daemon as a service manager does. Containers live on with `--live-restore`.
    ///
    /// # Errors
    /// When none is running, or it does not end.
    pub fn end(&mut self) -> Result<()> {
        self.daemon.take().context("no dockerd is running")?.stop(END).map(drop)
    }

    fn import(&self) -> Result<()> {
        let tar = image::pack(&self.folder)?;
        self.docker(&["import", &tar.display().to_string(), IMAGE]).map(drop)
    }

    /// A command of Docker's; any exit code is fine.
    ///
    /// # Errors
    /// When there is no client, or it takes too long.
    pub fn cli(&self, argv: &[&str]) -> Result<Finished> {
        let mut command = Command::new(find("docker").context("there is no docker")?);
        command.arg("-H").arg(format!("unix://{}", self.socket().display())).args(argv);
        run_with_deadline(&mut command, None, COMMAND)
    }

    /// A command of Docker's that must succeed; what it printed.
    ///
    /// # Errors
    /// When it fails; with what it wrote.
    pub fn docker(&self, argv: &[&str]) -> Result<String> {
        let done = self.cli(argv)?.success().with_context(|| format!("docker {argv:?}"))?;
        Ok(done.stdout.trim().to_owned())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if let Ok(all) = self.docker(&["ps", "-aq"]) {
            let mut line = vec!["rm", "-f"];
            line.extend(all.split_whitespace());
            if line.len() > 2 {
                drop(self.docker(&line));
            }
        }
        if let Some(daemon) = self.daemon.take() {
            drop(daemon.stop(END));
        }
        crate::unmount_below(&self.folder);
    }
}
