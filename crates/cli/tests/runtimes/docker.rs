//! A real dockerd on a lab's host, with a folder, a socket and an image of its own.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use testkit::{Finished, Proc, run_with_deadline};
use testkit::{Lab, Namespace, wait_until};

/// How long dockerd may take to answer.
const START: Duration = Duration::from_mins(1);
/// How long dockerd may take to end.
const END: Duration = Duration::from_secs(30);
/// How long a command of Docker's may take.
const COMMAND: Duration = Duration::from_mins(1);
/// The image: a busybox.
pub(crate) const IMAGE: &str = "busybox:test";
/// Its programs that tests call by name.
const APPLETS: [&str; 9] = ["sh", "httpd", "nc", "ip", "ping", "sleep", "cat", "wget", "echo"];

/// A dockerd; dropping it ends it with its containers.
#[derive(Debug)]
pub(crate) struct Engine {
    host: Namespace,
    folder: PathBuf,
    daemon: Option<Proc>,
    options: Vec<String>,
}

/// Whether this machine has what a test of Docker needs; says so when not, and panics in CI.
pub(crate) fn is_there(test: &str) -> bool {
    let missing = ["dockerd", "docker", "busybox"].into_iter().find(|name| find(name).is_none());
    let Some(missing) = missing else { return true };
    assert!(std::env::var_os("CI").is_none(), "{test} needs {missing}");
    println!("SKIPPED({missing}): {test}");
    false
}

/// A program of this machine.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let folders = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
    folders.iter().map(|folder| Path::new(folder).join(name)).find(|path| path.is_file())
}

impl Engine {
    /// Starts dockerd on `host` and imports the image.
    pub(crate) fn start(lab: &Lab, host: &Namespace, options: &[&str]) -> Result<Self> {
        let folder = lab.dir().join("docker");
        std::fs::create_dir_all(&folder).context("make Docker's folder")?;
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut engine = Self { host: host.clone(), folder, daemon: None, options };
        engine.begin()?;
        engine.import()?;
        Ok(engine)
    }

    /// Its socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    /// Starts the daemon (again) and waits until it answers.
    pub(crate) fn begin(&mut self) -> Result<()> {
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
    pub(crate) fn end(&mut self) -> Result<()> {
        self.daemon.take().context("no dockerd is running")?.stop(END).map(drop)
    }

    fn import(&self) -> Result<()> {
        let root = self.folder.join("image/bin");
        std::fs::create_dir_all(&root).context("make the image")?;
        let busybox = find("busybox").context("there is no busybox")?;
        std::fs::copy(busybox, root.join("busybox")).context("copy busybox")?;
        for applet in APPLETS {
            std::os::unix::fs::symlink("busybox", root.join(applet)).context("link an applet")?;
        }
        let (image, tar) = (self.folder.join("image"), self.folder.join("image.tar"));
        let mut pack = Command::new("tar");
        pack.arg("-C").arg(&image).arg("-cf").arg(&tar).arg("bin");
        run_with_deadline(&mut pack, None, COMMAND)?.success()?;
        self.docker(&["import", &tar.display().to_string(), IMAGE]).map(drop)
    }

    /// A command of Docker's; any exit code is fine.
    pub(crate) fn cli(&self, argv: &[&str]) -> Result<Finished> {
        let mut command = Command::new(find("docker").context("there is no docker")?);
        command.arg("-H").arg(format!("unix://{}", self.socket().display())).args(argv);
        run_with_deadline(&mut command, None, COMMAND)
    }

    /// A command of Docker's that must succeed; what it printed.
    pub(crate) fn docker(&self, argv: &[&str]) -> Result<String> {
        let done = self.cli(argv)?.success().with_context(|| format!("docker {argv:?}"))?;
        Ok(done.stdout.trim().to_owned())
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
        testkit::unmount_below(&self.folder);
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
