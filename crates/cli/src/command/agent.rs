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
    docker: PathBuf,
) -> Result<Exit, Failure> {
    let options = Options {
        run_dir: context.run_dir.clone(),
        state_dir: context.state_dir.clone(),
        bpffs: context.bpffs.clone(),
        group,
        flow_days: keep.flow_days,
        flow_bytes: keep.flow_size,
        docker,
    };
    agent::run(options).map_err(|error| Failure::Error(Box::new(error)))?;
    Ok(Exit::Done)
}
