//! Completions for people; man pages and schemas for `./dev doc`.

use std::fs;
use std::io;
use std::path::Path;

use api::codes;
use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Context, explain};
use crate::args::Cli;
use crate::failure::{Exit, Failure};

pub(crate) fn completions(_context: &Context, shell: Shell) -> Result<Exit, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "bulkhead", &mut text);
    io::Write::write_all(&mut io::stdout().lock(), &text)?;
    Ok(Exit::Done)
}

/// Writes every generated document below `folder`.
pub(crate) fn run(context: &Context, folder: &Path) -> Result<Exit, Failure> {
    let failed = |error: io::Error| {
        Failure::new(codes::FILE, format!("write below {}", folder.display())).because(&error)
    };
    let man = folder.join("man");
    let shells = folder.join("completions");
    fs::create_dir_all(&man).and_then(|()| fs::create_dir_all(&shells)).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), &man).map_err(failed)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut Cli::command(), "bulkhead", &shells)
            .map_err(failed)?;
    }
    let files = [
        ("bulkhead.schema.json", policy::json_schema()),
        ("openapi.json", api::openapi::document()),
        ("why.schema.json", api::openapi::why_schema()),
        ("codes.md", code_reference()),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).map_err(failed)?;
    }
    context.screen.tell(&format!("written to {}", folder.display()));
    Ok(Exit::Done)
}

/// All codes as a page of the reference.
fn code_reference() -> String {
    let mut text =
        "# Codes\n\nGenerated from the program by `./dev doc`; `bulkhead explain CODE` prints \
                    one of them.\n"
            .to_owned();
    for one in explain::all() {
        text += &one.markdown();
    }
    text
}
