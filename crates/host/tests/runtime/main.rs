//! The built-in runtime with real workloads, in network namespaces of its own.
//!
//! This binary is test harness, supervisor (`shim`, `enter`) and workload (`probe`) at once, as `bulkhead` is agent and
//! supervisor: which one is decided by its first argument, before anything starts a thread.

mod lab;
mod lifecycle;
mod limits;
mod logs;
mod probe;
mod reach;
mod servers;
mod view;
mod walls;

use std::path::Path;
use std::process::ExitCode;

use host::linux::runtime;
use libtest_mimic::{Arguments, Failed, Trial};

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let args: Vec<&str> = args.iter().skip(1).map(String::as_str).collect();
    match args.as_slice() {
        ["shim", "--dir", dir] => exit(runtime::shim_main(Path::new(dir))),
        ["enter", request] => exit(runtime::enter_main(request)),
        ["probe", what @ ..] => probe::main(what),
        ["agent", run, state, spec] => lab::agent_main(run, state, spec),
        _ => harness(),
    }
}

fn exit(code: i32) -> ExitCode {
    ExitCode::from(u8::try_from(code).unwrap_or(70))
}

fn harness() -> ExitCode {
    let tests = [
        view::TESTS,
        reach::TESTS,
        walls::TESTS,
        lifecycle::TESTS,
        limits::TESTS,
        logs::TESTS,
        servers::TESTS,
    ]
    .concat();
    let trials =
        tests.into_iter().map(|(name, test)| Trial::test(name, move || as_root(name, test)));
    libtest_mimic::run(&Arguments::from_args(), trials.collect()).exit_code()
}

type Test = (&'static str, fn());

fn as_root(name: &str, test: fn()) -> Result<(), Failed> {
    if rustix::process::geteuid().is_root() {
        test();
        return Ok(());
    }
    if std::env::var_os("CI").is_some_and(|value| value == "true") {
        return Err(format!("{name} needs root, and in CI no test is skipped").into());
    }
    println!("SKIPPED(root): {name}");
    Ok(())
}
