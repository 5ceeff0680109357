//! Processes of `run:` workloads: the built-in runtime's supervisors, started and stopped.
//!
//! **Order.** Workloads that go are stopped before their endpoints are removed ([`stop_unwanted`]); workloads that come are
//! started after their endpoints are enforced ([`start_missing`]). A workload whose description changed is both.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use host::linux::runtime::{self, Dirs, Handle, HostEntry, Ids, Log, Phase, Restart, Spec, User};
use model::Mode;
use planner::Bundle;
use policy::document::{self, Run, Start, owner};

use crate::desired;
use crate::fault::sentence;
use crate::options::Options;

use super::Pass;

/// How long a workload may take to end after SIGTERM.
const GRACE: Duration = Duration::from_secs(5);
/// First user id of workloads without an endpoint number; they have no network to be told apart on.
const ISOLATED_UID: u32 = runtime::UID_BASE + 16_384;

/// Descriptions of every workload that the runtime is to run, and what could not be described.
#[derive(Debug, Default)]
pub(crate) struct Wanted {
    /// By id.
    pub(crate) specs: BTreeMap<Arc<str>, Spec>,
    /// One sentence each.
    pub(crate) failed: Vec<String>,
}

impl Wanted {
    /// The workloads of a bundle.
    pub(crate) fn of(bundle: &Bundle, options: &Options) -> Self {
        let mut wanted = Self::default();
        for (id, workload) in &bundle.workloads {
            let Start::Run(run) = &workload.start else { continue };
            match spec(bundle, id, run, options) {
                Ok(spec) => drop(wanted.specs.insert(Arc::clone(id), spec)),
                Err(error) => wanted.failed.push(sentence(&error)),
            }
        }
        wanted
    }
}

/// Ends workloads that are not wanted, or not like this, and tidies damaged folders up.
pub(crate) fn stop_unwanted(dirs: &Dirs, wanted: &Wanted) -> Pass {
    let mut pass = Pass::default();
    let listing = match runtime::list(dirs) {
        Ok(listing) => listing,
        Err(error) => return Pass::failed(&error),
    };
    for (id, error) in listing.damaged {
        match runtime::discard(dirs, &id) {
            Ok(()) => pass.did(format!("discard workload {id}: {}", sentence(&error))),
            Err(error) => pass.failed.push(sentence(&error)),
        }
    }
    let unwanted = |handle: &&Handle| {
        wanted.specs.get(handle.id()).is_none_or(|spec| !is_same(handle.spec(), spec))
    };
    for handle in listing.handles.iter().filter(unwanted) {
        match runtime::stop(handle, GRACE) {
            Ok(()) => pass.did(format!("stop workload {}", handle.id())),
            Err(error) => pass.failed.push(sentence(&error)),
        }
    }
    pass
}

/// Starts workloads that are wanted and not there, or whose supervisor was killed.
pub(crate) fn start_missing(dirs: &Dirs, wanted: &Wanted, exe: &Path) -> Pass {
    let mut pass = Pass { failed: wanted.failed.clone(), ..Pass::default() };
    let listing = match runtime::list(dirs) {
        Ok(listing) => listing,
        Err(error) => return Pass::failed(&error),
    };
    for (id, spec) in &wanted.specs {
        let there = listing.handles.iter().find(|handle| handle.id() == &**id);
        if there.is_some_and(|handle| !is_lost(handle)) {
            continue;
        }
        match runtime::start(dirs, spec, exe) {
            Ok(_) => pass.did(format!("start workload {id}")),
            Err(error) => pass.failed.push(sentence(&error)),
        }
    }
    pass
}

fn is_lost(handle: &Handle) -> bool {
    runtime::status(handle).map_or(true, |status| status.phase == Phase::Lost)
}

/// Whether a running workload is as it should be. Names of its neighbours are those of its start.
fn is_same(running: &Spec, wanted: &Spec) -> bool {
    let hosts = wanted.hosts.clone();
    Spec { hosts, ..running.clone() } == *wanted
}

/// The description of one workload.
fn spec(
    bundle: &Bundle,
    id: &Arc<str>,
    run: &Run,
    options: &Options,
) -> Result<Spec, runtime::Error> {
    let endpoint = bundle.workloads.get(id).and_then(|workload| workload.endpoint);
    let user = match (&run.user, endpoint) {
        (Some(document::User::Id(uid)), _) => User::named(&uid.to_string())?,
        (Some(document::User::Name(name)), _) => User::named(name)?,
        (None, Some(number)) => User::of_endpoint(number),
        (None, None) => isolated_user(id),
    };
    let ids = Ids::numbered(endpoint.map_or_else(|| 16_384 + offset(id), u32::from));
    let log = Log::at(options.log(id));
    let spec = Spec::new(id, run.argv.clone(), user, &options.pin(id), log);
    Ok(Spec {
        env: run.env.clone(),
        workdir: run.workdir.as_ref().map(Into::into),
        restart: match run.restart {
            document::Restart::Always => Restart::Always,
            document::Restart::OnFailure => Restart::OnFailure,
            document::Restart::No => Restart::No,
        },
        host_network: bundle.attachment(id).is_some_and(|(router, _)| router.mode == Mode::Host),
        cgroup: options.cgroup().join(&**id),
        data: Some(options.data(id)),
        ids: Some(ids),
        hosts: neighbours(bundle, id),
        ..spec
    })
}

/// A user of its own for a workload without an endpoint number, from its id.
fn isolated_user(id: &str) -> User {
    let id = ISOLATED_UID + offset(id);
    User { uid: id, gid: id }
}

/// A number below 16,384 from a workload's id.
fn offset(id: &str) -> u32 {
    let mut digest = model::digest::Digest64::new("isolated user");
    digest.text(id);
    u32::try_from(digest.finish() % 16_384).unwrap_or_default()
}

/// Names of the workloads in the same networks. Who is met in several of them has the addresses of the first: the one that the
/// workload's own file names first.
fn neighbours(bundle: &Bundle, id: &str) -> Vec<HostEntry> {
    let own = owner(id);
    let mut entries = Vec::new();
    let mut known: BTreeMap<&str, u16> = BTreeMap::new();
    let mut order: Vec<_> = bundle.attachments(id).collect();
    order.sort_by_key(|(_, each)| desired::interface(&each.start));
    for (router, _) in order.into_iter().filter_map(|(id, _)| bundle.attachment(id)) {
        // Who shares the host's stack is found at home.
        let hosted = router.mode == Mode::Host;
        let at_home = |address| if hosted { IpAddr::from([127, 0, 0, 1]) } else { address };
        for endpoint in &router.endpoints {
            let met = owner(&endpoint.workload);
            let is_known = *known.entry(met).or_insert(router.number) != router.number;
            if is_known && met != own {
                continue;
            }
            let name = met.split_once('.').map_or("", |(_, name)| name);
            let names = vec![name.to_owned(), format!("{name}.{}", router.tenant)];
            let addresses = endpoint.addresses.iter();
            let entry = |address| HostEntry { address: at_home(address), names: names.clone() };
            entries.extend(addresses.map(|net| entry(net.addr())));
        }
    }
    entries
}

#[cfg(test)]
mod tests;
