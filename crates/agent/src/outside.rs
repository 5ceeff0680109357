//! What a document needs of the host, checked before anything is changed.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use api::{Error, codes};
use host::linux::adopted::{AdoptError, Adoptions, Id};
use host::linux::bpf::{self, Capabilities, Feature};
use host::linux::netns::NetNs;
use host::network::Place;
use planner::Bundle;
use policy::document::Start;

use crate::desired;
use crate::fault::{failed, refused};
use crate::force::Wanted;
use crate::uplinks;

/// Refuses what this host cannot do: kernel features that are missing, `nft` where it is needed, adopted namespaces that
/// are not there or belong to somebody else. What hangs on a workload as it did in `before` is not looked at again.
///
/// # Errors
/// `BH0209` with the first thing that is missing.
pub(crate) fn check(wanted: &Wanted, before: Option<&Bundle>, run_dir: &Path) -> Result<(), Error> {
    features()?;
    let (bundle, attached) = (&wanted.bundle, attached(wanted));
    for (id, workload) in &bundle.workloads {
        let Start::Port(port) = &workload.start else { continue };
        if let Some(cause) = uplinks::refuses(&port.interface) {
            let message = format!("workload {id} cannot have the port {}", port.interface);
            let mut error = refused(codes::CAPABILITY, message);
            error.cause = Some(cause);
            return Err(error);
        }
    }
    let adopted = bundle.workloads.iter().filter_map(|(id, workload)| {
        let Some(Place::At(path)) = desired::place(&workload.start) else { return None };
        if attached.contains_key(&**id) {
            return None;
        }
        let known = before.and_then(|before| before.workloads.get(id));
        let is_attached = known.is_some_and(|known| {
            known.start == workload.start && known.endpoint == workload.endpoint
        });
        Some((id.to_string(), path, desired::interface(&workload.start), is_attached))
    });
    let adopted: Vec<(String, PathBuf, &str, bool)> = adopted.collect();
    if adopted.is_empty() {
        return Ok(());
    }
    let mut adoptions = adoptions(run_dir)?;
    for (id, netns) in &attached {
        if let Some(netns) = netns {
            adoptions.note(id, *netns);
        }
    }
    let gateways = gateways(bundle);
    for (id, path, interface, is_attached) in &adopted {
        let gateways = gateways.get(id.as_str()).map(Vec::as_slice).filter(|_| !is_attached);
        let checked = adoptions.check(id, path, interface, gateways);
        checked.map_err(|error| cannot_adopt(id, path, &error))?;
    }
    Ok(())
}

/// Whether an attached workload may have its namespace, and which one that is. `known` is the one that it has already.
///
/// # Errors
/// `BH0209` when it may not.
pub(crate) fn adopt(
    wanted: &Wanted,
    id: &str,
    known: Option<Id>,
    run_dir: &Path,
) -> Result<Option<Id>, Error> {
    let bundle = &wanted.bundle;
    let Some(workload) = bundle.workloads.get(id) else { return Ok(None) };
    let Some(Place::At(path)) = desired::place(&workload.start) else { return Ok(None) };
    features()?;
    let mut adoptions = adoptions(run_dir)?;
    let attached = attached(wanted);
    for (other, workload) in &bundle.workloads {
        match (attached.get(&**other), desired::place(&workload.start)) {
            (Some(Some(netns)), _) if **other != *id => adoptions.note(other, *netns),
            // One that is not there is told when its file is applied.
            (None, Some(Place::At(path))) => {
                let _absent = adoptions.check(other, &path, "", None);
            }
            (Some(_), _) | (None, Some(Place::Ours | Place::Handed { .. }) | None) => {}
        }
    }
    let is_known = || NetNs::open(&path).and_then(|ns| ns.id()).is_ok_and(|id| Some(id) == known);
    let gateways = gateways(bundle);
    let gateways = gateways.get(id).map(Vec::as_slice).filter(|_| !is_known());
    let checked = adoptions.check(id, &path, desired::interface(&workload.start), gateways);
    checked.map(Some).map_err(|error| cannot_adopt(id, &path, &error))
}

fn adoptions(run_dir: &Path) -> Result<Adoptions, Error> {
    let about = "look at the network namespaces of this host";
    Adoptions::new(run_dir).map_err(|error| failed(codes::SETUP, about, &error))
}

/// Which namespaces are to be at the paths of attached workloads.
pub(crate) fn expected(wanted: &Wanted) -> BTreeMap<PathBuf, Id> {
    let known = wanted.attachments.values();
    known.filter_map(|kept| Some((kept.namespace()?.to_owned(), kept.netns?))).collect()
}

/// Attached workloads by id, and the namespaces that they had when they were attached.
fn attached(wanted: &Wanted) -> BTreeMap<String, Option<Id>> {
    wanted.attachments.values().map(|kept| (kept.id(), kept.netns)).collect()
}

/// The next hops of every workload's default routes; none of further attachments.
fn gateways(bundle: &Bundle) -> BTreeMap<&str, Vec<IpAddr>> {
    let endpoints = bundle.routers.iter().flat_map(|router| &router.endpoints);
    let is_further =
        |id: &Arc<str>| bundle.workloads.get(id).is_some_and(|workload| workload.further);
    let of = |at: &planner::Attachment| -> Vec<IpAddr> {
        if is_further(&at.workload) {
            return Vec::new();
        }
        let v4 = at.gateway_v4.map(IpAddr::V4);
        v4.into_iter().chain(at.gateway_v6.map(IpAddr::V6)).collect()
    };
    endpoints.map(|at| (&*at.workload, of(at))).collect()
}

fn cannot_adopt(id: &str, path: &Path, error: &AdoptError) -> Error {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let shown = path.display();
    let is_absent = matches!(error, AdoptError::Open(error) if error.is_absent());
    let message = if is_absent {
        format!("workload {id} is to adopt a network namespace that is not there")
    } else {
        format!("workload {id} cannot adopt {shown}")
    };
    let hint = match error {
        _ if is_absent && path.starts_with("/run/netns") => format!("ip netns add {name}"),
        AdoptError::Open(_) if is_absent => format!("whoever owns {shown} has to make it first"),
        AdoptError::Link(..) => {
            "a container with a network of its own: start it with --network none".to_owned()
        }
        AdoptError::Open(_) | AdoptError::Links(_) | AdoptError::Routes(_) => {
            format!("netns: names a network namespace: see that {shown} is one")
        }
        AdoptError::DefaultRoute(_) => {
            format!("if nobody needs it: nsenter --net={shown} ip route delete default")
        }
        AdoptError::Host | AdoptError::Ours(_) | AdoptError::Taken(_) | AdoptError::Another => {
            "give the workload a namespace of its own: ip netns add NAME, and netns: NAME"
                .to_owned()
        }
    };
    Error::new(codes::CAPABILITY, message).with_cause(error).with_hint(hint)
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

/// The path of this program, which also is every workload's supervisor. After an upgrade its file has another name or none: then it is
/// started from what the kernel holds of it.
///
/// # Errors
/// `BH0200` when the kernel does not tell.
pub(crate) fn this_program() -> Result<PathBuf, Error> {
    let path = std::env::current_exe();
    let path = path.map_err(|error| failed(codes::INTERNAL, "find this program", &error))?;
    Ok(if path.exists() { path } else { PathBuf::from("/proc/self/exe") })
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
