//! The `bulkhead` binary: commands, rendering, exit codes.
//!
//! Only data goes to standard output; progress, warnings and errors go to standard error. Every
//! command takes `--json`. No command knows more than the agent's API tells, except those that read
//! files (`policy check`) and those that become something else (`agent`, `shim`, `exec`).

#![expect(
    clippy::format_push_string,
    reason = "screens are put together line by line; `write!` would add results that cannot fail"
)]

mod args;
mod command;
mod failure;
mod picture;
mod screen;
mod table;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command, PolicyCommand, PublishCommand, WorkloadCommand};
use command::Context;
use failure::{Exit, Failure};

/// The C library of the static binary gives every larger piece of memory back to the kernel at once, and takes it anew: a
/// change of a hundred workloads then spends more time on that than on anything else.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

fn main() -> ExitCode {
    if let Some(code) = command::plugin::by_name() {
        return ExitCode::from(code);
    }
    let cli = Cli::parse();
    let context = Context::new(&cli.global);
    match run(&context, cli.command) {
        Ok(exit) => ExitCode::from(exit.code()),
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            failure.print(context.screen);
            ExitCode::from(failure.exit().code())
        }
    }
}

fn run(context: &Context, command: Command) -> Result<Exit, Failure> {
    match command {
        Command::Up { files, verbose, guard } => command::up::run(context, &files, verbose, guard),
        Command::Confirm => command::confirm::run(context),
        Command::Down { clean } => command::down::run(context, clean),
        Command::Plan { files, verbose, form } => {
            command::plan::run(context, &files, verbose, form)
        }
        Command::Replay { files, since } => command::replay::run(context, &files, since),
        Command::Status => command::status::run(context),
        Command::Observe(filter) => command::observe::run(context, &filter),
        Command::Why(pair) => command::why::run(context, &pair),
        Command::Probe { pair, timeout } => command::probe::run(context, &pair, timeout),
        Command::Matrix { live, svg } => command::matrix::run(context, live, svg),
        Command::Exec { workload, user, command } => {
            command::exec::run(context, &workload, user.as_deref(), &command)
        }
        Command::Logs { workload, follow, lines } => {
            command::logs::run(context, &workload, follow, lines)
        }
        Command::Attachments => command::attach::list(context),
        Command::Attach(wanted) => command::attach::attach(context, &wanted),
        Command::Detach { key } => command::attach::detach(context, &key),
        Command::Workload(WorkloadCommand::List { label }) => {
            command::workload::list(context, label.as_deref())
        }
        Command::Workload(WorkloadCommand::Label { workload, labels }) => {
            command::workload::label(context, &workload, &labels)
        }
        Command::Policy(command) => policy(context, command),
        Command::Publish(PublishCommand::List) => command::publish::list(context),
        Command::Doctor(doctor) => command::doctor::run(context, &doctor),
        Command::Explain { code } => command::explain::run(context, code.as_deref()),
        Command::Version => command::version::run(context),
        Command::Agent { group, keep, docker, podman, docker_driver, once } => {
            command::agent::run(context, group, &keep, (docker, podman, docker_driver), once)
        }
        Command::Completions { shell } => command::generate::completions(context, shell),
        Command::Generate { folder } => command::generate::run(context, &folder),
        Command::Enter { request } => Ok(command::shim::enter(&request)),
        Command::ProbeAt { order } => Ok(command::shim::probe_at(&order)),
        Command::Hook { network, labels, interface } => {
            command::plugin::hook(context, &network, &labels, interface)
        }
        Command::LibvirtHook { arguments } => command::plugin::libvirt(context, &arguments),
        Command::Cni => Ok(Exit::Status(command::plugin::cni())),
        Command::Netavark { arguments } => {
            Ok(Exit::Status(command::plugin::netavark(&context.run_dir, &arguments)))
        }
        Command::DeadMan { token } => command::confirm::wait(context, &token),
        Command::Shim { dir } => Ok(command::shim::run(&dir)),
    }
}

fn policy(context: &Context, command: PolicyCommand) -> Result<Exit, Failure> {
    match command {
        PolicyCommand::Matrix { live, svg } => command::matrix::run(context, live, svg),
        PolicyCommand::Check { files, strict } => command::check::run(context, &files, strict),
        PolicyCommand::Prove { files } => command::prove::run(context, &files),
        PolicyCommand::Fmt { file, check } => command::fmt::run(context, &file, check),
        PolicyCommand::Import { from, file } => command::import::run(context, from, &file),
        PolicyCommand::Suggest { workload, since } => {
            command::suggest::run(context, workload, since)
        }
        PolicyCommand::BlastRadius { workload, file, offline } => {
            command::radius::run(context, &workload, &file, offline)
        }
        PolicyCommand::Rules => command::rules::run(context),
        PolicyCommand::Connections { kubernetes, analysis } => {
            command::connections::run(context, &kubernetes, analysis)
        }
        PolicyCommand::Diff { kubernetes, analysis } => {
            command::connections::diff(context, &kubernetes, analysis)
        }
    }
}
