//! Giving up privileges for good: user, groups, capabilities, new privileges by `execve`.
//!
//! An unprivileged workload ends with no capability in any set, the bounding set included. It still binds low ports: its
//! network namespace is told that no port is privileged. In the host's namespace, which is told nothing, it keeps the one capability for
//! that; which ports it may bind is policy's (docs/adr/0022-host-mode.md). Root, when asked for by `user:`, keeps [`ROOT_SET`] in a user
//! namespace of its own, where they count for files and processes of the workload alone.

use std::io;

use nix::unistd::{Gid, Uid, setgroups, setresgid, setresuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, configure_capability_in_ambient_set,
    remove_capability_from_bounding_set, set_capabilities, set_keep_capabilities, set_no_new_privs,
};

use super::User;

/// What a workload of root may do: own files, become other users, bind ports. Close to Docker's default, without
/// device nodes, raw sockets, file capabilities, `chroot` and the audit log.
const ROOT_SET: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID)
    .union(CapabilitySet::KILL)
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::SETUID)
    .union(CapabilitySet::NET_BIND_SERVICE);

/// Highest capability number the interface can carry.
const CAPABILITIES: u32 = 64;

/// Makes the calling process `user` without a way back. Supplementary groups are dropped. `binds` keeps the capability to bind low ports.
pub(super) fn drop_to(user: User, binds: bool) -> io::Result<()> {
    let ports = if binds && !user.is_root() {
        CapabilitySet::NET_BIND_SERVICE
    } else {
        CapabilitySet::empty()
    };
    // What the agent itself was not given, it cannot leave to anybody.
    let wanted = if user.is_root() { ROOT_SET } else { ports };
    let kept = wanted.intersection(capabilities(None)?.permitted);
    let inheritable = kept.intersection(ports);
    set_keep_capabilities(!inheritable.is_empty())?;
    clear_ambient_capability_set()?;
    bound(kept)?;
    setgroups(&[])?;
    let (uid, gid) = (Uid::from_raw(user.uid), Gid::from_raw(user.gid));
    setresgid(gid, gid, gid)?;
    setresuid(uid, uid, uid)?;
    set_capabilities(None, CapabilitySets { effective: kept, permitted: kept, inheritable })?;
    if !inheritable.is_empty() {
        configure_capability_in_ambient_set(inheritable, true)?;
    }
    set_keep_capabilities(false)?;
    set_no_new_privs(true)?;
    Ok(())
}

/// Reduces the bounding set, numbers that this build has no name for included.
fn bound(kept: CapabilitySet) -> io::Result<()> {
    for number in 0..CAPABILITIES {
        let one = CapabilitySet::from_bits_retain(1 << number);
        // The kernel answers EINVAL for the first number that it does not know.
        let Ok(present) = capability_is_in_bounding_set(one) else { break };
        if present && !kept.contains(one) {
            remove_capability_from_bounding_set(one)?;
        }
    }
    Ok(())
}
