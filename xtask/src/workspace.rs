//! Where the repository is, which files belong to it, and what cargo knows of its crates.
//!
//! Files come from `git ls-files` (tracked, or new and not ignored); crates from `cargo metadata`. Every command of
//! xtask starts from a [`Workspace`].

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

/// The repository, by the folder of its root manifest.
pub(crate) struct Workspace {
    /// Absolute path of the checkout.
    pub(crate) root: PathBuf,
}

/// What `cargo metadata` prints, as far as it is used here.
#[derive(Debug, Deserialize)]
pub(crate) struct Metadata {
    pub(crate) packages: Vec<Package>,
    pub(crate) workspace_members: Vec<String>,
    pub(crate) resolve: Option<Resolve>,
}

/// One crate, of the workspace or not.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) license: Option<String>,
    pub(crate) license_file: Option<String>,
    /// Where it was taken from; nothing for a crate of this repository.
    pub(crate) source: Option<String>,
    pub(crate) manifest_path: PathBuf,
    pub(crate) dependencies: Vec<Dependency>,
    pub(crate) targets: Vec<Target>,
}

/// One line of a manifest's dependency tables.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    pub(crate) name: String,
    /// Nothing for a normal dependency, else `dev` or `build`.
    pub(crate) kind: Option<String>,
}

/// A library, binary or test of a package.
#[derive(Debug, Deserialize)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) kind: Vec<String>,
}

/// The crates that were chosen, for the platforms that were asked for.
#[derive(Debug, Deserialize)]
pub(crate) struct Resolve {
    pub(crate) nodes: Vec<Node>,
}

/// One chosen crate.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    pub(crate) id: String,
}

impl Workspace {
    /// The checkout that this program was compiled in.
    pub(crate) fn here() -> Self {
        let own = Path::new(env!("CARGO_MANIFEST_DIR"));
        Self { root: own.parent().unwrap_or(own).to_path_buf() }
    }

    /// Paths, relative to the root and in order, of all files that are tracked or would be.
    ///
    /// # Errors
    /// When git is not there or this is no checkout.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let mut git = Command::new("git");
        git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
        let listed = String::from_utf8(run(git.current_dir(&self.root))?)?;
        let mut files: Vec<String> = listed
            .split('\0')
            .filter(|path| !path.is_empty() && self.root.join(path).is_file())
            .map(str::to_owned)
            .collect();
        files.sort_unstable();
        files.dedup();
        Ok(files)
    }

    /// What cargo knows of the workspace whose manifest is at `manifest`, relative to the root.
    ///
    /// # Errors
    /// When cargo fails, for instance because a manifest is wrong.
    pub(crate) fn metadata(&self, manifest: &str, arguments: &[&str]) -> Result<Metadata> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["metadata", "--format-version=1", "--manifest-path", manifest]);
        let printed = run(cargo.args(arguments).current_dir(&self.root))?;
        serde_json::from_slice(&printed).context("reading what cargo metadata printed")
    }

    /// Contents of a file of the repository.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn read(&self, path: &str) -> Result<Vec<u8>> {
        std::fs::read(self.root.join(path)).with_context(|| format!("reading {path}"))
    }

    /// Where builds go: `CARGO_TARGET_DIR`, else `target/`.
    pub(crate) fn target_dir(&self) -> PathBuf {
        std::env::var_os("CARGO_TARGET_DIR")
            .map_or_else(|| self.root.join("target"), |folder| self.root.join(folder))
    }
}

impl Metadata {
    /// The crates of this workspace by their name.
    pub(crate) fn members(&self) -> BTreeMap<&str, &Package> {
        let is_member = |package: &&Package| self.workspace_members.contains(&package.id);
        self.packages
            .iter()
            .filter(is_member)
            .map(|package| (package.name.as_str(), package))
            .collect()
    }
}

/// Standard output of a command that must succeed; its standard error is shown as it comes.
///
/// # Errors
/// When it cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stderr(std::process::Stdio::inherit())
        .output()
        .with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        let arguments: Vec<_> = command.get_args().map(std::ffi::OsStr::to_string_lossy).collect();
        bail!("`{name} {}` failed: {}", arguments.join(" "), output.status);
    }
    Ok(output.stdout)
}
