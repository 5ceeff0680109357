//! The files of a command line: one native file, and Kubernetes manifests beside it.
//!
//! Which is which, their contents tell; folders are read for manifests. Nothing is guessed: without a native file, or
//! with two of them, nothing is done.

use std::path::{Path, PathBuf};

use api::codes;
use policy::{Diagnostics, Limits, Source};

use super::check::{called, limits, read};
use super::connections::folder;
use crate::failure::Failure;
use crate::screen::Screen;

/// Names and texts of what a command was given.
#[derive(Debug)]
pub(crate) struct Files {
    /// The native file.
    pub(crate) native: (String, String),
    /// Manifests, in the order of the command line; those of a folder by path.
    pub(crate) manifests: Vec<(String, String)>,
}

impl Files {
    /// Reads them. A file that is no text is told as any other mistake in a file.
    pub(crate) fn read(
        screen: Screen,
        paths: &[PathBuf],
    ) -> Result<Result<Self, Vec<Diagnostics>>, Failure> {
        let mut natives = Vec::new();
        let mut manifests = Vec::new();
        let mut left = Limits::MAX_BYTES;
        for path in paths {
            let found = if path.is_dir() {
                folder::texts(screen, path)?
            } else {
                let name = called(path);
                match policy::text(&name, read(path)?, &limits()) {
                    Ok(text) => vec![(name, text)],
                    Err(found) => return Ok(Err(vec![*found])),
                }
            };
            for (name, text) in found {
                left = left.checked_sub(text.len()).ok_or_else(|| too_much(path))?;
                let is_manifest = policy::kubernetes::is_manifest(&text);
                if is_manifest { manifests.push((name, text)) } else { natives.push((name, text)) }
            }
        }
        let mut natives = natives.into_iter();
        match (natives.next(), natives.next()) {
            (Some(native), None) => Ok(Ok(Self { native, manifests })),
            (Some((one, _)), Some((other, _))) => Err(two(&one, &other)),
            (None, _) => Err(none(paths, manifests.len())),
        }
    }

    /// As the loader takes them.
    pub(crate) fn sources(&self) -> (Source<'_>, Vec<Source<'_>>) {
        let (name, text) = &self.native;
        let manifests = self.manifests.iter().map(|(name, text)| Source { name, text });
        (Source { name, text }, manifests.collect())
    }
}

/// Paths as somebody would write them again.
pub(crate) fn shown(paths: &[PathBuf]) -> String {
    let paths: Vec<String> = paths.iter().map(|path| path.display().to_string()).collect();
    paths.join(" ")
}

fn too_much(path: &Path) -> Failure {
    let most = Limits::MAX_BYTES >> 20;
    let message = format!("with {} there are more than {most} MiB of files", path.display());
    Failure::new(codes::FILE, message)
}

fn two(one: &str, other: &str) -> Failure {
    let message = format!("neither {one} nor {other} is a Kubernetes manifest");
    Failure::new(codes::FILE, message).hint(
        "give one native file (`bulkhead: 1`); every other file is a manifest with `apiVersion` and `kind`",
    )
}

fn none(paths: &[PathBuf], manifests: usize) -> Failure {
    if manifests == 0 {
        let message = format!("there is no .yaml, .yml or .json file in {}", shown(paths));
        return Failure::new(codes::FILE, message).hint("name the file itself: bulkhead.yaml");
    }
    let message = format!("{} holds Kubernetes manifests alone", shown(paths));
    Failure::new(codes::FILE, message).hint(
        "give the native file too, which has the workloads: bulkhead.yaml policies/; `bulkhead policy connections --kubernetes DIR` analyses manifests by themselves",
    )
}
