//! Cgroups that the host's service manager made for services (systemd's `system.slice`).
//!
//! Only what stands there counts: users have slices of their own, and may call cgroups in them what they like.

use std::collections::BTreeMap;
use std::fs::{self, DirEntry};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::runtime::unified;

/// Where system services are, below the root of the hierarchy.
const SLICE: &str = "system.slice";
/// Entries of a folder that are looked at.
const MAX_ENTRIES: usize = 4_096;

/// The folders in which cgroups of services come and go: `system.slice`, and the slices in it that hold the instances of templates. The root of the
/// hierarchy while there is none; nothing without the unified hierarchy. With their numbers: one that is made again has another.
///
/// # Errors
///
/// When the mounts cannot be read.
pub fn folders() -> io::Result<BTreeMap<PathBuf, u64>> {
    let Some(root) = unified()? else { return Ok(BTreeMap::new()) };
    let slice = root.join(SLICE);
    let below = entries(&slice).filter(|entry| ends(entry, ".slice")).map(|entry| entry.path());
    let all = if slice.is_dir() { below.chain([slice.clone()]).collect() } else { vec![root] };
    let numbered = all.into_iter().filter_map(|path| {
        let number = fs::metadata(&path).ok()?.ino();
        Some((path, number))
    });
    Ok(numbered.collect())
}

/// Numbers of the cgroups of services, with the service's name, without `.service`.
///
/// # Errors
///
/// When the mounts cannot be read.
pub fn running() -> io::Result<BTreeMap<u64, String>> {
    let mut found = BTreeMap::new();
    for folder in
        folders()?.keys().filter(|folder| folder.components().any(|it| it.as_os_str() == SLICE))
    {
        for entry in entries(folder).filter(|entry| ends(entry, ".service")) {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let Some(name) = name.strip_suffix(".service") else { continue };
            if let Ok(found_at) = entry.metadata() {
                found.insert(found_at.ino(), name.to_owned());
            }
        }
    }
    Ok(found)
}

fn entries(folder: &Path) -> impl Iterator<Item = DirEntry> {
    let is_folder = |entry: &DirEntry| entry.file_type().is_ok_and(|kind| kind.is_dir());
    fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_ENTRIES).filter(is_folder)
}

fn ends(entry: &DirEntry, end: &str) -> bool {
    entry.file_name().to_str().is_some_and(|name| name.ends_with(end))
}
