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
        ("suggestion.schema.json", api::openapi::suggestion_schema()),
        ("replay.schema.json", api::openapi::replay_schema()),
        ("connections.schema.json", api::openapi::connections_schema()),
        ("connections-diff.schema.json", api::openapi::connections_diff_schema()),
        ("blast-radius.schema.json", api::openapi::radius_schema()),
        ("proof.schema.json", api::openapi::proof_schema()),
        ("codes.md", code_reference()),
        ("cli.md", command_reference()),
        ("metrics.md", agent::metrics_reference()),
    ];
    for (name, text) in files {
        fs::write(folder.join(name), text).map_err(failed)?;
    }
    context.screen.tell(&format!("written to {}", folder.display()));
    Ok(Exit::Done)
}

/// All commands as a page of the reference: what `--help` prints of each.
fn command_reference() -> String {
    let mut text = "# Commands\n\nGenerated from the program by `./dev doc`; `bulkhead COMMAND --help` prints one of them, \
                    and so do the man pages.\n\nExit codes: 0 done, 1 refused or failed, 2 usage, 3 a check or plan found a \
                    difference, 70 internal. Only data goes to standard output; `--json` has the same as data.\n"
        .to_owned();
    let mut root = Cli::command();
    root.build();
    describe(&root, "bulkhead", &mut text);
    text
}

fn describe(command: &clap::Command, name: &str, text: &mut String) {
    // What all commands take is told once, at the top.
    let is_top = !name.contains(' ');
    let own = |arg: clap::Arg| if arg.is_global_set() && !is_top { arg.hide(true) } else { arg };
    let help = command.clone().mut_args(own).render_long_help().to_string();
    let lines: Vec<&str> = help.lines().map(str::trim_end).collect();
    *text += &format!("\n## {name}\n\n```\n{}\n```\n", lines.join("\n").trim_end());
    let shown = |each: &&clap::Command| !each.is_hide_set() && each.get_name() != "help";
    for sub in command.get_subcommands().filter(shown) {
        describe(sub, &format!("{name} {}", sub.get_name()), text);
    }
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
