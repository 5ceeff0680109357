//! Abstract unix sockets of the host, which a workload in the host's network namespace would find there: they belong to the namespace, and
//! no file guards them (CVE-2020-15257 was one).
//!
//! Where the kernel has it (Linux 6.12, Landlock ABI 6) the workload is put into a domain that reaches the abstract sockets of its own processes
//! alone. Elsewhere it gets no unix sockets but pairs, see [`super::seccomp`].

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// `LANDLOCK_CREATE_RULESET_VERSION`.
const VERSION: u32 = 1;
/// `LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET`.
const ABSTRACT_SOCKETS: u64 = 1;
/// The first version of the interface with scopes.
const SCOPES: libc::c_long = 6;

/// `struct landlock_ruleset_attr` of that version.
#[derive(Default)]
#[repr(C)]
struct Ruleset {
    files: u64,
    network: u64,
    scoped: u64,
}

/// Whether this kernel can keep a process from abstract sockets of others.
#[expect(unsafe_code, reason = "there is no safe form of this call")]
pub(super) fn can_scope() -> bool {
    let nothing = std::ptr::null::<Ruleset>();
    // SAFETY: with this flag the kernel reads nothing and answers with a number.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, nothing, 0_usize, VERSION) };
    version >= SCOPES
}

/// Keeps the calling process, and all that it starts, from abstract sockets of others. `no_new_privs` must be set.
#[expect(unsafe_code, reason = "there is no safe form of these calls")]
pub(super) fn scope() -> io::Result<()> {
    let rules = Ruleset { scoped: ABSTRACT_SOCKETS, ..Ruleset::default() };
    let bytes = size_of::<Ruleset>();
    // SAFETY: the structure lives on and is as large as is said.
    let made =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const rules, bytes, 0_u32) };
    let fd = RawFd::try_from(made).ok().filter(|fd| *fd >= 0);
    let Some(fd) = fd else { return Err(io::Error::last_os_error()) };
    // SAFETY: the kernel has just opened it for us.
    let ruleset = unsafe { OwnedFd::from_raw_fd(fd) };
    // SAFETY: takes two numbers.
    let done =
        unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
