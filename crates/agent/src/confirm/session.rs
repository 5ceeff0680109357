//! Over which connection a process asks: a confirmation proves something only over a connection that the new policy has let in.
//!
//! The kernel says which process is at the socket (`SO_PEERCRED`); its parents and their open files say the rest. What a process says of
//! itself (`SSH_CONNECTION`) is not asked: tmux keeps it from another day. Root could make up all of it: this is a check against mistakes.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use ipnet::IpNet;

/// Parents that are looked at.
const MAX_PARENTS: usize = 64;
/// Open files of a process that are looked at.
const MAX_FILES: usize = 4096;
/// Lines of a table of sockets that are looked at.
const MAX_SOCKETS: usize = 262_144;
/// How daemons are called that hold the connection of somebody who works from afar.
const DAEMONS: [&str; 4] = ["sshd", "sshd-session", "sshd-auth", "dropbear"];
/// `TCP_ESTABLISHED` as `/proc/net/tcp` shows it.
const ESTABLISHED: &str = "01";
/// Clock ticks of `/proc/PID/stat` in a second: the kernel's `USER_HZ`, which never changes on the platforms that we build for.
const TICKS: u64 = 100;

/// From where a process asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Over an SSH connection.
    Ssh {
        /// Its other end.
        remote: SocketAddr,
        /// This end.
        local: SocketAddr,
        /// When its daemon's process for it began, in milliseconds of `CLOCK_BOOTTIME`; 10 ms exact.
        began_ms: u64,
    },
    /// At a terminal of the machine: a console, a serial line.
    Console(String),
    /// Neither: a job, a service, a terminal multiplexer that outlived its connection.
    Apart,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ssh { remote, .. } => write!(f, "an SSH connection from {remote}"),
            Self::Console(name) => write!(f, "the console {name}"),
            Self::Apart => f.write_str("a process without a connection"),
        }
    }
}

impl Origin {
    /// The console, when it is one.
    pub(crate) fn console(&self) -> Option<&str> {
        match self {
            Self::Console(name) => Some(name),
            Self::Ssh { .. } | Self::Apart => None,
        }
    }

    /// Why it proves nothing about a policy that was applied at `applied_ms`; nothing when it does. `own` are the host's addresses, and `inside` the
    /// networks of workloads on it, which do not come in at an uplink.
    pub(crate) fn proves_nothing(
        &self,
        applied_ms: u64,
        own: &[IpAddr],
        inside: &[IpNet],
    ) -> Option<String> {
        match self {
            Self::Apart => Some(
                "it comes from a process that is below no SSH connection and at no console, which proves nothing"
                    .to_owned(),
            ),
            Self::Ssh { remote, .. } if remote.ip().is_loopback() || own.contains(&remote.ip()) => {
                Some(format!("the connection from {remote} does not come from outside of this host"))
            }
            Self::Ssh { remote, .. } if inside.iter().any(|net| net.contains(&remote.ip())) => {
                Some(format!("the connection from {remote} comes from a workload on this host, and not by an uplink"))
            }
            Self::Ssh { remote, began_ms, .. } if *began_ms <= applied_ms => {
                Some(format!("the connection from {remote} is older than the change: it proves nothing"))
            }
            Self::Ssh { .. } | Self::Console(_) => None,
        }
    }
}

/// From where a process asks. One that is gone asks from nowhere.
pub(crate) fn origin(pid: Option<i32>) -> Origin {
    let Some(pid) = pid else { return Origin::Apart };
    let here = namespace(&PathBuf::from("/proc/thread-self"));
    let mut terminal = None;
    let mut found = Origin::Apart;
    let mut next = Some(pid);
    for _ in 0..MAX_PARENTS {
        let Some(pid) = next.filter(|pid| *pid > 0) else { break };
        let folder = PathBuf::from(format!("/proc/{pid}"));
        let Some(stat) = Stat::read(&folder) else { break };
        if terminal.is_none() {
            terminal = Some(stat.terminal);
        }
        if DAEMONS.contains(&stat.name.as_str()) && namespace(&folder) == here {
            // The one above it is older, and holds nothing but the connection.
            if let Some((local, remote)) = connection(&folder) {
                found = Origin::Ssh { remote, local, began_ms: stat.began_ms };
            }
        }
        next = Some(stat.parent);
    }
    match (found, terminal.and_then(console)) {
        (Origin::Apart, Some(console)) => Origin::Console(console),
        (found, _) => found,
    }
}

/// What `/proc/PID/stat` tells (proc(5)).
struct Stat {
    name: String,
    parent: i32,
    terminal: u32,
    began_ms: u64,
}

