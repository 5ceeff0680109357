//! The committed object file: its maps and programs, loaded once and pinned.
//!
//! Pins lie in `<bpffs>/v<ABI>`: `maps/<NAME>`, `programs/<digest of the object>/<name>` and
//! `links/<endpoint>-{from,to}`. Ports in place have `places` and `qdiscs` beside them, endpoints of the host's stack
//! `cgroups/<endpoint>-<program>`. Programs of the same digest are adopted without loading anything;
//! another digest of the same ABI is loaded beside them, over the same maps, and takes the links
//! over. A map is created when it is missing and never again.

mod load;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use verdict::abi::ABI;

use super::sys::program::Purpose;
use super::{Error, Limits, sys};

/// The programs, built by `cargo xtask bpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/bulkhead.o");

/// Every map of the object.
const MAPS: [&str; 22] = [
    "CONFIG",
    "ENDPOINTS",
    "PORTS_IN_PLACE",
    "CGROUPS",
    "ROOMS",
    "PAIRS",
    "PEERS",
    "IPCACHE",
    "PREFIXES",
    "POLICY",
    "PORTS",
    "FLOWS",
    "FRAGMENTS",
    "BUDGETS",
    "COUNTERS",
    "DROPS",
    "RULES",
    "REPORTED",
    "LIMITS",
    "METERS",
    "EVENTS",
    "LOST",
];

/// A program of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// Judges what an endpoint sends.
    FromEndpoint,
    /// Judges what an endpoint is to receive.
    ToEndpoint,
    /// Judges what leaves by an uplink of the host.
    FromHost,
    /// Judges what enters by an uplink of the host.
    ToHost,
    /// Judges what a socket of an endpoint of the host's stack sends.
    SentBySocket,
    /// Judges what a socket of an endpoint of the host's stack is to receive.
    SentToSocket,
    /// Asked before a socket is connected, IPv4.
    Connect4,
    /// The same, IPv6.
    Connect6,
    /// Asked before a datagram is sent that names its target, IPv4.
    Sendmsg4,
    /// The same, IPv6.
    Sendmsg6,
    /// Asked before a socket is bound, IPv4.
    Bind4,
    /// The same, IPv6.
    Bind6,
    /// Returns jiffies.
    Clock,
    /// Does nothing: for measurements.
    Empty,
    /// Hands every packet to the endpoint with the neighbouring number: for measurements.
    RedirectPeer,
}

impl Program {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::FromEndpoint,
        Self::ToEndpoint,
        Self::FromHost,
        Self::ToHost,
        Self::SentBySocket,
        Self::SentToSocket,
        Self::Connect4,
        Self::Connect6,
        Self::Sendmsg4,
        Self::Sendmsg6,
        Self::Bind4,
        Self::Bind6,
        Self::Clock,
        Self::Empty,
        Self::RedirectPeer,
    ];

    /// Its name in the object, in bpftool and as a pin.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::FromEndpoint => "from_endpoint",
            Self::ToEndpoint => "to_endpoint",
            Self::FromHost => "from_host",
            Self::ToHost => "to_host",
            Self::SentBySocket => "sent_by_socket",
            Self::SentToSocket => "sent_to_socket",
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::Sendmsg4 => "sendmsg4",
            Self::Sendmsg6 => "sendmsg6",
            Self::Bind4 => "bind4",
            Self::Bind6 => "bind6",
            Self::Clock => "clock",
            Self::Empty => "empty",
            Self::RedirectPeer => "redirect_peer",
        }
    }

    /// What the kernel is told that it is for; the numbers of places are those of `enum bpf_attach_type`.
    pub(super) const fn purpose(self) -> Purpose {
        match self {
            Self::SentToSocket => Purpose::packets(0),
            Self::SentBySocket => Purpose::packets(1),
            Self::Bind4 => Purpose::calls(8),
            Self::Bind6 => Purpose::calls(9),
            Self::Connect4 => Purpose::calls(10),
            Self::Connect6 => Purpose::calls(11),
            Self::Sendmsg4 => Purpose::calls(14),
            Self::Sendmsg6 => Purpose::calls(15),
            _ => Purpose::CLASSIFIER,
        }
    }
}

/// Where the running programs come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing was there: maps and programs are new and empty.
    Fresh,
    /// The same programs were pinned and go on unchanged.
    Adopted,
    /// Other programs of the same interface were pinned; ours have replaced them over their maps.
    /// Endpoints attached by clsact keep the old ones until they are attached again.
    Replaced,
}

/// The programs of this object, loaded and pinned.
pub(super) struct Programs {
    /// In the order of [`Program::ALL`].
    descriptors: Vec<OwnedFd>,
    folder: PathBuf,
}

