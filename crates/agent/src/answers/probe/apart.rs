//! A probe from a workload on the host's own stack: policy knows its sockets by its cgroup, so they are made by a process that is in there.
//!
//! The process is this program again, `bulkhead probe-at ORDER`: it enters the cgroup, sends, prints what it saw and ends. It runs nothing of the
//! workload and is not confined as that is: what is probed is the way, and the policy at the cgroup.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use host::linux::runtime;
use model::Transport;
use serde::{Deserialize, Serialize};

use super::{Seen, tcp, udp};

/// How much longer than its wait the process may take.
const GRACE: Duration = Duration::from_secs(5);
/// Longest answer, bytes.
const ANSWER: u64 = 4_096;

/// What the process is to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Order {
    /// Below the unified hierarchy.
    cgroup: PathBuf,
    is_udp: bool,
    target: SocketAddr,
    local: SocketAddr,
    wait_ms: u64,
}

/// Sends a probe from a cgroup.
pub(super) fn send(
    exe: &Path,
    cgroup: &Path,
    transport: Transport,
    (target, local): (SocketAddr, SocketAddr),
    wait: Duration,
) -> io::Result<Seen> {
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
    let is_udp = transport == Transport::Udp;
    let order = Order { cgroup: cgroup.to_owned(), is_udp, target, local, wait_ms };
    let mut child = Command::new(exe)
        .arg("probe-at")
        .arg(serde_json::to_string(&order)?)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let (told, answer) = mpsc::channel();
    let output = child.stdout.take();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = output.map_or(Ok(0), |pipe| pipe.take(ANSWER).read_to_end(&mut bytes));
        // Nobody listens once it is too late.
        told.send(read.map(|_| bytes)).ok();
    });
    let bytes = answer.recv_timeout(wait + GRACE);
    if bytes.is_err() {
        child.kill()?;
    }
    child.wait()?;
    reader.join().ok();
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the process that sends it hangs");
    let answer: Result<Seen, String> = serde_json::from_slice(&bytes.map_err(late)??)?;
    answer.map_err(io::Error::other)
}

/// Does what an order says, and prints what was seen; the exit code of the process.
pub(crate) fn run(order: &str) -> i32 {
    let seen = || -> io::Result<Seen> {
        let order: Order = serde_json::from_str(order)?;
        runtime::join_unified(&order.cgroup)?;
        let wait = Duration::from_millis(order.wait_ms);
        if order.is_udp {
            udp(order.target, order.local, wait)
        } else {
            tcp(order.target, order.local, wait)
        }
    };
    let answer = seen().map_err(|error| error.to_string());
    match serde_json::to_string(&answer) {
        Ok(text) => {
            println!("{text}");
            0
        }
        Err(_) => 1,
    }
}
