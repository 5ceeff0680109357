//! `bulkhead logs WORKLOAD`: what it wrote.

use api::LogQuery;

use super::Context;
use crate::failure::{Exit, Failure};

pub(crate) fn run(
    context: &Context,
    workload: &str,
    follow: bool,
    lines: Option<u32>,
) -> Result<Exit, Failure> {
    let query = LogQuery { follow: follow.then_some(true), lines };
    let client = context.client()?;
    for line in client.logs(workload, &query)? {
        context.screen.line(&line?, |line, _| line.text.clone())?;
    }
    Ok(Exit::Done)
}
