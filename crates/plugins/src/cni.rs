//! `bulkhead-cni`: the Container Network Interface, specification 0.4.0 to 1.1.0.
//!
//! As main plugin it gives a container a veth from the network's router. Chained behind a plugin that made an interface on the
//! host, such as `bridge`, it takes that one in place. See <https://www.cni.dev/docs/spec/>, and docs/guide/podman.md and
//! docs/guide/containerd.md for people.
//!
//! **Order.** [`Call::new`] understands the environment and the configuration and touches nothing; [`run`] asks the agent and
//! writes the answer. ADD and DEL may be repeated, in any order, and cut off at any moment.

mod call;
mod configuration;
mod error;
mod ports;
mod result;

use std::io::{Read, Write};
use std::path::Path;

use api::Client;
use serde_json::{Value, json};

use crate::attaching;
pub use call::{Call, Verb};
pub use configuration::Configuration;
pub use error::Failure;

/// Versions of the specification that are understood.
pub const VERSIONS: [&str; 3] = ["0.4.0", "1.0.0", "1.1.0"];

/// Serves one call of a runtime: `variable` reads the environment. Returns the exit code.
pub fn run(
    variable: &dyn Fn(&str) -> Option<String>,
    input: impl Read,
    mut output: impl Write,
) -> u8 {
    let bytes = crate::read(input);
    let version = bytes.as_deref().map(configuration::version).unwrap_or_default();
    let done = match bytes {
        Some(bytes) => Call::new(variable, &bytes).and_then(|call| answer(&call)),
        None => Err(Failure::decode("the configuration cannot be read or is larger than 1 MiB")),
    };
    let (answer, code) = match done {
        Ok(answer) => (answer, 0),
        Err(failure) => (Some(failure.json(&version)), 1),
    };
    // A runtime that does not listen has its answer in the exit code.
    let _deaf = answer.map(|answer| writeln!(output, "{answer}"));
    code
}

/// What is written on standard output, if anything is.
fn answer(call: &Call) -> Result<Option<Value>, Failure> {
    let socket = call.socket();
    let agent = |error: api::Error| Failure::agent(&error);
    match call.verb {
        Verb::Version => Ok(Some(json!({
            "cniVersion": call.configuration.version(),
            "supportedVersions": VERSIONS,
        }))),
        Verb::Add => {
            let attached = attaching::attach(&socket, &call.attach()?).map_err(agent)?;
            Ok(Some(result::added(call, &attached)))
        }
        Verb::Del => {
            attaching::detach(&socket, &call.key()?).map_err(agent)?;
            Ok(None)
        }
        Verb::Check => check(call, &socket).map(|()| None),
        Verb::Gc => collect(call, &socket).map(|()| None),
        Verb::Status => {
            let ask = |client: &Client| client.health();
            let health =
                attaching::patiently(&socket, ask).map_err(|error| Failure::closed(&error))?;
            if health.generation == 0 {
                return Err(Failure::unavailable("nothing was applied yet: bulkhead up FILE"));
            }
            Ok(None)
        }
    }
}

/// That an attachment is as it was answered.
fn check(call: &Call, socket: &Path) -> Result<(), Failure> {
    let all = attaching::patiently(socket, Client::attachments).map_err(|e| Failure::agent(&e))?;
    let key = call.key()?;
    let Some(found) = all.attachments.iter().find(|each| each.key == key) else {
        return Err(Failure::differs(format!("{key} is not attached")));
    };
    let wanted = call.configuration.prev_result_addresses();
    match wanted.iter().find(|address| !found.addresses.contains(address)) {
        Some(address) => {
            Err(Failure::differs(format!("{key} does not have the address {address}")))
        }
        None => Ok(()),
    }
}

/// Ends every attachment of this network that the runtime does not name.
fn collect(call: &Call, socket: &Path) -> Result<(), Failure> {
    let valid = call.valid_keys()?;
    let all = attaching::patiently(socket, Client::attachments).map_err(|e| Failure::agent(&e))?;
    let own = call.network_prefix();
    let mut failed = None;
    for each in all.attachments.iter().filter(|each| each.key.starts_with(&own)) {
        if !valid.contains(&each.key) {
            failed = attaching::detach(socket, &each.key).err().or(failed);
        }
    }
    failed.map_or(Ok(()), |error| Err(Failure::agent(&error)))
}

#[cfg(test)]
mod tests;
