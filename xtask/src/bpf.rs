//! Builds the kernel programs of `bpf/` into the objects under `crates/host/bpf/` that the binary carries.
//!
//! The objects are committed, so that building the product needs only stable Rust; the test run builds them again and
//! compares what the kernel would run. Each binary target of `bpf/` becomes one object of its name.
//!
//! **Failure:** needs `bpf-linker` and the component `rust-src`; `./dev setup bpf` installs both.
//! **Limits:** `RUSTC_BOOTSTRAP=1` is unavoidable: the target has no precompiled `core`.

mod object_file;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::workspace::{Workspace, run};

/// Where the objects are kept, relative to the root.
const KEPT: &str = "crates/host/bpf";
const TARGET: &str = "bpfel-unknown-none";

/// Builds every object and writes it where the binary takes it from.
///
/// # Errors
/// When the programs do not build or a file cannot be written.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let folder = workspace.root.join(KEPT);
    std::fs::create_dir_all(&folder).with_context(|| format!("making {KEPT}"))?;
    for (name, built) in compile(workspace)? {
        let path = folder.join(format!("{name}.o"));
        std::fs::write(&path, &built).with_context(|| format!("writing {KEPT}/{name}.o"))?;
        println!("{KEPT}/{name}.o: {} bytes", built.len());
    }
    Ok(())
}

/// Builds every object and compares it with the one that is kept.
///
/// # Errors
/// When they differ in anything that the kernel would notice; the message names the sections.
pub(crate) fn check(workspace: &Workspace) -> Result<()> {
    let built = compile(workspace)?;
    if built.is_empty() {
        bail!("bpf/ has no binary target");
    }
    for (name, object) in &built {
        let path = format!("{KEPT}/{name}.o");
        let kept = workspace.read(&path)?;
        let differences =
            object_file::differences(&kept, object).with_context(|| format!("comparing {path}"))?;
        if !differences.is_empty() {
            bail!(
                "{path} is not what bpf/ builds: {}; run `cargo xtask bpf` and commit it",
                differences.join(", ")
            );
        }
        println!("{path}: as built from bpf/, {} bytes", kept.len());
    }
    Ok(())
}

/// Clippy on the kernel programs, warnings being errors.
///
/// # Errors
/// When it has something to say.
pub(crate) fn lint(workspace: &Workspace) -> Result<()> {
    run(cargo(workspace, "clippy")?.args(["--", "-D", "warnings"])).context("judging bpf/")?;
    Ok(())
}

/// Names of the binary targets of `bpf/`, and their objects without debug sections.
fn compile(workspace: &Workspace) -> Result<Vec<(String, Vec<u8>)>> {
    let metadata = workspace.metadata("bpf/Cargo.toml", &["--no-deps"])?;
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    let names: Vec<&str> =
        targets.filter(|t| t.kind.iter().any(|k| k == "bin")).map(|t| t.name.as_str()).collect();
    let mut build = cargo(workspace, "build")?;
    run(build.arg("--bins")).context("building bpf/ (`./dev setup bpf` installs what it needs)")?;
    let folder = target_dir(workspace).join(TARGET).join("release");
    names.iter().map(|name| Ok(((*name).to_owned(), stripped(&folder.join(name))?))).collect()
}

/// `cargo COMMAND` for the kernel's target, with the one set of flags, so that `core` is built once for all commands.
fn cargo(workspace: &Workspace, command: &str) -> Result<Command> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .args([command, "--release", "-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(target_dir(workspace))
        .current_dir(workspace.root.join("bpf"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(workspace)?.join("\x1f"))
        .env_remove("RUSTFLAGS");
    if std::env::var_os("CI").is_some_and(|ci| ci == "true") {
        cargo.arg("--locked");
    }
    Ok(cargo)
}

fn target_dir(workspace: &Workspace) -> PathBuf {
    workspace.target_dir().join("bpf")
}

fn stripped(path: &Path) -> Result<Vec<u8>> {
    let object = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
    object_file::without_debug_sections(&object)
        .with_context(|| format!("stripping {}", path.display()))
}

/// BTF is made from debug info, which is dropped afterwards. No path of the building machine gets into the object.
fn rust_flags(workspace: &Workspace) -> Result<Vec<String>> {
    let sysroot = String::from_utf8(run(Command::new("rustc").args(["--print", "sysroot"]))?)?;
    let mut flags: Vec<String> = [
        "--cfg=bpf_target_arch=\"x86_64\"",
        "-Clinker=bpf-linker",
        "-Clink-arg=--btf",
        "-Cdebuginfo=2",
        "-Ctarget-cpu=v3",
        // Expanded at once and in order, copies and zeroing of odd sizes would be calls, byte by byte.
        "-Clink-arg=--disable-expand-memcpy-in-order",
    ]
    .map(str::to_owned)
    .to_vec();
    let folders = [
        (workspace.root.clone(), "bulkhead"),
        (cargo_home(), "cargo"),
        (PathBuf::from(sysroot.trim()), "rust"),
    ];
    flags.extend(folders.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())));
    Ok(flags)
}

fn cargo_home() -> PathBuf {
    let set = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    set.unwrap_or_else(|| {
        PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cargo")
    })
}