impl Programs {
    pub(super) fn fd(&self, program: Program) -> BorrowedFd<'_> {
        self.descriptors[program as usize].as_fd()
    }

    pub(super) fn pin(&self, program: Program) -> PathBuf {
        self.folder.join(program.name())
    }

    fn open(folder: PathBuf) -> Result<Self, Error> {
        let open = |program: Program| {
            let failed =
                |source| Error::Open { name: format!("program {}", program.name()), source };
            sys::open(&folder.join(program.name())).map_err(failed)
        };
        let descriptors = Program::ALL.into_iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { descriptors, folder })
    }
}

/// The programs of this object that are pinned below `root`.
pub(super) fn pinned(root: &Path) -> Result<Programs, Error> {
    Programs::open(root.join("programs").join(digest(OBJECT)))
}

/// Adopts or loads and pins maps and programs below `root` (`<bpffs>/v<ABI>`).
pub(super) fn load(root: &Path, limits: &Limits) -> Result<(Programs, Origin), Error> {
    load_object(root, limits, OBJECT)
}

pub(super) fn load_object(
    root: &Path,
    limits: &Limits,
    object: &[u8],
) -> Result<(Programs, Origin), Error> {
    let (maps, programs) = (root.join("maps"), root.join("programs"));
    for folder in [&maps, &programs, &root.join("links")] {
        make(folder)?;
    }
    let present = list(&programs)?;
    let missing = MAPS.iter().find(|name| !maps.join(name).exists());
    if let (Some(name), false) = (missing, present.is_empty()) {
        return Err(Error::MapGone(name));
    }
    let digest = digest(object);
    let folder = programs.join(&digest);
    if present.contains(&digest) {
        if let Ok(adopted) = Programs::open(folder.clone()) {
            return Ok((adopted, Origin::Adopted));
        }
        // Loading was cut short: nothing is attached to these yet.
        remove(&folder)?;
    }
    load_programs(&maps, &folder, limits, object)?;
    let loaded = Programs::open(folder)?;
    let origin = if present.is_empty() { Origin::Fresh } else { Origin::Replaced };
    Ok((loaded, origin))
}

/// Loads the object over the pinned maps and pins its programs, once the kernel has taken all of them.
fn load_programs(maps: &Path, folder: &Path, limits: &Limits, object: &[u8]) -> Result<(), Error> {
    let loaded = load::load(maps, limits, object)?;
    make(folder)?;
    for (program, fd) in Program::ALL.into_iter().zip(&loaded) {
        let name = program.name();
        sys::pin(fd.as_fd(), &folder.join(name))
            .map_err(|source| Error::Pin { name: format!("program {name}"), source })?;
    }
    Ok(())
}

/// Removes the pins of programs other than ours. Called when nothing is attached to them any more.
pub(super) fn remove_others(programs: &Programs) -> Result<(), Error> {
    let Some(all) = programs.folder.parent() else { return Ok(()) };
    for name in list(all)? {
        let folder = all.join(name);
        if folder != programs.folder {
            remove(&folder)?;
        }
    }
    Ok(())
}

/// The name of an object's folder: the first 8 bytes of its SHA-256 in hexadecimal.
fn digest(object: &[u8]) -> String {
    let first =
        Sha256::digest(object).iter().take(8).fold(0, |sum, byte| sum << 8 | u64::from(*byte));
    format!("{first:016x}")
}

/// The folder of this ABI below `bpffs`; refuses when there is one of another.
pub(super) fn root(bpffs: &Path) -> Result<PathBuf, Error> {
    let ours = format!("v{ABI}");
    for name in versions(bpffs)? {
        if name != ours {
            return Err(Error::OtherAbi { path: bpffs.to_owned(), found: name, wanted: ABI });
        }
    }
    Ok(bpffs.join(ours))
}

/// The folders of all ABIs below `bpffs`.
pub(super) fn versions(bpffs: &Path) -> Result<Vec<String>, Error> {
    let is_version =
        |name: &String| name.strip_prefix('v').is_some_and(|rest| rest.parse::<u32>().is_ok());
    Ok(list(bpffs)?.into_iter().filter(is_version).collect())
}

pub(super) fn make(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|source| Error::Folder { path: folder.to_owned(), source })
}

/// Names in a folder; none when there is no folder.
pub(super) fn list(folder: &Path) -> Result<Vec<String>, Error> {
    let read = || -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            names.extend(entry?.file_name().into_string());
        }
        Ok(names)
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|source| Error::Folder { path: folder.to_owned(), source }),
    }
}

/// Removes a folder with everything in it; no error when it is not there.
pub(super) fn remove(folder: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(|source| Error::Unpin { path: folder.to_owned(), source }),
    }
}
