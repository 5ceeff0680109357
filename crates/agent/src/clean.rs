//! Leaves the host as it was: by the agent at `down --clean`, or without one.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

use api::{DownResponse, Error, Outcome, Step, StepState, codes};
use host::linux::bpf::Datapath;
use host::linux::kernel::Linux;
use host::linux::netns::NetNsDir;
use host::linux::rcu::Expedited;
use host::network::NoPrograms;

use crate::confirm::ledger;
use crate::docker::driver::held;
use crate::edge;
use crate::fault::{failed, sentence};
use crate::history;
use crate::lock;
use crate::options::Options;
use crate::reconcile::{self, Pass, workloads};
use crate::saved;

/// The name of the last step.
const FOLDERS: &str = "folders";

/// Takes down whatever an agent on these folders has left, when none runs.
///
/// # Errors
/// `BH0213` when one runs after all; `BH0220` when the folders cannot be used. What could not be removed is in the answer.
pub fn clean(run_dir: &Path, state_dir: &Path, bpffs: &Path) -> Result<DownResponse, Error> {
    let began = Instant::now();
    let options = Options {
        run_dir: run_dir.to_owned(),
        state_dir: state_dir.to_owned(),
        bpffs: bpffs.to_owned(),
        group: None,
        flow_days: Options::FLOW_DAYS,
        flow_bytes: Options::FLOW_BYTES,
        docker: Options::DOCKER.into(),
        podman: Options::PODMAN.into(),
        docker_driver: None,
    };
    let mut steps: Vec<Step> = Vec::new();
    // Also ends the haste of an agent that was killed in the middle.
    let _quick = Expedited::begin();
    if run_dir.exists() {
        let _lock = lock::take(run_dir)?;
        let stopped = workloads::stop_unwanted(&options.dirs(), &workloads::Wanted::default());
        steps.push(stopped.step("stop"));
        let mut kernel = Linux::open(run_dir)
            .map_err(|error| failed(codes::SETUP, "open the kernel's network", &error))?;
        let mut removed = reconcile::network::removal(&mut kernel, &mut NoPrograms);
        removed.add(crate::ports::release_left(bpffs));
        steps.push(removed.step("network"));
    }
    steps.push(last(&steps, &options));
    let changed = steps.iter().any(|step| step.state != StepState::Unchanged);
    let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(DownResponse {
        outcome: Outcome { generation: 0, changed, steps, took_ms },
        agent_ends: false,
    })
}

/// The last step of a removal, after `steps`. While a link of an endpoint may be left, its pinned programs stay: without
/// them it would be open.
pub(crate) fn last(steps: &[Step], options: &Options) -> Step {
    if steps.iter().any(|step| step.state == StepState::Failed) {
        return reconcile::skipped(FOLDERS);
    }
    folders(options).step(FOLDERS)
}

/// Removes pinned programs, state and run folder. A folder that holds something else, or is a mount point, stays.
fn folders(options: &Options) -> Pass {
    let mut pass = Pass::default();
    let bpffs = options.bpffs.display();
    match Datapath::remove_all(&options.bpffs) {
        Ok(()) => pass.did(format!("rm -r {bpffs}/*")),
        Err(error) => pass.failed.push(sentence(&error)),
    }
    // Not ours when something else is in it, or when it is where the file system is mounted.
    if fs::remove_dir(&options.bpffs).is_ok() {
        pass.did(format!("rmdir {bpffs}"));
    }
    for name in ["logs", "data", history::hours::FOLDER] {
        remove(&mut pass, &options.state_dir.join(name), |path| fs::remove_dir_all(path));
    }
    let document = options.state_dir.join(saved::FILE);
    let history = store::Store::history_beside(&document);
    for path in ledger::files(&options.state_dir).into_iter().chain(held::files(&options.state_dir))
    {
        remove(&mut pass, &path, |path| fs::remove_file(path));
    }
    let uplinks = options.state_dir.join(edge::FILE);
    for path in [document, history, uplinks, options.state_dir.join("agent.log")] {
        remove(&mut pass, &path, |path| fs::remove_file(path));
    }
    sweep(&mut pass, &options.run_dir);
    for name in ["workloads", "netns"] {
        remove(&mut pass, &options.run_dir.join(name), |path| fs::remove_dir(path));
    }
    for name in [api::SOCKET, "sysctl.json", "agent.lock"] {
        remove(&mut pass, &options.run_dir.join(name), |path| fs::remove_file(path));
    }
    for folder in [&options.state_dir, &options.run_dir] {
        // Not ours when something else is in it.
        if fs::remove_dir(folder).is_ok() {
            pass.did(format!("rmdir {}", folder.display()));
        }
    }
    pass
}

