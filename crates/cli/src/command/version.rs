//! `bulkhead version`.

use serde::Serialize;

use super::Context;
use crate::failure::{Exit, Failure};

/// What this binary is.
#[derive(Debug, Serialize)]
struct Version {
    version: &'static str,
    /// The agent's version, when one runs.
    agent: Option<String>,
}

pub(crate) fn run(context: &Context) -> Result<Exit, Failure> {
    let agent = context.client()?.status().ok().map(|status| status.agent.version);
    let version = Version { version: env!("CARGO_PKG_VERSION"), agent };
    context.screen.show(&version, |version, _| match &version.agent {
        Some(agent) if agent != version.version => {
            format!("bulkhead {}, the running agent is {agent}\n", version.version)
        }
        _ => format!("bulkhead {}\n", version.version),
    })?;
    Ok(Exit::Done)
}
