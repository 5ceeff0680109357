//! Which crate may know which: ARCHITECTURE.md's arrows, held against the manifests.
//!
//! Only normal and build dependencies count: a test may look from above. The pure crates may moreover not link what
//! touches the world; the words they may not use in code are in [`super::sources`].

use anyhow::Result;

use super::Finding;
use crate::workspace::{Dependency, Package, Workspace};

/// A crate of the workspace, and the crates of the workspace that it may depend on.
const ARROWS: &[(&str, &[&str])] = &[
    ("verdict", &[]),
    ("model", &["verdict"]),
    ("policy", &["model", "verdict"]),
    ("planner", &["policy", "model", "verdict"]),
    ("flow", &["model", "verdict"]),
    ("host", &["model", "verdict"]),
    ("store", &[]),
    ("api", &[]),
    ("runtimes", &["model"]),
    ("plugins", &["api"]),
    (
        "agent",
        &["api", "flow", "host", "model", "planner", "policy", "runtimes", "store", "verdict"],
    ),
    ("cli", &["agent", "api", "planner", "plugins", "policy"]),
    ("testkit", &["api", "flow", "host", "model", "planner", "policy", "verdict"]),
    (
        "bench",
        &[
            "agent", "api", "flow", "host", "model", "planner", "policy", "store", "testkit",
            "verdict",
        ],
    ),
    ("differential", &["host", "model", "planner", "policy", "testkit", "verdict"]),
    ("xtask", &[]),
];

/// No async runtime, sockets, files, clock or randomness in these.
pub(super) const PURE: &[&str] = &["verdict", "model", "policy", "planner", "flow"];

/// Crates that bring the world with them.
const WORLDLY: &[&str] = &[
    "aya",
    "axum",
    "getrandom",
    "hyper",
    "libc",
    "nftables",
    "nix",
    "rand",
    "redb",
    "rustix",
    "socket2",
    "tempfile",
    "tokio",
];

/// Every arrow that points the wrong way.
pub(super) fn check(workspace: &Workspace) -> Result<Vec<Finding>> {
    let metadata = workspace.metadata("Cargo.toml", &["--no-deps"])?;
    let members = metadata.members();
    let mut findings = Vec::new();
    for (name, package) in &members {
        let manifest =
            package.manifest_path.strip_prefix(&workspace.root).unwrap_or(&package.manifest_path);
        let manifest = manifest.to_string_lossy();
        let Some((_, allowed)) = ARROWS.iter().find(|(from, _)| from == name) else {
            findings.push(Finding::new(
                &manifest,
                0,
                format!("give crate `{name}` its place in xtask/src/tidy/direction.rs"),
            ));
            continue;
        };
        let is_member = |crate_name: &str| members.contains_key(crate_name);
        for wrong in wrong_arrows(package, allowed, is_member) {
            findings.push(Finding::new(&manifest, 0, wrong));
        }
        if *name != "host"
            && !has_workspace_lints(&std::fs::read_to_string(&package.manifest_path)?)
        {
            findings.push(Finding::new(
                &manifest,
                0,
                "say `[lints] workspace = true`: it forbids unsafe code",
            ));
        }
    }
    Ok(findings)
}

fn wrong_arrows(
    package: &Package,
    allowed: &[&str],
    is_member: impl Fn(&str) -> bool,
) -> Vec<String> {
    let normal = package.dependencies.iter().filter(|d| !is_dev(d));
    let is_pure = PURE.contains(&package.name.as_str());
    normal
        .filter_map(|dependency| {
            let to = dependency.name.as_str();
            if is_member(to) && !allowed.contains(&to) {
                Some(format!(
                    "`{}` may not depend on `{to}`: the arrow points the other way",
                    package.name
                ))
            } else if is_pure && WORLDLY.contains(&to) {
                Some(format!(
                    "`{}` is pure and may not depend on `{to}`: pass the value in",
                    package.name
                ))
            } else {
                None
            }
        })
        .collect()
}

fn is_dev(dependency: &Dependency) -> bool {
    dependency.kind.as_deref() == Some("dev")
}

fn has_workspace_lints(manifest: &str) -> bool {
    let table = manifest.split("[lints]").nth(1).unwrap_or_default();
    table.trim_start().starts_with("workspace = true")
}
