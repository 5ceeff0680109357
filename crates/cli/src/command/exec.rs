//! `bulkhead exec WORKLOAD -- COMMAND`.

use super::Context;
use crate::failure::{Exit, Failure};

pub(crate) fn run(
    context: &Context,
    workload: &str,
    user: Option<&str>,
    command: &[String],
) -> Result<Exit, Failure> {
    let workload = context.client()?.workload(workload)?;
    let code = agent::entry::exec(&context.run_dir, &workload, user, command)
        .map_err(|error| Failure::Error(Box::new(error)))?;
    Ok(Exit::Status(u8::try_from(code).unwrap_or(u8::MAX)))
}
