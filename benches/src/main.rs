//! `bench`: every benchmark of Bulkhead with its peers in the same run; one table and one JSON file.
//!
//! Needs root (network namespaces) and the tools of the peers. See docs/reference/benchmarks.md for
//! the method and how to read the results.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bench::report::Report;
use bench::suite::Run;
use bench::{machine, suite};
use clap::Parser;

/// Measures Bulkhead against its peers.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// The whole list within three minutes: shorter slices, fewer sizes.
    #[arg(long)]
    quick: bool,
    /// Only these rows, e.g. `B1,B3`.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// CPU the load runs on; the last one if not given.
    #[arg(long)]
    cpu: Option<usize>,
    /// Folder of the JSON file.
    #[arg(long, default_value = "bench/results")]
    out: PathBuf,
}

/// One row of the list.
type Suite = fn(&mut Run) -> Result<()>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("error: {cause:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    if !nix::unistd::geteuid().is_root() {
        bail!("benchmarks make network namespaces: run as root");
    }
    let _raised = machine::RaisedSession::raise();
    let report = Report {
        version: 1,
        date: jiff::Zoned::now().date().to_string(),
        commit: commit(),
        mode: if options.quick { "quick" } else { "full" }.to_owned(),
        before: machine::facts(),
        after: None,
        lines: Vec::new(),
        gaps: Vec::new(),
        series: Vec::new(),
    };
    let cpu = options.cpu.unwrap_or(machine::cpus() - 1);
    let mut run = Run { report, quick: options.quick, cpu };
    let wanted = |id: &str| {
        options.only.is_empty() || options.only.iter().any(|only| only.eq_ignore_ascii_case(id))
    };
    suite::paths::run(&mut run, &wanted)?;
    let suites: [(&str, Suite); 11] = [
        (suite::program::ID, suite::program::run),
        (suite::modes::ID, suite::modes::run),
        (suite::scale::ID, suite::scale::run),
        (suite::apply::ID, suite::apply::run),
        (suite::reach::ID, suite::reach::run),
        (suite::plan::ID, suite::plan::run),
        (suite::attach::ID, suite::attach::run),
        (suite::runtimes::ID, suite::runtimes::run),
        (suite::revoke::ID, suite::revoke::run),
        (suite::survive::ID, suite::survive::run),
        (suite::replay::ID, suite::replay::run),
    ];
    for (id, suite) in suites {
        if wanted(id) {
            suite(&mut run)?;
        }
    }
    run.report.after = Some(machine::facts());
    println!("{}", run.report.table());
    let path = run.report.write(&options.out)?;
    eprintln!("written: {}", path.display());
    Ok(())
}

/// Short commit of the working tree, `-dirty` when it has changes, `unknown` outside of one.
fn commit() -> String {
    let mut command = Command::new("git");
    command.args(["describe", "--always", "--dirty", "--exclude=*"]);
    let done = testkit::run_with_deadline(&mut command, None, Duration::from_secs(10))
        .and_then(testkit::Finished::success)
        .context("ask git for the commit");
    done.map_or_else(|_| "unknown".to_owned(), |done| done.stdout.trim().to_owned())
}
