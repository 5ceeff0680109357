//! The image of the containers of a lab: a busybox, as a tape that every runtime imports.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::docker::find;
use crate::run_with_deadline;

/// How long packing may take.
const PACK: Duration = Duration::from_mins(1);
/// Its programs that tests call by name.
const APPLETS: [&str; 9] = ["sh", "httpd", "nc", "ip", "ping", "sleep", "cat", "wget", "echo"];

/// Makes it in `folder`.
pub(crate) fn pack(folder: &Path) -> Result<PathBuf> {
    let (root, tar) = (folder.join("image"), folder.join("image.tar"));
    let programs = root.join("bin");
    std::fs::create_dir_all(&programs).context("make the image")?;
    let busybox = find("busybox").context("there is no busybox")?;
    std::fs::copy(busybox, programs.join("busybox")).context("copy busybox")?;
    for applet in APPLETS {
        std::os::unix::fs::symlink("busybox", programs.join(applet)).context("link an applet")?;
    }
    let mut pack = Command::new("tar");
    pack.arg("-C").arg(&root).arg("-cf").arg(&tar).arg("bin");
    run_with_deadline(&mut pack, None, PACK)?.success()?;
    Ok(tar)
}
