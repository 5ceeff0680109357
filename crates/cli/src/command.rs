//! One file per command: ask, render, choose the exit code.

pub(crate) mod agent;
pub(crate) mod attach;
pub(crate) mod check;
pub(crate) mod confirm;
pub(crate) mod connections;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod exec;
pub(crate) mod explain;
pub(crate) mod files;
pub(crate) mod fmt;
pub(crate) mod generate;
mod geo;
pub(crate) mod import;
pub(crate) mod logs;
pub(crate) mod matrix;
pub(crate) mod observe;
pub(crate) mod offline;
pub(crate) mod plan;
pub(crate) mod plugin;
pub(crate) mod probe;
pub(crate) mod prove;
pub(crate) mod publish;
pub(crate) mod radius;
pub(crate) mod replay;
pub(crate) mod rules;
pub(crate) mod shim;
pub(crate) mod status;
pub(crate) mod suggest;
pub(crate) mod up;
pub(crate) mod version;
pub(crate) mod why;
pub(crate) mod workload;

use std::path::PathBuf;

use api::{Client, RuleAt};

use crate::args::Global;
use crate::failure::Failure;
use crate::screen::Screen;

/// What every command needs.
#[derive(Debug)]
pub(crate) struct Context {
    /// Where output goes.
    pub(crate) screen: Screen,
    /// The agent's run folder.
    pub(crate) run_dir: PathBuf,
    /// The agent's state folder.
    pub(crate) state_dir: PathBuf,
    /// Where programs and maps are pinned.
    pub(crate) bpffs: PathBuf,
}

impl Context {
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            screen: Screen::new(global.json, global.color),
            run_dir: global.run_dir.clone(),
            state_dir: global.state_dir.clone(),
            bpffs: global.bpffs.clone(),
        }
    }

    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Ok(Client::new(&self.run_dir.join(api::SOCKET))?)
    }
}

/// A rule as people find it: `web-to-db  shop.yaml:24:5`.
pub(crate) fn place(rule: &RuleAt) -> String {
    format!("{}  {}", rule.name, position(rule))
}

/// Where a rule stands, as editors open it: `shop.yaml:24:5`.
pub(crate) fn position(rule: &RuleAt) -> String {
    format!("{}:{}:{}", rule.file, rule.line, rule.column)
}

/// `shop.web` as people write it: `shop/web`.
pub(crate) fn person(id: &str) -> String {
    id.replacen('.', "/", 1)
}

/// `1 flow`, `2 flows`.
pub(crate) fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}
