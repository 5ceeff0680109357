//! The built-in runtime behind `run:`: a workload as a few namespaces, a cgroup, an unprivileged user and a supervisor.
//!
//! There is no container image: a workload sees the host's programs read-only and private, writable memory beside them.
//! What it is for is a service that runs on the host anyway, kept apart from its neighbours; `docs/guide/runtime.md`
//! says what it gives and what it does not.
//!
//! **Processes.** [`start`] spawns `bulkhead shim --dir <folder>` ([`shim_main`]), which detaches itself: the *supervisor*
//! of one workload, single-threaded, a child of nobody we know. It forks the workload's *init* (pid 1 of the new pid
//! namespace), which confines itself, forks the program and reaps. The agent may be killed at any moment: supervisors do
//! not notice. A supervisor that is killed takes its workload along (parent death signal), so nothing runs unsupervised.
//!
//! **State.** `<run>/workloads/<id>/` holds `spec.json` (what was asked, written by the agent, once) and `state.json` (what
//! is, written by the supervisor, by rename). [`list`] adopts from these files alone; a pid counts only together with its
//! start time. The caller orders its calls per workload; two agents on one folder are not supported.
//!
//! **Surroundings.** A supervisor inherits from the agent: its mount namespace, so the agent must not have a private one;
//! its system call filter and bounding set, so a unit file must leave what mounting, namespaces and becoming another user
//! need. It leaves the agent's cgroup, so that stopping the agent's service does not end it. Signals, mask of permissions,
//! environment, open files, core limit and protection from the memory killer are reset.
//!
//! **Order.** Nothing of the workload runs before [`start`], and the network namespace is joined before anything else
//! of the confinement; the caller has finished and enforced that namespace by then.
//!
//! **Failure.** What cannot be confined is not started: every step of the confinement is fatal to the attempt, shown as
//! one sentence in [`status`], and tried again as the restart policy says.

mod backoff;
mod cgroup;
mod descriptors;
mod enter;
mod error;
mod exec;
mod fault;
mod handle;
mod ids;
mod init;
mod landlock;
mod logs;
mod mounts;
mod privileges;
mod process;
mod program;
mod run;
mod seccomp;
mod shim;
mod spec;
mod state;
mod terminal;
mod view;

pub use cgroup::join_unified;
pub(crate) use cgroup::unified;
pub use enter::enter_main;
pub use error::Error;
pub use exec::{Exec, command_in, command_in_netns, exec_in, exec_in_netns};
pub use handle::{Handle, Listing, discard, list, start, status, stop};
pub use logs::{LogReader, logs};
pub use shim::shim_main;
pub use spec::{
    DEFAULT_PIDS, Dirs, HostEntry, Ids, Limits, Log, Restart, Spec, Tmpfs, UID_BASE, User,
};
pub use state::{Exit, Phase, Status};
