//! The real containerd on a lab's host, with folders of its own and the image that Podman made.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::docker::find;
use crate::podman::{IMAGE, Plugins, Podman};
use crate::{Finished, Lab, Namespace, Proc, run_with_deadline, wait_until};

/// How long it may take to answer, and to end.
const START: Duration = Duration::from_mins(1);
/// How long a command may take.
const COMMAND: Duration = Duration::from_mins(2);

/// A containerd; dropping it ends it.
#[derive(Debug)]
pub struct Containerd {
    host: Namespace,
    folder: PathBuf,
    bin: PathBuf,
    conf: PathBuf,
    daemon: Option<Proc>,
}

impl Containerd {
    /// Starts it, and imports the image for `ctr` and for CRI.
    ///
    /// # Errors
    /// When containerd is not there, or does not come up.
    pub fn start(
        lab: &Lab,
        host: &Namespace,
        plugins: Plugins<'_>,
        podman: &Podman,
    ) -> Result<Self> {
        let folder = lab.dir().join("containerd");
        std::fs::create_dir_all(&folder).context("make containerd's folder")?;
        std::fs::write(folder.join("config.toml"), settings(&folder, plugins))
            .context("write config.toml")?;
        let mut command = Command::new(find("containerd").context("there is no containerd")?);
        command.arg("--config").arg(folder.join("config.toml"));
        let daemon = host.spawn(&mut command)?;
        let image = folder.join("image.tar").display().to_string();
        podman.podman(&["save", "--format", "docker-archive", "-o", &image, IMAGE])?;
        let (bin, conf) = (plugins.bin.to_owned(), plugins.conf.to_owned());
        let this = Self { host: host.clone(), folder, bin, conf, daemon: Some(daemon) };
        let waited = wait_until("containerd", START, || {
            this.ctr("", &["version"]).is_ok_and(|done| done.status.success())
        });
        if waited.is_err() {
            let log = this.daemon.as_ref().map(Proc::output_so_far).transpose()?;
            bail!("containerd did not come up: {log:?}");
        }
        for namespace in ["default", "k8s.io"] {
            let argv = ["-n", namespace, "images", "import", "--snapshotter", "native", &image];
            this.ctr("", &argv)?.success().context("import the image")?;
        }
        Ok(this)
    }

    /// Its socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folder.join("containerd.sock")
    }

    /// `ctr` on the lab's host; any exit code is fine. It looks for plugins at fixed places, which are ours in a mount
    /// namespace of its own; `before` is run there first.
    ///
    /// # Errors
    /// When there is no `ctr`, or it takes too long.
    pub fn ctr(&self, before: &str, argv: &[&str]) -> Result<Finished> {
        let script = format!(
            "set -e\nmount -t tmpfs none /opt\nmkdir -p /opt/cni/bin\nmount --bind {} /opt/cni/bin\n\
             mount -t tmpfs none /etc/cni\nmkdir /etc/cni/net.d\nmount --bind {} /etc/cni/net.d\n{before}\nexec ctr -a {} \"$@\"",
            self.bin.display(),
            self.conf.display(),
            self.socket().display(),
        );
        self.host.run(|| {
            let mut command = Command::new("unshare");
            command.args(["-m", "sh", "-c", &script, "sh"]).args(argv);
            run_with_deadline(&mut command, None, COMMAND)
        })?
    }
}

fn settings(folder: &Path, plugins: Plugins<'_>) -> String {
    let at = |name: &str| folder.join(name).display().to_string();
    format!(
        "version = 2\nroot = {:?}\nstate = {:?}\n\
         disabled_plugins = [\"io.containerd.internal.v1.opt\", \"io.containerd.snapshotter.v1.overlayfs\"]\n\
         [grpc]\naddress = {:?}\n[plugins.\"io.containerd.grpc.v1.cri\"]\nsandbox_image = \"{IMAGE}\"\n\
         restrict_oom_score_adj = true\ndisable_apparmor = true\n\
         [plugins.\"io.containerd.grpc.v1.cri\".cni]\nbin_dir = {:?}\nconf_dir = {:?}\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd]\nsnapshotter = \"native\"\ndefault_runtime_name = \"runc\"\n\
         [plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\nruntime_type = \"io.containerd.runc.v2\"\n",
        at("root"),
        at("state"),
        at("containerd.sock"),
        plugins.bin.display().to_string(),
        plugins.conf.display().to_string(),
    )
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if let Some(daemon) = self.daemon.take() {
            drop(daemon.stop(START));
        }
        crate::unmount_below(&self.folder);
    }
}
