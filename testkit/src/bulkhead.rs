//! Drives the real `bulkhead` binary: an agent in a "host" namespace, and CLI commands against it.
//!
//! Every instance has its own run, state and bpffs folders, so many run beside each other. Dropping
//! it ends the agent by its pid, takes down what it enforced and unmounts its bpffs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::lab::unmount_below;
use crate::process::{Finished, Proc, run_with_deadline};
use crate::wait::wait_until;
use crate::{Lab, Namespace};

/// Names the binary to drive; otherwise it is looked for beside the running test.
const BINARY_VARIABLE: &str = "BULKHEAD_BIN";
/// Deadline of an agent's start.
const START_DEADLINE: Duration = Duration::from_secs(20);
/// Deadline of one CLI command.
const COMMAND_DEADLINE: Duration = Duration::from_mins(2);
/// How long an agent may take to end on SIGTERM.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Where one agent keeps its things.
#[derive(Clone, Debug)]
pub struct Folders {
    /// `--run-dir`.
    pub run: PathBuf,
    /// `--state-dir`.
    pub state: PathBuf,
    /// `--bpffs`: below a bpffs that this driver mounted.
    pub bpffs: PathBuf,
}

/// One agent and its folders.
#[derive(Debug)]
pub struct Bulkhead {
    binary: PathBuf,
    host: Namespace,
    root: PathBuf,
    folders: Folders,
    agent: Option<Proc>,
    options: Vec<String>,
    ends_clean: bool,
}

impl Bulkhead {
    /// Starts an agent inside `host` and waits until it answers.
    ///
    /// # Errors
    /// When there is no binary or the agent does not come up; its log is in the message.
    pub fn start(lab: &Lab, host: &Namespace) -> Result<Self> {
        let mut bulkhead = Self::prepare(lab, host)?;
        bulkhead.start_agent()?;
        Ok(bulkhead)
    }

