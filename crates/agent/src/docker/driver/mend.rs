//! Links of containers that somebody deleted by hand: our end comes back by itself, and its other end lies on the host, because dockerd moves
//! it into a container once, when that joins. It is put back here as dockerd had put it.
//!
//! **Failure.** Until it is back the container has no link, so nothing passes. What cannot be put back is told in `status`, with the remedy.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use host::linux::handover::{self, FarEnd};
use host::linux::netns::NetNs;
use host::network::Mac;
use runtimes::docker::Container;
use runtimes::docker::driver::Id;

use crate::fault::sentence;
use crate::force::Force;

use super::Driver;
use super::endpoint::key;
use super::held::Held;

/// How long a link may be on the host before nobody is taken to come for it: while a container joins it is there for milliseconds.
const SETTLED: Duration = Duration::from_secs(3);

/// Since when the far ends of ends that are joined lie on the host.
pub(super) type Left = BTreeMap<String, Instant>;

/// An end that a container has, as dockerd tells.
pub(super) struct Joined {
    pub(super) endpoint: Id,
    pub(super) container: Container,
}

/// Puts back what lies on the host; what cannot be put back.
pub(super) async fn links(
    driver: &Driver,
    held: &Held,
    joined: &[Joined],
    left: &mut Left,
) -> Vec<String> {
    let Some(force) = driver.shared.force() else { return Vec::new() };
    let macs: BTreeMap<Mac, &Joined> =
        joined.iter().filter_map(|each| Some((mac(&force, each)?, each))).collect();
    let found = if macs.is_empty() {
        BTreeMap::new()
    } else {
        match handover::left_behind(&macs.keys().copied().collect::<BTreeSet<_>>()) {
            Ok(found) => found,
            Err(error) => return vec![sentence(&error)],
        }
    };
    let lying: BTreeMap<&str, (&Joined, String)> = found
        .into_iter()
        .filter_map(|(mac, link)| Some((*macs.get(&mac)?, link)))
        .map(|(each, link)| (each.endpoint.as_str(), (each, link)))
        .collect();
    left.retain(|endpoint, _| lying.contains_key(endpoint.as_str()));
    let mut problems = Vec::new();
    for (endpoint, (each, link)) in lying {
        let since = *left.entry(endpoint.to_owned()).or_insert_with(Instant::now);
        if since.elapsed() < SETTLED {
            continue;
        }
        let name = &each.container.name;
        match put_back(driver, held, &force, each, &link).await {
            Ok(Some(there)) => {
                tracing::warn!(container = name, "repaired: its link {there} was deleted");
                left.remove(endpoint);
            }
            Ok(None) => {}
            Err(why) => problems.push(format!(
                "container {name}: its link was deleted and cannot be put back ({why}): docker restart {name}"
            )),
        }
    }
    problems
}

fn mac(force: &Force, of: &Joined) -> Option<Mac> {
    let kept = force.wanted.attachments.get(&key(of.endpoint.as_str()))?;
    let (_, at) = force.wanted.bundle.attachment(&kept.id())?;
    Some(Mac(at.mac))
}

/// Moves a far end into its container and sets it up as it was; its name there. Nothing when the container does not run: dockerd makes
/// another one when it starts.
async fn put_back(
    driver: &Driver,
    held: &Held,
    force: &Force,
    each: &Joined,
    link: &str,
) -> Result<Option<String>, String> {
    let id = each.container.id.as_str();
    let asked = || async { driver.client.process(id).await.map_err(|error| sentence(&error)) };
    let Some(pid) = asked().await? else { return Ok(None) };
    let path = PathBuf::from(format!("/proc/{pid}/ns/net"));
    let ns = NetNs::open(&path).map_err(|error| sentence(&error))?;
    // A number is given again: whoever has it now must be the container's still.
    if asked().await? != Some(pid) {
        return Ok(None);
    }
    let here = NetNs::current().and_then(|here| here.id());
    if here.and_then(|here| Ok(here == ns.id()?)).map_err(|error| sentence(&error))? {
        return Err("it has the host's own network".to_owned());
    }
    let kept = force.wanted.attachments.get(&key(each.endpoint.as_str()));
    let endpoint = held.endpoints.get(each.endpoint.as_str());
    let network = endpoint.and_then(|endpoint| held.networks.get(endpoint.network.as_str()));
    let attached = kept.and_then(|kept| force.wanted.bundle.attachment(&kept.id()));
    let (Some(network), Some((_, at))) = (network, attached) else { return Ok(None) };
    let gateways = at.gateway_v4.map(IpAddr::V4).into_iter().chain(at.gateway_v6.map(IpAddr::V6));
    let gateways = gateways.filter(|_| !network.internal).collect();
    let wanted = FarEnd { addresses: at.addresses.clone(), gateways };
    handover::hand_over(link, &ns, &wanted).map(Some).map_err(|error| sentence(&error))
}
