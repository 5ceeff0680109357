//! Short grace periods for as long as a change takes.
//!
//! Attaching a TCX program, and removing an interface that has one, waits for an RCU grace period while it holds the lock
//! of all network configuration (kernel/bpf/tcx.c and include/net/tcx.h, `tcx_entry_sync`); so does every change of the
//! policy tables. Normally one takes 5 to 30 ms, which is nearly all that attaching an endpoint costs. With
//! `/sys/kernel/rcu_expedited` set the kernel interrupts every CPU instead of waiting for it and needs some 50 µs
//! (`kernel/ksysfs.c`, `kernel/rcu/tree_exp.h`). [`Expedited`] sets it for one change of ours and then puts it back.
//! See ADR 0013.
//!
//! **Ownership.** The value says whose it is: the kernel takes any number for "yes", and ours is [`MARK`]. Only a 0 becomes
//! our mark and only our mark becomes 0 again, so nothing has to be remembered elsewhere: what an agent left behind that
//! was killed in the middle is recognised by the next one ([`put_right`]), and what the administrator set is left alone.
//!
//! **Limits.** Two agents on one host may end each other's haste: the other's change is then slow, nothing else. On a
//! kernel that ignores the setting (`rcu_normal`, as `PREEMPT_RT` sets it) or a read-only `/sys`, changes are slow.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

/// Asks for short grace periods.
const EXPEDITED: &str = "/sys/kernel/rcu_expedited";
/// Overrides the former.
const NORMAL: &str = "/sys/kernel/rcu_normal";

/// The value that is ours: `b`, as in the protocol number of our routes.
pub const MARK: i32 = 0x62;

/// Longer than any number the kernel prints, bytes.
const MAX_VALUE_BYTES: usize = 32;

/// Grace periods are short while this lives, if the kernel lets us.
#[derive(Debug)]
#[must_use = "grace periods are short only while it lives"]
pub struct Expedited {
    /// Set by us or by another of ours; to be put back.
    ours: Option<File>,
}

impl Expedited {
    /// Asks for short grace periods. Where that is impossible everything works, slowly.
    pub fn begin() -> Self {
        Self::begin_at(Path::new(EXPEDITED))
    }

    fn begin_at(path: &Path) -> Self {
        let set = || -> io::Result<Option<File>> {
            let file = open(path)?;
            match value(&file)? {
                0 => write(&file, MARK)?,
                MARK => {}
                // Somebody else wants it so, and for longer.
                _ => return Ok(None),
            }
            Ok(Some(file))
        };
        let ours = set().unwrap_or_else(|error| {
            tracing::debug!(%error, "grace periods stay as long as they are");
            None
        });
        Self { ours }
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        if let Some(file) = self.ours.take()
            && let Err(error) = release(&file)
        {
            tracing::error!(%error, "{EXPEDITED} could not be put back to 0");
        }
    }
}

/// Puts back what an agent left behind that was killed in the middle of a change; `true` when there was something. Nothing
/// happens where there is no such setting.
///
/// # Errors
///
/// The system's answer when it is set by us and cannot be put back.
pub fn put_right() -> io::Result<bool> {
    put_right_at(Path::new(EXPEDITED))
}

fn put_right_at(path: &Path) -> io::Result<bool> {
    match File::open(path).and_then(|file| value(&file)) {
        Ok(MARK) => release(&open(path)?),
        _ => Ok(false),
    }
}

/// Whether changes can be quick here, for the report on this host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Haste {
    /// Grace periods are made short while something changes.
    OnDemand,
    /// They always are, because somebody has set this value.
    Always,
    /// The kernel is told to ignore the setting.
    Ignored,
    /// The setting is absent or cannot be written.
    Refused,
}

/// Finds out without changing anything.
#[must_use]
pub fn haste() -> Haste {
    haste_at(Path::new(EXPEDITED), Path::new(NORMAL))
}

