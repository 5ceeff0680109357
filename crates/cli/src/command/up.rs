//! `bulkhead up FILE`: apply a file, and start an agent in the background when there is none.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use api::{Client, Outcome, StepState, UpQuery, UpResponse, codes};

use super::{Context, check, confirm, count, plan};
use crate::args::Guard;
use crate::failure::{Exit, Failure};
use crate::screen::Paint;

/// How long a new agent may take to answer. One that ends is noticed at once; on a slow machine the kernel
/// needs its time to examine the programs.
const START: Duration = Duration::from_mins(1);
/// How often it is asked.
const ASK: Duration = Duration::from_millis(20);

pub(crate) fn run(
    context: &Context,
    files: &[PathBuf],
    verbose: bool,
    guard: Guard,
) -> Result<Exit, Failure> {
    let query = UpQuery {
        confirm_within_s: Some(guard.confirm_within),
        cut_connections: Some(guard.cut_connections),
    };
    let request = check::request(context, files, false)?;
    let client = context.client()?;
    let response = match client.up_as(&request, &query) {
        Err(error) if error.is_no_agent() => {
            start_agent(context, &client)?;
            client.up_as(&request, &query)?
        }
        answer => answer?,
    };
    context.screen.show(&response, |response, paint| render(response, paint, verbose))?;
    let failed = response.outcome.iter().flat_map(|outcome| &outcome.steps);
    let failed = failed.filter(|step| step.state == StepState::Failed).count();
    Ok(if failed == 0 { Exit::Done } else { Exit::Failed })
}

/// Starts `bulkhead agent` in a process group of its own and waits until it answers.
#[expect(clippy::disallowed_methods, reason = "polls a condition with a deadline")]
fn start_agent(context: &Context, client: &Client) -> Result<(), Failure> {
    let failed = |what: &str, error: &dyn std::error::Error| {
        Failure::new(codes::SETUP, format!("start an agent: {what}")).because(error)
    };
    let folders = [&context.run_dir, &context.state_dir, &context.bpffs];
    let [run, state, bpffs] = absolute(folders).map_err(|e| failed("find its folders", &e))?;
    std::fs::create_dir_all(&state).map_err(|e| failed("make the state folder", &e))?;
    let path = state.join("agent.log");
    let mut options = OpenOptions::new();
    let log = options.create(true).append(true).mode(0o600).open(&path);
    let log = log.map_err(|e| failed("open its log", &e))?;
    let before = log.metadata().map_or(0, |log| log.len());
    let twin = log.try_clone().map_err(|e| failed("open its log", &e))?;
    let exe = std::env::current_exe().map_err(|e| failed("find this program", &e))?;
    let mut child = Command::new(exe)
        .arg("agent")
        .args([Path::new("--run-dir"), &run])
        .args([Path::new("--state-dir"), &state, Path::new("--bpffs"), &bpffs])
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(log)
        .stderr(twin)
        .process_group(0)
        .spawn()
        .map_err(|e| failed("run it", &e))?;
    context.screen.tell(&format!(
        "no agent is running: started one in the background (pid {}, log {})",
        child.id(),
        path.display()
    ));
    let started = Instant::now();
    while client.health().is_err_and(|error| error.is_no_agent()) {
        let ended = child.try_wait().ok().flatten();
        if ended.is_some() || started.elapsed() > START {
            let text = std::fs::read(&path).unwrap_or_default();
            let new = text.get(usize::try_from(before).unwrap_or(0)..).unwrap_or_default();
            let last = last_words(&String::from_utf8_lossy(new));
            let message = format!("the agent did not come up; its last words: {last}");
            let hint =
                format!("its log is {}; `bulkhead doctor` examines this host", path.display());
            return Err(Failure::new(codes::SETUP, message).hint(hint));
        }
        sleep(ASK);
    }
    Ok(())
}

/// Folders as the agent finds them: it works in another one than this program.
fn absolute([run, state, bpffs]: [&PathBuf; 3]) -> io::Result<[PathBuf; 3]> {
    let absolute = std::path::absolute::<&PathBuf>;
    Ok([absolute(run)?, absolute(state)?, absolute(bpffs)?])
}

/// What a log ends with: its last error with what belongs to it, or else its last line.
fn last_words(log: &str) -> String {
    let lines: Vec<&str> = log.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let error = lines.iter().rposition(|line| line.starts_with("error"));
    let from = error.unwrap_or(lines.len().saturating_sub(1));
    lines.get(from..).unwrap_or_default().join("; ")
}

pub(crate) fn render(response: &UpResponse, paint: Paint, verbose: bool) -> String {
    let mut text = plan::render(&response.plan, paint, false);
    if let Some(outcome) = &response.outcome {
        text += &steps(outcome, paint, verbose);
        text += &format!(
            "{} generation {} is in force ({} ms)\n",
            if outcome.changed { paint.good("applied:") } else { "nothing to change:".to_owned() },
            outcome.generation,
            outcome.took_ms
        );
    }
    if let Some(host) = &response.host {
        text += &confirm::render(host, paint);
    }
    text
}

/// The steps of an apply, those that did something or failed.
pub(crate) fn steps(outcome: &Outcome, paint: Paint, verbose: bool) -> String {
    let mut text = String::new();
    for step in &outcome.steps {
        let word = match step.state {
            StepState::Done => paint.good("done"),
            StepState::Unchanged => continue,
            StepState::Failed => paint.bad("FAILED"),
            StepState::Skipped => paint.warn("skipped"),
        };
        text += &format!("  {:<12} {word} ({})\n", step.name, count(step.changes, "change"));
        if verbose {
            for action in &step.actions {
                text += &format!("    {action}\n");
            }
        }
        for failure in &step.failures {
            text += &format!("    {failure}\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{absolute, last_words};

    #[test]
    fn folders_are_those_of_the_one_who_asks() {
        let here = std::env::current_dir().expect("a folder");
        let [run, state, bpffs] = ["run", "./a/state", "/sys/fs/bpf/x"].map(Into::into);
        let found = absolute([&run, &state, &bpffs]).expect("folders");
        assert_eq!(found, [here.join("run"), here.join("a/state"), bpffs]);
    }

    #[test]
    fn last_words_begin_with_the_error() {
        let log = "INFO starting\nerror[BH0213]: another agent has it\n  cause: locked\n  hint: status\n\n";
        let told = "error[BH0213]: another agent has it; cause: locked; hint: status";
        assert_eq!(last_words(log), told);
        assert_eq!(last_words(&format!("error: older\n{log}")), told);
        assert_eq!(last_words("INFO starting\nkilled\n"), "killed");
        assert_eq!(last_words(""), "");
    }
}
