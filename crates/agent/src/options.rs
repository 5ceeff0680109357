//! Where an agent keeps its things.

use std::path::{Path, PathBuf};

use host::linux::runtime::Dirs;

/// Where an agent keeps its things, and who may ask it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Volatile: socket, pinned namespaces, workloads.
    pub run_dir: PathBuf,
    /// Survives a reboot: last good document, allocations, flow history, logs, data of workloads.
    pub state_dir: PathBuf,
    /// On a BPF file system: programs, maps and links.
    pub bpffs: PathBuf,
    /// The group that may ask questions; without one only root and the agent's user may.
    pub group: Option<String>,
    /// How long the flow store keeps flows, in days.
    pub flow_days: u32,
    /// How large the flow store may become, in bytes; whichever is reached first.
    pub flow_bytes: u64,
    /// Docker's socket, asked only when a file names a network of Docker's, or by the driver for Docker.
    pub docker: PathBuf,
    /// Podman's socket, asked for the containers that it attaches by CNI or the hook.
    pub podman: PathBuf,
    /// Where the driver for Docker listens; `None` when there is to be none. Docker calls the driver what the socket is called.
    pub docker_driver: Option<PathBuf>,
}

impl Options {
    /// Days that the flow store keeps, unless something else is said.
    pub const FLOW_DAYS: u32 = 14;
    /// Bytes that the flow store may have, unless something else is said.
    pub const FLOW_BYTES: u64 = 1 << 30;
    /// Docker's socket, unless something else is said.
    pub const DOCKER: &str = "/run/docker.sock";
    /// Podman's socket, unless something else is said.
    pub const PODMAN: &str = "/run/podman/podman.sock";
    /// Where dockerd looks for a driver that is called `bulkhead`.
    pub const DOCKER_DRIVER: &str = "/run/docker/plugins/bulkhead.sock";
    /// Fewest bytes that the flow store can do with.
    pub const MIN_FLOW_BYTES: u64 = 64 << 20;

    /// The agent's socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.run_dir.join(api::SOCKET)
    }

    /// The folders as the runtime wants them.
    pub(crate) fn dirs(&self) -> Dirs {
        Dirs { run: self.run_dir.clone(), state: self.state_dir.clone() }
    }

    /// Where a namespace of ours is pinned; that of a workload is one for all of its attachments.
    pub(crate) fn pin(&self, name: &str) -> PathBuf {
        self.run_dir.join("netns").join(policy::document::owner(name))
    }

    /// The log of a workload.
    pub(crate) fn log(&self, id: &str) -> PathBuf {
        self.state_dir.join("logs").join(format!("{id}.log"))
    }

    /// The data folder of a workload.
    pub(crate) fn data(&self, id: &str) -> PathBuf {
        self.state_dir.join("data").join(id)
    }

    /// The cgroup above those of all workloads. Agents with other run folders than the default get one of their own.
    pub(crate) fn cgroup(&self) -> PathBuf {
        if self.run_dir == Path::new("/run/bulkhead") {
            return PathBuf::from("bulkhead");
        }
        let mut digest = model::digest::Digest64::new("run folder");
        digest.bytes(self.run_dir.as_os_str().as_encoded_bytes());
        PathBuf::from(format!("bulkhead-{:016x}", digest.finish()))
    }
}