fn haste_at(expedited: &Path, normal: &Path) -> Haste {
    let read = |path: &Path| File::open(path).and_then(|file| value(&file));
    if read(normal).is_ok_and(|value| value != 0) {
        return Haste::Ignored;
    }
    match read(expedited) {
        Ok(0 | MARK) if open(expedited).is_ok() => Haste::OnDemand,
        Ok(0 | MARK) | Err(_) => Haste::Refused,
        Ok(_) => Haste::Always,
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path)
}

/// Our mark becomes 0; `false` when it is not there any more.
fn release(file: &File) -> io::Result<bool> {
    let is_ours = value(file)? == MARK;
    if is_ours {
        write(file, 0)?;
    }
    Ok(is_ours)
}

fn value(file: &File) -> io::Result<i32> {
    let mut bytes = [0; MAX_VALUE_BYTES];
    let length = file.read_at(&mut bytes, 0)?;
    let text = std::str::from_utf8(bytes.get(..length).unwrap_or_default());
    let number = text.ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "not a number"))
}

fn write(file: &File, value: i32) -> io::Result<()> {
    file.write_all_at(format!("{value}\n").as_bytes(), 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::path::PathBuf;

    /// A file that stands for the kernel's.
    fn setting(folder: &tempfile::TempDir, value: &str) -> PathBuf {
        let path = folder.path().join("rcu_expedited");
        std::fs::write(&path, value).expect("written");
        path
    }

    fn read(path: &Path) -> i32 {
        value(&File::open(path).expect("there")).expect("a number")
    }

    #[test]
    fn it_is_set_for_a_while_and_put_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = setting(&folder, "0\n");
        let hurry = Expedited::begin_at(&path);
        assert_eq!(read(&path), MARK);
        drop(hurry);
        assert_eq!(read(&path), 0);
    }

    #[test]
    fn a_panic_puts_it_back_too() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = setting(&folder, "0\n");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let _hurry = Expedited::begin_at(&path);
            assert_eq!(read(&path), 0, "this is the panic");
        }));
        assert!(panicked.is_err());
        assert_eq!(read(&path), 0);
    }

    #[test]
    fn what_others_set_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = setting(&folder, "1\n");
        drop(Expedited::begin_at(&path));
        assert_eq!(read(&path), 1);
        assert!(!put_right_at(&path).expect("readable"));
        assert_eq!(read(&path), 1);
        // Also when it was set while we were at it.
        let path = setting(&folder, "0\n");
        let hurry = Expedited::begin_at(&path);
        std::fs::write(&path, "1\n").expect("written");
        drop(hurry);
        assert_eq!(read(&path), 1);
    }

    #[test]
    fn what_a_killed_agent_left_is_put_right_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = setting(&folder, "0\n");
        // As SIGKILL does: nothing is put back.
        std::mem::forget(Expedited::begin_at(&path));
        assert!(put_right_at(&path).expect("writable"));
        assert_eq!(read(&path), 0);
        assert!(!put_right_at(&path).expect("readable"));
        // A new change instead of a restart does the same.
        std::mem::forget(Expedited::begin_at(&path));
        drop(Expedited::begin_at(&path));
        assert_eq!(read(&path), 0);
    }

    #[test]
    fn two_agents_leave_nothing_behind() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = setting(&folder, "0\n");
        let (first, second) = (Expedited::begin_at(&path), Expedited::begin_at(&path));
        drop(first);
        drop(second);
        assert_eq!(read(&path), 0);
    }

    #[test]
    fn without_the_setting_everything_goes_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let absent = folder.path().join("absent");
        drop(Expedited::begin_at(&absent));
        assert!(!put_right_at(&absent).expect("nothing to do"));
        assert_eq!(haste_at(&absent, &absent), Haste::Refused);
    }

    #[test]
    fn the_report_tells_what_is_possible() {
        let folder = tempfile::tempdir().expect("a folder");
        let normal = folder.path().join("rcu_normal");
        std::fs::write(&normal, "0\n").expect("written");
        let path = setting(&folder, "0\n");
        assert_eq!(haste_at(&path, &normal), Haste::OnDemand);
        assert_eq!(haste_at(&setting(&folder, "1\n"), &normal), Haste::Always);
        std::fs::write(&normal, "1\n").expect("written");
        assert_eq!(haste_at(&path, &normal), Haste::Ignored);
    }
}
