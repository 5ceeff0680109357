//! `bulkhead down [--clean]`.

use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use api::{StepState, codes};

use super::{Context, up};
use crate::failure::{Exit, Failure};

/// How long the agent may take to end after its answer.
const END: Duration = Duration::from_secs(10);

pub(crate) fn run(context: &Context, clean: bool) -> Result<Exit, Failure> {
    let client = context.client()?;
    let agent_pid = client.status().ok().map(|status| status.agent.pid);
    let answer = match client.down(clean) {
        Err(error) if error.is_no_agent() && clean => {
            agent::clean(&context.run_dir, &context.state_dir, &context.bpffs)
                .map_err(|error| Failure::Error(Box::new(error)))?
        }
        answer => answer?,
    };
    if let Some(pid) = agent_pid.filter(|_| answer.agent_ends) {
        wait_for_end(pid)?;
    }
    let failed = answer.outcome.steps.iter().any(|step| step.state == StepState::Failed);
    context.screen.show(&answer, |answer, paint| {
        let end = match (clean, answer.agent_ends) {
            _ if failed => "something is left, and what is left stays guarded: try again",
            (true, _) => "the host is as it was before",
            (false, true) => "everything is down, and the agent ends",
            (false, false) => "everything is down; the agent goes on",
        };
        up::steps(&answer.outcome, paint, false) + end + "\n"
    })?;
    Ok(if failed { Exit::Failed } else { Exit::Done })
}

/// Waits until the agent's process is gone, so that "down" means down.
#[expect(clippy::disallowed_methods, reason = "polls a condition with a deadline")]
fn wait_for_end(pid: u32) -> Result<(), Failure> {
    let process = PathBuf::from(format!("/proc/{pid}"));
    let deadline = Instant::now() + END;
    while process.exists() && !is_zombie(&process) {
        if Instant::now() > deadline {
            let message = format!("the agent (pid {pid}) said that it ends, and still runs");
            return Err(
                Failure::new(codes::BROKEN, message).hint("see its log, then end it by its pid")
            );
        }
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Whether a process has ended and only waits to be reaped by its parent.
fn is_zombie(process: &Path) -> bool {
    let stat = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}
