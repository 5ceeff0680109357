//! Holds every crate that is linked against deny.toml: its licence, its name, where it came from.
//!
//! The same file serves cargo-deny; this reads the three parts that can be decided from `cargo metadata` alone, so that
//! the test run needs no tool that takes minutes to build. Workspaces of their own (`bpf/`, `fuzz/`) are held too.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::workspace::{Package, Workspace};

/// The parts of deny.toml that are enforced here.
#[derive(Debug, Deserialize)]
struct Rules {
    graph: Graph,
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
struct Graph {
    targets: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Licences {
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// Prints every crate that deny.toml does not allow.
///
/// # Errors
/// When there is any, or when cargo or deny.toml cannot be read.
pub(crate) fn run(workspace: &Workspace) -> Result<()> {
    let text = String::from_utf8(workspace.read("deny.toml")?)?;
    let rules: Rules = toml::from_str(&text).context("reading deny.toml")?;
    let platforms: Vec<String> =
        rules.graph.targets.iter().map(|t| format!("--filter-platform={t}")).collect();
    let arguments: Vec<&str> = platforms.iter().map(String::as_str).collect();
    let mut refused = BTreeSet::new();
    let mut crates = 0;
    for manifest in ["Cargo.toml", "bpf/Cargo.toml", "fuzz/Cargo.toml"] {
        if !workspace.root.join(manifest).exists() {
            continue;
        }
        let metadata = workspace.metadata(manifest, &arguments)?;
        let nodes = metadata.resolve.context("cargo metadata resolved nothing")?.nodes;
        let chosen: BTreeSet<&str> = nodes.iter().map(|node| node.id.as_str()).collect();
        for package in
            metadata.packages.iter().filter(|package| chosen.contains(package.id.as_str()))
        {
            crates += 1;
            refused.extend(rules.objections(package));
        }
    }
    for line in &refused {
        eprintln!("{line}");
    }
    if !refused.is_empty() {
        bail!("{} objections by deny.toml", refused.len());
    }
    println!("{crates} crates, all allowed by deny.toml");
    Ok(())
}

impl Rules {
    fn objections(&self, package: &Package) -> Vec<String> {
        let name = format!("{} {}", package.name, package.version);
        let mut objections = Vec::new();
        if let Some(ban) = self.bans.deny.iter().find(|ban| ban.name == package.name) {
            objections.push(format!("{name}: banned: {}", ban.reason));
        }
        if let Some(source) = &package.source {
            let registry = source.strip_prefix("registry+").unwrap_or(source);
            if !self.sources.allow_registry.iter().any(|allowed| allowed == registry) {
                objections.push(format!("{name}: comes from {source}"));
            }
        }
        match &package.license {
            Some(licence) if is_allowed(licence, &self.licenses.allow) => {}
            Some(licence) => {
                objections.push(format!("{name}: licence `{licence}` is not in the list"));
            }
            None => {
                let file = package.license_file.as_deref().unwrap_or("no file either");
                objections.push(format!("{name}: says no SPDX licence ({file})"));
            }
        }
        objections
    }
}

/// Whether an SPDX expression can be met with allowed licences only: `OR` needs one side, `AND` both.
fn is_allowed(expression: &str, allow: &BTreeSet<String>) -> bool {
    let spaced = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    alternatives(&mut words, allow) && words.next().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn alternatives(words: &mut Words<'_>, allow: &BTreeSet<String>) -> bool {
    let mut met = conjunction(words, allow);
    while words.next_if_eq(&"OR").is_some() {
        let other = conjunction(words, allow);
        met = met || other;
    }
    met
}

fn conjunction(words: &mut Words<'_>, allow: &BTreeSet<String>) -> bool {
    let mut met = licence(words, allow);
    while words.next_if_eq(&"AND").is_some() {
        let other = licence(words, allow);
        met = met && other;
    }
    met
}

fn licence(words: &mut Words<'_>, allow: &BTreeSet<String>) -> bool {
    let Some(word) = words.next() else { return false };
    if word == "(" {
        let met = alternatives(words, allow);
        return words.next() == Some(")") && met;
    }
    if words.next_if_eq(&"WITH").is_none() {
        return allow.contains(word);
    }
    let exception = words.next().unwrap_or_default();
    allow.contains(&format!("{word} WITH {exception}")) || allow.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_met_by_allowed_licences_only() {
        let allow = BTreeSet::from(["MIT", "Apache-2.0"].map(str::to_owned));
        let met = |expression| is_allowed(expression, &allow);
        assert!(met("MIT"));
        assert!(met("GPL-3.0 OR MIT"));
        assert!(met("MIT/GPL-2.0"));
        assert!(met("(GPL-2.0 OR Apache-2.0 WITH LLVM-exception) AND MIT"));
        assert!(!met("GPL-2.0 AND MIT"));
        assert!(!met("MIT AND (GPL-2.0 OR LGPL-2.1)"));
        assert!(!met(""));
    }
}
