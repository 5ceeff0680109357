//! The gate of every test that needs root: skipped aloud on a laptop, a failure in CI.

/// True when the caller may go on. Otherwise prints `SKIPPED(root): name`.
///
/// # Panics
/// With `CI=true` in the environment: there a skipped test is a failed one.
#[must_use]
pub fn is_root_or_skip(name: &str) -> bool {
    if nix::unistd::geteuid().is_root() {
        return true;
    }
    let in_ci = std::env::var("CI").is_ok_and(|v| v == "true");
    assert!(!in_ci, "{name} needs root and CI may not skip it");
    println!("SKIPPED(root): {name}");
    false
}
