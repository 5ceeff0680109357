//! What can go wrong in the runtime, one variant per operation.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// A failed operation of the runtime. The cause is the error's source.
#[derive(Debug, Error)]
pub enum Error {
    /// A field of the spec does not have the shape it must have.
    #[error("workload {id}: {field} {reason}")]
    InvalidSpec {
        /// The workload.
        id: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// `user:` names nobody.
    #[error("the host has no user `{name}`")]
    UnknownUser {
        /// As written.
        name: String,
    },
    /// A supervisor for this workload is running already.
    #[error("workload {id} is running already")]
    AlreadyRunning {
        /// The workload.
        id: String,
    },
    /// A file of the workload's folder could not be written.
    #[error("writing {}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the workload's folder could not be read.
    #[error("reading {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file of the workload's folder does not hold what it should.
    #[error("understanding {}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// The supervisor process could not be spawned.
    #[error("spawning the supervisor of {id} from {}", exe.display())]
    Spawn {
        /// The workload.
        id: String,
        /// The binary.
        exe: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The supervisor ended or stayed silent instead of reporting ready.
    #[error("the supervisor of {id} did not come up: {report}")]
    NotReady {
        /// The workload.
        id: String,
        /// What it said, or what did not happen.
        report: String,
    },
    /// The supervisor or the workload did not end although it was killed.
    #[error("stopping {id}: {what}")]
    Stop {
        /// The workload.
        id: String,
        /// What is still there.
        what: String,
    },
    /// Something of the workload could not be removed.
    #[error("removing {}", path.display())]
    Remove {
        /// What.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The workload is not running, so nothing can be run in it.
    #[error("workload {id} is not running")]
    NotRunning {
        /// The workload.
        id: String,
    },
    /// The command to run inside a workload could not be started.
    #[error("running `{program}` in {id}")]
    Exec {
        /// The workload.
        id: String,
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}
