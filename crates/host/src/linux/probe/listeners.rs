//! Sockets that wait for others, and whose they are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde::Serialize;

use crate::network::Transport;

use super::{parse, read};

/// More processes than this are not looked at.
const MAX_PROCESSES: usize = 32_768;

/// More open files of one process than this are not looked at.
const MAX_FILES: usize = 65_536;

/// Longest name of a process that the kernel keeps, in bytes.
const MAX_NAME: usize = 15;

/// One waiting socket.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Listener {
    /// `tcp` or `udp`.
    pub transport: &'static str,
    /// What it is bound to; unspecified for every address.
    pub address: IpAddr,
    /// Port.
    pub port: u16,
    /// User of the socket.
    pub uid: u32,
    /// Name of the process, where it could be found.
    pub process: Option<String>,
}

impl Listener {
    /// Whether only this host can reach it.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.address.is_loopback()
    }
}

/// Every TCP socket that listens and every UDP socket that is not connected, in the calling
/// thread's network namespace, by port.
#[must_use]
pub fn listeners() -> Vec<Listener> {
    let mut found = Vec::new();
    for (file, transport) in [
        ("tcp", Transport::Tcp),
        ("tcp6", Transport::Tcp),
        ("udp", Transport::Udp),
        ("udp6", Transport::Udp),
    ] {
        let text = read(&Path::new("/proc/thread-self/net").join(file)).unwrap_or_default();
        found.extend(parse::listening(&text, transport));
    }
    let mut owners: BTreeMap<u64, Option<String>> =
        found.iter().map(|(_, inode)| (*inode, None)).collect();
    name_owners(&mut owners);
    let named = found.into_iter().map(|(listener, inode)| {
        let process = owners.get(&inode).cloned().flatten();
        Listener { process, ..listener }
    });
    let mut listeners: Vec<Listener> = named.collect();
    listeners
        .sort_unstable_by_key(|listener| (listener.port, listener.transport, listener.address));
    listeners
}

/// Finds, for each socket inode, the name of a process that has it open.
fn name_owners(owners: &mut BTreeMap<u64, Option<String>>) {
    if owners.is_empty() {
        return;
    }
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    let is_process = |entry: &std::fs::DirEntry| {
        entry.file_name().to_str().is_some_and(|name| name.parse::<u32>().is_ok())
    };
    for process in processes.flatten().filter(is_process).take(MAX_PROCESSES) {
        let Ok(files) = std::fs::read_dir(process.path().join("fd")) else { continue };
        for file in files.flatten().take(MAX_FILES) {
            let Some(inode) = socket_inode(&file.path()) else { continue };
            if let Some(owner @ None) = owners.get_mut(&inode) {
                let name = read(&process.path().join("comm")).unwrap_or_default();
                *owner = Some(shown(&name));
            }
        }
    }
}

/// A process gives itself any name, and this one is shown to root.
fn shown(name: &str) -> String {
    let name = name.strip_suffix('\n').unwrap_or(name);
    let shown = |char: char| if char.is_ascii_graphic() || char == ' ' { char } else { '?' };
    name.chars().take(MAX_NAME).map(shown).collect::<String>().trim().to_owned()
}

fn socket_inode(file: &Path) -> Option<u64> {
    let target = std::fs::read_link(file).ok()?;
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_cannot_speak_to_the_terminal_of_who_lists_ports() {
        assert_eq!(shown("sshd\n"), "sshd");
        assert_eq!(shown("tmux: server\n"), "tmux: server");
        assert_eq!(shown("a\u{1b}[2J\u{9b}1m\u{202e}\nb\n"), "a?[2J?1m??b");
        assert!(shown(&"x".repeat(300)).len() <= MAX_NAME);
    }
}
