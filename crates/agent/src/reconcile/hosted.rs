//! Workloads that share the host's stack: our programs on their cgroups, before anything runs in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use api::{Error, codes};
use host::linux::bpf::Datapath;
use model::Mode;
use planner::Bundle;

use crate::fault::failed;
use crate::options::Options;

use super::Pass;

/// Their cgroups by the number of their endpoint.
fn wanted(bundle: &Bundle, options: &Options) -> BTreeMap<u32, PathBuf> {
    let hosted = bundle.routers.iter().filter(|router| router.mode == Mode::Host);
    let endpoints = hosted.flat_map(|router| &router.endpoints);
    endpoints.map(|each| (u32::from(each.number), options.cgroup().join(&*each.workload))).collect()
}

/// Brings the programs into the kernel that a bundle wants at cgroups: most hosts want none, and loading them takes as long as all others
/// together and longer.
///
/// # Errors
/// `BH0215` when the kernel does not take them. Nothing has changed then.
pub(crate) fn load(datapath: &Datapath, bundle: &Bundle, options: &Options) -> Result<(), Error> {
    if wanted(bundle, options).is_empty() {
        return Ok(());
    }
    let what = "load the programs that judge workloads of networks of mode host";
    datapath.load_for_cgroups().map_err(|error| failed(codes::DATAPATH, what, &error))
}

/// Attaches what a bundle wants, and detaches the rest.
pub(crate) fn pass(datapath: &Datapath, bundle: &Bundle, options: &Options) -> Pass {
    let wanted = wanted(bundle, options);
    if wanted.is_empty() && !datapath.has_cgroups() {
        return Pass::default();
    }
    let brought =
        datapath.cgroups().and_then(|mut cgroups| cgroups.bring(&wanted, &options.cgroup()));
    let done = match brought {
        Ok(done) => done,
        Err(error) => return Pass::failed(&error),
    };
    Pass { changes: done.done.len() as u64, done: done.done, failed: done.failed }
}
