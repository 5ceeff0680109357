//! The committed object file: its maps and programs, loaded once and pinned.
//!
//! Pins lie in `<bpffs>/v<ABI>`: `maps/<NAME>`, `programs/<digest of the object>/<name>` and
//! `links/<endpoint>-{from,to}`. Ports in place have `places` and `qdiscs` beside them, endpoints of the host's stack
//! `cgroups/<endpoint>-<program>`. Programs of the same digest are adopted without loading anything;
//! another digest of the same ABI is loaded beside them, over the same maps, and takes the links
//! over. A map is created when it is missing and never again.
//!
//! Programs come into the kernel in groups: those at endpoints' interfaces when the agent starts, every other one when something wants it
//! ([`Later`]). To examine the others takes most of the time of all, and many hosts have no use for them.

mod later;
mod load;

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use verdict::abi::ABI;

use super::sys::program::Purpose;
use super::{Error, Limits, sys};

pub(super) use later::Later;

/// The programs, built by `cargo xtask bpf`.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!("../../../bpf/bulkhead.o");

/// Every map of the object.
const MAPS: [&str; 24] = [
    "CONFIG",
    "ENDPOINTS",
    "PORTS_IN_PLACE",
    "CGROUPS",
    "USERS",
    "SERVICES",
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

/// Programs that are loaded together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Group {
    /// At interfaces of endpoints, what the agent runs itself, and what measurements compare with: a few instructions.
    Interfaces,
    /// At uplinks of the host, and at ports that nobody in the file has.
    Places,
    /// At cgroups of endpoints that share the host's stack.
    Cgroups,
}

impl Group {
    /// What its programs are, in the log.
    const fn what(self) -> &'static str {
        match self {
            Self::Interfaces => "of endpoints",
            Self::Places => "of uplinks and of ports that nobody has",
            Self::Cgroups => "of networks of mode host",
        }
    }

    /// Its programs; at cgroups, what refuses packets comes first.
    pub(super) const fn programs(self) -> &'static [Program] {
        match self {
            Self::Interfaces => &[
                Program::FromEndpoint,
                Program::ToEndpoint,
                Program::Clock,
                Program::Empty,
                Program::RedirectPeer,
            ],
            Self::Places => &[Program::FromHost, Program::ToHost],
            Self::Cgroups => &[
                Program::SentBySocket,
                Program::SentToSocket,
                Program::Connect4,
                Program::Connect6,
                Program::Sendmsg4,
                Program::Sendmsg6,
                Program::Bind4,
                Program::Bind6,
            ],
        }
    }
}

impl Program {
    /// What it is loaded with.
    pub(super) fn group(self) -> Group {
        match self {
            Self::FromEndpoint
            | Self::ToEndpoint
            | Self::Clock
            | Self::Empty
            | Self::RedirectPeer => Group::Interfaces,
            Self::FromHost | Self::ToHost => Group::Places,
            _ => Group::Cgroups,
        }
    }

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

/// The programs of a group of this object, loaded and pinned.
pub(super) struct Programs {
    group: Group,
    /// In the order of [`Group::programs`].
    descriptors: Vec<OwnedFd>,
    folder: PathBuf,
}

impl Programs {
    /// A program of this group.
    pub(super) fn fd(&self, program: Program) -> BorrowedFd<'_> {
        debug_assert_eq!(self.group, program.group());
        let place = self.group.programs().iter().position(|known| *known == program);
        self.descriptors[place.unwrap_or(0)].as_fd()
    }

    pub(super) fn pin(&self, program: Program) -> PathBuf {
        self.folder.join(program.name())
    }

    /// All of them, each with its pin.
    pub(super) fn all(&self) -> impl Iterator<Item = (PathBuf, BorrowedFd<'_>)> {
        let pins = self.group.programs().iter().map(|program| self.pin(*program));
        pins.zip(self.descriptors.iter().map(AsFd::as_fd))
    }

    fn open(folder: PathBuf, group: Group) -> Result<Self, Error> {
        let open = |program: &Program| {
            let failed =
                |source| Error::Open { name: format!("program {}", program.name()), source };
            sys::open(&folder.join(program.name())).map_err(failed)
        };
        let descriptors = group.programs().iter().map(open).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { group, descriptors, folder })
    }
}

/// The programs of endpoints of this object that are pinned below `root`.
pub(super) fn pinned(root: &Path) -> Result<Programs, Error> {
    Programs::open(ours(root), Group::Interfaces)
}

/// Where the programs of this object are pinned.
fn ours(root: &Path) -> PathBuf {
    root.join("programs").join(digest(OBJECT))
}

/// Adopts or loads and pins maps and the programs of endpoints below `root` (`<bpffs>/v<ABI>`).
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
    if !present.is_empty() {
        has_maps(&maps)?;
    }
    let digest = digest(object);
    let folder = programs.join(&digest);
    if present.contains(&digest) {
        if let Ok(adopted) = Programs::open(folder.clone(), Group::Interfaces) {
            return Ok((adopted, Origin::Adopted));
        }
        // Loading was cut short: nothing is attached to these yet.
        remove(&folder)?;
    }
    let loaded = load_programs(&maps, folder, limits, (object, Group::Interfaces))?;
    let origin = if present.is_empty() { Origin::Fresh } else { Origin::Replaced };
    Ok((loaded, origin))
}

/// Refuses where a map is missing that programs in the kernel have.
fn has_maps(maps: &Path) -> Result<(), Error> {
    let missing = MAPS.iter().find(|name| !maps.join(name).exists());
    missing.map_or(Ok(()), |name| Err(Error::MapGone(name)))
}

/// Loads a group of the object over the pinned maps and pins its programs, once the kernel has taken all of them.
pub(super) fn load_programs(
    maps: &Path,
    folder: PathBuf,
    limits: &Limits,
    (object, group): (&[u8], Group),
) -> Result<Programs, Error> {
    let loaded = load::load(maps, limits, object, group)?;
    make(&folder)?;
    for (program, fd) in group.programs().iter().zip(&loaded) {
        let name = program.name();
        sys::pin(fd.as_fd(), &folder.join(name))
            .map_err(|source| Error::Pin { name: format!("program {name}"), source })?;
    }
    Programs::open(folder, group)
}

/// Opens every map that is pinned in `maps`.
pub(super) fn open_maps(maps: &Path) -> Result<Vec<(&'static str, OwnedFd)>, Error> {
    let open = |name: &'static str| {
        let failed = |source| Error::Open { name: format!("map {name}"), source };
        Ok((name, sys::open(&maps.join(name)).map_err(failed)?))
    };
    MAPS.into_iter().map(open).collect()
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
