//! `bulkhead agent`: become the agent.

use std::path::PathBuf;

use agent::Options;

use super::Context;
use crate::args::FlowKeep;
use crate::failure::{Exit, Failure};

pub(crate) fn run(
    context: &Context,
    group: Option<String>,
    keep: &FlowKeep,
    (docker, podman, docker_driver): (PathBuf, PathBuf, Option<PathBuf>),
    once: bool,
) -> Result<Exit, Failure> {
    let (flow_days, flow_bytes) = (keep.flow_days, keep.flow_size);
    let options =
        Options { group, flow_days, flow_bytes, docker, podman, docker_driver, ..options(context) };
    let done = if once { agent::once(options) } else { agent::run(options) };
    done.map_err(|error| Failure::Error(Box::new(error)))?;
    Ok(Exit::Done)
}

/// The folders that the command line names, and what else goes without saying.
pub(crate) fn options(context: &Context) -> Options {
    Options {
        run_dir: context.run_dir.clone(),
        state_dir: context.state_dir.clone(),
        bpffs: context.bpffs.clone(),
        group: None,
        flow_days: Options::FLOW_DAYS,
        flow_bytes: Options::FLOW_BYTES,
        docker: PathBuf::from(Options::DOCKER),
        podman: PathBuf::from(Options::PODMAN),
        docker_driver: None,
    }
}
