//! What a document needs of the host, checked before anything is changed.

use std::path::PathBuf;

use api::{Error, codes};
use host::linux::bpf;
use host::linux::netns::NetNs;
use host::network::Place;
use planner::Bundle;

use crate::desired;
use crate::fault::{failed, refused};

/// Refuses what this host cannot do: kernel features that are missing, `nft` where it is needed, adopted namespaces that
/// are not there.
///
/// # Errors
/// `BH0209` with the first thing that is missing.
pub(crate) fn check(bundle: &Bundle) -> Result<(), Error> {
    let capabilities = bpf::probe();
    let missing: Vec<String> = capabilities.missing().map(|each| each.detail.clone()).collect();
    if !missing.is_empty() {
        let mut error = refused(codes::CAPABILITY, "this kernel cannot enforce policies");
        error.cause = Some(missing.join("; "));
        return Err(error);
    }
    for (id, workload) in &bundle.workloads {
        let Place::At(path) = desired::place(&workload.start) else { continue };
        if let Err(error) = NetNs::open(&path) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let message =
                format!("workload {id} is to adopt a network namespace that is not there");
            let hint = if path.starts_with("/run/netns") {
                format!("ip netns add {name}")
            } else {
                format!("whoever owns {} has to make it first", path.display())
            };
            return Err(Error::new(codes::CAPABILITY, message).with_cause(&error).with_hint(hint));
        }
    }
    Ok(())
}

/// The path of this program, which also is every workload's supervisor.
///
/// # Errors
/// `BH0200` when the kernel does not tell.
pub(crate) fn this_program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(|error| failed(codes::INTERNAL, "find this program", &error))
}
