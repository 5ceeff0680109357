//! What a workload wrote.

use api::{Error, codes};
use host::linux::runtime::{self, Log, LogReader};
use policy::document::{Start, owner};

use crate::fault::{failed, refused};
use crate::shared::Shared;

use super::party;

/// Opens the log of a workload at its newest `lines`.
///
/// # Errors
/// `BH0211` for nobody, `BH0217` for an adopted workload.
pub(crate) fn open(shared: &Shared, name: &str, lines: Option<u32>) -> Result<LogReader, Error> {
    let force = shared.forced()?;
    let found = party::workload_id(&force.wanted.bundle, name)?;
    let id = owner(&found);
    let known = force.wanted.bundle.workloads.get(id);
    if known.is_some_and(|known| !matches!(known.start, Start::Run(_))) {
        return Err(refused(codes::NOT_RUN_BY_US, format!("{id} was not started by Bulkhead")));
    }
    let lines = lines.map(|lines| usize::try_from(lines).unwrap_or(usize::MAX));
    runtime::logs(&Log::at(shared.options.log(id)), lines)
        .map_err(|error| failed(codes::STATE, format!("read the log of {id}"), &error))
}
