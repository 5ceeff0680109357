//! Writes the documents that are generated: references, man pages, completions, JSON Schema, OpenAPI.
//!
//! All of them come from the product itself: the hidden command `bulkhead generate FOLDER` writes man pages, completions
//! and references below `FOLDER`; here they get their places. They are committed, so that people can read them on the
//! forge; `--check` compares. The program is `BULKHEAD_BIN` when that is set, else it is built.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, run};

/// Where the folders of `bulkhead generate` belong; whatever lies in none of them is reference.
const PLACES: &[(&str, &str)] = &[
    ("man/", "packaging/man/"),
    ("completions/", "packaging/completions/"),
    ("", "docs/reference/"),
];

/// Writes every generated document to its place.
///
/// # Errors
/// When the program fails or a file cannot be written.
pub(crate) fn write(workspace: &Workspace) -> Result<()> {
    for (path, contents) in generated(workspace)? {
        let place = workspace.root.join(&path);
        if std::fs::read(&place).is_ok_and(|kept| kept == contents) {
            continue;
        }
        if let Some(folder) = place.parent() {
            std::fs::create_dir_all(folder)
                .with_context(|| format!("making the folder of {path}"))?;
        }
        std::fs::write(&place, contents).with_context(|| format!("writing {path}"))?;
        println!("{path}: written");
    }
    Ok(())
}

/// Compares every generated document with what is kept.
///
/// # Errors
/// When one differs or is missing; the message names it.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let documents = generated(workspace)?;
    let is_current = |(path, contents): &(&String, &Vec<u8>)| {
        workspace.read(path).is_ok_and(|kept| kept == **contents)
    };
    let stale: Vec<&str> = documents
        .iter()
        .filter(|document| !is_current(document))
        .map(|(path, _)| path.as_str())
        .collect();
    if !stale.is_empty() {
        bail!("not what the program generates: {}; run `./dev doc` and commit", stale.join(", "));
    }
    println!("{} generated documents are current", documents.len());
    Ok(())
}

/// Paths relative to the root, and contents.
fn generated(workspace: &Workspace) -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = workspace.target_dir().join("generated");
    if folder.exists() {
        std::fs::remove_dir_all(&folder).context("removing what was generated before")?;
    }
    std::fs::create_dir_all(&folder).context("making the folder for generated documents")?;
    run(Command::new(program(workspace)?)
        .arg("generate")
        .arg(&folder)
        .current_dir(&workspace.root))?;
    let mut documents = BTreeMap::new();
    collect(&folder, &folder, &mut documents)?;
    if documents.is_empty() {
        bail!("`bulkhead generate` wrote nothing");
    }
    Ok(documents)
}

fn collect(folder: &Path, top: &Path, documents: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    for entry in
        std::fs::read_dir(folder).with_context(|| format!("listing {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, top, documents)?;
        } else {
            let contents =
                std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
            documents.insert(place(&path.strip_prefix(top)?.to_string_lossy()), contents);
        }
    }
    Ok(())
}

/// The path in the repository of what was written to `path`.
fn place(path: &str) -> String {
    let mut known = PLACES
        .iter()
        .filter_map(|(from, to)| path.strip_prefix(from).map(|rest| format!("{to}{rest}")));
    known.next().unwrap_or_else(|| path.to_owned())
}

fn program(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(given) = std::env::var_os("BULKHEAD_BIN") {
        return Ok(PathBuf::from(given));
    }
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    run(cargo
        .args(["build", "--package", "cli", "--bin", "bulkhead"])
        .current_dir(&workspace.root))?;
    Ok(workspace.target_dir().join("debug").join("bulkhead"))
}

#[cfg(test)]
mod tests {
    use super::place;

    #[test]
    fn every_document_has_its_place() {
        assert_eq!(place("man/bulkhead.1"), "packaging/man/bulkhead.1");
        assert_eq!(place("completions/_bulkhead"), "packaging/completions/_bulkhead");
        assert_eq!(place("codes.md"), "docs/reference/codes.md");
    }
}
