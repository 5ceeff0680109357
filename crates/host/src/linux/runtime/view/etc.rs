//! The few files of `/etc` that a workload has for itself: who it is, whom it knows by name, whom it asks for names.

use std::fs;
use std::path::{Path, PathBuf};

use super::super::Spec;
use super::super::fault::{Doing, Fault};
use super::super::mounts::{PLAIN, bind};

use nix::mount::MsFlags;

const MAX_TEXT_BYTES: u64 = 1024 * 1024;
/// Where the texts are written before they are shown; removed at once.
const DRAFT: &str = "/.draft";

/// Path and text of each file.
pub(super) struct Texts(Vec<(&'static str, String)>);

impl Texts {
    /// Made from the host's files, before the host's root is left.
    pub(super) fn read(spec: &Spec) -> Result<Self, Fault> {
        let (uid, gid) = (spec.user.uid, spec.user.gid);
        let user =
            format!("workload:x:{uid}:{gid}:Bulkhead workload {}:/data:/usr/sbin/nologin", spec.id);
        let group = format!("workload:x:{gid}:");
        Ok(Self(vec![
            ("/etc/passwd", with_entry(&text("/etc/passwd")?, &user)),
            ("/etc/group", with_entry(&text("/etc/group")?, &group)),
            ("/etc/hostname", format!("{}\n", spec.hostname)),
            ("/etc/hosts", hosts(spec)),
            ("/etc/resolv.conf", reachable_resolvers(&text("/etc/resolv.conf")?)),
        ]))
    }

    /// Shows them in place of the host's. A file that the host does not have is left out: `/etc` is read-only.
    pub(super) fn place(&self) -> Result<(), Fault> {
        for (path, text) in &self.0 {
            let what = || format!("making {path}");
            let Some(target) = target(Path::new(path)) else { continue };
            if !target.exists() && target.starts_with("/run") {
                target.parent().map_or(Ok(()), fs::create_dir_all).doing(what)?;
                fs::write(&target, text).doing(what)?;
            } else if target.exists() {
                fs::write(DRAFT, text).doing(what)?;
                bind(Path::new(DRAFT), &target, PLAIN | MsFlags::MS_NOEXEC | MsFlags::MS_RDONLY)?;
                fs::remove_file(DRAFT).doing(what)?;
            }
        }
        Ok(())
    }
}

/// Follows the links that distributions make, as `/etc/resolv.conf` to a file in `/run`.
fn target(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..4 {
        let Ok(link) = fs::read_link(&path) else { return Some(path) };
        let joined = path.parent()?.join(link);
        path = plain(&joined);
    }
    None
}

/// The path without `..`, which a link may hold; the folders in question are no links.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part == std::path::Component::ParentDir {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

fn text(path: &str) -> Result<String, Fault> {
    let length = fs::metadata(path).map_or(0, |metadata| metadata.len());
    if length > MAX_TEXT_BYTES {
        return Err(Fault::new(format!("{path} is larger than 1 MiB")));
    }
    // What cannot be read is as good as empty.
    Ok(fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default())
}

/// `text` with `entry`, unless its third field, the number, is there already.
fn with_entry(text: &str, entry: &str) -> String {
    let number = |line: &str| line.split(':').nth(2).map(str::to_owned);
    let wanted = number(entry);
    if text.lines().any(|line| number(line) == wanted) {
        return text.to_owned();
    }
    format!("{}\n{entry}\n", text.trim_end())
}

fn hosts(spec: &Spec) -> String {
    let mut lines =
        vec!["127.0.0.1 localhost".to_owned(), "::1 localhost ip6-localhost".to_owned()];
    lines.extend(
        spec.hosts.iter().map(|entry| format!("{} {}", entry.address, entry.names.join(" "))),
    );
    lines.push(format!("127.0.1.1 {}\n", spec.hostname));
    lines.join("\n")
}

/// Without the resolvers that listen on the host's loopback, where a workload never gets.
fn reachable_resolvers(text: &str) -> String {
    let is_local = |line: &&str| {
        let mut words = line.split_ascii_whitespace();
        words.next() == Some("nameserver")
            && words.next().is_some_and(|address| address.starts_with("127.") || address == "::1")
    };
    let mut kept: Vec<&str> = text.lines().filter(|line| !is_local(line)).collect();
    kept.push("");
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_added_once() {
        let entry = "workload:x:7:7::/data:/usr/sbin/nologin";
        let host = "root:x:0:0:root:/root:/bin/bash\n";
        assert_eq!(with_entry(host, entry), format!("{host}{entry}\n"));
        assert_eq!(with_entry("seven:x:7:7::/:/bin/sh\n", entry), "seven:x:7:7::/:/bin/sh\n");
    }

    #[test]
    fn resolvers_on_the_hosts_loopback_are_left_out() {
        let host = "search example.org\nnameserver 127.0.0.53\nnameserver 192.0.2.1\n";
        assert_eq!(reachable_resolvers(host), "search example.org\nnameserver 192.0.2.1\n");
    }

    #[test]
    fn links_lose_their_dots() {
        let link = Path::new("/etc/../run/systemd/resolve/stub-resolv.conf");
        assert_eq!(plain(link), Path::new("/run/systemd/resolve/stub-resolv.conf"));
    }
}
