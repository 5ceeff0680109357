//! `bulkhead policy fmt`: lays a file out, keeping its comments and its meaning.
//!
//! The file is replaced by another one beside it that has its owner and mode, in one step: whoever reads it sees the old text
//! or the new one. A symbolic link stays, what it leads to is replaced.

use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use api::codes;

use super::Context;
use super::check::{STDIN, called, limits, read, refused};
use crate::failure::{Exit, Failure};

/// Lays a file out, or with `check` only tells whether it is.
pub(crate) fn run(context: &Context, file: &Path, check: bool) -> Result<Exit, Failure> {
    let name = called(file);
    // Before it is read: what somebody writes meanwhile must not be lost.
    let before = if file == Path::new(STDIN) { None } else { Some(Place::of(file)?) };
    let bytes = read(file)?;
    // A byte order mark stays where it is.
    let mark = if bytes.starts_with(b"\xef\xbb\xbf") { "\u{feff}" } else { "" };
    let text = policy::text(&name, bytes, &limits())
        .map_err(|diagnostics| refused(context, std::slice::from_ref(&*diagnostics)))?;
    let laid_out = policy::format(&policy::Source { name: &name, text: &text }, &limits())
        .map_err(|diagnostics| refused(context, std::slice::from_ref(&*diagnostics)))?;
    let [text, laid_out] = [text, laid_out].map(|text| format!("{mark}{text}"));
    let line = first_difference(&text, &laid_out);
    match (before, check) {
        (None, false) => context.screen.show(&laid_out, |text, _| text.clone())?,
        (Some(place), false) if line.is_some() => place.replace(&laid_out)?,
        _ => {}
    }
    if file != Path::new(STDIN) || check {
        let answer = serde_json::json!({
            "schema": "bulkhead.fmt/1",
            "file": name,
            "differs": line.is_some(),
            "line": line,
            "written": line.is_some() && !check,
        });
        context.screen.show(&answer, |_, _| told(&name, line, check))?;
    }
    Ok(if check && line.is_some() { Exit::Difference } else { Exit::Done })
}

fn told(name: &str, line: Option<usize>, check: bool) -> String {
    match (line, check) {
        (None, _) => format!("{name} is laid out\n"),
        (Some(line), true) => {
            format!(
                "{name} is laid out differently from line {line} on; bulkhead policy fmt {name} does it\n"
            )
        }
        (Some(line), false) => format!("{name} was laid out anew, from line {line} on\n"),
    }
}

/// The first line that differs, from 1; `None` when the texts are equal.
fn first_difference(one: &str, other: &str) -> Option<usize> {
    if one == other {
        return None;
    }
    let same = one.split('\n').zip(other.split('\n')).take_while(|(one, other)| one == other);
    Some(same.count() + 1)
}

/// A file that is to be replaced.
struct Place {
    /// Where it is, links followed.
    path: PathBuf,
    metadata: fs::Metadata,
}

impl Place {
    fn of(file: &Path) -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(codes::FILE, format!("read {}", file.display())).because(&error)
        };
        let path = file.canonicalize().map_err(failed)?;
        let metadata = fs::metadata(&path).map_err(failed)?;
        Ok(Self { path, metadata })
    }

    /// Puts a text in the place of the one that is there.
    fn replace(&self, text: &str) -> Result<(), Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(codes::FILE, format!("write {}", self.path.display())).because(&error)
        };
        if !self.metadata.is_file() {
            let message = format!("{} is no file that could be replaced", self.path.display());
            return Err(Failure::new(codes::FILE, message).hint("bulkhead policy fmt - < IN > OUT"));
        }
        let name = self.path.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
        let beside = self.path.with_file_name(format!(".{name}.fmt-{}", std::process::id()));
        let written = self.write(&beside, text).and_then(|()| {
            let now = fs::metadata(&self.path)?;
            let state =
                |of: &fs::Metadata| (of.dev(), of.ino(), of.len(), of.mtime(), of.mtime_nsec());
            if state(&now) != state(&self.metadata) {
                return Err(std::io::Error::other("somebody else has changed it meanwhile"));
            }
            fs::rename(&beside, &self.path)
        });
        if written.is_err() {
            // It may not even be there.
            let _gone = fs::remove_file(&beside);
        }
        written.map_err(failed)?;
        // The new name is on disk, too, once the folder is.
        let folder = self.path.parent().map(File::open);
        folder.map_or(Ok(()), |folder| folder.and_then(|folder| folder.sync_all())).map_err(failed)
    }

    fn write(&self, beside: &Path, text: &str) -> std::io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
        file.write_all(text.as_bytes())?;
        fchown(&file, Some(self.metadata.uid()), Some(self.metadata.gid()))?;
        let mode = self.metadata.mode() & 0o7777;
        file.set_permissions(fs::Permissions::from_mode(mode))?;
        file.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_differs_is_told() {
        assert_eq!(first_difference("a\nb\n", "a\nb\n"), None);
        assert_eq!(first_difference("a\nb\n", "a\nc\n"), Some(2));
        assert_eq!(first_difference("a", "a\n"), Some(2));
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_link_stays_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("f.yaml"), folder.path().join("link"));
        fs::write(&file, "bulkhead:   1\n").expect("written");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).expect("a mode");
        std::os::unix::fs::symlink("f.yaml", &link).expect("a link");
        Place::of(&link).expect("a file").replace("bulkhead: 1\n").expect("replaced");
        assert_eq!(fs::read_to_string(&file).expect("read"), "bulkhead: 1\n");
        assert_eq!(fs::metadata(&file).expect("there").mode() & 0o7777, 0o640);
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 2, "nothing is left over");
    }

    #[test]
    fn what_somebody_wrote_meanwhile_is_not_lost() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("f.yaml");
        fs::write(&file, "a: 1\n").expect("written");
        let place = Place::of(&file).expect("a file");
        fs::write(&file, "a: 1\nb: 2\n").expect("written by somebody else");
        assert!(place.replace("a: 1\n").is_err());
        assert_eq!(fs::read_to_string(&file).expect("read"), "a: 1\nb: 2\n");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 1, "nothing is left over");
    }
}
