//! Which ids of the host stand for those of a workload: user namespaces.
//!
//! Two uses. A workload of `user: root`, and a command that `exec` runs as root, live in a namespace where root and the
//! users of services stand for ids of the host that own nothing: what only the host's root may read, write or signal stays
//! closed. And every folder of the host is shown through a mapping that knows no group but the workload's own: files are
//! read as always, but whatever would be *written* to such a file is refused, connecting to a unix socket included
//! (`HAS_UNMAPPED_ID` in `inode_permission`, `fs/namei.c`).
//!
//! A namespace is made by a child that lives until its maps are written: only a process outside of it may write them.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::waitpid;
use nix::unistd::pipe2;

use super::process::{Fork, OneThread, end};
use super::spec::Ids;

/// Ids from 0 that a workload of root has: root, and the users of services.
const SERVICES: u32 = 1024;
/// `nobody`, and the group of the same number.
const NOBODY: u32 = 65_534;
/// Every id: the last number stands for none.
const ALL: u32 = u32::MAX;

/// A line of a map: `count` ids from `inside` stand for as many from `outside`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Line {
    inside: u32,
    outside: u32,
    count: u32,
}

/// Root and services stand for `ids`; `kept`, a user of the host, for itself.
pub(super) fn of_root(ids: Ids, kept: Option<u32>) -> Vec<Line> {
    let line = |inside, count| Line { inside, outside: ids.first() + inside, count };
    let itself = |id| Line { inside: id, outside: id, count: 1 };
    let nobody = Line { inside: NOBODY, outside: ids.first() + SERVICES, count: 1 };
    let mut lines = match kept {
        Some(id) if id < SERVICES => {
            vec![line(0, id), itself(id), line(id + 1, SERVICES - id - 1), nobody]
        }
        Some(NOBODY) => vec![line(0, SERVICES), itself(NOBODY)],
        Some(id) => vec![line(0, SERVICES), itself(id), nobody],
        None => vec![line(0, SERVICES), nobody],
    };
    lines.retain(|line| line.count > 0);
    lines
}

/// The map of users for what is shown: everybody, so that owners are told apart.
pub(super) fn everybody() -> Vec<Line> {
    vec![Line { inside: 0, outside: 0, count: ALL }]
}

/// The map of groups for what is shown: the workload's own. Root's is never shown, the workload's is then one of `ids`.
pub(super) fn own_group(gid: u32, ids: Ids) -> Vec<Line> {
    let id = if gid == 0 { ids.first() } else { gid };
    vec![Line { inside: id, outside: id, count: 1 }]
}

/// Makes a user namespace with these maps.
pub(super) fn namespace(thread: OneThread, users: &[Line], groups: &[Line]) -> io::Result<OwnedFd> {
    let (said, saying) = pipe2(OFlag::O_CLOEXEC)?;
    let (waiting, done) = pipe2(OFlag::O_CLOEXEC)?;
    let child = match OneThread::fork(thread)? {
        Fork::Child => {
            drop((said, done));
            live(File::from(saying), File::from(waiting))
        }
        Fork::Parent(child) => child,
    };
    drop((saying, waiting));
    let made = heard(File::from(said)).and_then(|()| {
        let folder = format!("/proc/{child}");
        fs::write(format!("{folder}/uid_map"), text(users))?;
        fs::write(format!("{folder}/gid_map"), text(groups))?;
        File::open(format!("{folder}/ns/user")).map(OwnedFd::from)
    });
    drop(done);
    waitpid(child, None)?;
    made
}

/// The life of the child: in the namespace until the parent lets go.
fn live(mut saying: File, mut waiting: File) -> ! {
    let number = unshare(CloneFlags::CLONE_NEWUSER).err().map_or(0, |errno| errno as i32);
    // A parent that is gone hears nothing and needs nothing.
    saying.write_all(&number.to_ne_bytes()).ok();
    drop(saying);
    waiting.read_to_end(&mut Vec::new()).ok();
    end(0)
}

fn heard(mut said: File) -> io::Result<()> {
    let mut number = [0; 4];
    said.read_exact(&mut number)?;
    match i32::from_ne_bytes(number) {
        0 => Ok(()),
        number => Err(Errno::from_raw(number).into()),
    }
}

fn text(lines: &[Line]) -> String {
    let line = |line: &Line| format!("{} {} {}", line.inside, line.outside, line.count);
    let lines: Vec<String> = lines.iter().map(line).collect();
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_services_are_private_and_the_kept_one_is_itself() {
        let ids = Ids::numbered(1);
        let first = ids.first();
        let shown = |kept| text(&of_root(ids, kept));
        let nobody = format!("65534 {} 1\n", first + 1024);
        assert_eq!(shown(None), format!("0 {first} 1024\n{nobody}"));
        assert_eq!(shown(Some(200_000)), format!("0 {first} 1024\n200000 200000 1\n{nobody}"));
        let around = format!("0 {first} 33\n33 33 1\n34 {} 990\n{nobody}", first + 34);
        assert_eq!(shown(Some(33)), around);
        assert_eq!(shown(Some(1023)), format!("0 {first} 1023\n1023 1023 1\n{nobody}"));
        assert_eq!(shown(Some(65_534)), format!("0 {first} 1024\n65534 65534 1\n"));
    }

    #[test]
    fn roots_group_is_not_among_those_of_shown_files() {
        assert_eq!(text(&own_group(33, Ids::numbered(0))), "33 33 1\n");
        assert!(!text(&own_group(0, Ids::numbered(0))).starts_with('0'));
    }
}
