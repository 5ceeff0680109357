//! Running a command inside a workload, from any process: the command is spawned through the `bulkhead` binary, which
//! enters the namespaces as `bulkhead enter <request>`, because only a process with one thread may do that.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::terminal::Terminal;
use super::{Error, Handle, User};

/// A command to run inside a workload.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// Program and arguments; a program without a `/` is looked up in `PATH`.
    pub argv: Vec<String>,
    /// Added to the workload's own variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Working directory inside; `None` is the workload's.
    #[serde(default)]
    pub workdir: Option<PathBuf>,
    /// Who it runs as; `None` is the workload's user.
    #[serde(default)]
    pub user: Option<User>,
    /// Whether the terminal among its streams is its own: it then leads the session of that terminal.
    #[serde(default)]
    pub terminal: bool,
}

/// What `bulkhead enter` gets as its argument.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Request {
    /// Where to go.
    pub(super) place: Place,
    /// What to run there.
    pub(super) exec: Exec,
    /// The process without which it is to end, as by SIGTERM: the one that spawns it.
    #[serde(default)]
    pub(super) caller: Option<u32>,
}

/// Where a command runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Place {
    /// In all namespaces of the workload with this folder.
    Workload(PathBuf),
    /// In this network namespace, otherwise on the host.
    Netns(PathBuf),
}

/// The command that runs `exec` inside a workload of the built-in runtime: its namespaces, cgroup, user, restrictions.
///
/// Standard streams and everything else about the [`Command`] are the caller's; its exit status is that of `exec`, or
/// 128 + signal, 127 for no such program, 126 for one that cannot be run, 125 when the workload is not running.
///
/// # Errors
/// When the request cannot be encoded.
pub fn command_in(handle: &Handle, exec: &Exec, exe: &Path) -> Result<Command, Error> {
    command(handle.id(), Place::Workload(handle.dir().to_owned()), exec, (exe, None))
}

/// The command that runs `exec` in a network namespace and otherwise on the host, as the caller: for adopted workloads.
///
/// # Errors
/// When the request cannot be encoded.
pub fn command_in_netns(netns: &Path, exec: &Exec, exe: &Path) -> Result<Command, Error> {
    command(&netns.to_string_lossy(), Place::Netns(netns.to_owned()), exec, (exe, None))
}

fn command(
    id: &str,
    place: Place,
    exec: &Exec,
    (exe, caller): (&Path, Option<u32>),
) -> Result<Command, Error> {
    let request = Request { place, exec: exec.clone(), caller };
    let text = serde_json::to_string(&request).map_err(|source| failed(id, exec, source.into()))?;
    let mut command = Command::new(exe);
    command.arg("enter").arg(text);
    Ok(command)
}

fn failed(id: &str, exec: &Exec, source: std::io::Error) -> Error {
    let program = exec.argv.first().cloned().unwrap_or_default();
    Error::Exec { id: id.to_owned(), program, source }
}

/// Runs `exec` inside a workload with the caller's standard streams and returns its exit code, as [`command_in`] says.
/// Where a stream is a terminal the command gets one of its own, and what passes between the two is copied. When the calling thread
/// ends, however it does, the command gets SIGTERM.
///
/// # Errors
/// When the workload has no supervisor or the command cannot be spawned.
pub fn exec_in(handle: &Handle, exec: &Exec, exe: &Path) -> Result<i32, Error> {
    if !handle.is_supervised() {
        return Err(Error::NotRunning { id: handle.id().to_owned() });
    }
    run(handle.id(), Place::Workload(handle.dir().to_owned()), exec, exe)
}

/// As [`exec_in`], for adopted workloads: in a network namespace and otherwise on the host, as the caller.
///
/// # Errors
/// When the command cannot be spawned.
pub fn exec_in_netns(netns: &Path, exec: &Exec, exe: &Path) -> Result<i32, Error> {
    run(&netns.to_string_lossy(), Place::Netns(netns.to_owned()), exec, exe)
}

fn run(id: &str, place: Place, exec: &Exec, exe: &Path) -> Result<i32, Error> {
    let lost = |source| failed(id, exec, source);
    let terminal = Terminal::of_caller().map_err(lost)?;
    let exec = Exec { terminal: terminal.is_some(), ..exec.clone() };
    let mut command = command(id, place, &exec, (exe, Some(std::process::id())))?;
    let status = match terminal {
        Some(terminal) => terminal.run(command),
        None => command.status(),
    };
    let status = status.map_err(lost)?;
    Ok(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or_default()))
}