/// Removes what is left of namespaces whose pins somebody unmounted.
fn sweep(pass: &mut Pass, run_dir: &Path) {
    let folder = run_dir.join("netns");
    // Opening it would make it.
    if !folder.symlink_metadata().is_ok_and(|found| found.is_dir()) {
        return;
    }
    match NetNsDir::open(run_dir).and_then(|pins| pins.sweep()) {
        Ok(swept) => {
            for name in swept {
                pass.did(format!("rm {}", folder.join(name.as_str()).display()));
            }
        }
        Err(error) => pass.failed.push(sentence(&error)),
    }
}

fn remove(pass: &mut Pass, path: &Path, how: impl Fn(&Path) -> io::Result<()>) {
    match how(path) {
        Ok(()) => pass.did(format!("rm {}", path.display())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => pass.failed.push(format!("remove {}: {error}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_unmounted_pins_go_and_nothing_else_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let pins = folder.path().join("netns");
        let mut pass = Pass::default();
        sweep(&mut pass, folder.path());
        assert!(!pins.exists() && pass.failed.is_empty(), "nothing is made for it");
        fs::create_dir(&pins).expect("made");
        let other = folder.path().join("other");
        for name in [&pins.join("shop.main"), &pins.join("NOTES"), &other] {
            fs::write(name, "").expect("written");
        }
        fs::write(pins.join("shop.full"), "something").expect("written");
        fs::create_dir(pins.join("shop.folder")).expect("made");
        std::os::unix::fs::symlink(&other, pins.join("shop.link")).expect("linked");
        sweep(&mut pass, folder.path());
        assert!(pass.failed.is_empty(), "{:?}", pass.failed);
        let left = fs::read_dir(&pins).expect("read");
        let mut left: Vec<_> = left.map(|entry| entry.expect("an entry").file_name()).collect();
        left.sort();
        assert_eq!(left, ["NOTES", "shop.folder", "shop.full", "shop.link"]);
        assert!(other.exists());
        // A link in place of the folder is not followed either.
        let elsewhere = tempfile::tempdir().expect("a folder");
        std::os::unix::fs::symlink(&pins, elsewhere.path().join("netns")).expect("linked");
        fs::write(pins.join("shop.main"), "").expect("written");
        sweep(&mut pass, elsewhere.path());
        assert!(pins.join("shop.main").exists());
    }

    #[test]
    fn programs_stay_while_a_link_may_be_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let (run_dir, state_dir, bpffs) = (at("run"), at("state"), at("bpf"));
        for folder in [&run_dir, &state_dir, &bpffs] {
            fs::create_dir(folder).expect("made");
        }
        let options = Options {
            run_dir,
            state_dir,
            bpffs,
            group: None,
            flow_days: Options::FLOW_DAYS,
            flow_bytes: Options::FLOW_BYTES,
            docker: Options::DOCKER.into(),
            podman: Options::PODMAN.into(),
            docker_driver: None,
        };
        let failed = Pass { failed: vec!["a link stays".to_owned()], ..Pass::default() };
        let steps = [Pass::default().step("stop"), failed.step("network")];
        assert_eq!(last(&steps, &options).state, StepState::Skipped);
        assert!(options.bpffs.exists() && options.run_dir.exists());
        assert_eq!(last(&steps[..1], &options).state, StepState::Done);
        assert!(!options.bpffs.exists() && !options.run_dir.exists());
    }
}
