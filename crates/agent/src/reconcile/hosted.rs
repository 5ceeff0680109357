//! Workloads that share the host's stack: our programs on their cgroups, before anything runs in them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use host::linux::bpf::Datapath;
use model::Mode;
use planner::Bundle;

use crate::options::Options;

use super::Pass;

/// Their cgroups by the number of their endpoint.
fn wanted(bundle: &Bundle, options: &Options) -> BTreeMap<u32, PathBuf> {
    let hosted = bundle.routers.iter().filter(|router| router.mode == Mode::Host);
    let endpoints = hosted.flat_map(|router| &router.endpoints);
    endpoints.map(|each| (u32::from(each.number), options.cgroup().join(&*each.workload))).collect()
}

/// Attaches what a bundle wants, and detaches the rest.
pub(crate) fn pass(datapath: &Datapath, bundle: &Bundle, options: &Options) -> Pass {
    let wanted = wanted(bundle, options);
    if wanted.is_empty() && !datapath.has_cgroups() {
        return Pass::default();
    }
    let done = match datapath.cgroups() {
        Ok(mut cgroups) => cgroups.bring(&wanted, &options.cgroup()),
        Err(error) => return Pass::failed(&error),
    };
    Pass { changes: done.done.len() as u64, done: done.done, failed: done.failed }
}
