//! Other runtimes' protocols as calls of the agent's API, and nothing more: CNI, netavark's plugins, OCI hooks,
//! libvirt's hook.
//!
//! A plugin is started by a runtime for each container that comes or goes, is told in the environment and on standard
//! input what is to be done, and answers on standard output. None of them keeps anything: what is attached is the agent's
//! to know, under a key that is made of what the runtime says. So a plugin may be killed at any moment, and asking again
//! is the same as asking once.
//!
//! **Limits.** A message of a runtime has at most [`MAX_INPUT`] bytes. Names and ids from outside are checked, and become
//! parts of keys and labels, never of paths. The one path that a runtime gives, that of a namespace, is looked at by the agent.

mod attaching;
pub mod cni;
pub mod hook;
pub mod libvirt;
mod names;
pub mod netavark;

use std::io::Read;

/// Largest message of a runtime, in bytes.
pub const MAX_INPUT: u64 = 1024 * 1024;

/// Reads a message; `None` when it is too large or cannot be read.
fn read(input: impl Read) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let size = input.take(MAX_INPUT + 1).read_to_end(&mut bytes).ok()?;
    (size as u64 <= MAX_INPUT).then_some(bytes)
}
