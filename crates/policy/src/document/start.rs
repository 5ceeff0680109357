//! How a workload comes to be: started by us, adopted in its namespace, or behind a port of somebody else.

use std::collections::BTreeMap;
use std::sync::Arc;

/// Started by us, or adopted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Start {
    /// `run:`: the built-in runtime starts it.
    Run(Run),
    /// `netns:`, or attached at run time: the namespace exists already.
    Netns(Adopted),
    /// `port:`: somebody else started it behind an interface of the host.
    Port(Port),
    /// A further attachment of a workload with `run:`: what its link is called in the namespace of the first.
    Beside(Arc<str>),
}

/// A port in place: an interface of the host that leads to a workload of an external network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its name on the host: 1 to 15 bytes, no slash, colon or white space.
    pub interface: String,
    /// The workload's own hardware address. It sends with no other.
    pub mac: [u8; 6],
    /// It asks for its address by DHCP.
    pub dhcp: bool,
}

/// What the built-in runtime starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Program and arguments, at least the program. No NUL bytes.
    pub argv: Vec<String>,
    /// As whom; `None` is the unprivileged default.
    pub user: Option<User>,
    /// Environment. Keys have no `=` and no NUL.
    pub env: BTreeMap<String, String>,
    /// Absolute path; `None` is `/`.
    pub workdir: Option<String>,
    /// What happens when it ends.
    pub restart: Restart,
}

/// A user by number or name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// Numeric user id.
    Id(u32),
    /// A name from the host's user database.
    Name(String),
}

/// When the built-in runtime starts a workload again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// Whenever it ends.
    Always,
    /// When it ends with a status other than 0.
    #[default]
    OnFailure,
    /// Never.
    No,
}

/// A namespace that is somebody else's, and the link that is made in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// The namespace.
    pub netns: Netns,
    /// What the link is called inside: 1 to 15 bytes, neither spaces nor `/` nor `:`; not `.`, `..` or `lo`.
    pub interface: Arc<str>,
}

impl Adopted {
    /// What the link is called when nothing is said.
    pub const INTERFACE: &'static str = "eth0";
}

impl From<Netns> for Adopted {
    fn from(netns: Netns) -> Self {
        Self { netns, interface: Arc::from(Self::INTERFACE) }
    }
}

/// An existing network namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Netns {
    /// A name as `ip netns` uses it: one path component, neither `.` nor `..`.
    Name(String),
    /// An absolute path without `..` components.
    Path(String),
    /// Not known: the link is left on the host under the name of the interface, for whoever attached the workload to move and set up.
    /// No file says this.
    Handed {
        /// It is known whose it is; until then nothing passes.
        open: bool,
    },
}
