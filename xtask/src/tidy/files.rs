//! Rules for files of any kind: no binaries but the kernel objects and pictures, no paths of one machine, no notes to self.

use std::path::Path;

use super::Finding;

/// Where bytes that are not text belong.
const BINARY: &[&str] = &["crates/host/bpf/", "fuzz/corpus/", "docs/images/"];
/// Whatever is larger does not belong into a repository.
const LARGEST_BYTES: usize = 1024 * 1024;

/// Findings of one file, whatever it holds.
pub(super) fn check(path: &str, bytes: &[u8], root: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    if bytes.len() > LARGEST_BYTES {
        findings.push(Finding::new(
            path,
            0,
            format!("{} bytes; generate it instead of keeping it", bytes.len()),
        ));
    }
    if bytes.contains(&0) && !BINARY.iter().any(|folder| path.starts_with(folder)) {
        findings.push(Finding::new(
            path,
            0,
            "a binary file; only kernel objects, fuzz seeds and pictures are kept",
        ));
    }
    for place in machine_paths(root) {
        if let Some(at) = find(bytes, place.as_bytes()) {
            findings.push(Finding::new(
                path,
                line_of(bytes, at),
                format!("names `{place}`, a folder of this machine alone"),
            ));
        }
    }
    findings.extend(notes(path, bytes));
    findings
}

/// Folders that exist on the machine of whoever runs this and mean nothing elsewhere.
fn machine_paths(root: &Path) -> Vec<String> {
    let mut places = vec![format!("{}/", root.display())];
    if let Some(home) = std::env::var_os("HOME") {
        let home = Path::new(&home);
        places
            .extend([".cargo/", ".rustup/"].map(|folder| home.join(folder).display().to_string()));
    }
    places
}

/// Promises to do something later: an issue keeps them, main does not.
fn notes(path: &str, bytes: &[u8]) -> Vec<Finding> {
    let Ok(text) = std::str::from_utf8(bytes) else { return Vec::new() };
    let words = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")];
    let mut findings = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if let Some(word) = words.iter().find(|word| line.contains(*word)) {
            findings.push(Finding::new(
                path,
                index + 1,
                format!("`{word}` on main: do it, or file an issue"),
            ));
        }
    }
    findings
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

fn line_of(bytes: &[u8], at: usize) -> usize {
    bytes.iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}
