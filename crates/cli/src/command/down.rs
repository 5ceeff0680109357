//! `bulkhead down [--clean]`.

use api::StepState;

use super::{Context, up};
use crate::failure::{Exit, Failure};

pub(crate) fn run(context: &Context, clean: bool) -> Result<Exit, Failure> {
    let client = context.client()?;
    let answer = match client.down(clean) {
        Err(error) if error.is_no_agent() && clean => {
            agent::clean(&context.run_dir, &context.state_dir, &context.bpffs)
                .map_err(|error| Failure::Error(Box::new(error)))?
        }
        answer => answer?,
    };
    context.screen.show(&answer, |answer, paint| {
        let end = match (clean, answer.agent_ends) {
            (true, _) => "the host is as it was before",
            (false, true) => "everything is down, and the agent ends",
            (false, false) => "everything is down; the agent goes on",
        };
        up::steps(&answer.outcome, paint, false) + end + "\n"
    })?;
    let failed = answer.outcome.steps.iter().any(|step| step.state == StepState::Failed);
    Ok(if failed { Exit::Failed } else { Exit::Done })
}
