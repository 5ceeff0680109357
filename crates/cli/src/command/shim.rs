//! `bulkhead shim`, `bulkhead enter` and `bulkhead probe-at`: what the agent and `exec` start. Not for people.

use std::path::Path;

use crate::failure::Exit;

pub(crate) fn run(dir: &Path) -> Exit {
    status(agent::entry::shim(dir))
}

pub(crate) fn enter(request: &str) -> Exit {
    status(agent::entry::enter(request))
}

pub(crate) fn probe_at(order: &str) -> Exit {
    status(agent::entry::probe_at(order))
}

fn status(code: i32) -> Exit {
    Exit::Status(u8::try_from(code).unwrap_or(u8::MAX))
}
