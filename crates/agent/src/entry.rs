//! What the `bulkhead` binary becomes for a workload: its supervisor, a command inside of it, or who sends a probe for it.
//!
//! These need no running agent: they read the run folder, which only root may.

use std::path::Path;

use api::{Error, Workload, WorkloadState, codes};
use host::linux::runtime::{self, Dirs, Exec, User};

use crate::answers::probe;
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

/// Sends a probe from a cgroup as `order` says, and prints what was seen; the exit code of the process.
#[must_use]
pub fn probe_at(order: &str) -> i32 {
    probe::apart::run(order)
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
    // What the runtime starts has a namespace too, also while it does not run: without its walls a command would be the host's.
    let adopted = workload.netns.as_ref().filter(|_| workload.state == WorkloadState::Adopted);
    if let Some(netns) = adopted {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_for_a_workload_that_does_not_run_is_not_run_on_the_host() {
        let run_dir = tempfile::tempdir().expect("a folder");
        let made = run_dir.path().join("made");
        let argv = ["touch".to_owned(), made.display().to_string()];
        for state in [
            WorkloadState::Pending,
            WorkloadState::Restarting,
            WorkloadState::Exited,
            WorkloadState::Failed,
        ] {
            let workload = Workload {
                id: "t.web".to_owned(),
                state,
                netns: Some("/proc/self/ns/net".to_owned()),
                ..Workload::default()
            };
            let refused = exec(run_dir.path(), &workload, None, &argv).expect_err("it is refused");
            assert_eq!(refused.code, codes::EXEC);
            assert!(refused.message.contains("workload t.web does not run"), "{refused:?}");
        }
        assert!(!made.exists(), "nothing ran");
    }
}
