//! House-keeping: tidy rules, licences, the kernel objects and the generated documents, as `cargo xtask COMMAND`.
//!
//! Plain Rust with few dependencies, so that it builds first and fast. The commands are called by `./dev` and may be
//! called by hand; each prints what it found wrong, one line a finding, and ends with code 1 when there is any.

mod bpf;
mod doc;
mod licences;
mod mutants;
mod tidy;
mod workspace;

use std::process::ExitCode;

use workspace::Workspace;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  tidy             the rules of the repository: direction of dependencies, sizes, module docs, links, words
  licences         what deny.toml allows, against every crate that is linked
  mutants          plant bugs in copies of the evaluator; the differential proof must catch each
  bpf [--check]    build the kernel programs into crates/host/bpf/; --check compares with what is committed
  bpf --lint       clippy on the kernel programs
  doc [--check]    generate references, man pages, completions, schemas; --check compares with what is committed
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let workspace = Workspace::here();
    let result = match words.as_slice() {
        ["tidy"] => tidy::run(&workspace),
        ["licences"] => licences::run(&workspace),
        ["mutants"] => mutants::run(&workspace),
        ["bpf"] => bpf::build(&workspace),
        ["bpf", "--check"] => bpf::check(&workspace),
        ["bpf", "--lint"] => bpf::lint(&workspace),
        ["doc"] => doc::write(&workspace),
        ["doc", "--check"] => doc::check(&workspace),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
