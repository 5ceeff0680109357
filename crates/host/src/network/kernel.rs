//! The few things the reconciler asks of a kernel, and nothing about when to ask them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::PathBuf;

use crate::linux::netns::NetNs;
use crate::linux::nft::{Ruleset, TableState};

use super::{Glance, NsState, Op};

/// A Linux kernel as the reconciler sees it: the real one or the fake.
pub trait Kernel {
    /// Lists the namespaces that are pinned in our run directory.
    ///
    /// # Errors
    ///
    /// Fails when the run directory cannot be read.
    fn namespaces(&mut self) -> Result<BTreeSet<NsName>, KernelError>;

    /// Reads links, addresses, routes and neighbours of one namespace; `None` when there is no
    /// such namespace.
    ///
    /// # Errors
    ///
    /// Fails when the namespace exists and cannot be entered or read.
    fn read(&mut self, ns: &Ns) -> Result<Option<NsState>, KernelError>;

    /// As [`Kernel::read`], but of a router only what `glance` names ([`Glance::of`]).
    ///
    /// # Errors
    ///
    /// As [`Kernel::read`].
    fn glance(&mut self, ns: &Ns, glance: &Glance) -> Result<Option<NsState>, KernelError>;

    /// Reads our nftables table of one namespace; `None` when there is none.
    ///
    /// # Errors
    ///
    /// Fails when `nft` cannot be run or its answer not be read.
    fn table(&mut self, ns: &Ns) -> Result<Option<TableState>, KernelError>;

    /// Reads our table at the edge to a LAN: of family `netdev` on the host, `bridge` in a router; `None` when there is none.
    ///
    /// # Errors
    ///
    /// As [`Kernel::table`].
    fn edge(&mut self, ns: &Ns) -> Result<Option<TableState>, KernelError>;

    /// Reads a sysctl of the host's namespace by its path below `/proc/sys`; `None` when this
    /// kernel has no such thing.
    ///
    /// # Errors
    ///
    /// Fails when the file exists and cannot be read.
    fn sysctl(&mut self, key: &str) -> Result<Option<String>, KernelError>;

    /// The values that sysctls of the host had before we changed them.
    ///
    /// # Errors
    ///
    /// Fails when the record of earlier values cannot be read.
    fn sysctls_before(&mut self) -> Result<BTreeMap<String, String>, KernelError>;

    /// Does one step.
    ///
    /// # Errors
    ///
    /// Fails when the kernel refuses; the error says what was asked in `ip`'s words.
    fn execute(&mut self, op: &Op) -> Result<(), KernelError>;

    /// Is told what our table of the host holds after a pass in which nothing failed, so that it can be put back without one.
    fn note(&mut self, _ruleset: &Ruleset) {}

    /// Opens a namespace for the caller's own use.
    ///
    /// # Errors
    ///
    /// Fails when there is no such namespace.
    fn open(&mut self, ns: &Ns) -> Result<NetNs, KernelError>;
}

/// A kernel call that did not work.
#[derive(Debug, thiserror::Error)]
#[error("`{action}` failed")]
pub struct KernelError {
    /// What we asked for, in `ip`'s or `nft`'s words.
    pub action: String,
    /// What came back.
    #[source]
    pub cause: Refusal,
}

/// What the kernel, or a tool in front of it, answered.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// An error number, with the kernel's own explanation when it gave one.
    #[error("{}{}{explanation}", .errno, if .explanation.is_empty() { "" } else { ": " })]
    Errno {
        /// The error number as the system words it.
        errno: std::io::Error,
        /// The text of the extended acknowledgement; empty when there was none.
        explanation: String,
    },
    /// `nft` ended with an error; this is what it printed.
    #[error("nft said: {0}")]
    Nft(String),
    /// `nft` did not end and was killed; the table is as it was, or wholly replaced.
    #[error("nft did not end within {0:?} and was killed")]
    Late(std::time::Duration),
    /// An answer that could not be decoded.
    #[error("the answer could not be decoded: {0}")]
    Answer(String),
    /// There are more objects than are read.
    #[error("there are more than {limit} {what}")]
    Many {
        /// So many are read.
        limit: usize,
        /// Of these.
        what: &'static str,
    },
    /// The object is not there.
    #[error("there is no such {0}")]
    Absent(&'static str),
}

impl From<std::io::Error> for Refusal {
    fn from(errno: std::io::Error) -> Self {
        Self::Errno { errno, explanation: String::new() }
    }
}

impl KernelError {
    /// An error about `action`.
    pub fn new(action: impl fmt::Display, cause: impl Into<Refusal>) -> Self {
        Self { action: action.to_string(), cause: cause.into() }
    }
}

/// A network namespace, by the place where it is found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ns {
    /// The one the agent runs in.
    Host,
    /// Pinned in our run directory.
    Ours(NsName),
    /// Somebody else's, at an absolute path.
    At(PathBuf),
}

impl fmt::Display for Ns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Ours(name) => name.fmt(f),
            Self::At(path) => path.display().fmt(f),
        }
    }
}

/// The name of a namespace of ours: `<tenant>.<workload>`, or `<tenant>.<network>.router`.
///
/// It becomes a file name, so it is checked here once and cannot hold a separator or be hidden. A
/// router has a third part because a workload and a network of one tenant may share a name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NsName(String);

/// Why a text is not the name of a namespace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the name of a namespace: wanted <tenant>.<workload> or <tenant>.<network>.router, \
     each part of at most 32 characters a-z, 0-9 and -, starting with a letter"
)]
pub struct NsNameError(String);

impl NsName {
    /// The namespace of a workload.
    ///
    /// # Errors
    ///
    /// [`NsNameError`] when one of the parts is not a name.
    pub fn workload(tenant: &str, workload: &str) -> Result<Self, NsNameError> {
        Self::parse(&format!("{tenant}.{workload}"))
    }

    /// The router of a network.
    ///
    /// # Errors
    ///
    /// [`NsNameError`] when one of the parts is not a name.
    pub fn router(tenant: &str, network: &str) -> Result<Self, NsNameError> {
        Self::parse(&format!("{tenant}.{network}.router"))
    }

    /// Reads a whole name, such as a workload id.
    ///
    /// # Errors
    ///
    /// [`NsNameError`] when it is not of one of the two shapes.
    pub fn parse(text: &str) -> Result<Self, NsNameError> {
        let parts: Vec<&str> = text.splitn(4, '.').collect();
        let shaped = matches!(parts.as_slice(), [_, _] | [_, _, "router"]);
        if shaped && parts.iter().all(|part| is_name(part)) {
            return Ok(Self(text.to_owned()));
        }
        Err(NsNameError(text.chars().take(100).collect()))
    }

    /// Whether it is the router of a network.
    #[must_use]
    pub fn is_router(&self) -> bool {
        self.0.ends_with(".router") && self.0.matches('.').count() == 2
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_name(part: &str) -> bool {
    let bytes = part.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return false };
    let inner = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-';
    part.len() <= 32 && first.is_ascii_lowercase() && *last != b'-' && bytes.iter().all(inner)
}