impl Stat {
    fn read(folder: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(folder.join("stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        // A name may hold anything, parentheses too.
        let (head, rest) = text.rsplit_once(')')?;
        let (_, name) = head.split_once('(')?;
        let fields: Vec<&str> = rest.split_whitespace().collect();
        let began: u64 = fields.get(19)?.parse().ok()?;
        Some(Self {
            name: name.to_owned(),
            parent: fields.get(1)?.parse().ok()?,
            terminal: fields.get(4)?.parse::<i32>().ok()?.cast_unsigned(),
            began_ms: began.saturating_mul(1000 / TICKS),
        })
    }
}

fn namespace(folder: &Path) -> Option<PathBuf> {
    fs::read_link(folder.join("ns/net")).ok()
}

/// The name of a terminal of the machine by its device number (Linux' devices.txt); nothing for those of programs.
fn console(device: u32) -> Option<String> {
    let (major, minor) = (device >> 8 & 0xfff, device & 0xff | device >> 12 & 0xf_ff00);
    match (major, minor) {
        (4, 1..=63) => Some(format!("tty{minor}")),
        (4, 64..) => Some(format!("ttyS{}", minor - 64)),
        (5, 1) => Some("console".to_owned()),
        (204, _) => Some(format!("serial line {minor}")),
        (229, _) => Some(format!("hvc{minor}")),
        _ => None,
    }
}

/// The established connection that a process holds: local and remote end.
fn connection(folder: &Path) -> Option<(SocketAddr, SocketAddr)> {
    let files = fs::read_dir(folder.join("fd")).ok()?;
    let inode = |path: PathBuf| {
        let target = fs::read_link(path).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse::<u64>().ok()
    };
    let held: BTreeSet<u64> =
        files.flatten().take(MAX_FILES).filter_map(|file| inode(file.path())).collect();
    let mut all = established(folder);
    all.retain(|each| held.contains(&each.inode));
    // Connections that it forwards are held, too: the one to its own port came first.
    all.into_iter().min_by_key(|each| each.inode).map(|each| (each.local, each.remote))
}

/// An established TCP connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Established {
    /// This end.
    pub(crate) local: SocketAddr,
    /// The other end.
    pub(crate) remote: SocketAddr,
    /// Tells its socket from others.
    pub(crate) inode: u64,
}

/// The established connections of the namespace of a process (`/proc/PID` or `/proc/thread-self`).
pub(crate) fn established(folder: &Path) -> Vec<Established> {
    let tables = ["net/tcp", "net/tcp6"].map(|name| fs::read_to_string(folder.join(name)));
    let lines = tables.iter().flatten().flat_map(|text| text.lines().skip(1));
    lines.take(MAX_SOCKETS).filter_map(line).collect()
}

fn line(text: &str) -> Option<Established> {
    let fields: Vec<&str> = text.split_whitespace().collect();
    (fields.get(3) == Some(&ESTABLISHED)).then_some(())?;
    let (local, remote) = (end(fields.get(1)?)?, end(fields.get(2)?)?);
    Some(Established { local, remote, inode: fields.get(9)?.parse().ok()? })
}

/// `0100007F:0016`: words of the address in the machine's order, as it stands in memory.
fn end(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| {
        let word = u32::from_str_radix(address.get(at * 8..at * 8 + 8)?, 16).ok()?;
        Some(word.to_ne_bytes())
    };
    let address = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (at, place) in octets.chunks_exact_mut(4).enumerate() {
                place.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(octets).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(remote: &str, began_ms: u64) -> Origin {
        let local = "198.51.100.2:22".parse().expect("an address");
        Origin::Ssh { remote: remote.parse().expect("an address"), local, began_ms }
    }

    #[test]
    fn only_a_younger_connection_from_outside_and_a_console_prove_something() {
        let own = ["198.51.100.2".parse().expect("an address")];
        let inside = ["10.88.7.0/24".parse().expect("a network")];
        let fails = |origin: &Origin| origin.proves_nothing(1000, &own, &inside);
        assert_eq!(fails(&ssh("203.0.113.9:40000", 1010)), None);
        assert_eq!(fails(&Origin::Console("ttyS0".to_owned())), None);
        for (origin, says) in [
            (ssh("203.0.113.9:40000", 1000), "older than the change"),
            (ssh("127.0.0.1:40000", 2000), "not come from outside"),
            (ssh("198.51.100.2:40000", 2000), "not come from outside"),
            (ssh("10.88.7.9:40000", 2000), "from a workload on this host"),
            (Origin::Apart, "no SSH connection"),
        ] {
            let why = fails(&origin).expect("refused");
            assert!(why.contains(says), "{why}");
        }
    }

    #[test]
    fn a_process_is_read_though_its_name_is_odd() {
        let text =
            "4711 (a) (b c) S 12 4711 4711 1025 4711 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1";
        let stat = Stat::parse(text).expect("read");
        assert_eq!((stat.name.as_str(), stat.parent), ("a) (b c", 12));
        assert_eq!((stat.began_ms, console(stat.terminal)), (1_234_560, Some("tty1".to_owned())));
        assert_eq!(console(136 << 8 | 3), None, "a terminal of a program is none of the machine");
        assert_eq!(console(4 << 8 | 64), Some("ttyS0".to_owned()));
    }

    #[test]
    fn connections_are_read_in_both_families() {
        let v4 = "   0: 026433C6:0016 097100CB:9C40 01 00000000:00000000 00:00000000 00000000     0        0 4242 1";
        let found = line(v4).expect("established");
        assert_eq!(found.local, "198.51.100.2:22".parse().expect("an address"));
        assert_eq!((found.remote.to_string().as_str(), found.inode), ("203.0.113.9:40000", 4242));
        let mapped = "0000000000000000FFFF0000026433C6:0016";
        assert_eq!(end(mapped), Some("198.51.100.2:22".parse().expect("an address")));
        assert_eq!(line(&v4.replace(" 01 ", " 0A ")), None);
        assert_eq!(end("12:0016"), None);
    }

    #[test]
    fn our_own_connections_are_found() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
        let there = listener.local_addr().expect("an address");
        let client = std::net::TcpStream::connect(there).expect("connected");
        let here = client.local_addr().expect("an address");
        let all = established(Path::new("/proc/thread-self"));
        assert!(all.iter().any(|each| (each.local, each.remote) == (here, there)), "{all:?}");
    }
}
