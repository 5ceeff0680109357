//! The manifests of a folder: every `.yaml`, `.yml` and `.json` below it, in the order of their paths.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use api::codes;
use policy::{Diagnostics, Limits};

use crate::command::count;
use crate::failure::{Exit, Failure};
use crate::screen::Screen;

/// Most folders inside of each other.
const MAX_DEPTH: usize = 32;
/// Most files.
const MAX_FILES: usize = 100_000;
/// Most bytes of all files together.
const MAX_BYTES: usize = 1 << 30;
/// Deepest nesting of a manifest.
const MAX_NESTING: usize = 64;

/// What a manifest may be.
pub(super) fn limits() -> Limits {
    Limits { depth: MAX_NESTING, ..Limits::for_bytes(Limits::MAX_BYTES) }
}

/// Name and text of every manifest. A link to a folder is not followed.
pub(in crate::command) fn texts(
    screen: Screen,
    folder: &Path,
) -> Result<Vec<(String, String)>, Failure> {
    let mut paths = Vec::new();
    if fs::metadata(folder).map_err(|error| failed(folder, &error))?.is_dir() {
        collect(folder, 0, &mut paths)?;
    } else {
        paths.push(folder.to_owned());
    }
    let mut left = MAX_BYTES;
    let mut out = Vec::with_capacity(paths.len());
    for path in paths {
        let name = path.display().to_string();
        let bytes = read(&path)?;
        left = left.checked_sub(bytes.len()).ok_or_else(|| {
            Failure::new(
                codes::FILE,
                format!("{} has more than 1 GiB of manifests", folder.display()),
            )
        })?;
        let text = policy::text(&name, bytes, &limits())
            .map_err(|found| refused(screen, folder, &[*found]))?;
        out.push((name, text));
    }
    Ok(out)
}

fn collect(folder: &Path, depth: usize, out: &mut Vec<PathBuf>) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        let message = format!("{}: folders are nested deeper than {MAX_DEPTH}", folder.display());
        return Err(Failure::new(codes::FILE, message));
    }
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut entries = entries.map_err(|error| failed(folder, &error))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(|error| failed(&path, &error))?;
        if kind.is_dir() {
            collect(&path, depth + 1, out)?;
        } else if is_manifest(&path) && (kind.is_file() || path.is_file()) {
            if out.len() >= MAX_FILES {
                let message = format!("there are more than {MAX_FILES} manifests");
                return Err(Failure::new(codes::FILE, message));
            }
            out.push(path);
        }
    }
    Ok(())
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let most = Limits::MAX_BYTES as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(most).read_to_end(&mut bytes))
        .map_err(|error| failed(path, &error))?;
    Ok(bytes)
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(codes::FILE, format!("read {}", path.display())).because(error)
}

/// Tells why a folder is refused.
pub(super) fn refused(screen: Screen, folder: &Path, findings: &[Diagnostics]) -> Failure {
    let errors: usize = findings.iter().map(Diagnostics::errors).sum();
    if screen.json {
        let records: Vec<_> = findings.iter().flat_map(Diagnostics::records).collect();
        let answer = serde_json::json!({
            "error": { "code": codes::DOCUMENT, "diagnostics": records }
        });
        screen.tell(&answer.to_string());
    } else {
        for found in findings {
            screen.tell(&format!("{}\n", found.render(screen.errors.0).trim_end()));
        }
        let how_many = count(errors as u64, "error");
        let shown = folder.display();
        screen.tell(&format!("error[{}]: {shown} is refused ({how_many})", codes::DOCUMENT));
    }
    Failure::Told(Exit::Failed)
}
