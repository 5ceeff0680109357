//! How many files may be open: as many as possible for the agent, the usual number for workloads.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What programs get elsewhere, too; `select` cannot do with more. A program that wants more raises it itself.
const USUAL: u64 = 1024;

/// Raises the soft limit to the hard one: every router takes two descriptors, and every program and link some.
pub(crate) fn raise() {
    let hard = getrlimit(Resource::Nofile).maximum;
    set(Rlimit { current: hard, maximum: hard });
}

/// Lowers the soft limit that was inherited from the agent to the usual one.
pub(crate) fn lower() {
    let hard = getrlimit(Resource::Nofile).maximum;
    let usual = hard.map_or(USUAL, |hard| hard.min(USUAL));
    set(Rlimit { current: Some(usual), maximum: hard });
}

fn set(limit: Rlimit) {
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "set the limit of open files");
    }
}
