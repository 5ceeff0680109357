//! What a document needs of the host, checked before anything is changed.

use std::path::PathBuf;
use std::sync::OnceLock;

use api::{Error, codes};
use host::linux::bpf::{self, Capabilities, Feature};
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
    features()?;
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

/// Tries the features of the kernel that enforcement needs. What a kernel can do it goes on to do, so a good answer is kept:
/// some of the features take a while to try.
fn features() -> Result<(), Error> {
    static ENOUGH: OnceLock<()> = OnceLock::new();
    if ENOUGH.get().is_some() {
        return Ok(());
    }
    able(&bpf::probe())?;
    ENOUGH.get_or_init(|| ());
    Ok(())
}

/// The path of this program, which also is every workload's supervisor.
///
/// # Errors
/// `BH0200` when the kernel does not tell.
pub(crate) fn this_program() -> Result<PathBuf, Error> {
    std::env::current_exe().map_err(|error| failed(codes::INTERNAL, "find this program", &error))
}

/// Refuses a kernel that lacks something that is needed, with everything that it lacks and the remedy where one is known.
fn able(capabilities: &Capabilities) -> Result<(), Error> {
    let lacks = |each: &Feature| format!("{}: {}", each.name, each.detail);
    let missing: Vec<String> = capabilities.missing().map(lacks).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let mut error = refused(codes::CAPABILITY, "this kernel cannot enforce policies");
    error.cause = Some(missing.join("; "));
    if let Some(remedy) = capabilities.missing().find_map(|each| each.remedy) {
        error.hint = Some(remedy.to_owned());
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use host::linux::bpf::HookKind;

    use super::*;

    #[test]
    fn a_kernel_that_lacks_something_is_refused_with_all_of_it_and_the_remedy() {
        let feature = |name, required, present, remedy| {
            let detail = "not there".to_owned();
            Feature { name, present, required, detail, remedy }
        };
        let kernel = |features| Capabilities { hooks: HookKind::Clsact, features };
        let optional = feature("batches", false, false, None);
        assert!(able(&kernel(vec![optional.clone(), feature("tries", true, true, None)])).is_ok());
        let error = able(&kernel(vec![
            optional,
            feature("ring buffer", true, false, None),
            feature("memory for maps", true, false, Some("LimitMEMLOCK=infinity")),
        ]));
        let error = error.expect_err("two things are missing");
        assert_eq!(error.code, codes::CAPABILITY);
        let cause = "ring buffer: not there; memory for maps: not there";
        assert_eq!(error.cause.as_deref(), Some(cause));
        assert_eq!(error.hint.as_deref(), Some("LimitMEMLOCK=infinity"));
    }
}