    /// The folders and the binary, without an agent: for `bulkhead up` that starts one itself.
    ///
    /// # Errors
    /// When there is no binary or bpffs cannot be mounted.
    pub fn prepare(lab: &Lab, host: &Namespace) -> Result<Self> {
        let root = lab.dir().join(format!("bulkhead-{}", host.name()));
        let mount_point = root.join("bpf");
        let folders = Folders {
            run: root.join("run"),
            state: root.join("state"),
            bpffs: mount_point.join("bulkhead"),
        };
        for folder in [&folders.run, &folders.state, &mount_point] {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("make {}", folder.display()))?;
        }
        mount(Some("bpf"), &mount_point, Some("bpf"), MsFlags::empty(), None::<&str>)
            .context("mount a bpffs")?;
        let binary = binary();
        let host = host.clone();
        Ok(Self {
            binary: binary?,
            host,
            root,
            folders,
            agent: None,
            options: Vec::new(),
            ends_clean: true,
        })
    }

    /// Starts the agent (again) and waits for its socket.
    ///
    /// # Errors
    /// When it ends early or does not listen in time.
    pub fn start_agent(&mut self) -> Result<()> {
        let mut command = self.command_line(&["agent"]);
        command.args(&self.options);
        let mut agent = self.host.spawn(&mut command)?;
        let socket = self.socket();
        let mut ended = false;
        let waited = wait_until("the agent's socket", START_DEADLINE, || {
            ended = agent.wait_exit(Duration::ZERO).unwrap_or(true);
            ended || std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
        if ended || waited.is_err() {
            let (stdout, stderr) = agent.output_so_far()?;
            bail!("the agent did not come up: stdout: {stdout} stderr: {stderr}");
        }
        self.agent = Some(agent);
        Ok(())
    }

    /// Options of the agent's own, `--docker`, from its next start.
    pub fn agent_options(&mut self, options: &[&str]) {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
    }

    /// The folders in use.
    #[must_use]
    pub fn folders(&self) -> &Folders {
        &self.folders
    }

    /// The agent's unix socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.folders.run.join("agent.sock")
    }

    /// The namespace the agent takes for its host.
    #[must_use]
    pub fn host(&self) -> &Namespace {
        &self.host
    }

    /// Pid of the running agent.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.agent.as_ref().map(Proc::pid)
    }

    /// What the agent printed so far, stdout then stderr.
    #[must_use]
    pub fn log(&self) -> String {
        let output = self.agent.as_ref().and_then(|agent| agent.output_so_far().ok());
        output.map(|(stdout, stderr)| stdout + &stderr).unwrap_or_default()
    }

    /// `kill -9` of the agent: what it enforces must stay.
    ///
    /// # Errors
    /// When it is not running.
    pub fn kill_agent(&mut self) -> Result<()> {
        let mut agent = self.agent.take().context("no agent is running")?;
        agent.signal(Signal::SIGKILL)?;
        if !agent.wait_exit(STOP_GRACE)? {
            bail!("the agent survived SIGKILL");
        }
        Ok(())
    }

    /// SIGTERM, and what the agent printed.
    ///
    /// # Errors
    /// When it is not running.
    pub fn stop_agent(&mut self) -> Result<Finished> {
        self.agent.take().context("no agent is running")?.stop(STOP_GRACE)
    }

    /// Runs a command (`&["status"]`) in the host namespace; any exit code is fine.
    ///
    /// # Errors
    /// When it cannot be started or does not end.
    pub fn cli(&self, argv: &[&str]) -> Result<Finished> {
        let mut command = self.command_line(argv);
        self.host.run(move || run_with_deadline(&mut command, None, COMMAND_DEADLINE))?
    }

    /// Runs a command with `--json` that must exit with 0, and parses what it printed.
    ///
    /// # Errors
    /// When it fails or does not print JSON.
    pub fn cli_json(&self, argv: &[&str]) -> Result<Value> {
        let argv: Vec<&str> = ["--json"].into_iter().chain(argv.iter().copied()).collect();
        let done = self.cli(&argv)?.success().with_context(|| format!("bulkhead {argv:?}"))?;
        serde_json::from_str(&done.stdout)
            .with_context(|| format!("bulkhead {argv:?} printed no JSON: {}", done.stdout))
    }

    /// Writes `yaml` to a file of this instance and applies it.
    ///
    /// # Errors
    /// When it is refused.
    pub fn up(&self, yaml: &str) -> Result<PathBuf> {
        let path = self.root.join("bulkhead.yaml");
        std::fs::write(&path, yaml).context("write the policy file")?;
        let argv = ["up", path.to_str().context("a path that is not UTF-8")?];
        self.cli(&argv)?.success().context("bulkhead up")?;
        Ok(path)
    }

    /// The cgroup of a workload that runs, in the unified hierarchy.
    ///
    /// # Errors
    /// When it does not run, or there is no such hierarchy.
    pub fn cgroup(&self, id: &str) -> Result<PathBuf> {
        let status = self.cli_json(&["status"])?;
        let all = status["workloads"].as_array().context("workloads")?;
        let workload = all.iter().find(|each| each["id"] == id);
        let pid = workload.and_then(|each| each["pid"].as_u64());
        cgroup_of(&pid.with_context(|| format!("{id} does not run"))?.to_string())
    }

    /// `bulkhead down --clean`.
    ///
    /// # Errors
    /// When it fails.
    pub fn down_clean(&self) -> Result<()> {
        self.cli(&["down", "--clean"])?.success().context("bulkhead down --clean").map(drop)
    }

    /// Leaves what is enforced in place when this is dropped (the lab removes the namespaces).
    pub fn keep_on_drop(&mut self) {
        self.ends_clean = false;
    }

    /// `argv` with this instance's folders, not started yet: for commands that keep running.
    #[must_use]
    pub fn command_line(&self, argv: &[&str]) -> Command {
        let mut command = Command::new(&self.binary);
        for (flag, path) in [
            ("--run-dir", &self.folders.run),
            ("--state-dir", &self.folders.state),
            ("--bpffs", &self.folders.bpffs),
        ] {
            command.arg(flag).arg(path);
        }
        command.args(argv);
        command
    }
}

impl Drop for Bulkhead {
    fn drop(&mut self) {
        if self.ends_clean
            && self.agent.is_some()
            && let Err(cause) = self.down_clean()
        {
            eprintln!("testkit: {cause:#}");
        }
        drop(self.agent.take());
        unmount_below(&self.root);
    }
}

/// The cgroup of a process in the unified hierarchy.
///
/// # Errors
/// When it is gone, or there is no such hierarchy.
pub fn cgroup_of(pid: &str) -> Result<PathBuf> {
    let path = format!("/proc/{pid}/cgroup");
    let lines = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let own = lines.lines().find_map(|line| line.strip_prefix("0::/"));
    let mounts = std::fs::read_to_string("/proc/mounts").context("read /proc/mounts")?;
    let root = mounts.lines().find_map(|line| {
        let mut words = line.split(' ').skip(1);
        let place = words.next()?;
        (words.next()? == "cgroup2").then_some(place)
    });
    let (root, own) = root.zip(own).context("there is no unified cgroup hierarchy")?;
    Ok(PathBuf::from(root).join(own))
}

/// The binary to drive: named by the environment, or built beside the running test.
///
/// # Errors
/// When there is none; the message says how to get one.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os(BINARY_VARIABLE) {
        let path = PathBuf::from(path);
        if path.is_file() {
            return Ok(path);
        }
        bail!("{BINARY_VARIABLE} names {}, which is no file", path.display());
    }
    let test = std::env::current_exe().context("find the running executable")?;
    test.ancestors()
        .skip(1)
        .take(3)
        .map(|folder| folder.join("bulkhead"))
        .find(|path| path.is_file())
        .context("no bulkhead binary: run `cargo build -p cli` or set BULKHEAD_BIN")
}
