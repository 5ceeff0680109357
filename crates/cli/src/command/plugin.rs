//! This program as a plugin of other runtimes: by its name, or by a hidden command.

use std::io;
use std::path::{Path, PathBuf};

use plugins::hook::Place;

use super::{Context, attach};
use crate::failure::{Exit, Failure};

/// The agent's run folder when nothing else is said.
const RUN_DIR: &str = "/run/bulkhead";

/// What this program is to be by the name that it was started with; `None` for itself.
pub(crate) fn by_name() -> Option<u8> {
    let mut arguments = std::env::args_os();
    let name = PathBuf::from(arguments.next()?);
    match name.file_name()?.to_str()? {
        "bulkhead-cni" => Some(cni()),
        "netavark-bulkhead" => {
            let run_dir = std::env::var_os("BULKHEAD_RUN_DIR").map(PathBuf::from);
            let rest = arguments.map(|argument| argument.to_string_lossy().into_owned());
            let rest: Vec<String> = rest.collect();
            Some(netavark(&run_dir.unwrap_or_else(|| RUN_DIR.into()), &rest))
        }
        _ => None,
    }
}

/// `bulkhead-cni`.
pub(crate) fn cni() -> u8 {
    plugins::cni::run(&|name| std::env::var(name).ok(), io::stdin().lock(), io::stdout().lock())
}

/// `netavark-bulkhead`.
pub(crate) fn netavark(run_dir: &Path, arguments: &[String]) -> u8 {
    let socket = run_dir.join(api::SOCKET);
    plugins::netavark::run(arguments, &socket, io::stdin().lock(), io::stdout().lock())
}

/// `bulkhead hook`.
pub(crate) fn hook(
    context: &Context,
    network: &str,
    labels: &[String],
    interface: String,
) -> Result<Exit, Failure> {
    let (tenant, network, segment) = attach::place(network)?;
    let labels = attach::labels(labels)?;
    let place = Place { tenant, network, segment, labels, interface };
    let socket = context.run_dir.join(api::SOCKET);
    plugins::hook::run(&socket, &place, io::stdin().lock())
        .map_err(|error| Failure::Error(Box::new(error)))?;
    Ok(Exit::Done)
}

/// `bulkhead libvirt-hook`.
pub(crate) fn libvirt(context: &Context, arguments: &[String]) -> Result<Exit, Failure> {
    let socket = context.run_dir.join(api::SOCKET);
    plugins::libvirt::run(&socket, arguments, io::stdin().lock())
        .map_err(|error| Failure::Error(Box::new(error)))?;
    Ok(Exit::Done)
}
