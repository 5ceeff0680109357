//! What the `bulkhead` binary becomes for a workload: its supervisor, or a command inside of it.
//!
//! These need no running agent: they read the run folder, which only root may.

use std::path::Path;

use api::{Error, Workload, codes};
use host::linux::runtime::{self, Dirs, Exec, User};

use crate::descriptors;

/// Supervises the workload whose folder is `dir`; the exit code of the process.
#[must_use]
pub fn shim(dir: &Path) -> i32 {
    descriptors::lower();
    runtime::shim_main(dir)
}

/// Enters a workload's namespaces as `request` says and becomes the command; returns only when that fails.
#[must_use]
pub fn enter(request: &str) -> i32 {
    runtime::enter_main(request)
}

/// Runs `argv` inside a workload with this process's standard streams, and a terminal of its own where one of them is a terminal;
/// its exit code, or 128 and the signal.
///
/// A workload of the built-in runtime is entered with all of its namespaces, limits and, without `user`, its user. An
/// adopted one is entered with its network namespace alone.
///
/// # Errors
/// When the caller is not root, the workload does not run, or the command cannot be started.
pub fn exec(
    run_dir: &Path,
    workload: &Workload,
    user: Option<&str>,
    argv: &[String],
) -> Result<i32, Error> {
    let failed = |error: &dyn std::error::Error| {
        Error::new(codes::EXEC, format!("run a command in workload {}", workload.id))
            .with_cause(error)
    };
    let exe = std::env::current_exe().map_err(|error| failed(&error))?;
    let user = user.map(User::named).transpose().map_err(|error| failed(&error))?;
    let exec = Exec { argv: argv.to_vec(), user, ..Exec::default() };
    if let (None, Some(netns)) = (workload.pid, &workload.netns) {
        return runtime::exec_in_netns(Path::new(netns), &exec, &exe)
            .map_err(|error| failed(&error));
    }
    let dirs = Dirs { run: run_dir.to_owned(), state: std::path::PathBuf::new() };
    let listing = runtime::list(&dirs).map_err(|error| failed(&error))?;
    let found = listing.handles.iter().find(|handle| handle.id() == workload.id);
    let handle = found.ok_or_else(|| {
        Error::new(codes::EXEC, format!("workload {} does not run", workload.id))
            .with_hint("bulkhead status tells why")
    })?;
    runtime::exec_in(handle, &exec, &exe).map_err(|error| failed(&error))
}
